#include "httpd/serve/http_listen.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_sweep.h"
#include "httpd/serve/http_unsent.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG        4096
#define ACCEPTS_A_TURN 64
#define RESOLVED_MAX   16
#define REFUSED_MINIMUM                                                                                      \
    16 /* connections beyond the limit that may be open to be told so; or an eighth of the limit */

struct listener {
    struct http_listeners *owner;
    int socket;
    struct event event;
};

struct http_listeners {
    struct http_loop *loop;
    struct http_limits *limits;
    struct listener *items;
    size_t count;
    bool paused;           /* no event watches the sockets */
    int64_t full_since_ms; /* 0: not full */
};

/* Open connections of one client address. */
struct address_count {
    UT_hash_handle hh;
    uint8_t address[16];
    int64_t count;
};

struct http_limits {
    atomic_size_t connections;
    atomic_size_t wanted; /* places that a loop without a connection to spare hopes for from the others */
    pthread_mutex_t lock; /* of the table, which is used only with connections_per_address */
    struct address_count *addresses;
};

/* ---- limits ---- */

struct http_limits *http_limits_create(void)
{
    struct http_limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL)
        return NULL;
    if (pthread_mutex_init(&limits->lock, NULL) != 0) {
        free(limits);
        return NULL;
    }
    return limits;
}

void http_limits_destroy(struct http_limits *limits)
{
    struct address_count *entry, *next;
    if (limits == NULL)
        return;
    HASH_ITER(hh, limits->addresses, entry, next)
    {
        HASH_DELETE(hh, limits->addresses, entry);
        free(entry);
    }
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

size_t http_limits_connections(struct http_limits *limits)
{
    return atomic_load_explicit(&limits->connections, memory_order_relaxed);
}

/* An IPv4 client counts by its address; an IPv6 one by its /64, which is what one customer has. */
static void address_key(const union http_peer *peer, uint8_t key[16])
{
    memset(key, 0, 16);
    if (peer->base.sa_family == AF_INET) {
        key[10] = key[11] = 0xff;
        memcpy(key + 12, &peer->v4.sin_addr, 4);
    } else if (IN6_IS_ADDR_V4MAPPED(&peer->v6.sin6_addr)) {
        memcpy(key, &peer->v6.sin6_addr, 16);
    } else {
        memcpy(key, &peer->v6.sin6_addr, 8);
    }
}

/* False: the address has LIMIT connections already. *COUNTED: it must be given back. */
static bool count_address(struct http_limits *limits, const union http_peer *peer, int64_t limit,
                          bool *counted)
{
    uint8_t key[16];
    struct address_count *entry = NULL;
    bool fits = true;
    *counted = false;
    if (limit == 0)
        return true;
    address_key(peer, key);
    pthread_mutex_lock(&limits->lock);
    HASH_FIND(hh, limits->addresses, key, sizeof(key), entry);
    if (entry == NULL && (entry = calloc(1, sizeof(*entry))) != NULL) {
        memcpy(entry->address, key, sizeof(key));
        HASH_ADD(hh, limits->addresses, address, sizeof(entry->address), entry);
        if (!HASH_ADDED(hh, entry)) {
            free(entry);
            entry = NULL;
        }
    }
    if (entry != NULL) {
        fits = entry->count < limit;
        entry->count++;
        *counted = true;
    }
    pthread_mutex_unlock(&limits->lock);
    return fits;
}

static void uncount_address(struct http_limits *limits, const union http_peer *peer)
{
    uint8_t key[16];
    struct address_count *entry = NULL;
    address_key(peer, key);
    pthread_mutex_lock(&limits->lock);
    HASH_FIND(hh, limits->addresses, key, sizeof(key), entry);
    if (entry != NULL && --entry->count == 0) {
        HASH_DELETE(hh, limits->addresses, entry);
        free(entry);
    }
    pthread_mutex_unlock(&limits->lock);
}

/* ---- accepting ---- */

static void pause_all(struct http_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        event_del(&listeners->items[i].event);
    listeners->paused = true;
}

static void resume_all(struct http_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (event_add(&listeners->items[i].event, NULL) != 0) {
            log_error("listen", "a listening socket cannot be watched; tried again");
            pause_all(listeners);
            return;
        }
    }
    listeners->paused = false;
}

static bool is_full(struct http_listeners *listeners)
{
    return http_limits_connections(listeners->limits) >= (size_t)listeners->loop->settings->connections_max;
}

/* How many wait in the kernel to be accepted: what a listening socket says as unacknowledged
 * (tcp_get_info()). */
static size_t count_waiting(const struct http_listeners *listeners)
{
    size_t count = 0;
    for (size_t i = 0; i < listeners->count; i++) {
        struct tcp_info info = {0};
        socklen_t size = sizeof(info);
        if (getsockopt(listeners->items[i].socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
            count += info.tcpi_unacked;
    }
    return count;
}

/* No connection of this loop can be spared: another loop may have one, and looks at its next tick. */
static void ask_others(struct http_listeners *listeners)
{
    atomic_store_explicit(&listeners->limits->wanted, count_waiting(listeners), memory_order_relaxed);
}

static void help_others(struct http_listeners *listeners)
{
    atomic_size_t *wanted = &listeners->limits->wanted;
    size_t count = atomic_load_explicit(wanted, memory_order_relaxed);
    if (count == 0 || !http_sweep_has_room(listeners->loop))
        return;
    atomic_store_explicit(wanted, 0, memory_order_relaxed);
    while (count-- > 0 && is_full(listeners) && http_sweep_make_room(listeners->loop))
        ;
}

static bool may_refuse(struct http_listeners *listeners)
{
    size_t limit = (size_t)listeners->loop->settings->connections_max;
    return http_limits_connections(listeners->limits) < limit + max_size(limit / 8, REFUSED_MINIMUM);
}

static void take_connection(struct http_listeners *listeners, int socket, const union http_peer *peer,
                            socklen_t size, bool refused)
{
    struct http_loop *loop = listeners->loop;
    bool counted;
    if (!count_address(listeners->limits, peer, loop->settings->connections_per_address, &counted))
        refused = true;
    atomic_fetch_add_explicit(&listeners->limits->connections, 1, memory_order_relaxed);
    metric_add(loop->metrics->accepted, 1);
    if (refused)
        metric_add(loop->metrics->refused, 1);
    http_unsent_accepted(loop, socket);
    if (http_connection_create(loop, socket, &peer->base, size, refused, counted))
        return;
    atomic_fetch_sub_explicit(&listeners->limits->connections, 1, memory_order_relaxed);
    if (counted)
        uncount_address(listeners->limits, peer);
}

/* Takes what waits at one socket. False: the system has no more descriptors or memory; try later. */
static bool accept_some(struct listener *listener, bool refuse)
{
    static struct log_gate gate;
    struct http_listeners *listeners = listener->owner;
    uint64_t suppressed;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        union http_peer peer = {.base = {.sa_family = AF_UNSPEC}};
        socklen_t size = sizeof(peer);
        bool full = is_full(listeners);
        if (refuse ? !may_refuse(listeners) : full && !http_sweep_has_room(listeners->loop))
            return true;
        int socket = accept4(listener->socket, &peer.base, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket >= 0) {
            if (full && !refuse)
                (void)http_sweep_make_room(listeners->loop);
            take_connection(listeners, socket, &peer, size, refuse);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return true;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (log_gate_open(&gate, 10000, &suppressed))
                log_warning("listen", "no further connection can be taken now: %m; idle ones make room");
            return http_sweep_make_room(listeners->loop);
        }
        /* ECONNABORTED, network errors of the new socket: it is gone, others wait (accept(2)). */
    }
    return true;
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    struct listener *listener = argument;
    struct http_listeners *listeners = listener->owner;
    (void)fd;
    (void)what;
    bool able = accept_some(listener, false);
    bool full = is_full(listeners);
    if (full && listeners->full_since_ms == 0) {
        listeners->full_since_ms = loop_now_ms(listeners->loop->loop);
        ask_others(listeners);
    }
    if (!able || full)
        pause_all(listeners);
}

void http_listeners_tick(struct http_listeners *listeners)
{
    struct http_loop *loop = listeners->loop;
    if (loop->draining)
        return;
    if (!listeners->paused) {
        help_others(listeners);
        return;
    }
    bool full = is_full(listeners) && !http_sweep_has_room(loop);
    if (!full) {
        listeners->full_since_ms = 0;
        resume_all(listeners);
        return;
    }
    ask_others(listeners);
    if (listeners->full_since_ms == 0)
        listeners->full_since_ms = loop_now_ms(loop->loop);
    if (loop_now_ms(loop->loop) - listeners->full_since_ms < loop->settings->queue_timeout_ms)
        return;
    for (size_t i = 0; i < listeners->count; i++)
        (void)accept_some(&listeners->items[i], true);
}

void http_listeners_connection_closed(struct http_listeners *listeners,
                                      const struct http_connection *connection)
{
    atomic_fetch_sub_explicit(&listeners->limits->connections, 1, memory_order_relaxed);
    if (connection->counted)
        uncount_address(listeners->limits, &connection->peer);
    /* Who waited is let in at once; where another loop waits for this place, its tick finds it. */
    if (listeners->paused && listeners->full_since_ms != 0 && !listeners->loop->draining &&
        !is_full(listeners)) {
        listeners->full_since_ms = 0;
        resume_all(listeners);
    }
}

/* ---- sockets ---- */

/* Two processes of one user that listen with SO_REUSEPORT share the connections, and neither notices: so it
 * is tried without first. */
static bool is_free(const struct socket_address *address, const char *text, struct error *error)
{
    int on = 1, off = 0;
    bool is_v6 = address->storage.ss_family == AF_INET6;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set_errno(error, errno, "httpd.listen: %s: socket", text);
    bool bound = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                 (!is_v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
                 bind(fd, (const struct sockaddr *)&address->storage, address->length) == 0;
    int errnum = errno;
    close(fd);
    if (!bound && errnum == EADDRINUSE)
        return error_set(error, ERROR_UNAVAILABLE, "httpd.listen: %s is in use by another process", text);
    return bound || error_set_errno(error, errnum, "httpd.listen: cannot listen on %s", text);
}

static int open_socket(const struct http_loop *loop, const struct socket_address *address, const char *text,
                       struct error *error)
{
    int on = 1, off = 0;
    int unsent = (int)min_i64(loop->unsent_max, INT32_MAX);
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set_errno(error, errno, "httpd.listen: %s: socket", text);
        return -1;
    }
    /* What is set here an accepted socket has from the beginning: tcp(7) options are inherited. */
    bool set = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
               setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
               setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
               (address->storage.ss_family != AF_INET6 ||
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
               (unsent == 0 || setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent)) == 0);
    if (!set || bind(fd, (const struct sockaddr *)&address->storage, address->length) != 0 ||
        listen(fd, BACKLOG) != 0) {
        error_set_errno(error, errno, "httpd.listen: cannot listen on %s", text);
        close(fd);
        return -1;
    }
    return fd;
}

static bool add_listener(struct http_listeners *listeners, const struct socket_address *address,
                         const char *text, struct error *error)
{
    struct listener *listener = &listeners->items[listeners->count];
    listener->owner = listeners;
    listener->socket = open_socket(listeners->loop, address, text, error);
    if (listener->socket < 0)
        return false;
    listeners->count++;
    event_assign(&listener->event, loop_base(listeners->loop->loop), listener->socket, EV_READ | EV_PERSIST,
                 on_acceptable, listener);
    if (event_add(&listener->event, NULL) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "httpd.listen: %s: libevent takes no event", text);
    return true;
}

struct http_listeners *http_listeners_create(struct http_loop *loop, struct http_limits *limits,
                                             const struct address_list *listen, bool first,
                                             struct error *error)
{
    struct http_listeners *listeners = calloc(1, sizeof(*listeners));
    if (listeners == NULL ||
        (listeners->items = calloc(listen->count * RESOLVED_MAX, sizeof(struct listener))) == NULL) {
        error_set_errno(error, ENOMEM, "httpd.listen");
        free(listeners);
        return NULL;
    }
    listeners->loop = loop;
    listeners->limits = limits;
    for (size_t i = 0; i < listen->count; i++) {
        struct socket_address resolved[RESOLVED_MAX];
        char text[ADDRESS_TEXT_SIZE];
        size_t count = 0;
        address_format(&listen->items[i], text, sizeof(text));
        if (!address_resolve(&listen->items[i], resolved, RESOLVED_MAX, &count, error))
            goto fail;
        for (size_t j = 0; j < count; j++) {
            if ((first && !is_free(&resolved[j], text, error)) ||
                !add_listener(listeners, &resolved[j], text, error))
                goto fail;
        }
    }
    return listeners;
fail:
    http_listeners_close(listeners);
    http_listeners_destroy(listeners);
    return NULL;
}

void http_listeners_close(struct http_listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (event_initialized(&listeners->items[i].event))
            event_del(&listeners->items[i].event);
        close(listeners->items[i].socket);
    }
    listeners->count = 0;
}

void http_listeners_destroy(struct http_listeners *listeners)
{
    if (listeners == NULL)
        return;
    free(listeners->items);
    free(listeners);
}

uint16_t http_listeners_port(const struct http_listeners *listeners)
{
    union http_peer own = {.base = {.sa_family = AF_UNSPEC}};
    socklen_t size = sizeof(own);
    if (listeners->count == 0 || getsockname(listeners->items[0].socket, &own.base, &size) != 0)
        return 0;
    return ntohs(own.base.sa_family == AF_INET6 ? own.v6.sin6_port : own.v4.sin_port);
}
