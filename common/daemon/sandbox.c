/*
 * sandbox: the three system calls of landlock(7) by number, since the C library has no functions for them, and the structures as
 * the kernel documents them, since headers may be older than the kernel that the program runs on.
 */
#include "common/daemon/sandbox.h"

#include "common/daemon/volume_look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

#define CREATE_RULESET_VERSION UINT32_C(1)
#define RULE_PATH_BENEATH      1

/* Rights over files, as the kernel numbers them. */
#define RIGHT_EXECUTE     (UINT64_C(1) << 0)
#define RIGHT_WRITE_FILE  (UINT64_C(1) << 1)
#define RIGHT_READ_FILE   (UINT64_C(1) << 2)
#define RIGHT_READ_DIR    (UINT64_C(1) << 3)
#define RIGHT_REMOVE_DIR  (UINT64_C(1) << 4)
#define RIGHT_REMOVE_FILE (UINT64_C(1) << 5)
#define RIGHT_MAKE_DIR    (UINT64_C(1) << 7)
#define RIGHT_MAKE_REG    (UINT64_C(1) << 8)
#define RIGHTS_OF_ABI_1   ((UINT64_C(1) << 13) - 1)
#define RIGHT_REFER       (UINT64_C(1) << 13) /* ABI 2 */
#define RIGHT_TRUNCATE    (UINT64_C(1) << 14) /* ABI 3 */
#define RIGHT_IOCTL_DEV   (UINT64_C(1) << 15) /* ABI 5 */

#define SCOPE_SIGNAL (UINT64_C(1) << 1) /* ABI 6: no signal to a process outside */

#define RIGHTS_OF_A_FILE                                                                                     \
    (RIGHT_EXECUTE | RIGHT_WRITE_FILE | RIGHT_READ_FILE | RIGHT_TRUNCATE | RIGHT_IOCTL_DEV)

struct ruleset_attributes {
    uint64_t handled_files;
    uint64_t handled_network; /* ABI 4 */
    uint64_t scoped;          /* ABI 6 */
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

int sandbox_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
}

/* What the kernel can be asked to restrict. */
static uint64_t handled_rights(int abi)
{
    uint64_t rights = RIGHTS_OF_ABI_1 | RIGHT_REFER;
    if (abi >= 3)
        rights |= RIGHT_TRUNCATE;
    if (abi >= 5)
        rights |= RIGHT_IOCTL_DEV;
    return rights;
}

static uint64_t rights_of(enum sandbox_access access)
{
    uint64_t rights = RIGHT_READ_FILE | RIGHT_READ_DIR;
    if (access == SANDBOX_WRITE)
        rights |= RIGHT_WRITE_FILE | RIGHT_REMOVE_DIR | RIGHT_REMOVE_FILE | RIGHT_MAKE_DIR | RIGHT_MAKE_REG |
                  RIGHT_REFER | RIGHT_TRUNCATE;
#ifdef __SANITIZE_ADDRESS__
    rights |= RIGHT_EXECUTE; /* a report's symbols come from a program */
#endif
    return rights;
}

bool sandbox_begin(struct sandbox *sandbox, struct error *error)
{
    *sandbox = (struct sandbox){.ruleset = -1, .abi = sandbox_abi()};
    if (sandbox->abi < SANDBOX_ABI_MIN)
        return error_set(error, ERROR_UNAVAILABLE,
                         "this kernel has no Landlock, an older one than version %d (here: %d), or it is "
                         "switched off",
                         SANDBOX_ABI_MIN, sandbox->abi);
    const struct ruleset_attributes attributes = {.handled_files = handled_rights(sandbox->abi),
                                                  .scoped = SCOPE_SIGNAL};
    size_t size = sandbox->abi >= 6 ? sizeof(attributes) : sizeof(attributes.handled_files);
    sandbox->ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    return sandbox->ruleset >= 0 ||
           error_set_errno(error, errno, "cannot create a set of rules for Landlock");
}

void sandbox_abandon(struct sandbox *sandbox)
{
    if (sandbox->ruleset >= 0)
        close(sandbox->ruleset);
    sandbox->ruleset = -1;
}

static void sandbox_note(struct sandbox *sandbox, const char *path)
{
    size_t used = strlen(sandbox->writes);
    (void)snprintf(sandbox->writes + used, sizeof(sandbox->writes) - used, "%s%s", used > 0 ? ", " : "",
                   path);
}

bool sandbox_allow(struct sandbox *sandbox, const char *path, enum sandbox_access access, struct error *error)
{
    struct stat status;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return true;
    if (fd < 0 || fstat(fd, &status) != 0) {
        error_set_errno(error, errno, "cannot allow access to %s", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    struct path_beneath rule = {.allowed = rights_of(access) & handled_rights(sandbox->abi), .parent = fd};
    if (!S_ISDIR(status.st_mode))
        rule.allowed &= RIGHTS_OF_A_FILE;
    bool added = syscall(SYS_landlock_add_rule, sandbox->ruleset, RULE_PATH_BENEATH, &rule, 0) == 0 ||
                 error_set_errno(error, errno, "cannot allow access to %s", path);
    if (added && access == SANDBOX_WRITE)
        sandbox_note(sandbox, path);
    close(fd);
    return added;
}

/* The directory that PATH lies in; "." for a bare name. Owned by the caller; NULL without memory. */
static char *sandbox_directory_of(const char *path)
{
    char *directory = strdup(path), *end;
    if (!directory)
        return NULL;
    end = directory + strlen(directory);
    while (end > directory + 1 && end[-1] == '/')
        *--end = '\0';
    end = strrchr(directory, '/');
    if (!end) {
        free(directory);
        return strdup(".");
    }
    end[end == directory] = '\0';
    return directory;
}

static bool is_root(const char *directory)
{
    struct stat one, root;
    return stat(directory, &one) == 0 && stat("/", &root) == 0 && one.st_dev == root.st_dev &&
           one.st_ino == root.st_ino;
}

/* Of PATH as it is written. */
static bool allow_directory_of(struct sandbox *sandbox, const char *path, enum sandbox_access access,
                               struct error *error)
{
    char *directory = sandbox_directory_of(path);
    bool allowed = directory ? sandbox_allow(sandbox, is_root(directory) ? path : directory, access, error)
                             : error_set(error, ERROR_UNAVAILABLE, "out of memory");
    free(directory);
    return allowed;
}

bool sandbox_allow_around(struct sandbox *sandbox, const char *path, enum sandbox_access access,
                          struct error *error)
{
    char *real = realpath(path, NULL);
    bool allowed = allow_directory_of(sandbox, path, access, error) &&
                   (!real || strcmp(real, path) == 0 || allow_directory_of(sandbox, real, access, error));
    free(real);
    return allowed;
}

static bool is_mount_point(const char *directory, const char *around)
{
    struct stat inner, outer;
    return stat(directory, &inner) != 0 || stat(around, &outer) != 0 || inner.st_dev != outer.st_dev;
}

/* 0: the kernel does not say (before Linux 5.8). */
static uint64_t mount_of(const char *path)
{
    struct statx status = {0};
    return statx(AT_FDCWD, path, 0, STATX_MNT_ID, &status) == 0 && (status.stx_mask & STATX_MNT_ID) != 0
               ? status.stx_mnt_id
               : 0;
}

/* DIRECTORY, a real path, may lie in a volume that is mounted further up: what is around that mount point. Not where that would be
 * all of /. */
static bool allow_around_mount(struct sandbox *sandbox, const char *directory, enum sandbox_access access,
                               struct error *error)
{
    uint64_t mount = mount_of(directory);
    char *at = strdup(directory);
    bool found = false, allowed = true;
    while (at && mount != 0 && !found && !is_root(at)) {
        char *above = sandbox_directory_of(at);
        found = above && mount_of(above) != mount;
        free(at);
        at = above;
    }
    if (at && found && !is_root(at))
        allowed = sandbox_allow(sandbox, at, access, error);
    free(at);
    return allowed;
}

static bool refuse_root(const char *directory, struct error *error)
{
    return error_set(
        error, ERROR_REFUSED,
        "%s, where a volume is or may be mounted, lies directly below /, all of which would have to be "
        "allowed; mount it in a directory of its own, as in /srv/media/%s",
        directory, directory[0] == '/' ? directory + 1 : directory);
}

/* LINK, which lies in the directory of PATH, as a path. Owned by the caller; NULL without memory. */
static char *link_target(const char *path, const char *link)
{
    char *around = sandbox_directory_of(path), *target = NULL;
    if (link[0] == '/')
        target = strdup(link);
    else if (around && asprintf(&target, "%s/%s", around, link) < 0)
        target = NULL;
    free(around);
    return target;
}

/* DIRECTORY's volume hangs, and so would anything that looks at it: the first directory around it that answers is allowed, as for a
 * volume that is mounted later. When it answers again it can be used like any other. */
static bool allow_around_hanging(struct sandbox *sandbox, const char *directory, const char *link,
                                 enum sandbox_access access, struct error *error)
{
    char ignored[VOLUME_LOOK_LINK_SIZE];
    char *at = sandbox_directory_of(directory);
    bool allowed = true;
    while (at && strcmp(at, "/") != 0 && strcmp(at, ".") != 0 && !volume_look_answers(at, ignored)) {
        char *above = sandbox_directory_of(at);
        free(at);
        at = above;
    }
    if (!at)
        allowed = error_set(error, ERROR_UNAVAILABLE, "out of memory");
    else
        allowed = is_root(at) ? refuse_root(directory, error) : sandbox_allow(sandbox, at, access, error);
    free(at);
    if (!allowed || link[0] == '\0')
        return allowed;
    char *target = link_target(directory, link);
    allowed = target ? sandbox_allow_volume(sandbox, target, true, access, error)
                     : error_set(error, ERROR_UNAVAILABLE, "out of memory");
    free(target);
    return allowed;
}

bool sandbox_allow_volume(struct sandbox *sandbox, const char *directory, bool moves,
                          enum sandbox_access access, struct error *error)
{
    char link[VOLUME_LOOK_LINK_SIZE];
    if (!volume_look_answers(directory, link))
        return allow_around_hanging(sandbox, directory, link, access, error);
    char *real = realpath(directory, NULL), *around = sandbox_directory_of(real ? real : directory);
    bool allowed;
    if (!around)
        allowed = error_set(error, ERROR_UNAVAILABLE, "out of memory");
    else if (!moves && !is_mount_point(directory, around))
        allowed = sandbox_allow(sandbox, directory, access, error);
    else if (!is_root(around))
        allowed = sandbox_allow(sandbox, around, access, error) &&
                  (is_mount_point(directory, around) || allow_around_mount(sandbox, around, access, error));
    else
        allowed = refuse_root(directory, error);
    free(real);
    free(around);
    return allowed;
}

bool sandbox_enter(struct sandbox *sandbox, struct error *error)
{
    bool entered = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   syscall(SYS_landlock_restrict_self, sandbox->ruleset, 0) == 0;
    if (!entered)
        error_set_errno(error, errno, "Landlock cannot be entered");
    sandbox_abandon(sandbox);
    return entered;
}
