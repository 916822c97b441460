/*
 * db_mute: a socket per host, which nobody ever reads or writes: that it becomes readable is all that counts.
 */
#include "common/db/db_mute.h"

#include "common/base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX 8

/* From a machine that is gone, or has restarted meanwhile, nothing would ever come: it is probed after so many seconds of silence, so
 * many times, so many seconds apart. A stopped server's kernel answers. */
#define ASK_AFTER_S 3
#define ASK_EACH_S  1
#define ASK_TIMES   3

bool db_mute_init(struct db_mute *mute, struct error *error)
{
    int failure = pthread_mutex_init(&mute->lock, NULL);

    for (size_t i = 0; i < ARRAY_SIZE(mute->hosts); i++)
        mute->hosts[i] = (struct db_mute_host){.fd = -1};
    return failure == 0 || error_set_errno(error, failure, "database: cannot create a mutex");
}

void db_mute_destroy(struct db_mute *mute)
{
    for (size_t i = 0; i < ARRAY_SIZE(mute->hosts); i++) {
        if (mute->hosts[i].fd >= 0)
            (void)close(mute->hosts[i].fd);
    }
    (void)pthread_mutex_destroy(&mute->lock);
}

/* ---- connecting ---- */

static void ask_for_life(int fd)
{
    static const int options[][3] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                                     {IPPROTO_TCP, TCP_KEEPIDLE, ASK_AFTER_S},
                                     {IPPROTO_TCP, TCP_KEEPINTVL, ASK_EACH_S},
                                     {IPPROTO_TCP, TCP_KEEPCNT, ASK_TIMES}};

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(options[i][2]));
}

static bool is_connected(int fd, int64_t timeout_ms)
{
    struct pollfd waits = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(int);
    int failure = 0;

    return poll(&waits, 1, (int)timeout_ms) == 1 &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 && failure == 0;
}

/* -1: it takes no connection. */
static int db_mute_connect(const struct socket_address *address, int64_t timeout_ms)
{
    const struct sockaddr *where = (const struct sockaddr *)&address->storage;
    int fd = socket(where->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    ask_for_life(fd);
    if ((connect(fd, where, address->length) == 0 || errno == EINPROGRESS) && is_connected(fd, timeout_ms))
        return fd;
    (void)close(fd);
    return -1;
}

static int connect_any(const struct address *address, int64_t timeout_ms)
{
    struct socket_address found[ADDRESSES_MAX];
    struct error ignored;
    size_t count;
    int fd = -1;

    if (!address_resolve(address, found, ARRAY_SIZE(found), &count, &ignored))
        return -1;
    for (size_t i = 0; fd < 0 && i < count; i++)
        fd = db_mute_connect(&found[i], timeout_ms / (int64_t)count);
    return fd;
}

/* ---- what the pool's threads ask ---- */

void db_mute_note(struct db_mute *mute, size_t host, const struct address *address, int64_t timeout_ms)
{
    struct db_mute_host *one = &mute->hosts[host];

    pthread_mutex_lock(&mute->lock);
    bool wanted = one->fd < 0 && !one->connecting;
    one->connecting = one->connecting || wanted;
    pthread_mutex_unlock(&mute->lock);
    if (!wanted)
        return;
    int fd = connect_any(address, timeout_ms);
    pthread_mutex_lock(&mute->lock);
    one->fd = fd;
    one->connecting = false;
    one->since_ms = clock_monotonic_ms();
    pthread_mutex_unlock(&mute->lock);
}

bool db_mute_lasts(struct db_mute *mute, size_t host, int64_t *silent_ms)
{
    struct db_mute_host *one = &mute->hosts[host];

    pthread_mutex_lock(&mute->lock);
    struct pollfd waits = {.fd = one->fd, .events = POLLIN};
    bool lasts = one->fd >= 0 && poll(&waits, 1, 0) == 0;
    if (one->fd >= 0 && !lasts) {
        (void)close(one->fd);
        one->fd = -1;
    }
    *silent_ms = lasts ? clock_monotonic_ms() - one->since_ms : 0;
    pthread_mutex_unlock(&mute->lock);
    return lasts;
}
