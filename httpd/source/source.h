/*
 * source: where the bytes of an answer's body come from, behind one interface: a range of a stored file that
 * goes to the client's socket at the pace of the slower end. A source works on its connection's loop. It
 * never calls the connection from inside one of these functions; it calls wake() from an event of its own, as
 * the last thing it does.
 */
#ifndef REEL_HTTPD_SOURCE_H
#define REEL_HTTPD_SOURCE_H

#include "client/core/client_resume.h"
#include "httpd/loop/http_loop.h"

enum source_status {
    SOURCE_WAIT,    /* nothing to do until wake() */
    SOURCE_BLOCKED, /* the client's socket takes no more: call again when it does */
    SOURCE_MORE,    /* the budget is used up: call again later */
    SOURCE_READY,   /* the first byte is at hand */
    SOURCE_DONE,    /* everything was handed to the socket */
    SOURCE_FAILED,  /* the rest cannot be read: source->error_code; what happened has been logged */
    SOURCE_GONE,    /* the client's socket is broken */
};

struct source;

struct source_operations {
    enum source_status (*status)(const struct source *source);
    enum source_status (*send)(struct source *source, struct transport to, struct http_output *out, bool last,
                               int64_t *budget);
    void (*stalled)(struct source *source);
    void (*close)(struct source *source);
};

struct source_options {
    struct http_loop *loop;
    struct http_lookup_file *file; /* a reference is taken */
    int64_t offset;
    int64_t length;               /* bytes, at least 1 */
    uint64_t connection_id;       /* "cN" in logs */
    struct request_id request;    /* its name in the logs of storage servers; zeros: none */
    struct client_resume *resume; /* of the body that this is a piece of; NULL: it is whole */
    void (*wake)(void *argument);
    void *argument;
};

/* What all sources have. After the first two members: as source_init() took it from the options. */
struct source {
    const struct source_operations *operations;
    int error_code; /* enum error_code */
    bool corked;    /* the last bytes went out with "more follows" */
    struct http_loop *loop;
    struct http_lookup_file *file; /* a reference */
    uint64_t connection_id;
    struct request_id request;
    void (*wake)(void *argument);
    void *argument;
};

/* ---- for the sources themselves ---- */

/* False: the client's socket takes nothing now, and an edge follows when it does. A broken one takes
 * everything. */
bool source_has_room(int socket);

void source_init(struct source *source, const struct source_operations *operations,
                 const struct source_options *options);

/* Gives the reference back. */
void source_end(struct source *source);

/* ---- for their connection ---- */

/* Before anything was sent: SOURCE_WAIT, SOURCE_READY or SOURCE_FAILED. */
static inline enum source_status source_status(const struct source *source)
{
    return source->operations->status(source);
}

/* Sends what is pending in OUT, then the body, at most *BUDGET bytes (which is lowered by what was sent).
 * LAST: nothing follows this body. Not before source_status() was SOURCE_READY. */
enum source_status source_send(struct source *source, struct transport to, struct http_output *out, bool last,
                               int64_t *budget);

/* It has kept the client waiting for too long: it tries another way, or fails at the next call. */
static inline void source_stalled(struct source *source)
{
    source->operations->stalled(source);
}

/* The end, at any time. NULL is ignored. */
static inline void source_close(struct source *source)
{
    if (source)
        source->operations->close(source);
}

#endif
