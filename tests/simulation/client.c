/*
 * client: a connection for each request; see client.h.
 */
#include "tests/simulation/client.h"

#include "common/proto/proto.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct wish {
    int fd;
    short events;
};

static bool is_ready(void *argument)
{
    const struct wish *wish = argument;
    struct pollfd poll_fd = {.fd = wish->fd, .events = wish->events};
    return poll(&poll_fd, 1, 0) > 0;
}

static bool send_all(int fd, const uint8_t *bytes, size_t size, int64_t until_us)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, min_size(size, 20000), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent < 0 && !wait_ready(is_ready, &(struct wish){fd, POLLOUT}, until_us))
            return false;
        bytes += sent < 0 ? 0 : sent;
        size -= sent < 0 ? 0 : (size_t)sent;
        if (chance(100000))
            sleep_us(chance_below(20000));
    }
    return true;
}

static bool receive_all(int fd, uint8_t *bytes, size_t size, int64_t until_us)
{
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        if (got < 0 && !wait_ready(is_ready, &(struct wish){fd, POLLIN}, until_us))
            return false;
        bytes += got < 0 ? 0 : got;
        size -= got < 0 ? 0 : (size_t)got;
    }
    return true;
}

static bool receive(int fd, struct reply *reply, int64_t until_us)
{
    uint8_t header_bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    if (!receive_all(fd, header_bytes, sizeof(header_bytes), until_us) ||
        !proto_header_unpack(header_bytes, &header, NULL) || header.length > 100000000)
        return false;
    reply->size = (size_t)header.length;
    reply->body = calloc(1, reply->size + 1);
    if (!receive_all(fd, reply->body, reply->size, until_us))
        return false;
    reply->code = header.status == PROTO_STATUS_OK ? 0 : ERROR_GENERAL;
    if (reply->code != 0 && reply->size >= 2)
        reply->code = (int16_t)(reply->body[0] << 8 | reply->body[1]);
    return true;
}

void client_ask(uint16_t port, uint8_t command, const void *head, size_t head_size, const void *content,
                size_t content_size, int64_t timeout_us, struct reply *reply)
{
    uint8_t header[PROTO_HEADER_SIZE];
    int64_t until_us = now_us() + timeout_us;
    *reply = (struct reply){0};
    int fd = net_connect(port);
    if (fd < 0)
        return;
    reply->sent = true;
    proto_header_pack(header, (int64_t)(head_size + content_size), command, PROTO_STATUS_OK);
    /* A server that refuses answers before it has everything: the reply is read after a send that broke too. */
    bool whole = send_all(fd, header, sizeof(header), until_us) && send_all(fd, head, head_size, until_us) &&
                 send_all(fd, content, content_size, until_us);
    (void)whole;
    reply->complete = receive(fd, reply, until_us);
    (void)close(fd);
}

void client_leave(uint16_t port, uint8_t command, const void *head, size_t head_size, const void *content,
                  size_t content_size, size_t sent)
{
    uint8_t header[PROTO_HEADER_SIZE];
    int64_t until_us = now_us() + 20 * SECOND_US;
    int fd = net_connect(port);
    if (fd < 0)
        return;
    proto_header_pack(header, (int64_t)(head_size + content_size), command, PROTO_STATUS_OK);
    bool whole = send_all(fd, header, sizeof(header), until_us) && send_all(fd, head, head_size, until_us) &&
                 send_all(fd, content, sent, until_us);
    (void)whole; /* it is broken off in any case */
    sleep_us(chance_below(chance(500000) ? 20000 : 4 * SECOND_US));
    (void)close(fd);
}

void client_free(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

uint8_t *content_make(int file, int number, size_t *size)
{
    static const size_t sizes[] = {700, 12, 5000, 0, 150000, 16384};
    *size = sizes[(file * 2 + number) % (int)ARRAY_SIZE(sizes)];
    static uint8_t *made[16][4]; /* each is asked for again and again */
    uint8_t **kept = &made[file % 16][number % 4];
    if (!*kept) {
        *kept = malloc(*size + 1);
        for (size_t i = 0; i < *size; i++)
            (*kept)[i] = (uint8_t)(i * 31 + (size_t)file * 7 + (size_t)number * 101 + (i >> 8));
    }
    uint8_t *bytes = malloc(*size + 1);
    memcpy(bytes, *kept, *size);
    return bytes;
}
