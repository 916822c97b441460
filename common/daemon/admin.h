/*
 * admin: a small HTTP port for operators, on libevent's evhttp: GET /metrics (Prometheus text), /healthz (200 "ok"
 * or "degraded: REASON", or 503 with the reason), /status (JSON). For a private address; not for the public. Runs on the main loop.
 */
#ifndef REEL_COMMON_ADMIN_H
#define REEL_COMMON_ADMIN_H

#include "common/base/address.h"
#include "common/base/error.h"
#include <event2/event.h>
#include <jansson.h>

struct admin;

struct admin_handlers {
    /* False and a REASON: not able to work. True and a REASON: it works, but something is not as it should be. */
    bool (*health)(void *argument, char *reason, size_t reason_size);
    json_t *(*status)(void *argument); /* new reference */
    void *argument;
};

/* Listens on every address of LISTEN (resolved here: may block, start-up only). */
MUST_CHECK struct admin *admin_create(struct event_base *base, const struct address_list *listen,
                                      const struct admin_handlers *handlers, struct error *error);
void admin_destroy(struct admin *admin);

#endif
