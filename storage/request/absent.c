/*
 * absent: see the header; over storage/admit/owners.h.
 */
#include "storage/request/absent.h"
#include "storage/storage.h"

#include <stdlib.h>

struct absent {
    struct packet_request *request;
    struct proto_file_key key;
    struct owners_waiter owner;
};

static void absent_answered(struct owners_waiter *owner)
{
    struct absent *absent = CONTAINER_OF(owner, struct absent, owner);
    struct error error = {0};
    if (owner->answer == OWNERS_OTHERS)
        owners_refuse(&absent->key, owner->group, storage_of(absent->request)->config->group, &error);
    else
        error_set(&error, ERROR_NOT_FOUND, "no file %s", absent->key.file);
    packet_reply_failure(absent->request, &error);
    free(absent);
}

void absent_reply(struct packet_request *request, const struct proto_file_key *key)
{
    struct absent *absent = calloc(1, sizeof(*absent));
    if (!absent) {
        packet_reply_error(request, ERROR_NOT_FOUND, "no file %s", key->file);
        return;
    }
    absent->request = request;
    absent->key = *key;
    absent->owner = (struct owners_waiter){.loop = request->loop, .done = absent_answered};
    if (owners_ask(storage_of(request)->owners, key, false, &absent->owner))
        absent_answered(&absent->owner);
}
