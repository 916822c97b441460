/*
 * http_connection: one client's connection: bytes in, bytes out, whose turn it is, and how long it may take.
 * What a request means and how it is answered is http_exchange's; this room knows framing, order and time
 * only.
 *
 * One state variable, changed by set_state() alone; every callback enters http_connection_run(), which goes
 * on until the state stands still. The client's socket has one edge-triggered event for its whole life.
 */
#ifndef REEL_HTTPD_HTTP_CONNECTION_H
#define REEL_HTTPD_HTTP_CONNECTION_H

#include "common/loop/listen_limits.h"
#include "common/base/address.h"
#include "common/proto/request_id.h"
#include "common/transport/transport.h"
#include "httpd/syntax/http_body.h"
#include "httpd/loop/http_loop.h"
#include "httpd/syntax/http_range.h"
#include "httpd/syntax/proxy_header.h"
#include "httpd/sink/feed.h"
#include "httpd/sink/sink.h"
#include "httpd/source/source.h"
#include <event2/event_struct.h>
#include <netinet/in.h>

struct stream_request;
struct stream_body;
struct http_api;
struct http_delete;
struct http_tus;
struct http_write;

/* Several ranges in one answer. */
struct http_multipart {
    struct http_range_set set;
    size_t next; /* the part whose head is written next */
    char boundary[HTTP_RANGE_BOUNDARY_SIZE];
    char content_type[HTTP_LOOKUP_TYPE_SIZE]; /* of each part */
};

/* One request and its answer. Zeroed before each request. */
struct http_exchange {
    struct http_request request;
    struct http_body body;
    int64_t start_us;              /* when the head's last byte was read */
    struct request_id named;       /* by the client's traceparent; zeros: see http_answer_name() */
    int status;                    /* of the answer; 0 while there is none */
    bool failed;                   /* the request could not be read: nothing after it is looked at */
    bool cut;                      /* the answer cannot be finished */
    bool answered_anew;            /* the file that was found first had been replaced by another */
    bool is_private;               /* not for shared caches: a signed link was shown */
    uint32_t head_size;            /* bytes of the answer's head */
    struct http_lookup_wait *wait; /* CONNECTION_LOOKUP */
    struct http_lookup_file *file; /* a reference */
    struct source *source;         /* CONNECTION_OPEN, SEND, FEED */
    struct http_multipart *multipart;
    struct stream_request *stream; /* CONNECTION_LOOKUP: what is made of files is on its way */
    struct stream_body *made;      /* what was made; FILE describes it */
    struct http_write *write;      /* PUT, POST: see http_write.c */
    struct http_delete *erase;     /* DELETE: see http_delete.c */
    struct http_tus *tus;          /* a resumable upload: see http_tus.c */
    struct http_api *api;          /* a request to the JSON API: see http_api.c */
    bool is_api;                   /* the target is of such: errors are JSON */
    bool is_tus;                   /* the target is of such: answers have the fields of tus */
    bool is_draft;                 /* a resumable upload by the IETF's draft */
    bool tells_offset;             /* 409 has Upload-Offset: */
    int64_t upload_offset;
    struct sink *sink; /* CONNECTION_STORE: one of these two */
    struct feed *feed;
    bool continued;        /* 100 Continue was sent, or is not waited for */
    uint16_t refused;      /* the status that is answered once the body is dropped; 0: none */
    const char *refusal;   /* static text for it */
    const char *challenge; /* WWW-Authenticate of 401 and 403; static, or NULL */
    const char *allow;     /* methods of the target, for Allow; NULL: those that read */
};

#define HTTP_DRAFT_INTEROP      "8" /* Upload-Draft-Interop-Version */
#define HTTP_DRAFT_CONTENT_TYPE "application/partial-upload"

struct http_connection {
    TAILQ_ENTRY(http_connection) link; /* in loop->lists[state] */
    struct http_loop *loop;
    enum http_connection_state state;
    int64_t since_ms; /* when it came into its list */
    uint64_t id;
    uint64_t requests; /* begun on this connection */
    struct transport transport;
    struct event event;
    union http_peer peer;

    TAILQ_ENTRY(http_connection) again_link; /* in loop->again */
    bool again;                              /* is in there: goes on after the others had their turn */
    bool waits_to_begin;                     /* is in loop->beginners instead; then AGAIN is true, too */
    bool readable;                           /* the last read may not have emptied the socket */
    bool hung_up;                            /* the client's last byte is on its way: read until it is seen */
    bool half_closed;                        /* it was seen */
    bool expects_proxy;                      /* the PROXY header is still to come */
    bool by_proxy;                           /* it comes from one of trusted_proxies */
    bool refused;                            /* beyond a limit: it gets 503 and no more */
    bool keep_alive;                         /* after the present answer */
    struct listen_place place;

    /* Bytes that came and are not done with: in_start..in_end of IN. While a request is under way its head
     * begins at in_start, and stays. NULL while there are none. */
    char *in;
    enum http_buffer_class in_class;
    uint32_t in_start, in_end;

    struct http_output out; /* the answer's head and small bodies; bytes NULL while there are none */
    int64_t sent;           /* bytes of the present answer */
    int queued;             /* SIOCOUTQ when the present wait for the client began */
    int64_t lingered;       /* bytes dropped while lingering */

    int64_t rate_ms;     /* when the present measure of what the client takes began; 0: none */
    int64_t rate_taken;  /* bytes that it had taken then */
    int64_t rate_paused; /* ms since then in which it was not the client that was waited for */

    int64_t tokens;    /* bytes that the rate allows now */
    int64_t tokens_ms; /* when they were counted */

    struct http_exchange exchange;
};

/* What a connection asks of whoever answers its requests (http_exchange), on the loop's thread. */
struct http_answering {
    /* The request head is complete and its body skipped: leaves the connection in LOOKUP, OPEN or SEND. */
    void (*begin)(struct http_connection *connection);
    /* The head of a request is complete, of whatever body it has: true where it is one that stores, or is refused as such: leaves the
     * connection in BODY, STORE, LOOKUP or SEND. False: the body is to be dropped, then begin(). */
    bool (*take)(struct http_connection *connection);
    /* CONNECTION_BODY of a request that take() took: the form's bytes are at hand behind the head. True: the state has changed. */
    bool (*form)(struct http_connection *connection);
    /* CONNECTION_STORE: true where sink or feed have come to an end, and the state has changed. */
    bool (*stored)(struct http_connection *connection);
    /* Answers with an error (4xx, 5xx) instead of whatever was under way, as long as no byte of an answer was
     * sent. MESSAGE: static text, for the client. Leaves the connection in SEND. */
    void (*refuse)(struct http_connection *connection, int status, const char *message);
    /* CONNECTION_OPEN: the source has become ready or failed. */
    void (*opened)(struct http_connection *connection);
    /* The source is done: true when the answer goes on (the next part, or the end of a multipart body). */
    bool (*next_part)(struct http_connection *connection);
    /* The answer is finished or given up: counts and logs it, and lets go of everything it held. */
    void (*end)(struct http_connection *connection, bool complete);
};

/* Takes TRANSPORT over (it is closed in any case). REFUSED: answer the first request with 503. PLACE is
 * given back when it ends. False without memory or an event: PLACE is still the caller's. */
bool http_connection_create(struct http_loop *loop, struct transport transport, const struct sockaddr *peer,
                            socklen_t peer_size, bool refused, bool expects_proxy,
                            const struct listen_place *place);

/* Goes on with whatever can be gone on with; may free the connection. From events and callbacks only, as the
 * last thing that they do. */
void http_connection_run(struct http_connection *connection);

/* Ends it at once, in any state. */
void http_connection_destroy(struct http_connection *connection);

/* Goes on with those of loop->again, and with those of loop->beginners as far as this turn allows. */
void http_connection_run_again(struct http_loop *loop);

/* Answers with an error and closes after it, as the bytes behind the request mean nothing now. No byte of an
 * answer may have been sent. http_connection_run() must follow. */
void http_connection_refuse(struct http_connection *connection, int status, const char *message);

/* ---- for http_exchange and http_answer ---- */

void http_connection_set_state(struct http_connection *connection, enum http_connection_state state);

/* 100 Continue (RFC 9110 section 10.1.1), where the client waits for it and has sent nothing of the body yet. */
void http_connection_continue(struct http_connection *connection);

/* An interim answer (RFC 9110 section 15.2): its fields go to connection->out between these two. False: the client does not know such, or
 * there is no memory; then there is none. */
MUST_CHECK bool http_connection_begin_interim(struct http_connection *connection, int status);
void http_connection_end_interim(struct http_connection *connection);

/* An empty output buffer; false without memory. */
MUST_CHECK bool http_connection_take_output(struct http_connection *connection);

/* The request's head is not needed any more, but for the access log: gives its buffer back where that is off
 * and nothing came behind it, since a stream may last for hours. */
void http_connection_drop_head(struct http_connection *connection);

#endif
