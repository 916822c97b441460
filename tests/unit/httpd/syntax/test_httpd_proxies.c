/* What proxies say of their clients: the PROXY protocol, X-Forwarded-For, Forwarded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "httpd/syntax/forwarded.h"
#include "httpd/syntax/proxy_header.h"

/* ---- the PROXY protocol ---- */

/* In steps of one byte, each from memory of exactly that size: the state at the end, the peer in TEXT. */
static enum proxy_header_state parse(const void *bytes, size_t size, size_t *used, char text[64])
{
    enum proxy_header_state state = PROXY_HEADER_MORE;
    union http_peer peer = {.v4 = {.sin_family = AF_INET}};
    for (size_t have = 1; have <= size && state == PROXY_HEADER_MORE; have++) {
        char *part = malloc(have);
        assert_non_null(part);
        memcpy(part, bytes, have);
        state = proxy_header_parse(part, have, used, &peer);
        free(part);
    }
    char host[INET6_ADDRSTRLEN] = "";
    bool v6 = peer.base.sa_family == AF_INET6;
    const void *address = v6 ? (const void *)&peer.v6.sin6_addr : (const void *)&peer.v4.sin_addr;
    assert_non_null(inet_ntop(peer.base.sa_family, address, host, sizeof(host)));
    snprintf(text, 64, "%s %d", host, ntohs(v6 ? peer.v6.sin6_port : peer.v4.sin_port));
    return state;
}

static void a_line_names_the_client(void **state)
{
    static const struct {
        const char *line, *peer; /* NULL: broken */
    } rows[] = {
        {"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", "192.0.2.7 56324"},
        {"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n", "2001:db8::7 1"},
        {"PROXY UNKNOWN\r\n", "0.0.0.0 0"},
        {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "0.0.0.0 0"},
        {"PROXY UNKNOWNS\r\n", NULL},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n", NULL},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 1\r\n", NULL},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", NULL},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n", NULL},
        {"PROXY TCP4 2001:db8::7 10.0.0.1 1 443\r\n", NULL},
        {"PROXY TCP4 192.0.2.7  10.0.0.1 1 443\r\n", NULL},
        {"PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n", NULL},
        {"PROXY TCP4 192.0.2.7 10.0.0.1 1 443\n", NULL},
        {"GET / HTTP/1.1\r\n", NULL},
        {"PROXY TCP4 "
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
         "A",
         NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[64], line[256];
        size_t used;
        snprintf(line, sizeof(line), "%sGET", rows[i].line); /* the request follows at once */
        enum proxy_header_state got = parse(line, strlen(line), &used, text);
        if (got != (rows[i].peer ? PROXY_HEADER_DONE : PROXY_HEADER_BROKEN) ||
            (rows[i].peer && (strcmp(text, rows[i].peer) != 0 || used != strlen(rows[i].line))))
            fail_msg("%s: state %d, %s, %zu bytes", rows[i].line, got, text, used);
    }
}

static void the_binary_form_names_the_client(void **state)
{
    static const char magic[] = "\r\n\r\n\0\r\nQUIT\n";
    static const struct {
        const char *rest;
        size_t size;
        const char *peer; /* NULL: broken */
    } rows[] = {
        {"\x21\x11\0\x0c\xc0\0\2\7\x0a\0\0\1\xdc\4\1\xbb", 16, "192.0.2.7 56324"},
        {"\x21\x11\0\x0f\xc0\0\2\7\x0a\0\0\1\xdc\4\1\xbb\4\0\0", 19, "192.0.2.7 56324"}, /* with a TLV */
        {"\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2", 40,
         "2001:db8::7 1"},
        {"\x20\0\0\0", 4, "0.0.0.0 0"},                           /* LOCAL: the proxy looks after us */
        {"\x21\x31\0\2xx", 6, "0.0.0.0 0"},                       /* a Unix socket */
        {"\x21\x11\0\x0b\xc0\0\2\7\x0a\0\0\1\xdc\4\1", 15, NULL}, /* too short for two addresses */
        {"\x11\x11\0\x0c", 4, NULL},                              /* another version */
        {"\x22\x11\0\x0c", 4, NULL},                              /* another command */
        {"\x21\x11\x7f\xff", 4, NULL},                            /* as long as nobody needs */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[64], bytes[128];
        size_t used;
        memcpy(bytes, magic, 12);
        memcpy(bytes + 12, rows[i].rest, rows[i].size);
        memcpy(bytes + 12 + rows[i].size, "GET", 3);
        enum proxy_header_state got = parse(bytes, 15 + rows[i].size, &used, text);
        if (got != (rows[i].peer ? PROXY_HEADER_DONE : PROXY_HEADER_BROKEN) ||
            (rows[i].peer && (strcmp(text, rows[i].peer) != 0 || used != 12 + rows[i].size)))
            fail_msg("row %zu: state %d, %s, %zu bytes", i, got, text, used);
    }
}

static void a_peer_is_named_by_its_numeric_address(void **state)
{
    static const char *const texts[][2] = {{"2001:db8::7", "2001:db8::7"}, {"::ffff:192.0.2.7", "192.0.2.7"}};
    char text[INET6_ADDRSTRLEN];
    union http_peer peer = {.v4 = {.sin_family = AF_INET}};
    (void)state;
    assert_int_equal(inet_pton(AF_INET, "192.0.2.8", &peer.v4.sin_addr), 1);
    assert_string_equal(http_peer_text(&peer, text, sizeof(text)), "192.0.2.8");
    for (size_t i = 0; i < 2; i++) {
        peer = (union http_peer){.v6 = {.sin6_family = AF_INET6}};
        assert_int_equal(inet_pton(AF_INET6, texts[i][0], &peer.v6.sin6_addr), 1);
        assert_string_equal(http_peer_text(&peer, text, sizeof(text)), texts[i][1]);
    }
    peer = (union http_peer){.base = {.sa_family = AF_UNIX}};
    assert_string_equal(http_peer_text(&peer, text, sizeof(text)), "-");
}

/* ---- header fields ---- */

static void the_last_entry_that_no_trusted_proxy_made_is_the_client(void **state)
{
    static const struct {
        enum forwarded_form form;
        const char *lines[2];
        const char *peer, *client;
    } rows[] = {
        {FORWARDED_X_FORWARDED_FOR, {"203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"203.0.113.9"}, "198.51.100.1", "198.51.100.1"}, /* nobody's word */
        {FORWARDED_X_FORWARDED_FOR, {"1.1.1.1, 203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"1.1.1.1, 203.0.113.9, 10.0.0.2"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"1.1.1.1", "203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"203.0.113.9", "10.0.0.2"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"10.0.0.3, 10.0.0.2"}, "10.0.0.1", "10.0.0.3"},
        {FORWARDED_X_FORWARDED_FOR, {"203.0.113.9:4711"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_X_FORWARDED_FOR, {"2001:db8::9"}, "::1", "2001:db8::9"},
        {FORWARDED_X_FORWARDED_FOR, {"[2001:db8::9]:4711"}, "::1", "2001:db8::9"},
        {FORWARDED_X_FORWARDED_FOR, {"1.1.1.1, unknown"}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_X_FORWARDED_FOR, {"<script>"}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_X_FORWARDED_FOR, {""}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_X_FORWARDED_FOR, {"[::1"}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_RFC7239, {"for=203.0.113.9;proto=http;by=10.0.0.1"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_RFC7239, {"proto=http; For=\"[2001:db8::9]:4711\""}, "10.0.0.1", "2001:db8::9"},
        {FORWARDED_RFC7239, {"for=1.1.1.1, for=203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
        {FORWARDED_RFC7239, {"for=_hidden"}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_RFC7239, {"by=203.0.113.9"}, "10.0.0.1", "10.0.0.1"},
        {FORWARDED_RFC7239, {"203.0.113.9"}, "10.0.0.1", "10.0.0.1"},
    };
    static char ten[] = "10.0.0.0/8", loopback[] = "::1";
    char *texts[] = {ten, loopback};
    struct networks trusted;
    struct error error;
    (void)state;
    assert_true(networks_parse(&(struct config_strings){texts, 2}, &trusted, &error));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_text lines[2];
        size_t count = 0;
        char client[FORWARDED_ADDRESS_SIZE];
        for (; count < 2 && rows[i].lines[count]; count++)
            lines[count] = http_text_of(rows[i].lines[count]);
        snprintf(client, sizeof(client), "%s", rows[i].peer);
        forwarded_client(lines, count, rows[i].form, &trusted, client);
        if (strcmp(client, rows[i].client) != 0)
            fail_msg("row %zu: %s instead of %s", i, client, rows[i].client);
    }
    networks_clear(&trusted);
}

static void only_the_last_of_very_many_entries_count(void **state)
{
    static char ten[] = "10.0.0.0/8";
    char *texts[] = {ten}, text[2000] = "203.0.113.9", client[FORWARDED_ADDRESS_SIZE] = "10.0.0.1";
    struct networks trusted;
    struct error error;
    (void)state;
    assert_true(networks_parse(&(struct config_strings){texts, 1}, &trusted, &error));
    for (int i = 0; i < 100; i++)
        strcat(text, ", 10.0.0.2");
    struct http_text line = http_text_of(text);
    forwarded_client(&line, 1, FORWARDED_X_FORWARDED_FOR, &trusted, client);
    assert_string_equal(client, "10.0.0.2");
    networks_clear(&trusted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_client),
        cmocka_unit_test(the_binary_form_names_the_client),
        cmocka_unit_test(a_peer_is_named_by_its_numeric_address),
        cmocka_unit_test(the_last_entry_that_no_trusted_proxy_made_is_the_client),
        cmocka_unit_test(only_the_last_of_very_many_entries_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
