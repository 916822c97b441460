/*
 * packet_server over real sockets: time-outs, limits, addresses and the end of a server.
 */
#include "tests/unit/library/packet_fixture.h"
#include "tests/unit/library/free_port.h"
#include <fcntl.h>
#include <sys/resource.h>

/* ---- tests: time-outs ---- */

static void start_impatient(int64_t idle_ms, int64_t progress_ms)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    options.idle_timeout_ms = idle_ms;
    options.progress_timeout_ms = progress_ms;
    start_with(&options);
}

static void an_idle_connection_is_closed(void **state)
{
    int fresh, used;

    (void)state;
    start_impatient(2000, 30000);
    fresh = dial();
    used = dial();
    check_in_step(used);
    get_end(fresh);
    get_end(used);
    close(fresh);
    close(used);
    finish();
}

static void new_timeouts_hold_from_the_next_wait_on(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    check_in_step(fd);
    packet_server_set_timeouts(fixture.server, 50, 30000);
    check_in_step(fd);
    get_end(fd);
    close(fd);
    finish();
}

static void a_stalled_request_is_cut(void **state)
{
    uint8_t header[PROTO_HEADER_SIZE + 9] = {0};
    int in_header, in_body, in_stream;

    (void)state;
    start_impatient(30000, 100);
    in_header = dial();
    in_body = dial();
    in_stream = dial();
    proto_header_pack(header, 100, ECHO, 0);
    put_bytes(in_header, header, 5);
    put_bytes(in_body, header,
              PROTO_HEADER_SIZE + 1); /* each in one piece: it may be cut before a second one */
    proto_header_pack(header, 100, COUNT, 0);
    put_bytes(in_stream, header, sizeof(header));
    get_cut(in_header);
    get_cut(in_body);
    get_cut(in_stream);
    wait_until(&fixture.failed_reads, 1);
    close(in_header);
    close(in_body);
    close(in_stream);
    finish();
}

static void a_peer_that_does_not_read_its_reply_is_cut(void **state)
{
    uint8_t size[8];
    int file, memory;

    (void)state;
    start_impatient(30000, 200);
    make_file(FILE_SIZE);
    file = dial();
    memory = dial();
    put_file_request(file, 0, FILE_SIZE);
    pack_u64(size, 64 * MIB);
    put_request_in_one(memory, TAKE, size, sizeof(size));
    wait_until(&fixture.files_failed, 1);
    wait_until(&fixture.closed, 2);
    close(file);
    close(memory);
    finish();
}

/* ---- tests: the server ---- */

static void connections_above_the_limit_wait_for_a_place(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    int fds[6];

    (void)state;
    options.connections_max = 3;
    start_with(&options);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = dial();
        if (i < 3) /* with a request under way: nothing to make room with */
            put_request(fds[i], HOLD, "headhead", 8);
        else
            put_request(fds[i], ECHO, "hello", 5);
        if (i == 2)
            wait_until(&fixture.held, 3);
    }
    for (size_t i = 3; i < ARRAY_SIZE(fds); i++)
        assert_false(readable_within(fds[i], 50));
    assert_int_equal(packet_server_connections(fixture.server), 3);
    atomic_store(&fixture.release, true);
    for (size_t i = 0; i < 3; i++) {
        get_count(fds[i], 0);
        close(fds[i]);
    }
    for (size_t i = 3; i < ARRAY_SIZE(fds); i++) {
        get_success(fds[i], "hello", 5);
        close(fds[i]);
    }
    finish();
}

static void connections_wait_while_descriptors_are_used_up(void **state)
{
    struct rlimit before, tight;
    int fd, lowest;

    (void)state;
    if (getenv("REEL_VALGRIND") != NULL)
        skip(); /* valgrind counts descriptors itself: it takes a connection from the kernel and drops it */
    start();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    fd = dial();
    check_in_step(fd);
    close(fd);
    wait_until(&fixture.closed, 1);
    lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(lowest >= 0);
    tight.rlim_cur = (rlim_t)lowest + 1;
    close(lowest);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    fd = dial(); /* takes the last descriptor; the server's accept finds none */
    put_request(fd, ECHO, "hello", 5);
    assert_false(readable_within(fd, 300));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    get_success(fd, "hello", 5);
    close(fd);
    finish();
}

static void a_taken_port_is_named(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    struct packet_server *second;
    struct error error;
    char text[128];
    int fd;

    (void)state;
    start();
    address.port = packet_server_port(fixture.server);
    second = packet_server_create(&options, &fixture.loops, &error);
    assert_null(second);
    snprintf(text, sizeof(text), "address 127.0.0.1:%u is in use by another process", address.port);
    assert_string_equal(error.text, text);
    fd = dial(); /* the first one has not noticed anything */
    check_in_step(fd);
    close(fd);
    finish();
}

static void every_address_of_the_machine_is_served(void **state)
{
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct address addresses[2];
    struct packet_server_options options = default_options(&addresses[0]);
    struct error error;
    int fd;

    (void)state;
    assert_true(address_parse("*:0", 1, &addresses[0], &error));
    assert_true(address_parse("localhost:0", 1, &addresses[1], &error));
    options.listen.count = 2;
    start_with(&options);
    fd = dial();
    check_in_step(fd);
    close(fd);
    if (has_ipv6()) {
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ipv6.sin6_port = htons(packet_server_port(fixture.server));
        assert_int_equal(connect(fd, (struct sockaddr *)&ipv6, sizeof(ipv6)), 0);
        check_in_step(fd);
        close(fd);
    }
    finish();
}

static void both_loops_take_connections(void **state)
{
    enum { COUNT_OF_CLIENTS = 200 };
    int fds[COUNT_OF_CLIENTS];

    (void)state;
    start();
    for (int i = 0; i < COUNT_OF_CLIENTS; i++)
        fds[i] = dial();
    for (int i = 0; i < COUNT_OF_CLIENTS; i++)
        put_request(fds[i], LATER, &i, sizeof(i));
    for (int i = 0; i < COUNT_OF_CLIENTS; i++)
        get_success(fds[i], &i, sizeof(i));
    assert_int_equal(packet_server_connections(fixture.server), COUNT_OF_CLIENTS);
    for (int i = 0; i < COUNT_OF_CLIENTS; i++)
        close(fds[i]);
    wait_until(&fixture.closed, COUNT_OF_CLIENTS);
    finish();
}

static void stopping_ends_idle_connections_and_finishes_requests(void **state)
{
    int idle, busy, streaming;

    (void)state;
    start();
    make_file(FILE_SIZE);
    idle = dial();
    check_in_step(idle);
    busy = dial();
    put_header(busy, HOLD, 8 + MIB);
    put_bytes(busy, "headhead", 8);
    streaming = dial();
    put_file_request(streaming, 0, FILE_SIZE);
    assert_int_equal(get_header(streaming).length, FILE_SIZE);
    wait_until(&fixture.held, 1);
    packet_server_stop(fixture.server, 20000, on_stopped, &fixture);
    get_end(idle);
    assert_int_equal(atomic_load(&fixture.stopped), 0);
    get_pattern(streaming, 0, FILE_SIZE);
    get_end(streaming);
    atomic_store(&fixture.release, true);
    put_pattern(busy, MIB);
    get_count(busy, MIB);
    get_end(busy);
    close(idle);
    close(busy);
    close(streaming);
    finish();
}

static void stopping_cuts_what_does_not_finish_in_time(void **state)
{
    int busy, stalled, streaming;

    (void)state;
    start();
    make_file(FILE_SIZE);
    busy = dial();
    put_header(busy, HOLD, 8);
    put_bytes(busy, "headhead", 8);
    stalled = dial();
    put_header(stalled, COUNT, 100);
    put_bytes(stalled, "headheadx", 9);
    streaming = dial();
    put_file_request(streaming, 0, FILE_SIZE);
    assert_int_equal(get_header(streaming).length, FILE_SIZE);
    wait_until(&fixture.held, 1);
    packet_server_stop(fixture.server, 100, on_stopped, &fixture);
    get_cut(busy);
    get_cut(stalled);
    wait_until(&fixture.files_failed, 1);
    wait_until(&fixture.failed_reads, 1);
    assert_int_equal(atomic_load(&fixture.stopped), 0); /* the handler still holds a request */
    finish();
    close(busy);
    close(stalled);
    close(streaming);
}

static void a_server_may_end_without_being_stopped(void **state)
{
    int idle, in_header, sending;

    (void)state;
    start();
    make_file(FILE_SIZE);
    idle = dial();
    check_in_step(idle);
    in_header = dial();
    put_bytes(in_header, "\0\0\0", 3);
    sending = dial();
    put_file_request(sending, 0, FILE_SIZE);
    assert_int_equal(get_header(sending).length, FILE_SIZE);
    assert_true(workers_destroy(fixture.workers, 10000));
    loop_group_destroy(&fixture.loops);
    packet_server_destroy(fixture.server);
    assert_int_equal(atomic_load(&fixture.opened), atomic_load(&fixture.closed));
    assert_int_equal(atomic_load(&fixture.files_failed), 1);
    get_cut(idle);
    close(idle);
    close(in_header);
    close(sending);
    close(fixture.file);
    unlink(fixture.path);
}

static void a_server_may_end_before_its_loops_ran(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    struct loop_group loops;
    struct packet_server *server;
    struct error error;

    (void)state;
    assert_true(loop_group_create(&loops, "test", 2, &error));
    server = packet_server_create(&options, &loops, &error);
    assert_non_null(server);
    packet_server_destroy(server);
    loop_group_destroy(&loops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_is_closed),
        cmocka_unit_test(new_timeouts_hold_from_the_next_wait_on),
        cmocka_unit_test(a_stalled_request_is_cut),
        cmocka_unit_test(a_peer_that_does_not_read_its_reply_is_cut),
        cmocka_unit_test(connections_above_the_limit_wait_for_a_place),
        cmocka_unit_test(connections_wait_while_descriptors_are_used_up),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(every_address_of_the_machine_is_served),
        cmocka_unit_test(both_loops_take_connections),
        cmocka_unit_test(stopping_ends_idle_connections_and_finishes_requests),
        cmocka_unit_test(stopping_cuts_what_does_not_finish_in_time),
        cmocka_unit_test(a_server_may_end_without_being_stopped),
        cmocka_unit_test(a_server_may_end_before_its_loops_ran),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
