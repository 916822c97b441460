/*
 * poster_service: one connection per picture.
 */
#include "httpd/stream/poster_service.h"
#include "common/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define THREADS    4
#define QUEUE_MAX  256
#define WAIT_S     10             /* reel-poster gives up after eight */
#define ENDED_MS   INT64_C(10000) /* how long failures are remembered */
#define DAMAGED_MS INT64_C(60000)

bool poster_service_create(const char *socket, const char *directory, int64_t bytes_max,
                           struct poster_service **service, struct error *error)
{
    struct sockaddr_un address;
    *service = NULL;
    if (socket[0] == '\0')
        return true;
    if (strlen(socket) >= sizeof(address.sun_path))
        return error_set(error, ERROR_MALFORMED, "httpd.poster_socket has more than %zu bytes",
                         sizeof(address.sun_path) - 1);
    struct poster_service *made = calloc(1, sizeof(*made));
    if (!made || !(made->socket = strdup(socket))) {
        free(made);
        return error_set_errno(error, ENOMEM, "cannot start");
    }
    struct error cause;
    poster_flights_init(&made->flights);
    poster_failures_init(&made->failures);
    if (directory[0] != '\0' && !(made->cache = disk_cache_create(directory, bytes_max, &cause)))
        log_warning("posters", "httpd.poster_cache: %s; pictures are not kept on a disk", cause.text);
    made->workers = workers_create("poster", THREADS, QUEUE_MAX, error);
    if (!made->workers) {
        poster_service_destroy(made);
        return false;
    }
    *service = made;
    return true;
}

bool poster_service_end_workers(struct poster_service *service, int64_t timeout_ms)
{
    if (!service || !workers_destroy(service->workers, timeout_ms))
        return !service;
    service->workers = NULL;
    return true;
}

void poster_service_destroy(struct poster_service *service)
{
    if (!service || service->workers) /* a worker that hangs may still look at it */
        return;
    disk_cache_destroy(service->cache);
    poster_flights_clear(&service->flights);
    poster_failures_clear(&service->failures);
    free(service->socket);
    free(service);
}

static bool poster_service_send_all(int fd, const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size > 0;) {
        ssize_t done = send(fd, at, size, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t size)
{
    for (uint8_t *at = bytes; size > 0;) {
        ssize_t done = recv(fd, at, size, 0);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = WAIT_S};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
                    connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static void poster_unreachable(const char *path, int errnum)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    if (log_gate_open(&gate, 10000, &suppressed))
        log_warning("posters", "cannot reach reel-poster at httpd.poster_socket %s: %s%s", path,
                    strerror(errnum), errnum == ENOENT ? "; is reelstore-poster installed?" : "");
}

bool poster_service_ask(const struct poster_service *service, const struct poster_request *request,
                        const uint8_t *film, uint8_t **jpeg, size_t *size, int64_t *holds_ms,
                        struct error *error)
{
    struct poster_answer answer;
    bool made = false;
    int fd = connect_to(service->socket);
    *jpeg = NULL;
    *holds_ms = 0;
    if (fd < 0) {
        poster_unreachable(service->socket, errno);
        return error_set(error, ERROR_EXHAUSTED,
                         "no poster: reel-poster is not installed on this server, or does not run");
    }
    if (!poster_service_send_all(fd, request, sizeof(*request)) ||
        !poster_service_send_all(fd, film, request->size) || !receive_all(fd, &answer, sizeof(answer)) ||
        answer.magic != POSTER_MAGIC) {
        /* It ended in the middle: the bytes were too much for it, or they are what its limits are for; or it was
         * restarted, so that this does not hold for long. */
        *holds_ms = ENDED_MS;
        (void)error_set(error, ERROR_EXHAUSTED, "no poster: reel-poster ended before it had made one");
    } else if (answer.status != POSTER_MADE || answer.size == 0 || answer.size > POSTER_JPEG_MAX) {
        *holds_ms = DAMAGED_MS;
        (void)error_set(error, ERROR_MALFORMED,
                        "no picture can be made of this film: its key frames cannot be decoded");
    } else {
        *size = answer.size;
        *jpeg = malloc(answer.size);
        made = *jpeg && receive_all(fd, *jpeg, answer.size);
        if (!made)
            (void)error_set(error, ERROR_EXHAUSTED, "no poster: reel-poster ended before it had sent one");
    }
    close(fd);
    if (!made) {
        free(*jpeg);
        *jpeg = NULL;
    }
    return made;
}
