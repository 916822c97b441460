/*
 * daemon_watch: asks every loop in turn whether it still runs, and notifies the service manager's watchdog only
 * while all do. Lives on the main loop; only daemon.c calls it.
 */
#ifndef REEL_COMMON_DAEMON_WATCH_H
#define REEL_COMMON_DAEMON_WATCH_H

#include "common/loop/loop.h"

struct daemon_watch;

/* Starts with the next run of MAIN_LOOP: every quarter of the watchdog's time (5 s without one) a task is
 * posted to each loop. One that has not answered until the next time is logged, and the watchdog gets no
 * notice meanwhile. */
MUST_CHECK struct daemon_watch *daemon_watch_create(struct loop *main_loop, struct loop_group *loops,
                                                    struct error *error);

/* The number of loops that do not answer. Main thread. */
size_t daemon_watch_stuck(const struct daemon_watch *watch);

/* Stops asking: before the loops end. Main thread. NULL is ignored. */
void daemon_watch_stop(struct daemon_watch *watch);

/* When the loops are gone: a task may be on its way until then. NULL is ignored. */
void daemon_watch_destroy(struct daemon_watch *watch);

#endif
