/*
 * story_journal: stories with the upload journal: the database lies beside the storage servers, so that a power cut takes what neither of both
 * has synced; steps of the journal at which the power is cut; and the way back to a server that has no journal (--checkpoint).
 */
#include "tests/simulation/base_file.h"
#include "tests/simulation/base_handle.h"
#include "tests/simulation/node.h"
#include "tests/simulation/story_state.h"

#include <string.h>

#define CHECKPOINT_US (120 * SECOND_US)

bool story_journal;
static int64_t step_power; /* per million: the power is cut at a step of the journal */
static bool cutting, done, emptied;
static const char *const *overrides; /* of the one that empties it */

void journal_story_begin(const char *directory)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/storage.db-uploads", directory);
    story_journal = true;
    base_beside = true;
    journal_disk_begin(path);
    base_file_watch();
}

void journal_story_steps(bool may)
{
    step_power = may && chance(600000) ? chance_between(2000, 50000) : 0;
}

static void *checkpoint_main(void *argument)
{
    (void)argument;
    emptied = storage_node_checkpoint(overrides);
    done = true;
    return NULL;
}

/* What stands before a server of an earlier version, which knows nothing of the journal. False: it is not empty, as far as is known. */
static bool empty_journal(struct node *node)
{
    done = emptied = false;
    say("the upload journal is to be emptied");
    node->alive = true;
    node->starts++;
    (void)fiber_start(node, "checkpoint", checkpoint_main, NULL);
    for (int64_t until = now_us() + CHECKPOINT_US; node->alive && !done && now_us() < until;)
        sleep_us(SECOND_US / 10);
    if (node->alive)
        node_kill(node);
    say("the upload journal is %s", emptied ? "empty" : "not emptied");
    for (int i = 0; i < story_storage_count; i++)
        emptied = emptied && !story_storages[i].alive;
    return emptied;
}

bool journal_story_power_cut(const char *const *items)
{
    journal_disk_power_cut();
    base_handle_power_cut();
    sleep_us(chance_below(SECOND_US));
    overrides = items;
    static bool emptying; /* by another cut, which this one has broken off */
    if (emptying || !chance(150000) || story_storages[0].alive)
        return true;
    emptying = true;
    bool empty = empty_journal(&story_storages[0]);
    emptying = false;
    if (!empty)
        return true;
    journal_disk_remove();
    return chance(500000);
}

static void *power_main(void *argument)
{
    (void)argument;
    story_power_cut();
    cutting = false;
    return NULL;
}

bool journal_story_reached(struct node *node, const char *step)
{
    if (cutting || strncmp(step, "journal-", strlen("journal-")) != 0 || !chance(step_power))
        return false;
    say("the power fails when %s is at %s", node->name, step);
    cutting = true;
    node->paused_until = FOREVER;
    (void)fiber_start(NULL, "power", power_main, NULL);
    yield();
    return true;
}
