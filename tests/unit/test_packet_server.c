/*
 * packet_server over real sockets: a server with two loops and a table of small commands in this process, and
 * blocking clients that send what peers send.
 */
#include "common/packet_server.h"
#include "common/clock.h"
#include "common/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define MIB        (1024 * 1024)
#define PIECE      (256 * 1024)
#define STREAM_MAX (1LL << 50)
#define FILE_SIZE  (100LL * MIB)

enum {
    ECHO = 1,       /* the whole body comes back */
    COUNT = 2,      /* streamed: the number of content bytes and their sum come back */
    REFUSE = 3,     /* streamed: refused at once */
    REFUSE_MID = 4, /* streamed: refused after a piece */
    SEND_FILE = 5,  /* offset 8, length 8: that range of the test's file */
    LATER = 6,      /* like ECHO, after a worker had it */
    ABORT = 7,
    HOLD = 8,    /* streamed: nothing is read or answered before the test says so; then like COUNT */
    TAKE = 9,    /* size 8: so many bytes of the pattern from memory */
    IGNORE = 10, /* streamed: success, nothing read */
    CHANGE = 11, /* streamed: refused while a read is under way */
    SMALL = 12,  /* streamed: like COUNT, in pieces of 7 bytes */
};

/* Everything that a test and the handlers share. */
struct fixture {
    struct loop_group loops;
    struct workers *workers;
    struct packet_server *server;
    char path[64];
    int file;
    atomic_int opened, closed, stopped, failed_reads, files_sent, files_failed, held, changed_reads;
    atomic_bool release;
};

static struct fixture fixture;

static uint8_t pattern(int64_t offset)
{
    return (uint8_t)((uint64_t)offset * 2654435761u >> 13);
}

/* ---- the server's side ---- */

struct upload {
    struct packet_request *request;
    size_t piece;
    int64_t bytes;
    uint64_t sum;
    struct job job;
    struct task task;
    struct event *timer;
    uint8_t buffer[PIECE];
};

static void pack_u64(uint8_t *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

static uint64_t unpack_u64(const uint8_t *from)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

static void handle_echo(struct packet_request *request)
{
    packet_reply(request, request->head, request->head_size);
}

static struct upload *new_upload(struct packet_request *request, size_t piece)
{
    struct upload *upload = calloc(1, sizeof(*upload));

    ASSERT(upload);
    upload->request = request;
    upload->piece = piece;
    request->user = upload;
    return upload;
}

static void count_more(struct packet_request *request, int64_t bytes);

static void count_next(struct upload *upload)
{
    uint8_t reply[16];

    if (upload->request->body_left > 0) {
        packet_request_read(upload->request, upload->buffer, upload->piece, count_more);
        return;
    }
    pack_u64(reply, (uint64_t)upload->bytes);
    pack_u64(reply + 8, upload->sum);
    packet_reply(upload->request, reply, sizeof(reply));
    free(upload);
}

static void count_more(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;

    if (bytes < 0) {
        atomic_fetch_add(&fixture.failed_reads, 1);
        packet_reply_abort(request);
        free(upload);
        return;
    }
    for (int64_t i = 0; i < bytes; i++)
        upload->sum += upload->buffer[i] * (uint64_t)((upload->bytes + i) % 251 + 1);
    upload->bytes += bytes;
    count_next(upload);
}

static void handle_count(struct packet_request *request)
{
    count_next(new_upload(request, PIECE));
}

static void handle_small(struct packet_request *request)
{
    count_next(new_upload(request, 7));
}

static void handle_refuse(struct packet_request *request)
{
    packet_reply_error(request, ERROR_NO_SPACE, "%s is full", "the disk");
}

static void refuse_mid(struct packet_request *request, int64_t bytes)
{
    free(request->user);
    if (bytes < 0)
        packet_reply_abort(request);
    else
        handle_refuse(request);
}

static void handle_refuse_mid(struct packet_request *request)
{
    packet_request_read(request, new_upload(request, PIECE)->buffer, PIECE, refuse_mid);
}

static void file_done(void *argument, bool ok)
{
    struct fixture *shared = argument;

    atomic_fetch_add(ok ? &shared->files_sent : &shared->files_failed, 1);
}

static void handle_file(struct packet_request *request)
{
    if ((unpack_u64(request->head) | unpack_u64(request->head + 8)) > INT64_MAX) {
        packet_reply_error(request, ERROR_RANGE, "not in the file");
        return;
    }
    packet_reply_file(request, fixture.file, (int64_t)unpack_u64(request->head),
                      (int64_t)unpack_u64(request->head + 8), fixture.workers, file_done, &fixture);
}

static void later_run(struct job *job)
{
    (void)job;
    usleep(1000);
}

static void later_done(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);

    handle_echo(upload->request);
    free(upload);
}

static void handle_later(struct packet_request *request)
{
    struct upload *upload = new_upload(request, 0);

    upload->job.run = later_run;
    upload->job.done = later_done;
    upload->job.loop = request->loop;
    ASSERT(workers_submit(fixture.workers, &upload->job));
}

static void hold_look(evutil_socket_t fd, short events, void *argument)
{
    static const struct timeval pause = {.tv_usec = 5000};
    struct upload *upload = argument;

    (void)fd;
    (void)events;
    if (!atomic_load(&fixture.release)) {
        ASSERT(event_add(upload->timer, &pause) == 0);
        return;
    }
    event_free(upload->timer);
    atomic_fetch_sub(&fixture.held, 1);
    count_next(upload);
}

static void handle_hold(struct packet_request *request)
{
    struct upload *upload = new_upload(request, PIECE);

    atomic_fetch_add(&fixture.held, 1);
    upload->timer = event_new(loop_base(request->loop), -1, 0, hold_look, upload);
    ASSERT(upload->timer);
    hold_look(-1, 0, upload);
}

static void handle_take(struct packet_request *request)
{
    size_t size = min_size((size_t)unpack_u64(request->head), 64 * MIB);
    uint8_t *body = malloc(size);

    ASSERT(body);
    for (size_t i = 0; i < size; i++)
        body[i] = pattern((int64_t)i);
    packet_reply_take(request, body, size);
}

static void handle_ignore(struct packet_request *request)
{
    packet_reply(request, "fine", 4);
}

static void change_read(struct packet_request *request, int64_t bytes)
{
    (void)request;
    (void)bytes;
    atomic_fetch_add(&fixture.changed_reads, 1);
}

static void change_mind(struct task *task)
{
    struct upload *upload = CONTAINER_OF(task, struct upload, task);

    handle_refuse(upload->request);
    free(upload);
}

static void handle_change(struct packet_request *request)
{
    struct upload *upload = new_upload(request, PIECE);

    upload->task.run = change_mind;
    packet_request_read(request, upload->buffer, PIECE, change_read);
    loop_post(request->loop, &upload->task);
}

static const struct packet_command commands[] = {
    {ECHO, "echo", 0, 65536, 0, handle_echo},
    {COUNT, "count", 8, STREAM_MAX, 8, handle_count},
    {REFUSE, "refuse", 8, STREAM_MAX, 8, handle_refuse},
    {REFUSE_MID, "refuse-mid", 8, STREAM_MAX, 8, handle_refuse_mid},
    {SEND_FILE, "file", 16, 16, 0, handle_file},
    {LATER, "later", 0, 65536, 0, handle_later},
    {ABORT, "abort", 0, 0, 0, packet_reply_abort},
    {HOLD, "hold", 8, STREAM_MAX, 8, handle_hold},
    {TAKE, "take", 8, 8, 0, handle_take},
    {IGNORE, "ignore", 8, STREAM_MAX, 8, handle_ignore},
    {CHANGE, "change", 8, STREAM_MAX, 8, handle_change},
    {SMALL, "small", 8, STREAM_MAX, 8, handle_small},
};

static void on_opened(struct packet_connection *connection)
{
    packet_connection_set_user(connection, packet_server_argument(packet_connection_server(connection)));
    atomic_fetch_add(&fixture.opened, 1);
}

static void on_closed(struct packet_connection *connection)
{
    struct fixture *shared = packet_connection_user(connection);

    atomic_fetch_add(&shared->closed, 1);
}

static void on_stopped(void *argument)
{
    struct fixture *shared = argument;

    atomic_fetch_add(&shared->stopped, 1);
}

static struct packet_server_options default_options(struct address *address)
{
    struct error error;

    assert_true(address_parse("127.0.0.1:0", 1, address, &error));
    return (struct packet_server_options){
        .listen = {.items = address, .count = 1},
        .host_name = "media1",
        .reply_command = PROTO_REPLY_STORAGE,
        .commands = commands,
        .command_count = ARRAY_SIZE(commands),
        .connections_max = 1000,
        .idle_timeout_ms = 30000,
        .progress_timeout_ms = 30000,
        .drain_timeout_ms = 30000,
        .argument = &fixture,
        .opened = on_opened,
        .closed = on_closed,
    };
}

static void start_with(const struct packet_server_options *options)
{
    struct error error;

    memset(&fixture, 0, sizeof(fixture));
    fixture.file = -1;
    assert_true(loop_group_create(&fixture.loops, "test", 2, &error));
    fixture.workers = workers_create("test", 2, 1000, &error);
    assert_non_null(fixture.workers);
    fixture.server = packet_server_create(options, &fixture.loops, &error);
    if (!fixture.server)
        fail_msg("%s", error.text);
    assert_true(loop_group_start(&fixture.loops, &error));
}

static void start(void)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    start_with(&options);
}

static void wait_until(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > 20000)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static void finish(void)
{
    atomic_store(&fixture.release, true);
    packet_server_stop(fixture.server, 5000, on_stopped, &fixture);
    wait_until(&fixture.stopped, 1);
    assert_int_equal(packet_server_connections(fixture.server), 0);
    assert_int_equal(atomic_load(&fixture.opened), atomic_load(&fixture.closed));
    assert_true(workers_destroy(fixture.workers, 10000));
    loop_group_destroy(&fixture.loops);
    packet_server_destroy(fixture.server);
    if (fixture.file >= 0) {
        close(fixture.file);
        unlink(fixture.path);
    }
}

static void make_file(int64_t size)
{
    uint8_t *block = malloc(MIB);

    assert_non_null(block);
    snprintf(fixture.path, sizeof(fixture.path), "/tmp/test_packet_server.XXXXXX");
    fixture.file = mkstemp(fixture.path);
    assert_true(fixture.file >= 0);
    for (int64_t offset = 0; offset < size; offset += MIB) {
        size_t part = (size_t)min_i64(MIB, size - offset);

        for (size_t i = 0; i < part; i++)
            block[i] = pattern(offset + (int64_t)i);
        assert_int_equal(pwrite(fixture.file, block, part, offset), part);
    }
    free(block);
}

/* ---- the client's side ---- */

static int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(packet_server_port(fixture.server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timeval patience = {.tv_sec = 30};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void put(int fd, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);

        if (sent <= 0)
            fail_msg("send: %s", strerror(errno));
        from += sent;
        size -= (size_t)sent;
    }
}

static void put_header(int fd, uint8_t command, int64_t length)
{
    uint8_t header[PROTO_HEADER_SIZE];

    proto_header_pack(header, length, command, 0x5A); /* the status of a request is ignored */
    put(fd, header, sizeof(header));
}

static void put_request(int fd, uint8_t command, const void *body, size_t size)
{
    put_header(fd, command, (int64_t)size);
    put(fd, body, size);
}

static void put_pattern(int fd, int64_t size)
{
    uint8_t *block = malloc(PIECE);

    assert_non_null(block);
    for (int64_t offset = 0; offset < size; offset += PIECE) {
        size_t part = (size_t)min_i64(PIECE, size - offset);

        for (size_t i = 0; i < part; i++)
            block[i] = pattern(offset + (int64_t)i);
        put(fd, block, part);
    }
    free(block);
}

static uint64_t pattern_sum(int64_t size)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < size; i++)
        sum += pattern(i) * (uint64_t)(i % 251 + 1);
    return sum;
}

static void get(int fd, void *bytes, size_t size)
{
    uint8_t *to = bytes;

    while (size > 0) {
        ssize_t got = recv(fd, to, size, 0);

        if (got <= 0)
            fail_msg("recv: %s", got == 0 ? "end of stream" : strerror(errno));
        to += got;
        size -= (size_t)got;
    }
}

static struct proto_header get_header(int fd)
{
    uint8_t bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct error error;

    get(fd, bytes, sizeof(bytes));
    assert_true(proto_header_unpack(bytes, &header, &error));
    assert_int_equal(header.command, PROTO_REPLY_STORAGE);
    return header;
}

static void get_success(int fd, const void *body, size_t size)
{
    struct proto_header header = get_header(fd);
    uint8_t *got = malloc(size + 1);

    assert_non_null(got);
    assert_int_equal(header.status, PROTO_STATUS_OK);
    assert_int_equal(header.length, size);
    get(fd, got, size);
    assert_memory_equal(got, body, size);
    free(got);
}

static void get_failure(int fd, int code, const char *text)
{
    struct proto_header header = get_header(fd);
    uint8_t body[PROTO_ERROR_BODY_MAX];
    struct error error;

    assert_int_equal(header.status, PROTO_STATUS_FAILURE);
    assert_in_range(header.length, 2, sizeof(body));
    get(fd, body, (size_t)header.length);
    proto_error_unpack(body, (size_t)header.length, &error);
    assert_int_equal(error.code, code);
    assert_string_equal(error.text, text);
}

static void get_count(int fd, int64_t size)
{
    uint8_t expected[16];

    pack_u64(expected, (uint64_t)size);
    pack_u64(expected + 8, pattern_sum(size));
    get_success(fd, expected, sizeof(expected));
}

static void get_pattern(int fd, int64_t offset, int64_t size)
{
    uint8_t *block = malloc(PIECE);

    assert_non_null(block);
    while (size > 0) {
        size_t part = (size_t)min_i64(PIECE, size);

        get(fd, block, part);
        for (size_t i = 0; i < part; i++) {
            if (block[i] != pattern(offset + (int64_t)i))
                fail_msg("byte %lld is wrong", (long long)offset + (long long)i);
        }
        offset += (int64_t)part;
        size -= (int64_t)part;
    }
    free(block);
}

static void get_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    if (got != 0)
        fail_msg("no orderly end of the stream: %s", got > 0 ? "a byte" : strerror(errno));
}

/* Cut, in whatever manner. */
static void get_cut(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static void check_in_step(int fd)
{
    put_request(fd, ECHO, "in step", 7);
    get_success(fd, "in step", 7);
}

static bool readable_within(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ms) == 1;
}

static void put_file_request(int fd, int64_t offset, int64_t length)
{
    uint8_t body[16];

    pack_u64(body, (uint64_t)offset);
    pack_u64(body + 8, (uint64_t)length);
    put_request(fd, SEND_FILE, body, sizeof(body));
}

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
        put(fd, request + i, 1);
        usleep(500);
    }
    get_success(fd, request + PROTO_HEADER_SIZE, 40);
    proto_header_pack(request, 40, COUNT, 0);
    for (size_t i = 0; i < 32; i++)
        request[PROTO_HEADER_SIZE + 8 + i] = pattern((int64_t)i);
    for (size_t i = 0; i < sizeof(request); i++) {
        put(fd, request + i, 1);
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
    put(fd, all, (size_t)ROUNDS * SIZE);
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
    put(fd, bytes, used);
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
    put(fd, "\0\0\0", 3); /* what never becomes a request is dropped */
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
    get_failure(fd, ERROR_MALFORMED, "[media1] body of echo is 65537 bytes; right is 0 to 65536");
    put_request(fd, SEND_FILE, "short", 5);
    get_failure(fd, ERROR_MALFORMED, "[media1] body of file is 5 bytes; right is 16");
    put_request(fd, COUNT, "short", 5);
    get_failure(fd, ERROR_MALFORMED, "[media1] body of count is 5 bytes; right is 8 to 1125899906842624");
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

        get(fd, &byte, 1);
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
        put(fd, "headhead", 8);
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
    options.drain_timeout_ms = 100;
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
        put(fd, "headhead", 8);
        put_pattern(fd, sizes[i]);
        get_count(fd, sizes[i]);
    }
    assert_true((resident_pages() - before) * sysconf(_SC_PAGESIZE) < 16 * MIB);
    put_header(fd, SMALL, 8 + 20000);
    put(fd, "headhead", 8);
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
    put(fd, "headhead", 8);
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
        put(fd, block, part);
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

static void a_file_shorter_than_told_cuts_the_connection(void **state)
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

static void a_slow_reader_is_not_cut_while_it_reads(void **state)
{
    struct address address;
    struct packet_server_options options = default_options(&address);
    int fd;

    (void)state;
    options.progress_timeout_ms = 1000;
    start_with(&options);
    make_file(32 * MIB);
    fd = dial();
    put_file_request(fd, 0, 32 * MIB);
    assert_int_equal(get_header(fd).length, 32 * MIB);
    for (int i = 0; i < 20; i++) { /* twice the limit */
        usleep(100000);
        get_pattern(fd, i * (int64_t)PIECE, PIECE);
    }
    get_pattern(fd, 20 * (int64_t)PIECE, 32 * MIB - 20 * (int64_t)PIECE);
    close(fd);
    finish();
}

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
    start_impatient(100, 30000);
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
    uint8_t header[PROTO_HEADER_SIZE];
    int in_header, in_body, in_stream;

    (void)state;
    start_impatient(30000, 100);
    in_header = dial();
    in_body = dial();
    in_stream = dial();
    proto_header_pack(header, 100, ECHO, 0);
    put(in_header, header, 5);
    put(in_body, header, sizeof(header));
    put(in_body, "x", 1);
    put_header(in_stream, COUNT, 100);
    put(in_stream, "headheadx", 9);
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
    put_request(memory, TAKE, size, sizeof(size));
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
        put_request(fds[i], ECHO, "hello", 5);
        if (i < 3)
            get_success(fds[i], "hello", 5);
    }
    for (size_t i = 3; i < ARRAY_SIZE(fds); i++)
        assert_false(readable_within(fds[i], 50));
    assert_int_equal(packet_server_connections(fixture.server), 3);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
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
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) { /* else the machine has no IPv6, and the fallback was tested above */
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
    put(busy, "headhead", 8);
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
    put(busy, "headhead", 8);
    stalled = dial();
    put_header(stalled, COUNT, 100);
    put(stalled, "headheadx", 9);
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
    put(in_header, "\0\0\0", 3);
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
        cmocka_unit_test(a_file_shorter_than_told_cuts_the_connection),
        cmocka_unit_test(a_slow_reader_is_not_cut_while_it_reads),
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
