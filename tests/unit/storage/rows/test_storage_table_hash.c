/* Which table holds a user's files: values computed beside, from the formula in docs/protocol.md. */
#include "storage/rows/table_hash.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void users_lie_where_the_predecessor_put_them(void **state)
{
    static const struct {
        const char *user;
        unsigned table; /* t_file_0N */
    } rows[] = {{"a", 2},
                {"alice", 2},
                {"bob", 3},
                {"13800138000", 2},
                {"trailing ", 1},
                {"user42", 3},
                {"\xe7\x89\x87\xe5\x90\x8d", 2}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(table_hash_of_user(rows[i].user) + 1, rows[i].table);
}

static void bytes_above_127_count_as_negative(void **state)
{
    (void)state;
    /* With unsigned bytes these would be 1, 3 and 1. */
    assert_int_equal(table_hash_of_user("\xff") + 1, 2);
    assert_int_equal(table_hash_of_user("\x80") + 1, 1);
    assert_int_equal(table_hash_of_user("\xff\xfe\x80") + 1, 2);
}

static void the_longest_user_has_a_table(void **state)
{
    char user[256];
    (void)state;
    memset(user, 'x', 255);
    user[255] = '\0';
    assert_int_equal(table_hash_of_user(user) + 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_lie_where_the_predecessor_put_them),
        cmocka_unit_test(bytes_above_127_count_as_negative),
        cmocka_unit_test(the_longest_user_has_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
