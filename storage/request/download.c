/*
 * download: from the request to packet_reply_file(). On the request's loop; opening runs on the store path's
 * workers. A row from the cache and an open file from the open cache need no thread but this one.
 */
#include "storage/request/download.h"
#include "storage/request/absent.h"
#include "storage/storage.h"
#include "storage/store/store_choice.h"
#include "storage/store/store_file.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM "download"

struct download {
    struct storage *storage;
    struct packet_request *request;
    struct proto_download asked;
    bool deleted;    /* FETCH: a deleted file too */
    bool has_digest; /* READ: of the content that is asked for */
    uint8_t digest[PROTO_DIGEST_SIZE];
    int64_t length;
    bool fresh; /* the row was just read from the database */
    struct meta_find find;
    struct open_file *file; /* held */
    struct job job;
    bool opened;
    struct error error;
};

static void download_serve(struct download *download);

static void download_refuse(struct download *download, const struct error *error)
{
    packet_reply_failure(download->request, error);
    free(download);
}

static void download_sent(void *argument, bool ok)
{
    struct download *download = argument;
    if (ok)
        metric_add(download->storage->metrics.download_bytes, download->length);
    open_cache_release(download->storage->open_cache, download->file);
    free(download);
}

static void send_file(struct download *download)
{
    const struct meta_row *row = &download->find.row;
    if (download->file->size != row->stat.size) {
        log_error(ROOM, "c%" PRIu64 ": %s has %lld bytes, its row says %lld: not served",
                  packet_connection_id(download->request->connection), row->file_path,
                  (long long)download->file->size, (long long)row->stat.size);
        error_set(&download->error, ERROR_IO, "the stored file has %lld bytes, its row says %lld",
                  (long long)download->file->size, (long long)row->stat.size);
        open_cache_forget(download->storage->open_cache, row->path, &row->place);
        open_cache_release(download->storage->open_cache, download->file);
        download_refuse(download, &download->error);
        return;
    }
    if (download->length == 0 || download->file->bytes) {
        packet_reply(download->request,
                     download->length > 0 ? download->file->bytes + download->asked.offset : NULL,
                     (size_t)download->length);
        download_sent(download, true);
        return;
    }
    packet_reply_file(download->request, download->file->fd, download->asked.offset, download->length,
                      store_path_workers(row->path), download_sent, download);
}

static void download_found(struct meta_find *find)
{
    struct download *download = CONTAINER_OF(find, struct download, find);
    download->fresh = true;
    if (find->result == META_DONE) {
        download_serve(download);
        return;
    }
    if (find->result == META_ABSENT) {
        absent_reply(download->request, &find->key);
        free(download);
        return;
    }
    download_refuse(download, &find->error);
}

static void download_look_up(struct download *download)
{
    download->find.loop = download->request->loop;
    download->find.done = download_found;
    download->find.stale_fine = true;
    if (!meta_find(download->storage->meta, &download->find, &download->error))
        download_refuse(download, &download->error);
}

/* A small file is read at once: while it is open it needs neither a thread nor a system call any more. NULL:
 * it is not kept; the sending finds out what is wrong with it. */
static uint8_t *read_small(int fd, int64_t size)
{
    if (size <= 0 || size > OPEN_CACHE_SMALL)
        return NULL;
    uint8_t *bytes = malloc((size_t)size);
    if (bytes && pread(fd, bytes, (size_t)size, 0) != size) {
        free(bytes);
        bytes = NULL;
    }
    return bytes;
}

static void run_open(struct job *job)
{
    struct download *download = CONTAINER_OF(job, struct download, job);
    const struct meta_row *row = &download->find.row;
    int64_t size = 0;
    int fd = -1;
    download->opened = store_file_open(row->path, &row->place, &fd, &size, &download->error);
    if (!download->opened)
        return;
    uint8_t *bytes = read_small(fd, size);
    download->file = open_cache_add(download->storage->open_cache, row->path, &row->place, fd, size, bytes);
    if (!download->file) {
        free(bytes);
        (void)close(fd);
        download->opened = error_set(&download->error, ERROR_UNAVAILABLE, "no memory for an open file");
    }
}

static void download_opened(struct job *job)
{
    struct download *download = CONTAINER_OF(job, struct download, job);
    if (download->opened) {
        send_file(download);
    } else if (!download->fresh) {
        download_look_up(download); /* the row in the cache may be of a file that is gone by now */
    } else {
        log_error(ROOM, "c%" PRIu64 ": %s cannot be read: %s",
                  packet_connection_id(download->request->connection), download->find.row.file_path,
                  download->error.text);
        download_refuse(download, &download->error);
    }
}

static void download_open(struct download *download)
{
    const struct meta_row *row = &download->find.row;
    struct path place;
    if (!row->path) {
        (void)store_find(download->storage->store, row->file_path, &place, &download->error);
        log_error(ROOM, "c%" PRIu64 ": file %s: %s", packet_connection_id(download->request->connection),
                  download->asked.key.file, download->error.text);
        download_refuse(download, &download->error);
        return;
    }
    if (!store_path_readable(row->path, &download->error)) {
        download_refuse(download, &download->error);
        return;
    }
    download->file = open_cache_find(download->storage->open_cache, row->path, &row->place);
    if (download->file) {
        send_file(download);
        return;
    }
    download->job = (struct job){.run = run_open, .done = download_opened, .loop = download->request->loop};
    if (!store_path_submit(row->path, &download->job, &download->error))
        download_refuse(download, &download->error);
}

/* The range rule of DOWNLOAD, pure: *LENGTH bytes from OFFSET of a file of FILE_SIZE bytes, or false. */
static bool download_range(int64_t file_size, int64_t offset, int64_t size, int64_t *length)
{
    if (offset < 0 || size < 0 || offset > file_size || size > file_size - offset)
        return false;
    *length = size == 0 ? file_size - offset : size;
    return true;
}

static bool is_content_asked_for(const struct download *download)
{
    const struct proto_stat *stat = &download->find.row.stat;
    return !download->has_digest ||
           (stat->has_digest && memcmp(stat->digest, download->digest, sizeof(stat->digest)) == 0);
}

static void download_serve(struct download *download)
{
    const struct meta_row *row = &download->find.row;
    const struct proto_download *asked = &download->asked;
    struct error *error = &download->error;
    if (!is_content_asked_for(download) && !download->fresh) {
        download_look_up(download); /* the row in the cache may be an old one */
        return;
    }
    bool fine = meta_row_ours(download->storage->meta, row, error) && meta_row_sound(row, error);
    if (fine && row->stat.status == PROTO_FILE_DELETED &&
        !(download->deleted && row->state == META_STATE_DELETED))
        fine = error_set(error, ERROR_NOT_FOUND, "file %s is deleted", asked->key.file);
    if (fine && !is_content_asked_for(download))
        fine = error_set(error, ERROR_DIGEST, "file %s is no longer the one that was being read",
                         asked->key.file);
    if (fine && row->stat.size < 0)
        fine = error_set(error, ERROR_IO, "the row of file %s has no size", asked->key.file);
    if (fine && !download_range(row->stat.size, asked->offset, asked->size, &download->length))
        fine = error_set(error, ERROR_RANGE, "offset %lld and size %lld are outside of the file's %lld bytes",
                         (long long)asked->offset, (long long)asked->size, (long long)row->stat.size);
    if (!fine)
        download_refuse(download, error);
    else
        download_open(
            download); /* an empty file too: without a look nobody knows whether it is here, and still empty */
}

void download_handle(struct packet_request *request)
{
    struct storage *storage = storage_of(request);
    struct proto_read_request read = {0};
    const struct proto_download *asked = &read.download;
    bool has_digest = request->command == PROTO_STORAGE_READ;
    struct error error = {0};
    bool fine = has_digest ? proto_read_request_unpack(request->head, request->head_size, &read, &error)
                           : proto_download_unpack(request->head, request->head_size, &read.download, &error);
    if (!fine || !applications_check(storage->applications, asked->key.application, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct download *download = calloc(1, sizeof(*download));
    if (!download) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a download");
        return;
    }
    download->storage = storage;
    download->request = request;
    download->asked = *asked;
    download->has_digest = has_digest;
    download->deleted = request->command == PROTO_STORAGE_FETCH;
    memcpy(download->digest, read.digest, sizeof(download->digest));
    download->find.key = asked->key;
    if (meta_find_cached(storage->meta, &asked->key, &download->find.row))
        download_serve(download);
    else
        download_look_up(download);
}
