/*
 * http_loop: what the connections of one loop share. Made and taken down by http_server; everything in it is
 * touched on its loop's thread only, but for what is said to be atomic.
 */
#ifndef REEL_HTTPD_HTTP_LOOP_H
#define REEL_HTTPD_HTTP_LOOP_H

#include "client/core/client.h"
#include "common/loop/listen_limits.h"
#include "common/loop/loop.h"
#include "common/base/metrics.h"
#include "httpd/loop/access_log.h"
#include "httpd/loop/http_budget.h"
#include "httpd/loop/http_buffers.h"
#include "httpd/syntax/http_response.h"
#include "httpd/files/http_lookup.h"
#include "httpd/loop/http_settings.h"
#include "httpd/loop/http_pipes.h"
#include "httpd/loop/link_cache.h"
#include "httpd/files/local_files.h"
#include <sys/queue.h>

struct http_server;
struct http_connection;
struct stream_loop;
struct web_site;
TAILQ_HEAD(http_connection_list, http_connection);

/* States of a connection; each has a list, longest in it first, and a limit for how long one may stay in it.
 */
enum http_connection_state {
    CONNECTION_IDLE,   /* between requests; holds no buffer */
    CONNECTION_HEAD,   /* a request head is expected or partly there */
    CONNECTION_BODY,   /* the request's body is read and dropped, or the beginning of a form read */
    CONNECTION_STORE,  /* an upload is under way: its sink reads from the client */
    CONNECTION_LOOKUP, /* waits for what is known of the file */
    CONNECTION_OPEN,   /* waits for the first byte from the body's source; nothing is sent yet */
    CONNECTION_SEND,   /* an answer is under way: waits for the client */
    CONNECTION_FEED,   /* an answer is under way: waits for the body's source */
    CONNECTION_REST,   /* an answer is under way: has used up its rate for now */
    CONNECTION_LINGER, /* the last answer is out: what still comes is dropped */
    CONNECTION_CLOSED, /* about to be freed */
    CONNECTION_STATES
};

struct http_metrics {
    struct metric *requests[6]; /* by the status' first digit */
    struct metric *durations;
    struct metric *bytes;
    struct metric *connections;
    struct metric *accepted;
    struct metric *refused;
    struct metric *relays;
    struct metric *failovers;
    struct metric *cut;
    struct metric *spliced, *copied, *sendfiled;
    struct metric *local_failures;
    struct metric *uploads, *stored, *stored_bytes, *deleted; /* the first one is a gauge */
    struct metric *received, *received_spliced, *received_copied;
};

struct audit;
struct auth;
struct http_answering;
struct tls_door;

struct http_loop {
    struct http_server *server;
    const struct http_answering *answering; /* of requests: see http_connection.h */
    /* A connection has ended: gives back its place. */
    void (*place_left)(struct http_loop *loop, const struct listen_place *place);
    struct loop *loop;
    struct tls_door *door;          /* of listen_tls; NULL: none */
    struct http_settings *settings; /* a reference; replaced by a reload */
    struct client *client;
    struct http_lookup *lookup;
    struct link_cache *links;
    struct web_site *site; /* the page's files: see httpd/web/web_site.h */
    size_t api_lists;      /* that are being made */
    struct auth *auth;     /* for tokens of those who write */
    struct audit *audit;   /* NULL: none */
    bool audit_required;
    struct access_log_buffer *access_log; /* NULL: none */
    const struct http_metrics *metrics;
    struct http_buffers buffers;
    struct http_pipes pipes;
    size_t piece_bytes;              /* that feeds gather, beyond the first block of each */
    struct local_files *local_files; /* NULL: no group is local */
    struct http_budget *budget;      /* of all loops: see http_budget.h */
    struct stream_loop *streams;     /* see httpd/stream/stream_loop.h */
    struct http_clock clock;
    struct http_connection_list lists[CONNECTION_STATES];
    size_t connections;                /* of this loop */
    struct http_connection_list again; /* have more to do than one turn allows */
    struct task again_task;
    bool again_posted;
    uint64_t begin_turn;                     /* of the loop, in which a request began last */
    int64_t begin_us;                        /* when the first of that turn began */
    unsigned begin_count;                    /* in that turn */
    uint64_t begin_questions;                /* of LOOKUP, before that */
    struct http_connection_list beginners;   /* requests have come that wait for a turn in which to begin */
    const struct http_connection *may_begin; /* was one of them, and is run now */
    uint64_t next_id;                        /* of a connection */
    uint64_t id_step;                        /* so that no two loops give the same one */
    uint8_t random[8];                       /* of this process: begins the names of its requests */
    int64_t unsent_max;                      /* for TCP_NOTSENT_LOWAT; 0: the kernel's */
    int64_t unsent_total; /* of all connections of all loops, as far as it is enough; 0: no bound */
    int64_t unsent;       /* what each connection of this loop has now */
    int64_t rates_ms;     /* when slow clients are looked for again */
    bool draining;
};

#endif
