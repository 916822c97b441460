/*
 * gather: the content of an upload as it comes from the client: read off the socket within the body's bounds, taken out of chunks and
 * of the form around it, counted, digested, and gathered in a piece of memory that its owner sends. A piece grows up to GATHER_PIECE_MAX
 * while the pieces of one loop are together below GATHER_PIECES_MAX. What is read never goes beyond the body's end. On its
 * connection's loop; for feed alone.
 */
#ifndef REEL_HTTPD_GATHER_H
#define REEL_HTTPD_GATHER_H

#include "common/auth/content_hash.h"
#include "common/proto/digest.h"
#include "httpd/loop/http_loop.h"
#include "httpd/syntax/http_body.h"
#include "httpd/syntax/multipart.h"

#define GATHER_PIECE_FIRST ((size_t)16 * 1024)
#define GATHER_PIECE_MAX   ((size_t)1024 * 1024)
#define GATHER_PIECES_MAX                                                                                    \
    ((size_t)32 * 1024 * 1024) /* of a loop, beyond the first GATHER_PIECE_FIRST of each */

struct gather_options {
    struct http_loop *loop;
    struct transport from; /* the client */
    const char *memory;    /* what was read already behind the head, borrowed; may go beyond the body */
    size_t memory_size;
    const struct http_body *body; /* copied: at its beginning, or where the content of a form begins */
    const struct multipart *form; /* copied; NULL: the body's content is the file's */
    int64_t size_max;             /* bytes of the content; 0: no limit */
    const uint8_t *hash;          /* that the content must have; copied; NULL: any */
    enum content_hash_kind hash_kind;
    bool digests; /* the content's digest is wanted; with a hash it is made anyway */
};

/* Its owner reads all of it, and writes nothing but PIECE_SENT. */
struct gather {
    struct gather_options options; /* body, form and hash are not used after the start */
    struct http_body body;
    struct multipart *form; /* NULL: the body's content is the file's */
    bool form_over;         /* the form's end has come: what follows means nothing */
    size_t epilogue;        /* bytes that followed */
    int64_t content;        /* bytes of the file so far */
    struct error error;     /* of GATHER_FAILED */
    const char *complaint;  /* what is wrong with what came; NULL: nothing */
    bool ended;             /* the body is at its end */
    bool broken;            /* its framing is: nobody knows where it ends */
    bool gone;              /* the client is */

    size_t memory_taken; /* of options.memory */
    int64_t received;    /* from the socket */
    char *piece;
    size_t piece_size, piece_capacity, piece_sent;

    struct digest *digest;
    struct content_hash *hash;
    uint8_t expected[CONTENT_HASH_SIZE_MAX];

    bool waiting; /* for the client */
    int64_t waiting_since_ms, waited_ms;
};

/* False without memory; gather_close() is due either way. */
MUST_CHECK bool gather_open(struct gather *gather, const struct gather_options *options);
void gather_close(struct gather *gather);

enum gather_result {
    GATHER_PIECE,     /* the piece is to be sent; ENDED: it is the last one, and may be empty */
    GATHER_WAITS,     /* for the client */
    GATHER_FAILED,    /* ERROR and COMPLAINT say why */
    GATHER_NO_MEMORY, /* not even for a first piece */
};
/* Reads until the piece is to be sent. */
MUST_CHECK enum gather_result gather_piece(struct gather *gather);

/* Of a body of known length: up to SIZE of its next bytes into BUFFER, counted and digested. How many; 0: not yet; -1: the client is
 * gone. */
int64_t gather_stream(struct gather *gather, void *buffer, size_t size);
/* At the content's end: it is whole and has the stated hash. Else false, with a complaint. */
MUST_CHECK bool gather_is_right(struct gather *gather);

/* The next bytes of the piece, up to SIZE, for whoever sends it: how many. */
int64_t gather_send(struct gather *gather, void *buffer, size_t size);
/* The first COUNT bytes of the piece need not be sent again. */
void gather_drop(struct gather *gather, size_t count);

#endif
