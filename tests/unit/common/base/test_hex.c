/* Bytes as hexadecimal digits, and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "common/base/hex.h"

static void every_byte_becomes_two_digits_and_comes_back(void **state)
{
    uint8_t bytes[256], back[256];
    char text[513];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_ptr_equal(hex_format(bytes, sizeof(bytes), text), text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102030405060708090a0b0c0d0e0f10", 34);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_parse(text, back, sizeof(back)));
    assert_memory_equal(back, bytes, sizeof(bytes));
    assert_ptr_equal(hex_put(bytes, 2, text), text + 4);
}

static void either_case_is_read_and_nothing_else(void **state)
{
    uint8_t bytes[2] = {7, 7};
    (void)state;
    assert_true(hex_parse("aBcD", bytes, 2));
    assert_int_equal(bytes[0], 0xab);
    assert_int_equal(bytes[1], 0xcd);
    assert_false(hex_parse("12", bytes, 2)); /* ends at the NUL, which is no digit */
    assert_false(hex_parse("123g", bytes, 2));
    assert_false(hex_parse("+123", bytes, 2));
    assert_int_equal(bytes[0], 0xab); /* as it was */
    assert_true(hex_parse("", bytes, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_becomes_two_digits_and_comes_back),
        cmocka_unit_test(either_case_is_read_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
