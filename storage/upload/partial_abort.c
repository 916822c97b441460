/*
 * partial_abort: ABORT: the row says that it is being removed, which nothing takes back; then its file goes, then the row. What is
 * left after a crash the upkeep removes (storage/upkeep/expire.c). Part of partial (partial.h).
 */
#include "storage/upload/partial.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "storage/rows/partial_rows.h"
#include "storage/store/store_file.h"
#include "storage/upload/partial_state.h"

#include <stdlib.h>

#define ROOM "upload"

struct partial_abort {
    struct packet_request *request;
    struct partial_job rows;
    struct job job;
    bool removed;
    struct error error;
};

static bool abort_allowed(struct partial_job *rows, struct error *error)
{
    if (rows->row.state == PARTIAL_STORED)
        return error_set(error, ERROR_EXISTS, "the upload of file %s is complete; delete the file instead",
                         rows->key.file);
    if (rows->row.state == PARTIAL_FINISHING)
        return error_set(error, ERROR_UNAVAILABLE, "the upload of file %s is being finished", rows->key.file);
    return true;
}

/* It will not come back, whether all is gone or the upkeep has something left to do. */
static void abort_over(struct partial_abort *abort)
{
    packet_reply(abort->request, NULL, 0);
    free(abort);
}

static void abort_row_removed(struct partial_job *rows)
{
    abort_over(CONTAINER_OF(rows, struct partial_abort, rows));
}

static void run_abort(struct job *job)
{
    struct partial_abort *abort = CONTAINER_OF(job, struct partial_abort, job);
    const struct partial_row *row = &abort->rows.row;
    CRASH_POINT("abort-marked");
    abort->removed = store_file_remove(row->path, &row->place, &abort->error);
    CRASH_POINT("abort-file-removed");
}

static void abort_removed(struct job *job)
{
    struct partial_abort *abort = CONTAINER_OF(job, struct partial_abort, job);
    if (!abort->removed)
        log_warning(ROOM, "the partial file %s stays for now: %s", abort->rows.row.file_path,
                    abort->error.text);
    abort->rows.done = abort_row_removed;
    if (!abort->removed || !partial_rows_remove(&abort->rows, &abort->error))
        abort_over(abort);
}

static void abort_taken(struct partial_job *rows)
{
    struct partial_abort *abort = CONTAINER_OF(rows, struct partial_abort, rows);
    struct storage *storage = storage_of(abort->request);
    if (!rows->fine) {
        packet_reply_failure(abort->request, &rows->error);
        free(abort);
        return;
    }
    partials_supersede(storage->partials, rows->row.token, rows->row.epoch);
    abort->job = (struct job){.run = run_abort, .done = abort_removed, .loop = rows->loop};
    /* A row that an earlier FINISH may still add would name the file: the upkeep removes it once none can come any more. */
    if (!rows->row.path || rows->row.finishing ||
        !store_path_submit(rows->row.path, &abort->job, &abort->error))
        abort_over(abort);
}

void partial_handle_abort(struct packet_request *request)
{
    struct storage *storage = storage_of(request);
    struct proto_partial asked;
    struct error error = {0};
    if (!partial_asked(request, &asked))
        return;
    struct partial_abort *abort = calloc(1, sizeof(*abort));
    if (!abort) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    abort->request = request;
    abort->rows = (struct partial_job){
        .meta = storage->meta,
        .loop = request->loop,
        .done = abort_taken,
        .key = asked.key,
        .allowed = abort_allowed,
        .state = PARTIAL_PURGING,
    };
    partial_sql_token(asked.token, abort->rows.row.token);
    if (!partial_rows_take(&abort->rows, &error)) {
        packet_reply_failure(request, &error);
        free(abort);
    }
}
