/*
 * packet_connection: one connection of the packet server: the state machine from header to reply. Private to
 * packet_server.c, packet_accept.c, packet_connection.c, packet_step.c, packet_gather.c, packet_patient.c, packet_request.c and
 * packet_session.c; everything on the connection's loop.
 */
#ifndef REEL_COMMON_PACKET_CONNECTION_H
#define REEL_COMMON_PACKET_CONNECTION_H

#include "common/file/file_send.h"
#include "common/auth/auth.h"
#include "common/base/metrics.h"
#include "common/loop/listener.h"
#include "common/serve/packet_server.h"
#include "common/transport/tls_door.h"
#include "common/transport/transport.h"
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define PACKET_INPUT_SIZE     8192 /* of the buffer that a connection holds while it is not idle, at least */
#define PACKET_STASH_MAX      64   /* such buffers that a lane keeps for the next ones */
#define PACKET_WHOLE_BODY_MAX (64 * 1024) /* body (or head of a streamed one) that is held in memory */
#define PACKET_HOPELESS_BODY  (1LL << 40) /* a refused body above this is not read to its end */
#define PACKET_SMALL_BODY     32          /* reply bodies up to this need no memory of their own */
#define PACKET_SMALL_FILE     (32 * 1024) /* bytes of a file that are sent in one piece with their header */
#define PACKET_GATHER_SIZE    (128 * 1024)
#define PACKET_FRESH_MS       1000 /* that a stop waits for the first request of a connection */
#define PACKET_TURN_STEPS     128  /* that one connection goes before others have their turn */
#define PACKET_LINGER_MS      1000 /* for a peer that did not finish its refused body in time */
#define PACKET_HEAD_SPARE_MS                                                                                 \
    1000 /* a request that is not whole after so long makes room before idle connections do */
#define PACKET_IDLE_SPARE_MS 50 /* a connection that is idle for less may have a request on its way */
#define PACKET_PATIENT_MS    20 /* that a request waits at most where nobody waits for its reply */
#define PACKET_PATIENT_BATCH 64 /* such connections that are served before others have their turn */

/* What metrics count for each command, and for those that are not in the table. */
struct packet_metrics {
    struct metric *requests, *failures, *duration;
};

/* What a connection waits for, where it is its peer's turn; each has a list, longest in it first. */
enum packet_wait {
    PACKET_WAIT_LINGER, /* the end of what the peer still sends, which is dropped */
    PACKET_WAIT_HEAD,   /* its first request, or the rest of one, up to where its handler begins */
    PACKET_WAIT_IDLE,   /* a request */
    PACKET_WAIT_REPLY,  /* that it reads a reply from memory */
    PACKET_WAITS,
    PACKET_WAIT_NONE = PACKET_WAITS, /* it is our turn, or that of a body or file */
};

/* The connections of a lane on which nobody waits for a reply. */
struct packet_patient {
    void (*readable)(struct packet_connection *connection); /* may free it */
    int requests, ends; /* sets: what has something to read, what has ended; -1: not needed yet */
    struct event request_event, end_event;
    struct event timer; /* armed instead of request_event while requests come */
    struct packet_connection *batch[PACKET_PATIENT_BATCH]; /* still to be served; NULL: not any more */
    size_t batched;
};

/* One loop's share of a server. Only that loop's thread touches it, but for what is atomic. */
struct packet_lane {
    struct packet_server *server;
    struct loop *loop;             /* NULL when it has ended */
    struct listener *listener;     /* NULL: only under TLS */
    struct listener *tls_listener; /* NULL: none */
    struct tls_door *door;         /* of tls_listener */
    TAILQ_HEAD(packet_connections, packet_connection) connections;
    struct packet_connections waiting[PACKET_WAITS];
    size_t open;   /* connections in the list */
    bool stopping; /* packet_server_stop() was called */
    bool spares;   /* and those whose first request has not come yet are still waited for */
    bool finished; /* and the last connection has gone */
    struct event grace_timer, spare_timer;
    struct task stop_task, end_task;
    void *stash[PACKET_STASH_MAX];
    size_t stashed;
    uint8_t *gather; /* of PACKET_GATHER_SIZE, for small replies; NULL until it is needed */
    size_t gathered; /* bytes in it */
    struct packet_connection *gatherer; /* whose they are; NULL: none are */
    struct packet_patient patient;
};

struct packet_server {
    struct packet_server_options options; /* `listen` is not kept */
    const struct packet_command *by_command[256];
    struct packet_metrics metrics[256];
    struct packet_metrics unknown_metrics;
    struct metric *proofs_metric, *proofs_failed_metric, *would_refuse_metric, *throttled_metric;
    struct metric *connections_metric, *received_metric, *sent_metric, *accept_errors_metric,
        *timeouts_metric, *refused_metric, *spared_metric, *unsent_cut_metric;
    _Atomic int64_t idle_timeout_ms, progress_timeout_ms;
    atomic_size_t connections; /* that are open */
    struct listen_limits *limits;
    struct rate *rate;    /* of requests */
    atomic_bool is_rated; /* it has a limit */
    atomic_size_t unsent; /* bytes of replies in memory that wait for their peers */
    _Atomic int64_t requests;
    _Atomic uint64_t next_id;
    uint16_t port, tls_port;
    uint8_t plain_answer[PROTO_HEADER_SIZE +
                         PROTO_ERROR_BODY_MAX]; /* for peers that speak no TLS where it is required */
    size_t plain_answer_size;
    atomic_size_t references; /* the owner, connections, posted tasks of lanes; freed with the last */
    atomic_bool stop_called;
    int64_t stop_grace_ms;
    void (*stop_done)(void *argument);
    void *stop_argument;
    atomic_size_t lanes_left; /* that have not finished */
    size_t lane_count;
    struct packet_lane lanes[];
};

enum packet_state {
    PACKET_IDLE,      /* between two requests */
    PACKET_HEADER,    /* a part of a header is there */
    PACKET_BODY,      /* the header is known, its body or the body's head is not complete */
    PACKET_HANDLING,  /* the handler has the request */
    PACKET_READING,   /* and waits for bytes of the streamed body */
    PACKET_REPLYING,  /* a reply from memory goes out, or the header of a file */
    PACKET_SENDING,   /* a file goes out */
    PACKET_CANCELLED, /* a worker is still inside the cancelled file */
    PACKET_DRAINING,  /* the reply goes out, and the rest of the request's body is discarded */
    PACKET_LINGERING, /* the reply goes out, then everything is discarded until the peer or the time ends it
                       */
    PACKET_CLOSED,
};

struct packet_connection {
    struct packet_lane *lane;
    TAILQ_ENTRY(packet_connection) link, wait_link;
    enum packet_wait wait; /* the list that it is in */
    int64_t wait_ms;       /* since when; coarse */
    struct listen_place place;
    uint64_t id;
    struct transport transport;
    enum packet_state state;
    bool running;  /* packet_connection_run() is on the stack */
    bool broken;   /* the peer has gone, stalled or is cut: nothing can be read or sent any more */
    bool ended;    /* the peer has sent everything it will */
    bool readable; /* recv() may give something without a wait */
    bool shut;     /* our side is shut down */
    bool asked;    /* a request has come, and not only about who the peer is */
    bool patient;  /* nobody waits for its replies: it is read with others like it */
    bool write_armed, read_armed;
    bool posted; /* `task` is posted: the memory must stay */
    struct event read_event, write_event, timer;
    struct task task;    /* continues after other connections had their turn */
    int64_t deadline_ms; /* of the state; 0: none */
    int64_t head_ms;     /* when the present request began to come; 0: none does */
    int64_t armed_ms;    /* when the timer fires, at the deadline or before; 0: not armed */

    /* Input: bytes position..filled of `input` are unread. NULL while there are none. */
    uint8_t *input;
    size_t capacity, filled, position;
    bool head_held; /* request.head points into the input: it must not move */

    struct proto_header header;
    uint64_t requests; /* begun on this connection */
    struct packet_request request;
    const struct packet_command *command; /* of the request; NULL: not in the table */
    int64_t body_left;                    /* of a refused body: still to be discarded */
    int outcome;                          /* enum error_code of the present request's failure reply */
    bool ends;                            /* after this reply, as when the stream is out of step */
    bool joined;                          /* for the audit: a JOIN succeeded here */

    struct session *session; /* NULL: no HELLO or TOKEN came */
    bool bound;              /* the connection is over TLS, and `binding` is its tls-exporter (RFC 9266) */
    uint8_t binding[SESSION_BINDING_SIZE];

    /* PACKET_READING */
    uint8_t *read_buffer;
    size_t read_size, read_got;
    void (*read_done)(struct packet_request *request, int64_t bytes);

    /* Output: header and body, `sent` bytes of both are out. */
    uint8_t out_header[PROTO_HEADER_SIZE];
    uint8_t small_body[PACKET_SMALL_BODY];
    void *body; /* small_body, of `shared`, or owned */
    struct packet_shared *shared;
    size_t body_size, sent;
    bool holds;    /* the body is counted in server->unsent */
    uint8_t *rest; /* gathered replies that the socket did not take: they go first; NULL: none */
    size_t rest_size, rest_sent;
    int unsent; /* in the socket's queue, when the peer's progress was last looked at */

    /* PACKET_SENDING */
    bool has_file;
    struct file_send *file; /* NULL: not started */
    int file_fd;
    int64_t file_offset, file_length;
    struct workers *file_workers;
    void (*file_done)(void *argument, bool ok);
    void *file_argument;

    struct address peer;
    void *user;
};

/* ---- packet_connection.c ---- */

/* Takes over TRANSPORT and its PLACE. False without memory: TRANSPORT is closed, the place is the caller's to give back. */
MUST_CHECK bool packet_connection_open(struct packet_lane *lane, struct transport transport,
                                       const struct socket_address *peer, const struct listen_place *place);

/* Goes through the states until a peer, a handler or a timer must act. May free the connection. */
void packet_connection_run(struct packet_connection *connection);

/* "cN ADDRESS" for the log. Returns BUFFER. */
#define PACKET_NAME_SIZE (ADDRESS_TEXT_SIZE + 24)
char *packet_connection_name(const struct packet_connection *connection, char *buffer, size_t size);

/* Nothing can be read or sent any more. The connection ends now, or when its handler has finished. May free
 * it. */
void packet_connection_cut(struct packet_connection *connection);

/* Looks once whether a request has come; an idle connection of a lane that stops ends. May free it. */
void packet_connection_look(struct packet_connection *connection);

/* Takes the events out of a base that is about to be freed. */
void packet_connection_forget_events(struct packet_connection *connection);

/* The socket has something to read, or has ended. May free the connection. */
void packet_connection_readable(struct packet_connection *connection);

/* ---- packet_step.c ---- */

/* One step. True: another may follow at once. */
MUST_CHECK bool packet_connection_step(struct packet_connection *connection);

/* Frees input and output. */
void packet_connection_free_buffers(struct packet_connection *connection);

/* The one place where a state changes: sets the deadline that belongs to it. */
void packet_connection_enter(struct packet_connection *connection, enum packet_state state);

/* Puts the connection into the list of what it waits for, after that may have changed. */
void packet_connection_relist(struct packet_connection *connection);

/* SIZE bytes of replies wait in memory for this connection's peer. Beyond unsent_total those of the lane that have been
 * waiting longest are cut, but not this one. */
void packet_connection_hold(struct packet_connection *connection, size_t size);

/* ---- packet_gather.c ---- */

/* Puts a success reply into the lane's buffer: with a copy of BODY, or with the file of the present reply
 * where it is in the page cache. False: it must go by itself. */
MUST_CHECK bool packet_gather_bytes(struct packet_connection *connection, const void *body, size_t size);
MUST_CHECK bool packet_gather_file(struct packet_connection *connection);

/* Sends what the lane's buffer has of CONNECTION. False: some of it is left, or the connection is broken. */
bool packet_gather_flush(struct packet_connection *connection);

/* Sends what was left. False: some of it still is, or the connection is broken. */
MUST_CHECK bool packet_gather_flush_rest(struct packet_connection *connection);

void packet_gather_free(struct packet_connection *connection);

/* ---- packet_patient.c ---- */

/* READABLE is called for those that have something to read or have ended. */
void packet_patient_init(struct packet_lane *lane, void (*readable)(struct packet_connection *connection));

/* Makes the two sets where they are needed first, and watches them. False: the system refuses. */
MUST_CHECK bool packet_patient_watch(struct packet_lane *lane);

/* After packet_connection_forget_events() for all of the lane's connections. */
void packet_patient_end(struct packet_lane *lane);

/* Watches the socket of a patient connection. False: the system refuses (epoll_ctl(2)). */
MUST_CHECK bool packet_patient_add(struct packet_connection *connection);
void packet_patient_remove(struct packet_connection *connection);

/* ---- packet_request.c ---- */

/* A failure reply to the header that was just read, without a handler: the reply is set and the state
 * entered. HOPELESS: the stream cannot be in step again. */
void packet_request_refuse(struct packet_connection *connection, bool hopeless, const struct error *error);

/* What metrics the current request counts in. */
const struct packet_metrics *packet_request_metrics(const struct packet_connection *connection);

/* Starts the file of a reply whose header is out; enters PACKET_SENDING. */
void packet_request_send_file(struct packet_connection *connection);

/* Ends the file of a reply: packet_reply_file()'s done. */
void packet_request_end_file(struct packet_connection *connection, bool ok);

/* ---- packet_session.c ---- */

/* The rows of HELLO, PROVE, TOKEN and WHOAMI. */
extern const struct packet_command packet_session_commands[];
extern const size_t packet_session_command_count;

void packet_session_register_metrics(struct packet_server *server);

/* Whether the sender of the request whose header (HEAD false) or head (true) has come may make it. Called only where the
 * server has an auth that is not off. */
MUST_CHECK bool packet_session_admits(struct packet_connection *connection, bool head, struct error *error);

/* Whether the request whose header has come is within what packet_server_set_rate() allows its sender. False: ERROR_THROTTLED. */
MUST_CHECK bool packet_session_within_rate(struct packet_connection *connection, struct error *error);

/* The present request has its outcome: it goes into the audit log, if there is one and it belongs there. The head of the
 * request is still valid. */
void packet_session_audit(struct packet_connection *connection);
/* The connection ends. */
void packet_session_audit_end(struct packet_connection *connection);

/* True where requests have to be looked at: the one branch that `off` costs. */
static inline bool packet_session_matters(const struct packet_server *server)
{
    return server->options.audit || (server->options.auth && auth_mode(server->options.auth) != AUTH_OFF);
}

/* ---- packet_accept.c ---- */

/* Listens on ADDRESSES with LANE's loop, and accepts from now on. */
MUST_CHECK bool packet_accept(struct packet_lane *lane, struct bind_list *addresses, struct error *error);
/* The same under TLS. */
MUST_CHECK bool packet_accept_tls(struct packet_lane *lane, struct bind_list *addresses, struct error *error);

/* ---- packet_server.c ---- */

/* A connection of LANE that had PLACE has ended and is out of the list: may finish the lane and free the server. */
void packet_server_leave(struct packet_lane *lane, const struct listen_place *place);

/* ---- packet_shared.c ---- */

/* One more, or one less, reply with this body waits for its peer: returns the bytes that this adds to, or takes from,
 * what waits in memory. */
size_t packet_shared_hold(struct packet_shared *shared);
size_t packet_shared_unhold(struct packet_shared *shared);

#endif
