/*
 * file_send: a range of a file to a socket, window after window (file_window), at the pace of the slowest
 * end. What is in the page cache the loop sends itself; what is not, or where the file system does not say
 * (FUSE), a worker sends, since a read may wait for a disk. Used for DOWNLOAD replies.
 */
#ifndef REEL_COMMON_FILE_SEND_H
#define REEL_COMMON_FILE_SEND_H

#include "common/loop/workers.h"
#include "common/transport/transport.h"

struct file_send;

struct file_send_options {
    struct loop *loop;
    struct workers *workers;  /* for cold reads; their queue full: tried again after a pause */
    struct transport to;      /* the socket: stays the caller's, and nobody else's until the end */
    int fd;                   /* regular file, stays the caller's */
    int64_t offset, length;   /* bytes */
    int64_t progress_ms;      /* without a byte taken by the peer; 0: no limit */
    int64_t bytes_per_second; /* 0: no limit */
    /* The end, exactly once, on the loop, perhaps inside file_send_start(). ERROR NULL: all sent. Else
     * ERROR_IO (the file: read error or shorter than stated), ERROR_CONNECTION (the peer), ERROR_TIMEOUT.
     * SENT: bytes that left. */
    void (*done)(void *argument, int64_t sent, const struct error *error);
    void *argument;
};

/* NULL (done is not called) only without memory. Where done() ran inside already, the result is not NULL and
 * no longer valid: the caller notes the end in done(). The process must ignore SIGPIPE. On the loop. */
MUST_CHECK struct file_send *file_send_start(const struct file_send_options *options, struct error *error);

/* Ends it; done is not called. If a worker is inside sendfile, CANCELLED (may be NULL) runs on the loop when
 * the fd and socket are out of use: they must stay open until then; else it runs before this returns. */
void file_send_cancel(struct file_send *send, void (*cancelled)(void *argument), void *argument);

/* Bytes that the peer of a stream SOCKET has not acknowledged yet: where the number falls, the peer takes
 * something, though the socket may not be writable for long. Any thread. */
int file_send_unsent(int socket);

#endif
