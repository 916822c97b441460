/*
 * file_window: the next bytes of a file on their way to a socket: whether they come without waiting for a
 * disk, and sendfile(2) of them. Without an event and without memory of its own: file_send calls it from its
 * events, reel-httpd's local files from those of their connections (an edge-triggered event allows no second
 * one on its socket).
 */
#ifndef REEL_COMMON_FILE_WINDOW_H
#define REEL_COMMON_FILE_WINDOW_H

#include "common/base/base.h"
#include "common/transport/transport.h"
#include <sys/types.h>

#define FILE_WINDOW_SIZE ((int64_t)512 * 1024) /* bytes at most of one; fairness between connections */

enum file_window_end {
    FILE_WINDOW_SENT,       /* all of it */
    FILE_WINDOW_BLOCKED,    /* the socket takes no more now */
    FILE_WINDOW_SHORT,      /* the file ends inside */
    FILE_WINDOW_UNREADABLE, /* ERRNUM, of the file */
    FILE_WINDOW_GONE,       /* ERRNUM, of the socket */
};

struct file_window {
    struct transport to; /* the socket */
    int fd;              /* regular file */
    int64_t offset;
    size_t size;

    /* What file_window_send() did. */
    size_t sent;
    enum file_window_end end;
    int errnum;
};

/* Sends until all has left, the socket is full (the kernel has said EAGAIN, so that an edge follows) or
 * something fails. The process must ignore SIGPIPE. Any thread; waits for a disk where the bytes are not
 * cached. */
void file_window_send(struct file_window *window);

/* True where the first and the last of SIZE bytes at OFFSET are in the page cache, as far as the kernel says;
 * the end of the file counts as cached. *CANNOT_TELL, once true, stays so, and the answer is false: the file
 * system (FUSE) does not know RWF_NOWAIT. Never waits. */
bool file_window_is_cached(int fd, int64_t offset, int64_t size, bool *cannot_tell);

/* Reads what comes without waiting for a disk: how many of SIZE bytes, or -1. *CANNOT_TELL as above. */
ssize_t file_window_read_cached(int fd, int64_t offset, void *bytes, size_t size, bool *cannot_tell);

/* Fills BYTES from OFFSET: how many were read, SIZE unless the file ends or fails before; -1 with errno where
 * not one could be. May wait for a disk: on a worker. */
ssize_t file_window_read(int fd, int64_t offset, void *bytes, size_t size);

#endif
