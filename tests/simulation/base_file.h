/*
 * base_file: the files of the simulated database server, in memory, and handles of SQLite that stay open when a
 * connection ends, as a database server knows its tables when somebody connects. Opened once for all stories, in the
 * parent of their processes.
 */
#ifndef REEL_TESTS_SIMULATION_BASE_FILE_H
#define REEL_TESTS_SIMULATION_BASE_FILE_H

#include <sqlite3.h>
#include <sys/stat.h>

/* From now on SQLite's files are in memory; storage.db and ids.db have what lies in DIRECTORY. */
void base_file_begin(const char *directory);

/* As sqlite3_open_v2() and stat(2). A path's directories do not matter. */
int base_file_open(const char *path, sqlite3 **handle, int flags, const char *fs);
int base_file_stat(const char *path, struct stat *status);
/* Ends all statements and the transaction of HANDLE. */
int base_file_close(sqlite3 *handle);

#endif
