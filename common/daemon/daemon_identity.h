/*
 * daemon_identity: who a daemon is and whom it trusts: its keys (common/auth/auth.h), and the audit file that says what it did
 * (common/auth/audit.h), both in struct daemon. The main thread; files are read, so start() and reload() BLOCK.
 */
#ifndef REEL_COMMON_DAEMON_IDENTITY_H
#define REEL_COMMON_DAEMON_IDENTITY_H

#include "common/daemon/daemon.h"

/* Makes daemon->auth and, where CONFIG names a file, daemon->audit, and warns of a mode that lets everybody in. What was made before a
 * failure daemon_identity_destroy() frees. */
MUST_CHECK bool daemon_identity_start(struct daemon *daemon, const struct daemon_config *config,
                                      struct error *error);
/* Reads the keys anew, also when nothing but their file has changed, for daemon_identity_use() or auth_fresh_drop(). NULL on failure. */
MUST_CHECK struct auth_fresh *daemon_identity_read(struct daemon *daemon, const struct daemon_config *config,
                                                   struct error *error);
/* They are in force from now on, as CONFIG says. */
void daemon_identity_use(struct daemon *daemon, const struct daemon_config *config, struct auth_fresh *fresh);
/* A line about the daemon itself; GOOD: its outcome. TEXT may be NULL. Nothing where there is no audit file. */
void daemon_identity_audit(struct daemon *daemon, const char *event, bool good, const char *text);
void daemon_identity_destroy(struct daemon *daemon);

#endif
