/*
 * base_file: the files of the simulated database server, in memory: a file system of SQLite (VFS). Called by base_handle.c, and by
 * base.c for stat(2). A path's directories do not matter.
 */
#ifndef REEL_TESTS_SIMULATION_BASE_FILE_H
#define REEL_TESTS_SIMULATION_BASE_FILE_H

#include <sys/stat.h>

#define BASE_FILE_WATCHED "storage.db"

struct base_file;

/* From now on SQLite's files are in memory; none is there yet. */
void base_file_begin(void);
/* NAME has what lies in DIRECTORY. */
void base_file_load(const char *directory, const char *name);

/* NULL: it is not there. */
const struct base_file *base_file_find(const char *path);
const char *base_file_name(const struct base_file *file);
int base_file_stat(const char *path, struct stat *status);

/* From now on what is written to storage.db counts as lost until it was synced. */
void base_file_watch(void);
/* A power cut: notes what is on its disk, by chance; then, no handle of it being open, that is what it has. */
void base_file_take_images(void);
void base_file_put_images(void);

#endif
