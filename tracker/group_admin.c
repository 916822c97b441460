/*
 * group_admin: statements on t_groups_info. Every change is one statement that may be repeated: it states the result,
 * not the difference.
 */
#include "tracker/group_admin.h"
#include "tracker/group_rows.h"
#include "common/config/networks.h"
#include "common/base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct group_admin {
    struct db *db;
    struct groups *groups;
    pthread_mutex_t mutex; /* what follows */
    struct networks allowed;
};

/* One request on its way: to the database, then to the reading of the groups. */
struct change {
    struct group_admin *admin;
    struct packet_request *request;
    struct proto_group wanted;
    int64_t rows;
    struct error refusal; /* of REMOVE: why not */
    struct db_job job;
    struct groups_question question;
};

static const char *change_name(uint8_t change)
{
    switch ((enum proto_group_change)change) {
    case PROTO_GROUP_ADD:
        return "add";
    case PROTO_GROUP_DRAIN:
        return "drain";
    case PROTO_GROUP_OPEN:
        return "open";
    case PROTO_GROUP_WEIGHT:
        return "weight";
    case PROTO_GROUP_REMOVE:
        return "remove";
    }
    return "?";
}

/* ---- on a database thread ---- */

static enum db_result add_group(struct change *change, struct db_connection *connection, struct error *error)
{
    const struct db_value parameters[] = {db_text(change->wanted.group), db_integer(change->wanted.weight)};
    enum db_result result =
        db_execute(connection, "INSERT INTO t_groups_info (group_name, weight) VALUES (?, ?)", parameters,
                   ARRAY_SIZE(parameters), &change->rows, error);

    if (result == DB_CONSTRAINT) { /* it is there, perhaps from an earlier try of this request */
        change->rows = 1;
        return DB_OK;
    }
    return result;
}

/* One that gets no new users and has none. The row goes first, so that its lock keeps everybody from being routed to the group;
 * then nobody may belong to it. One that is gone already, perhaps from an earlier try of this request, counts as removed. */
static enum db_result remove_in_transaction(struct change *change, struct db_connection *connection,
                                            struct error *error)
{
    const char *group = change->wanted.group;
    const struct db_value parameters[] = {db_text(group)};
    int64_t removed = 0;
    bool there = false, users = false;
    enum db_result result =
        db_execute(connection, "DELETE FROM t_groups_info WHERE group_name = ? AND state <> 0", parameters,
                   ARRAY_SIZE(parameters), &removed, error);
    if (result == DB_OK)
        result = group_rows_hold(connection, group, false, &there, error);
    if (result == DB_OK)
        result = group_rows_users(connection, group, &users, error);
    change->rows = 1;
    if (result == DB_OK && there)
        error_set(&change->refusal, ERROR_EXISTS, "group %s gets new users; drain it first", group);
    else if (result == DB_OK && removed > 0 && users)
        error_set(&change->refusal, ERROR_EXISTS,
                  "group %s has users; move them first: reel admin group drain %s --empty", group, group);
    return result;
}

static enum db_result remove_group(struct change *change, struct db_connection *connection,
                                   struct error *error)
{
    enum db_result result = db_begin(connection, error);
    if (result == DB_OK)
        result = remove_in_transaction(change, connection, error);
    if (result == DB_OK && change->refusal.code == ERROR_NONE)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static enum db_result run_change(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct change *change = CONTAINER_OF(job, struct change, job);
    bool weighs = change->wanted.change == PROTO_GROUP_WEIGHT;
    const struct db_value state[] = {db_integer(change->wanted.change == PROTO_GROUP_DRAIN),
                                     db_text(change->wanted.group)};
    const struct db_value weight[] = {db_integer(change->wanted.weight), db_text(change->wanted.group)};

    change->refusal = (struct error){0};
    if (change->wanted.change == PROTO_GROUP_ADD)
        return add_group(change, connection, error);
    if (change->wanted.change == PROTO_GROUP_REMOVE)
        return remove_group(change, connection, error);
    /* In a transaction, so that an UPDATE which a lost connection carries out late is never committed: by then an
     * operator may have changed the group again. */
    enum db_result result = db_begin(connection, error);
    if (result == DB_OK)
        result = db_execute(connection,
                            weighs ? "UPDATE t_groups_info SET weight = ? WHERE group_name = ?"
                                   : "UPDATE t_groups_info SET state = ? WHERE group_name = ?",
                            weighs ? weight : state, ARRAY_SIZE(state), &change->rows, error);
    return result == DB_OK ? db_commit(connection, error) : result;
}

/* ---- on the request's loop ---- */

static void change_finish(struct change *change, const struct error *error)
{
    struct packet_request *request = change->request;
    const char *peer = packet_connection_peer(request->connection)->host;

    if (error) {
        log_warning("groups", "%s asked for group %s: %s; failed: %s", peer, change->wanted.group,
                    change_name(change->wanted.change), error->text);
        packet_reply_failure(request, error);
    } else {
        log_info("groups", "group %s: %s (weight %d) done, as %s asked", change->wanted.group,
                 change_name(change->wanted.change), (int)change->wanted.weight, peer);
        packet_reply(request, NULL, 0);
    }
    free(change);
}

static void groups_read(struct groups_question *question)
{
    struct change *change = CONTAINER_OF(question, struct change, question);

    bool removed = change->wanted.change == PROTO_GROUP_REMOVE;

    /* What groups_ask() says of a group that is not there. */
    if (removed && !question->known && question->error.code == ERROR_REFUSED)
        change_finish(change, NULL);
    else
        change_finish(change, question->known ? NULL : &question->error);
}

static void admin_change_done(struct db_job *job)
{
    struct change *change = CONTAINER_OF(job, struct change, job);
    struct error error;

    if (job->result != DB_OK) {
        error_set(&error, db_error_code(job->result), "%s", job->error.text);
        change_finish(change, &error);
        return;
    }
    if (change->refusal.code != ERROR_NONE) {
        change_finish(change, &change->refusal);
        return;
    }
    if (change->rows == 0) {
        error_set(&error, ERROR_NOT_FOUND, "there is no group %s in t_groups_info", change->wanted.group);
        change_finish(change, &error);
        return;
    }
    memcpy(change->question.group, change->wanted.group, sizeof(change->question.group));
    change->question.loop = change->request->loop;
    change->question.done = groups_read;
    groups_ask(change->admin->groups, &change->question);
}

bool group_admin_allows(struct group_admin *admin, const struct packet_request *request, struct error *error)
{
    const char *peer = packet_connection_peer(request->connection)->host;
    ASSERT(pthread_mutex_lock(&admin->mutex) == 0);
    bool allowed = networks_contain(&admin->allowed, peer);
    ASSERT(pthread_mutex_unlock(&admin->mutex) == 0);
    if (allowed)
        return true;
    log_warning("groups", "%s tried to change a group but is not in tracker.admin_addresses", peer);
    return error_set(error, ERROR_REFUSED,
                     "groups are changed from the tracker's admin_addresses only; %s is not one", peer);
}

void group_admin_handle(struct group_admin *admin, struct packet_request *request)
{
    struct proto_group wanted;
    struct error error;

    if (!group_admin_allows(admin, request, &error) ||
        !proto_group_unpack(request->head, request->head_size, &wanted, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct change *change = calloc(1, sizeof(*change));
    if (!change) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    change->admin = admin;
    change->request = request;
    change->wanted = wanted;
    change->job = (struct db_job){
        .run = run_change, .done = admin_change_done, .loop = request->loop, .idempotent = true};
    if (!db_submit(admin->db, &change->job)) {
        error_set(&error, ERROR_UNAVAILABLE, "the database's queue is full");
        change_finish(change, &error);
    }
}

/* ---- making and ending ---- */

bool group_admin_configure(struct group_admin *admin, const struct config_strings *addresses,
                           struct error *error)
{
    struct networks fresh, old;

    if (!networks_parse(addresses, &fresh, error))
        return false;
    ASSERT(pthread_mutex_lock(&admin->mutex) == 0);
    old = admin->allowed;
    admin->allowed = fresh;
    ASSERT(pthread_mutex_unlock(&admin->mutex) == 0);
    networks_clear(&old);
    return true;
}

struct group_admin *group_admin_create(struct db *db, struct groups *groups,
                                       const struct config_strings *addresses, struct error *error)
{
    struct group_admin *admin = calloc(1, sizeof(*admin));

    if (!admin || pthread_mutex_init(&admin->mutex, NULL) != 0) {
        free(admin);
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    admin->db = db;
    admin->groups = groups;
    if (!group_admin_configure(admin, addresses, error)) {
        group_admin_destroy(admin);
        return NULL;
    }
    return admin;
}

void group_admin_destroy(struct group_admin *admin)
{
    if (!admin)
        return;
    networks_clear(&admin->allowed);
    pthread_mutex_destroy(&admin->mutex);
    free(admin);
}
