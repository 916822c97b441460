/*
 * The web page and the JSON API as a whole: reel-httpd in front of a real tracker, ID server and storage server: who may, files on their
 * way into the trash and out of it, links, the state of everything, the page's files and what may keep them.
 */
#include "tests/unit/library/http_suite.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FILES "/api/v1/files/tnvideo/alice"
#define JSON  "Content-Type: application/json\r\n"

static int start_suite(void **state)
{
    (void)state;
    http_suite_start("write = open\nweb = on");
    return 0;
}

static int stop_suite(void **state)
{
    (void)state;
    http_suite_stop();
    return 0;
}

/* The JSON of an answer, which has STATUS. */
static json_t *ask_json(const char *method, const char *target, const char *fields, const char *body,
                        int status)
{
    json_error_t error;
    struct http_answer answer = http_suite_ask(method, target, fields, body);
    if (answer.status != status)
        fail_msg("%s %s: %d: %s", method, target, answer.status, (const char *)answer.body);
    assert_non_null(strstr(answer.head, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(answer.head, "\r\nCache-Control: no-store\r\n"));
    json_t *object = json_loads((const char *)answer.body, 0, &error);
    if (!object)
        fail_msg("%s: %s", (const char *)answer.body, error.text);
    free(answer.body);
    return object;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static int64_t number_of(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

static void restart(const char *options)
{
    char more[512];
    snprintf(more, sizeof(more), "%s\n[auth]\nkeys = %s\n[httpd]", options, http_suite_keys);
    http_suite_restart(more);
}

static void a_file_goes_into_the_trash_and_comes_back(void **state)
{
    (void)state;
    HTTP_SUITE_EXPECT({"PUT", "/files/tnvideo/alice/a", "", "0123456789", 201},
                      {"PUT", "/files/tnvideo/alice/b?name=film.mp4", "", "0123", 201});
    json_t *list = ask_json("GET", FILES "?sort=size&order=desc&limit=1", "", NULL, 200);
    const json_t *first = json_array_get(json_object_get(list, "files"), 0);
    assert_string_equal(text_of(first, "path"), "/tnvideo/alice/a");
    assert_int_equal(number_of(first, "size"), 10);
    assert_int_equal(number_of(list, "matched"), 2);
    assert_true(text_of(list, "next")[0] != '\0');
    json_decref(list);
    json_t *file = ask_json("GET", FILES "/b", "", NULL, 200);
    assert_string_equal(text_of(file, "name"), "film.mp4");
    json_decref(file);
    HTTP_SUITE_EXPECT(
        {"DELETE", FILES "/a", "", NULL, 204}, {"DELETE", FILES "/a", "", NULL, 410},
        {"POST", FILES "/a/link", JSON, "{}", 410}, {"GET", "/files/tnvideo/alice/a", "", NULL, 404},
        {"POST", FILES "/a/restore", "", "{}", 415}, {"POST", FILES "/none/restore", JSON, "{}", 404},
        {"POST", FILES "/a/restore", JSON "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", 204},
        {"GET", FILES "/none", "", NULL, 404}, {"GET", "/files/tnvideo/alice/a", "", NULL, 200});
    json_t *link = ask_json("POST", FILES "/a/link", JSON, "", 200);
    assert_string_equal(text_of(link, "path"), "/files/tnvideo/alice/a");
    json_decref(link);
    json_t *quota = ask_json("GET", "/api/v1/quota/tnvideo/alice", "", NULL, 200);
    assert_true(json_is_null(json_object_get(quota, "bytes"))); /* no limit is configured */
    json_decref(quota);
    json_decref(ask_json("GET", "/api/v1/quota/tnvideo/never-seen", "", NULL, 200));
    json_decref(ask_json("GET", FILES "?state=deleted", "", NULL, 200));
    json_t *session =
        ask_json("GET", "/api/v1/session", "", NULL, 200); /* of nobody, who may do everything */
    assert_string_equal(text_of(session, "rights"), "rwdl");
    assert_true(json_is_true(json_object_get(session, "writes")));
    assert_true(json_is_false(json_object_get(session, "operates")));
    json_decref(session);
    json_decref(ask_json("GET", "/api/v1/status", "", NULL, 403));
}

static void addresses_have_their_methods(void **state)
{
    (void)state;
    HTTP_SUITE_EXPECT({"GET", "/api/v1/nothing", "", NULL, 404}, {"GET", FILES "?limit=0", "", NULL, 400},
                      {"PUT", FILES "/a", "", "x", 405}, {"POST", FILES, JSON, "x", 405},
                      {"DELETE", FILES, "", NULL, 405}, {"OPTIONS", FILES "/a", "", NULL, 204},
                      {"HEAD", FILES, "", NULL, 200}, {"GET", FILES "/a/restore", "", NULL, 405},
                      {"POST", FILES "/a/restore", JSON "Content-Length: 100000\r\n", NULL, 413});
    json_t *refusal = ask_json("POST", "/api/v1/session", JSON, "{}", 405);
    assert_int_equal(number_of(refusal, "status"), 405);
    json_decref(refusal);
}

static void the_page_is_sent_whole_packed_or_not_at_all(void **state)
{
    char etag[64], fields[128];
    (void)state;
    struct http_answer answer = http_suite_ask("GET", "/", "", NULL);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr((const char *)answer.body, "\"web/main.js\""));
    assert_non_null(
        strstr(answer.head, "\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; "));
    http_suite_field(&answer, "ETag", etag, sizeof(etag));
    free(answer.body);
    snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", etag);
    http_suite_expect(&(struct http_suite_row){"GET", "/", fields, NULL, 304});
    http_suite_expect(&(struct http_suite_row){"GET", "/admin", fields, NULL, 304});
    answer = http_suite_ask("GET", "/web/main.js", "Accept-Encoding: gzip\r\n", NULL);
    assert_int_equal(answer.status, 200);
    assert_true(http_answer_has(&answer, "Content-Encoding: gzip"));
    assert_true(answer.size > 2 && answer.body[0] == 0x1f && answer.body[1] == 0x8b);
    assert_null(strstr(answer.head, "Content-Security-Policy"));
    free(answer.body);
    HTTP_SUITE_EXPECT({"HEAD", "/web/style.css", "", NULL, 200}, {"GET", "/web/", "", NULL, 404},
                      {"GET", "/web/none.js", "", NULL, 404}, {"GET", "/", "If-Match: \"x\"\r\n", NULL, 412},
                      {"POST", "/", "", "x", 404}, {"DELETE", "/web/main.js", "", NULL, 405});
}

static void a_token_says_who_may_what(void **state)
{
    char alice[HTTP_SUITE_BEARER_SIZE], fields[HTTP_SUITE_BEARER_SIZE + 64], target[600];
    (void)state;
    restart("write = on\nweb = on\naccess = signed\nshare_max = 60s\nweb_operators = tnvideo/root");
    http_suite_bearer("rwdl", "alice", alice);
    HTTP_SUITE_EXPECT({"GET", "/api/v1/session", "", NULL, 401}, {"GET", FILES, "", NULL, 401},
                      {"DELETE", FILES "/a", "", NULL, 401},
                      {"GET", "/api/v1/session", "Authorization: Bearer x\r\n", NULL, 401},
                      {"GET", "/files/tnvideo/alice/a", "", NULL, 403});
    json_t *session = ask_json("GET", "/api/v1/session", alice, NULL, 200);
    const char *media = text_of(session, "media");
    assert_int_equal(number_of(session, "share_max"), 60);
    assert_true(json_is_true(json_object_get(session, "shares")));
    snprintf(target, sizeof(target), "%s/files/tnvideo/alice/a", media);
    http_suite_expect(&(struct http_suite_row){"GET", target, "", NULL, 200});
    snprintf(target, sizeof(target), "%s/files/tnvideo/bob/a", media);
    http_suite_expect(&(struct http_suite_row){"GET", target, "", NULL, 403});
    json_decref(session);
    snprintf(fields, sizeof(fields), "%s" JSON, alice);
    json_t *link = ask_json("POST", FILES "/a/link?expires=30", fields, "{}", 200);
    assert_true(number_of(link, "expires") > 0);
    http_suite_expect(&(struct http_suite_row){"GET", text_of(link, "path"), "", NULL, 200});
    json_decref(link);
    json_decref(ask_json("POST", FILES "/a/link?expires=61", fields, "{}", 400));
    json_decref(ask_json("GET", "/api/v1/status", alice, NULL, 403));
    json_decref(ask_json("GET", "/api/v1/files/tnvideo/bob", alice, NULL, 403));
    json_decref(ask_json("GET", FILES, http_suite_bearer("rwd", "alice", fields), NULL, 403));
    session = ask_json("GET", "/api/v1/session", http_suite_bearer("wdl", "alice", fields), NULL, 200);
    assert_true(json_is_null(json_object_get(session, "media"))); /* who may not read is shown nothing */
    json_decref(session);
    json_t *status = ask_json("GET", "/api/v1/status", http_suite_bearer("l", "root", fields), NULL, 200);
    const json_t *groups = json_object_get(json_object_get(status, "cluster"), "groups");
    assert_string_equal(text_of(json_array_get(groups, 0), "name"), "group001");
    assert_true(number_of(json_object_get(json_object_get(status, "server"), "requests"), "4xx") > 0);
    json_decref(status);
}

static void what_is_switched_off_is_refused(void **state)
{
    char alice[HTTP_SUITE_BEARER_SIZE], fields[HTTP_SUITE_BEARER_SIZE + 64];
    (void)state;
    http_suite_bearer("rwdl", "alice", alice);
    snprintf(fields, sizeof(fields), "%s" JSON, alice);
    restart("web = on\naccess = signed\nshare_max = 0");
    json_decref(ask_json("DELETE", FILES "/a", alice, NULL, 403));
    json_decref(ask_json("POST", FILES "/a/restore", fields, "{}", 403));
    json_decref(ask_json("POST", FILES "/a/link", fields, "{}", 403));
    http_suite_expect(&(struct http_suite_row){"PUT", "/files/tnvideo/alice/c", alice, "x", 405});
    http_suite_expect(&(struct http_suite_row){"PUT", "/files/tnvideo/alice/c", alice, NULL, 405});
    restart("write = on");
    HTTP_SUITE_EXPECT({"GET", "/", "", NULL, 404}, {"GET", "/admin", "", NULL, 404},
                      {"GET", "/web/main.js", "", NULL, 404}, {"DELETE", "/", "", NULL, 404},
                      {"GET", "/api/v1/session", "", NULL, 404},
                      {"POST", FILES "/a/restore", JSON, "{}", 404});
}

static void without_a_tracker_a_later_try_is_advised(void **state)
{
    char root[HTTP_SUITE_BEARER_SIZE];
    (void)state;
    restart("write = on\nweb = on\nweb_operators = tnvideo/root\ncall_timeout = 300ms");
    real_daemon_stop(&http_suite_tracker);
    http_suite_bearer("rwdl", "root", root);
    json_decref(ask_json("GET", "/api/v1/status", root, NULL, 503));
    json_decref(ask_json("GET", "/api/v1/files/tnvideo/root", root, NULL, 503));
    json_decref(ask_json("GET", "/api/v1/files/tnvideo/root/x", root, NULL, 503));
    real_daemon_start(&http_suite_tracker, "tracker", true, NULL); /* for the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_goes_into_the_trash_and_comes_back),
        cmocka_unit_test(addresses_have_their_methods),
        cmocka_unit_test(the_page_is_sent_whole_packed_or_not_at_all),
        cmocka_unit_test(a_token_says_who_may_what),
        cmocka_unit_test(what_is_switched_off_is_refused),
        cmocka_unit_test(without_a_tracker_a_later_try_is_advised),
    };
    return cmocka_run_group_tests(tests, start_suite, stop_suite);
}
