/*
 * quota_request: one database job per request, on the request's loop.
 */
#include "storage/request/quota_request.h"

#include "storage/rows/quota.h"
#include "storage/storage.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROOM "quota"

struct quota_request {
    struct packet_request *request;
    struct quota_job job;
};

static void quota_answered(struct quota_job *job)
{
    struct quota_request *asked = CONTAINER_OF(job, struct quota_request, job);
    uint8_t body[PROTO_QUOTA_REPLY_SIZE];
    struct error error = job->error;
    if (job->fine && job->action == QUOTA_ACTION_SET)
        log_info(ROOM, "user %s in %s may have %" PRId64 " bytes and %" PRId64 " files (-1: any)",
                 job->key.user, job->key.application, job->answer.bytes, job->answer.files);
    if (job->fine && proto_quota_pack(body, &job->answer, &error))
        packet_reply(asked->request, body, sizeof(body));
    else
        packet_reply_failure(asked->request, &error);
    free(asked);
}

static void quota_ask(struct packet_request *request, const struct proto_set_quota *set,
                      enum quota_action action)
{
    struct storage *storage = storage_of(request);
    struct error error = {0};
    if (!applications_check(storage->applications, set->key.application, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct quota_request *asked = calloc(1, sizeof(*asked));
    if (!asked) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    asked->request = request;
    asked->job = (struct quota_job){.key = set->key,
                                    .action = action,
                                    .limits = {set->bytes, set->files},
                                    .loop = request->loop,
                                    .done = quota_answered};
    if (!quota_start(storage->meta, &asked->job, &error)) {
        packet_reply_failure(request, &error);
        free(asked);
    }
}

void quota_request_handle_ask(struct packet_request *request)
{
    struct proto_set_quota asked = {0};
    struct error error = {0};
    if (proto_user_key_unpack(request->head, request->head_size, &asked.key, &error))
        quota_ask(request, &asked, QUOTA_ACTION_ASK);
    else
        packet_reply_failure(request, &error);
}

void quota_request_handle_set(struct packet_request *request)
{
    struct proto_set_quota asked;
    struct error error = {0};
    if (proto_set_quota_unpack(request->head, request->head_size, &asked, &error))
        quota_ask(request, &asked, QUOTA_ACTION_SET);
    else
        packet_reply_failure(request, &error);
}
