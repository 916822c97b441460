/*
 * store_choice: pure computation over the states that storage/store/store_path.c keeps.
 */
#include "storage/store/store_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that an upload of SIZE bytes would leave above the floor; -1 where it does not fit. */
static int64_t room_for(const struct store *store, const struct store_path_status *status, int64_t size)
{
    int64_t floor, inodes;
    store_floors(store, &floor, &inodes);
    if (status->free_inodes < inodes || status->free < floor || status->free - floor < size)
        return -1;
    return status->free - floor - size;
}

struct store_path *store_choose(const struct store *store, int64_t size, struct error *error)
{
    struct store_path *chosen = NULL;
    double total = 0;
    bool full = false;
    size_t used = 0;
    char reasons[ERROR_TEXT_SIZE] = "";
    for (size_t i = 0; i < store_count(store); i++) {
        struct store_path *path = store_at(store, i);
        struct store_path_status status;
        store_path_status(path, &status);
        bool usable = status.writable && !status.hanging;
        int64_t room = usable ? room_for(store, &status, size) : -1;
        if (room >= 0) {
            /* Each path takes the choice over with its share of the room seen so far: fair by weight. */
            double weight = (double)room + 1;
            total += weight;
            if (weight >= total || (double)arc4random() / 4294967296.0 < weight / total)
                chosen = path;
            continue;
        }
        full = full || usable || status.full;
        if (used < sizeof(reasons)) {
            int length = snprintf(reasons + used, sizeof(reasons) - used, "%s%s: %s", used ? "; " : "",
                                  store_path_key(path),
                                  status.reason[0] ? status.reason : "too little room for that size");
            used += length > 0 ? (size_t)length : 0;
        }
    }
    if (!chosen)
        error_set(error, full ? ERROR_NO_SPACE : ERROR_UNAVAILABLE, "no store path takes %lld bytes (%s)",
                  (long long)size, reasons);
    return chosen;
}

struct store_path *store_find(const struct store *store, const char *file_path, struct path *path,
                              struct error *error)
{
    size_t length = strlen(file_path);
    if (length < PATH_TEXT_SIZE + 1 || file_path[length - PATH_TEXT_SIZE] != '/' ||
        !path_parse(file_path + length - PATH_TEXT_SIZE + 1, path)) {
        error_set(error, ERROR_IO,
                  "the path \"%s\" in the row does not have the form KEY/AAA/BBB/CCC/SSSSSSSS_DDD",
                  file_path);
        return NULL;
    }
    size_t key_length = length - PATH_TEXT_SIZE;
    for (size_t i = 0; i < store_count(store); i++) {
        const char *key = store_path_key(store_at(store, i));
        if (strlen(key) == key_length && memcmp(key, file_path, key_length) == 0)
            return store_at(store, i);
    }
    error_set(error, ERROR_IO,
              "the path \"%s\" in the row does not begin with the key of any store path of this server",
              file_path);
    return NULL;
}

void store_space(const struct store *store, struct store_space *space)
{
    *space = (struct store_space){0};
    for (size_t i = 0; i < store_count(store); i++) {
        struct store_path_status status;
        store_path_status(store_at(store, i), &status);
        if (status.readable)
            space->capacity += status.capacity;
        int64_t room = status.writable && !status.hanging ? room_for(store, &status, 0) : -1;
        if (room < 0)
            continue;
        space->writable++;
        space->free += room;
        int64_t inodes = status.free_inodes == INT64_MAX ? INT32_MAX : status.free_inodes;
        space->free_inodes += inodes;
    }
}

bool store_healthy(const struct store *store, char *reason, size_t reason_size)
{
    size_t hindered = 0, failing = 0;
    reason[0] = '\0';
    for (size_t i = 0; i < store_count(store); i++) {
        struct store_path_status status;
        store_path_status(store_at(store, i), &status);
        if (!status.readable || status.hanging) {
            snprintf(reason, reason_size, "store path %s: %s", store_path_key(store_at(store, i)),
                     status.reason);
            return false;
        }
        if (status.writable && !status.full)
            continue;
        if (hindered++ == 0)
            snprintf(reason, reason_size, "store path %s takes no uploads: %s",
                     store_path_key(store_at(store, i)), status.reason);
        failing += status.full ? 0 : 1;
    }
    return failing == 0 || hindered < store_count(store);
}
