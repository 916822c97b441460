#include "httpd/files/local_files.h"
#include "common/base/hash.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct entry_key {
    const struct local_volume *volume;
    char place[LOCAL_PLACE_SIZE - 1];
};

struct entry {
    struct local_file public; /* first */
    struct entry_key key;
    size_t users; /* who holds it, and one for the table */
    bool listed;
    char *kept;
    size_t kept_size;
    int64_t since_ms;
    struct job close_job;
    TAILQ_ENTRY(entry) link; /* by age, or among those that wait to be closed */
    UT_hash_handle hh;
};
TAILQ_HEAD(entry_list, entry);

struct local_files {
    struct loop *loop;
    size_t files_max;
    int64_t age_ms;
    struct entry *table;
    struct entry_list by_age;  /* oldest first */
    struct entry_list closing; /* no worker took them yet */
    size_t count;              /* in the table */
    uint64_t epoch;            /* counts what left the table: hints of before are void */
    size_t kept;               /* bytes of files in memory */
    size_t users;              /* entries and openings that refer to this struct */
    bool closed;
    char scratch[LOCAL_SCRATCH_SIZE];
};

struct local_opening {
    struct job job;
    struct event timer;
    struct local_files *files;
    struct entry_key key;
    int64_t size;
    local_files_callback callback; /* NULL: nobody waits any more */
    void *argument;
    int fd; /* of the worker */
    struct error error;
};

static struct entry *entry_of(struct local_file *file)
{
    return CONTAINER_OF(file, struct entry, public);
}

static struct entry_key make_key(const struct local_volume *volume, const char *place)
{
    struct entry_key key = {.volume = volume};
    memcpy(key.place, place, sizeof(key.place));
    return key;
}

static void drop_files_user(struct local_files *files)
{
    files->users--;
    if (files->closed && files->users == 0)
        free(files);
}

/* ---- closing ---- */

static void close_run(struct job *job)
{
    struct entry *entry = CONTAINER_OF(job, struct entry, close_job);
    (void)close(entry->public.fd); /* opened for reading: there is nothing that could be lost */
    free(entry);
}

static void close_entry(struct local_files *files, struct entry *entry)
{
    free(entry->kept);
    files->kept -= entry->kept_size;
    entry->kept = NULL;
    entry->kept_size = 0;
    entry->close_job = (struct job){.run = close_run};
    if (files->closed) {
        close_run(&entry->close_job);
    } else if (!workers_submit(entry->key.volume->workers, &entry->close_job)) {
        TAILQ_INSERT_TAIL(&files->closing, entry, link);
        return;
    }
    drop_files_user(files);
}

static void drop_user(struct local_files *files, struct entry *entry)
{
    ASSERT(entry->users > 0);
    if (--entry->users == 0)
        close_entry(files, entry);
}

static void unlist(struct local_files *files, struct entry *entry)
{
    ASSERT(files->table);
    files->epoch++;
    HASH_DEL(files->table, entry);
    TAILQ_REMOVE(&files->by_age, entry, link);
    entry->listed = false;
    files->count--;
    drop_user(files, entry);
}

void local_files_take(struct local_file *file)
{
    entry_of(file)->users++;
}

void local_files_keep(struct local_files *files, struct local_file *file, const char *bytes, size_t size)
{
    struct entry *entry = entry_of(file);
    if (entry->kept != NULL || !entry->listed || size > LOCAL_KEPT_SIZE ||
        files->kept + size > LOCAL_KEPT_MAX)
        return;
    entry->kept = malloc(size);
    if (entry->kept == NULL)
        return;
    memcpy(entry->kept, bytes, size);
    entry->kept_size = size;
    files->kept += size;
    file->bytes = entry->kept;
}

void local_files_release(struct local_files *files, struct local_file *file)
{
    drop_user(files, entry_of(file));
}

void local_files_forget(struct local_files *files, struct local_file *file)
{
    if (entry_of(file)->listed)
        unlist(files, entry_of(file));
}

void local_files_tick(struct local_files *files)
{
    int64_t now = loop_now_ms(files->loop);
    struct entry *entry;
    struct entry_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
    while ((entry = TAILQ_FIRST(&files->by_age)) != NULL && now - entry->since_ms >= files->age_ms)
        unlist(files, entry);
    TAILQ_CONCAT(&waiting, &files->closing, link);
    while ((entry = TAILQ_FIRST(&waiting)) != NULL) {
        TAILQ_REMOVE(&waiting, entry, link);
        close_entry(files, entry);
    }
}

/* ---- opening ---- */

/* Takes the opened file over; the caller holds it. NULL without memory: it was closed. */
static struct local_file *add(struct local_files *files, const struct entry_key *key, int fd)
{
    struct entry *entry = calloc(1, sizeof(*entry)), *other = NULL;
    if (entry == NULL) {
        (void)close(fd);
        return NULL;
    }
    entry->public = (struct local_file){.fd = fd, .volume = key->volume};
    entry->key = *key;
    entry->users = 1;
    entry->since_ms = loop_now_ms(files->loop);
    files->users++;
    if (files->closed || files->files_max == 0)
        return &entry->public;
    HASH_FIND(hh, files->table, key, sizeof(*key), other);
    if (other != NULL) /* two opened it at once: the younger one stays */
        unlist(files, other);
    if (files->count >= files->files_max && !TAILQ_EMPTY(&files->by_age))
        unlist(files, TAILQ_FIRST(&files->by_age));
    HASH_ADD(hh, files->table, key, sizeof(entry->key), entry);
    entry->listed = HASH_ADDED(hh, entry);
    if (!entry->listed) /* no memory to put it into the table: it serves once */
        return &entry->public;
    TAILQ_INSERT_TAIL(&files->by_age, entry, link);
    entry->users++;
    files->count++;
    return &entry->public;
}

/* On a worker. */
static void open_run(struct job *job)
{
    struct local_opening *opening = CONTAINER_OF(job, struct local_opening, job);
    opening->fd = local_volume_open(opening->key.volume, opening->key.place, opening->size, &opening->error);
}

static void open_done(struct job *job)
{
    struct local_opening *opening = CONTAINER_OF(job, struct local_opening, job);
    struct local_files *files = opening->files;
    local_files_callback callback = opening->callback;
    struct local_file *file = NULL;
    if (callback != NULL)
        event_del(&opening->timer);
    if (opening->fd >= 0) {
        file = add(files, &opening->key, opening->fd);
        if (file == NULL)
            (void)error_set(&opening->error, ERROR_UNAVAILABLE, "no memory for an open file");
    }
    if (callback != NULL)
        callback(opening->argument, file, file == NULL ? &opening->error : NULL);
    else if (file != NULL)
        local_files_release(files, file);
    free(opening);
    drop_files_user(files);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct local_opening *opening = argument;
    local_files_callback callback = opening->callback;
    struct error error;
    (void)fd;
    (void)what;
    (void)error_set(&error, ERROR_TIMEOUT, "opening takes more than %d ms", LOCAL_HANG_MS);
    opening->callback = NULL;
    callback(opening->argument, NULL, &error);
}

struct local_opening *local_files_open(struct local_files *files, const struct local_volume *volume,
                                       const char *place, int64_t size, local_files_callback callback,
                                       void *argument, struct error *error)
{
    const struct timeval patience = duration_timeval(LOCAL_HANG_MS);
    struct local_opening *opening = calloc(1, sizeof(*opening));
    if (opening == NULL) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
        return NULL;
    }
    opening->job = (struct job){.run = open_run, .done = open_done, .loop = files->loop};
    opening->files = files;
    opening->key = make_key(volume, place);
    opening->size = size;
    opening->callback = callback;
    opening->argument = argument;
    opening->fd = -1;
    if (evtimer_assign(&opening->timer, loop_base(files->loop), on_timer, opening) != 0 ||
        event_add(&opening->timer, &patience) != 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "libevent takes no timer");
        free(opening);
        return NULL;
    }
    if (!workers_submit(volume->workers, &opening->job)) {
        event_del(&opening->timer);
        free(opening);
        (void)error_set(error, ERROR_UNAVAILABLE, "too many calls wait for its disk");
        return NULL;
    }
    files->users++;
    return opening;
}

void local_files_cancel(struct local_opening *opening)
{
    event_del(&opening->timer);
    opening->callback = NULL;
}

/* ---- the table ---- */

struct local_files *local_files_create(struct loop *loop, size_t files_max, int64_t age_ms)
{
    struct local_files *files = calloc(1, sizeof(*files));
    if (files == NULL)
        return NULL;
    files->loop = loop;
    files->files_max = files_max;
    files->age_ms = age_ms;
    TAILQ_INIT(&files->by_age);
    TAILQ_INIT(&files->closing);
    return files;
}

void local_files_close(struct local_files *files)
{
    struct entry *entry;
    if (files == NULL)
        return;
    files->users++;
    files->closed = true;
    while ((entry = TAILQ_FIRST(&files->by_age)) != NULL)
        unlist(files, entry);
    while ((entry = TAILQ_FIRST(&files->closing)) != NULL) {
        TAILQ_REMOVE(&files->closing, entry, link);
        close_entry(files, entry);
    }
    drop_files_user(files);
}

struct local_file *local_files_find(struct local_files *files, const struct local_volume *volume,
                                    const char *place, struct local_hint *hint)
{
    struct entry *entry = NULL;
    if (hint->file != NULL && hint->epoch == files->epoch) {
        entry = entry_of(hint->file);
    } else {
        struct entry_key key = make_key(volume, place);
        HASH_FIND(hh, files->table, &key, sizeof(key), entry);
        if (entry == NULL)
            return NULL;
        *hint = (struct local_hint){&entry->public, files->epoch};
    }
    entry->users++;
    return &entry->public;
}

char *local_files_scratch(struct local_files *files)
{
    return files->scratch;
}
