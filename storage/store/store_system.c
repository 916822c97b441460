/*
 * store_system: statfs(2) by its magic numbers. ext2, ext3 and ext4 share one, and FUSE has one for all: there the line of
 * the mount in /proc/self/mountinfo says which (proc(5)); it is found by its device.
 */
#include "storage/store/store_system.h"

#include "common/daemon/volume_look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#ifndef BTRFS_SUPER_MAGIC
#define BTRFS_SUPER_MAGIC 0x9123683E
#endif

#define GLUSTER "fuse.glusterfs"

/* One line of mountinfo: "36 35 98:0 /root /mount options [field...] - type source options". Returns the blank before /root;
 * NULL: it is no such line. */
static char *mount_device(char *line, dev_t *device)
{
    char *at = strchr(line, ' ');
    at = at ? strchr(at + 1, ' ') : NULL;
    unsigned long major_number = at ? strtoul(at + 1, &at, 10) : 0;
    if (!at || *at != ':')
        return NULL;
    unsigned long minor_number = strtoul(at + 1, &at, 10);
    *device = makedev((unsigned)major_number, (unsigned)minor_number);
    return *at == ' ' ? at : NULL;
}

static bool read_mount(char *line, dev_t device, struct store_system *system)
{
    dev_t other;
    char *after = strstr(line, " - ");
    if (!after || !mount_device(line, &other) || other != device)
        return false;
    char *type = strtok_r(after + 3, " \n", &after), *source = strtok_r(NULL, " \n", &after);
    snprintf(system->type, sizeof(system->type), "%s", type ? type : "");
    snprintf(system->source, sizeof(system->source), "%s", source ? source : "");
    return true;
}

static void find_mount(dev_t device, struct store_system *system)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (mounts && !found && getline(&line, &size, mounts) > 0)
        found = read_mount(line, device, system);
    free(line);
    if (mounts)
        (void)fclose(mounts);
}

static bool is_octal(char digit)
{
    return digit >= '0' && digit <= '7';
}

/* "\\040" and the like; -1: it is a character that stands for itself. */
static int escaped_character(const char *text)
{
    if (text[0] != '\\' || !is_octal(text[1]) || !is_octal(text[2]) || !is_octal(text[3]))
        return -1;
    return (text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0');
}

/* Of a line of mountinfo the mount point, whose blanks and such are written as "\\040", put in its place as it is; NULL: there is
 * none. */
static const char *mount_point(char *line, dev_t *device)
{
    char *root = mount_device(line, device), *point = root ? strchr(root + 1, ' ') : NULL;
    if (!point)
        return NULL;
    char *to = ++point;
    for (const char *from = point; *from != ' ' && *from != '\0'; to++) {
        int code = escaped_character(from);
        *to = code >= 0 ? (char)code : *from;
        from += code >= 0 ? 4 : 1;
    }
    *to = '\0';
    return point;
}

bool store_system_mounts_below(const char *mounts, const char *directory, dev_t device)
{
    char *top = realpath(directory, NULL);
    FILE *file = top ? fopen(mounts, "re") : NULL;
    size_t room = 0, size = top && strcmp(top, "/") != 0 ? strlen(top) : 0;
    char *line = NULL;
    bool found = false;
    while (file && !found && getline(&line, &room, file) > 0) {
        dev_t other;
        const char *point = mount_point(line, &other);
        found = point && other != device && strncmp(point, top, size) == 0 && point[size] == '/' &&
                point[size + 1] != '\0';
    }
    free(line);
    free(top);
    if (file)
        (void)fclose(file);
    return found;
}

uint64_t store_system_mount(int fd)
{
    struct statx status = {0};
    return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) == 0 && (status.stx_mask & STATX_MNT_ID) != 0
               ? status.stx_mnt_id
               : 0;
}

bool store_system_is_detached(int fd)
{
    uint64_t mount = store_system_mount(fd), other = 0;
    FILE *mounts = mount != 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
    char *line = NULL;
    size_t size = 0;
    bool read = false;
    while (mounts && other != mount && getline(&line, &size, mounts) > 0) {
        other = strtoull(line, NULL, 10);
        read = true;
    }
    free(line);
    if (mounts)
        (void)fclose(mounts);
    return read && other != mount;
}

void store_system_find(int fd, struct store_system *system)
{
    struct statfs space;
    struct stat status;
    *system = (struct store_system){.one_journal = false};
    if (fstatfs(fd, &space) != 0 || fstat(fd, &status) != 0)
        return;
    find_mount(status.st_dev, system);
    switch ((unsigned long)space.f_type) {
    case XFS_SUPER_MAGIC:
        snprintf(system->type, sizeof(system->type), "xfs");
        system->one_journal = true;
        break;
    case BTRFS_SUPER_MAGIC: /* a subvolume has a device of its own, which no line of mountinfo names */
        snprintf(system->type, sizeof(system->type), "btrfs");
        system->one_journal = true;
        break;
    case EXT4_SUPER_MAGIC:
        system->one_journal = strcmp(system->type, "ext4") == 0 || strcmp(system->type, "ext3") == 0;
        break;
    default:
        break;
    }
}

bool store_system_is_remote(const struct store_system *system)
{
    static const char *const types[] = {"fuse", "nfs", "cifs",   "smb",  "ceph",
                                        "9p",   "afs", "lustre", "gfs2", "ocfs2"};
    bool remote = system->type[0] == '\0';
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        remote = remote || strncmp(system->type, types[i], strlen(types[i])) == 0;
    return remote;
}

/* ---- advice ---- */

static bool good_for_bricks(const struct store_system *system)
{
    return strcmp(system->type, "xfs") == 0 || strcmp(system->type, "ext4") == 0;
}

static bool find_directory(const char *directory, struct store_system *system)
{
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    store_system_find(fd, system);
    (void)close(fd);
    return true;
}

/* The value behind "path=" in a brick's description. */
static bool read_brick(const char *file, char *path, size_t size)
{
    FILE *description = fopen(file, "re");
    char line[4096];
    bool found = false;
    while (description && !found && fgets(line, sizeof(line), description)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "path=/", 6) == 0 && snprintf(path, size, "%s", line + 5) < (int)size;
    }
    if (description)
        (void)fclose(description);
    return found;
}

/* Bricks of VOLUME that lie on this machine. */
static size_t advise_on_bricks(const char *glusterd, const char *volume, FILE *out)
{
    char directory[512], file[1024], brick[1024];
    size_t lines = 0;
    if (snprintf(directory, sizeof(directory), "%s/%s/bricks", glusterd, volume) >= (int)sizeof(directory))
        return 0;
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        struct store_system system;
        if (entry->d_name[0] == '.' ||
            snprintf(file, sizeof(file), "%s/%s", directory, entry->d_name) >= (int)sizeof(file) ||
            !read_brick(file, brick, sizeof(brick)) || !find_directory(brick, &system) ||
            good_for_bricks(&system))
            continue;
        fprintf(out,
                "warning: brick %s of volume %s is on %s: bricks must be on XFS or ext4, or a power cut may "
                "take the names of files that were acknowledged\n",
                brick, volume, system.type[0] != '\0' ? system.type : "an unknown file system");
        lines++;
    }
    if (stream)
        (void)closedir(stream);
    return lines;
}

size_t store_system_advise_on(const char *key, const char *directory, const struct store_system *system,
                              const char *glusterd, FILE *out)
{
    const char *volume = strrchr(system->source, '/');
    if (strcmp(system->type, GLUSTER) != 0)
        return 0;
    fprintf(
        out,
        "warning: store path %s at %s is on GlusterFS (%s), where fsync of a directory does nothing up to "
        "version 10: every brick must be on XFS or ext4 (docs/durability.md)\n",
        key, directory, system->source);
    return 1 + (volume ? advise_on_bricks(glusterd, volume + 1, out) : 0);
}

size_t store_system_advise(const struct storage_config *config, const char *glusterd, FILE *out)
{
    size_t lines = 0;
    if (config->durability != OPTIONS_DURABLE)
        return 0;
    for (size_t i = 0; i < config->paths.count; i++) {
        char key[PROTO_KEY_SIZE];
        const char *directory;
        char link[VOLUME_LOOK_LINK_SIZE];
        struct store_system system;
        struct error error;
        if (!storage_options_split_path(config->paths.items[i], key, &directory, &error))
            continue;
        if (!volume_look_answers(directory, link)) {
            fprintf(out, "warning: store path %s at %s does not answer: its volume hangs\n", key, directory);
            lines++;
        } else if (find_directory(directory, &system)) {
            lines += store_system_advise_on(key, directory, &system, glusterd, out);
        }
    }
    return lines;
}
