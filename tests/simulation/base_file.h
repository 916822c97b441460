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
/* Ends the transaction of HANDLE; what was prepared on it is prepared for the next one that opens the file. */
int base_file_close(sqlite3 *handle);
/* As sqlite3_prepare_v3() and sqlite3_finalize(). */
int base_file_prepare(sqlite3 *handle, const char *sql, int size, unsigned flags, sqlite3_stmt **statement,
                      const char **tail);
int base_file_finalize(sqlite3_stmt *statement);

/* From now on what is written to storage.db counts as lost until it was synced; no handle of it is in use, and that is lost. */
void base_file_watch(void);
void base_file_power_cut(void);

/* Writes what was prepared so far to TO; prepares on every handle what comes from FROM, which it closes. */
void base_file_tell(int to);
void base_file_learn(int from);

#endif
