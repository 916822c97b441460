/*
 * upload_heal: a large content that differs from the file that its row speaks of. Either may be the wrong one, and the
 * row's digest shows which: the stored file is read on from the difference, and the content is stored anew as it comes,
 * so that the uploader is never kept waiting for a whole file to be read. A stored file that is right ends the upload
 * (it is read faster than the content comes); else the bytes before the difference, which have gone by, are copied from
 * it. The content has to have the row's digest in the end, which upload_judge_finish() looks at. Workers of a store
 * path; called by storage/upload/upload_disk.c and storage/upload/upload_compare.c.
 */
#include "storage/upload/upload_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAL_PIECE    ((size_t)256 * 1024)
#define HEAL_AT_ONCE  (INT64_C(16) << 20) /* so much is read before anything is stored */
#define HEAL_AT_LEAST (INT64_C(4) << 20)  /* with each piece of the content, or */
#define HEAL_FACTOR   8                   /* so many times its size */
#define HEAL_AT_END   (INT64_C(32) << 20)

bool upload_heal_read(int fd, void *bytes, size_t size, int64_t offset, size_t *got, bool *wrong,
                      struct error *error)
{
    *got = 0;
    while (*got < size) {
        ssize_t part = pread(fd, (char *)bytes + *got, size - *got, (off_t)(offset + (int64_t)*got));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0 && errno == EIO && wrong) {
            *wrong = true;
            break;
        }
        if (part < 0)
            return error_set_errno(error, errno, "cannot read a stored file");
        if (part == 0)
            break;
        *got += (size_t)part;
    }
    return true;
}

/* Reads the stored file on. Takes off BUDGET what it read. */
static bool heal_judge(struct upload *upload, uint8_t *bytes, int64_t *budget, struct error *error)
{
    struct upload_heal *heal = &upload->heal;
    const struct proto_stat *stat = &heal->row->stat;
    uint8_t digest[PROTO_DIGEST_SIZE];
    while (!heal->judged && *budget > 0 && heal->stored_bytes < stat->size) {
        size_t got, wanted = min_size(HEAL_PIECE, (size_t)min_i64(stat->size - heal->stored_bytes, *budget));
        bool wrong = false;
        if (!upload_heal_read(upload->rival_fd, bytes, wanted, heal->stored_bytes, &got, &wrong, error))
            return false;
        heal->judged = wrong || got < wanted;
        digest_update(heal->stored, bytes, got);
        heal->stored_bytes += (int64_t)got;
        *budget -= (int64_t)got;
    }
    if (heal->judged || heal->stored_bytes < stat->size)
        return true;
    digest_final(heal->stored, digest);
    heal->judged = memcmp(digest, stat->digest, sizeof(digest)) != 0;
    if (!heal->judged && upload->rival_unreadable) /* it was not other bytes that made the difference */
        return error_set(error, ERROR_UNAVAILABLE,
                         "the stored bytes of file %s could not be read for a moment; upload it again",
                         upload->put.key.file);
    return heal->judged ||
           error_set(error, ERROR_EXISTS, "file %s exists with other bytes", upload->put.key.file);
}

/* Copies on what the content and the stored file have in common. The bytes must be those that were compared. */
static bool heal_copy(struct upload *upload, uint8_t *bytes, int64_t *budget, struct error *error)
{
    struct upload_heal *heal = &upload->heal;
    uint8_t digest[PROTO_DIGEST_SIZE];
    while (*budget > 0 && heal->copy_bytes < heal->common) {
        size_t got, wanted = min_size(HEAL_PIECE, (size_t)min_i64(heal->common - heal->copy_bytes, *budget));
        if (!upload_heal_read(upload->rival_fd, bytes, wanted, heal->copy_bytes, &got, NULL, error))
            return false;
        if (got < wanted)
            break;
        if (heal->copy_bytes == 0)
            upload_judge_type(upload, bytes, got);
        digest_update(heal->copy, bytes, got);
        if (!store_file_write(&upload->file, bytes, got, heal->copy_bytes, error))
            return false;
        heal->copy_bytes += (int64_t)got;
        *budget -= (int64_t)got;
    }
    if (*budget <= 0 && heal->copy_bytes < heal->common)
        return true;
    digest_final(heal->copy, digest);
    heal->copied =
        heal->copy_bytes == heal->common && memcmp(digest, heal->common_digest, sizeof(digest)) == 0;
    return heal->copied ||
           error_set(error, ERROR_UNAVAILABLE, "the stored bytes of file %s changed while they were compared",
                     upload->put.key.file);
}

static bool heal_work(struct upload *upload, int64_t budget, bool copy, struct error *error)
{
    uint8_t *bytes = malloc(HEAL_PIECE);
    if (!bytes)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a comparison");
    bool fine = heal_judge(upload, bytes, &budget, error);
    if (fine && copy && upload->heal.judged && !upload->heal.copied)
        fine = heal_copy(upload, bytes, &budget, error);
    free(bytes);
    return fine;
}

void upload_heal_free(struct upload *upload)
{
    digest_destroy(upload->heal.stored);
    digest_destroy(upload->heal.copy);
}

static bool heal_prepare(struct upload *upload, int64_t common, struct error *error)
{
    struct upload_heal *heal = &upload->heal;
    upload_heal_free(upload);
    *heal = (struct upload_heal){.row = upload->rival, .common = common, .stored_bytes = common};
    heal->stored = common > 0 ? digest_copy(upload->digest) : digest_create();
    heal->copy = digest_create();
    heal->copied = common == 0;
    return (heal->stored && heal->copy) || error_set(error, ERROR_UNAVAILABLE, "no memory for a comparison");
}

bool upload_heal_judge(struct upload *upload, struct error *error)
{
    if (!heal_prepare(upload, 0, error) || !heal_work(upload, INT64_MAX, false, error))
        return false;
    upload->finding = UPLOAD_LOST; /* had it been right, this would have been an error */
    return true;
}

bool upload_heal_begin(struct upload *upload, const struct upload_slot *slot, struct error *error)
{
    struct upload_heal *heal = &upload->heal;
    if (!upload->rival->stat.has_digest) /* nothing says which of both is wrong */
        return true;
    if (!heal_prepare(upload, slot->offset, error))
        return false;
    digest_final(upload->digest, heal->common_digest);
    heal->begun = true;
    upload->finding = UPLOAD_DOUBT;
    return heal_work(upload, HEAL_AT_ONCE, false, error);
}

bool upload_heal_step(struct upload *upload, size_t size, struct error *error)
{
    return heal_work(upload, max_i64(HEAL_FACTOR * (int64_t)size, HEAL_AT_LEAST), true, error);
}

bool upload_heal_end(struct upload *upload, struct error *error)
{
    if (!heal_work(upload, HEAL_AT_END, true, error))
        return false;
    return !upload_heal_over(upload) || upload_judge_finish(upload, error);
}
