/*
 * store_beneath: openat2(2), and, where the kernel has none (before Linux 5.6), one component after the other.
 */
#include "storage/store/store_beneath.h"

#include "storage/store/store_system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_SIZE 512

static atomic_bool no_openat2;

static int open_last(int directory, const char *name, int flags, mode_t mode)
{
    return openat(directory, name, flags | O_NOFOLLOW, mode);
}

/* Each directory on the way is opened on its own, without following it. */
static int open_by_steps(int root, const char *name, int flags, mode_t mode)
{
    char step[NAME_SIZE];
    int directory = root;
    for (;;) {
        const char *slash = strchr(name, '/');
        if (!slash)
            break;
        snprintf(step, sizeof(step), "%.*s", (int)(slash - name), name);
        int next = openat(directory, step, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int saved = errno;
        if (directory != root)
            (void)close(directory);
        errno = saved;
        if (next < 0)
            return -1;
        directory = next;
        name = slash + 1;
    }
    int fd = open_last(directory, name, flags, mode);
    int saved = errno;
    if (directory != root)
        (void)close(directory);
    errno = saved;
    return fd;
}

static int open_beneath(int root, const char *name, int flags, mode_t mode)
{
    if (atomic_load_explicit(&no_openat2, memory_order_relaxed))
        return open_by_steps(root, name, flags, mode);
    struct open_how how = {
        .flags = (unsigned)(flags | O_NOFOLLOW),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
    if (fd >= 0 || errno != ENOSYS)
        return fd;
    atomic_store_explicit(&no_openat2, true, memory_order_relaxed);
    return open_by_steps(root, name, flags, mode);
}

/* Landlock knows a path by what is above it, and above a mount that was taken away there is nothing. */
int store_beneath_errno(int root)
{
    int errnum = errno;
    if (errnum == EACCES && store_system_is_detached(root))
        errnum = ENOTCONN;
    errno = errnum;
    return errnum;
}

int store_beneath_open(int root, const char *name, int flags, mode_t mode)
{
    int fd = open_beneath(root, name, flags, mode);
    if (fd < 0)
        (void)store_beneath_errno(root);
    return fd;
}

int store_beneath_parent(int root, const char *name, const char **last)
{
    char parent[NAME_SIZE];
    const char *slash = strrchr(name, '/');
    *last = slash ? slash + 1 : name;
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - name) : 1, slash ? name : ".");
    return store_beneath_open(root, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

int store_beneath_unlink(int root, const char *name)
{
    const char *last;
    int parent = store_beneath_parent(root, name, &last);
    if (parent < 0)
        return -1;
    int result = unlinkat(parent, last, 0);
    int saved = result == 0 ? errno : store_beneath_errno(root);
    (void)close(parent);
    errno = saved;
    return result;
}
