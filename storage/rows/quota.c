/*
 * quota: what is known of quotas, and the statements of storage/rows/quota_sql.c in their order. Any thread where nothing else
 * is said.
 */
#include "storage/rows/quota.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "storage/rows/meta_private.h"
#include "storage/rows/partial_sql.h"

#include <inttypes.h>

#define ROOM "quota"

static struct quota_amounts defaults_of(const struct meta *meta)
{
    return (struct quota_amounts){atomic_load(&meta->quota.bytes), atomic_load(&meta->quota.files)};
}

static bool has_defaults(const struct meta *meta)
{
    const struct quota_amounts defaults = defaults_of(meta);
    return defaults.bytes >= 0 || defaults.files >= 0;
}

bool quota_in_use(struct meta *meta)
{
    return atomic_load(&meta->quota.any) || has_defaults(meta);
}

/* ---- on a database thread ---- */

enum db_result quota_counts(struct meta *meta, struct db_connection *connection, bool *counts,
                            struct error *error)
{
    struct quota_state *state = &meta->quota;
    int64_t now_ms = clock_boot_ms();
    struct error why = {0};
    bool any = false;
    *counts = true;
    if (has_defaults(meta))
        return DB_OK;
    if (now_ms < atomic_load(&state->ask_at_ms)) {
        *counts = atomic_load(&state->any);
        return DB_OK;
    }
    enum db_result result = quota_sql_any(connection, &any, &why);
    if (result ==
        DB_PERMANENT) { /* the database of an earlier version has no such table: nobody can have a quota */
        if (atomic_exchange(&state->ask_at_ms, now_ms + QUOTA_NO_TABLE_MS) == 0)
            log_warning(ROOM, "quotas are not possible: %s (reel-storage --init-db adds the table)",
                        why.text);
        atomic_store(&state->any, false);
        result = DB_TRANSIENT; /* the transaction is spoiled; the next try knows */
    }
    if (result != DB_OK) {
        *error = why;
        return result;
    }
    atomic_store(&state->any, any);
    atomic_store(&state->ask_at_ms, now_ms + QUOTA_LOOK_MS);
    *counts = any;
    return DB_OK;
}

static int64_t quota_limit_of(int64_t own, int64_t configured)
{
    return own == PROTO_QUOTA_DEFAULT ? configured : own;
}

/* Would MORE be too much, beside HELD bytes in partial uploads? Says so in ERROR. */
static bool quota_is_full(const struct quota_row *row, int64_t held, const struct quota_amounts *defaults,
                          struct quota_amounts more, const struct proto_file_key *key, struct error *error)
{
    char beside[64] = "";
    const struct quota_amounts limits = {quota_limit_of(row->limits.bytes, defaults->bytes),
                                         quota_limit_of(row->limits.files, defaults->files)};
    if (held > 0)
        (void)snprintf(beside, sizeof(beside), " and %" PRId64 " in unfinished uploads", held);
    if (limits.bytes >= 0 && row->used.bytes > limits.bytes - more.bytes - held)
        return !error_set(error, ERROR_QUOTA,
                          "user %s has %" PRId64 " of %" PRId64 " bytes in %s%s, so that %" PRId64
                          " more do not fit; deleted files count until they are purged",
                          key->user, row->used.bytes, limits.bytes, key->application, beside, more.bytes);
    if (limits.files >= 0 && row->used.files > limits.files - more.files)
        return !error_set(error, ERROR_QUOTA,
                          "user %s has %" PRId64 " of %" PRId64
                          " files in %s; deleted files count until they are purged",
                          key->user, row->used.files, limits.files, key->application);
    return false;
}

enum db_result quota_take(struct meta *meta, struct db_connection *connection,
                          const struct proto_file_key *key, struct quota_amounts more, bool *counted,
                          struct error *error)
{
    const struct quota_amounts defaults = defaults_of(meta);
    enum quota_taken taken = QUOTA_TAKEN;
    struct quota_row row;
    bool counts = false;
    *counted = false;
    enum db_result result = quota_counts(meta, connection, &counts, error);
    if (result != DB_OK || !counts)
        return result;
    result = quota_sql_take(connection, key, more, &defaults, &taken, &row, error);
    if (result != DB_OK)
        return result;
    *counted = taken == QUOTA_TAKEN;
    if (taken == QUOTA_NO_ROW && has_defaults(meta)) {
        (void)error_set(error, ERROR_UNAVAILABLE, "the files of user %s are not counted yet", key->user);
        return DB_CONSTRAINT;
    }
    if (taken != QUOTA_FULL)
        return DB_OK;
    if (!quota_is_full(&row, 0, &defaults, more, key,
                       error)) /* somebody has made room between both statements */
        (void)error_set(error, ERROR_QUOTA, "user %s had no room for the file in %s", key->user,
                        key->application);
    return DB_PERMANENT;
}

enum db_result quota_give(struct meta *meta, struct db_connection *connection,
                          const struct proto_file_key *key, struct quota_amounts less, struct error *error)
{
    bool counts = false;
    enum db_result result = quota_counts(meta, connection, &counts, error);
    return result == DB_OK && counts ? quota_sql_give(connection, key, less, error) : result;
}

enum db_result quota_count_user(struct meta *meta, struct db_connection *connection,
                                const struct proto_file_key *key, struct error *error)
{
    const struct quota_amounts keep = {PROTO_QUOTA_KEEP, PROTO_QUOTA_KEEP};
    int64_t now = 0;
    enum db_result result = meta_now(meta, connection, &now, error);
    return result == DB_OK ? quota_sql_set(connection, key, keep, now + QUOTA_SETTLE_S, error) : result;
}

enum db_result quota_drop_user(struct meta *meta, struct db_connection *connection,
                               const struct proto_file_key *key, struct error *error)
{
    return has_defaults(meta) ? DB_OK : quota_sql_drop(connection, key, error);
}

/* The row; where there is none, and the configured limits hold, it is made. */
static enum db_result find_or_count(struct meta *meta, struct db_connection *connection,
                                    const struct proto_file_key *key, struct quota_row *row, bool *found,
                                    struct error *error)
{
    enum db_result result = quota_sql_find(connection, key, row, found, error);
    if (result != DB_OK || *found || !has_defaults(meta))
        return result;
    result = quota_count_user(meta, connection, key, error);
    return result == DB_OK ? quota_sql_find(connection, key, row, found, error) : result;
}

enum db_result quota_look(struct meta *meta, struct db_connection *connection,
                          const struct proto_file_key *key, int64_t bytes, const char *except,
                          struct error *error)
{
    const struct quota_amounts defaults = defaults_of(meta), more = {bytes, 1};
    struct quota_row row;
    int64_t held = 0;
    bool counts = false, found = false;
    enum db_result result = quota_counts(meta, connection, &counts, error);
    if (result == DB_OK && counts)
        result = find_or_count(meta, connection, key, &row, &found, error);
    if (result == DB_OK && found)
        result = partial_sql_held(connection, key, except, &held, error);
    if (result == DB_OK && found && quota_is_full(&row, held, &defaults, more, key, error))
        result = DB_PERMANENT;
    return result;
}

/* ---- requests ---- */

static void fill_answer(const struct meta *meta, const struct quota_row *row, bool found,
                        struct proto_quota *answer)
{
    const struct quota_amounts defaults = defaults_of(meta);
    *answer = (struct proto_quota){.bytes_used = found ? max_i64(row->used.bytes, 0) : PROTO_QUOTA_NONE,
                                   .files_used = found ? max_i64(row->used.files, 0) : PROTO_QUOTA_NONE,
                                   .bytes = defaults.bytes,
                                   .files = defaults.files,
                                   .own_bytes = found && row->limits.bytes != PROTO_QUOTA_DEFAULT,
                                   .own_files = found && row->limits.files != PROTO_QUOTA_DEFAULT};
    if (answer->own_bytes)
        answer->bytes = max_i64(row->limits.bytes, PROTO_QUOTA_NONE);
    if (answer->own_files)
        answer->files = max_i64(row->limits.files, PROTO_QUOTA_NONE);
}

enum db_result quota_list(struct meta *meta, struct db_connection *connection,
                          const struct proto_users_entry *after, struct quota_list *list, struct error *error)
{
    enum db_result result = quota_sql_list(connection, after, list, error);
    for (size_t i = 0; result == DB_OK && i < list->count; i++) {
        struct proto_quota *quota = &list->entries[i].quota;
        const struct quota_row row = {{quota->bytes, quota->files}, {quota->bytes_used, quota->files_used}};
        fill_answer(meta, &row, true, quota);
        list->entries[i].held = max_i64(list->entries[i].held, 0);
    }
    return result;
}

static enum db_result set_limits_of(struct quota_job *job, struct db_connection *connection,
                                    struct error *error)
{
    struct meta *meta = job->meta;
    int64_t now = 0;
    enum db_result result = meta_now(meta, connection, &now, error);
    if (result == DB_OK)
        result = quota_sql_set(connection, &job->key, job->limits, now + QUOTA_SETTLE_S, error);
    if (result == DB_OK)
        result = quota_drop_user(meta, connection, &job->key, error);
    atomic_store(&meta->quota.ask_at_ms, 1);
    return result;
}

static enum db_result quota_run(struct db_job *db_job, struct db_connection *connection, struct error *error)
{
    struct quota_job *job = CONTAINER_OF(db_job, struct quota_job, job);
    struct quota_row row = {0};
    bool found = false;
    enum db_result result = DB_OK;
    if (job->action == QUOTA_ACTION_LOOK) {
        result = quota_look(job->meta, connection, &job->key, job->bytes, "", error);
        job->judged = result == DB_PERMANENT && error->code == ERROR_QUOTA;
        return result;
    }
    if (job->action == QUOTA_ACTION_SET)
        result = set_limits_of(job, connection, error);
    if (result == DB_OK)
        result = find_or_count(job->meta, connection, &job->key, &row, &found, error);
    fill_answer(job->meta, &row, found, &job->answer);
    return result;
}

static void quota_job_done(struct db_job *db_job)
{
    struct quota_job *job = CONTAINER_OF(db_job, struct quota_job, job);
    job->fine = db_job->result == DB_OK;
    if (job->judged)
        job->error = db_job->error;
    else
        meta_judge(job->meta, db_job->result, &db_job->error, &job->error);
    job->done(job);
}

bool quota_start(struct meta *meta, struct quota_job *job, struct error *error)
{
    job->meta = meta;
    job->judged = false;
    meta_job_init(&job->job, quota_run, quota_job_done, job->loop);
    return meta_run(meta, &job->job, error);
}
