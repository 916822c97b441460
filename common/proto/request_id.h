/*
 * request_id: the 128 bits that name a request on its way through every daemon that handles it (docs/operations.md,
 * "Following one request"): made by reel-httpd and libreel, or taken from a W3C traceparent. They travel behind the NUL of the file ID of the
 * requests that begin with a file's key, where servers that do not know them ignore them (docs/protocol.md). Pure, but for
 * request_id_make(); any thread.
 */
#ifndef REEL_COMMON_REQUEST_ID_H
#define REEL_COMMON_REQUEST_ID_H

#include "common/base/base.h"

#define REQUEST_ID_BYTES     16
#define REQUEST_ID_TEXT_SIZE (2 * REQUEST_ID_BYTES + 1)

struct request_id {
    uint8_t bytes[REQUEST_ID_BYTES]; /* zeros: none */
    bool traced; /* somebody traces it: the daemons also log that they answered, not only failures */
};

/* 128 bits that nobody else makes. */
void request_id_make(struct request_id *id);

bool request_id_is_set(const struct request_id *id);

/* 32 lower-case hex digits. Returns TEXT. */
char *request_id_text(const struct request_id *id, char text[REQUEST_ID_TEXT_SIZE]);

/* The same the other way round, upper-case digits too. False: SIZE bytes of TEXT are something else, or zeros. */
MUST_CHECK bool request_id_parse(const char *text, size_t size, struct request_id *id);

/* The trace-id of a traceparent (W3C Trace Context, section 3.2), traced where its flag "sampled" is set. False: it is none. */
MUST_CHECK bool request_id_of_traceparent(const char *text, size_t size, struct request_id *id);

/* Into the SIZE bytes of a packed request that begins with a file's key. Nothing where ID is none, the request has no such key, or the file
 * ID leaves no room. */
void request_id_put(uint8_t *body, size_t size, const struct request_id *id);

/* From the first SIZE bytes of a request's body. False: there is none. */
bool request_id_get(const uint8_t *head, size_t size, struct request_id *id);

#endif
