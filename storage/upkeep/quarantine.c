/*
 * quarantine: entries are looked at while their directory is read, however many there are. Which of them have a row is asked for some
 * dozens at once; nearly always none has.
 */
#include "storage/upkeep/quarantine.h"

#include "storage/rows/partial_sql.h"
#include "storage/store/store_file.h"
#include "storage/upkeep/fence.h"
#include "storage/upkeep/read_back.h"
#include "storage/upkeep/upkeep_sql.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM "quarantine"

/* ---- giving back ---- */

/* A file whose place is free. */
struct held {
    char name[STORE_SCAN_NAME_SIZE]; /* as it lies there, below the store path */
    char place[PATH_TEXT_SIZE];      /* where it lay */
    char file_path[STORE_FILE_PATH_SIZE];
    bool named; /* by a row */
};

struct giving {
    struct db_job job;
    struct keeper *keeper;
    struct store_path *path;
    bool out_of_service;
    struct held batch[UPKEEP_NAMES_MAX];
    size_t count;

    struct held *one; /* that is looked at */
    struct store_scan_look look;
    struct upkeep_row row;
    struct partial_row partial;
    bool has_row, holds; /* HOLDS: ROW or PARTIAL says that a file like this one is there */
    bool unread;         /* its bytes could not be compared */
    bool fine;
    struct error *error;
};

/* AAA-BBB-CCC-SSSSSSSS_DDD.N -> AAA/BBB/CCC/SSSSSSSS_DDD */
static bool quarantine_place(const char *name, char text[PATH_TEXT_SIZE])
{
    struct path place;
    const char *end = strrchr(name, '.');
    if (!end || end - name != PATH_TEXT_SIZE - 1 || end[1] == '\0' ||
        strspn(end + 1, "0123456789") != strlen(end + 1))
        return false;
    snprintf(text, PATH_TEXT_SIZE, "%.*s", PATH_TEXT_SIZE - 1, name);
    for (char *c = text; *c; c++) {
        if (*c == '-')
            *c = '/';
    }
    return path_parse(text, &place);
}

static void on_named(void *argument, const char *file_path)
{
    struct giving *giving = argument;
    for (size_t i = 0; i < giving->count; i++) {
        if (strcmp(giving->batch[i].file_path, file_path) == 0)
            giving->batch[i].named = true;
    }
}

static enum db_result named_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct giving *giving = CONTAINER_OF(job, struct giving, job);
    const char *file_paths[UPKEEP_NAMES_MAX];
    for (size_t i = 0; i < giving->count; i++)
        file_paths[i] = giving->batch[i].file_path;
    return upkeep_sql_named(connection, file_paths, giving->count, on_named, giving, error);
}

/* Its row, which was marked when the file was missing or wrong, shows by the digest whether this is the right one. */
static bool row_wants(void *argument, const struct meta_row *row)
{
    const struct giving *giving = argument;
    if (row->path != giving->path || (row->stat.size >= 0 && row->stat.size != giving->look.size))
        return false;
    if (meta_state_is_damaged(row->state))
        return giving->out_of_service && row->stat.has_digest;
    return row->state == META_STATE_NORMAL || row->state == META_STATE_DELETED;
}

static enum db_result row_holds(void *argument, struct db_connection *connection, bool *holds,
                                struct error *error)
{
    struct giving *giving = argument;
    const struct keeper *keeper = giving->keeper;
    const struct store *store = keeper->storage->store;
    const char *group = keeper->config->group, *file_path = giving->one->file_path;
    bool found = false;
    enum db_result result = upkeep_sql_holder(connection, store, group, file_path, row_wants, giving,
                                              &giving->row, &found, holds, error);
    giving->has_row = found;
    if (result != DB_OK || found)
        return result;
    result = partial_sql_holder(connection, store, group, file_path, &giving->partial, &found, error);
    *holds = result == DB_OK && found && giving->partial.path == giving->path &&
             giving->look.size >= giving->partial.offset;
    return result;
}

static enum db_result holds_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct giving *giving = CONTAINER_OF(job, struct giving, job);
    return row_holds(giving, connection, &giving->holds, error);
}

static bool giving_ask(struct giving *giving,
                       enum db_result (*run)(struct db_job *, struct db_connection *, struct error *))
{
    giving->job = (struct db_job){.run = run, .idempotent = true};
    return keeper_run(giving->keeper, &giving->job, giving->error);
}

/* SAME false: its bytes are others, or cannot be read. */
static bool compare_bytes(struct giving *giving, bool *same)
{
    const struct meta_row *row = &giving->row.row;
    struct read_back back;
    struct error why = {0};
    int64_t size = 0;
    int fd = -1;
    const char *wrong = NULL;
    bool fine = store_file_look_name(giving->path, giving->one->name, &fd, &size, &why) && fd >= 0 &&
                read_back_file(giving->keeper, fd, row, &back, &why);
    if (fd >= 0)
        (void)close(fd); /* only read */
    if (!fine && why.code == ERROR_CANCELLED) {
        *giving->error = why;
        return false;
    }
    if (fine)
        wrong = read_back_wrong(&back, row);
    giving->unread = !fine;
    *same = fine && !wrong;
    if (!*same)
        log_error(ROOM, "%s of file %s is missing, and %s cannot take its place: %s", row->file_path,
                  giving->row.key.file, giving->one->name, wrong ? wrong : why.text);
    return true;
}

/* Is it what a row says lies at its place? Right before the move all but its bytes is asked for again. */
static bool give_back(struct giving *giving)
{
    struct held *one = giving->one;
    struct error why = {0};
    const struct fence_step step = {
        .keeper = giving->keeper,
        .path = giving->path,
        .name = one->place,
        .seen = &giving->look,
        .holds = row_holds,
        .argument = giving,
    };
    bool same = true;
    if (!store_scan_look(giving->path, one->name, &giving->look, giving->error))
        return false;
    if (!giving->look.found || !giving->look.regular)
        return true;
    if (!giving_ask(giving, holds_run))
        return false;
    if (!giving->holds)
        return true;
    if (giving->has_row && giving->row.row.stat.has_digest && !compare_bytes(giving, &same))
        return false;
    enum fence_outcome outcome = same ? fence_give_back(&step, one->name, &why) : FENCE_SHUT;
    if (outcome == FENCE_FAILED) {
        *giving->error = why;
        return false;
    }
    if (why.code != ERROR_NONE)
        log_error(ROOM, "%s has a row again, but cannot be moved back from %s: %s", one->file_path, one->name,
                  why.text);
    if (outcome != FENCE_DONE)
        return true;
    metric_add(giving->keeper->metrics.quarantine_given_back, 1);
    log_warning(ROOM, "%s has a row again: moved back from %s", one->file_path, one->name);
    return true;
}

static bool end_batch(struct giving *giving)
{
    if (giving->count > 0 && !giving_ask(giving, named_run))
        return false;
    for (size_t i = 0; i < giving->count; i++) {
        giving->one = &giving->batch[i];
        if (giving->one->named && !give_back(giving))
            return false;
    }
    giving->count = 0;
    return true;
}

/* HELD becomes what lies in quarantine as NAME. PLACE_IS_FREE: it has a place, and nothing lies there. */
static bool look_at_place(struct giving *giving, const char *name, struct held *held, bool *place_is_free)
{
    struct store_scan_look look;
    *place_is_free = false;
    if (!quarantine_place(name, held->place))
        return true;
    if (!store_scan_look(giving->path, held->place, &look, giving->error))
        return false;
    held->named = false;
    snprintf(held->name, sizeof(held->name), STORE_QUARANTINE "/%.200s", name);
    snprintf(held->file_path, sizeof(held->file_path), "%s/%s", store_path_key(giving->path), held->place);
    *place_is_free = !look.found;
    return true;
}

static bool giving_add(struct giving *giving, const char *name)
{
    bool place_is_free;
    if (!keeper_throttle(giving->keeper, QUARANTINE_ENTRY_COST))
        return error_set(giving->error, ERROR_CANCELLED, "interrupted");
    if (!look_at_place(giving, name, &giving->batch[giving->count], &place_is_free))
        return false;
    giving->count += place_is_free ? 1 : 0;
    return giving->count < UPKEEP_NAMES_MAX || end_batch(giving);
}

static bool on_held(void *argument, const char *name)
{
    struct giving *giving = argument;
    giving->fine = giving_add(giving, name);
    return giving->fine;
}

static struct giving *giving_create(struct keeper *keeper, bool out_of_service, struct error *error)
{
    struct giving *giving = calloc(1, sizeof(*giving));
    if (!giving) {
        error_set(error, ERROR_UNAVAILABLE, "no memory for a look at the quarantine");
        return NULL;
    }
    giving->keeper = keeper;
    giving->out_of_service = out_of_service;
    giving->fine = true;
    giving->error = error;
    return giving;
}

bool quarantine_give_back(struct keeper *keeper, bool out_of_service, struct error *error)
{
    const struct store *store = keeper->storage->store;
    struct giving *giving = giving_create(keeper, out_of_service, error);
    bool fine = giving != NULL;
    for (size_t i = 0; fine && i < store_count(store); i++) {
        giving->path = store_at(store, i);
        fine = store_scan_read(giving->path, STORE_QUARANTINE, on_held, giving, error) && giving->fine &&
               end_batch(giving);
    }
    free(giving);
    return fine;
}

/* ---- removing ---- */

struct expiry {
    struct keeper *keeper;
    struct store_path *path;
    const char *directory, *beginning;
    int64_t now, age; /* seconds */
    int64_t removed, files, bytes;
    struct giving *giving; /* to ask who wants what is old */
    bool fine;
    struct error *error;
};

/* Does a row say that the file is there? Then it could not be moved back, or the row has come since, or it is marked and a scrub will move
 * the file, unless that is what was put aside as wrong. */
static bool quarantine_is_wanted(struct giving *giving, const char *name, const struct store_scan_look *look,
                                 bool *wanted)
{
    bool place_is_free, same;
    giving->one = &giving->batch[0];
    giving->look = *look;
    giving->holds = false;
    if (!look_at_place(giving, name, giving->one, &place_is_free) ||
        (place_is_free && !giving_ask(giving, holds_run)))
        return false;
    *wanted = giving->holds;
    if (!giving->holds || !giving->has_row || !meta_state_is_damaged(giving->row.row.state))
        return true;
    if (!compare_bytes(giving, &same))
        return false;
    *wanted = same || giving->unread;
    return true;
}

/* What is old stays old: another holder of the lease may have removed it, but nobody can have made it younger. */
static bool quarantine_expire_one(struct expiry *expiry, const char *name)
{
    char text[2 * STORE_SCAN_NAME_SIZE];
    struct store_scan_look look;
    snprintf(text, sizeof(text), "%s/%s", expiry->directory, name);
    if (!keeper_throttle(expiry->keeper, QUARANTINE_ENTRY_COST))
        return error_set(expiry->error, ERROR_CANCELLED, "interrupted");
    if (!store_scan_look(expiry->path, text, &look, expiry->error))
        return false;
    if (!look.found || !look.regular)
        return true;
    bool wanted = false, old = expiry->now - look.moved > expiry->age;
    if (old && !quarantine_is_wanted(expiry->giving, name, &look, &wanted))
        return false;
    if (!old || wanted) {
        expiry->files++;
        expiry->bytes += look.size;
        return true;
    }
    if (!fence_lease(expiry->keeper, expiry->error) ||
        !store_scan_remove(expiry->path, expiry->directory, name, expiry->error))
        return false;
    CRASH_POINT("quarantine-removed");
    expiry->removed++;
    return true;
}

static bool on_entry(void *argument, const char *name)
{
    struct expiry *expiry = argument;
    if (strncmp(name, expiry->beginning, strlen(expiry->beginning)) == 0)
        expiry->fine = quarantine_expire_one(expiry, name);
    return expiry->fine;
}

/* What in DIRECTORY begins with BEGINNING and was last moved or changed longer ago than AGE seconds. */
static bool expire(struct expiry *expiry, const char *directory, const char *beginning, int64_t age)
{
    expiry->directory = directory;
    expiry->beginning = beginning;
    expiry->age = age;
    expiry->fine = true;
    return store_scan_read(expiry->path, directory, on_entry, expiry, expiry->error) && expiry->fine;
}

/* Of one store path. */
static bool expire_all(struct expiry *expiry)
{
    const struct storage_config *config = expiry->keeper->config;
    if (!expire(expiry, ".", ".trial-", config->leftover_age_ms / 1000))
        return false;
    expiry->files = expiry->bytes = expiry->removed = 0;
    bool fine = expire(expiry, STORE_QUARANTINE, "", config->quarantine_keep_ms / 1000);
    metric_add(expiry->keeper->metrics.quarantine_removed, expiry->removed);
    return fine;
}

bool quarantine_expire(struct keeper *keeper, int64_t now, struct error *error)
{
    const struct store *store = keeper->storage->store;
    int64_t files = 0, bytes = 0;
    struct giving *giving = NULL;
    bool fine =
        quarantine_give_back(keeper, false, error) && (giving = giving_create(keeper, true, error)) != NULL;
    for (size_t i = 0; fine && i < store_count(store); i++) {
        giving->path = store_at(store, i);
        struct expiry expiry = {
            .keeper = keeper, .path = giving->path, .now = now, .giving = giving, .error = error};
        fine = expire_all(&expiry);
        files += expiry.files;
        bytes += expiry.bytes;
    }
    free(giving);
    if (!fine)
        return false;
    metric_set(keeper->metrics.quarantine_files, files);
    metric_set(keeper->metrics.quarantine_bytes, bytes);
    return true;
}

void quarantine_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->quarantine_removed = metrics_counter("reel_storage_quarantine_removed_total",
                                                  "Files removed from quarantine after their time.", NULL);
    metrics->quarantine_given_back =
        metrics_counter("reel_storage_quarantine_given_back_total",
                        "Files moved from quarantine back to their places, since they had a row.", NULL);
    metrics->quarantine_files =
        metrics_gauge("reel_storage_quarantine_files", "Files in quarantine, at the last clean-up.", NULL);
    metrics->quarantine_bytes =
        metrics_gauge("reel_storage_quarantine_bytes", "Bytes in quarantine, at the last clean-up.", NULL);
}
