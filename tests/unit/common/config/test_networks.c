/* networks: which addresses lie in which networks, and what is no network. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/config/networks.h"

#include <string.h>

static bool parse(char *text, struct networks *networks, struct error *error)
{
    struct config_strings texts = {.items = &text, .count = 1};
    return networks_parse(&texts, networks, error);
}

static void assert_contains(char *network, const char *host, bool expected)
{
    struct networks networks;
    struct error error;
    assert_true(parse(network, &networks, &error));
    if (networks_contain(&networks, host) != expected)
        fail_msg("%s in %s: %d expected", host, network, expected);
    networks_clear(&networks);
}

static void an_address_lies_in_its_networks_only(void **state)
{
    (void)state;
    assert_contains("127.0.0.0/8", "127.200.3.4", true);
    assert_contains("127.0.0.0/8", "128.0.0.1", false);
    assert_contains("10.1.2.3", "10.1.2.3", true);
    assert_contains("10.1.2.3", "10.1.2.2", false);
    assert_contains("10.1.2.0/23", "10.1.3.255", true);
    assert_contains("10.1.2.0/23", "10.1.4.0", false);
    assert_contains("0.0.0.0/0", "203.0.113.9", true);
    assert_contains("0.0.0.0/0", "2001:db8::1", false);
    assert_contains("::1", "::1", true);
    assert_contains("::1", "::2", false);
    assert_contains("2001:db8::/33", "2001:db8:7fff::1", true);
    assert_contains("2001:db8::/33", "2001:db8:8000::1", false);
    assert_contains("fe80::/10", "fe80::1%eth0", true);
}

static void an_ipv4_address_is_the_same_in_its_ipv6_form(void **state)
{
    (void)state;
    assert_contains("127.0.0.0/8", "::ffff:127.0.0.1", true);
    assert_contains("::ffff:10.0.0.0/104", "10.9.9.9", true);
}

static void what_is_no_address_lies_nowhere(void **state)
{
    (void)state;
    assert_contains("0.0.0.0/0", "localhost", false);
    assert_contains("::/0", "", false);
    struct networks none = {0};
    assert_false(networks_contain(&none, "127.0.0.1"));
}

static void what_is_no_network_is_refused_by_name(void **state)
{
    static char *const bad[] = {"",         "localhost",   "127.0.0.1/33",
                                "::1/129",  "10.0.0.0/",   "10.0.0.0/8x",
                                "10.0.0/8", "10.0.0.0/-1", "1111:2222:3333:4444:5555:6666:7777:8888:9999/64"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct networks networks;
        struct error error = {0};
        assert_false(parse(bad[i], &networks, &error));
        assert_non_null(strstr(error.text, bad[i]));
        assert_null(networks.items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_lies_in_its_networks_only),
        cmocka_unit_test(an_ipv4_address_is_the_same_in_its_ipv6_form),
        cmocka_unit_test(what_is_no_address_lies_nowhere),
        cmocka_unit_test(what_is_no_network_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
