/*
 * A listener and a crowd that has connected before it looks: how many it accepts in one turn of its loop, and all before an end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/loop/listener.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define CROWD    100
#define TURN_MAX 24

static struct {
    struct loop *loop;
    struct listen_limits *limits;
    struct listener *listener;
    int clients[CROWD], taken[CROWD];
    uint64_t turns[CROWD];
    struct listen_place places[CROWD];
    size_t count, places_max;
} world;

static void bounds(void *argument, struct listener_bounds *out)
{
    (void)argument;
    *out = (struct listener_bounds){.connections_max = world.places_max, .refuse_after_ms = -1};
}

static bool none(void *argument)
{
    (void)argument;
    return false;
}

static bool take(void *argument, int fd, const struct socket_address *peer, const struct listen_place *place,
                 bool refused)
{
    (void)argument;
    (void)peer;
    assert_false(refused);
    world.taken[world.count] = fd;
    world.places[world.count] = *place;
    world.turns[world.count++] = loop_turn(world.loop);
    if (world.count == CROWD)
        loop_stop(world.loop);
    return true;
}

/* CROWD have connected, and wait in the kernel. */
static void set_up_crowd(size_t places_max)
{
    struct address_list text = {0};
    struct bind_list addresses = {0};
    struct error error;
    memset(&world, 0, sizeof(world));
    world.places_max = places_max;
    world.loop = loop_create("test", &error);
    world.limits = listen_limits_create();
    assert_true(world.loop && world.limits);
    assert_true(address_list_parse("127.0.0.1:0", 0, &text, &error));
    assert_true(bind_list_resolve(&text, &addresses, &error));
    address_list_clear(&text);
    const struct listener_options options = {.loop = world.loop,
                                             .limits = world.limits,
                                             .addresses = &addresses,
                                             .room = "test",
                                             .bounds = bounds,
                                             .has_room = none,
                                             .make_room = none,
                                             .take = take};
    world.listener = listener_create(&options, &error);
    assert_non_null(world.listener);
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(listener_port(world.listener)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < CROWD; i++) {
        world.clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(world.clients[i], (const struct sockaddr *)&to, sizeof(to)), 0);
    }
    bind_list_clear(&addresses);
}

static void tear_down_crowd(void)
{
    listener_destroy(world.listener);
    for (size_t i = 0; i < world.count; i++) {
        close(world.taken[i]);
        listen_limits_leave(world.limits, &world.places[i]);
    }
    for (size_t i = 0; i < CROWD; i++)
        close(world.clients[i]);
    loop_destroy(world.loop);
    listen_limits_destroy(world.limits);
}

static void a_crowd_is_accepted_by_parts_and_others_have_their_turns_in_between(void **state)
{
    (void)state;
    set_up_crowd(CROWD);
    loop_run(world.loop);
    assert_int_equal(world.count, CROWD);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(world.turns[i], world.turns[0] + i / TURN_MAX);
    tear_down_crowd();
}

static void before_the_end_all_who_have_come_are_accepted(void **state)
{
    (void)state;
    set_up_crowd(CROWD);
    listener_take_rest(world.listener);
    assert_int_equal(world.count, CROWD);
    tear_down_crowd();
}

static void before_the_end_no_more_are_accepted_than_there_are_places(void **state)
{
    (void)state;
    set_up_crowd(CROWD - 30);
    listener_take_rest(world.listener);
    assert_int_equal(world.count, CROWD - 30);
    tear_down_crowd();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_is_accepted_by_parts_and_others_have_their_turns_in_between),
        cmocka_unit_test(before_the_end_all_who_have_come_are_accepted),
        cmocka_unit_test(before_the_end_no_more_are_accepted_than_there_are_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
