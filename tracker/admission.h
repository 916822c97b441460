/*
 * admission: from which addresses a command is accepted: a list of networks that a reload replaces. Thread-safe. Called
 * by service.c.
 */
#ifndef REEL_TRACKER_ADMISSION_H
#define REEL_TRACKER_ADMISSION_H

#include "common/config/config.h"

struct admission;

/* NETWORKS as the configuration has them. NULL: ERROR says what is wrong. */
MUST_CHECK struct admission *admission_create(const struct config_strings *networks, struct error *error);
void admission_destroy(struct admission *admission); /* NULL is ignored */
/* On failure the earlier networks stay. */
MUST_CHECK bool admission_configure(struct admission *admission, const struct config_strings *networks,
                                    struct error *error);

/* No network is named: everybody is let in. */
bool admission_is_open(struct admission *admission);
/* HOST, numeric, lies in one of the networks; false also where none is named. */
bool admission_names(struct admission *admission, const char *host);

#endif
