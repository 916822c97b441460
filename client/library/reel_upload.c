/*
 * reel_upload: the uploads of reel.h. The calling thread reads (or copies) the content into two buffers,
 * which the loop sends: while one goes out the other is filled, and whichever side is slow holds up only this
 * upload. The digest is taken as the content passes by and follows it (PUT_TRAILER); where the servers are too
 * old for that, the content is read once more before, and the digest goes ahead of it (PUT).
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "client/library/reel_content.h"
#include "common/base/clock.h"
#include "common/proto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFERS         2
#define DIGEST_FIRST_MS 60000 /* how long it is remembered that a server does not know PUT_TRAILER */
#define CONFIRM_MS      1000  /* after the last byte, until it is said that the server's word is waited for */

struct buffer {
    uint8_t *bytes;
    size_t filled, sent; /* filled 0: free */
};

struct sending {
    struct reel_wait wait;
    struct client_upload_options options;
    const struct content *content;
    const struct reel_upload *upload;
    struct task resume; /* the loop's source has bytes again */

    /* all under wait.mutex */
    struct buffer buffers[BUFFERS];
    int front, back;    /* sent from, filled next */
    int64_t position;   /* the next byte to be read */
    int64_t total;      /* of the content, and the digest that follows it */
    unsigned rewinds;   /* how often the loop started again: what was being read meanwhile is void */
    bool hungry;        /* the loop found no bytes */
    bool resume_posted; /* and has not been there yet */
    struct digest
        *digest; /* of the content up to `position`; NULL: it went ahead. The calling thread's alone */
};

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

    if (sending->wait.operation)
        client_upload_resume(sending->wait.operation);
    pthread_mutex_lock(&sending->wait.mutex);
    sending->resume_posted = false;
    pthread_cond_signal(&sending->wait.changed);
    pthread_mutex_unlock(&sending->wait.mutex);
}

/* ---- the calling thread's side ---- */

/* The next bytes of the stream into BUFFER: content, and after its last byte the digest. The number, or -1. */
static int64_t sending_read(struct sending *sending, uint8_t *buffer, int64_t position, struct error *error)
{
    const struct content *content = sending->content;
    size_t size = (size_t)min_i64(content->size - position, REEL_CHUNK_SIZE);

    if (!content_read(content, buffer, size, position, error))
        return -1;
    if (!sending->digest)
        return (int64_t)size;
    if (position == 0)
        digest_reset(sending->digest); /* another try may have read further */
    digest_update(sending->digest, buffer, size);
    if (position + (int64_t)size < content->size)
        return (int64_t)size;
    digest_final(sending->digest, buffer + size);
    return (int64_t)size + PROTO_DIGEST_SIZE;
}

/* Fills the back buffer, which is free. False: ERROR says why the upload must end. The mutex is held, and let
 * go while reading. */
static bool sending_fill(struct sending *sending, struct error *error)
{
    struct buffer *back = &sending->buffers[sending->back];
    int64_t position = sending->position;
    unsigned rewinds = sending->rewinds;
    int64_t size;

    pthread_mutex_unlock(&sending->wait.mutex);
    size = sending_read(sending, back->bytes, position, error);
    pthread_mutex_lock(&sending->wait.mutex);
    if (size < 0 || rewinds != sending->rewinds)
        return size >= 0;
    back->filled = (size_t)size;
    back->sent = 0;
    sending->back = (sending->back + 1) % BUFFERS;
    sending->position += size;
    if (sending->hungry && !sending->resume_posted) {
        sending->hungry = false;
        sending->resume_posted = true;
        loop_post(sending->wait.reel->loop, &sending->resume);
    }
    return true;
}

struct telling {
    int64_t told;       /* the last position that was reported; -1: none */
    int64_t idle_ms;    /* since when everything is read, monotonic; 0: not yet */
    bool waiting, beat; /* "waiting" was said; it is time to report again, also without news */
};

/* The loop has taken everything: what is left to come is the reply. */
static bool sending_all_taken(const struct sending *sending)
{
    bool taken = sending->position >= sending->total;

    for (int i = 0; i < BUFFERS; i++)
        taken = taken && sending->buffers[i].filled == 0;
    return taken;
}

/* Reports how far it is. The mutex is let go meanwhile. False: the caller gave up. */
static bool sending_tell(struct sending *sending, struct telling *telling, struct error *error)
{
    const struct reel_upload *upload = sending->upload;
    int64_t position = min_i64(sending->position, sending->content->size);
    bool go_on = true, all = sending_all_taken(sending), say = false;

    if (!all) {
        telling->idle_ms = 0;
        telling->waiting = false;
    } else if (telling->idle_ms == 0) {
        telling->idle_ms = clock_monotonic_ms();
    } else if (!telling->waiting && clock_monotonic_ms() - telling->idle_ms >= CONFIRM_MS) {
        telling->waiting = say = true;
    }
    telling->told = sending->position;
    telling->beat = false;
    pthread_mutex_unlock(&sending->wait.mutex);
    if (say)
        reel_say(sending->wait.reel, "waiting for the server to confirm");
    if (upload->progress)
        go_on = upload->progress(upload->argument, position, sending->content->size);
    pthread_mutex_lock(&sending->wait.mutex);
    return go_on || error_set(error, ERROR_CANCELLED, "cancelled by the caller");
}

/* Until the loop has done with it, so that nothing of it is used afterwards. */
static bool sending_run(struct sending *sending, struct error *error)
{
    struct reel_wait *wait = &sending->wait;
    struct telling telling = {.told = -1};
    bool go_on = true;

    reel_wait_begin(wait);
    pthread_mutex_lock(&wait->mutex);
    while (reel_wait_busy(wait) || sending->resume_posted) {
        if (go_on && !wait->done && (telling.beat || sending->position != telling.told))
            go_on = sending_tell(sending, &telling, error);
        else if (go_on && !wait->done && !wait->giving_up && sending->position < sending->total &&
                 sending->buffers[sending->back].filled == 0)
            go_on = sending_fill(sending, error);
        else if (!reel_wait_busy(wait))
            pthread_cond_wait(&wait->changed, &wait->mutex); /* sending_resume() is still to come */
        else
            telling.beat = !reel_wait_turn(wait, REEL_BEAT_MS);
        if (!go_on)
            reel_wait_give_up(wait);
    }
    pthread_mutex_unlock(&wait->mutex);
    if (reel_wait_end(wait))
        return true; /* also where the caller gave up a moment too late */
    if (go_on)
        *error = wait->error;
    return false;
}

static bool send_content(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                         const struct proto_put *put, struct error *error)
{
    struct sending sending;
    size_t room = (size_t)min_i64(content->size, REEL_CHUNK_SIZE) + PROTO_DIGEST_SIZE;
    bool fine = true;

    memset(&sending, 0, sizeof(sending));
    reel_wait_init(&sending.wait, reel, sending_start);
    sending.content = content;
    sending.upload = upload;
    sending.resume.run = sending_resume;
    sending.options.put = *put;
    sending.options.digest_follows = !put->has_digest;
    sending.options.source = sending_source;
    sending.options.rewind = sending_rewind;
    sending.options.tries = reel->tries;
    sending.options.callback = sending_done;
    sending.options.argument = &sending;
    sending.total = content->size + (put->has_digest ? 0 : PROTO_DIGEST_SIZE);
    if (!put->has_digest) {
        sending.digest = digest_create();
        fine = sending.digest;
    }
    for (int i = 0; fine && i < BUFFERS; i++) {
        sending.buffers[i].bytes = malloc(room);
        fine = sending.buffers[i].bytes;
    }
    if (fine)
        fine = sending_run(&sending, error);
    else
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to send the content");
    for (int i = 0; i < BUFFERS; i++)
        free(sending.buffers[i].bytes);
    digest_destroy(sending.digest);
    reel_wait_clear(&sending.wait);
    return fine;
}

/* With the digest behind the content; ahead of it where a server does not know that, or did not a moment ago. A
 * legacy server has one number for all failures: what the second way says then counts. */
static bool send_checked(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                         struct proto_put *put, struct error *error)
{
    int64_t now = clock_monotonic_ms();
    bool known_old = !reel->moves && atomic_load(&reel->digest_first_until_ms) > now;

    if (!known_old) {
        if (send_content(reel, content, upload, put, error))
            return true;
        if (reel->moves) /* there is one way only */
            return false;
        if (error->code != ERROR_UNKNOWN_COMMAND && error->code != ERROR_GENERAL)
            return false;
    }
    if (!content_digest(content, upload->preparing, upload->argument, put->digest, error))
        return false;
    put->has_digest = true;
    if (!send_content(reel, content, upload, put, error))
        return false;
    if (!known_old)
        atomic_store(&reel->digest_first_until_ms, now + DIGEST_FIRST_MS);
    return true;
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
    if (!upload->file) {
        if (!file_id_make(put->key.user, id, error))
            return false;
        memcpy(put->key.file, id, sizeof(id));
    } else if (upload->file[0] == '\0') {
        return error_set(error, ERROR_MALFORMED, "the file ID is empty");
    }
    if (upload->name)
        name = upload->name;
    if (name && !reel_copy_text(put->name, sizeof(put->name), "name", name, error))
        return false;
    return !upload->content_type || reel_copy_text(put->content_type, sizeof(put->content_type),
                                                   "content type", upload->content_type, error);
}

static bool upload_content(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                           const char *name, char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct proto_put put;

    if (!reel_usable(reel, error) || !fill_put(reel, upload, name, &put, error))
        return false;
    if (file_id)
        memcpy(file_id, put.key.file, sizeof(put.key.file));
    put.size = content->size;
    return send_checked(reel, content, upload, &put, error);
}

static bool upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                      const char *name, char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct content content;
    bool fine;

    if (!content_open(&content, fd, size, upload->preparing, upload->argument, error))
        return false;
    fine = upload_content(reel, &content, upload, name, file_id, error);
    content_clear(&content);
    return fine;
}

static const struct reel_upload defaults;

static void clear_id(char *file_id)
{
    if (file_id)
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
    fine = upload_fd(reel, upload ? upload : &defaults, fd, -1, slash ? slash + 1 : path, file_id, &why);
    close(fd);
    return fine || reel_fail(error, &why);
}

bool reel_upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                    char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct error why;

    clear_id(file_id);
    return upload_fd(reel, upload ? upload : &defaults, fd, size, NULL, file_id, &why) ||
           reel_fail(error, &why);
}

bool reel_upload_memory(struct reel *reel, const struct reel_upload *upload, const void *bytes, size_t size,
                        char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct content content = {.fd = -1, .memory = bytes, .size = (int64_t)size};
    struct error why;

    clear_id(file_id);
    return upload_content(reel, &content, upload ? upload : &defaults, NULL, file_id, &why) ||
           reel_fail(error, &why);
}
