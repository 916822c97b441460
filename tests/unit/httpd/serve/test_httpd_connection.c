/* http_connection: requests that arrive together do not hold up the loop. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "httpd/serve/http_connection.h"

#define CROWD   30   /* fewer than libevent looks at in a turn at first, more than begin in one */
#define SPIN_US 1000 /* a request takes, more than one turn allows for all */

static const char request[] = "GET /files/a HTTP/1.1\r\nHost: x\r\n\r\n";

static struct {
    struct http_loop http;
    struct http_settings settings;
    struct http_metrics metrics;
    struct http_answering answering;
    int peers[CROWD];
    size_t begun, ended, left;
    uint64_t ids[CROWD * 2], turns[CROWD * 2]; /* of those that have begun */
    size_t wanted;                             /* so many begin until the loop stops */
    size_t late;                               /* of the connections have their request when one has begun */
    bool keeps;                                /* answers at once, and waits for the next request */
    size_t destroyed_at;                       /* when so many have begun, the last one ends; 0: never */
    struct http_connection other;              /* whose answer is under way */
    bool closing;                              /* ends of connections take long, too */
} world;

static bool take_nothing(struct http_connection *connection)
{
    (void)connection;
    return false;
}

static void spin(void)
{
    int64_t until = clock_monotonic_us() + SPIN_US;
    while (clock_monotonic_us() < until)
        continue;
}

static void begin(struct http_connection *connection)
{
    spin();
    world.ids[world.begun] = connection->id;
    world.turns[world.begun++] = loop_turn(world.http.loop);
    for (size_t i = CROWD - world.late; world.begun == 1 && i < CROWD; i++)
        assert_int_equal(send(world.peers[i], request, sizeof(request) - 1, 0), sizeof(request) - 1);
    if (world.begun == world.wanted)
        loop_stop(world.http.loop);
    if (world.begun == world.destroyed_at)
        http_connection_destroy(TAILQ_LAST(&world.http.lists[CONNECTION_HEAD], http_connection_list));
    http_connection_set_state(connection, world.keeps ? CONNECTION_SEND : CONNECTION_LOOKUP);
    if (world.keeps)
        assert_true(http_connection_take_output(connection));
}

static void end(struct http_connection *connection, bool complete)
{
    (void)complete;
    world.ended++;
    memset(&connection->exchange, 0, sizeof(connection->exchange));
}

static void place_left(struct http_loop *loop, const struct listen_place *place)
{
    (void)loop;
    (void)place;
    if (world.closing) {
        spin();
        world.turns[world.left] = loop_turn(loop->loop);
    }
    world.left++;
    if (world.closing && world.left == CROWD)
        loop_stop(world.http.loop);
}

static void run_again(struct task *task)
{
    http_connection_run_again(CONTAINER_OF(task, struct http_loop, again_task));
}

/* CROWD connections, each with REQUESTS that have come, but for the last LATE of them. */
static void set_up_crowd(size_t requests, size_t late)
{
    struct error error;
    memset(&world, 0, sizeof(world));
    world.late = late;
    struct http_loop *loop = &world.http;
    const struct http_lookup_options lookup = {.entries_max = 10};
    loop->loop = loop_create("test", &error);
    loop->lookup = http_lookup_create(&lookup, &error);
    assert_true(loop->loop && loop->lookup);
    world.settings.limits =
        (struct http_request_limits){.target_max = 1024, .head_max = 4096, .fields_max = 20};
    world.metrics.connections = metrics_gauge("test_connections", "Connections.", NULL);
    world.answering = (struct http_answering){.take = take_nothing, .begin = begin, .end = end};
    loop->settings = &world.settings;
    loop->metrics = &world.metrics;
    loop->answering = &world.answering;
    loop->place_left = place_left;
    loop->again_task.run = run_again;
    loop->next_id = loop->id_step = 1;
    for (int i = 0; i < CONNECTION_STATES; i++)
        TAILQ_INIT(&loop->lists[i]);
    TAILQ_INIT(&loop->again);
    TAILQ_INIT(&loop->beginners);
    http_buffers_init(&loop->buffers, 4096);
    for (size_t i = 0; i < CROWD; i++) {
        static const struct listen_place place;
        const struct sockaddr peer = {.sa_family = AF_UNIX};
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
        world.peers[i] = pair[1];
        for (size_t n = 0; n < requests && i < CROWD - late; n++)
            assert_int_equal(send(pair[1], request, sizeof(request) - 1, 0), sizeof(request) - 1);
        assert_true(http_connection_create(loop, (struct transport){.fd = pair[0]}, &peer, sizeof(peer),
                                           false, false, &place));
    }
}

static void tear_down_crowd(void)
{
    struct http_connection *connection;
    for (int i = 0; i < CONNECTION_STATES; i++) {
        while ((connection = TAILQ_FIRST(&world.http.lists[i])))
            http_connection_destroy(connection);
    }
    assert_int_equal(world.left, CROWD);
    assert_true(TAILQ_EMPTY(&world.http.again) && TAILQ_EMPTY(&world.http.beginners));
    http_lookup_destroy(world.http.lookup);
    loop_destroy(world.http.loop);
    http_buffers_clear(&world.http.buffers);
    for (size_t i = 0; i < CROWD; i++)
        close(world.peers[i]);
}

static void assert_one_each_turn(void)
{
    for (size_t i = 1; i < world.begun; i++)
        assert_true(world.turns[i] > world.turns[i - 1]);
}

static void a_crowd_has_its_turns_one_after_the_other_in_its_order(void **state)
{
    (void)state;
    set_up_crowd(1, 0);
    world.wanted = CROWD;
    loop_run(world.http.loop);
    assert_int_equal(world.begun, CROWD);
    assert_one_each_turn();
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(world.ids[i], i + 1);
    tear_down_crowd();
}

static void who_comes_later_begins_later(void **state)
{
    (void)state;
    set_up_crowd(1, CROWD / 2);
    world.wanted = CROWD;
    loop_run(world.http.loop);
    assert_one_each_turn();
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(world.ids[i], i + 1);
    tear_down_crowd();
}

static void requests_behind_one_another_wait_behind_those_of_others(void **state)
{
    (void)state;
    set_up_crowd(2, 0);
    world.keeps = true;
    world.settings.live.keepalive_requests = 0;
    world.wanted = CROWD * 2;
    TAILQ_INSERT_TAIL(&world.http.lists[CONNECTION_SEND], &world.other, link);
    loop_run(world.http.loop);
    TAILQ_REMOVE(&world.http.lists[CONNECTION_SEND], &world.other, link);
    assert_int_equal(world.begun, CROWD * 2);
    assert_one_each_turn();
    /* The second one of the first connection came before the others were looked at; theirs wait behind all first ones. */
    assert_int_equal(world.ids[0], 1);
    for (size_t i = 1; i <= CROWD; i++)
        assert_int_equal(world.ids[i], i);
    for (size_t i = CROWD + 1; i < world.begun; i++)
        assert_int_equal(world.ids[i], i - CROWD + 1);
    tear_down_crowd();
}

static void where_no_answer_is_under_way_more_of_a_crowd_begin_in_a_turn(void **state)
{
    (void)state;
    set_up_crowd(1, 0);
    world.keeps = true;
    world.wanted = CROWD;
    loop_run(world.http.loop);
    assert_int_equal(world.begun, CROWD);
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(world.ids[i], i + 1);
        assert_int_equal(world.turns[i], world.turns[0] + i / 24);
    }
    tear_down_crowd();
}

/* Each state that an answer under way may be in. */
static void an_answer_under_way_has_its_turns_in_between(void **state)
{
    static const enum http_connection_state states[] = {CONNECTION_BODY, CONNECTION_STORE, CONNECTION_LOOKUP,
                                                        CONNECTION_OPEN, CONNECTION_SEND,  CONNECTION_FEED,
                                                        CONNECTION_REST};
    (void)state;
    for (size_t n = 0; n < ARRAY_SIZE(states); n++) {
        set_up_crowd(1, 0);
        world.keeps = true;
        world.wanted = CROWD;
        TAILQ_INSERT_TAIL(&world.http.lists[states[n]], &world.other, link);
        loop_run(world.http.loop);
        TAILQ_REMOVE(&world.http.lists[states[n]], &world.other, link);
        assert_int_equal(world.begun, CROWD);
        assert_one_each_turn();
        tear_down_crowd();
    }
}

static void clients_that_leave_together_have_their_turns_too(void **state)
{
    (void)state;
    set_up_crowd(0, 0);
    world.closing = true;
    TAILQ_INSERT_TAIL(&world.http.lists[CONNECTION_FEED], &world.other, link);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(shutdown(world.peers[i], SHUT_WR), 0);
    loop_run(world.http.loop);
    TAILQ_REMOVE(&world.http.lists[CONNECTION_FEED], &world.other, link);
    for (size_t i = 1; i < CROWD; i++)
        assert_true(world.turns[i] > world.turns[i - 1]);
    tear_down_crowd();
}

static void who_ends_while_it_waits_holds_up_nobody(void **state)
{
    (void)state;
    set_up_crowd(1, 0);
    world.destroyed_at = 3;
    world.wanted = CROWD - 1;
    loop_run(world.http.loop);
    assert_int_equal(world.begun, CROWD - 1);
    assert_one_each_turn();
    assert_true(TAILQ_EMPTY(&world.http.beginners));
    tear_down_crowd();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_has_its_turns_one_after_the_other_in_its_order),
        cmocka_unit_test(who_comes_later_begins_later),
        cmocka_unit_test(requests_behind_one_another_wait_behind_those_of_others),
        cmocka_unit_test(where_no_answer_is_under_way_more_of_a_crowd_begin_in_a_turn),
        cmocka_unit_test(an_answer_under_way_has_its_turns_in_between),
        cmocka_unit_test(clients_that_leave_together_have_their_turns_too),
        cmocka_unit_test(who_ends_while_it_waits_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
