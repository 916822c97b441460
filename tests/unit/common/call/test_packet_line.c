/*
 * Many small requests over one connection, against scripted peers: what leaves together, what order the
 * answers have, and that whatever is not as expected ends with "ask another way", once, for exactly those it
 * is about.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/call/packet_call.h"
#include "common/call/packet_line.h"
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/storage_loop.h"

#define COMMAND    72
#define SUCCESS    102
#define REPLY_SIZE 8
#define ASKS_MAX   256

struct ask {
    struct world *world;
    int number;
    struct packet_line_request *request;
    int ended, answered; /* callbacks; those with a body */
    int place;           /* in the order of all callbacks */
    char body[REPLY_SIZE + 1];
    bool asks_next;
};

struct world {
    struct loop *loop;
    struct packet_pool *pool;
    struct peer peer;
    struct address address;
    atomic_int ended; /* callbacks of all asks, and of opening calls */
    int begin, count; /* what ask_some() asks */
    int refused;
    struct ask asks[ASKS_MAX];
    atomic_int released; /* what scripts wait for */
    atomic_int said;     /* what they did */
    int opened;
};

/* ---- the peer's side ---- */

static void wait_reported(struct peer *peer, int least)
{
    struct world *world = peer->argument;

    while (atomic_load(&world->released) < least)
        usleep(500);
}

static void make_reply(const struct peer_request *request, uint8_t reply[10 + REPLY_SIZE])
{
    memcpy(reply, "\0\0\0\0\0\0\0\x08\x66\0", 10);
    memcpy(reply + 10, "reply", 5);
    memcpy(reply + 15, request->head, 3);
}

/* The request that opened the connection. */
static bool greet(struct peer *peer, int fd)
{
    struct peer_request request;

    if (!peer_read(peer, fd, &request))
        return false;
    peer_reply(fd, SUCCESS, "welcome!", 8);
    return true;
}

/* Reads COUNT requests, and only then answers them, in one piece. */
static bool answer_together(struct peer *peer, int fd, int count)
{
    uint8_t replies[ASKS_MAX][10 + REPLY_SIZE];
    struct peer_request request;

    for (int i = 0; i < count; i++) {
        if (!peer_read(peer, fd, &request))
            return false;
        make_reply(&request, replies[i]);
    }
    peer_put(fd, replies, (size_t)count * sizeof(replies[0]));
    return true;
}

static void answer_each(struct peer *peer, int fd, int connection)
{
    (void)connection;
    while (answer_together(peer, fd, 1))
        ;
}

static void answer_twenty(struct peer *peer, int fd, int connection)
{
    (void)connection;
    if (greet(peer, fd) && answer_together(peer, fd, 20))
        answer_each(peer, fd, connection);
}

static void answer_in_pieces(struct peer *peer, int fd, int connection)
{
    uint8_t replies[5][10 + REPLY_SIZE];
    struct peer_request request;

    (void)connection;
    if (!greet(peer, fd))
        return;
    for (int i = 0; i < 5; i++) {
        if (!peer_read(peer, fd, &request))
            return;
        make_reply(&request, replies[i]);
    }
    for (size_t at = 0, size = 1; at < sizeof(replies); at += size, size = size % 23 + 1) {
        size = size < sizeof(replies) - at ? size : sizeof(replies) - at;
        peer_put(fd, (uint8_t *)replies + at, size);
        usleep(1000);
    }
    answer_each(peer, fd, connection);
}

static void die_after_three(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    if (connection > 0 || !greet(peer, fd) || !answer_together(peer, fd, 3))
        return;
    for (int i = 0; i < 3; i++)
        if (!peer_read(peer, fd, &request))
            return;
}

static void die_inside_the_second(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    uint8_t reply[10 + REPLY_SIZE];

    if (connection > 0 || !greet(peer, fd) || !answer_together(peer, fd, 1))
        return;
    if (!peer_read(peer, fd, &request))
        return;
    make_reply(&request, reply);
    peer_put(fd, reply, 13);
    for (int i = 0; i < 2; i++)
        if (!peer_read(peer, fd, &request))
            return;
}

/* Two right ones, then one that is a byte too long; the end of the connection is noticed. */
static void answer_too_long(struct peer *peer, int fd, int connection)
{
    struct world *world = peer->argument;
    struct peer_request request;

    if (connection > 0 || !greet(peer, fd) || !answer_together(peer, fd, 2))
        return;
    (void)peer_read(peer, fd, &request);
    peer_reply(fd, SUCCESS, "reply0029", 9);
    while (peer_read(peer, fd, &request))
        ;
    atomic_store(&world->said, 1);
}

static void answer_nonsense(struct peer *peer, int fd, int connection)
{
    if (connection > 0 || !greet(peer, fd) || !answer_together(peer, fd, 2))
        return;
    peer_put(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
    while (answer_together(peer, fd, 1))
        ;
}

static void refuse_the_third(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    if (connection > 0 || !greet(peer, fd) || !answer_together(peer, fd, 2))
        return;
    (void)peer_read(peer, fd, &request);
    peer_fail(fd, SUCCESS, -4, "[media1] no such file");
    answer_each(peer, fd, connection);
}

static void say_nothing_more(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (greet(peer, fd))
        while (peer_read(peer, fd, &request))
            ;
}

static void answer_when_released(struct peer *peer, int fd, int connection)
{
    (void)connection;
    if (!greet(peer, fd))
        return;
    wait_reported(peer, 1);
    answer_each(peer, fd, connection);
}

/* A whole reply that nobody asked for, while the connection is kept. */
static void say_too_much_when_released(struct peer *peer, int fd, int connection)
{
    struct world *world = peer->argument;

    if (connection == 0) {
        if (!greet(peer, fd))
            return;
        wait_reported(peer, 1);
        peer_reply(fd, SUCCESS, "intruder", 8);
        atomic_store(&world->said, 1);
    }
    answer_each(peer, fd, connection);
}

/* ---- our side ---- */

/* SLOW_MS, STALL_MS: see struct packet_pool_options. */
static void world_open_timed(struct world *world, void (*script)(struct peer *peer, int fd, int connection),
                             int64_t slow_ms, int64_t stall_ms)
{
    struct packet_pool_options options = {.connect_timeout_ms = 5000,
                                          .idle_timeout_ms = 60000,
                                          .idle_max = 8,
                                          .address_penalty_ms = 60000,
                                          .shared_slow_ms = slow_ms,
                                          .shared_stall_ms = stall_ms};
    struct address_list list = {0};
    struct error error;

    memset(world, 0, sizeof(*world));
    world->loop = loop_fresh();
    world->pool = packet_pool_create(world->loop, &options, &error);
    assert_non_null(world->pool);
    peer_start(&world->peer, script, world);
    assert_true(address_list_parse(world->peer.address, 0, &list, &error));
    world->address = list.items[0];
    address_list_clear(&list);
}

/* No server is slow, however busy this machine is. */
static void world_open(struct world *world, void (*script)(struct peer *peer, int fd, int connection))
{
    world_open_timed(world, script, 60000, 60000);
}

static void destroy_pool(void *argument)
{
    struct world *world = argument;

    packet_pool_destroy(world->pool);
    world->pool = NULL;
}

static void world_close(struct world *world)
{
    atomic_store(&world->released, 1000);
    if (world->pool != NULL)
        loop_do(world->loop, destroy_pool, world);
    loop_destroy(world->loop);
    peer_stop(&world->peer);
    for (int i = 0; i < ASKS_MAX; i++)
        assert_true(world->asks[i].ended <= 1);
}

static void opening_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct world *world = argument;

    assert_null(error);
    assert_int_equal(size, REPLY_SIZE);
    memcpy(world->asks[ASKS_MAX - 1].body, body, size);
    atomic_fetch_add(&world->ended, 1);
}

static void open_one(void *argument)
{
    struct world *world = argument;
    struct address_list list = {.items = &world->address, .count = 1};
    struct packet_call_options options = {.addresses = &list,
                                          .command = COMMAND,
                                          .body = "open",
                                          .body_size = 4,
                                          .reply_max = REPLY_SIZE,
                                          .timeout_ms = 20000,
                                          .progress_ms = 20000,
                                          .done = opening_done,
                                          .argument = world};
    struct error error;

    assert_non_null(packet_call_start(world->pool, &options, &error));
}

static void open_some(void *argument)
{
    struct world *world = argument;

    for (int i = 0; i < world->count; i++)
        open_one(world);
}

struct ends {
    struct world *world;
    int least;
};

static bool has_ended(void *argument)
{
    const struct ends *ends = argument;

    return atomic_load(&ends->world->ended) >= ends->least;
}

static void wait_ended(struct world *world, int least)
{
    struct ends ends = {world, least};

    assert_true(loop_wait_until(has_ended, &ends));
}

static void allow(void *argument)
{
    struct world *world = argument;

    packet_line_allow(world->pool, &world->address);
}

/* COUNT connections that are kept, to a peer that is known to take several requests on one. */
static void open_connections(struct world *world, int count)
{
    int before = atomic_load(&world->ended);

    world->count = count;
    loop_do(world->loop, open_some, world); /* at once: none takes the connection of another */
    wait_ended(world, before + count);
    loop_do(world->loop, allow, world);
    atomic_store(&world->ended, 0);
}

static void ask_one(struct ask *ask);

static void on_answer(void *argument, const uint8_t *body, size_t size)
{
    struct ask *ask = argument;
    struct world *world = ask->world;

    ask->ended++;
    if (body != NULL) {
        assert_int_equal(size, REPLY_SIZE);
        memcpy(ask->body, body, size);
        ask->answered++;
    }
    if (ask->asks_next)
        ask_one(ask + 1);
    ask->place = atomic_load(&world->ended); /* only this thread counts; the test's looks once it changes */
    atomic_fetch_add(&world->ended, 1);
}

static void ask_one(struct ask *ask)
{
    char body[PACKET_LINE_REQUEST_MAX + 1] = {0};

    snprintf(body, sizeof(body), "%03d", ask->number);
    ask->request = packet_line_ask(ask->world->pool, &ask->world->address, COMMAND, body, 416, REPLY_SIZE,
                                   on_answer, ask);
    assert_int_equal(ask->ended, 0);
    if (ask->request == NULL)
        ask->world->refused++;
}

static void ask_some(void *argument)
{
    struct world *world = argument;

    for (int i = world->begin; i < world->begin + world->count; i++) {
        world->asks[i].world = world;
        world->asks[i].number = i;
        ask_one(&world->asks[i]);
    }
}

static void ask_together(struct world *world, int begin, int count)
{
    world->begin = begin;
    world->count = count;
    loop_do(world->loop, ask_some, world);
}

static void assert_answered(const struct world *world, int begin, int count)
{
    char right[32];

    for (int i = begin; i < begin + count; i++) {
        snprintf(right, sizeof(right), "reply%03d", i);
        assert_int_equal(world->asks[i].ended, 1);
        assert_int_equal(world->asks[i].answered, 1);
        assert_string_equal(world->asks[i].body, right);
    }
}

static void assert_sent_away(const struct world *world, int begin, int count)
{
    for (int i = begin; i < begin + count; i++) {
        assert_int_equal(world->asks[i].ended, 1);
        assert_int_equal(world->asks[i].answered, 0);
    }
}

/* ---- tests ---- */

static void what_is_asked_in_one_round_shares_a_connection_and_is_answered_in_order(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_twenty);
    open_connections(&world, 1);
    ask_together(&world, 0, 20);
    wait_ended(&world, 20);
    assert_answered(&world, 0, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(world.asks[i].place, i);
    /* And so is the next round. */
    ask_together(&world, 20, 7);
    wait_ended(&world, 27);
    assert_answered(&world, 20, 7);
    assert_int_equal(world.refused, 0);
    assert_int_equal(atomic_load(&world.peer.accepted), 1);
    world_close(&world);
}

static void replies_may_come_in_any_pieces(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_in_pieces);
    open_connections(&world, 1);
    ask_together(&world, 0, 5);
    wait_ended(&world, 5);
    assert_answered(&world, 0, 5);
    world_close(&world);
}

static void who_was_not_answered_when_the_server_dies_asks_another_way(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, die_after_three);
    open_connections(&world, 1);
    ask_together(&world, 0, 6);
    wait_ended(&world, 6);
    assert_answered(&world, 0, 3);
    assert_sent_away(&world, 3, 3);
    for (int i = 0; i < 6; i++)
        assert_int_equal(world.asks[i].place, i);
    ask_together(&world, 6, 1);
    assert_int_equal(world.refused, 1);
    world_close(&world);
}

static void a_reply_that_breaks_off_is_no_answer(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, die_inside_the_second);
    open_connections(&world, 1);
    ask_together(&world, 0, 4);
    wait_ended(&world, 4);
    assert_answered(&world, 0, 1);
    assert_sent_away(&world, 1, 3);
    world_close(&world);
}

static bool peer_has_spoken(void *argument)
{
    return atomic_load(&((struct world *)argument)->said) > 0;
}

static void a_reply_of_another_size_closes_the_connection_for_all(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_too_long);
    open_connections(&world, 1);
    ask_together(&world, 0, 6);
    wait_ended(&world, 6);
    assert_answered(&world, 0, 2);
    assert_sent_away(&world, 2, 4);
    assert_true(loop_wait_until(peer_has_spoken, &world));
    open_connections(&world, 0); /* allowed again, and still left alone for a while */
    ask_together(&world, 6, 1);
    assert_int_equal(world.refused, 1);
    world_close(&world);
}

static void something_that_is_no_reply_closes_the_connection_for_all(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_nonsense);
    open_connections(&world, 1);
    ask_together(&world, 0, 6);
    wait_ended(&world, 6);
    assert_answered(&world, 0, 2);
    assert_sent_away(&world, 2, 4);
    world_close(&world);
}

static void a_refusal_is_about_its_own_request_only(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, refuse_the_third);
    open_connections(&world, 1);
    ask_together(&world, 0, 6);
    wait_ended(&world, 6);
    assert_answered(&world, 0, 2);
    assert_sent_away(&world, 2, 1);
    assert_answered(&world, 3, 3);
    ask_together(&world, 6, 2);
    wait_ended(&world, 8);
    assert_answered(&world, 6, 2);
    assert_int_equal(world.refused, 0);
    world_close(&world);
}

static void nobody_waits_long_for_a_silent_server(void **state)
{
    struct world world;

    (void)state;
    world_open_timed(&world, say_nothing_more, 60000, 0);
    open_connections(&world, 2);
    ask_together(&world, 0, 5);
    wait_ended(&world, 5);
    assert_sent_away(&world, 0, 5);
    ask_together(&world, 5, 1); /* there is another connection, but the server is what was slow */
    assert_int_equal(world.refused, 1);
    world_close(&world);
}

static void nobody_joins_those_who_wait_already(void **state)
{
    struct world world;

    (void)state;
    world_open_timed(&world, answer_when_released, 0, 60000);
    open_connections(&world, 1);
    ask_together(&world, 0, 1);
    usleep(100 * 1000);
    ask_together(&world, 1, 1);
    assert_int_equal(world.refused, 1);
    assert_null(world.asks[1].request);
    atomic_store(&world.released, 1);
    wait_ended(&world, 1);
    world_close(&world);
}

static void cancel_two(void *argument)
{
    struct world *world = argument;

    ask_some(world);
    packet_line_cancel(world->asks[1].request);
    packet_line_cancel(world->asks[4].request);
}

static void a_cancelled_request_disturbs_nobody(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_when_released);
    open_connections(&world, 1);
    world.begin = 0;
    world.count = 5;
    loop_do(world.loop, cancel_two, &world);
    atomic_store(&world.released, 1);
    wait_ended(&world, 3);
    assert_answered(&world, 0, 1);
    assert_answered(&world, 2, 2);
    ask_together(&world, 5, 1); /* the thrown away replies have been read */
    wait_ended(&world, 4);
    assert_answered(&world, 5, 1);
    assert_int_equal(world.asks[1].ended, 0);
    assert_int_equal(world.asks[4].ended, 0);
    world_close(&world);
}

static void nothing_is_asked_of_a_server_that_is_not_known(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_each);
    loop_do(world.loop, allow, &world); /* nothing is known of it */
    ask_together(&world, 0, 1);
    assert_int_equal(world.refused, 1);
    loop_do(world.loop, open_one, &world);
    wait_ended(&world, 1);
    ask_together(&world, 1, 1); /* a connection, but perhaps to a predecessor's server */
    assert_int_equal(world.refused, 2);
    loop_do(world.loop, allow, &world);
    ask_together(&world, 2, 1);
    assert_int_equal(world.refused, 2);
    wait_ended(&world, 2);
    assert_answered(&world, 2, 1);
    assert_int_equal(world.asks[0].ended + world.asks[1].ended, 0);
    world_close(&world);
}

static void a_connection_takes_so_many_requests_and_no_more(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_when_released);
    open_connections(&world, 2);
    ask_together(&world, 0, 200);
    assert_int_equal(world.refused, 200 - 2 * 64);
    atomic_store(&world.released, 1);
    wait_ended(&world, 2 * 64);
    assert_answered(&world, 0, 2 * 64);
    world_close(&world);
}

static void an_answer_may_be_followed_by_a_question_at_once(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_each);
    open_connections(&world, 1);
    for (int i = 0; i < 100; i++) {
        world.asks[i].world = &world;
        world.asks[i].number = i;
        world.asks[i].asks_next = i < 99;
    }
    ask_together(&world, 0, 1);
    wait_ended(&world, 100);
    assert_answered(&world, 0, 100);
    assert_int_equal(atomic_load(&world.peer.accepted), 1);
    world_close(&world);
}

/* On the loop's thread, which so learns of no event before it asks. */
static void wait_and_ask(void *argument)
{
    struct world *world = argument;

    atomic_store(&world->released, 1);
    while (atomic_load(&world->said) == 0)
        usleep(500);
    ask_some(world);
}

static void bytes_that_came_before_the_question_are_not_its_answer(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, say_too_much_when_released);
    open_connections(&world, 1);
    world.begin = 0;
    world.count = 3;
    loop_do(world.loop, wait_and_ask, &world);
    assert_int_equal(world.refused, 3); /* the only connection was closed */
    world_close(&world);
}

static void wait_and_call(void *argument)
{
    struct world *world = argument;

    atomic_store(&world->released, 1);
    while (atomic_load(&world->said) == 0)
        usleep(500);
    open_one(world);
}

static void nor_are_they_that_of_an_ordinary_call(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, say_too_much_when_released);
    open_connections(&world, 1);
    loop_do(world.loop, wait_and_call, &world);
    wait_ended(&world, 1);
    assert_string_equal(world.asks[ASKS_MAX - 1].body, "replyope");
    assert_int_equal(atomic_load(&world.peer.accepted), 2);
    world_close(&world);
}

static void the_end_of_a_pool_ends_every_request(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, say_nothing_more);
    open_connections(&world, 1);
    world.begin = 0;
    world.count = 5;
    loop_do(world.loop, cancel_two, &world);
    loop_do(world.loop, destroy_pool, &world);
    assert_int_equal(atomic_load(&world.ended), 3);
    assert_sent_away(&world, 0, 1);
    assert_sent_away(&world, 2, 2);
    assert_int_equal(world.asks[1].ended, 0);
    world_close(&world);
}

static void sizes_that_are_too_large_are_not_taken(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, answer_each);
    open_connections(&world, 1);
    assert_null(packet_line_ask(world.pool, &world.address, COMMAND, NULL, PACKET_LINE_REQUEST_MAX + 1,
                                REPLY_SIZE, on_answer, NULL));
    assert_null(packet_line_ask(world.pool, &world.address, COMMAND, "", 1, PACKET_LINE_REPLY_MAX + 1,
                                on_answer, NULL));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_in_one_round_shares_a_connection_and_is_answered_in_order),
        cmocka_unit_test(replies_may_come_in_any_pieces),
        cmocka_unit_test(who_was_not_answered_when_the_server_dies_asks_another_way),
        cmocka_unit_test(a_reply_that_breaks_off_is_no_answer),
        cmocka_unit_test(a_reply_of_another_size_closes_the_connection_for_all),
        cmocka_unit_test(something_that_is_no_reply_closes_the_connection_for_all),
        cmocka_unit_test(a_refusal_is_about_its_own_request_only),
        cmocka_unit_test(nobody_waits_long_for_a_silent_server),
        cmocka_unit_test(nobody_joins_those_who_wait_already),
        cmocka_unit_test(a_cancelled_request_disturbs_nobody),
        cmocka_unit_test(nothing_is_asked_of_a_server_that_is_not_known),
        cmocka_unit_test(a_connection_takes_so_many_requests_and_no_more),
        cmocka_unit_test(an_answer_may_be_followed_by_a_question_at_once),
        cmocka_unit_test(bytes_that_came_before_the_question_are_not_its_answer),
        cmocka_unit_test(nor_are_they_that_of_an_ordinary_call),
        cmocka_unit_test(the_end_of_a_pool_ends_every_request),
        cmocka_unit_test(sizes_that_are_too_large_are_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
