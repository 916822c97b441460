/*
 * http_client: heads are read byte by byte, so that what follows stays in the socket.
 */
#include "tests/unit/library/http_client.h"
#include "tests/unit/library/scripted_peer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

void http_send(int fd, const char *text)
{
    peer_put(fd, text, strlen(text));
}

bool http_answer_has(const struct http_answer *answer, const char *line)
{
    char wanted[512];
    snprintf(wanted, sizeof(wanted), "\r\n%s\r\n", line);
    return strstr(answer->head, wanted) != NULL;
}

void http_answer_read(int fd, bool head_only, struct http_answer *answer)
{
    size_t used = 0;
    memset(answer, 0, sizeof(*answer));
    while (strstr(answer->head, "\r\n\r\n") == NULL) {
        assert_true(used + 1 < sizeof(answer->head));
        assert_int_equal(recv(fd, answer->head + used++, 1, 0), 1);
    }
    assert_int_equal(sscanf(answer->head, "HTTP/1.1 %d", &answer->status), 1);
    const char *length = strstr(answer->head, "\r\nContent-Length: ");
    size_t wanted = length != NULL && !head_only ? strtoul(length + 18, NULL, 10) : 0;
    answer->body = malloc(wanted + 1);
    assert_non_null(answer->body);
    while (answer->size < wanted) {
        ssize_t got = recv(fd, answer->body + answer->size, wanted - answer->size, 0);
        if (got <= 0)
            break;
        answer->size += (size_t)got;
    }
    answer->body[answer->size] = '\0';
    answer->whole = answer->size == wanted;
}

struct http_answer http_ask(int fd, const char *method, const char *path, const char *fields)
{
    struct http_answer answer;
    char request[1024];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, fields);
    http_send(fd, request);
    http_answer_read(fd, strcmp(method, "HEAD") == 0, &answer);
    close(fd);
    return answer;
}
