/*
 * admin: a small HTTP port for operators, on libevent's evhttp: GET /metrics (Prometheus text), /healthz (200 "ok"
 * or "degraded: REASON", or 503 with the reason), /status (JSON). For a private address; not for the public. Runs on the main loop.
 */
#ifndef REEL_COMMON_ADMIN_H
#define REEL_COMMON_ADMIN_H

#include "common/base/address.h"
#include "common/base/error.h"
#include "common/config/config.h"
#include <event2/event.h>
#include <jansson.h>

struct admin;
struct admin_question; /* one who asked for /status and waits */
struct packet_shared;  /* common/serve/packet_server.h */

struct admin_handlers {
    /* False and a REASON: not able to work. True and a REASON: it works, but something is not as it should be. */
    bool (*health)(void *argument, char *reason, size_t reason_size);
    json_t *(*status)(void *argument); /* an object, new reference; NULL without memory */
    /* May be NULL. Where the status is long, it has what status(), which must give one member at least, leaves out put into words
     * on another thread: admin_answer() comes for QUESTION, once, now or later, also after admin_destroy(). */
    void (*ask)(void *argument, struct admin_question *question);
    void *argument;
};

/* Listens on every address of LISTEN (resolved here: may block, start-up only). HOSTS, which is copied: the names by which it may be
 * called, besides addresses and "localhost". Where it is empty, and where it has "*", by any name; but where all of LISTEN are
 * loopback addresses an empty one means no other name: a web page whose own name is made to mean this machine (DNS rebinding) must not
 * read what is served. */
MUST_CHECK struct admin *admin_create(struct event_base *base, const struct address_list *listen,
                                      const struct config_strings *hosts,
                                      const struct admin_handlers *handlers, struct error *error);
void admin_destroy(struct admin *admin);

/* TEXT: a JSON object with one member at least, which is answered with status()'s members in front, and not copied; a reference
 * that is taken over. NULL: there is none, answered 503. On the main loop. */
void admin_answer(struct admin_question *question, struct packet_shared *text);

#endif
