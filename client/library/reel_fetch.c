/*
 * reel_fetch: one download from the network, see reel_fetch.h. The loop finds a server and hands its socket over;
 * the calling thread reads it, so a slow disk or callback holds up nobody else. Where a server breaks off, another
 * one goes on at the next byte.
 */
#include "client/library/reel_fetch.h"

#include "client/core/client_resume.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes after which a server's breaking off counts as the first again. */
#define GOOD_PROGRESS (1024 * 1024)

/* ---- the loop's side ---- */

static void fetch_taken(void *argument, struct packet_call *call, const struct error *error)
{
    struct fetch *fetch = argument;

    fetch->call = call;
    reel_wait_finish(&fetch->wait, error);
}

static void fetch_start(struct reel_wait *wait)
{
    struct fetch *fetch = CONTAINER_OF(wait, struct fetch, wait);

    reel_wait_started(wait, client_download(wait->reel->client, &fetch->key, fetch->offset, fetch->size,
                                            fetch->has_expected ? fetch->expected : NULL,
                                            fetch->has_avoid ? &fetch->avoid : NULL, fetch_taken, fetch));
}

static void fetch_release(struct reel_wait *wait)
{
    struct fetch *fetch = CONTAINER_OF(wait, struct fetch, wait);

    packet_call_release(fetch->call, fetch->reusable);
    fetch->call = NULL;
    reel_wait_finish(wait, NULL);
}

/* ---- the calling thread's side ---- */

static bool fetch_on_loop(struct fetch *fetch, struct reel *reel, void (*start)(struct reel_wait *wait),
                          struct error *error)
{
    reel_wait_init(&fetch->wait, reel, start);
    return reel_wait_run(&fetch->wait, error);
}

enum outcome {
    FETCH_DONE,
    FETCH_BROKEN,  /* by the server: another may go on */
    FETCH_NOWHERE, /* no server answers, though each was tried */
    FETCH_FAILED,  /* here, or by the caller's word */
};

/* Reports how far it is. False: the caller gave up. */
static bool fetch_tell(const struct fetch *fetch, struct error *error)
{
    const struct reel_download *download = fetch->download;

    return !download->progress ||
           download->progress(download->argument, fetch->before + fetch->done,
                              fetch->before + max_i64(fetch->total, 0)) ||
           error_set(error, ERROR_CANCELLED, "cancelled by the caller");
}

static enum outcome fetch_deliver(struct fetch *fetch, const uint8_t *bytes, size_t size, struct error *error)
{
    if (size == 0)
        return FETCH_DONE;
    if (fetch->digest)
        digest_update(fetch->digest, bytes, size);
    fetch->done += (int64_t)size;
    if (!fetch->data(fetch->data_argument, bytes, size)) {
        (void)error_set(error, ERROR_CANCELLED, "cancelled by the caller");
        return FETCH_FAILED;
    }
    return fetch_tell(fetch, error) ? FETCH_DONE : FETCH_FAILED;
}

/* Waits for bytes of the body, and reports meanwhile. FETCH_DONE: they are there. */
static enum outcome fetch_await(const struct fetch *fetch, const struct reel *reel, int fd,
                                struct error *error)
{
    struct pollfd watched[2] = {{.fd = fd, .events = POLLIN}, {.fd = reel->cancel_fd, .events = POLLIN}};
    int64_t end_ms = clock_monotonic_ms() + reel->progress_timeout_ms;

    for (;;) {
        int64_t left_ms = end_ms - clock_monotonic_ms();
        int ready;

        if (left_ms <= 0) {
            (void)error_set(error, ERROR_TIMEOUT, "no byte in %lld ms", (long long)reel->progress_timeout_ms);
            return FETCH_BROKEN;
        }
        ready = poll(watched, 2, (int)min_i64(left_ms, REEL_BEAT_MS));
        if (ready < 0 && errno != EINTR) {
            (void)error_set_errno(error, errno, "waiting for the socket");
            return FETCH_BROKEN;
        }
        if (ready > 0 && watched[1].revents != 0) {
            (void)error_set(error, ERROR_CANCELLED, "cancelled");
            return FETCH_FAILED;
        }
        if (ready > 0)
            return FETCH_DONE;
        if (!fetch_tell(fetch, error))
            return FETCH_FAILED;
    }
}

static enum outcome fetch_body(struct fetch *fetch, const struct reel *reel, struct error *error)
{
    struct transport from = packet_call_transport(fetch->call);
    int64_t left = packet_call_length(fetch->call);
    size_t buffered;
    const uint8_t *bytes = packet_call_buffered(fetch->call, &buffered);
    enum outcome outcome = fetch_deliver(fetch, bytes, buffered, error);

    left -= (int64_t)buffered;
    while (outcome == FETCH_DONE && left > 0) {
        ssize_t got = transport_recv(from, fetch->buffer, (size_t)min_i64(left, REEL_CHUNK_SIZE), 0);

        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            outcome = fetch_await(fetch, reel, from.fd, error);
            continue;
        }
        if (got <= 0) {
            (void)error_set(error, ERROR_CONNECTION, "%s with %lld bytes to come",
                            got < 0 ? strerrordesc_np(errno) : "the connection was closed", (long long)left);
            return FETCH_BROKEN;
        }
        left -= got;
        outcome = fetch_deliver(fetch, fetch->buffer, (size_t)got, error);
    }
    fetch->reusable = outcome == FETCH_DONE;
    return outcome;
}

static bool error_is_passing(const struct error *error)
{
    return error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT ||
           error->code == ERROR_UNAVAILABLE || error->code == ERROR_NO_SERVER ||
           error->code == ERROR_THROTTLED;
}

/* One server's part: a request, and as much of its body as comes. */
static enum outcome fetch_once(struct fetch *fetch, struct reel *reel, struct error *error)
{
    struct error ignored;
    enum outcome outcome;

    if (!fetch_on_loop(fetch, reel, fetch_start, error))
        return error_is_passing(error) ? FETCH_NOWHERE : FETCH_FAILED;
    if (fetch->total < 0)
        fetch->total = packet_call_length(fetch->call);
    fetch->avoid = *packet_call_address(fetch->call);
    fetch->has_avoid = true;
    fetch->reusable = false;
    outcome = fetch_body(fetch, reel, error);
    (void)fetch_on_loop(fetch, reel, fetch_release, &ignored); /* cannot fail */
    return outcome;
}

/* Waits until the next try. False: cancelled meanwhile. */
static bool fetch_pause(const struct reel *reel, int64_t pause_ms, struct error *error)
{
    struct pollfd cancelled = {.fd = reel->cancel_fd, .events = POLLIN};

    return poll(&cancelled, 1, (int)pause_ms) <= 0 || error_set(error, ERROR_CANCELLED, "cancelled");
}

/* Before it goes on after OUTCOME, in ms; -1: it does not. A server that is just starting again is waited for, once
 * something came. */
static int64_t fetch_next_try(const struct fetch *fetch, enum outcome outcome, struct client_resume *resume)
{
    if (fetch->one_piece && fetch->done > 0)
        return -1;
    if (outcome == FETCH_BROKEN)
        return client_resume_at_once(resume) ? 0 : -1;
    if (outcome == FETCH_NOWHERE && fetch->done > 0)
        return client_resume_pause(resume, clock_monotonic_ms());
    return -1;
}

bool fetch_run(struct fetch *fetch, struct reel *reel, struct error *error)
{
    struct client_resume resume;
    int64_t start = fetch->offset, before = 0, pause_ms;
    char address[ADDRESS_TEXT_SIZE];
    enum outcome outcome;

    client_resume_init(&resume, reel->tries - 1, GOOD_PROGRESS, 0);
    for (;;) {
        struct error why = {0};

        outcome = fetch_once(fetch, reel, &why);
        if (fetch->done > before)
            client_resume_moved(&resume, fetch->done - before);
        before = fetch->done;
        *error = why;
        if (outcome == FETCH_DONE)
            return true;
        if (outcome == FETCH_BROKEN) {
            address_format(&fetch->avoid, address, sizeof(address));
            (void)error_set(error, why.code, "%s: byte %lld of %lld: %s", address, (long long)fetch->done,
                            (long long)fetch->total, why.text);
        }
        pause_ms = fetch_next_try(fetch, outcome, &resume);
        if (pause_ms < 0)
            return false;
        log_info("reel", "download of %s continues after: %s", fetch->key.file, error->text);
        long long at = fetch->before + fetch->done;
        reel_say(reel, "%s; continuing at byte %lld", error->text, at);
        if (pause_ms > 0 && !fetch_pause(reel, pause_ms, error))
            return false;
        fetch->offset = start + fetch->done;
        fetch->size = fetch->total - fetch->done;
    }
}

bool fetch_identify(struct fetch *fetch, struct reel *reel, struct proto_stat *stat, struct error *error)
{
    if (!reel_stat_key(reel, &fetch->key, stat, error)) {
        fetch->one_piece = error->code == ERROR_UNAVAILABLE;
        memset(stat, 0, sizeof(*stat));
        return fetch->one_piece;
    }
    if (stat->status == PROTO_FILE_DELETED && !reel->takes_deleted)
        return error_set(error, ERROR_DELETED, "file %s is deleted", fetch->key.file);
    fetch->has_expected = stat->has_digest;
    memcpy(fetch->expected, stat->digest, sizeof(fetch->expected));
    return true;
}

bool fetch_expect(struct fetch *fetch, struct reel *reel, struct proto_stat *stat, struct error *error)
{
    const struct reel_download *download = fetch->download;

    if (download->offset != 0 || download->size != 0)
        return error_set(error, ERROR_MALFORMED, "only a whole file can be compared with its digest");
    if (!fetch_identify(fetch, reel, stat, error) || fetch->one_piece)
        return false;
    if (!stat->has_digest && download->verify)
        return error_set(error, ERROR_UNAVAILABLE, "no digest is stored for file %s", fetch->key.file);
    return true;
}

bool fetch_verify(const struct fetch *fetch, const struct proto_stat *stat, struct error *error)
{
    uint8_t digest[PROTO_DIGEST_SIZE];
    char here[DIGEST_HEX_SIZE], there[DIGEST_HEX_SIZE];

    if (!fetch->digest || !stat->has_digest)
        return true;
    digest_final(fetch->digest, digest);
    if (memcmp(digest, stat->digest, sizeof(digest)) == 0)
        return true;
    return error_set(error, ERROR_DIGEST, "file %s: the bytes have digest %s, stored is %s", fetch->key.file,
                     digest_to_hex(digest, here), digest_to_hex(stat->digest, there));
}

bool fetch_init(struct fetch *fetch, struct reel *reel, const struct reel_download *download, bool digest,
                struct error *error)
{
    memset(fetch, 0, sizeof(*fetch));
    if (!reel_usable(reel, error))
        return false;
    fetch->download = download;
    fetch->offset = download->offset;
    fetch->size = download->size;
    fetch->total = -1;
    if (download->offset < 0 || download->size < 0)
        return error_set(error, ERROR_RANGE, "offset and size cannot be negative");
    if (!reel_fill_key(reel, &download->key, false, &fetch->key, error))
        return false;
    fetch->buffer = malloc(REEL_CHUNK_SIZE);
    fetch->digest = digest ? digest_create() : NULL;
    if (!fetch->buffer || (digest && !fetch->digest))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a download");
    return true;
}

void fetch_clear(struct fetch *fetch)
{
    free(fetch->buffer);
    digest_destroy(fetch->digest);
}

bool fetch_told(const struct fetch *fetch, struct error *error)
{
    return fetch->done > 0 || fetch_tell(fetch, error);
}
