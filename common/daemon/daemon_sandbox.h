/*
 * daemon_sandbox: which files a daemon may still open once it has read its configuration: what the system's libraries read, what its
 * options name, and what the daemon itself asks for (daemon_spec.confine). Main thread, before any other thread; only daemon.c
 * calls it.
 */
#ifndef REEL_COMMON_DAEMON_SANDBOX_H
#define REEL_COMMON_DAEMON_SANDBOX_H

#include "common/daemon/daemon_options.h"

/* Does what [daemon] sandbox says with CONFIG. *CONFINED: the rules hold. False, with ERROR, where the option says "required" and
 * this kernel cannot do it; otherwise that is logged and the daemon goes on. */
MUST_CHECK bool daemon_sandbox_enter(const struct daemon_options *options, const struct daemon_config *config,
                                     bool *confined, struct error *error);

#endif
