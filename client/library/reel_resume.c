/*
 * reel_resume: the state file, then BEGIN or OFFSET, APPEND until all is there, FINISH. Whatever breaks in between is asked about with
 * OFFSET and gone on with, over the next server of the group.
 */
#include "client/library/reel_resume.h"

#include "client/core/client_resume.h"
#include "client/library/reel_send.h"
#include "common/base/clock.h"
#include "common/proto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATE_SIZE     4096
#define GOOD_BYTES     (INT64_C(8) << 20)  /* that came through: the tries begin anew */
#define PATIENCE_MS    60000               /* that a FINISH may take, and */
#define PATIENCE_RATE  (INT64_C(20) << 20) /* bytes a second more, which are read back */
#define TOKEN_HEX_SIZE (2 * PROTO_PARTIAL_TOKEN_SIZE + 1)
#define READ_PIECE     ((size_t)REEL_CHUNK_SIZE)

struct resumed {
    struct reel *reel;
    const struct content *content;
    const struct reel_upload *upload;
    struct proto_put *put;
    int state; /* the open state file */
    struct proto_partial partial;
    bool known; /* the token is */
    struct proto_partial_state at;
    struct digest *digest; /* of the first `digested` bytes */
    int64_t digested;
    struct client_resume resume;
};

/* ---- the state file ---- */

static void resume_hex(const void *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        *text++ = digits[((const uint8_t *)bytes)[i] >> 4];
        *text++ = digits[((const uint8_t *)bytes)[i] & 15];
    }
    *text = '\0';
}

/* Exactly SIZE bytes from the hex digits of TEXT, up to the end of its line; returns what is behind the line, NULL where it is not that. */
static const char *resume_unhex(const char *text, size_t size, uint8_t *bytes)
{
    for (size_t i = 0; i < size; i++) {
        unsigned byte;

        if (strspn(text, "0123456789abcdef") < 2 || sscanf(text, "%2x", &byte) != 1)
            return NULL;
        bytes[i] = (uint8_t)byte;
        text += 2;
    }
    return *text == '\n' ? text + 1 : NULL;
}

/* What a state is of: everything but the file ID and the token. False: it does not fit. */
static bool state_head(const struct resumed *resumed, char text[STATE_SIZE], struct error *error)
{
    char user[2 * PROTO_USER_SIZE + 1];
    const struct proto_file_key *key = &resumed->put->key;
    struct stat now;

    if (fstat(resumed->content->fd, &now) != 0)
        return reel_local_error(error, errno, "the content");
    resume_hex(key->user, strlen(key->user), user);
    (void)snprintf(text, STATE_SIZE,
                   "reel-upload 1\napplication %s\nuser %s\nfrom %" PRId64 "\nsize %" PRId64
                   "\nmodified %lld.%09ld\ninode %llu:%llu\n",
                   key->application, user, resumed->content->start, resumed->content->size,
                   (long long)now.st_mtim.tv_sec, now.st_mtim.tv_nsec, (unsigned long long)now.st_dev,
                   (unsigned long long)now.st_ino);
    return true;
}

/* Opens it, and keeps others of this upload out. */
static bool state_open(struct resumed *resumed, const char *path, struct error *error)
{
    resumed->state = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (resumed->state < 0)
        return reel_local_error(error, errno, "%s", path);
    if (flock(resumed->state, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return true;
    return error_set(error, ERROR_UNAVAILABLE, "%s: another upload of this file is under way", path);
}

/* Takes file ID and token from it, if it is of this content. */
static bool state_read(struct resumed *resumed, struct error *error)
{
    char head[STATE_SIZE], text[STATE_SIZE];
    uint8_t file[PROTO_FILE_SIZE] = {0};
    size_t length;
    ssize_t size;

    if (!state_head(resumed, head, error))
        return false;
    length = strlen(head);
    size = pread(resumed->state, text, sizeof(text) - 1, 0);
    if (size < 0)
        return reel_local_error(error, errno, "%s", resumed->upload->state);
    text[size] = '\0';
    if (strncmp(text, head, length) != 0 || strncmp(text + length, "file ", 5) != 0)
        return true; /* of another one */
    const char *at = text + length + 5;
    size_t digits = strcspn(at, "\n");

    if (digits / 2 >= sizeof(file) || digits == 0)
        return true;
    at = resume_unhex(at, digits / 2, file);
    if (!at || strncmp(at, "token ", 6) != 0 ||
        !resume_unhex(at + 6, sizeof(resumed->partial.token), resumed->partial.token))
        return true;
    if (resumed->upload->file && strcmp(resumed->upload->file, (const char *)file) != 0)
        return true;
    memcpy(resumed->put->key.file, file, sizeof(file));
    resumed->known = true;
    return true;
}

static bool state_write(struct resumed *resumed, struct error *error)
{
    char head[STATE_SIZE], text[2 * STATE_SIZE], file[2 * PROTO_FILE_SIZE + 1], token[TOKEN_HEX_SIZE];
    const struct proto_file_key *key = &resumed->put->key;

    if (!state_head(resumed, head, error))
        return false;
    resume_hex(key->file, strlen(key->file), file);
    resume_hex(resumed->partial.token, sizeof(resumed->partial.token), token);
    int size = snprintf(text, sizeof(text), "%sfile %s\ntoken %s\n", head, file, token);

    if (ftruncate(resumed->state, 0) == 0 && pwrite(resumed->state, text, (size_t)size, 0) == size &&
        fsync(resumed->state) == 0)
        return true;
    return reel_local_error(error, errno, "%s", resumed->upload->state);
}

/* ---- questions ---- */

struct resume_wait {
    struct reel_wait wait;
    struct resumed *resumed;
    uint8_t digest[PROTO_DIGEST_SIZE];
};

static void resume_begun(void *argument, const struct proto_begin_reply *reply, const struct error *error)
{
    struct resume_wait *wait = argument;

    if (reply) {
        wait->resumed->at = reply->state;
        memcpy(wait->resumed->partial.token, reply->token, sizeof(reply->token));
    }
    reel_wait_finish(&wait->wait, error);
}

static void resume_told(void *argument, const struct proto_partial_state *state, const struct error *error)
{
    struct resume_wait *wait = argument;

    if (state)
        wait->resumed->at = *state;
    reel_wait_finish(&wait->wait, error);
}

static void resume_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct resume_wait *)argument)->wait, error);
}

static void begin_start(struct reel_wait *wait)
{
    struct resume_wait *own = CONTAINER_OF(wait, struct resume_wait, wait);
    const struct proto_begin begin = {.put = *own->resumed->put};

    reel_wait_started(wait, client_begin(wait->reel->client, &begin, resume_begun, own));
}

static void offset_start(struct reel_wait *wait)
{
    struct resume_wait *own = CONTAINER_OF(wait, struct resume_wait, wait);

    reel_wait_started(wait, client_offset(wait->reel->client, &own->resumed->partial, resume_told, own));
}

static void abort_start(struct reel_wait *wait)
{
    struct resume_wait *own = CONTAINER_OF(wait, struct resume_wait, wait);

    reel_wait_started(wait, client_abort(wait->reel->client, &own->resumed->partial, resume_done, own));
}

static void finish_start(struct reel_wait *wait)
{
    struct resume_wait *own = CONTAINER_OF(wait, struct resume_wait, wait);
    struct proto_finish finish = {.partial = own->resumed->partial, .has_digest = true};
    int64_t patience_ms = PATIENCE_MS + own->resumed->content->size / (PATIENCE_RATE / 1000);

    memcpy(finish.digest, own->digest, sizeof(finish.digest));
    reel_wait_started(wait, client_finish(wait->reel->client, &finish, patience_ms, resume_done, own));
}

static bool resume_ask(struct resumed *resumed, void (*start)(struct reel_wait *wait), struct error *error)
{
    struct resume_wait wait = {.resumed = NULL};

    reel_wait_init(&wait.wait, resumed->reel, start);
    wait.resumed = resumed;
    if (start == finish_start)
        digest_final(resumed->digest, wait.digest);
    return reel_wait_run(&wait.wait, error);
}

/* ---- going on ---- */

static bool may_pass(const struct error *error)
{
    switch (error->code) {
    case ERROR_CONNECTION:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_NO_SERVER:
    case ERROR_RANGE: /* something was counted that was not answered: OFFSET tells */
        return true;
    default:
        return false;
    }
}

/* Waits before another try; false: there were enough, or the handle was cancelled. */
static bool resume_pause(struct resumed *resumed, const struct error *error)
{
    int64_t pause_ms = client_resume_pause(&resumed->resume, clock_monotonic_ms());
    struct pollfd cancelled = {.fd = resumed->reel->cancel_fd, .events = POLLIN};

    if (pause_ms < 0)
        return false;
    reel_say(resumed->reel, "%s; going on at byte %" PRId64, error->text, resumed->at.offset);
    return poll(&cancelled, 1, (int)pause_ms) == 0;
}

static void resume_passed(void *argument, const uint8_t *bytes, size_t size, int64_t position)
{
    struct resumed *resumed = argument;
    int64_t skip = resumed->digested - position; /* a further try reads some once more */

    if (skip < 0 || skip >= (int64_t)size)
        return;
    digest_update(resumed->digest, bytes + skip, size - (size_t)skip);
    resumed->digested = position + (int64_t)size;
}

/* The digest of what the server has already. */
static bool resume_catch_up(struct resumed *resumed, struct error *error)
{
    const struct reel_upload *upload = resumed->upload;
    uint8_t *bytes = resumed->digested < resumed->at.offset ? malloc(READ_PIECE) : NULL;
    bool fine = true;

    while (fine && resumed->digested < resumed->at.offset) {
        size_t size = (size_t)min_i64(resumed->at.offset - resumed->digested, (int64_t)READ_PIECE);

        fine = bytes || error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
        fine = fine && content_read(resumed->content, bytes, size, resumed->digested, error);
        if (!fine)
            break;
        resume_passed(resumed, bytes, size, resumed->digested);
        if (upload->preparing &&
            !upload->preparing(upload->argument, resumed->digested, resumed->content->size))
            fine = error_set(error, ERROR_CANCELLED, "cancelled by the caller");
    }
    free(bytes);
    return fine;
}

/* How far it is, whoever has to be asked for that. */
static bool resume_look(struct resumed *resumed, struct error *error)
{
    int64_t before = resumed->at.offset;

    while (!resume_ask(resumed, offset_start, error)) {
        if (!may_pass(error) || !resume_pause(resumed, error))
            return false;
    }
    if (resumed->at.offset > before)
        client_resume_moved(&resumed->resume, resumed->at.offset - before);
    return true;
}

/* All bytes that are missing. */
static bool resume_send(struct resumed *resumed, struct error *error)
{
    int64_t size = resumed->content->size;

    while (resumed->at.offset < size) {
        if (!resume_catch_up(resumed, error))
            return false;
        const struct proto_append append = {.partial = resumed->partial,
                                            .offset = resumed->at.offset,
                                            .total = size,
                                            .size = size - resumed->at.offset};
        const struct send_options send = {.content = resumed->content,
                                          .upload = resumed->upload,
                                          .append = &append,
                                          .passed = resume_passed,
                                          .state = &resumed->at,
                                          .argument = resumed};

        if (reel_send(resumed->reel, &send, error))
            continue;
        if (!may_pass(error) || !resume_pause(resumed, error) || !resume_look(resumed, error))
            return false;
    }
    return resume_catch_up(resumed, error);
}

static bool resume_finish(struct resumed *resumed, struct error *error)
{
    while (!resume_ask(resumed, finish_start, error)) {
        if (!may_pass(error) || error->code == ERROR_RANGE || !resume_pause(resumed, error))
            return false;
    }
    return true;
}

/* A new one, or the one that the state speaks of. */
static bool resume_start(struct resumed *resumed, struct error *error)
{
    resumed->partial.key = resumed->put->key;
    if (resumed->known) {
        if (resume_look(resumed, error) && resumed->at.offset <= resumed->content->size) {
            reel_say(resumed->reel, "going on at byte %" PRId64 " of %" PRId64, resumed->at.offset,
                     resumed->content->size);
            return true;
        }
        if (error->code != ERROR_NOT_FOUND)
            return false;
        reel_say(resumed->reel, "the upload that was begun is not there any more: from the beginning");
        resumed->at = (struct proto_partial_state){0};
    }
    return resume_ask(resumed, begin_start, error) && state_write(resumed, error);
}

static bool is_too_old(const struct resumed *resumed, const struct error *error)
{
    return !resumed->known && (error->code == ERROR_UNKNOWN_COMMAND || error->code == ERROR_GENERAL);
}

/* Going on cannot help: other bytes were sent than the file has now, or its ID is taken. */
static bool is_hopeless(const struct error *error)
{
    return error->code == ERROR_DIGEST || error->code == ERROR_EXISTS || error->code == ERROR_DELETED;
}

static enum resume_end resume_run(struct resumed *resumed, struct error *error)
{
    struct error ignored;

    if (!resume_start(resumed, error)) {
        enum resume_end end = is_too_old(resumed, error) ? RESUME_TOO_OLD : RESUME_FAILED;

        if (end == RESUME_TOO_OLD || is_hopeless(error))
            (void)unlink(resumed->upload->state);
        return end;
    }
    if (resume_send(resumed, error) && resume_finish(resumed, error)) {
        (void)unlink(resumed->upload->state); /* one that stays is of an upload that is complete */
        return RESUME_STORED;
    }
    if (is_hopeless(error)) {
        (void)resume_ask(resumed, abort_start, &ignored); /* else it expires */
        (void)unlink(resumed->upload->state);
    }
    return RESUME_FAILED;
}

enum resume_end resume_upload(struct reel *reel, const struct content *content,
                              const struct reel_upload *upload, struct proto_put *put,
                              char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct resumed resumed = {.reel = reel, .content = content, .upload = upload, .put = put, .state = -1};
    enum resume_end end = RESUME_FAILED;

    client_resume_init(&resumed.resume, reel->tries, GOOD_BYTES, 0);
    resumed.digest = digest_create();
    if (!resumed.digest)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a digest");
    else if (state_open(&resumed, upload->state, error) && state_read(&resumed, error)) {
        if (file_id)
            memcpy(file_id, put->key.file, sizeof(put->key.file));
        end = resume_run(&resumed, error);
    }
    if (resumed.state >= 0)
        (void)close(resumed.state); /* it was synced where that matters */
    digest_destroy(resumed.digest);
    return end;
}
