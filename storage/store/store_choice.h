/*
 * store_choice: questions about all store paths together: which one takes an upload, which one a row means, how much room
 * there is, whether they are well. Called by uploads, downloads and the heartbeat. Any thread; never blocks.
 */
#ifndef REEL_STORAGE_STORE_CHOICE_H
#define REEL_STORAGE_STORE_CHOICE_H

#include "storage/store/store.h"

/* The store path for an upload of SIZE bytes: one of those that stay above the floors, by chance, weighted by
 * free space. NULL: ERROR_NO_SPACE when a path is only full, else ERROR_UNAVAILABLE with the reason of each.
 */
struct store_path *store_choose(const struct store *store, int64_t size, struct error *error);

/* The store path and place that FILE_PATH of a row means. NULL: no configured KEY is its beginning, or what
 * follows is no place (ERROR_IO, for the log and the client alike). */
struct store_path *store_find(const struct store *store, const char *file_path, struct path *path,
                              struct error *error);

struct store_space {
    int64_t capacity; /* bytes, over all paths that can be read */
    int64_t free; /* bytes that uploads may use: the floor taken off, over all paths that can be written */
    int64_t free_inodes; /* the same */
    size_t writable;     /* paths that take uploads now, room considered */
};
void store_space(const struct store *store, struct store_space *space);

/* False with a path that cannot be read, or, where none takes uploads for another reason than lack of space, with why.
 * True with a REASON (else "") where uploads are hindered: a path takes none. */
bool store_healthy(const struct store *store, char *reason, size_t reason_size);

#endif
