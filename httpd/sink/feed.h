/*
 * feed: where a content goes that is not stored in one request to a storage server: one whose size is not known beforehand (chunked)
 * and that becomes a file, or one that continues a partial upload (docs/protocol.md, BEGIN to FINISH). Chunks are gathered in a piece of
 * memory (gather); each piece is one APPEND, and a content that fits one piece is one STORE. Nothing is read from the client while one
 * is on its way. A content whose size is known goes through without being gathered. A feed works on its connection's loop, and
 * calls wake() from an event of its own, as the last thing it does.
 */
#ifndef REEL_HTTPD_FEED_H
#define REEL_HTTPD_FEED_H

#include "client/core/client.h"
#include "common/auth/content_hash.h"
#include "httpd/loop/http_loop.h"
#include "httpd/sink/sink.h"
#include "httpd/syntax/http_body.h"
#include "httpd/syntax/multipart.h"

struct feed;

struct feed_options {
    struct http_loop *loop;
    const struct proto_put *put; /* copied: a new file of unknown size. NULL: APPEND */
    bool early;                  /* with PUT: a storage server is asked before the first byte is read */
    const struct proto_append
        *append; /* copied: which partial upload, from where on, and the total; the size is the body's */
    struct transport from; /* the client */
    const char *
        memory; /* what was read already behind the head, borrowed until feed_close(); may go beyond the body */
    size_t memory_size;
    const struct http_body *body; /* copied: at its beginning, or where the content of a form begins */
    const struct multipart *
        form; /* with PUT: the part that is the content has begun, and is the last one; copied. NULL: no form */
    int64_t size_max; /* bytes of the content; 0: no limit */
    struct request_id request;
    const uint8_t *hash; /* that the content must have; copied; NULL: any */
    enum content_hash_kind hash_kind;
    void (*wanted)(void *argument); /* the content is wanted: 100 Continue. May not close the feed */
    void (*wake)(void *argument);   /* the status has changed; may close the feed */
    void *argument;
};

/* NULL without memory. Nothing is called from inside; feed_readable() begins to read. */
MUST_CHECK struct feed *feed_open(const struct feed_options *options);

/* As of sinks. SINK_STORED of an APPEND: feed_state() says how far the partial upload is. */
enum sink_status feed_status(const struct feed *feed);
const struct client_stored *feed_stored(const struct feed *feed);
const struct proto_partial_state *feed_state(const struct feed *feed);
const struct error *feed_error(const struct feed *feed);
const char *feed_complaint(const struct feed *feed);
int64_t feed_content(const struct feed *feed); /* bytes of content that have come */

/* The client's socket may have bytes: it has had an event. May change the status. */
void feed_readable(struct feed *feed);

/* How far the body is (NULL: its framing is broken, and nobody knows where it ends), and how many bytes of MEMORY were taken. */
const struct http_body *feed_body(const struct feed *feed);
size_t feed_memory_taken(const struct feed *feed);
int64_t feed_received(const struct feed *feed);
int64_t feed_still_ms(const struct feed *feed);
int64_t feed_waited_ms(const struct feed *feed);

/* The end, at any time. A new file that is not stored leaves nothing; of an APPEND what came counts. NULL is ignored. */
void feed_close(struct feed *feed);

#endif
