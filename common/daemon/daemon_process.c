/*
 * daemon_process: what the system knows of the process: pid file, limits, user, background. Main thread, before the loops.
 */
#include "common/daemon/daemon_process.h"

#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PID_FILE_TRIES 10

static bool refuse_second_instance(int fd, const char *path, struct error *error)
{
    char text[32] = "";
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    long pid = length > 0 ? strtol(text, NULL, 10) : 0;

    if (pid > 0)
        return error_set(error, ERROR_EXISTS, "already running as process %ld, which holds the pid file %s",
                         pid, path);
    return error_set(error, ERROR_EXISTS, "already running: another process holds the pid file %s", path);
}

/* Whether PATH still names the file behind FD: an instance that ends removes it while we wait for nothing. */
static bool is_same_file(int fd, const char *path)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

bool pid_file_create(struct pid_file *pid_file, const char *path, struct error *error)
{
    char text[32];
    int fd = -1, length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

    for (int i = 0; i < PID_FILE_TRIES; i++) {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return error_set_errno(error, errno, "cannot create the pid file %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                refuse_second_instance(fd, path, error);
            else
                error_set_errno(error, errno, "cannot lock the pid file %s", path);
            goto fail;
        }
        if (is_same_file(fd, path))
            break;
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0)
        return error_set(error, ERROR_IO, "the pid file %s keeps being removed", path);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length) {
        error_set_errno(error, errno, "cannot write the pid file %s", path);
        goto fail;
    }
    pid_file->path = path;
    pid_file->fd = fd;
    return true;
fail:
    (void)close(fd);
    return false;
}

void pid_file_remove(struct pid_file *pid_file)
{
    if (!pid_file->path)
        return;
    if (unlink(pid_file->path) != 0)
        (void)!ftruncate(pid_file->fd, 0);
    (void)close(pid_file->fd);
    pid_file->path = NULL;
}

bool process_set_open_files(int64_t open_files, struct error *error)
{
    struct rlimit limit, wanted;

    if (open_files == 0)
        return true;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return error_set_errno(error, errno, "cannot read the limit of open files");
    wanted.rlim_cur = (rlim_t)open_files;
    wanted.rlim_max = limit.rlim_max < wanted.rlim_cur ? wanted.rlim_cur : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
        return true;
    wanted.rlim_cur = wanted.rlim_max = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &wanted) != 0)
        wanted.rlim_cur = limit.rlim_cur;
    return error_set(error, ERROR_REFUSED,
                     "daemon.open_files = %" PRId64 " is above the hard limit; going on with %" PRIu64,
                     open_files, (uint64_t)wanted.rlim_cur);
}

/* NULL where USER is who we are, and after an error, which FAILED reports. */
static const struct passwd *look_up_user(const char *user, bool *failed, struct error *error)
{
    const struct passwd *entry;

    *failed = true;
    errno = 0;
    entry = getpwnam(user);
    if (!entry && errno != 0)
        (void)error_set_errno(error, errno, "cannot look up the user %s", user);
    else if (!entry)
        (void)error_set(error, ERROR_REFUSED, "there is no user %s", user);
    else if (entry->pw_uid != geteuid() && geteuid() != 0)
        (void)error_set(error, ERROR_REFUSED, "cannot become the user %s: only root can", user);
    else
        *failed = false;
    return *failed || entry->pw_uid == geteuid() ? NULL : entry;
}

bool process_as_user(const char *user, bool (*act)(void *argument, struct error *error), void *argument,
                     struct error *error)
{
    gid_t groups[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, groups);
    gid_t group = getegid();
    uid_t own = geteuid();
    bool failed, acted;
    const struct passwd *entry = look_up_user(user, &failed, error);

    if (failed)
        return false;
    if (!entry)
        return act(argument, error);
    if (count < 0 || initgroups(user, entry->pw_gid) != 0 || setegid(entry->pw_gid) != 0 ||
        seteuid(entry->pw_uid) != 0)
        return error_set_errno(error, errno, "cannot become the user %s", user);
    acted = act(argument, error);
    if (seteuid(own) != 0 || setegid(group) != 0 || setgroups((size_t)count, groups) != 0)
        return error_set_errno(error, errno, "cannot switch back from user %s", user);
    return acted || error_set(error, error->code, "%s (as the user %s)", error->text, user);
}

bool process_drop_privileges(const char *user, struct error *error)
{
    bool failed;
    const struct passwd *entry = look_up_user(user, &failed, error);

    if (!entry)
        return !failed;
    if (initgroups(user, entry->pw_gid) != 0 || setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
        setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0)
        return error_set_errno(error, errno, "cannot become the user %s", user);
    if (entry->pw_uid != 0 && setuid(0) == 0)
        return error_set(error, ERROR_REFUSED, "the user %s can become root again", user);
    return true;
}

void process_hide_memory(void)
{
    const struct rlimit none = {0, 0};

    if (prctl(PR_SET_DUMPABLE, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
        log_warning("daemon", "cannot disable core dumps, which would contain passwords: %m");
}

/* The parent's part: until the child is ready or has ended. */
static _Noreturn void wait_for_child(pid_t child, int fd)
{
    ssize_t got;
    int status;
    char byte;

    do {
        got = read(fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(EXIT_SUCCESS);
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            _exit(EXIT_FAILURE);
    }
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_FAILURE);
}

bool process_daemonize(int *ready_fd, struct error *error)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return error_set_errno(error, errno, "cannot go into the background: pipe");
    child = fork();
    if (child < 0) {
        error_set_errno(error, errno, "cannot go into the background: fork");
        (void)close(fds[0]);
        (void)close(fds[1]);
        return false;
    }
    if (child > 0) {
        (void)close(fds[1]);
        wait_for_child(child, fds[0]);
    }
    (void)close(fds[0]);
    *ready_fd = fds[1];
    if (setsid() < 0)
        return error_set_errno(error, errno, "cannot go into the background: setsid");
    return true;
}

void process_tell_ready(int *ready_fd)
{
    int null_fd;

    if (*ready_fd < 0)
        return;
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null_fd >= 0 && fd <= STDERR_FILENO; fd++)
        (void)dup2(null_fd, fd);
    if (null_fd > STDERR_FILENO)
        (void)close(null_fd);
    (void)!write(*ready_fd, "", 1);
    (void)close(*ready_fd);
    *ready_fd = -1;
}
