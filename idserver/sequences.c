/*
 * sequences: a table of keys behind one mutex, each with its spans of reserved numbers, those who wait for more, and at
 * most one reservation under way.
 */
#include "idserver/sequences.h"
#include "idserver/reserve.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/proto/proto_idserver.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define SEQUENCES_MAX      100000 /* keys in memory, about 1 KiB each */
#define SPANS_MAX          4      /* runs kept of a key; with one ID server they join into one */
#define AHEAD_SHORT_MS     1000   /* a reservation that lasted for less was too small */
#define AHEAD_LONG_MS      4000   /* and one that lasted for longer too large */
#define AHEAD_RETRY_MS     1000   /* after a failed reservation that nobody waited for */
#define EXHAUSTED_RETRY_MS 10000

struct span {
    int64_t next, end;
};

struct sequence {
    UT_hash_handle hh;
    char key[PROTO_KEY_SIZE];
    struct sequences *sequences;
    struct span spans[SPANS_MAX]; /* in order of their reservation, none empty */
    size_t span_count;
    int64_t high;        /* the end of the last reservation: nothing below is ever reserved again */
    int64_t ahead;       /* how many are reserved at once, by demand; at least a step */
    int64_t largest;     /* the longest run that was asked for since the last reservation began */
    int64_t reserved_ms; /* monotonic: when that was; 0: there was none, or it failed */
    struct wait_list waiting;
    int64_t retry_ms;     /* monotonic: no reservation ahead of need before */
    int64_t exhausted_ms; /* monotonic: until when the key counts as used up; 0: it is not */
    bool used;            /* a reservation has succeeded */
    bool new_key;         /* holds one of keys_max: its row was made by this server, or may be */
    bool reserving;
    /* of the reservation under way; the database thread's while it runs */
    struct db_job job;
    int64_t amount;
    struct reservation reserved; /* HIGH does not change meanwhile */
};

struct sequences {
    struct loop *loop;
    pthread_mutex_t mutex; /* what follows, and every sequence but for its job */
    struct db *db;         /* NULL once closed */
    struct sequence *by_key;
    size_t new_keys, keys_max;
    size_t waiting_count, waiting_max;
    int64_t timeout_ms;
    size_t reserving_count;
    int64_t step;
    struct config_strings keys;
    void (*stopped)(void *argument);
    void *stopped_argument;
    struct metric *reservations, *failures, *numbers, *set_back;
};

static void sequences_lock(struct sequences *sequences)
{
    ASSERT(pthread_mutex_lock(&sequences->mutex) == 0);
}

static void sequences_unlock(struct sequences *sequences)
{
    ASSERT(pthread_mutex_unlock(&sequences->mutex) == 0);
}

/* ---- spans ---- */

static int64_t spans_left(const struct sequence *sequence)
{
    int64_t left = 0;
    for (size_t i = 0; i < sequence->span_count; i++)
        left += sequence->spans[i].end - sequence->spans[i].next;
    return left;
}

static void span_remove(struct sequence *sequence, size_t index)
{
    sequence->span_count--;
    memmove(&sequence->spans[index], &sequence->spans[index + 1],
            (sequence->span_count - index) * sizeof(sequence->spans[0]));
}

/* A run of several numbers must be contiguous: the first span that has as many. */
static bool spans_take(struct sequence *sequence, int64_t count, int64_t *first)
{
    for (size_t i = 0; i < sequence->span_count; i++) {
        struct span *span = &sequence->spans[i];
        if (span->end - span->next < count)
            continue;
        *first = span->next;
        span->next += count;
        if (span->next == span->end)
            span_remove(sequence, i);
        return true;
    }
    return false;
}

/* The longest run there is, for when no more will come. */
static bool spans_take_longest(struct sequence *sequence, int64_t *first, int64_t *given)
{
    size_t longest = 0;
    if (sequence->span_count == 0)
        return false;
    for (size_t i = 1; i < sequence->span_count; i++) {
        if (sequence->spans[i].end - sequence->spans[i].next >
            sequence->spans[longest].end - sequence->spans[longest].next)
            longest = i;
    }
    *given = sequence->spans[longest].end - sequence->spans[longest].next;
    return spans_take(sequence, *given, first);
}

/* Numbers skipped are lost, and harmless: the shortest span gives way where there are too many. */
static void spans_add(struct sequence *sequence, const struct reservation *reserved)
{
    struct span *spans = sequence->spans;
    size_t count = sequence->span_count;
    if (count > 0 && spans[count - 1].end == reserved->first) {
        spans[count - 1].end += reserved->count;
        return;
    }
    if (count == SPANS_MAX) {
        size_t shortest = 0;
        for (size_t i = 1; i < count; i++) {
            if (spans[i].end - spans[i].next < spans[shortest].end - spans[shortest].next)
                shortest = i;
        }
        span_remove(sequence, shortest);
    }
    spans[sequence->span_count++] =
        (struct span){.next = reserved->first, .end = reserved->first + reserved->count};
}

/* ---- answers; under the mutex ---- */

static bool is_exhausted(struct sequence *sequence)
{
    return sequence->exhausted_ms != 0 && clock_monotonic_ms() < sequence->exhausted_ms;
}

/* From memory alone. False: more must be reserved first. */
static bool answer_now(struct sequence *sequence, struct sequences_request *request)
{
    request->ok = true;
    request->given = request->count;
    if (spans_take(sequence, request->count, &request->first))
        return true;
    if (!is_exhausted(sequence))
        return false;
    if (spans_take_longest(sequence, &request->first, &request->given)) {
        ASSERT(request->given <= request->count);
        return true;
    }
    request->ok = false;
    error_set(&request->error, ERROR_EXHAUSTED,
              "the numbers of key %s are used up: all %" PRId64 " have been given out", request->key,
              RESERVE_END);
    return true;
}

/* In order; a run that must wait for more holds up whoever came after it. */
static void answer_waiting(struct sequence *sequence)
{
    struct wait *wait;
    while ((wait = wait_list_first(&sequence->waiting))) {
        struct sequences_request *request = CONTAINER_OF(wait, struct sequences_request, wait);
        if (!answer_now(sequence, request))
            return;
        if (request->ok)
            metric_add(sequence->sequences->numbers, request->given);
        wait_post(wait_list_take(&sequence->waiting));
    }
}

static void fail_request(struct sequences_request *request, const char *why)
{
    request->ok = false;
    error_set(&request->error, ERROR_UNAVAILABLE, "cannot reserve numbers of key %s: %s", request->key, why);
}

static void fail_waiting(struct sequence *sequence, const char *why)
{
    struct wait *wait;
    while ((wait = wait_list_take(&sequence->waiting))) {
        fail_request(CONTAINER_OF(wait, struct sequences_request, wait), why);
        wait_post(wait);
    }
}

/* ---- reservations ---- */

static enum db_result run_reservation(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct sequence *sequence = CONTAINER_OF(job, struct sequence, job);
    return reserve_numbers(connection, sequence->key, sequence->high, sequence->amount, sequence->new_key,
                           &sequence->reserved, error);
}

static void reservation_done(struct db_job *job);

static int64_t ahead_of(const struct sequence *sequence)
{
    return max_i64(sequence->ahead, sequence->sequences->step);
}

/* What is reserved at once lasts for some seconds at the present pace, and a restart skips no more than that. It includes a run as
 * long as those that were asked for of late, so that the next one need not wait. */
static void follow_demand(struct sequence *sequence)
{
    int64_t now_ms = clock_monotonic_ms(), ahead = ahead_of(sequence);
    int64_t lasted_ms = now_ms - sequence->reserved_ms;
    bool known = sequence->reserved_ms != 0;
    if (known && (lasted_ms < AHEAD_SHORT_MS || sequence->waiting.count > 0))
        ahead *= 2;
    else if (known && lasted_ms > AHEAD_LONG_MS)
        ahead /= 2;
    sequence->ahead = min_i64(max_i64(ahead, sequence->largest), RESERVE_MAX);
    sequence->largest = 0;
    sequence->reserved_ms = now_ms;
}

/* What is reserved ahead; where those that wait would take more than half of it at once, what they want in addition. */
static int64_t amount_needed(const struct sequence *sequence)
{
    int64_t amount = 0;
    for (const struct wait *wait = wait_list_first(&sequence->waiting);
         wait && amount < RESERVE_MAX - PROTO_RANGE_COUNT_MAX; wait = wait_list_next(wait))
        amount += CONTAINER_OF(wait, const struct sequences_request, wait)->count;
    int64_t ahead = ahead_of(sequence);
    return amount * 2 > ahead ? min_i64(amount + ahead, RESERVE_MAX) : ahead;
}

/* Under the mutex. False: the queue is full. */
static bool begin_reservation(struct sequence *sequence)
{
    struct sequences *sequences = sequence->sequences;
    follow_demand(sequence);
    sequence->amount = amount_needed(sequence);
    sequence->reserved = (struct reservation){0};
    /* Idempotent: a reservation whose fate is unknown is never used, and the next one lies behind it. */
    sequence->job = (struct db_job){
        .run = run_reservation, .done = reservation_done, .loop = sequences->loop, .idempotent = true};
    if (!sequences->db || !db_submit(sequences->db, &sequence->job))
        return false;
    sequence->reserving = true;
    sequences->reserving_count++;
    return true;
}

/* Under the mutex: sees to it that a reservation is under way where one is needed, or soon will be. */
static void reserve_where_needed(struct sequence *sequence)
{
    if (sequence->reserving)
        return;
    if (sequence->waiting.count > 0) {
        if (!begin_reservation(sequence))
            fail_waiting(sequence, "too many reservations wait for the database");
        return;
    }
    if (spans_left(sequence) * 2 < ahead_of(sequence) && !is_exhausted(sequence) &&
        clock_monotonic_ms() >= sequence->retry_ms && !begin_reservation(sequence))
        sequence->retry_ms = clock_monotonic_ms() + AHEAD_RETRY_MS;
}

/* A key without a row may be given one. */
static bool key_may_begin(const struct sequences *sequences, const char *key)
{
    for (size_t i = 0; i < sequences->keys.count; i++) {
        if (strcmp(sequences->keys.items[i], key) == 0)
            return true;
    }
    return sequences->keys.count == 0;
}

/* Keys whose rows were there before have their places whatever strangers ask for; only new ones are counted. */
static void release_place(struct sequence *sequence)
{
    if (sequence->new_key)
        sequence->sequences->new_keys--;
    sequence->new_key = false;
}

/* The key has no row, and no place for a new one. */
static void refuse_unknown(struct sequence *sequence)
{
    struct sequences *sequences = sequence->sequences;
    struct wait *wait;
    while ((wait = wait_list_take(&sequence->waiting))) {
        struct sequences_request *request = CONTAINER_OF(wait, struct sequences_request, wait);
        request->ok = false;
        if (key_may_begin(sequences, sequence->key))
            error_set(&request->error, ERROR_REFUSED,
                      "key %s is refused: %zu new keys were created since startup (idserver.keys_max)",
                      sequence->key, sequences->new_keys);
        else
            error_set(&request->error, ERROR_REFUSED,
                      "key %s is not served here: it has no row, and idserver.keys does "
                      "not name it",
                      sequence->key);
        wait_post(wait);
    }
}

static void take_success(struct sequence *sequence)
{
    const struct reservation *reserved = &sequence->reserved;
    if (reserved->unknown) {
        refuse_unknown(sequence);
        sequence->retry_ms = clock_monotonic_ms() + AHEAD_RETRY_MS;
        return;
    }
    if (!reserved->created && !sequence->used)
        release_place(sequence);
    metric_add(sequence->sequences->reservations, 1);
    sequence->used = true;
    sequence->exhausted_ms = 0;
    if (reserved->behind > 0) {
        metric_add(sequence->sequences->set_back, 1);
        log_error("sequences",
                  "key %s: the database is %" PRId64
                  " numbers behind what was given out (an older backup was restored, or a commit was lost): "
                  "going on from %" PRId64 "; a number that another ID server gave out may be repeated, "
                  "which storage servers notice and skip",
                  sequence->key, reserved->behind, reserved->first);
    }
    if (reserved->count > 0) {
        spans_add(sequence, reserved);
        sequence->high = reserved->first + reserved->count;
    }
    if (reserved->count < sequence->amount) {
        log_error("sequences",
                  "key %s: the number space ends at %" PRId64 ": only %" PRId64
                  " numbers are left; give the store path a new key",
                  sequence->key, RESERVE_END, spans_left(sequence));
        sequence->exhausted_ms = clock_monotonic_ms() + EXHAUSTED_RETRY_MS;
    }
    answer_waiting(sequence);
}

static void take_failure(struct sequence *sequence)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    const struct db_job *job = &sequence->job;
    metric_add(sequence->sequences->failures, 1);
    if (log_gate_open(&gate, 1000, &suppressed)) {
        log_warning("sequences", "key %s: cannot reserve %" PRId64 " numbers: %s; %s (and %" PRIu64 " more)",
                    sequence->key, sequence->amount, job->error.text,
                    sequence->waiting.count > 0 ? "waiting requests fail" : "retrying before they are needed",
                    suppressed);
    }
    sequence->retry_ms = clock_monotonic_ms() + AHEAD_RETRY_MS;
    /* A commit whose fate is unknown may have used up what was to be reserved: no more than a step is risked until one succeeds. */
    sequence->ahead = sequence->largest = sequence->reserved_ms = 0;
    /* Whatever is wrong with the database, it may work later or with another ID server: worth asking. */
    fail_waiting(sequence, job->error.text);
}

/* A key that never had a number does not use up a place. SEQUENCE may be gone after this. */
static void drop_unused(struct sequence *sequence)
{
    if (sequence->used || sequence->reserving)
        return;
    ASSERT(sequence->waiting.count == 0);
    release_place(sequence);
    HASH_DEL(sequence->sequences->by_key, sequence);
    free(sequence);
}

static void reservation_done(struct db_job *job)
{
    struct sequence *sequence = CONTAINER_OF(job, struct sequence, job);
    struct sequences *sequences = sequence->sequences;
    sequences_lock(sequences);
    sequence->reserving = false;
    sequences->reserving_count--;
    if (job->result == DB_OK)
        take_success(sequence);
    else
        take_failure(sequence);
    if (!sequences->stopped)
        reserve_where_needed(sequence);
    drop_unused(sequence);
    bool stopped = sequences->stopped && sequences->reserving_count == 0;
    sequences_unlock(sequences);
    if (stopped)
        sequences->stopped(sequences->stopped_argument);
}

/* ---- for others ---- */

bool sequences_key_check(const char *key, struct error *error)
{
    size_t length = strlen(key);
    if (length == 0 || length >= PROTO_KEY_SIZE) {
        return error_set(error, ERROR_MALFORMED, "a key has 1 to %d bytes, not %zu", PROTO_KEY_SIZE - 1,
                         length);
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c < 0x20 || c == 0x7f) {
            return error_set(error, ERROR_MALFORMED, "key %s: byte %zu is a control character (%d)", key, i,
                             c);
        }
    }
    return true;
}

static struct sequence *sequence_add(struct sequences *sequences, const char *key, struct error *error)
{
    if (HASH_COUNT(sequences->by_key) >= SEQUENCES_MAX) {
        error_set(error, ERROR_UNAVAILABLE, "key %s is refused: %d keys are in memory", key, SEQUENCES_MAX);
        return NULL;
    }
    struct sequence *sequence = calloc(1, sizeof(*sequence));
    if (!sequence)
        goto fail;
    sequence->sequences = sequences;
    wait_list_init(&sequence->waiting, &sequences->mutex, &sequences->waiting_count);
    sequence->new_key = sequences->new_keys < sequences->keys_max && key_may_begin(sequences, key);
    memcpy(sequence->key, key, strlen(key) + 1);
    HASH_ADD_STR(sequences->by_key, key, sequence);
    if (!HASH_ADDED(hh, sequence))
        goto fail;
    sequences->new_keys += sequence->new_key ? 1 : 0;
    return sequence;
fail:
    free(sequence);
    error_set(error, ERROR_UNAVAILABLE, "out of memory");
    return NULL;
}

static struct sequence *find_sequence(struct sequences *sequences, const char *key, struct error *error)
{
    struct sequence *sequence = NULL;
    if (!sequences_key_check(key, error))
        return NULL;
    HASH_FIND_STR(sequences->by_key, key, sequence);
    return sequence ? sequence : sequence_add(sequences, key, error);
}

static void request_waited(struct wait *wait, enum wait_end end)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    struct sequences_request *request = CONTAINER_OF(wait, struct sequences_request, wait);
    if (end == WAIT_TIMED_OUT) {
        fail_request(request, "the database does not answer");
        if (log_gate_open(&gate, 1000, &suppressed))
            log_warning("sequences", "%s (and %" PRIu64 " more)", request->error.text, suppressed);
    }
    request->done(request);
}

bool sequences_take(struct sequences *sequences, struct sequences_request *request)
{
    bool answered = true;
    request->ok = false;
    request->error = (struct error){0};
    request->wait = (struct wait){.loop = request->loop, .done = request_waited};
    sequences_lock(sequences);
    struct sequence *sequence = find_sequence(sequences, request->key, &request->error);
    if (!sequence)
        goto done;
    sequence->largest = max_i64(sequence->largest, request->count);
    answered = sequence->waiting.count == 0 && answer_now(sequence, request);
    if (answered) {
        if (request->ok)
            metric_add(sequences->numbers, request->given);
    } else if (sequences->waiting_count >= sequences->waiting_max) {
        request->ok = false;
        error_set(&request->error, ERROR_UNAVAILABLE, "too many requests wait for numbers");
        answered = true;
    } else if (!wait_enter(&sequence->waiting, &request->wait, sequences->timeout_ms)) {
        answered = true;
        request->ok = false;
        error_set(&request->error, ERROR_UNAVAILABLE, "out of memory");
    }
    reserve_where_needed(sequence);
    drop_unused(sequence);
done:
    sequences_unlock(sequences);
    return answered;
}

size_t sequences_count_keys(struct sequences *sequences)
{
    sequences_lock(sequences);
    size_t count = HASH_COUNT(sequences->by_key);
    sequences_unlock(sequences);
    return count;
}

size_t sequences_count_waiting(struct sequences *sequences)
{
    sequences_lock(sequences);
    size_t count = sequences->waiting_count;
    sequences_unlock(sequences);
    return count;
}

void sequences_each(struct sequences *sequences,
                    void (*show)(void *argument, const char *key, int64_t next, int64_t left, bool exhausted),
                    void *argument)
{
    sequences_lock(sequences);
    for (struct sequence *sequence = sequences->by_key; sequence; sequence = sequence->hh.next) {
        show(argument, sequence->key, sequence->span_count > 0 ? sequence->spans[0].next : -1,
             spans_left(sequence), is_exhausted(sequence));
    }
    sequences_unlock(sequences);
}

/* ---- life ---- */

bool sequences_configure(struct sequences *sequences, int64_t step, const struct config_strings *keys,
                         struct error *error)
{
    struct config_strings copy;
    if (!config_strings_copy(&copy, keys, error))
        return false;
    sequences_lock(sequences);
    struct config_strings old = sequences->keys;
    sequences->keys = copy;
    sequences->step = max_i64(1, min_i64(step, RESERVE_MAX));
    sequences_unlock(sequences);
    config_strings_clear(&old);
    return true;
}

struct sequences *sequences_create(const struct sequences_options *options, struct error *error)
{
    struct sequences *sequences = calloc(1, sizeof(*sequences));
    if (!sequences || pthread_mutex_init(&sequences->mutex, NULL) != 0) {
        free(sequences);
        error_set(error, ERROR_UNAVAILABLE, "sequences: out of memory");
        return NULL;
    }
    sequences->db = options->db;
    sequences->loop = options->loop;
    sequences->step = max_i64(1, min_i64(options->step, RESERVE_MAX));
    sequences->keys_max = options->keys_max;
    sequences->waiting_max = options->waiting_max;
    sequences->timeout_ms = options->timeout_ms;
    sequences->reservations =
        metrics_counter("reel_idserver_reservations_total", "Steps reserved in the database.", NULL);
    sequences->failures =
        metrics_counter("reel_idserver_reservation_failures_total", "Reservations that failed.", NULL);
    sequences->set_back =
        metrics_counter("reel_idserver_set_back_total",
                        "Reservations that found the database behind what had been given.", NULL);
    sequences->numbers = metrics_counter("reel_idserver_numbers_total", "Numbers handed out.", NULL);
    return sequences;
}

void sequences_stop(struct sequences *sequences, void (*stopped)(void *argument), void *argument)
{
    sequences_lock(sequences);
    sequences->stopped = stopped;
    sequences->stopped_argument = argument;
    bool idle = sequences->reserving_count == 0;
    sequences_unlock(sequences);
    if (idle)
        stopped(argument);
}

void sequences_close(struct sequences *sequences)
{
    sequences_lock(sequences);
    sequences->db = NULL;
    sequences_unlock(sequences);
}

void sequences_destroy(struct sequences *sequences)
{
    if (!sequences)
        return;
    struct sequence *sequence;
    while ((sequence = sequences->by_key)) {
        ASSERT(!sequence->reserving && sequence->waiting.count == 0);
        HASH_DEL(sequences->by_key, sequence);
        free(sequence);
    }
    config_strings_clear(&sequences->keys);
    pthread_mutex_destroy(&sequences->mutex);
    free(sequences);
}
