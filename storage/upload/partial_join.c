/*
 * partial_join: JOIN_PARTS: the target and its parts are taken over, the parts' bytes copied behind one another into the target's file
 * (by the kernel where it can, so that file systems which share blocks do), read back for the digest, and finished like any partial upload.
 * The target counts as empty until it is stored: after a failure or a crash the copy begins anew. Part of partial (partial.h).
 */
#include "storage/upload/partial.h"
#include "storage/upload/partial_finish.h"

#include "common/base/crash_point.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_SLICE (INT64_C(64) << 20) /* that are copied in one job */

struct partial_join {
    struct partial *partial;
    struct partial_parts parts;
    size_t at;      /* the part that is copied */
    int64_t copied; /* bytes of it */
    int fd;         /* its file; -1: not open */
    bool by_hand;   /* the kernel does not copy between these files */
};

static void join_destroy(struct partial_join *join)
{
    if (join->fd >= 0)
        (void)close(join->fd); /* only read */
    free(join->parts.rows);
    free(join);
}

/* ---- the parts ---- */

static void parts_taken(struct partial_parts *parts)
{
    struct partial *partial = CONTAINER_OF(parts, struct partial_join, parts)->partial;
    struct upload *upload = partial->upload;
    upload->row_running = false;
    if (upload->concluded) {
        upload_settle(upload);
    } else if (!parts->fine) {
        upload_conclude(upload, &parts->error);
    } else if (partial->size >= 0 && partial->size != parts->bytes) {
        upload_refuse(upload, ERROR_RANGE,
                      "the parts have %" PRId64 " bytes, and the file is to have %" PRId64, parts->bytes,
                      partial->size);
    } else {
        for (size_t i = 0; i < parts->count; i++)
            partials_supersede(upload->storage->partials, parts->rows[i].token, parts->rows[i].epoch);
        partial_care_begin(partial, parts);
        CRASH_POINT("join-taken");
        partial->joined = upload->put.size = parts->bytes;
        upload_enter_gate(upload);
    }
}

static void join_parts_take(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_parts *parts = &partial->join->parts;
    struct error error = {0};
    parts->meta = partial->rows.meta;
    parts->loop = partial->rows.loop;
    parts->key = partial->rows.key;
    parts->claim = partial->rows.claim;
    parts->done = parts_taken;
    upload->row_running = partial_rows_take_parts(parts, &error);
    if (!upload->row_running)
        upload_conclude(upload, &error);
}

static void parts_purged(struct partial_parts *parts)
{
    struct upload *upload = CONTAINER_OF(parts, struct partial_join, parts)->partial->upload;
    upload->row_running = false;
    upload_settle(upload); /* where it failed they expire */
}

static bool join_clear(struct partial *partial)
{
    struct error ignored;
    partial->step = PARTIAL_OVER;
    partial->join->parts.done = parts_purged;
    partial->upload->row_running = partial_rows_purge_parts(&partial->join->parts, &ignored);
    return !partial->upload->row_running;
}

/* ---- copying ---- */

static bool open_part(struct partial_join *join, const struct partial_row *row, struct error *error)
{
    int64_t size = 0;
    if (join->fd >= 0)
        return true;
    return store_file_open(row->path, &row->place, &join->fd, &size, error);
}

static void next_part(struct partial_join *join)
{
    (void)close(join->fd); /* only read */
    join->fd = -1;
    join->copied = 0;
    join->at++;
}

static bool copy_slice(struct partial_join *join, struct error *error)
{
    struct partial *partial = join->partial;
    int64_t end = partial->written + COPY_SLICE;
    while (join->at < join->parts.count && partial->written < end) {
        const struct partial_row *row = &join->parts.rows[join->at];
        int64_t left = row->offset - join->copied, done = 0;
        if (!open_part(join, row, error))
            return false;
        if (left == 0) {
            next_part(join);
            continue;
        }
        if (!partial_copy_some(join->fd, join->copied, &partial->upload->file, partial->written,
                               min_i64(left, end - partial->written), &join->by_hand, &done, error))
            return false;
        if (done == 0)
            return error_set(error, ERROR_IO, "the part %s is shorter than is recorded", row->file_path);
        join->copied += done;
        partial->written += done;
    }
    return true;
}

static void run_join(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    struct partials *partials = upload->storage->partials;
    upload->job_fine = partial->step != PARTIAL_OPENS || partial_open(partial, &upload->job_error);
    if (partial->unfit)
        return;
    if (upload->job_fine && !partial->digest)
        upload->job_fine = (partial->digest = partial_digest_create(partial)) ||
                           error_set(&upload->job_error, ERROR_UNAVAILABLE, "no memory for a digest");
    if (!upload->job_fine ||
        !(upload->job_fine = partials_write_begin(partials, &partial->hold, &upload->job_error)))
        return;
    upload->job_fine = copy_slice(partial->join, &upload->job_error);
    partials_write_end(partials, &partial->hold);
    while (upload->job_fine && partial->digested < partial->written)
        upload->job_fine = partial_read_back(partial, partial->written, &upload->job_error);
    CRASH_POINT("join-copied");
}

static void join_start(struct upload *upload)
{
    partial_start_work(upload->own, PARTIAL_OPENS, run_join);
}

static bool join_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    if (upload->step != UPLOAD_OWN || (partial->step != PARTIAL_OPENS && partial->step != PARTIAL_READS))
        return partial_finish_worked(upload) || partial_renew_worked(upload);
    if (partial->unfit)
        partial_renew(partial, join_start);
    else if (partial->join->at < partial->join->parts.count)
        partial_start_work(partial, PARTIAL_READS, run_join);
    else
        partial_finish_whole(partial);
    return true;
}

/* An earlier request may have written the parts into the file that the row has, and even stored it. */
static void join_advance(struct upload *upload)
{
    const struct partial_row *row = &upload->own->rows.row;
    if (row->loose || row->finishing)
        partial_renew(upload->own, join_start);
    else
        join_start(upload);
}

static const struct upload_kind join_kind = {
    .advance = join_advance,
    .worked = join_worked,
    .settle = partial_finish_settle,
    .end = partial_end,
    .counted = true,
};

/* ---- the request ---- */

static bool join_allowed(struct partial_job *rows, struct error *error)
{
    const struct partial_row *row = &rows->row;
    int64_t size = row->size;
    if (row->state != PARTIAL_STORED && row->offset != 0)
        return error_set(error, ERROR_RANGE,
                         "bytes were appended to the upload of file %s: nothing can be joined to it",
                         rows->key.file);
    rows->row.size = -1; /* what has not come is in the parts */
    bool fine = partial_finish_allowed(rows, error);
    rows->row.size = size;
    return fine;
}

/* None twice, nor the target. */
static bool tokens_differ(const struct proto_finish *target, const uint8_t *tokens, size_t count,
                          struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *token = tokens + i * PROTO_PARTIAL_TOKEN_SIZE;
        bool same = memcmp(token, target->partial.token, PROTO_PARTIAL_TOKEN_SIZE) == 0;
        for (size_t j = 0; j < i && !same; j++)
            same = memcmp(token, tokens + j * PROTO_PARTIAL_TOKEN_SIZE, PROTO_PARTIAL_TOKEN_SIZE) == 0;
        if (same)
            return error_set(error, ERROR_MALFORMED, "part %zu is named twice, or is the target", i + 1);
    }
    return true;
}

static struct partial_join *join_create(const uint8_t *tokens, size_t count)
{
    struct partial_join *join = calloc(1, sizeof(*join));
    struct partial_row *rows = join ? calloc(count, sizeof(*rows)) : NULL;
    if (!rows) {
        free(join);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        partial_sql_token(tokens + i * PROTO_PARTIAL_TOKEN_SIZE, rows[i].token);
    join->parts.rows = rows;
    join->parts.count = count;
    join->fd = -1;
    return join;
}

static const struct partial_joining joining = {
    .taken = join_parts_take,
    .clear = join_clear,
    .destroy = join_destroy,
};

void partial_handle_join_parts(struct packet_request *request)
{
    struct proto_finish target;
    const uint8_t *tokens;
    size_t count;
    struct error error = {0};
    if (!proto_join_parts_unpack(request->head, request->head_size, &target, &tokens, &count, &error) ||
        !tokens_differ(&target, tokens, count, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    const struct proto_put put = {.key = target.partial.key};
    struct partial_join *join = join_create(tokens, count);
    struct upload *upload = NULL;
    if (!join)
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for an upload");
    else if (upload_admits(request, &put))
        upload = partial_create(request, &put, false, &join_kind, target.partial.token);
    if (!upload) {
        if (join)
            join_destroy(join);
        return;
    }
    join->partial = upload->own;
    upload->own->join = join;
    upload->own->joining = &joining;
    upload->own->finish = target;
    upload->own->rows.allowed = join_allowed;
    partial_start_rows(upload->own, partial_rows_take, PARTIAL_NEW, partial_finish_taken);
}
