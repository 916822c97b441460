/*
 * http_unsent: the share of a total, halved and doubled as connections come and go.
 */
#include "httpd/serve/http_unsent.h"
#include "common/base/log.h"
#include "httpd/serve/http_connection.h"
#include <inttypes.h>
#include <netinet/tcp.h>

int64_t http_unsent_share(int64_t max, int64_t total, size_t count)
{
    int64_t share = max;
    while (total > 0 && share / 2 >= HTTP_UNSENT_MIN && count > (size_t)(total / share))
        share /= 2;
    return share;
}

static void set_share(int socket, int64_t share)
{
    static struct log_gate gate;
    uint64_t suppressed;
    int bytes = (int)min_i64(share, INT32_MAX);
    if (setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) != 0 &&
        log_gate_open(&gate, 10000, &suppressed))
        log_warning("unsent", "a connection keeps its limit of unsent bytes: TCP_NOTSENT_LOWAT: %m");
}

void http_unsent_tick(struct http_loop *loop, size_t connections)
{
    const struct http_connection *connection;
    int64_t share = http_unsent_share(loop->unsent_max, loop->unsent_total, connections);
    /* More only where a quarter more of them would still fit: a count that sways sets nothing. */
    if (share > loop->unsent)
        share = max_i64(loop->unsent, http_unsent_share(loop->unsent_max, loop->unsent_total,
                                                        connections + connections / 4));
    if (share == loop->unsent)
        return;
    loop->unsent = share;
    for (int state = 0; state < CONNECTION_CLOSED; state++) {
        TAILQ_FOREACH(connection, &loop->lists[state], link)
        set_share(connection->transport.fd, share);
    }
}

void http_unsent_accepted(const struct http_loop *loop, int socket)
{
    if (loop->unsent != loop->unsent_max)
        set_share(socket, loop->unsent);
}
