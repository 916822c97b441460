/*
 * http_suite: see http_suite.h. The storage server lies in a directory of its own below /tmp; a token is signed with the one key that
 * the keys file has.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/http_suite.h"

#include "common/auth/keys_file.h"
#include "common/auth/token.h"
#include "common/base/clock.h"
#include "common/proto/proto_quota.h"
#include "common/proto/proto_tracker.h"
#include "tests/unit/library/scripted_peer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ISSUER_LINE "app-1 issuer AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

struct real_daemon http_suite_tracker, http_suite_httpd;
char http_suite_keys[80];
static struct real_daemon idserver, storage;
static char volume[64];

void http_suite_restart(const char *more)
{
    char text[1024];
    if (http_suite_httpd.pid != 0)
        real_daemon_stop(&http_suite_httpd);
    snprintf(text, sizeof(text), "trackers = 127.0.0.1:%u\n%s\n[daemon]\nloops = 1\nstop_timeout = 1s\n",
             http_suite_tracker.port, more);
    real_daemon_start(&http_suite_httpd, "httpd", false, text);
}

void http_suite_start(const char *more)
{
    char text[1024];
    struct proto_group change = {.group = "group001", .change = PROTO_GROUP_ADD, .weight = 100};
    uint8_t body[PROTO_GROUP_CHANGE_SIZE];
    struct error error;
    snprintf(volume, sizeof(volume), "/tmp/reel-volume-test-XXXXXX");
    assert_non_null(mkdtemp(volume));
    real_daemon_start(&http_suite_tracker, "tracker", true, "groups_refresh = 200ms");
    assert_true(proto_group_pack(body, &change, &error));
    int fd = real_daemon_connect(&http_suite_tracker);
    assert_int_equal(real_daemon_code(fd, PROTO_TRACKER_GROUP, body, sizeof(body)), ERROR_NONE);
    close(fd);
    real_daemon_start(&idserver, "idserver", true, NULL);
    snprintf(text, sizeof(text),
             "group = group001\npaths = ../data=%s\ntrackers = 127.0.0.1:%u\nidservers = 127.0.0.1:%u\n"
             "heartbeat_interval = 200ms\nreserve_space = 0\nreserve_inodes = 0\nupload_rate_min = 0\n",
             volume, http_suite_tracker.port, idserver.port);
    real_daemon_start(&storage, "storage", true, text);
    assert_true(real_daemon_shows(&http_suite_tracker, "/status", "ACTIVE"));
    snprintf(http_suite_keys, sizeof(http_suite_keys), "%s.keys", volume);
    write_text(http_suite_keys, ISSUER_LINE);
    http_suite_restart(more);
}

void http_suite_stop(void)
{
    real_daemon_stop(&http_suite_httpd);
    real_daemon_stop(&storage);
    real_daemon_stop(&idserver);
    real_daemon_stop(&http_suite_tracker);
    assert_int_equal(unlink(http_suite_keys), 0);
    remove_tree(volume);
}

/* ---- requests ---- */

struct http_answer http_suite_ask_on(int fd, const char *method, const char *target, const char *fields,
                                     const char *body, size_t size)
{
    char head[4096], length[48] = "";
    struct http_answer answer;
    if (body && !strstr(fields, "chunked"))
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", size);
    int used =
        snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n", method, target, length, fields);
    assert_in_range(used, 1, sizeof(head) - 1);
    http_send(fd, head);
    if (body && size > 0)
        peer_put(fd, body, size);
    http_answer_read(fd, strcmp(method, "HEAD") == 0, &answer);
    return answer;
}

struct http_answer http_suite_ask(const char *method, const char *target, const char *fields,
                                  const char *body)
{
    int fd = real_daemon_connect(&http_suite_httpd);
    struct http_answer answer = http_suite_ask_on(fd, method, target, fields, body, body ? strlen(body) : 0);
    close(fd);
    return answer;
}

void http_suite_expect(const struct http_suite_row *row)
{
    struct http_answer answer = http_suite_ask(row->method, row->target, row->fields, row->body);
    if (answer.status != row->status)
        fail_msg("%s %s (%s): %d instead of %d: %s", row->method, row->target, row->fields, answer.status,
                 row->status, (const char *)answer.body);
    free(answer.body);
}

void http_suite_expect_all(const struct http_suite_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        http_suite_expect(&rows[i]);
}

void http_suite_field(const struct http_answer *answer, const char *name, char *value, size_t size)
{
    char start[64];
    snprintf(start, sizeof(start), "\r\n%s: ", name);
    const char *at = strstr(answer->head, start);
    assert_non_null(at);
    at += strlen(start);
    snprintf(value, size, "%.*s", (int)strcspn(at, "\r"), at);
}

void http_suite_quota(const char *user, int64_t bytes)
{
    struct proto_set_quota set = {.key.application = "tnvideo", .bytes = bytes, .files = PROTO_QUOTA_KEEP};
    uint8_t body[PROTO_SET_QUOTA_SIZE];
    struct error error;
    snprintf(set.key.user, sizeof(set.key.user), "%s", user);
    assert_true(proto_set_quota_pack(body, &set, &error));
    int fd = real_daemon_connect(&storage);
    assert_int_equal(real_daemon_code(fd, PROTO_STORAGE_SET_QUOTA, body, sizeof(body)), ERROR_NONE);
    close(fd);
}

const char *http_suite_bearer(const char *rights, const char *user, char fields[HTTP_SUITE_BEARER_SIZE])
{
    return http_suite_bearer_for(rights, user, 600, fields);
}

const char *http_suite_bearer_for(const char *rights, const char *user, int seconds,
                                  char fields[HTTP_SUITE_BEARER_SIZE])
{
    struct error error;
    struct keys *keys = keys_parse(ISSUER_LINE, strlen(ISSUER_LINE), "keys", &error);
    struct proto_token token = {.expires = clock_wall_seconds() + seconds, .application = "tnvideo"};
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    char text[TOKEN_TEXT_SIZE];
    unsigned bits;
    assert_non_null(keys);
    assert_true(key_rights_parse(rights, &bits));
    token.rights = (uint8_t)bits;
    snprintf(token.user, sizeof(token.user), "%s", user);
    size_t size = token_sign(keys_find(keys, "app-1"), &token, body, &error);
    assert_int_not_equal(size, 0);
    token_format(body, size, text);
    keys_release(keys);
    snprintf(fields, HTTP_SUITE_BEARER_SIZE, "Authorization: Bearer %s\r\n", text);
    return fields;
}
