/*
 * reel-poster: makes pictures of films for reel-httpd, which hands it the bytes of a few key frames over a local socket. Each
 * request is answered by a process of its own, which gives up everything but memory and that connection before it reads a byte
 * (poster_limits). The socket is made here (--socket) or by systemd.
 */
#include "poster/poster_answer.h"
#include "poster/poster_limits.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
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
#include <time.h>
#include <unistd.h>

#define WAITING_MAX 64

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

/* In a process of its own. */
static void answer_apart(int fd, const sigset_t *signals)
{
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, signals, NULL);
    if (poster_limits_enter())
        poster_answer(fd);
    else
        fputs("reel-poster: cannot drop its rights (seccomp, resource limits); nothing is decoded\n", stderr);
}

/* True once there is a connection to accept; false: a signal came. SIGNALS are let in only here. */
static bool wait_for_connection(int listener, const sigset_t *signals)
{
    struct pollfd watched = {.fd = listener, .events = POLLIN};
    return ppoll(&watched, 1, NULL, signals) > 0;
}

/* Connections one by one, JOBS of them at the same time; further ones wait in the socket's queue. */
static void poster_serve(int listener, long jobs, const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    long running = 0;
    while (!stopped) {
        while (running > 0 && waitpid(-1, NULL, running >= jobs ? 0 : WNOHANG) > 0)
            running--;
        if (!wait_for_connection(listener, signals))
            continue;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pid_t child = fd >= 0 ? fork() : -1;
        if (child == 0) {
            close(listener);
            answer_apart(fd, signals);
            _exit(0);
        }
        running += child > 0 ? 1 : 0;
        if (fd >= 0)
            close(fd);
        if (child < 0) { /* no descriptor, no process: try again in a moment */
            fprintf(stderr, "reel-poster: cannot take a request: %s\n", strerror(errno));
            (void)nanosleep(&pause, NULL);
        }
    }
}

/* A socket at PATH, for those who may write to it; -1: the reason was printed. */
static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "reel-poster: --socket: a path has at most %zu bytes\n",
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
          "  --socket PATH  listen at PATH; without it, on the socket that systemd hands over\n"
          "  --jobs N       pictures made at the same time (default: one per core)\n"
          "  --version      print the version\n"
          "  --help         print this\n",
          out);
    return code;
}

static int listen_somewhere(const char *path)
{
    if (path)
        return open_socket(path);
    if (sd_listen_fds(1) == 1)
        return SD_LISTEN_FDS_START;
    fputs("reel-poster: --socket PATH is needed where systemd hands over no socket (reel-poster.socket)\n",
          stderr);
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
    sigset_t blocked, signals;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &blocked, &signals);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int listener = listen_somewhere(path);
    if (listener < 0)
        return 1;
    poster_serve(listener, jobs > 0 ? jobs : 1, &signals);
    if (path)
        (void)unlink(path);
    return 0;
}
