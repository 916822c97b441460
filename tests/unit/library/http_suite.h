/*
 * http_suite: reel-httpd in front of a real tracker, ID server and storage server, each a process of its own, and requests to it, for
 * tests of what is only there as a whole. Failures end the test.
 */
#ifndef REEL_TESTS_HTTP_SUITE_H
#define REEL_TESTS_HTTP_SUITE_H

#include "common/auth/token.h"
#include "tests/unit/library/http_client.h"
#include "tests/unit/library/real_daemon.h"

#define HTTP_SUITE_BEARER_SIZE (TOKEN_TEXT_SIZE + 32)

extern struct real_daemon http_suite_tracker, http_suite_httpd;
extern char http_suite_keys[80]; /* a keys file with one key, of the role issuer */

/* Starts everything; MORE: lines of reel-httpd's section. */
void http_suite_start(const char *more);
void http_suite_stop(void);
/* reel-httpd anew with other lines. */
void http_suite_restart(const char *more);

/* One request. A BODY of SIZE bytes has Content-Length unless FIELDS (lines with CRLF) say chunked; NULL: there is none. */
struct http_answer http_suite_ask_on(int fd, const char *method, const char *target, const char *fields,
                                     const char *body, size_t size);
/* On a connection of its own. */
struct http_answer http_suite_ask(const char *method, const char *target, const char *fields,
                                  const char *body);

struct http_suite_row {
    const char *method, *target, *fields, *body;
    int status;
};
void http_suite_expect(const struct http_suite_row *row);
void http_suite_expect_all(const struct http_suite_row *rows, size_t count);

#define HTTP_SUITE_EXPECT(...)                                                                               \
    do {                                                                                                     \
        static const struct http_suite_row rows_[] = {__VA_ARGS__};                                          \
        http_suite_expect_all(rows_, ARRAY_SIZE(rows_));                                                     \
    } while (0)

/* The value of the field NAME, which is there. */
void http_suite_field(const struct http_answer *answer, const char *name, char *value, size_t size);

/* What USER of tnvideo may have, in bytes. */
void http_suite_quota(const char *user, int64_t bytes);

/* FIELDS: Authorization with a token for USER of tnvideo, good for SECONDS. Returns FIELDS. */
const char *http_suite_bearer_for(const char *rights, const char *user, int seconds,
                                  char fields[HTTP_SUITE_BEARER_SIZE]);
/* The same, good for ten minutes. */
const char *http_suite_bearer(const char *rights, const char *user, char fields[HTTP_SUITE_BEARER_SIZE]);

#endif
