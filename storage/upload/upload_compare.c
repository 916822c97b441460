/*
 * upload_compare: an upload whose file ID is taken: only the very same bytes are told to be stored; the
 * stored file stays as it is. On the request's loop; called by storage/upload/upload.c.
 */
#include "storage/upload/upload_state.h"

#include <string.h>

static void run_read_back(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_read_back(upload, &upload->job_error);
}

/* The digest of the content is known: is it the same file? */
void upload_compare(struct upload *upload)
{
    const struct meta_row *row = upload->rival;
    struct error error = {0};
    if (!meta_row_sound(row, &error))
        upload_refuse(upload, ERROR_EXISTS, "file %s exists: %s", upload->put.key.file, error.text);
    else if (row->stat.status == PROTO_FILE_DELETED)
        upload_refuse(upload, ERROR_DELETED, "file %s is deleted; restore it or use another file ID",
                      upload->put.key.file);
    else if (row->stat.size != upload->put.size)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with %lld bytes", upload->put.key.file,
                      (long long)row->stat.size);
    else if (!row->stat.has_digest && !row->path)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists, and where it lies cannot be read here",
                      upload->put.key.file);
    else if (!row->stat.has_digest) {
        upload_enter(upload, UPLOAD_READ_BACK);
        if (!upload_start_job(upload, row->path, run_read_back))
            upload_conclude(upload, &upload->job_error);
    } else if (memcmp(row->stat.digest, upload->digest_bytes, PROTO_DIGEST_SIZE) != 0)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with other bytes", upload->put.key.file);
    else
        upload_conclude(upload, NULL);
}

static void compare_next(struct task *task);

static void compare_whole(struct upload *upload)
{
    upload_give_buffers(upload);
    digest_final(upload->digest, upload->digest_bytes);
    if (upload->put.has_digest && memcmp(upload->digest_bytes, upload->put.digest, PROTO_DIGEST_SIZE) != 0)
        upload_refuse(upload, ERROR_DIGEST, "the bytes that came do not match the digest that was stated");
    else
        upload_compare(upload);
}

static void on_compare_read(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    if (bytes < 0) {
        upload_lose_peer(upload);
        return;
    }
    digest_update(upload->digest, upload->slots[0].buffer.bytes, (size_t)bytes);
    upload->received += bytes;
    if (upload->received < upload->put.size) {
        /* By a task: a sender that is quicker than the digest must not keep the loop. */
        upload->task = (struct task){.run = compare_next};
        loop_post(upload->loop, &upload->task);
        return;
    }
    upload_end_content(upload, compare_whole);
}

static void compare_next(struct task *task)
{
    struct upload *upload = CONTAINER_OF(task, struct upload, task);
    struct buffer *buffer = &upload->slots[0].buffer;
    if (upload->put.size == 0)
        on_compare_read(upload->request, 0);
    else
        packet_request_read(upload->request, buffer->bytes,
                            (size_t)min_i64(upload->put.size - upload->received, (int64_t)buffer->size),
                            on_compare_read);
}

void upload_start_compare(struct upload *upload)
{
    const struct meta_row *row = upload->rival;
    const struct proto_file_key *key = &upload->put.key;
    bool differs = upload->put.has_digest && row->stat.has_digest &&
                   memcmp(row->stat.digest, upload->put.digest, PROTO_DIGEST_SIZE) != 0;
    struct error error = {0};
    if (!meta_row_ours(upload->storage->meta, row, &error) || !meta_row_sound(row, &error))
        upload_refuse(upload, ERROR_EXISTS, "file %s exists: %s", key->file, error.text);
    else if (row->stat.status == PROTO_FILE_DELETED || row->stat.size != upload->put.size)
        upload_compare(upload); /* refuses */
    else if (differs)
        upload_refuse(upload, ERROR_EXISTS, "file %s exists with other bytes", key->file);
    else if (!buffers_take(upload->storage->buffers, upload->put.size, false, &upload->slots[0].buffer))
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for an upload");
    else {
        upload_enter(upload, UPLOAD_COMPARE);
        compare_next(&upload->task);
    }
}
