/*
 * sandbox: Landlock (Linux 5.19 and later): a process gives up, for good, every right over files but those below paths that it
 * names, and starting programs altogether. What is open already stays usable; look-ups (stat) are not affected. It holds for the
 * calling thread and what it starts later, so it comes before every other thread. Stands on the kernel alone; daemon_sandbox
 * decides what is allowed.
 */
#ifndef REEL_COMMON_SANDBOX_H
#define REEL_COMMON_SANDBOX_H

#include "common/base/base.h"
#include "common/base/error.h"

#define SANDBOX_ABI_MIN 2 /* the first that lets a file be moved to another directory at all */

enum sandbox_access {
    SANDBOX_READ,  /* files and lists of directories */
    SANDBOX_WRITE, /* and: write, create, remove, move and link regular files and directories */
};

struct sandbox {
    int ruleset; /* -1: none */
    int abi;
    char writes[512]; /* the paths with SANDBOX_WRITE, for the log; cut */
};

/* The version of the kernel's Landlock; 0: it has none, or it is switched off. Any thread. */
int sandbox_abi(void);

/* A set of rules that allows nothing. False where the kernel's Landlock is older than SANDBOX_ABI_MIN or missing.
 * After success sandbox_enter() or sandbox_abandon(). */
MUST_CHECK bool sandbox_begin(struct sandbox *sandbox, struct error *error);
void sandbox_abandon(struct sandbox *sandbox);

/* Allows ACCESS to PATH and all below. A PATH that is not there allows nothing and is no failure. */
MUST_CHECK bool sandbox_allow(struct sandbox *sandbox, const char *path, enum sandbox_access access,
                              struct error *error);

/* The same for the directory that the file PATH lies in (so that it may be made, replaced and removed), and, where PATH is a
 * symbolic link, for that of the file. Directly below / it is the file alone. */
MUST_CHECK bool sandbox_allow_around(struct sandbox *sandbox, const char *path, enum sandbox_access access,
                                     struct error *error);

/* The same for a DIRECTORY that holds a volume. Where it is a mount point, not there yet, or MOVES (something may be mounted
 * there later), it is the directory around it: the kernel takes what is mounted after sandbox_enter() for a part of that and
 * not of what it covers. Refused where that would be /. Where the directory MOVES and lies inside a mounted volume, what is around that
 * one's mount point is allowed too, unless that is /. Where the volume hangs it is what is around it, after a few seconds
 * (storage servers serve their other store paths meanwhile). BLOCKS. */
MUST_CHECK bool sandbox_allow_volume(struct sandbox *sandbox, const char *directory, bool moves,
                                     enum sandbox_access access, struct error *error);

/* From now on the rules hold. The calling thread must be the only one. On failure nothing has changed. */
MUST_CHECK bool sandbox_enter(struct sandbox *sandbox, struct error *error);

#endif
