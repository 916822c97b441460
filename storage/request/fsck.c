/*
 * fsck: one database job for a request.
 */
#include "storage/request/fsck.h"

#include "storage/upkeep/lease_sql.h"
#include "storage/storage.h"
#include "storage/upkeep/upkeep.h"

#include <stdlib.h>
#include <string.h>

struct fsck {
    struct db_job job;
    struct packet_request *request;
    struct proto_fsck asked;
    char name[LEASE_NAME_SIZE];
    struct lease_row row;
};

static enum db_result run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct fsck *fsck = CONTAINER_OF(job, struct fsck, job);
    enum db_result result = DB_OK;
    int64_t number;
    if (fsck->asked.action != PROTO_FSCK_STATUS)
        result =
            lease_sql_want(connection, fsck->name, fsck->asked.action == PROTO_FSCK_REPAIR, &number, error);
    if (result == DB_OK)
        result = lease_sql_read(connection, fsck->name, &fsck->row, error);
    return result;
}

static void done(struct db_job *job)
{
    struct fsck *fsck = CONTAINER_OF(job, struct fsck, job);
    struct storage *storage = storage_of(fsck->request);
    struct error error = {0};
    if (job->result != DB_OK) {
        error_set(&error, db_error_code(job->result), "the database failed: %s", job->error.text);
        packet_reply_failure(fsck->request, &error);
        free(fsck);
        return;
    }
    if (fsck->asked.action != PROTO_FSCK_STATUS)
        upkeep_wake(storage->upkeep);
    json_t *progress = json_loads(fsck->row.progress, 0, NULL);
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:o}", "group", storage->config->group, "owner",
                             fsck->row.owner, "wanted", (json_int_t)fsck->row.wanted, "done",
                             (json_int_t)fsck->row.done, "progress", progress ? progress : json_null());
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text)
        packet_reply_take(fsck->request, text, strlen(text));
    else
        packet_reply_error(fsck->request, ERROR_UNAVAILABLE, "no memory for a report");
    json_decref(json);
    free(fsck);
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
    fsck->job = (struct db_job){.run = run, .done = done, .loop = request->loop};
    snprintf(fsck->name, sizeof(fsck->name), "upkeep/%s", storage->config->group);
    if (!proto_fsck_unpack(request->head, request->head_size, &fsck->asked, &error) ||
        !applications_check(storage->applications, fsck->asked.key.application, &error) ||
        !meta_run(storage->meta, &fsck->job, &error)) {
        packet_reply_failure(request, &error);
        free(fsck);
    }
}
