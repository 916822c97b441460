/*
 * reel_pieces: threads that take one piece after the other, and a caller that reads, counts and listens until they have ended.
 */
#include "client/library/reel_pieces.h"

#include "client/library/reel_state.h"
#include "common/base/condition.h"
#include "common/base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct pieces;

struct pieces_slot {
    struct pieces *pieces;
    struct reel_upload upload; /* the piece's: its progress comes to us */
    int64_t done;              /* under mutex */
};

struct pieces {
    struct reel *reel;
    const struct content *content;
    const struct reel_upload *upload; /* the caller's */
    struct reel_piece *items;
    size_t count;
    struct pieces_slot slots[REEL_PIECES_MAX];
    struct digest *digest; /* the calling thread's alone, and */
    int64_t digested;
    uint8_t *bytes;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* all under mutex */
    size_t next, running;
    bool stop; /* ERROR says why */
    struct error error;
    bool remarked;
    char remark[REEL_ERROR_TEXT_SIZE];
};

/* ---- a piece's thread ---- */

/* With the mutex held. */
static void pieces_fail(struct pieces *pieces, const struct error *error)
{
    if (!pieces->stop)
        pieces->error = *error;
    pieces->stop = true;
    pthread_cond_broadcast(&pieces->changed);
}

static bool pieces_progress(void *argument, int64_t done, int64_t total)
{
    struct pieces_slot *slot = argument;
    struct pieces *pieces = slot->pieces;
    bool go_on;

    (void)total;
    pthread_mutex_lock(&pieces->mutex);
    if (slot->done != done)
        pthread_cond_broadcast(&pieces->changed);
    slot->done = done;
    go_on = !pieces->stop;
    pthread_mutex_unlock(&pieces->mutex);
    return go_on;
}

/* The caller reads it out soon: it waits for nothing else that long. */
static void pieces_say(void *argument, const char *text)
{
    struct pieces *pieces = argument;

    pthread_mutex_lock(&pieces->mutex);
    while (pieces->remarked)
        pthread_cond_wait(&pieces->changed, &pieces->mutex);
    (void)snprintf(pieces->remark, sizeof(pieces->remark), "%s", text);
    pieces->remarked = true;
    pthread_cond_broadcast(&pieces->changed);
    pthread_mutex_unlock(&pieces->mutex);
}

static void *pieces_run(void *argument)
{
    struct pieces *pieces = argument;
    const struct reel_relay relay = {.say = pieces_say, .argument = pieces};
    struct error error;

    reel_relay_use(&relay);
    pthread_mutex_lock(&pieces->mutex);
    while (!pieces->stop && pieces->next < pieces->count) {
        struct reel_piece *piece = &pieces->items[pieces->next++];

        pthread_mutex_unlock(&pieces->mutex);
        bool fine = reel_piece_send(piece, &error);

        pthread_mutex_lock(&pieces->mutex);
        if (!fine)
            pieces_fail(pieces, &error);
        else /* also where the servers had all of it already, and nothing was sent that is counted */
            pieces->slots[piece - pieces->items].done = piece->content.size;
    }
    pieces->running--;
    pthread_cond_broadcast(&pieces->changed);
    pthread_mutex_unlock(&pieces->mutex);
    reel_relay_use(NULL);
    return NULL;
}

/* ---- the calling thread ---- */

static int64_t pieces_done(const struct pieces *pieces)
{
    int64_t done = 0;

    for (size_t i = 0; i < pieces->count; i++)
        done += pieces->slots[i].done;
    return done;
}

/* Call with the mutex held; it is released while the callback runs. */
static void pieces_report(struct pieces *pieces, int64_t done)
{
    const struct reel_upload *upload = pieces->upload;
    struct error error;

    pthread_mutex_unlock(&pieces->mutex);
    bool go_on = !upload->progress || upload->progress(upload->argument, done, pieces->content->size);

    pthread_mutex_lock(&pieces->mutex);
    if (go_on)
        return;
    (void)error_set(&error, ERROR_CANCELLED, "cancelled by the caller");
    pieces_fail(pieces, &error);
}

/* The same, while a remark is read out. */
static void pieces_repeat(struct pieces *pieces)
{
    char text[REEL_ERROR_TEXT_SIZE];

    memcpy(text, pieces->remark, sizeof(text));
    pieces->remarked = false;
    pthread_cond_broadcast(&pieces->changed);
    pthread_mutex_unlock(&pieces->mutex);
    reel_say(pieces->reel, "%s", text);
    pthread_mutex_lock(&pieces->mutex);
}

/* The same, while a little more of the digest is taken. */
static void pieces_digest(struct pieces *pieces)
{
    size_t size = (size_t)min_i64(pieces->content->size - pieces->digested, REEL_CHUNK_SIZE);
    struct error error;

    pthread_mutex_unlock(&pieces->mutex);
    bool fine = content_read(pieces->content, pieces->bytes, size, pieces->digested, &error);

    if (fine)
        digest_update(pieces->digest, pieces->bytes, size);
    pthread_mutex_lock(&pieces->mutex);
    pieces->digested += (int64_t)size;
    if (!fine)
        pieces_fail(pieces, &error);
}

static void pieces_watch(struct pieces *pieces)
{
    int64_t reported = -1;
    bool beat = false;

    pthread_mutex_lock(&pieces->mutex);
    for (;;) {
        int64_t done = pieces_done(pieces);
        bool digests = !pieces->stop && pieces->digested < pieces->content->size;

        if (pieces->remarked) {
            pieces_repeat(pieces);
        } else if (!pieces->stop && (beat || done != reported)) {
            reported = done;
            beat = false;
            pieces_report(pieces, done);
        } else if (digests) {
            pieces_digest(pieces);
        } else if (pieces->running > 0) {
            beat = !condition_wait_ms(&pieces->changed, &pieces->mutex, REEL_BEAT_MS);
        } else {
            break;
        }
    }
    pthread_mutex_unlock(&pieces->mutex);
}

/* Signals are for the program's own threads. How many could be started. */
static size_t pieces_start(struct pieces *pieces, pthread_t *threads, size_t count)
{
    sigset_t all, before;
    size_t started = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&pieces->mutex);
    while (started < count && pthread_create(&threads[started], NULL, pieces_run, pieces) == 0)
        started++;
    pieces->running = started;
    pthread_mutex_unlock(&pieces->mutex);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static bool pieces_all(struct pieces *pieces, size_t count, struct error *error)
{
    pthread_t threads[REEL_PIECES_MAX];
    size_t started;

    pthread_mutex_lock(&pieces->mutex);
    pieces_report(pieces, pieces_done(pieces)); /* where it begins */
    pthread_mutex_unlock(&pieces->mutex);
    started = pieces_start(pieces, threads, min_size(min_size(count, pieces->count), REEL_PIECES_MAX));

    if (started == 0)
        return error_set(error, ERROR_UNAVAILABLE, "no thread to send the content");
    pieces_watch(pieces);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    if (!pieces->stop)
        return content_unchanged(pieces->content, error);
    *error = pieces->error;
    return false;
}

bool reel_pieces_send(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                      struct reel_piece *items, size_t count, size_t threads,
                      uint8_t digest[PROTO_DIGEST_SIZE], struct error *error)
{
    struct pieces pieces = {
        .reel = reel, .content = content, .upload = upload, .items = items, .count = count};
    bool fine;

    ASSERT(count <= REEL_PIECES_MAX && pthread_mutex_init(&pieces.mutex, NULL) == 0);
    ASSERT(condition_init(&pieces.changed, NULL));
    for (size_t i = 0; i < count; i++) {
        pieces.slots[i] = (struct pieces_slot){.pieces = &pieces, .done = items[i].at.offset};
        pieces.slots[i].upload.progress = pieces_progress;
        pieces.slots[i].upload.argument = &pieces.slots[i];
        items[i].upload = &pieces.slots[i].upload;
    }
    pieces.digest = digest_create();
    pieces.bytes = malloc(REEL_CHUNK_SIZE);
    fine = pieces.digest && pieces.bytes;
    if (fine)
        fine = pieces_all(&pieces, threads, error);
    else
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
    if (fine)
        digest_final(pieces.digest, digest);
    free(pieces.bytes);
    digest_destroy(pieces.digest);
    pthread_cond_destroy(&pieces.changed);
    pthread_mutex_destroy(&pieces.mutex);
    return fine;
}
