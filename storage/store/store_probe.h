/*
 * store_probe: one look at a store path: is the directory there, is it the right one (marker, mount point),
 * how much room has it, and, after a failure, can it be written again. Blocking; called by storage/store/store_look.c on
 * the path's own probe thread, and for --init-db.
 */
#ifndef REEL_STORAGE_STORE_PROBE_H
#define REEL_STORAGE_STORE_PROBE_H

#include "common/base/error.h"
#include "storage/options.h"

struct store_probe {
    /* in */
    const char *directory;
    const char *key;
    const char *group;
    enum options_mount_check mount_check;
    bool marker_expected; /* a marker was seen before: its absence means that something else lies there now */
    bool trial;           /* write, fsync and remove a small file */
    bool make_marker;     /* whatever mount_check says: --init-db */
    bool empty_fine;      /* an empty directory without a marker is a new store path; else it is refused */
    /* out */
    int fd; /* O_PATH; the caller's; -1 when the path cannot be read */
    bool marker_seen;
    bool marker_made;
    bool bare; /* refused for that alone */
    bool writable;
    int64_t capacity, free,
        free_inodes;    /* bytes, bytes, files; free_inodes INT64_MAX where there is no limit */
    struct error error; /* why it cannot be read or written */
};

/* Fills the `out` part. */
void store_probe_look(struct store_probe *probe);

#endif
