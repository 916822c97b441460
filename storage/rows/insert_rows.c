/*
 * insert_rows: see insert_rows.h. One transaction for all; where one of them spoils it, or may have been committed before, each on its
 * own.
 */
#include "storage/rows/insert_rows.h"

#include "common/base/crash_point.h"

static enum db_result settle(struct insert_rows *rows, struct insert_item *item,
                             struct db_connection *connection, struct error *error)
{
    CRASH_POINT("row-before-insert");
    /* A transaction that a power cut takes must take its number with it. */
    item->unsynced = item->promised && item->sequence > rows->marked;
    rows->marked = max_i64(rows->marked, item->sequence);
    enum db_result result = item->settle(item, connection, error);
    item->settled = result == DB_OK;
    item->uncertain = item->uncertain || result == DB_UNCERTAIN;
    item->known = result != DB_TRANSIENT && result != DB_UNCERTAIN;
    if (result == DB_OK)
        CRASH_POINT("row-committed");
    return result;
}

/* Each on its own: after one of them spoiled the transaction. What fails for good fails alone. */
static enum db_result settle_each(struct insert_rows *rows, struct db_connection *connection,
                                  struct error *error)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct insert_item *item = rows->items[i];
        if (item->known)
            continue;
        item->result = settle(rows, item, connection, &item->error);
        if (item->result == DB_TRANSIENT || item->result == DB_UNCERTAIN) {
            *error = item->error;
            return item->result; /* the whole job is run again */
        }
    }
    return DB_OK;
}

/* Inside of the transaction. */
static enum db_result insert_one_by_one(struct insert_rows *rows, struct db_connection *connection,
                                        struct error *error)
{
    enum db_result result = DB_OK;
    for (size_t i = 0; result == DB_OK && i < rows->count; i++) {
        struct insert_item *item = rows->items[i];
        if (item->known)
            continue;
        result = item->insert(item, connection, error);
        item->conflict = result == DB_CONSTRAINT;
        if (item->conflict) /* the statement was undone, the transaction stands */
            result = DB_OK;
    }
    return result;
}

static enum db_result insert_together(struct insert_rows *rows, struct db_connection *connection,
                                      struct error *error)
{
    struct insert_item *open[INSERT_BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (!rows->items[i]->known)
            open[count++] = rows->items[i];
    }
    return count > 0 ? open[0]->insert_many(open, count, connection, error) : DB_OK;
}

/* Whether no open item asks for a synced commit. *NUMBER: the highest of theirs in the journal. */
static bool all_promised(const struct insert_rows *rows, int64_t *number)
{
    bool all = true;
    *number = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct insert_item *item = rows->items[i];
        if (item->known)
            continue;
        all = all && item->promised && item->sequence > rows->marked;
        *number = max_i64(*number, item->sequence);
    }
    return all;
}

static enum db_result mark(const struct insert_rows *rows, int64_t number, struct db_connection *connection,
                           struct error *error)
{
    const struct insert_journal *journal = rows->journal;
    return number > 0 ? journal->mark(journal->argument, connection, number, error) : DB_OK;
}

/* DB_CONSTRAINT, where they go TOGETHER: one of them has a taken key; nothing was done. */
static enum db_result insert_all(struct insert_rows *rows, bool together, struct db_connection *connection,
                                 struct error *error)
{
    int64_t number;
    bool relaxed = all_promised(rows, &number) || rows->relaxed;
    enum db_result result = relaxed ? db_begin_relaxed(connection, error) : db_begin(connection, error);
    if (result != DB_OK)
        return result;
    CRASH_POINT("row-before-insert");
    rows->marked = max_i64(rows->marked, number);
    result = together ? insert_together(rows, connection, error) : insert_one_by_one(rows, connection, error);
    if (result == DB_OK)
        result = mark(rows, number, connection, error);
    if (result != DB_OK) {
        db_rollback(connection);
        return result;
    }
    result = db_commit(connection, error);
    if (result == DB_OK)
        CRASH_POINT("row-committed");
    for (size_t i = 0; i < rows->count; i++) {
        struct insert_item *item = rows->items[i];
        if (item->known)
            continue;
        item->uncertain = item->uncertain || result == DB_UNCERTAIN;
        if (result == DB_OK && !item->conflict) {
            item->result = DB_OK;
            item->known = item->added = true;
        }
    }
    return result;
}

void insert_rows_record(struct insert_rows *rows)
{
    const struct insert_journal *journal = rows->journal;
    struct insert_item *promised[INSERT_BATCH_MAX];
    struct error error = {0};
    size_t count = 0;
    for (size_t i = 0; !rows->written && i < rows->count; i++) {
        if (rows->items[i]->promised)
            promised[count++] = rows->items[i];
    }
    rows->written = true;
    if (count == 0)
        return;
    bool fine = journal ? journal->write(journal->argument, promised, count, &error)
                        : error_set(&error, ERROR_UNAVAILABLE, "the server is stopping");
    for (size_t i = 0; i < count; i++) {
        struct insert_item *item = promised[i];
        rows->last = max_i64(rows->last, item->sequence);
        if (fine)
            continue;
        item->unwritten = item->known = true;
        item->result = DB_TRANSIENT;
        item->error = error;
    }
}

/* A row that is not added after all, though its record may be read again: that must never add it. */
static enum db_result void_records(struct insert_rows *rows, struct db_connection *connection,
                                   struct error *error)
{
    bool needed = false;
    for (size_t i = 0; i < rows->count; i++)
        needed = needed || (rows->items[i]->sequence > 0 && !rows->items[i]->added);
    if (!needed || rows->voided)
        return DB_OK;
    CRASH_POINT("journal-before-void");
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = mark(rows, rows->last, connection, error);
    if (result == DB_OK)
        result = db_commit(connection, error);
    else
        db_rollback(connection);
    rows->voided = result == DB_OK;
    if (rows->voided)
        CRASH_POINT("journal-voided");
    return result;
}

void insert_rows_doubt(struct insert_rows *rows, enum db_result result, const struct error *error)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct insert_item *item = rows->items[i];
        if (item->sequence == 0 || item->added)
            continue;
        item->uncertain = true;
        item->settled = item->unwritten = false;
        item->result = result;
        item->error = *error;
    }
}

enum db_result insert_rows_add(struct insert_rows *rows, struct db_connection *connection,
                               struct error *error)
{
    size_t open = 0;
    bool uncertain = false;
    for (size_t i = 0; i < rows->count; i++) {
        struct insert_item *item = rows->items[i];
        item->conflict = false;
        open += item->known ? 0 : 1;
        uncertain = uncertain || (!item->known && (item->uncertain || item->alone));
    }
    /* After a commit that may have counted every row has to be looked at; some are in any case. */
    if (open > 1 && !uncertain) {
        enum db_result result = insert_all(rows, rows->together, connection, error);
        if (rows->together && result == DB_CONSTRAINT)
            result = insert_all(rows, false, connection, error);
        if (result == DB_TRANSIENT || result == DB_UNCERTAIN)
            return result;
    }
    enum db_result result = settle_each(rows, connection, error);
    if (result == DB_OK)
        result = void_records(rows, connection, error);
    if (result == DB_PERMANENT || result == DB_CONSTRAINT) {
        insert_rows_doubt(rows, result, error);
        result = DB_OK;
    }
    return result;
}
