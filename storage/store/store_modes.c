/*
 * store_modes: chmod(2) and chown(2) only where open(2) and mkdir(2) did not do it, tried once at the start.
 */
#include "storage/store/store_modes.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_GROUP ((gid_t)-1)

/* The number of the group NAME. */
static bool find_group(const char *name, gid_t *group, struct error *error)
{
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    if (*end == '\0') {
        *group = (gid_t)number;
        return true;
    }
    const struct group *found = getgrnam(name);
    if (!found)
        return error_set(error, ERROR_GENERAL, "storage.file_group: there is no group \"%s\" on this machine",
                         name);
    *group = found->gr_gid;
    return true;
}

/* Tried once on a file in memory, so that a daemon that may not do it says so at its start and not at each upload. */
static bool may_give_to(gid_t group, const char *name, struct error *error)
{
    int fd = memfd_create("reel-group", MFD_CLOEXEC);
    bool fine = fd < 0 || fchown(fd, (uid_t)-1, group) == 0;
    if (!fine)
        error_set_errno(error, errno,
                        "storage.file_group: cannot give files to the group \"%s\"; is the daemon's user a "
                        "member, and, under systemd, is the drop-in reel-storage-file-group.conf installed?",
                        name);
    if (fd >= 0)
        close(fd);
    return fine;
}

bool store_modes_make(struct store_modes *modes, const struct storage_config *config, struct error *error)
{
    const char *name = config->file_group;
    modes->group = NO_GROUP;
    modes->umask = umask(0);
    (void)umask(modes->umask);
    if (!storage_options_mode(config->file_mode, &modes->file) ||
        !storage_options_mode(config->directory_mode, &modes->directory))
        return error_set(error, ERROR_GENERAL, "storage.file_mode or storage.directory_mode is no mode");
    return name[0] == '\0' ||
           (find_group(name, &modes->group, error) && may_give_to(modes->group, name, error));
}

bool store_modes_apply(const struct store_modes *modes, int fd, mode_t mode)
{
    if (modes->group != NO_GROUP && fchown(fd, (uid_t)-1, modes->group) != 0)
        return false;
    return !(mode & modes->umask) || fchmod(fd, mode) == 0;
}

bool store_modes_apply_at(const struct store_modes *modes, int parent, const char *name)
{
    if (modes->group != NO_GROUP && fchownat(parent, name, (uid_t)-1, modes->group, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    /* mkdir(2) ignores the bits above rwx; chown(2) may clear them. */
    return (!(modes->directory & modes->umask) && !(modes->directory & ~(mode_t)0777)) ||
           fchmodat(parent, name, modes->directory, 0) == 0;
}
