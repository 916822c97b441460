/*
 * kept_sockets: listening sockets that outlive a restart. systemd holds a copy of each (FileDescriptorStoreMax= of the unit,
 * sd_pid_notify_with_fds(3), sd_listen_fds(3)), so that clients who connect while one process ends and the next one starts
 * wait in the kernel's queue instead of being refused. Without systemd, or where the unit keeps none, none of this happens.
 * All functions on the main thread.
 */
#ifndef REEL_COMMON_KEPT_SOCKETS_H
#define REEL_COMMON_KEPT_SOCKETS_H

#include "common/base/address.h"

/* Takes over what systemd passes to this process. Once, before the first socket is bound. */
void kept_sockets_begin(void);

/* Whether one waits for ADDRESS. */
MUST_CHECK bool kept_sockets_have(const struct socket_address *address);

/* One that is bound to ADDRESS, with SO_REUSEPORT as SHARE says: the caller's from here on. -1: none. */
MUST_CHECK int kept_sockets_take(const struct socket_address *address, bool share);

/* Gives up those on ADDRESS's port: an address that overlaps with theirs cannot be bound beside them. True where there were
 * some; blocks until systemd has closed them too, a few seconds at most. Leaves errno alone. */
bool kept_sockets_drop_port(const struct socket_address *address);

/* Asks systemd to keep FD, which was bound just now. */
void kept_sockets_keep(int fd);

/* Everything is bound: gives up what nobody has taken. */
void kept_sockets_end(void);

/* Whether some were taken over: a process before this one has ended just now, and its clients wait. Any thread, likewise. */
MUST_CHECK bool kept_sockets_inherited(void);

/* Whether systemd was given sockets, which the next process will take over. Any thread, after kept_sockets_end(). */
MUST_CHECK bool kept_sockets_survive(void);

#endif
