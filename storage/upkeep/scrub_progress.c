/*
 * scrub_progress: JSON, in the lease's row, where `reel admin scrub status` reads it too.
 */
#include "storage/upkeep/scrub_progress.h"

#include "storage/rows/table_hash.h"
#include "storage/upkeep/lease.h"
#include "storage/upkeep/notes.h"

#include <stdlib.h>
#include <string.h>

const char *const scrub_kind_names[SCRUB_KINDS] = {
    [SCRUB_MISSING] = "missing",       [SCRUB_SIZE] = "wrong-size",       [SCRUB_DIGEST] = "wrong-digest",
    [SCRUB_UNREADABLE] = "unreadable", [SCRUB_UNKNOWN] = "unknown-place", [SCRUB_DAMAGED] = "out-of-service",
};

static json_t *progress_json(const struct scrub_progress *at, bool done, int64_t finished)
{
    json_t *kinds = json_object();
    for (int i = 0; i < SCRUB_KINDS; i++) {
        if (json_object_set_new(kinds, scrub_kind_names[i], json_integer((json_int_t)at->kinds[i])) != 0)
            break;
    }
    return json_pack("{s:I, s:b, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:O}",
                     "run", (json_int_t)at->number, "repair", (int)at->repair, "phase",
                     done            ? "done"
                     : at->rows_done ? "files"
                                     : "rows",
                     "table", (int)at->table, "after", (json_int_t)at->after, "rows", (json_int_t)at->rows,
                     "bytes", (json_int_t)at->bytes, "digests", (json_int_t)at->digests, "repaired",
                     (json_int_t)at->repaired, "healed", (json_int_t)at->healed, "elsewhere",
                     (json_int_t)at->elsewhere, "leftovers", (json_int_t)at->leftovers, "young",
                     (json_int_t)at->young, "left", (json_int_t)at->left, "finished", (json_int_t)finished,
                     "findings", kinds, "lines", at->lines);
}

char *scrub_progress_text(const struct scrub_progress *at, bool done, int64_t finished, struct error *error)
{
    json_t *json = progress_json(at, done, finished);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text && strlen(text) < LEASE_PROGRESS_SIZE)
        return text;
    free(text);
    error_set(error, ERROR_UNAVAILABLE, "no memory for the progress of the scrub");
    return NULL;
}

bool scrub_progress_read(struct scrub_progress *at, const json_t *progress)
{
    const char *phase = json_string_value(json_object_get(progress, "phase"));
    json_t *lines = json_object_get(progress, "lines");
    int64_t table = notes_number(progress, "table");
    at->repair = json_is_true(json_object_get(progress, "repair"));
    if (!phase || table < 0 || table > TABLE_HASH_TABLES)
        return false;
    at->rows_done = strcmp(phase, "files") == 0;
    at->table = (unsigned)table;
    at->after = notes_number(progress, "after");
    at->rows = notes_number(progress, "rows");
    at->bytes = notes_number(progress, "bytes");
    at->digests = notes_number(progress, "digests");
    at->repaired = notes_number(progress, "repaired");
    at->healed = notes_number(progress, "healed");
    at->elsewhere = notes_number(progress, "elsewhere");
    for (int i = 0; i < SCRUB_KINDS; i++)
        at->kinds[i] = notes_number(json_object_get(progress, "findings"), scrub_kind_names[i]);
    if (json_is_array(lines)) {
        json_decref(at->lines);
        at->lines = json_incref(lines);
    }
    return true;
}
