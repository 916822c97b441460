/*
 * story_damage: the bytes of a stored file are away, or are others, for a while. As long as they are, a row that a repair has marked stays
 * marked, and nobody who uploads that file anew is answered that it is stored because its row says so.
 */
#include "storage/rows/meta_sql.h"
#include "storage/rows/table_hash.h"
#include "tests/simulation/base_handle.h"
#include "tests/simulation/story_state.h"

#include <dirent.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAMAGED_MAX 16

int story_bytes_are_wrong, story_damages_left;

/* What is damaged now. */
static struct damage {
    char *path; /* NULL: a free place */
    int64_t since_us;
} damages[DAMAGED_MAX];

static bool find_file(const char *directory, char *path, size_t size)
{
    bool found = false;
    int64_t seen = 0;
    char below[600];
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        struct stat status;
        snprintf(below, sizeof(below), "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] == '.' || stat(below, &status) != 0)
            continue;
        char inner[600];
        if (S_ISDIR(status.st_mode) ? find_file(below, inner, sizeof(inner))
                                    : snprintf(inner, sizeof(inner), "%s", below) > 0) {
            if (chance_below(++seen) == 0)
                snprintf(path, size, "%s", inner);
            found = true;
        }
    }
    if (stream)
        closedir(stream);
    return found;
}

/* The states of alice's rows whose file lies at PATH: a bit for each. */
static unsigned states_of(const char *path)
{
    char base[300], sql[800];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    unsigned states = 0;
    int table = (int)table_hash_of_user("alice") + 1;
    snprintf(base, sizeof(base), "%s/storage.db", story_bases);
    snprintf(sql, sizeof(sql),
             "SELECT COALESCE(status, 0) FROM t_file_0%d WHERE userid = 'alice' AND file_path = '../data%s'",
             table, path + strlen(story_volume));
    if (base_handle_open(base, &handle, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK) {
        while (sqlite3_step(statement) == SQLITE_ROW)
            states |= 1u << sqlite3_column_int(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    (void)base_handle_close(handle);
    return states;
}

/* As long as the bytes are not there a row that a repair has marked stays marked. */
static void watch_damage(const char *path, int64_t us)
{
    const unsigned sound = 1u << META_STATE_NORMAL | 1u << META_STATE_DELETED,
                   marked = 1u << META_STATE_DAMAGED | 1u << META_STATE_DAMAGED_DELETED;
    bool was_sound = !(states_of(path) & ~sound), was_marked = false;
    for (int64_t until = now_us() + us; now_us() < until;) {
        sleep_us(min_i64(SECOND_US / 2, until - now_us()));
        unsigned states = states_of(path);
        was_marked = was_marked || (states & marked);
        if (was_sound && was_marked && (states & sound))
            violation("%s is marked no more, though its bytes are not there", path + strlen(story_volume));
    }
}

/* Of the files that are damaged now the one at PATH; NULL: none. PATH NULL: a free place. */
static struct damage *damage_at(const char *path)
{
    for (size_t i = 0; i < DAMAGED_MAX; i++) {
        const char *other = damages[i].path;
        if (path ? other && strcmp(other, path) == 0 : !other)
            return &damages[i];
    }
    return NULL;
}

/* Other bytes in the place of a file; of another size, by chance. */
static bool write_wrong(const char *path, const char *sound)
{
    struct stat status;
    FILE *file = fopen(path, "we");
    if (!file)
        return false;
    bool fine = stat(sound, &status) == 0;
    for (int64_t left = (int64_t)status.st_size + (chance(500000) || status.st_size == 0); fine && left > 0;
         left--)
        fine = putc('x', file) != EOF;
    return fclose(file) == 0 && fine;
}

/* The bytes of a file are away, or wrong, for a while, and fsck meets that. Nobody knows here whose they are: so every
 * file's refusals say nothing from now on. */
static void damage(void)
{
    char path[600], away[700];
    static int taken;
    bool wrong = chance(500000);
    /* What has no row yet may still become a file, of which nobody could say that its bytes are wrong. */
    if (!find_file(story_volume, path, sizeof(path)) || damage_at(path) || states_of(path) == 0)
        return;
    snprintf(away, sizeof(away), "%s/../away-%d", story_volume, taken++);
    for (int i = 0; i < story_file_count; i++)
        story_files[i].damaged = true;
    say("the bytes of %s are %s", path + strlen(story_volume), wrong ? "wrong" : "taken away");
    if (rename(path, away) != 0)
        return;
    story_bytes_are_wrong += wrong;
    struct damage *place = damage_at(NULL);
    if (!place)
        violation("more than %d files are damaged at once", DAMAGED_MAX);
    *place = (struct damage){.path = strdup(path), .since_us = FOREVER};
    if (wrong && !write_wrong(path, away))
        violation("cannot write %s", path);
    place->since_us = now_us();
    int64_t us = chance_below(60 * SECOND_US);
    watch_damage(path, us / 4);
    if (story_may(TROUBLE_STEP) && wrong && chance(400000))
        story_armed_step = "scrub-row-marked"; /* the bytes may be back when it goes on */
    if (story_may(TROUBLE_FSCK) && chance(700000))
        story_fsck(true);
    watch_damage(path, us);
    say("the bytes of %s are put back", path + strlen(story_volume));
    free(place->path);
    place->path = NULL;
    (void)rename(away, path);
    disk_settle(path);
    sleep_us(30 * SECOND_US); /* whoever reads still has the wrong ones open */
    story_bytes_are_wrong -= wrong;
}

static void *damage_main(void *argument)
{
    (void)argument;
    damage();
    story_damages_left--;
    return NULL;
}

void story_damage(void)
{
    story_damages_left++;
    (void)fiber_start(NULL, "damage", damage_main, NULL);
}

/* ---- what is uploaded anew ---- */

/* The path at which the row of FILE says that its bytes are; false: it has none, is deleted, or cannot be read now. */
static bool path_of_row(int file, char *path, size_t size)
{
    char base[300], sql[300];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    bool found = false;
    snprintf(base, sizeof(base), "%s/storage.db", story_bases);
    snprintf(sql, sizeof(sql),
             "SELECT file_path FROM t_file_0%d WHERE userid = 'alice' AND id = '%s' AND "
             "COALESCE(status, 0) IN (%d, %d)",
             (int)table_hash_of_user("alice") + 1, story_files[file].id, META_STATE_NORMAL,
             META_STATE_DAMAGED);
    if (base_handle_open(base, &handle, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        found = text && strncmp(text, "../data", strlen("../data")) == 0;
        if (found)
            snprintf(path, size, "%s%s", story_volume, text + strlen("../data"));
    }
    (void)sqlite3_finalize(statement);
    (void)base_handle_close(handle);
    return found;
}

/* A power cut may have brought them back. */
static bool has_content(const char *path, int file, int content)
{
    size_t size, got = 0;
    uint8_t *bytes = content_make(file, content, &size), *stored = malloc(size + 1);
    FILE *stream = fopen(path, "re");
    if (!stored)
        violation("no memory for a file");
    if (stream)
        got = fread(stored, 1, size + 1, stream);
    bool same = stream && got == size && memcmp(bytes, stored, size) == 0;
    if (stream)
        (void)fclose(stream);
    free(stored);
    free(bytes);
    return same;
}

/* No change of a row brings back a path that it had before, and what is stored anew has a path of its own. So a row that names damaged
 * bytes now named them all along, and whoever said that the file is stored has not looked. */
void story_look_at_stored(int file, const struct operation *put)
{
    char path[600];
    bool any = false;
    for (size_t i = 0; i < DAMAGED_MAX; i++)
        any = any || (damages[i].path && damages[i].since_us < put->from_us);
    if (!any || !path_of_row(file, path, sizeof(path)))
        return;
    const struct damage *damage = damage_at(path);
    if (damage && damage->since_us < put->from_us && !has_content(path, file, put->content))
        violation("%s: PUT of %s is answered with success, but the bytes at %s, where its row says that they "
                  "are, have been damaged since %.6f s",
                  put->who, story_files[file].id, path + strlen(story_volume),
                  (double)damage->since_us / 1e6);
}
