/*
 * partial_renew: a file of its own for a partial upload whose present file others may not be done with: a process that was stopped in the
 * middle of an APPEND writes what it was about to write whenever it continues. What is recorded, which nobody writes to any more, is
 * copied into a new file (by the kernel, so that file systems which share blocks do), made to last, and named by the row; whoever
 * comes late then writes into a file that nobody can find. A copy that was not finished is carried on by the next request
 * here. Part of partial (partial.h).
 */
#include "storage/upload/partial.h"
#include "storage/upload/partial_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM       "upload"
#define COPY_SLICE (INT64_C(64) << 20) /* that are copied in one job */
#define COPY_BYTES ((size_t)256 * 1024)

struct partial_renew {
    void (*then)(struct upload *upload);
    struct partials_copy copy; /* path NULL: it is to be begun */
    struct path former;        /* the place of the file that is copied */
    bool may_be_stored;        /* a row may come that names it */
    bool by_hand;
};

/* ---- copying ---- */

static bool copy_by_hand(int from, int64_t from_at, struct store_file *file, int64_t at, int64_t size,
                         int64_t *done, struct error *error)
{
    uint8_t *bytes = malloc(COPY_BYTES);
    size_t got = 0;
    bool fine = bytes || error_set(error, ERROR_UNAVAILABLE, "no memory to copy a partial file");
    fine = fine &&
           upload_heal_read(from, bytes, min_size(COPY_BYTES, (size_t)size), from_at, &got, NULL, error) &&
           store_file_write(file, bytes, got, at, error);
    free(bytes);
    *done = (int64_t)got;
    return fine;
}

bool partial_copy_some(int from, int64_t from_at, struct store_file *file, int64_t at, int64_t size,
                       bool *by_hand, int64_t *done, struct error *error)
{
    off_t in = (off_t)from_at, out = (off_t)at;
    if (!*by_hand) {
        file->touched_ms = clock_boot_ms();
        file->touched_wall_us = clock_wall_us();
        ssize_t copied = copy_file_range(from, &in, file->fd, &out, (size_t)size, 0);
        *done = (int64_t)copied;
        if (copied > 0)
            return true;
        *by_hand = true; /* which reports why not, unless the file systems are the reason */
    }
    return copy_by_hand(from, from_at, file, at, size, done, error);
}

static bool renew_copy(struct partial *partial, int from, struct error *error)
{
    struct upload *upload = partial->upload;
    struct partials *partials = upload->storage->partials;
    struct partial_renew *renew = partial->renew;
    const struct partial_row *row = &partial->rows.row;
    int64_t end = min_i64(row->offset, renew->copy.copied + COPY_SLICE), done = 0;
    if (!partials_write_begin(partials, &partial->hold, error))
        return false;
    bool fine = true;
    while (fine && renew->copy.copied < end) {
        fine = partial_copy_some(from, renew->copy.copied, &upload->file, renew->copy.copied,
                                 end - renew->copy.copied, &renew->by_hand, &done, error);
        if (fine && done == 0)
            fine = error_set(error, ERROR_IO, "the partial file %s is shorter than is recorded; begin anew",
                             row->file_path);
        renew->copy.copied += fine ? done : 0;
    }
    partials_note_copy(partials, &partial->hold, &renew->copy);
    partials_write_end(partials, &partial->hold);
    CRASH_POINT("renew-copied");
    return fine;
}

/* A slice of it; with the last one it is made to last. */
static void run_renew_copy(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    struct partial_renew *renew = partial->renew;
    struct error *error = &upload->job_error;
    int64_t size = 0;
    int from = -1;
    upload->job_fine = partial->rows.row.offset == 0 || /* then it may not even be there */
                       (store_file_open(renew->copy.path, &renew->former, &from, &size, error) &&
                        renew_copy(partial, from, error));
    if (from >= 0)
        (void)close(from); /* only read */
    if (!upload->job_fine || renew->copy.copied < partial->rows.row.offset)
        return;
    upload->job_fine = commit_sync(&upload->file, false, error);
    if (!upload->job_fine) /* nothing is known of its bytes */
        partials_note_copy(upload->storage->partials, &partial->hold, NULL);
}

/* ---- is there one already? ---- */

/* One that the clean-up has taken meanwhile, or that has not what was copied, is begun anew. */
static void renew_go_on(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_renew *renew = partial->renew;
    struct partials_copy known;
    struct store_file file = {.fd = -1};
    struct error ignored = {0};
    int64_t size = 0;
    if (!partials_find_copy(upload->storage->partials, &partial->hold, renew->copy.from, &known))
        return;
    file.path = known.path;
    file.place = known.place;
    if (!store_file_reopen(&file, &size, &ignored))
        return;
    if (size < known.copied) {
        (void)close(file.fd); /* nothing was written */
        store_file_let_go(&file);
        return;
    }
    upload->file = file;
    renew->copy = known;
    if (known.copied > 0)
        renew->copy.copied--; /* a byte is written in any case, so that the clean-up sees that it is in use */
}

static void run_renew_look(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    struct partial *partial = upload->own;
    upload->job_fine = partials_enter(upload->storage->partials, &partial->hold, partial->rows.row.epoch,
                                      &upload->job_error);
    if (upload->job_fine)
        renew_go_on(partial);
}

/* ---- the row and the former file ---- */

/* Where a row of the former file may still come it stays for the clean-up, which removes it once that is impossible. */
static void run_renew_drop(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    const struct partial_renew *renew = upload->own->renew;
    struct error error = {0};
    int64_t size = 0;
    int fd = -1;
    upload->job_fine = true;
    if (commit_took_long(&upload->file, upload->storage->config->leftover_age_ms)) {
        upload->job_fine =
            store_file_open(upload->file.path, &upload->file.place, &fd, &size, &upload->job_error);
        if (fd >= 0)
            (void)close(fd); /* only looked for */
    }
    if (upload->job_fine && !renew->may_be_stored && !store_file_remove(upload->path, &renew->former, &error))
        log_warning(ROOM, "the partial file %s, which has been copied, stays for now: %s", renew->copy.from,
                    error.text);
    CRASH_POINT("renew-former-removed");
}

static void renew_moved(struct partial *partial)
{
    struct upload *upload = partial->upload;
    CRASH_POINT("renew-moved");
    if (!partial->rows.fine) {
        upload_conclude(upload, &partial->rows.error);
        return;
    }
    partials_note_copy(upload->storage->partials, &partial->hold, NULL);
    partial_start_work(partial, PARTIAL_DROPS, run_renew_drop);
}

static void renew_move(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_job *rows = &partial->rows;
    struct partial_row *row = &rows->row;
    if (!store_path_format(upload->path, &upload->file.place, row->file_path)) {
        upload_refuse(upload, ERROR_EXHAUSTED, "number %lld is out of bounds",
                      (long long)upload->file.place.value);
        return;
    }
    row->place = upload->file.place;
    row->mixed = row->mixed || row->offset > 0; /* the copy is read back before it is stored */
    row->loose = row->finishing = false;
    rows->deadline_ms = upload->file.touched_ms + upload->storage->config->leftover_age_ms / 2;
    partial_start_rows(partial, partial_rows_move, PARTIAL_MOVES, renew_moved);
}

/* ---- its steps ---- */

static void renew_copy_on(struct partial *partial)
{
    struct upload *upload = partial->upload;
    struct partial_renew *renew = partial->renew;
    if (upload->step == UPLOAD_CREATE) {
        renew->copy.place = upload->file.place;
        renew->copy.path = upload->path;
        renew->copy.copied = 0;
    }
    partial_start_work(partial, PARTIAL_COPIES, run_renew_copy);
}

static void renew_dropped(struct partial *partial)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    struct upload *upload = partial->upload;
    struct partial_renew *renew = partial->renew;
    log_info(ROOM,
             "%s: file %s of user %s: an earlier writer of %s may still be at it, or it is gone; %" PRId64
             " bytes were copied to %s",
             upload_name(upload, name), upload->put.key.file, upload->put.key.user, renew->copy.from,
             partial->rows.row.offset, partial->rows.row.file_path);
    void (*then)(struct upload *) = renew->then;
    store_file_let_go(&upload->file);
    free(renew);
    partial->renew = NULL;
    partial->unfit = false;
    then(upload);
}

bool partial_renew_worked(struct upload *upload)
{
    struct partial *partial = upload->own;
    struct partial_renew *renew = partial->renew;
    if (!renew)
        return false;
    if (upload->step == UPLOAD_CREATE)
        renew_copy_on(partial);
    else if (partial->step == PARTIAL_LOOKS && renew->copy.path)
        renew_copy_on(partial);
    else if (partial->step == PARTIAL_LOOKS)
        upload_take_number(upload);
    else if (partial->step == PARTIAL_COPIES && upload->file.fd >= 0)
        renew_copy_on(partial);
    else if (partial->step == PARTIAL_COPIES)
        renew_move(partial);
    else
        renew_dropped(partial);
    return true;
}

void partial_renew(struct partial *partial, void (*then)(struct upload *upload))
{
    struct upload *upload = partial->upload;
    const struct partial_row *row = &partial->rows.row;
    struct partial_renew *renew = calloc(1, sizeof(*renew));
    partial->renew = renew;
    if (!renew) {
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for a partial upload");
        return;
    }
    renew->then = then;
    renew->former = row->place;
    renew->may_be_stored = row->finishing;
    memcpy(renew->copy.from, row->file_path, sizeof(renew->copy.from));
    store_file_let_go(&upload->file); /* FINISH had opened the former one */
    partial_start_work(partial, PARTIAL_LOOKS, run_renew_look);
}
