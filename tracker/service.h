/*
 * service: the tracker's life: puts table, groups, router, database, packet server and the commands
 * (storage_commands.h, route_commands.h, group_admin.h; GROUPS and STATUS are its own) together. Called by main.c, on
 * the main thread.
 */
#ifndef REEL_TRACKER_SERVICE_H
#define REEL_TRACKER_SERVICE_H

#include "tracker/options.h"

/* The functions of struct daemon_spec of the same names. */
MUST_CHECK bool tracker_service_start(struct daemon *daemon, struct error *error);
void tracker_service_stop(struct daemon *daemon);
void tracker_service_end_workers(struct daemon *daemon);
void tracker_service_destroy(struct daemon *daemon);
MUST_CHECK bool tracker_service_reload(struct daemon *daemon, const void *new_config, struct error *error);
MUST_CHECK bool tracker_service_health(struct daemon *daemon, char *reason, size_t reason_size);
void tracker_service_ask_status(struct daemon *daemon, struct admin_question *question);

#endif
