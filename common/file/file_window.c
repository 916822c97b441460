/*
 * file_window: preadv2(RWF_NOWAIT) answers whether a page is in memory; sendfile does not say which end failed, so the
 * socket is asked.
 */
#include "common/file/file_window.h"
#include <errno.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

/* A failed sendfile does not say which end it was. */
static bool socket_failed(int socket, int errnum)
{
    struct pollfd entry = {.fd = socket, .events = POLLOUT};

    if (errnum == EPIPE || errnum == ECONNRESET)
        return true;
    return poll(&entry, 1, 0) == 1 && (entry.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

void file_window_send(struct file_window *window)
{
    off_t offset = window->offset;

    window->sent = 0;
    window->errnum = 0;
    window->end = FILE_WINDOW_SENT;
    while (window->sent < window->size) {
        ssize_t sent = transport_sendfile(window->to, window->fd, &offset, window->size - window->sent);

        if (sent > 0) {
            window->sent += (size_t)sent;
            continue;
        }
        if (sent == 0) {
            window->end = FILE_WINDOW_SHORT;
            return;
        }
        if (errno == EINTR)
            continue;
        window->errnum = errno;
        if (window->errnum == EAGAIN)
            window->end = FILE_WINDOW_BLOCKED;
        else
            window->end =
                socket_failed(window->to.fd, window->errnum) ? FILE_WINDOW_GONE : FILE_WINDOW_UNREADABLE;
        return;
    }
}

ssize_t file_window_read_cached(int fd, int64_t offset, void *bytes, size_t size, bool *cannot_tell)
{
    struct iovec vector = {.iov_base = bytes, .iov_len = size};
    ssize_t got = preadv2(fd, &vector, 1, offset, RWF_NOWAIT);

    if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
        *cannot_tell = true;
    return got;
}

bool file_window_is_cached(int fd, int64_t offset, int64_t size, bool *cannot_tell)
{
    char byte;

    /* 0 bytes are the end of the file: sendfile will say the same, and at once. */
    return !*cannot_tell && file_window_read_cached(fd, offset, &byte, 1, cannot_tell) >= 0 &&
           (size <= 1 || file_window_read_cached(fd, offset + size - 1, &byte, 1, cannot_tell) >= 0);
}

ssize_t file_window_read(int fd, int64_t offset, void *bytes, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(fd, (char *)bytes + done, size - done, offset + (int64_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && done == 0)
            return -1;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}
