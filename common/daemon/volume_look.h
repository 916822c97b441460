/*
 * volume_look: whether the file system that a path lies in answers at all. One that hangs (a GlusterFS volume without its bricks, NFS
 * without its server) blocks whoever looks at it indefinitely, and signals do not help. So a child process looks.
 */
#ifndef REEL_COMMON_VOLUME_LOOK_H
#define REEL_COMMON_VOLUME_LOOK_H

#include "common/base/base.h"

/* Enough for a busy machine at its start, and for a disk that has to start up first; what takes longer counts as hanging. */
#define VOLUME_LOOK_MS        3000
#define VOLUME_LOOK_LINK_SIZE 1024

/* Does a look at PATH come back within VOLUME_LOOK_MS, whatever it finds? LINK: what PATH says as a symbolic link, as far as that could be
 * read; "" where it is none. True also where no child can be made. Starts no thread; BLOCKS for VOLUME_LOOK_MS at most. A child that
 * still hangs is killed, which may take effect later. */
MUST_CHECK bool volume_look_answers(const char *path, char link[VOLUME_LOOK_LINK_SIZE]);

#endif
