/*
 * ids: runs of numbers and those who wait for one, behind one mutex; calls and back-off belong to one loop.
 */
#include "storage/admit/ids.h"

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/call/name_list.h"
#include "common/call/packet_call.h"
#include "common/proto/path.h"
#include "common/proto/proto_idserver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROOM           "ids"
#define RUNS_MAX       64    /* runs of numbers in memory for one key */
#define SINGLES_AHEAD  32    /* numbers kept ahead while a legacy server gives them one by one */
#define LEGACY_MS      60000 /* how long GET is used before RANGE is tried again */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000
#define PENALTY_MS     10000 /* a server that failed or was slow is asked last for so long */
#define TICK_MS        50L   /* while somebody waits or a back-off runs */

struct run {
    int64_t next, end; /* next..end - 1 */
};

struct sequence {
    struct ids *ids;
    const char *key;
    struct task refill_task;
    /* under the mutex */
    struct run runs[RUNS_MAX]; /* ring */
    size_t first_run, run_count;
    int64_t available;
    struct wait_list waiting;
    bool refill_posted;
    /* the loop's */
    struct packet_call *question; /* under way */
    bool asked_range;
    int64_t legacy_until_ms;
    struct backoff backoff;
    int64_t not_before_ms;
    struct metric *gauge;
};

struct ids {
    struct ids_options options;
    struct packet_pool *pool;
    struct name_list *servers;
    struct sequence *sequences;
    struct event *timer;
    struct metric *failures, *up;
    pthread_mutex_t mutex;
    size_t waiting; /* over all keys */
    bool failing;
    bool ending;
    struct task end_task;
    struct error last_error;
};

static void ids_refill(struct sequence *sequence);

/* ---- numbers in memory; the mutex is held ---- */

static bool pop_number(struct sequence *sequence, int64_t *value)
{
    if (sequence->run_count == 0)
        return false;
    struct run *run = &sequence->runs[sequence->first_run];
    *value = run->next++;
    sequence->available--;
    if (run->next == run->end) {
        sequence->first_run = (sequence->first_run + 1) % RUNS_MAX;
        sequence->run_count--;
    }
    return true;
}

/* A run that finds no place is lost: numbers may be skipped, never repeated. */
static void push_run(struct sequence *sequence, int64_t first, int64_t count)
{
    if (sequence->run_count == RUNS_MAX)
        return;
    struct run *run = &sequence->runs[(sequence->first_run + sequence->run_count) % RUNS_MAX];
    *run = (struct run){.next = first, .end = first + count};
    sequence->run_count++;
    sequence->available += count;
}

static void serve_waiters(struct sequence *sequence)
{
    while (sequence->waiting.count > 0 && sequence->run_count > 0) {
        struct wait *wait = wait_list_take(&sequence->waiting);
        (void)pop_number(sequence, &CONTAINER_OF(wait, struct ids_waiter, wait)->value);
        wait_post(wait);
    }
}

/* Below half of what is kept ahead: the loop is asked to fetch more. */
static void want_refill(struct sequence *sequence)
{
    int64_t low = sequence->ids->options.range / 2;
    if (sequence->available > low || sequence->refill_posted || sequence->ids->ending)
        return;
    sequence->refill_posted = true;
    loop_post(sequence->ids->options.loop, &sequence->refill_task);
}

/* ---- those who wait ---- */

static void ids_waited(struct wait *wait, enum wait_end end)
{
    struct ids_waiter *waiter = CONTAINER_OF(wait, struct ids_waiter, wait);
    struct ids *ids = waiter->sequence->ids;
    if (end == WAIT_TIMED_OUT) {
        pthread_mutex_lock(&ids->mutex);
        error_set(&waiter->error, ERROR_UNAVAILABLE, "no number for a file of %s within %lld ms: %s",
                  waiter->sequence->key, (long long)ids->options.timeout_ms,
                  ids->failing ? ids->last_error.text : "the ID server is slow");
        pthread_mutex_unlock(&ids->mutex);
    }
    waiter->done(waiter, waiter->value, waiter->value < 0 ? &waiter->error : NULL);
}

bool ids_take(struct ids *ids, size_t index, int64_t *value)
{
    struct sequence *sequence = &ids->sequences[index];
    pthread_mutex_lock(&ids->mutex);
    bool found = sequence->waiting.count == 0 && pop_number(sequence, value);
    want_refill(sequence);
    pthread_mutex_unlock(&ids->mutex);
    return found;
}

bool ids_wait(struct ids *ids, size_t index, struct ids_waiter *waiter, struct error *error)
{
    struct sequence *sequence = &ids->sequences[index];
    const char *refusal = NULL;
    waiter->wait = (struct wait){.loop = waiter->loop, .done = ids_waited};
    waiter->sequence = sequence;
    waiter->value = -1;
    pthread_mutex_lock(&ids->mutex);
    if (ids->ending)
        refusal = "the server is stopping";
    else if (ids->waiting >= ids->options.waiting_max)
        refusal = "too many uploads wait for a number";
    else if (!wait_enter(&sequence->waiting, &waiter->wait, ids->options.timeout_ms))
        refusal = "no memory to wait for a number";
    if (!refusal) {
        serve_waiters(sequence);
        want_refill(sequence);
    }
    pthread_mutex_unlock(&ids->mutex);
    return !refusal || error_set(error, ERROR_UNAVAILABLE, "%s", refusal);
}

void ids_discard(struct ids *ids, size_t index)
{
    struct sequence *sequence = &ids->sequences[index];
    pthread_mutex_lock(&ids->mutex);
    sequence->run_count = 0;
    sequence->available = 0;
    want_refill(sequence);
    pthread_mutex_unlock(&ids->mutex);
}

/* ---- asking the ID servers; on the loop ---- */

static void arm_timer(struct ids *ids)
{
    const struct timeval tick = duration_timeval(TICK_MS);
    if (!evtimer_pending(ids->timer, NULL) && evtimer_add(ids->timer, &tick) != 0)
        log_error(ROOM, "cannot arm a timer: uploads may wait for a number without a limit");
}

static void ids_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct ids *ids = argument;
    int64_t now = clock_monotonic_ms();
    bool again = false;
    for (size_t i = 0; i < ids->options.key_count; i++) {
        struct sequence *sequence = &ids->sequences[i];
        ids_refill(sequence);
        pthread_mutex_lock(&ids->mutex);
        again = again || sequence->waiting.count > 0 || sequence->not_before_ms > now;
        pthread_mutex_unlock(&ids->mutex);
    }
    if (again)
        arm_timer(ids);
}

static void succeeded(struct sequence *sequence, int64_t first, int64_t count)
{
    struct ids *ids = sequence->ids;
    backoff_reset(&sequence->backoff);
    sequence->not_before_ms = 0;
    pthread_mutex_lock(&ids->mutex);
    bool was_failing = ids->failing;
    ids->failing = false;
    metric_set(ids->up, 1);
    push_run(sequence, first, count);
    serve_waiters(sequence);
    metric_set(sequence->gauge, sequence->available);
    pthread_mutex_unlock(&ids->mutex);
    if (was_failing)
        log_info(ROOM, "the ID server answers again");
}

static void failed(struct sequence *sequence, const struct error *error)
{
    struct ids *ids = sequence->ids;
    metric_add(ids->failures, 1);
    pthread_mutex_lock(&ids->mutex);
    bool was_failing = ids->failing;
    ids->failing = true;
    metric_set(ids->up, 0);
    ids->last_error = *error;
    bool waits = sequence->waiting.count > 0;
    int64_t available = sequence->available;
    pthread_mutex_unlock(&ids->mutex);
    if (!was_failing)
        log_error(ROOM, "no numbers for %s: %s; %lld are at hand%s", sequence->key, error->text,
                  (long long)available, waits ? ", uploads wait" : "");
    sequence->not_before_ms = clock_monotonic_ms() + backoff_next(&sequence->backoff);
    arm_timer(ids);
}

static bool unpack_numbers(const struct sequence *sequence, const uint8_t *body, size_t size, int64_t *first,
                           int64_t *count, struct error *error)
{
    if (sequence->asked_range) {
        struct proto_range_reply reply;
        if (!proto_range_reply_unpack(body, size, &reply, error))
            return false;
        *first = reply.first;
        *count = reply.count;
    } else {
        if (!proto_value_unpack(body, size, first, error))
            return false;
        *count = 1;
    }
    if (*first >= PATH_VALUES)
        return error_set(error, ERROR_EXHAUSTED, "number %lld is past the end of a store path",
                         (long long)*first);
    *count = min_i64(*count, PATH_VALUES - *first);
    return true;
}

static void ids_replied(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct sequence *sequence = argument;
    struct error why = {0};
    int64_t first, count;
    sequence->question = NULL;
    if (error && sequence->asked_range &&
        (error->code == ERROR_GENERAL || error->code == ERROR_UNKNOWN_COMMAND)) {
        /* A legacy ID server does not know RANGE and says so with its one failure number. */
        log_info(ROOM, "no run of numbers for %s (%s): asking one by one", sequence->key, error->text);
        sequence->legacy_until_ms = clock_monotonic_ms() + LEGACY_MS;
    } else if (error) {
        failed(sequence, error);
    } else if (!unpack_numbers(sequence, body, size, &first, &count, &why)) {
        failed(sequence, &why);
    } else {
        succeeded(sequence, first, count);
    }
    ids_refill(sequence);
}

static bool wants_more(struct sequence *sequence)
{
    struct ids *ids = sequence->ids;
    bool legacy = sequence->legacy_until_ms > clock_monotonic_ms();
    pthread_mutex_lock(&ids->mutex);
    int64_t low = legacy ? min_i64(ids->options.range, SINGLES_AHEAD) - 1 : ids->options.range / 2;
    bool wants =
        sequence->run_count < RUNS_MAX && (sequence->waiting.count > 0 || sequence->available <= low);
    pthread_mutex_unlock(&ids->mutex);
    return wants;
}

static void ids_refill(struct sequence *sequence)
{
    struct ids *ids = sequence->ids;
    int64_t now = clock_monotonic_ms();
    if (sequence->question || sequence->not_before_ms > now || !wants_more(sequence))
        return;
    uint8_t body[PROTO_RANGE_SIZE];
    struct error error = {0};
    /* Two servers may both give a run: the later one is never read, and its numbers are skipped. */
    struct packet_call_options call = {
        .addresses = name_list_addresses(ids->servers),
        .body = body,
        .reply_max = PROTO_RANGE_REPLY_SIZE,
        .timeout_ms = ids->options.call_timeout_ms,
        .progress_ms = ids->options.call_timeout_ms,
        .hedge_ms = ids->options.hedge_ms,
        .done = ids_replied,
        .argument = sequence,
    };
    sequence->asked_range = sequence->legacy_until_ms <= now;
    if (sequence->asked_range) {
        struct proto_range range = {.count = ids->options.range};
        memcpy(range.key, sequence->key, strlen(sequence->key) + 1);
        call.command = PROTO_IDSERVER_RANGE;
        call.body_size = PROTO_RANGE_SIZE;
        if (!proto_range_pack(body, &range, &error)) {
            failed(sequence, &error);
            return;
        }
    } else {
        call.command = PROTO_IDSERVER_GET;
        call.body_size = proto_get_pack(body, sequence->key);
    }
    if (ids->options.servers->count == 0) {
        error_set(&error, ERROR_UNAVAILABLE, "no ID server is configured (storage.idservers)");
        failed(sequence, &error);
        return;
    }
    sequence->question = packet_call_start(ids->pool, &call, &error);
    if (!sequence->question)
        failed(sequence, &error);
}

static void ids_refill_wanted(struct task *task)
{
    struct sequence *sequence = CONTAINER_OF(task, struct sequence, refill_task);
    struct ids *ids = sequence->ids;
    pthread_mutex_lock(&ids->mutex);
    sequence->refill_posted = false;
    bool waits = sequence->waiting.count > 0;
    metric_set(sequence->gauge, sequence->available);
    bool ending = ids->ending;
    pthread_mutex_unlock(&ids->mutex);
    if (ending)
        return;
    ids_refill(sequence);
    if (waits)
        arm_timer(ids);
}

/* ---- making, ending, asking ---- */

struct ids *ids_create(const struct ids_options *options, struct error *error)
{
    struct packet_pool_options pool = {
        .resolver = options->resolver,
        .tls = options->tls,
        .connect_timeout_ms = options->connect_timeout_ms,
        .idle_timeout_ms = 60000,
        .idle_max = 2,
        .auth = options->auth,
        .address_penalty_ms = PENALTY_MS,
    };
    const struct name_list_options names = {
        .loop = options->loop, .resolver = options->resolver, .addresses = options->servers};
    struct ids *ids = calloc(1, sizeof(*ids));
    if (!ids || !(ids->sequences = calloc(options->key_count, sizeof(*ids->sequences)))) {
        free(ids);
        error_set(error, ERROR_GENERAL, "no memory for the numbers");
        return NULL;
    }
    pthread_mutex_init(&ids->mutex, NULL);
    ids->options = *options;
    ids->failures = metrics_counter("reel_storage_id_failures_total", "Failed requests for numbers.", NULL);
    ids->up = metrics_gauge("reel_storage_idservers_up",
                            "1 unless no ID server gave numbers when it was asked last.", NULL);
    metric_set(ids->up, 1);
    ids->timer = evtimer_new(loop_base(options->loop), ids_tick, ids);
    ids->pool = packet_pool_create(options->loop, &pool, error);
    ids->servers = ids->pool ? name_list_create(&names, error) : NULL;
    if (!ids->timer || !ids->servers) {
        if (!ids->timer)
            error_set(error, ERROR_GENERAL, "cannot make the timer of the numbers");
        ids_destroy(ids);
        return NULL;
    }
    for (size_t i = 0; i < options->key_count; i++) {
        struct sequence *sequence = &ids->sequences[i];
        char labels[128];
        snprintf(labels, sizeof(labels), "path=\"%s\"", options->keys[i]);
        sequence->ids = ids;
        sequence->backoff = (struct backoff){.first_ms = BACKOFF_MIN_MS, .longest_ms = BACKOFF_MAX_MS};
        wait_list_init(&sequence->waiting, &ids->mutex, &ids->waiting);
        sequence->key = options->keys[i];
        sequence->gauge = metrics_gauge("reel_storage_ids_available", "Numbers at hand.", labels);
        sequence->refill_task = (struct task){.run = ids_refill_wanted};
    }
    arm_timer(ids); /* the first numbers */
    return ids;
}

void ids_end(struct ids *ids)
{
    pthread_mutex_lock(&ids->mutex);
    bool ended = ids->ending;
    ids->ending = true;
    pthread_mutex_unlock(&ids->mutex);
    if (ended)
        return;
    for (size_t i = 0; i < ids->options.key_count; i++) {
        if (ids->sequences[i].question)
            packet_call_cancel(ids->sequences[i].question);
        ids->sequences[i].question = NULL;
    }
    name_list_destroy(ids->servers);
    packet_pool_destroy(ids->pool);
    if (ids->timer)
        event_free(ids->timer);
}

static void free_ids(struct ids *ids)
{
    pthread_mutex_destroy(&ids->mutex);
    free(ids->sequences);
    free(ids);
}

static void ids_loop_ended(struct task *task)
{
    free_ids(CONTAINER_OF(task, struct ids, end_task));
}

void ids_destroy(struct ids *ids)
{
    if (!ids)
        return;
    ids_end(ids);
    bool posted = false;
    for (size_t i = 0; i < ids->options.key_count; i++)
        posted = posted || ids->sequences[i].refill_posted;
    if (!posted) {
        free_ids(ids);
        return;
    }
    /* A task is still on its way to the loop, which runs it before it ends. */
    ids->end_task = (struct task){.run = ids_loop_ended};
    loop_at_end(ids->options.loop, &ids->end_task);
}

bool ids_healthy(struct ids *ids, char *reason, size_t reason_size)
{
    pthread_mutex_lock(&ids->mutex);
    bool healthy = !ids->failing;
    if (!healthy)
        snprintf(reason, reason_size, "no numbers: %s", ids->last_error.text);
    pthread_mutex_unlock(&ids->mutex);
    return healthy;
}

int64_t ids_available(struct ids *ids, size_t index)
{
    pthread_mutex_lock(&ids->mutex);
    int64_t available = ids->sequences[index].available;
    pthread_mutex_unlock(&ids->mutex);
    return available;
}
