/*
 * story_numbers: the numbers that the ID servers gave, to clients and for paths in rows: none may come twice.
 */
#include "tests/simulation/story_state.h"

#include "common/proto/proto_idserver.h"
#include "tests/simulation/base_handle.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>

#define NUMBERS_MAX 4096

static int64_t numbers[NUMBERS_MAX];
static size_t number_count;

void story_take_number(void)
{
    struct node *node = &story_idservers[chance_below(story_idserver_count)];
    uint8_t key[PROTO_KEY_SIZE];
    size_t size = proto_get_pack(key, "../data");
    struct reply reply;
    int64_t value;
    client_ask(node->port, PROTO_IDSERVER_GET, key, size, NULL, 0, 20 * SECOND_US, &reply);
    if (reply.complete && reply.code == 0 && proto_value_unpack(reply.body, reply.size, &value, NULL) &&
        number_count < NUMBERS_MAX)
        numbers[number_count++] = value;
    client_free(&reply);
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t *one = a, *other = b;
    return *one < *other ? -1 : *one > *other;
}

void story_check_numbers(void)
{
    static const char *const queries[] = {"SELECT file_path FROM t_file_01 WHERE userid = 'alice'",
                                          "SELECT file_path FROM t_file_02 WHERE userid = 'alice'",
                                          "SELECT file_path FROM t_file_03 WHERE userid = 'alice'"};
    char path[300];
    sqlite3 *handle = NULL;
    snprintf(path, sizeof(path), "%s/storage.db", story_bases);
    if (base_handle_open(path, &handle, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        violation("the rows cannot be read");
    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        sqlite3_stmt *statement = NULL;
        (void)sqlite3_prepare_v2(handle, queries[i], -1, &statement, NULL);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            unsigned a, b, c, d, seconds;
            const char *text = (const char *)sqlite3_column_text(statement, 0);
            if (sscanf(text, "../data/%3X/%3X/%3X/%8X_%3X", &a, &b, &c, &seconds, &d) == 5 &&
                number_count < NUMBERS_MAX)
                numbers[number_count++] = (((int64_t)a * 512 + b) * 512 + c) * 512 + d;
        }
        (void)sqlite3_finalize(statement);
    }
    (void)base_handle_close(handle);
    qsort(numbers, number_count, sizeof(numbers[0]), compare_numbers);
    for (size_t i = 1; i < number_count; i++) {
        if (numbers[i] == numbers[i - 1])
            violation("number %" PRId64 " was given twice", numbers[i]);
    }
}
