/*
 * group_rows: what a transaction that binds a user to a group, or removes a group, asks the database about the group, and
 * relies on until it ends. Blocks, on a database thread. Called by router.c, user_admin.c and group_admin.c.
 */
#ifndef REEL_TRACKER_GROUP_ROWS_H
#define REEL_TRACKER_GROUP_ROWS_H

#include "common/db/db.h"

/* *HOLDS: GROUP is in t_groups_info, and OPEN: open for new users. It stays so until the transaction ends, in which this must be
 * called: whoever drains or removes the group waits for that. */
MUST_CHECK enum db_result group_rows_hold(struct db_connection *connection, const char *group, bool open,
                                          bool *holds, struct error *error);

/* *HAS: somebody belongs to GROUP. */
MUST_CHECK enum db_result group_rows_users(struct db_connection *connection, const char *group, bool *has,
                                           struct error *error);

#endif
