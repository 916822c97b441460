/* How trackers, ours and the predecessor's, learn of a storage server. The trackers are scripted from raw
 * bytes. */
#include "storage/heartbeat.h"
#include "common/base/metrics.h"
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/storage_loop.h"

#include <string.h>

enum { JOIN = 10, BEAT = 11, LOAD = 14, ADVERTISE = 18 };

struct tracker {
    struct peer peer;
    atomic_bool knows;   /* a JOIN came */
    atomic_bool refuses; /* JOIN is refused */
    atomic_bool refuses_address;
    atomic_int last_state; /* of the last LOAD */
    atomic_int port;       /* of the last JOIN */
    atomic_int beat_before_join;
};

static void answer(struct tracker *tracker, int fd, const struct peer_request *request)
{
    if (request->command == JOIN) {
        peer_must(request->length == 171, "JOIN's size");
        peer_must(strcmp((const char *)request->head + 7, "group001") == 0, "JOIN's group");
        peer_must(strcmp((const char *)request->head + 24, "media1") == 0, "JOIN's host");
        atomic_store(&tracker->port, request->head[153] << 8 | request->head[154]);
        if (atomic_load(&tracker->refuses)) {
            peer_fail(fd, 100, -12, "[tracker] no such group");
            return;
        }
        atomic_store(&tracker->knows, true);
    } else if (!atomic_load(&tracker->knows)) {
        peer_fail(fd, 100, -4, "[tracker] nobody joined so");
        return;
    }
    if (request->command == ADVERTISE) {
        peer_must(request->length == 277, "ADVERTISE's size");
        peer_must(strcmp((const char *)request->head, "group001") == 0, "ADVERTISE's group");
        peer_must((request->head[146] << 8 | request->head[147]) == 23000, "ADVERTISE's port");
        peer_must(strcmp((const char *)request->head + 148, "192.0.2.1:9000") == 0, "ADVERTISE's address");
        if (atomic_load(&tracker->refuses_address)) {
            peer_fail(fd, 100, -12, "[tracker] another network");
            return;
        }
    }
    if (request->command == LOAD)
        atomic_store(&tracker->last_state, request->head[17 + 129 + 2]);
    peer_reply(fd, 100, NULL, 0);
}

static void modern(struct peer *peer, int fd, int connection)
{
    struct tracker *tracker = peer->argument;
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request))
        answer(tracker, fd, &request);
}

/* Every connection joins for itself; a command that is not known is answered with -1 and a close. */
static void legacy(struct peer *peer, int fd, int connection)
{
    struct tracker *tracker = peer->argument;
    struct peer_request request;
    bool joined = false;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        if (request.command == BEAT && request.length == 146 && joined) {
            peer_reply(fd, 100, NULL, 0);
        } else if (request.command == JOIN) {
            joined = true;
            answer(tracker, fd, &request);
        } else {
            if (request.command == BEAT)
                atomic_fetch_add(&tracker->beat_before_join, 1);
            peer_fail(fd, 100, -1, "[tracker] what?");
            return;
        }
    }
}

struct world {
    const char *advertise;
    struct loop *loop;
    struct address_list trackers;
    struct heartbeat *heartbeat;
    atomic_int state;
};

static void fill_load(void *argument, struct proto_load *load)
{
    struct world *world = argument;
    load->state = (uint8_t)atomic_load(&world->state);
    load->capacity = 1000;
    load->free = 500;
}

static void make_heartbeat(void *argument)
{
    struct world *world = argument;
    struct error error = {0};
    struct heartbeat_options options = {
        .loop = world->loop,
        .trackers = &world->trackers,
        .interval_ms = 50,
        .connect_timeout_ms = 20000,
        .call_timeout_ms = 20000,
        .join = {.version = "1.0", .group = "group001", .host = "media1", .port = 23000, .start_time = 1},
        .advertise = world->advertise,
        .load = fill_load,
        .argument = world,
    };
    world->heartbeat = heartbeat_create(&options, &error);
}

static void start_world_as(struct world *world, const char *trackers, const char *advertise)
{
    struct error error = {0};
    memset(world, 0, sizeof(*world));
    world->advertise = advertise;
    assert_true(address_list_parse(trackers, 21000, &world->trackers, &error));
    world->loop = loop_fresh();
    loop_do(world->loop, make_heartbeat, world);
    assert_non_null(world->heartbeat);
}

static void start_world(struct world *world, const char *trackers)
{
    start_world_as(world, trackers, NULL);
}

static void end_heartbeat(void *argument)
{
    heartbeat_destroy(argument);
}

static void end_world(struct world *world)
{
    loop_do(world->loop, end_heartbeat, world->heartbeat);
    loop_destroy(world->loop);
    address_list_clear(&world->trackers);
}

static size_t count_joined(const struct world *world)
{
    int64_t joined = 0;
    for (size_t i = 0; i < world->trackers.count; i++) {
        char text[ADDRESS_TEXT_SIZE], labels[ADDRESS_TEXT_SIZE + 16];
        snprintf(labels, sizeof(labels), "tracker=\"%s\"",
                 address_format(&world->trackers.items[i], text, sizeof(text)));
        joined += metric_value(metrics_gauge("reel_storage_tracker_joined", "", labels));
    }
    return (size_t)joined;
}

static bool both_joined(void *argument)
{
    return count_joined(argument) == 2;
}

static bool one_joined(void *argument)
{
    return count_joined(argument) == 1;
}

static void start_tracker(struct tracker *tracker, uint16_t port, void (*script)(struct peer *, int, int))
{
    memset(tracker, 0, sizeof(*tracker));
    peer_start_at(&tracker->peer, port, script, tracker);
}

static bool five_loads(void *argument)
{
    return peer_requests(&((struct tracker *)argument)->peer, LOAD) >= 5;
}

static bool five_beats(void *argument)
{
    return peer_requests(&((struct tracker *)argument)->peer, BEAT) >= 5;
}

static void a_tracker_gets_one_join_and_then_loads_on_one_connection(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, modern);
    start_world(&world, tracker.peer.address);
    assert_true(loop_wait_until(five_loads, &tracker));
    assert_int_equal(peer_requests(&tracker.peer, JOIN), 1);
    assert_int_equal(peer_requests(&tracker.peer, BEAT), 0);
    assert_int_equal(atomic_load(&tracker.peer.accepted), 1);
    assert_int_equal(atomic_load(&tracker.port), 23000);
    assert_true(one_joined(&world));
    end_world(&world);
    peer_stop(&tracker.peer);
}

static void an_address_to_advertise_is_sent_after_each_join(void **state)
{
    (void)state;
    for (int refuses = 0; refuses < 2; refuses++) {
        struct tracker tracker;
        struct world world;
        start_tracker(&tracker, 0, modern);
        atomic_store(&tracker.refuses_address, refuses == 1);
        start_world_as(&world, tracker.peer.address, "192.0.2.1:9000");
        assert_true(loop_wait_until(five_loads, &tracker)); /* also where it is not taken */
        assert_int_equal(peer_requests(&tracker.peer, JOIN), 1);
        assert_int_equal(peer_requests(&tracker.peer, ADVERTISE), 1);
        end_world(&world);
        peer_stop(&tracker.peer);
    }
}

static void a_legacy_tracker_that_takes_no_address_still_gets_beats(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, legacy);
    start_world_as(&world, tracker.peer.address, "192.0.2.1:9000");
    assert_true(loop_wait_until(five_beats, &tracker));
    assert_int_equal(peer_requests(&tracker.peer, ADVERTISE), 1);
    end_world(&world);
    peer_stop(&tracker.peer);
}

static void a_legacy_tracker_gets_plain_beats_on_the_connection_that_joined(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, legacy);
    start_world(&world, tracker.peer.address);
    assert_true(loop_wait_until(five_beats, &tracker));
    assert_int_equal(peer_requests(&tracker.peer, LOAD), 1);
    assert_int_equal(peer_requests(&tracker.peer, JOIN), 2);
    assert_int_equal(atomic_load(&tracker.beat_before_join), 0);
    assert_int_equal(atomic_load(&tracker.peer.accepted), 2);
    end_world(&world);
    peer_stop(&tracker.peer);
}

static void a_tracker_that_was_restarted_is_joined_again(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, modern);
    uint16_t port = tracker.peer.port;
    start_world(&world, tracker.peer.address);
    assert_true(loop_wait_until(five_loads, &tracker));
    peer_stop(&tracker.peer);
    start_tracker(&tracker, port, modern);
    assert_true(loop_wait_until(five_loads, &tracker));
    assert_int_equal(peer_requests(&tracker.peer, JOIN), 1);
    end_world(&world);
    peer_stop(&tracker.peer);
}

static bool knows(void *argument)
{
    return atomic_load(&((struct tracker *)argument)->knows);
}

static void a_tracker_that_forgot_is_joined_again_on_the_same_connection(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, modern);
    start_world(&world, tracker.peer.address);
    assert_true(loop_wait_until(five_loads, &tracker));
    atomic_store(&tracker.knows, false);
    assert_true(loop_wait_until(knows, &tracker));
    assert_int_equal(peer_requests(&tracker.peer, JOIN), 2);
    assert_true(loop_wait_until(one_joined, &world));
    end_world(&world);
    peer_stop(&tracker.peer);
}

static void one_tracker_away_does_not_keep_the_others_from_knowing(void **state)
{
    struct tracker first, second;
    struct world world;
    char dead[32], trackers[120];
    (void)state;
    start_tracker(&first, 0, modern);
    start_tracker(&second, 0, legacy);
    peer_dead_address(dead);
    snprintf(trackers, sizeof(trackers), "%s,%s,%s", dead, first.peer.address, second.peer.address);
    start_world(&world, trackers);
    assert_true(loop_wait_until(five_loads, &first));
    assert_true(loop_wait_until(five_beats, &second));
    assert_true(loop_wait_until(both_joined, &world));
    end_world(&world);
    peer_stop(&first.peer);
    peer_stop(&second.peer);
}

static void a_refused_join_is_tried_again(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, modern);
    atomic_store(&tracker.refuses, true);
    start_world(&world, tracker.peer.address);
    while (peer_requests(&tracker.peer, JOIN) < 2)
        usleep(1000);
    assert_false(one_joined(&world));
    atomic_store(&tracker.refuses, false);
    assert_true(loop_wait_until(one_joined, &world));
    end_world(&world);
    peer_stop(&tracker.peer);
}

static bool is_draining(void *argument)
{
    return atomic_load(&((struct tracker *)argument)->last_state) == PROTO_LOAD_DRAINING;
}

static void beat_now(void *argument)
{
    heartbeat_beat_now(argument);
}

static void set_long_interval(void *argument)
{
    heartbeat_set_interval(argument, 3600 * 1000);
}

static void news_are_sent_at_once(void **state)
{
    struct tracker tracker;
    struct world world;
    (void)state;
    start_tracker(&tracker, 0, modern);
    start_world(&world, tracker.peer.address);
    loop_do(world.loop, set_long_interval, world.heartbeat);
    assert_true(loop_wait_until(one_joined, &world));
    usleep(200000); /* the beat of the shorter interval is over */
    atomic_store(&world.state, PROTO_LOAD_DRAINING);
    loop_do(world.loop, beat_now, world.heartbeat);
    assert_true(loop_wait_until(is_draining, &tracker));
    end_world(&world);
    peer_stop(&tracker.peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tracker_gets_one_join_and_then_loads_on_one_connection),
        cmocka_unit_test(an_address_to_advertise_is_sent_after_each_join),
        cmocka_unit_test(a_legacy_tracker_that_takes_no_address_still_gets_beats),
        cmocka_unit_test(a_legacy_tracker_gets_plain_beats_on_the_connection_that_joined),
        cmocka_unit_test(a_tracker_that_was_restarted_is_joined_again),
        cmocka_unit_test(a_tracker_that_forgot_is_joined_again_on_the_same_connection),
        cmocka_unit_test(one_tracker_away_does_not_keep_the_others_from_knowing),
        cmocka_unit_test(a_refused_join_is_tried_again),
        cmocka_unit_test(news_are_sent_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
