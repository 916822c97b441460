/* Listening sockets that systemd keeps: a stand-in for its notification socket takes what a process hands over and gives up. */
#include "common/loop/bind.h"
#include "common/loop/kept_sockets.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define PLACES 4 /* descriptors from 3 on, which systemd passes */

/* ---- systemd ---- */

static struct {
    int socket;
    pthread_t thread;
    pthread_mutex_t lock;
    char text[4096]; /* all messages but barriers, newlines as spaces */
    int fds[16];     /* what it keeps */
    size_t count;
} notified = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One message; false at the one that ends the thread. A barrier's descriptor is closed, as whoever waits for it expects. */
static bool receive(void)
{
    char bytes[512];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int)) + 64];
    } control;
    struct iovec part = {bytes, sizeof(bytes) - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
    ssize_t size = recvmsg(notified.socket, &message, 0);
    int fd = -1;

    if (size <= 0 || strncmp(bytes, "END", 3) == 0)
        return false;
    bytes[size] = '\0';
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
        if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(one), sizeof(fd));
    }
    pthread_mutex_lock(&notified.lock);
    for (char *c = bytes; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
    if (strncmp(bytes, "BARRIER=1", 9) == 0) {
        close(fd);
    } else {
        strcat(notified.text, bytes);
        strcat(notified.text, ";");
        if (fd >= 0)
            notified.fds[notified.count++] = fd;
    }
    pthread_mutex_unlock(&notified.lock);
    return true;
}

static void *serve(void *argument)
{
    (void)argument;
    while (receive())
        ;
    return NULL;
}

static void end_systemd(void)
{
    struct sockaddr_un name;
    socklen_t size = sizeof(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    assert_int_equal(getsockname(notified.socket, (struct sockaddr *)&name, &size), 0);
    assert_int_equal(sendto(fd, "END", 3, 0, (struct sockaddr *)&name, size), 3);
    pthread_join(notified.thread, NULL);
    close(fd);
    close(notified.socket);
}

static int begin(void **state)
{
    static int number;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char text[sizeof(name.sun_path) + 1];

    (void)state;
    /* Nothing of the test's own may lie where systemd's descriptors go. */
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) < 3 + PLACES)
        ;
    notified.text[0] = '\0';
    notified.count = 0;
    notified.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int size = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "reel-test-kept-%d-%d", (int)getpid(),
                        number++);
    assert_int_equal(bind(notified.socket, (struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)),
                     0);
    snprintf(text, sizeof(text), "@%s", name.sun_path + 1);
    setenv("NOTIFY_SOCKET", text, 1);
    return pthread_create(&notified.thread, NULL, serve, NULL);
}

static int end(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    for (size_t i = 0; i < notified.count; i++)
        close(notified.fds[i]);
    closefrom(3);
    return 0;
}

/* Passes FDS, which are closed here, to "the next process". */
static void pass(const int *fds, size_t count, const char *names)
{
    char text[24];

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(dup2(fds[i], 3 + (int)i), 3 + (int)i);
        close(fds[i]);
    }
    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof(text), "%zu", count);
    setenv("LISTEN_FDS", text, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    kept_sockets_begin();
}

/* ---- sockets ---- */

/* Listens on LOOPBACK or on every address. PORT 0: any, which it becomes. */
static int listening(in_addr_t host, uint16_t *port, bool share)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(host)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = share;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static int connected(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* Binds HOST's PORT COUNT times, as so many loops do. */
static void bind_all(const char *host, uint16_t port, bool share, int *fds, int count)
{
    struct address_list addresses;
    struct bind_list list;
    struct error error;
    const struct bind_options options = {.share = share};
    char text[64];

    snprintf(text, sizeof(text), "%s:%u", host, port);
    assert_true(address_list_parse(text, 0, &addresses, &error));
    if (!bind_list_resolve(&addresses, &list, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < count; i++) {
        fds[i] = bind_socket(&list.items[0], &options, &error);
        if (fds[i] < 0)
            fail_msg("%s", error.text);
    }
    bind_list_clear(&list);
    address_list_clear(&addresses);
}

static int bound(const char *host, uint16_t port, bool share)
{
    int fd;

    bind_all(host, port, share, &fd, 1);
    return fd;
}

/* ---- tests ---- */

static void who_waits_is_served_by_the_next_process(void **state)
{
    uint16_t port = 0;
    int old = listening(INADDR_LOOPBACK, &port, true);
    int client = connected(port);

    (void)state;
    pass(&old, 1, "listen-7");
    int fd = bound("127.0.0.1", port, true);
    kept_sockets_end();
    assert_true(kept_sockets_survive());
    int accepted = accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    end_systemd();
    assert_string_equal(notified.text, ""); /* it is kept already */
    close(accepted);
    close(client);
    close(fd);
}

static void a_new_one_is_handed_over_under_a_name_of_its_own(void **state)
{
    uint16_t port = 0;
    int old = listening(INADDR_LOOPBACK, &port, true);

    (void)state;
    pass(&old, 1, "listen-40");
    int fds[2];
    bind_all("127.0.0.1", port, true, fds, 2);
    kept_sockets_end();
    close(fds[0]);
    close(fds[1]);
    end_systemd();
    assert_string_equal(notified.text, "FDSTORE=1 FDPOLL=0 FDNAME=listen-41;");
    assert_int_equal(notified.count, 1);
    /* This process has ended: systemd's copy listens. */
    close(connected(port));
}

static void what_nobody_wants_is_given_up(void **state)
{
    uint16_t wanted = 0, other = 0, whole = 0;
    int old[] = {listening(INADDR_LOOPBACK, &other, true), listening(INADDR_LOOPBACK, &wanted, true),
                 listening(INADDR_LOOPBACK, &whole, false)};

    (void)state;
    pass(old, 3, "listen-1:listen-2:listen-3");
    int fd = bound("127.0.0.1", wanted, true);
    int alone = bound("127.0.0.1", whole, false);
    kept_sockets_end();
    end_systemd();
    assert_string_equal(notified.text, "FDSTOREREMOVE=1 FDNAME=listen-1;");
    close(fd);
    close(alone);
    close(listening(INADDR_LOOPBACK, &other, false)); /* nobody has it any more */
}

static void every_address_takes_the_place_of_one(void **state)
{
    uint16_t port = 0;
    int old = listening(INADDR_LOOPBACK, &port, true);

    (void)state;
    pass(&old, 1, "listen-5");
    int fd = bound("0.0.0.0", port, true);
    kept_sockets_end();
    end_systemd();
    assert_non_null(strstr(notified.text, "FDSTOREREMOVE=1 FDNAME=listen-5;FDSTORE=1 "));
    close(fd);
}

static void what_is_no_listening_socket_is_closed(void **state)
{
    uint16_t port = 0;
    int old[] = {open("/dev/null", O_RDONLY), listening(INADDR_LOOPBACK, &port, true)};

    (void)state;
    pass(old, 2, "something:listen-1");
    assert_int_equal(fcntl(3, F_GETFD), -1);
    close(bound("127.0.0.1", port, true));
    kept_sockets_end();
    end_systemd();
}

static void another_process_is_still_found(void **state)
{
    uint16_t port = 0;
    int other = listening(INADDR_LOOPBACK, &port, true);
    struct address_list addresses;
    struct bind_list list;
    struct error error;
    char text[64];

    (void)state;
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    assert_true(address_list_parse(text, 0, &addresses, &error));
    assert_false(bind_list_resolve(&addresses, &list, &error));
    assert_non_null(strstr(error.text, "in use by another process"));
    address_list_clear(&addresses);
    close(other);
    end_systemd();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_waits_is_served_by_the_next_process, begin, end),
        cmocka_unit_test_setup_teardown(a_new_one_is_handed_over_under_a_name_of_its_own, begin, end),
        cmocka_unit_test_setup_teardown(what_nobody_wants_is_given_up, begin, end),
        cmocka_unit_test_setup_teardown(every_address_takes_the_place_of_one, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_listening_socket_is_closed, begin, end),
        cmocka_unit_test_setup_teardown(another_process_is_still_found, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
