/*
 * story_client: what each client does: one request after the other, by chance, at any server, whose answers become parts of the files'
 * histories.
 */
#include "tests/simulation/story_state.h"

#include "common/proto/proto.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"

#include <stdlib.h>
#include <string.h>

#define STORY_EPOCH_S INT64_C(1700000000) /* when every story begins */

struct node *story_any_storage(void)
{
    return &story_storages[chance_below(story_storage_count)];
}

struct node *story_home_storage(void)
{
    return &story_storages[chance_below(story_home_count)];
}

void story_fill_name(char name[PROTO_NAME_SIZE], int number)
{
    snprintf(name, PROTO_NAME_SIZE, "name-%d", number);
}

void story_fill_key(struct proto_file_key *key, int file)
{
    memset(key, 0, sizeof(*key));
    memcpy(key->application, "tnvideo", sizeof("tnvideo"));
    memcpy(key->user, "alice", sizeof("alice"));
    memcpy(key->file, story_files[file].id, sizeof(story_files[file].id));
}

void story_note(int file, const struct operation *operation)
{
    struct history *history = &story_files[file].history;
    if (history->count == HISTORY_MAX)
        violation("more than %d operations of a file", HISTORY_MAX);
    history->operations[history->count++] = *operation;
    story_result.operations++;
}

bool story_may_delete(const struct operation *one)
{
    bool goes = one->kind == OPERATION_DELETE || (one->kind == OPERATION_EXPIRE && one->expires_us > 0);
    return goes && (one->answer == ANSWER_DONE || one->answer == ANSWER_UNKNOWN);
}

bool story_begin(int file)
{
    if (story_files[file].begun >= HISTORY_MAX - 24)
        return false;
    story_files[file].begun++;
    return true;
}

static int content_of_digest(int file, const struct proto_stat *stat)
{
    for (int i = 0; i < CONTENTS; i++) {
        if (stat->has_digest && memcmp(stat->digest, story_digests[file][i], PROTO_DIGEST_SIZE) == 0)
            return i;
    }
    return -1;
}

static int content_of_bytes(int file, const struct reply *reply)
{
    for (int i = 0; i < CONTENTS; i++) {
        size_t size;
        uint8_t *bytes = content_make(file, i, &size);
        bool same = size == reply->size && memcmp(bytes, reply->body, size) == 0;
        free(bytes);
        if (same)
            return i;
    }
    return -1;
}

static void put(int file, struct node *node, struct operation *operation, struct reply *reply)
{
    struct proto_put head = {0};
    uint8_t bytes[PROTO_PUT_SIZE];
    size_t size;
    uint8_t *content = content_make(file, operation->content, &size);
    story_fill_key(&head.key, file);
    head.size = (int64_t)size;
    head.has_digest = chance(500000);
    if (head.has_digest)
        memcpy(head.digest, story_digests[file][operation->content], sizeof(head.digest));
    story_fill_name(head.name, operation->name);
    memcpy(head.content_type, "video/mp4", sizeof("video/mp4"));
    if (!proto_put_pack(bytes, &head, NULL))
        violation("a PUT cannot be packed");
    client_ask(node->port, PROTO_STORAGE_PUT, bytes, sizeof(bytes), content, size,
               ONE_OF(60, 300) * SECOND_US, reply);
    free(content);
}

static void ask_key(int file, struct node *node, uint8_t command, struct reply *reply)
{
    struct proto_file_key key;
    uint8_t bytes[PROTO_FILE_KEY_SIZE];
    story_fill_key(&key, file);
    if (!proto_file_key_pack(bytes, &key, NULL))
        violation("a key cannot be packed");
    client_ask(node->port, command, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, reply);
}

static void rename_file(int file, struct node *node, const struct operation *operation, struct reply *reply)
{
    struct proto_rename head = {0};
    uint8_t bytes[PROTO_RENAME_SIZE];
    story_fill_key(&head.key, file);
    story_fill_name(head.name, operation->name);
    if (!proto_rename_pack(bytes, &head, NULL))
        violation("a RENAME cannot be packed");
    client_ask(node->port, PROTO_STORAGE_RENAME, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, reply);
}

/* In virtual time the clocks of clients are right. */
static void expire(int file, struct node *node, struct operation *operation, struct reply *reply)
{
    struct proto_expire head = {.change = true, .expires = PROTO_EXPIRES_NEVER};
    uint8_t bytes[PROTO_EXPIRE_SIZE];
    story_fill_key(&head.key, file);
    operation->expires_us = 0;
    if (chance(700000)) {
        head.expires = STORY_EPOCH_S + now_us() / SECOND_US + ONE_OF(1, 5, 20, 60);
        operation->expires_us = (head.expires - STORY_EPOCH_S) * SECOND_US;
    }
    if (!proto_expire_pack(bytes, &head, NULL))
        violation("an EXPIRE cannot be packed");
    client_ask(node->port, PROTO_STORAGE_EXPIRE, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, reply);
}

static void download(int file, struct node *node, struct reply *reply)
{
    struct proto_download head = {0};
    uint8_t bytes[PROTO_DOWNLOAD_SIZE];
    story_fill_key(&head.key, file);
    if (!proto_download_pack(bytes, &head, NULL))
        violation("a DOWNLOAD cannot be packed");
    client_ask(node->port, PROTO_STORAGE_DOWNLOAD, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, reply);
}

/* How a change was answered; false: it was certainly not begun. */
bool story_judge_change(struct operation *operation, const struct reply *reply)
{
    if (!reply->sent)
        return false;
    operation->answer = ANSWER_UNKNOWN;
    operation->to_us = FOREVER;
    if (!reply->complete)
        return true;
    if (reply->code == 0)
        operation->answer = ANSWER_DONE;
    else if (reply->code == ERROR_NOT_FOUND)
        operation->answer = ANSWER_GONE;
    else if (reply->code == ERROR_DELETED)
        operation->answer = ANSWER_DELETED;
    else if (reply->code == ERROR_EXISTS)
        operation->answer = ANSWER_TAKEN;
    if (operation->answer != ANSWER_UNKNOWN)
        operation->to_us = now_us();
    return true;
}

static int name_of_text(const char *text)
{
    for (int i = 0; i < NAMES; i++) {
        char name[PROTO_NAME_SIZE];
        story_fill_name(name, i);
        if (strcmp(text, name) == 0)
            return i;
    }
    violation("STAT shows a name that nobody gave: %s", text);
}

static bool judge_stat(int file, struct operation *operation, const struct reply *reply)
{
    struct proto_stat stat;
    operation->to_us = now_us();
    if (reply->code == ERROR_NOT_FOUND) {
        operation->answer = ANSWER_ABSENT;
        return true;
    }
    if (reply->code != 0 || !proto_stat_reply_unpack(reply->body, reply->size, &stat, NULL))
        return false;
    operation->answer = stat.status == PROTO_FILE_NORMAL ? ANSWER_DONE : ANSWER_DELETED;
    operation->content = content_of_digest(file, &stat);
    operation->name = name_of_text(stat.name);
    operation->expires_us = stat.expires == 0 ? 0 : (stat.expires - STORY_EPOCH_S) * SECOND_US;
    if (operation->content < 0)
        violation("%s: STAT of %s shows a digest that nobody stored", operation->who, story_files[file].id);
    return true;
}

static bool judge_download(int file, struct operation *operation, const struct reply *reply)
{
    operation->to_us = now_us();
    if (reply->code == ERROR_NOT_FOUND) {
        operation->answer = ANSWER_GONE;
        return true;
    }
    if (reply->code != 0)
        return false;
    operation->answer = ANSWER_DONE;
    operation->name = -1;
    operation->expires_us = -1;
    operation->content = content_of_bytes(file, reply);
    if (operation->content < 0 && story_files[file].damaged && story_bytes_are_wrong > 0)
        return false; /* the disk gives other bytes than were written */
    if (operation->content < 0)
        violation("%s: DOWNLOAD of %s gives %zu bytes that nobody stored", operation->who,
                  story_files[file].id, reply->size);
    return true;
}

bool story_operate(int file, struct node *node, struct operation *operation, bool stat, struct reply *reply)
{
    bool counts = false;
    operation->who = node->name;
    operation->from_us = now_us();
    switch (operation->kind) {
    case OPERATION_PUT:
        put(file, node, operation, reply);
        break;
    case OPERATION_DELETE:
        ask_key(file, node, PROTO_STORAGE_DELETE, reply);
        break;
    case OPERATION_RESTORE:
        ask_key(file, node, PROTO_STORAGE_RESTORE, reply);
        break;
    case OPERATION_RENAME:
        rename_file(file, node, operation, reply);
        break;
    case OPERATION_EXPIRE:
        expire(file, node, operation, reply);
        break;
    case OPERATION_READ:
        if (stat)
            ask_key(file, node, PROTO_STORAGE_STAT, reply);
        else
            download(file, node, reply);
        break;
    }
    if (operation->kind != OPERATION_READ)
        counts = story_judge_change(operation, reply);
    else if (reply->complete)
        counts = stat ? judge_stat(file, operation, reply) : judge_download(file, operation, reply);
    say("%s of %s at %s: %s %d",
        (const char *[]){"PUT", "DELETE", "RESTORE", "RENAME", "EXPIRE",
                         stat ? "STAT" : "DOWNLOAD"}[operation->kind],
        story_files[file].id, node->name,
        reply->complete ? "answer"
        : reply->sent   ? "no answer"
                        : "not reached",
        reply->code);
    if (counts && operation->kind == OPERATION_PUT && operation->answer == ANSWER_DONE)
        story_look_at_stored(file, operation);
    return counts;
}

bool story_do(int file, struct node *node, struct operation *operation)
{
    struct reply reply = {0};
    if (!story_begin(file))
        return true;
    bool counts = story_operate(file, node, operation, chance(500000), &reply);
    client_free(&reply);
    if (!reply.sent) {
        story_files[file].begun--;
        return false;
    }
    /* Of a file whose bytes were away only what was achieved says something. */
    if (counts && story_files[file].damaged && operation->answer != ANSWER_DONE &&
        operation->answer != ANSWER_UNKNOWN)
        counts = false;
    /* Whoever belongs to another group says so, or that the ID is taken, whatever the bytes are. */
    if (story_moves && (reply.code == ERROR_OTHER_GROUP || operation->answer == ANSWER_TAKEN))
        counts = false;
    /* With another member beside it one may answer from memory for a while, or, with the database away, whatever it remembers;
     * but never with what was before a change that it has acknowledged itself. */
    if (operation->kind == OPERATION_READ && story_storage_count > 1) {
        operation->asked_us = operation->from_us;
        bool behind = story_may_be_behind(node, operation->from_us);
        operation->from_us = behind ? 0 : operation->from_us - story_cache_age_ms * 1000 - SLACK_US;
    }
    if (counts)
        story_note(file, operation);
    return true;
}

/* False: nobody was reached. */
static bool one_operation(void)
{
    int64_t kind = chance_below(100);
    struct operation operation = {.kind = kind < 32   ? OPERATION_PUT
                                          : kind < 50 ? OPERATION_DELETE
                                          : kind < 64 ? OPERATION_RESTORE
                                          : kind < 70 ? OPERATION_RENAME
                                          : kind < 74 ? OPERATION_EXPIRE
                                                      : OPERATION_READ,
                                  .content = (int)chance_below(CONTENTS),
                                  .name = (int)chance_below(NAMES)};
    return story_do((int)chance_below(story_file_count), story_any_storage(), &operation);
}

void *story_client_main(void *argument)
{
    (void)argument;
    for (int i = 0; i < story_habits.operations;) {
        sleep_us(chance_below(story_habits.think_us));
        if (chance(50000)) {
            story_take_number();
        } else if (chance(story_habits.meeting_share)) {
            story_meet();
            i += 3;
        } else if (story_moves && chance(story_habits.move_share)) {
            story_move();
            i++;
        } else if (story_habits.partial_share > 0 && chance(story_habits.partial_share)) {
            partial_step();
            i++;
        } else {
            i += one_operation();
        }
    }
    story_clients_left--;
    return NULL;
}
