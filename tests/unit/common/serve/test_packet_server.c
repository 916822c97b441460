/*
 * packet_server over real sockets: requests, refusals, streamed bodies and files.
 */
#include "tests/unit/library/packet_fixture.h"

/* ---- tests: requests ---- */

static void a_request_gets_its_reply(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_request(fd, ECHO, "hello", 5);
    get_success(fd, "hello", 5);
    put_request(fd, ECHO, "", 0);
    get_success(fd, "", 0);
    assert_int_equal(packet_server_requests(fixture.server), 2);
    close(fd);
    finish();
}

static void the_largest_whole_body_is_taken(void **state)
{
    uint8_t *body = malloc(65536);
    int fd;

    (void)state;
    assert_non_null(body);
    for (int i = 0; i < 65536; i++)
        body[i] = pattern(i);
    start();
    fd = dial();
    for (int i = 0; i < 3; i++) {
        put_request(fd, ECHO, body, 65536);
        get_success(fd, body, 65536);
    }
    close(fd);
    finish();
    free(body);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    uint8_t request[PROTO_HEADER_SIZE + 40];
    int fd;

    (void)state;
    start();
    fd = dial();
    proto_header_pack(request, 40, ECHO, 0);
    memset(request + PROTO_HEADER_SIZE, 'x', 40);
    for (size_t i = 0; i < sizeof(request); i++) {
        put_bytes(fd, request + i, 1);
        usleep(500);
    }
    get_success(fd, request + PROTO_HEADER_SIZE, 40);
    proto_header_pack(request, 40, COUNT, 0);
    for (size_t i = 0; i < 32; i++)
        request[PROTO_HEADER_SIZE + 8 + i] = pattern((int64_t)i);
    for (size_t i = 0; i < sizeof(request); i++) {
        put_bytes(fd, request + i, 1);
        usleep(500);
    }
    get_count(fd, 32);
    close(fd);
    finish();
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    enum { ROUNDS = 3000, SIZE = PROTO_HEADER_SIZE + 8 };
    uint8_t *all = calloc(ROUNDS, SIZE);
    int fd;

    (void)state;
    assert_non_null(all);
    for (int i = 0; i < ROUNDS; i++) {
        proto_header_pack(all + i * SIZE, 8, i % 100 == 7 ? LATER : ECHO, 0);
        pack_u64(all + i * SIZE + PROTO_HEADER_SIZE, (uint64_t)i);
    }
    start();
    fd = dial();
    put_bytes(fd, all, (size_t)ROUNDS * SIZE);
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t expected[8];

        pack_u64(expected, (uint64_t)i);
        get_success(fd, expected, sizeof(expected));
    }
    close(fd);
    finish();
    free(all);
}

static void requests_of_every_kind_may_come_in_one_piece(void **state)
{
    uint8_t bytes[4 * PROTO_HEADER_SIZE + 3 + 8 + 20 + 8 + 5 + 8] = {0};
    size_t used = 0;
    int fd;

    (void)state;
    start();
    make_file(1000);
    fd = dial();
    proto_header_pack(bytes, 3, LATER, 0);
    memcpy(bytes + 10, "abc", 3);
    used = 13;
    proto_header_pack(bytes + used, 28, COUNT, 0);
    for (size_t i = 0; i < 20; i++)
        bytes[used + 18 + i] = pattern((int64_t)i);
    used += 38;
    proto_header_pack(bytes + used, 13, REFUSE, 0);
    used += 23;
    proto_header_pack(bytes + used, 0, ECHO, 0);
    used += 10;
    put_bytes(fd, bytes, used);
    put_file_request(fd, 5, 990);
    put_request(fd, ECHO, "end", 3);
    get_success(fd, "abc", 3);
    get_count(fd, 20);
    get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
    get_success(fd, "", 0);
    assert_int_equal(get_header(fd).length, 990);
    get_pattern(fd, 5, 990);
    get_success(fd, "end", 3);
    close(fd);
    finish();
}

static void a_half_closed_peer_gets_all_its_replies(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_request(fd, LATER, "one", 3);
    put_request(fd, ECHO, "two", 3);
    put_request(fd, LATER, "three", 5);
    put_bytes(fd, "\0\0\0", 3); /* what never becomes a request is dropped */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    get_success(fd, "one", 3);
    get_success(fd, "two", 3);
    get_success(fd, "three", 5);
    get_end(fd);
    close(fd);
    finish();
}

static void an_aborted_request_cuts_the_connection(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_request(fd, ABORT, "", 0);
    get_cut(fd);
    close(fd);
    finish();
}

static void a_large_reply_waits_for_a_peer_that_reads_late(void **state)
{
    uint8_t size[8];
    int fd;

    (void)state;
    start();
    fd = dial();
    pack_u64(size, 32 * MIB);
    put_request(fd, TAKE, size, sizeof(size));
    put_request(fd, ECHO, "next", 4);
    usleep(50000);
    assert_int_equal(get_header(fd).length, 32 * MIB);
    get_pattern(fd, 0, 32 * MIB);
    get_success(fd, "next", 4);
    close(fd);
    finish();
}

/* ---- tests: refusals ---- */

static void an_unknown_command_is_refused_and_its_body_skipped(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_header(fd, 99, 300000);
    put_pattern(fd, 300000);
    put_header(fd, 98, 0);
    get_failure(fd, ERROR_UNKNOWN_COMMAND, "[media1] command 99 is unknown here");
    get_failure(fd, ERROR_UNKNOWN_COMMAND, "[media1] command 98 is unknown here");
    check_in_step(fd);
    close(fd);
    finish();
}

static void a_body_of_the_wrong_size_is_refused_with_the_right_one(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_header(fd, ECHO, 65537);
    put_pattern(fd, 65537);
    get_failure(fd, ERROR_MALFORMED, "[media1] body of echo is 65537 bytes; expected 0 to 65536");
    put_request(fd, SEND_FILE, "short", 5);
    get_failure(fd, ERROR_MALFORMED, "[media1] body of file is 5 bytes; expected 16");
    put_request(fd, COUNT, "short", 5);
    get_failure(fd, ERROR_MALFORMED, "[media1] body of count is 5 bytes; expected 8 to 1125899906842624");
    check_in_step(fd);
    close(fd);
    finish();
}

static void a_negative_length_is_answered_before_the_end(void **state)
{
    struct proto_header header;
    int fd;

    (void)state;
    start();
    fd = dial();
    put_header(fd, ECHO, -1);
    put_pattern(fd, 4 * MIB); /* unread, it would make a reset that eats the reply */
    header = get_header(fd);
    assert_int_equal(header.status, PROTO_STATUS_FAILURE);
    assert_in_range(header.length, 3, PROTO_ERROR_BODY_MAX);
    while (header.length-- > 0) {
        uint8_t byte;

        get_bytes(fd, &byte, 1);
    }
    get_end(fd);
    close(fd);
    finish();
}

static void a_hopelessly_long_body_is_answered_before_the_end(void **state)
{
    int fd;

    (void)state;
    start();
    fd = dial();
    put_header(fd, 99, INT64_MAX);
    put_pattern(fd, 4 * MIB);
    get_failure(fd, ERROR_UNKNOWN_COMMAND, "[media1] command 99 is unknown here");
    get_end(fd);
    close(fd);
    fd = dial();
    put_header(fd, REFUSE, (1LL << 41) + 8);
    put_pattern(fd, 4 * MIB);
    get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
    get_end(fd);
    close(fd);
    finish();
}

static void a_refused_upload_is_read_to_its_end_and_the_connection_goes_on(void **state)
{
    static const uint8_t kinds[] = {REFUSE, REFUSE_MID, CHANGE};
    int fd;

    (void)state;
    start();
    fd = dial();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        put_header(fd, kinds[i], 8 + 64 * MIB);
        put_bytes(fd, "headhead", 8);
        if (kinds[i] == CHANGE) /* refused before its first piece is complete */
            get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
        put_pattern(fd, 64 * MIB); /* as legacy clients do: all of it, then the reply */
        if (kinds[i] != CHANGE)
            get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
        check_in_step(fd);
    }
    assert_int_equal(atomic_load(&fixture.changed_reads), 0); /* given up, so it does not end */
    put_header(fd, IGNORE, 8 + MIB);
    put_pattern(fd, 8 + MIB);
    get_success(fd, "fine", 4);
    check_in_step(fd);
    close(fd);
    finish();
}

static void a_refused_upload_is_not_waited_for_without_end(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    int fd;

    (void)state;
    options.drain_timeout_ms = 2000;
    start_with(&options);
    fd = dial();
    put_header(fd, REFUSE, 8 + 1024LL * MIB);
    put_pattern(fd, MIB);
    get_failure(fd, ERROR_NO_SPACE, "[media1] the disk is full");
    get_end(fd); /* and no byte of the rest was sent */
    close(fd);
    finish();
}

static void rubbish_costs_no_other_connection_anything(void **state)
{
    uint64_t random = 88172645463325252u;
    uint8_t bytes[4096];
    int good;

    (void)state;
    start();
    good = dial();
    for (int round = 0; round < 300; round++) {
        int bad = dial();
        size_t size = (size_t)round * 13 % sizeof(bytes) + 1;

        for (size_t i = 0; i < size; i++) {
            random ^= random << 13; /* xorshift: the same bytes in every run */
            random ^= random >> 7;
            random ^= random << 17;
            bytes[i] = (uint8_t)random;
        }
        if (round % 3 == 0) /* a header that is in step, of some command */
            proto_header_pack(bytes, (int64_t)(random % 3000), (uint8_t)(round % 13), 0);
        (void)send(bad, bytes, size, MSG_NOSIGNAL);
        check_in_step(good);
        close(bad);
    }
    atomic_store(&fixture.release, true);
    check_in_step(good);
    close(good);
    wait_until(&fixture.closed, 301);
    finish();
}

/* ---- tests: streamed bodies ---- */

static long resident_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0, resident = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &size, &resident), 2);
    fclose(file);
    return resident;
}

static void a_streamed_body_is_handed_over_whole_in_bounded_memory(void **state)
{
    static const int64_t sizes[] = {0, 1, 6, 7, 8, 4095, 8174, 8175, 65536, PIECE, PIECE + 1, 64 * MIB};
    long before;
    int fd;

    (void)state;
    start();
    fd = dial();
    check_in_step(fd);
    before = resident_pages();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        put_header(fd, COUNT, 8 + sizes[i]);
        put_bytes(fd, "headhead", 8);
        put_pattern(fd, sizes[i]);
        get_count(fd, sizes[i]);
    }
    assert_true((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 16 * MIB);
    put_header(fd, SMALL, 8 + 20000);
    put_bytes(fd, "headhead", 8);
    put_pattern(fd, 20000);
    get_count(fd, 20000);
    check_in_step(fd);
    close(fd);
    finish();
}

static void a_handler_that_does_not_read_holds_the_peer_back(void **state)
{
    struct pollfd poll_fd = {.events = POLLOUT};
    uint8_t *block = malloc(PIECE);
    int64_t size = 256LL * MIB, sent = 0;
    int fd;

    (void)state;
    assert_non_null(block);
    start();
    fd = dial();
    poll_fd.fd = fd;
    put_header(fd, HOLD, 8 + size);
    put_bytes(fd, "headhead", 8);
    while (sent < size && poll(&poll_fd, 1, 300) == 1) {
        ssize_t part;

        for (size_t i = 0; i < PIECE; i++)
            block[i] = pattern(sent + (int64_t)i);
        part = send(fd, block, (size_t)min_i64(PIECE, size - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part > 0)
            sent += part;
    }
    assert_true(sent < size / 2); /* what the sockets hold, and no more */
    atomic_store(&fixture.release, true);
    while (sent < size) {
        size_t part = (size_t)min_i64(PIECE, size - sent);

        for (size_t i = 0; i < part; i++)
            block[i] = pattern(sent + (int64_t)i);
        put_bytes(fd, block, part);
        sent += (int64_t)part;
    }
    get_count(fd, size);
    close(fd);
    finish();
    free(block);
}

static void a_handler_learns_that_the_peer_has_gone_inside_a_body(void **state)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int fd;

    (void)state;
    start();
    fd = dial();
    put_header(fd, COUNT, 8 + MIB);
    put_pattern(fd, 8 + MIB / 2);
    close(fd);
    wait_until(&fixture.failed_reads, 1);
    fd = dial();
    put_header(fd, COUNT, 8 + MIB);
    put_pattern(fd, 8 + MIB / 2);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
    wait_until(&fixture.failed_reads, 2);
    wait_until(&fixture.closed, 2);
    finish();
}

/* ---- tests: files ---- */

static void files_of_every_size_arrive_byte_for_byte(void **state)
{
    int fd;

    (void)state;
    start();
    make_file(FILE_SIZE);
    fd = dial();
    put_file_request(fd, 0, 0);
    get_success(fd, "", 0);
    put_file_request(fd, FILE_SIZE, 0);
    get_success(fd, "", 0);
    put_file_request(fd, 12345, 1);
    assert_int_equal(get_header(fd).length, 1);
    get_pattern(fd, 12345, 1);
    put_file_request(fd, 0, FILE_SIZE);
    put_request(fd, ECHO, "next", 4);
    assert_int_equal(get_header(fd).length, FILE_SIZE);
    get_pattern(fd, 0, FILE_SIZE);
    get_success(fd, "next", 4);
    wait_until(&fixture.files_sent, 4);
    close(fd);
    finish();
}

static void small_files_arrive_whole_at_a_peer_that_reads_late(void **state)
{
    enum { FILES = 1000, LENGTH = 32 * 1024 };
    int fd;

    (void)state;
    start();
    make_file(FILE_SIZE);
    fd = dial();
    for (int i = 0; i < FILES; i++)
        put_file_request(fd, i * 1001, LENGTH - i % 3 + 1);
    put_request(fd, ECHO, "next", 4);
    usleep(50000);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(get_header(fd).length, LENGTH - i % 3 + 1);
        get_pattern(fd, i * 1001, LENGTH - i % 3 + 1);
    }
    get_success(fd, "next", 4);
    wait_until(&fixture.files_sent, FILES);
    close(fd);
    finish();
}

enum { LATE_LENGTH = 30000 };

/* How many files a connection's buffers hold of a peer that does not read. */
static int files_that_fit(void)
{
    int fd = dial_narrow(), count = 0;

    for (bool more = true; more; count++) {
        put_file_request(fd, count, LATE_LENGTH);
        for (int look = 0; look < 300 && atomic_load(&fixture.files_sent) <= count; look++)
            usleep(1000);
        more = atomic_load(&fixture.files_sent) > count;
    }
    close(fd);
    return count;
}

/* The end of the requests is right behind as many bytes as the server reads at once, so that it is seen
 * before the replies have left. */
static void a_half_closed_peer_that_reads_late_gets_all_its_files(void **state)
{
    enum { FILES = 314, ECHOED = 18, REQUEST = PROTO_HEADER_SIZE + 16 };
    uint8_t bytes[FILES * REQUEST + PROTO_HEADER_SIZE + ECHOED] = {0};
    int64_t fit;

    (void)state;
    start();
    make_file(FILE_SIZE);
    fit = files_that_fit() * (int64_t)LATE_LENGTH;
    /* Somewhere here the last of the replies do not fit into what the socket takes. */
    for (int step = -5; step <= 5; step++) {
        int64_t length = min_i64(max_i64(fit + step * LATE_LENGTH, FILES) / FILES, 32 * 1024);
        int fd = dial_narrow();

        for (int i = 0; i < FILES; i++) {
            proto_header_pack(bytes + i * REQUEST, 16, SEND_FILE, 0);
            pack_u64(bytes + i * REQUEST + PROTO_HEADER_SIZE, (uint64_t)i);
            pack_u64(bytes + i * REQUEST + PROTO_HEADER_SIZE + 8, (uint64_t)length);
        }
        proto_header_pack(bytes + FILES * REQUEST, ECHOED, ECHO, 0);
        put_bytes(fd, bytes, sizeof(bytes));
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        usleep(10000);
        for (int i = 0; i < FILES; i++) {
            assert_int_equal(get_header(fd).length, length);
            get_pattern(fd, i, length);
        }
        get_success(fd, bytes + sizeof(bytes) - ECHOED, ECHOED);
        get_end(fd);
        close(fd);
    }
    finish();
}

static void a_peer_that_never_reads_its_small_files_is_cut(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    enum { FILES = 1000, REQUEST = PROTO_HEADER_SIZE + 16 };
    uint8_t bytes[FILES * REQUEST] = {0};
    int fd;

    (void)state;
    options.progress_timeout_ms = 300;
    start_with(&options);
    make_file(FILE_SIZE);
    fd = dial_narrow();
    for (int i = 0; i < FILES; i++) {
        proto_header_pack(bytes + i * REQUEST, 16, SEND_FILE, 0);
        pack_u64(bytes + i * REQUEST + PROTO_HEADER_SIZE, (uint64_t)i * 1001);
        pack_u64(bytes + i * REQUEST + PROTO_HEADER_SIZE + 8, 30000);
    }
    put_bytes(fd, bytes, sizeof(bytes)); /* at once: it may be cut before the last one has been taken */
    wait_until(&fixture.closed, 1);
    close(fd);
    finish();
}

static void a_file_shorter_than_announced_cuts_the_connection(void **state)
{
    int fd;

    (void)state;
    start();
    make_file(1000);
    fd = dial();
    put_file_request(fd, 0, 1001);
    assert_int_equal(get_header(fd).length, 1001);
    get_pattern(fd, 0, 1000);
    get_cut(fd);
    wait_until(&fixture.files_failed, 1);
    close(fd);
    finish();
}

/* Twice the limit. False: the machine itself held the reader up for so long that it missed the limit. */
static bool read_slowly(int fd)
{
    put_file_request(fd, 0, 32 * MIB);
    assert_int_equal(get_header(fd).length, 32 * MIB);
    for (int i = 0; i < 40; i++) {
        int64_t begin_ms = clock_monotonic_ms();

        usleep(100000);
        if (clock_monotonic_ms() - begin_ms > 600)
            return false;
        get_pattern(fd, i * (int64_t)PIECE, PIECE);
    }
    get_pattern(fd, 40 * (int64_t)PIECE, 32 * MIB - 40 * (int64_t)PIECE);
    return true;
}

static void a_slow_reader_is_not_cut_while_it_reads(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    bool read = false;

    (void)state;
    options.progress_timeout_ms = 2000;
    start_with(&options);
    make_file(32 * MIB);
    for (int attempt = 0; attempt < 20 && !read; attempt++) {
        int fd = dial();

        read = read_slowly(fd);
        close(fd);
    }
    assert_true(read);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gets_its_reply),
        cmocka_unit_test(the_largest_whole_body_is_taken),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(requests_of_every_kind_may_come_in_one_piece),
        cmocka_unit_test(a_half_closed_peer_gets_all_its_replies),
        cmocka_unit_test(an_aborted_request_cuts_the_connection),
        cmocka_unit_test(a_large_reply_waits_for_a_peer_that_reads_late),
        cmocka_unit_test(an_unknown_command_is_refused_and_its_body_skipped),
        cmocka_unit_test(a_body_of_the_wrong_size_is_refused_with_the_right_one),
        cmocka_unit_test(a_negative_length_is_answered_before_the_end),
        cmocka_unit_test(a_hopelessly_long_body_is_answered_before_the_end),
        cmocka_unit_test(a_refused_upload_is_read_to_its_end_and_the_connection_goes_on),
        cmocka_unit_test(a_refused_upload_is_not_waited_for_without_end),
        cmocka_unit_test(rubbish_costs_no_other_connection_anything),
        cmocka_unit_test(a_streamed_body_is_handed_over_whole_in_bounded_memory),
        cmocka_unit_test(a_handler_that_does_not_read_holds_the_peer_back),
        cmocka_unit_test(a_handler_learns_that_the_peer_has_gone_inside_a_body),
        cmocka_unit_test(files_of_every_size_arrive_byte_for_byte),
        cmocka_unit_test(small_files_arrive_whole_at_a_peer_that_reads_late),
        cmocka_unit_test(a_half_closed_peer_that_reads_late_gets_all_its_files),
        cmocka_unit_test(a_peer_that_never_reads_its_small_files_is_cut),
        cmocka_unit_test(a_file_shorter_than_announced_cuts_the_connection),
        cmocka_unit_test(a_slow_reader_is_not_cut_while_it_reads),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
