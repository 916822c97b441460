/*
 * store: the store paths of this machine: which there are, which can be read and written now, how much room
 * they have, which one takes the next upload. Each has worker threads of its own for the file system calls
 * (storage/store/store_file.h) and one more that looks at it every few seconds, so that a mount that hangs uses up
 * no other path's threads and is noticed. Called by every room of the daemon that touches files.
 */
#ifndef REEL_STORAGE_STORE_H
#define REEL_STORAGE_STORE_H

#include "common/base/cache.h"
#include "common/loop/loop.h"
#include "common/proto/proto.h"
#include "common/loop/workers.h"
#include "storage/options.h"
#include "common/proto/path.h"
#include "storage/store/store_modes.h"

#define STORE_MARKER ".reelstore" /* the file that shows that a store path is there */
#define STORE_FILE_PATH_SIZE                                                                                 \
    (PROTO_KEY_SIZE + PATH_TEXT_SIZE) /* "KEY/AAA/BBB/CCC/SSSSSSSS_DDD" and its NUL */

struct store;
struct store_path;

/* Are there rows of files in PATH? KNOWN false: that cannot be told now. On the path's probe thread; may BLOCK. */
typedef bool (*store_has_rows)(void *argument, const struct store_path *path, bool *known);

/* CONFIG must have passed storage_options_check() and outlive the store. LOOP: whose timer looks at the
 * paths; its thread must not run yet. Starts the threads and the first look; waits at most FIRST_LOOK_MS for
 * that (0: not at all). HAS_ROWS is asked with ARGUMENT where a store path is an empty directory without a marker:
 * with rows it is refused, since its volume is not mounted or another one is; while nothing is known it waits.
 * HAS_ROWS NULL: it always is a new store path. */
MUST_CHECK struct store *store_create(const struct storage_config *config, struct loop *loop,
                                      int64_t first_look_ms, store_has_rows has_rows, void *argument,
                                      struct error *error);
/* HAS_ROWS can answer now: paths that waited for that are looked at again; waits at most TIMEOUT_MS. */
void store_look_again(struct store *store, int64_t timeout_ms);

/* Ends the workers while the loops still run (at most TIMEOUT_MS for each path); what is submitted from now
 * on is refused. BLOCKS. */
void store_end(struct store *store, int64_t timeout_ms);
/* After the loops have ended. A path whose workers still hang is left alone and never freed. NULL is ignored.
 */
void store_destroy(struct store *store);

/* --init-db: makes the marker in every store path that has none. BLOCKS. */
MUST_CHECK bool store_make_markers(const struct storage_config *config, FILE *out, struct error *error);

/* ---- any thread, never blocks ---- */

size_t store_count(const struct store *store);
struct store_path *store_at(const struct store *store, size_t index);

/* The store path for an upload of SIZE bytes: one of those that stay above the floors, by chance, weighted by
 * free space. NULL: ERROR_NO_SPACE when a path is only full, else ERROR_UNAVAILABLE with the reason of each.
 */
struct store_path *store_choose(const struct store *store, int64_t size, struct error *error);

/* The store path and place that FILE_PATH of a row means. NULL: no configured KEY is its beginning, or what
 * follows is no place (ERROR_IO, for the log and the client alike). */
struct store_path *store_find(const struct store *store, const char *file_path, struct path *path,
                              struct error *error);

/* New floors, for SIGHUP. */
void store_set_floors(struct store *store, int64_t space, int64_t inodes);

void store_floors(const struct store *store, int64_t *space, int64_t *inodes);

struct store_space {
    int64_t capacity; /* bytes, over all paths that can be read */
    int64_t free; /* bytes that uploads may use: the floor taken off, over all paths that can be written */
    int64_t free_inodes; /* the same */
    size_t writable;     /* paths that take uploads now, room considered */
};
void store_space(const struct store *store, struct store_space *space);

/* False with a path that cannot be read, or, where none takes uploads for another reason than want of space, with why.
 * True with a REASON (else "") where uploads are hindered: a path takes none. */
bool store_healthy(const struct store *store, char *reason, size_t reason_size);

size_t store_path_index(const struct store_path *path);
const char *store_path_key(const struct store_path *path);
/* What the ID server counts its numbers under, see storage_options_sequence(). */
const char *store_path_sequence(const struct store_path *path);
const char *store_path_directory(const struct store_path *path);
/* Work for the path's threads. False when too much waits, or the server ends: the job was not taken. */
MUST_CHECK bool store_path_submit(struct store_path *path, struct job *job, struct error *error);
/* The threads themselves, for replies that read from the path's files. */
struct workers *store_path_workers(const struct store_path *path);
bool store_path_durable(const struct store_path *path);

/* A path's state in words: for /status. Both texts are copied. */
struct store_path_status {
    bool readable, writable, hanging;
    bool full; /* takes no uploads for want of space: below the floors, or a write failed so */
    int64_t capacity, free, free_inodes;
    char reason[ERROR_TEXT_SIZE]; /* "" when all is well */
};
void store_path_status(const struct store_path *path, struct store_path_status *status);

/* True while files of PATH can be opened: neither hanging nor absent. */
MUST_CHECK bool store_path_readable(const struct store_path *path, struct error *error);

/* KEY + PLACE as it stands in a row. False when a member of PLACE is out of its bounds. */
MUST_CHECK bool store_path_format(const struct store_path *path, const struct path *place,
                                  char text[STORE_FILE_PATH_SIZE]);

/* ---- for storage/store/store_file.c, on the path's workers ---- */

/* The directory that was last seen to be the store path: an O_PATH descriptor that stays open until the
 * leave. */
struct store_root {
    int fd;
};
MUST_CHECK bool store_path_enter(struct store_path *path, struct store_root **root, struct error *error);
void store_path_leave(struct store_path *path, struct store_root *root);

/* False with ERROR_UNAVAILABLE where another directory than ROOT lies at the store path now. BLOCKS. */
MUST_CHECK bool store_path_lies_at(const struct store_path *path, const struct store_root *root,
                                   struct error *error);

const struct store_modes *store_path_modes(const struct store_path *path);

/* What is known of the path's directories: storage/store/store_directory.h. */
struct store_directories *store_path_directories(const struct store_path *path);

/* A call on a file failed with ERRNUM while doing WHAT. Errors that say something about the whole path take
 * it out of the choice until a trial write works again. */
void store_path_report(struct store_path *path, int errnum, const char *what);

#endif
