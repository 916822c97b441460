/*
 * commit: the syncs of one file and its row. Touches the file system through storage/store/store_file.c only.
 */
#include "storage/upload/commit.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"

bool commit_sync(struct store_file *file, bool unsynced, struct error *error)
{
    bool durable = store_path_durable(file->path) && !unsynced;
    bool fine = !durable || store_file_sync(file, error);
    CRASH_POINT("upload-file-synced");
    /* Closed also after a failure; the first error is the one that is reported. */
    fine = store_file_close(file, fine ? error : NULL) && fine;
    CRASH_POINT("upload-file-closed");
    fine = fine && (!durable || store_file_sync_directory(file, error));
    CRASH_POINT("upload-directory-synced");
    return fine && store_file_in_place(file, error);
}

bool commit_row(struct meta *meta, const struct store_file *file, int64_t leftover_age_ms,
                struct meta_insert *insert, struct error *error)
{
    insert->deadline_ms = file->touched_ms + leftover_age_ms / 2;
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

bool commit_took_long(const struct store_file *file, int64_t leftover_age_ms)
{
    if (file->pause_ms > leftover_age_ms / 2)
        return true;
    /* The wall clock too: a machine whose time was stopped as a whole knows of it from there alone. */
    return clock_boot_ms() - file->touched_ms > leftover_age_ms / 2 ||
           (clock_wall_us() - file->touched_wall_us) / 1000 > leftover_age_ms / 2;
}
