/*
 * store_beneath: opening names below a store path so that no symbolic link on the way leads out of it: not at the
 * end of the name, and not at AAA, BBB or CCC either. Called by the other files of storage/store; BLOCKS.
 */
#ifndef REEL_STORAGE_STORE_BENEATH_H
#define REEL_STORAGE_STORE_BENEATH_H

#include "common/base/base.h"

#include <sys/types.h>

/* openat(2) of NAME below the directory ROOT. A symbolic link anywhere in NAME is ELOOP. -1 with errno. */
MUST_CHECK int store_beneath_open(int root, const char *name, int flags, mode_t mode);

/* errno, of a call that failed below ROOT. ENOTCONN, as a lost volume has it, instead of EACCES where ROOT's mount is in no place any
 * more: Landlock refuses what is beneath it. */
int store_beneath_errno(int root);

/* The directory that NAME ("AAA/BBB/CCC", also without a slash) is in, as an O_PATH descriptor of the caller's; *LAST: what is
 * behind the last slash, in NAME. -1 with errno. */
MUST_CHECK int store_beneath_parent(int root, const char *name, const char **last);

/* unlinkat(2) of the file NAME. -1 with errno. */
MUST_CHECK int store_beneath_unlink(int root, const char *name);

#endif
