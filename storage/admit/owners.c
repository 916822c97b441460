/*
 * owners: a cache, and questions under way behind one mutex; calls belong to one loop.
 */
#include "storage/admit/owners.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/call/name_list.h"
#include "common/call/packet_call.h"
#include "common/proto/proto_tracker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROOM       "owners"
#define KEY_MAX    (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + 1)
#define PENALTY_MS 10000
#define AWAY_MS    2000 /* after a question that no tracker answered none is asked for so long */
#define SHARDS     8

struct owners_question {
    struct owners *owners;
    struct proto_file_key key;
    bool create;
    char name[KEY_MAX];
    size_t name_size;
    struct wait_list waiting;
    struct task task;
    struct packet_call *call;
    UT_hash_handle hh;
};

struct owners {
    struct owners_options options;
    struct cache *cache; /* of group names */
    struct packet_pool *pool;
    struct name_list *trackers;
    struct metric *unanswered;
    pthread_mutex_t mutex;
    struct owners_question *questions;
    int64_t away_until_ms;
    bool ending;
    struct task end_task;
};

bool owners_refuse(const struct proto_file_key *key, const char *group, const char *ours, struct error *error)
{
    return error_set_group(error, group, "user %s belongs to group %s; this server belongs to group %s",
                           key->user, group, ours);
}

/* A question that may give the user a group is another one than one that may not. */
static size_t owners_name(const struct proto_file_key *key, char name[KEY_MAX])
{
    size_t application = strlen(key->application), user = strlen(key->user);
    memcpy(name, key->application, application + 1);
    memcpy(name + application + 1, key->user, user);
    return application + 1 + user;
}

static void owners_judge(const struct owners *owners, struct owners_waiter *waiter, const char *group)
{
    snprintf(waiter->group, sizeof(waiter->group), "%s", group);
    if (group[0] == '\0')
        waiter->answer = OWNERS_UNKNOWN;
    else
        waiter->answer = strcmp(group, owners->options.group) == 0 ? OWNERS_OURS : OWNERS_OTHERS;
}

static void owners_waited(struct wait *wait, enum wait_end end)
{
    struct owners_waiter *waiter = CONTAINER_OF(wait, struct owners_waiter, wait);
    (void)end; /* the call has its own time limit */
    waiter->done(waiter);
}

/* ---- the end of a question ---- */

/* GROUP: "" where it is not known. Frees it; on the loop. */
static void question_end(struct owners_question *question, const char *group)
{
    struct owners *owners = question->owners;
    struct wait *wait;
    pthread_mutex_lock(&owners->mutex);
    HASH_DEL(owners->questions, question);
    pthread_mutex_unlock(&owners->mutex);
    if (group[0] != '\0') {
        char kept[PROTO_GROUP_SIZE] = "";
        snprintf(kept, sizeof(kept), "%s", group);
        cache_put(owners->cache, question->name, question->name_size - 1, kept);
    }
    while ((wait = wait_list_take(&question->waiting))) { /* nobody else knows of it any more */
        owners_judge(owners, CONTAINER_OF(wait, struct owners_waiter, wait), group);
        wait_post(wait);
    }
    free(question);
}

static bool is_away(const struct error *error)
{
    return error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT ||
           error->code == ERROR_UNAVAILABLE;
}

static void question_failed(struct owners_question *question, const struct error *error)
{
    struct owners *owners = question->owners;
    static struct log_gate gate;
    uint64_t suppressed;
    /* That a user has no group, or its group no server, are answers. */
    if (error->code != ERROR_NOT_FOUND && error->code != ERROR_NO_SERVER) {
        metric_add(owners->unanswered, 1);
        if (log_gate_open(&gate, 60000, &suppressed))
            log_warning(ROOM,
                        "no tracker says which group user %s belongs to: %s; files are stored unchecked "
                        "(%llu more since the last line)",
                        question->key.user, error->text, (unsigned long long)suppressed);
    }
    if (is_away(error)) {
        pthread_mutex_lock(&owners->mutex);
        owners->away_until_ms = clock_monotonic_ms() + AWAY_MS;
        pthread_mutex_unlock(&owners->mutex);
    }
    question_end(question, "");
}

static void question_answered(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct owners_question *question = argument;
    char group[PROTO_GROUP_SIZE], addresses[PROTO_SADDRS_MAX];
    struct error bad = {0};
    question->call = NULL;
    if (!error && !proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), &bad))
        error = &bad;
    if (error)
        question_failed(question, error);
    else
        question_end(question, group);
}

/* ---- asking ---- */

static void question_begin(struct task *task)
{
    struct owners_question *question = CONTAINER_OF(task, struct owners_question, task);
    struct owners *owners = question->owners;
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct error error = {0};
    pthread_mutex_lock(&owners->mutex);
    bool ending = owners->ending;
    pthread_mutex_unlock(&owners->mutex);
    if (ending) {
        question_end(question, "");
        return;
    }
    const struct packet_call_options call = {
        .addresses = name_list_addresses(owners->trackers),
        .command = question->create ? PROTO_TRACKER_SADDRS : PROTO_TRACKER_LOCATE,
        .body = body,
        .body_size = sizeof(body),
        .reply_max = PROTO_SADDRS_MAX,
        .timeout_ms = owners->options.call_timeout_ms,
        .progress_ms = owners->options.call_timeout_ms,
        .hedge_ms = owners->options.hedge_ms,
        .done = question_answered,
        .argument = question,
    };
    if (proto_file_key_pack(body, &question->key, &error))
        question->call = packet_call_start(owners->pool, &call, &error);
    if (!question->call)
        question_failed(question, &error);
}

/* The mutex is held. NULL: nobody is asked now. */
static struct owners_question *question_about(struct owners *owners, const struct proto_file_key *key,
                                              bool create, const char *name, size_t size)
{
    struct owners_question *question = NULL;
    HASH_FIND(hh, owners->questions, name, size, question);
    if (question)
        return question;
    if (owners->ending || owners->options.trackers->count == 0 ||
        HASH_COUNT(owners->questions) >= owners->options.questions_max ||
        clock_monotonic_ms() < owners->away_until_ms || !(question = calloc(1, sizeof(*question))))
        return NULL;
    question->owners = owners;
    question->key = *key;
    question->create = create;
    question->name_size = size;
    memcpy(question->name, name, size);
    HASH_ADD_KEYPTR(hh, owners->questions, question->name, question->name_size, question);
    if (!HASH_ADDED(hh, question)) {
        free(question);
        return NULL;
    }
    wait_list_init(&question->waiting, &owners->mutex, NULL);
    question->task = (struct task){.run = question_begin};
    loop_post(owners->options.loop, &question->task);
    return question;
}

bool owners_ask(struct owners *owners, const struct proto_file_key *key, bool create,
                struct owners_waiter *waiter)
{
    char name[KEY_MAX], group[PROTO_GROUP_SIZE];
    waiter->answer = OWNERS_UNKNOWN;
    waiter->group[0] = '\0';
    if (!owners)
        return true;
    size_t size = owners_name(key, name);
    if (cache_get(owners->cache, name, size, group)) {
        owners_judge(owners, waiter, group);
        return true;
    }
    name[size] = create ? 'c' : 'r'; /* answers are the same, questions are not */
    waiter->wait = (struct wait){.loop = waiter->loop, .done = owners_waited};
    pthread_mutex_lock(&owners->mutex);
    struct owners_question *question = question_about(owners, key, create, name, size + 1);
    if (question)
        ASSERT(wait_enter(&question->waiting, &waiter->wait, 0)); /* without a timer it cannot fail */
    pthread_mutex_unlock(&owners->mutex);
    return !question;
}

/* ---- making and ending ---- */

struct owners *owners_create(const struct owners_options *options, struct error *error)
{
    const struct packet_pool_options pool = {
        .resolver = options->resolver,
        .tls = options->tls,
        .auth = options->auth,
        .connect_timeout_ms = options->connect_timeout_ms,
        .idle_timeout_ms = 60000,
        .idle_max = 4,
        .address_penalty_ms = PENALTY_MS,
    };
    const struct name_list_options names = {
        .loop = options->loop, .resolver = options->resolver, .addresses = options->trackers};
    struct owners *owners = calloc(1, sizeof(*owners));
    if (!owners) {
        error_set(error, ERROR_GENERAL, "no memory for the groups of users");
        return NULL;
    }
    pthread_mutex_init(&owners->mutex, NULL);
    owners->options = *options;
    owners->unanswered = metrics_counter(
        "reel_storage_user_checks_unanswered_total",
        "Questions for a user's group that no tracker answered; files were stored unchecked.", NULL);
    owners->cache = cache_create(options->entries_max, options->age_ms, PROTO_GROUP_SIZE, SHARDS);
    if (!owners->cache)
        error_set(error, ERROR_GENERAL, "no memory for the groups of users");
    owners->pool = owners->cache ? packet_pool_create(options->loop, &pool, error) : NULL;
    owners->trackers = owners->pool ? name_list_create(&names, error) : NULL;
    if (owners->trackers)
        return owners;
    owners_destroy(owners);
    return NULL;
}

void owners_end(struct owners *owners)
{
    struct owners_question *question, *next;
    pthread_mutex_lock(&owners->mutex);
    bool ended = owners->ending;
    owners->ending = true;
    pthread_mutex_unlock(&owners->mutex);
    if (ended)
        return;
    HASH_ITER(hh, owners->questions, question, next)
    {
        if (!question->call)
            continue; /* its task is on its way, and ends it */
        packet_call_cancel(question->call);
        question_end(question, "");
    }
    name_list_destroy(owners->trackers);
    if (owners->pool)
        packet_pool_destroy(owners->pool);
}

static void owners_free(struct owners *owners)
{
    cache_destroy(owners->cache);
    pthread_mutex_destroy(&owners->mutex);
    free(owners);
}

static void owners_loop_ended(struct task *task)
{
    owners_free(CONTAINER_OF(task, struct owners, end_task));
}

void owners_destroy(struct owners *owners)
{
    if (!owners)
        return;
    owners_end(owners);
    if (!owners->questions) {
        owners_free(owners);
        return;
    }
    /* Tasks are still on their way to the loop, which runs them before it ends. */
    owners->end_task = (struct task){.run = owners_loop_ended};
    loop_at_end(owners->options.loop, &owners->end_task);
}
