/*
 * packet_step: the states of a packet connection, from header to reply: what each one reads from the socket,
 * sends to it and calls. One step at a time; packet_connection.c says when. On the connection's loop.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/serve/packet_connection.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define DISCARD_SIZE (1024 * 1024) /* bytes at most for one recv(2) that throws away */

/* ---- input ---- */

static size_t buffered(const struct packet_connection *connection)
{
    return connection->filled - connection->position;
}

static void free_input(struct packet_connection *connection)
{
    struct packet_lane *lane = connection->lane;

    if (connection->input && connection->capacity == PACKET_INPUT_SIZE && lane->loop &&
        lane->stashed < PACKET_STASH_MAX)
        lane->stash[lane->stashed++] = connection->input;
    else
        free(connection->input);
    connection->input = NULL;
    connection->capacity = connection->filled = connection->position = 0;
}

/* Makes room so that NEED unread bytes can be there in one piece. */
static bool reserve_input(struct packet_connection *connection, size_t need)
{
    struct packet_lane *lane = connection->lane;
    uint8_t *grown;

    ASSERT(!connection->head_held);
    if (!connection->input && lane->stashed > 0) {
        connection->input = lane->stash[--lane->stashed];
        connection->capacity = PACKET_INPUT_SIZE;
    }
    if (connection->input && connection->position > 0 && connection->capacity - connection->position < need) {
        memmove(connection->input, connection->input + connection->position, buffered(connection));
        connection->filled = buffered(connection);
        connection->position = 0;
    }
    if (connection->capacity - connection->position >= need)
        return true;
    need = max_size(need, PACKET_INPUT_SIZE);
    grown = realloc(connection->input, need);
    if (!grown)
        return false;
    connection->input = grown;
    connection->capacity = need;
    return true;
}

static int64_t in_ms(int64_t delay_ms)
{
    return clock_monotonic_ms() + delay_ms;
}

/* Of a request that is not whole: LIMIT_MS (0: none) from now, but never past head_time. */
static int64_t head_deadline(const struct packet_connection *connection, int64_t limit_ms)
{
    int64_t deadline = limit_ms > 0 ? in_ms(limit_ms) : 0;
    int64_t head_time_ms = connection->lane->server->options.head_time_ms;
    int64_t last = head_time_ms > 0 ? connection->head_ms + head_time_ms : 0;

    return deadline == 0 || (last > 0 && last < deadline) ? last : deadline;
}

/* A byte has moved: the time limit starts over. */
static void note_progress(struct packet_connection *connection)
{
    int64_t limit =
        atomic_load_explicit(&connection->lane->server->progress_timeout_ms, memory_order_relaxed);

    switch (connection->state) {
    case PACKET_HEADER:
    case PACKET_BODY:
        connection->deadline_ms = head_deadline(connection, limit);
        break;
    case PACKET_READING:
    case PACKET_REPLYING:
        connection->deadline_ms = limit > 0 ? in_ms(limit) : 0;
        break;
    case PACKET_IDLE:
    case PACKET_HANDLING:
    case PACKET_SENDING:
    case PACKET_CANCELLED:
    case PACKET_DRAINING:
    case PACKET_LINGERING:
    case PACKET_CLOSED:
        break;
    }
}

/* recv(2). 0: nothing now; `ended` and `broken`: nothing will ever come. */
static size_t receive(struct packet_connection *connection, void *buffer, size_t size, int flags)
{
    ssize_t got;

    if (!connection->readable || connection->ended || connection->broken)
        return 0;
    do {
        got = transport_recv(connection->transport, buffer, size, flags);
    } while (got < 0 && errno == EINTR);
    /* Less than there was room for: the socket is empty, and epoll reports when it is not. */
    connection->readable = got == (ssize_t)size || (got > 0 && transport_pending(connection->transport));
    if (got > 0) {
        metric_add(connection->lane->server->received_metric, got);
        note_progress(connection);
        return (size_t)got;
    }
    if (got == 0)
        connection->ended = true;
    else if (errno != EAGAIN)
        connection->broken = true;
    return 0;
}

/* Reads on until NEED unread bytes are in the input. False: not yet. */
static bool fill_input(struct packet_connection *connection, size_t need)
{
    if (buffered(connection) >= need)
        return true;
    if (!connection->readable || connection->ended)
        return false;
    if (!reserve_input(connection, need)) {
        log_error("packet", "c%" PRIu64 ": no memory for %zu bytes of a request, connection cut",
                  connection->id, need);
        connection->broken = true;
        return false;
    }
    connection->filled += receive(connection, connection->input + connection->filled,
                                  connection->capacity - connection->filled, 0);
    return buffered(connection) >= need;
}

/* Throws away up to LIMIT bytes of what the peer has sent. */
static int64_t discard_input(struct packet_connection *connection, int64_t limit)
{
    size_t take = (size_t)min_i64(limit, DISCARD_SIZE);

    if (buffered(connection) > 0) {
        take = min_size(take, buffered(connection));
        connection->position += take;
    } else {
        take = receive(connection, NULL, take, MSG_TRUNC); /* tcp(7): the bytes are not copied */
    }
    return (int64_t)take;
}

/* ---- output ---- */

/* What the socket has not taken at once waits in memory from now on. */
static void hold_body(struct packet_connection *connection)
{
    if (connection->holds || connection->body == connection->small_body)
        return;
    connection->holds = true;
    packet_connection_hold(connection, connection->shared ? packet_shared_hold(connection->shared)
                                                          : connection->body_size);
}

static void free_output(struct packet_connection *connection)
{
    struct packet_server *server = connection->lane->server;

    if (connection->holds)
        atomic_fetch_sub(&server->unsent, connection->shared ? packet_shared_unhold(connection->shared)
                                                             : connection->body_size);
    connection->holds = false;
    if (connection->shared)
        packet_shared_release(connection->shared);
    else if (connection->body != connection->small_body)
        free(connection->body);
    connection->shared = NULL;
    connection->body = NULL;
}

/* Sends header and body, in one call where the socket takes them. False: not all yet, or broken. */
static bool flush_output(struct packet_connection *connection)
{
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    int flags = MSG_NOSIGNAL | (connection->has_file && connection->file_length > 0 ? MSG_MORE : 0);
    size_t total = PROTO_HEADER_SIZE + connection->body_size;

    if (connection->body && !packet_gather_flush(connection)) /* earlier replies go first */
        return false;
    while (connection->body) {
        size_t header = min_size(connection->sent, PROTO_HEADER_SIZE);
        size_t body = connection->sent - header;
        ssize_t sent;

        parts[0].iov_base = connection->out_header + header;
        parts[0].iov_len = PROTO_HEADER_SIZE - header;
        parts[1].iov_base = (uint8_t *)connection->body + body;
        parts[1].iov_len = connection->body_size - body;
        message.msg_iovlen = connection->body_size > 0 ? 2 : 1;
        sent = transport_sendmsg(connection->transport, &message, flags);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            if (errno == EAGAIN) {
                connection->unsent = file_send_unsent(connection->transport.fd);
                hold_body(connection);
            } else {
                connection->broken = true;
            }
            return false;
        }
        metric_add(connection->lane->server->sent_metric, sent);
        note_progress(connection);
        connection->sent += (size_t)sent;
        if (connection->sent == total)
            free_output(connection);
    }
    return true;
}

void packet_connection_free_buffers(struct packet_connection *connection)
{
    connection->head_held = false;
    free_input(connection);
    free_output(connection);
    packet_gather_free(connection);
}

/* ---- states ---- */

void packet_connection_enter(struct packet_connection *connection, enum packet_state state)
{
    struct packet_server *server = connection->lane->server;
    int64_t limit = 0;

    if (state != PACKET_HEADER && state != PACKET_BODY)
        connection->head_ms = 0;
    else if (connection->head_ms == 0)
        connection->head_ms = clock_monotonic_ms();
    switch (state) {
    case PACKET_IDLE:
        limit = atomic_load_explicit(&server->idle_timeout_ms, memory_order_relaxed);
        connection->command = NULL;
        if (buffered(connection) == 0)
            free_input(connection);
        if (connection->lane->stopping)
            connection->readable = true; /* looks once more before it ends */
        break;
    case PACKET_HEADER:
    case PACKET_BODY:
    case PACKET_READING:
    case PACKET_REPLYING:
        limit = atomic_load_explicit(&server->progress_timeout_ms, memory_order_relaxed);
        break;
    case PACKET_HANDLING: /* the handler's own limits hold */
    case PACKET_SENDING:  /* file_send's */
    case PACKET_CANCELLED:
    case PACKET_CLOSED:
        break;
    case PACKET_DRAINING:
    case PACKET_LINGERING:
        limit = max_i64(server->options.drain_timeout_ms, 1);
        if (connection->state == PACKET_DRAINING)
            limit = min_i64(limit, PACKET_LINGER_MS); /* it has had its time */
        break;
    }
    connection->state = state;
    if (connection->head_ms > 0)
        connection->deadline_ms = head_deadline(connection, limit);
    else
        connection->deadline_ms = limit > 0 ? in_ms(limit) : 0;
    packet_connection_relist(connection);
}

/* The header is complete and in step: the command's row, or a refusal. */
static bool check_header(struct packet_connection *connection, struct error *error)
{
    const struct packet_command *command = connection->command;
    long long length = (long long)connection->header.length;

    if (!command)
        return error_set(error, ERROR_UNKNOWN_COMMAND, "command %u is unknown here",
                         connection->header.command);
    if (length >= command->minimum && length <= command->maximum)
        return true;
    if (command->minimum == command->maximum)
        return error_set(error, ERROR_MALFORMED, "body of %s is %lld bytes; expected %lld", command->name,
                         length, (long long)command->minimum);
    return error_set(error, ERROR_MALFORMED, "body of %s is %lld bytes; expected %lld to %lld", command->name,
                     length, (long long)command->minimum, (long long)command->maximum);
}

/* RFC 8446 section 5.1: a record of type 22, version 3.x, of at most 16 KiB; as a header it would announce petabytes. */
static bool is_tls_hello(const uint8_t *bytes)
{
    return bytes[0] == 22 && bytes[1] == 3 && bytes[2] <= 4 && bytes[3] <= 0x40;
}

static void take_header(struct packet_connection *connection)
{
    struct packet_server *server = connection->lane->server;
    struct packet_request *request = &connection->request;
    struct error error = {0};
    bool in_step = proto_header_unpack(connection->input + connection->position, &connection->header, &error);

    if (connection->requests == 0 && is_tls_hello(connection->input + connection->position))
        in_step = error_set(&error, ERROR_MALFORMED,
                            "the client speaks TLS, and this port does not: TLS is spoken at listen_tls");
    connection->position += PROTO_HEADER_SIZE;
    connection->command = server->by_command[connection->header.command];
    memset(request, 0, sizeof(*request));
    request->connection = connection;
    request->loop = connection->lane->loop;
    request->command = connection->header.command;
    request->body_length = connection->header.length;
    request->start_us = clock_monotonic_us();
    connection->requests++;
    connection->asked = connection->asked || connection->header.command > PROTO_SESSION_WHOAMI;
    connection->outcome = ERROR_NONE;
    atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
    metric_add(packet_request_metrics(connection)->requests, 1);
    if (!in_step || !check_header(connection, &error) ||
        (atomic_load_explicit(&server->is_rated, memory_order_relaxed) &&
         !packet_session_within_rate(connection, &error)) ||
        (packet_session_matters(server) && !packet_session_admits(connection, false, &error)))
        packet_request_refuse(connection, !in_step, &error);
    else
        packet_connection_enter(connection, PACKET_BODY);
}

static bool step_header(struct packet_connection *connection)
{
    if (fill_input(connection, PROTO_HEADER_SIZE)) {
        take_header(connection);
        return true;
    }
    if (connection->broken)
        return true;
    if (connection->ended || (buffered(connection) == 0 && connection->lane->stopping &&
                              (connection->asked || !connection->lane->spares))) {
        if (!packet_gather_flush(connection)) /* the peer may still read what it asked for before */
            return connection->broken;
        packet_connection_enter(connection, PACKET_CLOSED);
        return false;
    }
    if (buffered(connection) == 0)
        free_input(connection);
    else if (connection->state == PACKET_IDLE)
        packet_connection_enter(connection, PACKET_HEADER);
    return connection->readable;
}

static bool packet_step_body(struct packet_connection *connection)
{
    const struct packet_command *command = connection->command;
    struct packet_request *request = &connection->request;
    size_t need = command->head > 0 ? command->head : (size_t)connection->header.length;

    if (!fill_input(connection, need)) {
        if (connection->ended) /* it never becomes complete */
            connection->broken = true;
        return connection->broken || connection->readable;
    }
    request->head = need > 0 ? connection->input + connection->position : connection->small_body;
    request->head_size = need;
    request->body_left = connection->header.length - (int64_t)need;
    connection->position += need;
    connection->head_held = true;
    packet_connection_enter(connection, PACKET_HANDLING);
    if (packet_session_matters(connection->lane->server)) {
        struct error error;

        if (!packet_session_admits(connection, true, &error)) {
            packet_reply_failure(request, &error);
            return true;
        }
    }
    command->handle(request);
    return true;
}

static void complete_read(struct packet_connection *connection, int64_t bytes)
{
    void (*done)(struct packet_request *, int64_t) = connection->read_done;

    if (bytes > 0)
        connection->request.body_left -= bytes;
    connection->read_done = NULL;
    packet_connection_enter(connection, PACKET_HANDLING);
    done(&connection->request, bytes);
}

static bool step_reading(struct packet_connection *connection)
{
    uint8_t *to = connection->read_buffer + connection->read_got;
    size_t left = connection->read_size - connection->read_got;
    size_t got = min_size(left, buffered(connection));

    if (got > 0) {
        memcpy(to, connection->input + connection->position, got);
        connection->position += got;
    } else if (left > 0) {
        got = receive(connection, to, left, 0);
        if (connection->ended)
            connection->broken = true;
    }
    connection->read_got += got;
    if (connection->broken)
        return true;
    if (connection->read_got < connection->read_size)
        return got > 0;
    complete_read(connection, (int64_t)connection->read_size);
    return true;
}

static bool step_replying(struct packet_connection *connection)
{
    bool small = connection->has_file && connection->file_length <= PACKET_SMALL_FILE;

    if (small && connection->sent == 0 && connection->file_length > 0 && packet_gather_file(connection)) {
        connection->file_length = 0;
        free_output(connection);
    }
    if (!flush_output(connection))
        return connection->broken;
    if (!connection->has_file) {
        packet_connection_enter(connection, PACKET_IDLE);
    } else if (connection->file_length > 0) {
        packet_request_send_file(connection);
    } else {
        packet_request_end_file(connection, true);
        packet_connection_enter(connection, connection->body_left > 0 ? PACKET_DRAINING : PACKET_IDLE);
    }
    return true;
}

static bool step_sending(struct packet_connection *connection)
{
    if (connection->has_file)
        return false;
    packet_connection_enter(connection, connection->body_left > 0 ? PACKET_DRAINING : PACKET_IDLE);
    return true;
}

static bool step_draining(struct packet_connection *connection)
{
    bool flushed = packet_gather_flush(connection) && flush_output(connection);
    int64_t discarded = 0;

    if (connection->body_left > 0) {
        discarded = discard_input(connection, connection->body_left);
        connection->body_left -= discarded;
    }
    if (connection->broken)
        return true;
    if (flushed && connection->body_left == 0) {
        packet_connection_enter(connection, PACKET_IDLE);
        return true;
    }
    if (flushed && connection->ended) {
        packet_connection_enter(connection, PACKET_CLOSED);
        return false;
    }
    return discarded > 0;
}

static bool step_lingering(struct packet_connection *connection)
{
    bool flushed = packet_gather_flush(connection) && flush_output(connection);
    int64_t discarded;

    if (flushed && !connection->shut && !connection->broken) {
        connection->shut = true;
        if (transport_shutdown(connection->transport) != 0)
            connection->broken = true;
    }
    discarded = discard_input(connection, INT64_MAX);
    if (connection->broken)
        return true;
    if (flushed && connection->ended) {
        packet_connection_enter(connection, PACKET_CLOSED);
        return false;
    }
    return discarded > 0;
}

static void file_cancelled(void *argument)
{
    struct packet_connection *connection = argument;

    packet_request_end_file(connection, false);
    packet_connection_enter(connection, PACKET_CLOSED);
    packet_connection_run(connection);
}

/* The peer has gone: what waits for it is informed, and the connection ends when its handler has finished. */
static bool step_broken(struct packet_connection *connection)
{
    struct file_send *file = connection->file;

    switch (connection->state) {
    case PACKET_HANDLING:
    case PACKET_CANCELLED:
    case PACKET_CLOSED:
        return false;
    case PACKET_READING:
        complete_read(connection, -1);
        return true;
    case PACKET_SENDING:
        if (file) {
            connection->file = NULL;
            packet_connection_enter(connection, PACKET_CANCELLED);
            file_send_cancel(file, file_cancelled, connection);
            return false;
        }
        break;
    case PACKET_REPLYING:
        if (connection->has_file)
            packet_request_end_file(connection, false);
        break;
    case PACKET_IDLE:
    case PACKET_HEADER:
    case PACKET_BODY:
    case PACKET_DRAINING:
    case PACKET_LINGERING:
        break;
    }
    packet_connection_enter(connection, PACKET_CLOSED);
    return false;
}

bool packet_connection_step(struct packet_connection *connection)
{
    if (!connection->broken && !packet_gather_flush_rest(connection) && !connection->broken)
        return false;
    if (connection->broken)
        return step_broken(connection);
    switch (connection->state) {
    case PACKET_IDLE:
    case PACKET_HEADER:
        return step_header(connection);
    case PACKET_BODY:
        return packet_step_body(connection);
    case PACKET_READING:
        return step_reading(connection);
    case PACKET_REPLYING:
        return step_replying(connection);
    case PACKET_SENDING:
        return step_sending(connection);
    case PACKET_DRAINING:
        return step_draining(connection);
    case PACKET_LINGERING:
        return step_lingering(connection);
    case PACKET_HANDLING:
    case PACKET_CANCELLED:
    case PACKET_CLOSED:
        break;
    }
    return false;
}
