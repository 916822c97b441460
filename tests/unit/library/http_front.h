/*
 * http_front: reel-httpd, a process of its own, in front of scripted servers (scripted_cluster.h), and requests to it. One per program.
 * For tests only. Failures end the test.
 */
#ifndef REEL_TESTS_HTTP_FRONT_H
#define REEL_TESTS_HTTP_FRONT_H

#include "tests/unit/library/http_client.h"
#include "tests/unit/library/real_daemon.h"
#include "tests/unit/library/scripted_cluster.h"

#define HTTP_FRONT_TEXT_SIZE 1024

struct http_front {
    struct fake_cluster cluster; /* the test starts it */
    struct real_daemon httpd;
    char volume[64]; /* of a local group, which is removed in the end; "": none */
};
extern struct http_front http_front;

/* The configuration, with the cluster's trackers: MORE are lines of reel-httpd's section. Returns TEXT. */
char *http_front_text(char text[HTTP_FRONT_TEXT_SIZE], const char *more);
/* Starts reel-httpd with it. */
void http_front_start(const char *more);
/* Stops both. */
void http_front_stop(void);
/* Also behind a test that failed in its middle. */
int http_front_tear_down(void **state);

/* One request without a body, on a connection of its own. */
struct http_answer http_front_ask(const char *method, const char *path, const char *fields);

#endif
