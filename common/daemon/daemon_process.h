/*
 * daemon_process: what a daemon is to the system: its pid file, its limits, the user it runs as, and the
 * parent that waits for a daemonized child. Start-up and end only, main thread; only daemon.c calls it.
 */
#ifndef REEL_COMMON_DAEMON_PROCESS_H
#define REEL_COMMON_DAEMON_PROCESS_H

#include "common/base/base.h"
#include "common/base/error.h"

/* The pid file is locked (flock) as long as the process lives: the lock, not the file's existence, says that
 * it runs. */
struct pid_file {
    const char *path; /* borrowed; NULL: none */
    int fd;
};

/* Creates, locks and fills the file. A lock that another process holds is an error with that process's id. */
MUST_CHECK bool pid_file_create(struct pid_file *pid_file, const char *path, struct error *error);

/* Removes the file (empties it where the directory is no longer ours to write) and gives up the lock.
 * Harmless without one. Async-signal-safe calls only. */
void pid_file_remove(struct pid_file *pid_file);

/* RLIMIT_NOFILE, the hard limit too where that is allowed; 0: as it is. Returns false with what was reached
 * instead; the daemon can run on. */
bool process_set_open_files(int64_t open_files, struct error *error);

/* Runs ACT as USER, with that user's rights and no others, and becomes root again; for what must be open before the ports
 * are bound and cannot be opened with root's rights. Where we are not root, USER must be who we are. One thread only. */
MUST_CHECK bool process_as_user(const char *user, bool (*act)(void *argument, struct error *error),
                                void *argument, struct error *error);

/* No core file and no reader of /proc/PID/mem but root: memory holds the passwords of databases. After
 * process_drop_privileges(), after which the kernel begins anew. */
void process_hide_memory(void);

/* Becomes USER with its groups, for good; gives it the log file that was made just now. Nothing happens for
 * the user that we are. */
MUST_CHECK bool process_drop_privileges(const char *user, struct error *error);

/* Goes into the background. In the parent this never returns: it waits until the child calls
 * process_tell_ready() or ends, and exits with 0 or with the child's exit code. In the child *READY_FD is
 * what process_tell_ready() takes. */
MUST_CHECK bool process_daemonize(int *ready_fd, struct error *error);

/* Lets the parent go, and points stdin, stdout and stderr to /dev/null. Nothing happens for -1. */
void process_tell_ready(int *ready_fd);

#endif
