/*
 * upload_row: the row of an upload whose file is whole and lasts: added, or put in the place of one whose file is
 * lost; where that took long, the file is looked for before success is said. On the request's loop; called by
 * storage/upload/upload.c and storage/upload/upload_compare.c.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <string.h>

#define ROOM "upload"

static void succeed(struct upload *upload)
{
    upload->keep_file = true;
    upload_conclude(upload, NULL);
}

/* ---- the file is gone: so must be the row ---- */

static void on_withdrawn(struct meta_withdraw *withdraw)
{
    struct upload *upload = CONTAINER_OF(withdraw, struct upload, withdraw);
    if (withdraw->fine && upload->job_fine)
        upload_refuse(
            upload, ERROR_UNAVAILABLE,
            "storing file %s took longer than storage.leftover_age allows, and the clean-up took the file "
            "meanwhile; upload it again",
            upload->put.key.file);
    else if (withdraw->fine)
        upload_refuse(upload, ERROR_UNAVAILABLE,
                      "switching the row of file %s took longer than storage.leftover_age allows, and "
                      "whether its new copy is still there cannot be seen: %s",
                      upload->put.key.file, upload->job_error.text);
    else
        upload_refuse(upload, ERROR_UNAVAILABLE, "it is not known whether file %s was stored: %s",
                      upload->put.key.file, withdraw->error.text);
}

static void upload_row_withdraw_row(struct upload *upload, const char *what)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    struct meta_withdraw *withdraw = &upload->withdraw;
    struct error error = {0};
    upload_enter(upload, UPLOAD_WITHDRAW);
    log_error(ROOM, "%s: %s %s; the row is taken back", upload_name(upload, name),
              upload->insert.row.file_path, what);
    withdraw->key = upload->put.key;
    withdraw->row = upload->insert.row;
    withdraw->moves_from = upload->insert.moves_from;
    withdraw->replaced = withdraw->moves_from || upload->insert.anew ? NULL : upload->insert.replaces;
    withdraw->loop = upload->loop;
    withdraw->done = on_withdrawn;
    if (!meta_withdraw(upload->storage->meta, withdraw, &error))
        upload_conclude(upload, &error);
}

static void run_verify(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_verify(upload, &upload->job_error);
}

void upload_verified(struct upload *upload)
{
    if (upload->finding == UPLOAD_SAME)
        succeed(upload);
    else if (upload->insert.met && upload->kind)
        /* The row may be that of another request to finish it, which shares the file and may have said that it is stored. */
        upload_refuse(upload, ERROR_UNAVAILABLE,
                      "it is not known whether file %s was stored: its row is there, and its file is not",
                      upload->put.key.file);
    else
        upload_row_withdraw_row(upload, "was taken by the clean-up before its row was added");
}

void upload_unverified(struct upload *upload)
{
    upload_row_withdraw_row(upload, "cannot be looked for, and its row was switched late");
}

static void verify_file(struct upload *upload)
{
    upload_enter(upload, UPLOAD_VERIFY);
    if (!upload_start_job(upload, upload->path, run_verify))
        upload_conclude(upload, &upload->job_error);
}

/* ---- the journal failed ---- */

static void upload_row_run_sync(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_sync(upload, &upload->job_error);
}

static void sync_file(struct upload *upload)
{
    upload_enter(upload, UPLOAD_SYNC);
    upload_take_back_promise(upload);
    if (!upload_start_job(upload, upload->path, upload_row_run_sync))
        upload_conclude(upload, &upload->job_error);
}

/* ---- adding ---- */

static void upload_on_row(struct meta_insert *insert)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    struct upload *upload = CONTAINER_OF(insert, struct upload, insert);
    metric_observe_us(upload->storage->metrics.row_time, clock_monotonic_us() - upload->step_us);
    switch (insert->outcome) {
    case META_INSERTED:
        upload->keep_file = true; /* there is a row of it, whatever comes now */
        if (upload->heal.begun)
            log_error(ROOM,
                      "%s: the stored bytes of file %s of user %s (%s) were damaged; it was stored anew (%s)",
                      upload_name(upload, name), upload->put.key.file, upload->put.key.user,
                      upload->find.row.file_path, upload->insert.row.file_path);
        if (commit_took_long(&upload->file, upload->storage->config->leftover_age_ms))
            verify_file(upload);
        else
            succeed(upload);
        break;
    case META_TAKEN: /* another upload of this file ID was quicker */
        upload_expect_repeats(upload);
        if (upload->guessed || upload->promised > 0) { /* the content is at hand, the file may go */
            upload->guessed = false;
            upload->find.row = insert->other;
            upload_retract(upload);
            break;
        }
        upload->rival = &insert->other;
        upload_meet_rival(upload);
        break;
    case META_UNKNOWN:
        upload->keep_file = true;
        upload_leave_file(
            upload, "the database did not say whether the row was added; if it was, the file is complete");
        upload_refuse(upload, ERROR_UNAVAILABLE, "it is not known whether file %s was stored: %s",
                      upload->put.key.file, insert->error.text);
        break;
    case META_UNWRITTEN:
        sync_file(upload);
        break;
    case META_NOT_DONE:
        upload_conclude(upload, &insert->error);
        break;
    }
}

/* All of it; it is not NULL where it is empty. */
static const uint8_t *upload_row_content(const struct upload *upload)
{
    const void *bytes = upload->slots[0].buffer.bytes;
    return bytes ? bytes : (const uint8_t *)"";
}

void upload_add_row(struct upload *upload)
{
    const struct storage_config *config = upload->storage->config;
    struct meta_insert *insert = &upload->insert;
    struct proto_stat *stat = &insert->row.stat;
    struct error error = {0};
    upload_enter(upload, UPLOAD_ROW);
    insert->key = upload->put.key;
    insert->replaces = upload->replaces ? &upload->find.row : NULL;
    insert->moves_from = upload->replaces && upload_is_move(upload) ? upload->from : NULL;
    insert->content = upload->promised > 0 ? upload_row_content(upload) : NULL;
    insert->loop = upload->loop;
    insert->done = upload_on_row;
    stat->size = upload->put.size;
    stat->has_digest = true;
    memcpy(stat->digest, upload->digest_bytes, sizeof(stat->digest));
    insert->row.has_sha256 = upload->has_sha256;
    memcpy(insert->row.sha256, upload->sha256, sizeof(insert->row.sha256));
    memcpy(stat->content_type, upload->content_type, sizeof(stat->content_type));
    memcpy(stat->name, upload->put.name, sizeof(stat->name));
    stat->expires = upload->put.expires != 0
                        ? upload->put.expires
                        : applications_expiry(upload->storage->applications, upload->put.key.application);
    memcpy(stat->group, config->group, strlen(config->group) + 1);
    if (!commit_row(upload->storage->meta, &upload->file, config->leftover_age_ms, insert, &error))
        upload_conclude(upload, &error);
}
