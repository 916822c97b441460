/*
 * db_pool: counts the existing connections, and opens one where it is missing and due. Called by db.c on the thread that owns the connection.
 */
#include "common/db/db_pool.h"

#include "common/base/clock.h"
#include "common/base/condition.h"

#define ROOM "db"

void db_pool_pause_until(struct db *db, int64_t monotonic_ms)
{
    int64_t now;

    while (!db->stopping && (now = clock_monotonic_ms()) < monotonic_ms)
        condition_wait_ms(&db->keep, &db->lock, monotonic_ms - now);
}

void db_pool_count(struct db_thread *thread)
{
    bool connected = thread->connection.handle;

    if (connected && !thread->counted)
        atomic_fetch_add(&thread->db->connected, 1);
    else if (!connected && thread->counted)
        atomic_fetch_sub(&thread->db->connected, 1);
    thread->counted = connected;
}

bool db_pool_is_crowded_out(const struct db_thread *thread)
{
    return !thread->connection.handle && thread->connection.crowded &&
           atomic_load(&thread->db->connected) > 0;
}

enum db_result db_pool_connect(struct db_thread *thread, bool probe, int64_t deadline_ms, struct error *error)
{
    struct db *db = thread->db;
    struct db_connection *connection = &thread->connection;
    struct error stale = {0};
    enum db_result result;

    if (connection->handle) {
        if (connection->operations->check(connection, probe, &stale))
            return DB_OK;
        log_debug(ROOM, "database %s: reconnecting: %s", db->url.text, stale.text);
        db_connection_close(connection);
        db_pool_count(thread);
    }
    pthread_mutex_lock(&db->lock);
    if (db->state.refusal != DB_OK && clock_monotonic_ms() < db->state.connect_after_ms) {
        result = db->state.refusal;
        *error = db->state.refusal_error;
        pthread_mutex_unlock(&db->lock);
        return result;
    }
    if (db->state.connect_after_ms > deadline_ms || db->stopping) {
        error_set(error, ERROR_UNAVAILABLE, "%s", db->state.reason);
        pthread_mutex_unlock(&db->lock);
        return DB_TRANSIENT;
    }
    db_pool_pause_until(db, db->state.connect_after_ms);
    pthread_mutex_unlock(&db->lock);

    result = db_connection_open(connection, error);
    if (result == DB_OK && thread->connected_once)
        metric_add(db->reconnects, 1);
    thread->connected_once = thread->connected_once || result == DB_OK;
    db_pool_count(thread);
    if (result != DB_OK && db_pool_is_crowded_out(thread)) /* nothing is away */
        return result;
    pthread_mutex_lock(&db->lock);
    db_state_attempt(&db->state, result, error);
    pthread_mutex_unlock(&db->lock);
    return result;
}
