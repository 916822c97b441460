/*
 * store_directory: what is known of the directories AAA/BBB/CCC of one store path: which are there to stay,
 * which numbers have a file, and the syncs that several uploads share. Called by storage/store/store_file.c on the
 * path's workers; BLOCKS, but for making, clearing and ending, which store.c and store_look.c do.
 */
#ifndef REEL_STORAGE_STORE_DIRECTORY_H
#define REEL_STORAGE_STORE_DIRECTORY_H

#include "storage/store/store_path.h"

struct store_directories;

/* NULL without memory. */
MUST_CHECK struct store_directories *store_directories_create(void);
void store_directories_destroy(struct store_directories *directories); /* NULL is ignored */

/* Another directory lies at the store path now: what was known does not hold for it. Never blocks. */
void store_directories_clear(struct store_directories *directories);

/* Makes sure that the directories of VALUE are there, and, where the path is durable, there to stay. ROOT:
 * the descriptor of the store path, as in all that follows. */
MUST_CHECK bool store_directory_make(struct store_path *path, int root, int64_t value, struct error *error);

/*
 * A file could not be created in VALUE's directory, with ERRNUM. True where that says something about this one
 * directory (its owner, its mode, a broken inode) rather than about the store path: ERROR is ERROR_EXISTS then,
 * the number is skipped, and after the second failure every number of that directory is, for some minutes; the
 * sequence moves on to the next directory. False where others failed as well: the whole path is meant.
 */
MUST_CHECK bool store_directory_refuses(struct store_path *path, int64_t value, int errnum,
                                        struct error *error);

/* Somebody removed a directory of VALUE. */
void store_directory_forget(struct store_path *path, int64_t value);

/* False with ERROR_EXISTS where a file has PLACE's number already, whatever its second: an ID server whose
 * database went back in time gives numbers again. Files are seen that were made before this second, by
 * whichever member; one that was made in it has the very name, which exclusive creation refuses. Costs one
 * reading of a directory for each second in which files are made in it. */
MUST_CHECK bool store_directory_unused(struct store_path *path, int root, const struct path *place,
                                       struct error *error);

/* fsync of the directory that VALUE's file is in: covers every name that was made there before the call.
 * Callers that come while a sync of it runs wait for that one's end and share the next. */
MUST_CHECK bool store_directory_sync(struct store_path *path, int root, int64_t value, struct error *error);

#endif
