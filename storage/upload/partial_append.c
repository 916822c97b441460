/*
 * partial_append: APPEND: the row is taken over, the file opened as it is recorded, the content written as it comes, made durable and recorded:
 * at its end, and by and by where it is long. An offset is answered only when it is both. What came before a failure counts as
 * well, but for content that its own digest follows. Part of partial (partial.h).
 */
#include "storage/upload/partial.h"
#include "storage/upload/partial_state.h"

#include "common/base/crash_point.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define RECORD_BYTES (INT64_C(64) << 20) /* of a long content that are made durable at once */

/* ---- taking over ---- */

static int64_t append_end(const struct proto_append *append)
{
    return append->offset + append->size;
}

/* Does it fit what the row says? */
static bool append_allowed(struct partial_job *rows, struct error *error)
{
    const struct proto_append *append = &CONTAINER_OF(rows, struct partial, rows)->append;
    const struct partial_row *row = &rows->row;
    const char *file = rows->key.file;
    if (row->state == PARTIAL_FINISHING)
        return error_set(error, ERROR_UNAVAILABLE, "the upload of file %s is being finished", file);
    if (row->state != PARTIAL_OPEN)
        return error_set(error, ERROR_EXISTS, "the upload of file %s is complete", file);
    if (!row->path)
        return error_set(error, ERROR_IO, "the upload of file %s lies at %s, which is no store path here",
                         file, row->file_path);
    if (append->offset != row->offset)
        return error_set(error, ERROR_RANGE, "the offset is %" PRId64 ", not %" PRId64, row->offset,
                         append->offset);
    if (append->total >= 0 && row->size >= 0 && append->total != row->size)
        return error_set(error, ERROR_RANGE, "the file has %" PRId64 " bytes, as stated before, not %" PRId64,
                         row->size, append->total);
    int64_t size = row->size >= 0 ? row->size : append->total;
    if (size >= 0 && append_end(append) > size)
        return error_set(error, ERROR_RANGE,
                         "%" PRId64 " bytes at %" PRId64 " go beyond the file's %" PRId64 " bytes",
                         append->size, append->offset, size);
    return true;
}

static void append_taken(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_row *row = &partial->rows.row;
    CRASH_POINT("append-taken");
    if (!partial->rows.fine) {
        upload_conclude(upload, &partial->rows.error);
        return;
    }
    if (row->size < 0)
        row->size = partial->append.total; /* recorded with the offset */
    partial_adopt(partial);
    if (!upload_gather(upload, true))
        upload_enter_gate(upload);
}

/* ---- the file ---- */

static void run_append_open(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = partial_open(upload->own, &upload->job_error);
}

static void append_open(struct upload *upload)
{
    partial_start_work(upload->own, PARTIAL_OPENS, run_append_open);
}

/* A content that was gathered, or waited for its place, may have taken long. Whoever has taken over meanwhile has excluded this one:
 * in this process by the epoch (partials.h), at another server with the file that the row had (partial_renew.c). So nothing is asked. */
static void append_advance(struct upload *upload)
{
    const struct partial_row *row = &upload->own->rows.row;
    if (row->loose || row->finishing)
        partial_renew(upload->own, append_open);
    else
        append_open(upload);
}

static bool append_write(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    struct partial *partial = upload->own;
    struct partials *partials = upload->storage->partials;
    const void *bytes = slot->buffer.bytes ? slot->buffer.bytes : (const uint8_t *)"";
    int64_t at = partial->begun + slot->offset;
    if (!partials_write_begin(partials, &partial->hold, error))
        return false;
    CRASH_POINT("append-to-write");
    bool fine = store_file_write(&upload->file, bytes, slot->filled, at, error);
    partials_write_end(partials, &partial->hold);
    if (!fine)
        return false;
    partial->written = at + (int64_t)slot->filled;
    if (partial->digest) {
        digest_update(partial->digest, bytes, slot->filled);
        partial->digested = partial->written;
    }
    if (upload->digest)
        digest_update(upload->digest, bytes, slot->filled);
    CRASH_POINT("append-written");
    return true;
}

/* ---- made durable ---- */

/* BEGIN has left that to whoever writes the first bytes. */
static bool append_sync_first(struct store_file *file, struct error *error)
{
    return store_file_sync(file, error) && store_file_sync_directory(file, error);
}

static bool append_sync(struct partial *partial, struct error *error)
{
    struct upload *upload = partial->upload;
    bool fine = !store_path_durable(upload->path) ||
                (partial->rows.row.offset > 0 ? store_file_sync_data(&upload->file, error)
                                              : append_sync_first(&upload->file, error));
    partial->sync_failed = !fine;
    CRASH_POINT("append-synced");
    return fine && store_file_in_place(&upload->file, error);
}

static void run_append_sync(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    upload->job_fine = true;
    if (partial->whole && upload->digest) {
        digest_final(upload->digest, upload->digest_bytes);
        upload->job_fine = upload_judge_digest(upload, &upload->job_error);
    }
    upload->job_fine = upload->job_fine && append_sync(partial, &upload->job_error);
    if (upload->job_fine && partial->whole)
        upload->job_fine = store_file_close(&upload->file, &upload->job_error);
}

static void append_recorded(struct partial *partial)
{
    struct upload *upload = partial->upload;
    CRASH_POINT("offset-recorded");
    if (!partial->rows.fine)
        upload_conclude(upload, &partial->rows.error);
    else if (partial->whole)
        upload_conclude(upload, NULL);
    else
        upload_pump(upload);
}

static bool append_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->step == UPLOAD_OWN && partial->step == PARTIAL_OPENS && partial->unfit) {
        partial_renew(partial, append_open);
        return true;
    }
    if (upload->step == UPLOAD_OWN && partial->step == PARTIAL_OPENS) {
        partial->step = PARTIAL_WRITES;
        upload_enter(upload, UPLOAD_RECEIVE);
        upload_pump(upload);
        return true;
    }
    if (upload->step == UPLOAD_OWN && partial->step == PARTIAL_SYNCS) {
        upload_enter(upload, UPLOAD_RECEIVE);
        partial->rows.row.offset = partial->written;
        partial->rows.state = PARTIAL_OPEN;
        partial->rows.release = partial->whole; /* then it is closed */
        partial_start_rows(partial, partial_rows_record, PARTIAL_RECORDS, append_recorded);
        return true;
    }
    return partial_renew_worked(upload);
}

static void append_written(struct upload *upload, bool last)
{
    struct partial *partial = upload->own;
    bool due = partial->written - partial->rows.row.offset >= RECORD_BYTES && !upload->digest;
    partial->whole = last;
    if (last || due)
        partial_start_work(partial, PARTIAL_SYNCS, run_append_sync);
    else
        upload_pump(upload);
}

/* ---- the end ---- */

/* What came before a failure counts too, if it can be made durable. */
static void run_append_close(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    bool wanted = partial->step == PARTIAL_CLOSES && !partial->sync_failed && !upload->digest &&
                  partial->written > partial->rows.row.offset;
    struct error error = {0};
    upload->job_fine = wanted && append_sync(partial, &error);
    if (!store_file_close(&upload->file, &error))
        upload->job_fine = false;
}

/* It has taken the upload over, and its file was not opened. */
static bool append_is_idle(const struct partial *partial)
{
    const struct partial_job *rows = &partial->rows;
    return partial->upload->file.fd < 0 && rows->claim != 0 && rows->row.claim == rows->claim &&
           !rows->release;
}

static bool append_settle(struct upload *upload)
{
    struct partial *partial = upload->own;
    struct error ignored;
    if (partial->step < PARTIAL_CLOSES && append_is_idle(partial)) {
        partial->step = PARTIAL_CLOSES;
        upload->job_fine = false;
    }
    if (partial->step == PARTIAL_CLOSES) {
        int64_t before = partial->rows.row.offset;
        if (upload->job_fine)
            partial->rows.row.offset = partial->written;
        partial->rows.state = PARTIAL_OPEN;
        partial->rows.release = true;
        partial->step = PARTIAL_OVER;
        upload->row_running = partial_rows_record(&partial->rows, &ignored);
        if (upload->row_running)
            return false;
        partial->rows.row.offset = before;
    } else if (partial->step != PARTIAL_OVER && upload->file.fd >= 0) {
        partial->step = PARTIAL_CLOSES;
        upload->job_fine = false;
        if (upload_start_job(upload, upload->path, run_append_close))
            return false;
        (void)close(
            upload->file.fd); /* the workers are gone, or have too much to do; what came does not count */
        upload->file.fd = -1;
    }
    partial_explain(partial);
    partial_let_go(partial);
    partial->step = PARTIAL_OVER;
    return true;
}

static const struct upload_kind append_kind = {
    .advance = append_advance,
    .worked = append_worked,
    .write = append_write,
    .written = append_written,
    .settle = append_settle,
    .reply = partial_reply_state,
    .end = partial_end,
};

void partial_handle_append(struct packet_request *request)
{
    struct proto_append append;
    struct error error = {0};
    if (!proto_append_unpack(request->head, request->head_size, &append, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    int64_t behind = append.digest_follows ? PROTO_DIGEST_SIZE : 0;
    if (request->body_left - behind != append.size) {
        packet_reply_error(request, ERROR_MALFORMED, "the content must have %lld bytes, %lld follow the head",
                           (long long)append.size, (long long)(request->body_left - behind));
        return;
    }
    if (append.offset > INT64_MAX - append.size) {
        packet_reply_error(request, ERROR_MALFORMED, "offset and size together exceed 2^63");
        return;
    }
    const struct proto_put put = {.key = append.partial.key, .size = append.size};
    struct upload *upload =
        upload_admits(request, &put)
            ? partial_create(request, &put, append.digest_follows, &append_kind, append.partial.token)
            : NULL;
    if (!upload)
        return;
    upload->own->append = append;
    upload->own->rows.state = PARTIAL_OPEN;
    upload->own->rows.allowed = append_allowed;
    upload->own->rows.weighs = true;
    upload->own->rows.weight = max_i64(append.total, append_end(&append));
    upload->digest = append.digest_follows ? digest_create() : NULL;
    if (append.digest_follows && !upload->digest)
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for a digest");
    else
        partial_start_rows(upload->own, partial_rows_take, PARTIAL_NEW, append_taken);
}
