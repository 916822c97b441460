/*
 * The client's asynchronous core against a scripted tracker and storage servers: locating and its cache,
 * other servers after a failure, retries of an upload under one file ID, peers that know the base commands
 * only.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/core/client_internal.h"
#include "common/base/clock.h"
#include "tests/unit/library/scripted_cluster.h"

#include <poll.h>

/* ---- a client on a loop of its own ---- */

struct world {
    struct loop *loop;
    struct client *client;
    struct fake_cluster cluster;
};

struct errand {
    struct task task;
    void (*run)(void *argument);
    void *argument;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool finished;
};

static void errand_run(struct task *task)
{
    struct errand *errand = CONTAINER_OF(task, struct errand, task);

    errand->run(errand->argument);
    pthread_mutex_lock(&errand->mutex);
    errand->finished = true;
    pthread_cond_signal(&errand->done);
    pthread_mutex_unlock(&errand->mutex);
}

static void on_loop(struct world *world, void (*run)(void *argument), void *argument)
{
    struct errand errand = {.task = {.run = errand_run}, .run = run, .argument = argument};

    pthread_mutex_init(&errand.mutex, NULL);
    pthread_cond_init(&errand.done, NULL);
    loop_post(world->loop, &errand.task);
    pthread_mutex_lock(&errand.mutex);
    while (!errand.finished)
        pthread_cond_wait(&errand.done, &errand.mutex);
    pthread_mutex_unlock(&errand.mutex);
    pthread_cond_destroy(&errand.done);
    pthread_mutex_destroy(&errand.mutex);
}

static void world_open_with(struct world *world, int storages, const char *trackers,
                            struct client_options options)
{
    struct error error;

    fake_cluster_start(&world->cluster, storages);
    assert_true(address_list_parse(trackers != NULL ? trackers : world->cluster.tracker.peer.address, 0,
                                   &options.trackers, &error));
    world->loop = loop_create("client", &error);
    assert_non_null(world->loop);
    world->client = client_create(world->loop, &options, &error);
    assert_non_null(world->client);
    address_list_clear(&options.trackers);
    assert_true(loop_start(world->loop, &error));
}

static void world_open(struct world *world, int storages)
{
    world_open_with(world, storages, NULL, (struct client_options){0});
}

static void destroy_client(void *argument)
{
    struct world *world = argument;

    client_destroy(world->client);
    world->client = NULL;
}

static void world_close(struct world *world)
{
    if (world->client != NULL)
        on_loop(world, destroy_client, world);
    loop_destroy(world->loop);
    fake_cluster_stop(&world->cluster);
}

/* ---- an operation and what came of it ---- */

struct ask {
    struct world *world;
    struct proto_file_key key;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int done;
    struct error error;
    struct client_operation *operation;
    struct client_location location;
    struct proto_stat stat;
    char text[256];
    struct proto_list list;
    struct proto_list_entry entries[8];
    size_t count;
    bool create, fresh;
    /* upload */
    struct client_upload_options upload;
    size_t given;
    int rewinds;
    bool no_rewind;
    /* download */
    int64_t offset, size;
    const struct address *avoid;
    struct packet_call *call;
    struct packet_line_request *fetch;
    struct address answered;
    void (*start)(struct ask *ask);
};

static void finish(struct ask *ask, const struct error *error)
{
    pthread_mutex_lock(&ask->mutex);
    ask->done++;
    if (error != NULL)
        ask->error = *error;
    pthread_cond_broadcast(&ask->changed);
    pthread_mutex_unlock(&ask->mutex);
}

static void on_location(void *argument, const struct client_location *location, const struct error *error)
{
    struct ask *ask = argument;

    if (location != NULL)
        ask->location = *location;
    finish(ask, error);
}

static void on_stat(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct ask *ask = argument;

    if (stat != NULL)
        ask->stat = *stat;
    finish(ask, error);
}

static void on_where(void *argument, const struct proto_where *where, const struct error *error)
{
    struct ask *ask = argument;

    if (where != NULL) {
        ask->stat = where->stat;
        snprintf(ask->text, sizeof(ask->text), "%s|%s", where->key, where->place);
    }
    finish(ask, error);
}

static void on_done(void *argument, const struct error *error)
{
    finish(argument, error);
}

static void on_list(void *argument, const struct proto_list_entry *entries, size_t count,
                    const struct error *error)
{
    struct ask *ask = argument;

    ask->count = count;
    for (size_t i = 0; i < count && i < ARRAY_SIZE(ask->entries); i++)
        ask->entries[i] = entries[i];
    finish(ask, error);
}

static void on_text(void *argument, const char *text, size_t size, const struct error *error)
{
    struct ask *ask = argument;

    if (error == NULL) {
        assert_int_equal(strlen(text), size);
        snprintf(ask->text, sizeof(ask->text), "%s", text);
    }
    finish(ask, error);
}

static void on_download(void *argument, struct packet_call *call, const struct error *error)
{
    struct ask *ask = argument;

    ask->call = call;
    if (call != NULL)
        ask->answered = *packet_call_address(call);
    finish(ask, error);
}

static void report_location(struct client_operation *operation, const struct error *error)
{
    on_location(operation->argument, error ? NULL : &operation->location, error);
}

/* An operation that only locates. */
static void start_locate(struct ask *ask)
{
    static const struct client_command command = {.report = report_location};

    ask->operation =
        client_operation_create(ask->world->client, &command, &ask->key, client_locate_begin, ask);
    assert_non_null(ask->operation);
    ask->operation->create = ask->create;
    ask->operation->fresh = ask->fresh;
    ask->operation->located = client_operation_finish;
}

static void start_stat(struct ask *ask)
{
    ask->operation = client_stat(ask->world->client, &ask->key, on_stat, ask);
}

static void start_where(struct ask *ask)
{
    ask->operation = client_where(ask->world->client, &ask->key, on_where, ask);
}

static void start_delete(struct ask *ask)
{
    ask->operation = client_delete(ask->world->client, &ask->key, on_done, ask);
}

static void start_restore(struct ask *ask)
{
    ask->operation = client_restore(ask->world->client, &ask->key, on_done, ask);
}

static void start_list(struct ask *ask)
{
    ask->list.key = ask->key;
    ask->operation = client_list(ask->world->client, &ask->list, on_list, ask);
}

static void start_groups(struct ask *ask)
{
    ask->operation = client_groups(ask->world->client, on_text, ask);
}

static void start_status(struct ask *ask)
{
    ask->operation = client_status(ask->world->client, on_text, ask);
}

static void start_download(struct ask *ask)
{
    ask->operation = client_download(ask->world->client, &ask->key, ask->offset, ask->size, NULL, ask->avoid,
                                     on_download, ask);
}

/* What client_fetch() gives: bytes into `text`, or an error made here. */
static void on_fetched(void *argument, const uint8_t *body, size_t size)
{
    struct ask *ask = argument;
    struct error error;

    if (body == NULL)
        (void)error_set(&error, ERROR_UNAVAILABLE, "another way");
    else
        memcpy(ask->text, body, min_size(size, sizeof(ask->text) - 1));
    ask->count = size;
    finish(ask, body == NULL ? &error : NULL);
}

static void fetch(void *argument)
{
    struct ask *ask = argument;

    ask->fetch = client_fetch(ask->world->client, &ask->key, ask->offset, (size_t)ask->size, NULL, NULL,
                              on_fetched, ask);
    assert_int_equal(ask->done, 0);
}

static int64_t source(void *argument, uint8_t *buffer, size_t size)
{
    struct ask *ask = argument;

    for (size_t i = 0; i < size; i++)
        buffer[i] = (uint8_t)((ask->given + i) * 7);
    ask->given += size;
    return (int64_t)size;
}

static bool rewind_source(void *argument)
{
    struct ask *ask = argument;

    if (ask->no_rewind)
        return false;
    ask->rewinds++;
    ask->given = 0;
    return true;
}

static void start_upload(struct ask *ask)
{
    ask->upload.put.key = ask->key;
    ask->upload.source = source;
    ask->upload.rewind = rewind_source;
    ask->upload.callback = on_done;
    ask->upload.argument = ask;
    ask->operation = client_upload(ask->world->client, &ask->upload);
}

static void ask_start(void *argument)
{
    struct ask *ask = argument;

    ask->start(ask);
    assert_non_null(ask->operation);
    assert_int_equal(ask->done, 0);
}

static void ask_prepare(struct ask *ask, struct world *world, const char *file)
{
    ask->world = world;
    strcpy(ask->key.application, "tnvideo");
    strcpy(ask->key.user, "user1");
    snprintf(ask->key.file, sizeof(ask->key.file), "%s", file);
    pthread_mutex_init(&ask->mutex, NULL);
    pthread_cond_init(&ask->changed, NULL);
}

static void ask_begin(struct ask *ask, struct world *world, const char *file)
{
    ask_prepare(ask, world, file);
    on_loop(world, ask_start, ask);
}

/* Not to be had so: false. */
static bool fetch_begin(struct ask *ask, struct world *world, const char *file)
{
    ask_prepare(ask, world, file);
    on_loop(world, fetch, ask);
    return ask->fetch != NULL;
}

static void nothing(void *argument)
{
    (void)argument;
}

static void ask_end(struct ask *ask)
{
    pthread_mutex_lock(&ask->mutex);
    while (ask->done == 0)
        pthread_cond_wait(&ask->changed, &ask->mutex);
    pthread_mutex_unlock(&ask->mutex);
    on_loop(ask->world, nothing, NULL);
    assert_int_equal(ask->done, 1);
}

static void ask_now(struct ask *ask, struct world *world, const char *file)
{
    ask_begin(ask, world, file);
    ask_end(ask);
}

/* Unless it has ended already: then there is nothing to cancel, and no callback is to come. */
static void cancel(void *argument)
{
    struct ask *ask = argument;

    if (ask->done == 0)
        client_cancel(ask->operation);
    else if (ask->call != NULL)
        packet_call_release(ask->call, false);
    ask->done = 0;
}

static void release(void *argument)
{
    packet_call_release(((struct ask *)argument)->call, true);
}

static int upload_now(struct world *world, const char *file, int64_t size)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = size, .name = "a b.mp4"}};

    ask_now(&ask, world, file);
    return ask.error.code;
}

static void assert_stored_once(struct world *world, const char *file, size_t size)
{
    int found = 0;

    pthread_mutex_lock(&world->cluster.group.mutex);
    for (int i = 0; i < world->cluster.group.count; i++) {
        struct fake_file *stored = &world->cluster.group.files[i];

        if (strcmp(stored->id, file) != 0)
            continue;
        found++;
        assert_int_equal(stored->size, size);
        for (size_t at = 0; at < size; at++)
            assert_int_equal(stored->bytes[at], (uint8_t)(at * 7));
    }
    pthread_mutex_unlock(&world->cluster.group.mutex);
    assert_int_equal(found, 1);
}

static int tracker_requests(struct world *world, uint8_t command)
{
    return peer_requests(&world->cluster.tracker.peer, command);
}

/* ---- locating ---- */

static void a_location_is_asked_once_and_then_known(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 2);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.start = start_locate};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
        assert_string_equal(ask.location.group, "group001");
        assert_int_equal(ask.location.count, 2);
        assert_int_equal(ask.location.servers[1].port, world.cluster.storages[1].peer.port);
    }
    assert_int_equal(tracker_requests(&world, 16), 1);
    assert_int_equal(tracker_requests(&world, 12), 0);
    world_close(&world);
}

static void a_fresh_location_is_asked_for_again(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.start = start_locate, .fresh = true};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
    }
    assert_int_equal(tracker_requests(&world, 16), 3);
    world_close(&world);
}

static void reading_gives_no_new_user_a_group_and_writing_does(void **state)
{
    struct ask reading = {.start = start_locate}, writing = {.start = start_locate, .create = true};
    struct world world;

    (void)state;
    world_open(&world, 1);
    world.cluster.tracker.unknown_user = true;
    ask_now(&reading, &world, "");
    assert_int_equal(reading.error.code, ERROR_NOT_FOUND);
    assert_int_equal(tracker_requests(&world, 12), 0);
    ask_now(&writing, &world, "f");
    assert_int_equal(writing.error.code, 0);
    assert_int_equal(tracker_requests(&world, 12), 1);
    world_close(&world);
}

static void a_legacy_tracker_is_asked_with_saddrs_and_remembered(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    atomic_store(&world.cluster.tracker.legacy, true);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.start = start_locate, .fresh = true};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.location.count, 1);
    }
    assert_int_equal(tracker_requests(&world, 16), 1);
    assert_int_equal(tracker_requests(&world, 12), 3);
    world_close(&world);
}

static void another_tracker_answers_where_one_is_away_or_fails(void **state)
{
    struct fake_tracker other;
    struct world world;
    char dead[32], trackers[128];

    (void)state;
    fake_tracker_start(&other);
    fake_tracker_point(&other, "127.0.0.1:7;");
    atomic_store(&other.fail_code, ERROR_UNAVAILABLE);
    atomic_store(&other.fail_left, 1000);
    peer_dead_address(dead);
    /* The world's own tracker starts with the world, so its address is not known yet: it is put in place of
     * the dead. */
    snprintf(trackers, sizeof(trackers), "%s,%s", dead, other.peer.address);
    world_open_with(&world, 1, trackers, (struct client_options){0});
    for (int i = 0; i < 6; i++) {
        struct ask ask = {.start = start_locate, .fresh = true};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(ask.error.text, dead));
        assert_non_null(strstr(ask.error.text, other.peer.address));
    }
    atomic_store(&other.fail_code, 0);
    for (int i = 0; i < 6; i++) {
        struct ask ask = {.start = start_locate, .fresh = true};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.location.servers[0].port, 7);
    }
    world_close(&world);
    fake_tracker_stop(&other);
}

static void a_modern_tracker_answers_for_a_legacy_one(void **state)
{
    struct fake_tracker old, modern;
    struct world world;
    char trackers[128];

    (void)state;
    fake_tracker_start(&old);
    fake_tracker_start(&modern);
    fake_tracker_point(&modern, "127.0.0.1:7;");
    atomic_store(&old.legacy, true);
    snprintf(trackers, sizeof(trackers), "%s,%s", old.peer.address, modern.peer.address);
    world_open_with(&world, 1, trackers, (struct client_options){0});
    for (int i = 0; i < 6; i++) {
        struct ask ask = {.start = start_locate, .fresh = true};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
    }
    assert_int_equal(peer_requests(&old.peer, 12), 0);
    assert_true(peer_requests(&old.peer, 16) <= 1);
    assert_int_equal(peer_requests(&modern.peer, 16), 6);
    world_close(&world);
    fake_tracker_stop(&old);
    fake_tracker_stop(&modern);
}

static void an_older_location_is_used_while_every_tracker_is_away(void **state)
{
    struct ask first = {.start = start_locate}, second = {.start = start_locate, .fresh = true};
    struct ask stranger = {.start = start_locate};
    struct fake_tracker tracker;
    struct world world;

    (void)state;
    fake_tracker_start(&tracker);
    fake_tracker_point(&tracker, "127.0.0.1:7;");
    world_open_with(&world, 1, tracker.peer.address, (struct client_options){.location_age_ms = 1});
    ask_now(&first, &world, "");
    assert_int_equal(first.error.code, 0);
    assert_true(client_trackers_reachable(world.client));
    fake_tracker_stop(&tracker);
    ask_now(&second, &world, "");
    assert_int_equal(second.error.code, 0);
    assert_int_equal(second.location.servers[0].port, 7);
    assert_false(client_trackers_reachable(world.client));
    strcpy(stranger.key.user, "stranger");
    stranger.world = &world;
    strcpy(stranger.key.application, "tnvideo");
    on_loop(&world, ask_start, &stranger);
    ask_end(&stranger);
    assert_int_equal(stranger.error.code, ERROR_CONNECTION);
    world_close(&world);
}

static void a_group_without_a_server_is_an_error(void **state)
{
    struct ask ask = {.start = start_stat};
    struct world world;

    (void)state;
    world_open(&world, 1);
    fake_tracker_point(&world.cluster.tracker, "");
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, ERROR_NO_SERVER);
    world_close(&world);
}

/* ---- storage ---- */

static void a_file_goes_there_and_back_and_away_and_back(void **state)
{
    static const int64_t sizes[] = {0, 1, 4096, 1000003};
    struct world world;

    (void)state;
    world_open(&world, 2);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct ask stat = {.start = start_stat}, gone = {.start = start_stat};
        struct ask delete = {.start = start_delete}, restore = {.start = start_restore};
        char file[16];

        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload_now(&world, file, sizes[i]), 0);
        assert_stored_once(&world, file, (size_t)sizes[i]);
        ask_now(&stat, &world, file);
        assert_int_equal(stat.error.code, 0);
        assert_int_equal(stat.stat.size, sizes[i]);
        assert_string_equal(stat.stat.name, "a b.mp4");
        assert_string_equal(stat.stat.group, "group001");
        ask_now(&delete, &world, file);
        assert_int_equal(delete.error.code, 0);
        ask_now(&gone, &world, file);
        assert_int_equal(gone.stat.status, PROTO_FILE_DELETED);
        ask_now(&restore, &world, file);
        assert_int_equal(restore.error.code, 0);
    }
    world_close(&world);
}

static void a_missing_file_is_asked_for_once(void **state)
{
    struct ask ask = {.start = start_stat};
    struct world world;

    (void)state;
    world_open(&world, 3);
    ask_now(&ask, &world, "missing");
    assert_int_equal(ask.error.code, ERROR_NOT_FOUND);
    assert_int_equal(fake_requests(&world.cluster, 74), 1);
    world_close(&world);
}

static void a_list_comes_in_pages(void **state)
{
    struct ask first = {.start = start_list, .list = {.limit = 2}};
    struct ask second = {.start = start_list, .list = {.limit = 2}};
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "b", 2), 0);
    assert_int_equal(upload_now(&world, "c", 3), 0);
    assert_int_equal(upload_now(&world, "a", 1), 0);
    ask_now(&first, &world, "");
    assert_int_equal(first.error.code, 0);
    assert_int_equal(first.count, 2);
    assert_string_equal(first.entries[0].file, "a");
    assert_int_equal(first.entries[1].stat.size, 2);
    ask_now(&second, &world, "b");
    assert_int_equal(second.count, 1);
    assert_string_equal(second.entries[0].file, "c");
    world_close(&world);
}

static void the_tracker_s_texts_are_handed_on(void **state)
{
    struct ask groups = {.start = start_groups}, status = {.start = start_status};
    struct world world;

    (void)state;
    world_open(&world, 1);
    ask_now(&groups, &world, "");
    assert_string_equal(groups.text, "             COUNT OF GROUPS: 1");
    ask_now(&status, &world, "");
    assert_string_equal(status.text, "{\"groups\":[]}");
    world_close(&world);
}

static void another_server_answers_where_one_is_away_busy_or_broken(void **state)
{
    static const int codes[] = {ERROR_UNAVAILABLE, ERROR_IO, ERROR_NO_SPACE};
    struct world world;
    char dead[32], addresses[96];
    struct ask away = {.start = start_stat};

    (void)state;
    world_open(&world, 2);
    assert_int_equal(upload_now(&world, "f", 100), 0);
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct ask ask = {.start = start_stat};

        atomic_store(&world.cluster.storages[0].fail_code, codes[i]);
        atomic_store(&world.cluster.storages[0].fail_left, 1);
        ask_now(&ask, &world, "f");
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.stat.size, 100);
        assert_int_equal(atomic_load(&world.cluster.storages[0].fail_left), 0);
    }
    world_close(&world);

    peer_dead_address(dead);
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "f", 100), 0);
    snprintf(addresses, sizeof(addresses), "%s;%s;", dead, world.cluster.storages[0].peer.address);
    fake_tracker_point(&world.cluster.tracker, addresses);
    ask_now(&away, &world, "f");
    assert_int_equal(away.error.code, 0);
    world_close(&world);
}

static void a_location_that_has_become_wrong_is_asked_for_anew(void **state)
{
    struct ask first = {.start = start_locate}, second = {.start = start_stat};
    struct world world;
    char dead[32], address[64];

    (void)state;
    world_open_with(&world, 1, NULL, (struct client_options){.location_age_ms = 3600000});
    snprintf(address, sizeof(address), "%s;", world.cluster.storages[0].peer.address);
    peer_dead_address(dead);
    fake_tracker_point(&world.cluster.tracker, dead);
    ask_now(&first, &world, "");
    assert_int_equal(first.error.code, 0);
    fake_tracker_point(&world.cluster.tracker, address);
    ask_now(&second, &world, "f");
    assert_int_equal(second.error.code, ERROR_NOT_FOUND); /* a server has said so */
    assert_int_equal(tracker_requests(&world, 16), 2);
    world_close(&world);
}

static void a_server_that_stays_away_is_an_error_that_names_it(void **state)
{
    struct ask ask = {.start = start_stat};
    struct world world;
    char dead[32];

    (void)state;
    world_open(&world, 1);
    peer_dead_address(dead);
    fake_tracker_point(&world.cluster.tracker, dead);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, ERROR_CONNECTION);
    assert_non_null(strstr(ask.error.text, dead));
    assert_int_equal(tracker_requests(&world, 16), 2);
    world_close(&world);
}

/* ---- uploads ---- */

static void an_upload_that_breaks_off_is_sent_again_under_the_same_id(void **state)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 3000000, .name = "x"}};
    struct world world;

    (void)state;
    world_open(&world, 2);
    atomic_store(&world.cluster.storages[0].cut_uploads, 1);
    atomic_store(&world.cluster.storages[1].cut_uploads, 2);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, 0);
    assert_true(ask.rewinds >= 2);
    assert_stored_once(&world, "f", 3000000);
    world_close(&world);
}

static void an_upload_whose_reply_was_lost_succeeds_and_is_stored_once(void **state)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 100000, .name = "x"}};
    struct world world;

    (void)state;
    world_open(&world, 2);
    atomic_store(&world.cluster.storages[0].lose_replies, 1);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, 0);
    assert_int_equal(fake_requests(&world.cluster, 77), 2);
    assert_stored_once(&world, "f", 100000);
    world_close(&world);
}

static void an_upload_that_cannot_be_rewound_fails_with_the_first_error(void **state)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 3000000, .name = "x"}, .no_rewind = true};
    struct world world;

    (void)state;
    world_open(&world, 2);
    atomic_store(&world.cluster.storages[0].cut_uploads, 1);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, ERROR_CONNECTION);
    assert_int_equal(fake_requests(&world.cluster, 77), 1);
    world_close(&world);
}

static void an_upload_goes_to_another_server_where_one_is_full(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 2);
    atomic_store(&world.cluster.storages[0].fail_code, ERROR_NO_SPACE);
    atomic_store(&world.cluster.storages[0].fail_left, 1000);
    assert_int_equal(upload_now(&world, "f", 100000), 0);
    assert_stored_once(&world, "f", 100000);
    atomic_store(&world.cluster.storages[1].fail_code, ERROR_NO_SPACE);
    atomic_store(&world.cluster.storages[1].fail_left, 1000);
    int before = fake_requests(&world.cluster, 77);
    assert_int_equal(upload_now(&world, "g", 100000), ERROR_NO_SPACE);
    assert_in_range(fake_requests(&world.cluster, 77) - before, 2, 4); /* a second round, and no more */
    world_close(&world);
}

static void an_id_that_is_taken_is_final(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 2);
    assert_int_equal(upload_now(&world, "f", 1000), 0);
    assert_int_equal(upload_now(&world, "f", 1000), 0);
    assert_int_equal(upload_now(&world, "f", 1001), ERROR_EXISTS);
    assert_int_equal(fake_requests(&world.cluster, 77), 3);
    assert_stored_once(&world, "f", 1000);
    world_close(&world);
}

static void an_upload_s_tries_are_bounded(void **state)
{
    struct ask ask = {.start = start_upload, .upload = {.put = {.size = 1000, .name = "x"}, .tries = 4}};
    struct world world;

    (void)state;
    world_open(&world, 2);
    for (int i = 0; i < 2; i++)
        atomic_store(&world.cluster.storages[i].cut_uploads, 1000);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, ERROR_CONNECTION);
    assert_int_equal(fake_requests(&world.cluster, 77), 4);
    world_close(&world);
}

static void an_upload_waits_a_little_for_a_server_to_come(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    atomic_store(&world.cluster.tracker.fail_code, ERROR_NO_SERVER);
    atomic_store(&world.cluster.tracker.fail_left, 2);
    assert_int_equal(upload_now(&world, "f", 1000), 0);
    assert_stored_once(&world, "f", 1000);
    world_close(&world);
}

static void an_upload_without_a_name_is_the_base_command(void **state)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 1000}};
    struct world world;

    (void)state;
    world_open(&world, 1);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, 0);
    assert_int_equal(fake_requests(&world.cluster, 70), 1);
    assert_int_equal(fake_requests(&world.cluster, 77), 0);
    assert_stored_once(&world, "f", 1000);
    world_close(&world);
}

/* ---- few bytes, together with others ---- */

static void few_bytes_are_fetched_from_a_server_that_is_known(void **state)
{
    struct ask early = {.size = 10}, stat = {.start = start_stat}, whole = {.size = 200},
               part = {.offset = 7, .size = 5}, missing = {.size = 5}, too_much = {.size = 500};
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_false(fetch_begin(&early, &world, "f")); /* nobody knows where the user's files are */
    assert_int_equal(upload_now(&world, "f", 200), 0);
    ask_now(&stat, &world, "f");
    assert_int_equal(stat.error.code, 0);
    assert_true(fetch_begin(&whole, &world, "f"));
    assert_true(fetch_begin(&part, &world, "f"));
    assert_true(fetch_begin(&missing, &world, "g"));
    ask_end(&whole);
    ask_end(&part);
    ask_end(&missing);
    assert_int_equal(whole.error.code, 0);
    assert_int_equal(whole.count, 200);
    for (int i = 0; i < 200; i++)
        assert_int_equal((uint8_t)whole.text[i], (uint8_t)(i * 7));
    assert_int_equal(part.count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal((uint8_t)part.text[i], (uint8_t)((7 + i) * 7));
    assert_int_equal(missing.error.code, ERROR_UNAVAILABLE);
    assert_true(fetch_begin(&too_much, &world, "f"));
    ask_end(&too_much);
    assert_int_equal(too_much.error.code, ERROR_UNAVAILABLE);
    world_close(&world);
}

static void nothing_is_fetched_together_from_a_legacy_server(void **state)
{
    struct ask stat = {.start = start_stat}, ask = {.size = 10};
    struct world world;

    (void)state;
    world_open(&world, 1);
    atomic_store(&world.cluster.storages[0].legacy, true);
    assert_int_equal(upload_now(&world, "f", 200), 0);
    ask_now(&stat, &world, "f");
    assert_int_equal(stat.error.code, 0);
    assert_false(fetch_begin(&ask, &world, "f"));
    world_close(&world);
}

/* ---- servers that stop, or say no without a reason ---- */

static void never_answers(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        continue;
}

static void an_upload_leaves_a_server_that_has_stopped(void **state)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 100000, .name = "x"}};
    int64_t since_ms = clock_monotonic_ms();
    struct peer stopped;
    struct world world;
    char addresses[128];

    (void)state;
    world_open_with(&world, 1, NULL,
                    (struct client_options){.call_timeout_ms = 60000, .progress_timeout_ms = 60000});
    peer_start(&stopped, never_answers, NULL);
    snprintf(addresses, sizeof(addresses), "%s;%s;", stopped.address, world.cluster.storages[0].peer.address);
    fake_tracker_point(&world.cluster.tracker, addresses);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, 0);
    assert_stored_once(&world, "f", 100000);
    assert_int_equal(peer_requests(&stopped, 77), 1);
    assert_int_equal(peer_requests(&stopped, 4), 1);
    assert_true(clock_monotonic_ms() - since_ms <
                50000); /* 1.4 s on a calm machine; the time limit is 60 s */
    world_close(&world);
    peer_stop(&stopped);
}

static void reading_leaves_a_server_that_has_stopped(void **state)
{
    static void (*const starts[])(struct ask *) = {start_stat, start_list, start_download, start_where};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        struct ask ask = {.start = starts[i], .list.limit = 10};
        struct peer stopped;
        struct world world;
        char addresses[128];

        world_open_with(&world, 1, NULL, (struct client_options){.location_age_ms = 1});
        assert_int_equal(upload_now(&world, "f", 100), 0);
        peer_start(&stopped, never_answers, NULL);
        snprintf(addresses, sizeof(addresses), "%s;%s;", stopped.address,
                 world.cluster.storages[0].peer.address);
        fake_tracker_point(&world.cluster.tracker, addresses);
        usleep(5000); /* the location is too old */
        ask_now(&ask, &world, "f");
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(peer_requests(&stopped, 4), 1);
        if (starts[i] == start_download)
            on_loop(&world, release, &ask);
        world_close(&world);
        peer_stop(&stopped);
    }
}

/* How often its content was sent anew. */
static int upload_slowly(void)
{
    struct ask ask = {.start = start_upload, .upload.put = {.size = 100000, .name = "x"}};
    struct world world;

    world_open(&world, 2);
    for (int i = 0; i < 2; i++)
        atomic_store(&world.cluster.storages[i].upload_delay_ms, 2000);
    ask_now(&ask, &world, "f");
    assert_int_equal(ask.error.code, 0);
    assert_int_equal(fake_requests(&world.cluster, 77), 1 + ask.rewinds);
    assert_true(fake_requests(&world.cluster, 4) >= 1);
    world_close(&world);
    return ask.rewinds;
}

/* A server of a machine that stood still for long has stopped: then once more. */
static void an_upload_stays_with_a_server_that_is_only_slow(void **state)
{
    int rewinds = 1;

    (void)state;
    for (int attempt = 0; attempt < 5 && rewinds > 0; attempt++)
        rewinds = upload_slowly();
    assert_int_equal(rewinds, 0);
}

static void say_no(struct fake_storage *storage, int code)
{
    atomic_store(&storage->fail_code, code);
    atomic_store(&storage->fail_left, 1000000);
}

static void a_no_without_a_reason_of_one_server_is_not_final(void **state)
{
    static void (*const starts[])(struct ask *) = {start_stat, start_list, start_download, start_restore,
                                                   start_delete};
    static const int codes[] = {ERROR_GENERAL, ERROR_UNKNOWN_COMMAND};
    struct world world;

    (void)state;
    world_open(&world, 2);
    assert_int_equal(upload_now(&world, "f", 100), 0);
    for (size_t code = 0; code < ARRAY_SIZE(codes); code++) {
        for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
            struct ask ask = {.start = starts[i], .list.limit = 10}, restore = {.start = start_restore};

            say_no(&world.cluster.storages[0], codes[code]);
            ask_now(&ask, &world, "f");
            if (ask.error.code != 0)
                fail_msg("%zu, %zu: %d %s", code, i, ask.error.code, ask.error.text);
            if (starts[i] == start_stat)
                assert_true(ask.stat.has_digest || ask.stat.created > 0); /* by STAT, not by FILESIZE */
            if (starts[i] == start_download)
                on_loop(&world, release, &ask);
            ask_now(&restore, &world, "f");
            assert_int_equal(restore.error.code, 0);
        }
    }
    world_close(&world);
}

static void a_no_without_a_reason_is_the_answer_only_where_all_say_so(void **state)
{
    (void)state;
    for (int away = 0; away < 2; away++) {
        struct ask ask = {.start = start_stat};
        struct world world;
        char addresses[128], dead[32];

        world_open(&world, 2);
        peer_dead_address(dead);
        for (int i = 0; i < 2; i++)
            say_no(&world.cluster.storages[i], ERROR_GENERAL);
        snprintf(addresses, sizeof(addresses), "%s;%s;", world.cluster.storages[0].peer.address,
                 away ? dead : world.cluster.storages[1].peer.address);
        fake_tracker_point(&world.cluster.tracker, addresses);
        ask_now(&ask, &world, "f");
        assert_int_equal(ask.error.code, away ? ERROR_CONNECTION : ERROR_GENERAL);
        world_close(&world);
    }
}

static void a_file_keeps_its_name_where_a_server_of_the_group_can_store_it(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 2);
    atomic_store(&world.cluster.storages[0].legacy, true);
    for (int i = 0; i < 4; i++) {
        char file[16];

        snprintf(file, sizeof(file), "f%d", i);
        assert_int_equal(upload_now(&world, file, 3000000), 0);
        assert_stored_once(&world, file, 3000000);
    }
    assert_int_equal(fake_requests(&world.cluster, 70), 0);
    world_close(&world);
}

/* ---- legacy storage servers ---- */

static void a_legacy_storage_server_is_used_through_the_base_commands(void **state)
{
    struct ask stat = {.start = start_stat}, missing = {.start = start_stat},
               remove = {.start = start_delete};
    struct world world;

    (void)state;
    world_open(&world, 1);
    atomic_store(&world.cluster.storages[0].legacy, true);
    atomic_store(&world.cluster.tracker.legacy, true);
    assert_int_equal(upload_now(&world, "f", 3000000), 0);
    assert_stored_once(&world, "f", 3000000);
    assert_int_equal(upload_now(&world, "g", 10), 0);
    assert_int_equal(fake_requests(&world.cluster, 77), 1);
    assert_int_equal(fake_requests(&world.cluster, 70), 2);
    ask_now(&stat, &world, "f");
    assert_int_equal(stat.error.code, 0);
    assert_int_equal(stat.stat.size, 3000000);
    assert_int_equal(stat.stat.created, 0);
    assert_false(stat.stat.has_digest);
    assert_string_equal(stat.stat.group, "group001");
    ask_now(&missing, &world, "nothing");
    assert_int_equal(missing.error.code, ERROR_NOT_FOUND);
    ask_now(&remove, &world, "f");
    assert_int_equal(remove.error.code, 0);
    world_close(&world);
}

static void stat_falls_back_to_filesize_at_the_server_that_does_not_know_it(void **state)
{
    struct ask stat = {.start = start_stat};
    struct world world;

    (void)state;
    world_open(&world, 2);
    assert_int_equal(upload_now(&world, "f", 12345), 0);
    atomic_store(&world.cluster.storages[0].legacy, true);
    ask_now(&stat, &world, "f");
    assert_int_equal(stat.error.code, 0);
    assert_int_equal(stat.stat.size, 12345);
    world_close(&world);
}

static void where_gives_the_place(void **state)
{
    struct ask where = {.start = start_where}, missing = {.start = start_where};
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "f", 12345), 0);
    ask_now(&where, &world, "f");
    assert_int_equal(where.error.code, 0);
    assert_int_equal(where.stat.size, 12345);
    assert_string_equal(where.text, "../data|000/001/1FF/5F9E3FA7_002");
    ask_now(&missing, &world, "nothing");
    assert_int_equal(missing.error.code, ERROR_NOT_FOUND);
    world_close(&world);
}

static void where_falls_back_to_stat_and_then_to_filesize(void **state)
{
    struct ask where = {.start = start_where}, stat = {.start = start_stat}, plain = {.start = start_where};
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "f", 12345), 0);
    atomic_store(&world.cluster.storages[0].no_where, true);
    ask_now(&where, &world, "f");
    assert_int_equal(where.error.code, 0);
    assert_int_equal(where.stat.size, 12345);
    assert_string_equal(where.text, "|");
    assert_int_equal(fake_requests(&world.cluster, 78), 1);
    assert_int_equal(fake_requests(&world.cluster, 74), 1);
    ask_now(&stat, &world, "f"); /* it is not taken for a legacy server */
    assert_int_equal(stat.error.code, 0);
    assert_int_equal(fake_requests(&world.cluster, 71), 0);
    atomic_store(&world.cluster.storages[0].legacy, true);
    ask_now(&plain, &world, "f");
    assert_int_equal(plain.error.code, 0);
    assert_int_equal(plain.stat.size, 12345);
    assert_string_equal(plain.text, "|");
    assert_int_equal(fake_requests(&world.cluster, 71), 1);
    world_close(&world);
}

/* ---- downloads ---- */

static void read_body(struct ask *ask, int64_t expected_size)
{
    size_t buffered, at = 0;
    const uint8_t *bytes = packet_call_buffered(ask->call, &buffered);
    int64_t left = packet_call_length(ask->call);
    uint8_t chunk[4096];

    assert_int_equal(left, expected_size);
    for (; at < buffered; at++)
        assert_int_equal(bytes[at], (uint8_t)((at + (size_t)ask->offset) * 7));
    left -= (int64_t)buffered;
    while (left > 0) {
        struct pollfd poll_fd = {.fd = packet_call_transport(ask->call).fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&poll_fd, 1, 60000), 1);
        got = recv(packet_call_transport(ask->call).fd, chunk, (size_t)min_i64(left, sizeof(chunk)), 0);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++, at++)
            assert_int_equal(chunk[i], (uint8_t)((at + (size_t)ask->offset) * 7));
        left -= got;
    }
}

static void a_download_hands_over_the_socket_and_its_connection_is_used_again(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "f", 100000), 0);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.start = start_download, .offset = i * 1000, .size = i == 2 ? 5000 : 0};

        ask_now(&ask, &world, "f");
        assert_int_equal(ask.error.code, 0);
        read_body(&ask, i == 2 ? 5000 : 100000 - i * 1000);
        on_loop(&world, release, &ask);
    }
    assert_int_equal(atomic_load(&world.cluster.storages[0].peer.accepted), 1);
    world_close(&world);
}

static void a_download_s_failure_is_reported(void **state)
{
    struct ask missing = {.start = start_download}, range = {.start = start_download, .offset = 101};
    struct ask wrong = {.start = start_download, .size = 10};
    struct world world;

    (void)state;
    world_open(&world, 1);
    assert_int_equal(upload_now(&world, "f", 100), 0);
    ask_now(&missing, &world, "g");
    assert_int_equal(missing.error.code, ERROR_NOT_FOUND);
    ask_now(&range, &world, "f");
    assert_int_equal(range.error.code, ERROR_RANGE);
    atomic_store(&world.cluster.storages[0].wrong_length, true);
    ask_now(&wrong, &world, "f");
    assert_int_equal(wrong.error.code, ERROR_MALFORMED);
    world_close(&world);
}

static void an_address_to_avoid_is_asked_last(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 3);
    assert_int_equal(upload_now(&world, "f", 100), 0);
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.start = start_download};
        struct address avoid;
        struct error error;

        assert_true(address_parse(world.cluster.storages[i].peer.address, 0, &avoid, &error));
        ask.avoid = &avoid;
        ask_now(&ask, &world, "f");
        assert_int_equal(ask.error.code, 0);
        assert_int_not_equal(ask.answered.port, avoid.port);
        read_body(&ask, 100);
        on_loop(&world, release, &ask);
    }
    world_close(&world);
}

/* ---- ends ---- */

static void a_cancelled_operation_never_calls_back(void **state)
{
    static void (*const starts[])(struct ask *) = {start_locate, start_stat, start_upload, start_download,
                                                   start_groups};
    struct world world;

    (void)state;
    world_open(&world, 1);
    for (size_t round = 0; round < 10 * ARRAY_SIZE(starts); round++) {
        struct ask ask = {.start = starts[round % ARRAY_SIZE(starts)], .upload.put = {.size = 1000}};

        ask_begin(&ask, &world, "f");
        for (size_t turn = 0; turn < round; turn++) /* a little further each time */
            on_loop(&world, nothing, NULL);
        on_loop(&world, cancel, &ask);
        on_loop(&world, nothing, NULL);
        assert_int_equal(ask.done, 0);
    }
    world_close(&world);
}

static void silent_script(struct peer *peer, int fd, int connection)
{
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request))
        continue;
}

static void the_end_of_a_client_ends_its_operations_without_a_callback(void **state)
{
    struct ask asks[4] = {{.start = start_locate},
                          {.start = start_stat},
                          {.start = start_upload, .upload.put = {.size = 1000}},
                          {.start = start_download}};
    struct peer silent;
    struct world world;

    (void)state;
    peer_start(&silent, silent_script, NULL);
    world_open_with(&world, 1, silent.address, (struct client_options){0});
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
        ask_begin(&asks[i], &world, "f");
    on_loop(&world, destroy_client, &world);
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
        assert_int_equal(asks[i].done, 0);
    world_close(&world);
    peer_stop(&silent);
}

static void a_silent_tracker_is_a_time_out(void **state)
{
    struct ask ask = {.start = start_locate};
    struct peer silent;
    struct world world;

    (void)state;
    peer_start(&silent, silent_script, NULL);
    world_open_with(&world, 1, silent.address, (struct client_options){.call_timeout_ms = 100});
    ask_now(&ask, &world, "");
    assert_int_equal(ask.error.code, ERROR_TIMEOUT);
    world_close(&world);
    peer_stop(&silent);
}

static void a_silent_tracker_is_not_waited_for_and_remembered(void **state)
{
    char trackers[128];
    struct fake_tracker other;
    struct peer silent;
    struct world world;

    (void)state;
    peer_start(&silent, silent_script, NULL);
    fake_tracker_start(&other);
    fake_tracker_point(&other, "127.0.0.1:7;");
    snprintf(trackers, sizeof(trackers), "%s,%s", silent.address, other.peer.address);
    world_open_with(&world, 1, trackers, (struct client_options){.call_timeout_ms = 600000});
    for (int i = 0; i < 12; i++) {
        struct ask ask = {.start = start_locate, .fresh = true, .create = i % 2 == 0};

        ask_now(&ask, &world, "");
        assert_int_equal(ask.error.code, 0);
        assert_int_equal(ask.location.servers[0].port, 7);
    }
    /* Each one is first in half of the questions; the other tracker may have been slow once. */
    assert_in_range(peer_requests(&silent, 12) + peer_requests(&silent, 16), 1, 3);
    world_close(&world);
    fake_tracker_stop(&other);
    peer_stop(&silent);
}

static void a_key_that_breaks_a_rule_is_refused_before_anybody_is_asked(void **state)
{
    struct ask ask = {.start = start_stat};
    struct world world;

    (void)state;
    world_open(&world, 1);
    ask.world = &world;
    strcpy(ask.key.application, "no-name");
    strcpy(ask.key.user, "user1");
    strcpy(ask.key.file, "f");
    pthread_mutex_init(&ask.mutex, NULL);
    pthread_cond_init(&ask.changed, NULL);
    on_loop(&world, ask_start, &ask);
    ask_end(&ask);
    assert_int_equal(ask.error.code, ERROR_MALFORMED);
    assert_int_equal(atomic_load(&world.cluster.tracker.peer.accepted), 0);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_location_is_asked_once_and_then_known),
        cmocka_unit_test(a_fresh_location_is_asked_for_again),
        cmocka_unit_test(reading_gives_no_new_user_a_group_and_writing_does),
        cmocka_unit_test(a_legacy_tracker_is_asked_with_saddrs_and_remembered),
        cmocka_unit_test(another_tracker_answers_where_one_is_away_or_fails),
        cmocka_unit_test(a_modern_tracker_answers_for_a_legacy_one),
        cmocka_unit_test(an_older_location_is_used_while_every_tracker_is_away),
        cmocka_unit_test(a_group_without_a_server_is_an_error),
        cmocka_unit_test(a_file_goes_there_and_back_and_away_and_back),
        cmocka_unit_test(a_missing_file_is_asked_for_once),
        cmocka_unit_test(a_list_comes_in_pages),
        cmocka_unit_test(the_tracker_s_texts_are_handed_on),
        cmocka_unit_test(another_server_answers_where_one_is_away_busy_or_broken),
        cmocka_unit_test(a_location_that_has_become_wrong_is_asked_for_anew),
        cmocka_unit_test(a_server_that_stays_away_is_an_error_that_names_it),
        cmocka_unit_test(an_upload_that_breaks_off_is_sent_again_under_the_same_id),
        cmocka_unit_test(an_upload_whose_reply_was_lost_succeeds_and_is_stored_once),
        cmocka_unit_test(an_upload_that_cannot_be_rewound_fails_with_the_first_error),
        cmocka_unit_test(an_upload_goes_to_another_server_where_one_is_full),
        cmocka_unit_test(an_id_that_is_taken_is_final),
        cmocka_unit_test(an_upload_s_tries_are_bounded),
        cmocka_unit_test(an_upload_waits_a_little_for_a_server_to_come),
        cmocka_unit_test(an_upload_without_a_name_is_the_base_command),
        cmocka_unit_test(few_bytes_are_fetched_from_a_server_that_is_known),
        cmocka_unit_test(nothing_is_fetched_together_from_a_legacy_server),
        cmocka_unit_test(an_upload_leaves_a_server_that_has_stopped),
        cmocka_unit_test(reading_leaves_a_server_that_has_stopped),
        cmocka_unit_test(an_upload_stays_with_a_server_that_is_only_slow),
        cmocka_unit_test(a_no_without_a_reason_of_one_server_is_not_final),
        cmocka_unit_test(a_no_without_a_reason_is_the_answer_only_where_all_say_so),
        cmocka_unit_test(a_file_keeps_its_name_where_a_server_of_the_group_can_store_it),
        cmocka_unit_test(a_legacy_storage_server_is_used_through_the_base_commands),
        cmocka_unit_test(where_gives_the_place),
        cmocka_unit_test(where_falls_back_to_stat_and_then_to_filesize),
        cmocka_unit_test(stat_falls_back_to_filesize_at_the_server_that_does_not_know_it),
        cmocka_unit_test(a_download_hands_over_the_socket_and_its_connection_is_used_again),
        cmocka_unit_test(a_download_s_failure_is_reported),
        cmocka_unit_test(an_address_to_avoid_is_asked_last),
        cmocka_unit_test(a_cancelled_operation_never_calls_back),
        cmocka_unit_test(the_end_of_a_client_ends_its_operations_without_a_callback),
        cmocka_unit_test(a_silent_tracker_is_a_time_out),
        cmocka_unit_test(a_silent_tracker_is_not_waited_for_and_remembered),
        cmocka_unit_test(a_key_that_breaks_a_rule_is_refused_before_anybody_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
