/*
 * quotas: one database job per page.
 */
#include "storage/request/quotas.h"

#include "storage/rows/quota.h"
#include "storage/storage.h"

#include <stdlib.h>

struct quotas {
    struct db_job job;
    struct packet_request *request;
    struct proto_users_entry after;
    struct quota_list list;
};

static enum db_result quotas_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct quotas *quotas = CONTAINER_OF(job, struct quotas, job);
    return quota_list(storage_of(quotas->request)->meta, connection, &quotas->after, &quotas->list, error);
}

/* A user whom the protocol cannot name makes the page shorter, and does not end it: the client continues after the last one. */
static void quotas_reply(struct quotas *quotas)
{
    uint8_t *body = malloc(PROTO_QUOTAS_MAX * PROTO_QUOTAS_ENTRY_SIZE);
    size_t size = 0;
    struct error error = {0};
    if (!body) {
        packet_reply_error(quotas->request, ERROR_UNAVAILABLE, "no memory for a reply");
        return;
    }
    for (size_t i = 0; i < quotas->list.count; i++) {
        if (proto_quotas_entry_pack(body + size, &quotas->list.entries[i], &error))
            size += PROTO_QUOTAS_ENTRY_SIZE;
    }
    packet_reply_take(quotas->request, body, size);
}

static void quotas_done(struct db_job *job)
{
    struct quotas *quotas = CONTAINER_OF(job, struct quotas, job);
    if (job->result == DB_OK)
        quotas_reply(quotas);
    else
        packet_reply_error(quotas->request, db_error_code(job->result), "the database failed: %s",
                           job->error.text);
    free(quotas);
}

void quotas_handle(struct packet_request *request)
{
    struct error error = {0};
    struct quotas *quotas = calloc(1, sizeof(*quotas));
    if (!quotas) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a request");
        return;
    }
    quotas->request = request;
    quotas->job =
        (struct db_job){.run = quotas_run, .done = quotas_done, .loop = request->loop, .idempotent = true};
    if (!proto_quotas_unpack(request->head, request->head_size, &quotas->after, &error) ||
        !meta_run(storage_of(request)->meta, &quotas->job, &error)) {
        packet_reply_failure(request, &error);
        free(quotas);
    }
}
