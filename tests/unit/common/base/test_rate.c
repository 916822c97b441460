/* rate: nobody takes more than the rate allows, nobody else pays for it, and who has to wait learns for how long. */
#include "common/base/rate.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void who_takes_too_many_waits_until_they_have_come_back(void **state)
{
    struct rate *rate = rate_create(100, 1000);
    (void)state;
    assert_non_null(rate);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 1000, 5000), 0);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 1, 5000), 10);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 3, 5000), 30);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 3, 5029), 1);
    assert_int_equal(rate_take(rate, "k", "192.0.2.2", 1000, 5000), 0); /* by another address */
    assert_int_equal(rate_take(rate, "l", "192.0.2.1", 1000, 5000), 0); /* of another key */
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 100, 6000), 0);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 1, 6000), 10);
    assert_int_not_equal(rate_take(rate, "k", "192.0.2.1", 1001, 1000000), 0); /* never at once */
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 1000, 1000000), 0);
    rate_destroy(rate);
}

static void a_burst_holds_ten_seconds_worth_or_what_is_given_at_least(void **state)
{
    struct rate *rate = rate_create(1000, 500);
    (void)state;
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 10000, 1), 0);
    assert_int_equal(rate_take(rate, "k", "192.0.2.1", 1, 1), 1);
    rate_configure(rate, 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rate_take(rate, "k", "192.0.2.1", 100000, 1), 0);
    rate_destroy(rate);
}

static void a_network_of_ipv6_is_one_client(void **state)
{
    struct rate *rate = rate_create(100, 1000);
    (void)state;
    assert_int_equal(rate_take(rate, "", "2001:db8:0:1::1", 1000, 5000), 0);
    assert_int_equal(rate_take(rate, "", "2001:db8:0:1:ffff::2", 1, 5000), 10);
    assert_int_equal(rate_take(rate, "", "2001:db8:0:2::1", 1000, 5000), 0);
    assert_int_equal(rate_take(rate, "", "192.0.2.1", 1000, 5000), 0);
    assert_int_equal(rate_take(rate, "", "::ffff:192.0.2.1", 1, 5000), 10);
    assert_int_equal(rate_take(rate, "", "fe80::1%eth0", 1000, 5000), 0);
    assert_int_equal(rate_take(rate, "", "fe80::2%eth0", 1, 5000), 10);
    rate_destroy(rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_takes_too_many_waits_until_they_have_come_back),
        cmocka_unit_test(a_burst_holds_ten_seconds_worth_or_what_is_given_at_least),
        cmocka_unit_test(a_network_of_ipv6_is_one_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
