/*
 * options: the ID server's configuration: one struct, one table. Read by main.c and service.c only.
 */
#ifndef REEL_IDSERVER_OPTIONS_H
#define REEL_IDSERVER_OPTIONS_H

#include "common/daemon/packet_daemon.h"

struct idserver_config {
    struct packet_daemon_config base; /* must be first */
    int64_t step;
    int64_t keys_max;
    struct config_strings keys;
    int64_t range_rate;
    int64_t waiting_max;
    int64_t probe_interval_ms;
};

extern const struct config_option idserver_options[];
extern const size_t idserver_option_count;

/* What the table cannot express: the listed keys, the database's URL. CONFIG is a struct idserver_config. */
MUST_CHECK bool idserver_options_check(const void *config, struct error *error);

#endif
