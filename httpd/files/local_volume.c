/*
 * local_volume: entries of httpd.local_groups, their workers, and opening below a volume's directory.
 */
#include "httpd/files/local_volume.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE_MAX  1024
#define MISSED_MAX 64 /* keys that are remembered, each logged once */

/* Keys of local groups that no entry names. */
struct missed_keys {
    pthread_mutex_t mutex;
    size_t count;
    struct {
        char group[PROTO_GROUP_SIZE];
        char key[PROTO_KEY_SIZE];
    } items[MISSED_MAX];
    struct metric *metric;
};

struct local_volumes {
    struct missed_keys *missed;
    size_t count;
    struct local_volume items[];
};

bool local_volume_split(const char *text, char group[PROTO_GROUP_SIZE], char key[PROTO_KEY_SIZE],
                        const char **directory, struct error *error)
{
    const char *colon = strchr(text, ':');
    size_t group_size = !colon ? 0 : (size_t)(colon - text);
    if (group_size == 0 || group_size >= PROTO_GROUP_SIZE)
        return error_set(
            error, ERROR_MALFORMED,
            "httpd.local_groups: \"%s\" names no group; GROUP:KEY=DIR is expected, e.g. group001:/srv/media",
            text);
    memcpy(group, text, group_size);
    group[group_size] = '\0';
    if (!proto_name_valid(group, PROTO_GROUP_SIZE))
        return error_set(error, ERROR_MALFORMED,
                         "httpd.local_groups: the group of \"%s\" is not 1 to %d letters and digits", text,
                         PROTO_GROUP_SIZE - 1);
    const char *rest = colon + 1;
    const char *equals = strchr(rest, '=');
    size_t key_size = !equals ? strlen(rest) : (size_t)(equals - rest);
    *directory = !equals ? rest : equals + 1;
    /* As storage servers take a key that was written with a slash at its end. */
    while (key_size > 1 && rest[key_size - 1] == '/')
        key_size--;
    if (key_size == 0 || key_size >= PROTO_KEY_SIZE)
        return error_set(error, ERROR_MALFORMED,
                         "httpd.local_groups: the key of \"%s\" has %zu bytes; it must have 1 to %d, as in "
                         "storage.paths",
                         text, key_size, PROTO_KEY_SIZE - 1);
    if ((*directory)[0] != '/')
        return error_set(error, ERROR_MALFORMED,
                         "httpd.local_groups: the directory of \"%s\" must be absolute, e.g. "
                         "group001:../data=/srv/media",
                         text);
    memcpy(key, rest, key_size);
    key[key_size] = '\0';
    return true;
}

bool local_volumes_check(const struct config_strings *entries, struct error *error)
{
    char group[PROTO_GROUP_SIZE], key[PROTO_KEY_SIZE];
    char other_group[PROTO_GROUP_SIZE], other_key[PROTO_KEY_SIZE];
    const char *directory;
    if (entries->count > LOCAL_VOLUMES_MAX)
        return error_set(error, ERROR_MALFORMED,
                         "httpd.local_groups has %zu entries; at most %d are possible", entries->count,
                         LOCAL_VOLUMES_MAX);
    for (size_t i = 0; i < entries->count; i++) {
        if (!local_volume_split(entries->items[i], group, key, &directory, error))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (!local_volume_split(entries->items[j], other_group, other_key, &directory, error))
                return false;
            if (strcmp(group, other_group) == 0 && strcmp(key, other_key) == 0)
                return error_set(error, ERROR_MALFORMED,
                                 "httpd.local_groups: the key \"%s\" of group %s appears twice", key, group);
        }
    }
    return true;
}

struct local_volumes *local_volumes_create(const struct config_strings *entries, size_t threads,
                                           struct error *error)
{
    struct local_volumes *volumes =
        calloc(1, sizeof(*volumes) + entries->count * sizeof(struct local_volume));
    if (!volumes) {
        error_set_errno(error, ENOMEM, "cannot keep the local groups");
        return NULL;
    }
    volumes->missed = calloc(1, sizeof(*volumes->missed));
    if (!volumes->missed) {
        error_set_errno(error, ENOMEM, "cannot keep the local groups");
        goto fail;
    }
    pthread_mutex_init(&volumes->missed->mutex, NULL);
    volumes->missed->metric =
        metrics_counter("reel_httpd_local_unknown_keys_total",
                        "Files of local groups in a store path whose key local_groups does not name.", NULL);
    for (size_t i = 0; i < entries->count; i++) {
        struct local_volume *volume = &volumes->items[volumes->count++];
        char name[32];
        const char *directory = NULL;
        if (!local_volume_split(entries->items[i], volume->group, volume->key, &directory, error))
            goto fail;
        ASSERT(directory);
        volume->directory = strdup(directory);
        if (!volume->directory) {
            error_set_errno(error, ENOMEM, "cannot keep the local groups");
            goto fail;
        }
        snprintf(name, sizeof(name), "local%zu", i);
        volume->workers = workers_create(name, threads, QUEUE_MAX, error);
        if (!volume->workers)
            goto fail;
        snprintf(name, sizeof(name), "bulk%zu", i);
        volume->bulk = workers_create(name, (threads + 1) / 2, QUEUE_MAX, error);
        if (!volume->bulk)
            goto fail;
        log_info("local", "group %s: files of the store path \"%s\" are read from %s", volume->group,
                 volume->key, volume->directory);
    }
    return volumes;
fail:
    local_volumes_end_workers(volumes, INT32_MAX);
    local_volumes_destroy(volumes);
    return NULL;
}

void local_volumes_end_workers(struct local_volumes *volumes, int64_t timeout_ms)
{
    for (size_t i = 0; volumes && i < volumes->count; i++) {
        struct local_volume *volume = &volumes->items[i];
        if (workers_destroy(volume->workers, timeout_ms))
            volume->workers = NULL;
        if (workers_destroy(volume->bulk, timeout_ms))
            volume->bulk = NULL;
        if (volume->workers || volume->bulk)
            log_warning("local", "group %s: %s hangs; it is abandoned", volume->group, volume->directory);
    }
}

void local_volumes_destroy(struct local_volumes *volumes)
{
    for (size_t i = 0; volumes && i < volumes->count; i++) {
        if (volumes->items[i].workers || volumes->items[i].bulk)
            return; /* a worker that hangs may still look at it */
    }
    for (size_t i = 0; volumes && i < volumes->count; i++)
        free(volumes->items[i].directory);
    if (volumes && volumes->missed)
        pthread_mutex_destroy(&volumes->missed->mutex);
    if (volumes)
        free(volumes->missed);
    free(volumes);
}

const struct local_volume *local_volumes_find(const struct local_volumes *volumes, const char *group,
                                              const char *key)
{
    for (size_t i = 0; i < volumes->count; i++) {
        if (strcmp(volumes->items[i].group, group) == 0 && strcmp(volumes->items[i].key, key) == 0)
            return &volumes->items[i];
    }
    return NULL;
}

/* The first volume of GROUP, or NULL. */
static const struct local_volume *volume_of_group(const struct local_volumes *volumes, const char *group)
{
    for (size_t i = 0; i < volumes->count; i++) {
        if (strcmp(volumes->items[i].group, group) == 0)
            return &volumes->items[i];
    }
    return NULL;
}

/* True the first time, while there is room to remember it. */
static bool note_missed(struct missed_keys *missed, const char *group, const char *key)
{
    bool news = true;
    pthread_mutex_lock(&missed->mutex);
    for (size_t i = 0; news && i < missed->count; i++)
        news = strcmp(missed->items[i].group, group) != 0 || strcmp(missed->items[i].key, key) != 0;
    news = news && missed->count < MISSED_MAX;
    if (news) {
        snprintf(missed->items[missed->count].group, PROTO_GROUP_SIZE, "%s", group);
        snprintf(missed->items[missed->count].key, PROTO_KEY_SIZE, "%s", key);
        missed->count++;
    }
    pthread_mutex_unlock(&missed->mutex);
    return news;
}

void local_volumes_miss(const struct local_volumes *volumes, const char *group, const char *key)
{
    const struct local_volume *other = volume_of_group(volumes, group);
    if (!other)
        return;
    metric_add(volumes->missed->metric, 1);
    if (note_missed(volumes->missed, group, key))
        log_warning(
            "local",
            "group %s: files lie in the store path \"%s\", but httpd.local_groups names the key \"%s\": they "
            "are relayed from the storage servers. Is the KEY wrong, or is an entry %s:%s=DIR missing?",
            group, key, other->key, group, key);
}

bool local_volume_hangs(const struct local_volume *volume)
{
    return workers_oldest_ms(volume->workers) > LOCAL_HANG_MS ||
           workers_oldest_ms(volume->bulk) > LOCAL_HANG_MS;
}

static bool volume_check_file(int fd, int64_t size, struct error *error)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_set_errno(error, errno, "cannot be looked at");
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_IO, "not a regular file");
    if (status.st_size != size)
        return error_set(error, ERROR_IO, "has %" PRId64 " bytes, its row says %" PRId64,
                         (int64_t)status.st_size, size);
    return true;
}

int local_volume_open(const struct local_volume *volume, const char *place, int64_t size, struct error *error)
{
    char parts[LOCAL_PLACE_SIZE];
    char *part = parts, *slash;
    int directory = open(volume->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;
    if (directory < 0) {
        (void)error_set_errno(error, errno, "the directory cannot be opened");
        return -1;
    }
    snprintf(parts, sizeof(parts), "%.*s", LOCAL_PLACE_SIZE - 1, place);
    while ((slash = strchr(part, '/'))) {
        *slash = '\0';
        int next = openat(directory, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int errnum = errno;
        (void)close(directory);
        if (next < 0) {
            (void)error_set_errno(error, errnum, "the directory %s cannot be opened", part);
            return -1;
        }
        directory = next;
        part = slash + 1;
    }
    /* O_NONBLOCK: what is not a file (a FIFO) must not hold the worker. */
    fd = openat(directory, part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int errnum = errno;
    (void)close(directory);
    if (fd < 0) {
        (void)error_set_errno(error, errnum, "cannot be opened");
        return -1;
    }
    if (!volume_check_file(fd, size, error)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}
