/*
 * left: one database job per request, over a stretch of one table.
 */
#include "storage/request/left.h"

#include "storage/rows/meta_sql.h"
#include "storage/rows/table_hash.h"
#include "storage/storage.h"

#include <stdlib.h>
#include <string.h>

#define STRETCH                                                                                              \
    20000 /* row IDs that are looked at per request, so that no request keeps a database thread for long */
#define ROWS_MAX 1000 /* rows of this group that are looked at per request */

_Static_assert(PROTO_LEFT_TABLES == TABLE_HASH_TABLES, "the tables of docs/protocol.md");

static const char *const last_sql[TABLE_HASH_TABLES] = {"SELECT COALESCE(MAX(row_id), 0) FROM t_file_01",
                                                        "SELECT COALESCE(MAX(row_id), 0) FROM t_file_02",
                                                        "SELECT COALESCE(MAX(row_id), 0) FROM t_file_03"};
#define ROWS_OF(table)                                                                                       \
    "SELECT row_id, appid, userid, COALESCE(status, 0) FROM " table                                          \
    " WHERE row_id > ? AND row_id <= ? AND group_name = ? ORDER BY row_id LIMIT ?"
static const char *const rows_sql[TABLE_HASH_TABLES] = {ROWS_OF("t_file_01"), ROWS_OF("t_file_02"),
                                                        ROWS_OF("t_file_03")};

struct left {
    struct db_job job;
    struct packet_request *request;
    struct proto_left asked;
    struct proto_left_head head;
    int64_t last, seen, seen_id; /* of the table; rows that were read; the last one's row ID */
    bool full;                   /* no room for another user */
    struct proto_users_entry users[PROTO_LEFT_USERS_MAX];
    size_t count;
};

static bool on_last(void *argument, const struct db_value *columns, size_t count)
{
    struct left *left = argument;
    if (count != 1 || !db_value_integer(&columns[0], &left->last))
        left->last = 0;
    return false;
}

/* False: there is no room for it. */
static bool note_user(struct left *left, const struct proto_users_entry *user)
{
    for (size_t i = left->count; i-- > 0;) {
        if (strcmp(left->users[i].user, user->user) == 0 &&
            strcmp(left->users[i].application, user->application) == 0)
            return true;
    }
    if (left->count == ARRAY_SIZE(left->users))
        return false;
    left->users[left->count++] = *user;
    return true;
}

static bool on_left_row(void *argument, const struct db_value *columns, size_t count)
{
    struct left *left = argument;
    struct proto_users_entry user = {0};
    int64_t row_id = 0, state = 0;
    if (count != 4 || !db_value_integer(&columns[0], &row_id))
        return false;
    if (!db_value_integer(&columns[3], &state))
        state = -1;
    bool former = state == META_STATE_PURGING;
    bool named = db_value_text(&columns[1], user.application, sizeof(user.application)) &&
                 db_value_text(&columns[2], user.user, sizeof(user.user));
    if (!former && named && !note_user(left, &user)) {
        left->full = true;
        return false; /* the next request begins with this row */
    }
    left->head.former += former ? 1 : 0;
    left->head.rows += former ? 0 : 1;
    left->seen++;
    left->seen_id = row_id;
    return true;
}

static enum db_result left_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct left *left = CONTAINER_OF(job, struct left, job);
    const char *group = storage_of(left->request)->config->group;
    unsigned table = left->asked.table;
    int64_t end = left->asked.after > INT64_MAX - STRETCH ? INT64_MAX : left->asked.after + STRETCH;
    const struct db_value parameters[] = {db_integer(left->asked.after), db_integer(end), db_text(group),
                                          db_integer(ROWS_MAX)};
    left->head = (struct proto_left_head){0};
    left->count = 0;
    left->seen = left->seen_id = 0;
    left->full = false;
    enum db_result result = db_query(connection, last_sql[table], NULL, 0, on_last, left, error);
    if (result == DB_OK)
        result = db_query(connection, rows_sql[table], parameters, ARRAY_SIZE(parameters), on_left_row, left,
                          error);
    if (result != DB_OK)
        return result;
    bool more = left->full || left->seen == ROWS_MAX;
    int64_t after = more ? max_i64(left->seen_id, left->asked.after) : end;
    bool ended = !more && end >= left->last;
    left->head.next.table = (uint8_t)(ended ? table + 1 : table);
    left->head.next.after = ended ? 0 : after;
    return DB_OK;
}

static void left_reply(struct left *left)
{
    size_t size = PROTO_LEFT_HEAD_SIZE;
    uint8_t *body = malloc(PROTO_LEFT_HEAD_SIZE + left->count * PROTO_LEFT_ENTRY_SIZE);
    struct error error = {0};
    if (!body || !proto_left_head_pack(body, &left->head, &error)) {
        packet_reply_error(left->request, ERROR_UNAVAILABLE, "no memory for a reply");
        free(body);
        return;
    }
    for (size_t i = 0; i < left->count; i++) {
        if (proto_left_entry_pack(body + size, &left->users[i], &error))
            size += PROTO_LEFT_ENTRY_SIZE; /* a user whom the protocol cannot name cannot be moved either */
    }
    packet_reply_take(left->request, body, size);
}

static void left_done(struct db_job *job)
{
    struct left *left = CONTAINER_OF(job, struct left, job);
    if (job->result == DB_OK)
        left_reply(left);
    else
        packet_reply_error(left->request, db_error_code(job->result), "the database failed: %s",
                           job->error.text);
    free(left);
}

void left_handle(struct packet_request *request)
{
    struct error error = {0};
    struct left *left = calloc(1, sizeof(*left));
    if (!left) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    left->request = request;
    left->job =
        (struct db_job){.run = left_run, .done = left_done, .loop = request->loop, .idempotent = true};
    if (!proto_left_unpack(request->head, request->head_size, &left->asked, &error) ||
        !meta_run(storage_of(request)->meta, &left->job, &error)) {
        packet_reply_failure(request, &error);
        free(left);
    }
}
