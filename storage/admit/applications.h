/*
 * applications: the application IDs that this server takes requests for. Every request asks, on any loop; a
 * reload replaces the list.
 */
#ifndef REEL_STORAGE_APPLICATIONS_H
#define REEL_STORAGE_APPLICATIONS_H

#include "common/config/config.h"

struct applications;

MUST_CHECK struct applications *applications_create(const struct config_strings *names, struct error *error);
void applications_destroy(struct applications *applications); /* NULL is ignored */

/* False without memory: the old list stays. NAMES is copied. */
MUST_CHECK bool applications_replace(struct applications *applications, const struct config_strings *names,
                                     struct error *error);

/* Else ERROR_REFUSED. */
MUST_CHECK bool applications_check(struct applications *applications, const char *name, struct error *error);

#endif
