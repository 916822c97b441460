/*
 * partial: what the requests about partial uploads share: the struct beside the upload, jobs, the file as it is recorded; and OFFSET, which is
 * no more than a look at the row. On the request's loop where nothing else is said.
 */
#include "storage/upload/partial.h"
#include "storage/upload/partial_state.h"

#include "storage/store/store_life.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct upload *partial_create(struct packet_request *request, const struct proto_put *put,
                              bool digest_follows, const struct upload_kind *kind, const uint8_t *token)
{
    struct partial *partial = calloc(1, sizeof(*partial));
    struct upload *upload = partial ? upload_create(request, put, digest_follows) : NULL;
    if (!partial)
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for an upload");
    if (!upload) {
        free(partial);
        return NULL;
    }
    struct partial_job *rows = &partial->rows;
    rows->meta = upload->storage->meta;
    rows->loop = upload->loop;
    rows->key = put->key;
    partial->upload = upload;
    partial->joined = -1;
    upload->kind = kind;
    upload->own = partial;
    upload->keep_file = true; /* it is not this request's to remove */
    if (!token)
        return upload;
    partial_sql_token(token, rows->row.token);
    if (partials_begin(upload->storage->partials, rows->row.token, &partial->hold))
        return upload;
    upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for a partial upload");
    return NULL;
}

void partial_end(struct upload *upload)
{
    struct partial *partial = upload->own;
    partial_care_end(partial);
    partials_leave(upload->storage->partials, &partial->hold, NULL, 0);
    digest_destroy(partial->digest);
    if (partial->join)
        partial->joining->destroy(partial->join);
    free(partial->renew);
    free(partial);
}

/* ---- jobs ---- */

static void partial_rows_ended(struct partial_job *rows)
{
    struct partial *partial = CONTAINER_OF(rows, struct partial, rows);
    struct upload *upload = partial->upload;
    upload->row_running = false;
    if (upload->concluded)
        upload_settle(upload);
    else
        partial->rows_done(partial);
}

void partial_start_work(struct partial *partial, enum partial_step step, void (*run)(struct job *job))
{
    struct upload *upload = partial->upload;
    partial->step = step;
    upload_enter(upload, UPLOAD_OWN);
    if (!upload_start_job(upload, upload->path, run))
        upload_conclude(upload, &upload->job_error);
}

void partial_start_rows(struct partial *partial, bool (*start)(struct partial_job *job, struct error *error),
                        enum partial_step step, void (*done)(struct partial *partial))
{
    struct upload *upload = partial->upload;
    struct error error = {0};
    partial->step = step;
    partial->rows_done = done;
    partial->rows.done = partial_rows_ended;
    upload->row_running = start(&partial->rows, &error);
    if (!upload->row_running)
        upload_conclude(upload, &error);
}

/* ---- the file ---- */

struct digest *partial_digest_create(const struct partial *partial)
{
    return upload_judge_is_strong(partial->upload->storage->config) ? digest_create_strong()
                                                                    : digest_create();
}

void partial_adopt(struct partial *partial)
{
    struct upload *upload = partial->upload;
    const struct partial_row *row = &partial->rows.row;
    upload->path = row->path;
    upload->file = (struct store_file){.path = row->path, .place = row->place, .fd = -1};
    partial->begun = partial->written = row->offset;
    partial_care_begin(partial, NULL);
}

/* A file of which nothing is recorded was not made to last: after a power cut there may be none. */
static bool open_missing(struct partial *partial, struct error *error)
{
    const struct partial_row *row = &partial->rows.row;
    struct error ignored;
    int64_t size;
    int fd = -1;
    if (row->offset > 0 || error->code != ERROR_IO ||
        !store_file_look(row->path, &row->place, &fd, &size, &ignored))
        return false;
    partial->unfit = fd < 0;
    if (fd >= 0)
        (void)close(fd); /* only looked for */
    return partial->unfit;
}

/* Made to last at once: a later request finds nothing to cut, and syncs no more than it has written. */
static bool cut_back(struct partial *partial, struct error *error)
{
    struct store_file *file = &partial->upload->file;
    bool fine = store_file_cut(file, partial->rows.row.offset, error) &&
                (!store_path_durable(file->path) || store_file_sync_data(file, error));
    partial->sync_failed = !fine;
    return fine;
}

static bool open_at_offset(struct partial *partial, struct error *error)
{
    struct upload *upload = partial->upload;
    struct partials *partials = upload->storage->partials;
    const struct partial_row *row = &partial->rows.row;
    int64_t size = 0;
    if (!store_file_reopen(&upload->file, &size, error))
        return open_missing(partial, error);
    /* Else others may take this process for dead. */
    if (!store_life_fits(upload->path, upload->file.root, upload->file.fd, row->writer, error))
        return false;
    if (size < row->offset)
        return error_set(error, ERROR_IO,
                         "the partial file %s has %" PRId64 " bytes, and %" PRId64
                         " are recorded; begin anew",
                         row->file_path, size, row->offset);
    partial->unfit = size > row->offset && row->finishing;
    if (partial->unfit)
        return store_file_close(&upload->file, error);
    if (size > row->offset && !cut_back(partial, error))
        return false;
    if (!row->mixed) {
        partial->digest = partials_take_digest(partials, &partial->hold, row->offset);
        if (!partial->digest && row->offset == 0)
            partial->digest = partial_digest_create(partial); /* without memory it is read back */
        partial->digested = row->offset;
    }
    return true;
}

bool partial_open(struct partial *partial, struct error *error)
{
    struct partials *partials = partial->upload->storage->partials;
    if (!partials_enter(partials, &partial->hold, partial->rows.row.epoch, error) ||
        !partials_write_begin(partials, &partial->hold, error))
        return false;
    bool fine = open_at_offset(partial, error);
    partials_write_end(partials, &partial->hold);
    return fine;
}

void partial_explain(struct partial *partial)
{
    struct upload *upload = partial->upload;
    const struct partial_job *rows = &partial->rows;
    if (!upload->fine && upload->error.code == ERROR_IO && !rows->fine && rows->refused)
        upload->error = rows->error;
}

void partial_let_go(struct partial *partial)
{
    struct partials *partials = partial->upload->storage->partials;
    bool keep = partial->digested == partial->rows.row.offset && !partial->sync_failed && !partial->read_back;
    if (!keep)
        digest_destroy(partial->digest);
    partials_leave(partials, &partial->hold, keep ? partial->digest : NULL, partial->digested);
    partial->digest = NULL;
}

/* ---- the state ---- */

/* Who learns that the file is stored sees nothing afterwards that is older than that: what is in memory may be. */
static void fill_state(struct meta *meta, const struct partial_row *row, struct proto_partial_state *state)
{
    if (row->state == PARTIAL_STORED)
        meta_forget(meta, &row->key);
    *state = (struct proto_partial_state){
        .offset = row->offset,
        .size = row->size,
        .expires = row->expires,
        .complete = row->state == PARTIAL_STORED,
    };
}

void partial_reply_state(struct upload *upload, struct packet_request *request)
{
    const struct partial_row *row = &upload->own->rows.row;
    uint8_t body[PROTO_BEGIN_REPLY_SIZE];
    struct proto_begin_reply reply = {0};
    struct error error = {0};
    bool begin = request->command == PROTO_STORAGE_BEGIN;
    fill_state(upload->storage->meta, row, &reply.state);
    bool fine = digest_from_hex(row->token, reply.token) &&
                (begin ? proto_begin_reply_pack(body, &reply, &error)
                       : proto_partial_state_pack(body, &reply.state, &error));
    if (fine)
        packet_reply(request, body, begin ? PROTO_BEGIN_REPLY_SIZE : PROTO_PARTIAL_STATE_SIZE);
    else
        packet_reply_failure(request, &error);
}

/* ---- OFFSET ---- */

bool partial_asked(struct packet_request *request, struct proto_partial *asked)
{
    struct error error = {0};
    if (proto_partial_unpack(request->head, request->head_size, asked, &error) &&
        applications_check(storage_of(request)->applications, asked->key.application, &error))
        return true;
    packet_reply_failure(request, &error);
    return false;
}

struct partial_look {
    struct packet_request *request;
    struct partial_job rows;
};

static void look_answered(struct partial_job *rows)
{
    struct partial_look *look = CONTAINER_OF(rows, struct partial_look, rows);
    uint8_t body[PROTO_PARTIAL_STATE_SIZE];
    struct proto_partial_state state;
    struct error error = rows->error;
    fill_state(storage_of(look->request)->meta, &rows->row, &state);
    if (rows->fine && proto_partial_state_pack(body, &state, &error))
        packet_reply(look->request, body, sizeof(body));
    else
        packet_reply_failure(look->request, &error);
    free(look);
}

void partial_handle_offset(struct packet_request *request)
{
    struct storage *storage = storage_of(request);
    struct proto_partial asked;
    struct error error = {0};
    if (!partial_asked(request, &asked))
        return;
    struct partial_look *look = calloc(1, sizeof(*look));
    if (!look) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    look->request = request;
    look->rows = (struct partial_job){
        .meta = storage->meta, .loop = request->loop, .done = look_answered, .key = asked.key};
    partial_sql_token(asked.token, look->rows.row.token);
    if (!partial_rows_find(&look->rows, &error)) {
        packet_reply_failure(request, &error);
        free(look);
    }
}
