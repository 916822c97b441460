/*
 * packet_server among peers that mean no good, on a machine that has no more to give: full tables, trickled requests,
 * replies that nobody reads, watches that the kernel refuses.
 */
#include "tests/unit/library/packet_fixture.h"
#include <sys/epoll.h>
#include <sys/syscall.h>

/* ---- a kernel that refuses to watch accepted connections ---- */

static atomic_int refusals_left, refused;

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

/* In the place of libc's, for libevent too: a program's own symbols come first. */
__attribute__((visibility("default"))) int epoll_ctl(int epoll, int operation, int fd,
                                                     struct epoll_event *event)
{
    int listens = 0;
    socklen_t size = sizeof(listens);

    if (operation != EPOLL_CTL_DEL && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
        !listens && atomic_load(&refusals_left) > 0 && atomic_fetch_sub(&refusals_left, 1) > 0) {
        atomic_fetch_add(&refused, 1);
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

static void a_refused_watch_costs_one_connection(void **state)
{
    int witness, victim;

    (void)state;
    start();
    witness = dial();
    check_in_step(witness);
    atomic_store(&refused, 0);
    atomic_store(&refusals_left, 1);
    victim = dial();
    get_cut(victim);
    assert_int_equal(atomic_load(&refused), 1);
    close(victim);
    check_in_step(witness);
    victim = dial(); /* the next one is served again */
    check_in_step(victim);
    close(victim);
    close(witness);
    finish();
}

static void a_refused_watch_for_a_blocked_reply_costs_one_connection(void **state)
{
    uint8_t size[8];
    int file, memory, witness;

    (void)state;
    start();
    make_file(FILE_SIZE);
    witness = dial();
    check_in_step(witness);
    file = dial();
    check_in_step(file);
    atomic_store(&refused, 0);
    atomic_store(&refusals_left, 1);
    put_file_request(file, 0,
                     FILE_SIZE); /* more than the sockets hold: the server would wait for the reader */
    wait_until(&fixture.files_failed, 1);
    atomic_store(&refusals_left, 0);
    memory = dial();
    check_in_step(memory);
    atomic_store(&refusals_left, 1);
    pack_u64(size, 64 * MIB);
    put_request(memory, TAKE, size, sizeof(size));
    wait_until(&fixture.closed, 2);
    assert_int_equal(atomic_load(&refused), 2);
    check_in_step(witness);
    close(file);
    close(memory);
    close(witness);
    finish();
}

/* ---- all places taken ---- */

static void start_small(size_t connections_max, size_t per_address, int64_t head_time_ms)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    options.connections_max = connections_max;
    options.connections_per_address = per_address;
    options.head_time_ms = head_time_ms;
    start_with(&options);
}

static void idle_connections_make_room(void **state)
{
    int fds[3], fresh;

    (void)state;
    start_small(3, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = dial();
        check_in_step(fds[i]);
    }
    for (int i = 0; i < 20; i++) { /* the loops share the places: the one with none to give up gets help */
        fresh = dial();
        check_in_step(fresh);
        assert_true(packet_server_connections(fixture.server) <= 4);
        close(fresh);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    finish();
}

/* With one loop, so that it is known whose turn it is. */
static void the_longest_idle_goes_and_incomplete_requests_before_it(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    int old, young, trickled, fresh[2];

    (void)state;
    options.connections_max = 3;
    options.head_time_ms = 60000;
    start_on(&options, 1);
    old = dial();
    check_in_step(old);
    young = dial();
    check_in_step(young);
    trickled = dial();
    put_bytes(trickled, "\0", 1);
    wait_until(&fixture.opened, 3);
    usleep(1500 * 1000); /* longer than a peer that means it needs for a request */
    fresh[0] = dial();
    check_in_step(fresh[0]);
    get_cut(trickled);
    wait_until(&fixture.closed, 1); /* it is counted a moment after its socket is closed */
    fresh[1] = dial();
    check_in_step(fresh[1]);
    get_cut(old);
    wait_until(&fixture.closed, 2);
    check_in_step(young);
    close(old);
    close(young);
    close(trickled);
    close(fresh[0]);
    close(fresh[1]);
    finish();
}

static void a_request_that_trickles_is_cut_at_its_time(void **state)
{
    uint8_t header[PROTO_HEADER_SIZE];
    int64_t start_ms;
    size_t sent = 0;
    int fd;

    (void)state;
    start_small(10, 0, 500);
    proto_header_pack(header, 60000, ECHO, 0);
    fd = dial();
    start_ms = clock_monotonic_ms();
    /* A byte every 20 ms: the progress time-out of 30 s never comes. */
    while (!readable_within(fd, 20)) {
        if (send(fd, sent < sizeof(header) ? (const char *)header + sent : "x", 1, MSG_NOSIGNAL) != 1)
            break;
        sent++;
        assert_true(clock_monotonic_ms() - start_ms < 20000);
    }
    get_cut(fd);
    assert_true(clock_monotonic_ms() - start_ms >= 500);
    assert_true(sent > 2);
    close(fd);
    fd = dial(); /* and the time begins anew with each request */
    for (int i = 0; i < 3; i++) {
        usleep(300 * 1000);
        put_request_in_one(fd, ECHO, "in step", 7);
        get_success(fd, "in step", 7);
    }
    close(fd);
    finish();
}

static void further_connections_of_one_address_are_closed(void **state)
{
    int fds[2], third;

    (void)state;
    start_small(10, 2, 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = dial();
        check_in_step(fds[i]);
    }
    third = dial();
    get_cut(third);
    close(third);
    check_in_step(fds[0]);
    close(fds[0]);
    wait_until(&fixture.closed, 1);
    third = dial(); /* there is room again */
    check_in_step(third);
    close(third);
    close(fds[1]);
    finish();
}

/* ---- replies that nobody reads ---- */

static void start_bounded(size_t unsent_total)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    options.unsent_total = unsent_total;
    options.unsent_max = 128 * 1024;
    options.progress_timeout_ms = 0; /* nothing but that ends a connection */
    start_on(&options, 1);
}

static void unread_replies_cost_those_that_wait_longest(void **state)
{
    uint8_t size[8];
    int fds[12], witness, last = ARRAY_SIZE(fds) - 1;

    (void)state;
    start_bounded(10 * MIB);
    witness = dial();
    check_in_step(witness);
    pack_u64(size, 4 * MIB);
    for (int i = 0; i <= last; i++) {
        fds[i] = dial_narrow();
        put_request(fds[i], TAKE, size, sizeof(size));
        assert_int_equal(get_header(fds[i]).length, 4 * MIB); /* it is answered before the next one asks */
    }
    wait_until(&fixture.closed, ARRAY_SIZE(fds) - 2); /* two replies fit */
    get_pattern(fds[last], 0, 4 * MIB);
    get_pattern(fds[last - 1], 0, 4 * MIB);
    check_in_step(fds[last]);
    check_in_step(witness);
    for (int i = 0; i <= last; i++)
        close(fds[i]);
    close(witness);
    finish();
}

static void a_shared_reply_counts_once_however_many_wait_for_it(void **state)
{
    int fds[12];

    (void)state;
    start_bounded(10 * MIB);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = dial_narrow();
        put_request(fds[i], SHARED, "", 0);
        assert_int_equal(get_header(fds[i]).length, SHARED_SIZE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        get_pattern(fds[i], 0, SHARED_SIZE);
        check_in_step(fds[i]);
        close(fds[i]);
    }
    finish();
}

/* ---- the end of a refused upload ---- */

/* How long it takes, in ms. */
static int64_t linger(int64_t drain_ms)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    int64_t start_ms, took_ms;
    int fd;

    options.drain_timeout_ms = drain_ms;
    start_with(&options);
    fd = dial();
    put_header(fd, REFUSE, 1000000);
    put_bytes(fd, "headheadx", 9);
    start_ms = clock_monotonic_ms(); /* before the refusal */
    get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
    get_end(fd); /* our side of the stream: after drain_timeout */
    wait_until(&fixture.closed, 1);
    took_ms = clock_monotonic_ms() - start_ms;
    close(fd);
    finish();
    return took_ms;
}

/* The time for its body, and a second; not that time twice. A machine that stood still for seconds says nothing: then once more. */
static void a_refused_upload_that_never_ends_lingers_for_a_second_more(void **state)
{
    int64_t took_ms = INT64_MAX;

    (void)state;
    for (int attempt = 0; attempt < 5 && took_ms > 9000; attempt++)
        took_ms = linger(5000);
    assert_in_range(took_ms, 5500, 9000);
}

/* Asks until that is too often: each second that this machine stands still gives one more request. How long to wait, in ms. */
static long ask_until_throttled(int fd, uint8_t command, int64_t size)
{
    int64_t begin_ms = clock_monotonic_ms();
    struct proto_header header;
    char body[512] = "";
    const char *wait;

    for (int more = 0;; more++) {
        put_header(fd, command, size);
        put_pattern(fd, size);
        header = get_header(fd);
        if (header.status == PROTO_STATUS_FAILURE)
            break;
        get_bytes(fd, body, (size_t)header.length);
        assert_true(more < (clock_monotonic_ms() - begin_ms) / 1000 + 2);
    }
    assert_in_range(header.length, 3, sizeof(body) - 1);
    get_bytes(fd, body, (size_t)header.length);
    assert_int_equal((int16_t)((uint8_t)body[0] << 8 | (uint8_t)body[1]), ERROR_THROTTLED);
    wait = strstr(body + 2, "try again in ");
    assert_non_null(wait);
    return strtol(wait + strlen("try again in "), NULL, 10);
}

static void who_asks_too_often_learns_how_long_to_wait(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    long wait_ms;
    int fd;

    (void)state;
    options.requests_per_second = 1;
    start_with(&options);
    fd = dial();
    for (int i = 0; i < 10; i++) { /* ten seconds' worth at once */
        put_request(fd, ECHO, "x", 1);
        get_success(fd, "x", 1);
    }
    /* What follows a refused header is discarded, and the stream stays in step. */
    wait_ms = ask_until_throttled(fd, COUNT, 100000);
    assert_in_range(wait_ms, 1, 1000);
    usleep((useconds_t)(wait_ms + 1) * 1000);
    put_request(fd, ECHO, "y", 1);
    get_success(fd, "y", 1);
    assert_in_range(ask_until_throttled(fd, ECHO, 1), 1, 1000);
    packet_server_set_rate(fixture.server, 0);
    check_in_step(fd);
    close(fd);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_watch_costs_one_connection),
        cmocka_unit_test(a_refused_watch_for_a_blocked_reply_costs_one_connection),
        cmocka_unit_test(idle_connections_make_room),
        cmocka_unit_test(the_longest_idle_goes_and_incomplete_requests_before_it),
        cmocka_unit_test(a_request_that_trickles_is_cut_at_its_time),
        cmocka_unit_test(further_connections_of_one_address_are_closed),
        cmocka_unit_test(unread_replies_cost_those_that_wait_longest),
        cmocka_unit_test(a_shared_reply_counts_once_however_many_wait_for_it),
        cmocka_unit_test(a_refused_upload_that_never_ends_lingers_for_a_second_more),
        cmocka_unit_test(who_asks_too_often_learns_how_long_to_wait),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
