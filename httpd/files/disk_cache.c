/*
 * disk_cache: a file is written under a name of its own and renamed when it is whole, so that no reader sees half of one. Its
 * content begins with its digest: a file that a crash left short or empty does not count.
 */
#include "httpd/files/disk_cache.h"
#include "common/base/log.h"
#include "common/base/lru.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define DIGEST_SIZE sizeof(uint64_t)
#define FILE_MAX    ((off_t)16 * 1024 * 1024)
#define ENTRIES_MAX 1000000

struct disk_cache {
    pthread_mutex_t mutex;
    int directory;
    int64_t bytes, bytes_max;
    uint64_t seed, written; /* written: names of files that are not whole yet */
    struct lru entries;
};

struct cached_file {
    struct lru_node node;
    int64_t size;
    char key[DISK_CACHE_KEY_SIZE];
};

/* A file that was found at the start. */
struct found_file {
    int64_t size;
    struct timespec used;
    char key[DISK_CACHE_KEY_SIZE];
};

void disk_cache_key(const void *bytes, size_t size, char key[DISK_CACHE_KEY_SIZE])
{
    XXH128_hash_t hash = XXH3_128bits(bytes, size);
    snprintf(key, DISK_CACHE_KEY_SIZE, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

static bool is_key(const char *name)
{
    return strlen(name) == DISK_CACHE_KEY_SIZE - 1 &&
           strspn(name, "0123456789abcdef") == DISK_CACHE_KEY_SIZE - 1;
}

/* ---- the table; with the mutex ---- */

static struct cached_file *find_entry(struct disk_cache *cache, const char *key)
{
    const struct lru_key wanted = lru_key_make(cache->seed, key, DISK_CACHE_KEY_SIZE - 1);
    struct lru_node *node = lru_find(&cache->entries, &wanted);
    return node ? CONTAINER_OF(node, struct cached_file, node) : NULL;
}

static void disk_cache_drop_entry(struct disk_cache *cache, struct cached_file *entry, bool unlink_too)
{
    if (unlink_too)
        (void)unlinkat(cache->directory, entry->key, 0);
    lru_remove(&cache->entries, &entry->node);
    cache->bytes -= entry->size;
    free(entry);
}

static bool add_entry(struct disk_cache *cache, const char *key, int64_t size)
{
    struct cached_file *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return false;
    memcpy(entry->key, key, sizeof(entry->key));
    entry->size = size;
    const struct lru_key own = lru_key_make(cache->seed, entry->key, DISK_CACHE_KEY_SIZE - 1);
    if (!lru_add(&cache->entries, &entry->node, &own)) {
        free(entry);
        return false;
    }
    cache->bytes += size;
    while (cache->bytes > cache->bytes_max && cache->entries.count > 1)
        disk_cache_drop_entry(cache, CONTAINER_OF(lru_oldest(&cache->entries), struct cached_file, node),
                              true);
    return true;
}

/* ---- what lies there from before ---- */

static int older_first(const void *a, const void *b)
{
    const struct found_file *left = a, *right = b;
    if (left->used.tv_sec != right->used.tv_sec)
        return left->used.tv_sec < right->used.tv_sec ? -1 : 1;
    return left->used.tv_nsec < right->used.tv_nsec ? -1 : left->used.tv_nsec > right->used.tv_nsec;
}

/* False without memory. */
static bool note_found(struct disk_cache *cache, const char *name, struct found_file **files, size_t *count)
{
    struct stat status;
    if (strncmp(name, "new-", 4) == 0) { /* a crash left it */
        (void)unlinkat(cache->directory, name, 0);
        return true;
    }
    if (!is_key(name) || *count == ENTRIES_MAX ||
        fstatat(cache->directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
        return true;
    if ((*count & (*count + 1)) == 0) {
        struct found_file *more = realloc(*files, 2 * (*count + 1) * sizeof(**files));
        if (!more)
            return false;
        *files = more;
    }
    struct found_file *file = &(*files)[(*count)++];
    *file = (struct found_file){.size = status.st_size, .used = status.st_mtim};
    memcpy(file->key, name, sizeof(file->key));
    return true;
}

static bool disk_cache_take_over(struct disk_cache *cache, const char *path, struct error *error)
{
    struct found_file *files = NULL;
    size_t count = 0;
    bool taken = true;
    DIR *directory = opendir(path);
    if (!directory)
        return error_set_errno(error, errno, "cannot list the cache directory %s", path);
    for (const struct dirent *item; taken && (item = readdir(directory));)
        taken = note_found(cache, item->d_name, &files, &count);
    closedir(directory);
    if (taken && count > 0)
        qsort(files, count, sizeof(*files), older_first);
    for (size_t i = 0; taken && i < count; i++)
        taken = add_entry(cache, files[i].key, files[i].size);
    free(files);
    return taken || error_set(error, ERROR_UNAVAILABLE, "no memory for the list of %s", path);
}

struct disk_cache *disk_cache_create(const char *directory, int64_t bytes_max, struct error *error)
{
    struct disk_cache *cache = calloc(1, sizeof(*cache));
    if (!cache) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a cache");
        return NULL;
    }
    pthread_mutex_init(&cache->mutex, NULL);
    lru_init(&cache->entries);
    cache->seed = lru_seed();
    cache->bytes_max = bytes_max;
    cache->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cache->directory < 0)
        (void)error_set_errno(error, errno, "cannot open the cache directory %s", directory);
    if (cache->directory >= 0 && disk_cache_take_over(cache, directory, error))
        return cache;
    disk_cache_destroy(cache);
    return NULL;
}

void disk_cache_destroy(struct disk_cache *cache)
{
    if (!cache)
        return;
    while (cache->entries.count > 0)
        disk_cache_drop_entry(cache, CONTAINER_OF(lru_oldest(&cache->entries), struct cached_file, node),
                              false);
    if (cache->directory >= 0)
        close(cache->directory);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

/* ---- files ---- */

/* The content behind the digest; NULL: damaged, or it cannot be read. */
static uint8_t *read_file(int fd, size_t *size)
{
    struct stat status;
    uint64_t digest;
    if (fstat(fd, &status) != 0 || status.st_size <= (off_t)DIGEST_SIZE || status.st_size > FILE_MAX ||
        read(fd, &digest, sizeof(digest)) != (ssize_t)sizeof(digest))
        return NULL;
    *size = (size_t)status.st_size - DIGEST_SIZE;
    uint8_t *bytes = malloc(*size);
    if (bytes && read(fd, bytes, *size) == (ssize_t)*size && XXH3_64bits(bytes, *size) == digest)
        return bytes;
    free(bytes);
    return NULL;
}

uint8_t *disk_cache_get(struct disk_cache *cache, const char *key, size_t *size)
{
    pthread_mutex_lock(&cache->mutex);
    struct cached_file *entry = find_entry(cache, key);
    if (entry)
        lru_use(&cache->entries, &entry->node);
    pthread_mutex_unlock(&cache->mutex);
    int fd = entry ? openat(cache->directory, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    uint8_t *bytes = NULL;
    if (fd >= 0) {
        bytes = read_file(fd, size);
        if (bytes)
            (void)futimens(fd, NULL); /* its place in the order, for the next start */
        close(fd);
    }
    if (entry && !bytes) {
        pthread_mutex_lock(&cache->mutex);
        entry = find_entry(cache, key);
        if (entry)
            disk_cache_drop_entry(cache, entry, true);
        pthread_mutex_unlock(&cache->mutex);
    }
    return bytes;
}

static bool write_file(int fd, const uint8_t *bytes, size_t size)
{
    uint64_t digest = XXH3_64bits(bytes, size);
    return write(fd, &digest, sizeof(digest)) == (ssize_t)sizeof(digest) &&
           write(fd, bytes, size) == (ssize_t)size;
}

void disk_cache_put(struct disk_cache *cache, const char *key, const uint8_t *bytes, size_t size)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    char name[40];
    int64_t whole = (int64_t)(size + DIGEST_SIZE);
    if (whole > FILE_MAX || whole > cache->bytes_max)
        return;
    pthread_mutex_lock(&cache->mutex);
    snprintf(name, sizeof(name), "new-%llu", (unsigned long long)cache->written++);
    pthread_mutex_unlock(&cache->mutex);
    int fd = openat(cache->directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool written = fd >= 0 && write_file(fd, bytes, size);
    int code = errno;
    if (fd >= 0 && close(fd) != 0)
        written = false;
    pthread_mutex_lock(&cache->mutex);
    struct cached_file *before = find_entry(cache, key);
    if (written && renameat(cache->directory, name, cache->directory, key) == 0) {
        if (before)
            disk_cache_drop_entry(cache, before, false);
        if (!add_entry(cache, key, whole))
            (void)unlinkat(cache->directory, key, 0);
    } else {
        written = false;
        (void)unlinkat(cache->directory, name, 0);
    }
    pthread_mutex_unlock(&cache->mutex);
    if (!written && log_gate_open(&gate, 1000, &suppressed))
        log_warning("posters", "a picture cannot be kept in the cache: %s", strerror(code));
}
