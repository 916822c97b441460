/*
 * test_error: what a failure carries.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/error.h"

#include <errno.h>
#include <string.h>

static void an_error_gets_its_code_and_its_formatted_text(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set(&error, ERROR_RANGE, "offset %d of %s", 7, "file"));
    assert_int_equal(error.code, ERROR_RANGE);
    assert_string_equal(error.text, "offset 7 of file");
}

static void a_long_text_is_cut_and_terminated(void **state)
{
    (void)state;
    struct error error;
    char text[2 * ERROR_TEXT_SIZE];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_false(error_set(&error, ERROR_IO, "%s", text));
    assert_int_equal(strlen(error.text), ERROR_TEXT_SIZE - 1);
    assert_false(error_set_errno(&error, EIO, "%s", text));
    assert_int_equal(strlen(error.text), ERROR_TEXT_SIZE - 1);
}

static void nobody_needs_to_want_the_error(void **state)
{
    (void)state;
    assert_false(error_set(NULL, ERROR_IO, "lost"));
    assert_false(error_set_errno(NULL, EIO, "lost"));
}

static void an_error_can_be_wrapped_in_its_own_text(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set(&error, ERROR_IO, "inner"));
    assert_false(error_set(&error, error.code, "outer: %s", error.text));
    assert_string_equal(error.text, "outer: inner");
    assert_false(error_set_errno(&error, EIO, "again: %s", error.text));
    assert_string_equal(error.text, "again: outer: inner: Input/output error");
}

static void errno_is_kept(void **state)
{
    (void)state;
    struct error error;
    errno = EXDEV;
    assert_false(error_set(&error, ERROR_IO, "%s", "text"));
    assert_int_equal(errno, EXDEV);
    assert_false(error_set_errno(&error, ENOSPC, "write"));
    assert_int_equal(errno, EXDEV);
}

static void a_failed_system_call_is_described(void **state)
{
    (void)state;
    struct error error;
    assert_false(error_set_errno(&error, ENOSPC, "write to %s", "/data/5"));
    assert_int_equal(error.code, ERROR_NO_SPACE);
    assert_string_equal(error.text, "write to /data/5: No space left on device");
    assert_false(error_set_errno(&error, 99999, "write"));
    assert_int_equal(error.code, ERROR_IO);
    assert_string_equal(error.text, "write: errno 99999");
}

static void system_errors_fall_into_their_classes(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        int code;
    } expected[] = {
        {ENOSPC, ERROR_NO_SPACE},
        {EDQUOT, ERROR_NO_SPACE},
        {ENOENT, ERROR_NOT_FOUND},
        {EMFILE, ERROR_UNAVAILABLE},
        {ENFILE, ERROR_UNAVAILABLE},
        {ENOMEM, ERROR_UNAVAILABLE},
        {ENOTCONN, ERROR_UNAVAILABLE},
        {EROFS, ERROR_UNAVAILABLE},
        {ECONNREFUSED, ERROR_CONNECTION},
        {ECONNRESET, ERROR_CONNECTION},
        {EPIPE, ERROR_CONNECTION},
        {EHOSTUNREACH, ERROR_CONNECTION},
        {ENETUNREACH, ERROR_CONNECTION},
        {ETIMEDOUT, ERROR_TIMEOUT},
        {EIO, ERROR_IO},
        {EACCES, ERROR_IO},
        {ESTALE, ERROR_IO},
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(error_code_of_errno(expected[i].errnum), expected[i].code);
}

static void every_code_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int code = ERROR_NONE; code >= ERROR_QUOTA; code--) {
        for (int other = ERROR_NONE; other > code; other--)
            assert_string_not_equal(error_code_name(code), error_code_name(other));
    }
    assert_string_equal(error_code_name(ERROR_NOT_FOUND), "not-found");
    assert_string_equal(error_code_name(ERROR_GENERAL), "general");
    assert_string_equal(error_code_name(ERROR_QUOTA - 1), "general");
    assert_string_equal(error_code_name(1), "general");
}

/* The numbers are on the wire: changing one breaks peers. */
static void codes_have_the_numbers_of_the_protocol(void **state)
{
    (void)state;
    static const int expected[] = {
        ERROR_NONE,      ERROR_GENERAL,     ERROR_MALFORMED,       ERROR_UNKNOWN_COMMAND,
        ERROR_NOT_FOUND, ERROR_EXISTS,      ERROR_DELETED,         ERROR_RANGE,
        ERROR_NO_SPACE,  ERROR_UNAVAILABLE, ERROR_NO_SERVER,       ERROR_DIGEST,
        ERROR_REFUSED,   ERROR_IO,          ERROR_TIMEOUT,         ERROR_CONNECTION,
        ERROR_EXHAUSTED, ERROR_CANCELLED,   ERROR_UNAUTHENTICATED, ERROR_FORBIDDEN,
        ERROR_THROTTLED, ERROR_OTHER_GROUP, ERROR_QUOTA,
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(expected[i], -(int)i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_gets_its_code_and_its_formatted_text),
        cmocka_unit_test(a_long_text_is_cut_and_terminated),
        cmocka_unit_test(nobody_needs_to_want_the_error),
        cmocka_unit_test(an_error_can_be_wrapped_in_its_own_text),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(a_failed_system_call_is_described),
        cmocka_unit_test(system_errors_fall_into_their_classes),
        cmocka_unit_test(every_code_has_a_word_of_its_own),
        cmocka_unit_test(codes_have_the_numbers_of_the_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
