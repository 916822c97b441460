/*
 * Connections on which nobody waits for a reply, over real sockets and a real loop: when they are served, what ends them, and that
 * they keep neither the loop busy nor other connections waiting.
 */
#include "tests/unit/library/packet_fixture.h"
#include "common/serve/packet_connection.h"
#include <fcntl.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define CROWD 200

enum {
    BEAT = 20,       /* the body comes back, and nobody waits for the reply of the next one */
    BEAT_SLOWLY,     /* the same, when the test says so */
    BEAT_AND_CUT,    /* the same, and all others are cut */
    BEAT_BEFORE_ASK, /* the same, and the first one sends an ASK over another connection */
    ASK,             /* notes how many beats came before it */
};

static atomic_int beats, beats_before_ask;
static atomic_bool goes_on_at_once;
static int other_fd;

static void handle_beat(struct packet_request *request)
{
    atomic_fetch_add(&beats, 1);
    packet_connection_set_patient(request->connection);
    packet_reply(request, request->head, request->head_size);
}

static struct packet_request *slow;
static struct task slow_task;

static void end_slowly(struct task *task)
{
    (void)task;
    handle_beat(slow);
}

static void handle_slowly(struct packet_request *request)
{
    slow = request;
    slow_task.run = end_slowly;
    atomic_fetch_add(&fixture.held, 1);
}

static void handle_and_cut(struct packet_request *request)
{
    struct packet_lane *lane = request->connection->lane;
    struct packet_connection *other, *next;

    for (other = TAILQ_FIRST(&lane->connections); other; other = next) {
        next = TAILQ_NEXT(other, link);
        if (other != request->connection)
            packet_connection_cut(other);
    }
    handle_beat(request);
}

static void handle_before_ask(struct packet_request *request)
{
    if (atomic_load(&beats) == 0)
        put_request(other_fd, ASK, "", 0);
    handle_beat(request);
}

static void handle_ask(struct packet_request *request)
{
    const struct packet_patient *patient = &request->connection->lane->patient;
    const struct timeval *due = &patient->timer.ev_timeout;
    struct timespec now;

    atomic_store(&beats_before_ask, atomic_load(&beats));
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    atomic_store(&goes_on_at_once,
                 due->tv_sec * 1000000 + due->tv_usec <= now.tv_sec * 1000000 + now.tv_nsec / 1000);
    packet_reply(request, NULL, 0);
}

static const struct packet_command commands[] = {
    {BEAT, "beat", 0, 1000, 0, handle_beat},
    {BEAT_SLOWLY, "beat-slowly", 0, 1000, 0, handle_slowly},
    {BEAT_AND_CUT, "beat-and-cut", 0, 1000, 0, handle_and_cut},
    {BEAT_BEFORE_ASK, "beat-before-ask", 0, 1000, 0, handle_before_ask},
    {ASK, "ask", 0, 0, 0, handle_ask},
};

/* A server with one loop, so that all connections are neighbours. */
static void start_for_beats(int64_t idle_ms)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    options.commands = commands;
    options.command_count = ARRAY_SIZE(commands);
    options.idle_timeout_ms = idle_ms;
    start_on(&options, 1);
    atomic_store(&beats, 0);
}

static void beat(int fd)
{
    put_request(fd, BEAT, "hello", 5);
    get_success(fd, "hello", 5);
}

static int dial_and_beat(void)
{
    int fd = dial();

    beat(fd);
    return fd;
}

/* ---- on the server's loop ---- */

struct errand {
    struct task task;
    void (*run)(struct packet_lane *lane);
    sem_t done;
};

static void run_errand(struct task *task)
{
    struct errand *errand = CONTAINER_OF(task, struct errand, task);

    errand->run(&fixture.server->lanes[0]);
    sem_post(&errand->done);
}

static void on_loop(void (*run)(struct packet_lane *lane))
{
    struct errand errand = {.task.run = run_errand, .run = run};

    assert_int_equal(sem_init(&errand.done, 0, 0), 0);
    loop_post(fixture.loops.loops[0], &errand.task);
    while (sem_wait(&errand.done) != 0)
        ;
    sem_destroy(&errand.done);
}

/* Requests are not looked at any more, as if the pause between two looks went on. */
static void hold_requests(struct packet_lane *lane)
{
    event_del(&lane->patient.timer);
    event_del(&lane->patient.request_event);
}

static void release_requests(struct packet_lane *lane)
{
    const struct timeval now = {0};

    ASSERT(event_add(&lane->patient.timer, &now) == 0);
}

static uint64_t turns;

static void note_turns(struct packet_lane *lane)
{
    turns = loop_turn(lane->loop);
}

/* The loop does nothing for a while: to be looked at costs it a turn or two. */
static void wait_until_asleep(void)
{
    for (int i = 0; i < 100; i++) {
        on_loop(note_turns);
        uint64_t before = turns;
        usleep(200000);
        on_loop(note_turns);
        if (turns - before <= 3)
            return;
    }
    fail_msg("the loop does not go to sleep");
}

/* ---- watches that the system refuses ---- */

/* So many of each kind are taken before one is refused; below 0: none is refused. */
static atomic_int sockets_before_refusal = -1, sets_before_refusal = -1;

/* In the place of the C library's, also for libevent. */
__attribute__((visibility("default"))) int epoll_ctl(int epoll, int operation, int fd,
                                                     struct epoll_event *event)
{
    int type;
    socklen_t size = sizeof(type);
    atomic_int *before = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 ? &sockets_before_refusal
                                                                                : &sets_before_refusal;
    if (operation == EPOLL_CTL_ADD && atomic_load(before) >= 0 && atomic_fetch_sub(before, 1) == 0) {
        errno = ENOSPC; /* as past fs.epoll.max_user_watches */
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

/* ---- tests ---- */

static void requests_are_answered_whole_or_in_parts_or_several_at_once(void **state)
{
    uint8_t header[PROTO_HEADER_SIZE];
    int fd;

    (void)state;
    start_for_beats(30000);
    fd = dial_and_beat();
    beat(fd);
    proto_header_pack(header, 5, BEAT, 0);
    put_bytes(fd, header, 3);
    wait_until_asleep();
    put_bytes(fd, header + 3, sizeof(header) - 3);
    wait_until_asleep();
    put_bytes(fd, "hello", 5);
    get_success(fd, "hello", 5);
    for (int i = 0; i < 100; i++)
        put_request(fd, BEAT, "again", 5);
    for (int i = 0; i < 100; i++)
        get_success(fd, "again", 5);
    close(fd);
    finish();
}

static void after_one_the_next_ones_wait_to_be_served_together(void **state)
{
    int first, second;

    (void)state;
    start_for_beats(30000);
    first = dial_and_beat();
    second = dial_and_beat();
    for (int i = 0; i < 20; i++) {
        int64_t begin_ms = clock_monotonic_ms();
        beat(first);
        beat(second); /* libevent's clock is up to 10 ms behind */
        assert_true(clock_monotonic_ms() - begin_ms >= PACKET_PATIENT_MS - 12);
    }
    close(first);
    close(second);
    finish();
}

static void without_requests_the_loop_sleeps(void **state)
{
    int fd;

    (void)state;
    start_for_beats(30000);
    fd = dial_and_beat();
    wait_until_asleep();
    beat(fd);
    close(fd);
    wait_until(&fixture.closed, 1);
    wait_until_asleep();
    finish();
}

static void the_end_of_a_peer_is_noticed_without_a_look_at_requests(void **state)
{
    const struct linger reset = {.l_onoff = 1};
    int fds[3];

    (void)state;
    start_for_beats(30000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial_and_beat();
    on_loop(hold_requests);
    close(fds[0]);
    wait_until(&fixture.closed, 1);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fds[1]);
    wait_until(&fixture.closed, 2);
    put_request(fds[2], BEAT, "last", 4); /* what it asked for before is answered */
    assert_int_equal(shutdown(fds[2], SHUT_WR), 0);
    get_success(fds[2], "last", 4);
    get_end(fds[2]);
    close(fds[2]);
    wait_until(&fixture.closed, 3);
    wait_until_asleep();
    finish();
}

static void a_crowd_is_served_and_others_have_their_turn_between(void **state)
{
    int fds[CROWD];

    (void)state;
    start_for_beats(30000);
    other_fd = dial();
    for (size_t i = 0; i < CROWD; i++)
        fds[i] = dial_and_beat();
    on_loop(hold_requests);
    atomic_store(&beats, 0);
    for (size_t i = 0; i < CROWD; i++)
        put_request(fds[i], BEAT_BEFORE_ASK, "hello", 5);
    assert_false(readable_within(fds[0], 50));
    on_loop(release_requests);
    get_success(other_fd, "", 0);
    assert_in_range(atomic_load(&beats_before_ask), 1, CROWD - 1);
    assert_true(atomic_load(&goes_on_at_once));
    for (size_t i = 0; i < CROWD; i++) {
        get_success(fds[i], "hello", 5);
        close(fds[i]);
    }
    close(other_fd);
    finish();
}

static void one_may_end_others_that_are_ready_too(void **state)
{
    int fds[10], answered = 0;

    (void)state;
    start_for_beats(30000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial_and_beat();
    on_loop(hold_requests);
    atomic_store(&beats, 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        put_request(fds[i], BEAT_AND_CUT, "hello", 5);
    on_loop(release_requests);
    wait_until(&fixture.closed, ARRAY_SIZE(fds) - 1);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        char byte;
        answered += recv(fds[i], &byte, 1, 0) == 1;
        close(fds[i]);
    }
    assert_int_equal(answered, 1);
    assert_int_equal(atomic_load(&beats), 1);
    finish();
}

static void what_comes_during_a_request_waits_and_wakes_nobody(void **state)
{
    int fd;

    (void)state;
    start_for_beats(30000);
    fd = dial_and_beat();
    for (int i = 1; i <= 2; i++) {
        put_request(fd, BEAT_SLOWLY, "slow", 4);
        wait_until(&fixture.held, i);
        put_request(fd, BEAT, "hello", 5);
        if (i == 2)
            assert_int_equal(shutdown(fd, SHUT_WR), 0);
        wait_until_asleep();
        loop_post(fixture.loops.loops[0], &slow_task);
        get_success(fd, "slow", 4);
        get_success(fd, "hello", 5);
    }
    get_end(fd);
    close(fd);
    wait_until(&fixture.closed, 1);
    finish();
}

static void one_that_is_idle_for_too_long_is_closed(void **state)
{
    int fd;

    (void)state;
    start_for_beats(3000);
    fd = dial_and_beat();
    get_end(fd);
    close(fd);
    finish();
}

static void a_server_that_stops_ends_them(void **state)
{
    int fds[2];

    (void)state;
    start_for_beats(30000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial_and_beat();
    on_loop(hold_requests);
    put_request(fds[1], BEAT, "last", 4);
    finish();
    get_end(fds[0]);
    get_success(fds[1], "last", 4);
    get_end(fds[1]);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_server_may_end_without_being_stopped(void **state)
{
    int fd, before = open_descriptors();

    (void)state;
    start_for_beats(30000);
    fd = dial_and_beat();
    assert_true(workers_destroy(fixture.workers, 10000));
    loop_group_destroy(&fixture.loops);
    packet_server_destroy(fixture.server);
    assert_int_equal(atomic_load(&fixture.opened), atomic_load(&fixture.closed));
    get_cut(fd);
    close(fd);
    assert_int_equal(open_descriptors(), before);
}

static bool has_sets, is_patient;

static void note_sets(struct packet_lane *lane)
{
    has_sets = lane->patient.requests >= 0 && lane->patient.ends >= 0;
}

static void note_patience(struct packet_lane *lane)
{
    is_patient = TAILQ_FIRST(&lane->connections)->patient;
}

static void without_descriptors_for_it_a_connection_goes_on_as_it_was(void **state)
{
    struct rlimit before, tight;
    int fd, lowest;

    (void)state;
    if (getenv("REEL_VALGRIND") != NULL)
        skip(); /* valgrind counts descriptors itself */
    start_for_beats(30000);
    fd = dial();
    put_request(fd, ASK, "", 0);
    get_success(fd, "", 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int room = 0; room < 2; room++) { /* for none of the two sets, and for one */
        tight = before;
        lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(lowest >= 0);
        tight.rlim_cur = (rlim_t)(lowest + room);
        close(lowest);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        beat(fd);
        beat(fd);
        on_loop(note_sets);
        assert_false(has_sets);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    }
    beat(fd);
    on_loop(note_sets);
    assert_true(has_sets);
    beat(fd);
    close(fd);
    finish();
}

/* By the set of requests, or by that of ends when the first one has it already. */
static void one_that_cannot_be_watched_is_cut_alone(void **state)
{
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        start_for_beats(30000);
        int patient = dial_and_beat(), other = dial(), victim = dial();
        put_request(other, ASK, "", 0);
        get_success(other, "", 0);
        put_request(victim, ASK, "", 0);
        get_success(victim, "", 0);
        atomic_store(&sockets_before_refusal, taken);
        put_request(victim, BEAT, "hello", 5);
        get_success(victim, "hello", 5);
        get_cut(victim);
        wait_until(&fixture.closed, 1);
        assert_int_equal(atomic_load(&sockets_before_refusal), -1);
        close(victim);
        beat(patient);
        put_request(other, ASK, "", 0);
        get_success(other, "", 0);
        int next = dial_and_beat();
        beat(next);
        wait_until_asleep();
        close(next);
        close(other);
        close(patient);
        wait_until(&fixture.closed, 4);
        finish();
    }
}

/* The loop takes no set: connections go on as they were, and are tried again with the next request. */
static void where_the_sets_cannot_be_watched_a_connection_goes_on_as_it_was(void **state)
{
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        start_for_beats(30000);
        int fd = dial();
        put_request(fd, ASK, "", 0);
        get_success(fd, "", 0);
        atomic_store(&sets_before_refusal, taken);
        beat(fd);
        assert_int_equal(atomic_load(&sets_before_refusal), -1);
        on_loop(note_sets);
        assert_int_equal(has_sets, taken == 1);
        on_loop(note_patience);
        assert_false(is_patient);
        beat(fd);
        on_loop(note_patience);
        assert_true(is_patient);
        beat(fd);
        close(fd);
        wait_until(&fixture.closed, 1);
        finish();
    }
}

/* Before it sleeps the loop is to watch the set again: where that is refused it goes on looking. */
static void a_set_that_cannot_be_watched_again_is_looked_at(void **state)
{
    (void)state;
    start_for_beats(30000);
    int fd = dial_and_beat();
    wait_until_asleep();
    atomic_store(&sets_before_refusal, 0);
    beat(fd);
    for (int i = 0; i < 10000 && atomic_load(&sets_before_refusal) >= 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&sets_before_refusal), -1);
    beat(fd);
    wait_until_asleep();
    close(fd);
    wait_until(&fixture.closed, 1);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered_whole_or_in_parts_or_several_at_once),
        cmocka_unit_test(after_one_the_next_ones_wait_to_be_served_together),
        cmocka_unit_test(without_requests_the_loop_sleeps),
        cmocka_unit_test(the_end_of_a_peer_is_noticed_without_a_look_at_requests),
        cmocka_unit_test(a_crowd_is_served_and_others_have_their_turn_between),
        cmocka_unit_test(one_may_end_others_that_are_ready_too),
        cmocka_unit_test(what_comes_during_a_request_waits_and_wakes_nobody),
        cmocka_unit_test(one_that_is_idle_for_too_long_is_closed),
        cmocka_unit_test(a_server_that_stops_ends_them),
        cmocka_unit_test(a_server_may_end_without_being_stopped),
        cmocka_unit_test(without_descriptors_for_it_a_connection_goes_on_as_it_was),
        cmocka_unit_test(one_that_cannot_be_watched_is_cut_alone),
        cmocka_unit_test(where_the_sets_cannot_be_watched_a_connection_goes_on_as_it_was),
        cmocka_unit_test(a_set_that_cannot_be_watched_again_is_looked_at),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
