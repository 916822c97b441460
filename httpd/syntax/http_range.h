/*
 * http_range: which bytes a Range field asks for (RFC 9110 section 14) and how a multipart/byteranges body is
 * framed. Pure: no I/O, no allocation.
 */
#ifndef REEL_HTTPD_HTTP_RANGE_H
#define REEL_HTTPD_HTTP_RANGE_H

#include "httpd/syntax/http_text.h"

#define HTTP_RANGES_MAX                                                                                      \
    32 /* ranges of one request that are looked at; a longer set is answered with the whole file */

/* Ranges whose gap is not above this are answered as one: the head of another part costs more. */
#define HTTP_RANGE_GAP_MAX 80

struct http_range {
    int64_t offset; /* bytes from the start of the file */
    int64_t length; /* bytes, at least 1 */
};

enum http_range_verdict {
    HTTP_RANGE_WHOLE,         /* ignore the field: 200 */
    HTTP_RANGE_PARTIAL,       /* 206 with COUNT ranges */
    HTTP_RANGE_UNSATISFIABLE, /* 416 */
};

struct http_range_set {
    size_t count;
    struct http_range ranges[HTTP_RANGES_MAX];
};

/* VALUE of the Range field against a file of SIZE bytes. The ranges come in the order of the request, those
 * that overlap or nearly touch joined. A field that breaks the grammar, has another unit or asks for more
 * than HTTP_RANGES_MAX ranges is ignored (section 14.2 lets a server do so). With several ranges left the
 * caller compares http_range_multipart_length() with SIZE: an answer that is longer than the file is useless
 * (section 17.15). */
enum http_range_verdict http_range_parse(struct http_text value, int64_t size, struct http_range_set *set);

/* ---- multipart/byteranges, section 14.6 ---- */

#define HTTP_RANGE_BOUNDARY_SIZE  25  /* with its NUL */
#define HTTP_RANGE_PART_HEAD_SIZE 320 /* enough for every head that http_range_part_head() writes */

/* A boundary out of 96 random bits; no file will ever contain it by chance.
 */
void http_range_boundary(const uint8_t random[12], char boundary[HTTP_RANGE_BOUNDARY_SIZE]);

/* Delimiter and fields that stand before the part; CONTENT_TYPE at most 127 bytes. Returns the number of
 * bytes. */
size_t http_range_part_head(char buffer[HTTP_RANGE_PART_HEAD_SIZE], const struct http_range *range,
                            int64_t size, const char *content_type, const char *boundary);

/* The delimiter that ends the body. */
size_t http_range_last_delimiter(char buffer[HTTP_RANGE_PART_HEAD_SIZE], const char *boundary);

/* Content-Length of the whole multipart body. */
int64_t http_range_multipart_length(const struct http_range_set *set, int64_t size, const char *content_type,
                                    const char *boundary);

#endif
