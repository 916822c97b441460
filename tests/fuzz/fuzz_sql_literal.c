/*
 * Fuzzes the expander of SQL literals: whatever bytes the values have, the text is the statement with exactly one literal in
 * each place, which says exactly these bytes, and nothing of a value stands outside of its literal. The first byte chooses
 * the statement, then come values: a type, a length, bytes.
 */
#include "common/db/db_mysql_literal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const statements[] = {
    "UPDATE t_id_gen SET id_value = COALESCE(id_value, 0) + ? WHERE id = ? AND COALESCE(id_value, 0) < ?",
    "INSERT INTO t (a, b) VALUES (?, ?)",
    "SELECT '?', \"?\", `?` FROM t WHERE a = ? AND b = '' AND (? = '' OR c = ?)",
    "SELECT 1",
    "?",
    "SELECT 'open",
};

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static struct db_value take_value(struct input *input)
{
    uint8_t type = take(input);
    if (type % 4 == 0)
        return db_null();
    if (type % 4 == 1) {
        uint64_t bits = 0;
        for (int i = 0; i < 8; i++)
            bits = bits << 8 | take(input);
        return db_integer((int64_t)bits);
    }
    size_t size = min_size(take(input), input->left);
    struct db_value value = db_bytes(input->at, size);
    input->at += size;
    input->left -= size;
    return value;
}

static unsigned digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c < 'a' || c > 'f')
        abort();
    return (unsigned)(c - 'a') + 10;
}

/* The literal at TEXT says VALUE; returns what follows it. */
static const char *check_literal(const char *text, const struct db_value *value)
{
    char expected[32];
    if (value->type != DB_TYPE_BYTES) {
        snprintf(expected, sizeof(expected), value->type == DB_TYPE_NULL ? "NULL" : "%" PRId64,
                 value->integer);
        if (strncmp(text, expected, strlen(expected)) != 0)
            abort();
        return text + strlen(expected);
    }
    if (strncmp(text, "x'", 2) != 0)
        abort();
    text += 2;
    for (size_t i = 0; i < value->size; i++, text += 2) {
        if ((uint8_t)value->bytes[i] != digit_of(text[0]) * 16 + digit_of(text[1]))
            abort();
    }
    if (*text != '\'')
        abort();
    return text + 1;
}

/* Walks through the statement and its expansion side by side. */
static void check(const char *sql, const char *text, const struct db_value *values, size_t count)
{
    char quote = '\0';
    size_t used = 0;
    for (; *sql != '\0'; sql++) {
        if (quote == '\0' && *sql == '?') {
            if (used == count)
                abort();
            text = check_literal(text, &values[used++]);
            continue;
        }
        if (*text++ != *sql)
            abort();
        if (quote == *sql)
            quote = '\0';
        else if (quote == '\0' && (*sql == '\'' || *sql == '"' || *sql == '`'))
            quote = *sql;
    }
    if (*text != '\0' || used != count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct db_value values[VALUES_MAX];
    const char *sql = statements[take(&input) % ARRAY_SIZE(statements)];
    size_t count = 0, text_size = 0, places = 0;
    while (count < VALUES_MAX && input.left > 0)
        values[count++] = take_value(&input);
    char *text = db_mysql_literal_expand(sql, values, count, &text_size, &places);
    if (!text) {
        if (places == count)
            abort();
        count = min_size(count, places); /* too many: the first ones will do */
        text = db_mysql_literal_expand(sql, values, count, &text_size, &places);
        if ((text != NULL) != (places == count))
            abort();
    }
    if (text) {
        if (strlen(text) != text_size)
            abort();
        check(sql, text, values, count);
    }
    free(text);
    return 0;
}
