/*
 * scrub: the rows, a page at a time; each one's file is looked at, read back and judged.
 */
#include "storage/upkeep/scrub.h"

#include "storage/store/store_file.h"
#include "storage/upkeep/fence.h"
#include "storage/upkeep/notes.h"
#include "storage/upkeep/quarantine.h"
#include "storage/upkeep/read_back.h"
#include "storage/upkeep/scrub_progress.h"
#include "storage/upkeep/sweep.h"
#include "storage/upkeep/upkeep_sql.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM      "scrub"
#define STORE_MS  2000
#define ROW_COST  4096 /* bytes that a row counts in the rate, whatever its size */
#define LINES_MAX 50   /* findings that are reported one by one; all are in the log and counted */
#define LINE_SIZE 400
#define LOOK_MS   60000
#define RETRY_MS  5000
#define IDLE_MS   (10 * 60 * 1000) /* after the start, before a scrub that nobody asked for */

struct scrub {
    struct db_job job;
    struct keeper *keeper;
    struct scrub_progress at;
    bool resumed;
    int64_t stored_at_ms;

    struct upkeep_page page;
    struct upkeep_row *row; /* that is looked at */
    struct upkeep_row now;
    struct store_scan_look look; /* at its file */
    bool found, changed;
    enum meta_state mark;
    struct read_back back; /* its bytes */
    struct error error;
};

/* ---- progress ---- */

static bool store_progress(struct scrub *scrub, bool done, int64_t finished)
{
    struct keeper *keeper = scrub->keeper;
    struct error error = {0};
    char *text = scrub_progress_text(&scrub->at, done, finished, &error);
    bool fine = text && lease_store(&keeper->lease, text,
                                    done && scrub->at.number > 0 ? scrub->at.number : -1, &error);
    if (!fine)
        keeper_complain(keeper, "the scrub's position is not stored", &error);
    CRASH_POINT("scrub-progress-stored");
    scrub->stored_at_ms = clock_monotonic_ms();
    free(text);
    return fine;
}

/* A run that was asked for begins: what is asked for from now on is another one's. */
static bool scrub_begin(struct scrub *scrub)
{
    char *text = scrub_progress_text(&scrub->at, false, 0, &scrub->error);
    bool fine = text && lease_begin(&scrub->keeper->lease, text, &scrub->error);
    free(text);
    return fine;
}

/* Goes on where PROGRESS stopped. */
static void resume(struct scrub *scrub, const json_t *progress)
{
    scrub->resumed = scrub_progress_read(&scrub->at, progress);
    if (scrub->resumed)
        log_info(ROOM, "continues in table %u after row %" PRId64, scrub->at.table + 1, scrub->at.after);
}

/* ---- jobs ---- */

static bool scrub_run(struct scrub *scrub,
                      enum db_result (*function)(struct db_job *, struct db_connection *, struct error *))
{
    scrub->job = (struct db_job){.run = function, .idempotent = true};
    return keeper_run(scrub->keeper, &scrub->job, &scrub->error);
}

static enum db_result page_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    const struct keeper *keeper = scrub->keeper;
    return upkeep_sql_page(connection, keeper->storage->store, scrub->at.table, keeper->config->group,
                           scrub->at.after, &scrub->page, error);
}

static enum db_result again_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    return upkeep_sql_again(connection, scrub->keeper->storage->store, scrub->row, &scrub->now, &scrub->found,
                            error);
}

static enum db_result scrub_mark_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    bool changed = false;
    enum db_result result = upkeep_sql_mark(connection, &scrub->keeper->lease, scrub->row,
                                            scrub->keeper->config->group, scrub->mark, &changed, error);
    scrub->changed = changed;
    return result;
}

static enum db_result digest_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    return upkeep_sql_set_digest(connection, &scrub->keeper->lease, scrub->row, scrub->back.digest,
                                 scrub->back.has_sha256 ? scrub->back.sha256 : NULL, &scrub->changed, error);
}

static enum db_result shared_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct scrub *scrub = CONTAINER_OF(job, struct scrub, job);
    return upkeep_sql_other_row(connection, scrub->row->row.file_path, scrub->row, &scrub->found, error);
}

/* ---- one row ---- */

/* Is the row still what was looked at? A file that was purged meanwhile is not missing. */
static bool still_there(struct scrub *scrub, bool *same)
{
    const struct meta_row *row = &scrub->row->row;
    if (!scrub_run(scrub, again_run))
        return false;
    *same = scrub->found && strcmp(scrub->now.row.file_path, row->file_path) == 0 &&
            scrub->now.row.stat.size == row->stat.size && scrub->now.row.state == row->state &&
            scrub->now.row.stat.has_digest == row->stat.has_digest &&
            memcmp(scrub->now.row.stat.digest, row->stat.digest, PROTO_DIGEST_SIZE) == 0;
    return true;
}

static void note(struct scrub *scrub, enum scrub_kind kind, const char *what)
{
    char line[LINE_SIZE];
    const struct upkeep_row *row = scrub->row;
    snprintf(line, sizeof(line), "%s: file %.127s of user %.80s at %.90s: %.80s", scrub_kind_names[kind],
             row->key.file, row->key.user, row->row.file_path, what);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
            *c = '?';
    }
    log_error(ROOM, "%s", line);
    scrub->at.kinds[kind]++;
    metric_add(scrub->keeper->metrics.findings[kind], 1);
    if (json_array_size(scrub->at.lines) < LINES_MAX &&
        json_array_append_new(scrub->at.lines, json_string(line)) != 0)
        log_warning(ROOM, "no memory for a line of the report");
}

/* The row is out of service; so its wrong file may go. */
static enum db_result row_is_damaged(void *argument, struct db_connection *connection, bool *holds,
                                     struct error *error)
{
    struct scrub *scrub = argument;
    bool found = false;
    enum db_result result =
        upkeep_sql_again(connection, scrub->keeper->storage->store, scrub->row, &scrub->now, &found, error);
    *holds = result == DB_OK && found && meta_state_is_damaged(scrub->now.row.state) &&
             strcmp(scrub->now.row.file_path, scrub->row->row.file_path) == 0;
    return result;
}

static bool put_aside(struct scrub *scrub)
{
    struct upkeep_row *row = scrub->row;
    char place[PATH_TEXT_SIZE], held[STORE_SCAN_NAME_SIZE];
    if (!path_format(&row->row.place, place))
        return true;
    const struct fence_step step = {
        .keeper = scrub->keeper,
        .path = row->row.path,
        .name = place,
        .seen = &scrub->look,
        .holds = row_is_damaged,
        .argument = scrub,
    };
    enum fence_outcome outcome = fence_put_aside(&step, held, &scrub->error);
    CRASH_POINT("scrub-file-quarantined");
    if (outcome == FENCE_DONE) {
        metric_add(scrub->keeper->metrics.quarantined, 1);
        log_warning(ROOM, "%s is moved to %s", row->row.file_path, held);
    }
    return outcome != FENCE_FAILED;
}

/* The row is kept out of service, then a wrong file is put aside: no missing file is served. */
static bool repair(struct scrub *scrub, bool file_there)
{
    struct upkeep_row *row = scrub->row;
    int64_t state = row->row.state;
    if (!scrub->at.repair)
        return true;
    if (!meta_state_is_damaged(state)) {
        if (state != META_STATE_NORMAL && state != META_STATE_DELETED)
            return true; /* no state of ours: it is not served, and nobody knows what it means */
        scrub->mark = state == META_STATE_DELETED ? META_STATE_DAMAGED_DELETED : META_STATE_DAMAGED;
        if (!scrub_run(scrub, scrub_mark_run))
            return false;
        CRASH_POINT("scrub-row-marked");
        if (!scrub->changed)
            return true;
        scrub->at.repaired++;
        meta_forget(scrub->keeper->storage->meta, &row->key);
        open_cache_forget(scrub->keeper->storage->open_cache, row->row.path, &row->row.place);
    }
    return !file_there || put_aside(scrub);
}

/* Something is wrong: it is reported, and with `repair` put out of harm's way, if the row is still the same. */
static bool judge(struct scrub *scrub, enum scrub_kind kind, bool file_there, const char *what)
{
    bool same = false;
    if (kind != SCRUB_UNKNOWN && !store_path_in_place(scrub->row->row.path, &scrub->error))
        return false;
    if (!still_there(scrub, &same))
        return false;
    if (!same)
        return true;
    if (kind == SCRUB_MISSING && scrub->row->row.stat.group[0] == '\0') {
        scrub->at.elsewhere++; /* of the predecessor, perhaps of another group: our files say nothing of it */
        return true;
    }
    note(scrub, meta_state_is_damaged(scrub->row->row.state) ? SCRUB_DAMAGED : kind, what);
    return kind == SCRUB_UNREADABLE || kind == SCRUB_UNKNOWN || repair(scrub, file_there);
}

/* The file is whole: what is still to be said about it. */
static bool sound(struct scrub *scrub)
{
    struct upkeep_row *row = scrub->row;
    if (!store_path_in_place(row->row.path, &scrub->error))
        return false;
    bool lacks = !row->row.stat.has_digest || (!row->row.has_sha256 && scrub->back.has_sha256);
    if (lacks) {
        if (!scrub_run(scrub, digest_run))
            return false;
        if (!scrub->changed)
            return true; /* deleted, restored or purged this moment */
        scrub->at.digests++;
        metric_add(scrub->keeper->metrics.scrub_digests, 1);
        meta_forget(scrub->keeper->storage->meta, &row->key);
    }
    if (!row->row.stat.has_digest) /* nothing says whether these are the right bytes */
        return true;
    if (!meta_state_is_damaged(row->row.state))
        return true;
    if (!scrub->at.repair)
        return judge(scrub, SCRUB_DAMAGED, false,
                     "its file is intact again; --repair puts it back into service");
    /* What was deleted stays deleted. */
    scrub->mark = row->row.state == META_STATE_DAMAGED ? META_STATE_NORMAL : META_STATE_DELETED;
    if (!scrub_run(scrub, scrub_mark_run))
        return false;
    if (scrub->changed) {
        scrub->at.healed++;
        log_info(ROOM, "%s is intact again and in service", row->row.file_path);
        meta_forget(scrub->keeper->storage->meta, &row->key);
    }
    return true;
}

static bool check_content(struct scrub *scrub, int fd)
{
    bool fine = read_back_file(scrub->keeper, fd, &scrub->row->row, &scrub->back, &scrub->error);
    scrub->at.bytes += scrub->back.bytes;
    if (!fine) {
        if (scrub->error.code == ERROR_CANCELLED)
            return false;
        char what[80];
        snprintf(what, sizeof(what), "%.79s", scrub->error.text);
        return judge(scrub, SCRUB_UNREADABLE, true, what);
    }
    const char *wrong = read_back_wrong(&scrub->back, &scrub->row->row);
    if (wrong)
        return judge(scrub, SCRUB_DIGEST, true, wrong);
    return sound(scrub);
}

/* A row without a group may be another group's; where another row has its path, nobody can say whose file lies here. */
static bool is_elsewhere(struct scrub *scrub, bool *elsewhere)
{
    const struct upkeep_row *row = scrub->row;
    *elsewhere = false;
    if (row->row.stat.group[0] != '\0')
        return true;
    if (!row->row.path || row->key.file[0] == '\0') {
        *elsewhere = true;
    } else {
        if (!scrub_run(scrub, shared_run))
            return false;
        *elsewhere = scrub->found;
    }
    scrub->at.elsewhere += *elsewhere ? 1 : 0;
    return true;
}

/* The file as it lies there; a row of the predecessor may have no size. */
static bool scrub_check_file(struct scrub *scrub)
{
    const struct meta_row *row = &scrub->row->row;
    const struct store_scan_look *look = &scrub->look;
    char what[80];
    int64_t size = 0;
    int fd = -1;
    if (!look->found)
        return judge(scrub, SCRUB_MISSING, false, "there is no such file");
    if (!look->regular)
        return judge(scrub, SCRUB_SIZE, false, "not a regular file");
    if (row->stat.size >= 0 && look->size != row->stat.size) {
        snprintf(what, sizeof(what), "%" PRId64 " bytes, the row says %" PRId64, look->size, row->stat.size);
        return judge(scrub, SCRUB_SIZE, true, what);
    }
    if (!store_file_open(row->path, &row->place, &fd, &size, &scrub->error)) {
        if (scrub->error.code == ERROR_UNAVAILABLE)
            return false;
        snprintf(what, sizeof(what), "%.79s", scrub->error.text);
        return judge(scrub, SCRUB_UNREADABLE, true, what);
    }
    bool fine = check_content(scrub, fd);
    (void)close(fd); /* only read */
    return fine;
}

/* False: the scrub pauses here; scrub->error says why. */
static bool check_row(struct scrub *scrub)
{
    const struct meta_row *row = &scrub->row->row;
    char place[PATH_TEXT_SIZE];
    bool elsewhere = false;
    if (!is_elsewhere(scrub, &elsewhere))
        return false;
    if (elsewhere)
        return true;
    if (!row->path || !path_format(&row->place, place) || scrub->row->key.file[0] == '\0')
        return judge(scrub, SCRUB_UNKNOWN, false, "its path is not on this server");
    return store_path_readable(row->path, &scrub->error) &&
           store_scan_look(row->path, place, &scrub->look, &scrub->error) && scrub_check_file(scrub);
}

/* ---- a whole run ---- */

static bool wanted_otherwise(const struct scrub *scrub)
{
    const struct lease_row *row = &scrub->keeper->lease.row;
    return scrub->at.number == 0 && row->wanted > row->done;
}

static bool check_page(struct scrub *scrub)
{
    for (size_t i = 0; i < scrub->page.count; i++) {
        scrub->row = &scrub->page.rows[i];
        if (wanted_otherwise(scrub))
            return error_set(&scrub->error, ERROR_CANCELLED, "another scrub was requested");
        if (!keeper_throttle(scrub->keeper, ROW_COST))
            return error_set(&scrub->error, ERROR_CANCELLED, "interrupted");
        if (!check_row(scrub))
            return false;
        scrub->at.after = scrub->row->row_id;
        scrub->at.rows++;
        metric_add(scrub->keeper->metrics.scrub_rows, 1);
        if (clock_monotonic_ms() - scrub->stored_at_ms > STORE_MS && !store_progress(scrub, false, 0))
            return error_set(&scrub->error, ERROR_CANCELLED, "the lease is lost");
    }
    return true;
}

static bool check_rows(struct scrub *scrub)
{
    while (scrub->at.table < TABLE_HASH_TABLES) {
        if (!keeper_breathe(scrub->keeper))
            return error_set(&scrub->error, ERROR_CANCELLED, "interrupted");
        if (!scrub_run(scrub, page_run) || !check_page(scrub))
            return false;
        if (scrub->page.count < UPKEEP_PAGE) {
            scrub->at.table++;
            scrub->at.after = 0;
        }
    }
    scrub->at.rows_done = true;
    return true;
}

static bool run_all(struct scrub *scrub)
{
    struct sweep_result swept = {0};
    int64_t finished = 0;
    bool anew = !scrub->resumed || !scrub->at.rows_done;
    if (!store_progress(scrub, false, 0))
        return error_set(&scrub->error, ERROR_CANCELLED, "the lease is lost");
    /* What lies in quarantine and has a row is not missing; what was marked because it was missing is sound again. */
    if (!scrub->at.rows_done && !quarantine_give_back(scrub->keeper, true, &scrub->error))
        return false;
    if (!scrub->at.rows_done && !check_rows(scrub))
        return false;
    if (!store_progress(scrub, false, 0) || !sweep_all(scrub->keeper, anew, &swept, &scrub->error))
        return false;
    scrub->at.leftovers = swept.leftovers;
    scrub->at.young = swept.young;
    scrub->at.left = swept.left;
    if (!keeper_now(scrub->keeper, &finished, &scrub->error) || !store_progress(scrub, true, finished))
        return false;
    log_info(ROOM,
             "read back %" PRId64 " files of %" PRId64 " bytes: %zu findings reported, %" PRId64
             " digests added, %" PRId64 " kept out of service, %" PRId64 " healed",
             scrub->at.rows, scrub->at.bytes, json_array_size(scrub->at.lines), scrub->at.digests,
             scrub->at.repaired, scrub->at.healed);
    return true;
}

/* To the end, or until something interrupts it. Returns after how many milliseconds it is to go on. */
static int64_t run_scrub(struct scrub *scrub)
{
    struct keeper *keeper = scrub->keeper;
    int64_t pause_ms = 0;
    metric_set(keeper->metrics.scrub_running, 1);
    if (!run_all(scrub)) {
        bool interrupted = scrub->error.code == ERROR_CANCELLED;
        if (!interrupted)
            keeper_complain(keeper, "the scrub pauses", &scrub->error);
        if (lease_held(&keeper->lease) && !store_progress(scrub, false, 0))
            log_debug(ROOM, "the scrub's last position is lost; it repeats some files");
        pause_ms = interrupted ? 0 : RETRY_MS;
    }
    metric_set(keeper->metrics.scrub_running, 0);
    return pause_ms;
}

static bool scrub_is_wanted(const struct keeper *keeper)
{
    return keeper->lease.row.wanted > keeper->lease.row.done;
}

/* Is it time for one that nobody asked for? */
static bool scrub_is_time(struct keeper *keeper, int64_t finished)
{
    struct error error = {0};
    int64_t now = 0;
    if (keeper->config->scrub_interval_ms == 0 || clock_monotonic_ms() - keeper->start_ms <= IDLE_MS)
        return false;
    if (!keeper_now(keeper, &now, &error)) {
        keeper_complain(keeper, "no scrub for now", &error);
        return false;
    }
    return now - finished >= keeper->config->scrub_interval_ms / 1000;
}

/* A run that was interrupted is ended first, whatever is asked for meanwhile: it may be a repair that somebody waits
 * for. Then comes what is wanted, then what is due. */
static bool choose_run(struct scrub *scrub, const json_t *progress)
{
    struct keeper *keeper = scrub->keeper;
    const struct lease_row *row = &keeper->lease.row;
    const char *phase = json_string_value(json_object_get(progress, "phase"));
    int64_t number = notes_number(progress, "run");
    bool unfinished = phase && strcmp(phase, "done") != 0;
    if (unfinished && (number > row->done || (number == 0 && !scrub_is_wanted(keeper)))) {
        scrub->at.number = number;
        resume(scrub, progress);
        return number != 0 || keeper->config->scrub_interval_ms > 0;
    }
    if (scrub_is_wanted(keeper)) {
        scrub->at.number = row->wanted;
        scrub->at.repair = row->repair;
        return scrub_begin(scrub);
    }
    return scrub_is_time(keeper, notes_number(progress, "finished"));
}

static bool scrub_due(const struct keeper *keeper, const struct chore *chore, int64_t now_ms)
{
    return now_ms >= chore->next_ms && (scrub_is_wanted(keeper) || now_ms >= chore->look_ms);
}

static int64_t scrub_if_due(struct keeper *keeper, struct chore *chore)
{
    int64_t pause_ms = RETRY_MS;
    struct scrub *scrub = calloc(1, sizeof(*scrub));
    json_t *progress = json_loads(keeper->lease.row.progress, 0, NULL);
    chore->look_ms = clock_monotonic_ms() + LOOK_MS;
    if (scrub && (scrub->at.lines = json_array())) {
        scrub->keeper = keeper;
        if (choose_run(scrub, progress))
            pause_ms = run_scrub(scrub);
        else
            pause_ms = scrub->error.code == ERROR_NONE ? 0 : RETRY_MS;
        json_decref(scrub->at.lines);
    }
    json_decref(progress);
    free(scrub);
    return pause_ms;
}

const struct chore scrub_chore = {.name = "scrub", .due = scrub_due, .run = scrub_if_due};

void scrub_register_metrics(struct upkeep_metrics *metrics)
{
    char labels[64];
    metrics->scrub_running = metrics_gauge("reel_storage_scrub_running", "1 while a scrub runs here.", NULL);
    metrics->scrub_rows = metrics_counter("reel_storage_scrub_rows_total", "Rows compared with files.", NULL);
    metrics->scrub_bytes =
        metrics_counter("reel_storage_scrub_bytes_total", "Bytes of files read back.", NULL);
    metrics->scrub_digests =
        metrics_counter("reel_storage_scrub_digests_total", "Digests added to rows without one.", NULL);
    for (int i = 0; i < SCRUB_KINDS; i++) {
        snprintf(labels, sizeof(labels), "kind=\"%s\"", scrub_kind_names[i]);
        metrics->findings[i] =
            metrics_counter("reel_storage_scrub_findings_total", "What the scrub found wrong.", labels);
    }
}
