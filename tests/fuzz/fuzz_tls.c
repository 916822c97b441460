/*
 * Fuzzes the transport under TLS over a pair of sockets. First byte even: the rest is what a stranger says to a server, in
 * pieces; nothing of it is ever content. Odd: a connection with a pre-shared key, and each further byte is something that
 * one of its ends does, foreign bytes among it: whatever arrives is what the other end sent, in its order. In both OpenSSL's queue of errors is empty after each call.
 */
#include "common/base/log.h"
#include "common/transport/tls_internal.h"
#include "common/transport/transport.h"
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 2000
#define SEND_MAX  40000
#define IDENTITY  "reel-1 fuzz"
#define REQUIRE(x)                                                                                           \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct transport at;
    uint64_t sent, received; /* bytes of content */
    bool ended;              /* has said so */
};

static bool find_key(void *argument, const char *identity, uint8_t key[TLS_KEY_SIZE])
{
    (void)argument;
    memset(key, 3, TLS_KEY_SIZE);
    return strcmp(identity, IDENTITY) == 0;
}

static bool own_key(void *argument, char identity[TLS_IDENTITY_SIZE], uint8_t key[TLS_KEY_SIZE])
{
    (void)argument;
    (void)snprintf(identity, TLS_IDENTITY_SIZE, IDENTITY);
    memset(key, 3, TLS_KEY_SIZE);
    return true;
}

static struct tls_server *server;
static struct tls_client *client;

static void make_ends(void)
{
    static const struct config_strings none;
    static const struct tls_keys keys = {.find = find_key, .own = own_key};
    const struct tls_options options = {
        .profile = TLS_FOR_PACKETS, .certificates = &none, .keys = &none, .ca = "", .psk = &keys};
    struct error error;

    log_set_level(LOG_LEVEL_ERROR);
    server = tls_server_create(&options, &error);
    client = tls_client_create(&options, &error);
    REQUIRE(server && client);
}

static uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(offset * 2654435761u >> 13);
}

static void open_pair(struct end *near, struct end *far, bool with_client)
{
    int pair[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    near->at = (struct transport){pair[0], tls_server_session(server, pair[0])};
    far->at = (struct transport){pair[1], with_client ? tls_client_session(client, pair[1], "host") : NULL};
    REQUIRE(near->at.tls && (far->at.tls || !with_client));
}

/* ---- a stranger ---- */

static void strangers_bytes(const uint8_t *data, size_t size)
{
    struct end near = {0}, far = {0};
    struct error error;
    uint8_t got[64];
    size_t done = 0;

    open_pair(&near, &far, false);
    while (done < size) {
        size_t piece = min_size(1 + (size_t)data[done] * 16, size - done);
        ssize_t now = send(far.at.fd, data + done, piece, MSG_NOSIGNAL);

        if (now <= 0)
            break;
        done += (size_t)now;
        REQUIRE(tls_handshake(near.at.tls, &error) != TLS_READY);
        REQUIRE(ERR_peek_error() == 0);
    }
    (void)shutdown(far.at.fd, SHUT_WR);
    (void)tls_handshake(near.at.tls, &error);
    REQUIRE(transport_recv(near.at, got, sizeof(got), 0) < 0);
    REQUIRE(ERR_peek_error() == 0);
    transport_close(&near.at);
    close(far.at.fd);
}

/* ---- two that know each other ---- */

static void do_send(struct end *from, size_t size)
{
    static uint8_t content[SEND_MAX];
    ssize_t sent;

    if (from->ended)
        return;
    for (size_t i = 0; i < size; i++)
        content[i] = pattern(from->sent + i);
    sent = transport_send(from->at, content, size, 0);
    REQUIRE(sent <= (ssize_t)size);
    if (sent > 0)
        from->sent += (uint64_t)sent;
}

static void do_receive(struct end *to, const struct end *from, size_t size, int flags)
{
    static uint8_t got[SEND_MAX];
    ssize_t now = transport_recv(to->at, got, size, flags);

    REQUIRE(now <= (ssize_t)size);
    if (now <= 0)
        return;
    for (ssize_t i = 0; i < now && (flags & MSG_TRUNC) == 0; i++)
        REQUIRE(got[i] == pattern(to->received + (uint64_t)i));
    if ((flags & MSG_PEEK) == 0)
        to->received += (uint64_t)now;
    /* What is held counts as sent later. */
    REQUIRE(to->received <= from->sent + TLS_BATCH_SIZE);
}

/* Whatever it does to the stream, no content that was not sent may come of it. */
static void do_foreign(const struct end *from, const uint8_t *bytes, size_t size)
{
    (void)!send(from->at.fd, bytes, size, MSG_NOSIGNAL);
}

static void do_one(struct end *from, struct end *to, const uint8_t *data, size_t left)
{
    size_t amount = left > 1 ? (size_t)data[1] * data[1] % SEND_MAX + 1 : 1;

    switch (data[0] >> 1 & 7) {
    case 0:
    case 1:
        do_send(from, amount);
        break;
    case 2:
    case 3:
        do_receive(to, from, amount, 0);
        break;
    case 4:
        do_receive(to, from, amount, MSG_PEEK);
        break;
    case 5:
        do_receive(to, from, amount, MSG_TRUNC);
        break;
    case 6:
        if (left > 4 && data[1] > 200)
            do_foreign(from, data + 2, min_size(left - 2, 30));
        else if (SSL_key_update(from->at.tls->ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
            ERR_clear_error();
        break;
    case 7:
        from->ended = true;
        tls_say_end(from->at.tls);
        break;
    }
    REQUIRE(ERR_peek_error() == 0);
}

static void known_ends(const uint8_t *data, size_t size)
{
    struct end near = {0}, far = {0};
    struct error error;

    open_pair(&near, &far, true);
    for (int i = 0; i < 20 && tls_handshake(far.at.tls, &error) != TLS_READY; i++)
        (void)tls_handshake(near.at.tls, &error);
    REQUIRE(tls_handshake(near.at.tls, &error) == TLS_READY);
    for (size_t i = 0; i < size && i < STEPS_MAX; i++) {
        if (data[i] & 1)
            do_one(&near, &far, data + i, size - i);
        else
            do_one(&far, &near, data + i, size - i);
    }
    transport_close(&near.at);
    transport_close(&far.at);
    REQUIRE(ERR_peek_error() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!server)
        make_ends();
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        strangers_bytes(data + 1, size - 1);
    else
        known_ends(data + 1, size - 1);
    return 0;
}
