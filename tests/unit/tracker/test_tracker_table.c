/* States of storage servers, who is who, and what is chosen from the table. Time is given, never waited for.
 */
#include "tracker/table.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HEARTBEAT_TIMEOUT 40000
#define GRACE             3000
#define FORGET            100000

static int64_t now_ms;

static struct table_moment now(void)
{
    return (struct table_moment){.monotonic_ms = now_ms, .wall_seconds = 1600000000 + now_ms / 1000};
}

/* In steps as the daemon's timer takes them. */
static void pass(struct table *table, int64_t milliseconds)
{
    int64_t end_ms = now_ms + milliseconds;
    while (now_ms < end_ms) {
        now_ms = min_i64(now_ms + 250, end_ms);
        table_tick(table, now(), false);
    }
}

static int make_table_of(void **state, size_t groups_max, size_t servers_max)
{
    const struct table_settings settings = {.heartbeat_timeout_ms = HEARTBEAT_TIMEOUT,
                                            .suspect_grace_ms = GRACE,
                                            .forget_after_ms = FORGET,
                                            .minimum_free = 1000};
    const struct table_group_row rows[] = {{.name = "group002", .weight = 100},
                                           {.name = "group001", .weight = 100}};
    struct table *table = table_create(groups_max, servers_max, &settings);
    if (table == NULL)
        return -1;
    now_ms = 1000000;
    table_set_groups(table, rows, ARRAY_SIZE(rows));
    table_tick(table, now(), false);
    *state = table;
    return 0;
}

static int make_table(void **state)
{
    return make_table_of(state, 8, 8);
}

static int make_small_table(void **state)
{
    return make_table_of(state, 2, 2);
}

static int free_table(void **state)
{
    table_destroy(*state);
    return 0;
}

static bool join_with(struct table *table, uint64_t connection, const char *peer, const char *group,
                      const char *host, uint16_t port, struct error *error)
{
    struct proto_join join = {.version = "1.0", .port = port, .start_time = 5, .join_time = 6};
    snprintf(join.group, sizeof(join.group), "%s", group);
    snprintf(join.host, sizeof(join.host), "%s", host);
    return table_join(table, connection, peer, &join, now(), error);
}

static void join(struct table *table, uint64_t connection, const char *peer, const char *host, uint16_t port)
{
    struct error error = {0};
    if (!join_with(table, connection, peer, "group001", host, port, &error))
        fail_msg("%s", error.text);
}

static bool beat(struct table *table, uint64_t connection, const char *peer, const char *host)
{
    struct proto_beat body = {.group = "group001"};
    struct error error = {0};
    snprintf(body.host, sizeof(body.host), "%s", host);
    bool ok = table_beat(table, connection, peer, &body, now(), &error);
    if (!ok)
        assert_int_equal(error.code, ERROR_REFUSED);
    return ok;
}

static bool send_load(struct table *table, uint64_t connection, const char *peer, const char *group,
                      const char *host, struct proto_load load)
{
    struct error error = {0};
    snprintf(load.group, sizeof(load.group), "%s", group);
    snprintf(load.host, sizeof(load.host), "%s", host);
    bool ok = table_load(table, connection, peer, &load, now(), &error);
    if (!ok)
        assert_int_equal(error.code, ERROR_REFUSED);
    return ok;
}

/* The state of the server with PORT; suspect servers as 100 more. */
static int state_of(struct table *table, uint16_t port)
{
    struct table_snapshot snapshot;
    int result = -1;
    assert_true(table_snapshot_take(table, now(), &snapshot));
    for (size_t i = 0; i < snapshot.server_count; i++) {
        if (snapshot.servers[i].address.port == port)
            result = (int)snapshot.servers[i].state + (snapshot.servers[i].suspect ? 100 : 0);
    }
    table_snapshot_clear(&snapshot);
    return result;
}

static void a_join_makes_online_and_a_beat_makes_active(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    assert_int_equal(table_count(table, TABLE_ACTIVE), 1);
    assert_int_equal(table_count(table, TABLE_ONLINE), 0);
    assert_int_equal(table_count(table, TABLE_OFFLINE), 0);
}

static void a_join_anew_makes_online_until_the_next_beat(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    join(table, 2, "10.0.0.1", "media1", 23000);
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    table_connection_closed(table, 1, now());
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_true(beat(table, 2, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
}

static void silence_makes_offline_after_the_timeout_and_a_beat_brings_back(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    pass(table, HEARTBEAT_TIMEOUT - 1);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, 1);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
}

static void beats_every_ten_seconds_keep_a_server_active(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    for (int i = 0; i < 20; i++) {
        assert_true(beat(table, 1, "10.0.0.1", "media1"));
        pass(table, 10000);
        assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    }
}

static void a_broken_connection_makes_suspect_and_then_offline(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    table_connection_closed(table, 1, now());
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    assert_int_equal(table_count_suspect(table), 1);
    pass(table, GRACE - 1);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, 1);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
    assert_int_equal(table_count_suspect(table), 0);
}

static void a_pause_of_the_tracker_does_not_use_up_the_grace_of_a_suspect(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    table_connection_closed(table, 1, now());
    pass(table, 1000);
    now_ms += 20000;
    table_tick(table, now(), false);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, GRACE - 1001);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, 1);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
}

static void a_suspect_server_that_beats_or_joins_again_stays(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    table_connection_closed(table, 1, now());
    assert_true(beat(table, 2, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    pass(table, 2 * GRACE);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    table_connection_closed(table, 2, now());
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    join(table, 3, "10.0.0.1", "media1", 23000);
    table_connection_closed(table, 3, now());
    join(table, 4, "10.0.0.1", "media1", 23000);
    pass(table, 2 * GRACE);
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_int_equal(table_count_suspect(table), 0);
}

static void a_beat_of_somebody_who_never_joined_is_refused(void **state)
{
    struct table *table = *state;
    assert_false(beat(table, 1, "10.0.0.1", "media1"));
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_false(beat(table, 1, "10.0.0.1", "media2"));
    assert_false(beat(table, 2, "10.0.0.2", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_true(beat(table, 2, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
}

static void servers_on_one_host_are_told_apart_by_their_connections(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.1", "media1", 23001);
    assert_true(beat(table, 2, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_int_equal(state_of(table, 23001), TABLE_ACTIVE);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    /* Neither of the two that have connections of their own would beat here. */
    assert_false(beat(table, 3, "10.0.0.1", "media1"));
    /* One that lost its connection would. */
    table_connection_closed(table, 1, now());
    assert_true(beat(table, 3, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    /* With both lost it cannot be known. */
    table_connection_closed(table, 2, now());
    assert_false(beat(table, 3, "10.0.0.1", "media1"));
    /* LOAD says its port. */
    assert_true(send_load(table, 3, "10.0.0.1", "group001", "media1", (struct proto_load){.port = 23001}));
    assert_int_equal(state_of(table, 23001), TABLE_ACTIVE);
    assert_false(send_load(table, 3, "10.0.0.1", "group001", "media1", (struct proto_load){.port = 23002}));
}

static void a_connection_that_joined_twice_beats_for_the_latest(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 1, "10.0.0.1", "media1", 23001);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    assert_int_equal(state_of(table, 23001), TABLE_ACTIVE);
    table_connection_closed(table, 1, now());
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE + 100);
    assert_int_equal(state_of(table, 23001), TABLE_ACTIVE + 100);
}

static void who_joins_another_group_has_left_the_first(void **state)
{
    struct table *table = *state;
    struct error error;
    struct address servers[3];
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_true(join_with(table, 2, "10.0.0.1", "group002", "media1", 23000, &error));
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 0);
    assert_int_equal(table_count(table, TABLE_OFFLINE), 1);
    assert_int_equal(table_count(table, TABLE_ONLINE), 1);
}

static void a_join_of_an_unknown_group_or_without_a_port_is_refused(void **state)
{
    struct table *table = *state;
    struct error error = {0};
    assert_false(join_with(table, 1, "10.0.0.1", "group009", "media1", 23000, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.text, "group009"));
    assert_false(join_with(table, 1, "10.0.0.1", "group001", "media1", 0, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_int_equal(table_count(table, TABLE_OFFLINE), 0);
}

static void a_server_that_stays_offline_is_forgotten(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    table_connection_closed(table, 1, now());
    pass(table, GRACE + FORGET - 1000);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
    pass(table, 2000);
    assert_int_equal(state_of(table, 23000), -1);
    assert_int_equal(table_count(table, TABLE_OFFLINE), 0);
}

static void a_full_table_lets_the_longest_offline_server_go_and_no_other(void **state)
{
    struct table *table = *state;
    struct error error = {0};
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.1", "media1", 23001);
    assert_false(join_with(table, 3, "10.0.0.1", "group001", "media1", 23002, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    table_connection_closed(table, 1, now());
    pass(table, GRACE);
    table_connection_closed(table, 2, now());
    pass(table, GRACE);
    assert_int_equal(table_count(table, TABLE_OFFLINE), 2);
    join(table, 3, "10.0.0.1", "media1", 23002);
    assert_int_equal(state_of(table, 23000), -1);
    assert_int_equal(state_of(table, 23001), TABLE_OFFLINE);
    assert_int_equal(state_of(table, 23002), TABLE_ONLINE);
}

static void groups_past_the_limit_are_left_out(void **state)
{
    struct table *table = *state;
    const struct table_group_row rows[] = {{.name = "group001"}, {.name = "group002"}, {.name = "group003"}};
    table_set_groups(table, rows, 3);
    assert_int_equal(table_count_groups(table), 2);
    assert_false(table_group_known(table, "group003"));
}

static void groups_are_shown_by_name_and_go_when_nobody_is_left(void **state)
{
    struct table *table = *state;
    const struct table_group_row rows[] = {{.name = "group003", .weight = 1}};
    struct table_snapshot snapshot;
    struct error error = {0};
    struct address servers[3];
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    table_set_groups(table, rows, 1);
    assert_false(table_group_known(table, "group001"));
    assert_false(join_with(table, 2, "10.0.0.2", "group001", "media2", 23000, &error));
    assert_true(table_snapshot_take(table, now(), &snapshot));
    assert_int_equal(snapshot.group_count, 2);
    assert_string_equal(snapshot.groups[0].row.name, "group001");
    assert_false(snapshot.groups[0].known);
    assert_int_equal(snapshot.groups[0].active_count, 1);
    assert_string_equal(snapshot.groups[1].row.name, "group003");
    table_snapshot_clear(&snapshot);
    /* Its users are served, and its server beats, while it is there. */
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    table_connection_closed(table, 1, now());
    pass(table, GRACE + FORGET + 1000);
    assert_int_equal(table_count_groups(table), 1);
}

static void only_active_servers_are_named_and_at_most_what_is_asked_for(void **state)
{
    struct table *table = *state;
    struct address servers[3];
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 0);
    assert_int_equal(table_choose(table, "nogroup", false, servers, 3), 0);
    for (uint16_t i = 0; i < 5; i++) {
        join(table, 1u + i, "10.0.0.1", "media1", (uint16_t)(23000 + i));
        if (i == 3)
            continue;
        assert_true(beat(table, 1u + i, "10.0.0.1", "media1"));
    }
    for (int round = 0; round < 200; round++) {
        assert_int_equal(table_choose(table, "group001", false, servers, 3), 3);
        for (int i = 0; i < 3; i++) {
            assert_string_equal(servers[i].host, "10.0.0.1");
            assert_int_not_equal(servers[i].port, 23003);
        }
    }
}

static void a_suspect_server_is_named_only_where_it_is_the_only_one(void **state)
{
    struct table *table = *state;
    struct address servers[3];
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.2", "media2", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_true(beat(table, 2, "10.0.0.2", "media2"));
    table_connection_closed(table, 1, now());
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    assert_string_equal(servers[0].host, "10.0.0.2");
    table_connection_closed(table, 2, now());
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 2);
}

static void beat_every(struct table *table, int64_t interval_ms, int count)
{
    for (int i = 0; i < count; i++) {
        assert_true(beat(table, 1, "10.0.0.1", "media1"));
        pass(table, interval_ms);
    }
}

static void a_server_that_misses_three_heartbeats_is_suspect_long_before_it_is_offline(void **state)
{
    struct table *table = *state;
    struct address servers[3];
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.2", "media2", 23001);
    beat_every(table, 1000, 10);
    for (int i = 0; i < 3; i++) {
        assert_true(beat(table, 2, "10.0.0.2", "media2"));
        assert_int_equal(table_count_suspect(table), i < 2 ? 0 : 1); /* 1 s, 2 s and 3 s after the last one */
        pass(table, 1000);
    }
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    assert_int_equal(servers[0].port, 23001);
    /* Its connection is there: it has its whole heartbeat_timeout, not the grace of one that is gone. */
    pass(table, HEARTBEAT_TIMEOUT - 5000);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    pass(table, 1000);
    assert_int_equal(table_count_suspect(table), 1); /* the other one by now */
    assert_int_equal(table_choose(table, "group001", false, servers, 1), 1);
    assert_int_equal(servers[0].port, 23000);
}

static void a_server_that_hangs_after_its_first_heartbeat_is_suspect_before_it_is_offline(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    pass(table, HEARTBEAT_TIMEOUT / 2 - 100);
    assert_int_equal(table_count_suspect(table), 0);
    pass(table, 100);
    assert_int_equal(table_count_suspect(table), 1);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(table_count_suspect(table), 0);
}

static void a_server_with_another_time_is_named(void **state)
{
    static const struct {
        int64_t ahead;
        size_t off;
    } rows[] = {{0, 0}, {30, 0}, {-30, 0}, {31, 1}, {-3600, 1}};
    struct table *table = *state;
    struct proto_join request = {.group = "group001", .host = "media1", .port = 23000, .start_time = 5};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        request.join_time = now().wall_seconds + rows[i].ahead;
        assert_true(table_join(table, i + 1, "10.0.0.1", &request, now(), &error));
        assert_int_equal(table_count_clocks_off(table), rows[i].off);
    }
    request.join_time = 0; /* it does not say */
    assert_true(table_join(table, 9, "10.0.0.1", &request, now(), &error));
    assert_int_equal(table_count_clocks_off(table), 0);
}

/* That it hung for long is not how far apart its heartbeats come. */
static void a_server_that_hangs_again_is_suspect_as_soon_as_the_first_time(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.2", "media2", 23001);
    beat_every(table, 1000, 10);
    for (int i = 0; i < 30; i++) {
        assert_true(beat(table, 2, "10.0.0.2", "media2"));
        pass(table, 1000);
    }
    assert_int_equal(table_count_suspect(table), 1);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(table_count_suspect(table), 0);
    for (int i = 0; i < 6; i++) { /* twice three heartbeats */
        assert_true(beat(table, 2, "10.0.0.2", "media2"));
        pass(table, 1000);
    }
    assert_int_equal(table_count_suspect(table), 1);
}

static void a_silent_server_whose_connection_goes_has_its_grace_from_then_on(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    beat_every(table, 1000, 5);
    pass(table, 5000);
    assert_int_equal(table_count_suspect(table), 1);
    table_connection_closed(table, 1, now());
    pass(table, GRACE - 1);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, 1);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
}

static void while_a_loop_is_stuck_nobody_is_silent(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    beat_every(table, 1000, 5);
    for (int i = 0; i < 1000; i++) {
        now_ms += 250;
        table_tick(table, now(), true);
    }
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    assert_int_equal(table_count_suspect(table), 0);
    pass(table, 1000);
    beat_every(table, 1000, 1);
    pass(
        table,
        4750); /* the last two were 2 s apart; what the loop was stuck for does not count as their interval */
    assert_int_equal(table_count_suspect(table), 0);
    pass(table, 500);
    assert_int_equal(table_count_suspect(table), 1);
}

static void where_nobody_is_active_who_has_joined_is_named(void **state)
{
    struct table *table = *state;
    struct address servers[3];
    struct error error;
    char group[PROTO_GROUP_SIZE];
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 2, "10.0.0.2", "media2", 23001);
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 2);
    assert_true(table_place(table, NULL, 0, group, &error));
    assert_string_equal(group, "group001");
    assert_true(beat(table, 2, "10.0.0.2", "media2"));
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    assert_int_equal(servers[0].port, 23001);
}

static void give_two_places_per_address(struct table *table)
{
    const struct table_settings settings = {.heartbeat_timeout_ms = HEARTBEAT_TIMEOUT,
                                            .suspect_grace_ms = GRACE,
                                            .forget_after_ms = FORGET,
                                            .per_address_max = 2};
    table_set_settings(table, &settings);
}

static void an_address_has_places_of_its_own(void **state)
{
    struct table *table = *state;
    struct error error;
    give_two_places_per_address(table);
    join(table, 1, "10.0.0.1", "media1", 23000);
    join(table, 1, "10.0.0.1", "media1", 23001);
    assert_false(join_with(table, 1, "10.0.0.1", "group002", "media1", 23002, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    join(table, 2, "10.0.0.2", "media2", 23000);
    join(table, 1, "10.0.0.1", "media1", 23000); /* one that is there may join again */
    pass(table, HEARTBEAT_TIMEOUT);
    join(table, 3, "10.0.0.1", "media1", 23002); /* and one that is OFFLINE makes room for its neighbour */
    assert_int_equal(state_of(table, 23002), TABLE_ONLINE);
}

static void an_ipv6_network_has_the_places_of_one_address(void **state)
{
    struct table *table = *state;
    struct error error;
    give_two_places_per_address(table);
    join(table, 1, "2001:db8:0:1::1", "media1", 23000);
    join(table, 1, "2001:db8:0:1:ffff::2", "media2", 23001);
    assert_false(join_with(table, 1, "2001:db8:0:1::3", "group002", "media3", 23002, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_string_equal(error.text, "2 storage servers have joined from the /64 of 2001:db8:0:1::3: "
                                    "tracker.storages_per_address allows no more");
    join(table, 2, "2001:db8:0:2::1", "media4", 23003);
    join(table, 2, "10.0.0.1", "media5", 23004);
    join(table, 1, "2001:db8:0:1::1", "media1", 23000);
    pass(table, HEARTBEAT_TIMEOUT);
    join(table, 3, "2001:db8:0:1::3", "media3", 23002); /* in the place of one that is OFFLINE there */
    assert_int_equal(state_of(table, 23002), TABLE_ONLINE);
    join(table, 3, "10.0.0.1", "media5", 23004); /* which others are not gone for */
}

static void an_advertised_address_is_named_until_the_server_joins_anew(void **state)
{
    struct table *table = *state;
    struct proto_advertise advertise = {.group = "group001", .host = "media1", .port = 23000};
    struct address address = {.host = "192.0.2.1", .port = 9000}, servers[3];
    struct error error;
    assert_false(table_advertise(table, 1, "10.0.0.1", &advertise, &address, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(table_advertise(table, 1, "10.0.0.1", &advertise, &address, &error));
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    assert_true(address_equal(&servers[0], &address));
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_int_equal(table_choose(table, "group001", false, servers, 3), 1);
    assert_string_equal(servers[0].host, "10.0.0.1");
}

static struct proto_load room(uint16_t port, enum proto_load_state state, int64_t free_bytes)
{
    return (struct proto_load){
        .port = port, .state = (uint8_t)state, .capacity = 10000, .free = free_bytes, .free_inodes = 10};
}

static void a_new_user_goes_where_there_is_room(void **state)
{
    struct table *table = *state;
    struct error error;
    char group[PROTO_GROUP_SIZE];
    assert_false(table_place(table, NULL, 0, group, &error));
    assert_int_equal(error.code, ERROR_NO_SERVER);
    assert_true(join_with(table, 1, "10.0.0.1", "group001", "media1", 1, &error));
    assert_true(join_with(table, 2, "10.0.0.1", "group002", "media1", 2, &error));

    assert_true(send_load(table, 1, "10.0.0.1", "group001", "media1", room(1, PROTO_LOAD_READY, 999)));
    assert_true(send_load(table, 2, "10.0.0.1", "group002", "media1", room(2, PROTO_LOAD_BUSY, 1000)));
    for (int i = 0; i < 50; i++) {
        assert_true(table_place(table, NULL, 0, group, &error));
        assert_string_equal(group, "group002");
    }
    assert_true(send_load(table, 2, "10.0.0.1", "group002", "media1", room(2, PROTO_LOAD_READ_ONLY, 9000)));
    assert_false(table_place(table, NULL, 0, group, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
    assert_true(send_load(table, 1, "10.0.0.1", "group001", "media1", room(1, PROTO_LOAD_DRAINING, 9000)));
    assert_false(table_place(table, NULL, 0, group, &error));
    assert_int_equal(error.code, ERROR_NO_SERVER);
    struct proto_load no_inodes = room(1, PROTO_LOAD_READY, 9000);
    no_inodes.free_inodes = 0;
    assert_true(send_load(table, 1, "10.0.0.1", "group001", "media1", no_inodes));
    assert_false(table_place(table, NULL, 0, group, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
}

static void the_fullest_member_says_how_much_room_a_group_has(void **state)
{
    struct table *table = *state;
    struct error error;
    char group[PROTO_GROUP_SIZE];
    join(table, 1, "10.0.0.1", "media1", 1);
    join(table, 2, "10.0.0.2", "media2", 2);
    assert_true(send_load(table, 1, "10.0.0.1", "group001", "media1", room(1, PROTO_LOAD_READY, 9000)));
    assert_true(table_place(table, NULL, 0, group, &error));
    assert_true(send_load(table, 2, "10.0.0.2", "group001", "media2", room(2, PROTO_LOAD_READY, 10)));
    assert_false(table_place(table, NULL, 0, group, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
}

static void a_pinned_user_goes_only_where_it_is_pinned_and_draining_groups_get_nobody(void **state)
{
    struct table *table = *state;
    const struct table_group_row draining[] = {{.name = "group001", .weight = 100, .draining = true},
                                               {.name = "group002", .weight = 100}};
    char pinned[2][PROTO_GROUP_SIZE] = {"group001", "nogroup"};
    char group[PROTO_GROUP_SIZE];
    struct error error;
    struct proto_beat body = {.group = "group002", .host = "media1"};
    join(table, 1, "10.0.0.1", "media1", 1);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_true(join_with(table, 2, "10.0.0.1", "group002", "media1", 2, &error));
    assert_true(table_beat(table, 2, "10.0.0.1", &body, now(), &error));
    for (int i = 0; i < 50; i++) {
        assert_true(table_place(table, pinned, 2, group, &error));
        assert_string_equal(group, "group001");
    }
    table_set_groups(table, draining, 2);
    assert_false(table_place(table, pinned, 2, group, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    for (int i = 0; i < 50; i++) {
        assert_true(table_place(table, NULL, 0, group, &error));
        assert_string_equal(group, "group002");
    }
}

static void a_tracker_that_stood_still_blames_nobody(void **state)
{
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    pass(table, 10000);
    now_ms += 10 * HEARTBEAT_TIMEOUT; /* SIGSTOP: heartbeats lie unread in the sockets */
    table_tick(table, now(), false);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    pass(table, HEARTBEAT_TIMEOUT - 10001);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE + 100);
    pass(table, 1);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
}

static void a_step_of_the_wall_clock_neither_expires_nor_revives(void **state)
{
    struct table *table = *state;
    struct table_moment moment;
    join(table, 1, "10.0.0.1", "media1", 23000);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    moment = now();
    moment.wall_seconds += 1000000;
    table_tick(table, moment, false);
    assert_int_equal(state_of(table, 23000), TABLE_ACTIVE);
    pass(table, HEARTBEAT_TIMEOUT);
    moment = now();
    moment.wall_seconds -= 1000000;
    table_tick(table, moment, false);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
}

static void a_server_shows_the_times_it_stated_and_when_it_was_heard(void **state)
{
    struct table *table = *state;
    struct table_snapshot snapshot;
    join(table, 1, "10.0.0.1", "media1", 23000);
    int64_t joined = now().wall_seconds;
    pass(table, 5000);
    assert_true(table_snapshot_take(table, now(), &snapshot));
    assert_int_equal(snapshot.servers[0].start_time, 5);
    assert_int_equal(snapshot.servers[0].join_time, 6);
    assert_int_equal(snapshot.servers[0].beat_time, joined);
    assert_int_equal(snapshot.servers[0].silent_ms, 5000);
    table_snapshot_clear(&snapshot);
    assert_true(beat(table, 1, "10.0.0.1", "media1"));
    assert_true(table_snapshot_take(table, now(), &snapshot));
    assert_int_equal(snapshot.servers[0].beat_time, joined + 5);
    table_snapshot_clear(&snapshot);
}

static void shorter_times_hold_at_once(void **state)
{
    const struct table_settings settings = {.heartbeat_timeout_ms = 4000,
                                            .suspect_grace_ms = GRACE,
                                            .forget_after_ms = 6000,
                                            .minimum_free = 1000};
    struct table *table = *state;
    join(table, 1, "10.0.0.1", "media1", 23000);
    pass(table, 5000);
    assert_int_equal(state_of(table, 23000), TABLE_ONLINE);
    table_set_settings(table, &settings);
    pass(table, 250);
    assert_int_equal(state_of(table, 23000), TABLE_OFFLINE);
    table_connection_closed(table, 1, now());
    pass(table, 6250);
    assert_int_equal(state_of(table, 23000), -1);
}

/* One of two tables plans everything anew before each tick: had the other one missed that something is due earlier or later than it was, they
 * would come to differ. */
static void no_change_of_a_server_comes_late(void **state)
{
    enum { SERVERS = 24, STEPS = 20000 };
    const struct table_settings settings = {.heartbeat_timeout_ms = HEARTBEAT_TIMEOUT,
                                            .suspect_grace_ms = GRACE,
                                            .forget_after_ms = FORGET,
                                            .minimum_free = 1000};
    struct table *tables[2];
    uint64_t dice = 1;
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(make_table_of((void **)&tables[i], 8, SERVERS), 0);
    for (int step = 0; step < STEPS; step++) {
        dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        unsigned action = (unsigned)(dice >> 33) % 100, server = (unsigned)(dice >> 45) % SERVERS;
        char peer[32], host[32];
        snprintf(peer, sizeof(peer), "10.0.0.%u", server);
        snprintf(host, sizeof(host), "media%u", server);
        if (action >= 60)
            now_ms += action == 99 ? 5000 : 250; /* the first: this tracker stood still */
        for (int i = 0; i < 2; i++) {
            struct error error;
            if (action < 2) {
                assert_true(join_with(tables[i], server + 1, peer, server % 2 == 0 ? "group001" : "group002",
                                      host, 23000, &error));
            } else if (action < 55) {
                (void)beat(tables[i], server + 1, peer, host);
            } else if (action < 60) {
                table_connection_closed(tables[i], server + 1, now());
            } else {
                if (i == 1)
                    table_set_settings(tables[i], &settings);
                table_tick(tables[i], now(), false);
            }
        }
        for (enum table_state which = 0; which < TABLE_STATE_COUNT; which++)
            assert_int_equal(table_count(tables[0], which), table_count(tables[1], which));
        assert_int_equal(table_count_suspect(tables[0]), table_count_suspect(tables[1]));
    }
    for (int i = 0; i < 2; i++)
        table_destroy(tables[i]);
}

#define TABLE_TEST(test) cmocka_unit_test_setup_teardown(test, make_table, free_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(shorter_times_hold_at_once),
        cmocka_unit_test(no_change_of_a_server_comes_late),
        TABLE_TEST(a_join_makes_online_and_a_beat_makes_active),
        TABLE_TEST(a_join_anew_makes_online_until_the_next_beat),
        TABLE_TEST(silence_makes_offline_after_the_timeout_and_a_beat_brings_back),
        TABLE_TEST(beats_every_ten_seconds_keep_a_server_active),
        TABLE_TEST(a_broken_connection_makes_suspect_and_then_offline),
        TABLE_TEST(a_pause_of_the_tracker_does_not_use_up_the_grace_of_a_suspect),
        TABLE_TEST(a_suspect_server_that_beats_or_joins_again_stays),
        TABLE_TEST(a_beat_of_somebody_who_never_joined_is_refused),
        TABLE_TEST(servers_on_one_host_are_told_apart_by_their_connections),
        TABLE_TEST(a_connection_that_joined_twice_beats_for_the_latest),
        TABLE_TEST(who_joins_another_group_has_left_the_first),
        TABLE_TEST(a_join_of_an_unknown_group_or_without_a_port_is_refused),
        TABLE_TEST(a_server_that_stays_offline_is_forgotten),
        cmocka_unit_test_setup_teardown(a_full_table_lets_the_longest_offline_server_go_and_no_other,
                                        make_small_table, free_table),
        cmocka_unit_test_setup_teardown(groups_past_the_limit_are_left_out, make_small_table, free_table),
        TABLE_TEST(groups_are_shown_by_name_and_go_when_nobody_is_left),
        TABLE_TEST(only_active_servers_are_named_and_at_most_what_is_asked_for),
        TABLE_TEST(a_suspect_server_is_named_only_where_it_is_the_only_one),
        TABLE_TEST(a_server_that_misses_three_heartbeats_is_suspect_long_before_it_is_offline),
        TABLE_TEST(a_server_with_another_time_is_named),
        TABLE_TEST(a_server_that_hangs_again_is_suspect_as_soon_as_the_first_time),
        TABLE_TEST(a_server_that_hangs_after_its_first_heartbeat_is_suspect_before_it_is_offline),
        TABLE_TEST(a_silent_server_whose_connection_goes_has_its_grace_from_then_on),
        TABLE_TEST(while_a_loop_is_stuck_nobody_is_silent),
        TABLE_TEST(where_nobody_is_active_who_has_joined_is_named),
        TABLE_TEST(an_address_has_places_of_its_own),
        TABLE_TEST(an_ipv6_network_has_the_places_of_one_address),
        TABLE_TEST(an_advertised_address_is_named_until_the_server_joins_anew),
        TABLE_TEST(a_new_user_goes_where_there_is_room),
        TABLE_TEST(the_fullest_member_says_how_much_room_a_group_has),
        TABLE_TEST(a_pinned_user_goes_only_where_it_is_pinned_and_draining_groups_get_nobody),
        TABLE_TEST(a_tracker_that_stood_still_blames_nobody),
        TABLE_TEST(a_step_of_the_wall_clock_neither_expires_nor_revives),
        TABLE_TEST(a_server_shows_the_times_it_stated_and_when_it_was_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
