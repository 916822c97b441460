/* http_unsent: what the kernel holds for one client shrinks as clients come, and grows as they go. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_unsent.h"

#define KIB ((int64_t)1024)

static void a_few_connections_have_all_that_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, 0), 128 * KIB);
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, 8), 128 * KIB);
}

static void more_connections_have_halves_and_quarters(void **state)
{
    (void)state;
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, 9), 64 * KIB);
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, 16), 64 * KIB);
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, 17), 32 * KIB);
}

static void no_share_is_smaller_than_the_least(void **state)
{
    (void)state;
    assert_int_equal(http_unsent_share(128 * KIB, 1024 * KIB, SIZE_MAX), HTTP_UNSENT_MIN);
    assert_int_equal(http_unsent_share(100 * KIB, 1, SIZE_MAX), 50 * KIB);
}

static void a_limit_below_the_least_stays(void **state)
{
    (void)state;
    assert_int_equal(http_unsent_share(16 * KIB, 1, SIZE_MAX), 16 * KIB);
}

static void without_a_limit_or_a_total_nothing_shrinks(void **state)
{
    (void)state;
    assert_int_equal(http_unsent_share(0, 1, SIZE_MAX), 0);
    assert_int_equal(http_unsent_share(128 * KIB, 0, SIZE_MAX), 128 * KIB);
}

static int share_of(int socket)
{
    int bytes = -1;
    socklen_t size = sizeof(bytes);
    assert_int_equal(getsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, &size), 0);
    return bytes;
}

static void open_connections_get_their_share_and_it_comes_back(void **state)
{
    struct http_loop loop = {.unsent_max = 128 * KIB, .unsent = 128 * KIB, .unsent_total = 1024 * KIB};
    struct http_connection sending = {0}, waiting = {0};
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    sending.transport.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    waiting.transport.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(sending.transport.fd >= 0 && waiting.transport.fd >= 0 && late >= 0);
    for (int i = 0; i < CONNECTION_STATES; i++)
        TAILQ_INIT(&loop.lists[i]);
    TAILQ_INSERT_TAIL(&loop.lists[CONNECTION_SEND], &sending, link);
    TAILQ_INSERT_TAIL(&loop.lists[CONNECTION_FEED], &waiting, link);

    int before = share_of(late);
    http_unsent_tick(&loop, 8);
    http_unsent_accepted(&loop, late);
    assert_int_equal(share_of(sending.transport.fd), before);
    assert_int_equal(share_of(late), before);

    http_unsent_tick(&loop, 9);
    http_unsent_accepted(&loop, late);
    assert_int_equal(share_of(sending.transport.fd), 64 * KIB);
    assert_int_equal(share_of(waiting.transport.fd), 64 * KIB);
    assert_int_equal(share_of(late), 64 * KIB);

    http_unsent_tick(&loop, 8); /* a quarter more would not fit */
    assert_int_equal(share_of(sending.transport.fd), 64 * KIB);
    http_unsent_tick(&loop, 6);
    assert_int_equal(share_of(sending.transport.fd), 128 * KIB);
    assert_int_equal(share_of(waiting.transport.fd), 128 * KIB);
    close(sending.transport.fd);
    close(waiting.transport.fd);
    close(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_connections_have_all_that_is_allowed),
        cmocka_unit_test(more_connections_have_halves_and_quarters),
        cmocka_unit_test(no_share_is_smaller_than_the_least),
        cmocka_unit_test(a_limit_below_the_least_stays),
        cmocka_unit_test(without_a_limit_or_a_total_nothing_shrinks),
        cmocka_unit_test(open_connections_get_their_share_and_it_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
