/*
 * partial_begin: BEGIN: the file ID is looked up, a file is made under its final name, then the row of the partial upload is added. A crash in
 * between leaves an empty file without a row. The file is not made to last before it has bytes: where a power cut takes it, another one is made. Part of partial (partial.h).
 */
#include "storage/upload/partial.h"
#include "storage/upload/partial_state.h"

#include "common/base/crash_point.h"
#include "storage/store/store_choice.h"

#include <stdlib.h>
#include <string.h>

/* What this content cannot become any more is refused before it comes. */
static void begin_found(struct upload *upload)
{
    int64_t size = upload->put.size;
    if (upload->find.result == META_DONE) {
        upload->rival = &upload->find.row;
        if (size < 0) /* it may turn out to be the same */
            upload->put.size = upload->rival->stat.size;
        if (upload_refused_by_rival(upload))
            return;
        upload->rival = NULL; /* FINISH compares */
        upload->put.size = size;
    }
    upload_advance(upload);
}

static void begin_added(struct partial *partial)
{
    struct upload *upload = partial->upload;
    const struct partial_job *rows = &partial->rows;
    CRASH_POINT("partial-row-committed");
    if (!rows->fine) {
        upload->keep_file = rows->uncertain;
        if (rows->uncertain)
            upload_leave_file(upload, "the database did not say whether its partial upload was recorded");
        upload_conclude(upload, &rows->error);
        return;
    }
    upload->keep_file = true;
    if (commit_took_long(&upload->file, upload->storage->config->leftover_age_ms))
        upload_refuse(
            upload, ERROR_UNAVAILABLE,
            "recording the upload of file %s took longer than storage.leftover_age allows; begin again",
            upload->put.key.file);
    else
        upload_conclude(upload, NULL);
}

static void begin_add(struct partial *partial)
{
    struct upload *upload = partial->upload;
    const struct storage_config *config = upload->storage->config;
    struct partial_row *row = &partial->rows.row;
    if (!store_path_format(upload->path, &upload->file.place, row->file_path)) {
        upload_refuse(upload, ERROR_EXHAUSTED, "number %lld is out of bounds",
                      (long long)upload->file.place.value);
        return;
    }
    partial->rows.deadline_ms = upload->file.touched_ms + config->leftover_age_ms / 2;
    partial->rows.limits =
        (struct partial_limits){.all = config->partials_max, .user = config->partials_per_user};
    partial->rows.weighs = upload->find.result != META_DONE; /* a repetition takes no room */
    partial->rows.weight = max_i64(row->size, 0);
    row->path = upload->path;
    row->place = upload->file.place;
    partial_start_rows(partial, partial_rows_add, PARTIAL_ADDS, begin_added);
}

static void run_begin_close(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = commit_sync(&upload->file, true, &upload->job_error);
    CRASH_POINT("partial-created");
}

static bool begin_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->step == UPLOAD_CREATE)
        partial_start_work(partial, PARTIAL_SYNCS, run_begin_close);
    else if (upload->step == UPLOAD_OWN)
        begin_add(partial);
    else
        return false;
    return true;
}

static const struct upload_kind begin_kind = {
    .found = begin_found,
    .worked = begin_worked,
    .reply = partial_reply_state,
    .end = partial_end,
};

/* What is asked for, within what the server allows. Never less than leftover_age: so long an INSERT may take. */
static int64_t begin_keep(const struct storage_config *config, int64_t asked)
{
    int64_t least = config->leftover_age_ms / 1000 + 1;
    int64_t most = max_i64(config->partial_keep_ms / 1000, least);
    return asked == 0 ? most : max_i64(min_i64(asked, most), least);
}

static void begin_fill(struct partial *partial, const struct proto_begin *begin)
{
    const struct storage_config *config = partial->upload->storage->config;
    const struct proto_put *put = &begin->put;
    struct partial_row *row = &partial->rows.row;
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
    arc4random_buf(token, sizeof(token));
    partial_sql_token(token, row->token);
    row->key = put->key;
    row->size = put->size;
    row->keep = begin_keep(config, begin->keep);
    row->file_expires = put->expires;
    row->has_digest = put->has_digest;
    memcpy(row->digest, put->digest, sizeof(row->digest));
    memcpy(row->name, put->name, sizeof(row->name));
    memcpy(row->content_type, put->content_type, sizeof(row->content_type));
    memcpy(row->group, config->group, strlen(config->group) + 1);
}

void partial_handle_begin(struct packet_request *request)
{
    struct proto_begin begin;
    struct error error = {0};
    if (!proto_begin_unpack(request->head, request->head_size, &begin, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct upload *upload = upload_admits(request, &begin.put)
                                ? partial_create(request, &begin.put, false, &begin_kind, NULL)
                                : NULL;
    if (!upload)
        return;
    begin_fill(upload->own, &begin);
    upload->keep_file = false;
    upload->came = true;
    upload->path = store_choose(upload->storage->store, max_i64(begin.put.size, 0), &error);
    if (upload->path)
        upload_advance(upload);
    else
        upload_conclude(upload, &error);
}
