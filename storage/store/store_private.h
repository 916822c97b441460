/*
 * store_private: a store path and the store as their modules share them: store_path.c (what is known of a path),
 * store_look.c (looking at it), store_glance.c (a look that is not waited for long) and store.c (making and ending). For those
 * only.
 */
#ifndef REEL_STORAGE_STORE_PRIVATE_H
#define REEL_STORAGE_STORE_PRIVATE_H

#include "storage/store/store.h"
#include "storage/store/store_directory.h"
#include "storage/store/store_probe.h"
#include "storage/store/store_system.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* The public part comes first, so that one pointer is both. */
struct store_held_root {
    struct store_root public;
    size_t users; /* under the path's mutex; the path itself is one */
    dev_t device;
    ino_t inode;
    uint64_t mount;             /* see store_system_mount() */
    struct store_system system; /* the file system that it is on */
    int64_t life;               /* of this process here, see store_life.h */
    int life_fd;                /* keeps its lock; -1: not locked */
    int sync_fd; /* of the same directory, for syncfs(2), which reports what failed since it was opened; or -1 */
};

struct store_path {
    struct store *store;
    size_t index;
    char key[PROTO_KEY_SIZE], sequence[PROTO_KEY_SIZE];
    const char *directory; /* points into the configuration */
    struct workers *workers;
    struct workers *prober; /* one thread */
    bool ended;             /* under the submit mutex: both are gone */
    bool left;              /* something hangs and was left alone */
    pthread_mutex_t submit_mutex;
    struct store_directories *directories;

    struct job probe_job;
    struct store_probe probe;       /* the probe thread's while a look is under way */
    _Atomic int64_t probe_since_ms; /* 0: no look is under way */
    atomic_bool look_wanted;        /* another look as soon as the one under way has ended */
    atomic_size_t lost_glances;     /* looks of store_glance.c that were given up and have not come back */
    atomic_bool mounted_below;      /* see store_life.h; once found out it stays */
    atomic_bool failed;             /* a call failed: the next look makes a trial */
    int64_t trial_ms;               /* the probe thread's: when the last one was; 0: never */

    pthread_mutex_t mutex;        /* for what follows */
    struct store_held_root *root; /* NULL: cannot be read */
    bool looked;                  /* at least one look has ended */
    bool writable;
    bool full;  /* a write failed for lack of space */
    bool below; /* less room than storage.reserve_space or reserve_inodes leave */
    bool marker_seen;
    bool bare; /* refused as an empty directory without a marker */
    int64_t capacity, free, free_inodes;
    char reason[ERROR_TEXT_SIZE];
};

struct store {
    const struct storage_config *config;
    struct store_path *paths;
    size_t count;
    struct event *timer;
    struct store_modes modes;
    store_has_rows has_rows; /* NULL: nobody can say */
    void *has_rows_argument;
    _Atomic int64_t floor_space, floor_inodes;
    pthread_mutex_t mutex;
    pthread_cond_t first_look;
    size_t paths_looked;
};

/* Gives up one use of ROOT; the last one closes it. */
void store_path_drop_root(struct store_path *path, struct store_held_root *root);
/* A look at PATH has not returned for storage.hang_timeout. Any thread. */
bool store_path_hangs(const struct store_path *path);
/* May files on SYSTEM be promised by the upload journal? */
bool store_path_wants_journal(const struct storage_config *config, const struct store_system *system);
/* Makes the gauges of PATH; PRESENT false: takes them away. */
void store_path_register_metrics(struct store_path *path, bool present);

#endif
