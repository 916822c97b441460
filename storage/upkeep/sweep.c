/*
 * sweep: the walk through the directories of every store path in the order of their names, the questions about rows, the
 * brake, and what is stored of it.
 */
#include "storage/upkeep/sweep.h"

#include "storage/rows/partial_sql.h"
#include "storage/upkeep/fence.h"
#include "storage/upkeep/notes.h"
#include "storage/upkeep/quarantine.h"
#include "storage/upkeep/upkeep_sql.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM        "sweep"
#define FILES_MAX   1024 /* of one directory: 512 numbers, and some that were stored twice */
#define PART_FILES  4096 /* looked at before the leftovers among them are moved */
#define PART_MS     2000
#define PART_MAX_MS 30000
#define FEW         16 /* leftovers of one sweep that are never too large a share */
#define RETRY_MS    5000
#define STOPPED_MS  2000  /* between two looks whether an operator has confirmed */
#define LOOK_MS     60000 /* between two looks whether it is time, at most */

/* What the sweep does with leftovers. */
enum sweep_mode {
    SWEEP_NORMAL,    /* moves them, under the brake */
    SWEEP_COUNTING,  /* a sweep before was stopped: it only counts */
    SWEEP_CONFIRMED, /* moves them all: an operator confirmed it */
    SWEEP_MODES
};
static const char *const mode_names[SWEEP_MODES] = {"normal", "counting", "confirmed"};

struct sweep_file {
    char name[PATH_TEXT_SIZE]; /* below the store path */
    bool known;
};

struct leftover {
    struct store_path *path;
    char name[PATH_TEXT_SIZE];
    struct store_scan_look look;
};

struct sweep {
    struct db_job job;
    struct keeper *keeper;
    struct notes notes;
    enum sweep_mode mode;
    bool asked; /* part of a scrub: gives way to nobody */
    struct sweep_result *result;
    int64_t now;

    struct store_path *path;
    char from_key[PROTO_KEY_SIZE], from_directory[PATH_TEXT_SIZE]; /* the place to go on behind; "": none */
    char prefix[STORE_FILE_PATH_SIZE];                             /* KEY/AAA/BBB/CCC/ */
    char directory[PATH_TEXT_SIZE];
    struct sweep_file files[FILES_MAX];
    size_t count;

    struct leftover *leftovers; /* of this part */
    size_t leftover_count, leftover_max;
    int64_t part_files, part_ms;
};

/* ---- what is stored ---- */

static json_t *sweep_json(const struct sweep *sweep, const char *phase, int64_t finished)
{
    const struct sweep_result *result = sweep->result;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "phase", phase, "mode",
                     mode_names[sweep->mode], "path", sweep->path ? store_path_key(sweep->path) : "",
                     "directory", sweep->directory, "files", (json_int_t)result->files, "leftovers",
                     (json_int_t)result->leftovers, "young", (json_int_t)result->young, "left",
                     (json_int_t)result->left, "finished", (json_int_t)finished);
}

static bool sweep_store(struct sweep *sweep, const char *phase, int64_t finished, int64_t done,
                        struct error *error)
{
    bool fine = notes_store(&sweep->notes, sweep_json(sweep, phase, finished), done, error);
    CRASH_POINT("sweep-progress-stored");
    sweep->part_ms = clock_monotonic_ms();
    sweep->part_files = 0;
    return fine;
}

static bool text_is(const json_t *object, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value && strcmp(value, text) == 0;
}

/* What was stored comes from a database: what does not fit means the beginning. */
static void sweep_resume(struct sweep *sweep, const json_t *progress)
{
    const char *key = json_string_value(json_object_get(progress, "path"));
    const char *directory = json_string_value(json_object_get(progress, "directory"));
    for (int mode = 0; mode < SWEEP_MODES; mode++) {
        if (text_is(progress, "mode", mode_names[mode]))
            sweep->mode = (enum sweep_mode)mode;
    }
    if (!key || strlen(key) >= sizeof(sweep->from_key) || !directory ||
        strlen(directory) >= sizeof(sweep->from_directory) || directory[0] == '\0')
        return;
    snprintf(sweep->from_key, sizeof(sweep->from_key), "%s", key);
    snprintf(sweep->from_directory, sizeof(sweep->from_directory), "%s", directory);
    sweep->result->files = notes_number(progress, "files");
    sweep->result->leftovers = notes_number(progress, "leftovers");
    sweep->result->young = notes_number(progress, "young");
    sweep->result->left = notes_number(progress, "left");
    log_info(ROOM, "continues after %s/%s", key, directory);
}

/* ---- the brake ---- */

static bool over_max(const struct storage_config *config, int64_t found)
{
    return found > config->leftovers_max;
}

/* FOUND leftovers among LOOKED files: implausibly many? */
static bool too_many(const struct storage_config *config, int64_t found, int64_t looked)
{
    return over_max(config, found) ||
           (found > FEW && (double)found * 100 > (double)looked * (double)config->leftovers_share);
}

static int64_t found_so_far(const struct sweep *sweep)
{
    return sweep->result->leftovers + sweep->result->left + (int64_t)sweep->leftover_count;
}

static bool brake(struct sweep *sweep)
{
    return sweep->mode == SWEEP_NORMAL &&
           too_many(sweep->keeper->config, found_so_far(sweep), sweep->result->files);
}

/* ---- one leftover ---- */

static enum db_result no_row_has_it(void *argument, struct db_connection *connection, bool *holds,
                                    struct error *error)
{
    const struct leftover *leftover = argument;
    char file_path[STORE_FILE_PATH_SIZE];
    bool taken = false;
    snprintf(file_path, sizeof(file_path), "%s/%s", store_path_key(leftover->path), leftover->name);
    enum db_result result = upkeep_sql_taken(connection, file_path, &taken, error);
    if (result == DB_OK && !taken)
        result = partial_sql_has(connection, file_path, &taken, error);
    *holds = result == DB_OK && !taken;
    return result;
}

static bool move_leftover(struct sweep *sweep, struct leftover *leftover, struct error *error)
{
    char held[STORE_SCAN_NAME_SIZE];
    const struct fence_step step = {
        .keeper = sweep->keeper,
        .path = leftover->path,
        .name = leftover->name,
        .seen = &leftover->look,
        .holds = no_row_has_it,
        .argument = leftover,
    };
    enum fence_outcome outcome = fence_put_aside(&step, held, error);
    CRASH_POINT("sweep-quarantined");
    if (outcome != FENCE_DONE)
        return outcome == FENCE_SHUT;
    metric_add(sweep->keeper->metrics.quarantined, 1);
    sweep->result->leftovers++;
    log_warning(ROOM, "%s/%s has no row: its %" PRId64 " bytes are moved to %s",
                store_path_key(leftover->path), leftover->name, leftover->look.size, held);
    return true;
}

/* The leftovers of the part that was looked at; then its place is stored. */
static bool end_part(struct sweep *sweep, struct error *error)
{
    for (size_t i = 0; i < sweep->leftover_count; i++) {
        if (!move_leftover(sweep, &sweep->leftovers[i], error))
            return false;
        if (!keeper_breathe(sweep->keeper))
            return error_set(error, ERROR_CANCELLED, "interrupted");
    }
    sweep->leftover_count = 0;
    return sweep_store(sweep, "walk", 0, -1, error);
}

/* ---- one directory ---- */

/* True where the file is nobody's transfer any more. */
static bool old_enough(const struct sweep *sweep, const char *name, const struct store_scan_look *look)
{
    int64_t age = sweep->keeper->config->leftover_age_ms / 1000;
    struct path place;
    bool placed = path_parse(name, &place);
    return look->found && look->regular && sweep->now - look->touched > age &&
           (!placed || sweep->now - place.seconds > age);
}

static bool note_leftover(struct sweep *sweep, const char *name, struct error *error)
{
    struct store_scan_look look;
    if (!store_scan_look(sweep->path, name, &look, error))
        return false;
    if (!old_enough(sweep, name, &look)) {
        sweep->result->young += look.found ? 1 : 0;
        return true;
    }
    if (sweep->mode == SWEEP_COUNTING) {
        sweep->result->left++;
        return true;
    }
    if (sweep->leftover_count == sweep->leftover_max) {
        size_t max = max_size(64, sweep->leftover_max * 2);
        struct leftover *more = realloc(sweep->leftovers, max * sizeof(*more));
        if (!more)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
        sweep->leftovers = more;
        sweep->leftover_max = max;
    }
    struct leftover *leftover = &sweep->leftovers[sweep->leftover_count++];
    leftover->path = sweep->path;
    leftover->look = look;
    snprintf(leftover->name, sizeof(leftover->name), "%s", name);
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

static int sweep_compare_files(const void *a, const void *b)
{
    return strcmp(((const struct sweep_file *)a)->name, ((const struct sweep_file *)b)->name);
}

static void sweep_on_row(void *argument, const char *file_path)
{
    struct sweep *sweep = argument;
    struct sweep_file wanted = {.known = false};
    size_t key_size = strlen(store_path_key(sweep->path)) + 1;
    if (strlen(file_path) != key_size + PATH_TEXT_SIZE - 1)
        return;
    memcpy(wanted.name, file_path + key_size, PATH_TEXT_SIZE);
    struct sweep_file *file =
        bsearch(&wanted, sweep->files, sweep->count, sizeof(sweep->files[0]), sweep_compare_files);
    if (file)
        file->known = true;
}

static enum db_result paths_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct sweep *sweep = CONTAINER_OF(job, struct sweep, job);
    for (size_t i = 0; i < sweep->count; i++)
        sweep->files[i].known = false;
    return upkeep_sql_paths(connection, sweep->prefix, sweep_on_row, sweep, error);
}

/* Enough was looked at to judge by; and the place is to be stored now and then. */
static bool part_is_over(const struct sweep *sweep)
{
    int64_t ms = clock_monotonic_ms() - sweep->part_ms;
    return sweep->leftover_count >= PART_FILES || (sweep->part_files >= PART_FILES && ms >= PART_MS) ||
           ms >= PART_MAX_MS;
}

static bool sweep_directory(struct sweep *sweep, struct error *error)
{
    const struct storage_config *config = sweep->keeper->config;
    sweep->count = 0;
    snprintf(sweep->prefix, sizeof(sweep->prefix), "%s/%s/", store_path_key(sweep->path), sweep->directory);
    if (!store_scan_read(sweep->path, sweep->directory, on_file, sweep, error))
        return false;
    if (sweep->count == 0)
        return true;
    qsort(sweep->files, sweep->count, sizeof(sweep->files[0]), sweep_compare_files);
    sweep->job = (struct db_job){.run = paths_run, .idempotent = true};
    if (!keeper_run(sweep->keeper, &sweep->job, error))
        return false;
    sweep->result->files += (int64_t)sweep->count;
    sweep->part_files += (int64_t)sweep->count;
    for (size_t i = 0; i < sweep->count; i++) {
        if (!sweep->files[i].known && !note_leftover(sweep, sweep->files[i].name, error))
            return false;
    }
    sweep->result->stopped = sweep->mode == SWEEP_NORMAL && over_max(config, found_so_far(sweep));
    if (sweep->result->stopped || !part_is_over(sweep))
        return true;
    sweep->result->stopped = brake(sweep); /* then nothing of this part is moved */
    return sweep->result->stopped || end_part(sweep, error);
}

/* ---- the walk ---- */

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

static int compare_branches(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Was DIRECTORY (of any depth) done before the interruption, with all that is below it? */
static bool is_done(const struct sweep *sweep, const char *directory)
{
    if (sweep->from_directory[0] == '\0')
        return false;
    int order = strncmp(directory, sweep->from_directory, strlen(directory));
    return order < 0 || (order == 0 && strlen(directory) == strlen(sweep->from_directory));
}

static bool may_go_on(struct sweep *sweep, struct error *error)
{
    const struct lease_row *row = &sweep->keeper->lease.row;
    if (!keeper_throttle(sweep->keeper, QUARANTINE_ENTRY_COST))
        return error_set(error, ERROR_CANCELLED, "interrupted");
    if (!sweep->asked && row->wanted > row->done)
        return error_set(error, ERROR_CANCELLED, "a scrub was requested");
    return true;
}

static bool sweep_branches(struct sweep *sweep, const char *directory, int depth, struct error *error)
{
    struct branches *branches = calloc(1, sizeof(*branches));
    if (!branches)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
    bool fine = store_scan_read(sweep->path, depth == 0 ? "." : directory, on_branch, branches, error);
    qsort(branches->names, branches->count, sizeof(branches->names[0]), compare_branches);
    for (size_t i = 0; fine && !sweep->result->stopped && i < branches->count; i++) {
        char below[PATH_TEXT_SIZE];
        snprintf(below, sizeof(below), "%s%s%s", directory, depth == 0 ? "" : "/", branches->names[i]);
        if (is_done(sweep, below))
            continue;
        fine = may_go_on(sweep, error);
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

static bool sweep_paths(struct sweep *sweep, struct error *error)
{
    const struct store *store = sweep->keeper->storage->store;
    size_t begin = 0;
    while (sweep->from_key[0] != '\0' && begin < store_count(store) &&
           strcmp(store_path_key(store_at(store, begin)), sweep->from_key) != 0)
        begin++;
    if (begin == store_count(store)) { /* the path is none of this server's: from the beginning */
        begin = 0;
        sweep->from_directory[0] = '\0';
    }
    for (size_t i = begin; i < store_count(store) && !sweep->result->stopped; i++) {
        sweep->path = store_at(store, i);
        sweep->directory[0] = '\0';
        if (!sweep_branches(sweep, "", 0, error))
            return false;
        sweep->from_directory[0] = '\0';    /* it was of this path */
        memcpy(sweep->directory, "FFF", 4); /* behind every directory: the path is done */
    }
    return true;
}

/* ---- a whole sweep ---- */

static void say_stopped(const struct sweep *sweep)
{
    const struct sweep_result *result = sweep->result;
    log_error(ROOM,
              "%" PRId64 " of the first %" PRId64 " files have no row: too many to be leftovers. Is this the "
              "right database, and is it complete? They stay "
              "where they are; nothing is moved any more until `reel fsck --confirm-leftovers`",
              result->left + result->leftovers, result->files);
}

/* All directories were looked at, or the brake has stopped it. */
static bool end_sweep(struct sweep *sweep, struct error *error)
{
    struct sweep_result *result = sweep->result;
    int64_t finished = 0;
    if (sweep->mode == SWEEP_COUNTING)
        result->stopped = too_many(sweep->keeper->config, result->left, result->files);
    else if (brake(sweep))
        result->stopped = true;
    if (result->stopped) {
        result->left += (int64_t)sweep->leftover_count;
        sweep->leftover_count = 0;
        say_stopped(sweep);
    }
    metric_set(sweep->keeper->metrics.sweep_stopped, result->stopped ? 1 : 0);
    if (!end_part(sweep, error) || !quarantine_expire(sweep->keeper, sweep->now, error) ||
        !keeper_now(sweep->keeper, &finished, error))
        return false;
    /* Few enough again: the next one, which is due at once, moves them. */
    if (sweep->mode == SWEEP_COUNTING && !result->stopped)
        finished = 0;
    int64_t used = result->stopped ? -1 : sweep->notes.row.wanted;
    if (!sweep_store(sweep, result->stopped ? "stopped" : "done", finished, used, error))
        return false;
    log_info(ROOM,
             "looked at %" PRId64 " files: %" PRId64 " without a row moved to quarantine, %" PRId64
             " left where they are, %" PRId64 " too recent to judge",
             result->files, result->leftovers, result->left, result->young);
    return true;
}

static bool run_sweep(struct sweep *sweep, struct error *error)
{
    sweep->part_ms = clock_monotonic_ms();
    return keeper_now(sweep->keeper, &sweep->now, error) && sweep_paths(sweep, error) &&
           end_sweep(sweep, error);
}

static struct sweep *sweep_create(struct keeper *keeper, struct sweep_result *result, struct error *error)
{
    struct sweep *sweep = calloc(1, sizeof(*sweep));
    memset(result, 0, sizeof(*result));
    if (!sweep) {
        error_set(error, ERROR_UNAVAILABLE, "no memory for the clean-up");
        return NULL;
    }
    sweep->keeper = keeper;
    sweep->result = result;
    notes_init(&sweep->notes, keeper, SWEEP_NAME);
    return sweep;
}

static void sweep_destroy(struct sweep *sweep)
{
    if (sweep)
        free(sweep->leftovers);
    free(sweep);
}

/* How a new one begins, after what the last one found. */
static enum sweep_mode mode_after(const struct sweep *sweep, const json_t *progress)
{
    const struct lease_row *row = &sweep->notes.row;
    if (!text_is(progress, "phase", "stopped") && !text_is(progress, "mode", mode_names[SWEEP_COUNTING]))
        return SWEEP_NORMAL;
    if (row->wanted > row->done)
        return SWEEP_CONFIRMED;
    return text_is(progress, "phase", "done") ? SWEEP_NORMAL : SWEEP_COUNTING;
}

bool sweep_all(struct keeper *keeper, bool anew, struct sweep_result *result, struct error *error)
{
    struct sweep *sweep = sweep_create(keeper, result, error);
    bool fine = sweep && notes_take(&sweep->notes, error);
    if (fine) {
        json_t *progress = notes_progress(&sweep->notes);
        sweep->asked = true;
        sweep->mode = mode_after(sweep, progress);
        if (!anew && text_is(progress, "phase", "walk"))
            sweep_resume(sweep, progress);
        json_decref(progress);
        fine = run_sweep(sweep, error);
    }
    sweep_destroy(sweep);
    return fine;
}

/* Is it time? *PAUSE_MS: for how long not. */
static bool sweep_is_time(struct sweep *sweep, const json_t *progress, int64_t *pause_ms, struct error *error)
{
    const struct lease_row *row = &sweep->notes.row;
    bool stopped = text_is(progress, "phase", "stopped");
    int64_t interval = sweep->keeper->config->sweep_interval_ms, now = 0;
    metric_set(sweep->keeper->metrics.sweep_stopped, stopped ? 1 : 0);
    if (text_is(progress, "phase", "walk") || (stopped && row->wanted > row->done))
        return true;
    if (!keeper_now(sweep->keeper, &now, error))
        return false;
    /* One that ended in the future ended before the clock was set back. */
    int64_t left_ms = min_i64((notes_number(progress, "finished") - now) * 1000, 0) + interval;
    *pause_ms = min_i64(left_ms, stopped ? STOPPED_MS : LOOK_MS);
    return left_ms <= 0;
}

static int64_t sweep_if_due(struct keeper *keeper, struct chore *chore)
{
    struct sweep_result result;
    struct error error = {0};
    int64_t pause_ms = RETRY_MS;
    struct sweep *sweep = sweep_create(keeper, &result, &error);
    (void)chore;
    bool fine = sweep && notes_read(&sweep->notes, &error);
    json_t *progress = fine ? notes_progress(&sweep->notes) : NULL;
    if (fine && sweep_is_time(sweep, progress, &pause_ms, &error)) {
        fine = notes_take(&sweep->notes, &error);
        sweep->mode = mode_after(sweep, progress);
        if (text_is(progress, "phase", "walk"))
            sweep_resume(sweep, progress);
        fine = fine && run_sweep(sweep, &error);
        pause_ms = fine ? min_i64(keeper->config->sweep_interval_ms, STOPPED_MS) : RETRY_MS;
    } else {
        fine = error.code == ERROR_NONE;
    }
    if (!fine && error.code != ERROR_CANCELLED)
        keeper_complain(keeper, "the clean-up pauses", &error);
    if (!fine && error.code == ERROR_CANCELLED)
        pause_ms = 0;
    json_decref(progress);
    sweep_destroy(sweep);
    return pause_ms;
}

const struct chore sweep_chore = {.name = "sweep", .run = sweep_if_due};

void sweep_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->sweep_stopped = metrics_gauge(
        "reel_storage_sweep_stopped",
        "1 while too many files have no row, and somebody must confirm that they are leftovers.", NULL);
    metrics->quarantined =
        metrics_counter("reel_storage_quarantined_total", "Files moved to quarantine.", NULL);
}
