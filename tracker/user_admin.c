/*
 * user_admin: statements on t_router, one database job per request. A user's group changes in one statement that names the
 * one that was seen: of two who move a user at once one wins.
 */
#include "tracker/user_admin.h"

#include "common/base/log.h"
#include "tracker/group_rows.h"
#include "tracker/rooms.h"
#include "tracker/route_commands.h"

#include <stdlib.h>
#include <string.h>

#define ROOM "users"

struct users {
    struct db_job job;
    struct packet_request *request;
    struct proto_users asked;
    uint8_t *entries; /* PROTO_USERS_ENTRY_SIZE each; owned */
    int32_t rows;     /* read, also those that cannot be sent */
    size_t count;
};

struct reroute {
    struct db_job job;
    struct packet_request *request;
    struct proto_reroute asked;
    char group[PROTO_GROUP_SIZE]; /* that the user has; "": none */
    int64_t changed;
    bool there; /* the group that the user is to belong to */
};

/* ---- USERS ---- */

static bool take_user(void *argument, const struct db_value *columns, size_t count)
{
    struct users *users = argument;
    struct proto_users_entry entry = {0};
    if (count != 3 || users->rows == users->asked.limit)
        return false;
    users->rows++;
    if (db_value_integer(&columns[0], &entry.number) &&
        db_value_text(&columns[1], entry.application, sizeof(entry.application)) &&
        db_value_text(&columns[2], entry.user, sizeof(entry.user)) &&
        proto_users_entry_pack(users->entries + users->count * PROTO_USERS_ENTRY_SIZE, &entry, NULL))
        users->count++;
    else
        log_warning(ROOM, "row %lld of t_router names no user that the protocol knows: it is left out",
                    (long long)entry.number);
    return true;
}

static enum db_result users_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct users *users = CONTAINER_OF(job, struct users, job);
    const struct db_value parameters[] = {db_text(users->asked.group), db_integer(users->asked.after),
                                          db_integer(users->asked.limit)};
    users->rows = 0;
    users->count = 0;
    return db_query(
        connection,
        "SELECT id, appid, userid FROM t_router WHERE group_name = ? AND id > ? ORDER BY id LIMIT ?",
        parameters, ARRAY_SIZE(parameters), take_user, users, error);
}

static void users_end(struct users *users)
{
    free(users->entries);
    free(users);
}

static void users_done(struct db_job *job)
{
    struct users *users = CONTAINER_OF(job, struct users, job);
    if (job->result == DB_OK) {
        packet_reply_take(users->request, users->entries, users->count * PROTO_USERS_ENTRY_SIZE);
        users->entries = NULL;
    } else {
        packet_reply_error(users->request, db_error_code(job->result), "%s", job->error.text);
    }
    users_end(users);
}

void user_admin_users(struct packet_request *request)
{
    struct tracker *tracker = tracker_of(request);
    struct users *users = calloc(1, sizeof(*users));
    struct error error;
    bool fine = false;

    if (users)
        users->entries = malloc((size_t)PROTO_USERS_LIMIT_MAX * PROTO_USERS_ENTRY_SIZE);
    if (!users || !users->entries)
        (void)error_set(&error, ERROR_UNAVAILABLE, "out of memory");
    else
        fine = group_admin_allows(tracker->admin, request, &error) &&
               proto_users_unpack(request->head, request->head_size, &users->asked, &error);
    if (fine) {
        users->request = request;
        users->job =
            (struct db_job){.run = users_run, .done = users_done, .loop = request->loop, .idempotent = true};
        fine = router_submit(tracker->router, &users->job, &error);
    }
    if (fine)
        return;
    packet_reply_failure(request, &error);
    if (users)
        users_end(users);
}

/* ---- REROUTE ---- */

static bool take_route(void *argument, const struct db_value *columns, size_t count)
{
    struct reroute *reroute = argument;
    if (count != 1 || !db_value_text(&columns[0], reroute->group, sizeof(reroute->group)) ||
        !proto_name_valid(reroute->group, sizeof(reroute->group)))
        reroute->group[0] = '\0';
    return false;
}

static enum db_result reroute_change(struct reroute *reroute, struct db_connection *connection,
                                     struct error *error)
{
    const struct proto_reroute *asked = &reroute->asked;
    const struct db_value change[] = {db_text(asked->to), db_text(asked->application), db_text(asked->user),
                                      db_text(asked->from)};
    const struct db_value user[] = {db_text(asked->application), db_text(asked->user)};
    enum db_result result = group_rows_hold(connection, asked->to, false, &reroute->there, error);
    if (result == DB_OK && reroute->there)
        result =
            db_execute(connection,
                       "UPDATE t_router SET group_name = ? WHERE appid = ? AND userid = ? AND group_name = ?",
                       change, ARRAY_SIZE(change), &reroute->changed, error);
    if (result == DB_OK && reroute->there)
        result = db_query(connection, "SELECT group_name FROM t_router WHERE appid = ? AND userid = ?", user,
                          ARRAY_SIZE(user), take_route, reroute, error);
    return result;
}

/* In a transaction, so that an UPDATE which a lost connection carries out late is never committed, and nobody is sent to a
 * group that is being removed. */
static enum db_result reroute_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct reroute *reroute = CONTAINER_OF(job, struct reroute, job);
    reroute->group[0] = '\0';
    reroute->changed = 0;
    enum db_result result = db_begin(connection, error);
    if (result == DB_OK)
        result = reroute_change(reroute, connection, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static void reroute_done(struct db_job *job)
{
    struct reroute *reroute = CONTAINER_OF(job, struct reroute, job);
    const struct proto_reroute *asked = &reroute->asked;
    struct packet_request *request = reroute->request;
    uint8_t body[PROTO_GROUP_SIZE];
    struct error error;
    if (job->result != DB_OK)
        (void)error_set(&error, db_error_code(job->result), "%s", job->error.text);
    else if (!reroute->there)
        (void)error_set(&error, ERROR_NOT_FOUND, "there is no group %s", asked->to);
    else if (reroute->group[0] == '\0')
        (void)error_set(&error, ERROR_NOT_FOUND, "user %s of application %s has no group", asked->user,
                        asked->application);
    else {
        router_learn(tracker_of(request)->router, asked->application, asked->user, reroute->group);
        if (reroute->changed > 0)
            log_info(ROOM, "user %s of application %s is routed to group %s, and no longer to %s",
                     asked->user, asked->application, reroute->group, asked->from);
        ASSERT(proto_group_name_pack(body, reroute->group, &error));
        packet_reply(request, body, sizeof(body));
        free(reroute);
        return;
    }
    packet_reply_failure(request, &error);
    free(reroute);
}

void user_admin_reroute(struct packet_request *request)
{
    struct tracker *tracker = tracker_of(request);
    struct reroute *reroute = calloc(1, sizeof(*reroute));
    struct error error;
    bool fine = reroute;

    if (!reroute)
        (void)error_set(&error, ERROR_UNAVAILABLE, "out of memory");
    fine = fine && group_admin_allows(tracker->admin, request, &error) &&
           proto_reroute_unpack(request->head, request->head_size, &reroute->asked, &error);
    if (fine) {
        reroute->request = request;
        reroute->job = (struct db_job){
            .run = reroute_run, .done = reroute_done, .loop = request->loop, .idempotent = true};
        fine = router_submit(tracker->router, &reroute->job, &error);
    }
    if (fine)
        return;
    packet_reply_failure(request, &error);
    free(reroute);
}

/* ---- SERVERS ---- */

struct servers_wait {
    struct packet_request *request;
    struct groups_question question;
};

/* What another tracker has added a moment ago, or what has not been read yet, counts too. */
static void servers_group_known(struct groups_question *question)
{
    struct servers_wait *wait = CONTAINER_OF(question, struct servers_wait, question);

    if (question->known)
        route_commands_name_servers(wait->request, question->group);
    else if (question->error.code == ERROR_REFUSED)
        packet_reply_error(wait->request, ERROR_NOT_FOUND, "there is no group %s", question->group);
    else
        packet_reply_failure(wait->request, &question->error);
    free(wait);
}

void user_admin_servers(struct packet_request *request)
{
    struct tracker *tracker = tracker_of(request);
    struct servers_wait *wait;
    char group[PROTO_GROUP_SIZE];
    struct error error;

    if (!proto_group_name_unpack(request->head, request->head_size, group, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    if (table_group_known(tracker->table, group)) {
        route_commands_name_servers(request, group);
        return;
    }
    wait = calloc(1, sizeof(*wait));
    if (!wait) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    wait->request = request;
    memcpy(wait->question.group, group, sizeof(wait->question.group));
    wait->question.loop = request->loop;
    wait->question.done = servers_group_known;
    groups_ask(tracker->groups, &wait->question);
}
