/*
 * http_sniff: reads the first bytes of a file from a storage server to find out what it is, for rows that do
 * not say, and whether a text is in UTF-8. Called by http_lookup; one loop's thread only.
 */
#ifndef REEL_HTTPD_HTTP_SNIFF_H
#define REEL_HTTPD_HTTP_SNIFF_H

#include "client/core/client.h"

struct http_sniff;

/* HAD: the bytes could be read; if not, the request has not failed, and nothing is known of what they are. TYPE: static text; NULL when
 * they say nothing. UTF8: they are, as far as was read. Exactly once, from the loop. */
typedef void (*http_sniff_callback)(void *argument, bool had, const char *type, bool utf8);

struct http_sniff_options {
    struct client *client;
    struct loop *loop;
    const struct proto_file_key *key;
    int64_t size;          /* of the file, at least 1 */
    const uint8_t *digest; /* that it has; NULL: not known */
    http_sniff_callback done;
    void *argument;
};

/* NULL only without memory. */
MUST_CHECK struct http_sniff *http_sniff_start(const struct http_sniff_options *options);
/* The callback will not come. NULL is ignored. */
void http_sniff_cancel(struct http_sniff *sniff);

#endif
