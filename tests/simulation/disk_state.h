/*
 * disk_state: what disk.c and disk_calls.c share: what is known of the files of the volume, and of changes of their names that were not
 * synced. Private to these.
 */
#ifndef REEL_TESTS_SIMULATION_DISK_STATE_H
#define REEL_TESTS_SIMULATION_DISK_STATE_H

#include "tests/simulation/sim.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>

#define FDS_MAX   8192
#define ITEMS_MAX 16384 /* a power of two */

int __real_openat(int at, const char *name, int flags, ...);
int __real_close(int fd);
ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __real_write(int fd, const void *bytes, size_t size);
int __real_mkdirat(int at, const char *name, mode_t mode);
int __real_unlinkat(int at, const char *name, int flags);
int __real_renameat(int from_at, const char *from, int to_at, const char *to);
int __real_fstat(int fd, struct stat *status);
int __real_fstatat(int at, const char *name, struct stat *status, int flags);
int __real_closedir(DIR *stream);

struct item {
    ino_t inode;               /* 0: free */
    int64_t modified, changed; /* seconds */
    int64_t dirty;             /* bytes from here on were not synced; FOREVER: all were */
    int64_t lost;              /* and from here on never will be: a sync failed */
    int64_t before, again;     /* DIRTY when the last syncfs(2) began; what was written since */
    int64_t saved_us;          /* when it was last synced by itself */
    uint64_t saved_by;         /* the sync that began last of those that worked */
};

enum change_kind { CHANGE_MADE, CHANGE_REMOVED, CHANGE_MOVED };

extern struct item disk_items[ITEMS_MAX];
extern char *disk_paths[FDS_MAX]; /* of descriptors below the root; NULL: it is none */
extern enum disk_model disk_how;
extern uint64_t disk_change_number; /* of the newest */

/* What is known of a file; of one that is new, that all of it is synced. */
struct item *disk_item_of(ino_t inode);
/* NULL: FD is none. */
struct item *disk_item_of_fd(int fd);
/* Virtual time as files show it. */
int64_t disk_seconds(void);

/* The path of NAME as openat(2) takes it, in PATH; NULL: it is not below the root. */
const char *disk_path_of(int at, const char *name, char path[512]);
bool disk_below(int fd);
/* A name for a file that is removed, as a power cut may bring it back. */
void disk_kept_place(char *place, size_t size);

/* The name FROM was changed; TO: where it is now, or is kept, or NULL. */
void disk_note_change(enum change_kind kind, bool directory, const char *from, const char *to);
/* How many changes there are up to the one numbered LAST, which another sync may have taken out of the list meanwhile, and others. */
size_t disk_changes_before(uint64_t last);
/* The first COUNT changes, those of DIRECTORY only where it is given, last from now on. */
void disk_keep_changes(size_t count, const char *directory);

#endif
