/*
 * scripted_peer: a small server for tests of the calling side, built from raw bytes and nothing of common/:
 * it listens on a free port of 127.0.0.1 and runs a script in a thread of its own for each connection.
 * Included by tests only.
 */
#ifndef REEL_TESTS_SCRIPTED_PEER_H
#define REEL_TESTS_SCRIPTED_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_CONNECTIONS_MAX 256

struct peer {
    int listener;
    uint16_t port;
    char address[32];
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_t threads[PEER_CONNECTIONS_MAX];
    int sockets[PEER_CONNECTIONS_MAX]; /* -1: closed by its script */
    int count;                         /* connections accepted */
    atomic_int accepted;
    atomic_int requests[256]; /* by command, counted by peer_read() */
    void (*script)(struct peer *peer, int fd, int connection);
    void *argument;
};

struct peer_request {
    uint64_t length;
    uint8_t command, status;
    uint8_t head[1024]; /* the first bytes of the body */
    size_t head_size;
    uint64_t sum; /* of all bytes of the body */
};

/* Ends the program with WHAT and errno unless FINE. */
void peer_must(bool fine, const char *what);

/* Reads exactly SIZE bytes; false when the connection ends or fails before. */
bool peer_get(int fd, void *buffer, size_t size);

/* Writes SIZE bytes; what a peer that is gone does not take is dropped. */
void peer_put(int fd, const void *bytes, size_t size);

/* The header alone, counted in peer->requests; the body is left to the script. */
bool peer_read_header(struct peer *peer, int fd, struct peer_request *request);

/* A whole request; false when the connection ended before its last byte. */
bool peer_read(struct peer *peer, int fd, struct peer_request *request);

/* A header of a reply; LENGTH bytes of body are up to the script. */
void peer_header(int fd, int64_t length, uint8_t command, uint8_t status);

/* A reply with success. */
void peer_reply(int fd, uint8_t command, const void *body, size_t size);

/* A reply with a failure: NUMBER (negative) and TEXT of at most 1023 bytes. */
void peer_fail(int fd, uint8_t command, int number, const char *text);

/* Closes with a reset, as a crash does. */
void peer_reset(struct peer *peer, int fd);

/* PORT 0: a free one. SCRIPT runs for each connection; the connection is closed when it returns. */
void peer_start_at(struct peer *peer, uint16_t port, void (*script)(struct peer *, int, int), void *argument);

/* As peer_start_at(), on a free port. */
void peer_start(struct peer *peer, void (*script)(struct peer *, int, int), void *argument);

/* Cuts what is open and waits for every script. */
void peer_stop(struct peer *peer);

/* How many requests with COMMAND came. */
int peer_requests(struct peer *peer, uint8_t command);

/* An address of 127.0.0.1 where nobody listens, and nobody will: the port is bound until the process ends. */
void peer_dead_address(char text[32]);

#endif
