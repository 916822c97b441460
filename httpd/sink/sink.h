/*
 * sink: where the content of an upload goes: from the client's connection to a storage server (STORE), at the pace of the slower end.
 * It pulls: nothing is read from the client before a storage server has admitted the upload, nor while that takes no more. What
 * the kernel can move it moves (splice); what has to be looked at (a form, a SHA-256, TLS) goes through one block of memory. While
 * the client sends nothing, neither a pipe nor a block is held. A sink works on its connection's loop, and calls wake() from an
 * event of its own, as the last thing it does.
 */
#ifndef REEL_HTTPD_SINK_H
#define REEL_HTTPD_SINK_H

#include "client/core/client.h"
#include "httpd/loop/http_loop.h"
#include "httpd/syntax/multipart.h"

enum sink_status {
    SINK_BUSY,   /* nothing to do until wake() */
    SINK_STORED, /* sink_stored() says how */
    SINK_FAILED, /* sink_error() says why; nothing was stored */
    SINK_GONE,   /* the client went before its last byte; nothing was stored */
};

struct sink;

struct sink_options {
    struct http_loop *loop;
    const struct proto_put *put; /* copied; the size is that of the content */
    struct transport from;       /* the client */
    /* Bytes of the body that were read already, borrowed until sink_close(). */
    const char *memory;
    size_t memory_size;
    int64_t body_size; /* of the request's body from MEMORY on; the content itself where there is no FORM */
    const struct multipart
        *form; /* the part that is the content has begun, and is the last one; copied. NULL: no form */
    const uint8_t *sha256;  /* that the content must have; copied; NULL: any, as in a form */
    uint64_t connection_id; /* "cN" in logs */
    struct request_id request;
    void (*wanted)(
        void *argument); /* the content is wanted for the first time: 100 Continue. May not close the sink */
    void (*wake)(void *argument); /* the status has changed; may close the sink */
    void *argument;
};

/* NULL without memory. Nothing is called from inside. */
MUST_CHECK struct sink *sink_open(const struct sink_options *options);

enum sink_status sink_status(const struct sink *sink);
const struct client_stored *sink_stored(const struct sink *sink);
const struct error *sink_error(const struct sink *sink);
/* What is wrong with what the client sent: static text. NULL: it is not the client's fault. */
const char *sink_complaint(const struct sink *sink);

/* The client's socket may have bytes: it has had an event. */
void sink_readable(struct sink *sink);

/* Bytes of the body, from MEMORY on, that are not taken from it and from the socket. 0: the next request may follow. */
int64_t sink_left(const struct sink *sink);
/* Bytes that have come from the socket. */
int64_t sink_received(const struct sink *sink);
/* For how long, in ms, nothing but the client has been waited for: since its last byte, and in all. */
int64_t sink_still_ms(const struct sink *sink);
int64_t sink_waited_ms(const struct sink *sink);

/* The end, at any time: what is under way is given up, and its storage server keeps nothing of it. NULL is ignored. */
void sink_close(struct sink *sink);

#endif
