/*
 * packet_fixture: the commands of the packet server under test, each with one way of reading and answering, and
 * the blocking client.
 */
#include "tests/unit/library/packet_fixture.h"

#include <netinet/tcp.h>

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

struct fixture fixture;

uint8_t pattern(int64_t offset)
{
    return (uint8_t)((uint64_t)offset * 2654435761u >> 13);
}

void pack_u64(uint8_t *to, uint64_t value)
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

static struct packet_shared *make_shared(void)
{
    uint8_t *bytes = malloc(SHARED_SIZE);
    struct packet_shared *shared;

    assert_non_null(bytes);
    for (int64_t i = 0; i < SHARED_SIZE; i++)
        bytes[i] = pattern(i);
    shared = packet_shared_create(bytes, SHARED_SIZE);
    assert_non_null(shared);
    free(bytes);
    return shared;
}

static void handle_shared(struct packet_request *request)
{
    if (!fixture.shared)
        fixture.shared = make_shared();
    packet_reply_shared(request, fixture.shared);
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
    {SHARED, "shared", 0, 0, 0, handle_shared},
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

void on_stopped(void *argument)
{
    struct fixture *shared = argument;

    atomic_fetch_add(&shared->stopped, 1);
}

struct packet_server_options default_options(struct address *address)
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

void start_with(const struct packet_server_options *options)
{
    start_on(options, 2);
}

void start_on(const struct packet_server_options *options, size_t loops)
{
    struct error error;

    memset(&fixture, 0, sizeof(fixture));
    fixture.file = -1;
    assert_true(loop_group_create(&fixture.loops, "test", loops, &error));
    fixture.workers = workers_create("test", 2, 1000, &error);
    assert_non_null(fixture.workers);
    fixture.server = packet_server_create(options, &fixture.loops, &error);
    if (!fixture.server)
        fail_msg("%s", error.text);
    assert_true(loop_group_start(&fixture.loops, &error));
}

void start(void)
{
    struct address address;
    struct packet_server_options options = default_options(&address);

    start_with(&options);
}

void wait_until(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > 20000)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

void finish(void)
{
    atomic_store(&fixture.release, true);
    packet_server_stop(fixture.server, 60000, on_stopped, &fixture);
    wait_until(&fixture.stopped, 1);
    assert_int_equal(packet_server_connections(fixture.server), 0);
    assert_int_equal(atomic_load(&fixture.opened), atomic_load(&fixture.closed));
    assert_true(workers_destroy(fixture.workers, 10000));
    loop_group_destroy(&fixture.loops);
    packet_server_destroy(fixture.server);
    packet_shared_release(fixture.shared);
    if (fixture.file >= 0) {
        close(fixture.file);
        unlink(fixture.path);
    }
}

void make_file(int64_t size)
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

static int dial_with(int receive_bytes)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(packet_server_port(fixture.server)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timeval patience = {.tv_sec = 30};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0); /* a head, then a body */
    if (receive_bytes > 0)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int dial(void)
{
    return dial_with(0);
}

int dial_narrow(void)
{
    return dial_with(64 * 1024);
}

void put_bytes(int fd, const void *bytes, size_t size)
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

void put_header(int fd, uint8_t command, int64_t length)
{
    uint8_t header[PROTO_HEADER_SIZE];

    proto_header_pack(header, length, command, 0x5A); /* the status of a request is ignored */
    put_bytes(fd, header, sizeof(header));
}

void put_request(int fd, uint8_t command, const void *body, size_t size)
{
    put_header(fd, command, (int64_t)size);
    put_bytes(fd, body, size);
}

void put_request_in_one(int fd, uint8_t command, const void *body, size_t size)
{
    uint8_t bytes[PROTO_HEADER_SIZE + 1000];

    assert_true(size <= 1000);
    proto_header_pack(bytes, (int64_t)size, command, 0);
    memcpy(bytes + PROTO_HEADER_SIZE, body, size);
    put_bytes(fd, bytes, PROTO_HEADER_SIZE + size);
}

void put_pattern(int fd, int64_t size)
{
    uint8_t *block = malloc(PIECE);

    assert_non_null(block);
    for (int64_t offset = 0; offset < size; offset += PIECE) {
        size_t part = (size_t)min_i64(PIECE, size - offset);

        for (size_t i = 0; i < part; i++)
            block[i] = pattern(offset + (int64_t)i);
        put_bytes(fd, block, part);
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

void get_bytes(int fd, void *bytes, size_t size)
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

struct proto_header get_header(int fd)
{
    uint8_t bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct error error;

    get_bytes(fd, bytes, sizeof(bytes));
    assert_true(proto_header_unpack(bytes, &header, &error));
    assert_int_equal(header.command, PROTO_REPLY_STORAGE);
    return header;
}

void get_success(int fd, const void *body, size_t size)
{
    struct proto_header header = get_header(fd);
    uint8_t *got = malloc(size + 1);

    assert_non_null(got);
    assert_int_equal(header.status, PROTO_STATUS_OK);
    assert_int_equal(header.length, size);
    get_bytes(fd, got, size);
    assert_memory_equal(got, body, size);
    free(got);
}

void get_failure(int fd, int code, const char *text)
{
    struct proto_header header = get_header(fd);
    uint8_t body[PROTO_ERROR_BODY_MAX];
    struct error error;

    assert_int_equal(header.status, PROTO_STATUS_FAILURE);
    assert_in_range(header.length, 2, sizeof(body));
    get_bytes(fd, body, (size_t)header.length);
    proto_error_unpack(body, (size_t)header.length, &error);
    assert_int_equal(error.code, code);
    assert_string_equal(error.text, text);
}

void get_count(int fd, int64_t size)
{
    uint8_t expected[16];

    pack_u64(expected, (uint64_t)size);
    pack_u64(expected + 8, pattern_sum(size));
    get_success(fd, expected, sizeof(expected));
}

void get_pattern(int fd, int64_t offset, int64_t size)
{
    uint8_t *block = malloc(PIECE);

    assert_non_null(block);
    while (size > 0) {
        size_t part = (size_t)min_i64(PIECE, size);

        get_bytes(fd, block, part);
        for (size_t i = 0; i < part; i++) {
            if (block[i] != pattern(offset + (int64_t)i))
                fail_msg("byte %lld is wrong", (long long)offset + (long long)i);
        }
        offset += (int64_t)part;
        size -= (int64_t)part;
    }
    free(block);
}

void get_end(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    if (got != 0)
        fail_msg("no orderly end of the stream: %s", got > 0 ? "a byte" : strerror(errno));
}

void get_cut(int fd)
{
    uint8_t byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

void check_in_step(int fd)
{
    put_request(fd, ECHO, "in step", 7);
    get_success(fd, "in step", 7);
}

bool readable_within(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ms) == 1;
}

void put_file_request(int fd, int64_t offset, int64_t length)
{
    uint8_t body[16];

    pack_u64(body, (uint64_t)offset);
    pack_u64(body + 8, (uint64_t)length);
    put_request_in_one(fd, SEND_FILE, body, sizeof(body));
}
