/*
 * test_address: every form of an address, read, written, compared and turned into socket addresses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"

static void expect(const char *text, uint16_t default_port, const char *host, uint16_t port)
{
    struct address address;
    struct error error = {0};
    if (!address_parse(text, default_port, &address, &error))
        fail_msg("\"%s\": %s", text, error.text);
    assert_string_equal(address.host, host);
    assert_int_equal(address.port, port);
}

static void expect_refusal(const char *text, uint16_t default_port, const char *reason)
{
    struct address address;
    struct error error = {0};
    if (address_parse(text, default_port, &address, &error))
        fail_msg("\"%s\" was taken as %s, port %u", text, address.host, address.port);
    assert_int_equal(error.code, ERROR_MALFORMED);
    if (strstr(error.text, reason) == NULL)
        fail_msg("\"%s\" is reported as \"%s\"", text, error.text);
    assert_false(address_parse(text, default_port, &address, NULL));
}

static void ipv4_ipv6_names_and_every_address_are_read(void **state)
{
    (void)state;
    expect("192.0.2.1:21000", 0, "192.0.2.1", 21000);
    expect("[2001:db8::1]:21000", 0, "2001:db8::1", 21000);
    expect("[::]:1", 0, "::", 1);
    expect("media1:21000", 0, "media1", 21000);
    expect("media_1.storage-2.example.org:65535", 0, "media_1.storage-2.example.org", 65535);
    expect("media1.example.org.:80", 0, "media1.example.org.", 80);
    expect("_tracker.example:80", 0, "_tracker.example", 80);
    expect("3com.example:80", 0, "3com.example", 80);
    expect("10.example.a1:80", 0, "10.example.a1", 80);
    expect("*:21000", 0, "*", 21000);
    expect(NAME_63 ":9", 0, NAME_63, 9);
}

static void the_default_port_stands_in_for_a_missing_one(void **state)
{
    (void)state;
    expect("192.0.2.1", 21000, "192.0.2.1", 21000);
    expect("[2001:db8::1]", 21000, "2001:db8::1", 21000);
    expect("media1", 21000, "media1", 21000);
    expect("*", 21000, "*", 21000);
    expect("media1:1", 21000, "media1", 1);
    expect_refusal("media1", 0, "port missing");
    expect_refusal("[::1]", 0, "port missing");
}

static void spaces_around_an_address_are_ignored(void **state)
{
    (void)state;
    expect(" \t192.0.2.1:21000\r\n", 0, "192.0.2.1", 21000);
    expect_refusal("media1 :21000", 0, "not a host name");
    expect_refusal("media1: 21000", 0, "bad port");
    expect_refusal("media 1:21000", 0, "not a host name");
}

static void an_explicit_port_0_is_read(void **state)
{
    (void)state;
    expect("127.0.0.1:0", 21000, "127.0.0.1", 0);
    expect("[::1]:00000", 21000, "::1", 0);
}

static void spellings_of_one_ipv6_address_become_one(void **state)
{
    (void)state;
    expect("[2001:DB8:0:0::1]:5", 0, "2001:db8::1", 5);
    expect("[0:0:0:0:0:0:0:1]:5", 0, "::1", 5);
    expect("[::ffff:192.0.2.1]:5", 0, "192.0.2.1", 5);
    expect("[::ffff:c000:201]:5", 0, "192.0.2.1", 5);
}

static void bad_hosts_are_refused(void **state)
{
    (void)state;
    expect_refusal("", 1, "empty");
    expect_refusal(" \t ", 1, "empty");
    expect_refusal(":21000", 1, "empty host");
    expect_refusal("1.2.3", 1, "not an IPv4 address");
    expect_refusal("1.2.3.256", 1, "not an IPv4 address");
    expect_refusal("1.2.3.4.5", 1, "not an IPv4 address");
    expect_refusal("1.2.3.04x.5", 1, "not an IPv4 address");
    expect_refusal("12345", 1, "not an IPv4 address");
    expect_refusal("media1.7", 1, "not an IPv4 address");
    expect_refusal("-media", 1, "not a host name");
    expect_refusal("media-", 1, "not a host name");
    expect_refusal("media-.example", 1, "not a host name");
    expect_refusal("media.-example", 1, "not a host name");
    expect_refusal("media..example", 1, "not a host name");
    expect_refusal(".media", 1, "not a host name");
    expect_refusal(".", 1, "not a host name");
    expect_refusal("m\xC3\xA9"
                   "dia",
                   1, "not a host name");
    expect_refusal("a/b", 1, "not a host name");
    expect_refusal("**", 1, "not a host name");
    expect_refusal("user@host", 1, "not a host name");
    expect_refusal(NAME_63 "x:1", 0, "not a host name");
}

static void the_longest_legal_name_is_read_and_one_more_is_not(void **state)
{
    (void)state;
    char name[300];
    (void)snprintf(name, sizeof(name), "%s.%s.%s.%.61s.", NAME_63, NAME_63, NAME_63, NAME_63);
    assert_int_equal(strlen(name), 254);
    expect(name, 7, name, 7);
    (void)snprintf(name, sizeof(name), "%s.%s.%s.%s.", NAME_63, NAME_63, NAME_63, NAME_63);
    expect_refusal(name, 7, "too long");
    name[255] = '\0';
    expect_refusal(name, 7, "too long");

    char huge[5000];
    memset(huge, 'a', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    expect_refusal(huge, 7, "too long");
    huge[0] = '[';
    huge[sizeof(huge) - 2] = ']';
    expect_refusal(huge, 7, "not an IPv6 address");
}

static void bad_ipv6_addresses_are_refused(void **state)
{
    (void)state;
    expect_refusal("2001:db8::1", 1, "brackets");
    expect_refusal("::1", 1, "brackets");
    expect_refusal("[2001:db8::1", 1, "']' missing");
    expect_refusal("[]:1", 1, "not an IPv6 address");
    expect_refusal("[192.0.2.1]:1", 1, "not an IPv6 address");
    expect_refusal("[media1]:1", 1, "not an IPv6 address");
    expect_refusal("[1::2::3]:1", 1, "not an IPv6 address");
    expect_refusal("[fe80::1%no-such-interface]:1", 1, "not an IPv6 address");
    expect_refusal("[fe80::1%]:1", 1, "not an IPv6 address");
    expect_refusal("[::1]1", 1, "only :PORT");
    expect_refusal("[::1]]:1", 1, "only :PORT");
}

static void bad_ports_are_refused(void **state)
{
    (void)state;
    static const char *const ports[] = {"",   "65536", "99999", "100000", "00080x",
                                        "-1", "+1",    "0x50",  "1.0",    "http"};
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "media1:%s", ports[i]);
        expect_refusal(text, 1, "bad port; a number of 1 to 65535 expected");
        (void)snprintf(text, sizeof(text), "[::1]:%s", ports[i]);
        expect_refusal(text, 1, "bad port");
    }
    expect_refusal("media1:1:2", 1, "more than one ':'");
}

static void a_refusal_shows_no_control_characters_and_not_too_much(void **state)
{
    (void)state;
    struct address address;
    struct error error;
    assert_false(address_parse("a\x1b[2J\n\xFF", 1, &address, &error));
    for (const char *c = error.text; *c != '\0'; c++)
        assert_in_range((unsigned char)*c, 0x20, 0x7E);
    char huge[5000];
    memset(huge, '%', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    assert_false(address_parse(huge, 1, &address, &error));
    assert_true(strlen(error.text) < 200);
}

static void what_is_written_can_be_read_again(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.1:21000", "[2001:db8::1]:1", "media1.example:65535", "*:80"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct address address;
        struct address again;
        char text[ADDRESS_TEXT_SIZE];
        assert_true(address_parse(texts[i], 0, &address, NULL));
        assert_ptr_equal(address_format(&address, text, sizeof(text)), text);
        assert_string_equal(text, texts[i]);
        assert_true(address_parse(text, 0, &again, NULL));
        assert_true(address_equal(&address, &again));
    }
}

static void the_longest_address_is_written_whole_and_a_small_buffer_cuts(void **state)
{
    (void)state;
    struct address address = {.port = 65535};
    memset(address.host, ':', sizeof(address.host) - 1);
    char text[ADDRESS_TEXT_SIZE];
    (void)address_format(&address, text, sizeof(text));
    assert_int_equal(strlen(text), 255 + 2 + 6);
    (void)address_format(&address, text, 5);
    assert_string_equal(text, "[:::");
    char untouched = 'x';
    assert_ptr_equal(address_format(&address, &untouched, 0), &untouched);
    assert_int_equal(untouched, 'x');
}

static void addresses_are_equal_whatever_the_case_of_names(void **state)
{
    (void)state;
    struct address a = {.host = "Media1.Example", .port = 80};
    struct address b = {.host = "media1.example", .port = 80};
    struct address c = {.host = "media1.example", .port = 81};
    struct address d = {.host = "media2.example", .port = 80};
    assert_true(address_equal(&a, &b));
    assert_false(address_equal(&b, &c));
    assert_false(address_equal(&b, &d));
}

static void lists_are_separated_by_commas_semicolons_and_white_space(void **state)
{
    (void)state;
    static const char *const texts[] = {"a:1,[::1]:2,*:3", "a:1;[::1]:2;*:3;", " a:1 [::1]:2\n*:3\t",
                                        ",; a:1 ,, [::1]:2;;*:3,"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct address_list list;
        memset(&list, 0x5A, sizeof(list)); /* whatever was there is overwritten */
        assert_true(address_list_parse(texts[i], 0, &list, NULL));
        assert_int_equal(list.count, 3);
        assert_string_equal(list.items[0].host, "a");
        assert_string_equal(list.items[1].host, "::1");
        assert_string_equal(list.items[2].host, "*");
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(list.items[j].port, j + 1);
        address_list_clear(&list);
        assert_null(list.items);
        assert_int_equal(list.count, 0);
    }
}

static void a_list_uses_the_default_port(void **state)
{
    (void)state;
    struct address_list list;
    assert_true(address_list_parse("a, b:2, [::1]", 21000, &list, NULL));
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[0].port, 21000);
    assert_int_equal(list.items[1].port, 2);
    assert_int_equal(list.items[2].port, 21000);
    address_list_clear(&list);
}

static void an_empty_list_is_legal(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " ", ";", " ,; \n"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct address_list list;
        assert_true(address_list_parse(texts[i], 0, &list, NULL));
        assert_int_equal(list.count, 0);
        assert_null(list.items);
        address_list_clear(&list);
    }
}

static void one_bad_item_refuses_the_list_and_leaves_it_empty(void **state)
{
    (void)state;
    struct address_list list;
    struct error error = {0};
    assert_false(address_list_parse("a:1;b:2;c:70000;d:4", 0, &list, &error));
    assert_null(list.items);
    assert_int_equal(list.count, 0);
    assert_string_equal(error.text, "address \"c:70000\": bad port; a number of 1 to 65535 expected");
}

static void a_copy_of_a_list_is_its_own(void **state)
{
    (void)state;
    struct address_list list;
    struct address_list copy;
    assert_true(address_list_parse("a:1,b:2", 0, &list, NULL));
    assert_true(address_list_copy(&copy, &list));
    list.items[0].port = 99;
    assert_int_equal(copy.count, 2);
    assert_int_equal(copy.items[0].port, 1);
    address_list_clear(&list);
    assert_string_equal(copy.items[1].host, "b");
    address_list_clear(&copy);

    assert_true(address_list_copy(&copy, &list));
    assert_int_equal(copy.count, 0);
    assert_null(copy.items);
}

static void a_list_grows_even_with_an_item_of_its_own(void **state)
{
    (void)state;
    struct address_list list = {NULL, 0};
    struct address first = {.host = "first", .port = 1};
    assert_true(address_list_append(&list, &first));
    for (int i = 0; i < 100; i++)
        assert_true(address_list_append(&list, &list.items[0]));
    assert_int_equal(list.count, 101);
    assert_true(address_equal(&list.items[100], &first));
    address_list_clear(&list);
}

static void numeric_addresses_become_socket_addresses_without_asking(void **state)
{
    (void)state;
    struct socket_address out;
    struct address v4 = {.host = "192.0.2.1", .port = 21000};
    assert_true(address_to_socket(&v4, &out));
    struct sockaddr_in in4;
    assert_int_equal(out.length, sizeof(in4));
    memcpy(&in4, &out.storage, sizeof(in4));
    assert_int_equal(in4.sin_family, AF_INET);
    assert_int_equal(in4.sin_addr.s_addr, htonl(0xC0000201));
    assert_int_equal(in4.sin_port, htons(21000));

    struct address v6 = {.host = "::1", .port = 21000};
    struct sockaddr_in6 in6;
    assert_true(address_to_socket(&v6, &out));
    assert_int_equal(out.length, sizeof(in6));
    memcpy(&in6, &out.storage, sizeof(in6));
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_true(IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr));
    assert_int_equal(in6.sin6_port, htons(21000));

    struct address any = {.host = "*", .port = 5};
    assert_true(address_to_socket(&any, &out));
    memcpy(&in6, &out.storage, sizeof(in6));
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_true(IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr));

    struct address name = {.host = "localhost", .port = 5};
    assert_false(address_to_socket(&name, &out));
}

static void resolving_finds_numbers_and_names(void **state)
{
    (void)state;
    struct socket_address out[8];
    size_t count = 99;
    struct address numeric = {.host = "127.0.0.1", .port = 80};
    assert_true(address_resolve(&numeric, out, ARRAY_SIZE(out), &count, NULL));
    assert_int_equal(count, 1);

    struct address name = {.host = "localhost", .port = 23000};
    struct error error = {0};
    if (!address_resolve(&name, out, ARRAY_SIZE(out), &count, &error))
        fail_msg("%s", error.text);
    assert_in_range(count, 1, ARRAY_SIZE(out));
    for (size_t i = 0; i < count; i++) {
        struct address back;
        assert_true(address_from_socket((struct sockaddr *)&out[i].storage, out[i].length, &back));
        assert_true(strcmp(back.host, "127.0.0.1") == 0 || strcmp(back.host, "::1") == 0);
        assert_int_equal(back.port, 23000);
    }
    assert_true(address_resolve(&name, out, 1, &count, NULL));
    assert_int_equal(count, 1);
    assert_false(address_resolve(&name, out, 0, &count, NULL));
}

static void a_name_that_does_not_exist_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct socket_address out[1];
    size_t count = 99;
    struct address name = {.host = "no-such-host.invalid", .port = 80}; /* RFC 6761 section 6.4 */
    struct error error = {0};
    assert_false(address_resolve(&name, out, 1, &count, &error));
    assert_int_equal(count, 0);
    assert_int_equal(error.code, ERROR_CONNECTION);
    assert_non_null(strstr(error.text, "no-such-host.invalid"));
}

static void peers_are_named_by_number_and_mapped_ones_as_ipv4(void **state)
{
    (void)state;
    struct address address;
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(4242)};
    in4.sin_addr.s_addr = htonl(0x7F000001);
    assert_true(address_from_socket((struct sockaddr *)&in4, sizeof(in4), &address));
    assert_string_equal(address.host, "127.0.0.1");
    assert_int_equal(address.port, 4242);

    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(4242)};
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr), 1);
    assert_true(address_from_socket((struct sockaddr *)&in6, sizeof(in6), &address));
    assert_string_equal(address.host, "192.0.2.7");
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr), 1);
    assert_true(address_from_socket((struct sockaddr *)&in6, sizeof(in6), &address));
    assert_string_equal(address.host, "2001:db8::7");
}

static void a_link_local_peer_keeps_its_interface(void **state)
{
    (void)state;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1), .sin6_scope_id = 1}; /* lo */
    assert_int_equal(inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr), 1);
    struct address address;
    struct address again;
    char text[ADDRESS_TEXT_SIZE];
    assert_true(address_from_socket((struct sockaddr *)&in6, sizeof(in6), &address));
    assert_string_equal(address.host, "fe80::1%lo");
    assert_string_equal(address_format(&address, text, sizeof(text)), "[fe80::1%lo]:1");
    assert_true(address_parse(text, 0, &again, NULL));
    assert_true(address_equal(&address, &again));

    struct socket_address out;
    assert_true(address_to_socket(&again, &out));
    struct sockaddr_in6 back;
    memcpy(&back, &out.storage, sizeof(back));
    assert_int_equal(back.sin6_scope_id, 1);
}

static void a_peer_that_is_no_internet_address_is_refused(void **state)
{
    (void)state;
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct address address;
    assert_false(address_from_socket((struct sockaddr *)&local, sizeof(local), &address));
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    assert_false(address_from_socket((struct sockaddr *)&in4, sizeof(in4) - 1, &address));
    assert_false(address_from_socket((struct sockaddr *)&in4, 0, &address));
}

static void a_real_connection_over_the_wildcard_shows_a_plain_ipv4_peer(void **state)
{
    (void)state;
    struct address any = {.host = "*", .port = 0};
    struct socket_address bound;
    assert_true(address_to_socket(&any, &bound));
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    int off = 0;
    assert_int_equal(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
    /* Bound to the mapped loopback, so that the test listens to this machine only. */
    struct sockaddr_in6 in6;
    memcpy(&in6, &bound.storage, sizeof(in6));
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr), 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&in6, sizeof(in6)), 0);
    assert_int_equal(listen(listener, 1), 0);
    socklen_t length = sizeof(in6);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in6, &length), 0);

    struct address target = {.host = "127.0.0.1", .port = ntohs(in6.sin6_port)};
    struct socket_address to;
    assert_true(address_to_socket(&target, &to));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client >= 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to.storage, to.length), 0);
    struct socket_address peer = {.length = sizeof(peer.storage)};
    int accepted = accept4(listener, (struct sockaddr *)&peer.storage, &peer.length, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    struct address address;
    assert_true(address_from_socket((struct sockaddr *)&peer.storage, peer.length, &address));
    assert_string_equal(address.host, "127.0.0.1");
    assert_int_not_equal(address.port, 0);
    assert_int_equal(close(accepted), 0);
    assert_int_equal(close(client), 0);
    assert_int_equal(close(listener), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_ipv6_names_and_every_address_are_read),
        cmocka_unit_test(the_default_port_stands_in_for_a_missing_one),
        cmocka_unit_test(spaces_around_an_address_are_ignored),
        cmocka_unit_test(an_explicit_port_0_is_read),
        cmocka_unit_test(spellings_of_one_ipv6_address_become_one),
        cmocka_unit_test(bad_hosts_are_refused),
        cmocka_unit_test(the_longest_legal_name_is_read_and_one_more_is_not),
        cmocka_unit_test(bad_ipv6_addresses_are_refused),
        cmocka_unit_test(bad_ports_are_refused),
        cmocka_unit_test(a_refusal_shows_no_control_characters_and_not_too_much),
        cmocka_unit_test(what_is_written_can_be_read_again),
        cmocka_unit_test(the_longest_address_is_written_whole_and_a_small_buffer_cuts),
        cmocka_unit_test(addresses_are_equal_whatever_the_case_of_names),
        cmocka_unit_test(lists_are_separated_by_commas_semicolons_and_white_space),
        cmocka_unit_test(a_list_uses_the_default_port),
        cmocka_unit_test(an_empty_list_is_legal),
        cmocka_unit_test(one_bad_item_refuses_the_list_and_leaves_it_empty),
        cmocka_unit_test(a_copy_of_a_list_is_its_own),
        cmocka_unit_test(a_list_grows_even_with_an_item_of_its_own),
        cmocka_unit_test(numeric_addresses_become_socket_addresses_without_asking),
        cmocka_unit_test(resolving_finds_numbers_and_names),
        cmocka_unit_test(a_name_that_does_not_exist_is_an_error_that_names_it),
        cmocka_unit_test(peers_are_named_by_number_and_mapped_ones_as_ipv4),
        cmocka_unit_test(a_link_local_peer_keeps_its_interface),
        cmocka_unit_test(a_peer_that_is_no_internet_address_is_refused),
        cmocka_unit_test(a_real_connection_over_the_wildcard_shows_a_plain_ipv4_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
