/*
 * upload_room: whether the user's quota has room for an upload, before its content comes: asked where somebody has a quota, of contents that
 * are not sent in one go with their head. What decides is the row (storage/rows/quota.h); this only spares a transfer. On the request's
 * loop; called by storage/upload/upload.c.
 */
#include "storage/upload/upload_state.h"

#include "storage/rows/quota.h"

#include <stdlib.h>

#define SMALL 65536 /* bytes of a content that is on its way already */

struct upload_room {
    struct upload *upload;
    struct quota_job job;
    bool asks;
};

static void room_answered(struct quota_job *job)
{
    struct upload_room *room = CONTAINER_OF(job, struct upload_room, job);
    struct upload *upload = room->upload;
    room->asks = false;
    if (upload->concluded)
        upload_settle(upload);
    else if (job->fine)
        upload_advance(upload);
    else
        upload_conclude(upload, &job->error);
}

bool upload_check_room(struct upload *upload)
{
    struct meta *meta = upload->storage->meta;
    struct error error = {0};
    if (upload->room)
        return !upload->room->asks;
    if (!quota_in_use(meta) || upload->kind || upload->replaces ||
        (!upload->asks && upload->put.size <= SMALL))
        return true;
    upload_enter(upload, UPLOAD_ROOM);
    upload->room = calloc(1, sizeof(*upload->room));
    if (!upload->room) {
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for an upload");
        return false;
    }
    upload->room->upload = upload;
    upload->room->job = (struct quota_job){.key = upload->put.key,
                                           .action = QUOTA_ACTION_LOOK,
                                           .bytes = upload->put.size,
                                           .loop = upload->loop,
                                           .done = room_answered};
    upload->room->asks = quota_start(meta, &upload->room->job, &error);
    if (!upload->room->asks)
        upload_conclude(upload, &error);
    return false;
}

bool upload_room_asks(const struct upload *upload)
{
    return upload->room && upload->room->asks;
}

void upload_room_free(struct upload *upload)
{
    free(upload->room);
    upload->room = NULL;
}
