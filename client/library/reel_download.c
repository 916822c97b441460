/*
 * reel_download: the downloads of reel.h. The loop finds a server and hands its socket over; the calling
 * thread reads it, so a slow disk or callback holds up nobody else. Where a server breaks off, another one
 * goes on at the next byte.
 */
#include "client/library/reel_internal.h"

#include "common/proto/digest.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_FIRST_US 100000
#define PAUSE_MAX_US   1000000
#define GOOD_PROGRESS                                                                                        \
    (1024 *                                                                                                  \
     1024) /* bytes after which a server's breaking off counts as the first again                     \
                   */

struct fetch {
    struct reel_wait wait;
    struct proto_file_key key;
    int64_t offset, size; /* what the next request asks for; size 0: to the end */
    bool has_avoid;
    struct address avoid;
    struct packet_call *call; /* handed over */
    bool reusable;

    int64_t done, total; /* of this download; total -1 until the first reply */
    uint8_t *buffer;
    struct digest *digest; /* NULL: not asked for */
    reel_data data;
    void *data_argument;
    const struct reel_download *download;
    int64_t before; /* bytes that were there already, for the progress */
};

struct attempts {
    int used, max;
    int64_t good; /* bytes at the time of the last good progress */
};

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
    bool fine;

    reel_wait_init(&fetch->wait, reel, start);
    reel_wait_begin(&fetch->wait);
    fine = reel_wait_end(&fetch->wait);
    if (!fine)
        *error = fetch->wait.error;
    reel_wait_clear(&fetch->wait);
    return fine;
}

enum outcome {
    FETCH_DONE,
    FETCH_BROKEN,  /* by the server: another may go on */
    FETCH_NOWHERE, /* no server answers, though each was tried */
    FETCH_FAILED,  /* here, or by the caller's word */
};

static enum outcome fetch_deliver(struct fetch *fetch, const uint8_t *bytes, size_t size, struct error *error)
{
    const struct reel_download *download = fetch->download;

    if (size == 0)
        return FETCH_DONE;
    if (fetch->digest != NULL)
        digest_update(fetch->digest, bytes, size);
    fetch->done += (int64_t)size;
    if (!fetch->data(fetch->data_argument, bytes, size)) {
        (void)error_set(error, ERROR_CANCELLED, "cancelled by the caller");
        return FETCH_FAILED;
    }
    if (download->progress != NULL &&
        !download->progress(download->argument, fetch->before + fetch->done, fetch->before + fetch->total)) {
        (void)error_set(error, ERROR_CANCELLED, "cancelled by the caller");
        return FETCH_FAILED;
    }
    return FETCH_DONE;
}

/* Waits for bytes of the body. False: ERROR. */
static bool fetch_await(int fd, int64_t timeout_ms, struct error *error)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int timeout = (int)min_i64(timeout_ms, 1000000000);
    int ready;

    do {
        ready = poll(&readable, 1, timeout);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return error_set(error, ERROR_TIMEOUT, "no byte in %lld ms", (long long)timeout_ms);
    if (ready < 0)
        return error_set(error, ERROR_IO, "waiting for the socket: %s", strerror(errno));
    return true;
}

static enum outcome fetch_body(struct fetch *fetch, int64_t timeout_ms, struct error *error)
{
    int fd = packet_call_fd(fetch->call);
    int64_t left = packet_call_length(fetch->call);
    size_t buffered;
    const uint8_t *bytes = packet_call_buffered(fetch->call, &buffered);
    enum outcome outcome = fetch_deliver(fetch, bytes, buffered, error);

    left -= (int64_t)buffered;
    while (outcome == FETCH_DONE && left > 0) {
        ssize_t got = recv(fd, fetch->buffer, (size_t)min_i64(left, REEL_CHUNK_SIZE), 0);

        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!fetch_await(fd, timeout_ms, error))
                return FETCH_BROKEN;
            continue;
        }
        if (got <= 0) {
            (void)error_set(error, ERROR_CONNECTION, "%s with %lld bytes to come",
                            got < 0 ? strerror(errno) : "the connection was closed", (long long)left);
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
           error->code == ERROR_UNAVAILABLE || error->code == ERROR_NO_SERVER;
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
    outcome = fetch_body(fetch, reel->progress_timeout_ms, error);
    (void)fetch_on_loop(fetch, reel, fetch_release, &ignored); /* cannot fail */
    return outcome;
}

/* Whether to go on after OUTCOME. A server that is just starting again is waited for, once something came. */
static bool fetch_may_go_on(struct fetch *fetch, enum outcome outcome, struct attempts *attempts)
{
    if (outcome != FETCH_BROKEN && (outcome != FETCH_NOWHERE || fetch->done == 0))
        return false;
    if (fetch->done - attempts->good >= GOOD_PROGRESS) {
        attempts->good = fetch->done;
        attempts->used = 0;
    }
    attempts->used++;
    if (attempts->used >= attempts->max)
        return false;
    if (outcome == FETCH_NOWHERE)
        usleep((useconds_t)min_i64(PAUSE_FIRST_US << min_i64(attempts->used, 10), PAUSE_MAX_US));
    return true;
}

static bool fetch_run(struct fetch *fetch, struct reel *reel, struct error *error)
{
    struct attempts attempts = {.max = reel->tries};
    int64_t start = fetch->offset;
    char address[ADDRESS_TEXT_SIZE];
    enum outcome outcome;

    for (;;) {
        struct error why = {0};

        outcome = fetch_once(fetch, reel, &why);
        *error = why;
        if (outcome == FETCH_DONE)
            return true;
        if (outcome == FETCH_BROKEN) {
            address_format(&fetch->avoid, address, sizeof(address));
            (void)error_set(error, why.code, "%s: byte %lld of %lld: %s", address, (long long)fetch->done,
                            (long long)fetch->total, why.text);
        }
        if (!fetch_may_go_on(fetch, outcome, &attempts))
            return false;
        log_info("reel", "download of %s goes on after: %s", fetch->key.file, error->text);
        fetch->offset = start + fetch->done;
        fetch->size = fetch->total - fetch->done;
    }
}

/* STAT where the digest is needed. */
static bool fetch_expect(struct fetch *fetch, struct reel *reel, struct proto_stat *stat, struct error *error)
{
    const struct reel_download *download = fetch->download;

    if (download->offset != 0 || download->size != 0)
        return error_set(error, ERROR_MALFORMED, "only a whole file can be compared with its digest");
    if (!reel_stat_key(reel, &fetch->key, stat, error))
        return false;
    if (stat->status == PROTO_FILE_DELETED)
        return error_set(error, ERROR_DELETED, "file %s is deleted", fetch->key.file);
    if (!stat->has_digest && download->verify)
        return error_set(error, ERROR_UNAVAILABLE, "no digest is stored for file %s", fetch->key.file);
    return true;
}

static bool fetch_verify(const struct fetch *fetch, const struct proto_stat *stat, struct error *error)
{
    uint8_t digest[PROTO_DIGEST_SIZE];
    char here[DIGEST_HEX_SIZE], there[DIGEST_HEX_SIZE];

    if (fetch->digest == NULL || !stat->has_digest)
        return true;
    digest_final(fetch->digest, digest);
    if (memcmp(digest, stat->digest, sizeof(digest)) == 0)
        return true;
    return error_set(error, ERROR_DIGEST, "file %s: the bytes have digest %s, stored is %s", fetch->key.file,
                     digest_to_hex(digest, here), digest_to_hex(stat->digest, there));
}

static bool fetch_init(struct fetch *fetch, const struct reel *reel, const struct reel_download *download,
                       bool digest, struct error *error)
{
    memset(fetch, 0, sizeof(*fetch));
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
    if (fetch->buffer == NULL || (digest && fetch->digest == NULL))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a download");
    return true;
}

static void fetch_clear(struct fetch *fetch)
{
    free(fetch->buffer);
    digest_destroy(fetch->digest);
}

/* An empty file's one word of progress. */
static bool fetch_told(const struct fetch *fetch, struct error *error)
{
    const struct reel_download *download = fetch->download;

    if (fetch->done > 0 || download->progress == NULL ||
        download->progress(download->argument, fetch->before, fetch->before + fetch->total))
        return true;
    return error_set(error, ERROR_CANCELLED, "cancelled by the caller");
}

/* ---- to a callback, to a descriptor ---- */

static bool download_to(struct reel *reel, const struct reel_download *download, reel_data data,
                        void *argument, struct error *error)
{
    struct fetch fetch;
    struct proto_stat stat = {0};
    bool fine = fetch_init(&fetch, reel, download, download->verify, error);

    fetch.data = data;
    fetch.data_argument = argument;
    fine = fine && (!download->verify || fetch_expect(&fetch, reel, &stat, error)) &&
           fetch_run(&fetch, reel, error) && fetch_told(&fetch, error) && fetch_verify(&fetch, &stat, error);
    fetch_clear(&fetch);
    return fine;
}

bool reel_download_callback(struct reel *reel, const struct reel_download *download, reel_data data,
                            void *argument, struct reel_error *error)
{
    struct error why;

    return download_to(reel, download, data, argument, &why) || reel_fail(error, &why);
}

struct writing {
    int fd;
    struct error error; /* ERROR_NONE: none */
};

static bool write_data(void *argument, const void *bytes, size_t size)
{
    struct writing *writing = argument;

    return reel_write_all(writing->fd, bytes, size, &writing->error);
}

bool reel_download_fd(struct reel *reel, const struct reel_download *download, int fd,
                      struct reel_error *error)
{
    struct writing writing = {.fd = fd};
    struct error why;

    if (download_to(reel, download, write_data, &writing, &why))
        return true;
    return reel_fail(error, writing.error.code != ERROR_NONE ? &writing.error : &why);
}

/* ---- to a path ---- */

/* PATH.part, locked, so that no two downloads write to it. -1: ERROR. */
static int part_open(const char *part, bool resume, struct error *error)
{
    int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat stat;

    if (fd < 0) {
        (void)reel_local_error(error, errno, "%s", part);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "%s: another download writes to it", part);
    } else if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode)) {
        (void)error_set(error, ERROR_IO, "%s: not a regular file", part);
    } else if (!resume && ftruncate(fd, 0) != 0) {
        (void)reel_local_error(error, errno, "%s", part);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

/* Takes the bytes of FD, which are there already, into the digest, and into the file COPY where that is not
 * -1. *THERE gets their number. */
static bool part_continue(struct fetch *fetch, int fd, int copy, int64_t size, int64_t *there,
                          struct error *error)
{
    *there = 0;
    for (;;) {
        ssize_t got = read(fd, fetch->buffer, REEL_CHUNK_SIZE);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return reel_local_error(error, errno, "reading the partial file");
        if (got == 0)
            return true;
        if (fetch->digest != NULL)
            digest_update(fetch->digest, fetch->buffer, (size_t)got);
        if (copy >= 0 && !reel_write_all(copy, fetch->buffer, (size_t)got, error))
            return false;
        *there += got;
        if (*there > size)
            return error_set(error, ERROR_RANGE, "the partial file is longer than the %lld bytes of file %s",
                             (long long)size, fetch->key.file);
    }
}

/* The rest of the file into PATH.part, which stands at its end. */
static bool part_complete(struct fetch *fetch, struct reel *reel, struct writing *writing,
                          const struct proto_stat *stat, int64_t there, struct error *error)
{
    fetch->before = there;
    fetch->offset = there;
    fetch->size = stat->size - there;
    fetch->data = write_data;
    fetch->data_argument = writing;
    if (fetch->size > 0 && !fetch_run(fetch, reel, error)) {
        if (writing->error.code != ERROR_NONE)
            *error = writing->error;
        return false;
    }
    fetch->total = max_i64(fetch->total, 0);
    return fetch_told(fetch, error);
}

static bool part_publish(int fd, const char *part, const char *path, struct error *error)
{
    if (fsync(fd) != 0)
        return reel_local_error(error, errno, "syncing %s", part);
    if (rename(part, path) != 0)
        return reel_local_error(error, errno, "renaming %s to %s", part, path);
    return true;
}

/* True where PATH has the whole file already. */
static bool path_is_complete(struct fetch *fetch, const char *path, const struct proto_stat *stat)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat_of_path;
    struct error ignored;
    int64_t there = 0;
    bool complete;

    if (fd < 0)
        return false;
    complete = fstat(fd, &stat_of_path) == 0 && stat_of_path.st_size == stat->size &&
               part_continue(fetch, fd, -1, stat->size, &there, &ignored) && there == stat->size &&
               fetch_verify(fetch, stat, &ignored);
    close(fd);
    digest_reset(fetch->digest);
    return complete;
}

/* Begins the empty PART_FD with the bytes at PATH, which another program left unfinished perhaps: only the
 * digest of the whole will tell, and PATH stays as it is until then. What cannot be a beginning is refused.
 * *THERE gets the number of bytes. */
static bool part_begin(struct fetch *fetch, const char *path, int part_fd, const struct proto_stat *stat,
                       int64_t *there, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat_of_path;
    bool fine = true;

    if (fd < 0)
        return errno == ENOENT || reel_local_error(error, errno, "%s", path);
    if (fstat(fd, &stat_of_path) != 0)
        fine = reel_local_error(error, errno, "%s", path);
    else if (stat_of_path.st_size > stat->size)
        fine = error_set(error, ERROR_RANGE,
                         "%s has %lld bytes, file %s only %lld: it cannot be resumed, only replaced", path,
                         (long long)stat_of_path.st_size, fetch->key.file, (long long)stat->size);
    else if (stat_of_path.st_size == stat->size && stat->size > 0)
        fine = error_set(error, ERROR_DIGEST,
                         "%s has the size of file %s and other bytes: it cannot be resumed, only replaced",
                         path, fetch->key.file);
    else if (stat_of_path.st_size > 0 && !stat->has_digest)
        fine = error_set(error, ERROR_UNAVAILABLE,
                         "no digest is stored for file %s, so %s cannot be resumed, only replaced",
                         fetch->key.file, path);
    else
        fine = part_continue(fetch, fd, part_fd, stat->size, there, error);
    close(fd);
    return fine;
}

static bool download_part(struct reel *reel, const struct reel_download *download, const char *path,
                          struct error *error)
{
    struct fetch fetch;
    struct proto_stat stat = {0};
    size_t size = strlen(path) + sizeof(".part");
    char *part = malloc(size);
    struct writing writing = {.fd = -1};
    int64_t there = 0;
    int fd = -1;
    bool fine = fetch_init(&fetch, reel, download, true, error);

    if (part == NULL) {
        fine = fine && error_set(error, ERROR_UNAVAILABLE, "no memory for a path");
        goto done;
    }
    fine = fine && fetch_expect(&fetch, reel, &stat, error);
    if (!fine || (download->resume && path_is_complete(&fetch, path, &stat)))
        goto done;
    (void)snprintf(part, size, "%s.part", path);
    fd = writing.fd = part_open(part, download->resume, error);
    fine = fd >= 0 && part_continue(&fetch, fd, -1, stat.size, &there, error);
    if (!fine)
        goto done;
    if (download->resume && there == 0)
        fine = part_begin(&fetch, path, fd, &stat, &there, error);
    if (fine) {
        fine = part_complete(&fetch, reel, &writing, &stat, there, error);
        if (!fine)
            goto done;
        fine = fetch_verify(&fetch, &stat, error);
    }
    if (!fine && unlink(part) != 0) /* to go on with wrong bytes would help nobody */
        log_warning("reel", "removing %s: %s", part, strerror(errno));
    fine = fine && part_publish(fd, part, path, error);
done:
    if (fd >= 0)
        close(fd);
    free(part);
    fetch_clear(&fetch);
    return fine;
}

bool reel_download_path(struct reel *reel, const struct reel_download *download, const char *path,
                        struct reel_error *error)
{
    struct stat stat_of_path;
    struct error why;
    bool fine;
    int fd;

    if (download->offset != 0 || download->size != 0) {
        (void)error_set(&why, ERROR_MALFORMED, "only a whole file can be downloaded to a path");
        return reel_fail(error, &why);
    }
    if (stat(path, &stat_of_path) != 0 || S_ISREG(stat_of_path.st_mode))
        return download_part(reel, download, path, &why) || reel_fail(error, &why);
    if (S_ISDIR(stat_of_path.st_mode)) {
        (void)error_set(&why, ERROR_MALFORMED, "%s is a directory", path);
        return reel_fail(error, &why);
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)reel_local_error(&why, errno, "%s", path);
        return reel_fail(error, &why);
    }
    fine = reel_download_fd(reel, download, fd, error);
    close(fd);
    return fine;
}
