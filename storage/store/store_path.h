/*
 * store_path: one store path: where it is, whether it can be read and written now and how much room it has, its threads,
 * and the form of the paths below it. What it says comes from the last look (storage/store/store_look.h). Called by every
 * room of the daemon that touches files. Any thread; never blocks where nothing else is said.
 */
#ifndef REEL_STORAGE_STORE_PATH_H
#define REEL_STORAGE_STORE_PATH_H

#include "common/loop/workers.h"
#include "common/proto/path.h"
#include "common/proto/proto.h"
#include "storage/store/store_modes.h"

#define STORE_FILE_PATH_SIZE                                                                                 \
    (PROTO_KEY_SIZE + PATH_TEXT_SIZE) /* "KEY/AAA/BBB/CCC/SSSSSSSS_DDD" and its NUL */

struct store_path;

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
    bool full; /* takes no uploads for lack of space: below the floors, or a write failed so */
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

/* True where an fsync of FD, a file that was just made below ROOT, makes its name last too. */
bool store_path_name_lasts(const struct store_path *path, const struct store_root *root, int fd);

/* True where FD, a file that was just made below ROOT, may wait for a checkpoint of the upload journal to be synced. */
bool store_path_may_wait(const struct store_path *path, const struct store_root *root, int fd);

/* With storage.journal = auto: may files in PATH be promised by the journal? True too where its file system is not known yet. */
bool store_path_may_be_journaled(struct store_path *path);

/* False where storage.journal is on and PATH is on a network file system. */
MUST_CHECK bool store_path_takes_journal(struct store_path *path, struct error *error);

/* Everything that was done on the file system of ROOT is on the disk, names too. False: some of it may be lost, and nobody
 * knows what. For the upload journal; BLOCKS. */
MUST_CHECK bool store_path_sync_system(struct store_path *path, const struct store_root *root,
                                       struct error *error);

/* False with ERROR_UNAVAILABLE where another directory than ROOT lies at the store path now. BLOCKS. */
MUST_CHECK bool store_path_lies_at(const struct store_path *path, const struct store_root *root,
                                   struct error *error);

/* The same of the directory that was last seen. What is found below it, or missing there, says something of the stored files
 * only if this is still true afterwards. BLOCKS. */
MUST_CHECK bool store_path_in_place(struct store_path *path, struct error *error);

const struct store_modes *store_path_modes(const struct store_path *path);

/* What is known of the path's directories: storage/store/store_directory.h. */
struct store_directories *store_path_directories(const struct store_path *path);

/* A call on a file failed with ERRNUM while doing WHAT. Errors that say something about the whole path take
 * it out of the choice until a trial write works again. */
void store_path_report(struct store_path *path, int errnum, const char *what);
/* The same, and the ERROR for whoever asked: "cannot WHAT KEY/NAME: ...". Returns false. */
bool store_path_fail(struct store_path *path, int errnum, const char *what, const char *name,
                     struct error *error);

#endif
