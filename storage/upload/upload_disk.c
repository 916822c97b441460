/*
 * upload_disk: the blocking parts of an upload, through storage/store/store_file.c and storage/upload/commit.c. Workers of
 * the upload's store path; one at a time for an upload.
 */
#include "storage/store/store_file.h"
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/media/media_type.h"

#include <string.h>
#include <unistd.h>

bool upload_disk_create(struct upload *upload, struct error *error)
{
    upload->file_made = store_file_create(upload->path, &upload->file.place, &upload->file.fd, error);
    if (!upload->file_made)
        upload->file.fd = -1;
    else
        CRASH_POINT("upload-file-created");
    return upload->file_made;
}

/* The content is whole and written: is it what the uploader meant, and does it last? */
static bool finish(struct upload *upload, struct error *error)
{
    digest_final(upload->digest, upload->digest_bytes);
    if (upload->put.has_digest &&
        memcmp(upload->digest_bytes, upload->put.digest, sizeof(upload->digest_bytes)) != 0)
        return error_set(error, ERROR_DIGEST, "the bytes that came do not match the digest that was stated");
    int64_t start_us = clock_monotonic_us();
    bool fine = commit_sync(&upload->file, error);
    metric_observe_us(upload->storage->metrics.sync_time, clock_monotonic_us() - start_us);
    return fine;
}

static void find_type(struct upload *upload, const void *bytes, size_t size)
{
    const char *type = upload->put.content_type;
    if (media_type_is_generic(type))
        type = media_type_of_content(bytes, size, upload->put.name);
    if (!type && size == 0)
        type = MEDIA_TYPE_UNKNOWN;
    snprintf(upload->content_type, sizeof(upload->content_type), "%s", type ? type : "");
    if (!type && !upload->untyped) /* with another number it comes here again */
        upload->untyped = types_note(upload->storage->types, &upload->put.key, upload->put.name, bytes, size);
}

bool upload_disk_write(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    const void *bytes = slot->buffer.bytes ? slot->buffer.bytes : (const uint8_t *)""; /* an empty file */
    if (slot->offset == 0)
        find_type(upload, bytes, slot->filled);
    digest_update(upload->digest, bytes, slot->filled);
    if (!store_file_write(upload->path, upload->file.fd, bytes, slot->filled, slot->offset, error))
        return false;
    if (slot->offset + (int64_t)slot->filled < upload->put.size) {
        CRASH_POINT("upload-part-written");
        return true;
    }
    CRASH_POINT("upload-all-written");
    return finish(upload, error);
}

bool upload_disk_store(struct upload *upload, struct error *error)
{
    if (!upload_disk_create(upload, error))
        return false;
    digest_reset(upload->digest); /* it may have been here before, with another number */
    if (upload_disk_write(upload, &upload->slots[0], error))
        return true;
    struct error ignored;
    if (!upload_disk_undo(upload, &ignored))
        return false; /* file_made says so, and it is tried again */
    return false;
}

bool upload_disk_undo(struct upload *upload, struct error *error)
{
    if (upload->file.fd >= 0)
        (void)close(upload->file.fd); /* the file goes: what close(2) might tell of its bytes is of no use */
    upload->file.fd = -1;
    CRASH_POINT("undo-before-remove");
    if (upload->file_made && !store_file_remove(upload->path, &upload->file.place, error))
        return false;
    CRASH_POINT("undo-removed");
    upload->file_made = false;
    return true;
}

bool upload_disk_read_back(struct upload *upload, struct error *error)
{
    struct meta_row *row = upload->rival;
    int64_t size = 0;
    int fd = -1;
    if (!store_file_open(row->path, &row->place, &fd, &size, error))
        return false;
    bool fine = size == row->stat.size ||
                error_set(error, ERROR_IO, "the stored file has %lld bytes, its row says %lld",
                          (long long)size, (long long)row->stat.size);
    if (fine) {
        fine = digest_of_file(fd, row->stat.digest, &size, error);
        row->stat.has_digest = fine;
    }
    (void)close(fd);
    return fine;
}
