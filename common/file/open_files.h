/*
 * open_files: files that are open for reading, kept for some seconds, so that a file asked for again and again is opened
 * once, and a small one is not even read again. Closing may wait for a file system (FUSE flushes), so a worker
 * does it. One table is shared by all threads (reel-storage: storage/store/open_cache.h) or belongs to one
 * loop (reel-httpd: httpd/files/local_files.h), which then costs neither lock nor atomic operation.
 */
#ifndef REEL_COMMON_OPEN_FILES_H
#define REEL_COMMON_OPEN_FILES_H

#include "common/loop/workers.h"

struct open_files;

/* Which file it is: OWNER is compared by its address; PLACE means something to the owner alone. */
struct open_key {
    const void *owner;
    uint64_t place[3];
};

/* One open file; whoever holds it may read FD at offsets (never move its position). */
struct open_file {
    int fd;
    bool cannot_tell;     /* see file_window.h; set by who finds out; of a table of one loop only */
    int64_t size;         /* bytes, when it was opened */
    const uint8_t *bytes; /* all of them, of a small file; NULL: read them from FD */
};

struct open_files_options {
    size_t files_max; /* kept; 0: none, each file serves those who hold it */
    int64_t age_ms;   /* for so long, from their opening */
    size_t bytes_max; /* what the contents kept in memory may take together */
    bool shared;      /* by several threads; else everything here is for one loop's thread */
    /* Hands JOB, which closes a file, to a worker of OWNER. False: it is tried again by open_files_tick(). Called with
     * the table locked. */
    bool (*submit)(const void *owner, struct job *job);
};

MUST_CHECK struct open_files *open_files_create(const struct open_files_options *options);
/* Nothing is found or kept any more; what nobody holds is closed on the spot, the rest by its last holder, who
 * may still call open_files_release(); then all memory goes. No worker takes jobs any more. NULL is ignored. */
void open_files_end(struct open_files *files);

/* Where a file was found last, so that it is found again without a search. Zeroed before its first use; of one file
 * and of a table of one loop. */
struct open_hint {
    struct open_file *file;
    uint64_t epoch;
};

/* The file, held for the caller until open_files_release(); NULL where it is not kept, or older than its age at NOW_MS
 * (monotonic). HINT may be NULL. */
struct open_file *open_files_find(struct open_files *files, const struct open_key *key,
                                  struct open_hint *hint, int64_t now_ms);

/* Takes over FD, just opened, and BYTES (malloc'd, all SIZE of them, or NULL; freed where there is no room), and holds
 * the file for the caller. NULL without memory: both are still the caller's. */
MUST_CHECK struct open_file *open_files_add(struct open_files *files, const struct open_key *key, int fd,
                                            int64_t size, uint8_t *bytes, int64_t now_ms);

/* BYTES are all SIZE (at least 1) bytes of FILE, which the caller holds: they are copied and kept with it, where there is
 * room. Only for a table of one loop. */
void open_files_keep(struct open_files *files, struct open_file *file, const void *bytes, size_t size);

/* One more holder of a file that the caller holds. */
void open_files_take(struct open_files *files, struct open_file *file);
void open_files_release(struct open_files *files, struct open_file *file);

/* The file is no longer found; those who hold it can still read it. */
void open_files_forget(struct open_files *files, const struct open_key *key);
void open_files_forget_held(struct open_files *files, struct open_file *file);

/* Closes what is too old, and what no worker took before; called about once per second. */
void open_files_tick(struct open_files *files, int64_t now_ms);

size_t open_files_count(struct open_files *files); /* files kept or held */

#endif
