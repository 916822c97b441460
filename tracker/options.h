/*
 * options: the tracker's configuration: one struct, one table. Read by main.c and service.c only.
 */
#ifndef REEL_TRACKER_OPTIONS_H
#define REEL_TRACKER_OPTIONS_H

#include "common/daemon/packet_daemon.h"

struct tracker_config {
    struct packet_daemon_config base; /* must be first */
    int64_t heartbeat_timeout_ms;
    int64_t suspect_grace_ms;
    int64_t forget_after_ms;
    int64_t groups_refresh_ms;
    int64_t groups_max;
    int64_t storages_max;
    struct config_strings applications;
    struct config_strings pins;
    struct config_strings admin_addresses;
    struct config_strings storage_addresses;
    int64_t storages_per_address;
    int64_t minimum_free;
    int64_t route_cache_entries;
    int64_t route_cache_age_ms;
    int64_t unknown_user_age_ms;
};

extern const struct config_option tracker_options[];
extern const size_t tracker_option_count;

/* What the table cannot express: options that must fit each other, application names, pins, the database's
 * URL. CONFIG is a struct tracker_config. */
MUST_CHECK bool tracker_options_check(const void *config, struct error *error);

#endif
