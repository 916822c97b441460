/*
 * db_state: what is logged and shown when the database goes away and comes back, and the pauses between attempts.
 */
#include "common/db/db_state.h"

#include "common/base/clock.h"

#include <stdio.h>

#define ROOM              "db"
#define CONNECT_PAUSE_MIN 100  /* ms between two attempts to connect, doubled up to the maximum */
#define CONNECT_PAUSE_MAX 1000 /* small, so that a database that is back is found at once */
#define LOG_LOSS_MS       5000

void db_state_init(struct db_state *state, const struct db_url *url)
{
    *state = (struct db_state){
        .url = url,
        .connect_backoff = {.first_ms = CONNECT_PAUSE_MIN, .longest_ms = CONNECT_PAUSE_MAX},
        .up = metrics_gauge("reel_db_up", "1 while the database can be reached, else 0.", NULL)};
}

static void note_away(struct db_state *state, const char *reason)
{
    uint64_t suppressed;

    snprintf(state->reason, sizeof(state->reason), "%s", reason);
    if (state->away)
        return;
    state->away = true;
    metric_set(state->up, 0);
    state->away_since_ms = clock_monotonic_ms();
    state->away_logged = log_gate_open(&state->loss_gate, LOG_LOSS_MS, &suppressed);
    if (state->away_logged)
        log_warning(ROOM, "database %s is away: %s (retrying until it is back)", state->url->text, reason);
}

void db_state_back(struct db_state *state)
{
    metric_set(state->up, 1);
    if (!state->away)
        return;
    state->away = false;
    state->reason[0] = '\0';
    if (state->away_logged)
        log_info(ROOM, "database %s is back after %lld s", state->url->text,
                 (long long)((clock_monotonic_ms() - state->away_since_ms + 500) / 1000));
}

void db_state_attempt(struct db_state *state, enum db_result result, const struct error *error)
{
    state->refusal = DB_OK;
    if (result == DB_OK) {
        backoff_reset(&state->connect_backoff);
        state->connect_after_ms = 0;
        db_state_back(state);
        return;
    }
    note_away(state, error->text);
    /* Opening a file costs nothing: no pause, so that a file that was just made is found at once. */
    if (state->url->backend == DB_BACKEND_SQLITE && result == DB_PERMANENT)
        return;
    state->connect_after_ms = clock_monotonic_ms() + backoff_next(&state->connect_backoff);
    if (result == DB_PERMANENT) {
        state->refusal = result;
        state->refusal_error = *error;
    }
}
