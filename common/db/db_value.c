/*
 * db_value: the values and results that every back end gives: conversions of columns, the code of a result, and the warning
 * about a database that works but does not keep its promise. Declared in db.h and db_backend.h.
 */
#include "common/db/db_backend.h"

#include "common/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct db_value db_text(const char *text)
{
    return text ? db_bytes(text, strlen(text)) : db_null();
}

bool db_value_integer(const struct db_value *value, int64_t *out)
{
    uint64_t number = 0, limit;
    size_t i = 0;
    bool negative;

    if (value->type == DB_TYPE_INTEGER) {
        *out = value->integer;
        return true;
    }
    if (value->type != DB_TYPE_BYTES || value->size == 0)
        return false;
    negative = value->bytes[0] == '-';
    if (negative || value->bytes[0] == '+')
        i = 1;
    limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (i == value->size)
        return false;
    for (; i < value->size; i++) {
        unsigned digit = (unsigned)(unsigned char)value->bytes[i] - '0';
        if (digit > 9 || number > (limit - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (negative)
        *out = number == 0 ? 0 : -(int64_t)(number - 1) - 1;
    else
        *out = (int64_t)number;
    return true;
}

bool db_value_text(const struct db_value *value, char *buffer, size_t size)
{
    size_t length;

    ASSERT(size > 0);
    if (value->type == DB_TYPE_INTEGER) {
        int written = snprintf(buffer, size, "%" PRId64, value->integer);
        return written >= 0 && (size_t)written < size;
    }
    length = value->type == DB_TYPE_BYTES ? min_size(value->size, size - 1) : 0;
    if (length > 0)
        memcpy(buffer, value->bytes, length);
    buffer[length] = '\0';
    return value->type == DB_TYPE_NULL || length == value->size;
}

int db_error_code(enum db_result result)
{
    switch (result) {
    case DB_OK:
        return ERROR_NONE;
    case DB_TRANSIENT:
    case DB_UNCERTAIN:
        return ERROR_UNAVAILABLE;
    case DB_CONSTRAINT:
        return ERROR_EXISTS;
    case DB_PERMANENT:
        break;
    }
    return ERROR_GENERAL;
}

void db_connection_concern(struct db_connection *connection, const char *text)
{
    struct db_shared *shared = connection->shared;

    pthread_mutex_lock(&shared->lock);
    bool news = strcmp(shared->concern, text) != 0;
    snprintf(shared->concern, sizeof(shared->concern), "%s", text);
    pthread_mutex_unlock(&shared->lock);
    if (news && text[0] != '\0')
        log_warning("db", "%s", text);
    else if (news)
        log_info("db", "database %s: the last warning about it no longer applies", connection->url->text);
}
