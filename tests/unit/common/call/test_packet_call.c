/*
 * The calling side of the packet protocol against scripted peers: connections kept and replaced, other
 * addresses, bodies streamed both ways, time limits, cancelling, sockets handed over.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/auth.h"
#include "common/base/clock.h"
#include "common/call/packet_call.h"
#include "tests/unit/library/call_world.h"
#include "tests/unit/library/scripted_peer.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#define SUCCESS 102

static uint64_t sum_of_counting_bytes(const char *head, size_t head_size, int64_t size)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < head_size; i++)
        sum = sum * 31 + (uint8_t)head[i];
    for (int64_t i = 0; i < size; i++)
        sum = sum * 31 + (uint8_t)i;
    return sum;
}

/* ---- scripts ---- */

static void answer_hello(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_reply(fd, SUCCESS, "hello", 5);
}

static void answer_once(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request))
        peer_reply(fd, SUCCESS, "once", 4);
}

/* Header and body in one piece. */
static void answer_once_in_one_piece(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request))
        peer_put(fd, "\0\0\0\0\0\0\0\4\x66\0once", 14);
}

static void hang_up(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    (void)peer_read(peer, fd, &request);
}

static void say_nothing(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        continue;
}

static void refuse_missing(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_fail(fd, SUCCESS, -4, "[media1] no such file");
}

static void refuse_busy(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_fail(fd, SUCCESS, -9, "[media1] overloaded");
}

/* ---- tests ---- */

static void a_request_gets_its_reply_and_the_connection_is_kept(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_hello, NULL);
    for (int i = 0; i < 5; i++) {
        struct ask ask = {.options = {.body = "abc", .body_size = 3}};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.size, 5);
        assert_memory_equal(ask.body, "hello", 5);
        assert_string_equal(ask.address, peer.address);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    assert_int_equal(peer_requests(&peer, 71), 5);
    call_world_close(&world);
    peer_stop(&peer);
}

static void an_address_that_fails_gives_way_to_the_next_and_goes_last_afterwards(void **state)
{
    char dead[32], addresses[128];
    struct peer broken, peer;
    struct call_world world;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&broken, hang_up, NULL);
    peer_start(&peer, answer_hello, NULL);
    peer_dead_address(dead);
    snprintf(addresses, sizeof(addresses), "%s,%s,%s", dead, broken.address, peer.address);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, addresses);
        assert_int_equal(ask.error.code, 0);
        assert_string_equal(ask.address, peer.address);
    }
    assert_int_equal(peer_requests(&broken, 71), 1);
    call_world_close(&world);
    peer_stop(&broken);
    peer_stop(&peer);
}

static void the_error_names_every_address_and_why_it_failed(void **state)
{
    char dead1[32], dead2[32], addresses[128];
    struct ask ask = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, hang_up, NULL);
    peer_dead_address(dead1);
    peer_dead_address(dead2);
    snprintf(addresses, sizeof(addresses), "%s,%s,%s", dead1, peer.address, dead2);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, ERROR_CONNECTION);
    assert_non_null(strstr(ask.error.text, dead1));
    assert_non_null(strstr(ask.error.text, dead2));
    assert_non_null(strstr(ask.error.text, peer.address));
    assert_non_null(strstr(ask.error.text, "Connection refused"));
    assert_non_null(strstr(ask.error.text, "closed before a reply"));
    call_world_close(&world);
    peer_stop(&peer);
}

static void die_in_header(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request))
        peer_put(fd, "\0\0\0\0", 4);
}

static void die_in_body(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request)) {
        peer_header(fd, 5, SUCCESS, 0);
        peer_put(fd, "he", 2);
    }
}

static void a_reply_that_breaks_off_is_asked_of_the_next_address(void **state)
{
    void (*scripts[])(struct peer *, int, int) = {hang_up, die_in_header, die_in_body};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct peer broken, whole;
        struct ask ask = {0};
        struct call_world world;
        char addresses[96];

        call_world_open(&world, &call_world_options);
        peer_start(&broken, scripts[i], NULL);
        peer_start(&whole, answer_hello, NULL);
        snprintf(addresses, sizeof(addresses), "%s,%s", broken.address, whole.address);
        ask_now(&ask, &world, addresses);
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.size, 5);
        assert_memory_equal(ask.body, "hello", 5);
        assert_int_equal(peer_requests(&broken, 71), 1);
        call_world_close(&world);
        peer_stop(&broken);
        peer_stop(&whole);
    }
}

static void a_kept_connection_that_was_closed_is_replaced_by_a_new_one(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_once, NULL);
    for (int i = 0; i < 4; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.size, 4);
    }
    assert_int_equal(atomic_load(&peer.accepted), 4);
    call_world_close(&world);
    peer_stop(&peer);
}

/* The first connection answers one request and closes at the second: as a peer does whose idle time ends just
 * then. */
static void close_at_the_second(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    while (peer_read(peer, fd, &request)) {
        if (connection == 0 && peer_requests(peer, 71) > 1)
            return;
        peer_reply(fd, SUCCESS, "ok", 2);
    }
}

static void a_kept_connection_that_dies_at_the_request_is_replaced_at_the_same_address(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, close_at_the_second, NULL);
    for (int i = 0; i < 2; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
    }
    assert_int_equal(atomic_load(&peer.accepted), 2);
    assert_int_equal(peer_requests(&peer, 71), 3);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_failure_reply_is_an_answer_and_its_connection_is_kept(void **state)
{
    struct peer peer, other;
    struct call_world world;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_missing, NULL);
    peer_start(&other, answer_hello, NULL);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, other.address);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, addresses);
        assert_int_equal(ask.error.code, ERROR_NOT_FOUND);
        assert_non_null(strstr(ask.error.text, "[media1] no such file"));
        assert_non_null(strstr(ask.error.text, peer.address));
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    assert_int_equal(atomic_load(&other.accepted), 0);
    call_world_close(&world);
    peer_stop(&peer);
    peer_stop(&other);
}

static void refuse_and_close(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request))
        peer_fail(fd, SUCCESS, -1, "[old] check parameters error");
}

static void a_legacy_peer_that_closes_after_a_failure_is_simply_connected_to_again(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_and_close, NULL);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, ERROR_GENERAL);
        assert_non_null(strstr(ask.error.text, "check parameters error"));
    }
    assert_int_equal(peer_requests(&peer, 71), 3);
    call_world_close(&world);
    peer_stop(&peer);
}

static void an_unavailable_peer_gives_way_to_the_next_unless_the_caller_says_no(void **state)
{
    struct ask first = {0}, second = {.options = {.again = ask_again}, .again_answer = false};
    struct ask third = {.options = {.again = ask_again}, .again_answer = true};
    struct peer peer, other;
    struct call_world world;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_busy, NULL);
    peer_start(&other, answer_hello, NULL);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, other.address);
    ask_now(&first, &world, addresses);
    assert_int_equal(first.error.code, 0);
    ask_now(&second, &world, addresses);
    assert_int_equal(second.error.code, ERROR_UNAVAILABLE);
    assert_int_equal(second.again_calls, 1);
    ask_now(&third, &world, addresses);
    assert_int_equal(third.error.code, 0);
    call_world_close(&world);
    peer_stop(&peer);
    peer_stop(&other);
}

static void what_a_peer_answered_outranks_that_another_was_not_there(void **state)
{
    char dead[32], addresses[96];
    struct ask ask = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_busy, NULL);
    peer_dead_address(dead);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, dead);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, ERROR_UNAVAILABLE);
    call_world_close(&world);
    peer_stop(&peer);
}

static void say_little(struct peer *peer, int fd, int connection)
{
    static const uint8_t lengths[3][12] = {
        {0, 0, 0, 0, 0, 0, 0, 0, 102, 0xFD},       /* no body at all */
        {0, 0, 0, 0, 0, 0, 0, 1, 102, 0xFD, 0xFF}, /* half a number */
        {0, 0, 0, 0, 0, 0, 0, 2, 102, 0xFD, 0xFF, 0xFC},
    };
    static const size_t sizes[3] = {10, 11, 12};
    struct peer_request request;

    if (peer_read(peer, fd, &request))
        peer_put(fd, lengths[connection % 3], sizes[connection % 3]);
}

static void a_failure_without_a_text_still_says_something(void **state)
{
    static const int codes[3] = {ERROR_GENERAL, ERROR_GENERAL, ERROR_NOT_FOUND};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, say_little, NULL);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, codes[i]);
        assert_true(strlen(ask.error.text) > strlen(peer.address) + 2);
    }
    call_world_close(&world);
    peer_stop(&peer);
}

static void talk_rubbish(struct peer *peer, int fd, int connection)
{
    static const char *const rubbish[3] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\xff\xff\xff\xff\xff\xff\xff\xff\x66",
        "SSH-2.0-OpenSSH",
    };
    struct peer_request request;

    if (peer_read(peer, fd, &request)) {
        peer_put(fd, rubbish[connection % 3], 10);
        (void)peer_read(peer, fd, &request);
    }
}

static void a_peer_that_speaks_something_else_is_an_error_and_not_believed(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, talk_rubbish, NULL);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, ERROR_MALFORMED);
    }
    call_world_close(&world);
    peer_stop(&peer);
}

static void answer_too_much(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request)) {
        peer_header(fd, INT64_MAX, SUCCESS, 0);
        (void)peer_read(peer, fd, &request);
    }
}

static void a_reply_longer_than_any_right_one_is_refused(void **state)
{
    struct ask ask = {.options = {.reply_max = 100}};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_too_much, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, ERROR_MALFORMED);
    call_world_close(&world);
    peer_stop(&peer);
}

static void answer_with_a_tail(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_put(fd, "\0\0\0\0\0\0\0\2\x66\0okTAIL", 16);
}

static void bytes_after_a_reply_are_never_taken_for_the_next_one(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_with_a_tail, NULL);
    for (int i = 0; i < 2; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.size, 2);
        assert_memory_equal(ask.body, "ok", 2);
    }
    assert_int_equal(atomic_load(&peer.accepted), 2);
    call_world_close(&world);
    peer_stop(&peer);
}

static void answer_bytewise(struct peer *peer, int fd, int connection)
{
    static const char reply[] = "\0\0\0\0\0\0\0\5\x66\0hello";
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        for (size_t i = 0; i < 15; i++)
            peer_put(fd, reply + i, 1);
}

static void a_reply_may_come_in_single_bytes(void **state)
{
    struct ask ask = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_bytewise, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, 0);
    assert_memory_equal(ask.body, "hello", 5);
    call_world_close(&world);
    peer_stop(&peer);
}

#define LARGE (3 * 1024 * 1024 + 17)

static void answer_large(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    uint8_t *bytes = malloc(LARGE);

    (void)connection;
    peer_must(bytes != NULL, "malloc");
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)i;
    while (peer_read(peer, fd, &request))
        peer_reply(fd, SUCCESS, bytes, LARGE);
    free(bytes);
}

static void a_collected_reply_may_be_large(void **state)
{
    struct ask ask = {.options = {.reply_max = LARGE}};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_large, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, 0);
    assert_int_equal(ask.size, LARGE);
    call_world_close(&world);
    peer_stop(&peer);
}

static void answer_sum(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_reply(fd, SUCCESS, &request.sum, sizeof(request.sum));
}

static void a_body_is_not_sent_where_the_last_reply_was_a_failure(void **state)
{
    struct ask failed = {0}, body = {.options = {.command = 70, .source = ask_source, .source_size = 1000}};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_missing, NULL);
    ask_now(&failed, &world, peer.address);
    assert_int_equal(failed.error.code, ERROR_NOT_FOUND);
    ask_now(&body, &world, peer.address);
    /* A legacy peer closes it soon, and what was taken from the source by then cannot be had again. */
    assert_int_equal(atomic_load(&peer.accepted), 2);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_streamed_request_arrives_whole(void **state)
{
    static const int64_t sizes[] = {0, 1, 65535, 65536, 65537, LARGE};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_sum, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t expected = sum_of_counting_bytes("head", 4, sizes[i]);
        struct ask ask = {.options = {.body = "head",
                                      .body_size = 4,
                                      .command = 70,
                                      .source = ask_source,
                                      .source_size = sizes[i]}};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.source_given, sizes[i]);
        assert_memory_equal(ask.body, &expected, sizeof(expected));
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    call_world_close(&world);
    peer_stop(&peer);
}

/* Longer than the time limit: which is the peer's, not the source's. */
static void a_source_may_have_nothing_for_a_while(void **state)
{
    uint64_t expected = sum_of_counting_bytes("", 0, 1000);
    struct ask ask = {
        .options = {.command = 70, .source = ask_source, .source_size = 1000, .timeout_ms = 2000},
        .source_max = 400};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_sum, NULL);
    ask_begin(&ask, &world, peer.address);
    usleep(2500000);
    loop_do(world.loop, call_world_nothing, NULL);
    assert_int_equal(ask.done, 0);
    loop_do(world.loop, ask_resume_source, &ask);
    ask_end(&ask);
    assert_int_equal(ask.error.code, 0);
    assert_memory_equal(ask.body, &expected, sizeof(expected));
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_source_that_gives_up_ends_the_call(void **state)
{
    struct ask ask = {.options = {.command = 70, .source = ask_source, .source_size = 1000},
                      .source_gives_up = true};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_sum, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, ERROR_CANCELLED);
    call_world_close(&world);
    peer_stop(&peer);
}

/* Refuses after the head, and closes with the rest of the body unread: the kernel answers what comes with a
 * reset. */
static void refuse_early(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    uint8_t head[100];

    (void)connection;
    if (peer_read_header(peer, fd, &request) && peer_get(fd, head, sizeof(head)))
        peer_fail(fd, SUCCESS, -8, "[media1] disk full");
}

static void an_early_refusal_stops_the_sending_and_is_the_answer(void **state)
{
    struct ask ask = {.options = {.command = 70, .source = ask_source, .source_size = INT64_C(1) << 40}};
    struct peer peer, other;
    struct call_world world;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, refuse_early, NULL);
    peer_start(&other, answer_sum, NULL);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, other.address);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, ERROR_NO_SPACE);
    assert_non_null(strstr(ask.error.text, "disk full"));
    assert_true(ask.source_given < INT64_C(1) << 30);
    assert_int_equal(atomic_load(&other.accepted), 0);
    call_world_close(&world);
    peer_stop(&peer);
    peer_stop(&other);
}

static void reset_after_the_head(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    uint8_t head[100000];

    (void)connection;
    if (peer_read_header(peer, fd, &request) && peer_get(fd, head, sizeof(head)))
        peer_reset(peer, fd);
}

static void a_body_whose_source_was_taken_is_not_sent_elsewhere(void **state)
{
    struct ask ask = {.options = {.command = 70, .source = ask_source, .source_size = LARGE}};
    struct peer peer, other;
    struct call_world world;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, reset_after_the_head, NULL);
    peer_start(&other, answer_sum, NULL);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, other.address);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, ERROR_CONNECTION);
    assert_int_equal(atomic_load(&other.accepted), 0);
    call_world_close(&world);
    peer_stop(&peer);
    peer_stop(&other);
}

static void a_streamed_request_goes_to_the_next_address_while_its_source_is_whole(void **state)
{
    struct ask ask = {.options = {.command = 70, .source = ask_source, .source_size = LARGE}};
    char dead[32], addresses[96];
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_sum, NULL);
    peer_dead_address(dead);
    snprintf(addresses, sizeof(addresses), "%s,%s", dead, peer.address);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, 0);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_silent_peer_leaves_time_for_the_next_address(void **state)
{
    struct ask ask = {.options = {.timeout_ms = 6000}};
    struct peer peer, other;
    struct call_world world;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, say_nothing, NULL);
    peer_start(&other, answer_hello, NULL);
    snprintf(addresses, sizeof(addresses), "%s,%s", peer.address, other.address);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, 0);
    assert_string_equal(ask.address, other.address);
    call_world_close(&world);
    peer_stop(&peer);
    peer_stop(&other);
}

static void no_reply_at_all_is_a_time_out(void **state)
{
    struct ask ask = {.options = {.timeout_ms = 100}};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, say_nothing, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, ERROR_TIMEOUT);
    call_world_close(&world);
    peer_stop(&peer);
}

static void stall_in_body(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request)) {
        peer_header(fd, 1000000, SUCCESS, 0);
        peer_put(fd, "he", 2);
        (void)peer_read(peer, fd, &request);
    }
}

static void a_reply_that_stops_halfway_is_a_time_out(void **state)
{
    struct ask ask = {.options = {.progress_ms = 100, .reply_max = 2000000}};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, stall_in_body, NULL);
    ask_now(&ask, &world, peer.address);
    assert_int_equal(ask.error.code, ERROR_TIMEOUT);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_cancelled_call_never_calls_back_in_any_state(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, say_nothing, NULL);
    for (int i = 0; i < 20; i++) {
        struct ask ask = {0};

        ask_begin(&ask, &world, peer.address);
        if (i % 2 == 1) /* far enough that the peer has the request */
            while (peer_requests(&peer, 71) == 0)
                usleep(1000);
        loop_do(world.loop, ask_cancel, &ask);
        loop_do(world.loop, call_world_nothing, NULL);
        assert_int_equal(ask.done, 0);
    }
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_call_may_be_cancelled_from_its_own_source(void **state)
{
    struct ask ask = {.options = {.command = 70, .source = ask_source, .source_size = 1000},
                      .cancel_in_callback = true};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_sum, NULL);
    ask_begin(&ask, &world, peer.address);
    ask_wait(&ask);
    loop_do(world.loop, call_world_nothing, NULL);
    assert_int_equal(ask.done, 0);
    call_world_close(&world);
    peer_stop(&peer);
}

static void the_end_of_a_pool_cancels_its_calls_with_an_error(void **state)
{
    struct ask asks[3] = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, say_nothing, NULL);
    for (int i = 0; i < 3; i++)
        ask_begin(&asks[i], &world, peer.address);
    loop_do(world.loop, call_world_destroy_pool, &world);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].error.code, ERROR_CANCELLED);
    }
    call_world_close(&world);
    peer_stop(&peer);
}

/* Reads the body of a taken call; returns its sum. */
static uint64_t read_taken(struct ask *ask)
{
    struct packet_call *call = ask->call;
    int64_t left = packet_call_length(call);
    size_t buffered;
    const uint8_t *bytes = packet_call_buffered(call, &buffered);
    uint64_t sum = 0;
    uint8_t chunk[4096];

    for (size_t i = 0; i < buffered; i++)
        sum = sum * 31 + bytes[i];
    left -= (int64_t)buffered;
    assert_true(buffered <= 16 * 1024);
    while (left > 0) {
        struct pollfd poll_fd = {.fd = packet_call_transport(call).fd, .events = POLLIN};
        ssize_t got;

        assert_true(poll(&poll_fd, 1, 60000) == 1);
        got = recv(packet_call_transport(call).fd, chunk, (size_t)min_i64(left, sizeof(chunk)), 0);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++)
            sum = sum * 31 + chunk[i];
        left -= got;
    }
    return sum;
}

static void a_taken_socket_gives_the_whole_body_and_can_be_used_again(void **state)
{
    uint64_t expected = sum_of_counting_bytes("", 0, LARGE);
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_large, NULL);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};

        ask_begin(&ask, &world, peer.address);
        ask_wait(&ask);
        assert_int_equal(packet_call_length(ask.call), LARGE);
        assert_true(fcntl(packet_call_transport(ask.call).fd, F_GETFL) & O_NONBLOCK);
        assert_true(read_taken(&ask) == expected);
        loop_do(world.loop, ask_release, &ask);
        assert_int_equal(ask.done, 0);
    }
    assert_int_equal(atomic_load(&peer.accepted), 1);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_taken_socket_that_was_not_read_to_the_end_is_closed(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_large, NULL);
    for (int i = 0; i < 2; i++) {
        struct ask ask = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};

        ask_begin(&ask, &world, peer.address);
        ask_wait(&ask);
        loop_do(world.loop, i == 0 ? ask_release_broken : ask_cancel, &ask);
    }
    assert_int_equal(atomic_load(&peer.accepted), 2);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_peer_that_closes_while_its_small_reply_is_held_is_connected_to_again(void **state)
{
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_once_in_one_piece, NULL);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};
        const uint8_t *bytes;
        size_t size;

        ask_begin(&ask, &world, peer.address);
        ask_wait(&ask);
        usleep(10000); /* the end arrives where it can */
        bytes = packet_call_buffered(ask.call, &size);
        assert_int_equal(size, 4);
        assert_memory_equal(bytes, "once", 4);
        loop_do(world.loop, ask_release, &ask);
        assert_int_equal(ask.done, 0);
    }
    assert_int_equal(atomic_load(&peer.accepted), 3);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_small_reply_that_is_held_outlives_its_pool(void **state)
{
    struct ask ask = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};
    struct call_world world;
    struct peer peer;
    size_t size;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_once_in_one_piece, NULL);
    ask_begin(&ask, &world, peer.address);
    ask_wait(&ask);
    loop_do(world.loop, call_world_destroy_pool, &world);
    assert_memory_equal(packet_call_buffered(ask.call, &size), "once", 4);
    assert_int_equal(size, 4);
    loop_do(world.loop, ask_release, &ask);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_taken_socket_outlives_its_pool(void **state)
{
    struct ask ask = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};
    uint64_t expected = sum_of_counting_bytes("", 0, LARGE);
    struct call_world world;
    struct peer peer;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_large, NULL);
    ask_begin(&ask, &world, peer.address);
    ask_wait(&ask);
    loop_do(world.loop, call_world_destroy_pool, &world);
    assert_true(read_taken(&ask) == expected);
    loop_do(world.loop, ask_release, &ask);
    call_world_close(&world);
    peer_stop(&peer);
}

static void further_calls_wait_for_a_connection_and_all_are_answered(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct ask asks[50] = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    options.open_max = 3;
    call_world_open(&world, &options);
    peer_start(&peer, answer_hello, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
        ask_begin(&asks[i], &world, peer.address);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        ask_end(&asks[i]);
        assert_int_equal(asks[i].error.code, 0);
    }
    assert_true(atomic_load(&peer.accepted) <= 3);
    assert_int_equal(peer_requests(&peer, 71), 50);
    call_world_close(&world);
    peer_stop(&peer);
}

static void waiting_for_a_connection_is_bounded_by_the_call_s_time_and_moves_on_in_order(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct ask busy = {.options = {.header = ask_header}, .verdict = PACKET_TAKE};
    struct ask late = {.options = {.timeout_ms = 100}}, patient = {0};
    struct call_world world;
    struct peer peer;

    (void)state;
    options.open_max = 1;
    call_world_open(&world, &options);
    peer_start(&peer, answer_hello, NULL);
    ask_begin(&busy, &world, peer.address);
    ask_wait(&busy);
    ask_begin(&late, &world, peer.address);
    ask_begin(&patient, &world, peer.address);
    ask_end(&late);
    assert_int_equal(late.error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(late.error.text, "no connection became free"));
    assert_int_equal(patient.done, 0);
    loop_do(world.loop, ask_release_broken, &busy);
    ask_end(&patient);
    assert_int_equal(patient.error.code, 0);
    call_world_close(&world);
    peer_stop(&peer);
}

static void calls_that_wait_for_a_place_that_is_gone_all_get_their_error(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct ask asks[20] = {0};
    struct call_world world;
    char dead[32];

    (void)state;
    options.open_max = 2;
    call_world_open(&world, &options);
    peer_dead_address(dead);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
        ask_begin(&asks[i], &world, dead);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        ask_end(&asks[i]);
        assert_int_equal(asks[i].error.code, ERROR_CONNECTION);
    }
    call_world_close(&world);
}

static void an_unused_connection_is_closed_after_its_time(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct call_world world;
    struct peer peer;

    (void)state;
    options.idle_timeout_ms = 20;
    call_world_open(&world, &options);
    peer_start(&peer, answer_hello, NULL);
    for (int i = 0; i < 2; i++) {
        struct ask ask = {0};

        ask_now(&ask, &world, peer.address);
        assert_int_equal(ask.error.code, 0);
        for (bool open = true; open; usleep(1000)) {
            pthread_mutex_lock(&peer.mutex);
            open = peer.sockets[i] >= 0;
            pthread_mutex_unlock(&peer.mutex);
        }
    }
    assert_int_equal(atomic_load(&peer.accepted), 2);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_host_name_is_resolved_on_the_workers(void **state)
{
    struct ask asks[5] = {0};
    struct call_world world;
    struct peer peer;
    char name[64];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_hello, NULL);
    snprintf(name, sizeof(name), "localhost:%u", peer.port);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
        ask_begin(&asks[i], &world, name);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        ask_end(&asks[i]);
        assert_int_equal(asks[i].error.code, 0);
    }
    call_world_close(&world);
    peer_stop(&peer);
}

/* The name server of these tests: it answers, fails, or falls silent. */
static atomic_int lookups, lookups_fail, lookups_hang;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    atomic_fetch_add(&lookups, 1);
    while (atomic_load(&lookups_hang))
        usleep(1000);
    if (atomic_load(&lookups_fail))
        return EAI_AGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, found);
}

static void a_name_server_that_is_away_takes_nobody_with_it(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct call_world world;
    struct peer peer;
    char name[64];

    (void)state;
    options.idle_max = 0; /* every call needs the address */
    options.name_age_ms = 20;
    call_world_open(&world, &options);
    peer_start(&peer, answer_hello, NULL);
    snprintf(name, sizeof(name), "localhost:%u", peer.port);
    for (int phase = 0; phase < 4; phase++) {
        atomic_store(&lookups_fail, phase == 1);
        atomic_store(&lookups_hang, phase == 2);
        atomic_store(&lookups, 0);
        for (int i = 0; i < 3 || atomic_load(&lookups) == 0; i++) {
            struct ask ask = {0};

            ask_now(&ask, &world, name);
            if (ask.error.code != 0)
                fail_msg("phase %d: %s", phase, ask.error.text);
            usleep(25000);
        }
    }
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_name_that_nobody_knows_gives_way_to_the_next_address(void **state)
{
    struct ask ask = {0};
    struct call_world world;
    struct peer peer;
    char addresses[96];

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&peer, answer_hello, NULL);
    snprintf(addresses, sizeof(addresses), "no-such-host.invalid:1,%s", peer.address);
    ask_now(&ask, &world, addresses);
    assert_int_equal(ask.error.code, 0);
    assert_string_equal(ask.address, peer.address);
    call_world_close(&world);
    peer_stop(&peer);
}

static void a_pool_may_end_while_a_name_is_being_resolved(void **state)
{
    struct ask ask = {0};
    struct call_world world;

    (void)state;
    call_world_open(&world, &call_world_options);
    ask_begin(&ask, &world, "no-such-host.invalid:1");
    loop_do(world.loop, call_world_destroy_pool, &world);
    assert_int_equal(ask.done, 1);
    call_world_close(&world);
}

/* ---- peers whose machine is gone ---- */

/* From now on nothing that comes for this socket is taken, and nothing acknowledged: as when the machine or
 * its cable is gone. */
static void go_deaf(int fd)
{
    struct sock_filter nothing_passes[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    struct sock_fprog filter = {.len = 1, .filter = nothing_passes};

    peer_must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0, "SO_ATTACH_FILTER");
}

static void wait_for_the_end(int fd)
{
    struct pollfd end = {.fd = fd, .events = 0};

    while (poll(&end, 1, 100) >= 0 && (end.revents & (POLLHUP | POLLERR)) == 0)
        continue;
}

/* Answers one request; the next one reaches nobody. */
static void answer_and_go_deaf(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    int unacknowledged = 1;

    (void)connection;
    if (!peer_read(peer, fd, &request))
        return;
    peer_reply(fd, SUCCESS, "first", 5);
    while (unacknowledged > 0) {
        peer_must(ioctl(fd, SIOCOUTQ, &unacknowledged) == 0, "SIOCOUTQ");
        usleep(1000);
    }
    go_deaf(fd);
    atomic_store((atomic_bool *)peer->argument, true);
    wait_for_the_end(fd);
}

/* Has the request, and is gone before it answers. */
static void take_and_go_deaf(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (!peer_read(peer, fd, &request))
        return;
    go_deaf(fd);
    wait_for_the_end(fd);
}

/* Slower than any machine that is gone is waited for. */
static void answer_late(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (!peer_read(peer, fd, &request))
        return;
    usleep(7000000);
    peer_reply(fd, SUCCESS, "late", 4);
}

static void a_peer_whose_machine_is_gone_gives_way_long_before_the_limit_and_a_slow_one_does_not(void **state)
{
    struct peer unsent, sent, slow, good;
    struct call_world world;
    struct ask first = {0}, asks[3] = {0};
    char addresses[3][80];
    atomic_bool deaf = false;
    int64_t begun;

    (void)state;
    call_world_open(&world, &call_world_options);
    peer_start(&unsent, answer_and_go_deaf, &deaf);
    peer_start(&sent, take_and_go_deaf, NULL);
    peer_start(&slow, answer_late, NULL);
    peer_start(&good, answer_hello, NULL);
    ask_now(&first, &world, unsent.address);
    assert_memory_equal(first.body, "first", 5);
    while (!atomic_load(&deaf))
        usleep(1000);
    begun = clock_monotonic_ms();
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        const struct peer *peers[] = {&unsent, &sent, &slow};

        snprintf(addresses[i], sizeof(addresses[i]), "%s,%s", peers[i]->address, good.address);
        asks[i].options.timeout_ms = 120000; /* of which each address has one half */
        ask_begin(&asks[i], &world, addresses[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        ask_end(&asks[i]);
        assert_int_equal(asks[i].error.code, 0);
        assert_string_equal(asks[i].address, i == 2 ? slow.address : good.address);
    }
    assert_true(clock_monotonic_ms() - begun < 40000);
    assert_int_equal(atomic_load(&unsent.accepted), 1); /* the kept connection it was */
    call_world_close(&world);
    peer_stop(&unsent);
    peer_stop(&sent);
    peer_stop(&slow);
    peer_stop(&good);
}

/* ---- proofs ---- */

/* Knows no sessions, as the predecessor's servers. */
static void know_no_sessions(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        if (request.command == PROTO_SESSION_HELLO)
            peer_fail(fd, SUCCESS, ERROR_UNKNOWN_COMMAND, "[media1] unknown command");
        else
            peer_reply(fd, SUCCESS, "hello", 5);
    }
}

/* Says that it knows them, and gives bytes that prove nothing. */
static void prove_nothing(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    const uint8_t reply[PROTO_HELLO_REPLY_SIZE] = {PROTO_SESSION_VERSION};

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_reply(fd, SUCCESS, reply, sizeof(reply));
}

static struct auth *auth_with_key(enum auth_mode mode)
{
    static const char line[] = "st-1 storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    char file[] = "/tmp/reel-keys-test-XXXXXX";
    struct auth_options options = {
        .mode = mode, .keys_file = file, .role = KEY_ROLE_STORAGE, .session_ms = 60000};
    struct error error;
    int fd = mkstemp(file); /* 0600 */

    assert_true(fd >= 0);
    assert_int_equal(write(fd, line, strlen(line)), strlen(line));
    close(fd);
    struct auth *auth = auth_create(&options, &error);
    assert_int_equal(unlink(file), 0);
    if (!auth)
        fail_msg("%s", error.text);
    return auth;
}

static void ask_with_a_proof(struct ask *ask, enum auth_mode mode, void (*script)(struct peer *, int, int),
                             int *hellos)
{
    struct packet_pool_options options = call_world_options;
    struct call_world world;
    struct peer peer;

    options.auth = auth_with_key(mode);
    call_world_open(&world, &options);
    peer_start(&peer, script, NULL);
    ask_now(ask, &world, peer.address);
    *hellos = (int)peer_requests(&peer, PROTO_SESSION_HELLO);
    call_world_close(&world);
    peer_stop(&peer);
    auth_destroy(options.auth);
}

static void a_peer_that_knows_no_sessions_is_asked_without_one_unless_it_must_prove_itself(void **state)
{
    struct ask preferred = {0}, required = {0};
    int hellos;

    (void)state;
    ask_with_a_proof(&preferred, AUTH_PREFER, know_no_sessions, &hellos);
    assert_int_equal(preferred.error.code, 0);
    assert_int_equal(preferred.size, 5);
    assert_memory_equal(preferred.body, "hello", 5);
    assert_int_equal(hellos, 1);
    ask_with_a_proof(&required, AUTH_REQUIRED, know_no_sessions, &hellos);
    assert_int_equal(required.error.code, ERROR_UNAUTHENTICATED);
    assert_non_null(strstr(required.error.text, "does not prove its identity"));
    assert_true(hellos >= 1);
}

/* As a server does whose listening socket was there before it. */
static void know_no_sessions_at_first_late(struct peer *peer, int fd, int connection)
{
    usleep(600000);
    know_no_sessions(peer, fd, connection);
}

static void a_peer_that_is_late_with_its_proof_is_waited_for_where_no_other_is_left(void **state)
{
    struct packet_pool_options options = call_world_options;
    struct ask alone = {0},
               first = {.options = {.timeout_ms = 120000}}; /* of which each address has one half */
    struct call_world world;
    struct peer late, silent, good;
    char addresses[96];
    int64_t begun;

    (void)state;
    options.auth = auth_with_key(AUTH_PREFER);
    options.connect_timeout_ms = 200;
    call_world_open(&world, &options);
    peer_start(&late, know_no_sessions_at_first_late, NULL);
    peer_start(&silent, say_nothing, NULL);
    peer_start(&good, know_no_sessions, NULL);
    ask_now(&alone, &world, late.address);
    assert_int_equal(alone.error.code, 0);
    assert_int_equal(peer_requests(&late, PROTO_SESSION_HELLO), 1);
    snprintf(addresses, sizeof(addresses), "%s,%s", silent.address, good.address);
    begun = clock_monotonic_ms();
    ask_now(&first, &world, addresses);
    assert_int_equal(first.error.code, 0);
    assert_string_equal(first.address, good.address);
    assert_true(clock_monotonic_ms() - begun < 40000);
    call_world_close(&world);
    peer_stop(&late);
    peer_stop(&silent);
    peer_stop(&good);
    auth_destroy(options.auth);
}

static void a_peer_that_cannot_end_its_proof_gets_no_request(void **state)
{
    struct ask ask = {0};
    int hellos;

    (void)state;
    ask_with_a_proof(&ask, AUTH_PREFER, prove_nothing, &hellos);
    assert_int_not_equal(ask.error.code, 0);
    assert_true(hellos >= 1);
}

static void a_peer_that_closes_on_a_proof_that_is_required_fails(void **state)
{
    struct ask ask = {0};
    int hellos;

    (void)state;
    ask_with_a_proof(&ask, AUTH_REQUIRED, hang_up, &hellos);
    assert_int_not_equal(ask.error.code, 0);
    assert_true(hellos >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gets_its_reply_and_the_connection_is_kept),
        cmocka_unit_test(a_peer_that_knows_no_sessions_is_asked_without_one_unless_it_must_prove_itself),
        cmocka_unit_test(a_peer_that_is_late_with_its_proof_is_waited_for_where_no_other_is_left),
        cmocka_unit_test(a_peer_that_cannot_end_its_proof_gets_no_request),
        cmocka_unit_test(a_peer_that_closes_on_a_proof_that_is_required_fails),
        cmocka_unit_test(an_address_that_fails_gives_way_to_the_next_and_goes_last_afterwards),
        cmocka_unit_test(the_error_names_every_address_and_why_it_failed),
        cmocka_unit_test(a_reply_that_breaks_off_is_asked_of_the_next_address),
        cmocka_unit_test(a_kept_connection_that_was_closed_is_replaced_by_a_new_one),
        cmocka_unit_test(a_kept_connection_that_dies_at_the_request_is_replaced_at_the_same_address),
        cmocka_unit_test(a_failure_reply_is_an_answer_and_its_connection_is_kept),
        cmocka_unit_test(a_legacy_peer_that_closes_after_a_failure_is_simply_connected_to_again),
        cmocka_unit_test(an_unavailable_peer_gives_way_to_the_next_unless_the_caller_says_no),
        cmocka_unit_test(what_a_peer_answered_outranks_that_another_was_not_there),
        cmocka_unit_test(a_failure_without_a_text_still_says_something),
        cmocka_unit_test(a_peer_that_speaks_something_else_is_an_error_and_not_believed),
        cmocka_unit_test(a_reply_longer_than_any_right_one_is_refused),
        cmocka_unit_test(bytes_after_a_reply_are_never_taken_for_the_next_one),
        cmocka_unit_test(a_reply_may_come_in_single_bytes),
        cmocka_unit_test(a_collected_reply_may_be_large),
        cmocka_unit_test(a_body_is_not_sent_where_the_last_reply_was_a_failure),
        cmocka_unit_test(a_streamed_request_arrives_whole),
        cmocka_unit_test(a_source_may_have_nothing_for_a_while),
        cmocka_unit_test(a_source_that_gives_up_ends_the_call),
        cmocka_unit_test(an_early_refusal_stops_the_sending_and_is_the_answer),
        cmocka_unit_test(a_body_whose_source_was_taken_is_not_sent_elsewhere),
        cmocka_unit_test(a_streamed_request_goes_to_the_next_address_while_its_source_is_whole),
        cmocka_unit_test(a_silent_peer_leaves_time_for_the_next_address),
        cmocka_unit_test(no_reply_at_all_is_a_time_out),
        cmocka_unit_test(a_reply_that_stops_halfway_is_a_time_out),
        cmocka_unit_test(a_cancelled_call_never_calls_back_in_any_state),
        cmocka_unit_test(a_call_may_be_cancelled_from_its_own_source),
        cmocka_unit_test(the_end_of_a_pool_cancels_its_calls_with_an_error),
        cmocka_unit_test(a_taken_socket_gives_the_whole_body_and_can_be_used_again),
        cmocka_unit_test(a_taken_socket_that_was_not_read_to_the_end_is_closed),
        cmocka_unit_test(a_peer_that_closes_while_its_small_reply_is_held_is_connected_to_again),
        cmocka_unit_test(a_small_reply_that_is_held_outlives_its_pool),
        cmocka_unit_test(a_taken_socket_outlives_its_pool),
        cmocka_unit_test(further_calls_wait_for_a_connection_and_all_are_answered),
        cmocka_unit_test(waiting_for_a_connection_is_bounded_by_the_call_s_time_and_moves_on_in_order),
        cmocka_unit_test(calls_that_wait_for_a_place_that_is_gone_all_get_their_error),
        cmocka_unit_test(an_unused_connection_is_closed_after_its_time),
        cmocka_unit_test(a_host_name_is_resolved_on_the_workers),
        cmocka_unit_test(a_name_server_that_is_away_takes_nobody_with_it),
        cmocka_unit_test(a_name_that_nobody_knows_gives_way_to_the_next_address),
        cmocka_unit_test(a_pool_may_end_while_a_name_is_being_resolved),
        cmocka_unit_test(
            a_peer_whose_machine_is_gone_gives_way_long_before_the_limit_and_a_slow_one_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
