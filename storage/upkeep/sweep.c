/*
 * sweep: looks for files without rows in every store path and puts them into quarantine; removes what has
 * lain there long enough. Never touches a file that was written to, or made, less than leftover_age ago: a
 * transfer under way on any member writes, or is cut after progress_timeout, which is shorter. On the
 * upkeep's thread.
 */
#include "storage/store/store_scan.h"
#include "storage/upkeep/upkeep_state.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM       "sweep"
#define FILES_MAX  1024 /* of one directory: 512 numbers, and some that were stored twice */
#define ENTRY_COST 4096 /* bytes that a directory or a look counts in the scrub's rate */

struct sweep_file {
    char name[PATH_TEXT_SIZE]; /* below the store path */
    bool known;
};

struct sweep {
    struct db_job job;
    struct upkeep *upkeep;
    struct store_path *path;
    char prefix[STORE_FILE_PATH_SIZE]; /* KEY/AAA/BBB/CCC/ */
    char directory[PATH_TEXT_SIZE];
    struct sweep_file files[FILES_MAX];
    size_t count;
    int64_t now;
    int64_t quarantine_bytes;
    struct sweep_result *result;
};

/* The entries of one directory at depth 0..2 that are three digits. */
struct branches {
    char names[512][4];
    size_t count;
};

static bool on_branch(void *argument, const char *name)
{
    struct branches *branches = argument;
    if (strlen(name) == 3 && strspn(name, "0123456789ABCDEF") == 3 &&
        branches->count < ARRAY_SIZE(branches->names))
        memcpy(branches->names[branches->count++], name, 4);
    return true;
}

static bool on_file(void *argument, const char *name)
{
    struct sweep *sweep = argument;
    char text[PATH_TEXT_SIZE];
    struct path place;
    if (snprintf(text, sizeof(text), "%s/%s", sweep->directory, name) != PATH_TEXT_SIZE - 1 ||
        !path_parse(text, &place))
        return true; /* no file of ours */
    struct sweep_file *file = &sweep->files[sweep->count++];
    memcpy(file->name, text, sizeof(file->name));
    file->known = false;
    return sweep->count < FILES_MAX;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct sweep_file *)a)->name, ((const struct sweep_file *)b)->name);
}

static void on_row(void *argument, const char *file_path)
{
    struct sweep *sweep = argument;
    struct sweep_file wanted = {.known = false};
    size_t key_size = strlen(store_path_key(sweep->path)) + 1;
    if (strlen(file_path) != key_size + PATH_TEXT_SIZE - 1)
        return;
    memcpy(wanted.name, file_path + key_size, PATH_TEXT_SIZE);
    struct sweep_file *file =
        bsearch(&wanted, sweep->files, sweep->count, sizeof(sweep->files[0]), compare_files);
    if (file)
        file->known = true;
}

static enum db_result paths_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct sweep *sweep = CONTAINER_OF(job, struct sweep, job);
    for (size_t i = 0; i < sweep->count; i++)
        sweep->files[i].known = false;
    return upkeep_sql_paths(connection, sweep->prefix, on_row, sweep, error);
}

static bool ask_rows(struct sweep *sweep, struct error *error)
{
    sweep->job = (struct db_job){.run = paths_run, .idempotent = true};
    return upkeep_run(sweep->upkeep, &sweep->job, error);
}

/* True where the file is nobody's transfer any more. */
static bool old_enough(const struct sweep *sweep, const char *name, const struct store_scan_look *look)
{
    int64_t age = sweep->upkeep->config->leftover_age_ms / 1000;
    struct path place;
    bool placed = path_parse(name, &place);
    return look->found && look->regular && sweep->now - look->touched > age &&
           (!placed || sweep->now - place.seconds > age);
}

static bool quarantine(struct sweep *sweep, struct sweep_file *file, struct error *error)
{
    struct store_scan_look look;
    char held[STORE_SCAN_NAME_SIZE];
    if (!store_scan_look(sweep->path, file->name, &look, error))
        return false;
    if (!old_enough(sweep, file->name, &look)) {
        sweep->result->young += look.found ? 1 : 0;
        return true;
    }
    if (!store_scan_quarantine(sweep->path, file->name, held, error))
        return false;
    CRASH_POINT("sweep-quarantined");
    if (held[0] == '\0')
        return true;
    /* Did a row come just now, against all time-outs? Then it is right, and we were wrong. */
    if (!ask_rows(sweep, error))
        return false;
    if (file->known) {
        log_error(ROOM, "%s/%s got its row only now: it is put back", store_path_key(sweep->path),
                  file->name);
        return store_scan_give_back(sweep->path, held, file->name, error);
    }
    metric_add(sweep->upkeep->metrics.quarantined, 1);
    sweep->result->leftovers++;
    log_warning(ROOM, "%s/%s has no row: its %" PRId64 " bytes are moved to %s", store_path_key(sweep->path),
                file->name, look.size, held);
    return true;
}

static bool sweep_directory(struct sweep *sweep, struct error *error)
{
    sweep->count = 0;
    snprintf(sweep->prefix, sizeof(sweep->prefix), "%s/%s/", store_path_key(sweep->path), sweep->directory);
    if (!store_scan_read(sweep->path, sweep->directory, on_file, sweep, error))
        return false;
    if (sweep->count == 0)
        return true;
    qsort(sweep->files, sweep->count, sizeof(sweep->files[0]), compare_files);
    if (!ask_rows(sweep, error))
        return false;
    sweep->result->files += (int64_t)sweep->count;
    /* A second question about rows changes `known`: only of files that were not. */
    for (size_t i = 0; i < sweep->count; i++) {
        if (!sweep->files[i].known && !quarantine(sweep, &sweep->files[i], error))
            return false;
    }
    return true;
}

static bool sweep_branches(struct sweep *sweep, const char *directory, int depth, struct error *error)
{
    struct branches *branches = calloc(1, sizeof(*branches));
    if (!branches)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
    bool fine = store_scan_read(sweep->path, depth == 0 ? "." : directory, on_branch, branches, error);
    for (size_t i = 0; fine && i < branches->count; i++) {
        char below[PATH_TEXT_SIZE];
        snprintf(below, sizeof(below), "%s%s%s", directory, depth == 0 ? "" : "/", branches->names[i]);
        fine = upkeep_throttle(sweep->upkeep, ENTRY_COST) || error_set(error, ERROR_CANCELLED, "interrupted");
        if (fine && depth + 1 < PATH_DIRECTORY_DEPTH) {
            fine = sweep_branches(sweep, below, depth + 1, error);
        } else if (fine) {
            memcpy(sweep->directory, below, sizeof(below));
            fine = sweep_directory(sweep, error);
        }
    }
    free(branches);
    return fine;
}

/* ---- the quarantine, and trial files of daemons that died ---- */

struct names {
    char names[256][STORE_SCAN_NAME_SIZE];
    size_t count;
    const char *beginning;
};

static bool on_name(void *argument, const char *name)
{
    struct names *names = argument;
    if (strncmp(name, names->beginning, strlen(names->beginning)) == 0)
        snprintf(names->names[names->count++], STORE_SCAN_NAME_SIZE, "%s", name);
    return names->count < ARRAY_SIZE(names->names);
}

/* Removes what in DIRECTORY begins with BEGINNING and was last moved or changed longer ago than AGE seconds.
 */
static bool expire(struct sweep *sweep, const char *directory, const char *beginning, int64_t age,
                   struct metric *removed, int64_t *left_bytes, struct error *error)
{
    struct names *names = calloc(1, sizeof(*names));
    if (!names)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
    names->beginning = beginning;
    bool fine = store_scan_read(sweep->path, directory, on_name, names, error);
    for (size_t i = 0; fine && i < names->count; i++) {
        char name[2 * STORE_SCAN_NAME_SIZE];
        struct store_scan_look look;
        snprintf(name, sizeof(name), "%s/%s", directory, names->names[i]);
        fine = store_scan_look(sweep->path, name, &look, error);
        if (!fine || !look.found || !look.regular)
            continue;
        if (sweep->now - look.moved > age) {
            fine = store_scan_remove(sweep->path, directory, names->names[i], error);
            if (fine && removed)
                metric_add(removed, 1);
        } else if (left_bytes) {
            *left_bytes += look.size;
        }
    }
    free(names);
    return fine;
}

static bool sweep_path(struct sweep *sweep, struct error *error)
{
    const struct storage_config *config = sweep->upkeep->config;
    return sweep_branches(sweep, "", 0, error) &&
           expire(sweep, ".", ".trial-", config->leftover_age_ms / 1000, NULL, NULL, error) &&
           expire(sweep, STORE_QUARANTINE, "", config->quarantine_keep_ms / 1000,
                  sweep->upkeep->metrics.quarantine_removed, &sweep->quarantine_bytes, error);
}

bool sweep_all(struct upkeep *upkeep, struct sweep_result *result, struct error *error)
{
    struct sweep *sweep = calloc(1, sizeof(*sweep));
    memset(result, 0, sizeof(*result));
    if (!sweep)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
    sweep->upkeep = upkeep;
    sweep->result = result;
    bool fine = upkeep_now(upkeep, &sweep->now, error);
    for (size_t i = 0; fine && i < store_count(upkeep->storage->store); i++) {
        sweep->path = store_at(upkeep->storage->store, i);
        fine = sweep_path(sweep, error);
    }
    if (fine) {
        metric_set(upkeep->metrics.quarantine_bytes, sweep->quarantine_bytes);
        log_info(ROOM,
                 "looked at %" PRId64 " files: %" PRId64 " without a row moved to quarantine, %" PRId64
                 " too young to tell",
                 result->files, result->leftovers, result->young);
    }
    free(sweep);
    return fine;
}
