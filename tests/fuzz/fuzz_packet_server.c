/*
 * Fuzzes the packet server with handlers that read, wait, answer, refuse and abort in any order: three connections over TCP, on one
 * loop that runs in this thread. A request's first eight bytes say what its handler does, one byte a step; the
 * input says what is sent, in which pieces, who reads, who waits no longer, who hangs up, and when the server stops.
 * The invariants: a handler gets the bytes that were sent, each request is answered once, as its handler says and in its order,
 * and a connection on which nobody did anything wrong goes on.
 */
#include "common/base/log.h"
#include "common/serve/packet_connection.h"
#include "common/serve/packet_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEERS        3
#define SMALL_PEER   2 /* whose socket holds little, so that replies wait */
#define REQUESTS_MAX 24
#define REPLIES_MAX  (REQUESTS_MAX * (SCRIPT_SIZE + 1))
#define SCRIPT_SIZE  8
#define CONTENT_MAX  2000
#define ECHO_MAX     64
#define OUT_MAX      (REQUESTS_MAX * (PROTO_HEADER_SIZE + SCRIPT_SIZE + CONTENT_MAX))
#define REPLY_PIECE  101 /* a handler's success has so many bytes times what its step says */
#define READ_PIECE   37
#define QUIET_TURNS  20
#define STUCK_TURNS  5000 /* of a millisecond: TCP may hold an acknowledgement back for a moment */

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMAND_SCRIPT = 70, COMMAND_ECHO = 71, COMMAND_UNKNOWN = 99 };

/* The lower three bits of a step; the upper five are how much. */
enum step {
    STEP_READ,
    STEP_WAIT,     /* until the input lets it go on */
    STEP_SUCCESS,  /* these end the request */
    STEP_SHARED,   /* with a body that replies share */
    STEP_FAILURE,  /* with what is left of the body unread */
    STEP_CHANGE,   /* a failure while a read is under way */
    STEP_ABORT,    /* the connection is cut */
    STEP_CONTINUE, /* an empty success before the reply proper */
};

struct expected {
    int code; /* ERROR_NONE: a success with a body of SIZE bytes that begins in the pattern at SEED */
    size_t size;
    uint8_t seed;
};

/* The client's end of a connection. */
struct peer {
    int fd; /* -1: closed */
    size_t requests, replies, next, out_size, out_sent, in_size;
    bool wild; /* it has sent bytes that are no requests: nobody knows what it is answered */
    bool shut; /* it sends no more */
    bool cut;  /* a handler aborts: what was asked after it is not answered */
    struct expected expected[REPLIES_MAX];
    uint8_t out[OUT_MAX];
    uint8_t in[PROTO_HEADER_SIZE + 4096];
};

/* A request in a handler. */
struct call {
    struct packet_request *request;
    struct call *next; /* that waits too */
    const uint8_t *script;
    size_t step, asked;
    int64_t offset; /* in the content */
    bool came;      /* STEP_CHANGE: the bytes were there already */
    uint8_t buffer[32 * READ_PIECE];
};

static struct world {
    struct loop_group loops;
    struct packet_server *server;
    struct task turn;
    const uint8_t *at;
    size_t left, quiet, opened, closed, handled, finished;
    bool over, stop_asked, stopped, progress;
    struct peer peers[PEERS];
    struct call *waiting;
    struct packet_shared *shared;
} world;

static uint8_t pattern(uint8_t seed, size_t offset)
{
    return (uint8_t)(seed + offset * 7 + (offset >> 8));
}

static void fill(uint8_t *to, uint8_t seed, size_t offset, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = pattern(seed, offset + i);
}

/* ---- the handlers ---- */

static void call_go(struct call *call);

static void call_end(struct call *call)
{
    world.finished++;
    free(call);
}

static void call_read(struct packet_request *request, int64_t bytes)
{
    struct call *call = request->user;

    if (bytes < 0) {
        packet_reply_abort(request);
        call_end(call);
        return;
    }
    EXPECT((size_t)bytes == call->asked);
    for (int64_t i = 0; i < bytes; i++)
        EXPECT(call->buffer[i] == pattern(call->script[0], (size_t)(call->offset + i)) ||
               ((struct peer *)packet_connection_user(request->connection))->wild);
    call->offset += bytes;
    call_go(call);
}

static void call_change(struct packet_request *request, int64_t bytes)
{
    struct call *call = request->user;

    (void)bytes;
    EXPECT(!call->came);
    call->came = true;
}

static void call_start_read(struct call *call, size_t amount,
                            void (*done)(struct packet_request *request, int64_t bytes))
{
    size_t size = (amount + 1) * READ_PIECE;

    call->asked = (size_t)min_i64((int64_t)size, call->request->body_left);
    packet_request_read(call->request, call->buffer, size, done);
}

/* Steps that end the request. */
static void call_answer(struct call *call, enum step step, size_t amount)
{
    uint8_t body[32 * REPLY_PIECE];
    size_t size = amount * REPLY_PIECE;

    if (step == STEP_CHANGE && call->request->body_left > 0)
        call_start_read(call, amount, call_change);
    if (step == STEP_SUCCESS) {
        fill(body, call->script[0], 0, size);
        packet_reply(call->request, body, size);
    } else if (step == STEP_SHARED) {
        packet_reply_shared(call->request, world.shared);
    } else if (step == STEP_ABORT) {
        packet_reply_abort(call->request);
    } else {
        packet_reply_error(call->request, ERROR_NO_SPACE, "full");
    }
    call_end(call);
}

static void call_go(struct call *call)
{
    while (call->step < SCRIPT_SIZE) {
        enum step step = (enum step)(call->script[call->step] & 7);
        size_t amount = call->script[call->step++] >> 3;

        switch (step) {
        case STEP_READ:
            if (call->request->body_left == 0)
                break;
            call_start_read(call, amount, call_read);
            return;
        case STEP_WAIT:
            call->next = world.waiting;
            world.waiting = call;
            return;
        case STEP_CONTINUE:
            packet_request_continue(call->request);
            break;
        default:
            call_answer(call, step, amount);
            return;
        }
    }
    packet_reply(call->request, NULL, 0);
    call_end(call);
}

static void handle_script(struct packet_request *request)
{
    struct call *call = calloc(1, sizeof(*call));

    EXPECT(call && request->head_size == SCRIPT_SIZE);
    world.handled++;
    call->request = request;
    call->script = request->head;
    request->user = call;
    call_go(call);
}

static void handle_echo(struct packet_request *request)
{
    packet_reply(request, request->head, request->head_size);
}

/* One of those that wait goes on; WHICH counts from the last one that came. */
static bool let_go(size_t which)
{
    struct call **at = &world.waiting, *call;

    if (!*at)
        return false;
    for (; which > 0 && (*at)->next; which--)
        at = &(*at)->next;
    call = *at;
    *at = call->next;
    call_go(call);
    return true;
}

/* ---- the peers ---- */

static void expect(struct peer *peer, int code, size_t size, uint8_t seed)
{
    if (!peer->cut)
        peer->expected[peer->replies++] = (struct expected){code, size, seed};
}

/* What a handler of SCRIPT answers to a body with CONTENT bytes behind it. */
static void expect_script(struct peer *peer, const uint8_t *script)
{
    for (size_t i = 0; i < SCRIPT_SIZE; i++) {
        size_t amount = script[i] >> 3;

        switch ((enum step)(script[i] & 7)) {
        case STEP_READ:
        case STEP_WAIT:
            continue;
        case STEP_CONTINUE:
            expect(peer, ERROR_NONE, 0, 0);
            continue;
        case STEP_SUCCESS:
            expect(peer, ERROR_NONE, amount * REPLY_PIECE, script[0]);
            return;
        case STEP_SHARED:
            expect(peer, ERROR_NONE, REPLY_PIECE, 0);
            return;
        case STEP_ABORT:
            peer->cut = true;
            return;
        case STEP_FAILURE:
        case STEP_CHANGE:
            expect(peer, ERROR_NO_SPACE, 0, 0);
            return;
        }
    }
    expect(peer, ERROR_NONE, 0, 0);
}

static void put_header(struct peer *peer, uint8_t command, size_t length)
{
    proto_header_pack(peer->out + peer->out_size, (int64_t)length, command, PROTO_STATUS_OK);
    peer->out_size += PROTO_HEADER_SIZE;
}

static uint8_t next_byte(void)
{
    if (world.left == 0)
        return 0;
    world.left--;
    return *world.at++;
}

/* A request whose handler does what the next bytes of the input say. */
static void ask_script(struct peer *peer, size_t content)
{
    uint8_t *script = peer->out + peer->out_size + PROTO_HEADER_SIZE;

    put_header(peer, COMMAND_SCRIPT, SCRIPT_SIZE + content);
    for (size_t i = 0; i < SCRIPT_SIZE; i++) {
        script[i] = next_byte();
        /* Who does not read is cut there. */
        if (peer == &world.peers[SMALL_PEER] && (script[i] & 7) == STEP_CONTINUE)
            script[i] = STEP_READ;
    }
    fill(script + SCRIPT_SIZE, script[0], 0, content);
    peer->out_size += SCRIPT_SIZE + content;
    expect_script(peer, script);
}

/* A request without a handler that is the input's. */
static void ask_plainly(struct peer *peer, uint8_t command, uint8_t seed, size_t size)
{
    put_header(peer, command, size);
    fill(peer->out + peer->out_size, seed, 0, size);
    peer->out_size += size;
    expect(peer,
           command == COMMAND_UNKNOWN ? ERROR_UNKNOWN_COMMAND
           : size > ECHO_MAX          ? ERROR_MALFORMED
                                      : ERROR_NONE,
           size, seed);
}

static void ask(struct peer *peer, uint8_t with)
{
    if (peer->requests == REQUESTS_MAX || peer->wild || peer->shut)
        return;
    peer->requests++;
    if (with < 192)
        ask_script(peer, (size_t)next_byte() * CONTENT_MAX / 256);
    else
        ask_plainly(peer, with < 240 ? COMMAND_ECHO : COMMAND_UNKNOWN, with,
                    (with & 7) == 0 ? (size_t)next_byte() : with % ECHO_MAX);
}

static void put_raw(struct peer *peer, size_t size)
{
    if (peer->shut || peer->out_size + size > OUT_MAX)
        return;
    peer->wild = true;
    while (size-- > 0)
        peer->out[peer->out_size++] = next_byte();
}

/* By a reset, so that no port waits for a minute afterwards. */
static void hang_up(struct peer *peer)
{
    const struct linger none = {.l_onoff = 1};

    if (peer->fd >= 0) {
        EXPECT(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) == 0);
        close(peer->fd);
    }
    peer->fd = -1;
}

static void peer_send(struct peer *peer, size_t size)
{
    ssize_t sent;

    size = min_size(size, peer->out_size - peer->out_sent);
    if (peer->fd < 0 || peer->shut || size == 0)
        return;
    sent = send(peer->fd, peer->out + peer->out_sent, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        peer->out_sent += (size_t)sent;
        world.progress = true;
    }
}

static void check_reply(struct peer *peer, const struct proto_header *header, const uint8_t *body)
{
    const struct expected *expected = &peer->expected[peer->next];

    if (peer->wild)
        return;
    EXPECT(peer->next < peer->replies && header->command == PROTO_REPLY_STORAGE);
    peer->next++;
    if (expected->code != ERROR_NONE) {
        EXPECT(header->status != PROTO_STATUS_OK && header->length >= 3);
        EXPECT((int16_t)(body[0] << 8 | body[1]) == expected->code);
        return;
    }
    EXPECT(header->status == PROTO_STATUS_OK && header->length == (int64_t)expected->size);
    for (size_t i = 0; i < expected->size; i++)
        EXPECT(body[i] == pattern(expected->seed, i));
}

/* Takes whole replies out of what has come. */
static void take_replies(struct peer *peer)
{
    struct proto_header header;
    struct error error;
    size_t at = 0;

    while (peer->in_size - at >= PROTO_HEADER_SIZE) {
        EXPECT(proto_header_unpack(peer->in + at, &header, &error));
        EXPECT(header.length <= (int64_t)(sizeof(peer->in) - PROTO_HEADER_SIZE));
        if (peer->in_size - at < PROTO_HEADER_SIZE + (size_t)header.length)
            break;
        check_reply(peer, &header, peer->in + at + PROTO_HEADER_SIZE);
        at += PROTO_HEADER_SIZE + (size_t)header.length;
    }
    memmove(peer->in, peer->in + at, peer->in_size - at);
    peer->in_size -= at;
}

static void peer_receive(struct peer *peer, size_t size)
{
    ssize_t got;

    size = min_size(size, sizeof(peer->in) - peer->in_size);
    if (peer->fd < 0 || size == 0)
        return;
    got = recv(peer->fd, peer->in + peer->in_size, size, MSG_DONTWAIT);
    if (got > 0) {
        peer->in_size += (size_t)got;
        world.progress = true;
        take_replies(peer);
    }
}

/* A connection on which nobody did anything wrong gets all its replies, and goes on. */
static bool is_satisfied(const struct peer *peer)
{
    uint8_t byte;

    return peer->fd < 0 || peer->wild || peer->shut || peer->cut || world.stop_asked ||
           (peer->out_sent == peer->out_size && peer->next == peer->replies && peer->in_size == 0 &&
            recv(peer->fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* ---- the world ---- */

static void world_stopped(void *argument)
{
    (void)argument;
    world.stopped = true;
}

static void stop_server(void)
{
    if (!world.stop_asked)
        packet_server_stop(world.server, 60000, world_stopped, NULL);
    world.stop_asked = true;
}

enum act { ACT_ASK, ACT_SEND, ACT_RECEIVE, ACT_LET_GO, ACT_RAW, ACT_END, ACT_STOP };

static void do_something(uint8_t what)
{
    static const uint8_t acts[16] = {ACT_ASK,    ACT_ASK,  ACT_ASK,     ACT_ASK,     ACT_SEND,   ACT_SEND,
                                     ACT_SEND,   ACT_SEND, ACT_RECEIVE, ACT_RECEIVE, ACT_LET_GO, ACT_LET_GO,
                                     ACT_LET_GO, ACT_RAW,  ACT_END,     ACT_STOP};
    struct peer *peer = &world.peers[(what >> 4) % PEERS];
    uint8_t with = next_byte();

    switch ((enum act)acts[what & 15]) {
    case ACT_ASK:
        ask(peer, with);
        break;
    case ACT_SEND:
        peer_send(peer, (size_t)with * 9 + 1);
        break;
    case ACT_RECEIVE:
        peer_receive(peer, (size_t)with * 9 + 1);
        break;
    case ACT_LET_GO:
        (void)let_go(with % 4);
        break;
    case ACT_RAW:
        put_raw(peer, with % 32);
        break;
    case ACT_END:
        if (with % 4 == 0 && peer->fd >= 0)
            (void)shutdown(peer->fd, SHUT_WR);
        peer->shut = peer->shut || with % 4 == 0;
        if (with % 4 == 1)
            hang_up(peer);
        break;
    case ACT_STOP:
        if (with % 8 == 0)
            stop_server();
    }
}

/* Everybody sends and reads what there is, and who waits goes on, until nothing moves any more. */
static void settle(void)
{
    world.progress = let_go(0);
    for (size_t i = 0; i < PEERS; i++) {
        peer_send(&world.peers[i], OUT_MAX);
        peer_receive(&world.peers[i], sizeof(world.peers[i].in));
    }
    world.quiet = world.progress ? 0 : world.quiet + 1;
    if (world.quiet < QUIET_TURNS)
        return;
    for (size_t i = 0; i < PEERS; i++) {
        if (!is_satisfied(&world.peers[i])) {
            EXPECT(world.quiet < STUCK_TURNS);
            usleep(1000);
            return;
        }
    }
    world.over = true;
    for (size_t i = 0; i < PEERS; i++)
        hang_up(&world.peers[i]);
    stop_server();
}

/* Once for each turn of the loop. */
static void take_turn(struct task *task)
{
    if (world.over)
        (void)let_go(0); /* one whose peer has gone */
    else if (world.left > 0)
        do_something(next_byte());
    else
        settle();
    if (world.over && world.stopped)
        loop_stop(world.loops.loops[0]);
    else
        loop_post(world.loops.loops[0], task);
}

static void peer_opened(struct packet_connection *connection)
{
    packet_connection_set_user(connection, &world.peers[world.opened++]);
}

static void peer_closed(struct packet_connection *connection)
{
    (void)connection;
    world.closed++;
}

/* The two ends of a connection; the first is the server's. */
static void connect_pair(int pair[2])
{
    static int listener = -1;
    static struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int on = 1;

    if (listener < 0) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
        EXPECT(listen(listener, 8) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    }
    pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(pair[1] >= 0 && connect(pair[1], (struct sockaddr *)&address, sizeof(address)) == 0);
    pair[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    EXPECT(pair[0] >= 0);
    for (int i = 0; i < 2; i++)
        EXPECT(setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
}

static void open_peer(struct peer *peer)
{
    struct packet_lane *lane = &world.server->lanes[0];
    struct socket_address address = {.length = sizeof(address.storage)};
    struct listen_place place;
    int pair[2], room = 1;

    connect_pair(pair);
    if (peer == &world.peers[SMALL_PEER])
        EXPECT(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
    peer->fd = pair[1];
    EXPECT(listen_limits_take(world.server->limits, PEERS));
    EXPECT(listen_limits_enter(world.server->limits, &place, (const struct sockaddr *)&address.storage, 0));
    EXPECT(packet_connection_open(lane, (struct transport){pair[0], NULL}, &address, &place));
}

static void open_world(void)
{
    static const struct packet_command commands[] = {
        {.command = COMMAND_SCRIPT,
         .name = "script",
         .minimum = SCRIPT_SIZE,
         .maximum = SCRIPT_SIZE + CONTENT_MAX,
         .head = SCRIPT_SIZE,
         .handle = handle_script},
        {.command = COMMAND_ECHO, .name = "echo", .minimum = 0, .maximum = ECHO_MAX, .handle = handle_echo},
    };
    uint8_t shared[REPLY_PIECE];
    struct address address;
    struct error error;

    EXPECT(loop_group_create(&world.loops, "fuzz", 1, &error));
    EXPECT(address_parse("127.0.0.1:0", 1, &address, &error));
    world.server = packet_server_create(
        &(struct packet_server_options){
            .listen = {.items = &address, .count = 1},
            .host_name = "fuzz",
            .reply_command = PROTO_REPLY_STORAGE,
            .commands = commands,
            .command_count = ARRAY_SIZE(commands),
            .connections_max = PEERS,
            .drain_timeout_ms = 600000,
            .opened = peer_opened,
            .closed = peer_closed,
        },
        &world.loops, &error);
    EXPECT(world.server);
    fill(shared, 0, 0, sizeof(shared));
    world.shared = packet_shared_create(shared, sizeof(shared));
    EXPECT(world.shared);
    for (size_t i = 0; i < PEERS; i++)
        open_peer(&world.peers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(LOG_LEVEL_ERROR);
    memset(&world, 0, sizeof(world));
    open_world();
    world.at = data;
    world.left = size;
    world.turn.run = take_turn;
    loop_post(world.loops.loops[0], &world.turn);
    loop_run(world.loops.loops[0]);
    EXPECT(world.closed == PEERS && world.handled == world.finished && !world.waiting);
    EXPECT(packet_server_connections(world.server) == 0);
    loop_group_destroy(&world.loops);
    packet_server_destroy(world.server);
    packet_shared_release(world.shared);
    return 0;
}
