/*
 * reel_upload: the uploads of reel.h. The calling thread reads (or copies) the content into two buffers,
 * which the loop sends: while one goes out the other is filled, and whichever side is slow holds up only this
 * upload.
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "common/proto/digest.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFERS 2

/* Where the content comes from: SIZE bytes of FD from START, or of MEMORY. */
struct content {
    int fd; /* -1: memory */
    int64_t start;
    const uint8_t *memory;
    int64_t size;
};

struct buffer {
    uint8_t *bytes;
    size_t filled, sent; /* filled 0: free */
};

struct sending {
    struct reel_wait wait;
    struct client_upload_options options;
    struct task resume; /* the loop's source has bytes again */
    struct task cancel;

    /* all under wait.mutex */
    struct buffer buffers[BUFFERS];
    int front, back;  /* sent from, filled next */
    int64_t position; /* the next byte to be read */
    unsigned rewinds; /* how often the loop started again: what was being read meanwhile is void */
    bool hungry;      /* the loop found no bytes */
    bool resume_posted, cancel_posted;
};

/* ---- content ---- */

/* Reads exactly SIZE bytes at POSITION of the content. */
static bool content_read(const struct content *content, uint8_t *buffer, size_t size, int64_t position,
                         struct error *error)
{
    if (content->fd < 0) {
        memcpy(buffer, content->memory + position, size);
        return true;
    }
    while (size > 0) {
        ssize_t got = pread(content->fd, buffer, size, (off_t)(content->start + position));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(error, ERROR_IO, "reading the content at byte %lld: %s", (long long)position,
                             strerror(errno));
        if (got == 0)
            return error_set(error, ERROR_IO,
                             "the content ends at byte %lld of %lld: it became shorter while it was read",
                             (long long)position, (long long)content->size);
        buffer += got;
        position += got;
        size -= (size_t)got;
    }
    return true;
}

static bool content_digest(const struct content *content, uint8_t digest[PROTO_DIGEST_SIZE],
                           struct error *error)
{
    struct digest *running = digest_create();
    uint8_t *buffer = malloc(REEL_CHUNK_SIZE);
    bool fine = running != NULL && buffer != NULL;

    if (!fine)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
    for (int64_t at = 0; fine && at < content->size;) {
        size_t size = (size_t)min_i64(content->size - at, REEL_CHUNK_SIZE);

        fine = content_read(content, buffer, size, at, error);
        if (fine)
            digest_update(running, buffer, size);
        at += (int64_t)size;
    }
    if (fine)
        digest_final(running, digest);
    free(buffer);
    digest_destroy(running);
    return fine;
}

static int temporary_file(struct error *error)
{
    const char *directory = getenv("TMPDIR");
    char path[4096];
    int fd, length;

    if (directory == NULL || directory[0] != '/')
        directory = "/var/tmp";
    fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    length = snprintf(path, sizeof(path), "%s/reel-XXXXXX", directory); /* file systems without O_TMPFILE */
    fd = length < (int)sizeof(path) ? mkostemp(path, O_CLOEXEC) : -1;
    if (fd < 0) {
        (void)reel_local_error(error, errno, "a temporary file in %s", directory);
        return -1;
    }
    if (unlink(path) != 0)
        log_warning("reel", "removing %s: %s", path, strerror(errno));
    return fd;
}

/* Copies what FD gives (WANTED bytes, or -1: until its end) into a temporary file. */
static bool content_spool(int fd, int64_t wanted, struct content *content, struct error *error)
{
    uint8_t *buffer = malloc(REEL_CHUNK_SIZE);
    bool fine = false;

    memset(content, 0, sizeof(*content));
    content->fd = buffer != NULL ? temporary_file(error) : -1;
    if (buffer == NULL)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
    while (content->fd >= 0) {
        size_t size = wanted < 0 ? REEL_CHUNK_SIZE : (size_t)min_i64(wanted - content->size, REEL_CHUNK_SIZE);
        ssize_t got = size > 0 ? read(fd, buffer, size) : 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            (void)error_set(error, ERROR_IO, "reading the content: %s", strerror(errno));
            break;
        }
        if (got == 0) {
            fine = wanted < 0 || content->size == wanted;
            if (!fine)
                (void)error_set(error, ERROR_IO, "the content ends after %lld of %lld bytes",
                                (long long)content->size, (long long)wanted);
            break;
        }
        if (!reel_write_all(content->fd, buffer, (size_t)got, error))
            break;
        content->size += got;
    }
    free(buffer);
    if (!fine && content->fd >= 0)
        close(content->fd);
    return fine;
}

/* ---- the loop's side ---- */

static int64_t sending_source(void *argument, uint8_t *buffer, size_t size)
{
    struct sending *sending = argument;
    struct buffer *front;
    size_t taken = 0;

    pthread_mutex_lock(&sending->wait.mutex);
    front = &sending->buffers[sending->front];
    if (front->filled > 0) {
        taken = min_size(size, front->filled - front->sent);
        memcpy(buffer, front->bytes + front->sent, taken);
        front->sent += taken;
        if (front->sent == front->filled) {
            front->filled = 0;
            sending->front = (sending->front + 1) % BUFFERS;
            pthread_cond_signal(&sending->wait.changed);
        }
    } else {
        sending->hungry = true;
    }
    pthread_mutex_unlock(&sending->wait.mutex);
    return (int64_t)taken;
}

static bool sending_rewind(void *argument)
{
    struct sending *sending = argument;

    pthread_mutex_lock(&sending->wait.mutex);
    for (int i = 0; i < BUFFERS; i++)
        sending->buffers[i].filled = 0;
    sending->front = sending->back = 0;
    sending->position = 0;
    sending->hungry = false;
    sending->rewinds++;
    pthread_cond_signal(&sending->wait.changed);
    pthread_mutex_unlock(&sending->wait.mutex);
    return true;
}

static void sending_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct sending *)argument)->wait, error);
}

static void sending_start(struct reel_wait *wait)
{
    struct sending *sending = CONTAINER_OF(wait, struct sending, wait);

    reel_wait_started(wait, client_upload(wait->reel->client, &sending->options));
}

static void sending_resume(struct task *task)
{
    struct sending *sending = CONTAINER_OF(task, struct sending, resume);

    if (sending->wait.operation != NULL)
        client_upload_resume(sending->wait.operation);
    pthread_mutex_lock(&sending->wait.mutex);
    sending->resume_posted = false;
    pthread_cond_signal(&sending->wait.changed);
    pthread_mutex_unlock(&sending->wait.mutex);
}

static void sending_cancel(struct task *task)
{
    struct sending *sending = CONTAINER_OF(task, struct sending, cancel);
    struct error error;

    pthread_mutex_lock(&sending->wait.mutex);
    sending->cancel_posted = false;
    pthread_mutex_unlock(&sending->wait.mutex);
    if (sending->wait.operation == NULL)
        return; /* it has ended already */
    client_cancel(sending->wait.operation);
    (void)error_set(&error, ERROR_CANCELLED, "cancelled");
    reel_wait_finish(&sending->wait, &error);
}

/* ---- the calling thread's side ---- */

/* Fills the back buffer, which is free. False: ERROR says why the upload must end. The mutex is held, and let
 * go while reading. */
static bool sending_fill(struct sending *sending, const struct content *content, struct error *error)
{
    struct buffer *back = &sending->buffers[sending->back];
    size_t size = (size_t)min_i64(content->size - sending->position, REEL_CHUNK_SIZE);
    int64_t position = sending->position;
    unsigned rewinds = sending->rewinds;
    bool fine;

    pthread_mutex_unlock(&sending->wait.mutex);
    fine = content_read(content, back->bytes, size, position, error);
    pthread_mutex_lock(&sending->wait.mutex);
    if (!fine || rewinds != sending->rewinds)
        return fine;
    back->filled = size;
    back->sent = 0;
    sending->back = (sending->back + 1) % BUFFERS;
    sending->position += (int64_t)size;
    if (sending->hungry && !sending->resume_posted) {
        sending->hungry = false;
        sending->resume_posted = true;
        loop_post(sending->wait.reel->loop, &sending->resume);
    }
    return true;
}

/* Until the loop has done with it, so that nothing of it is used afterwards. */
static bool sending_run(struct sending *sending, const struct content *content,
                        const struct reel_upload *upload, struct error *error)
{
    struct reel_wait *wait = &sending->wait;
    int64_t told = -1;
    bool go_on = true;

    reel_wait_begin(wait);
    pthread_mutex_lock(&wait->mutex);
    while (!wait->done || sending->resume_posted || sending->cancel_posted) {
        int64_t position = sending->position;

        if (go_on && !wait->done && upload->progress != NULL && position != told) {
            pthread_mutex_unlock(&wait->mutex);
            told = position;
            go_on = upload->progress(upload->argument, position, content->size);
            if (!go_on)
                (void)error_set(error, ERROR_CANCELLED, "cancelled by the caller");
            pthread_mutex_lock(&wait->mutex);
        } else if (go_on && !wait->done && position < content->size &&
                   sending->buffers[sending->back].filled == 0) {
            go_on = sending_fill(sending, content, error);
        } else {
            pthread_cond_wait(&wait->changed, &wait->mutex);
            continue;
        }
        if (!go_on && !wait->done) {
            sending->cancel_posted = true;
            loop_post(wait->reel->loop, &sending->cancel);
        }
    }
    pthread_mutex_unlock(&wait->mutex);
    if (wait->error.code == ERROR_NONE)
        return true; /* also where the caller gave up a moment too late */
    if (go_on)
        *error = wait->error;
    return false;
}

static bool send_content(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                         const struct proto_put *put, struct error *error)
{
    struct sending sending;
    bool fine = true;

    memset(&sending, 0, sizeof(sending));
    reel_wait_init(&sending.wait, reel, sending_start);
    sending.resume.run = sending_resume;
    sending.cancel.run = sending_cancel;
    sending.options.put = *put;
    sending.options.source = sending_source;
    sending.options.rewind = sending_rewind;
    sending.options.tries = reel->tries;
    sending.options.callback = sending_done;
    sending.options.argument = &sending;
    for (int i = 0; fine && i < BUFFERS; i++) {
        sending.buffers[i].bytes = malloc((size_t)max_i64(min_i64(content->size, REEL_CHUNK_SIZE), 1));
        fine = sending.buffers[i].bytes != NULL;
    }
    if (fine)
        fine = sending_run(&sending, content, upload, error);
    else
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to send the content");
    for (int i = 0; i < BUFFERS; i++)
        free(sending.buffers[i].bytes);
    reel_wait_clear(&sending.wait);
    return fine;
}

/* ---- reel.h ---- */

/* Everything of an upload but its bytes. NAME may be NULL. */
static bool fill_put(struct reel *reel, const struct reel_upload *upload, const char *name,
                     struct proto_put *put, struct error *error)
{
    struct reel_key key = {.application = upload->application, .user = upload->user, .file = upload->file};
    char id[FILE_ID_SIZE];

    memset(put, 0, sizeof(*put));
    if (!reel_fill_key(reel, &key, true, &put->key, error))
        return false;
    if (upload->file == NULL) {
        if (!file_id_make(put->key.user, id, error))
            return false;
        memcpy(put->key.file, id, sizeof(id));
    } else if (upload->file[0] == '\0') {
        return error_set(error, ERROR_MALFORMED, "the file ID is empty");
    }
    if (upload->name != NULL)
        name = upload->name;
    if (name != NULL && !reel_copy_text(put->name, sizeof(put->name), "name", name, error))
        return false;
    return upload->content_type == NULL || reel_copy_text(put->content_type, sizeof(put->content_type),
                                                          "content type", upload->content_type, error);
}

static bool upload_content(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                           const char *name, char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct proto_put put;

    if (!fill_put(reel, upload, name, &put, error))
        return false;
    if (file_id != NULL)
        memcpy(file_id, put.key.file, sizeof(put.key.file));
    put.size = content->size;
    put.has_digest = true;
    return content_digest(content, put.digest, error) && send_content(reel, content, upload, &put, error);
}

static bool upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                      const char *name, char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct content content = {.fd = fd, .size = size};
    struct stat stat;
    bool fine;

    if (fstat(fd, &stat) != 0)
        return reel_local_error(error, errno, "the content");
    if (S_ISDIR(stat.st_mode))
        return error_set(error, ERROR_MALFORMED, "it is a directory");
    if (!S_ISREG(stat.st_mode)) {
        if (!content_spool(fd, size, &content, error))
            return false;
        fine = upload_content(reel, &content, upload, name, file_id, error);
        close(content.fd);
        return fine;
    }
    content.start = lseek(fd, 0, SEEK_CUR);
    if (content.start < 0)
        return reel_local_error(error, errno, "the content's position");
    if (size < 0)
        content.size = max_i64(stat.st_size - content.start, 0);
    return upload_content(reel, &content, upload, name, file_id, error);
}

static const struct reel_upload defaults;

static void clear_id(char *file_id)
{
    if (file_id != NULL)
        file_id[0] = '\0';
}

bool reel_upload_path(struct reel *reel, const struct reel_upload *upload, const char *path,
                      char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    const char *slash = strrchr(path, '/');
    struct error why;
    bool fine;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    clear_id(file_id);
    if (fd < 0) {
        (void)reel_local_error(&why, errno, "%s", path);
        return reel_fail(error, &why);
    }
    fine = upload_fd(reel, upload != NULL ? upload : &defaults, fd, -1, slash != NULL ? slash + 1 : path,
                     file_id, &why);
    close(fd);
    return fine || reel_fail(error, &why);
}

bool reel_upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                    char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct error why;

    clear_id(file_id);
    return upload_fd(reel, upload != NULL ? upload : &defaults, fd, size, NULL, file_id, &why) ||
           reel_fail(error, &why);
}

bool reel_upload_memory(struct reel *reel, const struct reel_upload *upload, const void *bytes, size_t size,
                        char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct content content = {.fd = -1, .memory = bytes, .size = (int64_t)size};
    struct error why;

    clear_id(file_id);
    return upload_content(reel, &content, upload != NULL ? upload : &defaults, NULL, file_id, &why) ||
           reel_fail(error, &why);
}
