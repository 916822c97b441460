/*
 * db_mysql_literal: one pass that counts places and bytes, one that writes. A binary string by a hexadecimal literal is
 * what a prepared statement binds as BLOB: neither converted nor checked.
 */
#include "common/db/db_mysql_literal.h"
#include "common/base/hex.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTEGER_SIZE 21 /* of the longest, with the NUL of snprintf() */

/* The length of the part at SQL in which a question mark is not a placeholder: a quoted one; else 0. */
static size_t quoted_size(const char *sql)
{
    if (*sql != '\'' && *sql != '"' && *sql != '`')
        return 0;
    const char *end = strchr(sql + 1, *sql);
    return end ? (size_t)(end - sql) + 1 : strlen(sql);
}

static size_t literal_count_places(const char *sql)
{
    size_t places = 0;
    while (*sql != '\0') {
        places += *sql == '?';
        sql += max_size(quoted_size(sql), 1);
    }
    return places;
}

static size_t literal_room(const struct db_value *value)
{
    return value->type == DB_TYPE_BYTES ? 2 * value->size + strlen("x''") : INTEGER_SIZE;
}

static char *put_literal(char *end, const struct db_value *value)
{
    if (value->type == DB_TYPE_NULL)
        return stpcpy(end, "NULL");
    if (value->type == DB_TYPE_INTEGER)
        return end + snprintf(end, INTEGER_SIZE, "%" PRId64, value->integer);
    end = hex_put(value->bytes, value->size, stpcpy(end, "x'"));
    *end++ = '\'';
    return end;
}

char *db_mysql_literal_expand(const char *sql, const struct db_value *parameters, size_t count, size_t *size,
                              size_t *places)
{
    size_t room = strlen(sql) + 1;
    *places = literal_count_places(sql);
    if (*places != count)
        return NULL;
    for (size_t i = 0; i < count; i++)
        room += literal_room(&parameters[i]);
    char *text = malloc(room), *end = text;
    if (!text)
        return NULL;
    while (*sql != '\0') {
        size_t quoted = quoted_size(sql);
        if (quoted > 0) {
            end = mempcpy(end, sql, quoted);
            sql += quoted;
        } else if (*sql == '?') {
            end = put_literal(end, parameters++);
            sql++;
        } else {
            *end++ = *sql++;
        }
    }
    *end = '\0';
    *size = (size_t)(end - text);
    return text;
}
