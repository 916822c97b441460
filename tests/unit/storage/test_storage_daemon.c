/* reel-storage as a whole, with a real tracker and ID server: joins, stores, serves, reloads, reports its state, ends. */
#include "tests/unit/library/files.h"
#include "tests/unit/library/real_daemon.h"
#include "tests/unit/library/scripted_peer.h"
#include "common/base/clock.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include "common/proto/proto_tracker.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

static struct real_daemon tracker, idserver, storage;
static char store[] = "/tmp/reel-store-XXXXXX";
static char options[1024];
static int fd;

static void add_group(void)
{
    uint8_t body[PROTO_GROUP_CHANGE_SIZE];
    const struct proto_group request = {.group = "group001", .change = PROTO_GROUP_ADD, .weight = 100};
    struct error error;
    int to_tracker = real_daemon_connect(&tracker);

    assert_true(proto_group_pack(body, &request, &error));
    assert_int_equal(real_daemon_code(to_tracker, PROTO_TRACKER_GROUP, body, sizeof(body)), ERROR_NONE);
    close(to_tracker);
}

static int set_up(void **state)
{
    (void)state;
    memcpy(store + sizeof(store) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(store));
    real_daemon_start(&tracker, "tracker", true, "groups_refresh = 200ms");
    add_group();
    real_daemon_start(&idserver, "idserver", true, NULL);
    snprintf(options, sizeof(options),
             "group = group001\npaths = ../data=%s\ntrackers = 127.0.0.1:%u\nidservers = 127.0.0.1:%u\n"
             "heartbeat_interval = 200ms\nreserve_space = 0\nreserve_inodes = 0\nprobe_interval = 100ms\n",
             store, tracker.port, idserver.port);
    real_daemon_start(&storage, "storage", true, options);
    fd = real_daemon_connect(&storage);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(fd);
    real_daemon_stop(&storage);
    real_daemon_stop(&idserver);
    real_daemon_stop(&tracker);
    remove_tree(store);
    return 0;
}

static int upload(const char *file, const char *content)
{
    uint8_t body[PROTO_UPLOAD_SIZE + 64];
    struct proto_upload request = {.key = {.application = "tnvideo", .user = "alice"},
                                   .size = (int64_t)strlen(content)};
    struct error error;

    snprintf(request.key.file, sizeof(request.key.file), "%s", file);
    assert_true(proto_upload_pack(body, &request, &error));
    memcpy(body + PROTO_UPLOAD_SIZE, content, strlen(content));
    return real_daemon_code(fd, PROTO_STORAGE_UPLOAD, body, PROTO_UPLOAD_SIZE + strlen(content));
}

/* The first upload of a server may have to wait for its numbers and its database, on a busy machine for long. */
static void store_first(const char *file, const char *content)
{
    int64_t until_ms = clock_monotonic_ms() + 60000;
    int code;

    while ((code = upload(file, content)) == ERROR_UNAVAILABLE && clock_monotonic_ms() < until_ms)
        usleep(50000);
    assert_int_equal(code, ERROR_NONE);
}

static struct real_answer download(const char *file)
{
    uint8_t body[PROTO_DOWNLOAD_SIZE];
    struct proto_download request = {.key = {.application = "tnvideo", .user = "alice"}};
    struct error error;

    snprintf(request.key.file, sizeof(request.key.file), "%s", file);
    assert_true(proto_download_pack(body, &request, &error));
    return real_daemon_ask(fd, PROTO_STORAGE_DOWNLOAD, body, sizeof(body));
}

static void it_joins_and_stores_and_serves(void **state)
{
    (void)state;
    assert_true(real_daemon_shows(&tracker, "/status", "\"state\": \"ACTIVE\""));
    assert_true(real_daemon_shows(&tracker, "/status", "\"load\""));
    store_first("film", "moving pictures");
    struct real_answer answer = download("film");
    assert_int_equal(answer.code, ERROR_NONE);
    assert_string_equal(answer.body, "moving pictures");
    free(answer.body);
    assert_int_equal(download("nothing").code, ERROR_NOT_FOUND);
}

static void the_admin_port_shows_paths_trackers_and_health(void **state)
{
    (void)state;
    store_first("film", "moving pictures");
    assert_true(real_daemon_shows(&storage, "/status", "\"joined\": true"));
    assert_true(real_daemon_shows(&storage, "/status", store));
    assert_true(real_daemon_shows(&storage, "/healthz", "ok"));
    assert_true(real_daemon_shows(&storage, "/metrics", "reel_storage_uploads_total"));
}

static void a_reload_takes_what_may_change(void **state)
{
    char changed[1200];

    (void)state;
    store_first("one", "1");
    snprintf(changed, sizeof(changed), "%sapplications = other\n", options);
    real_daemon_reload(&storage, true, changed);
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (upload("one", "1") == ERROR_NONE && clock_monotonic_ms() < until_ms)
        usleep(20000);
    assert_int_equal(upload("one", "1"), ERROR_REFUSED);
    snprintf(changed, sizeof(changed), "%suploads_max = nonsense\n", options);
    real_daemon_reload(&storage, true, changed);
    assert_int_equal(real_daemon_run(&storage, "--check-config"), 2);
    assert_int_equal(upload("one", "1"), ERROR_REFUSED);
}

static void without_its_tracker_it_goes_on_serving_and_says_so(void **state)
{
    (void)state;
    store_first("film", "moving pictures");
    assert_true(real_daemon_shows(&storage, "/status", "\"joined\": true"));
    real_daemon_stop(&tracker);
    assert_true(real_daemon_shows(&storage, "/status", "\"joined\": false"));
    struct real_answer answer = download("film");
    assert_int_equal(answer.code, ERROR_NONE);
    free(answer.body);
    real_daemon_start(&tracker, "tracker", true, NULL); /* for the end */
}

#define DAEMON_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAEMON_TEST(it_joins_and_stores_and_serves),
        DAEMON_TEST(the_admin_port_shows_paths_trackers_and_health),
        DAEMON_TEST(a_reload_takes_what_may_change),
        DAEMON_TEST(without_its_tracker_it_goes_on_serving_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
