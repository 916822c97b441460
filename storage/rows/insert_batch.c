/*
 * insert_batch: a queue of rows, and a few batches under way.
 */
#include "storage/rows/insert_batch.h"

#include "common/base/crash_point.h"
#include "common/base/metrics.h"

#include <stdlib.h>

struct insert_batches {
    struct insert_batches_options options;
    struct metric *transactions, *rows;
    pthread_mutex_t mutex; /* for what follows */
    struct wait_list waiting;
    size_t active;
};

struct batch {
    struct db_job job;
    struct insert_batches *batches;
    size_t count;
    struct insert_item *items[INSERT_BATCH_MAX];
};

static void dispatch(struct insert_batches *batches);

/* ---- on a database thread ---- */

static enum db_result settle(struct insert_item *item, struct db_connection *connection, struct error *error)
{
    CRASH_POINT("row-before-insert");
    enum db_result result = item->settle(item, connection, error);
    item->settled = result == DB_OK;
    item->uncertain = item->uncertain || result == DB_UNCERTAIN;
    item->known = result != DB_TRANSIENT && result != DB_UNCERTAIN;
    if (result == DB_OK)
        CRASH_POINT("row-committed");
    return result;
}

/* Each on its own: after one of them spoiled the transaction. What fails for good fails alone. */
static enum db_result settle_each(struct batch *batch, struct db_connection *connection, struct error *error)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct insert_item *item = batch->items[i];
        if (item->known)
            continue;
        item->result = settle(item, connection, &item->error);
        if (item->result == DB_TRANSIENT || item->result == DB_UNCERTAIN) {
            *error = item->error;
            return item->result; /* the whole job is run again */
        }
    }
    return DB_OK;
}

/* Inside of the transaction. */
static enum db_result insert_one_by_one(struct batch *batch, struct db_connection *connection,
                                        struct error *error)
{
    enum db_result result = DB_OK;
    for (size_t i = 0; result == DB_OK && i < batch->count; i++) {
        struct insert_item *item = batch->items[i];
        if (item->known)
            continue;
        result = item->insert(item, connection, error);
        item->conflict = result == DB_CONSTRAINT;
        if (item->conflict) /* the statement was undone, the transaction stands */
            result = DB_OK;
    }
    return result;
}

static enum db_result insert_together(struct batch *batch, struct db_connection *connection,
                                      struct error *error)
{
    struct insert_item *open[INSERT_BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i]->known)
            open[count++] = batch->items[i];
    }
    return count > 0 ? open[0]->insert_many(open, count, connection, error) : DB_OK;
}

/* DB_CONSTRAINT, where they go TOGETHER: one of them has a taken key; nothing was done. */
static enum db_result insert_all(struct batch *batch, bool together, struct db_connection *connection,
                                 struct error *error)
{
    enum db_result result =
        batch->batches->options.relaxed ? db_begin_relaxed(connection, error) : db_begin(connection, error);
    if (result != DB_OK)
        return result;
    CRASH_POINT("row-before-insert");
    result =
        together ? insert_together(batch, connection, error) : insert_one_by_one(batch, connection, error);
    if (result != DB_OK) {
        db_rollback(connection);
        return result;
    }
    result = db_commit(connection, error);
    if (result == DB_OK)
        CRASH_POINT("row-committed");
    for (size_t i = 0; i < batch->count; i++) {
        struct insert_item *item = batch->items[i];
        if (item->known)
            continue;
        item->uncertain = item->uncertain || result == DB_UNCERTAIN;
        if (result == DB_OK && !item->conflict) {
            item->result = DB_OK;
            item->known = true;
        }
    }
    return result;
}

static enum db_result batch_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, job);
    size_t open = 0;
    bool uncertain = false;
    for (size_t i = 0; i < batch->count; i++) {
        struct insert_item *item = batch->items[i];
        item->conflict = false;
        open += item->known ? 0 : 1;
        uncertain = uncertain || (!item->known && item->uncertain);
    }
    /* After a commit that may have counted every row has to be looked at. */
    if (open > 1 && !uncertain) {
        bool together = batch->batches->options.together;
        enum db_result result = insert_all(batch, together, connection, error);
        if (together && result == DB_CONSTRAINT)
            result = insert_all(batch, false, connection, error);
        if (result == DB_TRANSIENT || result == DB_UNCERTAIN)
            return result;
    }
    return settle_each(batch, connection, error);
}

/* ---- ends ---- */

static void item_waited(struct wait *wait, enum wait_end end)
{
    struct insert_item *item = CONTAINER_OF(wait, struct insert_item, wait);
    if (end == WAIT_TIMED_OUT) {
        item->result = DB_TRANSIENT;
        error_set(&item->error, ERROR_UNAVAILABLE, "the row waited too long for the database");
    }
    item->done(item);
}

static void fail_item(struct insert_item *item, const struct error *error)
{
    item->result = DB_TRANSIENT;
    item->error = *error;
    wait_post(&item->wait);
}

static void batch_done(struct db_job *job)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, job);
    struct insert_batches *batches = batch->batches;
    /* The next batch first: the database need not wait for what the loops do with this one. */
    pthread_mutex_lock(&batches->mutex);
    batches->active--;
    pthread_mutex_unlock(&batches->mutex);
    dispatch(batches);
    for (size_t i = 0; i < batch->count; i++) {
        struct insert_item *item = batch->items[i];
        /* A row that was committed in an earlier run of the job stays so, whatever came over the others. */
        if (!item->known) {
            item->result = job->result;
            item->error = job->error;
        }
        wait_answer(&item->wait);
    }
    free(batch);
}

/* ---- the queue ---- */

static struct insert_item *next_item(struct insert_batches *batches)
{
    struct wait *wait = wait_list_take(&batches->waiting);
    return wait ? CONTAINER_OF(wait, struct insert_item, wait) : NULL;
}

/* Nobody would come back to those who wait. */
static void fail_all(struct insert_batches *batches)
{
    struct error error = {0};
    struct insert_item *item;
    error_set(&error, ERROR_UNAVAILABLE, "no memory for a transaction");
    do {
        pthread_mutex_lock(&batches->mutex);
        item = batches->active == 0 ? next_item(batches) : NULL;
        pthread_mutex_unlock(&batches->mutex);
        if (item)
            fail_item(item, &error);
    } while (item);
}

/* Fills BATCH with those who wait. False: nobody waits, or enough transactions are under way. */
static bool fill_batch(struct insert_batches *batches, struct batch *batch)
{
    struct insert_item *item;
    pthread_mutex_lock(&batches->mutex);
    if (batches->active < batches->options.active_max) {
        while (batch->count < INSERT_BATCH_MAX && (item = next_item(batches)))
            batch->items[batch->count++] = item;
        batches->active += batch->count > 0 ? 1 : 0;
    }
    pthread_mutex_unlock(&batches->mutex);
    return batch->count > 0;
}

static void dispatch(struct insert_batches *batches)
{
    for (;;) {
        struct error error = {0};
        struct batch *batch = calloc(1, sizeof(*batch));
        if (!batch) {
            fail_all(batches);
            return;
        }
        if (!fill_batch(batches, batch)) {
            free(batch);
            return;
        }
        batch->batches = batches;
        batch->job = (struct db_job){
            .run = batch_run, .done = batch_done, .loop = batch->items[0]->loop, .idempotent = true};
        metric_add(batches->transactions, 1);
        metric_add(batches->rows, (int64_t)batch->count);
        if (batches->options.submit(batches->options.argument, &batch->job, &error))
            continue;
        pthread_mutex_lock(&batches->mutex);
        batches->active--;
        pthread_mutex_unlock(&batches->mutex);
        for (size_t i = 0; i < batch->count; i++)
            fail_item(batch->items[i], &error);
        free(batch);
    }
}

void insert_batches_add(struct insert_batches *batches, struct insert_item *item)
{
    item->uncertain = item->settled = item->known = false;
    item->wait = (struct wait){.loop = item->loop, .done = item_waited};
    pthread_mutex_lock(&batches->mutex);
    /* Without memory for a timer the database's own time limits have to do. */
    if (!wait_enter(&batches->waiting, &item->wait, batches->options.timeout_ms))
        (void)!wait_enter(&batches->waiting, &item->wait, 0);
    pthread_mutex_unlock(&batches->mutex);
    dispatch(batches);
}

struct insert_batches *insert_batches_create(const struct insert_batches_options *options)
{
    struct insert_batches *batches = calloc(1, sizeof(*batches));
    if (!batches)
        return NULL;
    batches->options = *options;
    batches->transactions = metrics_counter("reel_storage_row_transactions_total",
                                            "Transactions that added rows of uploads.", NULL);
    batches->rows = metrics_counter("reel_storage_rows_added_total", "Rows that these were to add.", NULL);
    pthread_mutex_init(&batches->mutex, NULL);
    wait_list_init(&batches->waiting, &batches->mutex, NULL);
    return batches;
}

void insert_batches_destroy(struct insert_batches *batches)
{
    if (!batches)
        return;
    pthread_mutex_destroy(&batches->mutex);
    free(batches);
}
