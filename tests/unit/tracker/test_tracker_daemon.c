/* reel-tracker as a whole: every command over its port, groups changed by it, reload, admin port, a clean end. */
#include "tests/unit/library/real_daemon.h"
#include "common/base/clock.h"
#include "common/proto/proto_tracker.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct real_daemon tracker;
static int fd;

static int group(const char *name, uint8_t change, int32_t weight)
{
    uint8_t body[PROTO_GROUP_CHANGE_SIZE];
    struct proto_group request = {.change = change, .weight = weight};
    struct error error;

    snprintf(request.group, sizeof(request.group), "%s", name);
    assert_true(proto_group_pack(body, &request, &error));
    return real_daemon_code(fd, PROTO_TRACKER_GROUP, body, sizeof(body));
}

static int join(const char *group_name)
{
    uint8_t body[PROTO_JOIN_SIZE];
    struct proto_join request = {.version = "1.0",
                                 .host = "media1",
                                 .port = 23000,
                                 .start_time = 5,
                                 .join_time = clock_wall_seconds()};
    struct error error;

    snprintf(request.group, sizeof(request.group), "%s", group_name);
    assert_true(proto_join_pack(body, &request, &error));
    return real_daemon_code(fd, PROTO_TRACKER_JOIN, body, sizeof(body));
}

static int beat(void)
{
    uint8_t body[PROTO_BEAT_SIZE];
    const struct proto_beat request = {.group = "group001", .host = "media1"};
    struct error error;

    assert_true(proto_beat_pack(body, &request, &error));
    return real_daemon_code(fd, PROTO_TRACKER_BEAT, body, sizeof(body));
}

static int load(int64_t free_bytes)
{
    uint8_t body[PROTO_LOAD_SIZE];
    const struct proto_load request = {.group = "group001",
                                       .host = "media1",
                                       .port = 23000,
                                       .capacity = INT64_C(1) << 40,
                                       .free = free_bytes,
                                       .free_inodes = 1000000};
    struct error error;

    assert_true(proto_load_pack(body, &request, &error));
    return real_daemon_code(fd, PROTO_TRACKER_LOAD, body, sizeof(body));
}

static struct real_answer route(uint8_t command, const char *application, const char *user)
{
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct proto_file_key key = {.file = "film"};
    struct error error;

    snprintf(key.application, sizeof(key.application), "%s", application);
    snprintf(key.user, sizeof(key.user), "%s", user);
    assert_true(proto_file_key_pack(body, &key, &error));
    return real_daemon_ask(fd, command, body, sizeof(body));
}

static int route_code(uint8_t command, const char *application, const char *user)
{
    struct real_answer answer = route(command, application, user);

    free(answer.body);
    return answer.code;
}

/* Two groups, of which group001 has an ACTIVE server. */
static int set_up_with(const char *more)
{
    real_daemon_start(&tracker, "tracker", true, more);
    fd = real_daemon_connect(&tracker);
    assert_int_equal(group("group001", PROTO_GROUP_ADD, 100), ERROR_NONE);
    assert_int_equal(group("group002", PROTO_GROUP_ADD, 100), ERROR_NONE);
    assert_int_equal(join("group001"), ERROR_NONE);
    assert_int_equal(load(INT64_C(1) << 39), ERROR_NONE);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with("groups_refresh = 200ms\nheartbeat_timeout = 60s");
}

static int set_up_one_loop(void **state)
{
    (void)state;
    return set_up_with("groups_refresh = 200ms\nheartbeat_timeout = 60s\n[daemon]\nloops = 1");
}

static int tear_down(void **state)
{
    (void)state;
    close(fd);
    real_daemon_stop(&tracker);
    return 0;
}

static void a_new_user_is_placed_and_found_again(void **state)
{
    char name[PROTO_GROUP_SIZE], addresses[256];
    struct error error;

    (void)state;
    assert_int_equal(route_code(PROTO_TRACKER_LOCATE, "tnvideo", "alice"), ERROR_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        struct real_answer answer =
            route(i == 0 ? PROTO_TRACKER_SADDRS : PROTO_TRACKER_LOCATE, "tnvideo", "alice");
        assert_int_equal(answer.code, ERROR_NONE);
        assert_true(proto_saddrs_reply_unpack((const uint8_t *)answer.body, answer.size, name, addresses,
                                              sizeof(addresses), &error));
        assert_string_equal(name, "group001");
        assert_string_equal(addresses, "127.0.0.1:23000;");
        free(answer.body);
    }
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "other", "alice"), ERROR_REFUSED);
}

static void groups_and_status_show_the_table(void **state)
{
    struct real_answer answer = real_daemon_ask(fd, PROTO_TRACKER_GROUPS, "", 0);

    (void)state;
    assert_int_equal(answer.code, ERROR_NONE);
    assert_non_null(strstr(answer.body, "STATUS: ACTIVE"));
    assert_non_null(strstr(answer.body, "group002"));
    free(answer.body);
    answer = real_daemon_ask(fd, PROTO_TRACKER_STATUS, "", 0);
    assert_int_equal(answer.code, ERROR_NONE);
    assert_non_null(strstr(answer.body, "\"version\":\"" REEL_VERSION "\""));
    assert_non_null(strstr(answer.body, "\"state\":\"ACTIVE\""));
    free(answer.body);
}

static void a_server_of_no_group_is_refused_and_a_beat_without_a_join_too(void **state)
{
    uint8_t body[PROTO_BEAT_SIZE];
    const struct proto_beat stranger = {.group = "group002", .host = "media9"};
    struct error error;

    (void)state;
    assert_int_equal(join("group009"), ERROR_REFUSED);
    assert_true(proto_beat_pack(body, &stranger, &error));
    assert_int_equal(real_daemon_code(fd, PROTO_TRACKER_BEAT, body, sizeof(body)), ERROR_REFUSED);
    assert_int_equal(beat(), ERROR_NONE);
}

static void bodies_that_break_a_rule_are_refused_and_the_connection_goes_on(void **state)
{
    static const uint8_t commands[] = {PROTO_TRACKER_JOIN,   PROTO_TRACKER_BEAT,   PROTO_TRACKER_LOAD,
                                       PROTO_TRACKER_SADDRS, PROTO_TRACKER_LOCATE, PROTO_TRACKER_GROUP};
    static const size_t sizes[] = {PROTO_JOIN_SIZE,     PROTO_BEAT_SIZE,     PROTO_LOAD_SIZE,
                                   PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, PROTO_GROUP_CHANGE_SIZE};
    uint8_t body[PROTO_FILE_KEY_SIZE];

    (void)state;
    memset(body, 0xEE, sizeof(body));
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        assert_int_equal(real_daemon_code(fd, commands[i], body, sizes[i]), ERROR_MALFORMED);
    assert_int_equal(beat(), ERROR_NONE);
}

static void a_draining_group_gets_no_new_user_and_keeps_those_it_has(void **state)
{
    (void)state;
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "early"), ERROR_NONE);
    assert_int_equal(group("group001", PROTO_GROUP_DRAIN, 0), ERROR_NONE);
    assert_true(real_daemon_shows(&tracker, "/status", "\"draining\""));
    assert_int_not_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "late"), ERROR_NONE);
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "early"), ERROR_NONE);
    assert_int_equal(group("group001", PROTO_GROUP_OPEN, 0), ERROR_NONE);
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (route_code(PROTO_TRACKER_SADDRS, "tnvideo", "late") != ERROR_NONE &&
           clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "late"), ERROR_NONE);
}

static void changes_of_groups_are_checked(void **state)
{
    (void)state;
    assert_int_equal(group("group001", PROTO_GROUP_WEIGHT, 7), ERROR_NONE);
    assert_true(real_daemon_shows(&tracker, "/status", "\"weight\": 7"));
    assert_int_equal(group("group009", PROTO_GROUP_WEIGHT, 7), ERROR_NOT_FOUND);
    assert_int_equal(group("group001", PROTO_GROUP_ADD, 100),
                     ERROR_NONE); /* a group that is there stays as it is */
    assert_true(real_daemon_shows(&tracker, "/status", "\"weight\": 7"));
    real_daemon_reload(&tracker, true,
                       "groups_refresh = 200ms\nheartbeat_timeout = 60s\nadmin_addresses = 192.0.2.1");
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (group("group001", PROTO_GROUP_WEIGHT, 8) == ERROR_NONE && clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(group("group001", PROTO_GROUP_WEIGHT, 8), ERROR_REFUSED);
}

/* REROUTE; the group that the user has afterwards goes to NOW. */
static int reroute(const char *user, const char *from, const char *to, char now[PROTO_GROUP_SIZE])
{
    uint8_t body[PROTO_REROUTE_SIZE];
    struct proto_reroute request = {.application = "tnvideo"};
    struct error error;

    snprintf(request.user, sizeof(request.user), "%s", user);
    snprintf(request.from, sizeof(request.from), "%s", from);
    snprintf(request.to, sizeof(request.to), "%s", to);
    assert_true(proto_reroute_pack(body, &request, &error));
    struct real_answer answer = real_daemon_ask(fd, PROTO_TRACKER_REROUTE, body, sizeof(body));
    if (answer.code == ERROR_NONE)
        assert_true(proto_group_name_unpack((const uint8_t *)answer.body, answer.size, now, &error));
    free(answer.body);
    return answer.code;
}

/* The users of GROUP behind AFTER, as one text: "alice bob ". The last one's number goes to *AFTER. */
static const char *users_of(const char *name, int64_t *after, int32_t limit)
{
    static char text[1024];
    uint8_t body[PROTO_USERS_SIZE];
    struct proto_users request = {.after = *after, .limit = limit};
    struct proto_users_entry entry;
    struct error error;

    snprintf(request.group, sizeof(request.group), "%s", name);
    assert_true(proto_users_pack(body, &request, &error));
    struct real_answer answer = real_daemon_ask(fd, PROTO_TRACKER_USERS, body, sizeof(body));
    assert_int_equal(answer.code, ERROR_NONE);
    text[0] = '\0';
    for (size_t at = 0; at < answer.size; at += PROTO_USERS_ENTRY_SIZE) {
        assert_true(proto_users_entry_unpack((const uint8_t *)answer.body + at, PROTO_USERS_ENTRY_SIZE,
                                             &entry, &error));
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", entry.user);
        *after = entry.number;
    }
    free(answer.body);
    return text;
}

static int servers_of(const char *name, const char *expected)
{
    uint8_t body[PROTO_GROUP_SIZE];
    char found[PROTO_GROUP_SIZE], addresses[256];
    struct error error;

    assert_true(proto_group_name_pack(body, name, &error));
    struct real_answer answer = real_daemon_ask(fd, PROTO_TRACKER_SERVERS, body, sizeof(body));
    if (answer.code == ERROR_NONE) {
        assert_true(proto_saddrs_reply_unpack((const uint8_t *)answer.body, answer.size, found, addresses,
                                              sizeof(addresses), &error));
        assert_string_equal(found, name);
        assert_string_equal(addresses, expected);
    }
    free(answer.body);
    return answer.code;
}

static void users_are_listed_and_moved_and_the_empty_group_is_removed(void **state)
{
    char now[PROTO_GROUP_SIZE], name[PROTO_GROUP_SIZE], addresses[256];
    struct error error;
    int64_t after = 0;

    (void)state;
    for (const char *const *user = (const char *const[]){"alice", "bob", "carol", NULL}; *user; user++)
        assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", *user), ERROR_NONE);
    assert_string_equal(users_of("group001", &after, 2), "alice bob ");
    assert_string_equal(users_of("group001", &after, 2), "carol ");
    assert_string_equal(users_of("group001", &after, 2), "");
    after = 0;
    assert_string_equal(users_of("group002", &after, 100), "");
    assert_int_equal(servers_of("group001", "127.0.0.1:23000;"), ERROR_NONE);
    assert_int_equal(servers_of("group002", ""), ERROR_NO_SERVER);
    assert_int_equal(servers_of("group009", ""), ERROR_NOT_FOUND);

    assert_int_equal(join("group002"), ERROR_NONE);
    for (int i = 0; i < 2; i++) { /* the second one finds it done */
        assert_int_equal(reroute("alice", "group001", "group002", now), ERROR_NONE);
        assert_string_equal(now, "group002");
    }
    assert_int_equal(reroute("alice", "group001", "group001", now), ERROR_NONE);
    assert_string_equal(now, "group002"); /* it is another one's user by now */
    assert_int_equal(reroute("nobody", "group001", "group002", now), ERROR_NOT_FOUND);
    assert_int_equal(reroute("bob", "group001", "group009", now), ERROR_NOT_FOUND);
    struct real_answer answer =
        route(PROTO_TRACKER_LOCATE, "tnvideo", "alice"); /* at once, whatever was cached */
    assert_true(proto_saddrs_reply_unpack((const uint8_t *)answer.body, answer.size, name, addresses,
                                          sizeof(addresses), &error));
    assert_string_equal(name, "group002");
    free(answer.body);

    assert_int_equal(group("group001", PROTO_GROUP_REMOVE, 0), ERROR_EXISTS); /* it gets new users */
    assert_int_equal(group("group001", PROTO_GROUP_DRAIN, 0), ERROR_NONE);
    assert_int_equal(group("group001", PROTO_GROUP_REMOVE, 0), ERROR_EXISTS); /* it has users */
    assert_int_equal(reroute("bob", "group001", "group002", now), ERROR_NONE);
    assert_int_equal(reroute("carol", "group001", "group002", now), ERROR_NONE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(group("group001", PROTO_GROUP_REMOVE, 0), ERROR_NONE);
    assert_int_equal(join("group001"), ERROR_REFUSED);

    real_daemon_reload(&tracker, true,
                       "groups_refresh = 200ms\nheartbeat_timeout = 60s\nadmin_addresses = 192.0.2.1");
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (reroute("bob", "group002", "group002", now) != ERROR_REFUSED && clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(reroute("bob", "group002", "group002", now), ERROR_REFUSED);
}

static void servers_from_other_addresses_are_refused(void **state)
{
    (void)state;
    real_daemon_reload(&tracker, true,
                       "groups_refresh = 200ms\nheartbeat_timeout = 60s\nstorage_addresses = 192.0.2.0/24");
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (join("group002") != ERROR_REFUSED && clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(join("group002"), ERROR_REFUSED);
    assert_int_equal(beat(), ERROR_REFUSED);
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "bob"), ERROR_NONE); /* clients go on */
    real_daemon_reload(&tracker, true,
                       "groups_refresh = 200ms\nheartbeat_timeout = 60s\nstorage_addresses = 127.0.0.0/8");
    until_ms = clock_monotonic_ms() + 20000;
    while (join("group002") != ERROR_NONE && clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(join("group002"), ERROR_NONE);
}

static void a_reload_with_a_fault_changes_nothing(void **state)
{
    (void)state;
    real_daemon_reload(&tracker, true, "pins = nonsense");
    assert_int_equal(real_daemon_run(&tracker, "--check-config"), 2);
    assert_int_equal(beat(), ERROR_NONE);
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "bob"), ERROR_NONE);
}

static void the_admin_port_shows_health_and_metrics(void **state)
{
    (void)state;
    assert_true(real_daemon_shows(&tracker, "/healthz", "ok"));
    assert_true(real_daemon_shows(&tracker, "/metrics", "reel_tracker_"));
    struct real_answer answer = real_daemon_admin(&tracker, "/nowhere");
    assert_int_equal(answer.code, 404);
    free(answer.body);
}

static void a_server_whose_connection_breaks_is_suspect(void **state)
{
    (void)state;
    close(fd);
    assert_true(real_daemon_shows(&tracker, "/status", "\"suspect\": true"));
    fd = real_daemon_connect(&tracker);
    assert_int_equal(join("group001"), ERROR_NONE);
    assert_true(real_daemon_shows(&tracker, "/status", "\"suspect\": false"));
}

/* In one piece: of two the second would wait for an acknowledgement of the first. */
static void beat_in_one_piece(int connection)
{
    uint8_t packet[PROTO_HEADER_SIZE + PROTO_BEAT_SIZE];
    const struct proto_beat request = {.group = "group001", .host = "media1"};
    struct error error;

    proto_header_pack(packet, PROTO_BEAT_SIZE, PROTO_TRACKER_BEAT, 0);
    assert_true(proto_beat_pack(packet + PROTO_HEADER_SIZE, &request, &error));
    assert_int_equal(write(connection, packet, sizeof(packet)), sizeof(packet));
    struct real_answer answer = real_daemon_receive(connection);
    assert_int_equal(answer.code, ERROR_NONE);
    free(answer.body);
}

/* The loop looks at them every 20 ms by a clock that is up to 10 ms behind, so a heartbeat right after another one waits. */
static void heartbeats_over_connections_that_joined_are_served_together(void **state)
{
    int first = fd, second = real_daemon_connect(&tracker);

    (void)state;
    fd = second;
    assert_int_equal(join("group001"), ERROR_NONE);
    assert_int_equal(beat(), ERROR_NONE);
    for (int i = 0; i < 20; i++) {
        int64_t begin_ms = clock_monotonic_ms();
        beat_in_one_piece(first);
        beat_in_one_piece(second);
        assert_true(clock_monotonic_ms() - begin_ms >= 8);
    }
    close(first);
}

/* ---- after a start ---- */

static void send_route(int connection, uint8_t command)
{
    uint8_t body[PROTO_FILE_KEY_SIZE];
    const struct proto_file_key key = {.application = "tnvideo", .user = "alice", .file = "film"};
    struct error error;

    if (command == PROTO_TRACKER_SERVERS) {
        assert_true(proto_group_name_pack(body, "group001", &error));
        real_daemon_send(connection, command, body, PROTO_GROUP_SIZE);
        return;
    }
    assert_true(proto_file_key_pack(body, &key, &error));
    real_daemon_send(connection, command, body, sizeof(body));
}

/* Ends the tracker's process and begins another one, to which nobody has joined yet. */
static void start_anew(bool kept)
{
    close(fd);
    real_daemon_halt(&tracker);
    real_daemon_resume(&tracker, kept);
    fd = real_daemon_connect(&tracker);
}

static void who_asks_a_tracker_that_took_over_waits_for_a_storage_server(void **state)
{
    static const uint8_t commands[] = {PROTO_TRACKER_SADDRS, PROTO_TRACKER_LOCATE, PROTO_TRACKER_SERVERS};
    int waiting[ARRAY_SIZE(commands)];

    (void)state;
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "alice"), ERROR_NONE);
    start_anew(true);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        waiting[i] = real_daemon_connect(&tracker);
        send_route(waiting[i], commands[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        assert_false(real_daemon_speaks(waiting[i], 200));
    assert_int_equal(join("group001"), ERROR_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        char name[PROTO_GROUP_SIZE], addresses[256];
        struct error error;
        struct real_answer answer = real_daemon_receive(waiting[i]);

        assert_int_equal(answer.code, ERROR_NONE);
        assert_true(proto_saddrs_reply_unpack((const uint8_t *)answer.body, answer.size, name, addresses,
                                              sizeof(addresses), &error));
        assert_string_equal(name, "group001");
        assert_string_equal(addresses, "127.0.0.1:23000;");
        free(answer.body);
        close(waiting[i]);
    }
}

static void nobody_waits_for_longer_than_storage_servers_need(void **state)
{
    (void)state;
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "alice"), ERROR_NONE);
    start_anew(true);
    assert_int_equal(route_code(PROTO_TRACKER_LOCATE, "tnvideo", "alice"), ERROR_NO_SERVER);
    start_anew(false); /* nobody was waiting for this one */
    assert_int_equal(route_code(PROTO_TRACKER_LOCATE, "tnvideo", "alice"), ERROR_NO_SERVER);
    start_anew(true);
    int waiting = real_daemon_connect(&tracker);
    send_route(waiting, PROTO_TRACKER_LOCATE); /* while this one waits the tracker ends, with 0 */
    (void)real_daemon_speaks(waiting, 50);
    close(waiting);
}

static void groups_that_were_not_read_yet_are_no_refusal(void **state)
{
    static const uint8_t commands[] = {PROTO_TRACKER_SADDRS, PROTO_TRACKER_LOCATE, PROTO_TRACKER_SERVERS};

    (void)state;
    real_daemon_sql(&tracker, "ALTER TABLE t_groups_info RENAME TO elsewhere");
    start_anew(false);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        send_route(fd, commands[i]);
        struct real_answer answer = real_daemon_receive(fd);

        assert_int_equal(answer.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(answer.text, "cannot be looked up"));
    }
    assert_int_equal(join("group001"), ERROR_UNAVAILABLE);
    real_daemon_sql(&tracker, "ALTER TABLE elsewhere RENAME TO t_groups_info");
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (join("group001") != ERROR_NONE && clock_monotonic_ms() < until_ms)
        usleep(20000);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        send_route(fd, commands[i]);
        struct real_answer answer = real_daemon_receive(fd);

        assert_int_equal(answer.code, ERROR_NONE);
        free(answer.body);
    }
}

/* What another tracker does to a group reaches memory here with the next reading only. */
static void what_another_tracker_did_to_a_group_counts_at_once(void **state)
{
    char now[PROTO_GROUP_SIZE];

    (void)state;
    real_daemon_reload(&tracker, true, "groups_refresh = 1h\nheartbeat_timeout = 60s");
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "early"), ERROR_NONE);
    assert_int_equal(join("group002"), ERROR_NONE);
    real_daemon_sql(&tracker, "UPDATE t_groups_info SET state = 1 WHERE group_name = 'group001'");
    real_daemon_sql(&tracker, "INSERT INTO t_groups_info (group_name) VALUES ('group003')");
    for (int i = 0; i < 20; i++) {
        char user[16];

        snprintf(user, sizeof(user), "late%d", i);
        assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", user), ERROR_NONE);
    }
    int64_t after = 0;
    assert_string_equal(users_of("group001", &after, 100), "early ");
    assert_int_equal(servers_of("group003", ""), ERROR_NO_SERVER); /* known, and without a server */
    assert_int_equal(reroute("early", "group001", "group003", now), ERROR_NONE);
    assert_string_equal(now, "group003");
    real_daemon_sql(&tracker, "DELETE FROM t_groups_info WHERE group_name = 'group001'");
    assert_int_equal(reroute("early", "group003", "group001", now), ERROR_NOT_FOUND);
    real_daemon_sql(&tracker, "UPDATE t_groups_info SET state = 1");
    assert_int_not_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "last"), ERROR_NONE);
    assert_int_equal(route_code(PROTO_TRACKER_LOCATE, "tnvideo", "last"), ERROR_NOT_FOUND);
    assert_int_equal(route_code(PROTO_TRACKER_SADDRS, "tnvideo", "late0"), ERROR_NONE);
}

#define DAEMON_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAEMON_TEST(who_asks_a_tracker_that_took_over_waits_for_a_storage_server),
        DAEMON_TEST(nobody_waits_for_longer_than_storage_servers_need),
        DAEMON_TEST(groups_that_were_not_read_yet_are_no_refusal),
        DAEMON_TEST(what_another_tracker_did_to_a_group_counts_at_once),
        DAEMON_TEST(a_new_user_is_placed_and_found_again),
        DAEMON_TEST(groups_and_status_show_the_table),
        DAEMON_TEST(a_server_of_no_group_is_refused_and_a_beat_without_a_join_too),
        DAEMON_TEST(bodies_that_break_a_rule_are_refused_and_the_connection_goes_on),
        DAEMON_TEST(a_draining_group_gets_no_new_user_and_keeps_those_it_has),
        DAEMON_TEST(changes_of_groups_are_checked),
        DAEMON_TEST(users_are_listed_and_moved_and_the_empty_group_is_removed),
        DAEMON_TEST(a_reload_with_a_fault_changes_nothing),
        DAEMON_TEST(servers_from_other_addresses_are_refused),
        DAEMON_TEST(the_admin_port_shows_health_and_metrics),
        DAEMON_TEST(a_server_whose_connection_breaks_is_suspect),
        cmocka_unit_test_setup_teardown(heartbeats_over_connections_that_joined_are_served_together,
                                        set_up_one_loop, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
