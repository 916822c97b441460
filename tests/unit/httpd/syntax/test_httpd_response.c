/* http_response: heads, error bodies, and who prefers JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>
#include "httpd/syntax/http_response.h"

static struct http_output output(char *bytes, size_t capacity)
{
    return (struct http_output){.bytes = bytes, .capacity = (uint32_t)capacity};
}

static void a_head_is_written_as_the_standard_says(void **state)
{
    char bytes[512];
    struct http_output out = output(bytes, sizeof(bytes));
    struct http_clock clock = {.second = 784111777};
    (void)state;
    http_date_format(clock.second, clock.date);
    http_response_begin(&out, 206, &clock, "Server: x\r\n");
    http_response_content_length(&out, INT64_MAX);
    http_response_field(&out, "ETag", "\"a\"");
    http_response_end(&out, false, 1);
    bytes[out.end] = '\0';
    assert_false(out.overflow);
    assert_string_equal(bytes,
                        "HTTP/1.1 206 Partial Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x\r\n"
                        "Content-Length: 9223372036854775807\r\nETag: \"a\"\r\nConnection: close\r\n\r\n");
}

static void the_connection_field_stands_only_where_the_version_means_the_opposite(void **state)
{
    static const struct {
        bool keep_alive;
        int minor;
        const char *text;
    } rows[] = {{true, 1, "\r\n"},
                {false, 1, "Connection: close\r\n\r\n"},
                {true, 0, "Connection: keep-alive\r\n\r\n"},
                {false, 0, "Connection: close\r\n\r\n"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char bytes[64];
        struct http_output out = output(bytes, sizeof(bytes));
        http_response_end(&out, rows[i].keep_alive, rows[i].minor);
        bytes[out.end] = '\0';
        assert_string_equal(bytes, rows[i].text);
    }
}

static void what_does_not_fit_is_reported_and_nothing_is_overrun(void **state)
{
    char bytes[8] = "zzzzzzz";
    struct http_output out = output(bytes, 4);
    (void)state;
    HTTP_OUTPUT_LITERAL(&out, "abc");
    assert_false(out.overflow);
    HTTP_OUTPUT_LITERAL(&out, "de");
    assert_true(out.overflow);
    assert_int_equal(out.end, 3);
    assert_string_equal(bytes + 4, "zzz");
}

static void numbers_are_written_in_decimal(void **state)
{
    char bytes[64];
    struct http_output out = output(bytes, sizeof(bytes));
    (void)state;
    http_output_number(&out, 0);
    http_output_text(&out, " ");
    http_output_number(&out, 1234567890);
    bytes[out.end] = '\0';
    assert_string_equal(bytes, "0 1234567890");
}

static void the_date_follows_the_clock(void **state)
{
    struct http_clock clock = {0};
    char expected[HTTP_DATE_SIZE];
    (void)state;
    int64_t now = http_clock_read(&clock);
    assert_string_equal(clock.date, http_date_format(now, expected));
    clock.second = 0; /* long ago */
    now = http_clock_read(&clock);
    assert_string_equal(clock.date, http_date_format(now, expected));
}

static void a_socket_takes_the_output_piece_by_piece(void **state)
{
    static char bytes[1 << 20], got[1 << 20];
    struct http_output out = output(bytes, sizeof(bytes));
    int pair[2];
    size_t sent = 0, total = 0, received = 0;
    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    out.end = sizeof(bytes);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    while (!http_output_flush(&out, (struct transport){pair[0], NULL}, false, &sent)) {
        assert_int_equal(errno, EAGAIN);
        total += sent;
        assert_int_equal(http_output_pending(&out), sizeof(bytes) - total);
        ssize_t now = read(pair[1], got + received, sizeof(got) - received);
        assert_true(now > 0);
        received += (size_t)now;
    }
    total += sent;
    assert_int_equal(total, sizeof(bytes));
    close(pair[0]);
    close(pair[1]);
}

static void an_error_body_says_what_happened_in_text_or_json(void **state)
{
    char body[256];
    (void)state;
    size_t size = http_error_body(body, sizeof(body), false, 404, "no such file", "c1-2");
    assert_string_equal(body, "404 Not Found: no such file\nrequest c1-2\n");
    assert_int_equal(size, strlen(body));
    size = http_error_body(body, sizeof(body), true, 503, "not now", "c1-2");
    json_t *json = json_loadb(body, size, 0, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 503);
    assert_string_equal(json_string_value(json_object_get(json, "error")), "Service Unavailable");
    assert_string_equal(json_string_value(json_object_get(json, "request_id")), "c1-2");
    json_decref(json);
    assert_int_equal(http_error_body(body, 10, false, 404, "no such file", "c1-2"), 9);
}

static void json_is_given_to_those_who_prefer_it(void **state)
{
    static const struct {
        const char *accept;
        bool json;
    } rows[] = {
        {"application/json", true},
        {"APPLICATION/JSON", true},
        {"text/html,application/json", false},
        {"text/html;q=0.5, application/json", true},
        {"text/plain;q=0.9, application/json;q=0.95", true},
        {"text/plain;q=0.95, application/json;q=0.9", false},
        {"application/json;q=0", false},
        {"application/json; q=0.001", true},
        {"*/*", false},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false},
        {"", false},
        {"application/json;q=", true},
        {"application/json;q", true},
    };
    (void)state;
    assert_false(http_accept_prefers_json((struct http_text){NULL, 0}));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (http_accept_prefers_json(http_text_of(rows[i].accept)) != rows[i].json)
            fail_msg("\"%s\"", rows[i].accept);
    }
}

static void a_segment_is_encoded_where_it_must_be(void **state)
{
    static const struct {
        const char *text, *encoded;
    } rows[] = {
        {"", ""},     {"AZaz09-._~", "AZaz09-._~"},  {"a b/c", "a%20b%2Fc"},
        {"%", "%25"}, {"\x01\x7f\xff", "%01%7F%FF"}, {"\xe4\xb8\xad!", "%E4%B8%AD%21"},
    };
    char bytes[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_output out = output(bytes, sizeof(bytes));
        http_output_segment(&out, rows[i].text);
        assert_int_equal(out.end, strlen(rows[i].encoded));
        assert_memory_equal(bytes, rows[i].encoded, out.end);
        assert_false(out.overflow);
    }
    struct http_output out = output(bytes, 5);
    http_output_segment(&out, "abc/");
    assert_true(out.overflow);
    assert_int_equal(out.end, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_written_as_the_standard_says),
        cmocka_unit_test(the_connection_field_stands_only_where_the_version_means_the_opposite),
        cmocka_unit_test(what_does_not_fit_is_reported_and_nothing_is_overrun),
        cmocka_unit_test(numbers_are_written_in_decimal),
        cmocka_unit_test(a_segment_is_encoded_where_it_must_be),
        cmocka_unit_test(the_date_follows_the_clock),
        cmocka_unit_test(a_socket_takes_the_output_piece_by_piece),
        cmocka_unit_test(an_error_body_says_what_happened_in_text_or_json),
        cmocka_unit_test(json_is_given_to_those_who_prefer_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
