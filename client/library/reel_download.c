/*
 * reel_download: the downloads of reel.h: where the bytes of a fetch go: a callback, a descriptor, or PATH.part
 * that becomes PATH when it is whole.
 */
#include "client/library/reel_fetch.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART      ".part"
#define OPENS_MAX 100 /* while others end with it */

/* ---- to a callback, to a descriptor ---- */

static bool download_to(struct reel *reel, const struct reel_download *download, reel_data data,
                        void *argument, struct error *error)
{
    struct fetch fetch;
    struct proto_stat stat = {0};
    bool fine = fetch_init(&fetch, reel, download, download->verify, error);

    fetch.data = data;
    fetch.data_argument = argument;
    fine = fine &&
           (download->verify ? fetch_expect(&fetch, reel, &stat, error)
                             : fetch_identify(&fetch, reel, &stat, error)) &&
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

/* PATH.part; where a name of that length cannot be (NAME_MAX), the beginning of the name, a digest of the whole, and
 * .part: the same every time, so that it can be resumed. Owned by the caller. NULL: ERROR. */
static char *part_name(const char *path, struct error *error)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name), keep = NAME_MAX - strlen(PART) - 1 - 2 * PROTO_DIGEST_SIZE;
    struct digest *digest;
    uint8_t sum[PROTO_DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE], *part = NULL;

    if (length + strlen(PART) <= NAME_MAX) {
        if (asprintf(&part, "%s" PART, path) < 0)
            part = NULL;
    } else {
        digest = digest_create();
        if (digest) {
            digest_update(digest, name, length);
            digest_final(digest, sum);
            digest_destroy(digest);
            while (keep > 0 && ((unsigned char)name[keep] & 0xC0) == 0x80)
                keep--; /* not inside a UTF-8 character */
            if (asprintf(&part, "%.*s.%s" PART, (int)((size_t)(name - path) + keep), path,
                         digest_to_hex(sum, hex)) < 0)
                part = NULL;
        }
    }
    if (!part)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a path");
    return part;
}

/* An existing PATH.part may be written to: a regular file of ours, under this name alone. */
static bool part_is_ours(int fd, const char *part, struct error *error)
{
    struct stat stat;

    if (fstat(fd, &stat) != 0)
        return reel_local_error(error, errno, "%s", part);
    if (!S_ISREG(stat.st_mode))
        return error_set(error, ERROR_IO, "%s: not a regular file", part);
    if (stat.st_uid != geteuid() || stat.st_nlink > 1)
        return error_set(error, ERROR_REFUSED,
                         "%s: another user's file, or one with another name: remove it first", part);
    return true;
}

/* Whoever had the lock before may have given the file its final name, or removed it, before we had it. */
static bool part_is_at(int fd, const char *part)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && lstat(part, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* One that is there, or a new one. -1: errno. */
static int part_open_either(const char *part)
{
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);

    return fd < 0 && errno == EEXIST ? open(part, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : fd;
}

/* False: ERROR, or where *GONE another one is to be opened. */
static bool part_lock(int fd, const char *part, bool resume, bool *gone, struct error *error)
{
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; /* a file system without locks */

    *gone = locked && !part_is_at(fd, part);
    if (!locked)
        return error_set(error, ERROR_UNAVAILABLE, "%s: another download writes to it", part);
    if (*gone || !part_is_ours(fd, part, error))
        return false;
    return resume || ftruncate(fd, 0) == 0 || reel_local_error(error, errno, "%s", part);
}

/* PATH.part, locked, so that no two downloads write to it. Links are not followed. -1: ERROR. */
static int part_open(const char *part, bool resume, struct error *error)
{
    bool gone = true;

    for (int i = 0; i < OPENS_MAX && gone; i++) {
        int fd = part_open_either(part);

        if (fd < 0 && errno == ENOENT) /* it was there a moment ago, or the directory is not */
            continue;
        if (fd < 0 && errno == ELOOP)
            (void)error_set(error, ERROR_REFUSED, "%s: a symbolic link: remove it first", part);
        else if (fd < 0)
            (void)reel_local_error(error, errno, "%s", part);
        if (fd < 0)
            return -1;
        if (part_lock(fd, part, resume, &gone, error))
            return fd;
        close(fd);
    }
    if (gone)
        (void)reel_local_error(error, ENOENT, "%s", part);
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
        if (fetch->digest)
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

/* PART becomes PATH, which must not be there. */
static bool part_publish_new(const char *part, const char *path, struct error *error)
{
    if (renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return true;
    /* File systems without it: a link is made only where nothing is. */
    if ((errno == EINVAL || errno == ENOSYS) && link(part, path) == 0)
        return unlink(part) == 0 || reel_local_error(error, errno, "removing %s", part);
    if (errno == EEXIST)
        return error_set(error, ERROR_EXISTS, "%s exists", path);
    return reel_local_error(error, errno, "renaming %s to %s", part, path);
}

static bool part_publish(int fd, const char *part, const char *path, bool exclusive, struct error *error)
{
    if (fsync(fd) != 0)
        return reel_local_error(error, errno, "syncing %s", part);
    if (exclusive)
        return part_publish_new(part, path, error);
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

/* Begins the empty PART_FD with the bytes at PATH, which another program perhaps left unfinished: only the
 * digest of the whole will show that, and PATH stays as it is until then. What cannot be a beginning is
 * refused. *THERE gets the number of bytes. */
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
    char *part = NULL;
    struct writing writing = {.fd = -1};
    int64_t there = 0;
    int fd = -1;
    bool fine = fetch_init(&fetch, reel, download, true, error);

    fine = fine && fetch_expect(&fetch, reel, &stat, error);
    if (!fine || (download->resume && path_is_complete(&fetch, path, &stat)))
        goto done;
    part = part_name(path, error);
    fd = writing.fd = part ? part_open(part, download->resume, error) : -1;
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
    fine = fine && part_publish(fd, part, path, download->exclusive, error);
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
    if (download->exclusive && lstat(path, &stat_of_path) == 0) {
        (void)error_set(&why, ERROR_EXISTS, "%s exists", path);
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
