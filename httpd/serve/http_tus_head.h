/*
 * http_tus_head: a request of tus 1.0.0 (https://tus.io/protocols/resumable-upload), read and checked: part of http_tus (http_tus.h). On
 * the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_TUS_HEAD_H
#define REEL_HTTPD_HTTP_TUS_HEAD_H

#include "httpd/serve/http_access.h"
#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"
#include "httpd/syntax/tus_syntax.h"

#define HTTP_TUS_TEXT_SIZE    1024 /* of metadata and parts that an address carries, NUL included */
#define HTTP_TUS_CONTENT_TYPE "application/offset+octet-stream"

struct http_tus {
    struct http_grant grant;
    struct proto_put put; /* of a new one: key, size, name, type */
    struct proto_partial partial;
    struct proto_partial_state state;
    enum tus_kind kind;
    enum http_request_method method; /* X-HTTP-Method-Override looked at */
    bool body_pending;               /* a refusal has to look after it */
    bool has_content;                /* and it is to be appended */
    int64_t offset;                  /* Upload-Offset; -1: none */
    int64_t length;                  /* Upload-Length; -1: none */
    bool draft;                      /* by the IETF's draft, not tus */
    bool has_complete, completes;    /* its Upload-Complete; ?1 */
    bool has_hash;
    enum content_hash_kind hash_kind;
    uint8_t hash[CONTENT_HASH_SIZE_MAX];
    char metadata[HTTP_TUS_TEXT_SIZE],
        concat[HTTP_TUS_TEXT_SIZE]; /* as they were said; "": not, or too long to be carried */
    uint8_t *parts;                 /* tokens of a final upload */
    size_t part_count;
    struct client_operation *operation;
};

/* What all requests have: version, token, method, offset, length, checksum. 0, or the status to answer, and *MESSAGE. */
int http_tus_head_read(struct http_connection *connection, const struct http_target *target,
                       const char **message);

/* The same by the IETF's draft; and what only the request has that creates an upload: name, type, digest. */
int http_tus_head_draft(struct http_connection *connection, const struct http_target *target,
                        const char **message);
int http_tus_head_draft_creation(struct http_connection *connection, const struct http_target *target,
                                 const char **message);

/* What only a POST has, which creates an upload: its kind, parts and metadata. Likewise. */
int http_tus_head_creation(struct http_connection *connection, const char **message);

/* What the address of an upload carries of its creation. */
void http_tus_head_carried(const struct http_target *target, struct http_tus *tus);

#endif
