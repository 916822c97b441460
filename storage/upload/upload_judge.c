/*
 * upload_judge: what an upload's content turns out to be: its media type, and, once it is whole, whether it is what the
 * uploader meant; then it is made to last. Blocking; workers of a store path.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/media/media_type.h"

#include <string.h>

bool upload_judge_digest(const struct upload *upload, struct error *error)
{
    if (upload->put.has_digest &&
        memcmp(upload->digest_bytes, upload->put.digest, sizeof(upload->digest_bytes)) != 0)
        return error_set(error, ERROR_DIGEST, "the content does not match the stated digest");
    return true;
}

bool upload_judge_is_strong(const struct storage_config *config)
{
    return config->sha256 == OPTIONS_SHA256_ALWAYS ||
           (config->sha256 == OPTIONS_SHA256_AUTO && digest_sha256_is_fast());
}

bool upload_judge_begin(struct upload *upload, const struct meta_row *row, struct error *error)
{
    if (row && row->has_sha256 && !digest_is_strong(upload->digest)) {
        struct digest *strong = digest_create_strong();
        if (!strong)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for a digest");
        digest_destroy(upload->digest);
        upload->digest = strong;
    }
    digest_reset(upload->digest);
    return true;
}

void upload_judge_digests(struct upload *upload)
{
    digest_final(upload->digest, upload->digest_bytes);
    upload->has_sha256 = digest_final_sha256(upload->digest, upload->sha256);
}

bool upload_judge_is_of_row(const struct upload *upload, const struct meta_row *row)
{
    if (!row->stat.has_digest ||
        memcmp(row->stat.digest, upload->digest_bytes, sizeof(upload->digest_bytes)) != 0)
        return false;
    return !row->has_sha256 ||
           (upload->has_sha256 && memcmp(row->sha256, upload->sha256, sizeof(upload->sha256)) == 0);
}

bool upload_judge_finish(struct upload *upload, struct error *error)
{
    upload_judge_digests(upload);
    if (!upload_judge_digest(upload, error))
        return false;
    /* A row without a digest (the predecessor's) gains one when its file moves: there is nothing to compare with. */
    bool known = !upload_is_move(upload) || upload->find.row.stat.has_digest;
    if (upload->replaces && known && !upload_judge_is_of_row(upload, &upload->find.row))
        return error_set(error, ERROR_EXISTS, "file %s exists with other bytes", upload->put.key.file);
    int64_t start_us = clock_monotonic_us();
    bool fine = commit_sync(&upload->file, upload->promised > 0, error);
    metric_observe_us(upload->storage->metrics.sync_time, clock_monotonic_us() - start_us);
    return fine;
}

/* A file that moves keeps its row, and that its type. */
static bool has_type(const struct upload *upload)
{
    return upload_is_move(upload) && upload->find.row.stat.content_type[0] != '\0';
}

void upload_judge_type(struct upload *upload, const void *bytes, size_t size)
{
    const char *type = upload->put.content_type;
    bool noted = upload->untyped; /* with another number it comes here again */
    if (media_type_is_generic(type))
        type = media_type_of_content(bytes, size, upload->put.name);
    if (!type && size == 0)
        type = MEDIA_TYPE_UNKNOWN;
    snprintf(upload->content_type, sizeof(upload->content_type), "%s", type ? type : "");
    if (!type && !noted && !has_type(upload))
        upload->untyped = types_note(upload->storage->types, &upload->put.key, upload->put.name, bytes, size);
}
