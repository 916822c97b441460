/*
 * multipart: a body of multipart/form-data (RFC 7578, RFC 2046 section 5.1) as its bytes come: the heads of parts and the pieces of
 * their contents. Nothing but a part's head is kept. Pure.
 */
#ifndef REEL_HTTPD_MULTIPART_H
#define REEL_HTTPD_MULTIPART_H

#include "common/proto/proto.h"
#include "httpd/syntax/http_text.h"

#define MULTIPART_BOUNDARY_MAX 70   /* RFC 2046 section 5.1.1 */
#define MULTIPART_HEAD_MAX     2048 /* bytes of a part's head */
#define MULTIPART_FIELD_SIZE   64   /* of a field's name, NUL included; a longer one is unknown */

enum multipart_event {
    MULTIPART_MORE,    /* everything was taken: call again with more */
    MULTIPART_PART,    /* a part begins: its head is in the struct */
    MULTIPART_CONTENT, /* a piece of its content */
    MULTIPART_PART_END,
    MULTIPART_END,    /* behind the last part: what still comes means nothing */
    MULTIPART_BROKEN, /* it is no such body */
};

struct multipart {
    /* The part that has begun. */
    char field[MULTIPART_FIELD_SIZE];
    bool has_file_name;
    char file_name[PROTO_NAME_SIZE]; /* as it came; "" where it does not fit */
    char content_type[PROTO_CONTENT_TYPE_SIZE];

    /* Private. */
    char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1]; /* CR LF - - boundary */
    size_t delimiter_size;
    size_t matched; /* bytes of the delimiter at the end of what came, which are no content yet */
    uint8_t step;
    char ending[2]; /* behind a delimiter */
    size_t ended;
    char head[MULTIPART_HEAD_MAX];
    size_t head_size;
};

/* From the field Content-Type. False: it is no form, or its boundary is missing or malformed. */
MUST_CHECK bool multipart_begin(struct multipart *multipart, struct http_text content_type);

/* True where CONTENT_TYPE says multipart/form-data, with or without a boundary. */
bool multipart_is_form(struct http_text content_type);

/* The next event of *BYTES, which is moved on by what was taken. CONTENT: a piece for MULTIPART_CONTENT, inside of what was taken or
 * of the struct, valid until the next call. */
enum multipart_event multipart_next(struct multipart *multipart, struct http_text *bytes,
                                    struct http_text *content);

/* Bytes from the end of a last part's content to the end of a body that is written as every known program does: delimiter, two
 * hyphens, CR LF. */
size_t multipart_tail(const struct multipart *multipart);

#endif
