/*
 * upload_end: how an upload ends: its result is noted once, what a worker still does is waited for, a file
 * that must not stay is removed, then the reply. On the request's loop; called by storage/upload/upload.c and
 * storage/upload/upload_compare.c.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "storage/upload/recovery.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM          "upload"
#define UNDO_RETRY_MS 200L

void upload_enter(struct upload *upload, enum upload_step step)
{
    upload->step = step;
    upload->step_us = clock_monotonic_us();
}

void upload_give_buffers(struct upload *upload)
{
    for (size_t i = 0; i < ARRAY_SIZE(upload->slots); i++) {
        struct upload_slot *slot = &upload->slots[i];
        if (slot->state != SLOT_FILLING) /* the server still reads into that one */
            buffers_give(upload->storage->buffers, &slot->buffer);
    }
}

static void count_end(const struct upload *upload)
{
    const struct storage_metrics *metrics = &upload->storage->metrics;
    int code = upload->error.code;
    if (upload->kind && !upload->kind->counted)
        return;
    if (upload->fine && upload->rival) {
        metric_add(metrics->uploads_repeated, 1);
    } else if (upload->fine) {
        metric_add(metrics->uploads_stored, 1);
        metric_add(metrics->upload_bytes, upload->put.size);
    } else if (code == ERROR_EXISTS || code == ERROR_DELETED || code == ERROR_REFUSED ||
               code == ERROR_OTHER_GROUP || code == ERROR_QUOTA || code == ERROR_DIGEST ||
               code == ERROR_MALFORMED) {
        metric_add(metrics->uploads_refused, 1);
    } else {
        metric_add(metrics->uploads_failed, 1);
    }
}

static void reply_stored(struct upload *upload)
{
    uint8_t body[PROTO_STORE_REPLY_SIZE];
    struct proto_store_reply reply = {.repeated = upload->rival, .has_digest = true};
    if (!upload->reports) {
        packet_reply(upload->request, NULL, 0);
        return;
    }
    const struct proto_stat *stat = upload->rival ? &upload->rival->stat : &upload->insert.row.stat;
    reply.has_digest = stat->has_digest;
    memcpy(reply.digest, stat->digest, sizeof(reply.digest));
    reply.created = upload->rival ? stat->created : upload->file.place.seconds;
    proto_store_reply_pack(body, &reply);
    packet_reply(upload->request, body, sizeof(body));
}

void upload_take_back_promise(struct upload *upload)
{
    if (upload->promised > 0)
        recovery_release(upload->storage->recovery, upload->promised);
    upload->promised = 0;
}

/* The last step; frees the upload. */
static void upload_reply(struct upload *upload)
{
    struct packet_request *request = upload->request;
    upload_enter(upload, UPLOAD_REPLY);
    count_end(upload);
    if (upload->timer)
        event_free(upload->timer);
    if (upload->rate_timer)
        event_free(upload->rate_timer);
    if (upload->rival_fd >= 0)
        (void)close(upload->rival_fd); /* opened for reading: nothing can be lost */
    store_file_let_go(&upload->file);
    upload_take_back_promise(upload);
    if (upload->entered)
        gate_leave(upload->storage->gate);
    request->user = NULL;
    if (upload->peer_gone)
        packet_reply_abort(request);
    else if (upload->fine) {
        CRASH_POINT("upload-before-reply");
        if (upload->kind && upload->kind->reply)
            upload->kind->reply(upload, request);
        else
            reply_stored(upload);
        CRASH_POINT("upload-replied");
    } else
        packet_reply_failure(request, &upload->error);
    /* A read that was under way ended with the reply; only now is its buffer free. */
    for (size_t i = 0; i < ARRAY_SIZE(upload->slots); i++)
        upload->slots[i].state = SLOT_EMPTY;
    upload_give_buffers(upload);
    if (upload->untyped && upload->fine && !upload->rival)
        types_queue(upload->storage->types, upload->untyped, upload->insert.row.file_path);
    else
        types_drop(upload->storage->types, upload->untyped);
    digest_destroy(upload->digest);
    upload_heal_free(upload);
    upload_room_free(upload);
    if (upload->kind)
        upload->kind->end(upload);
    free(upload);
}

bool upload_start_job(struct upload *upload, struct store_path *path, void (*run)(struct job *job))
{
    upload->job = (struct job){.run = run, .done = upload_job_done, .loop = upload->loop};
    upload->job_running = store_path_submit(path, &upload->job, &upload->job_error);
    return upload->job_running;
}

static void run_undo(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_undo(upload, &upload->job_error);
}

static void start_undo(struct upload *upload);

static void on_undo_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    start_undo(argument);
}

/* A leftover of ours: nobody can find it, and the clean-up removes it. */
void upload_leave_file(struct upload *upload, const char *why)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    char text[STORE_FILE_PATH_SIZE];
    metric_add(upload->storage->metrics.leftovers, 1);
    if (store_path_format(upload->path, &upload->file.place, text))
        log_error(ROOM, "%s: the file %s stays without a row: %s", upload_name(upload, name), text, why);
}

static void start_undo(struct upload *upload)
{
    upload_enter(upload, UPLOAD_UNDO);
    if (upload->concluded)
        upload_give_buffers(upload);
    if (upload_start_job(upload, upload->path, run_undo))
        return;
    /* The queue is full, or the path hangs: the client waits a little longer, and no file is left behind. */
    const struct timeval pause = duration_timeval(UNDO_RETRY_MS);
    if (!upload->timer)
        upload->timer = evtimer_new(loop_base(upload->loop), on_undo_timer, upload);
    if (upload->storage->stopping || !upload->timer || evtimer_add(upload->timer, &pause) != 0) {
        upload_leave_file(upload, upload->job_error.text);
        upload_undone(upload);
    }
}

void upload_retract(struct upload *upload)
{
    start_undo(upload);
}

void upload_undone(struct upload *upload)
{
    store_file_let_go(&upload->file);
    upload_take_back_promise(upload);
    if (upload->concluded)
        upload_reply(upload);
    else
        upload_retracted(upload);
}

void upload_settle(struct upload *upload)
{
    if (upload->job_running || upload->looking || upload->waiting || upload->asking ||
        upload_room_asks(upload) || upload->row_running || upload->step == UPLOAD_UNDO ||
        (upload->kind && upload->kind->settle && !upload->kind->settle(upload)))
        return;
    if (upload->file.root && !upload->keep_file)
        start_undo(upload);
    else
        upload_reply(upload);
}

/* The result is known; ERROR NULL for success. Where something of the upload is still under way elsewhere, its end
 * settles the upload. */
void upload_conclude(struct upload *upload, const struct error *error)
{
    if (upload->concluded)
        return;
    upload->concluded = true;
    upload->fine = !error;
    if (error)
        upload->error = *error;
    upload_settle(upload);
}

void upload_refuse(struct upload *upload, int code, const char *format, ...)
{
    struct error error = {0};
    va_list arguments;
    va_start(arguments, format);
    error_set_va(&error, code, format, arguments);
    va_end(arguments);
    upload_conclude(upload, &error);
}

void upload_lose_peer(struct upload *upload)
{
    upload->peer_gone = true;
    upload_refuse(upload, ERROR_CONNECTION, "the uploader disconnected after %lld of %lld bytes",
                  (long long)upload->received, (long long)upload->put.size);
}
