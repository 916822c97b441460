/*
 * upload_disk: the blocking parts of an upload, through storage/store/store_file.c and storage/upload/commit.c. Workers of
 * a store path; one at a time for an upload.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "storage/upload/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPARE_BYTES 65536

bool upload_disk_create(struct upload *upload, struct error *error)
{
    bool made = store_file_create(&upload->file, error);
    upload->number_used = !made && error->code == ERROR_EXISTS;
    if (made)
        CRASH_POINT("upload-file-created");
    return made;
}

/* What SLOT holds; an empty content has no memory. */
static const void *bytes_of(const struct upload_slot *slot)
{
    return slot->buffer.bytes ? slot->buffer.bytes : (const uint8_t *)"";
}

static bool upload_disk_is_last(const struct upload *upload, const struct upload_slot *slot)
{
    return slot->offset + (int64_t)slot->filled == upload->put.size;
}

bool upload_disk_write(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    const void *bytes = bytes_of(slot);
    if (slot->offset == 0) { /* it may have been here before, with another number or to compare */
        if (!upload_judge_begin(upload, upload->replaces ? &upload->find.row : NULL, error))
            return false;
        upload_judge_type(upload, bytes, slot->filled);
    }
    digest_update(upload->digest, bytes, slot->filled);
    if (!store_file_write(&upload->file, bytes, slot->filled, slot->offset, error))
        return false;
    if (!upload_heal_over(upload) && !upload_heal_step(upload, slot->filled, error))
        return false;
    if (!upload_disk_is_last(upload, slot)) {
        CRASH_POINT("upload-part-written");
        return true;
    }
    CRASH_POINT("upload-all-written");
    return !upload_heal_over(upload) || upload_judge_finish(upload, error);
}

bool upload_disk_store(struct upload *upload, struct error *error)
{
    if (!upload_disk_create(upload, error))
        return false;
    if (!upload->replaces && upload->storage->recovery)
        upload->promised =
            recovery_promise(upload->storage->recovery, &upload->file, (size_t)upload->put.size);
    if (upload_disk_write(upload, &upload->slots[0], error))
        return true;
    struct error ignored;
    if (!upload_disk_undo(upload, &ignored))
        return false; /* the file says so, and it is tried again */
    return false;
}

bool upload_disk_undo(struct upload *upload, struct error *error)
{
    CRASH_POINT("undo-before-remove");
    if (!store_file_discard(&upload->file, error))
        return false;
    CRASH_POINT("undo-removed");
    return true;
}

/* ---- comparing ---- */

/* Opens the rival's file: UPLOAD_SAME so far, or UPLOAD_LOST. */
static bool disk_look_at_rival(struct upload *upload, struct error *error)
{
    const struct meta_row *row = upload->rival;
    int64_t size = 0;
    upload->rival_looked = true;
    upload->rival_unreadable = false;
    if (upload->rival_fd >= 0)
        (void)close(upload->rival_fd);
    upload->rival_fd = -1;
    if (!store_file_look(row->path, &row->place, &upload->rival_fd, &size, error) ||
        !store_path_in_place(row->path, error))
        return false;
    upload->finding = upload->rival_fd >= 0 && size == row->stat.size ? UPLOAD_SAME : UPLOAD_LOST;
    return true;
}

/* FD has SIZE bytes at OFFSET: are they BYTES? */
static bool disk_compare_piece(struct upload *upload, const uint8_t *bytes, size_t size, int64_t offset,
                               struct error *error)
{
    uint8_t *stored = malloc(COMPARE_BYTES);
    bool fine = true;
    if (!stored)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a comparison");
    for (size_t done = 0; fine && upload->finding == UPLOAD_SAME && done < size;) {
        size_t got, wanted = min_size(size - done, COMPARE_BYTES);
        bool wrong = false;
        fine =
            upload_heal_read(upload->rival_fd, stored, wanted, offset + (int64_t)done, &got, &wrong, error);
        upload->rival_unreadable = upload->rival_unreadable || wrong;
        if (fine && (got < wanted || memcmp(stored, bytes + done, wanted) != 0))
            upload->finding = UPLOAD_OTHER;
        done += wanted;
    }
    free(stored);
    return fine;
}

/* What could not be read may be the very same bytes; without a digest nothing shows it. */
static bool check_readable(const struct upload *upload, struct error *error)
{
    return !upload->rival_unreadable ||
           error_set(error, ERROR_UNAVAILABLE, "the stored bytes of file %s cannot be read now",
                     upload->put.key.file);
}

/* The content, whole in SLOT, has other bytes than the stored file: if it is what the row speaks of, then it is the
 * stored ones that are wrong, unless the two only share a digest. */
static bool judge_small(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    const struct meta_row *row = upload->rival;
    digest_reset(upload->digest);
    digest_update(upload->digest, bytes_of(slot), slot->filled);
    upload_judge_digests(upload);
    if (!upload_judge_digest(upload, error))
        return false;
    if (!upload_judge_is_of_row(upload, row))
        return true;
    return upload_heal_judge(upload, error);
}

bool upload_disk_compare(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    if (!upload->rival_looked &&
        !(upload_judge_begin(upload, upload->rival, error) && disk_look_at_rival(upload, error)))
        return false;
    if (upload->finding == UPLOAD_SAME &&
        !disk_compare_piece(upload, bytes_of(slot), slot->filled, slot->offset, error))
        return false;
    if (upload->finding == UPLOAD_OTHER && !upload->rival->stat.has_digest && !check_readable(upload, error))
        return false;
    if (upload->finding == UPLOAD_OTHER && slot->offset == 0 && upload_disk_is_last(upload, slot))
        return judge_small(upload, slot, error);
    if (upload->finding == UPLOAD_OTHER)
        return upload_heal_begin(upload, slot, error);
    if (upload->finding == UPLOAD_LOST)
        return true;
    digest_update(upload->digest, bytes_of(slot), slot->filled);
    if (!upload_disk_is_last(upload, slot))
        return true;
    upload_judge_digests(upload);
    return upload_judge_digest(upload, error);
}

bool upload_disk_compare_files(struct upload *upload, struct error *error)
{
    int64_t size = 0;
    int own = -1;
    if (!disk_look_at_rival(upload, error))
        return false;
    if (upload->finding == UPLOAD_LOST)
        return true;
    if (!store_file_look(upload->file.path, &upload->file.place, &own, &size, error))
        return false;
    if (own < 0)
        return error_set(error, ERROR_UNAVAILABLE,
                         "file %s took longer to be stored than storage.leftover_age allows; upload it again",
                         upload->put.key.file);
    uint8_t *bytes = malloc(COMPARE_BYTES);
    bool fine = true;
    if (!bytes) {
        (void)close(own);
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a comparison");
    }
    for (int64_t offset = 0; fine && upload->finding == UPLOAD_SAME && offset < upload->put.size;) {
        size_t got;
        fine = upload_heal_read(own, bytes, COMPARE_BYTES, offset, &got, NULL, error);
        if (fine && got == 0)
            fine = error_set(error, ERROR_IO, "the file that was just stored is shorter than it was");
        if (fine)
            fine = disk_compare_piece(upload, bytes, got, offset, error);
        offset += (int64_t)got;
    }
    free(bytes);
    (void)close(own);
    if (fine && upload->finding == UPLOAD_OTHER && !upload->rival->stat.has_digest)
        fine = check_readable(upload, error);
    if (fine && upload->finding == UPLOAD_OTHER && upload_judge_is_of_row(upload, upload->rival))
        fine = upload_heal_judge(upload, error);
    return fine;
}

bool upload_disk_sync(struct upload *upload, struct error *error)
{
    return store_file_open_again(&upload->file, error) && commit_sync(&upload->file, false, error);
}

bool upload_disk_verify(struct upload *upload, struct error *error)
{
    int64_t size = 0;
    int fd = -1;
    if (!store_file_look(upload->file.path, &upload->file.place, &fd, &size, error))
        return false;
    upload->finding = fd >= 0 && size == upload->put.size ? UPLOAD_SAME : UPLOAD_LOST;
    if (fd >= 0)
        (void)close(fd);
    return store_path_in_place(upload->file.path, error);
}
