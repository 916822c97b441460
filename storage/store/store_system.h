/*
 * store_system: what the file system below a store path promises about names: found by statfs(2) and, where that is not
 * enough, by the type in /proc/self/mountinfo. Called by storage/store/store_look.c on the probe thread of a path, and for
 * --check-config; store_beneath.c asks, on whatever thread touches the files, whether a mount has gone. BLOCKS.
 */
#ifndef REEL_STORAGE_STORE_SYSTEM_H
#define REEL_STORAGE_STORE_SYSTEM_H

#include "storage/options.h"

#include <stdio.h>

#define STORE_SYSTEM_SIZE 64

struct store_system {
    char type[STORE_SYSTEM_SIZE]; /* "ext4", "xfs", "fuse.glusterfs", ...; "" where nobody knows */
    char
        source[4 *
               STORE_SYSTEM_SIZE]; /* what is mounted: "/dev/sda1", "server:/volume"; "" where nobody knows */
    /* One journal carries the metadata of the file system in their order, so that the fsync of a file that was just
     * made also makes its name last, with the names of the directories above it: ext4, XFS, btrfs. An ext4 that was made without a
     * journal counts too: its fsync of a new file writes the directories above that as well. */
    bool one_journal;
};

/* FD: any descriptor on it, O_PATH too. What cannot be found out is not promised. */
void store_system_find(int fd, struct store_system *system);

/* SYSTEM's files lie on other machines, or nobody knows where. */
bool store_system_is_remote(const struct store_system *system);

/* Is another file system than that of DEVICE mounted somewhere below DIRECTORY? MOUNTS: "/proc/self/mountinfo". False also where that
 * cannot be read. */
bool store_system_mounts_below(const char *mounts, const char *directory, dev_t device);

/* The number of the mount that FD is on; 0 where the kernel (before Linux 5.8) does not say. */
uint64_t store_system_mount(int fd);
/* True where that mount is in no place any more (umount -l), as far as it can be found out. Changes errno. */
bool store_system_is_detached(int fd);

/* --check-config: a line to OUT for each store path whose file system does not keep what docs/durability.md promises, as far as this machine can determine:
 * on GlusterFS that its bricks must be on XFS or ext4, and each brick of this machine that is not; and for one that does not answer. GLUSTERD: the
 * directory of the volumes' descriptions, "/var/lib/glusterd/vols". Returns the number of lines. */
size_t store_system_advise(const struct storage_config *config, const char *glusterd, FILE *out);
/* The same of one store path, KEY at DIRECTORY, which is on SYSTEM. */
size_t store_system_advise_on(const char *key, const char *directory, const struct store_system *system,
                              const char *glusterd, FILE *out);

#endif
