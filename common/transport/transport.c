/*
 * transport: the end of a connection's sending, and of the connection.
 */
#include "common/transport/transport.h"
#include <unistd.h>

int transport_shutdown(struct transport at)
{
    if (at.tls)
        tls_say_end(at.tls);
    return shutdown(at.fd, SHUT_WR);
}

void transport_close(struct transport *at)
{
    if (at->tls) {
        tls_say_end(at->tls);
        tls_free(at->tls);
    }
    at->tls = NULL;
    (void)close(at->fd);
    at->fd = -1;
}
