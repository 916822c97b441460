/*
 * story_trouble: what goes wrong in a story: the kinds of trouble (story.h), one after the other, and what happens at named steps of the
 * daemons. In the end everything is well again.
 */
#include "tests/simulation/story_state.h"

#include "common/proto/proto_storage.h"
#include "storage/rows/table_hash.h"
#include "tests/simulation/base_handle.h"
#include "tests/simulation/node.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>

const char *const trouble_names[TROUBLE_NAMES] = {
    "kill",      "pause",     "power",     "clock",     "network",   "disk-slow", "disk-fail",
    "disk-hang", "base-slow", "base-fail", "base-late", "base-away", "damage",    "fsck",
    "exchange",  "legacy",    "sleep",     "step",      "meeting",   "journal",   "move"};

const char *story_armed_step;
static int64_t step_pause, step_kill; /* per million: what happens to a node at a named step */
static int64_t base_back_us;          /* when the database was away last; 0: never */
/* A server that stands still while the database comes back, or soon after, may go by what it knew before until then. */
static int64_t believes_until[STORAGES_MAX];

/* ---- the database is away ---- */

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

bool story_may_be_behind(const struct node *node, int64_t us)
{
    return base_away || lately(us, base_back_us) || lately(us, believes_until[node - story_storages]);
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

/* ---- steps ---- */

void story_trouble_begin(void)
{
    if (story_may(TROUBLE_STEP) && chance(300000)) {
        step_pause = ONE_OF(1000, 20000);
        step_kill = ONE_OF(0, 2000);
    }
    if (story_journal)
        journal_story_steps(story_may(TROUBLE_STEP) && story_may(TROUBLE_POWER));
}

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

static struct node *any_node(void)
{
    int64_t i = chance_below(story_storage_count + story_idserver_count);
    return i < story_storage_count ? &story_storages[i] : &story_idservers[i - story_storage_count];
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
        bool on = journal_story_power_cut(story_storage_options());
        story_set_journal(on);
    }
    sleep_us(chance_below(10 * SECOND_US));
    story_start_all();
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
    if (base_handle_open(path, &handle, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_exec(handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        say("bob has deleted a file whose path is that of alice's %s", file->id);
    (void)base_handle_close(handle);
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
    story_start_all();
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
        stand_still(node, cleaned ? chance_between(story_leftover_ms * 1000,
                                                   story_leftover_ms * 1000 + 100 * SECOND_US)
                                  : chance_between(SECOND_US, 3 * story_leftover_ms * 1000 / 2));
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

void story_trouble(void)
{
    struct node *node = any_node();
    enum trouble trouble = (enum trouble)chance_below(TROUBLES);
    switch (story_journal && chance(150000) ? TROUBLE_POWER : trouble) {
    case TROUBLE_KILL:
        if (story_may(TROUBLE_KILL) && node->alive) {
            node_kill(node);
            node->paused_until = 0;
            sleep_us(chance_below(chance(500000) ? SECOND_US : 30 * SECOND_US));
            story_start_all();
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

void story_heal(void)
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
    for (int i = 0; i < story_idserver_count; i++)
        story_idservers[i].clock_offset = story_idservers[i].paused_until = 0;
    story_start_all();
    say("everything is well again");
}
