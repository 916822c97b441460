/*
 * type: libmagic with two handles (a handle serves one thread at a time, and maps the database anew): one for
 * the queue's own thread, which may be put aside for long in the middle of its work, one for those who wait.
 */
#include "storage/admit/type.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/loop/workers.h"
#include "common/media/media_type.h"

#include <errno.h>
#include <magic.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define ROOM      "type"
#define BATCH_MAX 16 /* rows that share a transaction */

/* After a batch the thread rests for so many times the processor time that it took, so that uploads of unknown kinds, however
 * many come, cost a hundredth of a core; what then finds no place in the queue is looked for by its STAT. */
#define REST_FACTOR 99
#define REST_MIN_US 10000 /* so that rows whose types are known share transactions too */
#define REST_MAX_US 10000000

struct magic_handle {
    pthread_mutex_t mutex; /* held while libmagic looks at a file: a tenth of a millisecond to some */
    magic_t magic;         /* NULL: not loaded yet */
    bool broken;           /* libmagic has no database here */
};

struct type_note {
    STAILQ_ENTRY(type_note) link;
    struct proto_file_key key;
    char file_path[STORE_FILE_PATH_SIZE];
    char name[PROTO_NAME_SIZE];
    char type[PROTO_CONTENT_TYPE_SIZE]; /* "": not known yet */
    bool changed;                       /* the row has it now */
    size_t size;
    uint8_t bytes[];
};
STAILQ_HEAD(note_list, type_note);

struct types {
    struct meta *meta;
    struct workers *workers; /* one thread */
    struct magic_handle asked, queued;
    atomic_bool complained; /* of the missing database */
    atomic_bool stopping;
    atomic_size_t count;   /* notes that exist */
    pthread_mutex_t mutex; /* for what follows */
    struct note_list notes;
    bool running;
    sem_t stop; /* ends a rest */
    struct job job;
    struct metric *found, *dropped, *waiting;
};

/* ---- libmagic ---- */

static bool load_database(struct types *types, struct magic_handle *handle)
{
    if (handle->magic || handle->broken)
        return handle->magic != NULL;
    magic_t magic = magic_open(MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TOKENS);
    if (magic && magic_load(magic, NULL) == 0) {
        handle->magic = magic;
        return true;
    }
    handle->broken = true;
    if (!atomic_exchange(&types->complained, true))
        log_warning(ROOM, "content types come from signatures and names only: libmagic: %s",
                    magic ? magic_error(magic) : "no memory");
    if (magic)
        magic_close(magic);
    return false;
}

static bool is_usable(const char *text)
{
    if (!strchr(text, '/') || strlen(text) >= PROTO_CONTENT_TYPE_SIZE || strncmp(text, "inode/", 6) == 0)
        return false;
    for (const char *c = text; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f)
            return false;
    }
    return true;
}

static void ask_magic(struct types *types, struct magic_handle *handle, const void *bytes, size_t size,
                      char type[PROTO_CONTENT_TYPE_SIZE])
{
    memcpy(type, MEDIA_TYPE_UNKNOWN, sizeof(MEDIA_TYPE_UNKNOWN));
    if (size == 0)
        return;
    pthread_mutex_lock(&handle->mutex);
    const char *said = load_database(types, handle) ? magic_buffer(handle->magic, bytes, size) : NULL;
    if (said && is_usable(said)) {
        said = media_type_canonical(said);
        memcpy(type, said, strlen(said) + 1);
    }
    pthread_mutex_unlock(&handle->mutex);
}

static void types_look_up(struct types *types, struct magic_handle *handle, const void *bytes, size_t size,
                          const char *name, char type[PROTO_CONTENT_TYPE_SIZE])
{
    const char *known = media_type_of_content(bytes, size, name);
    if (known)
        memcpy(type, known, strlen(known) + 1);
    else
        ask_magic(types, handle, bytes, min_size(size, MEDIA_SIGNATURE_BYTES), type);
}

void types_find(struct types *types, const void *bytes, size_t size, const char *name,
                char type[PROTO_CONTENT_TYPE_SIZE])
{
    types_look_up(types, &types->asked, bytes, size, name, type);
}

/* ---- the queue's thread ---- */

struct save {
    struct db_job job;
    struct note_list *notes;
};

static enum db_result save_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct save *save = CONTAINER_OF(job, struct save, job);
    struct type_note *note;
    enum db_result result = db_begin_relaxed(connection, error); /* what is lost is found again by a STAT */
    if (result != DB_OK)
        return result;
    STAILQ_FOREACH(note, save->notes, link)
    {
        result =
            meta_sql_set_type(connection, &note->key, note->file_path, note->type, &note->changed, error);
        if (result != DB_OK) {
            db_rollback(connection);
            return result;
        }
    }
    return db_commit(connection, error);
}

static size_t take_notes(struct types *types, struct note_list *taken)
{
    size_t count = 0;
    pthread_mutex_lock(&types->mutex);
    while (!STAILQ_EMPTY(&types->notes) && count < BATCH_MAX) {
        struct type_note *note = STAILQ_FIRST(&types->notes);
        STAILQ_REMOVE_HEAD(&types->notes, link);
        STAILQ_INSERT_TAIL(taken, note, link);
        count++;
    }
    types->running = count > 0;
    pthread_mutex_unlock(&types->mutex);
    return count;
}

static void save_notes(struct types *types, struct note_list *notes)
{
    struct save save = {.job = {.run = save_run, .idempotent = true}, .notes = notes};
    struct type_note *note;
    if (!atomic_load(&types->stopping) && meta_run_wait(types->meta, &save.job) == DB_OK) {
        STAILQ_FOREACH(note, notes, link)
        {
            if (note->changed) /* a row in the cache has no type yet */
                meta_outdate(types->meta, &note->key);
            metric_add(types->found, note->changed ? 1 : 0);
        }
    } else if (!atomic_load(&types->stopping)) {
        static struct log_gate gate;
        uint64_t suppressed;
        if (log_gate_open(&gate, 5000, &suppressed))
            log_warning(ROOM, "content types are not saved for now: %s (%llu more since the last line)",
                        save.job.error.text, (unsigned long long)suppressed);
    }
    while ((note = STAILQ_FIRST(notes))) {
        STAILQ_REMOVE_HEAD(notes, link);
        types_drop(types, note);
    }
}

static int64_t used_us(void)
{
    struct timespec used;
    ASSERT(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return used.tv_sec * INT64_C(1000000) + used.tv_nsec / 1000;
}

static void rest(struct types *types, int64_t us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanoseconds = until.tv_nsec + us * 1000;
    until.tv_sec += nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    while (sem_clockwait(&types->stop, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        ;
}

static void run_queue(struct job *job)
{
    struct types *types = CONTAINER_OF(job, struct types, job);
    struct note_list notes = STAILQ_HEAD_INITIALIZER(notes);
    struct type_note *note;
    /* It interrupts nobody, but gets its share: it takes locks that loops wait for, and SCHED_IDLE on a busy machine would keep them
     * for a second. Where that is refused the work is done all the same. */
    (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){.sched_priority = 0});
    while (take_notes(types, &notes) > 0) {
        int64_t start_us = used_us();
        STAILQ_FOREACH(note, &notes, link)
        {
            if (note->type[0] == '\0' && !atomic_load(&types->stopping))
                types_look_up(types, &types->queued, note->bytes, note->size, note->name, note->type);
        }
        save_notes(types, &notes);
        if (!atomic_load(&types->stopping))
            rest(types, max_i64(min_i64((used_us() - start_us) * REST_FACTOR, REST_MAX_US), REST_MIN_US));
    }
}

static void push(struct types *types, struct type_note *note)
{
    pthread_mutex_lock(&types->mutex);
    STAILQ_INSERT_TAIL(&types->notes, note, link);
    if (!types->running && !atomic_load(&types->stopping)) {
        types->job = (struct job){.run = run_queue};
        types->running = workers_submit(types->workers, &types->job);
    }
    pthread_mutex_unlock(&types->mutex);
}

/* ---- what others call ---- */

static struct type_note *make_note(struct types *types, const struct proto_file_key *key, size_t size)
{
    struct type_note *note = NULL;
    if (atomic_fetch_add(&types->count, 1) < TYPES_QUEUE_MAX)
        note = calloc(1, sizeof(*note) + size);
    if (!note) {
        atomic_fetch_sub(&types->count, 1);
        metric_add(types->dropped, 1);
        return NULL;
    }
    metric_add(types->waiting, 1);
    note->key = *key;
    note->size = size;
    return note;
}

struct type_note *types_note(struct types *types, const struct proto_file_key *key, const char *name,
                             const void *bytes, size_t size)
{
    struct type_note *note = make_note(types, key, min_size(size, MEDIA_SIGNATURE_BYTES));
    if (note) {
        snprintf(note->name, sizeof(note->name), "%s", name);
        memcpy(note->bytes, bytes, note->size);
    }
    return note;
}

void types_queue(struct types *types, struct type_note *note, const char *file_path)
{
    snprintf(note->file_path, sizeof(note->file_path), "%s", file_path);
    push(types, note);
}

void types_settle(struct types *types, const struct proto_file_key *key, const char *file_path,
                  const char *type)
{
    struct type_note *note = make_note(types, key, 0);
    if (!note)
        return;
    snprintf(note->type, sizeof(note->type), "%s", type);
    types_queue(types, note, file_path);
}

void types_drop(struct types *types, struct type_note *note)
{
    if (!note)
        return;
    free(note);
    atomic_fetch_sub(&types->count, 1);
    metric_add(types->waiting, -1);
}

/* ---- making and ending ---- */

struct types *types_create(struct meta *meta, struct error *error)
{
    static const char name[] = "reel_storage_types_total";
    static const char help[] =
        "Content types looked for after the upload: saved in the row, or left for the STAT.";
    struct types *types = calloc(1, sizeof(*types));
    if (!types) {
        error_set(error, ERROR_GENERAL, "no memory for the content types");
        return NULL;
    }
    types->meta = meta;
    types->found = metrics_counter(name, help, "result=\"saved\"");
    types->dropped = metrics_counter(name, help, "result=\"left\"");
    types->waiting = metrics_gauge("reel_storage_types_waiting",
                                   "Files whose content type is still to be found from their content.", NULL);
    STAILQ_INIT(&types->notes);
    pthread_mutex_init(&types->mutex, NULL);
    sem_init(&types->stop, 0, 0);
    pthread_mutex_init(&types->asked.mutex, NULL);
    pthread_mutex_init(&types->queued.mutex, NULL);
    types->workers = workers_create("types", 1, 1, error);
    if (!types->workers) {
        types_destroy(types);
        return NULL;
    }
    return types;
}

void types_end(struct types *types, int64_t timeout_ms)
{
    if (!types || !types->workers)
        return;
    pthread_mutex_lock(&types->mutex);
    atomic_store(&types->stopping, true);
    sem_post(&types->stop);
    pthread_mutex_unlock(&types->mutex);
    if (workers_destroy(types->workers, timeout_ms))
        types->workers = NULL;
}

void types_destroy(struct types *types)
{
    struct type_note *note;
    if (!types || types->workers) /* its thread still hangs in libmagic or the database */
        return;
    while ((note = STAILQ_FIRST(&types->notes))) {
        STAILQ_REMOVE_HEAD(&types->notes, link);
        types_drop(types, note);
    }
    struct magic_handle *handles[] = {&types->asked, &types->queued};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        if (handles[i]->magic)
            magic_close(handles[i]->magic);
        pthread_mutex_destroy(&handles[i]->mutex);
    }
    pthread_mutex_destroy(&types->mutex);
    sem_destroy(&types->stop);
    free(types);
}
