/*
 * story: see story.h. One fiber tells it; each client is one; the daemons do not know.
 */
#include "tests/simulation/story.h"

#include "common/proto/digest.h"
#include "common/proto/proto.h"
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include "storage/rows/meta_sql.h"
#include "storage/rows/table_hash.h"
#include "tests/simulation/base_file.h"
#include "tests/simulation/node.h"
#include "tests/simulation/story_state.h"

#include <dirent.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDSERVERS_MAX 2
#define NUMBERS_MAX   4096
#define OVERRIDES_MAX 48
#define SLACK_US      (15 * SECOND_US)
#define DAY_S         INT64_C(86400)
#define STORY_EPOCH_S INT64_C(1700000000) /* when every story begins */

const char *const trouble_names[TROUBLE_NAMES] = {
    "kill",      "pause",     "power",     "clock",     "network",   "disk-slow", "disk-fail",
    "disk-hang", "base-slow", "base-fail", "base-late", "base-away", "damage",    "fsck",
    "exchange",  "legacy",    "sleep",     "step",      "meeting",   "journal",   "move"};

struct overrides {
    char text[OVERRIDES_MAX][400];
    const char *items[OVERRIDES_MAX + 1];
    size_t count;
};

struct node story_storages[STORAGES_MAX];
static struct node idservers[IDSERVERS_MAX];
static char *journal_setting[STORAGES_MAX]; /* a place in the options */
static struct overrides storage_overrides[STORAGES_MAX], idserver_overrides[IDSERVERS_MAX];
int story_storage_count, story_home_count, story_file_count;
int64_t story_partial_keep_us;
static int idserver_count, client_count, operation_limit;
struct file story_files[FILES_MAX];
uint8_t story_digests[FILES_MAX][CONTENTS][PROTO_DIGEST_SIZE];
int story_clients_left;
static int operations_done;
static bool finished;
static int64_t keep_ms, cache_age_ms, think_us, leftover_ms;
static int64_t partial_share; /* per million of all that clients do: steps of uploads in several requests */
static int64_t meeting_share; /* likewise: see story_meet() */
static int64_t move_share;    /* likewise: see story_move() */
static int64_t step_pause, step_kill; /* per million: what happens to a node at a named step */
static int64_t base_back_us;          /* when the database was away last; 0: never */
/* A server that stands still while the database comes back, or soon after, may go by what it knew before until then. */
static int64_t believes_until[STORAGES_MAX];
static int64_t numbers[NUMBERS_MAX];
static size_t number_count;
static const struct story_limits *limits;
char story_volume[256], story_bases[256];

bool story_may(enum trouble trouble)
{
    return !(limits->without >> trouble & 1);
}

/* ---- the setting ---- */

static void set(struct overrides *overrides, const char *format, ...) PRINTF_LIKE(2, 3);
static void set(struct overrides *overrides, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(overrides->text[overrides->count], sizeof(overrides->text[0]), format, arguments);
    va_end(arguments);
    overrides->items[overrides->count] = overrides->text[overrides->count];
    overrides->items[++overrides->count] = NULL;
}

static int64_t one_of(const int64_t *values, size_t count)
{
    return values[chance_below((int64_t)count)];
}
#define ONE_OF(...) one_of((const int64_t[]){__VA_ARGS__}, ARRAY_SIZE(((const int64_t[]){__VA_ARGS__})))

static void set_up_idservers(void)
{
    int64_t step = ONE_OF(1, 3, 10, 100);
    for (int i = 0; i < idserver_count; i++) {
        struct overrides *overrides = &idserver_overrides[i];
        idservers[i] =
            (struct node){.name = i == 0 ? "ids-a" : "ids-b", .index = i + 1, .port = (uint16_t)(22001 + i)};
        set(overrides, "idserver.listen=127.0.0.1:%d", 22001 + i);
        set(overrides, "%s", base_url("ids"));
        set(overrides, "idserver.step=%" PRId64, step);
        set(overrides, "database.threads=2");
        set(overrides, "database.timeout=2s");
        set(overrides, "daemon.loops=1");
        set(overrides, "daemon.open_files=0");
    }
}

static void set_up_storages(void)
{
    int64_t lease = ONE_OF(1000, 3000, 10000), purge = ONE_OF(200, 2000, 10000);
    int64_t leftover = ONE_OF(10000, 30000, 60000, 120000), sweep = ONE_OF(2000, 10000, 60000);
    int64_t range = ONE_OF(1, 2, 10), age = ONE_OF(1, 2000), chunk = ONE_OF(16, 128);
    story_partial_keep_us = max_i64(ONE_OF(60, 60, 600, 7 * DAY_S), leftover / 1000 + 1) * SECOND_US;
    leftover_ms = leftover;
    keep_ms = ONE_OF(0, 2000, 20000, 7 * DAY_S * 1000);
    cache_age_ms = ONE_OF(1, 500, 5000, 20000);
    static const char *const names[STORAGES_MAX] = {"media-a", "media-b", "media-c"};
    for (int i = 0; i < story_storage_count; i++) {
        struct overrides *overrides = &storage_overrides[i];
        int group = i < story_home_count ? 0 : 1;
        story_storages[i] = (struct node){.name = names[i], .index = i + 3, .port = (uint16_t)(23001 + i)};
        set(overrides, "storage.listen=127.0.0.1:%d", 23001 + i);
        set(overrides, "storage.group=group00%d", group + 1);
        set(overrides, "storage.host_name=%s", story_storages[i].name);
        set(overrides, "storage.paths=../data=%s", story_moves ? move_story_volume(group) : story_volume);
        set(overrides, "%s", base_url("storage"));
        set(overrides, "storage.trackers=");
        set(overrides, "storage.check_users=no"); /* there is no tracker */
        set(overrides, "storage.heartbeat_interval=600s");
        set(overrides, "storage.idservers=%s",
            idserver_count == 1 ? "127.0.0.1:22001"
            : i == 0            ? "127.0.0.1:22001, 127.0.0.1:22002"
                                : "127.0.0.1:22002, 127.0.0.1:22001");
        set(overrides, "storage.id_range=%" PRId64, range);
        set(overrides, "storage.id_timeout=3s");
        set(overrides, "storage.workers=3");
        set(overrides, "storage.reserve_space=0");
        set(overrides, "storage.reserve_inodes=0");
        set(overrides, "storage.probe_interval=30s");
        set(overrides, "storage.hang_timeout=100s");
        set(overrides, "database.threads=3");
        set(overrides, "database.timeout=3s");
        set(overrides, "storage.progress_timeout=2s");
        set(overrides, "storage.drain_timeout=2s");
        set(overrides, "storage.uploads_wait=2s");
        set(overrides, "storage.cache_age=%" PRId64 "ms", cache_age_ms);
        set(overrides, "storage.open_age=%" PRId64 "ms", age);
        set(overrides, "storage.trash_keep=%" PRId64 "ms", keep_ms);
        set(overrides, "storage.purge_interval=%" PRId64 "ms", purge);
        set(overrides, "storage.lease=%" PRId64 "ms", lease);
        set(overrides, "storage.leftover_age=%" PRId64 "ms", leftover);
        set(overrides, "storage.partial_keep=%" PRId64 "s", story_partial_keep_us / SECOND_US);
        set(overrides, "storage.chunk_size=%" PRId64 "K", chunk);
        set(overrides, "storage.sweep_interval=%" PRId64 "ms", sweep);
        if (story_journal) {
            set(overrides, "storage.journal=on");
            journal_setting[i] = overrides->text[overrides->count - 1];
            set(overrides, "storage.journal_size=1M");
        }
        set(overrides, "storage.scrub_interval=0");
        set(overrides, "storage.scrub_rate=0");
        set(overrides, "daemon.loops=%d", (int)chance_between(1, 2));
        set(overrides, "daemon.open_files=0");
    }
}

static void digest_content(int file, int number)
{
    size_t size;
    uint8_t *bytes = content_make(file, number, &size);
    struct digest *digest = digest_create();
    if (!digest)
        violation("no memory for a digest");
    digest_update(digest, bytes, size);
    digest_final(digest, story_digests[file][number]);
    digest_destroy(digest);
    free(bytes);
}

void story_prepare(void)
{
    for (int i = 0; i < FILES_MAX; i++) {
        for (int j = 0; j < CONTENTS; j++)
            digest_content(i, j);
    }
    disk_read_mounts();
}

static void set_up_files(void)
{
    for (int i = 0; i < story_file_count; i++) {
        story_files[i].history =
            (struct history){.file = i, .keep_us = keep_ms * 1000, .late_us = leftover_ms * 1000 / 2};
        snprintf(story_files[i].id, sizeof(story_files[i].id), "file-%d", i);
    }
}

static void set_up(void)
{
    story_home_count = limits->one_storage ? 1 : (int)chance_between(1, 2);
    story_storage_count = story_home_count + story_moves;
    idserver_count = (int)chance_between(1, IDSERVERS_MAX);
    client_count = (int)chance_between(2, 5);
    story_file_count = (int)chance_between(1, FILES_MAX);
    operation_limit = (int)chance_between(5, 25);
    think_us = ONE_OF(2000, 50000, 3000000);
    if (chance(150000)) { /* a crowd at one file */
        client_count = 5;
        story_file_count = 1;
        think_us = 2000;
    }
    partial_share = ONE_OF(0, 100000, 400000, 800000);
    meeting_share = story_may(TROUBLE_MEETING) ? ONE_OF(0, 0, 30000, 60000) : 0;
    if (story_may(TROUBLE_STEP) && chance(300000)) {
        step_pause = ONE_OF(1000, 20000);
        step_kill = ONE_OF(0, 2000);
    }
    if (story_journal)
        journal_story_steps(story_may(TROUBLE_STEP) && story_may(TROUBLE_POWER));
    if (story_moves)
        move_share = ONE_OF(50000, 150000, 300000);
    if (limits->clients > 0)
        client_count = (int)min_i64(client_count, limits->clients);
    if (limits->files > 0)
        story_file_count = (int)min_i64(story_file_count, limits->files);
    if (limits->operations > 0)
        operation_limit = (int)min_i64(operation_limit, limits->operations);
    set_up_idservers();
    set_up_storages();
    set_up_files();
}

/* ---- clients ---- */

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
    operations_done++;
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
    violation("STAT tells a name that nobody gave: %s", text);
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
        violation("%s: STAT of %s tells a digest that nobody stored", operation->who, story_files[file].id);
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

static bool lately(int64_t us, int64_t when_us)
{
    return when_us > 0 && us - when_us < SLACK_US;
}

static void note_beliefs(void)
{
    for (int i = 0; i < story_storage_count; i++) {
        int64_t until_us = story_storages[i].paused_until;
        if ((base_away || lately(now_us(), base_back_us)) && until_us > now_us() && until_us < FOREVER)
            believes_until[i] = until_us;
    }
}

static void stand_still(struct node *node, int64_t us)
{
    node->paused_until = now_us() + us;
    note_beliefs();
}

static void base_returns(void)
{
    base_away = false;
    base_back_us = now_us();
    note_beliefs();
}

/* Asks for one thing and notes what came of it; false where the answer says nothing. */
static bool operate(int file, struct node *node, struct operation *operation, bool stat, struct reply *reply)
{
    bool told = false;
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
        told = story_judge_change(operation, reply);
    else if (reply->complete)
        told = stat ? judge_stat(file, operation, reply) : judge_download(file, operation, reply);
    say("%s of %s at %s: %s %d",
        (const char *[]){"PUT", "DELETE", "RESTORE", "RENAME", "EXPIRE",
                         stat ? "STAT" : "DOWNLOAD"}[operation->kind],
        story_files[file].id, node->name,
        reply->complete ? "answer"
        : reply->sent   ? "no answer"
                        : "not reached",
        reply->code);
    if (told && operation->kind == OPERATION_PUT && operation->answer == ANSWER_DONE)
        story_look_at_stored(file, operation);
    return told;
}

bool story_do(int file, struct node *node, struct operation *operation)
{
    struct reply reply = {0};
    if (!story_begin(file))
        return true;
    bool told = operate(file, node, operation, chance(500000), &reply);
    client_free(&reply);
    if (!reply.sent) {
        story_files[file].begun--;
        return false;
    }
    /* Of a file whose bytes were away only what was achieved says something. */
    if (told && story_files[file].damaged && operation->answer != ANSWER_DONE &&
        operation->answer != ANSWER_UNKNOWN)
        told = false;
    /* Whoever belongs to another group says so, or that the ID is taken, whatever the bytes are. */
    if (story_moves && (reply.code == ERROR_OTHER_GROUP || operation->answer == ANSWER_TAKEN))
        told = false;
    /* With another member beside it one may answer from memory for a while, or, with the database away, whatever it remembers;
     * but never with what was before a change that it has acknowledged itself. */
    if (operation->kind == OPERATION_READ && story_storage_count > 1) {
        operation->asked_us = operation->from_us;
        bool away = base_away || lately(operation->from_us, base_back_us) ||
                    lately(operation->from_us, believes_until[node - story_storages]);
        operation->from_us = away ? 0 : operation->from_us - cache_age_ms * 1000 - SLACK_US;
    }
    if (told)
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

/* A number of an ID server for anybody: none may come twice. */
static void take_number(void)
{
    struct node *node = &idservers[chance_below(idserver_count)];
    uint8_t key[PROTO_KEY_SIZE];
    size_t size = proto_get_pack(key, "../data");
    struct reply reply;
    int64_t value;
    client_ask(node->port, PROTO_IDSERVER_GET, key, size, NULL, 0, 20 * SECOND_US, &reply);
    if (reply.complete && reply.code == 0 && proto_value_unpack(reply.body, reply.size, &value, NULL) &&
        number_count < NUMBERS_MAX)
        numbers[number_count++] = value;
    client_free(&reply);
}

static void *client_main(void *argument)
{
    (void)argument;
    for (int i = 0; i < operation_limit;) {
        sleep_us(chance_below(think_us));
        if (chance(50000)) {
            take_number();
        } else if (chance(meeting_share)) {
            story_meet();
            i += 3;
        } else if (story_moves && chance(move_share)) {
            story_move();
            i++;
        } else if (partial_share > 0 && chance(partial_share)) {
            partial_step();
            i++;
        } else {
            i += one_operation();
        }
    }
    story_clients_left--;
    return NULL;
}

/* ---- trouble ---- */

const char *story_armed_step;

static void arm_step(void)
{
    static const char *const steps[] = {"upload-all-written", "upload-directory-synced",
                                        "row-before-insert",  "row-committed",
                                        "finish-synced",      "finish-row-added",
                                        "append-taken",       "append-to-write",
                                        "append-synced",      "renew-moved",
                                        "purge-marked",       "purge-before-remove",
                                        "scrub-row-marked",   "fence-moved",
                                        "abort-marked",       "expire-marked",
                                        "delete-before-row",  "rename-before-row",
                                        "join-taken"};
    story_armed_step = steps[chance_below((int64_t)ARRAY_SIZE(steps))];
    say("whoever reaches %s next stands still", story_armed_step);
}

/* So long that others come by: the clean-up, whoever takes a lease over. */
static bool stands_still_at(const char *name)
{
    if (!story_armed_step || strcmp(story_armed_step, name) != 0)
        return false;
    story_armed_step = NULL;
    return true;
}

static void start_storage(int i)
{
    if (!story_storages[i].alive)
        node_start(&story_storages[i], storage_node_spec(), storage_overrides[i].items);
}

static void start_idserver(int i)
{
    if (!idservers[i].alive)
        node_start(&idservers[i], idserver_node_spec(), idserver_overrides[i].items);
}

static struct node *any_node(void)
{
    int64_t i = chance_below(story_storage_count + idserver_count);
    return i < story_storage_count ? &story_storages[i] : &idservers[i - story_storage_count];
}

static void start_all(void)
{
    for (int i = 0; i < idserver_count; i++)
        start_idserver(i);
    for (int i = 0; i < story_storage_count; i++)
        start_storage(i);
}

void story_power_cut(void)
{
    for (int i = 0; i < story_storage_count; i++) {
        if (story_storages[i].alive)
            node_kill(&story_storages[i]);
        story_storages[i].paused_until = 0;
    }
    disk_power_cut();
    if (story_journal) {
        bool on = journal_story_power_cut(storage_overrides[0].items);
        for (int i = 0; i < story_storage_count; i++)
            snprintf(journal_setting[i], sizeof(storage_overrides[i].text[0]), "storage.journal=%s",
                     on ? "on" : "off");
    }
    sleep_us(chance_below(10 * SECOND_US));
    start_all();
}

void story_fsck(bool repair)
{
    struct node *node = &story_storages[chance_below(story_storage_count)];
    struct proto_fsck ask = {.action = repair ? PROTO_FSCK_REPAIR : PROTO_FSCK_CHECK};
    uint8_t bytes[PROTO_FSCK_SIZE];
    struct reply reply;
    story_fill_key(&ask.key, 0);
    ask.key.file[0] = '\0'; /* any group */
    if (!proto_fsck_pack(bytes, &ask, NULL))
        violation("an FSCK cannot be packed");
    say("fsck%s is asked of %s", repair ? " --repair" : "", node->name);
    client_ask(node->port, PROTO_STORAGE_FSCK, bytes, sizeof(bytes), NULL, 0, 20 * SECOND_US, &reply);
    if (reply.complete && (reply.code == ERROR_MALFORMED || reply.code == ERROR_REFUSED))
        violation("FSCK was refused (%d): no story has one", reply.code);
    client_free(&reply);
}

/* Two groups of the predecessor, whose rows name no group, have used one path for two files: one is a file of alice here,
 * the other one was deleted by bob long ago. */
static void share_path(void)
{
    static int others;
    const struct file *file = &story_files[chance_below(story_file_count)];
    char path[300], sql[1200];
    int alice = (int)table_hash_of_user("alice") + 1, bob = (int)table_hash_of_user("bob") + 1;
    sqlite3 *handle = NULL;
    snprintf(path, sizeof(path), "%s/storage.db", story_bases);
    /* While a server writes it is left for another time. */
    snprintf(sql, sizeof(sql),
             "BEGIN IMMEDIATE;"
             "INSERT INTO t_file_0%d (id, appid, userid, status, file_path, file_size, deleted_at) "
             "SELECT 'other-%d', appid, 'bob', 1, file_path, file_size, 1690000000 FROM t_file_0%d "
             "WHERE userid = 'alice' AND id = '%s' AND status = 0;"
             "UPDATE t_file_0%d SET group_name = '' WHERE userid = 'alice' AND id = '%s' AND status = 0;"
             "COMMIT",
             bob, others++, alice, file->id, alice, file->id);
    if (base_file_open(path, &handle, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_exec(handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        say("bob has deleted a file whose path is that of alice's %s", file->id);
    (void)base_file_close(handle);
}

/* All machines are put to sleep, or stand still with what they run on, for minutes or days. */
static void sleep_all(void)
{
    int64_t us = chance_below(chance(500000) ? 3600 * SECOND_US : 10 * DAY_S * SECOND_US);
    say("everything stands still for %.1f h", (double)us / 3.6e9);
    int64_t before_us = now_us();
    world_jump(us);
    if (lately(before_us, base_back_us))
        base_back_us = now_us();
    for (int i = 0; i < story_storage_count; i++) {
        if (lately(before_us, believes_until[i]))
            believes_until[i] = now_us();
    }
}

/* ---- named steps ---- */

static void *restart_main(void *argument)
{
    (void)argument;
    sleep_us(chance_below(30 * SECOND_US));
    start_all();
    return NULL;
}

/* The named steps of the daemons (common/base/crash_point.h): the moments between two of their promises. */
void __wrap_crash_point_reach(const char *name);
void __wrap_crash_point_reach(const char *name)
{
    struct node *node = node_current();
    if (!node)
        return;
    if (story_journal && journal_story_reached(node, name))
        return;
    if (stands_still_at(name)) {
        bool cleaned = move_story_outstays(name); /* until the others have cleaned up */
        stand_still(node, cleaned ? chance_between(leftover_ms * 1000, leftover_ms * 1000 + 100 * SECOND_US)
                                  : chance_between(SECOND_US, 3 * leftover_ms * 1000 / 2));
        say("%s stands still at %s for %.1f s", node->name, name,
            (double)(node->paused_until - now_us()) / 1e6);
        yield();
    } else if (chance(step_pause)) {
        stand_still(node, chance_below(chance(500000) ? SECOND_US : 100 * SECOND_US));
        say("%s is paused at %s for %.1f s", node->name, name, (double)(node->paused_until - now_us()) / 1e6);
        yield();
    } else if (chance(step_kill)) {
        say("%s ends at %s", node->name, name);
        (void)fiber_start(NULL, "restart", restart_main, NULL);
        node_die();
    }
}

static void one_trouble(void)
{
    struct node *node = any_node();
    enum trouble trouble = (enum trouble)chance_below(TROUBLES);
    switch (story_journal && chance(150000) ? TROUBLE_POWER : trouble) {
    case TROUBLE_KILL:
        if (story_may(TROUBLE_KILL) && node->alive) {
            node_kill(node);
            node->paused_until = 0;
            sleep_us(chance_below(chance(500000) ? SECOND_US : 30 * SECOND_US));
            start_all();
        }
        break;
    case TROUBLE_PAUSE:
        if (story_may(TROUBLE_PAUSE)) {
            stand_still(node, chance_below(chance(500000) ? SECOND_US : 200 * SECOND_US));
            say("%s is paused for %.1f s", node->name, (double)(node->paused_until - now_us()) / 1e6);
        }
        break;
    case TROUBLE_POWER:
        if (story_may(TROUBLE_POWER) && chance(story_journal ? 700000 : 300000))
            story_power_cut();
        break;
    case TROUBLE_CLOCK:
        if (story_may(TROUBLE_CLOCK)) {
            node->clock_offset = (int64_t)ONE_OF(0, -8 * DAY_S, 8 * DAY_S, -3600, 3600, 5, -5) * SECOND_US;
            say("the clock of %s is %+" PRId64 " s off", node->name, node->clock_offset / SECOND_US);
        }
        break;
    case TROUBLE_NETWORK:
        if (story_may(TROUBLE_NETWORK))
            net_cut();
        break;
    case TROUBLE_DISK_SLOW:
        disk_slow = story_may(TROUBLE_DISK_SLOW) ? ONE_OF(0, 20000, 200000) : 0;
        break;
    case TROUBLE_DISK_FAIL:
        disk_fail = story_may(TROUBLE_DISK_FAIL) ? ONE_OF(0, 0, 1000, 20000) : 0;
        disk_late = story_may(TROUBLE_DISK_FAIL) && story_journal ? ONE_OF(0, 100000, 500000) : 0;
        break;
    case TROUBLE_DISK_HANG:
        disk_hang = story_may(TROUBLE_DISK_HANG) ? ONE_OF(0, 50000, 300000) : 0;
        break;
    case TROUBLE_BASE_SLOW:
        base_slow = story_may(TROUBLE_BASE_SLOW) ? ONE_OF(0, 10000, 100000) : 0;
        break;
    case TROUBLE_BASE_FAIL:
        base_fail = story_may(TROUBLE_BASE_FAIL) ? ONE_OF(0, 5000, 50000) : 0;
        base_uncertain = story_may(TROUBLE_BASE_FAIL) ? ONE_OF(0, 10000, 200000) : 0;
        break;
    case TROUBLE_BASE_LATE:
        base_late = story_may(TROUBLE_BASE_LATE) && !story_journal ? ONE_OF(0, 20000, 200000) : 0;
        break;
    case TROUBLE_BASE_AWAY:
        if (story_may(TROUBLE_BASE_AWAY)) {
            if (base_away)
                base_returns();
            else
                base_away = true;
            say("the database is %s", base_away ? "away" : "back");
        }
        break;
    case TROUBLE_DAMAGE:
        /* With the journal a replay may write the right bytes in between; of two copies one may be right. */
        if (story_may(TROUBLE_DAMAGE) && !story_journal && !story_moves && chance(200000))
            story_damage();
        break;
    case TROUBLE_FSCK:
        if (story_may(TROUBLE_FSCK))
            story_fsck(chance(500000));
        break;
    case TROUBLE_EXCHANGE:
        if (story_may(TROUBLE_EXCHANGE) && chance(100000))
            disk_exchange();
        break;
    case TROUBLE_LEGACY:
        if (story_may(TROUBLE_LEGACY) && !story_moves && chance(200000))
            share_path();
        break;
    case TROUBLE_SLEEP:
        if (story_may(TROUBLE_SLEEP) && chance(100000))
            sleep_all();
        break;
    case TROUBLE_STEP:
        if (story_may(TROUBLE_STEP) && chance(500000))
            arm_step();
        step_pause = story_may(TROUBLE_STEP) ? ONE_OF(0, 1000, 20000) : 0;
        step_kill = story_may(TROUBLE_STEP) ? ONE_OF(0, 0, 1000, 10000) : 0;
        if (story_journal)
            journal_story_steps(story_may(TROUBLE_STEP) && story_may(TROUBLE_POWER));
        break;
    case TROUBLE_MEETING:
        if (story_may(TROUBLE_MEETING))
            story_meet();
        break;
    case TROUBLES:
    case TROUBLE_MOVE:
    case TROUBLE_NAMES:
        break;
    }
}

/* ---- the end ---- */

static void heal(void)
{
    disk_slow = disk_fail = disk_hang = disk_late = 0;
    step_pause = step_kill = 0;
    if (story_journal)
        journal_story_steps(false);
    story_armed_step = NULL;
    base_slow = base_fail = base_uncertain = base_late = 0;
    if (base_away)
        base_returns();
    for (int i = 0; i < story_storage_count; i++)
        story_storages[i].clock_offset = story_storages[i].paused_until = 0;
    for (int i = 0; i < idserver_count; i++)
        idservers[i].clock_offset = idservers[i].paused_until = 0;
    start_all();
    say("everything is well again");
}

/* Was anybody told that the file which is there now is stored? What was deleted since, and may have been purged and stored anew by
 * an upload that nobody was told of, is another one. */
static bool was_promised(const struct file *file)
{
    const struct history *history = &file->history;
    int64_t promised_us = -1, gone_us = -1;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        bool done = one->answer == ANSWER_DONE, maybe = done || one->answer == ANSWER_UNKNOWN;
        if (done && (one->kind == OPERATION_PUT || one->kind == OPERATION_RESTORE))
            promised_us = max_i64(promised_us, one->from_us);
        if (maybe &&
            (one->kind == OPERATION_DELETE || (one->kind == OPERATION_EXPIRE && one->expires_us > 0)))
            gone_us = max_i64(gone_us, one->to_us);
    }
    if (promised_us < 0 || gone_us < promised_us)
        return promised_us >= 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        if (one->kind == OPERATION_PUT && one->answer == ANSWER_UNKNOWN && one->to_us > promised_us)
            return false;
    }
    return true;
}

/* Did anybody delete it, as far as is known? */
static bool was_deleted(const struct file *file)
{
    for (size_t i = 0; i < file->history.count; i++) {
        const struct operation *one = &file->history.operations[i];
        if (one->kind == OPERATION_DELETE && (one->answer == ANSWER_DONE || one->answer == ANSWER_UNKNOWN))
            return true;
    }
    return false;
}

static int hollow_count;

/* A row without its file. Of an upload that nobody was told of a server that died at the wrong moment may leave one: no promise is
 * broken (docs/durability.md, "A row without its file"). What is promised of it: the same bytes can be stored again. */
static void store_hollow_again(int file, struct node *node)
{
    struct operation look = {.kind = OPERATION_READ};
    struct reply told = {0};
    bool seen = operate(file, node, &look, true, &told);
    client_free(&told);
    hollow_count++;
    say("%s has a row and no file; nobody was told that it is stored", story_files[file].id);
    for (int i = 0; seen && look.answer == ANSWER_DONE && i < 3; i++) {
        struct operation again = {.kind = OPERATION_PUT, .content = look.content};
        struct reply reply = {0};
        bool begun = operate(file, node, &again, false, &reply);
        client_free(&reply);
        if (begun)
            story_note(file, &again);
        if (begun && again.answer == ANSWER_DONE)
            return;
        sleep_us(10 * SECOND_US);
    }
    history_print(&story_files[file].history, stdout);
    violation("%s has a row and no file at %s, and its bytes cannot be stored again", story_files[file].id,
              node->name);
}

/* Everything works: an answer must come. */
static void last_operation(int file, struct node *node, enum operation_kind kind, bool stat)
{
    struct file *one = &story_files[file];
    for (int i = 0; i < 3; i++) {
        struct reply reply = {0};
        struct operation operation = {.kind = kind};
        bool told = operate(file, node, &operation, stat, &reply);
        int code = reply.code;
        client_free(&reply);
        if (told && operation.answer != ANSWER_UNKNOWN) {
            story_note(file, &operation);
            return;
        }
        if (code == ERROR_IO && !was_promised(one) && was_deleted(one)) {
            hollow_count++; /* in the trash, where it stays until it is purged */
            return;
        }
        if (i == 1 && kind == OPERATION_READ && !stat && code == ERROR_IO && !was_promised(one))
            store_hollow_again(file, node); /* then it can be read */
        if (i == 2) {
            history_print(&one->history, stdout);
            violation("%s of %s at %s fails although everything works: %d",
                      kind == OPERATION_READ ? stat ? "STAT" : "DOWNLOAD" : "RESTORE", one->id, node->name,
                      code);
        }
        sleep_us(10 * SECOND_US);
    }
}

static void last_look(void)
{
    for (int i = 0; i < story_file_count; i++) {
        for (int j = 0; j < story_storage_count; j++) {
            if (story_moves && !move_story_belongs(i, &story_storages[j]))
                continue;
            last_operation(i, &story_storages[j], OPERATION_READ, true);
            last_operation(i, &story_storages[j], OPERATION_READ, false);
        }
    }
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t *one = a, *other = b;
    return *one < *other ? -1 : *one > *other;
}

static void check_numbers(void)
{
    static const char *const queries[] = {"SELECT file_path FROM t_file_01 WHERE userid = 'alice'",
                                          "SELECT file_path FROM t_file_02 WHERE userid = 'alice'",
                                          "SELECT file_path FROM t_file_03 WHERE userid = 'alice'"};
    char path[300];
    sqlite3 *handle = NULL;
    snprintf(path, sizeof(path), "%s/storage.db", story_bases);
    if (base_file_open(path, &handle, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        violation("the rows cannot be read");
    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        sqlite3_stmt *statement = NULL;
        (void)sqlite3_prepare_v2(handle, queries[i], -1, &statement, NULL);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            unsigned a, b, c, d, seconds;
            const char *text = (const char *)sqlite3_column_text(statement, 0);
            if (sscanf(text, "../data/%3X/%3X/%3X/%8X_%3X", &a, &b, &c, &seconds, &d) == 5 &&
                number_count < NUMBERS_MAX)
                numbers[number_count++] = (((int64_t)a * 512 + b) * 512 + c) * 512 + d;
        }
        (void)sqlite3_finalize(statement);
    }
    (void)base_file_close(handle);
    qsort(numbers, number_count, sizeof(numbers[0]), compare_numbers);
    for (size_t i = 1; i < number_count; i++) {
        if (numbers[i] == numbers[i - 1])
            violation("number %" PRId64 " was given twice", numbers[i]);
    }
}

static int undecided_count;

static void check_histories(void)
{
    for (int i = 0; i < story_file_count; i++) {
        bool undecided = false;
        if (!history_explains(&story_files[i].history, &undecided)) {
            history_print(&story_files[i].history, stdout);
            violation("no order of what was done explains what was answered of %s", story_files[i].id);
        }
        undecided_count += undecided;
    }
}

/* Everything works, and nobody has anything to do but the upkeep, whose rounds would cost as much as all that came before: of US all
 * but LIVED_US is skipped, in the middle. What is due by then is done at once. */
static void rest(int64_t us, int64_t lived_us)
{
    sleep_us(min_i64(us, lived_us) / 2);
    world_jump(max_i64(us - lived_us, 0));
    sleep_us(min_i64(us, lived_us) / 2);
}

/* Whoever could not start before. */
static void start_for_good(void)
{
    start_all();
    rest(60 * SECOND_US, 12 * SECOND_US);
    for (int i = 0; i < story_storage_count; i++) {
        if (!story_storages[i].alive)
            violation("%s does not start although everything works", story_storages[i].name);
    }
}

static void end_story(void)
{
    heal();
    /* Each is a row of waits, of which a jump ends one: the bytes would be put back after the last repair. */
    while (story_damages_left > 0)
        sleep_us(SECOND_US);
    rest(90 * SECOND_US, 12 * SECOND_US); /* what hangs or is late comes in */
    if (story_journal)
        start_for_good();
    for (int i = 0; i < 3 && story_files[0].damaged; i++) {
        story_fsck(true);
        sleep_us(20 * SECOND_US);
    }
    partial_last_look();
    rest(cache_age_ms * 1000 + SLACK_US, 4 * SECOND_US);
    last_look();
    /* What lies in the trash is whole, too. */
    for (int i = 0; i < story_file_count; i++) {
        int at = story_moves && !move_story_belongs(i, &story_storages[0]) ? story_home_count : 0;
        last_operation(i, &story_storages[at], OPERATION_RESTORE, false);
    }
    rest(cache_age_ms * 1000 + SLACK_US, 4 * SECOND_US);
    last_look();
    if (story_moves) { /* former copies are purged, and nothing else */
        rest(keep_ms * 1000 + 670 * SECOND_US, 12 * SECOND_US);
        last_look();
    }
    check_histories();
    check_numbers();
}

static void *tell(void *argument)
{
    (void)argument;
    start_all();
    sleep_us(3 * SECOND_US);
    int64_t pause_us = ONE_OF(50000, 500000, 5000000);
    story_clients_left = client_count;
    for (int i = 0; i < client_count; i++)
        (void)fiber_start(NULL, "client", client_main, NULL);
    while (story_clients_left > 0) {
        sleep_us(chance_below(pause_us));
        if (story_journal && chance(200000))
            start_all(); /* who could not start because of its trouble */
        one_trouble();
    }
    end_story();
    finished = true;
    return NULL;
}

static bool is_finished(void)
{
    return finished;
}

static void *make_tables(void *argument)
{
    (void)argument;
    node_init_db(idserver_node_spec(), idserver_overrides[0].items);
    node_init_db(storage_node_spec(), storage_overrides[0].items);
    finished = true;
    return NULL;
}

/* Small pages: a story has few rows, and changes one of them at a time. */
static void make_small_pages(const char *directory, const char *name)
{
    char path[300];
    sqlite3 *handle = NULL;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (sqlite3_open(path, &handle) != SQLITE_OK ||
        sqlite3_exec(handle, "PRAGMA page_size = 1024; VACUUM", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_close(handle) != SQLITE_OK || chmod(path, 0600) != 0)
        violation("cannot make %s", path);
}

void story_make_tables(const char *directory)
{
    static const struct story_limits none;
    make_small_pages(directory, "storage.db");
    make_small_pages(directory, "ids.db");
    limits = &none;
    chance_seed(0);
    world_begin();
    snprintf(story_volume, sizeof(story_volume), "%s/volume", directory);
    base_begin(directory);
    set_up();
    (void)fiber_start(NULL, "tables", make_tables, NULL);
    world_run(is_finished);
}

void story_run(uint64_t seed, const struct story_limits *given, const char *directory,
               struct story_result *result)
{
    limits = given;
    chance_seed(seed);
    world_begin();
    snprintf(story_volume, sizeof(story_volume), "%s/volume", directory);
    snprintf(story_bases, sizeof(story_bases), "%s", directory);
    enum disk_model model = (enum disk_model)chance_below(3);
    if ((seed % 5 == 3 || limits->journal) && story_may(TROUBLE_JOURNAL)) {
        journal_story_begin(directory);
        if (model == DISK_GLUSTER)
            model = DISK_JOURNAL; /* the journal is refused on a network file system */
    }
    disk_begin(directory, model);
    if ((seed % 5 == 1 || limits->move) && !story_journal && story_may(TROUBLE_MOVE))
        move_story_begin();
    base_begin(directory);
    set_up();
    (void)fiber_start(NULL, "story", tell, NULL);
    world_run(is_finished);
    *result = (struct story_result){.simulated_us = now_us(),
                                    .switches = switches(),
                                    .operations = operations_done,
                                    .undecided = undecided_count,
                                    .hollow = hollow_count};
}
