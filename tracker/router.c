/*
 * router: two caches before the database, and questions to it that may outlive their answers.
 */
#include "tracker/router.h"
#include "common/base/duration.h"
#include "tracker/group_rows.h"
#include "tracker/pins.h"
#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SHARDS    16
#define CACHE_KEY_SIZE  (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define INSERT_TRIES    3
#define PLACE_TRIES     1000 /* groups that turn out to be closed */
#define LOG_INTERVAL_MS 1000

/* A cached answer that is too old is given after this long, when the database has not confirmed it by then. */
#define STALE_WAIT_MS 250
/* And at once for this long after that happened. */
#define SLOW_MS 1000

struct router {
    struct table *table;
    int64_t timeout_ms;
    _Atomic int64_t slow_until_ms; /* monotonic: the database kept somebody waiting */
    struct cache *groups;          /* (application, user) -> group */
    struct cache *unknown;         /* (application, user) -> a byte: not in t_router a moment ago */
    pthread_rwlock_t rules_lock;   /* what follows */
    struct db *db;                 /* NULL once closed */
    struct config_strings applications;
    struct pins pins;
    struct metric *hits, *misses, *stale, *created;
};

/* A look-up in the database. The job may outlive the answer: it ends with the job. */
struct question {
    struct router *router;
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    bool create;
    router_callback callback; /* NULL once answered */
    void *argument;
    struct event *timer;
    /* The job's while it runs. */
    struct db_job job;
    bool found, created;
    char group[PROTO_GROUP_SIZE];
    struct error error;
};

/* ---- rules ---- */

bool router_configure(struct router *router, const struct config_strings *applications,
                      const struct config_strings *pins, int64_t cache_age_ms, int64_t unknown_age_ms,
                      struct error *error)
{
    struct config_strings new_applications;
    struct pins new_pins;
    if (!pins_parse(pins, &new_pins, error))
        return false;
    if (!config_strings_copy(&new_applications, applications, error)) {
        pins_clear(&new_pins);
        return false;
    }
    ASSERT(pthread_rwlock_wrlock(&router->rules_lock) == 0);
    struct config_strings old_applications = router->applications;
    struct pins old_pins = router->pins;
    router->applications = new_applications;
    router->pins = new_pins;
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
    config_strings_clear(&old_applications);
    pins_clear(&old_pins);
    cache_set_age(router->groups, cache_age_ms);
    cache_set_age(router->unknown, unknown_age_ms);
    return true;
}

static bool application_is_served(struct router *router, const char *application)
{
    bool served = false;
    ASSERT(pthread_rwlock_rdlock(&router->rules_lock) == 0);
    for (size_t i = 0; i < router->applications.count && !served; i++)
        served = strcmp(router->applications.items[i], application) == 0;
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
    return served;
}

static bool place_user(struct router *router, const char *application, const char *user,
                       char group[PROTO_GROUP_SIZE], struct error *error)
{
    ASSERT(pthread_rwlock_rdlock(&router->rules_lock) == 0);
    const struct pin *pin = pins_match(&router->pins, application, user);
    bool placed =
        table_place(router->table, pin ? pin->groups : NULL, pin ? pin->group_count : 0, group, error);
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
    return placed;
}

/* ---- memory ---- */

static size_t router_cache_key(char buffer[CACHE_KEY_SIZE], const char *application, const char *user)
{
    size_t application_size = strlen(application) + 1, user_size = strlen(user);
    memcpy(buffer, application, application_size);
    memcpy(buffer + application_size, user, user_size);
    return application_size + user_size;
}

static bool database_answers(struct router *router)
{
    char reason[ERROR_TEXT_SIZE];
    if (clock_monotonic_ms() < atomic_load_explicit(&router->slow_until_ms, memory_order_relaxed))
        return false;
    ASSERT(pthread_rwlock_rdlock(&router->rules_lock) == 0);
    bool works = router->db && db_healthy(router->db, reason, sizeof(reason));
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
    return works;
}

enum router_answer router_find(struct router *router, const struct proto_file_key *key, bool create,
                               char group[PROTO_GROUP_SIZE], struct error *error)
{
    char cached[CACHE_KEY_SIZE];
    uint8_t unknown = 0;
    int64_t age_ms = 0;
    if (!application_is_served(router, key->application)) {
        error_set(error, ERROR_REFUSED, "application %s is not served here", key->application);
        return ROUTER_FAILED;
    }
    size_t size = router_cache_key(cached, key->application, key->user);
    if (cache_get(router->groups, cached, size, group)) {
        metric_add(router->hits, 1);
        return ROUTER_FOUND;
    }
    if (!create && cache_get(router->unknown, cached, size, &unknown)) {
        metric_add(router->hits, 1);
        error_set(error, ERROR_NOT_FOUND, "user %s of application %s has no group", key->user,
                  key->application);
        return ROUTER_FAILED;
    }
    if (!database_answers(router) && cache_get_stale(router->groups, cached, size, group, &age_ms)) {
        metric_add(router->stale, 1);
        return ROUTER_FOUND;
    }
    metric_add(router->misses, 1);
    return ROUTER_ASK;
}

/* ---- the database: on one of its threads ---- */

static bool take_group(void *argument, const struct db_value *columns, size_t count)
{
    struct question *question = argument;
    if (count < 1)
        return false;
    question->found = db_value_text(&columns[0], question->group, sizeof(question->group)) &&
                      proto_name_valid(question->group, sizeof(question->group));
    if (!question->found) {
        error_set(&question->error, ERROR_GENERAL,
                  "t_router has no valid group name for user %s of application %s", question->user,
                  question->application);
    }
    return false;
}

static enum db_result select_group(struct question *question, struct db_connection *connection,
                                   struct error *error)
{
    const struct db_value parameters[] = {db_text(question->application), db_text(question->user)};
    question->found = false;
    question->error = (struct error){0};
    return db_query(connection, "SELECT group_name FROM t_router WHERE appid = ? AND userid = ?", parameters,
                    ARRAY_SIZE(parameters), take_group, question, error);
}

/* Memory may be older than what another tracker has done to the group: the row is added only while the group is there and
 * open in the database, which stays so until the transaction ends. *OPEN: whether it was. */
static enum db_result insert_group(struct question *question, struct db_connection *connection, bool *open,
                                   struct error *error)
{
    const struct db_value parameters[] = {db_text(question->application), db_text(question->user),
                                          db_text(question->group)};
    enum db_result result = db_begin(connection, error);
    if (result == DB_OK)
        result = group_rows_hold(connection, question->group, true, open, error);
    if (result == DB_OK && *open)
        result = db_execute(connection,
                            "INSERT INTO t_router (appid, userid, group_name, create_time, update_time) "
                            "VALUES (?, ?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
                            parameters, ARRAY_SIZE(parameters), NULL, error);
    if (result == DB_OK && *open)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

/* Gives a user without a row one. DB_OK with an error in QUESTION: no group is available. DB_CONSTRAINT: somebody else
 * was quicker. */
static enum db_result create_route(struct question *question, struct db_connection *connection,
                                   struct error *error)
{
    bool open = false;
    for (int try = 0; try < PLACE_TRIES; try++) {
        if (!place_user(question->router, question->application, question->user, question->group,
                        &question->error))
            return DB_OK;
        enum db_result result = insert_group(question, connection, &open, error);
        if (result != DB_OK || open)
            return result;
        table_close_group(question->router->table, question->group);
    }
    error_set(&question->error, ERROR_UNAVAILABLE, "t_groups_info changes faster than a user can be placed");
    return DB_OK;
}

/* May run again after any failure, also an uncertain one: it begins by reading what is there. */
static enum db_result run_question(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct question *question = CONTAINER_OF(job, struct question, job);
    question->created = false;
    for (int try = 0; try < INSERT_TRIES; try++) {
        enum db_result result = select_group(question, connection, error);
        if (result != DB_OK || question->found || question->error.code != ERROR_NONE)
            return result;
        if (!question->create) {
            error_set(&question->error, ERROR_NOT_FOUND, "user %s of application %s has no group",
                      question->user, question->application);
            return DB_OK;
        }
        result = create_route(question, connection, error);
        if (result == DB_OK)
            question->found = question->created = question->error.code == ERROR_NONE;
        if (result != DB_CONSTRAINT)
            return result;
        /* Another tracker, or another request here, was quicker: what it wrote holds. */
    }
    error_set(
        error, ERROR_GENERAL,
        "t_router refuses a row for user %s of application %s and has none: is its only unique index the one "
        "on (appid, userid)?",
        question->user, question->application);
    return DB_PERMANENT;
}

/* ---- back on the loop ---- */

static void log_failure(const struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    if (log_gate_open(&gate, LOG_INTERVAL_MS, &suppressed)) {
        log_warning("router",
                    "a user's group cannot be looked up: %s; answered from the cache or as unavailable "
                    "(and %" PRIu64 " more)",
                    error->text, suppressed);
    }
}

static bool stale_group(const struct question *question, char group[PROTO_GROUP_SIZE])
{
    char key[CACHE_KEY_SIZE];
    int64_t age_ms = 0;
    size_t key_size = router_cache_key(key, question->application, question->user);
    return cache_get_stale(question->router->groups, key, key_size, group, &age_ms);
}

static void question_answer(struct question *question, const char *group, const struct error *error)
{
    router_callback callback = question->callback;
    question->callback = NULL;
    if (callback)
        callback(question->argument, group, error);
}

static void question_free(struct question *question)
{
    if (question->timer)
        event_free(question->timer);
    free(question);
}

/* The database has not answered in time. What the job comes to later is still worth keeping. */
static void question_timeout(evutil_socket_t fd, short what, void *argument)
{
    struct question *question = argument;
    struct router *router = question->router;
    struct error error;
    char group[PROTO_GROUP_SIZE];
    (void)fd;
    (void)what;
    atomic_store_explicit(&router->slow_until_ms, clock_monotonic_ms() + SLOW_MS, memory_order_relaxed);
    if (stale_group(question, group)) {
        metric_add(router->stale, 1);
        question_answer(question, group, NULL);
        return;
    }
    error_set(&error, ERROR_UNAVAILABLE,
              "the group of user %s cannot be looked up: the database does not answer", question->user);
    log_failure(&error);
    question_answer(question, NULL, &error);
}

static void router_remember(const struct question *question)
{
    struct router *router = question->router;
    char key[CACHE_KEY_SIZE];
    const uint8_t unknown = 1;
    size_t key_size = router_cache_key(key, question->application, question->user);
    if (question->found) {
        cache_put(router->groups, key, key_size, question->group);
        cache_remove(router->unknown, key, key_size);
    } else {
        cache_remove(router->groups, key, key_size);
        if (question->error.code == ERROR_NOT_FOUND)
            cache_put(router->unknown, key, key_size, &unknown);
    }
    if (question->created) {
        metric_add(router->created, 1);
        log_info("router", "user %s of application %s is routed to group %s", question->user,
                 question->application, question->group);
    }
}

static void question_done(struct db_job *job)
{
    struct question *question = CONTAINER_OF(job, struct question, job);
    if (job->result == DB_OK) {
        router_remember(question);
        question_answer(question, question->found ? question->group : NULL, &question->error);
    } else if (question->callback) {
        log_failure(&job->error);
        /* Whatever is wrong with this tracker's database, another tracker may do better: worth asking. */
        error_set(&question->error, ERROR_UNAVAILABLE, "the group of user %s cannot be looked up: %s",
                  question->user, job->error.text);
        bool stale = stale_group(question, question->group);
        metric_add(question->router->stale, stale);
        question_answer(question, stale ? question->group : NULL, &question->error);
    }
    question_free(question);
}

bool router_submit(struct router *router, struct db_job *job, struct error *error)
{
    ASSERT(pthread_rwlock_rdlock(&router->rules_lock) == 0);
    bool submitted = router->db && db_submit(router->db, job);
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
    return submitted || error_set(error, ERROR_UNAVAILABLE, "too many look-ups wait for the database");
}

void router_learn(struct router *router, const char *application, const char *user, const char *group)
{
    char key[CACHE_KEY_SIZE], kept[PROTO_GROUP_SIZE] = "";
    size_t size = router_cache_key(key, application, user);
    snprintf(kept, sizeof(kept), "%s", group);
    cache_put(router->groups, key, size, kept);
    cache_remove(router->unknown, key, size);
}

enum router_answer router_ask(struct router *router, struct loop *loop, const struct proto_file_key *key,
                              bool create, router_callback callback, void *argument,
                              char group[PROTO_GROUP_SIZE], struct error *error)
{
    struct question *question = calloc(1, sizeof(*question));
    if (!question) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return ROUTER_FAILED;
    }
    question->router = router;
    memcpy(question->application, key->application, sizeof(question->application));
    memcpy(question->user, key->user, sizeof(question->user));
    question->create = create;
    question->callback = callback;
    question->argument = argument;
    question->job =
        (struct db_job){.run = run_question, .done = question_done, .loop = loop, .idempotent = true};
    bool cached = stale_group(question, group);
    int64_t wait_ms = cached ? min_i64(STALE_WAIT_MS, router->timeout_ms) : router->timeout_ms;
    const struct timeval wait = duration_timeval(wait_ms);
    question->timer = evtimer_new(loop_base(loop), question_timeout, question);
    error_set(error, ERROR_UNAVAILABLE, "out of memory");
    if (question->timer && event_add(question->timer, &wait) == 0 &&
        router_submit(router, &question->job, error))
        return ROUTER_ASK;
    question_free(question);
    metric_add(router->stale, cached);
    return cached ? ROUTER_FOUND : ROUTER_FAILED;
}

void router_close(struct router *router)
{
    ASSERT(pthread_rwlock_wrlock(&router->rules_lock) == 0);
    router->db = NULL;
    ASSERT(pthread_rwlock_unlock(&router->rules_lock) == 0);
}

/* ---- life ---- */

struct router *router_create(const struct router_options *options, struct error *error)
{
    struct router *router = calloc(1, sizeof(*router));
    if (!router || pthread_rwlock_init(&router->rules_lock, NULL) != 0) {
        free(router);
        error_set(error, ERROR_UNAVAILABLE, "router: out of memory");
        return NULL;
    }
    router->table = options->table;
    router->timeout_ms = options->timeout_ms;
    router->db = options->db;
    router->groups =
        cache_create(options->cache_entries, options->cache_age_ms, PROTO_GROUP_SIZE, CACHE_SHARDS);
    router->unknown = cache_create(options->cache_entries, options->unknown_age_ms, 1, CACHE_SHARDS);
    if (!router->groups || !router->unknown) {
        error_set(error, ERROR_UNAVAILABLE, "router: out of memory for a cache of %zu users",
                  options->cache_entries);
        router_destroy(router);
        return NULL;
    }
    const char *name = "reel_tracker_route_lookups_total";
    const char *help = "Look-ups of a user's group, by where the answer came from.";
    router->hits = metrics_counter(name, help, "from=\"cache\"");
    router->misses = metrics_counter(name, help, "from=\"database\"");
    router->stale = metrics_counter(name, help, "from=\"stale_cache\"");
    router->created =
        metrics_counter("reel_tracker_routes_created_total", "New users that were given a group.", NULL);
    return router;
}

void router_destroy(struct router *router)
{
    if (!router)
        return;
    cache_destroy(router->groups);
    cache_destroy(router->unknown);
    config_strings_clear(&router->applications);
    pins_clear(&router->pins);
    pthread_rwlock_destroy(&router->rules_lock);
    free(router);
}
