/*
 * insert_batch: a queue of rows, and a few batches under way. With the upload journal a batch goes through two stages, one batch in
 * each: its records are written, then its rows are added, in the order in which the records were. A batch that finds the second
 * stage taken is parked, and started by the one that leaves it.
 */
#include "storage/rows/insert_batch.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "storage/rows/insert_rows.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

struct batch;

/* A loop that adds rows: those of one turn come into one batch. */
struct turn {
    SLIST_ENTRY(turn) link;
    struct task task;
    struct insert_batches *batches;
    struct loop *loop;
    bool posted; /* on LOOP only */
};

struct insert_batches {
    struct insert_batches_options options;
    struct metric *transactions, *rows;
    pthread_mutex_t mutex; /* for what follows */
    SLIST_HEAD(, turn) turns;
    struct wait_list waiting;
    size_t active;        /* batches whose rows are being added */
    bool writing;         /* a batch is in the stage before, with a journal */
    struct batch *parked; /* and one is behind that, but `active` are enough; NULL: none */
};

struct batch {
    struct db_job job;      /* writes the records; adds the rows, unless it had to be parked */
    struct db_job rows_job; /* adds the rows of one that was parked */
    atomic_int jobs;        /* of both, that have not ended */
    struct insert_batches *batches;
    bool begun;  /* a thread works on it: nobody joins it any more */
    bool turn;   /* it is counted in `active` */
    bool parked; /* it was: `job` only wrote the records */
    bool left;   /* it is not counted in `active` any more; nothing is done to its rows */
    int64_t parked_ms;
    struct insert_rows rows;
};

static void dispatch(struct insert_batches *batches);
static void batch_leave(struct batch *batch);

/* Those who wait, as far as there is room for them in BATCH. The mutex is held. */
static void batch_take_waiting(struct batch *batch)
{
    struct wait *wait;
    while (batch->rows.count < INSERT_BATCH_MAX && (wait = wait_list_take(&batch->batches->waiting)))
        batch->rows.items[batch->rows.count++] = CONTAINER_OF(wait, struct insert_item, wait);
}

/* ---- on a database thread ---- */

/* The records of BATCH are written. False: its rows have to wait for those of an earlier one, and another thread will start it. */
static bool batch_take_turn(struct batch *batch)
{
    struct insert_batches *batches = batch->batches;
    pthread_mutex_lock(&batches->mutex);
    bool turn = batches->active < batches->options.active_max;
    batches->writing = false;
    batches->active += turn ? 1 : 0;
    batch->turn = turn;
    if (!turn) {
        batch->parked = true;
        batch->parked_ms = clock_monotonic_ms();
        atomic_fetch_add(&batch->jobs, 1);
        batches->parked = batch;
    }
    pthread_mutex_unlock(&batches->mutex);
    if (turn)
        dispatch(batches); /* the next one writes while this one adds */
    return turn;
}

/* Rows that came while the thread was on its way to BATCH share its transaction. */
static void batch_begin(struct batch *batch)
{
    struct insert_batches *batches = batch->batches;
    if (batch->begun)
        return;
    batch->begun = true;
    pthread_mutex_lock(&batches->mutex);
    batch_take_waiting(batch);
    pthread_mutex_unlock(&batches->mutex);
    metric_add(batches->transactions, 1);
    metric_add(batches->rows, (int64_t)batch->rows.count);
}

static enum db_result batch_add_rows(struct batch *batch, struct db_connection *connection,
                                     struct error *error)
{
    enum db_result result = insert_rows_add(&batch->rows, connection, error);
    /* For good; the next one, which is written, need not wait until the loop knows of it. */
    if (result == DB_OK && batch->rows.journal)
        batch_leave(batch);
    return result;
}

static enum db_result batch_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, job);
    batch_begin(batch);
    insert_rows_record(&batch->rows);
    if (!batch->turn && !batch_take_turn(batch))
        return DB_OK;
    return batch_add_rows(batch, connection, error);
}

static enum db_result batch_rows_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    return batch_add_rows(CONTAINER_OF(job, struct batch, rows_job), connection, error);
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

static void batch_end_job(struct batch *batch)
{
    if (atomic_fetch_sub(&batch->jobs, 1) == 1)
        free(batch);
}

/* Informs all. A row that was committed in an earlier run of the job stays so, whatever became of the others. */
static void batch_end(struct batch *batch, enum db_result result, const struct error *error,
                      void (*answer)(struct wait *))
{
    if (!batch->left) {
        if (result != DB_OK)
            insert_rows_doubt(&batch->rows, result, error);
        batch_leave(batch);
    }
    for (size_t i = 0; i < batch->rows.count; i++) {
        struct insert_item *item = batch->rows.items[i];
        if (!item->known) {
            item->result = result;
            item->error = *error;
        }
        answer(&item->wait);
    }
}

/* It was never run: no thread had a connection for it. */
static void batch_leave_unwritten(struct batch *batch)
{
    struct insert_batches *batches = batch->batches;
    batch->left = true;
    pthread_mutex_lock(&batches->mutex);
    batches->writing = false;
    pthread_mutex_unlock(&batches->mutex);
    dispatch(batches);
}

static void batch_done(struct db_job *job)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, job);
    if (!batch->parked && !batch->turn)
        batch_leave_unwritten(batch);
    if (!batch->parked)
        batch_end(batch, job->result, &job->error, wait_answer);
    batch_end_job(batch);
}

static void batch_rows_done(struct db_job *job)
{
    struct batch *batch = CONTAINER_OF(job, struct batch, rows_job);
    batch_end(batch, job->result, &job->error, wait_answer);
    batch_end_job(batch);
}

/* Its turn has come. One whose predecessor had all the time that there is does not get as much again. */
static void batch_start_rows(struct batch *batch)
{
    struct insert_batches *batches = batch->batches;
    struct error error = {0};
    batch->rows_job = (struct db_job){.run = batch_rows_run,
                                      .done = batch_rows_done,
                                      .loop = batch->rows.items[0]->loop,
                                      .idempotent = true};
    if (clock_monotonic_ms() - batch->parked_ms >= batches->options.timeout_ms)
        error_set(&error, ERROR_UNAVAILABLE, "the row waited too long for the database");
    else if (batches->options.submit(batches->options.argument, &batch->rows_job, &error))
        return;
    batch_end(batch, DB_TRANSIENT, &error, wait_post);
    batch_end_job(batch);
}

/* Nothing is done to BATCH's rows any more. Any thread. */
static void batch_leave(struct batch *batch)
{
    struct insert_batches *batches = batch->batches;
    batch->left = true;
    if (batch->rows.last > 0)
        batch->rows.journal->settled(batch->rows.journal->argument, batch->rows.last);
    pthread_mutex_lock(&batches->mutex);
    struct batch *next = batches->parked;
    batches->parked = NULL;
    if (next)
        next->turn = true;
    else
        batches->active--;
    pthread_mutex_unlock(&batches->mutex);
    if (next)
        batch_start_rows(next);
    dispatch(batches);
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
        item = batches->active == 0 && !batches->writing ? next_item(batches) : NULL;
        pthread_mutex_unlock(&batches->mutex);
        if (item)
            fail_item(item, &error);
    } while (item);
}

/* Somebody waits, and a batch for it may begin. The mutex is held. */
static bool may_begin(const struct insert_batches *batches)
{
    bool room = batches->options.journal ? !batches->writing && !batches->parked
                                         : batches->active < batches->options.active_max;
    return room && wait_list_first(&batches->waiting);
}

static bool batch_is_due(struct insert_batches *batches)
{
    pthread_mutex_lock(&batches->mutex);
    bool due = may_begin(batches);
    pthread_mutex_unlock(&batches->mutex);
    return due;
}

/* Fills BATCH with those who wait. False: somebody else was quicker. */
static bool fill_batch(struct insert_batches *batches, struct batch *batch)
{
    pthread_mutex_lock(&batches->mutex);
    batch->batches = batches;
    batch->rows.journal = batches->options.journal;
    batch->rows.together = batches->options.together;
    batch->rows.relaxed = batches->options.relaxed;
    if (may_begin(batches))
        batch_take_waiting(batch);
    if (batch->rows.count > 0 && batch->rows.journal)
        batches->writing = true;
    else if (batch->rows.count > 0)
        batches->active++;
    batch->turn = batch->rows.count > 0 && !batch->rows.journal;
    pthread_mutex_unlock(&batches->mutex);
    return batch->rows.count > 0;
}

static void dispatch(struct insert_batches *batches)
{
    while (batch_is_due(batches)) {
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
        atomic_init(&batch->jobs, 1);
        batch->job = (struct db_job){
            .run = batch_run, .done = batch_done, .loop = batch->rows.items[0]->loop, .idempotent = true};
        if (batches->options.submit(batches->options.argument, &batch->job, &error))
            continue;
        pthread_mutex_lock(&batches->mutex);
        if (batch->turn)
            batches->active--;
        else
            batches->writing = false;
        pthread_mutex_unlock(&batches->mutex);
        for (size_t i = 0; i < batch->rows.count; i++)
            fail_item(batch->rows.items[i], &error);
        free(batch);
    }
}

void insert_batches_set_journal(struct insert_batches *batches, const struct insert_journal *journal)
{
    pthread_mutex_lock(&batches->mutex);
    ASSERT(!journal || batches->options.active_max == 1);
    batches->options.journal = journal;
    pthread_mutex_unlock(&batches->mutex);
}

static void turn_ends(struct task *task)
{
    struct turn *turn = CONTAINER_OF(task, struct turn, task);
    turn->posted = false;
    dispatch(turn->batches);
}

/* The mutex is held. NULL without memory. */
static struct turn *find_turn(struct insert_batches *batches, struct loop *loop)
{
    struct turn *turn;
    SLIST_FOREACH(turn, &batches->turns, link)
    {
        if (turn->loop == loop)
            return turn;
    }
    turn = calloc(1, sizeof(*turn));
    if (!turn)
        return NULL;
    turn->task.run = turn_ends;
    turn->batches = batches;
    turn->loop = loop;
    SLIST_INSERT_HEAD(&batches->turns, turn, link);
    return turn;
}

void insert_batches_add(struct insert_batches *batches, struct insert_item *item)
{
    item->uncertain = item->settled = item->known = item->added = item->unwritten = item->unsynced = false;
    item->sequence = 0;
    item->wait = (struct wait){.loop = item->loop, .done = item_waited};
    pthread_mutex_lock(&batches->mutex);
    /* Without memory for a timer the database's own time limits have to do. */
    if (!wait_enter(&batches->waiting, &item->wait, batches->options.timeout_ms))
        (void)!wait_enter(&batches->waiting, &item->wait, 0);
    struct turn *turn = find_turn(batches, item->loop);
    pthread_mutex_unlock(&batches->mutex);
    if (!turn) {
        dispatch(batches);
    } else if (!turn->posted) {
        turn->posted = true;
        loop_post(item->loop, &turn->task);
    }
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
    SLIST_INIT(&batches->turns);
    wait_list_init(&batches->waiting, &batches->mutex, NULL);
    return batches;
}

void insert_batches_destroy(struct insert_batches *batches)
{
    struct turn *turn;
    if (!batches)
        return;
    while ((turn = SLIST_FIRST(&batches->turns))) {
        SLIST_REMOVE_HEAD(&batches->turns, link);
        free(turn);
    }
    pthread_mutex_destroy(&batches->mutex);
    free(batches);
}
