/* What the daemons that answer packets have in common: options, and a life from start to drain. */
#include "common/daemon/host_name.h"
#include "common/daemon/packet_daemon.h"
#include "common/proto/proto.h"
#include "tests/unit/library/storage_loop.h"
#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct sample_config {
    struct packet_daemon_config base;
    struct config_strings applications;
};

static const struct config_option sample_options[] = {
    PACKET_DAEMON_LISTEN("sample", "127.0.0.1:0", 24000, "Where."),
    PACKET_DAEMON_CONNECTIONS_MAX("sample"),
    PACKET_DAEMON_IDLE_TIMEOUT("sample", "2m", " More."),
    PACKET_DAEMON_PROGRESS_TIMEOUT("sample", "30s"),
    PACKET_DAEMON_REFUSED_BODY_TIMEOUT("sample", "drain_timeout", "5s"),
    PACKET_DAEMON_DATABASE_URL("sqlite:/nowhere/at/all.db", "Where all is:"),
    PACKET_DAEMON_DATABASE_URL_FILE,
    PACKET_DAEMON_DATABASE_THREADS("2"),
    PACKET_DAEMON_DATABASE_QUEUE("100", "Jobs."),
    PACKET_DAEMON_DATABASE_TIMEOUT("3s", "Time."),
    {.section = "sample",
     .name = "applications",
     .type = CONFIG_STRINGS,
     .offset = offsetof(struct sample_config, applications),
     .default_value = "tnvideo",
     .help = "Applications."},
};
static const struct config_table tables[] = {{sample_options, ARRAY_SIZE(sample_options)}, {NULL, 0}};

static void load(struct sample_config *config, const char *override)
{
    struct error error;
    memset(config, 0, sizeof(*config));
    if (!config_load(tables, NULL, &override, override != NULL ? 1 : 0, config, &error))
        fail_msg("%s", error.text);
}

static bool check(const struct sample_config *config, struct error *error)
{
    return packet_daemon_check(&config->base, "sample", error) &&
           packet_daemon_check_applications(&config->applications, "sample", error);
}

/* ---- options ---- */

static void every_row_fills_its_own_member(void **state)
{
    struct sample_config config;
    (void)state;
    load(&config, NULL);
    assert_int_equal(config.base.listen.count, 1);
    assert_int_equal(config.base.connections_max, 10000);
    assert_int_equal(config.base.idle_timeout_ms, 120000);
    assert_int_equal(config.base.progress_timeout_ms, 30000);
    assert_int_equal(config.base.refused_body_timeout_ms, 5000);
    assert_string_equal(config.base.database_url, "sqlite:/nowhere/at/all.db");
    assert_int_equal(config.base.database_threads, 2);
    assert_int_equal(config.base.database_queue, 100);
    assert_int_equal(config.base.database_timeout_ms, 3000);
    config_clear(tables, &config);
}

static void assert_refused(const char *override, const char *message)
{
    struct sample_config config;
    struct error error;
    load(&config, override);
    assert_false(check(&config, &error));
    if (strstr(error.text, message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, message);
    config_clear(tables, &config);
}

static void what_the_rows_cannot_say_is_refused_with_the_name_of_the_option(void **state)
{
    struct sample_config config;
    struct error error;
    (void)state;
    load(&config, NULL);
    assert_true(check(&config, &error));
    config_clear(tables, &config);
    assert_refused("sample.listen=", "sample.listen is empty");
    assert_refused("database.url=oracle://x", "database.url: ");
    assert_refused("sample.applications=", "sample.applications is empty");
    assert_refused("sample.applications=tnvideo,tn-video", "sample.applications: \"tn-video\"");
    assert_refused("sample.applications=a234567890123456", "at most 15");
}

/* ---- the life ---- */

struct sample {
    struct packet_daemon base;
    struct sample_config config;
    struct daemon daemon;
    struct loop_group loops;
    struct packet_request *held;
    atomic_int ticks, drained;
    atomic_bool holds;
    atomic_bool drained_on_main;
};

static void answer(struct packet_request *request)
{
    packet_reply(request, "fine", 4);
}

static void hold(struct packet_request *request)
{
    struct sample *sample = packet_server_argument(packet_connection_server(request->connection));
    sample->held = request;
    atomic_store(&sample->holds, true);
}

static const struct packet_command commands[] = {
    {.command = 1, .name = "answer", .handle = answer},
    {.command = 2, .name = "hold", .handle = hold},
};

static const struct daemon_spec spec = {.name = "sample"};

static void on_tick(struct packet_daemon *base)
{
    atomic_fetch_add(&CONTAINER_OF(base, struct sample, base)->ticks, 1);
}

static void on_drained(struct packet_daemon *base)
{
    struct sample *sample = CONTAINER_OF(base, struct sample, base);
    atomic_store(&sample->drained_on_main, loop_current() == sample->daemon.main_loop);
    atomic_fetch_add(&sample->drained, 1);
}

static void start(struct sample *sample, const char *override)
{
    struct error error;
    const struct packet_daemon_face face = {
        .host_name = "here",
        .reply_command = PROTO_REPLY_IDSERVER,
        .commands = commands,
        .command_count = ARRAY_SIZE(commands),
        .argument = sample,
    };
    memset(sample, 0, sizeof(*sample));
    load(&sample->config, override);
    sample->config.base.daemon.stop_timeout_ms = 20000;
    sample->daemon.spec = &spec;
    sample->daemon.config = &sample->config;
    sample->daemon.loops = &sample->loops;
    sample->daemon.main_loop = loop_create("main", &error);
    assert_non_null(sample->daemon.main_loop);
    assert_true(loop_group_create(&sample->loops, "work", 1, &error));
    packet_daemon_begin(&sample->base, &sample->daemon);
    sample->base.db = packet_daemon_open_database(&sample->config.base, false, &error);
    assert_non_null(sample->base.db);
    assert_true(packet_daemon_start_tick(&sample->base, 10, on_tick, &error));
    if (!packet_daemon_listen(&sample->base, &face, &error))
        fail_msg("%s", error.text);
    assert_true(loop_start(sample->daemon.main_loop, &error));
    assert_true(loop_group_start(&sample->loops, &error));
}

static void end_workers(void *argument)
{
    packet_daemon_end_workers(argument);
}

static void finish(struct sample *sample)
{
    loop_do(sample->daemon.main_loop, end_workers, &sample->base);
    loop_group_destroy(&sample->loops);
    packet_daemon_destroy(&sample->base);
    loop_destroy(sample->daemon.main_loop);
    config_clear(tables, &sample->config);
}

static int connect_client(const struct sample *sample)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(packet_server_port(sample->base.server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void ask(int fd, uint8_t command)
{
    uint8_t header[PROTO_HEADER_SIZE];
    proto_header_pack(header, 0, command, 0);
    assert_int_equal(send(fd, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
}

static void assert_answered(int fd)
{
    uint8_t reply[PROTO_HEADER_SIZE + 4];
    assert_int_equal(recv(fd, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
    assert_memory_equal(reply + PROTO_HEADER_SIZE, "fine", 4);
}

static bool has_ticked(void *argument)
{
    return atomic_load(&((struct sample *)argument)->ticks) >= 3;
}

static bool is_held(void *argument)
{
    return atomic_load(&((struct sample *)argument)->holds);
}

static bool is_drained(void *argument)
{
    return atomic_load(&((struct sample *)argument)->drained) > 0;
}

static void stop(void *argument)
{
    packet_daemon_stop(argument, on_drained);
}

static void release(void *argument)
{
    answer(((struct sample *)argument)->held);
}

static void it_answers_and_ticks_and_shows_its_status(void **state)
{
    struct sample sample;
    (void)state;
    start(&sample, NULL);
    int fd = connect_client(&sample);
    ask(fd, 1);
    assert_answered(fd);
    assert_true(loop_wait_until(has_ticked, &sample));
    json_t *status = packet_daemon_status(&sample.base, "sample");
    assert_string_equal(json_string_value(json_object_get(status, "sample")), host_name());
    assert_int_equal(json_integer_value(json_object_get(status, "requests")), 1);
    assert_int_equal(json_integer_value(json_object_get(status, "connections")), 1);
    assert_true(json_integer_value(json_object_get(status, "start_time")) > 0);
    json_decref(status);
    close(fd);
    finish(&sample);
}

static void a_drain_waits_for_the_request_and_ends_on_the_main_loop(void **state)
{
    struct sample sample;
    (void)state;
    start(&sample, NULL);
    int fd = connect_client(&sample);
    ask(fd, 2);
    assert_true(loop_wait_until(is_held, &sample));
    loop_do(sample.daemon.main_loop, stop, &sample.base);
    assert_int_equal(atomic_load(&sample.drained), 0);
    loop_do(sample.loops.loops[0], release, &sample);
    assert_answered(fd);
    assert_true(loop_wait_until(is_drained, &sample));
    assert_true(atomic_load(&sample.drained_on_main));
    close(fd);
    finish(&sample);
    assert_int_equal(atomic_load(&sample.drained), 1);
}

static void a_reload_shortens_the_idle_time_of_open_connections(void **state)
{
    struct sample sample;
    struct sample_config changed;
    const struct timeval patience = {.tv_sec = 30};
    char byte;
    (void)state;
    start(&sample, "sample.idle_timeout=0");
    load(&changed, "sample.idle_timeout=50ms");
    packet_daemon_reload(&sample.base, &changed.base);
    config_clear(tables, &changed);
    int fd = connect_client(&sample);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    ask(fd, 1);
    assert_answered(fd);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    finish(&sample);
}

static void a_start_that_fails_in_the_middle_is_undone(void **state)
{
    struct sample taken, sample;
    struct error error;
    char override[64];
    const struct packet_daemon_face face = {.host_name = "here", .commands = commands, .command_count = 1};
    (void)state;
    start(&taken, NULL);
    memset(&sample, 0, sizeof(sample));
    snprintf(override, sizeof(override), "sample.listen=127.0.0.1:%u", packet_server_port(taken.base.server));
    load(&sample.config, override);
    sample.daemon.spec = &spec;
    sample.daemon.config = &sample.config;
    sample.daemon.loops = &sample.loops;
    sample.daemon.main_loop = loop_create("main", &error);
    assert_true(loop_group_create(&sample.loops, "work", 1, &error));
    packet_daemon_begin(&sample.base, &sample.daemon);
    assert_true(packet_daemon_start_tick(&sample.base, 10, on_tick, &error));
    assert_false(packet_daemon_listen(&sample.base, &face, &error));
    assert_non_null(strstr(error.text, "sample.listen: "));
    packet_daemon_destroy(&sample.base);
    loop_group_destroy(&sample.loops);
    loop_destroy(sample.daemon.main_loop);
    config_clear(tables, &sample.config);
    finish(&taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_fills_its_own_member),
        cmocka_unit_test(what_the_rows_cannot_say_is_refused_with_the_name_of_the_option),
        cmocka_unit_test(it_answers_and_ticks_and_shows_its_status),
        cmocka_unit_test(a_drain_waits_for_the_request_and_ends_on_the_main_loop),
        cmocka_unit_test(a_reload_shortens_the_idle_time_of_open_connections),
        cmocka_unit_test(a_start_that_fails_in_the_middle_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
