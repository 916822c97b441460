/*
 * source: what every source asks of the client's socket.
 */
#include "httpd/source/source.h"
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

bool source_has_room(int socket)
{
    struct pollfd entry = {.fd = socket, .events = POLLOUT};
    return poll(&entry, 1, 0) != 0;
}

void source_uncork(int socket, bool *corked)
{
    int on = 1;
    if (*corked && setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0)
        *corked = false;
}
