/*
 * http_link: where a request carries a signed link (common/auth/link_token.h): in its query, in the path before /files/, or in a cookie;
 * and texts without the part of one that must not be shown. Pure.
 *
 *   /files/...?e=EXPIRES&k=KEY&s=SIGNATURE     these three side by side, in this order, each once
 *   /t/KEY.EXPIRES.SCOPE.SIGNATURE/files/...   relative links inherit it
 *   Cookie: reel=KEY.EXPIRES.SCOPE.SIGNATURE
 */
#ifndef REEL_HTTPD_HTTP_LINK_H
#define REEL_HTTPD_HTTP_LINK_H

#include "common/auth/link_token.h"
#include "httpd/syntax/http_text.h"

#define HTTP_LINK_COOKIE_NAME "reel"

enum http_link_form {
    HTTP_LINK_NONE,
    HTTP_LINK_QUERY,
    HTTP_LINK_PATH,
    HTTP_LINK_COOKIE,
    HTTP_LINK_BROKEN, /* there is one, and it is not written as one must be */
    HTTP_LINK_SEVERAL,
};

/* Where in a request-target links are, as texts: whoever takes it apart (http_target_parse()) notes it in passing. */
struct http_link_marks {
    struct http_text path;     /* TOKEN of /t/TOKEN; BYTES NULL: the path begins in another way */
    struct link_part parts[3]; /* of the query: e, k, s */
    uint8_t count;             /* how many of them there were, each in its turn */
    bool apart;                /* another parameter has come behind the first of them */
    bool broken;               /* one was out of turn */
};

/* The next parameter of the query. True: it is a link's, and nothing else. */
MUST_CHECK bool http_link_mark(struct http_link_marks *marks, struct http_text parameter);

/* The link in a target and in COOKIES, the values of all Cookie lines. TOKEN is filled for the first three forms that are there. */
enum http_link_form http_link_find(const struct http_link_marks *marks, const struct http_text *cookies,
                                   size_t count, struct link_token *token);

/* PATH (beginning with its slash) without a well-formed /t/TOKEN before it, which is noted in MARKS however it is written. */
struct http_text http_link_strip(struct http_text path, struct http_link_marks *marks);

/* TEXT, a target or the address of a page, with *** in the place of signatures: the values of `s` in its query, however that is
 * written, and what is behind the last dot of a token in its path, also below a path of a proxy. Cut to SIZE bytes; returns how many
 * were written. */
size_t http_link_mask(struct http_text text, char *out, size_t size);

#endif
