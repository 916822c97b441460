/*
 * scripted_peer: the accepting thread, one thread per connection, and raw packets.
 */
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/free_port.h"

#include <netinet/tcp.h>

struct peer_connection {
    struct peer *peer;
    int fd, number;
};

void peer_must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "scripted peer: %s: %s\n", what, strerror(errno));
    abort();
}

bool peer_get(int fd, void *buffer, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t now = recv(fd, (char *)buffer + got, size - got, 0);

        if (now <= 0)
            return false;
        got += (size_t)now;
    }
    return true;
}

void peer_put(int fd, const void *bytes, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t now = send(fd, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);

        if (now <= 0)
            return;
        sent += (size_t)now;
    }
}

bool peer_read_header(struct peer *peer, int fd, struct peer_request *request)
{
    uint8_t header[10];

    memset(request, 0, sizeof(*request));
    if (!peer_get(fd, header, sizeof(header)))
        return false;
    for (int i = 0; i < 8; i++)
        request->length = request->length << 8 | header[i];
    request->command = header[8];
    request->status = header[9];
    atomic_fetch_add(&peer->requests[request->command], 1);
    return true;
}

bool peer_read(struct peer *peer, int fd, struct peer_request *request)
{
    uint8_t chunk[65536];

    if (!peer_read_header(peer, fd, request))
        return false;
    for (uint64_t left = request->length; left > 0;) {
        size_t size = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);

        if (!peer_get(fd, chunk, size))
            return false;
        for (size_t i = 0; i < size; i++) {
            if (request->head_size < sizeof(request->head))
                request->head[request->head_size++] = chunk[i];
            request->sum = request->sum * 31 + chunk[i];
        }
        left -= size;
    }
    return true;
}

void peer_header(int fd, int64_t length, uint8_t command, uint8_t status)
{
    uint8_t header[10];

    for (int i = 0; i < 8; i++)
        header[i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
    header[8] = command;
    header[9] = status;
    peer_put(fd, header, sizeof(header));
}

void peer_reply(int fd, uint8_t command, const void *body, size_t size)
{
    peer_header(fd, (int64_t)size, command, 0);
    peer_put(fd, body, size);
}

void peer_fail(int fd, uint8_t command, int number, const char *text)
{
    uint8_t body[1026];
    size_t size = strlen(text) + 1;

    body[0] = (uint8_t)((unsigned)number >> 8);
    body[1] = (uint8_t)number;
    memcpy(body + 2, text, size);
    peer_header(fd, (int64_t)(2 + size), command, 0xFD);
    peer_put(fd, body, 2 + size);
}

static void peer_close(struct peer *peer, int fd)
{
    pthread_mutex_lock(&peer->mutex);
    for (int i = 0; i < peer->count; i++) {
        if (peer->sockets[i] == fd) {
            peer->sockets[i] = -1;
            close(fd);
            break;
        }
    }
    pthread_mutex_unlock(&peer->mutex);
}

void peer_reset(struct peer *peer, int fd)
{
    struct linger linger = {1, 0};

    peer_must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0, "SO_LINGER");
    peer_close(peer, fd);
}

static void *peer_connection_main(void *argument)
{
    struct peer_connection connection = *(struct peer_connection *)argument;

    free(argument);
    connection.peer->script(connection.peer, connection.fd, connection.number);
    peer_close(connection.peer, connection.fd);
    return NULL;
}

static void *peer_main(void *argument)
{
    struct peer *peer = argument;

    for (;;) {
        struct peer_connection *connection;
        int fd = accept(peer->listener, NULL, NULL), on = 1;

        if (fd < 0)
            return NULL;
        /* Else what follows a header waits for its acknowledgement, and is lost where the connection is closed meanwhile. */
        peer_must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
        connection = malloc(sizeof(*connection));
        peer_must(connection != NULL && peer->count < PEER_CONNECTIONS_MAX, "too many connections");
        atomic_fetch_add(&peer->accepted, 1); /* before the script's first byte, by which tests know of it */
        pthread_mutex_lock(&peer->mutex);
        connection->peer = peer;
        connection->fd = fd;
        connection->number = peer->count;
        peer->sockets[peer->count] = fd;
        peer_must(pthread_create(&peer->threads[peer->count], NULL, peer_connection_main, connection) == 0,
                  "pthread_create");
        peer->count++;
        pthread_mutex_unlock(&peer->mutex);
    }
}

void peer_start_at(struct peer *peer, uint16_t port, void (*script)(struct peer *, int, int), void *argument)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int one = 1;

    memset(peer, 0, sizeof(*peer));
    peer->script = script;
    peer->argument = argument;
    pthread_mutex_init(&peer->mutex, NULL);
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    peer_must(peer->listener >= 0, "socket");
    peer_must(setsockopt(peer->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0, "SO_REUSEADDR");
    peer_must(bind(peer->listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    peer_must(listen(peer->listener, 128) == 0, "listen");
    peer_must(getsockname(peer->listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    peer->port = ntohs(address.sin_port);
    snprintf(peer->address, sizeof(peer->address), "127.0.0.1:%u", peer->port);
    peer_must(pthread_create(&peer->thread, NULL, peer_main, peer) == 0, "pthread_create");
}

void peer_start(struct peer *peer, void (*script)(struct peer *, int, int), void *argument)
{
    peer_start_at(peer, free_port(), script, argument);
}

void peer_stop(struct peer *peer)
{
    shutdown(peer->listener, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    pthread_mutex_lock(&peer->mutex);
    for (int i = 0; i < peer->count; i++)
        if (peer->sockets[i] >= 0)
            shutdown(peer->sockets[i], SHUT_RDWR);
    pthread_mutex_unlock(&peer->mutex);
    for (int i = 0; i < peer->count; i++)
        pthread_join(peer->threads[i], NULL);
    pthread_mutex_destroy(&peer->mutex);
}

int peer_requests(struct peer *peer, uint8_t command)
{
    return atomic_load(&peer->requests[command]);
}

void peer_dead_address(char text[32])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer_must(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    peer_must(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
    snprintf(text, 32, "127.0.0.1:%u", ntohs(address.sin_port));
}
