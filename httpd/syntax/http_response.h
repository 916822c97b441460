/*
 * http_response: writes a response's status line and fields into a buffer, and sends such a buffer. No
 * allocation.
 */
#ifndef REEL_HTTPD_HTTP_RESPONSE_H
#define REEL_HTTPD_HTTP_RESPONSE_H

#include "common/transport/transport.h"
#include "httpd/syntax/http_date.h"
#include "httpd/syntax/http_text.h"

/* Bytes on their way to a socket: written at END, sent from START. */
struct http_output {
    char *bytes;
    uint32_t start, end;
    uint32_t capacity;
    bool overflow; /* something did not fit and was left out: the output must not be used */
};

static inline size_t http_output_pending(const struct http_output *out)
{
    return out->end - out->start;
}

void http_output_append(struct http_output *out, const void *bytes, size_t size);
void http_output_text(struct http_output *out, const char *text);
void http_output_number(struct http_output *out, int64_t number);
/* TEXT as one segment of a path: everything but letters, digits and -._~ as %XX. */
void http_output_segment(struct http_output *out, const char *text);
#define HTTP_OUTPUT_LITERAL(out, literal) http_output_append(out, literal, sizeof(literal) - 1)

/* Sends what is pending. MORE: bytes follow soon (MSG_MORE). *SENT: bytes that left. False with errno set:
 * EAGAIN when the socket takes no more now, else the connection is broken. */
MUST_CHECK bool http_output_flush(struct http_output *out, struct transport to, bool more, size_t *sent);

/* The Date field of a loop, written once a second. */
struct http_clock {
    int64_t second; /* wall time */
    char date[HTTP_DATE_SIZE];
};
/* Reads the clock; returns the second. */
int64_t http_clock_read(struct http_clock *clock);

/* Status line and Date, then SERVER (the whole line with CRLF, or ""). */
void http_response_begin(struct http_output *out, int status, const struct http_clock *clock,
                         const char *server);
void http_response_field(struct http_output *out, const char *name, const char *value);
void http_response_content_length(struct http_output *out, int64_t length);
/* Connection where it differs from the default of the request's version, then the empty line. */
void http_response_end(struct http_output *out, bool keep_alive, int minor_version);

/* The status line of an interim answer. */
void http_response_interim(struct http_output *out, int status);

/* The body of an error answer, as JSON or plain text: status, phrase, what happened, request ID. BUFFER is
 * filled and NUL-terminated, cut where SIZE is too small. Returns the number of bytes. MESSAGE is plain text
 * of ours. */
size_t http_error_body(char *buffer, size_t size, bool json, int status, const char *message,
                       const char *request_id);

/* True when an Accept-Encoding field (BYTES NULL: absent) takes gzip (RFC 9110 section 12.5.3). */
bool http_accept_gzip(struct http_text accept_encoding);

/* True when an Accept field (BYTES NULL: absent) prefers JSON to plain text. */
bool http_accept_prefers_json(struct http_text accept);

#endif
