/* A transfer goes on as long as bytes come: at once where a server broke off, after a pause where none is there. */
#include "client/core/client_resume.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void servers_may_break_off_so_often_without_progress(void **state)
{
    struct client_resume resume;
    (void)state;
    client_resume_init(&resume, 3, 1000, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            assert_true(client_resume_at_once(&resume));
            client_resume_moved(&resume, 100); /* some, but no good progress */
        }
        assert_false(client_resume_at_once(&resume));
        client_resume_moved(&resume, 1000);
    }
    client_resume_init(&resume, 0, 1, 0);
    assert_false(client_resume_at_once(&resume));
    assert_int_equal(client_resume_pause(&resume, 0), -1);
}

static void where_no_server_is_there_it_is_waited_for_as_long_as_patience_lasts(void **state)
{
    struct client_resume resume;
    (void)state;
    client_resume_init(&resume, 3, 1, 30000);
    for (int round = 0; round < 2;
         round++) { /* the second time is as long as the first, since a byte came between */
        int64_t now_ms = 1000000 + round * 100000, began_ms = now_ms, pause_ms, last_ms = 0;
        while ((pause_ms = client_resume_pause(&resume, now_ms)) >= 0) {
            assert_in_range(pause_ms, 125, 2000);
            last_ms = pause_ms;
            now_ms += pause_ms;
        }
        assert_in_range(now_ms - began_ms, 28000, 30000);
        assert_true(last_ms >= 1000);
        client_resume_moved(&resume, 1);
        assert_in_range(client_resume_pause(&resume, now_ms), 125, 250); /* short again */
        client_resume_moved(&resume, 1);
    }
}

static void without_patience_a_pause_is_a_try(void **state)
{
    struct client_resume resume;
    (void)state;
    client_resume_init(&resume, 2, 1, 0);
    assert_true(client_resume_at_once(&resume));
    assert_true(client_resume_pause(&resume, 5) > 0);
    assert_int_equal(client_resume_pause(&resume, 10), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_may_break_off_so_often_without_progress),
        cmocka_unit_test(where_no_server_is_there_it_is_waited_for_as_long_as_patience_lasts),
        cmocka_unit_test(without_patience_a_pause_is_a_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
