/*
 * reel_query: the calls of reel.h that move no content: a question to a storage server or a tracker, and its
 * answer.
 */
#include "client/library/reel_internal.h"

#include "common/proto/digest.h"

#include <stdlib.h>
#include <string.h>

#define LIST_PAGE_SIZE PROTO_LIST_LIMIT_MAX

/* ---- STAT, DELETE, RESTORE ---- */

struct key_wait {
    struct reel_wait wait;
    struct proto_file_key key;
    struct proto_stat *stat;
};

static void stat_done(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct key_wait *wait = argument;

    if (stat)
        *wait->stat = *stat;
    reel_wait_finish(&wait->wait, error);
}

static void key_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct key_wait *)argument)->wait, error);
}

static void stat_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_stat(wait->reel->client, &key->key, stat_done, key));
}

static void delete_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_delete(wait->reel->client, &key->key, key_done, key));
}

static void restore_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_restore(wait->reel->client, &key->key, key_done, key));
}

static bool key_call(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                     void (*start)(struct reel_wait *wait), struct error *error)
{
    struct key_wait wait;

    reel_wait_init(&wait.wait, reel, start);
    wait.key = *key;
    wait.stat = stat;
    return reel_wait_run(&wait.wait, error);
}

bool reel_stat_key(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                   struct error *error)
{
    return key_call(reel, key, stat, stat_start, error);
}

static void to_file(const char *id, const struct proto_stat *stat, struct reel_file *file)
{
    memset(file, 0, sizeof(*file));
    memcpy(file->file, id, sizeof(file->file));
    file->size = stat->size;
    file->deleted = stat->status == PROTO_FILE_DELETED;
    file->created_time = stat->created;
    file->deleted_time = stat->deleted;
    if (stat->has_digest)
        digest_to_hex(stat->digest, file->digest);
    memcpy(file->content_type, stat->content_type, sizeof(file->content_type));
    memcpy(file->name, stat->name, sizeof(file->name));
    memcpy(file->group, stat->group, sizeof(file->group));
    file->expires_time = stat->expires;
}

bool reel_stat(struct reel *reel, const struct reel_key *key, struct reel_file *file,
               struct reel_error *error)
{
    struct proto_file_key full;
    struct proto_stat stat;
    struct error why;

    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, false, &full, &why) ||
        !reel_stat_key(reel, &full, &stat, &why))
        return reel_fail(error, &why);
    to_file(full.file, &stat, file);
    return true;
}

bool reel_size(struct reel *reel, const struct reel_key *key, int64_t *size, struct reel_error *error)
{
    struct reel_file file = {0};

    if (!reel_stat(reel, key, &file, error))
        return false;
    if (file.deleted) {
        struct error why;

        (void)error_set(&why, ERROR_DELETED, "file %s is deleted", file.file);
        return reel_fail(error, &why);
    }
    *size = file.size;
    return true;
}

/* Servers have one number for what is not there and what is deleted. */
static void delete_explain(struct reel *reel, const struct proto_file_key *key, struct error *why)
{
    struct proto_stat stat;
    struct error ignored;

    if (why->code == ERROR_NOT_FOUND && reel_stat_key(reel, key, &stat, &ignored) &&
        stat.status == PROTO_FILE_DELETED)
        (void)error_set(why, ERROR_DELETED, "file %s is deleted already", key->file);
}

bool reel_delete(struct reel *reel, const struct reel_key *key, struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;

    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, false, &full, &why))
        return reel_fail(error, &why);
    if (key_call(reel, &full, NULL, delete_start, &why))
        return true;
    delete_explain(reel, &full, &why);
    return reel_fail(error, &why);
}

bool reel_restore(struct reel *reel, const struct reel_key *key, struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;

    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, false, &full, &why) ||
        !key_call(reel, &full, NULL, restore_start, &why))
        return reel_fail(error, &why);
    return true;
}

/* ---- RENAME ---- */

struct rename_wait {
    struct reel_wait wait;
    struct proto_rename rename;
};

static void rename_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct rename_wait *)argument)->wait, error);
}

static void rename_start(struct reel_wait *wait)
{
    struct rename_wait *rename = CONTAINER_OF(wait, struct rename_wait, wait);

    reel_wait_started(wait, client_rename(wait->reel->client, &rename->rename, rename_done, rename));
}

bool reel_rename(struct reel *reel, const struct reel_key *key, const char *name, struct reel_error *error)
{
    struct rename_wait wait = {0};
    struct error why;
    size_t length = strlen(name);

    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, false, &wait.rename.key, &why))
        return reel_fail(error, &why);
    if (length >= sizeof(wait.rename.name)) {
        (void)error_set(&why, ERROR_MALFORMED, "name: %zu bytes; at most %zu expected", length,
                        sizeof(wait.rename.name) - 1);
        (void)error_of_argument(&why);
        return reel_fail(error, &why);
    }
    memcpy(wait.rename.name, name, length);
    reel_wait_init(&wait.wait, reel, rename_start);
    return reel_wait_run(&wait.wait, &why) || reel_fail(error, &why);
}

/* ---- EXPIRE ---- */

struct expire_wait {
    struct reel_wait wait;
    struct proto_expire expire;
    int64_t time;
};

static void expire_done(void *argument, int64_t expires, const struct error *error)
{
    struct expire_wait *wait = argument;

    wait->time = expires;
    reel_wait_finish(&wait->wait, error);
}

static void expire_start(struct reel_wait *wait)
{
    struct expire_wait *expire = CONTAINER_OF(wait, struct expire_wait, wait);

    reel_wait_started(wait, client_expire(wait->reel->client, &expire->expire, expire_done, expire));
}

bool reel_expire_key(struct reel *reel, const struct proto_file_key *key, int64_t expires, int64_t *time,
                     struct error *error)
{
    struct expire_wait wait = {.expire = {.key = *key, .change = expires != 0, .expires = expires}};

    reel_wait_init(&wait.wait, reel, expire_start);
    if (!reel_wait_run(&wait.wait, error))
        return false;
    if (time)
        *time = wait.time;
    return true;
}

bool reel_expire(struct reel *reel, const struct reel_key *key, int64_t expires, int64_t *time,
                 struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;

    return (reel_usable(reel, &why) && reel_fill_key(reel, key, false, &full, &why) &&
            reel_expire_key(reel, &full, expires, time, &why)) ||
           reel_fail(error, &why);
}

/* ---- LIST ---- */

struct list_wait {
    struct reel_wait wait;
    struct proto_list list;
    struct proto_list_entry *entries; /* room for a page */
    size_t count;
};

static void query_list_done(void *argument, const struct proto_list_entry *entries, size_t count,
                            const struct error *error)
{
    struct list_wait *list = argument;

    list->count = count;
    if (count > 0)
        memcpy(list->entries, entries, count * sizeof(*entries));
    reel_wait_finish(&list->wait, error);
}

static void list_start(struct reel_wait *wait)
{
    struct list_wait *list = CONTAINER_OF(wait, struct list_wait, wait);

    reel_wait_started(wait, client_list(wait->reel->client, &list->list, query_list_done, list));
}

/* One page into LIST->entries. */
static bool list_page(struct reel *reel, struct list_wait *list, struct error *error)
{
    reel_wait_init(&list->wait, reel, list_start);
    return reel_wait_run(&list->wait, error);
}

bool reel_list(struct reel *reel, const struct reel_key *key, bool deleted, reel_each each, void *argument,
               struct reel_error *error)
{
    struct list_wait list = {0};
    struct reel_file file;
    struct error why;
    bool fine = false, more = true;

    list.entries = calloc(LIST_PAGE_SIZE, sizeof(*list.entries));
    if (!list.entries) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a list");
        return reel_fail(error, &why);
    }
    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, true, &list.list.key, &why))
        goto done;
    list.list.limit = LIST_PAGE_SIZE;
    list.list.status = deleted ? PROTO_FILE_DELETED : PROTO_FILE_NORMAL;
    while (more) {
        if (!list_page(reel, &list, &why))
            goto done;
        for (size_t i = 0; more && i < list.count; i++) {
            to_file(list.entries[i].file, &list.entries[i].stat, &file);
            more = each(argument, &file);
        }
        if (list.count < LIST_PAGE_SIZE)
            break;
        memcpy(list.list.key.file, list.entries[list.count - 1].file, sizeof(list.list.key.file));
    }
    fine = true;
done:
    free(list.entries);
    return fine || reel_fail(error, &why);
}

/* ---- GROUPS, STATUS ---- */

struct text_wait {
    struct reel_wait wait;
    char *text;
};

static void text_done(void *argument, const char *text, size_t size, const struct error *error)
{
    struct text_wait *wait = argument;
    struct error no_memory;

    if (!error) {
        wait->text = malloc(size + 1);
        if (wait->text) {
            memcpy(wait->text, text, size + 1);
        } else {
            (void)error_set(&no_memory, ERROR_UNAVAILABLE, "no memory for a text of %zu bytes", size);
            error = &no_memory;
        }
    }
    reel_wait_finish(&wait->wait, error);
}

static void groups_start(struct reel_wait *wait)
{
    reel_wait_started(
        wait, client_groups(wait->reel->client, text_done, CONTAINER_OF(wait, struct text_wait, wait)));
}

static void status_start(struct reel_wait *wait)
{
    reel_wait_started(
        wait, client_status(wait->reel->client, text_done, CONTAINER_OF(wait, struct text_wait, wait)));
}

static void whoami_start(struct reel_wait *wait)
{
    reel_wait_started(
        wait, client_whoami(wait->reel->client, text_done, CONTAINER_OF(wait, struct text_wait, wait)));
}

/* Runs WAIT, which is filled but for its wait. The text, or NULL. */
static char *text_run(struct reel *reel, struct text_wait *wait, void (*start)(struct reel_wait *wait),
                      struct reel_error *error)
{
    struct error why;

    if (!reel_usable(reel, &why)) {
        (void)reel_fail(error, &why);
        return NULL;
    }
    reel_wait_init(&wait->wait, reel, start);
    if (!reel_wait_run(&wait->wait, &why))
        (void)reel_fail(error, &why);
    return wait->text;
}

static char *text_call(struct reel *reel, void (*start)(struct reel_wait *wait), struct reel_error *error)
{
    struct text_wait wait = {.text = NULL};

    return text_run(reel, &wait, start, error);
}

struct fsck_wait {
    struct text_wait text;
    struct proto_file_key key;
    enum reel_fsck_action action;
};

static void fsck_start(struct reel_wait *wait)
{
    struct text_wait *text = CONTAINER_OF(wait, struct text_wait, wait);
    struct fsck_wait *fsck = CONTAINER_OF(text, struct fsck_wait, text);

    reel_wait_started(wait, client_fsck(wait->reel->client, &fsck->key, (enum proto_fsck_action)fsck->action,
                                        text_done, text));
}

char *reel_fsck(struct reel *reel, const struct reel_key *key, enum reel_fsck_action action,
                struct reel_error *error)
{
    static const struct reel_key none = {0};
    struct fsck_wait wait = {.action = action};
    struct error why;

    if (!reel_fill_key(reel, key ? key : &none, true, &wait.key, &why)) {
        (void)reel_fail(error, &why);
        return NULL;
    }
    return text_run(reel, &wait.text, fsck_start, error);
}

char *reel_groups(struct reel *reel, struct reel_error *error)
{
    return text_call(reel, groups_start, error);
}

char *reel_status(struct reel *reel, struct reel_error *error)
{
    return text_call(reel, status_start, error);
}

char *reel_whoami(struct reel *reel, struct reel_error *error)
{
    return text_call(reel, whoami_start, error);
}

/* ---- GROUP ---- */

struct group_wait {
    struct text_wait text;
    struct proto_group change;
};

static void group_start(struct reel_wait *wait)
{
    struct text_wait *text = CONTAINER_OF(wait, struct text_wait, wait);
    struct group_wait *group = CONTAINER_OF(text, struct group_wait, text);

    reel_wait_started(wait, client_group(wait->reel->client, &group->change, text_done, text));
}

bool reel_change_group(struct reel *reel, const char *group, enum reel_group_change change, int weight,
                       struct reel_error *error)
{
    struct group_wait wait = {.change = {.change = (uint8_t)change, .weight = weight}};
    struct error why;
    char *text;

    if (strlen(group) >= sizeof(wait.change.group)) {
        (void)error_set(&why, ERROR_MALFORMED, "group: \"%s\" is longer than %zu letters and digits", group,
                        sizeof(wait.change.group) - 1);
        (void)error_of_argument(&why);
        return reel_fail(error, &why);
    }
    memcpy(wait.change.group, group, strlen(group));
    text = text_run(reel, &wait.text, group_start, error);
    bool removed = text != NULL;
    free(text);
    return removed;
}
