/*
 * reel_send: the calling thread reads (or copies) content into two buffers, which the loop sends: while one goes out the other is
 * filled, and whichever side is slow holds up only this upload. See the header.
 */
#include "client/library/reel_send.h"

#include "common/base/clock.h"
#include "common/proto/digest.h"

#include <stdlib.h>
#include <string.h>

#define BUFFERS    2
#define CONFIRM_MS 1000 /* after the last byte, until it is said that the server's reply is awaited */

struct buffer {
    uint8_t *bytes;
    size_t filled, sent; /* filled 0: free */
};

struct sending {
    struct reel_wait wait;
    struct client_upload_options options;
    const struct send_options *send;
    struct task resume; /* the loop's source has bytes again */

    /* all under wait.mutex */
    struct buffer buffers[BUFFERS];
    int front, back;    /* sent from, filled next */
    int64_t position;   /* the next byte to be read, of what is sent */
    int64_t total;      /* of what is sent: the content, or its rest, and a digest that follows it */
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

static void sending_appended(void *argument, const struct proto_partial_state *state,
                             const struct error *error)
{
    struct sending *sending = argument;

    if (state)
        *sending->send->state = *state;
    reel_wait_finish(&sending->wait, error);
}

static void sending_start(struct reel_wait *wait)
{
    struct sending *sending = CONTAINER_OF(wait, struct sending, wait);
    struct client_append_options append = {
        .source = sending_source, .callback = sending_appended, .argument = sending};

    if (sending->send->append)
        append.append = *sending->send->append;
    struct client_operation *operation = sending->send->append
                                             ? client_append(wait->reel->client, &append)
                                             : client_upload(wait->reel->client, &sending->options);

    if (operation && sending->send->server)
        client_prefer(operation, sending->send->server);
    reel_wait_started(wait, operation);
}

static void sending_resume(struct task *task)
{
    struct sending *sending = CONTAINER_OF(task, struct sending, resume);

    if (sending->wait.operation && sending->send->append)
        client_append_resume(sending->wait.operation);
    else if (sending->wait.operation)
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
    const struct content *content = sending->send->content;
    const struct proto_append *append = sending->send->append;
    int64_t at = position + (append ? append->offset : 0),
            end = append ? at - position + append->size : content->size;
    size_t size = (size_t)min_i64(end - at, REEL_CHUNK_SIZE);

    if (!content_read(content, buffer, size, at, error))
        return -1;
    if (append)
        sending->send->passed(sending->send->argument, buffer, size, at);
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

struct reporting {
    int64_t reported;   /* the last position that was reported; -1: none */
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
static bool sending_report(struct sending *sending, struct reporting *reporting, struct error *error)
{
    const struct reel_upload *upload = sending->send->upload;
    const struct proto_append *append = sending->send->append;
    int64_t size = sending->send->content->size;
    int64_t position = min_i64(sending->position + (append ? append->offset : 0), size);
    bool go_on = true, all = sending_all_taken(sending), say = false;

    if (!all) {
        reporting->idle_ms = 0;
        reporting->waiting = false;
    } else if (reporting->idle_ms == 0) {
        reporting->idle_ms = clock_monotonic_ms();
    } else if (!reporting->waiting && clock_monotonic_ms() - reporting->idle_ms >= CONFIRM_MS) {
        reporting->waiting = say = true;
    }
    reporting->reported = sending->position;
    reporting->beat = false;
    pthread_mutex_unlock(&sending->wait.mutex);
    if (say)
        reel_say(sending->wait.reel, "waiting for the server to confirm");
    if (upload->progress)
        go_on = upload->progress(upload->argument, position, size);
    pthread_mutex_lock(&sending->wait.mutex);
    return go_on || error_set(error, ERROR_CANCELLED, "cancelled by the caller");
}

/* Until the loop has done with it, so that nothing of it is used afterwards. */
static bool sending_run(struct sending *sending, struct error *error)
{
    struct reel_wait *wait = &sending->wait;
    struct reporting reporting = {.reported = -1};
    bool go_on = true;

    reel_wait_begin(wait);
    pthread_mutex_lock(&wait->mutex);
    while (reel_wait_busy(wait) || sending->resume_posted) {
        if (go_on && !wait->done && (reporting.beat || sending->position != reporting.reported))
            go_on = sending_report(sending, &reporting, error);
        else if (go_on && !wait->done && !wait->giving_up && sending->position < sending->total &&
                 sending->buffers[sending->back].filled == 0)
            go_on = sending_fill(sending, error);
        else if (!reel_wait_busy(wait))
            pthread_cond_wait(&wait->changed, &wait->mutex); /* sending_resume() is still to come */
        else
            reporting.beat = !reel_wait_turn(wait, REEL_BEAT_MS);
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

bool reel_send(struct reel *reel, const struct send_options *options, struct error *error)
{
    const struct proto_put *put = options->put;
    const struct proto_append *append = options->append;
    bool follows = put && !put->has_digest, fine = true;
    int64_t size = append ? append->size : options->content->size;
    size_t room = (size_t)min_i64(size, REEL_CHUNK_SIZE) + PROTO_DIGEST_SIZE;
    struct sending sending;

    memset(&sending, 0, sizeof(sending));
    reel_wait_init(&sending.wait, reel, sending_start);
    sending.send = options;
    sending.resume.run = sending_resume;
    if (put)
        sending.options.put = *put;
    sending.options.digest_follows = follows;
    sending.options.source = sending_source;
    sending.options.rewind = sending_rewind;
    sending.options.tries = reel->tries;
    sending.options.callback = sending_done;
    sending.options.argument = &sending;
    sending.total = size + (follows ? PROTO_DIGEST_SIZE : 0);
    if (follows) {
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
