/*
 * commit: the syncs of one file and its row. Touches the file system through storage/store/store_file.c only.
 */
#include "storage/upload/commit.h"

#include "common/base/crash_point.h"
#include "storage/store/store_file.h"

bool commit_sync(struct commit_file *file, struct error *error)
{
    bool durable = store_path_durable(file->path);
    bool fine = !durable || store_file_sync(file->path, file->fd, error);
    CRASH_POINT("upload-file-synced");
    /* Closed also after a failure; the first error is the one that is told. */
    fine = store_file_close(file->path, file->fd, fine ? error : NULL) && fine;
    file->fd = -1;
    CRASH_POINT("upload-file-closed");
    fine = fine && (!durable || store_file_sync_directory(file->path, &file->place, error));
    CRASH_POINT("upload-directory-synced");
    return fine;
}

bool commit_row(struct meta *meta, const struct commit_file *file, struct meta_insert *insert,
                struct error *error)
{
    insert->row.path = file->path;
    insert->row.place = file->place;
    insert->row.has_texts = true;
    insert->row.stat.status = PROTO_FILE_NORMAL;
    insert->row.stat.created = file->place.seconds;
    if (!store_path_format(file->path, &file->place, insert->row.file_path))
        return error_set(error, ERROR_EXHAUSTED, "number %lld is out of bounds",
                         (long long)file->place.value);
    return meta_insert(meta, insert, error);
}
