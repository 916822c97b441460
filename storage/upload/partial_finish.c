/*
 * partial_finish: FINISH, and what JOIN_PARTS ends with: the row is taken over for good, the digest known or read back, the file synced, and
 * then the present way of every upload: its row among the files (storage/upload/upload_row.c). Before success is said the row of the
 * partial upload says "stored", under the condition that it still is this request's; so whoever removes partial uploads and whoever
 * finishes them cannot both succeed. Part of partial (partial.h).
 */
#include "storage/upload/partial_finish.h"
#include "storage/upload/partial.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/media/media_signature.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 * 1024)
#define READ_SLICE (INT64_C(64) << 20) /* of a file that are read back in one job */

/* ---- reading back ---- */

bool partial_read_back(struct partial *partial, int64_t end, struct error *error)
{
    struct upload *upload = partial->upload;
    uint8_t *bytes = malloc(READ_BYTES);
    bool fine = bytes || error_set(error, ERROR_UNAVAILABLE, "no memory to read a file back");
    int64_t slice = min_i64(end, partial->digested + READ_SLICE);
    while (fine && partial->digested < slice) {
        size_t got, wanted = min_size(READ_BYTES, (size_t)(slice - partial->digested));
        fine = upload_heal_read(upload->file.fd, bytes, wanted, partial->digested, &got, NULL, error);
        if (fine && got < wanted)
            fine = error_set(error, ERROR_IO, "the partial file %s is shorter than it was",
                             partial->rows.row.file_path);
        if (fine) {
            digest_update(partial->digest, bytes, got);
            partial->digested += (int64_t)got;
        }
    }
    free(bytes);
    return fine;
}

/* The digest of what this process wrote is in memory, or the file is read from its beginning. */
static bool finish_open(struct partial *partial, struct error *error)
{
    if (!partial_open(partial, error))
        return false;
    CRASH_POINT("finish-opened");
    if (partial->digest || partial->unfit)
        return true;
    partial->read_back = true;
    partial->digest = partial_digest_create(partial);
    partial->digested = 0;
    return partial->digest || error_set(error, ERROR_UNAVAILABLE, "no memory for a digest");
}

/* What was read is only said of the file where it is the one that everybody sees: another directory may lie at the store path by now. */
static void finish_blame(struct upload *upload)
{
    struct error error = {0};
    if (!upload->job_fine && upload->file.root && !store_file_in_place(&upload->file, &error))
        upload->job_error = error;
}

static void run_finish_read(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    upload->job_fine = partial->step != PARTIAL_OPENS || finish_open(partial, &upload->job_error);
    if (upload->job_fine && !partial->unfit)
        upload->job_fine = partial_read_back(partial, partial->rows.row.offset, &upload->job_error);
    finish_blame(upload);
}

/* ---- digests, the media type, the syncs ---- */

static bool finish_type(struct upload *upload, struct error *error)
{
    uint8_t bytes[MEDIA_SIGNATURE_BYTES];
    size_t got;
    if (!upload_heal_read(upload->file.fd, bytes, sizeof(bytes), 0, &got, NULL, error))
        return false;
    upload_judge_type(upload, bytes, got);
    return true;
}

/* What was said at the beginning, and what is said now. */
static bool finish_digest(struct upload *upload, struct error *error)
{
    struct partial *partial = upload->own;
    const struct partial_row *row = &partial->rows.row;
    digest_final(partial->digest, upload->digest_bytes);
    upload->has_sha256 = digest_final_sha256(partial->digest, upload->sha256);
    bool begun =
        !row->has_digest || memcmp(row->digest, upload->digest_bytes, sizeof(upload->digest_bytes)) == 0;
    bool finished = !partial->finish.has_digest ||
                    memcmp(partial->finish.digest, upload->digest_bytes, sizeof(upload->digest_bytes)) == 0;
    if (!begun || !finished)
        return error_set(error, ERROR_DIGEST, "the content does not match the stated digest%s",
                         begun ? "" : " at the beginning");
    upload->put.has_digest = true;
    memcpy(upload->put.digest, upload->digest_bytes, sizeof(upload->put.digest));
    return true;
}

/* This life of the process has written all that is recorded, and what it did to the file was made durable without a failure: then it has the digest
 * in memory. */
static bool finish_lasts(const struct partial *partial)
{
    const struct partial_row *row = &partial->rows.row;
    return row->offset > 0 && partial->joined < 0 && !row->mixed && !partial->read_back;
}

static void run_finish_end(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    bool lasts = finish_lasts(upload->own);
    int64_t start_us = clock_monotonic_us();
    upload->job_fine = finish_digest(upload, &upload->job_error) && finish_type(upload, &upload->job_error) &&
                       commit_sync(&upload->file, lasts, &upload->job_error);
    finish_blame(upload);
    metric_observe_us(upload->storage->metrics.sync_time, clock_monotonic_us() - start_us);
    CRASH_POINT("finish-synced");
}

/* ---- the row ---- */

/* Whoever has taken it over may have stored this very file by now, which then was deleted and purged: its row would come back without it. */
static enum db_result finish_holds(struct meta_insert *insert, struct db_connection *connection, bool *holds,
                                   struct error *error)
{
    struct upload *upload = CONTAINER_OF(insert, struct upload, insert);
    enum db_result result = partial_sql_hold(connection, &upload->own->rows.row, holds, error);
    if (result == DB_OK && !*holds)
        error_set(error, ERROR_UNAVAILABLE, "another request has taken over the upload of file %s",
                  insert->key.file);
    return result;
}

static void finish_add(struct partial *partial)
{
    struct upload *upload = partial->upload;
    partial->step = PARTIAL_ADDS;
    if (partial->joined >= 0)
        partial->rows.row.offset = partial->rows.row.size = partial->joined;
    upload->insert.outcome = META_NOT_DONE; /* so far */
    upload->insert.holds = finish_holds;
    upload->insert.shared = partial->rows.row.finishing;
    upload_add_row(upload);
}

void partial_finish_whole(struct partial *partial)
{
    partial_start_work(partial, PARTIAL_ENDS, run_finish_end);
}

bool partial_finish_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->step != UPLOAD_OWN || partial->step != PARTIAL_ENDS)
        return false;
    /* What an INSERT may wait is counted from here on; so is the time after which the file is removed. */
    upload->file.touched_ms = clock_boot_ms();
    upload->file.touched_wall_us = clock_wall_us();
    finish_add(partial);
    return true;
}

/* ---- the end ---- */

static void run_finish_close(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct error ignored;
    if (!store_file_close(&upload->file, &ignored))
        upload->own->sync_failed = true; /* nothing of it was to last */
}

/* Another upload of the same bytes was quicker: ours are not needed. */
static void run_finish_clear(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = store_file_discard(&upload->file, &upload->job_error);
}

/* Surely no row speaks of the file. */
static bool surely_open(const struct upload *upload)
{
    const struct partial *partial = upload->own;
    enum meta_insert_outcome outcome = upload->insert.outcome;
    return partial->step < PARTIAL_ADDS ||
           (partial->step == PARTIAL_ADDS && (outcome == META_TAKEN || outcome == META_NOT_DONE));
}

/* A failure: the partial upload is open again, where it surely is not a file. */
static bool finish_revert(struct upload *upload)
{
    struct partial *partial = upload->own;
    struct partial_job *rows = &partial->rows;
    struct error ignored;
    bool ours = rows->row.claim == rows->claim && rows->row.state == PARTIAL_FINISHING;
    bool open = surely_open(upload);
    partial->step = PARTIAL_REVERTS;
    if (upload->fine || !ours || !open)
        return true;
    if (partial->joined >= 0) { /* for JOIN_PARTS again it is empty */
        rows->row.offset = 0;
        rows->row.size = partial->size;
    }
    rows->row.state = PARTIAL_OPEN;
    rows->state = PARTIAL_FINISHING;
    rows->release = true; /* the file is closed */
    upload->row_running = partial_rows_record(rows, &ignored);
    return !upload->row_running;
}

/* Success is said only of what is recorded as stored. */
static bool finish_stored(struct upload *upload)
{
    struct partial *partial = upload->own;
    CRASH_POINT("finish-stored");
    partial->step = PARTIAL_CLEARS;
    upload->job_fine = true;
    if (!partial->rows.fine) {
        upload->fine = false;
        upload->error = partial->rows.error;
        return true;
    }
    if (!upload->rival)
        return true;
    if (partial->rows.row.finishing)
        error_set(&upload->job_error, ERROR_UNAVAILABLE, "an earlier request may still add its row");
    else if (upload_start_job(upload, upload->path, run_finish_clear))
        return false;
    upload->job_fine = false;
    return true;
}

/* The file has its row, or another one has the same bytes: the partial upload is over. That is noted only now that the file has been looked for
 * after a commit that came late: from then on others say that it is stored. */
static bool finish_store(struct upload *upload)
{
    struct partial *partial = upload->own;
    CRASH_POINT("finish-row-added");
    partial->step = PARTIAL_STORES;
    if (upload->rival)
        partial->rows.row.file_path[0] = '\0'; /* ours is removed */
    upload->row_running = partial_rows_store(&partial->rows, &upload->error);
    upload->fine = upload->row_running;
    return !upload->row_running;
}

bool partial_finish_settle(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->file.fd >= 0) {
        upload->keep_file = true;
        if (upload_start_job(upload, upload->path, run_finish_close))
            return false;
        (void)close(upload->file.fd); /* nothing of it is to last */
        upload->file.fd = -1;
    }
    if (partial->step == PARTIAL_STORES && !finish_stored(upload))
        return false;
    if (partial->step == PARTIAL_ADDS && upload->fine && !finish_store(upload))
        return false;
    if (partial->step < PARTIAL_STORES && !finish_revert(upload))
        return false;
    if (partial->step == PARTIAL_CLEARS && !upload->job_fine)
        upload_leave_file(upload, upload->job_error.text);
    if (partial->step == PARTIAL_CLEARS && partial->join && upload->fine && !partial->joining->clear(partial))
        return false;
    partial_explain(partial);
    partial_let_go(partial);
    partial->step = PARTIAL_OVER;
    return true;
}

/* ---- FINISH ---- */

bool partial_finish_allowed(struct partial_job *rows, struct error *error)
{
    const struct partial_row *row = &rows->row;
    rows->state = row->state == PARTIAL_STORED ? PARTIAL_STORED : PARTIAL_FINISHING;
    if (row->state == PARTIAL_STORED)
        return true;
    if (!row->path)
        return error_set(error, ERROR_IO, "the upload of file %s lies at %s, which is no store path here",
                         rows->key.file, row->file_path);
    if (row->size >= 0 && row->offset < row->size)
        return error_set(error, ERROR_RANGE, "%" PRId64 " of the %" PRId64 " bytes of file %s have not come",
                         row->size - row->offset, row->size, rows->key.file);
    return true;
}

void partial_finish_taken(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_row *row = &partial->rows.row;
    CRASH_POINT("finish-taken");
    if (!partial->rows.fine) {
        upload_conclude(upload, &partial->rows.error);
        return;
    }
    if (row->state == PARTIAL_STORED) { /* its uploader did not learn of it */
        meta_forget(upload->storage->meta, &row->key);
        partial->step = PARTIAL_OVER;
        upload_conclude(upload, NULL);
        return;
    }
    partial_adopt(partial);
    partial->size = row->size;
    if (!partial->join)
        row->size = upload->put.size = row->offset;
    memcpy(upload->put.name, row->name, sizeof(upload->put.name));
    memcpy(upload->put.content_type, row->content_type, sizeof(upload->put.content_type));
    upload->put.expires = row->file_expires;
    upload->came = true;
    if (partial->join)
        partial->joining->taken(partial);
    else
        upload_enter_gate(upload);
}

static void partial_finish_begin(struct upload *upload)
{
    partial_start_work(upload->own, PARTIAL_OPENS, run_finish_read);
}

static bool finish_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->step != UPLOAD_OWN || (partial->step != PARTIAL_OPENS && partial->step != PARTIAL_READS))
        return partial_finish_worked(upload) || partial_renew_worked(upload);
    if (partial->unfit)
        partial_renew(partial, partial_finish_begin);
    else if (partial->digested < partial->rows.row.offset)
        partial_start_work(partial, PARTIAL_READS, run_finish_read);
    else
        partial_finish_whole(partial);
    return true;
}

/* A file that only an earlier FINISH may have finished is shared with it: both leave its bytes as they are. An empty one may be the
 * target of JOIN_PARTS, which writes to it. */
static void finish_advance(struct upload *upload)
{
    const struct partial_row *row = &upload->own->rows.row;
    if (row->loose || (row->finishing && row->offset == 0))
        partial_renew(upload->own, partial_finish_begin);
    else
        partial_finish_begin(upload);
}

static const struct upload_kind finish_kind = {
    .advance = finish_advance,
    .worked = finish_worked,
    .settle = partial_finish_settle,
    .end = partial_end,
    .counted = true,
};

void partial_handle_finish(struct packet_request *request)
{
    struct proto_finish finish;
    struct error error = {0};
    if (!proto_finish_unpack(request->head, request->head_size, &finish, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    const struct proto_put put = {.key = finish.partial.key};
    struct upload *upload = upload_admits(request, &put)
                                ? partial_create(request, &put, false, &finish_kind, finish.partial.token)
                                : NULL;
    if (!upload)
        return;
    upload->own->finish = finish;
    upload->own->rows.allowed = partial_finish_allowed;
    partial_start_rows(upload->own, partial_rows_take, PARTIAL_NEW, partial_finish_taken);
}
