/* What addresses of a configuration become on this machine, with IPv6 and without. */
#include "common/loop/bind.h"
#include "tests/unit/library/free_port.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* ---- a kernel without IPv6 ---- */

static atomic_bool no_ipv6;

/* In the place of libc's: a program's own symbols come first. */
__attribute__((visibility("default"))) int socket(int family, int type, int protocol)
{
    if (family == AF_INET6 && atomic_load(&no_ipv6)) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}

static int begin(void **state)
{
    (void)state;
    atomic_store(&no_ipv6, false);
    return 0;
}

static int without_ipv6(void **state)
{
    (void)state;
    atomic_store(&no_ipv6, true);
    return 0;
}

/* ---- tests ---- */

static bool resolve(const char *text, struct bind_list *list, struct error *error)
{
    struct address_list addresses;
    bool resolved;

    assert_true(address_list_parse(text, 0, &addresses, error));
    resolved = bind_list_resolve(&addresses, list, error);
    address_list_clear(&addresses);
    return resolved;
}

static int open_first(struct bind_list *list, bool share)
{
    const struct bind_options options = {.share = share, .keep_alive = true, .unsent_max = 128 * 1024};
    struct error error;
    int fd = bind_socket(&list->items[0], &options, &error);

    if (fd < 0)
        fail_msg("%s", error.text);
    return fd;
}

static bool reaches(int family, uint16_t port)
{
    struct sockaddr_in ipv4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 ipv6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = (int)syscall(SYS_socket, family, SOCK_STREAM, 0);
    bool reached = fd >= 0 && (family == AF_INET ? connect(fd, (struct sockaddr *)&ipv4, sizeof(ipv4))
                                                 : connect(fd, (struct sockaddr *)&ipv6, sizeof(ipv6))) == 0;

    if (fd >= 0)
        close(fd);
    return reached;
}

static void a_star_takes_both_families(void **state)
{
    struct bind_list list;
    struct error error;
    int fd;

    (void)state;
    assert_true(resolve("*:0", &list, &error));
    assert_int_equal(list.count, 1);
    if (list.items[0].storage.ss_family != AF_INET6) {
        assert_false(has_ipv6());
        bind_list_clear(&list);
        skip(); /* the next test is about it */
    }
    fd = open_first(&list, false);
    assert_int_not_equal(bind_port(&list.items[0]), 0);
    assert_true(reaches(AF_INET, bind_port(&list.items[0])));
    assert_true(reaches(AF_INET6, bind_port(&list.items[0])) || !has_ipv6());
    close(fd);
    bind_list_clear(&list);
}

static void a_star_is_ipv4_where_there_is_no_ipv6(void **state)
{
    struct bind_list list;
    struct error error;
    int fd;

    (void)state;
    assert_true(resolve("*:0", &list, &error));
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].storage.ss_family, AF_INET);
    fd = open_first(&list, false);
    assert_true(reaches(AF_INET, bind_port(&list.items[0])));
    close(fd);
    bind_list_clear(&list);
}

static void of_a_name_what_this_machine_can_use_counts(void **state)
{
    struct bind_list list;
    struct error error;

    (void)state;
    assert_true(resolve("localhost:0", &list, &error));
    assert_true(list.count >= 1);
    for (size_t i = 0; i < list.count; i++)
        assert_int_equal(list.items[i].storage.ss_family, AF_INET);
    bind_list_clear(&list);
}

static void an_ipv6_address_without_ipv6_is_a_clear_failure(void **state)
{
    struct bind_list list;
    struct error error;

    (void)state;
    assert_false(resolve("[::1]:45999", &list, &error));
    assert_non_null(strstr(error.text, "cannot listen on address [::1]:45999: "));
    assert_null(list.items);
}

static void loops_share_a_port_and_nobody_else_gets_it(void **state)
{
    struct bind_list list, again;
    struct error error;
    char text[64], expected[128];
    int first, second;

    (void)state;
    assert_true(resolve("127.0.0.1:0", &list, &error));
    first = open_first(&list, true);
    second = open_first(&list, true);
    snprintf(text, sizeof(text), "127.0.0.1:%u", bind_port(&list.items[0]));
    snprintf(expected, sizeof(expected), "address %s is in use by another process", text);
    assert_false(resolve(text, &again, &error));
    assert_string_equal(error.text, expected);
    close(first);
    close(second);
    bind_list_clear(&list);
}

static void what_cannot_be_had_is_named(void **state)
{
    struct address_list none = {NULL, 0};
    struct bind_list list;
    struct error error;

    (void)state;
    assert_false(bind_list_resolve(&none, &list, &error));
    assert_string_equal(error.text, "no address to listen on is configured");
    assert_false(resolve("192.0.2.77:45999", &list, &error));
    assert_non_null(strstr(error.text, "cannot listen on address 192.0.2.77:45999: "));
    assert_false(resolve("no-such-host.invalid:45999", &list, &error));
    assert_non_null(strstr(error.text, "no-such-host.invalid"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_star_takes_both_families, begin),
        cmocka_unit_test_setup(a_star_is_ipv4_where_there_is_no_ipv6, without_ipv6),
        cmocka_unit_test_setup(of_a_name_what_this_machine_can_use_counts, without_ipv6),
        cmocka_unit_test_setup(an_ipv6_address_without_ipv6_is_a_clear_failure, without_ipv6),
        cmocka_unit_test_setup(loops_share_a_port_and_nobody_else_gets_it, begin),
        cmocka_unit_test_setup(what_cannot_be_had_is_named, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
