/*
 * reel-poster: makes pictures of films for reel-httpd, which hands it the bytes of a few key frames over a local socket. Each
 * request is a process of its own, that gives up all but its memory and that connection before it looks at them (poster_limits).
 * The socket is made here (--socket) or by systemd.
 */
#include "common/media/poster_wire.h"
#include "poster/poster_limits.h"
#include "poster/poster_picture.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define WAITING_MAX 64

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

static bool read_all(int fd, void *bytes, size_t size)
{
    for (uint8_t *at = bytes; size > 0;) {
        ssize_t done = read(fd, at, size);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool write_all(int fd, const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size > 0;) {
        ssize_t done = write(fd, at, size);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool is_sound(const struct poster_request *request)
{
    return request->magic == POSTER_MAGIC && request->container <= POSTER_TS && request->size > 0 &&
           request->size <= POSTER_SIZE_MAX && request->width >= 2 && request->width <= POSTER_WIDTH_MAX &&
           request->width % 2 == 0 && request->height <= 2 * POSTER_WIDTH_MAX && request->height % 2 == 0 &&
           request->tiles > 0 && request->tiles <= POSTER_TILES_MAX && request->columns > 0 &&
           request->columns <= POSTER_TILES_MAX;
}

/* In a process of its own. */
static void answer(int fd)
{
    struct poster_request request;
    struct poster_answer reply = {.magic = POSTER_MAGIC, .status = POSTER_BAD_REQUEST};
    uint8_t *jpeg = NULL;
    size_t size = 0;
    if (!poster_limits_enter() || !read_all(fd, &request, sizeof(request)))
        return;
    uint8_t *bytes = is_sound(&request) ? malloc(request.size) : NULL;
    if (bytes && read_all(fd, bytes, request.size))
        reply.status = poster_picture_make(&request, bytes, &jpeg, &size);
    if (size > POSTER_JPEG_MAX) {
        reply.status = POSTER_NO_PICTURE;
        size = 0;
    }
    reply.size = (uint32_t)size;
    if (write_all(fd, &reply, sizeof(reply)) && size > 0)
        (void)write_all(fd, jpeg, size);
    free(jpeg);
    free(bytes);
}

/* Connections one by one, JOBS of them at the same time. */
static void serve(int listener, long jobs)
{
    long running = 0;
    while (!stopped) {
        while (running > 0 && waitpid(-1, NULL, running >= jobs ? 0 : WNOHANG) > 0)
            running--;
        if (stopped || running >= jobs)
            continue;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        pid_t child = fork();
        if (child == 0) {
            close(listener);
            answer(fd);
            _exit(0);
        }
        running += child > 0 ? 1 : 0;
        close(fd);
    }
}

/* A socket at PATH that whoever may write to it may use; -1: said why. */
static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "reel-poster: the path of the socket has more than %zu bytes\n",
                sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        (void)unlink(path);
    mode_t mask = umask(0117);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
                 listen(fd, WAITING_MAX) == 0;
    (void)umask(mask);
    if (bound)
        return fd;
    fprintf(stderr, "reel-poster: cannot listen on %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int usage(FILE *out, int code)
{
    fputs("Usage: reel-poster [--socket PATH] [--jobs N]\n"
          "Makes pictures of stored films for reel-httpd (httpd.poster_socket).\n\n"
          "  --socket PATH  listen there; without it on the socket that systemd hands over\n"
          "  --jobs N       pictures made at the same time (default: one per core)\n"
          "  --version, --help\n",
          out);
    return code;
}

static int listen_somewhere(const char *path)
{
    if (path)
        return open_socket(path);
    if (sd_listen_fds(1) == 1)
        return SD_LISTEN_FDS_START;
    fputs("reel-poster: say --socket PATH, or start it by its socket unit\n", stderr);
    return -1;
}

int main(int count, char **arguments)
{
    static const struct option options[] = {{"socket", required_argument, NULL, 's'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    char *end = NULL;
    long jobs = sysconf(_SC_NPROCESSORS_ONLN);
    int option;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            path = optarg;
            break;
        case 'j':
            jobs = strtol(optarg, &end, 10);
            if (*end != '\0' || jobs < 1 || jobs > 1024) {
                fprintf(stderr, "reel-poster: --jobs %s: a number from 1 to 1024 is needed\n", optarg);
                return 2;
            }
            break;
        case 'v':
            puts("reel-poster " REEL_VERSION);
            return 0;
        case 'h':
            return usage(stdout, 0);
        default:
            return usage(stderr, 2);
        }
    }
    const struct sigaction stop = {.sa_handler = on_stop};
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int listener = listen_somewhere(path);
    if (listener < 0)
        return 1;
    serve(listener, jobs > 0 ? jobs : 1);
    if (path)
        (void)unlink(path);
    return 0;
}
