/*
 * db_mysql_literal: a statement with its parameters written into it, for statements that MySQL gets as text. Bytes become
 * hexadecimal literals (x'...'), in which no byte can end the literal whatever character set the server reads the
 * statement in. Pure apart from allocation; called by db_mysql_transaction.c.
 */
#ifndef REEL_COMMON_DB_MYSQL_LITERAL_H
#define REEL_COMMON_DB_MYSQL_LITERAL_H

#include "common/db/db.h"

/* SQL, a literal of this program without a quote inside of a quoted part, with the COUNT values of PARAMETERS in the
 * places of its question marks. Returns the text (NUL-terminated, SIZE bytes without it; free() it), or NULL: *PLACES,
 * the number of places in SQL, differs from COUNT, or else there is no memory. */
MUST_CHECK char *db_mysql_literal_expand(const char *sql, const struct db_value *parameters, size_t count,
                                         size_t *size, size_t *places);

#endif
