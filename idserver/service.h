/*
 * service: the ID server's life and its commands: GET and RANGE (docs/protocol.md). Puts sequences, database
 * and packet server together, and asks the database now and then whether it is there. Called by main.c, on
 * the main thread.
 */
#ifndef REEL_IDSERVER_SERVICE_H
#define REEL_IDSERVER_SERVICE_H

#include "idserver/options.h"

/* The functions of struct daemon_spec of the same names. */
MUST_CHECK bool idserver_service_start(struct daemon *daemon, struct error *error);
void idserver_service_stop(struct daemon *daemon);
void idserver_service_end_workers(struct daemon *daemon);
void idserver_service_destroy(struct daemon *daemon);
MUST_CHECK bool idserver_service_reload(struct daemon *daemon, const void *new_config, struct error *error);
MUST_CHECK bool idserver_service_health(struct daemon *daemon, char *reason, size_t reason_size);
MUST_CHECK json_t *idserver_service_status(struct daemon *daemon);

#endif
