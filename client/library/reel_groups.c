/*
 * reel_groups: the calls of reel.h by which users move from one group to another: who belongs to a group, that somebody
 * belongs to another one, and what a group still has.
 */
#include "client/library/reel_internal.h"

#include <stdlib.h>
#include <string.h>

/* A question whose answer is bytes. */
struct bytes_wait {
    struct reel_wait wait;
    uint8_t *bytes; /* owned */
    size_t size;
    union {
        struct proto_users users;
        struct proto_reroute reroute;
        struct proto_left left;
        struct proto_users_entry quotas;
    } asked;
};

static void bytes_done(void *argument, const char *text, size_t size, const struct error *error)
{
    struct bytes_wait *wait = argument;
    struct error no_memory;

    free(wait->bytes);
    wait->bytes = NULL;
    wait->size = size;
    if (!error) {
        wait->bytes = malloc(size + 1);
        if (wait->bytes) {
            memcpy(wait->bytes, text, size + 1);
        } else {
            (void)error_set(&no_memory, ERROR_UNAVAILABLE, "no memory for %zu bytes", size);
            error = &no_memory;
        }
    }
    reel_wait_finish(&wait->wait, error);
}

static void users_start(struct reel_wait *wait)
{
    struct bytes_wait *bytes = CONTAINER_OF(wait, struct bytes_wait, wait);

    reel_wait_started(wait, client_users(wait->reel->client, &bytes->asked.users, bytes_done, bytes));
}

static void reroute_start(struct reel_wait *wait)
{
    struct bytes_wait *bytes = CONTAINER_OF(wait, struct bytes_wait, wait);

    reel_wait_started(wait, client_reroute(wait->reel->client, &bytes->asked.reroute, bytes_done, bytes));
}

static void left_start(struct reel_wait *wait)
{
    struct bytes_wait *bytes = CONTAINER_OF(wait, struct bytes_wait, wait);

    reel_wait_started(wait, client_left(wait->reel->client, &bytes->asked.left, bytes_done, bytes));
}

static void quotas_start(struct reel_wait *wait)
{
    struct bytes_wait *bytes = CONTAINER_OF(wait, struct bytes_wait, wait);

    reel_wait_started(wait, client_quotas(wait->reel->client, &bytes->asked.quotas, bytes_done, bytes));
}

static bool bytes_ask(struct reel *reel, struct bytes_wait *wait, void (*start)(struct reel_wait *wait),
                      struct error *error)
{
    if (!reel_usable(reel, error))
        return false;
    reel_wait_init(&wait->wait, reel, start);
    return reel_wait_run(&wait->wait, error);
}

/* ---- USERS ---- */

/* Gives out a page. *MORE: another one follows, behind asked.users.after. */
static bool users_page(struct bytes_wait *wait, reel_each_user each, void *argument, bool *more,
                       struct error *error)
{
    struct proto_users_entry entry;
    size_t count = wait->size / PROTO_USERS_ENTRY_SIZE;

    *more = count == (size_t)wait->asked.users.limit;
    if (wait->size % PROTO_USERS_ENTRY_SIZE != 0)
        return error_set(error, ERROR_MALFORMED, "%zu bytes are not a list of users", wait->size);
    for (size_t i = 0; i < count; i++) {
        if (!proto_users_entry_unpack(wait->bytes + i * PROTO_USERS_ENTRY_SIZE, PROTO_USERS_ENTRY_SIZE,
                                      &entry, error))
            return false;
        if (entry.number <= wait->asked.users.after)
            return error_set(error, ERROR_MALFORMED, "the list of users does not advance");
        wait->asked.users.after = entry.number;
        if (!each(argument, entry.application, entry.user)) {
            *more = false;
            break;
        }
    }
    return true;
}

bool reel_group_users(struct reel *reel, const char *group, reel_each_user each, void *argument,
                      struct reel_error *error)
{
    struct bytes_wait wait = {.asked.users = {.limit = PROTO_USERS_LIMIT_MAX}};
    struct error why;
    bool more = true,
         fine = reel_copy_text(wait.asked.users.group, sizeof(wait.asked.users.group), "group", group, &why);

    while (fine && more)
        fine = bytes_ask(reel, &wait, users_start, &why) && users_page(&wait, each, argument, &more, &why);
    free(wait.bytes);
    return fine || reel_fail(error, &why);
}

/* ---- REROUTE ---- */

bool reel_move_user(struct reel *reel, const char *application, const char *user, const char *from,
                    const char *to, char group[REEL_GROUP_SIZE], struct reel_error *error)
{
    struct bytes_wait wait = {.bytes = NULL};
    struct proto_reroute *asked = &wait.asked.reroute;
    struct error why;
    bool fine =
        reel_copy_text(asked->application, sizeof(asked->application), "application", application, &why) &&
        reel_copy_text(asked->user, sizeof(asked->user), "user ID", user, &why) &&
        reel_copy_text(asked->from, sizeof(asked->from), "group", from, &why) &&
        reel_copy_text(asked->to, sizeof(asked->to), "group", to, &why) &&
        bytes_ask(reel, &wait, reroute_start, &why) &&
        proto_group_name_unpack(wait.bytes, wait.size, group, &why);

    free(wait.bytes);
    return fine || reel_fail(error, &why);
}

/* ---- LEFT ---- */

static bool left_page(struct bytes_wait *wait, reel_each_user each, void *argument,
                      struct proto_left_head *head, bool *enough, struct error *error)
{
    const struct proto_left *asked = &wait->asked.left;
    struct proto_users_entry entry;
    size_t size = wait->size;

    if (size < PROTO_LEFT_HEAD_SIZE || (size - PROTO_LEFT_HEAD_SIZE) % PROTO_LEFT_ENTRY_SIZE != 0)
        return error_set(error, ERROR_MALFORMED, "%zu bytes are not an answer to LEFT", size);
    if (!proto_left_head_unpack(wait->bytes, PROTO_LEFT_HEAD_SIZE, head, error))
        return false;
    if (head->next.table < asked->table ||
        (head->next.table == asked->table && head->next.after <= asked->after))
        return error_set(error, ERROR_MALFORMED, "the answers to LEFT do not advance");
    for (size_t at = PROTO_LEFT_HEAD_SIZE; at < size && !*enough; at += PROTO_LEFT_ENTRY_SIZE) {
        if (!proto_left_entry_unpack(wait->bytes + at, PROTO_LEFT_ENTRY_SIZE, &entry, error))
            return false;
        *enough = !each(argument, entry.application, entry.user);
    }
    return true;
}

bool reel_group_left(struct reel *reel, reel_each_user each, void *argument, int64_t *files, int64_t *former,
                     struct reel_error *error)
{
    struct bytes_wait wait = {.bytes = NULL};
    struct proto_left *asked = &wait.asked.left;
    struct proto_left_head head = {0};
    struct error why = {0};
    bool fine = true, enough = false;

    *files = *former = 0;
    while (fine && !enough && asked->table < PROTO_LEFT_TABLES) {
        fine = bytes_ask(reel, &wait, left_start, &why) &&
               left_page(&wait, each, argument, &head, &enough, &why);
        if (!fine)
            break;
        *files += head.rows;
        *former += head.former;
        *asked = head.next;
    }
    free(wait.bytes);
    return fine || reel_fail(error, &why);
}

/* ---- QUOTAS ---- */

static bool is_behind(const struct proto_users_entry *one, const struct proto_users_entry *other)
{
    int users = strcmp(one->user, other->user);

    return users > 0 || (users == 0 && strcmp(one->application, other->application) > 0);
}

/* Gives out a page. *MORE: another one follows, behind asked.quotas. */
static bool quotas_page(struct bytes_wait *wait, reel_each_quota each, void *argument, bool *more,
                        struct error *error)
{
    struct proto_quotas_entry entry;

    *more = wait->size > 0;
    if (wait->size % PROTO_QUOTAS_ENTRY_SIZE != 0)
        return error_set(error, ERROR_MALFORMED, "%zu bytes are no list of quotas", wait->size);
    for (size_t at = 0; *more && at < wait->size; at += PROTO_QUOTAS_ENTRY_SIZE) {
        if (!proto_quotas_entry_unpack(wait->bytes + at, PROTO_QUOTAS_ENTRY_SIZE, &entry, error))
            return false;
        if (!is_behind(&entry.of, &wait->asked.quotas))
            return error_set(error, ERROR_MALFORMED, "the list of quotas does not go on");
        wait->asked.quotas = entry.of;
        const struct reel_quota quota = {.bytes_used = entry.quota.bytes_used,
                                         .files_used = entry.quota.files_used,
                                         .bytes = entry.quota.bytes,
                                         .files = entry.quota.files,
                                         .own_bytes = entry.quota.own_bytes,
                                         .own_files = entry.quota.own_files};
        *more = each(argument, entry.of.application, entry.of.user, &quota, entry.held);
    }
    return true;
}

bool reel_group_quotas(struct reel *reel, reel_each_quota each, void *argument, struct reel_error *error)
{
    struct bytes_wait wait = {.bytes = NULL};
    struct error why;
    bool fine = true, more = true;

    while (fine && more)
        fine = bytes_ask(reel, &wait, quotas_start, &why) && quotas_page(&wait, each, argument, &more, &why);
    free(wait.bytes);
    return fine || reel_fail(error, &why);
}
