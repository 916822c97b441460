/*
 * free_port: tries ports below the range of outgoing connections at random. Reserved is a port by a lock on its byte of a file
 * that all tests of the account share; the kernel releases it with the process.
 */
#include "tests/unit/library/free_port.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define FIRST 10000
#define END   32000
#define TRIES 5000

static bool reserve(uint16_t port)
{
    static int reservations = -1;
    static bool taken[END];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = port, .l_len = 1};

    if (reservations < 0) {
        const char *directory = getenv("TMPDIR");
        char path[256];

        snprintf(path, sizeof(path), "%s/reel-test-ports-%u", directory ? directory : "/tmp",
                 (unsigned)getuid());
        reservations = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(reservations >= 0);
    }
    if (taken[port] || fcntl(reservations, F_SETLK, &lock) != 0)
        return false;
    taken[port] = true;
    return true;
}

/* Where the machine has no such family, or has it without an address, nobody listens there. */
static bool is_free(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    bool bound = bind(fd, address, size) == 0, absent = !bound && errno == EADDRNOTAVAIL;

    close(fd);
    return bound || absent;
}

bool has_ipv6(void)
{
    const struct sockaddr_in6 any_port = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&any_port, sizeof(any_port)) == 0;

    if (fd >= 0)
        close(fd);
    return bound;
}

uint16_t free_port(void)
{
    for (int i = 0; i < TRIES; i++) {
        uint16_t random = 0;
        assert_int_equal(getrandom(&random, sizeof(random), 0), sizeof(random));
        uint16_t port = (uint16_t)(FIRST + random % (END - FIRST));
        struct sockaddr_in four = {
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in6 six = {
            .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};

        if (is_free((struct sockaddr *)&four, sizeof(four)) &&
            is_free((struct sockaddr *)&six, sizeof(six)) && reserve(port))
            return port;
    }
    fail_msg("no free port");
    return 0;
}
