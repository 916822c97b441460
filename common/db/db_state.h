/*
 * db_state: whether the database can be reached, since when not and why, and when the next attempt to connect is due: for the pool (db.c),
 * which holds its lock around each call, and through it for /healthz.
 */
#ifndef REEL_COMMON_DB_STATE_H
#define REEL_COMMON_DB_STATE_H

#include "common/base/backoff.h"
#include "common/base/error.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/db/db.h"
#include "common/db/db_url.h"

struct db_state {
    const struct db_url *url;
    bool away; /* the last attempt to reach the database failed */
    bool away_logged;
    int64_t away_since_ms;
    char reason[ERROR_TEXT_SIZE];
    struct log_gate loss_gate;
    int64_t connect_after_ms; /* monotonic; no attempt before */
    struct backoff connect_backoff;
    /* A refusal that another attempt will not change soon is handed to jobs until then without asking again. */
    enum db_result refusal;
    struct error refusal_error;
    struct metric *up;
};

/* URL stays the caller's. */
void db_state_init(struct db_state *state, const struct db_url *url);
/* Takes over how an attempt to connect ended. */
void db_state_attempt(struct db_state *state, enum db_result result, const struct error *error);
/* It was reached. */
void db_state_back(struct db_state *state);

#endif
