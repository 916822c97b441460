/*
 * One question to several servers, against scripted peers: silent, slow, failing and quick ones in every
 * order.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/call/packet_call.h"
#include "common/call/pool_endpoint.h"
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/storage_loop.h"

#define COMMAND 12
#define SUCCESS 100
#define NEVER   600000 /* a hedge time that no test reaches */

/* ---- a pool on a loop, and questions ---- */

struct world {
    struct loop *loop;
    struct packet_pool *pool;
};

static void make_pool(void *argument)
{
    struct world *world = argument;
    struct packet_pool_options options = {
        .connect_timeout_ms = 20000, .idle_timeout_ms = 60000, .idle_max = 4, .address_penalty_ms = 600000};
    struct error error;

    world->pool = packet_pool_create(world->loop, &options, &error);
}

static void destroy_pool(void *argument)
{
    struct world *world = argument;

    packet_pool_destroy(world->pool);
    world->pool = NULL;
}

static struct world world_open(void)
{
    struct world world = {.loop = loop_fresh()};

    loop_do(world.loop, make_pool, &world);
    assert_non_null(world.pool);
    return world;
}

static void world_close(struct world *world)
{
    loop_do(world->loop, destroy_pool, world);
    loop_destroy(world->loop);
}

struct question {
    struct world *world;
    char addresses[128];
    int64_t hedge_ms, timeout_ms;
    struct packet_call *call;
    bool again_answer, cancel_in_again;
    atomic_int again_calls, done;
    struct error error;
    char body[64], address[ADDRESS_TEXT_SIZE];
};

static bool on_again(void *argument, const struct error *error)
{
    struct question *question = argument;
    bool answer = question->again_answer;

    assert_int_not_equal(error->code, ERROR_NONE);
    address_format(packet_call_address(question->call), question->address, sizeof(question->address));
    if (question->cancel_in_again)
        packet_call_cancel(question->call);
    atomic_fetch_add(&question->again_calls, 1);
    return answer;
}

static void on_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct question *question = argument;

    if (error != NULL) {
        question->error = *error;
    } else {
        assert_true(size < sizeof(question->body));
        memcpy(question->body, body, size);
        address_format(packet_call_address(question->call), question->address, sizeof(question->address));
    }
    atomic_fetch_add(&question->done, 1);
}

static void start(void *argument)
{
    struct question *question = argument;
    struct address_list list = {0};
    struct error error;
    char body[] = "who?";
    struct packet_call_options options = {
        .addresses = &list,
        .command = COMMAND,
        .body = body,
        .body_size = 4,
        .reply_max = sizeof(question->body) - 1,
        .timeout_ms = question->timeout_ms,
        .progress_ms = 10000,
        .hedge_ms = question->hedge_ms,
        .again = on_again,
        .done = on_done,
        .argument = question,
    };

    assert_true(address_list_parse(question->addresses, 0, &list, &error));
    question->call = packet_call_start(question->world->pool, &options, &error);
    assert_non_null(question->call);
    assert_int_equal(atomic_load(&question->done), 0);
    /* Whoever is asked later gets the body as it was. */
    memset(body, 'x', sizeof(body));
    address_list_clear(&list);
}

static void begin(struct question *question, struct world *world, const struct peer *first,
                  const struct peer *second)
{
    question->world = world;
    if (question->timeout_ms == 0)
        question->timeout_ms = 20000;
    snprintf(question->addresses, sizeof(question->addresses), "%s,%s", first->address, second->address);
    loop_do(world->loop, start, question);
}

static bool is_done(void *argument)
{
    return atomic_load(&((struct question *)argument)->done) > 0;
}

static bool was_asked(void *argument)
{
    return peer_requests(argument, COMMAND) > 0;
}

static bool was_refused(void *argument)
{
    return atomic_load(&((struct question *)argument)->again_calls) > 0;
}

static void nothing(void *argument)
{
    (void)argument;
}

static void ask(struct question *question, struct world *world, const struct peer *first,
                const struct peer *second)
{
    begin(question, world, first, second);
    assert_true(loop_wait_until(is_done, question));
    loop_do(world->loop, nothing, NULL);
    assert_int_equal(atomic_load(&question->done), 1);
}

static void assert_answered(const struct question *question, const struct peer *peer, const char *body)
{
    if (question->error.code != ERROR_NONE)
        fail_msg("%s", question->error.text);
    assert_string_equal(question->body, body);
    assert_string_equal(question->address, peer->address);
}

static void cancel(void *argument)
{
    packet_call_cancel(((struct question *)argument)->call);
}

/* ---- scripts ---- */

static void answer(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        peer_must(memcmp(request.head, "who?", 4) == 0, "another question than was asked");
        peer_reply(fd, SUCCESS, "quick", 5);
    }
}

static void say_nothing(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        continue;
}

/* Answers as soon as the peer that is its argument was asked. */
static void answer_when_other_is_asked(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        if (!loop_wait_until(was_asked, peer->argument))
            return;
        peer_reply(fd, SUCCESS, "slow", 4);
    }
}

/* The header at once, the body a while later. */
static void answer_in_two_parts(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        peer_header(fd, 4, SUCCESS, 0);
        usleep(3300000);
        peer_put(fd, "long", 4);
    }
}

static void break_off(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request)) {
        peer_header(fd, 100, SUCCESS, 0);
        peer_put(fd, "some", 4);
    }
}

static void refuse_busy(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_fail(fd, SUCCESS, -9, "[one] overloaded");
}

static void refuse_missing(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        peer_fail(fd, SUCCESS, -4, "[one] no such user");
}

static void refuse_when_other_is_asked(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    if (peer_read(peer, fd, &request) && loop_wait_until(was_asked, peer->argument))
        peer_fail(fd, SUCCESS, -9, "[one] overloaded");
}

/* ---- tests ---- */

static void a_quick_server_is_asked_alone(void **state)
{
    struct world world = world_open();
    struct peer first, second;

    (void)state;
    peer_start(&first, answer, NULL);
    peer_start(&second, answer, NULL);
    for (int i = 0; i < 3; i++) {
        struct question question = {.hedge_ms = NEVER};

        ask(&question, &world, &first, &second);
        assert_answered(&question, &first, "quick");
    }
    assert_int_equal(peer_requests(&first, COMMAND), 3);
    assert_int_equal(atomic_load(&first.accepted), 1);
    assert_int_equal(atomic_load(&second.accepted), 0);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void the_next_server_answers_where_the_first_is_silent_and_is_asked_first_afterwards(void **state)
{
    struct world world = world_open();
    struct peer first, second;

    (void)state;
    peer_start(&first, say_nothing, NULL);
    peer_start(&second, answer, NULL);
    for (int i = 0; i < 3; i++) {
        struct question question = {.hedge_ms = i == 0 ? 20 : NEVER};

        ask(&question, &world, &first, &second);
        assert_answered(&question, &second, "quick");
    }
    assert_int_equal(peer_requests(&first, COMMAND), 1);
    assert_int_equal(peer_requests(&second, COMMAND), 3);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void a_slow_server_that_answers_first_after_all_is_heard(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = 20}, next = {.hedge_ms = NEVER};

    (void)state;
    peer_start(&second, say_nothing, NULL);
    peer_start(&first, answer_when_other_is_asked, &second);
    ask(&question, &world, &first, &second);
    assert_answered(&question, &first, "slow");
    /* It is known to be well again: first in its turn. */
    ask(&next, &world, &first, &second);
    assert_answered(&next, &first, "slow");
    assert_int_equal(peer_requests(&second, COMMAND), 1);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void a_server_that_has_begun_to_answer_is_left_to_it(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = 2500};

    (void)state;
    peer_start(&first, answer_in_two_parts, NULL);
    peer_start(&second, answer, NULL);
    ask(&question, &world, &first, &second);
    assert_answered(&question, &first, "long");
    assert_int_equal(atomic_load(&second.accepted), 0);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void a_failure_gives_way_to_the_next_server_at_once(void **state)
{
    void (*scripts[])(struct peer *, int, int) = {refuse_busy, break_off};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        struct world world = world_open();
        struct peer first, second;
        struct question question = {.hedge_ms = NEVER, .again_answer = true};

        peer_start(&first, scripts[i], NULL);
        peer_start(&second, answer, NULL);
        ask(&question, &world, &first, &second);
        assert_answered(&question, &second, "quick");
        assert_int_equal(peer_requests(&first, COMMAND), 1);
        assert_int_equal(atomic_load(&question.again_calls), i == 0 ? 1 : 0);
        world_close(&world);
        peer_stop(&first);
        peer_stop(&second);
    }
}

static void a_failure_that_others_would_repeat_is_the_answer(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = NEVER};

    (void)state;
    peer_start(&first, refuse_missing, NULL);
    peer_start(&second, answer, NULL);
    ask(&question, &world, &first, &second);
    assert_int_equal(question.error.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(question.error.text, "no such user"));
    assert_string_equal(question.address, first.address);
    assert_int_equal(atomic_load(&second.accepted), 0);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void a_failure_leaves_those_that_were_asked_meanwhile_their_time(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = 20, .timeout_ms = 5000, .again_answer = true};

    (void)state;
    peer_start(&second, say_nothing, NULL);
    peer_start(&first, refuse_when_other_is_asked, &second);
    begin(&question, &world, &first, &second);
    assert_true(loop_wait_until(was_refused, &question));
    assert_int_equal(atomic_load(&question.done), 0);
    assert_true(loop_wait_until(is_done, &question));
    /* What a server said outranks that another one was silent, and the text names both. */
    assert_int_equal(question.error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(question.error.text, "overloaded"));
    assert_non_null(strstr(question.error.text, second.address));
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void silence_everywhere_is_a_time_out_that_names_each_server(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = 20, .timeout_ms = 2000};

    (void)state;
    peer_start(&first, say_nothing, NULL);
    peer_start(&second, say_nothing, NULL);
    ask(&question, &world, &first, &second);
    assert_int_equal(question.error.code, ERROR_TIMEOUT);
    assert_non_null(strstr(question.error.text, first.address));
    assert_non_null(strstr(question.error.text, second.address));
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void without_hedging_a_silent_server_has_its_share_of_the_time(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.timeout_ms = 6000};
    int64_t begun = clock_monotonic_ms();

    (void)state;
    peer_start(&first, say_nothing, NULL);
    peer_start(&second, answer, NULL);
    ask(&question, &world, &first, &second);
    assert_answered(&question, &second, "quick");
    assert_true(clock_monotonic_ms() - begun >= 3000);
    world_close(&world);
    peer_stop(&first);
    peer_stop(&second);
}

static void a_cancelled_question_never_calls_back(void **state)
{
    struct world world = world_open();
    struct peer first, second, busy;
    struct question question = {.hedge_ms = 20}, refused = {.hedge_ms = NEVER, .cancel_in_again = true};

    (void)state;
    peer_start(&first, say_nothing, NULL);
    peer_start(&second, say_nothing, NULL);
    peer_start(&busy, refuse_busy, NULL);
    begin(&question, &world, &first, &second);
    assert_true(loop_wait_until(was_asked, &second));
    loop_do(world.loop, cancel, &question);
    begin(&refused, &world, &busy, &second);
    assert_true(loop_wait_until(was_refused, &refused));
    loop_do(world.loop, nothing, NULL);
    world_close(&world);
    assert_int_equal(atomic_load(&question.done), 0);
    assert_int_equal(atomic_load(&refused.done), 0);
    assert_int_equal(peer_requests(&second, COMMAND), 1);
    peer_stop(&first);
    peer_stop(&second);
    peer_stop(&busy);
}

static void the_end_of_the_pool_ends_a_question_once(void **state)
{
    struct world world = world_open();
    struct peer first, second;
    struct question question = {.hedge_ms = 20};

    (void)state;
    peer_start(&first, say_nothing, NULL);
    peer_start(&second, say_nothing, NULL);
    begin(&question, &world, &first, &second);
    assert_true(loop_wait_until(was_asked, &second));
    world_close(&world);
    assert_int_equal(atomic_load(&question.done), 1);
    assert_int_equal(question.error.code, ERROR_CANCELLED);
    peer_stop(&first);
    peer_stop(&second);
}

/* When the second was asked, relative to the start of the call. */
static atomic_llong asked_ms;

static void answer_and_note(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        atomic_store(&asked_ms, clock_monotonic_ms());
        peer_reply(fd, SUCCESS, "quick", 5);
    }
}

static void penalise(void *argument)
{
    struct question *question = argument;
    struct address_list list = {0};
    struct pool_endpoint *endpoint;
    struct error error;

    assert_true(address_list_parse(question->addresses, 0, &list, &error));
    endpoint = pool_endpoint_get(question->world->pool, &list.items[1]);
    assert_non_null(endpoint);
    pool_endpoint_penalise(endpoint);
    pool_endpoint_put(endpoint);
    address_list_clear(&list);
}

static void before_a_penalised_server_the_first_has_twice_the_time(void **state)
{
    struct world world = world_open();
    struct question question = {.world = &world, .hedge_ms = 300, .timeout_ms = 20000};
    struct peer silent, second;
    int64_t since_ms;

    (void)state;
    peer_start(&silent, say_nothing, NULL);
    peer_start(&second, answer_and_note, NULL);
    snprintf(question.addresses, sizeof(question.addresses), "%s,%s", silent.address, second.address);
    loop_do(world.loop, penalise, &question);
    since_ms = clock_monotonic_ms();
    ask(&question, &world, &silent, &second);
    assert_answered(&question, &second, "quick");
    assert_true(atomic_load(&asked_ms) - since_ms >= 590);
    world_close(&world);
    peer_stop(&silent);
    peer_stop(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_a_penalised_server_the_first_has_twice_the_time),
        cmocka_unit_test(a_quick_server_is_asked_alone),
        cmocka_unit_test(the_next_server_answers_where_the_first_is_silent_and_is_asked_first_afterwards),
        cmocka_unit_test(a_slow_server_that_answers_first_after_all_is_heard),
        cmocka_unit_test(a_server_that_has_begun_to_answer_is_left_to_it),
        cmocka_unit_test(a_failure_gives_way_to_the_next_server_at_once),
        cmocka_unit_test(a_failure_that_others_would_repeat_is_the_answer),
        cmocka_unit_test(a_failure_leaves_those_that_were_asked_meanwhile_their_time),
        cmocka_unit_test(silence_everywhere_is_a_time_out_that_names_each_server),
        cmocka_unit_test(without_hedging_a_silent_server_has_its_share_of_the_time),
        cmocka_unit_test(a_cancelled_question_never_calls_back),
        cmocka_unit_test(the_end_of_the_pool_ends_a_question_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
