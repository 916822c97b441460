/*
 * upload_compare: an upload whose file ID is taken. Only the very same bytes are said to be stored, and only where
 * they lie on the disk: digests decide nothing here, and neither does the row alone. A row whose file is lost or
 * has other bytes than it remembers gets a new one, if the content has them. On the request's loop; called by
 * storage/upload/upload.c and storage/upload/upload_row.c.
 */
#include "storage/upload/upload_state.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <string.h>

#define ROOM       "upload"
#define ROUNDS_MAX 3 /* rivals that one upload meets one after the other */

bool upload_refused_by_rival(struct upload *upload)
{
    const struct meta_row *row = upload->rival;
    const char *file = upload->put.key.file;
    bool differs = upload->put.has_digest && !upload->digest_followed && row->stat.has_digest &&
                   memcmp(row->stat.digest, upload->put.digest, PROTO_DIGEST_SIZE) != 0;
    bool healable = row->state == META_STATE_DAMAGED && row->stat.has_digest;
    struct error error = {0};
    if (!meta_row_ours(upload->storage->meta, row, &error) || (!healable && !meta_row_sound(row, &error)))
        upload_refuse(upload, ERROR_EXISTS, "file %s exists: %s", file, error.text);
    else if (!healable && row->stat.status == PROTO_FILE_DELETED &&
             !upload_is_move(upload)) /* a deleted file moves too, also by a repeated request */
        upload_refuse(upload, ERROR_DELETED, "file %s is deleted; restore it or use another file ID", file);
    else if (row->stat.size != upload->put.size)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with %lld bytes", file,
                      (long long)row->stat.size);
    else if (differs)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with other bytes", file);
    else if (!row->path)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists, but cannot be read here", file);
    else
        return false;
    return true;
}

/* The rival's row is right and its file is lost, or in doubt: this content may take its place. False: it was refused. */
static bool may_replace(struct upload *upload)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    if (upload->rival->given_up) { /* the row is about another copy, which the content would not touch */
        upload_refuse(upload, ERROR_EXISTS, "file %s exists: it has moved to another group",
                      upload->put.key.file);
        return false;
    }
    if (upload->rival->stat.has_digest) {
        if (upload->finding == UPLOAD_LOST)
            log_error(
                ROOM,
                "%s: the stored bytes of file %s of user %s (%s) are lost or damaged; it is stored anew",
                upload_name(upload, name), upload->put.key.file, upload->put.key.user,
                upload->rival->file_path);
        return true;
    }
    upload_refuse(upload, ERROR_EXISTS,
                  "file %s exists; its stored bytes are lost, and its row has no digest to compare with",
                  upload->put.key.file);
    return false;
}

/* ---- the content against a stored file ---- */

static void compare_next_piece(struct upload *upload);

static void on_compare_read(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    upload_read_ended(upload);
    if (bytes < 0) {
        upload_lose_peer(upload);
        return;
    }
    upload->slots[0].filled = (size_t)bytes;
    upload->received += bytes;
    if (upload->received == upload->put.size)
        upload_end_content(upload, compare_next_piece);
    else
        compare_next_piece(upload);
}

static void run_compare(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_compare(upload, &upload->slots[0], &upload->job_error);
}

static void compare_next_piece(struct upload *upload)
{
    if (!upload_start_job(upload, upload->rival->path, run_compare))
        upload_conclude(upload, &upload->job_error);
}

void upload_start_compare(struct upload *upload)
{
    if (upload_refused_by_rival(upload))
        return;
    upload_enter(upload, UPLOAD_COMPARE);
    if (upload->rival->state == META_STATE_DAMAGED) { /* marked by the scrub, which has looked */
        upload->finding = UPLOAD_LOST;
        upload_compared(upload);
    } else {
        compare_next_piece(upload);
    }
}

static void compare_read_next(struct task *task)
{
    struct upload *upload = CONTAINER_OF(task, struct upload, task);
    struct upload_slot *slot = &upload->slots[0];
    slot->offset += (int64_t)slot->filled;
    upload_read(upload, slot->buffer.bytes,
                (size_t)min_i64(upload->put.size - upload->received, (int64_t)slot->buffer.size),
                on_compare_read);
}

/* The stored file is read by the way: only workers of its own path may hang in that. */
static void stay_with_rival(struct upload *upload)
{
    struct store_path_status status;
    store_path_status(upload->rival->path, &status);
    if (upload->finding == UPLOAD_DOUBT && status.writable && !status.hanging && !status.full)
        upload->path = upload->rival->path;
}

void upload_compared(struct upload *upload)
{
    switch (upload->finding) {
    case UPLOAD_SAME:
        if (upload->received == upload->put.size)
            upload_conclude(upload, NULL);
        else
            compare_read_next(&upload->task);
        break;
    case UPLOAD_OTHER:
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with other bytes", upload->put.key.file);
        break;
    case UPLOAD_LOST:
    case UPLOAD_DOUBT:
        if (may_replace(upload)) {
            stay_with_rival(upload);
            upload->rival = NULL;
            upload->replaces = true; /* the row is in find.row */
            upload_take_number(upload);
        }
        break;
    }
}

/* ---- a stored file against another one ---- */

static void run_compare_files(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_compare_files(upload, &upload->job_error);
}

void upload_meet_rival(struct upload *upload)
{
    if (++upload->rounds > ROUNDS_MAX) {
        upload_refuse(upload, ERROR_UNAVAILABLE, "the row of file %s is being changed by others",
                      upload->put.key.file);
        return;
    }
    if (upload_refused_by_rival(upload))
        return;
    upload_enter(upload, UPLOAD_RIVAL);
    if (upload->rival->state == META_STATE_DAMAGED) {
        upload->finding = UPLOAD_LOST;
        upload_met_rival(upload);
    } else if (!upload_start_job(upload, upload->rival->path, run_compare_files))
        upload_conclude(upload, &upload->job_error);
}

void upload_met_rival(struct upload *upload)
{
    const struct meta_row *row = upload->rival;
    if (upload->finding == UPLOAD_SAME) {
        upload_conclude(upload, NULL);
    } else if (upload->finding == UPLOAD_OTHER ||
               (row->stat.has_digest && !upload_judge_is_of_row(upload, row))) {
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with other bytes", upload->put.key.file);
    } else if (may_replace(upload)) {
        upload->find.row = *row;
        upload->rival = NULL;
        upload->replaces = true;
        upload_add_row(upload);
    }
}
