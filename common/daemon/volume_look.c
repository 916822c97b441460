/*
 * volume_look: the child says two things over a pipe: the link as soon as it is read, and that it is back from the look.
 */
#include "common/daemon/volume_look.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_SIZE     (VOLUME_LOOK_LINK_SIZE + 1)
#define REAP_ROUNDS   20
#define REAP_ROUND_MS 5

/* It may hang for longer than the daemon lives: nothing of the daemon's stays open in it, no port and no lock. */
static void keep_only(int fd)
{
#ifdef SYS_close_range
    if (fd > 0)
        (void)syscall(SYS_close_range, 0U, (unsigned)fd - 1, 0U);
    (void)syscall(SYS_close_range, (unsigned)fd + 1, ~0U, 0U);
#else
    for (int other = (int)sysconf(_SC_OPEN_MAX); other-- > 0;) {
        if (other != fd)
            (void)close(other);
    }
#endif
}

static _Noreturn void look_and_say(const char *path, int out)
{
    char link[VOLUME_LOOK_LINK_SIZE] = "";
    struct stat status;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    keep_only(out);
    if (readlink(path, link, sizeof(link) - 1) < 0)
        link[0] = '\0';
    if (write(out, link, sizeof(link)) == (ssize_t)sizeof(link)) {
        (void)!stat(path, &status); /* any answer is one */
        (void)!write(out, "", 1);
    }
    _exit(0);
}

/* What the child says until it ends or the time is over. */
static size_t listen_to(int in, char said[SAID_SIZE])
{
    int64_t until_ms = clock_monotonic_ms() + VOLUME_LOOK_MS, left_ms;
    struct pollfd waits = {.fd = in, .events = POLLIN};
    size_t got = 0;

    while (got < SAID_SIZE && (left_ms = until_ms - clock_monotonic_ms()) > 0) {
        int ready = poll(&waits, 1, (int)left_ms);
        ssize_t part = ready > 0 ? read(in, said + got, SAID_SIZE - got) : -1;

        if (part == 0 || (ready != 0 && part < 0 && errno != EINTR))
            break;
        got += part > 0 ? (size_t)part : 0;
    }
    return got;
}

static void reap(pid_t child)
{
    for (int i = 0; i < REAP_ROUNDS && waitpid(child, NULL, WNOHANG) == 0; i++)
        (void)poll(NULL, 0, REAP_ROUND_MS);
}

bool volume_look_answers(const char *path, char link[VOLUME_LOOK_LINK_SIZE])
{
    char said[SAID_SIZE] = "";
    int ends[2];

    link[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return true;
    pid_t child = fork();
    if (child == 0)
        look_and_say(path, ends[1]);
    (void)close(ends[1]);
    size_t got = child > 0 ? listen_to(ends[0], said) : SAID_SIZE;
    (void)close(ends[0]);
    if (child > 0) {
        (void)kill(child, SIGKILL);
        reap(child);
    }
    if (got >= VOLUME_LOOK_LINK_SIZE)
        memcpy(link, said, VOLUME_LOOK_LINK_SIZE);
    return got == SAID_SIZE;
}
