/*
 * client: one request of a client to a server, as it is on the wire; and contents to upload. On a fiber.
 */
#ifndef REEL_TESTS_SIMULATION_CLIENT_H
#define REEL_TESTS_SIMULATION_CLIENT_H

#include "tests/simulation/sim.h"

struct reply {
    bool sent;     /* something of the request may have arrived */
    bool complete; /* the reply came whole; CODE and BODY hold */
    int code;      /* 0, or the number of the failure */
    uint8_t *body; /* owned */
    size_t size;
};

/* HEAD and CONTENT make the body. Waits at most TIMEOUT_US. */
void client_ask(uint16_t port, uint8_t command, const void *head, size_t head_size, const void *content,
                size_t content_size, int64_t timeout_us, struct reply *reply);
/* The same, but the connection is broken off behind SENT bytes of CONTENT, sooner or later. */
void client_leave(uint16_t port, uint8_t command, const void *head, size_t head_size, const void *content,
                  size_t content_size, size_t sent);
void client_free(struct reply *reply);

/* Content number NUMBER of file FILE; allocated, *SIZE bytes. */
uint8_t *content_make(int file, int number, size_t *size);

#endif
