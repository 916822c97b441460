/*
 * client_commands: the commands that are one question and one answer to a storage server of a user's group:
 * a row each, and what starts them. How servers are found and tried is client_storage.c's. Declared in
 * client.h.
 */
#include "client/core/client_internal.h"

#include <stdlib.h>
#include <string.h>

static bool pack_key(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_file_key_pack(body, &operation->key, error);
}

/* ---- STAT, WHERE ---- */

static bool unpack_stat(struct client_operation *operation, const uint8_t *body, size_t size,
                        struct error *error)
{
    return proto_stat_reply_unpack(body, size, &operation->result.stat, error);
}

/* All that a legacy server knows is the size; the rest is zeros. */
static bool unpack_size(struct client_operation *operation, const uint8_t *body, size_t size,
                        struct error *error)
{
    struct proto_stat *stat = &operation->result.stat;

    memset(stat, 0, sizeof(*stat));
    memcpy(stat->group, operation->location.group, sizeof(stat->group));
    return proto_value_unpack(body, size, &stat->size, error);
}

static bool unpack_where(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error)
{
    memset(&operation->result.where, 0, sizeof(operation->result.where));
    return proto_where_reply_unpack(body, size, &operation->result.where, error);
}

/* What the older commands answer becomes a place without key. */
static bool where_from_stat(struct client_operation *operation, bool unpacked)
{
    struct proto_stat stat = operation->result.stat;

    if (!unpacked)
        return false;
    memset(&operation->result.where, 0, sizeof(operation->result.where));
    operation->result.where.stat = stat;
    return true;
}

static bool unpack_where_from_stat(struct client_operation *operation, const uint8_t *body, size_t size,
                                   struct error *error)
{
    return where_from_stat(operation, unpack_stat(operation, body, size, error));
}

static bool unpack_where_from_size(struct client_operation *operation, const uint8_t *body, size_t size,
                                   struct error *error)
{
    return where_from_stat(operation, unpack_size(operation, body, size, error));
}

static void report_stat(struct client_operation *operation, const struct error *error)
{
    operation->callback.stat(operation->argument, error ? NULL : &operation->result.stat, error);
}

static void report_where(struct client_operation *operation, const struct error *error)
{
    operation->callback.where(operation->argument, error ? NULL : &operation->result.where, error);
}

#define KEY_COMMAND(number_, reply_max_, unpack_, report_, older_)                                           \
    {                                                                                                        \
        .number = number_, .body_size = PROTO_FILE_KEY_SIZE, .reply_max = reply_max_, .pack = pack_key,      \
        .unpack = unpack_, .report = report_, .older = older_                                                \
    }

static const struct client_command size_command =
    KEY_COMMAND(PROTO_STORAGE_FILESIZE, PROTO_VALUE_SIZE, unpack_size, report_stat, NULL);
static const struct client_command stat_command =
    KEY_COMMAND(PROTO_STORAGE_STAT, PROTO_STAT_REPLY_SIZE, unpack_stat, report_stat, &size_command);
static const struct client_command where_by_size_command =
    KEY_COMMAND(PROTO_STORAGE_FILESIZE, PROTO_VALUE_SIZE, unpack_where_from_size, report_where, NULL);
static const struct client_command where_by_stat_command = KEY_COMMAND(
    PROTO_STORAGE_STAT, PROTO_STAT_REPLY_SIZE, unpack_where_from_stat, report_where, &where_by_size_command);
static const struct client_command where_command = KEY_COMMAND(
    PROTO_STORAGE_WHERE, PROTO_WHERE_REPLY_SIZE, unpack_where, report_where, &where_by_stat_command);
static const struct client_command delete_command = {
    .number = PROTO_STORAGE_DELETE,
    .body_size = PROTO_FILE_KEY_SIZE,
    .pack = pack_key,
    .report = client_report_done,
    .change = true,
};
static const struct client_command restore_command = {
    .number = PROTO_STORAGE_RESTORE,
    .body_size = PROTO_FILE_KEY_SIZE,
    .pack = pack_key,
    .report = client_report_done,
    .change = true,
};

struct client_operation *client_stat(struct client *client, const struct proto_file_key *key,
                                     client_stat_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &stat_command, key, client_storage_begin, argument);

    if (operation)
        operation->callback.stat = callback;
    return operation;
}

struct client_operation *client_where(struct client *client, const struct proto_file_key *key,
                                      client_where_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &where_command, key, client_storage_begin, argument);

    if (operation)
        operation->callback.where = callback;
    return operation;
}

/* ---- DELETE, RESTORE ---- */

static struct client_operation *done_start(struct client *client, const struct client_command *command,
                                           const struct proto_file_key *key, client_done_callback callback,
                                           void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, command, key, client_storage_begin, argument);

    if (operation)
        operation->callback.done = callback;
    return operation;
}

struct client_operation *client_delete(struct client *client, const struct proto_file_key *key,
                                       client_done_callback callback, void *argument)
{
    return done_start(client, &delete_command, key, callback, argument);
}

struct client_operation *client_restore(struct client *client, const struct proto_file_key *key,
                                        client_done_callback callback, void *argument)
{
    return done_start(client, &restore_command, key, callback, argument);
}

/* ---- RENAME ---- */

static bool pack_rename(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_rename rename = {.key = operation->key};

    memcpy(rename.name, operation->name, sizeof(rename.name));
    return proto_rename_pack(body, &rename, error);
}

static const struct client_command rename_command = {
    .number = PROTO_STORAGE_RENAME,
    .body_size = PROTO_RENAME_SIZE,
    .pack = pack_rename,
    .report = client_report_done,
    .change = true,
};

struct client_operation *client_rename(struct client *client, const struct proto_rename *rename,
                                       client_done_callback callback, void *argument)
{
    struct client_operation *operation =
        done_start(client, &rename_command, &rename->key, callback, argument);

    if (operation)
        memcpy(operation->name, rename->name, sizeof(operation->name));
    return operation;
}

/* ---- EXPIRE ---- */

static bool pack_expire(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_expire_pack(body, &operation->expire, error);
}

static bool unpack_expire(struct client_operation *operation, const uint8_t *body, size_t size,
                          struct error *error)
{
    return proto_value_unpack(body, size, &operation->result.expires, error);
}

static void report_expire(struct client_operation *operation, const struct error *error)
{
    operation->callback.expire(operation->argument, error ? 0 : operation->result.expires, error);
}

static const struct client_command expire_command = {
    .number = PROTO_STORAGE_EXPIRE,
    .body_size = PROTO_EXPIRE_SIZE,
    .reply_max = PROTO_VALUE_SIZE,
    .pack = pack_expire,
    .unpack = unpack_expire,
    .report = report_expire,
    .change = true,
    .recent = true,
};

struct client_operation *client_expire(struct client *client, const struct proto_expire *expire,
                                       client_expire_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &expire_command, &expire->key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->expire = *expire;
    operation->callback.expire = callback;
    return operation;
}

/* ---- QUOTA, SET_QUOTA ---- */

static bool pack_quota(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_user_key_pack(body, &operation->key, error);
}

static bool pack_set_quota(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_set_quota_pack(body, &operation->quota, error);
}

static bool unpack_quota(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error)
{
    return proto_quota_unpack(body, size, &operation->result.quota, error);
}

static void report_quota(struct client_operation *operation, const struct error *error)
{
    operation->callback.quota(operation->argument, error ? NULL : &operation->result.quota, error);
}

static const struct client_command quota_command = {
    .number = PROTO_STORAGE_QUOTA,
    .body_size = PROTO_QUOTA_SIZE,
    .reply_max = PROTO_QUOTA_REPLY_SIZE,
    .pack = pack_quota,
    .unpack = unpack_quota,
    .report = report_quota,
    .recent = true,
};
static const struct client_command set_quota_command = {
    .number = PROTO_STORAGE_SET_QUOTA,
    .body_size = PROTO_SET_QUOTA_SIZE,
    .reply_max = PROTO_QUOTA_REPLY_SIZE,
    .pack = pack_set_quota,
    .unpack = unpack_quota,
    .report = report_quota,
    .change = true,
    .recent = true,
};

struct client_operation *client_quota(struct client *client, const struct proto_set_quota *set,
                                      client_quota_callback callback, void *argument)
{
    bool asks = set->bytes == PROTO_QUOTA_KEEP && set->files == PROTO_QUOTA_KEEP;
    struct client_operation *operation = client_operation_create(
        client, asks ? &quota_command : &set_quota_command, &set->key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->create = !asks; /* of a user without files too */
    operation->quota = *set;
    operation->callback.quota = callback;
    return operation;
}

/* ---- FSCK ---- */

static bool pack_fsck(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    const struct proto_fsck fsck = {.key = operation->key, .action = operation->action};

    return proto_fsck_pack(body, &fsck, error);
}

static const struct client_command fsck_command = {
    .number = PROTO_STORAGE_FSCK,
    .body_size = PROTO_FSCK_SIZE,
    .reply_max = CLIENT_TEXT_MAX,
    .pack = pack_fsck,
    .unpack = client_unpack_text,
    .report = client_report_text,
    .change = true,
};

struct client_operation *client_fsck(struct client *client, const struct proto_file_key *key,
                                     enum proto_fsck_action action, client_text_callback callback,
                                     void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &fsck_command, key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->action = (uint8_t)action;
    operation->callback.text = callback;
    return operation;
}

/* ---- LIST ---- */

static bool pack_list(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_list_pack(body, &operation->list, error);
}

static bool unpack_list(struct client_operation *operation, const uint8_t *body, size_t size,
                        struct error *error)
{
    size_t count = size / PROTO_LIST_ENTRY_SIZE;
    struct proto_list_entry *entries;

    if (size % PROTO_LIST_ENTRY_SIZE != 0 || count > (size_t)operation->list.limit)
        return error_set(error, ERROR_MALFORMED,
                         "a list of %zu bytes, where at most %d entries of %d were asked for", size,
                         (int)operation->list.limit, PROTO_LIST_ENTRY_SIZE);
    entries = operation->owned = calloc(max_size(count, 1), sizeof(*entries));
    if (!entries)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a list of %zu files", count);
    for (size_t i = 0; i < count; i++)
        if (!proto_list_entry_unpack(body + i * PROTO_LIST_ENTRY_SIZE, PROTO_LIST_ENTRY_SIZE, &entries[i],
                                     error))
            return false;
    operation->result.list.entries = entries;
    operation->result.list.count = count;
    return true;
}

static void report_list(struct client_operation *operation, const struct error *error)
{
    if (error)
        operation->callback.list(operation->argument, NULL, 0, error);
    else
        operation->callback.list(operation->argument, operation->result.list.entries,
                                 operation->result.list.count, NULL);
}

static const struct client_command list_command = {
    .number = PROTO_STORAGE_LIST,
    .body_size = PROTO_LIST_SIZE,
    .reply_max = PROTO_LIST_LIMIT_MAX * PROTO_LIST_ENTRY_SIZE,
    .pack = pack_list,
    .unpack = unpack_list,
    .report = report_list,
};

struct client_operation *client_list(struct client *client, const struct proto_list *list,
                                     client_list_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &list_command, &list->key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->list = *list;
    operation->callback.list = callback;
    return operation;
}

/* ---- QUOTAS ---- */

static bool pack_quotas(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_quotas_pack(body, &operation->moving.quotas, error);
}

static const struct client_command quotas_command = {
    .number = PROTO_STORAGE_QUOTAS,
    .body_size = PROTO_QUOTAS_SIZE,
    .reply_max = PROTO_QUOTAS_MAX * PROTO_QUOTAS_ENTRY_SIZE,
    .pack = pack_quotas,
    .unpack = client_unpack_bytes,
    .report = client_report_text,
};

struct client_operation *client_quotas(struct client *client, const struct proto_users_entry *after,
                                       client_text_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &quotas_command, NULL, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->moving.quotas = *after;
    operation->callback.text = callback;
    return operation;
}

/* ---- LEFT ---- */

static bool pack_left(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_left_pack(body, &operation->moving.left, error);
}

static const struct client_command left_command = {
    .number = PROTO_STORAGE_LEFT,
    .body_size = PROTO_LEFT_SIZE,
    .reply_max = PROTO_LEFT_HEAD_SIZE + PROTO_LEFT_USERS_MAX * PROTO_LEFT_ENTRY_SIZE,
    .pack = pack_left,
    .unpack = client_unpack_bytes,
    .report = client_report_text,
};

struct client_operation *client_left(struct client *client, const struct proto_left *left,
                                     client_text_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &left_command, NULL, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->moving.left = *left;
    operation->callback.text = callback;
    return operation;
}
