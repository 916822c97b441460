/*
 * meta_move: the rows of files that move from one group to another whose rows are in the same database. One transaction
 * gives the row to the new group and its new place, and adds a row for the former copy: of the same user, under a file ID
 * that the file's own ID and the former group give, in the state of a file that is being purged. So the former group's
 * purge removes that copy in its time, its clean-up knows the file, and its servers go on reading it there meanwhile.
 * BLOCKS, database threads only. docs/durability.md, "Moving to another group".
 */
#ifndef REEL_STORAGE_META_MOVE_H
#define REEL_STORAGE_META_MOVE_H

#include "storage/rows/meta_sql.h"

/* Seconds that a former copy is kept at least, by the database's clock, before its time in the trash begins: longer than any
 * client, HTTP server, tracker or storage server caches what it knew of the file. */
#define META_MOVE_KEEP 600

/* The file ID under which the copy that GROUP had of FILE has its row. */
void meta_move_former_id(const char *group, const char *file, char id[PROTO_FILE_SIZE]);

/* Is FILE such a file ID? */
bool meta_move_is_former_id(const char *file);

/* meta_sql_find(), as a server of GROUP is to see it: a row that GROUP has given to another one is shown with the former
 * copy's place and GROUP as its group, and with `given_up` set, as long as that copy is there. */
MUST_CHECK enum db_result meta_move_find(struct db_connection *connection, const struct store *store,
                                         const char *group, const struct proto_file_key *key,
                                         struct meta_row *row, bool *found, struct error *error);

/* Is ROW, which is another group's, one that GROUP has given up and still has the copy of? */
MUST_CHECK enum db_result meta_move_is_former(struct db_connection *connection, const struct store *store,
                                              const char *group, const struct proto_file_key *key,
                                              const struct meta_row *row, bool *former, struct error *error);

/* Is the file at FILE_PATH the copy that GROUP had of KEY's file before it moved? Whatever KEY's row is by now. */
MUST_CHECK enum db_result meta_move_has_former(struct db_connection *connection, const struct store *store,
                                               const char *group, const struct proto_file_key *key,
                                               const char *file_path, bool *has, struct error *error);

/* KEY's row, which was read as SEEN and is of the group FROM or of none, is about the file NEW (path, digest, group) from now
 * on; whether it is deleted, its name and type stay as they are by then. CHANGED false: it is about another file than SEEN
 * by now. REFUSED with DB_PERMANENT and ERROR: it is gone, damaged or not FROM's, or its former copy in FROM is one of an earlier move. */
MUST_CHECK enum db_result meta_move_switch(struct db_connection *connection, const struct store *store,
                                           const struct proto_file_key *key, const char *from,
                                           const struct meta_row *seen, const struct meta_row *new,
                                           bool *changed, bool *refused, struct error *error);

/* Takes back what meta_move_switch() did: the row is about the former copy again, if it still is about NEW. */
MUST_CHECK enum db_result meta_move_back(struct db_connection *connection, const struct store *store,
                                         const struct proto_file_key *key, const char *from,
                                         const struct meta_row *new, struct error *error);

#endif
