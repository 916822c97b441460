/*
 * upload_move: a MOVE: the content of a file that another group has, and that becomes this group's. It is stored like any
 * upload; then the row, which both groups share, is switched in one transaction (storage/rows/meta_move.h). The steps are
 * upload.c's; here stands what makes a move differ from an upload, on the request's loop.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"

#include <string.h>

bool upload_move_take(struct proto_put *put, char from[PROTO_GROUP_SIZE], struct error *error)
{
    if (put->has_digest)
        return error_set(error, ERROR_MALFORMED, "the digest follows the content, but the head has one too");
    if (strlen(put->name) >= PROTO_GROUP_SIZE || !proto_name_valid(put->name, PROTO_GROUP_SIZE))
        return error_set(error, ERROR_MALFORMED, "from: the name of the group that has the file is expected");
    memcpy(from, put->name, PROTO_GROUP_SIZE);
    memset(put->name, 0, sizeof(put->name));
    return true;
}

/* The second of the upload is the last but one component of the place, also in a store path that is not ours. */
static int64_t time_of_row(const struct meta_row *row)
{
    size_t length = strlen(row->file_path), size = PATH_TEXT_SIZE - 1;
    struct path place;
    return length >= size && path_parse(row->file_path + length - size, &place) ? place.seconds
                                                                                : clock_wall_seconds();
}

bool upload_move_judge(struct upload *upload)
{
    const struct meta_row *row = &upload->find.row;
    const char *file = upload->put.key.file, *ours = upload->storage->config->group;
    if (upload->find.result == META_ABSENT || row->state == META_STATE_PURGING)
        upload_refuse(upload, ERROR_NOT_FOUND,
                      "no file %s; are the rows of both groups in the same database?", file);
    else if (row->given_up)
        upload_refuse(upload, ERROR_EXISTS,
                      "file %s moved away from here a short while ago; its former copy must be purged first",
                      file);
    else if (strcmp(row->stat.group, ours) == 0)
        return true; /* it has moved already: its bytes are compared, as those of a repeated upload */
    else if (row->stat.group[0] != '\0' && strcmp(row->stat.group, upload->from) != 0)
        upload_refuse(upload, ERROR_OTHER_GROUP, "file %s belongs to group %s, not to %s", file,
                      row->stat.group, upload->from);
    else if (meta_state_is_damaged(row->state))
        upload_refuse(upload, ERROR_IO, "file %s was found missing or damaged and is kept out of service",
                      file);
    else if (row->stat.size != upload->put.size)
        upload_refuse(upload, ERROR_DIGEST, "file %s has %lld bytes", file, (long long)row->stat.size);
    else {
        upload->seconds = time_of_row(row);
        upload->replaces = true;
        return true;
    }
    return false;
}
