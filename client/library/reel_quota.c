/*
 * reel_quota: the calls of reel.h about quotas: a question to a storage server of the user's group, and its answer.
 */
#include "client/library/reel_internal.h"

#include <string.h>

/* NOLINTBEGIN(misc-redundant-expression): one value under two names, which is what is asserted */
_Static_assert(REEL_QUOTA_NONE == PROTO_QUOTA_NONE && REEL_QUOTA_DEFAULT == PROTO_QUOTA_DEFAULT &&
                   REEL_QUOTA_KEEP == PROTO_QUOTA_KEEP,
               "words for limits");
/* NOLINTEND(misc-redundant-expression) */

struct quota_wait {
    struct reel_wait wait;
    struct proto_set_quota set;
    struct proto_quota quota;
};

static void reel_quota_done(void *argument, const struct proto_quota *quota, const struct error *error)
{
    struct quota_wait *wait = argument;

    if (quota)
        wait->quota = *quota;
    reel_wait_finish(&wait->wait, error);
}

static void reel_quota_start(struct reel_wait *wait)
{
    struct quota_wait *quota = CONTAINER_OF(wait, struct quota_wait, wait);

    reel_wait_started(wait, client_quota(wait->reel->client, &quota->set, reel_quota_done, quota));
}

static bool quota_call(struct reel *reel, const struct reel_key *key, int64_t bytes, int64_t files,
                       struct reel_quota *quota, struct reel_error *error)
{
    struct quota_wait wait = {.set = {.bytes = bytes, .files = files}};
    struct error why;

    if (!reel_usable(reel, &why) || !reel_fill_key(reel, key, true, &wait.set.key, &why))
        return reel_fail(error, &why);
    memset(wait.set.key.file, 0, sizeof(wait.set.key.file));
    reel_wait_init(&wait.wait, reel, reel_quota_start);
    if (!reel_wait_run(&wait.wait, &why))
        return reel_fail(error, &why);
    if (quota)
        *quota = (struct reel_quota){.bytes_used = wait.quota.bytes_used,
                                     .files_used = wait.quota.files_used,
                                     .bytes = wait.quota.bytes,
                                     .files = wait.quota.files,
                                     .own_bytes = wait.quota.own_bytes,
                                     .own_files = wait.quota.own_files};
    return true;
}

bool reel_quota(struct reel *reel, const struct reel_key *key, struct reel_quota *quota,
                struct reel_error *error)
{
    return quota_call(reel, key, PROTO_QUOTA_KEEP, PROTO_QUOTA_KEEP, quota, error);
}

bool reel_set_quota(struct reel *reel, const struct reel_key *key, int64_t bytes, int64_t files,
                    struct reel_quota *quota, struct reel_error *error)
{
    return quota_call(reel, key, bytes, files, quota, error);
}
