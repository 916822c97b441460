/*
 * refusals: a preload library (LD_PRELOAD) that makes the kernel of one process refuse things. For tests.
 *
 * REFUSE_IPV6=1: socket(2) knows no AF_INET6, as on a kernel that was built or started without IPv6.
 * REFUSE_WATCH=FILE: eight bytes, a number in the machine's byte order: so many times more epoll_ctl(2) does not take a
 * connection (ENOSPC, as past fs.epoll.max_user_watches). Listening sockets and what is no TCP socket are not concerned. The
 * test sets the number while the process runs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int64_t none;
static int64_t *left = &none;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("REFUSE_WATCH");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        left = mapped;
    close(fd);
}

int socket(int family, int type, int protocol)
{
    const char *refuse = getenv("REFUSE_IPV6");
    if (family == AF_INET6 && refuse && *refuse) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    int listens = 0;
    socklen_t size = sizeof(listens);
    if (operation == EPOLL_CTL_ADD && __atomic_load_n(left, __ATOMIC_SEQ_CST) > 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && !listens) {
        __atomic_sub_fetch(left, 1, __ATOMIC_SEQ_CST);
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}
