/* One request and its reply on a socket pair: what is sent, how each end is distinguished, and when nothing is said. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/call/packet_exchange.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMAND 71
#define REPLIES 102

struct world {
    struct loop *loop;
    int near, far; /* far: the test's, blocking */
    struct packet_socket socket;
    struct packet_exchange *exchange;
    uint8_t head[PROTO_HEADER_SIZE + 4];
    struct packet_exchange_options options;
    /* what came of it */
    int ended, taken, headers;
    struct packet_exchange_end end;
    char body[64];
    enum packet_verdict verdict;
    bool cancel_in_header;
    int64_t source_ready, source_given;
};

static void exchange_ended(void *argument, const struct packet_exchange_end *end)
{
    struct world *world = argument;
    world->ended++;
    world->end = *end;
    if (end->outcome == EXCHANGE_ANSWERED) {
        assert_true(end->size < sizeof(world->body));
        memcpy(world->body, end->body, end->size);
        world->body[end->size] = '\0';
    }
    world->exchange = NULL;
    packet_socket_unwatch(&world->socket);
    loop_stop(world->loop);
}

static enum packet_verdict header_came(void *argument, int64_t length)
{
    struct world *world = argument;
    assert_true(length >= 0);
    world->headers++;
    if (world->cancel_in_header) {
        packet_exchange_cancel(world->exchange);
        world->exchange = NULL;
        packet_socket_unwatch(&world->socket);
        loop_stop(world->loop);
    }
    return world->verdict;
}

static void socket_taken(void *argument)
{
    struct world *world = argument;
    world->taken++;
    loop_stop(world->loop);
}

static int64_t give_source(void *argument, uint8_t *buffer, size_t size)
{
    struct world *world = argument;
    int64_t now = min_i64((int64_t)size, world->source_ready - world->source_given);
    if (world->source_ready < 0)
        return -1;
    memset(buffer, 's', (size_t)now);
    world->source_given += now;
    if (now == 0)
        loop_stop(world->loop);
    return now;
}

static int set_up(void **state)
{
    static struct world world;
    struct error error;
    int ends[2];
    memset(&world, 0, sizeof(world));
    world.loop = loop_create("exchange", &error);
    assert_non_null(world.loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    world.near = ends[0];
    world.far = ends[1];
    assert_int_equal(fcntl(world.near, F_SETFL, O_NONBLOCK), 0);
    assert_true(packet_socket_init(&world.socket, world.loop, world.near, NULL));
    proto_header_pack(world.head, 4, COMMAND, PROTO_STATUS_OK);
    memcpy(world.head + PROTO_HEADER_SIZE, "who?", 4);
    world.options = (struct packet_exchange_options){.loop = world.loop,
                                                     .socket = &world.socket,
                                                     .head = world.head,
                                                     .head_size = sizeof(world.head),
                                                     .reply_max = sizeof(world.body) - 1,
                                                     .ended = exchange_ended,
                                                     .taken = socket_taken,
                                                     .argument = &world};
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    packet_exchange_cancel(world->exchange);
    packet_socket_unwatch(&world->socket);
    packet_socket_give_buffer(&world->socket);
    close(world->near);
    if (world->far >= 0)
        close(world->far);
    loop_destroy(world->loop);
    return 0;
}

static void start(struct world *world)
{
    int ended = world->ended;
    world->exchange = packet_exchange_start(&world->options);
    assert_non_null(world->exchange);
    assert_int_equal(world->ended, ended); /* never inside the start */
}

static void expect_request(struct world *world)
{
    uint8_t got[sizeof(world->head)];
    assert_int_equal(recv(world->far, got, sizeof(got), MSG_WAITALL), sizeof(got));
    assert_memory_equal(got, world->head, sizeof(got));
}

static void reply(struct world *world, uint8_t status, const void *body, size_t size, int64_t announced)
{
    uint8_t header[PROTO_HEADER_SIZE];
    proto_header_pack(header, announced, REPLIES, status);
    assert_int_equal(send(world->far, header, sizeof(header), 0), sizeof(header));
    if (size > 0)
        assert_int_equal(send(world->far, body, size, 0), (ssize_t)size);
}

static void run(struct world *world)
{
    loop_run(world->loop);
}

static void assert_end(const struct world *world, enum packet_exchange_outcome outcome, int code)
{
    assert_int_equal(world->ended, 1);
    assert_int_equal(world->end.outcome, outcome);
    assert_int_equal(world->end.error.code, code);
}

static void a_reply_is_collected_and_the_socket_can_be_used_again(void **state)
{
    struct world *world = *state;
    for (int i = 1; i <= 2; i++) {
        loop_destroy(world->loop); /* a stopped loop stays stopped */
        struct error error;
        world->loop = world->options.loop = loop_create("exchange", &error);
        assert_true(packet_socket_init(&world->socket, world->loop, world->near, NULL));
        start(world);
        expect_request(world);
        reply(world, 0, "hello", 5, 5);
        run(world);
        assert_int_equal(world->ended, i);
        assert_int_equal(world->end.outcome, EXCHANGE_ANSWERED);
        assert_string_equal(world->body, "hello");
        assert_true(world->end.reusable);
    }
}

static void a_reply_with_a_tail_is_taken_and_the_socket_is_out_of_step(void **state)
{
    struct world *world = *state;
    start(world);
    reply(world, 0, "hello!", 6, 5);
    run(world);
    assert_end(world, EXCHANGE_ANSWERED, ERROR_NONE);
    assert_string_equal(world->body, "hello");
    assert_false(world->end.reusable);
}

static void a_refusal_says_what_the_peer_said(void **state)
{
    static const char body[] = "\xff\xfc[media1] no such file";
    struct world *world = *state;
    start(world);
    reply(world, 0xfd, body, sizeof(body), sizeof(body));
    run(world);
    assert_end(world, EXCHANGE_REFUSED, ERROR_NOT_FOUND);
    assert_string_equal(world->end.error.text, "[media1] no such file");
    assert_true(world->end.reusable);
}

static void a_refusal_that_breaks_off_says_what_came(void **state)
{
    static const char body[] = "\xff\xfc[media1] no";
    struct world *world = *state;
    start(world);
    reply(world, 0xfd, body, sizeof(body) - 1, 500);
    close(world->far);
    world->far = -1;
    run(world);
    assert_end(world, EXCHANGE_REFUSED, ERROR_NOT_FOUND);
    assert_false(world->end.reusable);
}

static void a_kept_socket_that_closes_in_silence_is_stale(void **state)
{
    struct world *world = *state;
    world->options.kept = true;
    start(world);
    expect_request(world);
    close(world->far);
    world->far = -1;
    run(world);
    assert_end(world, EXCHANGE_STALE, ERROR_CONNECTION);
}

static void a_new_socket_that_closes_is_broken(void **state)
{
    struct world *world = *state;
    start(world);
    expect_request(world);
    close(world->far);
    world->far = -1;
    run(world);
    assert_end(world, EXCHANGE_BROKEN, ERROR_CONNECTION);
}

static void a_kept_socket_that_closes_inside_the_reply_is_broken(void **state)
{
    struct world *world = *state;
    world->options.kept = true;
    start(world);
    reply(world, 0, "he", 2, 5);
    close(world->far);
    world->far = -1;
    run(world);
    assert_end(world, EXCHANGE_BROKEN, ERROR_CONNECTION);
}

static void rubbish_and_too_long_replies_are_wrong(void **state)
{
    struct world *world = *state;
    start(world);
    reply(world, 0, NULL, 0, 64);
    run(world);
    assert_end(world, EXCHANGE_WRONG, ERROR_MALFORMED);
}

static void no_byte_of_a_reply_in_time_is_broken(void **state)
{
    struct world *world = *state;
    world->options.deadline_ms = clock_monotonic_ms() + 30;
    start(world);
    run(world);
    assert_end(world, EXCHANGE_BROKEN, ERROR_TIMEOUT);
}

static void a_reply_that_stops_is_wrong_after_its_own_time(void **state)
{
    struct world *world = *state;
    world->options.progress_ms = 30;
    start(world);
    reply(world, 0, "he", 2, 5);
    run(world);
    assert_end(world, EXCHANGE_WRONG, ERROR_TIMEOUT);
}

static void the_content_follows_the_head_when_its_source_has_it(void **state)
{
    struct world *world = *state;
    uint8_t got[sizeof(world->head) + 10];
    world->options.source = give_source;
    world->options.source_size = 10;
    world->source_ready = 4;
    proto_header_pack(world->head, 14, COMMAND, PROTO_STATUS_OK);
    start(world);
    run(world); /* ends when the source has nothing */
    assert_int_equal(recv(world->far, got, sizeof(got) - 6, MSG_WAITALL), sizeof(got) - 6);
    world->source_ready = 10;
    packet_exchange_resume_source(world->exchange);
    reply(world, 0, NULL, 0, 0);
    struct timeval soon = {.tv_usec = 1000};
    while (world->ended == 0) {
        (void)event_base_loopexit(loop_base(world->loop), &soon);
        (void)event_base_dispatch(loop_base(world->loop));
    }
    assert_int_equal(world->end.outcome, EXCHANGE_ANSWERED);
    assert_true(world->end.source_used);
    /* The reply may have come before the rest was sent: then the socket is out of step, and that is known. */
    assert_true(world->end.reusable == (recv(world->far, got, 6, MSG_DONTWAIT) == 6));
}

static void a_source_that_gives_up_is_not_the_peer_s_fault(void **state)
{
    struct world *world = *state;
    world->options.source = give_source;
    world->options.source_size = 10;
    world->source_ready = -1;
    start(world);
    run(world);
    assert_end(world, EXCHANGE_GAVE_UP, ERROR_CANCELLED);
    assert_false(world->end.source_used);
}

static void a_taken_socket_is_the_callers_with_what_was_read(void **state)
{
    struct world *world = *state;
    world->options.header = header_came;
    world->verdict = PACKET_TAKE;
    start(world);
    reply(world, 0, "hel", 3, 5);
    run(world);
    assert_int_equal(world->taken, 1);
    assert_int_equal(world->ended, 0);
    assert_int_equal(packet_exchange_length(world->exchange), 5);
    size_t buffered = packet_exchange_buffered(world->exchange);
    assert_true(buffered <= 3);
    assert_memory_equal(world->socket.buffer + PROTO_HEADER_SIZE, "hel", buffered);
    assert_true(packet_exchange_release(world->exchange));
    world->exchange = NULL;
}

static void who_cancels_inside_a_callback_hears_nothing_more(void **state)
{
    struct world *world = *state;
    world->options.header = header_came;
    world->cancel_in_header = true;
    start(world);
    reply(world, 0, "hello", 5, 5);
    run(world);
    assert_int_equal(world->headers, 1);
    assert_int_equal(world->ended, 0);
}

/* ---- content that waits to be wanted, and that the caller puts into the socket itself ---- */

static int64_t pass_content(void *argument, struct transport to, int64_t left)
{
    struct world *world = argument;
    int64_t now = min_i64(left, world->source_ready - world->source_given);
    if (world->source_ready < 0)
        return world->source_ready;
    if (now == 0) {
        loop_stop(world->loop);
        return PACKET_PASS_NOTHING;
    }
    assert_int_equal(transport_send(to, "passed along", (size_t)now, MSG_NOSIGNAL), now);
    world->source_given += now;
    return now;
}

/* Lets what is ready happen. */
static void run_shortly(struct world *world)
{
    const struct timeval soon = {.tv_usec = 5000};
    (void)event_base_loopexit(loop_base(world->loop), &soon);
    (void)event_base_dispatch(loop_base(world->loop));
}

static void ask_for_content(struct world *world, int64_t size)
{
    world->options.pass = pass_content;
    world->options.source_size = size;
    world->options.asks = true;
    proto_header_pack(world->head, 4 + size, COMMAND, PROTO_STATUS_OK);
    start(world);
    run_shortly(world); /* the head */
    expect_request(world);
}

static void content_is_kept_until_the_peer_wants_it(void **state)
{
    struct world *world = *state;
    uint8_t got[16];
    world->source_ready = 6;
    ask_for_content(world, 6);
    run_shortly(world);
    assert_int_equal(world->source_given, 0);
    assert_int_equal(recv(world->far, got, sizeof(got), MSG_DONTWAIT), -1);
    reply(world, 0, NULL, 0, 0);
    while (world->source_given < 6)
        run_shortly(world);
    assert_int_equal(recv(world->far, got, 6, MSG_WAITALL), 6);
    assert_memory_equal(got, "passed", 6);
    assert_int_equal(world->ended, 0);
    reply(world, 0, "done", 4, 4);
    while (world->ended == 0)
        run_shortly(world);
    assert_end(world, EXCHANGE_ANSWERED, ERROR_NONE);
    assert_string_equal(world->body, "done");
    assert_true(world->end.reusable && world->end.source_used);
}

static void a_refusal_in_place_of_the_word_costs_no_content(void **state)
{
    static const char body[] = "\xff\xf8[media1] full";
    struct world *world = *state;
    world->source_ready = 6;
    ask_for_content(world, 6);
    reply(world, 0xfd, body, sizeof(body), sizeof(body));
    run(world);
    assert_end(world, EXCHANGE_REFUSED, ERROR_NO_SPACE);
    assert_false(world->end.source_used || world->end.reusable);
}

static void a_word_with_a_body_is_none(void **state)
{
    struct world *world = *state;
    world->source_ready = 6;
    ask_for_content(world, 6);
    reply(world, 0, "hello", 5, 5);
    run(world);
    assert_end(world, EXCHANGE_WRONG, ERROR_MALFORMED);
}

static void a_peer_that_does_not_say_it_is_ready_is_too_late(void **state)
{
    struct world *world = *state;
    world->options.deadline_ms = clock_monotonic_ms() + 30;
    world->source_ready = 6;
    ask_for_content(world, 6);
    run(world);
    assert_end(world, EXCHANGE_BROKEN, ERROR_TIMEOUT);
    assert_non_null(strstr(world->end.error.text, "ready"));
}

static void passing_may_give_up_or_find_the_socket_broken(void **state)
{
    struct world *world = *state;
    world->source_ready = PACKET_PASS_GIVES_UP;
    ask_for_content(world, 6);
    reply(world, 0, NULL, 0, 0);
    run(world);
    assert_end(world, EXCHANGE_GAVE_UP, ERROR_CANCELLED);
}

static void a_broken_socket_is_read_for_what_the_peer_said_last(void **state)
{
    static const char body[] = "\xff\xf7[media1] not now";
    struct world *world = *state;
    world->options.pass = pass_content;
    world->options.source_size = 6;
    world->source_ready = PACKET_PASS_BROKEN;
    proto_header_pack(world->head, 10, COMMAND, PROTO_STATUS_OK);
    start(world);
    reply(world, 0xfd, body, sizeof(body), sizeof(body));
    run(world);
    assert_end(world, EXCHANGE_REFUSED, ERROR_UNAVAILABLE);
}

#define EXCHANGE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXCHANGE_TEST(content_is_kept_until_the_peer_wants_it),
        EXCHANGE_TEST(a_refusal_in_place_of_the_word_costs_no_content),
        EXCHANGE_TEST(a_word_with_a_body_is_none),
        EXCHANGE_TEST(a_peer_that_does_not_say_it_is_ready_is_too_late),
        EXCHANGE_TEST(passing_may_give_up_or_find_the_socket_broken),
        EXCHANGE_TEST(a_broken_socket_is_read_for_what_the_peer_said_last),
        EXCHANGE_TEST(a_reply_is_collected_and_the_socket_can_be_used_again),
        EXCHANGE_TEST(a_reply_with_a_tail_is_taken_and_the_socket_is_out_of_step),
        EXCHANGE_TEST(a_refusal_says_what_the_peer_said),
        EXCHANGE_TEST(a_refusal_that_breaks_off_says_what_came),
        EXCHANGE_TEST(a_kept_socket_that_closes_in_silence_is_stale),
        EXCHANGE_TEST(a_new_socket_that_closes_is_broken),
        EXCHANGE_TEST(a_kept_socket_that_closes_inside_the_reply_is_broken),
        EXCHANGE_TEST(rubbish_and_too_long_replies_are_wrong),
        EXCHANGE_TEST(no_byte_of_a_reply_in_time_is_broken),
        EXCHANGE_TEST(a_reply_that_stops_is_wrong_after_its_own_time),
        EXCHANGE_TEST(the_content_follows_the_head_when_its_source_has_it),
        EXCHANGE_TEST(a_source_that_gives_up_is_not_the_peer_s_fault),
        EXCHANGE_TEST(a_taken_socket_is_the_callers_with_what_was_read),
        EXCHANGE_TEST(who_cancels_inside_a_callback_hears_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
