/*
 * source: what all sources have in common: what they are given when they are opened, and the client's socket.
 */
#include "httpd/source/source.h"
#include "httpd/files/http_lookup.h"
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

bool source_has_room(int socket)
{
    struct pollfd entry = {.fd = socket, .events = POLLOUT};
    return poll(&entry, 1, 0) != 0;
}

void source_init(struct source *source, const struct source_operations *operations,
                 const struct source_options *options)
{
    source->operations = operations;
    source->loop = options->loop;
    source->file = http_lookup_file_take(options->file);
    source->connection_id = options->connection_id;
    source->request = options->request;
    source->wake = options->wake;
    source->argument = options->argument;
}

void source_end(struct source *source)
{
    http_lookup_file_release(source->file);
}

/* What was announced with MSG_MORE does not come at once: the kernel need not wait for it with the bytes it
 * has. */
static void source_uncork(struct source *source, int socket)
{
    int on = 1;
    if (source->corked && setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0)
        source->corked = false;
}

enum source_status source_send(struct source *source, struct transport to, struct http_output *out, bool last,
                               int64_t *budget)
{
    enum source_status status = source->operations->send(source, to, out, last, budget);
    if (status == SOURCE_WAIT || status == SOURCE_BLOCKED)
        source_uncork(source, to.fd);
    return status;
}
