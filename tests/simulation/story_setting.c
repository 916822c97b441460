/*
 * story_setting: what the seed chooses of a story before it begins: how many servers, clients and files there are, the servers' options, how
 * the clients behave. The servers are started from here.
 */
#include "tests/simulation/node.h"
#include "tests/simulation/story_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define IDSERVERS_MAX 2
#define OVERRIDES_MAX 48

struct overrides {
    char text[OVERRIDES_MAX][400];
    const char *items[OVERRIDES_MAX + 1];
    size_t count;
};

struct node story_storages[STORAGES_MAX], story_idservers[IDSERVERS_MAX];
int story_storage_count, story_home_count, story_idserver_count, story_client_count, story_file_count;
int64_t story_partial_keep_us, story_keep_ms, story_cache_age_ms, story_leftover_ms;
struct story_habits story_habits;
static char *journal_setting[STORAGES_MAX]; /* a place in the options */
static struct overrides storage_overrides[STORAGES_MAX], idserver_overrides[IDSERVERS_MAX];

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

static void set_up_idservers(void)
{
    int64_t step = ONE_OF(1, 3, 10, 100);
    for (int i = 0; i < story_idserver_count; i++) {
        struct overrides *overrides = &idserver_overrides[i];
        story_idservers[i] =
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
    story_leftover_ms = leftover;
    story_keep_ms = ONE_OF(0, 2000, 20000, 7 * DAY_S * 1000);
    story_cache_age_ms = ONE_OF(1, 500, 5000, 20000);
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
            story_idserver_count == 1 ? "127.0.0.1:22001"
            : i == 0                  ? "127.0.0.1:22001, 127.0.0.1:22002"
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
        set(overrides, "storage.cache_age=%" PRId64 "ms", story_cache_age_ms);
        set(overrides, "storage.open_age=%" PRId64 "ms", age);
        set(overrides, "storage.trash_keep=%" PRId64 "ms", story_keep_ms);
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

static void set_up_files(void)
{
    for (int i = 0; i < story_file_count; i++) {
        story_files[i].history = (struct history){
            .file = i, .keep_us = story_keep_ms * 1000, .late_us = story_leftover_ms * 1000 / 2};
        snprintf(story_files[i].id, sizeof(story_files[i].id), "file-%d", i);
    }
}

void story_set_up(const struct story_limits *limits)
{
    story_home_count = limits->one_storage ? 1 : (int)chance_between(1, 2);
    story_storage_count = story_home_count + story_moves;
    story_idserver_count = (int)chance_between(1, IDSERVERS_MAX);
    story_client_count = (int)chance_between(2, 5);
    story_file_count = (int)chance_between(1, FILES_MAX);
    story_habits.operations = (int)chance_between(5, 25);
    story_habits.think_us = ONE_OF(2000, 50000, 3000000);
    if (chance(150000)) { /* a crowd at one file */
        story_client_count = 5;
        story_file_count = 1;
        story_habits.think_us = 2000;
    }
    story_habits.partial_share = ONE_OF(0, 100000, 400000, 800000);
    story_habits.meeting_share = story_may(TROUBLE_MEETING) ? ONE_OF(0, 0, 30000, 60000) : 0;
    story_trouble_begin();
    if (story_moves)
        story_habits.move_share = ONE_OF(50000, 150000, 300000);
    if (limits->clients > 0)
        story_client_count = (int)min_i64(story_client_count, limits->clients);
    if (limits->files > 0)
        story_file_count = (int)min_i64(story_file_count, limits->files);
    if (limits->operations > 0)
        story_habits.operations = (int)min_i64(story_habits.operations, limits->operations);
    set_up_idservers();
    set_up_storages();
    set_up_files();
}

/* ---- the servers ---- */

static void start_storage(int i)
{
    if (!story_storages[i].alive)
        node_start(&story_storages[i], storage_node_spec(), storage_overrides[i].items);
}

static void start_idserver(int i)
{
    if (!story_idservers[i].alive)
        node_start(&story_idservers[i], idserver_node_spec(), idserver_overrides[i].items);
}

void story_start_all(void)
{
    for (int i = 0; i < story_idserver_count; i++)
        start_idserver(i);
    for (int i = 0; i < story_storage_count; i++)
        start_storage(i);
}

const char *const *story_storage_options(void)
{
    return storage_overrides[0].items;
}

void story_set_journal(bool on)
{
    for (int i = 0; i < story_storage_count; i++)
        snprintf(journal_setting[i], sizeof(storage_overrides[i].text[0]), "storage.journal=%s",
                 on ? "on" : "off");
}

void story_init_tables(void)
{
    node_init_db(idserver_node_spec(), idserver_overrides[0].items);
    node_init_db(storage_node_spec(), storage_overrides[0].items);
}
