/*
 * open_files: a map in the order of opening (lru.h), in a shared table behind one mutex that is held for a look-up only; letting
 * go takes none. An entry is found while it is `listed`; the last one to let go of it, list or reader, sends it
 * to be closed.
 */
#include "common/file/open_files.h"

#include "common/base/log.h"
#include "common/base/lru.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct open_entry {
    struct open_file public; /* first */
    struct open_key key;
    atomic_size_t users; /* holders, and one for the list */
    bool listed;
    uint8_t *bytes; /* public.bytes */
    size_t bytes_size;
    int64_t since_ms;
    struct job close_job;
    struct lru_node node;         /* while it is listed */
    TAILQ_ENTRY(open_entry) link; /* among those that wait to be closed */
};
TAILQ_HEAD(open_list, open_entry);

struct open_files {
    struct open_files_options options;
    pthread_mutex_t mutex; /* of a shared table */
    struct lru table;      /* in the order of their opening */
    uint64_t seed;
    struct open_list closing; /* no worker took them yet */
    size_t total;             /* existing, in the table or not */
    size_t bytes;             /* of the entries' contents */
    uint64_t epoch;           /* counts what left the table: hints of before are void */
    bool ended;
};

static struct open_entry *open_files_entry_of(struct open_file *file)
{
    return CONTAINER_OF(file, struct open_entry, public);
}

/* The table is locked. */
static struct open_entry *open_files_seek(const struct open_files *files, const struct open_key *key)
{
    const struct lru_key wanted = lru_key_make(files->seed, key, sizeof(*key));
    struct lru_node *node = lru_find(&files->table, &wanted);
    return node ? CONTAINER_OF(node, struct open_entry, node) : NULL;
}

/* The table is locked. NULL where it is empty. */
static struct open_entry *oldest(const struct open_files *files)
{
    struct lru_node *node = lru_oldest(&files->table);
    return node ? CONTAINER_OF(node, struct open_entry, node) : NULL;
}

static void lock_table(struct open_files *files)
{
    if (files->options.shared)
        pthread_mutex_lock(&files->mutex);
}

static void unlock_table(struct open_files *files)
{
    if (files->options.shared)
        pthread_mutex_unlock(&files->mutex);
}

static void add_user(const struct open_files *files, struct open_entry *entry)
{
    if (files->options.shared)
        atomic_fetch_add_explicit(&entry->users, 1, memory_order_relaxed);
    else
        atomic_store_explicit(&entry->users, atomic_load_explicit(&entry->users, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

/* True for the last one, who sends it to be closed: nobody can find it any more. */
static bool drop_user(const struct open_files *files, struct open_entry *entry)
{
    size_t before = atomic_load_explicit(&entry->users, memory_order_relaxed);
    if (files->options.shared)
        before = atomic_fetch_sub_explicit(&entry->users, 1, memory_order_acq_rel);
    else
        atomic_store_explicit(&entry->users, before - 1, memory_order_relaxed);
    ASSERT(before > 0);
    return before == 1;
}

static void close_run(struct job *job)
{
    struct open_entry *entry = CONTAINER_OF(job, struct open_entry, close_job);
    (void)close(entry->public.fd); /* opened for reading: there is nothing that could be lost */
    free(entry->bytes);
    free(entry);
}

/* The table is locked. */
static void hand_to_worker(struct open_files *files, struct open_entry *entry)
{
    entry->close_job = (struct job){.run = close_run};
    if (files->ended)
        close_run(&entry->close_job);
    else if (!files->options.submit(entry->key.owner, &entry->close_job)) {
        TAILQ_INSERT_TAIL(&files->closing, entry, link);
        return;
    }
    files->total--;
}

/* The table is locked. */
static void retire(struct open_files *files, struct open_entry *entry)
{
    files->bytes -= entry->bytes_size;
    hand_to_worker(files, entry);
}

/* The table is locked. */
static void unlist(struct open_files *files, struct open_entry *entry)
{
    ASSERT(entry->listed);
    files->epoch++;
    lru_remove(&files->table, &entry->node);
    entry->listed = false;
    if (drop_user(files, entry))
        retire(files, entry);
}

struct open_files *open_files_create(const struct open_files_options *options)
{
    struct open_files *files = calloc(1, sizeof(*files));
    if (!files)
        return NULL;
    files->options = *options;
    pthread_mutex_init(&files->mutex, NULL);
    lru_init(&files->table);
    files->seed = lru_seed();
    TAILQ_INIT(&files->closing);
    return files;
}

static void free_if_done(struct open_files *files, bool done)
{
    if (!done)
        return;
    pthread_mutex_destroy(&files->mutex);
    free(files);
}

static void close_waiting(struct open_files *files)
{
    struct open_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
    struct open_entry *entry;
    TAILQ_CONCAT(&waiting, &files->closing, link);
    while ((entry = TAILQ_FIRST(&waiting))) {
        TAILQ_REMOVE(&waiting, entry, link);
        hand_to_worker(files, entry);
    }
}

void open_files_end(struct open_files *files)
{
    struct open_entry *entry;
    if (!files)
        return;
    lock_table(files);
    files->ended = true;
    while ((entry = oldest(files)))
        unlist(files, entry);
    close_waiting(files);
    bool done = files->total == 0;
    unlock_table(files);
    free_if_done(files, done);
}

struct open_file *open_files_find(struct open_files *files, const struct open_key *key,
                                  struct open_hint *hint, int64_t now_ms)
{
    struct open_entry *entry = NULL;
    lock_table(files);
    if (hint && hint->file && hint->epoch == files->epoch)
        entry = open_files_entry_of(hint->file);
    else
        entry = open_files_seek(files, key);
    if (entry && now_ms - entry->since_ms > files->options.age_ms) {
        unlist(files, entry);
        entry = NULL;
    }
    if (entry)
        add_user(files, entry);
    if (entry && hint)
        *hint = (struct open_hint){&entry->public, files->epoch};
    unlock_table(files);
    return entry ? &entry->public : NULL;
}

/* The table is locked; the caller is ENTRY's only user. */
static void enlist(struct open_files *files, struct open_entry *entry)
{
    struct open_entry *other = open_files_seek(files, &entry->key);
    if (other) /* two opened it at once: the younger one stays */
        unlist(files, other);
    if (files->table.count >= files->options.files_max)
        unlist(files, oldest(files));
    const struct lru_key own = lru_key_make(files->seed, &entry->key, sizeof(entry->key));
    entry->listed = lru_add(&files->table, &entry->node, &own);
    if (!entry->listed) /* no memory to keep it: it serves this once */
        return;
    add_user(files, entry);
}

struct open_file *open_files_add(struct open_files *files, const struct open_key *key, int fd, int64_t size,
                                 uint8_t *bytes, int64_t now_ms)
{
    struct open_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->public = (struct open_file){.fd = fd, .size = size};
    entry->key = *key;
    atomic_init(&entry->users, 1);
    entry->since_ms = now_ms;
    lock_table(files);
    files->total++;
    if (bytes && files->bytes + (size_t)size <= files->options.bytes_max) {
        entry->public.bytes = entry->bytes = bytes;
        entry->bytes_size = (size_t)size;
        files->bytes += (size_t)size;
        bytes = NULL;
    }
    if (!files->ended && files->options.files_max > 0)
        enlist(files, entry);
    unlock_table(files);
    free(bytes); /* there is no room for them */
    return &entry->public;
}

void open_files_keep(struct open_files *files, struct open_file *file, const void *bytes, size_t size)
{
    struct open_entry *entry = open_files_entry_of(file);
    ASSERT(!files->options.shared); /* others may be reading file->bytes */
    if (entry->bytes || !entry->listed || files->bytes + size > files->options.bytes_max)
        return;
    entry->bytes = malloc(size);
    if (!entry->bytes)
        return;
    memcpy(entry->bytes, bytes, size);
    entry->bytes_size = size;
    files->bytes += size;
    file->bytes = entry->bytes;
}

void open_files_take(struct open_files *files, struct open_file *file)
{
    add_user(files, open_files_entry_of(file));
}

void open_files_release(struct open_files *files, struct open_file *file)
{
    if (!drop_user(files, open_files_entry_of(file)))
        return;
    lock_table(files);
    retire(files, open_files_entry_of(file));
    bool done = files->ended && files->total == 0;
    unlock_table(files);
    free_if_done(files, done);
}

void open_files_forget(struct open_files *files, const struct open_key *key)
{
    lock_table(files);
    struct open_entry *entry = open_files_seek(files, key);
    if (entry)
        unlist(files, entry);
    unlock_table(files);
}

void open_files_forget_held(struct open_files *files, struct open_file *file)
{
    lock_table(files);
    if (open_files_entry_of(file)->listed)
        unlist(files, open_files_entry_of(file));
    unlock_table(files);
}

void open_files_tick(struct open_files *files, int64_t now_ms)
{
    struct open_entry *entry;
    lock_table(files);
    while ((entry = oldest(files)) && now_ms - entry->since_ms > files->options.age_ms)
        unlist(files, entry);
    close_waiting(files);
    unlock_table(files);
}

size_t open_files_count(struct open_files *files)
{
    lock_table(files);
    size_t total = files->total;
    unlock_table(files);
    return total;
}
