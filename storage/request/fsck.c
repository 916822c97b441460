/*
 * fsck: one database job per request, and a reply in JSON.
 */
#include "storage/request/fsck.h"

#include "storage/rows/partial_sql.h"
#include "storage/rows/quota.h"
#include "storage/upkeep/lease_sql.h"
#include "storage/storage.h"
#include "storage/upkeep/upkeep.h"

#include <stdlib.h>
#include <string.h>

struct fsck {
    struct db_job job;
    struct packet_request *request;
    struct proto_fsck asked;
    char group[PROTO_GROUP_SIZE];
    bool known; /* the group has a row of t_lease here */
    bool confirmed;
    struct lease_row row, sweep;
    struct partial_sum partials;
};

static bool fsck_is_stopped(const struct lease_row *sweep)
{
    json_t *progress = json_loads(sweep->progress, 0, NULL);
    const char *phase = json_string_value(json_object_get(progress, "phase"));
    bool stopped = phase && strcmp(phase, "stopped") == 0;
    json_decref(progress);
    return stopped;
}

/* A scrub; and what users with quotas have is counted anew. */
static enum db_result fsck_want(const struct fsck *fsck, struct db_connection *connection, const char *name,
                                int64_t *number, struct error *error)
{
    bool repair = fsck->asked.action == PROTO_FSCK_REPAIR, counts = false;
    enum db_result result = lease_sql_want(connection, name, repair, number, error);
    if (result == DB_OK)
        result = quota_counts(storage_of(fsck->request)->meta, connection, &counts, error);
    return result == DB_OK && counts ? quota_sql_recount_all(connection, error) : result;
}

/* What is asked for, and both rows afterwards. */
static enum db_result fsck_ask(struct fsck *fsck, struct db_connection *connection, struct error *error)
{
    char name[LEASE_NAME_SIZE], sweep_name[LEASE_NAME_SIZE];
    enum db_result result = DB_OK;
    int64_t number;
    uint8_t action = fsck->asked.action;
    snprintf(name, sizeof(name), "upkeep/%s", fsck->group);
    snprintf(sweep_name, sizeof(sweep_name), "sweep/%s", fsck->group);
    if (action == PROTO_FSCK_CHECK || action == PROTO_FSCK_REPAIR)
        result = fsck_want(fsck, connection, name, &number, error);
    if (result == DB_OK)
        result = lease_sql_read(connection, sweep_name, &fsck->sweep, error);
    if (result == DB_OK && action == PROTO_FSCK_CONFIRM && fsck_is_stopped(&fsck->sweep)) {
        result = lease_sql_confirm(connection, sweep_name, &fsck->sweep, &fsck->confirmed, error);
        if (result == DB_OK)
            result = lease_sql_read(connection, sweep_name, &fsck->sweep, error);
    }
    if (result == DB_OK)
        result = lease_sql_read(connection, name, &fsck->row, error);
    if (result == DB_OK)
        result = partial_sql_sum(connection, fsck->group, &fsck->partials, error);
    return result;
}

static enum db_result fsck_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct fsck *fsck = CONTAINER_OF(job, struct fsck, job);
    const struct storage *storage = storage_of(fsck->request);
    char name[LEASE_NAME_SIZE];
    fsck->confirmed = false;
    fsck->known = strcmp(fsck->group, storage->config->group) == 0;
    if (!fsck->known) { /* no rows are made for a name that somebody made up */
        snprintf(name, sizeof(name), "upkeep/%s", fsck->group);
        enum db_result result = lease_sql_exists(connection, name, &fsck->known, error);
        if (result != DB_OK)
            return result;
    }
    return fsck->known ? fsck_ask(fsck, connection, error) : DB_OK;
}

static json_t *fsck_sweep_json(const struct lease_row *sweep)
{
    json_t *json = json_loads(sweep->progress, 0, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        json = json_object();
    }
    if (json && json_object_set_new(json, "wanted", json_integer((json_int_t)sweep->wanted)) == 0 &&
        json_object_set_new(json, "done", json_integer((json_int_t)sweep->done)) == 0)
        return json;
    json_decref(json);
    return NULL;
}

static void fsck_reply(struct fsck *fsck)
{
    json_t *progress = json_loads(fsck->row.progress, 0, NULL);
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:I, s:b, s:{s:I, s:I}, s:o, s:o}", "group", fsck->group, "owner",
                  fsck->row.owner, "wanted", (json_int_t)fsck->row.wanted, "done", (json_int_t)fsck->row.done,
                  "confirmed", (int)fsck->confirmed, "partials", "count", (json_int_t)fsck->partials.count,
                  "bytes", (json_int_t)fsck->partials.bytes, "sweep", fsck_sweep_json(&fsck->sweep),
                  "progress", progress ? progress : json_null());
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text)
        packet_reply_take(fsck->request, text, strlen(text));
    else
        packet_reply_error(fsck->request, ERROR_UNAVAILABLE, "no memory for a report");
    json_decref(json);
}

static void fsck_done(struct db_job *job)
{
    struct fsck *fsck = CONTAINER_OF(job, struct fsck, job);
    struct storage *storage = storage_of(fsck->request);
    if (job->result != DB_OK) {
        packet_reply_error(fsck->request, db_error_code(job->result), "the database failed: %s",
                           job->error.text);
    } else if (!fsck->known) {
        packet_reply_error(
            fsck->request, ERROR_NOT_FOUND,
            "no server of group %s has ever used this server's database; ask a user of that group",
            fsck->group);
    } else {
        if (fsck->asked.action != PROTO_FSCK_STATUS && strcmp(fsck->group, storage->config->group) == 0)
            upkeep_wake(storage->upkeep);
        fsck_reply(fsck);
    }
    free(fsck);
}

/* The group in the place of the file ID; none: this server's. */
static bool fsck_choose_group(struct fsck *fsck, struct error *error)
{
    const char *group = fsck->asked.key.file;
    if (group[0] == '\0')
        group = storage_of(fsck->request)->config->group;
    else if (!proto_name_valid(group, PROTO_GROUP_SIZE))
        return error_set(error, ERROR_MALFORMED, "the group \"%s\" must be 1 to %d letters and digits", group,
                         PROTO_GROUP_SIZE - 1);
    snprintf(fsck->group, sizeof(fsck->group), "%.*s", PROTO_GROUP_SIZE - 1, group);
    return true;
}

void fsck_handle(struct packet_request *request)
{
    struct storage *storage = storage_of(request);
    struct error error = {0};
    struct fsck *fsck = calloc(1, sizeof(*fsck));
    if (!fsck) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    fsck->request = request;
    fsck->job = (struct db_job){.run = fsck_run, .done = fsck_done, .loop = request->loop};
    if (!proto_fsck_unpack(request->head, request->head_size, &fsck->asked, &error) ||
        !applications_check(storage->applications, fsck->asked.key.application, &error) ||
        !fsck_choose_group(fsck, &error) || !meta_run(storage->meta, &fsck->job, &error)) {
        packet_reply_failure(request, &error);
        free(fsck);
    }
}
