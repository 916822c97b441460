/*
 * story_move: stories of two groups with one database and one sequence of numbers, between which files move (FETCH, MOVE) while they are
 * uploaded, deleted and read at both. Each has a store path of its own; both are on the volume, so that what strikes it strikes both.
 */
#include "common/proto/digest.h"
#include "common/proto/proto.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include "storage/rows/table_hash.h"
#include "tests/simulation/base_handle.h"
#include "tests/simulation/story_state.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STEP_OUTSTAYED "move-before-begin"

bool story_moves;
static char volumes[2][300];
static const char *const groups[] = {"group001", "group002"};

void move_story_begin(void)
{
    story_moves = true;
    for (size_t i = 0; i < ARRAY_SIZE(volumes); i++) {
        snprintf(volumes[i], sizeof(volumes[i]), "%s/%s", story_volume, groups[i]);
        if (mkdir(volumes[i], 0700) != 0)
            violation("cannot make %s: %s", volumes[i], strerror(errno));
    }
}

const char *move_story_volume(int group)
{
    return volumes[group];
}

static int group_of(const struct node *node)
{
    return node - story_storages < story_home_count ? 0 : 1;
}

static struct node *any_of_group(int group)
{
    return group == 0 ? story_home_storage()
                      : &story_storages[chance_between(story_home_count, story_storage_count - 1)];
}

/* The file's bytes from a server of the group that has it, deleted or not. */
static bool fetch(int file, struct node *node, struct reply *reply)
{
    struct proto_download head = {0};
    uint8_t bytes[PROTO_DOWNLOAD_SIZE];
    story_fill_key(&head.key, file);
    if (!proto_download_pack(bytes, &head, NULL))
        violation("a FETCH cannot be packed");
    client_ask(node->port, PROTO_STORAGE_FETCH, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, reply);
    return reply->complete && reply->code == 0;
}

static void move(int file, struct node *node, int from, const struct reply *fetched, struct reply *reply)
{
    struct proto_put head = {.size = (int64_t)fetched->size};
    uint8_t bytes[PROTO_PUT_SIZE], *content = malloc(fetched->size + PROTO_DIGEST_SIZE);
    struct digest *digest = digest_create();
    if (!digest || !content)
        violation("no memory for a MOVE");
    memcpy(content, fetched->body, fetched->size);
    digest_update(digest, content, fetched->size);
    digest_final(digest, content + fetched->size);
    digest_destroy(digest);
    story_fill_key(&head.key, file);
    memcpy(head.name, groups[from], strlen(groups[from]));
    /* The command sends no type, and the row keeps its own; with none libmagic would be asked, for which there is no virtual time. */
    memcpy(head.content_type, "video/mp4", sizeof("video/mp4"));
    memcpy(head.group, groups[1 - from], strlen(groups[1 - from]));
    if (!proto_put_pack(bytes, &head, NULL))
        violation("a MOVE cannot be packed");
    client_ask(node->port, PROTO_STORAGE_MOVE, bytes, sizeof(bytes), content,
               fetched->size + PROTO_DIGEST_SIZE, (chance(500000) ? 60 : 300) * SECOND_US, reply);
    free(content);
}

/* Which group FILE's row names; false: there is no row. */
static bool group_of_row(int file, int *group)
{
    char base[300], sql[300];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    bool found = false;
    snprintf(base, sizeof(base), "%s/storage.db", story_bases);
    snprintf(sql, sizeof(sql), "SELECT group_name FROM t_file_0%d WHERE userid = 'alice' AND id = '%s'",
             (int)table_hash_of_user("alice") + 1, story_files[file].id);
    if (base_handle_open(base, &handle, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) != SQLITE_OK)
        violation("the rows cannot be read");
    if (sqlite3_step(statement) == SQLITE_ROW) {
        found = true;
        *group = strcmp((const char *)sqlite3_column_text(statement, 0), groups[1]) == 0;
    }
    (void)sqlite3_finalize(statement);
    (void)base_handle_close(handle);
    return found;
}

bool move_story_belongs(int file, const struct node *node)
{
    int group;
    return !group_of_row(file, &group) || group == group_of(node);
}

bool move_story_outstays(const char *step)
{
    return strcmp(step, STEP_OUTSTAYED) == 0;
}

/* Whoever moves a file to group TO stands still at a step of it. Right before its transaction, which would keep all others from
 * writing, it may do so until another member of its group has put aside the file that it has stored. */
static void arm(int to)
{
    static const char *const steps[] = {"move-begun", "move-before-commit", "move-committed"};
    if (to == 0 && story_home_count > 1 && chance(300000))
        story_armed_step = STEP_OUTSTAYED;
    else if (chance(100000))
        story_armed_step = steps[chance_below((int64_t)ARRAY_SIZE(steps))];
}

/* A MOVE of FILE was answered with success right now: later it may be deleted and purged, and nobody would know. */
static void look_at_moved(int file, const struct node *node)
{
    char base[300], sql[300], path[600];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    struct stat status;
    snprintf(base, sizeof(base), "%s/storage.db", story_bases);
    snprintf(sql, sizeof(sql),
             "SELECT group_name, file_path FROM t_file_0%d WHERE userid = 'alice' AND id = '%s' AND "
             "COALESCE(status, 0) = 0",
             (int)table_hash_of_user("alice") + 1, story_files[file].id);
    if (base_handle_open(base, &handle, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        int group = strcmp((const char *)sqlite3_column_text(statement, 0), groups[1]) == 0;
        const char *text = (const char *)sqlite3_column_text(statement, 1);
        snprintf(path, sizeof(path), "%s%s", volumes[group], text + strlen("../data"));
        if (stat(path, &status) != 0)
            violation("%s: MOVE of %s is answered with success, but nothing lies at %s, where its row says",
                      node->name, story_files[file].id, path + strlen(story_volume));
    }
    (void)sqlite3_finalize(statement);
    (void)base_handle_close(handle);
}

void story_move(void)
{
    int file = (int)chance_below(story_file_count), from = (int)chance_below(2), owner;
    if (chance(900000) && group_of_row(file, &owner))
        from = owner;
    struct node *there = any_of_group(from), *here = any_of_group(1 - from);
    struct reply fetched = {0}, reply = {0};
    if (story_may(TROUBLE_STEP))
        arm(1 - from);
    if (fetch(file, there, &fetched)) {
        move(file, here, from, &fetched, &reply);
        say("MOVE of %s from %s to %s: %s %d", story_files[file].id, there->name, here->name,
            reply.complete ? "answer"
            : reply.sent   ? "no answer"
                           : "not reached",
            reply.code);
        if (reply.complete && reply.code == 0)
            look_at_moved(file, here);
    }
    client_free(&reply);
    client_free(&fetched);
}
