/*
 * commands: short requests about rows. No file is touched here.
 */
#include "storage/request/commands.h"
#include "storage/request/absent.h"
#include "storage/request/download.h"
#include "storage/request/fsck.h"
#include "storage/request/left.h"
#include "storage/request/quota_request.h"
#include "storage/request/quotas.h"
#include "storage/request/type_look.h"
#include "storage/rows/meta_change.h"
#include "storage/rows/meta_edit.h"
#include "storage/storage.h"
#include "storage/store/store_choice.h"
#include "storage/upload/partial.h"
#include "storage/upload/upload.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/proto/proto_partial.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_quota.h"

#include <stdlib.h>
#include <string.h>

#define ROOM "commands"

/* False: the request has been answered. */
static bool commands_take_key(struct packet_request *request, struct proto_file_key *key)
{
    struct error error = {0};
    if (proto_file_key_unpack(request->head, request->head_size, key, &error) &&
        applications_check(storage_of(request)->applications, key->application, &error))
        return true;
    packet_reply_failure(request, &error);
    return false;
}

/* ---- FILESIZE, STAT, WHERE ---- */

struct look {
    struct packet_request *request;
    struct meta_find find;
};

static void reply_size(struct packet_request *request, const struct meta_row *row)
{
    uint8_t body[PROTO_VALUE_SIZE];
    if (row->stat.status == PROTO_FILE_DELETED) {
        packet_reply_error(request, ERROR_NOT_FOUND, "file %s is deleted", row->file);
        return;
    }
    proto_value_pack(body, row->stat.size);
    packet_reply(request, body, sizeof(body));
}

/* The row as clients get it: with its group, and without texts that cannot be read (somebody else wrote them
 * into the row). */
static bool presentable_stat(struct packet_request *request, const struct meta_row *row,
                             struct proto_stat *stat, struct error *error)
{
    uint8_t body[PROTO_STAT_REPLY_SIZE];
    *stat = row->stat;
    if (stat->group[0] == '\0') {
        const char *group = storage_of(request)->config->group;
        memcpy(stat->group, group, strlen(group) + 1);
    }
    if (proto_stat_reply_pack(body, stat, error))
        return true;
    log_warning(ROOM, "file %s: name and content type of its row are left out: %s", row->file, error->text);
    stat->name[0] = stat->content_type[0] = '\0';
    return proto_stat_reply_pack(body, stat, error);
}

static void reply_stat(struct packet_request *request, const struct meta_row *row)
{
    uint8_t body[PROTO_STAT_REPLY_SIZE];
    struct proto_stat stat;
    struct error error = {0};
    if (!presentable_stat(request, row, &stat, &error) || !proto_stat_reply_pack(body, &stat, &error))
        packet_reply_failure(request, &error);
    else
        packet_reply(request, body, sizeof(body));
}

static void reply_where(struct packet_request *request, const struct meta_row *row)
{
    uint8_t body[PROTO_WHERE_REPLY_SIZE];
    struct proto_where where = {0};
    struct error error = {0};
    struct path place;
    if (row->stat.status == PROTO_FILE_DELETED) {
        packet_reply_error(request, ERROR_NOT_FOUND, "file %s is deleted", row->file);
        return;
    }
    const struct store_path *path = store_find(storage_of(request)->store, row->file_path, &place, &error);
    if (path && presentable_stat(request, row, &where.stat, &error)) {
        const char *key = store_path_key(path);
        memcpy(where.key, key, strlen(key) + 1);
        if (!path_format(&place, where.place))
            error_set(&error, ERROR_IO, "the row of file %s has no place", row->file);
        else if (proto_where_reply_pack(body, &where, &error)) {
            packet_reply(request, body, sizeof(body));
            return;
        }
    }
    packet_reply_failure(request, &error);
}

static void reply_described(struct packet_request *request, const struct meta_row *row)
{
    if (request->command == PROTO_STORAGE_STAT)
        reply_stat(request, row);
    else
        reply_where(request, row);
}

static void reply_row(struct packet_request *request, const struct proto_file_key *key,
                      const struct meta_row *row)
{
    struct error error = {0};
    if (!meta_row_ours(storage_of(request)->meta, row, &error) || !meta_row_sound(row, &error))
        packet_reply_failure(request, &error);
    else if (row->stat.size < 0)
        packet_reply_error(request, ERROR_IO, "the row of file %s has no size", row->file);
    else if (request->command == PROTO_STORAGE_FILESIZE)
        reply_size(request, row);
    else if (!type_look_start(request, key, row, reply_described))
        reply_described(request, row);
}

static void look_found(struct meta_find *find)
{
    struct look *look = CONTAINER_OF(find, struct look, find);
    if (find->result == META_DONE)
        reply_row(look->request, &find->key, &find->row);
    else if (find->result == META_ABSENT)
        absent_reply(look->request, &find->key);
    else
        packet_reply_failure(look->request, &find->error);
    free(look);
}

static void look_start(struct packet_request *request, bool texts)
{
    struct storage *storage = storage_of(request);
    struct proto_file_key key;
    struct meta_row row;
    struct error error = {0};
    if (!commands_take_key(request, &key))
        return;
    if (meta_find_cached(storage->meta, &key, &row) && (row.has_texts || !texts)) {
        reply_row(request, &key, &row);
        return;
    }
    struct look *look = calloc(1, sizeof(*look));
    if (!look) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    look->request = request;
    look->find.key = key;
    look->find.loop = request->loop;
    look->find.done = look_found;
    look->find.stale_fine = true;
    if (!meta_find(storage->meta, &look->find, &error)) {
        packet_reply_failure(request, &error);
        free(look);
    }
}

static void commands_handle_filesize(struct packet_request *request)
{
    look_start(request, false);
}

static void commands_handle_stat(struct packet_request *request)
{
    look_start(request, true);
}

static void commands_handle_where(struct packet_request *request)
{
    look_start(request, true);
}

/* ---- DELETE, RESTORE ---- */

struct change {
    struct packet_request *request;
    struct meta_change change;
};

static void on_changed(struct meta_change *meta)
{
    struct change *change = CONTAINER_OF(meta, struct change, change);
    struct packet_request *request = change->request;
    struct storage *storage = storage_of(request);
    bool deleting = meta->status == PROTO_FILE_DELETED;
    switch (meta->outcome) {
    case META_CHANGED:
        if (deleting && meta->row.path)
            open_cache_forget(storage->open_cache, meta->row.path, &meta->row.place);
        if (deleting)
            CRASH_POINT("delete-before-reply");
        else
            CRASH_POINT("restore-before-reply");
        packet_reply(request, NULL, 0);
        break;
    case META_ALREADY:
        if (deleting)
            packet_reply_error(request, ERROR_NOT_FOUND, "file %s is deleted already", meta->key.file);
        else
            packet_reply(request, NULL, 0);
        break;
    case META_NO_ROW:
        absent_reply(request, &meta->key);
        break;
    case META_FOREIGN:
    case META_UNCHANGED:
        packet_reply_failure(request, &meta->error);
        break;
    }
    free(change);
}

static void start_change(struct packet_request *request, enum proto_file_status status)
{
    struct proto_file_key key;
    struct error error = {0};
    if (!commands_take_key(request, &key))
        return;
    struct change *change = calloc(1, sizeof(*change));
    if (!change) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    change->request = request;
    change->change.key = key;
    change->change.status = status;
    change->change.loop = request->loop;
    change->change.done = on_changed;
    if (!meta_change(storage_of(request)->meta, &change->change, &error)) {
        packet_reply_failure(request, &error);
        free(change);
    }
}

static void commands_handle_delete(struct packet_request *request)
{
    start_change(request, PROTO_FILE_DELETED);
}

static void commands_handle_restore(struct packet_request *request)
{
    start_change(request, PROTO_FILE_NORMAL);
}

/* ---- RENAME, EXPIRE ---- */

struct editing {
    struct packet_request *request;
    struct meta_edit edit;
};

static void reply_edited(struct packet_request *request, const struct meta_edit *edit)
{
    uint8_t body[PROTO_VALUE_SIZE];
    if (edit->kind == META_EDIT_NAME) {
        packet_reply(request, NULL, 0);
        return;
    }
    proto_value_pack(body, edit->wanted);
    packet_reply(request, body, sizeof(body));
}

static void on_edited(struct meta_edit *meta)
{
    struct editing *editing = CONTAINER_OF(meta, struct editing, edit);
    switch (meta->result) {
    case META_DONE:
        CRASH_POINT("rename-before-reply");
        reply_edited(editing->request, meta);
        break;
    case META_ABSENT:
        absent_reply(editing->request, &meta->key);
        break;
    case META_FAILED:
        packet_reply_failure(editing->request, &meta->error);
        break;
    }
    free(editing);
}

static void start_edit(struct packet_request *request, const struct meta_edit *edit)
{
    struct storage *storage = storage_of(request);
    struct error error = {0};
    if (!applications_check(storage->applications, edit->key.application, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct editing *editing = calloc(1, sizeof(*editing));
    if (!editing) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    editing->request = request;
    editing->edit = *edit;
    editing->edit.loop = request->loop;
    editing->edit.done = on_edited;
    if (!meta_edit(storage->meta, &editing->edit, &error)) {
        packet_reply_failure(request, &error);
        free(editing);
    }
}

static void commands_handle_rename(struct packet_request *request)
{
    struct proto_rename asked;
    struct error error = {0};
    if (!proto_rename_unpack(request->head, request->head_size, &asked, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct meta_edit edit = {.key = asked.key, .kind = META_EDIT_NAME};
    memcpy(edit.name, asked.name, sizeof(edit.name));
    start_edit(request, &edit);
}

static void commands_handle_expire(struct packet_request *request)
{
    struct proto_expire asked;
    struct error error = {0};
    if (!proto_expire_unpack(request->head, request->head_size, &asked, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    const struct meta_edit edit = {
        .key = asked.key, .kind = META_EDIT_EXPIRES, .expires = asked.change ? asked.expires : 0};
    start_edit(request, &edit);
}

/* ---- LIST ---- */

struct listing {
    struct packet_request *request;
    struct meta_list list;
};

static bool pack_entry(uint8_t *body, struct proto_list_entry *entry)
{
    struct error error = {0};
    if (proto_list_entry_pack(body, entry, &error))
        return true;
    log_warning(ROOM, "file %s: name and content type of its row are left out: %s", entry->file, error.text);
    entry->stat.name[0] = entry->stat.content_type[0] = '\0';
    return proto_list_entry_pack(body, entry, &error);
}

static void reply_list(struct packet_request *request, struct meta_list *list)
{
    uint8_t *body = malloc(list->count * PROTO_LIST_ENTRY_SIZE + 1);
    size_t size = 0;
    if (!body) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a list");
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (pack_entry(body + size, &list->entries[i]))
            size += PROTO_LIST_ENTRY_SIZE;
    }
    packet_reply_take(request, body, size);
}

static void on_listed(struct meta_list *list)
{
    struct listing *listing = CONTAINER_OF(list, struct listing, list);
    if (list->result == META_DONE)
        reply_list(listing->request, list);
    else
        packet_reply_failure(listing->request, &list->error);
    free(list->entries);
    free(listing);
}

static void commands_handle_list(struct packet_request *request)
{
    struct proto_list asked;
    struct error error = {0};
    if (!proto_list_unpack(request->head, request->head_size, &asked, &error) ||
        !applications_check(storage_of(request)->applications, asked.key.application, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct listing *listing = calloc(1, sizeof(*listing));
    if (!listing) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    listing->request = request;
    listing->list.list = asked;
    listing->list.loop = request->loop;
    listing->list.done = on_listed;
    if (!meta_list(storage_of(request)->meta, &listing->list, &error)) {
        packet_reply_failure(request, &error);
        free(listing);
    }
}

/* ---- the dispatch table ---- */

/* UPLOAD and PUT may carry any content: the length of their body is bounded by its own field. */
const struct packet_command storage_commands[] = {
    {PROTO_STORAGE_UPLOAD, "upload", PROTO_UPLOAD_SIZE, INT64_MAX, PROTO_UPLOAD_SIZE, upload_handle_upload},
    {PROTO_STORAGE_FILESIZE, "filesize", PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, 0,
     commands_handle_filesize},
    {PROTO_STORAGE_DOWNLOAD, "download", PROTO_DOWNLOAD_SIZE, PROTO_DOWNLOAD_SIZE, 0, download_handle},
    {PROTO_STORAGE_READ, "read", PROTO_READ_SIZE, PROTO_READ_SIZE, 0, download_handle},
    {PROTO_STORAGE_DELETE, "delete", PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, 0, commands_handle_delete},
    {PROTO_STORAGE_STAT, "stat", PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, 0, commands_handle_stat},
    {PROTO_STORAGE_RESTORE, "restore", PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, 0, commands_handle_restore},
    {PROTO_STORAGE_LIST, "list", PROTO_LIST_SIZE, PROTO_LIST_SIZE, 0, commands_handle_list},
    {PROTO_STORAGE_PUT, "put", PROTO_PUT_SIZE, INT64_MAX, PROTO_PUT_SIZE, upload_handle_put},
    {PROTO_STORAGE_STORE, "store", PROTO_STORE_SIZE, INT64_MAX, PROTO_STORE_SIZE, upload_handle_store},
    {PROTO_STORAGE_PUT_TRAILER, "put_trailer", PROTO_PUT_SIZE + PROTO_DIGEST_SIZE, INT64_MAX, PROTO_PUT_SIZE,
     upload_handle_put_trailer},
    {PROTO_STORAGE_WHERE, "where", PROTO_FILE_KEY_SIZE, PROTO_FILE_KEY_SIZE, 0, commands_handle_where},
    {PROTO_STORAGE_RENAME, "rename", PROTO_RENAME_SIZE, PROTO_RENAME_SIZE, 0, commands_handle_rename},
    {PROTO_STORAGE_EXPIRE, "expire", PROTO_EXPIRE_SIZE, PROTO_EXPIRE_SIZE, 0, commands_handle_expire},
    {PROTO_STORAGE_MOVE, "move", PROTO_PUT_SIZE + PROTO_DIGEST_SIZE, INT64_MAX, PROTO_PUT_SIZE,
     upload_handle_move},
    {PROTO_STORAGE_FETCH, "fetch", PROTO_DOWNLOAD_SIZE, PROTO_DOWNLOAD_SIZE, 0, download_handle},
    {PROTO_STORAGE_LEFT, "left", PROTO_LEFT_SIZE, PROTO_LEFT_SIZE, 0, left_handle},
    {PROTO_STORAGE_QUOTA, "quota", PROTO_QUOTA_SIZE, PROTO_QUOTA_SIZE, 0, quota_request_handle_ask},
    {PROTO_STORAGE_SET_QUOTA, "set_quota", PROTO_SET_QUOTA_SIZE, PROTO_SET_QUOTA_SIZE, 0,
     quota_request_handle_set},
    {PROTO_STORAGE_QUOTAS, "quotas", PROTO_QUOTAS_SIZE, PROTO_QUOTAS_SIZE, 0, quotas_handle},
    {PROTO_STORAGE_FSCK, "fsck", PROTO_FSCK_SIZE, PROTO_FSCK_SIZE, 0, fsck_handle},
    {PROTO_STORAGE_BEGIN, "begin", PROTO_BEGIN_SIZE, PROTO_BEGIN_SIZE, 0, partial_handle_begin},
    {PROTO_STORAGE_APPEND, "append", PROTO_APPEND_SIZE, INT64_MAX, PROTO_APPEND_SIZE, partial_handle_append},
    {PROTO_STORAGE_OFFSET, "offset", PROTO_PARTIAL_SIZE, PROTO_PARTIAL_SIZE, 0, partial_handle_offset},
    {PROTO_STORAGE_FINISH, "finish", PROTO_FINISH_SIZE, PROTO_FINISH_SIZE, 0, partial_handle_finish},
    {PROTO_STORAGE_ABORT, "abort", PROTO_PARTIAL_SIZE, PROTO_PARTIAL_SIZE, 0, partial_handle_abort},
    {PROTO_STORAGE_JOIN_PARTS, "join_parts", PROTO_FINISH_SIZE + PROTO_PARTIAL_TOKEN_SIZE,
     PROTO_JOIN_PARTS_MAX, 0, partial_handle_join_parts},
};
const size_t storage_command_count = ARRAY_SIZE(storage_commands);
