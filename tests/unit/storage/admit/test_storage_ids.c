/* Numbers from ID servers, ours and the predecessor's, there or away. The servers are scripted from raw
 * bytes. */
#include "storage/admit/ids.h"
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/storage_loop.h"

#include <string.h>

static const char *const keys[] = {"../data", "/srv/b"};

/* What a scripted ID server counts. */
static atomic_llong next_number;
static atomic_bool away;

static void put_number(uint8_t *bytes, int64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

static int64_t get_number(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

static void modern(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        uint8_t body[16];
        if (atomic_load(&away)) {
            peer_fail(fd, 101, -9, "[ids] the database is away");
        } else if (request.command == 41 && request.length == 73 &&
                   strcmp((char *)request.head, "../data") == 0) {
            int64_t count = get_number(request.head + 65);
            put_number(body, atomic_fetch_add(&next_number, count));
            put_number(body + 8, count);
            peer_reply(fd, 101, body, 16);
        } else {
            peer_fail(fd, 101, -2, "[ids] unexpected");
        }
    }
}

/* Knows GET only, answers everything else with -1 and closes, as the predecessor does. */
static void legacy(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        uint8_t body[8];
        if (request.command != 40 || request.length != 8 || memcmp(request.head, "../data", 8) != 0) {
            peer_fail(fd, 101, -1, "[ids] unknown command");
            return;
        }
        put_number(body, atomic_fetch_add(&next_number, 1));
        peer_reply(fd, 101, body, 8);
    }
}

/* Past the end of a store path. */
static void exhausted(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        uint8_t body[16];
        put_number(body, INT64_C(1) << 36);
        put_number(body + 8, 10);
        peer_reply(fd, 101, body, 16);
    }
}

struct world {
    struct loop *loop;
    struct address_list servers;
    struct ids *ids;
    int64_t range, timeout_ms, hedge_ms;
    size_t waiting_max;
};

static void make_ids(void *argument)
{
    struct world *world = argument;
    struct error error = {0};
    struct ids_options options = {
        .loop = world->loop,
        .servers = &world->servers,
        .keys = keys,
        .key_count = 1,
        .range = world->range,
        .timeout_ms = world->timeout_ms,
        .waiting_max = world->waiting_max,
        .connect_timeout_ms = 20000,
        .call_timeout_ms = 20000,
        .hedge_ms = world->hedge_ms,
    };
    world->ids = ids_create(&options, &error);
}

static struct world start_world(const char *servers, int64_t range)
{
    struct world world = {.range = range, .timeout_ms = 60000, .waiting_max = 1000};
    struct error error = {0};
    assert_true(address_list_parse(servers, 22000, &world.servers, &error));
    world.loop = loop_fresh();
    return world;
}

static void begin(struct world *world)
{
    loop_do(world->loop, make_ids, world);
    assert_non_null(world->ids);
}

static void end_ids(void *argument)
{
    ids_end(argument);
}

static void end_world(struct world *world)
{
    loop_do(world->loop, end_ids, world->ids);
    ids_destroy(world->ids); /* while its loop still exists */
    loop_destroy(world->loop);
    address_list_clear(&world->servers);
}

struct wish {
    struct ids_waiter waiter;
    struct ids *ids;
    bool taken;
    atomic_bool answered;
    int64_t value;
    struct error error;
};

static void on_wish(struct ids_waiter *waiter, int64_t value, const struct error *error)
{
    struct wish *wish = CONTAINER_OF(waiter, struct wish, waiter);
    wish->value = value;
    if (error)
        wish->error = *error;
    atomic_store(&wish->answered, true);
}

static void start_wish(void *argument)
{
    struct wish *wish = argument;
    wish->taken = ids_wait(wish->ids, 0, &wish->waiter, &wish->error);
}

static void wish(struct world *world, struct wish *wish)
{
    *wish = (struct wish){.waiter = {.done = on_wish, .loop = world->loop}, .ids = world->ids};
    loop_do(world->loop, start_wish, wish);
}

static bool is_answered(void *argument)
{
    return atomic_load(&((struct wish *)argument)->answered);
}

/* One number, whatever it takes. */
static int64_t number(struct world *world)
{
    struct wish one;
    int64_t value;
    if (ids_take(world->ids, 0, &value))
        return value;
    wish(world, &one);
    assert_true(one.taken);
    assert_true(loop_wait_until(is_answered, &one));
    if (one.value < 0)
        fail_msg("%s", one.error.text);
    return one.value;
}

static void numbers_come_in_runs_fetched_ahead(void **state)
{
    struct peer peer;
    (void)state;
    atomic_store(&next_number, 100);
    peer_start(&peer, modern, NULL);
    struct world world = start_world(peer.address, 100);
    begin(&world);
    for (int64_t i = 0; i < 1000; i++)
        assert_int_equal(number(&world), 100 + i); /* one server: none is lost or repeated */
    assert_in_range(peer_requests(&peer, 41), 10, 14);
    assert_int_equal(peer_requests(&peer, 40), 0);
    end_world(&world);
    peer_stop(&peer);
}

static bool some_at_hand(void *argument)
{
    return ids_available(argument, 0) > 0;
}

static void what_is_dropped_never_comes_and_new_numbers_are_asked_for(void **state)
{
    struct peer peer;
    (void)state;
    atomic_store(&next_number, 0);
    peer_start(&peer, modern, NULL);
    struct world world = start_world(peer.address, 100);
    begin(&world);
    int64_t last = number(&world);
    for (int i = 0; i < 5; i++) {
        assert_true(loop_wait_until(some_at_hand, world.ids));
        int64_t at_hand = ids_available(world.ids, 0); /* the next ones after `last` */
        ids_discard(world.ids, 0);
        int64_t value = number(&world);
        assert_true(value > last + at_hand);
        last = value;
    }
    end_world(&world);
    peer_stop(&peer);
}

static void a_legacy_server_is_asked_one_by_one(void **state)
{
    struct peer peer;
    (void)state;
    atomic_store(&next_number, 0);
    peer_start(&peer, legacy, NULL);
    struct world world = start_world(peer.address, 1000);
    begin(&world);
    for (int64_t i = 0; i < 200; i++)
        assert_int_equal(number(&world), i);
    assert_int_equal(peer_requests(&peer, 41), 1); /* learned once, not with every number */
    end_world(&world);
    peer_stop(&peer);
}

static void another_server_is_asked_where_one_is_gone(void **state)
{
    struct peer peer;
    char dead[32], servers[80];
    (void)state;
    atomic_store(&next_number, 7);
    peer_start(&peer, modern, NULL);
    peer_dead_address(dead);
    snprintf(servers, sizeof(servers), "%s,%s", dead, peer.address);
    struct world world = start_world(servers, 10);
    begin(&world);
    for (int64_t i = 0; i < 50; i++)
        assert_int_equal(number(&world), 7 + i);
    end_world(&world);
    peer_stop(&peer);
}

/* Reserves as the other one does, and answers when nobody listens any more. */
static void too_late(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        uint8_t body[16];
        int64_t count = get_number(request.head + 65);
        put_number(body, atomic_fetch_add(&next_number, count));
        put_number(body + 8, count);
        usleep(1500000);
        peer_reply(fd, 101, body, 16);
    }
}

static void a_slow_server_is_not_waited_for_and_its_numbers_are_skipped(void **state)
{
    struct peer slow, quick;
    char servers[80];
    (void)state;
    atomic_store(&next_number, 0);
    peer_start(&slow, too_late, NULL);
    peer_start(&quick, modern, NULL);
    snprintf(servers, sizeof(servers), "%s,%s", slow.address, quick.address);
    struct world world = start_world(servers, 10);
    world.hedge_ms = 500;
    begin(&world);
    int64_t last = -1;
    for (int i = 0; i < 200; i++) {
        int64_t value = number(&world);
        assert_true(value > last);
        last = value;
    }
    /* The slow one had the first run, and is remembered. */
    assert_in_range(peer_requests(&slow, 41), 1, 3);
    assert_true(peer_requests(&quick, 41) >= 20);
    end_world(&world);
    peer_stop(&slow);
    peer_stop(&quick);
}

static bool says_what_is_away(void *argument)
{
    char reason[256];
    return !ids_healthy(argument, reason, sizeof(reason)) && strstr(reason, "the database is away");
}

static void who_waits_is_served_when_the_server_comes_back(void **state)
{
    struct peer peer;
    struct wish wishes[20];
    char reason[256];
    (void)state;
    atomic_store(&next_number, 0);
    atomic_store(&away, true);
    peer_start(&peer, modern, NULL);
    struct world world = start_world(peer.address, 10);
    begin(&world);
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        wish(&world, &wishes[i]);
        assert_true(wishes[i].taken);
    }
    assert_true(loop_wait_until(says_what_is_away, world.ids));
    atomic_store(&away, false);
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        assert_true(loop_wait_until(is_answered, &wishes[i]));
        assert_int_equal(wishes[i].value, i); /* in the order of asking */
    }
    assert_true(ids_healthy(world.ids, reason, sizeof(reason)));
    end_world(&world);
    peer_stop(&peer);
}

static void nobody_waits_for_ever_and_not_too_many(void **state)
{
    struct wish wishes[3];
    char dead[32];
    (void)state;
    peer_dead_address(dead);
    struct world world = start_world(dead, 10);
    world.timeout_ms = 3000;
    world.waiting_max = 2;
    begin(&world);
    for (int i = 0; i < 3; i++)
        wish(&world, &wishes[i]);
    assert_false(wishes[2].taken);
    assert_int_equal(wishes[2].error.code, ERROR_UNAVAILABLE);
    for (int i = 0; i < 2; i++) {
        assert_true(loop_wait_until(is_answered, &wishes[i]));
        assert_int_equal(wishes[i].value, -1);
        assert_int_equal(wishes[i].error.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(wishes[i].error.text, dead)); /* it names who did not answer */
    }
    end_world(&world);
}

static void a_number_past_the_end_of_a_store_path_is_not_used(void **state)
{
    struct peer peer;
    struct wish one;
    (void)state;
    peer_start(&peer, exhausted, NULL);
    struct world world = start_world(peer.address, 10);
    world.timeout_ms = 3000;
    begin(&world);
    wish(&world, &one);
    assert_true(loop_wait_until(is_answered, &one));
    assert_int_equal(one.value, -1);
    assert_non_null(strstr(one.error.text, "past the end"));
    end_world(&world);
    peer_stop(&peer);
}

/* ---- many threads ---- */

#define TAKERS 4
#define EACH   5000

struct taker {
    struct ids *ids;
    int64_t *values;
    pthread_t thread;
};

static void *take_many(void *argument)
{
    struct taker *taker = argument;
    for (int i = 0; i < EACH;) {
        if (ids_take(taker->ids, 0, &taker->values[i]))
            i++;
        else
            usleep(100);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void no_number_is_taken_twice_by_many_threads(void **state)
{
    static int64_t values[TAKERS * EACH];
    struct taker takers[TAKERS];
    struct peer peer;
    (void)state;
    atomic_store(&next_number, 0);
    peer_start(&peer, modern, NULL);
    struct world world = start_world(peer.address, 64);
    begin(&world);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){.ids = world.ids, .values = values + i * EACH};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take_many, &takers[i]), 0);
    }
    for (int i = 0; i < TAKERS; i++)
        pthread_join(takers[i].thread, NULL);
    qsort(values, ARRAY_SIZE(values), sizeof(values[0]), compare);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        assert_int_equal(values[i], i);
    end_world(&world);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_in_runs_fetched_ahead),
        cmocka_unit_test(what_is_dropped_never_comes_and_new_numbers_are_asked_for),
        cmocka_unit_test(a_legacy_server_is_asked_one_by_one),
        cmocka_unit_test(another_server_is_asked_where_one_is_gone),
        cmocka_unit_test(a_slow_server_is_not_waited_for_and_its_numbers_are_skipped),
        cmocka_unit_test(who_waits_is_served_when_the_server_comes_back),
        cmocka_unit_test(nobody_waits_for_ever_and_not_too_many),
        cmocka_unit_test(a_number_past_the_end_of_a_store_path_is_not_used),
        cmocka_unit_test(no_number_is_taken_twice_by_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
