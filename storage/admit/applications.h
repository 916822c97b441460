/*
 * applications: the application IDs that this server takes requests for, and when their files expire where the upload does not
 * say. Every request asks, on any loop; a reload replaces the lists.
 */
#ifndef REEL_STORAGE_APPLICATIONS_H
#define REEL_STORAGE_APPLICATIONS_H

#include "common/config/config.h"

struct applications;

/* EXPIRES: items of storage.expires, which were checked. */
MUST_CHECK struct applications *applications_create(const struct config_strings *names,
                                                    const struct config_strings *expires,
                                                    struct error *error);
void applications_destroy(struct applications *applications); /* NULL is ignored */

/* False without memory: the old lists stay. NAMES and EXPIRES are copied. */
MUST_CHECK bool applications_replace(struct applications *applications, const struct config_strings *names,
                                     const struct config_strings *expires, struct error *error);

/* Else ERROR_REFUSED. */
MUST_CHECK bool applications_check(struct applications *applications, const char *name, struct error *error);

/* Of an upload that does not say when its file expires: a relative time as in struct proto_put; 0: never. */
int64_t applications_expiry(struct applications *applications, const char *name);

#endif
