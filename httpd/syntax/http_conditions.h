/*
 * http_conditions: conditional requests (RFC 9110 section 13). Pure.
 */
#ifndef REEL_HTTPD_HTTP_CONDITIONS_H
#define REEL_HTTPD_HTTP_CONDITIONS_H

#include "httpd/syntax/http_text.h"

#define HTTP_CONDITION_FIELDS_MAX 4 /* lines of one list field that a request may have */

struct http_conditions {
    /* List fields, which a request may spread over several lines. */
    struct http_text if_match[HTTP_CONDITION_FIELDS_MAX];
    size_t if_match_count;
    struct http_text if_none_match[HTTP_CONDITION_FIELDS_MAX];
    size_t if_none_match_count;
    /* BYTES NULL: absent. */
    struct http_text if_modified_since;
    struct http_text if_unmodified_since;
    struct http_text if_range;
};

struct http_validators {
    const char *etag;      /* strong, with its quotes */
    int64_t last_modified; /* seconds since the epoch; 0: unknown, then date conditions are ignored
                              (section 13.1.3) */
};

enum http_condition_verdict {
    HTTP_CONDITION_PROCEED,
    HTTP_CONDITION_NOT_MODIFIED, /* 304 */
    HTTP_CONDITION_FAILED,       /* 412 */
};

/* For GET and HEAD of something that exists, in the order of section 13.2.2, If-Range aside. NOW: seconds
 * since the epoch, for two-digit years. */
enum http_condition_verdict http_conditions_evaluate(const struct http_conditions *conditions,
                                                     const struct http_validators *validators, int64_t now);

/* Section 13.1.5: true when a Range field is to be followed (also without If-Range). */
bool http_conditions_range_applies(const struct http_conditions *conditions,
                                   const struct http_validators *validators, int64_t now);

#endif
