/*
 * options: the ID server's configuration: one struct, one table. Read by main.c and service.c only.
 */
#ifndef REEL_IDSERVER_OPTIONS_H
#define REEL_IDSERVER_OPTIONS_H

#include "common/daemon.h"

struct idserver_config {
    struct daemon_config daemon; /* must be first */
    struct address_list listen;
    int64_t connections_max;
    int64_t idle_timeout_ms;
    int64_t progress_timeout_ms;
    int64_t refused_body_timeout_ms;
    int64_t step;
    int64_t keys_max;
    struct config_strings keys;
    int64_t waiting_max;
    int64_t probe_interval_ms;
    char *database_url;
    int64_t database_threads;
    int64_t database_queue;
    int64_t database_timeout_ms;
};

extern const struct config_option idserver_options[];
extern const size_t idserver_option_count;

/* What the table cannot say: the listed keys, the database's URL. */
MUST_CHECK bool idserver_options_check(const struct idserver_config *config, struct error *error);

#endif
