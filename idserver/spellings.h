/*
 * spellings: keys of t_id_gen that name one directory in two ways, "../data" and "../data/": each would give out the
 * numbers of the other. Called by main.c for --init-db, and by service.c, which neither starts nor gives numbers with
 * such a pair; reserve.c refuses to make one.
 */
#ifndef REEL_IDSERVER_SPELLINGS_H
#define REEL_IDSERVER_SPELLINGS_H

#include "common/daemon/packet_daemon.h"
#include "common/db/db.h"

#define SPELLINGS_KEY_SIZE 512

/* The first such key, with its slash; "": there is none. In a job; BLOCKS. */
MUST_CHECK enum db_result spellings_find(struct db_connection *connection, char key[SPELLINGS_KEY_SIZE],
                                         struct error *error);

/* The error that says so and what to do; KEY "" is none: true. */
MUST_CHECK bool spellings_judge(const char *key, struct error *error);

/* False with the first such pair and what to do. BLOCKS. */
MUST_CHECK bool spellings_check(struct db *db, struct error *error);

/* The same in the database that CONFIG names. BLOCKS. */
MUST_CHECK bool spellings_check_database(const struct packet_daemon_config *config, struct error *error);

/* Before LOOP runs: waits for the answer for WAIT_MS at most. False as above; true also where the database did not answer
 * in that time, or fails: then *KNOWN is false, and it has to be asked again. */
MUST_CHECK bool spellings_check_start(struct db *db, struct loop *loop, int64_t wait_ms, bool *known,
                                      struct error *error);

#endif
