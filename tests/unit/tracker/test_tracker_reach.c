/* Which address of a storage server a client gets, and from where storage servers are taken. */
#include "tracker/admission.h"
#include "tracker/loop_watch.h"
#include "tracker/reach.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/storage_loop.h"
#include <semaphore.h>
#include <string.h>

static void addresses_of_this_machine_and_of_one_link_are_known(void **state)
{
    (void)state;
    assert_true(reach_is_loopback("127.0.0.1"));
    assert_true(reach_is_loopback("127.0.1.1"));
    assert_true(reach_is_loopback("::1"));
    assert_true(reach_is_loopback("::ffff:127.0.0.1"));
    assert_false(reach_is_loopback("128.0.0.1"));
    assert_false(reach_is_loopback("::2"));
    assert_false(reach_is_loopback("media1"));
    assert_true(reach_is_link_local("169.254.1.1"));
    assert_true(reach_is_link_local("fe80::1%eth0"));
    assert_true(reach_is_link_local("febf::1"));
    assert_false(reach_is_link_local("fec0::1"));
    assert_false(reach_is_link_local("169.253.1.1"));
    assert_true(reach_same_network("192.0.2.1", "192.0.2.200"));
    assert_false(reach_same_network("192.0.2.1", "192.0.3.1"));
    assert_true(reach_same_network("2001:db8::1", "2001:db8::ffff:1"));
    assert_false(reach_same_network("2001:db8::1", "2001:db8:0:1::1"));
    assert_false(reach_same_network("192.0.2.1", "::1"));
}

static void expect(const char *server, const char *client, const char *local, const char *wanted)
{
    struct address address = {.port = 23000}, out;
    strcpy(address.host, server);
    bool reached = reach_address(&address, client, local, &out);
    assert_true(reached == (wanted != NULL));
    if (!wanted)
        return;
    assert_string_equal(out.host, wanted);
    assert_int_equal(out.port, 23000);
}

static void a_server_on_the_trackers_machine_is_named_as_the_client_reached_the_tracker(void **state)
{
    (void)state;
    expect("192.0.2.1", "192.0.2.9", "192.0.2.5", "192.0.2.1");
    expect("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1");
    expect("127.0.0.1", "192.0.2.9", "192.0.2.5", "192.0.2.5");
    expect("::1", "2001:db8::9", "2001:db8::5", "2001:db8::5");
    expect("127.0.1.1", "192.0.2.9", NULL, NULL);
    expect("169.254.0.1", "192.0.2.9", "192.0.2.5", NULL);
    expect("fe80::1", "fe80::2%eth0", "fe80::3", "fe80::1");
}

static void storage_servers_are_taken_from_named_networks(void **state)
{
    char net[] = "192.0.2.0/24", bad[] = "192.0.2.0/33";
    char *items[] = {net}, *bad_items[] = {bad};
    const struct config_strings named = {.items = items, .count = 1}, none = {0},
                                wrong = {.items = bad_items, .count = 1};
    struct error error;
    struct admission *admission = admission_create(&none, &error);
    (void)state;
    assert_non_null(admission);
    assert_true(admission_is_open(admission));
    assert_false(admission_names(admission, "192.0.2.1"));
    assert_true(admission_configure(admission, &named, &error));
    assert_false(admission_configure(admission, &wrong, &error));
    assert_false(admission_is_open(admission));
    assert_true(admission_names(admission, "192.0.2.1"));
    assert_false(admission_names(admission, "192.0.3.1"));
    admission_destroy(admission);
    assert_null(admission_create(&wrong, &error));
}

static sem_t held, let_go;

static void hold(struct task *task)
{
    (void)task;
    sem_post(&held);
    sem_wait(&let_go);
}

struct watching {
    struct loop_watch *watch;
    int64_t now_ms;
};

static bool runs_again(void *argument)
{
    struct watching *watching = argument;
    return !loop_watch_stuck(watching->watch, watching->now_ms, 2000);
}

static void a_loop_that_does_not_run_is_noticed_and_one_that_runs_again_too(void **state)
{
    struct loop *loops[2] = {loop_fresh(), loop_fresh()};
    struct watching watching = {loop_watch_create(loops, 2), 1000};
    struct task task = {.run = hold};
    (void)state;
    sem_init(&held, 0, 0);
    sem_init(&let_go, 0, 0);
    assert_false(loop_watch_stuck(watching.watch, 1000, 2000));
    loop_post(loops[1], &task);
    sem_wait(&held);
    while (loop_watch_stuck(watching.watch, 1500, 2000)) /* one question is on its way now at the latest */
        ;
    watching.now_ms = 3500;
    assert_true(loop_watch_stuck(watching.watch, 3500, 2000));
    sem_post(&let_go);
    assert_true(loop_wait_until(runs_again, &watching));
    loop_destroy(loops[0]);
    loop_destroy(loops[1]);
    loop_watch_destroy(watching.watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_this_machine_and_of_one_link_are_known),
        cmocka_unit_test(a_server_on_the_trackers_machine_is_named_as_the_client_reached_the_tracker),
        cmocka_unit_test(storage_servers_are_taken_from_named_networks),
        cmocka_unit_test(a_loop_that_does_not_run_is_noticed_and_one_that_runs_again_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
