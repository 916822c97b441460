/* Bodies of replies that are collected in memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "common/call/reply_body.h"

static void room_grows_with_the_bytes_that_come_and_never_past_the_length(void **state)
{
    enum { LENGTH = 100 * 1000, PIECE = 7000 };
    struct reply_body body = {.length = LENGTH};
    uint8_t piece[PIECE];
    (void)state;
    for (size_t at = 0; at < LENGTH; at += PIECE) {
        size_t size = at + PIECE > LENGTH ? LENGTH - at : PIECE;
        memset(piece, (int)(at / PIECE), sizeof(piece));
        assert_true(reply_body_append(&body, piece, size));
        assert_int_equal(body.used, at + size);
        assert_true(body.capacity <= LENGTH);
        assert_true(body.capacity <= 16 * 1024 || body.capacity <= 2 * body.used);
    }
    assert_int_equal(body.capacity, LENGTH);
    for (size_t at = 0; at < LENGTH; at++)
        assert_int_equal(body.bytes[at], at / PIECE);
    reply_body_clear(&body);
    assert_null(body.bytes);
}

static void a_promise_alone_takes_no_memory(void **state)
{
    struct reply_body body = {.length = SIZE_MAX / 2};
    (void)state;
    assert_true(reply_body_append(&body, (const uint8_t *)"", 0));
    assert_null(body.bytes);
    assert_true(reply_body_append(&body, (const uint8_t *)"x", 1));
    assert_int_equal(body.capacity, 16 * 1024);
    reply_body_clear(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_grows_with_the_bytes_that_come_and_never_past_the_length),
        cmocka_unit_test(a_promise_alone_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
