/*
 * http_client: an HTTP client with blocking sockets that shows every byte of an answer. Failures end the test.
 */
#ifndef REEL_TESTS_HTTP_CLIENT_H
#define REEL_TESTS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_answer {
    int status;
    char head[8192];
    uint8_t *body; /* to be freed; with a NUL behind it */
    size_t size;
    bool whole; /* as long as Content-Length says */
};

/* Sends TEXT as it is. */
void http_send(int fd, const char *text);

/* The next answer of the connection; HEAD_ONLY: to a request whose answer has no body. */
void http_answer_read(int fd, bool head_only, struct http_answer *answer);

/* One request on the connection FD, which is closed then: FIELDS are whole lines. */
struct http_answer http_ask(int fd, const char *method, const char *path, const char *fields);

/* True where the head has exactly this LINE. */
bool http_answer_has(const struct http_answer *answer, const char *line);

#endif
