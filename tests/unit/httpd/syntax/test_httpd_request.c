/* http_request, http_body: request heads and the end of bodies (RFC 9112). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include "httpd/syntax/http_body.h"
#include "httpd/syntax/http_request.h"

static const struct http_request_limits limits = {.target_max = 1000, .head_max = 4000, .fields_max = 20};

/* Parses TEXT in pieces of STEP bytes, each time from a fresh copy of just the bytes that came, so that the
 * sanitizer sees any read past them and that the buffer moves between calls. */
static enum http_request_state parse_in_steps(struct http_request *request, const char *text, size_t size,
                                              size_t step)
{
    enum http_request_state state = HTTP_REQUEST_MORE;
    http_request_init(request);
    for (size_t have = 0; have < size && state == HTTP_REQUEST_MORE;) {
        have = min_size(have + step, size);
        char *copy = malloc(have);
        assert_non_null(copy);
        memcpy(copy, text, have);
        state = http_request_parse(request, &limits, copy, have);
        free(copy);
    }
    return state;
}

static void expect_head(struct http_request *request, const char *text)
{
    static const size_t steps[] = {1, 2, 3, 7, 100000};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        enum http_request_state state = parse_in_steps(request, text, strlen(text), steps[i]);
        if (state != HTTP_REQUEST_HEAD)
            fail_msg("in steps of %zu: state %d, %s: %s", steps[i], (int)state, request->reason, text);
    }
}

static void expect_refusal(const char *text, size_t size, int status)
{
    static const size_t steps[] = {1, 3, 100000};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct http_request request;
        enum http_request_state state = parse_in_steps(&request, text, size, steps[i]);
        if (state != HTTP_REQUEST_ERROR || request.status != status)
            fail_msg("in steps of %zu: state %d, status %d instead of %d: %s", steps[i], (int)state,
                     state == HTTP_REQUEST_ERROR ? request.status : 0, status, text);
        assert_non_null(request.reason);
    }
}
#define REFUSE(text, status) expect_refusal(text, sizeof(text) - 1, status)

static void expect_text(struct http_text text, const char *expected)
{
    assert_non_null(text.bytes);
    if (!http_text_equal(text, expected))
        fail_msg("\"%.*s\" instead of \"%s\"", (int)text.size, text.bytes, expected);
}

static void a_plain_request_is_taken_apart(void **state)
{
    static const char text[] =
        "GET /files/x?y HTTP/1.1\r\nHost: media:8080\r\nRANGE:bytes=0-1\r\nUser-Agent: \t a b \t \r\n"
        "Accept:\r\nX-Other: 1\r\n\r\nrest";
    struct http_request request;
    (void)state;
    expect_head(&request, text);
    assert_int_equal(request.method, HTTP_METHOD_GET);
    assert_int_equal(request.minor_version, 1);
    assert_true(request.keep_alive);
    assert_int_equal(request.head_size, strlen(text) - 4);
    assert_int_equal(request.body_kind, HTTP_BODY_NONE);
    expect_text(http_request_text(text, request.method_text), "GET");
    expect_text(http_request_text(text, request.target), "/files/x?y");
    expect_text(http_request_field(&request, text, HTTP_FIELD_HOST), "media:8080");
    expect_text(http_request_field(&request, text, HTTP_FIELD_RANGE), "bytes=0-1");
    expect_text(http_request_field(&request, text, HTTP_FIELD_USER_AGENT), "a b");
    expect_text(http_request_field(&request, text, HTTP_FIELD_ACCEPT), "");
    assert_null(http_request_field(&request, text, HTTP_FIELD_REFERER).bytes);
}

static void keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        const char *text;
        bool keep;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_request request;
        expect_head(&request, rows[i].text);
        assert_int_equal(request.keep_alive, rows[i].keep);
    }
}

static void bare_line_feeds_and_leading_blank_lines_are_taken(void **state)
{
    struct http_request request;
    (void)state;
    expect_head(&request, "HEAD / HTTP/1.1\nHost: a\n\n");
    assert_int_equal(request.method, HTTP_METHOD_HEAD);
    expect_head(&request, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request.method_text.offset, 4);
}

static void what_two_readers_could_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tfolded\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01"
           "b\r\n\r\n",
           400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400);
    REFUSE("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400);
    REFUSE("GET / a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET /\r\nHost: a\r\n\r\n", 400);
}

static void framing_that_is_ambiguous_is_refused(void **state)
{
    (void)state;
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
           501);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 501);
}

static void a_missing_repeated_or_malformed_host_is_refused(void **state)
{
    (void)state;
    REFUSE("GET / HTTP/1.1\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400);
    static const char *const broken[] = {
        "a,b",       "1.2.3.4:9000:80", "a:987654", "a:bc",       "[::1", "extra[::1]:98", "a%zz",
        "a%4",       "[::1]x",          "[]",       "[::1%eth0]", ":80",  "[12345::]",     "a:65536",
        "[1.2.3.4]", "\xc3\xbc",        "a|b"};
    static const char *const fine[] = {
        "",      "a:",          "a:65535",       "1.2.3.4:9000", "[::1]", "[2001:db8::1]:98",
        "a%20b", "tv.example.", "xn--bcher-kva", "a_b"};
    for (size_t i = 0; i < ARRAY_SIZE(broken) + ARRAY_SIZE(fine); i++) {
        bool good = i >= ARRAY_SIZE(broken);
        char text[128];
        int size = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
                            good ? fine[i - ARRAY_SIZE(broken)] : broken[i]);
        struct http_request request;
        if (good)
            expect_head(&request, text);
        else
            expect_refusal(text, (size_t)size, 400);
    }
}

static void methods_and_versions_get_their_own_status(void **state)
{
    struct http_request request;
    (void)state;
    REFUSE("FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    REFUSE("get / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    REFUSE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    REFUSE("PRI /files/x HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    REFUSE("\x16\x03\x01\x02\x00\x01\x00\x01", 400);
    REFUSE("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    REFUSE("GET / HTTP/x.y\r\nHost: a\r\n\r\n", 400);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\nExpect: something\r\n\r\n", 417);
    expect_head(&request, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_PUT);
    assert_true(request.expect_continue);
    assert_int_equal(request.body_kind, HTTP_BODY_LENGTH);
    assert_int_equal(request.body_length, 5);
    expect_head(&request, "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_PATCH);
    expect_head(&request, "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_OTHER);
    expect_head(&request, "POST / HTTP/1.1\r\nHost: a\r\nX-Reel-Digest: 00\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_POST);
    assert_int_equal(http_request_field_count(&request, HTTP_FIELD_REEL_DIGEST), 1); /* past the 32nd field */
    expect_head(&request, "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_DELETE);
    assert_int_equal(http_request_field_count(&request, HTTP_FIELD_REEL_DIGEST), 0);
    expect_head(&request, "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n");
    assert_int_equal(request.method, HTTP_METHOD_OPTIONS);
}

static void limits_are_told_apart(void **state)
{
    char text[8192];
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    expect_refusal(text, 1500, 414); /* without an end */
    memcpy(text + 1004, " HTTP/1.1\r\nHost: a\r\n\r\n", 22);
    struct http_request request;
    assert_int_equal(parse_in_steps(&request, text, 1026, 100000), HTTP_REQUEST_HEAD); /* exactly 1000 */

    memset(text, 'a', sizeof(text));
    memcpy(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
    expect_refusal(text, sizeof(text), 431);

    size_t used = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 20; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "X-%d: a\r\n", i);
    used += (size_t)snprintf(text + used, sizeof(text) - used, "\r\n");
    expect_refusal(text, used, 431);
}

static void lines_of_a_list_field_are_all_found(void **state)
{
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\"\r\nIf-Match: *\r\nIf-None-Match: \"b\"\r\n"
        "If-Modified-Since: x\r\nIf-Modified-Since: y\r\n\r\n";
    struct http_request request;
    struct http_conditions conditions;
    (void)state;
    expect_head(&request, text);
    assert_true(http_request_conditions(&request, text, &conditions));
    assert_int_equal(conditions.if_none_match_count, 2);
    expect_text(conditions.if_none_match[1], "\"b\"");
    assert_int_equal(conditions.if_match_count, 1);
    assert_null(conditions.if_modified_since.bytes); /* twice what must stand once */
    assert_int_equal(http_request_field_count(&request, HTTP_FIELD_IF_NONE_MATCH), 2);
}

/* ---- bodies ---- */

static void expect_body(const char *head, const char *bytes, size_t size, enum http_body_state expected,
                        size_t used)
{
    for (size_t step = 1; step <= size + 1; step++) {
        struct http_request request;
        struct http_body body;
        size_t at = 0;
        enum http_body_state state = HTTP_BODY_MORE;
        assert_int_equal(parse_in_steps(&request, head, strlen(head), 100000), HTTP_REQUEST_HEAD);
        http_body_init(&body, &request);
        while (at < size && state == HTTP_BODY_MORE) {
            size_t taken;
            state = http_body_skip(&body, bytes + at, min_size(step, size - at), &taken);
            at += taken;
        }
        if (state != expected || (state == HTTP_BODY_DONE && at != used))
            fail_msg("in steps of %zu: state %d after %zu bytes of \"%s\"", step, (int)state, at, bytes);
    }
}
#define CHUNKED                            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EXPECT_CHUNKED(bytes, state, used) expect_body(CHUNKED, bytes, sizeof(bytes) - 1, state, used)

static void a_body_of_known_length_ends_where_it_says(void **state)
{
    (void)state;
    expect_body("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "helloGET ", 9, HTTP_BODY_DONE, 5);
    expect_body("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n", "helloGET ", 9, HTTP_BODY_MORE, 0);
}

static void a_chunked_body_ends_after_its_trailer(void **state)
{
    (void)state;
    EXPECT_CHUNKED("0\r\n\r\nGET ", HTTP_BODY_DONE, 5);
    EXPECT_CHUNKED("5\r\nhello\r\n0\r\n\r\nGET ", HTTP_BODY_DONE, 15);
    EXPECT_CHUNKED("5;a=b\r\nhello\r\nA\r\n0123456789\r\n000\r\nX: y\r\nZ: w\r\n\r\nGET ", HTTP_BODY_DONE,
                   48);
    EXPECT_CHUNKED("5\r\nhello\r\n0\r\n", HTTP_BODY_MORE, 0);
}

static void chunk_framing_that_is_not_exact_is_broken(void **state)
{
    (void)state;
    EXPECT_CHUNKED("5\nhello\r\n0\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("5\rXhello\r\n0\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("5\r\nhelloXY0\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("5\r\nhello\n0\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("-5\r\nhello\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("0x5\r\nhello\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("g\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("1000000000000000\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("cccccccccccccccc\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("0\r\n folded: x\r\n\r\n", HTTP_BODY_BROKEN, 0);
    EXPECT_CHUNKED("0\r\n\nGET ", HTTP_BODY_BROKEN, 0);
}

static void framing_lines_are_bounded(void **state)
{
    static char bytes[16384];
    struct http_request request;
    struct http_body body;
    size_t used;
    (void)state;
    assert_int_equal(parse_in_steps(&request, CHUNKED, strlen(CHUNKED), 100000), HTTP_REQUEST_HEAD);
    http_body_init(&body, &request);
    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes, "5;", 2);
    assert_int_equal(http_body_skip(&body, bytes, sizeof(bytes), &used), HTTP_BODY_BROKEN);
    http_body_init(&body, &request);
    memcpy(bytes, "0\r\nT:", 5);
    assert_int_equal(http_body_skip(&body, bytes, sizeof(bytes), &used), HTTP_BODY_BROKEN);
}

/* Whoever reads no more than what comes at least gets the content and nothing of what stands behind the body. */
static void content_comes_without_what_is_behind_it(void **state)
{
    static const char *const bodies[] = {
        "0\r\n\r\n",
        "1\r\na\r\n0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "003;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n000\r\nA: b\r\nLong-Trailer: c\r\n\r\n",
        "5 \r\n\r\n0\r\n\r\n1\r\nz\r\n00\r\n\r\n",
    };
    static const char *const contents[] = {"", "a", "", "abc0123456789abcdef", "\r\n0\r\nz"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct http_body body = {.kind = HTTP_BODY_CHUNKED};
        char got[64] = "";
        size_t size = strlen(bodies[i]), at = 0, kept = 0;
        int64_t least;
        while ((least = http_body_least(&body)) > 0) {
            struct http_text content;
            size_t used;
            assert_true(at + (size_t)least <= size);
            for (size_t end = at + (size_t)least; at < end; at += used) {
                assert_int_not_equal(http_body_content(&body, bodies[i] + at, end - at, &used, &content),
                                     HTTP_BODY_BROKEN);
                memcpy(got + kept, content.bytes, content.size);
                kept += content.size;
            }
        }
        assert_int_equal(at, size);
        assert_string_equal(got, contents[i]);
        assert_int_equal(body.total, strlen(contents[i]));
    }
    struct http_body body = {.kind = HTTP_BODY_LENGTH, .left = 7};
    assert_int_equal(http_body_least(&body), 7);
    body.kind = HTTP_BODY_NONE;
    assert_int_equal(http_body_least(&body), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_is_taken_apart),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(bare_line_feeds_and_leading_blank_lines_are_taken),
        cmocka_unit_test(what_two_readers_could_read_in_two_ways_is_refused),
        cmocka_unit_test(framing_that_is_ambiguous_is_refused),
        cmocka_unit_test(a_missing_repeated_or_malformed_host_is_refused),
        cmocka_unit_test(methods_and_versions_get_their_own_status),
        cmocka_unit_test(limits_are_told_apart),
        cmocka_unit_test(lines_of_a_list_field_are_all_found),
        cmocka_unit_test(a_body_of_known_length_ends_where_it_says),
        cmocka_unit_test(a_chunked_body_ends_after_its_trailer),
        cmocka_unit_test(chunk_framing_that_is_not_exact_is_broken),
        cmocka_unit_test(framing_lines_are_bounded),
        cmocka_unit_test(content_comes_without_what_is_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
