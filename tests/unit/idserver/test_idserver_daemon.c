/* reel-idserver as a whole: GET and RANGE over its port, refusals, reload, admin port, a restart that repeats no number. */
#include "tests/unit/library/real_daemon.h"
#include "common/base/clock.h"
#include "common/proto/proto_idserver.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct real_daemon idserver;
static int fd;

static int64_t number_at(const char *body)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | (uint8_t)body[i];
    return (int64_t)value;
}

/* The first number, or that of the failure. */
static int64_t get(const char *key)
{
    uint8_t body[PROTO_KEY_SIZE] = {0};

    memcpy(body, key, strlen(key));
    struct real_answer answer = real_daemon_ask(fd, PROTO_IDSERVER_GET, body, sizeof(body));
    int64_t number = answer.code == ERROR_NONE ? number_at(answer.body) : answer.code;
    assert_true(answer.code != ERROR_NONE || answer.size == PROTO_VALUE_SIZE);
    free(answer.body);
    return number;
}

static int64_t range(const char *key, int64_t count)
{
    uint8_t body[PROTO_RANGE_SIZE];
    struct proto_range request = {.count = count};
    struct proto_range_reply reply;
    struct error error;

    snprintf(request.key, sizeof(request.key), "%s", key);
    assert_true(proto_range_pack(body, &request, &error));
    struct real_answer answer = real_daemon_ask(fd, PROTO_IDSERVER_RANGE, body, sizeof(body));
    if (answer.code == ERROR_NONE) {
        assert_true(proto_range_reply_unpack((const uint8_t *)answer.body, answer.size, &reply, &error));
        assert_in_range(reply.count, 1, count);
    }
    free(answer.body);
    return answer.code == ERROR_NONE ? reply.first : answer.code;
}

static int set_up(void **state)
{
    (void)state;
    real_daemon_start(&idserver, "idserver", true, "step = 100\nprobe_interval = 100ms\nkeys_max = 3");
    fd = real_daemon_connect(&idserver);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(fd);
    real_daemon_stop(&idserver);
    return 0;
}

static void numbers_follow_each_other_by_either_command(void **state)
{
    (void)state;
    assert_int_equal(get("../data"), 0);
    assert_int_equal(get("../data"), 1);
    assert_int_equal(range("../data", 10), 2);
    assert_int_equal(get("../data"), 12);
    assert_int_equal(get("../other"), 0);
    assert_int_equal(range("../other", 5), 1);
}

static void a_key_that_breaks_a_rule_or_is_one_too_many_is_refused(void **state)
{
    uint8_t body[PROTO_RANGE_SIZE];

    (void)state;
    assert_int_equal(get(""), ERROR_MALFORMED);
    assert_int_equal(get("a\tb"), ERROR_MALFORMED);
    memset(body, 0xEE, sizeof(body));
    assert_int_equal(real_daemon_code(fd, PROTO_IDSERVER_RANGE, body, sizeof(body)), ERROR_MALFORMED);
    assert_int_equal(real_daemon_code(fd, PROTO_IDSERVER_GET, body, PROTO_KEY_SIZE), ERROR_MALFORMED);
    assert_int_equal(get("one"), 0);
    assert_int_equal(get("two"), 0);
    assert_int_equal(get("three"), 0);
    assert_int_equal(get("four"), ERROR_REFUSED);
    assert_int_equal(get("three"), 1);
}

static void a_reload_takes_the_list_of_keys(void **state)
{
    (void)state;
    assert_int_equal(get("../data"), 0);
    real_daemon_reload(&idserver, true, "step = 100\nprobe_interval = 100ms\nkeys_max = 3\nkeys = ../data");
    assert_int_equal(get("../more"), ERROR_REFUSED);
    assert_int_equal(get("../data"), 1);
    real_daemon_reload(&idserver, true, "step = 0");
    assert_int_equal(real_daemon_run(&idserver, "--check-config"), 2);
    assert_int_equal(get("../data"), 2);
}

/* Nobody uses up a sequence in a loop: numbers of one key for one address have a rate. */
static void who_takes_too_many_numbers_is_told_to_wait(void **state)
{
    int64_t first = 0;

    (void)state;
    real_daemon_reload(&idserver, true, "step = 100\nprobe_interval = 100ms\nkeys_max = 3\nrange_rate = 100");
    for (int i = 0; i < 3000 && first >= 0; i++)
        first = range("../data", 100);
    assert_int_equal(first, ERROR_THROTTLED);
    real_daemon_reload(&idserver, true, "step = 100\nprobe_interval = 100ms\nkeys_max = 3");
}

static void the_admin_port_shows_keys_health_and_metrics(void **state)
{
    (void)state;
    assert_int_equal(get("../data"), 0);
    assert_true(real_daemon_shows(&idserver, "/status", "../data"));
    assert_true(real_daemon_shows(&idserver, "/healthz", "ok"));
    assert_true(real_daemon_shows(&idserver, "/metrics", "reel_idserver_numbers_total 1"));
}

#define DAEMON_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAEMON_TEST(numbers_follow_each_other_by_either_command),
        DAEMON_TEST(a_key_that_breaks_a_rule_or_is_one_too_many_is_refused),
        DAEMON_TEST(a_reload_takes_the_list_of_keys),
        DAEMON_TEST(who_takes_too_many_numbers_is_told_to_wait),
        DAEMON_TEST(the_admin_port_shows_keys_health_and_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
