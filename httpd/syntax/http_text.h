/*
 * http_text: a piece of text inside somebody else's buffer, and the few ways in which HTTP takes such pieces
 * apart. Pure; used by everything in this folder that reads a request.
 */
#ifndef REEL_HTTPD_HTTP_TEXT_H
#define REEL_HTTPD_HTTP_TEXT_H

#include "common/base/base.h"

/* Not NUL-terminated; valid as long as the buffer it points into. BYTES NULL: absent, where that differs from
 * empty. */
struct http_text {
    const char *bytes;
    size_t size;
};

struct http_text http_text_of(const char *string);

/* Same bytes / same but for the case of ASCII letters. */
bool http_text_equal(struct http_text text, const char *string);
bool http_text_equal_nocase(struct http_text text, const char *string);

/* Without the spaces and tabs around it (OWS, RFC 9110 section 5.6.3). */
struct http_text http_text_trim(struct http_text text);

/* The next non-empty element of a list separated by commas (RFC 9110 section 5.6.1), trimmed; a comma inside
 * a quoted string does not separate. REST is moved on. False at the end. */
bool http_text_next_item(struct http_text *rest, struct http_text *item);

/* A decimal number without sign; one too large for int64_t gives INT64_MAX. False where there is no digit or
 * anything else stands there. */
bool http_text_number(struct http_text text, int64_t *number);

/* tchar of RFC 9110 section 5.6.2. */
bool http_text_is_token_character(char c);

/* Percent-decoding (RFC 3986 section 2.1), once, into OUT of CAPACITY bytes. PLUS: '+' is a space. Returns
 * the number of bytes, HTTP_TEXT_BROKEN for a '%' without two hex digits or a NUL, HTTP_TEXT_LONG where
 * CAPACITY is too small. */
#define HTTP_TEXT_BROKEN (-1)
#define HTTP_TEXT_LONG   (-2)
int64_t http_text_percent_decode(struct http_text text, bool plus, char *out, size_t capacity);

#endif
