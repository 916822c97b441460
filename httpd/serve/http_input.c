/*
 * http_input: a small buffer, which a head that does not fit exchanges for a large one.
 */
#include "httpd/serve/http_input.h"
#include "common/base/log.h"
#include "httpd/serve/http_connection.h"
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

void http_input_give(struct http_connection *connection)
{
    http_buffers_give(&connection->loop->buffers, connection->in_class, connection->in);
    connection->in = NULL;
    connection->in_start = connection->in_end = 0;
}

/* Room behind in_end; false without memory, or where a whole head of the largest size is there already. */
static bool connection_make_room(struct http_connection *connection)
{
    struct http_buffers *buffers = &connection->loop->buffers;
    if (!connection->in) {
        connection->in = http_buffers_take(buffers, HTTP_BUFFER_SMALL);
        connection->in_class = HTTP_BUFFER_SMALL;
        return connection->in != NULL;
    }
    if (connection->in_end < http_buffers_size(buffers, connection->in_class))
        return true;
    uint32_t size = connection->in_end - connection->in_start;
    if (connection->in_start > 0) {
        memmove(connection->in, connection->in + connection->in_start, size);
    } else {
        char *larger =
            connection->in_class == HTTP_BUFFER_SMALL ? http_buffers_take(buffers, HTTP_BUFFER_LARGE) : NULL;
        if (!larger)
            return false;
        memcpy(larger, connection->in, size);
        http_buffers_give(buffers, HTTP_BUFFER_SMALL, connection->in);
        connection->in = larger;
        connection->in_class = HTTP_BUFFER_LARGE;
    }
    connection->in_start = 0;
    connection->in_end = size;
    return size < http_buffers_size(buffers, connection->in_class);
}

enum http_input http_input_read(struct http_connection *connection)
{
    if (connection->half_closed)
        return HTTP_INPUT_END;
    if (!connection->readable)
        return HTTP_INPUT_NONE;
    if (!connection_make_room(connection))
        return HTTP_INPUT_BROKEN;
    size_t room = http_buffers_size(&connection->loop->buffers, connection->in_class) - connection->in_end;
    ssize_t got;
    do {
        got = transport_recv(connection->transport, connection->in + connection->in_end, room, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        connection->in_end += (uint32_t)got;
        /* A short read has emptied the socket: epoll(7), "edge-triggered". */
        if ((size_t)got < room && !connection->hung_up && !transport_pending(connection->transport))
            connection->readable = false;
        return HTTP_INPUT_MORE;
    }
    connection->readable = false;
    if (got == 0) {
        connection->half_closed = true;
        return HTTP_INPUT_END;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? HTTP_INPUT_NONE : HTTP_INPUT_BROKEN;
}

void http_input_look_again(struct http_connection *connection)
{
    connection->readable = true;
}

size_t http_input_size(const struct http_connection *connection)
{
    return connection->in_end - connection->in_start;
}

bool http_input_take_proxy_header(struct http_connection *connection)
{
    size_t used = 0;
    switch (proxy_header_parse(connection->in + connection->in_start, http_input_size(connection), &used,
                               &connection->peer)) {
    case PROXY_HEADER_MORE:
        http_input_look_again(connection);
        return true;
    case PROXY_HEADER_DONE:
        connection->in_start += (uint32_t)used;
        connection->expects_proxy = false;
        return true;
    case PROXY_HEADER_BROKEN:
        break;
    }
    static struct log_gate gate;
    uint64_t suppressed;
    if (log_gate_open(&gate, 1000, &suppressed))
        log_warning("connection",
                    "c%" PRIu64
                    ": closed: no PROXY header came first, which httpd.proxy_protocol requires (%" PRIu64
                    " more since the last line)",
                    connection->id, suppressed);
    return false;
}

void http_input_note_tls(const struct http_connection *connection)
{
    static struct log_gate gate;
    uint64_t suppressed;
    char peer[INET6_ADDRSTRLEN];
    const char *bytes = connection->in + connection->in_start;
    if (connection->requests > 0 || http_input_size(connection) < 2 || bytes[0] != 22 || bytes[1] != 3 ||
        !log_gate_open(&gate, 10000, &suppressed))
        return;
    log_info("connection",
             "c%" PRIu64
             ": %s speaks TLS to a port of httpd.listen; HTTPS is served at httpd.listen_tls (%" PRIu64
             " more since the last line)",
             connection->id, http_peer_text(&connection->peer, peer, sizeof(peer)), suppressed);
}

void http_input_drop(struct http_connection *connection, size_t used)
{
    uint32_t start = connection->in_start + connection->exchange.request.head_size;
    uint32_t left = connection->in_end - start - (uint32_t)used;
    memmove(connection->in + start, connection->in + start + used, left);
    connection->in_end = start + left;
}
