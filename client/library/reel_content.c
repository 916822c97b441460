/*
 * reel_content: the bytes of an upload, see reel_content.h: read by position, so that any try can begin anew,
 * and never more or less than what was promised to the server.
 */
#include "client/library/reel_content.h"

#include "client/library/reel_internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/proto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ---- */

bool content_unchanged(const struct content *content, struct error *error)
{
    struct stat now;
    uint8_t byte;
    ssize_t more;

    if (!content->to_the_end)
        return true;
    do {
        more = pread(content->fd, &byte, 1, (off_t)(content->start + content->size));
    } while (more < 0 && errno == EINTR);
    if (more < 0)
        return reel_local_error(error, errno, "reading the content at byte %lld", (long long)content->size);
    if (more > 0)
        return error_set(error, ERROR_IO, "the content grew past its %lld bytes while it was read",
                         (long long)content->size);
    if (fstat(content->fd, &now) != 0)
        return reel_local_error(error, errno, "the content");
    if (now.st_size != content->begun.st_size || now.st_mtim.tv_sec != content->begun.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != content->begun.st_mtim.tv_nsec)
        return error_set(error, ERROR_IO, "the content was written to while it was read");
    return true;
}

bool content_read(const struct content *content, uint8_t *buffer, size_t size, int64_t position,
                  struct error *error)
{
    if (content->fd < 0) {
        if (size > 0)
            memcpy(buffer, content->memory + position, size);
        return true;
    }
    while (size > 0) {
        ssize_t got = pread(content->fd, buffer, size, (off_t)(content->start + position));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return reel_local_error(error, errno, "reading the content at byte %lld", (long long)position);
        if (got == 0)
            return error_set(error, ERROR_IO,
                             "the content ends at byte %lld of %lld: it became shorter while it was read",
                             (long long)position, (long long)content->size);
        buffer += got;
        position += got;
        size -= (size_t)got;
    }
    return position < content->size || content_unchanged(content, error);
}

static bool content_prepared(reel_progress preparing, void *argument, int64_t done, int64_t total,
                             struct error *error)
{
    return !preparing || preparing(argument, done, total) ||
           error_set(error, ERROR_CANCELLED, "cancelled by the caller");
}

bool content_digest(const struct content *content, reel_progress preparing, void *argument,
                    uint8_t digest[PROTO_DIGEST_SIZE], struct error *error)
{
    struct digest *running = digest_create();
    uint8_t *buffer = malloc(REEL_CHUNK_SIZE);
    bool fine = running && buffer;

    if (!fine)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
    for (int64_t at = 0; fine && at < content->size;) {
        size_t size = (size_t)min_i64(content->size - at, REEL_CHUNK_SIZE);

        fine = content_read(content, buffer, size, at, error);
        if (fine)
            digest_update(running, buffer, size);
        at += (int64_t)size;
        fine = fine && content_prepared(preparing, argument, at, content->size, error);
    }
    if (fine)
        digest_final(running, digest);
    free(buffer);
    digest_destroy(running);
    return fine;
}

/* ---- spooling ---- */

static int temporary_file(struct error *error)
{
    const char *directory = getenv("TMPDIR");
    char path[4096];
    int fd, length;

    if (!directory || directory[0] != '/')
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

/* Up to SIZE bytes of FD, 0 at its end. A descriptor that does not block is waited for. -1: ERROR. */
static ssize_t spool_read(int fd, uint8_t *buffer, size_t size, struct error *error)
{
    for (;;) {
        ssize_t got = read(fd, buffer, size);

        if (got >= 0)
            return got;
        if (errno == EAGAIN) {
            struct pollfd readable = {.fd = fd, .events = POLLIN};

            (void)poll(&readable, 1, -1);
        } else if (errno != EINTR) {
            (void)reel_local_error(error, errno, "reading the content");
            return -1;
        }
    }
}

/* Copies what FD gives (WANTED bytes, or -1: until its end) into the temporary file of CONTENT. */
static bool spool_copy(struct content *content, int fd, int64_t wanted, uint8_t *buffer,
                       reel_progress preparing, void *argument, struct error *error)
{
    for (;;) {
        size_t size = wanted < 0 ? REEL_CHUNK_SIZE : (size_t)min_i64(wanted - content->size, REEL_CHUNK_SIZE);
        ssize_t got = size > 0 ? spool_read(fd, buffer, size, error) : 0;

        if (got < 0)
            return false;
        if (got == 0)
            return wanted < 0 || content->size == wanted ||
                   error_set(error, ERROR_IO, "the content ends after %lld of %lld bytes",
                             (long long)content->size, (long long)wanted);
        if (!reel_write_all(content->fd, buffer, (size_t)got, error))
            return false;
        content->size += got;
        if (!content_prepared(preparing, argument, content->size, wanted, error))
            return false;
    }
}

static bool content_spool(struct content *content, int fd, int64_t wanted, reel_progress preparing,
                          void *argument, struct error *error)
{
    uint8_t *buffer = malloc(REEL_CHUNK_SIZE);
    bool fine;

    *content = (struct content){.fd = -1};
    if (!buffer)
        return error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
    content->fd = temporary_file(error);
    content->owned = content->fd >= 0;
    fine = content->owned && spool_copy(content, fd, wanted, buffer, preparing, argument, error);
    free(buffer);
    if (!fine)
        content_clear(content);
    return fine;
}

/* A file whose size is 0 and that has bytes: the kernel makes them as they are read. */
static bool reads_on(int fd, int64_t start)
{
    uint8_t byte;

    return pread(fd, &byte, 1, (off_t)start) > 0;
}

bool content_open(struct content *content, int fd, int64_t size, reel_progress preparing, void *argument,
                  struct error *error)
{
    *content = (struct content){.fd = fd, .size = size};
    if (fstat(fd, &content->begun) != 0)
        return reel_local_error(error, errno, "the content");
    if (S_ISDIR(content->begun.st_mode))
        return error_set(error, ERROR_MALFORMED, "it is a directory");
    if (!S_ISREG(content->begun.st_mode))
        return content_spool(content, fd, size, preparing, argument, error);
    content->start = lseek(fd, 0, SEEK_CUR);
    if (content->start < 0)
        return reel_local_error(error, errno, "the content's position");
    if (size >= 0)
        return true;
    if (content->begun.st_size == 0 && reads_on(fd, content->start))
        return content_spool(content, fd, size, preparing, argument, error);
    content->size = max_i64(content->begun.st_size - content->start, 0);
    content->to_the_end = true;
    return true;
}

void content_clear(struct content *content)
{
    if (content->owned)
        (void)close(content->fd); /* a temporary file: nothing of it is missed */
    content->owned = false;
}
