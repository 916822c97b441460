/*
 * store_scan: what the clean-up and the scrub do with a store path's directories: read them, look at a name,
 * put a file into quarantine (.quarantine of the store path) and back, remove what has lain there. Names are
 * relative to the store path's directory; nothing is followed.
 *
 * Everything here BLOCKS; called by the rooms of storage/upkeep on the upkeep's thread. Failures are reported to
 * store_path_report().
 */
#ifndef REEL_STORAGE_STORE_SCAN_H
#define REEL_STORAGE_STORE_SCAN_H

#include "storage/store/store_path.h"

#define STORE_QUARANTINE     ".quarantine"
#define STORE_SCAN_NAME_SIZE 256

struct store_scan_look {
    bool found;
    bool regular;
    int64_t size;
    int64_t touched; /* seconds since the epoch: the last write or change of the inode, whichever is later */
    int64_t moved;   /* the last change of the inode, which a rename is */
    uint64_t inode;
};

/* The same file, unchanged? False also where one of both is not there. */
static inline bool store_scan_same(const struct store_scan_look *a, const struct store_scan_look *b)
{
    return a->found && b->found && a->inode == b->inode && a->size == b->size && a->touched == b->touched;
}

/* NAME is called for each entry of DIRECTORY ("." for the path itself) but "." and ".."; false from it ends
 * the reading. A directory that is not there has no entries. */
MUST_CHECK bool store_scan_read(struct store_path *path, const char *directory,
                                bool (*name)(void *argument, const char *name), void *argument,
                                struct error *error);

/* LOOK->found false where there is nothing of that name. */
MUST_CHECK bool store_scan_look(struct store_path *path, const char *name, struct store_scan_look *look,
                                struct error *error);

/* Makes the quarantine's directory, durable where the path is. Apart from the move, because a sync may take minutes. */
MUST_CHECK bool store_scan_quarantine_ready(struct store_path *path, struct error *error);

/* Moves the file NAME into quarantine, which is ready, as HELD; durable where the path is. True with HELD "" when it is not there
 * any more; false with another HELD when it is moved, but perhaps not for good. */
MUST_CHECK bool store_scan_quarantine(struct store_path *path, const char *name,
                                      char held[STORE_SCAN_NAME_SIZE], struct error *error);

/* And back, unless something lies there now. */
MUST_CHECK bool store_scan_give_back(struct store_path *path, const char *held, const char *name,
                                     struct error *error);

/* Removes the file DIRECTORY/NAME. */
MUST_CHECK bool store_scan_remove(struct store_path *path, const char *directory, const char *name,
                                  struct error *error);

#endif
