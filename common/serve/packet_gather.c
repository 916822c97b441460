/*
 * packet_gather: replies of one connection that leave in one send(2): those to requests that came together,
 * each ready at once. They are put into the lane's one buffer and leave it before anything else of the lane
 * runs; what the socket does not take stays with the connection, which reads no further request until it is
 * out. On the connection's loop.
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

/* Sends some. False: nothing now; the connection may be broken. */
static bool packet_gather_send(struct packet_connection *connection, const uint8_t *bytes, size_t size,
                               size_t *sent)
{
    ssize_t now;

    do {
        now = transport_send(connection->transport, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (now < 0 && errno == EINTR);
    if (now < 0 && errno != EAGAIN)
        connection->broken = true;
    if (now <= 0)
        return false;
    metric_add(connection->lane->server->sent_metric, now);
    *sent += (size_t)now;
    return true;
}

/* While the rest waits in a state that counts no progress of its own: so long for each byte. */
static void set_deadline(struct packet_connection *connection)
{
    int64_t limit =
        atomic_load_explicit(&connection->lane->server->progress_timeout_ms, memory_order_relaxed);

    switch (connection->state) {
    case PACKET_IDLE:
    case PACKET_HEADER:
    case PACKET_BODY:
        connection->deadline_ms = limit > 0 ? clock_monotonic_ms() + limit : 0;
        break;
    default:
        break;
    }
}

static void gather_keep_rest(struct packet_connection *connection, const uint8_t *bytes, size_t size)
{
    connection->rest = malloc(size);
    if (!connection->rest) {
        log_error("packet", "c%" PRIu64 ": no memory for %zu bytes of replies, connection cut",
                  connection->id, size);
        connection->broken = true;
        return;
    }
    memcpy(connection->rest, bytes, size);
    connection->rest_size = size;
    connection->rest_sent = 0;
    set_deadline(connection);
    packet_connection_relist(connection);
    packet_connection_hold(connection, size);
}

bool packet_gather_flush(struct packet_connection *connection)
{
    struct packet_lane *lane = connection->lane;
    size_t sent = 0;

    if (lane->gatherer != connection)
        return !connection->rest;
    while (sent < lane->gathered &&
           packet_gather_send(connection, lane->gather + sent, lane->gathered - sent, &sent))
        ;
    if (sent < lane->gathered && !connection->broken)
        gather_keep_rest(connection, lane->gather + sent, lane->gathered - sent);
    lane->gathered = 0;
    lane->gatherer = NULL;
    return !connection->rest && !connection->broken;
}

bool packet_gather_flush_rest(struct packet_connection *connection)
{
    while (connection->rest) {
        size_t before = connection->rest_sent;

        if (!packet_gather_send(connection, connection->rest + before, connection->rest_size - before,
                                &connection->rest_sent))
            return false;
        set_deadline(connection);
        if (connection->rest_sent == connection->rest_size)
            packet_gather_free(connection);
    }
    return true;
}

void packet_gather_free(struct packet_connection *connection)
{
    if (connection->lane->gatherer == connection) {
        connection->lane->gatherer = NULL;
        connection->lane->gathered = 0;
    }
    if (!connection->rest)
        return;
    atomic_fetch_sub(&connection->lane->server->unsent, connection->rest_size);
    free(connection->rest);
    connection->rest = NULL;
    if (connection->head_ms > 0) /* it could not be read on before */
        connection->head_ms = clock_monotonic_ms();
    packet_connection_relist(connection);
}

/* Room for a reply with a body of SIZE bytes; NULL: it cannot be gathered. */
static uint8_t *gather_room(struct packet_connection *connection, size_t size)
{
    struct packet_lane *lane = connection->lane;

    if (!connection->running || connection->rest || (lane->gatherer && lane->gatherer != connection) ||
        size > PACKET_SMALL_FILE)
        return NULL;
    if (!lane->gather)
        lane->gather = malloc(PACKET_GATHER_SIZE);
    if (!lane->gather)
        return NULL;
    if (PACKET_GATHER_SIZE - lane->gathered < PROTO_HEADER_SIZE + size && !packet_gather_flush(connection))
        return NULL;
    return lane->gather + lane->gathered;
}

static void gather_add(struct packet_connection *connection, size_t size)
{
    connection->lane->gatherer = connection;
    connection->lane->gathered += PROTO_HEADER_SIZE + size;
}

bool packet_gather_bytes(struct packet_connection *connection, const void *body, size_t size)
{
    struct packet_lane *lane = connection->lane;
    uint8_t *at = gather_room(connection, size);

    if (!at)
        return false;
    proto_header_pack(at, (int64_t)size, lane->server->options.reply_command, PROTO_STATUS_OK);
    if (size > 0)
        memcpy(at + PROTO_HEADER_SIZE, body, size);
    gather_add(connection, size);
    return true;
}

bool packet_gather_file(struct packet_connection *connection)
{
    size_t size = (size_t)connection->file_length;
    uint8_t *at = gather_room(connection, size);
    struct iovec part;

    if (!at)
        return false;
    memcpy(at, connection->out_header, PROTO_HEADER_SIZE);
    part = (struct iovec){at + PROTO_HEADER_SIZE, size};
    if (preadv2(connection->file_fd, &part, 1, connection->file_offset, RWF_NOWAIT) != (ssize_t)size)
        return false;
    gather_add(connection, size);
    return true;
}
