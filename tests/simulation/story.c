/*
 * story: see story.h. One fiber is the story; each client is one; the daemons do not know.
 */
#include "tests/simulation/story_state.h"

#include "common/proto/digest.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

struct file story_files[FILES_MAX];
uint8_t story_digests[FILES_MAX][CONTENTS][PROTO_DIGEST_SIZE];
int story_clients_left;
struct story_result story_result;
char story_volume[256], story_bases[256];
static bool finished;
static const struct story_limits *limits;

bool story_may(enum trouble trouble)
{
    return !(limits->without >> trouble & 1);
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

static void *story_main(void *argument)
{
    (void)argument;
    story_start_all();
    sleep_us(3 * SECOND_US);
    int64_t pause_us = ONE_OF(50000, 500000, 5000000);
    story_clients_left = story_client_count;
    for (int i = 0; i < story_client_count; i++)
        (void)fiber_start(NULL, "client", story_client_main, NULL);
    while (story_clients_left > 0) {
        sleep_us(chance_below(pause_us));
        if (story_journal && chance(200000))
            story_start_all(); /* who could not start because of its trouble */
        story_trouble();
    }
    story_end();
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
    story_init_tables();
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
    story_set_up(limits);
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
    story_set_up(limits);
    (void)fiber_start(NULL, "story", story_main, NULL);
    world_run(is_finished);
    story_result.simulated_us = now_us();
    story_result.switches = switches();
    *result = story_result;
}
