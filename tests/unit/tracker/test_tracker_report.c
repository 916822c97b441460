/* The GROUPS text, byte for byte, and the STATUS document. */
#include "tracker/report.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static int use_utc(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static struct table_server server(const char *host, const char *peer, uint16_t port, enum table_state state)
{
    struct table_server result = {.version = "1.0", .address.port = port, .state = state};
    snprintf(result.host, sizeof(result.host), "%s", host);
    snprintf(result.address.host, sizeof(result.address.host), "%s", peer);
    result.start_time = 1604232783; /* Sun Nov  1 12:13:03 2020 UTC */
    result.join_time = 1604232783;
    result.beat_time = 1604232783;
    return result;
}

static void one_group_with_one_server_is_the_sample_of_the_protocol(void **state)
{
    struct table_server servers[] = {server("media1", "127.0.0.1", 23000, TABLE_ACTIVE)};
    struct table_group groups[] = {
        {.row.name = "group001", .known = true, .active_count = 1, .server_count = 1, .servers = servers}};
    const struct table_snapshot snapshot = {
        .groups = groups, .group_count = 1, .servers = servers, .server_count = 1};
    static const char expected[] = "         COUNT OF GROUPS: 1\n"
                                   "               GROUPNAME: group001\n"
                                   "       COUNT OF STORAGES: 1\n"
                                   "COUNT OF ACTIVE STORAGES: 1\n"
                                   "                 VERSION: 1.0\n"
                                   "                HOSTNAME: media1\n"
                                   "                 ADDRESS: 127.0.0.1:23000\n"
                                   "            STARTUP TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               JOIN TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               BEAT TIME: Sun Nov  1 12:13:03 2020\n"
                                   "                  STATUS: ACTIVE";
    size_t size = 0;
    (void)state;
    char *text = report_groups(&snapshot, &size);
    assert_non_null(text);
    assert_int_equal(size, sizeof(expected));
    assert_memory_equal(text, expected, sizeof(expected));
    free(text);
}

static void several_groups_and_servers_follow_each_other_without_blank_lines(void **state)
{
    struct table_server servers[] = {server("a", "::1", 1, TABLE_OFFLINE),
                                     server("b", "127.0.0.1", 2, TABLE_ONLINE)};
    struct table_group groups[] = {
        {.row.name = "g1", .known = true, .server_count = 0, .servers = servers},
        {.row.name = "g2", .known = true, .server_count = 2, .servers = servers},
    };
    const struct table_snapshot snapshot = {
        .groups = groups, .group_count = 2, .servers = servers, .server_count = 2};
    static const char expected[] = "         COUNT OF GROUPS: 2\n"
                                   "               GROUPNAME: g1\n"
                                   "       COUNT OF STORAGES: 0\n"
                                   "COUNT OF ACTIVE STORAGES: 0\n"
                                   "               GROUPNAME: g2\n"
                                   "       COUNT OF STORAGES: 2\n"
                                   "COUNT OF ACTIVE STORAGES: 0\n"
                                   "                 VERSION: 1.0\n"
                                   "                HOSTNAME: a\n"
                                   "                 ADDRESS: [::1]:1\n"
                                   "            STARTUP TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               JOIN TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               BEAT TIME: Sun Nov  1 12:13:03 2020\n"
                                   "                  STATUS: OFFLINE\n"
                                   "                 VERSION: 1.0\n"
                                   "                HOSTNAME: b\n"
                                   "                 ADDRESS: 127.0.0.1:2\n"
                                   "            STARTUP TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               JOIN TIME: Sun Nov  1 12:13:03 2020\n"
                                   "               BEAT TIME: Sun Nov  1 12:13:03 2020\n"
                                   "                  STATUS: ONLINE";
    size_t size = 0;
    (void)state;
    char *text = report_groups(&snapshot, &size);
    assert_non_null(text);
    assert_string_equal(text, expected);
    assert_int_equal(size, sizeof(expected));
    free(text);
}

static void without_groups_the_count_stands_alone(void **state)
{
    const struct table_snapshot snapshot = {0};
    size_t size = 0;
    (void)state;
    char *text = report_groups(&snapshot, &size);
    assert_non_null(text);
    assert_string_equal(text, "         COUNT OF GROUPS: 0");
    assert_int_equal(size, strlen(text) + 1);
    free(text);
}

static void a_servers_text_cannot_forge_a_line(void **state)
{
    struct table_server servers[] = {server("evil\n  STATUS: ACTIVE\xff", "127.0.0.1", 1, TABLE_OFFLINE)};
    servers[0].start_time = INT64_MAX;
    servers[0].join_time = -1;
    struct table_group groups[] = {{.row.name = "g1", .server_count = 1, .servers = servers}};
    const struct table_snapshot snapshot = {
        .groups = groups, .group_count = 1, .servers = servers, .server_count = 1};
    size_t size = 0;
    (void)state;
    char *text = report_groups(&snapshot, &size);
    assert_non_null(text);
    assert_non_null(strstr(text, "HOSTNAME: evil?  STATUS: ACTIVE?\n"));
    assert_non_null(strstr(text, "STARTUP TIME: -\n"));
    assert_non_null(strstr(text, "JOIN TIME: -\n"));
    free(text);
    json_t *status = report_status(&snapshot);
    assert_non_null(status);
    json_decref(status);
}

static void the_status_shows_state_and_load_of_every_server(void **state)
{
    struct table_server servers[] = {server("a", "::1", 23000, TABLE_ACTIVE),
                                     server("b", "10.0.0.2", 2, TABLE_ONLINE)};
    servers[0].suspect = true;
    servers[0].has_tls = true;
    servers[0].tls = (struct address){.host = "*", .port = 23443, .tls = true};
    servers[0].has_load = true;
    servers[0].load = (struct proto_load){.state = PROTO_LOAD_READ_ONLY,
                                          .capacity = 5000000000,
                                          .free = 7,
                                          .free_inodes = 8,
                                          .connections = 9,
                                          .uploads = 10,
                                          .requests = 11,
                                          .trash = 12,
                                          .damaged = 3};
    struct table_group groups[] = {
        {.row = {.name = "g1", .weight = 70, .draining = true},
         .known = true,
         .active_count = 1,
         .server_count = 2,
         .servers = servers},
        {.row.name = "g2", .known = false, .servers = servers},
    };
    const struct table_snapshot snapshot = {
        .groups = groups, .group_count = 2, .servers = servers, .server_count = 2};
    (void)state;
    json_t *status = report_status(&snapshot);
    assert_non_null(status);
    json_t *group = json_array_get(json_object_get(status, "groups"), 0);
    assert_string_equal(json_string_value(json_object_get(group, "state")), "draining");
    assert_int_equal(json_integer_value(json_object_get(group, "weight")), 70);
    json_t *first = json_array_get(json_object_get(group, "storages"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "address")), "[::1]:23000");
    assert_string_equal(json_string_value(json_object_get(first, "state")), "ACTIVE");
    assert_true(json_is_true(json_object_get(first, "suspect")));
    assert_string_equal(json_string_value(json_object_get(first, "tls")), "tls://[::1]:23443");
    json_t *load = json_object_get(first, "load");
    assert_string_equal(json_string_value(json_object_get(load, "state")), "read-only");
    assert_true(json_integer_value(json_object_get(load, "capacity")) == 5000000000);
    assert_int_equal(json_integer_value(json_object_get(load, "trash")), 12);
    assert_int_equal(json_integer_value(json_object_get(load, "damaged")), 3);
    json_t *second = json_array_get(json_object_get(group, "storages"), 1);
    assert_true(json_is_null(json_object_get(second, "load")));
    assert_true(json_is_null(json_object_get(second, "tls")));
    group = json_array_get(json_object_get(status, "groups"), 1);
    assert_string_equal(json_string_value(json_object_get(group, "state")), "removed");
    json_decref(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_group_with_one_server_is_the_sample_of_the_protocol),
        cmocka_unit_test(several_groups_and_servers_follow_each_other_without_blank_lines),
        cmocka_unit_test(without_groups_the_count_stands_alone),
        cmocka_unit_test(a_servers_text_cannot_forge_a_line),
        cmocka_unit_test(the_status_shows_state_and_load_of_every_server),
    };
    return cmocka_run_group_tests(tests, use_utc, NULL);
}
