/*
 * groups: one reading of t_groups_info at a time, and those who wait for it. Readings are begun and ended on the main loop, one at a time; questions come from any
 * thread and are kept in two lists, since a reading that is under way may have begun before the row came that
 * a question is about: those wait for the next one.
 */
#include "tracker/groups.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT_DEFAULT 100
#define WEIGHT_MAX     1000000

struct groups {
    struct loop *loop;
    struct db *db;
    struct table *table;
    struct event *timer;
    struct timeval interval;
    size_t groups_max;
    int64_t timeout_ms;

    /* Owned by the job while it runs, by the loop otherwise. */
    struct db_job job;
    struct table_group_row *rows;
    size_t row_count;
    size_t bad_rows;

    /* On the loop only. */
    bool reading;
    bool stopping;
    bool closed; /* the database may be gone */
    void (*stopped)(void *argument);
    void *stopped_argument;

    pthread_mutex_t mutex;    /* what follows */
    struct wait_list waiting; /* for the next reading */
    struct wait_list served;  /* by the reading under way */
    bool wake_posted;
    bool loaded;
    bool failed;
    char failure[ERROR_TEXT_SIZE];
    struct task wake;
};

static void groups_lock(struct groups *groups)
{
    ASSERT(pthread_mutex_lock(&groups->mutex) == 0);
}

static void groups_unlock(struct groups *groups)
{
    ASSERT(pthread_mutex_unlock(&groups->mutex) == 0);
}

/* ---- the reading: on a database thread ---- */

static bool groups_take_row(void *argument, const struct db_value *columns, size_t count)
{
    struct groups *groups = argument;
    if (count < 3 || groups->row_count >= groups->groups_max + 1)
        return false;
    struct table_group_row row = {.weight = WEIGHT_DEFAULT};
    int64_t state = 0;
    if (!db_value_text(&columns[0], row.name, sizeof(row.name)) ||
        !proto_name_valid(row.name, sizeof(row.name))) {
        groups->bad_rows++;
        return true;
    }
    row.draining = db_value_integer(&columns[1], &state) && state != 0;
    if (!db_value_integer(&columns[2], &row.weight))
        row.weight = WEIGHT_DEFAULT;
    row.weight = max_i64(0, min_i64(row.weight, WEIGHT_MAX));
    groups->rows[groups->row_count++] = row;
    return true;
}

static enum db_result groups_run_read(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct groups *groups = CONTAINER_OF(job, struct groups, job);
    groups->row_count = 0;
    groups->bad_rows = 0;
    return db_query(connection, "SELECT group_name, state, weight FROM t_groups_info ORDER BY group_name",
                    NULL, 0, groups_take_row, groups, error);
}

/* ---- on the loop ---- */

static void settle_question(struct groups *groups, struct groups_question *question, const char *failure)
{
    question->known = table_group_known(groups->table, question->group);
    if (!question->known && failure) {
        error_set(&question->error, ERROR_UNAVAILABLE, "group %s cannot be looked up: %s", question->group,
                  failure);
    } else if (!question->known) {
        error_set(&question->error, ERROR_REFUSED, "group %s is not in t_groups_info: add it there first",
                  question->group);
    }
}

/* Answers all that wait in LIST, which is WAITING or SERVED. FAILURE: why it could not be looked up; NULL: it was. */
static void answer_questions(struct groups *groups, struct wait_list *list, const char *failure)
{
    for (;;) {
        groups_lock(groups);
        struct wait *wait = wait_list_take(list);
        groups_unlock(groups);
        if (!wait)
            return;
        settle_question(groups, CONTAINER_OF(wait, struct groups_question, wait), failure);
        wait_post(wait);
    }
}

static void groups_note_outcome(struct groups *groups, const struct error *failure)
{
    groups_lock(groups);
    bool was_loaded = groups->loaded, had_failed = groups->failed;
    groups->failed = failure;
    if (!failure)
        groups->loaded = true;
    snprintf(groups->failure, sizeof(groups->failure), "%s", failure ? failure->text : "");
    groups_unlock(groups);
    if (failure && !had_failed) {
        log_warning("groups", "cannot read t_groups_info: %s; %s", failure->text,
                    was_loaded ? "known groups and cached users are served meanwhile"
                               : "nothing is known yet: JOIN and SADDRS are answered as unavailable");
    } else if (!failure && (had_failed || !was_loaded)) {
        log_info("groups", "t_groups_info was read: %zu groups", groups->row_count);
    }
    if (!failure && groups->bad_rows > 0) {
        static struct log_gate gate;
        uint64_t suppressed = 0;
        if (log_gate_open(&gate, 60000, &suppressed)) {
            log_warning("groups",
                        "t_groups_info: %zu rows left out: a group name is letters and digits, at most %d",
                        groups->bad_rows, PROTO_GROUP_SIZE - 1);
        }
    }
}

static void begin_reading(struct groups *groups);

static void end_reading(struct groups *groups, const struct error *failure)
{
    groups->reading = false;
    if (!failure)
        table_set_groups(groups->table, groups->rows, groups->row_count);
    groups_note_outcome(groups, failure);
    answer_questions(groups, &groups->served, failure ? failure->text : NULL);
    groups_lock(groups);
    bool more = groups->waiting.count > 0;
    groups_unlock(groups);
    if (more)
        begin_reading(groups);
    if (groups->stopping && !groups->reading && groups->stopped) {
        void (*stopped)(void *argument) = groups->stopped;
        groups->stopped = NULL;
        stopped(groups->stopped_argument);
    }
}

static void reading_done(struct db_job *job)
{
    struct groups *groups = CONTAINER_OF(job, struct groups, job);
    end_reading(groups, job->result == DB_OK ? NULL : &job->error);
}

static void begin_reading(struct groups *groups)
{
    if (groups->reading || groups->closed)
        return;
    groups_lock(groups);
    ASSERT(groups->served.count == 0);
    wait_list_move(&groups->served, &groups->waiting);
    groups_unlock(groups);
    groups->reading = true;
    groups->job = (struct db_job){
        .run = groups_run_read, .done = reading_done, .loop = groups->loop, .idempotent = true};
    if (!db_submit(groups->db, &groups->job)) {
        struct error error;
        error_set(&error, ERROR_UNAVAILABLE, "the database's queue is full");
        /* Questions that came meanwhile wait for the timer: asking a full queue again at once helps nobody.
         */
        groups->reading = false;
        groups_note_outcome(groups, &error);
        answer_questions(groups, &groups->served, error.text);
    }
}

static void timer_fired(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct groups *groups = argument;
    if (!groups->stopping)
        begin_reading(groups);
}

static void woken(struct task *task)
{
    struct groups *groups = CONTAINER_OF(task, struct groups, wake);
    groups_lock(groups);
    groups->wake_posted = false;
    bool wanted = groups->waiting.count > 0;
    groups_unlock(groups);
    if (wanted)
        begin_reading(groups);
}

/* ---- for others ---- */

static void question_waited(struct wait *wait, enum wait_end end)
{
    struct groups_question *question = CONTAINER_OF(wait, struct groups_question, wait);
    if (end == WAIT_TIMED_OUT)
        settle_question(question->groups, question, "the database does not answer");
    question->done(question);
}

void groups_ask(struct groups *groups, struct groups_question *question)
{
    question->wait = (struct wait){.loop = question->loop, .done = question_waited};
    question->groups = groups;
    question->known = false;
    groups_lock(groups);
    /* Without memory for a timer the reading's own time limit has to do. */
    if (!wait_enter(&groups->waiting, &question->wait, groups->timeout_ms))
        (void)!wait_enter(&groups->waiting, &question->wait, 0);
    bool post = !groups->wake_posted;
    groups->wake_posted = true;
    groups_unlock(groups);
    if (post)
        loop_post(groups->loop, &groups->wake);
}

bool groups_loaded(struct groups *groups)
{
    groups_lock(groups);
    bool loaded = groups->loaded;
    groups_unlock(groups);
    return loaded;
}

bool groups_reading_works(struct groups *groups, char *reason, size_t reason_size)
{
    groups_lock(groups);
    bool works = !groups->failed;
    snprintf(reason, reason_size, "%s", groups->failure);
    groups_unlock(groups);
    return works;
}

void groups_set_refresh(struct groups *groups, int64_t refresh_ms)
{
    groups->interval = duration_timeval(refresh_ms);
    if (!groups->stopping && event_add(groups->timer, &groups->interval) != 0)
        log_error("groups", "cannot arm a timer: t_groups_info is read only when a JOIN needs it");
}

struct groups *groups_create(struct loop *loop, struct db *db, struct table *table, size_t groups_max,
                             int64_t refresh_ms, int64_t timeout_ms, struct error *error)
{
    struct groups *groups = calloc(1, sizeof(*groups));
    if (!groups || pthread_mutex_init(&groups->mutex, NULL) != 0) {
        free(groups);
        error_set(error, ERROR_UNAVAILABLE, "groups: out of memory");
        return NULL;
    }
    wait_list_init(&groups->waiting, &groups->mutex, NULL);
    wait_list_init(&groups->served, &groups->mutex, NULL);
    groups->loop = loop;
    groups->db = db;
    groups->table = table;
    groups->groups_max = groups_max;
    groups->timeout_ms = timeout_ms;
    groups->wake.run = woken;
    /* One more than is kept, so that the table sees (and logs) that there are too many. */
    groups->rows = calloc(groups_max + 1, sizeof(*groups->rows));
    groups->timer = event_new(loop_base(loop), -1, EV_PERSIST, timer_fired, groups);
    if (!groups->rows || !groups->timer) {
        error_set(error, ERROR_UNAVAILABLE, "groups: out of memory");
        groups_destroy(groups);
        return NULL;
    }
    groups_set_refresh(groups, refresh_ms);
    event_active(groups->timer, EV_TIMEOUT, 1);
    return groups;
}

void groups_stop(struct groups *groups, void (*stopped)(void *argument), void *argument)
{
    groups->stopping = true;
    event_del(groups->timer);
    if (!groups->reading) {
        stopped(argument);
        return;
    }
    groups->stopped = stopped;
    groups->stopped_argument = argument;
}

void groups_close(struct groups *groups)
{
    groups->closed = true;
    groups->stopping = true;
    event_del(groups->timer);
    answer_questions(groups, &groups->waiting, "this tracker is stopping");
}

void groups_destroy(struct groups *groups)
{
    if (!groups)
        return;
    if (groups->timer)
        event_free(groups->timer);
    pthread_mutex_destroy(&groups->mutex);
    free(groups->rows);
    free(groups);
}
