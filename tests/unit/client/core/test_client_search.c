/*
 * Questions about where users are, asked of a scripted tracker that answers on command: one question for all who want to know
 * the same, few that go on in a turn of the loop, and what becomes of it when somebody goes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/core/client_internal.h"
#include "tests/unit/library/scripted_peer.h"

#include <semaphore.h>

#define ASKS_MAX       100
#define TURN_MAX       4 /* that go on in one turn */
#define QUESTIONS_MAX  16
#define LOCATE         16
#define SADDRS         12
#define ANSWER_TIMEOUT 20

/* ---- a tracker that waits ---- */

struct tracker {
    struct peer peer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int asked, ended;         /* questions that came; connections that their other side ended */
    bool open[QUESTIONS_MAX]; /* that may be answered */
    int failure;              /* instead of an answer; 0: none */
    bool legacy;
};

static void tracker_script(struct peer *peer, int fd, int connection)
{
    struct tracker *tracker = peer->argument;
    struct peer_request request;
    uint8_t reply[17 + 64] = "group001";

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        pthread_mutex_lock(&tracker->mutex);
        int number = tracker->asked++;
        int failure = tracker->failure;
        pthread_cond_broadcast(&tracker->changed);
        peer_must(number < QUESTIONS_MAX, "more questions than the test expects");
        while (!tracker->open[number])
            pthread_cond_wait(&tracker->changed, &tracker->mutex);
        pthread_mutex_unlock(&tracker->mutex);
        snprintf((char *)reply + 17, 64, "127.0.0.1:%d;", 1000 + number);
        if (tracker->legacy && request.command == LOCATE) {
            peer_fail(fd, 100, -1, "[old] unknown command");
            break;
        }
        if (failure != 0)
            peer_fail(fd, 100, failure, "[fake] as ordered");
        else
            peer_reply(fd, 100, reply, 17 + strlen((char *)reply + 17) + 1);
    }
    pthread_mutex_lock(&tracker->mutex);
    tracker->ended++;
    pthread_cond_broadcast(&tracker->changed);
    pthread_mutex_unlock(&tracker->mutex);
}

/* ---- a client and those who ask ---- */

struct world {
    struct loop *loop;
    struct client *client;
    struct tracker tracker;
    sem_t done; /* for each that was answered, and for each errand */
    struct ask *asks;
    struct task soon;
    uint64_t last_turn;
    int in_turn, most_in_turn, reported;
};

struct ask {
    struct world *world;
    struct client_operation *operation; /* NULL: answered, or cancelled */
    struct client_location location;
    int code, place; /* how many were answered before */
    void (*then)(struct ask *ask);
    const char *user;
    bool fresh, create;
};

static void world_open(struct world *world)
{
    struct client_options options = {0};
    struct error error;

    memset(world, 0, sizeof(*world));
    pthread_mutex_init(&world->tracker.mutex, NULL);
    pthread_cond_init(&world->tracker.changed, NULL);
    assert_int_equal(sem_init(&world->done, 0, 0), 0);
    peer_start(&world->tracker.peer, tracker_script, &world->tracker);
    assert_true(address_list_parse(world->tracker.peer.address, 0, &options.trackers, &error));
    world->loop = loop_create("client", &error);
    assert_non_null(world->loop);
    world->client = client_create(world->loop, &options, &error);
    assert_non_null(world->client);
    address_list_clear(&options.trackers);
    world->asks = calloc(ASKS_MAX, sizeof(*world->asks));
    assert_non_null(world->asks);
    for (int i = 0; i < ASKS_MAX; i++)
        world->asks[i] = (struct ask){.world = world, .user = "user1"};
    assert_true(loop_start(world->loop, &error));
}

/* Which questions that are asked from FIRST on get their answer. */
static void let_answer(struct world *world, int first, int last)
{
    pthread_mutex_lock(&world->tracker.mutex);
    for (int i = first; i <= last; i++)
        world->tracker.open[i] = true;
    pthread_cond_broadcast(&world->tracker.changed);
    pthread_mutex_unlock(&world->tracker.mutex);
}

static void wait_for(struct world *world, const int *what, int count)
{
    pthread_mutex_lock(&world->tracker.mutex);
    while (*what < count)
        pthread_cond_wait(&world->tracker.changed, &world->tracker.mutex);
    pthread_mutex_unlock(&world->tracker.mutex);
}

struct errand {
    struct task task;
    struct world *world;
    void (*run)(struct world *world);
};

static void errand_run(struct task *task)
{
    struct errand *errand = CONTAINER_OF(task, struct errand, task);

    errand->run(errand->world);
    sem_post(&errand->world->done);
}

static void wait_reported(struct world *world, int count)
{
    for (int i = 0; i < count; i++) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += ANSWER_TIMEOUT;
        while (sem_timedwait(&world->done, &until) != 0)
            assert_int_equal(errno, EINTR);
    }
}

static void on_loop(struct world *world, void (*run)(struct world *world))
{
    struct errand errand = {.task = {.run = errand_run}, .world = world, .run = run};

    loop_post(world->loop, &errand.task);
    wait_reported(world, 1);
}

static void nothing(struct world *world)
{
    (void)world;
}

static void end_client(struct world *world)
{
    client_destroy(world->client);
    world->client = NULL;
}

static void run_end(struct task *task)
{
    struct world *world = CONTAINER_OF(task, struct world, soon);

    end_client(world);
    sem_post(&world->done);
}

static void world_close(struct world *world)
{
    on_loop(world, nothing);
    if (world->client)
        on_loop(world, end_client);
    loop_destroy(world->loop);
    let_answer(world, 0, QUESTIONS_MAX - 1);
    peer_stop(&world->tracker.peer);
    sem_destroy(&world->done);
    pthread_cond_destroy(&world->tracker.changed);
    pthread_mutex_destroy(&world->tracker.mutex);
    free(world->asks);
}

static void reported(struct client_operation *operation, const struct error *error)
{
    struct ask *ask = operation->argument;
    struct world *world = ask->world;

    ask->operation = NULL;
    ask->code = error ? error->code : 0;
    if (!error)
        ask->location = operation->location;
    ask->place = world->reported++;
    if (world->last_turn != loop_turn(world->loop))
        world->in_turn = 0;
    world->last_turn = loop_turn(world->loop);
    world->in_turn++;
    if (world->in_turn > world->most_in_turn)
        world->most_in_turn = world->in_turn;
    if (ask->then)
        ask->then(ask);
    sem_post(&world->done);
}

static void ask_begin(struct ask *ask)
{
    static const struct client_command command = {.report = reported};
    struct proto_file_key key = {.application = "tnvideo"};

    snprintf(key.user, sizeof(key.user), "%s", ask->user);
    snprintf(key.file, sizeof(key.file), "f%d", (int)(ask - ask->world->asks));
    ask->operation = client_operation_create(ask->world->client, &command, &key, client_locate_begin, ask);
    assert_non_null(ask->operation);
    ask->operation->fresh = ask->fresh;
    ask->operation->create = ask->create;
    ask->operation->located = client_operation_finish;
}

static void begin_all(struct world *world)
{
    for (int i = 0; i < ASKS_MAX; i++)
        ask_begin(&world->asks[i]);
}

static void begin_three(struct world *world)
{
    for (int i = 0; i < 3; i++)
        ask_begin(&world->asks[i]);
}

static void begin_the_first(struct world *world)
{
    ask_begin(&world->asks[0]);
}

static void begin_the_second(struct world *world)
{
    ask_begin(&world->asks[1]);
}

static void begin_the_third(struct world *world)
{
    ask_begin(&world->asks[2]);
}

static void cancel(struct ask *ask)
{
    if (ask->operation)
        client_cancel(ask->operation);
    ask->operation = NULL;
}

static void cancel_the_first(struct world *world)
{
    cancel(&world->asks[0]);
}

static void cancel_all(struct world *world)
{
    for (int i = 0; i < ASKS_MAX; i++)
        cancel(&world->asks[i]);
}

static int port_of(const struct ask *ask)
{
    assert_int_equal(ask->code, 0);
    assert_int_equal(ask->location.count, 1);
    return ask->location.servers[0].port;
}

/* ---- tests ---- */

static void a_hundred_who_ask_about_one_user_are_one_question(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    on_loop(&world, begin_all);
    wait_for(&world, &world.tracker.asked, 1);
    let_answer(&world, 0, 0);
    wait_reported(&world, ASKS_MAX);
    for (int i = 0; i < ASKS_MAX; i++) {
        assert_int_equal(port_of(&world.asks[i]), 1000);
        assert_int_equal(world.asks[i].place, i);
    }
    assert_int_equal(world.tracker.asked, 1);
    world_close(&world);
}

static void few_of_those_who_waited_go_on_in_one_turn(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    on_loop(&world, begin_all);
    let_answer(&world, 0, 0);
    wait_reported(&world, ASKS_MAX);
    assert_int_equal(world.most_in_turn, TURN_MAX);
    world_close(&world);
}

static void another_user_and_a_new_one_are_questions_of_their_own(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.asks[1].user = "user2";
    world.asks[2].create = true;
    on_loop(&world, begin_three);
    wait_for(&world, &world.tracker.asked, 3);
    let_answer(&world, 0, 2);
    wait_reported(&world, 3);
    for (int i = 0; i < 3; i++)
        assert_in_range(port_of(&world.asks[i]), 1000, 1002);
    assert_int_equal(peer_requests(&world.tracker.peer, LOCATE), 2);
    assert_int_equal(peer_requests(&world.tracker.peer, SADDRS), 1);
    world_close(&world);
}

static void all_who_wait_learn_of_a_failure(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.tracker.failure = ERROR_NOT_FOUND;
    on_loop(&world, begin_all);
    let_answer(&world, 0, 0);
    wait_reported(&world, ASKS_MAX);
    for (int i = 0; i < ASKS_MAX; i++)
        assert_int_equal(world.asks[i].code, ERROR_NOT_FOUND);
    assert_int_equal(world.tracker.asked, 1);
    world_close(&world);
}

static void a_legacy_tracker_is_asked_again_once_for_all(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.tracker.legacy = true;
    on_loop(&world, begin_all);
    let_answer(&world, 0, 1);
    wait_reported(&world, ASKS_MAX);
    assert_int_equal(port_of(&world.asks[ASKS_MAX - 1]), 1001);
    assert_int_equal(peer_requests(&world.tracker.peer, LOCATE), 1);
    assert_int_equal(peer_requests(&world.tracker.peer, SADDRS), 1);
    world_close(&world);
}

static void who_must_not_get_the_old_asks_at_once_and_the_next_wait_for_it(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.asks[1].fresh = true;
    on_loop(&world, begin_the_first);
    wait_for(&world, &world.tracker.asked, 1);
    on_loop(&world, begin_the_second);
    wait_for(&world, &world.tracker.asked, 2);
    on_loop(&world, begin_the_third);
    let_answer(&world, 1, 1);
    wait_reported(&world, 2);
    assert_int_equal(port_of(&world.asks[1]), 1001);
    assert_int_equal(port_of(&world.asks[2]), 1001);
    assert_int_equal(world.asks[0].code, 0);
    let_answer(&world, 0, 0);
    wait_reported(&world, 1);
    assert_int_equal(port_of(&world.asks[0]), 1000);
    assert_int_equal(world.tracker.asked, 2);
    world_close(&world);
}

/* The older question is answered last. */
static void the_newer_of_two_answers_is_remembered(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.asks[1].fresh = true;
    on_loop(&world, begin_the_first);
    wait_for(&world, &world.tracker.asked, 1);
    on_loop(&world, begin_the_second);
    wait_for(&world, &world.tracker.asked, 2);
    let_answer(&world, 1, 1);
    wait_reported(&world, 1);
    let_answer(&world, 0, 0);
    wait_reported(&world, 1);
    on_loop(&world, begin_the_third);
    wait_reported(&world, 1);
    assert_int_equal(port_of(&world.asks[2]), 1001);
    assert_int_equal(world.tracker.asked, 2);
    world_close(&world);
}

static void the_others_are_answered_when_who_asked_first_has_gone(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    on_loop(&world, begin_three);
    wait_for(&world, &world.tracker.asked, 1);
    on_loop(&world, cancel_the_first);
    let_answer(&world, 0, 0);
    wait_reported(&world, 2);
    assert_int_equal(port_of(&world.asks[1]), 1000);
    assert_int_equal(port_of(&world.asks[2]), 1000);
    assert_int_equal(world.reported, 2);
    world_close(&world);
}

static void a_question_that_nobody_waits_for_ends(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    on_loop(&world, begin_three);
    wait_for(&world, &world.tracker.asked, 1);
    on_loop(&world, cancel_all);
    let_answer(&world, 0, 1);
    wait_for(&world, &world.tracker.ended, 1);
    on_loop(&world, begin_the_first);
    wait_reported(&world, 1);
    assert_int_equal(port_of(&world.asks[0]), 1001);
    assert_int_equal(world.reported, 1);
    world_close(&world);
}

static void cancel_the_rest(struct ask *ask)
{
    cancel_all(ask->world);
}

static void who_is_answered_may_cancel_all_the_others(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.asks[1].then = cancel_the_rest;
    on_loop(&world, begin_all);
    let_answer(&world, 0, 0);
    wait_reported(&world, 2);
    on_loop(&world, nothing);
    assert_int_equal(world.reported, 2);
    world_close(&world);
}

static void ask_once_more(struct ask *ask)
{
    ask->then = NULL;
    ask_begin(ask);
}

static void who_is_answered_may_ask_again(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    world.asks[0].then = world.asks[50].then = ask_once_more;
    world.asks[0].fresh = true;
    on_loop(&world, begin_all);
    let_answer(&world, 0, 1);
    wait_reported(&world, ASKS_MAX + 2);
    assert_int_equal(world.reported, ASKS_MAX + 2);
    assert_int_equal(port_of(&world.asks[0]), 1001);
    world_close(&world);
}

/* After TURN_MAX have been answered, in the same turn. */
static void end_soon(struct ask *ask)
{
    struct world *world = ask->world;

    world->soon.run = run_end;
    loop_post(world->loop, &world->soon);
}

static void the_client_may_end_while_others_wait_for_their_turn(void **state)
{
    struct world world;

    (void)state;
    world_open(&world);
    on_loop(&world, begin_all);
    wait_for(&world, &world.tracker.asked, 1);
    on_loop(&world, end_client);
    assert_int_equal(world.reported, 0);
    world_close(&world);

    world_open(&world);
    world.asks[0].then = end_soon; /* before the task that answers the next ones */
    on_loop(&world, begin_all);
    let_answer(&world, 0, 0);
    wait_reported(&world, TURN_MAX + 1);
    assert_int_equal(world.reported, TURN_MAX);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_who_ask_about_one_user_are_one_question),
        cmocka_unit_test(few_of_those_who_waited_go_on_in_one_turn),
        cmocka_unit_test(another_user_and_a_new_one_are_questions_of_their_own),
        cmocka_unit_test(all_who_wait_learn_of_a_failure),
        cmocka_unit_test(a_legacy_tracker_is_asked_again_once_for_all),
        cmocka_unit_test(who_must_not_get_the_old_asks_at_once_and_the_next_wait_for_it),
        cmocka_unit_test(the_newer_of_two_answers_is_remembered),
        cmocka_unit_test(the_others_are_answered_when_who_asked_first_has_gone),
        cmocka_unit_test(a_question_that_nobody_waits_for_ends),
        cmocka_unit_test(who_is_answered_may_cancel_all_the_others),
        cmocka_unit_test(who_is_answered_may_ask_again),
        cmocka_unit_test(the_client_may_end_while_others_wait_for_their_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
