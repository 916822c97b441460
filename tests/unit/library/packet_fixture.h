/*
 * packet_fixture: what the tests of the packet server share: a server with two loops and a table of small
 * commands in this process, and a blocking client that sends what peers send.
 */
#ifndef REEL_TESTS_PACKET_FIXTURE_H
#define REEL_TESTS_PACKET_FIXTURE_H

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/serve/packet_server.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static inline uint8_t pattern(int64_t offset)
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

static inline void pack_u64(uint8_t *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

static inline uint64_t unpack_u64(const uint8_t *from)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

static inline void handle_echo(struct packet_request *request)
{
    packet_reply(request, request->head, request->head_size);
}

static inline struct upload *new_upload(struct packet_request *request, size_t piece)
{
    struct upload *upload = calloc(1, sizeof(*upload));

    ASSERT(upload);
    upload->request = request;
    upload->piece = piece;
    request->user = upload;
    return upload;
}

static inline void count_more(struct packet_request *request, int64_t bytes);

static inline void count_next(struct upload *upload)
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

static inline void count_more(struct packet_request *request, int64_t bytes)
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

static inline void handle_count(struct packet_request *request)
{
    count_next(new_upload(request, PIECE));
}

static inline void handle_small(struct packet_request *request)
{
    count_next(new_upload(request, 7));
}

static inline void handle_refuse(struct packet_request *request)
{
    packet_reply_error(request, ERROR_NO_SPACE, "%s is full", "the disk");
}

static inline void refuse_mid(struct packet_request *request, int64_t bytes)
{
    free(request->user);
    if (bytes < 0)
        packet_reply_abort(request);
    else
        handle_refuse(request);
}

static inline void handle_refuse_mid(struct packet_request *request)
{
    packet_request_read(request, new_upload(request, PIECE)->buffer, PIECE, refuse_mid);
}

static inline void file_done(void *argument, bool ok)
{
    struct fixture *shared = argument;

    atomic_fetch_add(ok ? &shared->files_sent : &shared->files_failed, 1);
}

static inline void handle_file(struct packet_request *request)
{
    if ((unpack_u64(request->head) | unpack_u64(request->head + 8)) > INT64_MAX) {
        packet_reply_error(request, ERROR_RANGE, "not in the file");
        return;
    }
    packet_reply_file(request, fixture.file, (int64_t)unpack_u64(request->head),
                      (int64_t)unpack_u64(request->head + 8), fixture.workers, file_done, &fixture);
}

static inline void later_run(struct job *job)
{
    (void)job;
    usleep(1000);
}

static inline void later_done(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);

    handle_echo(upload->request);
    free(upload);
}

static inline void handle_later(struct packet_request *request)
{
    struct upload *upload = new_upload(request, 0);

    upload->job.run = later_run;
    upload->job.done = later_done;
    upload->job.loop = request->loop;
    ASSERT(workers_submit(fixture.workers, &upload->job));
}

static inline void hold_look(evutil_socket_t fd, short events, void *argument)
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

static inline void handle_hold(struct packet_request *request)
{
    struct upload *upload = new_upload(request, PIECE);

    atomic_fetch_add(&fixture.held, 1);
    upload->timer = event_new(loop_base(request->loop), -1, 0, hold_look, upload);
    ASSERT(upload->timer);
    hold_look(-1, 0, upload);
}

static inline void handle_take(struct packet_request *request)
{
    size_t size = min_size((size_t)unpack_u64(request->head), 64 * MIB);
    uint8_t *body = malloc(size);

    ASSERT(body);
    for (size_t i = 0; i < size; i++)
        body[i] = pattern((int64_t)i);
    packet_reply_take(request, body, size);
}

static inline void handle_ignore(struct packet_request *request)
{
    packet_reply(request, "fine", 4);
}

static inline void change_read(struct packet_request *request, int64_t bytes)
{
    (void)request;
    (void)bytes;
    atomic_fetch_add(&fixture.changed_reads, 1);
}

static inline void change_mind(struct task *task)
{
    struct upload *upload = CONTAINER_OF(task, struct upload, task);

    handle_refuse(upload->request);
    free(upload);
}

static inline void handle_change(struct packet_request *request)
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

static inline void on_opened(struct packet_connection *connection)
{
    packet_connection_set_user(connection, packet_server_argument(packet_connection_server(connection)));
    atomic_fetch_add(&fixture.opened, 1);
}

static inline void on_closed(struct packet_connection *connection)
{
    struct fixture *shared = packet_connection_user(connection);

    atomic_fetch_add(&shared->closed, 1);
}

static inline void on_stopped(void *argument)
{
    struct fixture *shared = argument;

    atomic_fetch_add(&shared->stopped, 1);
}

static inline struct packet_server_options default_options(struct address *address)
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

static inline void start_with(const struct packet_server_options *options)
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

static inline void start(void)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    start_with(&options);
}

static inline void wait_until(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > 20000)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static inline void finish(void)
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

static inline void make_file(int64_t size)
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

static inline int dial(void)
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

static inline void put(int fd, const void *bytes, size_t size)
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

static inline void put_header(int fd, uint8_t command, int64_t length)
{
    uint8_t header[PROTO_HEADER_SIZE];

    proto_header_pack(header, length, command, 0x5A); /* the status of a request is ignored */
    put(fd, header, sizeof(header));
}

static inline void put_request(int fd, uint8_t command, const void *body, size_t size)
{
    put_header(fd, command, (int64_t)size);
    put(fd, body, size);
}

static inline void put_pattern(int fd, int64_t size)
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

static inline uint64_t pattern_sum(int64_t size)
{
    uint64_t sum = 0;

    for (int64_t i = 0; i < size; i++)
        sum += pattern(i) * (uint64_t)(i % 251 + 1);
    return sum;
}

static inline void get(int fd, void *bytes, size_t size)
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

static inline struct proto_header get_header(int fd)
{
    uint8_t bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct error error;

    get(fd, bytes, sizeof(bytes));
    assert_true(proto_header_unpack(bytes, &header, &error));
    assert_int_equal(header.command, PROTO_REPLY_STORAGE);
    return header;
}

static inline void get_success(int fd, const void *body, size_t size)
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

static inline void get_failure(int fd, int code, const char *text)
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

static inline void get_count(int fd, int64_t size)
{
    uint8_t expected[16];

    pack_u64(expected, (uint64_t)size);
    pack_u64(expected + 8, pattern_sum(size));
    get_success(fd, expected, sizeof(expected));
}

static inline void get_pattern(int fd, int64_t offset, int64_t size)
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

static inline void get_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    if (got != 0)
        fail_msg("no orderly end of the stream: %s", got > 0 ? "a byte" : strerror(errno));
}

/* Cut, in whatever manner. */
static inline void get_cut(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static inline void check_in_step(int fd)
{
    put_request(fd, ECHO, "in step", 7);
    get_success(fd, "in step", 7);
}

static inline bool readable_within(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ms) == 1;
}

static inline void put_file_request(int fd, int64_t offset, int64_t length)
{
    uint8_t body[16];

    pack_u64(body, (uint64_t)offset);
    pack_u64(body + 8, (uint64_t)length);
    put_request(fd, SEND_FILE, body, sizeof(body));
}

#endif
