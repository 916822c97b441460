/*
 * daemon_logs: the log files of a daemon (log, audit log, those of its own), opened anew after logrotate has moved them. A file that
 * cannot be opened at that moment (no descriptor is free, the disk is full) is tried again each second: until then its lines go into
 * the moved file, which is compressed a day later. Main thread.
 */
#ifndef REEL_COMMON_DAEMON_LOGS_H
#define REEL_COMMON_DAEMON_LOGS_H

#include "common/daemon/daemon.h"

struct daemon_logs;

/* With the main loop. NULL: ERROR says why. */
MUST_CHECK struct daemon_logs *daemon_logs_create(struct daemon *daemon, struct error *error);
void daemon_logs_destroy(struct daemon_logs *logs); /* before the main loop; NULL is ignored */

/* Does not wait for the audit log and those of the daemon's own. BLOCKS where the directory of the log does. */
void daemon_logs_reopen(struct daemon_logs *logs);

/* What libevent reports goes to the log from now on, not to stderr. */
void daemon_logs_take_libevent(void);

#endif
