/*
 * packet_server: the listening side of the packet protocol. Accepts on every loop (SO_REUSEPORT), reads the header,
 * finds the command in a table, reads the body's head, calls the handler, sends the reply; one request at a time per
 * connection, pipelined ones wait in order. Everything of a connection happens on its loop's thread.
 *
 * A request is finished by exactly one of packet_reply(), packet_reply_error(), packet_reply_file() or
 * packet_reply_abort(); at once or later, always on the request's loop. Until then the request and its connection
 * stay valid, also when the peer has gone.
 *
 * An idle connection costs 1 KiB here (and what the kernel's socket costs); one with a request under way 8 KiB more, or
 * as much as the body or head that is held in memory: 64 KiB at most. Replies from memory count beside.
 */
#ifndef REEL_COMMON_PACKET_SERVER_H
#define REEL_COMMON_PACKET_SERVER_H

#include "common/auth/session.h"
#include "common/base/address.h"
#include "common/loop/loop.h"
#include "common/proto/proto.h"
#include "common/loop/workers.h"
#include "common/transport/tls_context.h"

struct audit;
struct auth;
struct packet_server;
struct packet_connection;

struct packet_request {
    struct packet_connection *connection;
    struct loop *loop;
    uint8_t command;
    int64_t body_length; /* of the whole body, as the header says */
    const uint8_t *head; /* the first head_size bytes of the body; valid until the request is finished */
    size_t head_size;    /* the command's `head`, or the whole body for a command without a stream */
    int64_t body_left;   /* bytes of the body that packet_request_read() has not given yet */
    void *user;          /* the handler's */
    int64_t start_us;    /* clock_monotonic_us() when the header was complete */
};

/* One row of a daemon's dispatch table. */
struct packet_command {
    uint8_t command;
    const char *name;         /* for logs and the label of metrics */
    int64_t minimum, maximum; /* body length; outside: ERROR_MALFORMED, the body is discarded */
    size_t
        head; /* 0: the whole body (maximum at most 64 KiB) is read first. Else: the handler is called after
                                 this many bytes and reads the rest with packet_request_read() */
    void (*handle)(struct packet_request *request);
};

struct packet_server_options {
    struct address_list listen;
    struct address_list listen_tls; /* under TLS, with the certificates of `tls` */
    struct tls_server *tls;         /* NULL: no listen_tls; outlives the server */
    const char *host_name;          /* for "[host] text" */
    uint8_t reply_command;          /* PROTO_REPLY_... */
    const struct packet_command *commands;
    size_t command_count;
    size_t
        connections_max; /* over all loops; further ones make idle ones and incomplete requests go, or wait in the
                               backlog */
    size_t
        connections_per_address; /* of one client address (an IPv6 /64); further ones are closed; 0: no limit */
    size_t unsent_total;  /* bytes of replies in memory that wait for their peers, over all connections; 0: no
                                       bound. Beyond it those go that have waited longest */
    int64_t unsent_max;   /* bytes that the kernel keeps for one connection beyond what the network takes; 0:
                                       its own limit */
    int64_t head_time_ms; /* for a request to be whole, or, of a streamed one, its head; 0: no limit */
    int64_t idle_timeout_ms;     /* without a request; 0: never */
    int64_t progress_timeout_ms; /* in a request or reply, without a byte moved by the peer; 0: never */
    int64_t drain_timeout_ms;    /* how long the rest of a refused body is read and discarded */
    int64_t requests_per_second; /* see packet_server_set_rate() */
    void *argument;              /* packet_server_argument() */
    /* Who may ask for what (common/auth/auth.h); must outlive the server. HELLO, PROVE, TOKEN and WHOAMI are answered by the
     * server itself, and a request that its session does not allow never reaches its handler. NULL: everybody may do
     * everything. */
    struct auth *auth;
    struct audit *audit; /* common/auth/audit.h; NULL: none. Must outlive the server */
    bool audit_required; /* what cannot be written there is refused */
    /* Where in the text of a failure the words begin that are for the operator alone, what the database said: whoever asked
     * gets a reference to the line of the log in their place. Returns NULL where there are none; may be NULL. Any loop. */
    const char *(*conceals)(const struct error *error);
    /* Both may be NULL; on the connection's loop. */
    void (*opened)(struct packet_connection *connection);
    void (*closed)(
        struct packet_connection *connection); /* its last request is finished; *user may be freed */
};

/* Binds and listens on every loop of LOOPS; before they run. Resolves host names (may block: start-up only). The
 * error of a taken port names the address. OPTIONS is copied; tables and strings must outlive the server. */
MUST_CHECK struct packet_server *packet_server_create(const struct packet_server_options *options,
                                                      struct loop_group *loops, struct error *error);

/* Any thread. Stops accepting, closes idle connections, lets requests in progress finish for at most GRACE_MS, then cuts.
 * DONE(ARGUMENT) runs on one of the loops when the last connection is gone, which a handler that holds its request
 * delays; it may be NULL. A second call is ignored. */
void packet_server_stop(struct packet_server *server, int64_t grace_ms, void (*done)(void *argument),
                        void *argument);

/* After the loops have ended, freed or not; or before they ran. Connections that are open still are cut, files on their
 * way get their DONE. A request that a handler holds even now stays valid; it is finished as ever. NULL is ignored. */
void packet_server_destroy(struct packet_server *server);

void *packet_server_argument(const struct packet_server *server);
size_t packet_server_connections(const struct packet_server *server); /* any thread */
int64_t packet_server_requests(const struct packet_server *server);   /* since start; any thread */
/* The port that was really bound (for port 0 in tests). */
uint16_t packet_server_port(const struct packet_server *server);
/* The same of listen_tls; 0: there is none. */
uint16_t packet_server_tls_port(const struct packet_server *server);
/* Any thread: takes effect for connections from now on and for the next wait of open ones. */
void packet_server_set_timeouts(struct packet_server *server, int64_t idle_ms, int64_t progress_ms);

/* Any thread. Requests per second, on average over ten seconds, of one key, or of one address where none was proved; further
 * ones get ERROR_THROTTLED. 0: no limit. Sessions of the suite's own parts (storage, gateway) and of operators are not counted. */
void packet_server_set_rate(struct packet_server *server, int64_t requests_per_second);

/* ---- connections ---- */
struct packet_server *packet_connection_server(const struct packet_connection *connection);
uint64_t packet_connection_id(const struct packet_connection *connection); /* "cN" in logs */
const struct address *packet_connection_peer(const struct packet_connection *connection);
/* The address of this machine that the peer connected to, numeric. False: it is not known any more. */
MUST_CHECK bool packet_connection_local(const struct packet_connection *connection, struct address *local);
/* Under TLS. */
bool packet_connection_secure(const struct packet_connection *connection);
/* Nobody waits for replies on this connection, as where heartbeats come: from now on its requests are read together with those of
 * others like it, up to 20 ms later than they come, so that the loop wakes up less often. The peer's end is noticed at once, as ever. On
 * the connection's loop. Where the system has no descriptors for this, nothing changes. */
void packet_connection_set_patient(struct packet_connection *connection);
void packet_connection_set_user(struct packet_connection *connection, void *user);
void *packet_connection_user(const struct packet_connection *connection);

/* ---- requests ---- */

/* "c12", and where the request has a name (common/proto/request_id.h) "c12: request 4bf9...": how lines of the log about it begin. Until it is
 * finished. Returns BUFFER. */
#define PACKET_REQUEST_NAME_SIZE 80
char *packet_request_name(const struct packet_request *request, char buffer[PACKET_REQUEST_NAME_SIZE]);

/* Success with a small body (copied). */
void packet_reply(struct packet_request *request, const void *body, size_t size);

/* Success with a body whose memory is handed over: freed with free() when sent. */
void packet_reply_take(struct packet_request *request, void *body, size_t size);

/* The same with a body that many replies share: bytes that are equal for everybody and large. Created with one reference
 * and a copy of BYTES (NULL without memory); each reply takes one of its own. Any thread. */
struct packet_shared;
MUST_CHECK struct packet_shared *packet_shared_create(const void *bytes, size_t size);
struct packet_shared *packet_shared_take(struct packet_shared *shared); /* returns SHARED */
void packet_shared_release(struct packet_shared *shared);               /* NULL is ignored */
const void *packet_shared_bytes(const struct packet_shared *shared);
size_t packet_shared_size(const struct packet_shared *shared);
void packet_reply_shared(struct packet_request *request, struct packet_shared *shared);

/* Failure: "[host] text" with CODE. The rest of the request's body is read and discarded (up to the time limit), so
 * that the peer reads the reply, and the connection goes on where the stream is in step. Logged at info. */
void packet_reply_error(struct packet_request *request, int code, const char *format, ...) PRINTF_LIKE(3, 4);
void packet_reply_failure(struct packet_request *request, const struct error *error);

/* Success with LENGTH bytes of FD from OFFSET as the body, by sendfile; cold pages are read on WORKERS. DONE (may be
 * NULL) runs on the loop when the bytes are sent or cannot be: OK false when the peer went or the file failed; then the
 * connection is cut, since the header has gone out. The fd stays the caller's, open until DONE. */
void packet_reply_file(struct packet_request *request, int fd, int64_t offset, int64_t length,
                       struct workers *workers, void (*done)(void *argument, bool ok), void *argument);

/* No reply: cuts the connection. */
void packet_reply_abort(struct packet_request *request);

/* Streamed bodies: reads the next min(SIZE, body_left) bytes into BUFFER and then calls DONE(request, bytes) on the
 * loop, perhaps before this returns. BYTES is less than asked only when the peer went or stalled, and then -1: finish
 * with packet_reply_abort() (or any reply: it goes nowhere). BUFFER must stay valid until DONE. One at a time. A reply
 * while the read is under way ends it without DONE. */
void packet_request_read(struct packet_request *request, void *buffer, size_t size,
                         void (*done)(struct packet_request *request, int64_t bytes));

/* An empty success reply before the reply proper, which the command has for "send on". A peer that reads so little that this finds
 * no room in its socket is cut: the next read says so. */
void packet_request_continue(struct packet_request *request);

/* Bytes of the read under way that have come so far; 0 where none is. */
int64_t packet_request_coming(const struct packet_request *request);

#endif
