/*
 * http_request: one request head, parsed as its bytes come (RFC 9112). The only file that knows the parser
 * library (http-parser), whose tolerance it takes back where two readers of one stream could disagree. No
 * I/O, no allocation: the bytes stay in the caller's buffer and the fields point into it by offset, so that
 * the buffer may move between calls.
 *
 * Chosen tolerance: a bare LF ends a line of the head (RFC 9112 section 2.2 allows it, old scripts send it);
 * a chunked body's framing takes CRLF only. Refused with 400: folded lines (obs-fold), space before a colon,
 * a bare CR, NUL and other control characters, more than one Host, any repeated or malformed Content-Length,
 * Content-Length beside Transfer-Encoding, Transfer-Encoding in HTTP/1.0, and a request line with anything
 * but single spaces between its parts.
 */
#ifndef REEL_HTTPD_HTTP_REQUEST_H
#define REEL_HTTPD_HTTP_REQUEST_H

#include "httpd/syntax/http_conditions.h"
#include "httpd/syntax/http_text.h"

/* Fields that are used here. */
enum http_field {
    HTTP_FIELD_HOST,
    HTTP_FIELD_CONNECTION,
    HTTP_FIELD_CONTENT_LENGTH,
    HTTP_FIELD_TRANSFER_ENCODING,
    HTTP_FIELD_EXPECT,
    HTTP_FIELD_RANGE,
    HTTP_FIELD_IF_MATCH,
    HTTP_FIELD_IF_NONE_MATCH,
    HTTP_FIELD_IF_MODIFIED_SINCE,
    HTTP_FIELD_IF_UNMODIFIED_SINCE,
    HTTP_FIELD_IF_RANGE,
    HTTP_FIELD_ACCEPT,
    HTTP_FIELD_ACCEPT_ENCODING,
    HTTP_FIELD_ORIGIN,
    HTTP_FIELD_ACCESS_CONTROL_REQUEST_METHOD,
    HTTP_FIELD_ACCESS_CONTROL_REQUEST_HEADERS,
    HTTP_FIELD_REFERER,
    HTTP_FIELD_USER_AGENT,
    HTTP_FIELD_X_FORWARDED_FOR,
    HTTP_FIELD_FORWARDED,
    HTTP_FIELD_DLNA_FEATURES,
    HTTP_FIELD_DLNA_TRANSFER_MODE,
    HTTP_FIELD_COOKIE,
    HTTP_FIELD_AUTHORIZATION,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_CONTENT_DISPOSITION,
    HTTP_FIELD_CONTENT_ENCODING,
    HTTP_FIELD_CONTENT_RANGE,
    HTTP_FIELD_CONTENT_DIGEST,
    HTTP_FIELD_REPR_DIGEST,
    HTTP_FIELD_REEL_DIGEST,
    HTTP_FIELD_METHOD_OVERRIDE,
    HTTP_FIELD_TUS_RESUMABLE,
    HTTP_FIELD_UPLOAD_LENGTH,
    HTTP_FIELD_UPLOAD_DEFER_LENGTH,
    HTTP_FIELD_UPLOAD_OFFSET,
    HTTP_FIELD_UPLOAD_METADATA,
    HTTP_FIELD_UPLOAD_CHECKSUM,
    HTTP_FIELD_UPLOAD_CONCAT,
    HTTP_FIELD_UPLOAD_COMPLETE,
    HTTP_FIELD_UPLOAD_INTEROP,
    HTTP_FIELD_TRACEPARENT, /* W3C Trace Context, section 3.2 */
    HTTP_FIELD_COUNT
};

enum http_request_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_PUT,
    HTTP_METHOD_POST,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_OTHER
};

enum http_request_state {
    HTTP_REQUEST_MORE,  /* the head is not complete: call again with more bytes */
    HTTP_REQUEST_HEAD,  /* the head is complete */
    HTTP_REQUEST_ERROR, /* STATUS and REASON say what to answer; then the connection must be closed */
};

/* How the end of the request's body is found (RFC 9112 section 6.3). */
enum http_body_kind { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED };

struct http_request_limits {
    size_t target_max; /* bytes of the request-target; longer: 414 */
    size_t head_max;   /* bytes of the whole head, at most 65,535; longer: 431 */
    size_t fields_max; /* lines; more: 431 */
};

struct http_slice {
    uint16_t offset, size; /* in the buffer that holds the head */
};

/* A further line of a field that had one before. */
struct http_repeated_field {
    uint8_t field;
    struct http_slice value;
};
#define HTTP_REPEATED_FIELDS_MAX 8

struct http_request {
    /* The outcome. */
    enum http_request_method method;
    struct http_slice method_text;
    struct http_slice target;
    uint8_t minor_version; /* of HTTP/1.x */
    bool keep_alive;       /* what version and Connection say together (RFC 9112 section 9.3) */
    bool expect_continue;
    enum http_body_kind body_kind;
    int64_t body_length; /* HTTP_BODY_LENGTH */
    uint16_t head_size;  /* bytes of the head, blank line included, from the buffer's start */
    uint16_t status;     /* HTTP_REQUEST_ERROR: what to answer */
    const char *reason;  /* static text for a person */
    uint64_t present;    /* bit set by enum http_field */
    struct http_slice fields[HTTP_FIELD_COUNT];
    struct http_repeated_field repeated[HTTP_REPEATED_FIELDS_MAX];
    uint8_t repeated_count;

    /* Private. */
    _Alignas(8) unsigned char parser[32];
    const struct http_request_limits *limits; /* during a call */
    const char *base;                         /* of the buffer, during a call */
    struct http_slice name, value;
    uint16_t parsed; /* bytes of the buffer that the parser has taken */
    uint16_t field_count;
    uint8_t last; /* what the last callback was about */
    bool complete;
};

/* Begins a request. */
void http_request_init(struct http_request *request);

/* BASE holds SIZE bytes of which the first ones are those of the calls before. Line ends before the request
 * line are part of the head. Every byte is parsed once. */
enum http_request_state http_request_parse(struct http_request *request,
                                           const struct http_request_limits *limits, const char *base,
                                           size_t size);

/* The value of FIELD, its first line; BYTES NULL where it is absent. */
struct http_text http_request_field(const struct http_request *request, const char *base,
                                    enum http_field field);
/* How many lines FIELD has. */
size_t http_request_field_count(const struct http_request *request, enum http_field field);
struct http_text http_request_text(const char *base, struct http_slice slice);

/* All lines of FIELD, in their order, into LINES (room for HTTP_CONDITION_FIELDS_MAX). False where there are more. */
bool http_request_lines(const struct http_request *request, const char *base, enum http_field field,
                        struct http_text *lines, size_t *count);

/* The conditions of section 13. False: more lines of one field than are looked at; answer 431. */
MUST_CHECK bool http_request_conditions(const struct http_request *request, const char *base,
                                        struct http_conditions *conditions);

#endif
