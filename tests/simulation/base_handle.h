/*
 * base_handle: handles of SQLite that stay open when a connection ends, as a database server knows its tables when somebody connects.
 * Opened once for all stories, in the parent of their processes.
 */
#ifndef REEL_TESTS_SIMULATION_BASE_HANDLE_H
#define REEL_TESTS_SIMULATION_BASE_HANDLE_H

#include <sqlite3.h>

/* From now on SQLite's files are in memory (base_file.c); storage.db and ids.db have what lies in DIRECTORY. */
void base_handle_begin(const char *directory);

/* As sqlite3_open_v2(). A path's directories do not matter. */
int base_handle_open(const char *path, sqlite3 **handle, int flags, const char *fs);
/* Ends the transaction of HANDLE; what was prepared on it is prepared for the next one that opens the file. */
int base_handle_close(sqlite3 *handle);
/* As sqlite3_prepare_v3() and sqlite3_finalize(). */
int base_handle_prepare(sqlite3 *handle, const char *sql, int size, unsigned flags, sqlite3_stmt **statement,
                        const char **tail);
int base_handle_finalize(sqlite3_stmt *statement);

/* No handle of storage.db is in use: what it had not synced is lost. */
void base_handle_power_cut(void);

/* Writes what was prepared so far to TO; prepares on every handle what comes from FROM, which it closes. */
void base_handle_list(int to);
void base_handle_learn(int from);

#endif
