/*
 * spellings: keys of t_id_gen that name one directory in two ways, "../data" and "../data/": each would give out the
 * numbers of the other. Called by main.c for --init-db; reserve.c refuses such a key while the server runs.
 */
#ifndef REEL_IDSERVER_SPELLINGS_H
#define REEL_IDSERVER_SPELLINGS_H

#include "common/daemon/packet_daemon.h"
#include "common/db/db.h"

/* False with the first such pair and what to do. BLOCKS. */
MUST_CHECK bool spellings_check(struct db *db, struct error *error);

/* The same in the database that CONFIG names. BLOCKS. */
MUST_CHECK bool spellings_check_database(const struct packet_daemon_config *config, struct error *error);

#endif
