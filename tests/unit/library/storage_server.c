/*
 * storage_server: puts the rooms of reel-storage together as storage/main.c does, without daemon and heartbeat,
 * and speaks to them over TCP.
 */
#include "tests/unit/library/storage_server.h"
#include "common/base/metrics.h"

#include "storage/request/commands.h"
#include "storage/upload/partials.h"

static void put_number(uint8_t *bytes, int64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

static void idserver(struct peer *peer, int fd, int connection)
{
    struct world *world = peer->argument;
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request)) {
        uint8_t body[16];
        put_number(body, atomic_fetch_add(&world->next_number, 1));
        put_number(body + 8, 1);
        peer_reply(fd, 101, body, 16);
    }
}

static void make_metrics(struct storage_metrics *metrics)
{
    struct metric **all[] = {&metrics->uploads_stored, &metrics->uploads_repeated, &metrics->uploads_refused,
                             &metrics->uploads_failed, &metrics->upload_bytes,     &metrics->download_bytes,
                             &metrics->collisions,     &metrics->leftovers};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        char label[32];
        snprintf(label, sizeof(label), "what=\"%zu\"", i);
        *all[i] = metrics_counter("reel_test_total", "For the test.", label);
    }
    metrics->sync_time = metrics_histogram("reel_test_sync_seconds", "For the test.", NULL);
    metrics->row_time = metrics_histogram("reel_test_row_seconds", "For the test.", NULL);
}

static void make_rooms(struct world *world)
{
    struct storage *storage = &world->storage;
    const struct storage_config *config = &world->fixture.config;
    struct error error = {0};
    storage->config = config;
    storage->host_name = "media1";
    make_metrics(&storage->metrics);
    storage->store = store_create(config, world->main_loop, 10000, NULL, NULL, &error);
    assert_non_null(storage->store);
    storage->meta = meta_create(config, storage->store, world->main_loop, &error);
    assert_non_null(storage->meta);
    storage->applications = applications_create(&config->applications, &config->expires, &error);
    storage->types = types_create(storage->meta, &error);
    assert_non_null(storage->types);
    storage->buffers = buffers_create((size_t)config->chunk_size, config->buffer_memory);
    storage->gate =
        gate_create((size_t)config->uploads_max, (size_t)config->uploads_waiting, config->uploads_wait_ms);
    storage->partials = partials_create(16);
    assert_non_null(storage->partials);
    storage->open_cache =
        open_cache_create(storage_options_open_files(config), config->open_age_ms, world->main_loop);
    world->key = store_path_key(store_at(storage->store, 0));
    struct ids_options ids = {
        .loop = world->main_loop,
        .servers = &config->idservers,
        .keys = &world->key,
        .key_count = 1,
        .range = 1,
        .timeout_ms = config->id_timeout_ms,
        .waiting_max = 1000,
        .connect_timeout_ms = 20000,
        .call_timeout_ms = 20000,
    };
    storage->ids = ids_create(&ids, &error);
    assert_non_null(storage->ids);
    struct packet_server_options options = {
        .listen = config->base.listen,
        .host_name = "media1",
        .reply_command = PROTO_REPLY_STORAGE,
        .commands = storage_commands,
        .command_count = storage_command_count,
        .connections_max = 1000,
        .progress_timeout_ms = 60000,
        .drain_timeout_ms = 10000,
        .argument = storage,
    };
    storage->base.server = packet_server_create(&options, &world->loops, &error);
    assert_non_null(storage->base.server);
}

void start_world(struct world *world, const char *more)
{
    struct error error = {0};
    char path[128];
    memset(world, 0, sizeof(*world));
    fixture_create(&world->fixture);
    fixture_option(&world->fixture, "storage.paths=../data=%s/one", world->fixture.directory);
    fixture_option(&world->fixture, "storage.listen=127.0.0.1:0");
    /* Longer than any disk or machine stands still; what is to take too long has a limit of its own. */
    fixture_option(&world->fixture, "database.timeout=30s");
    fixture_option(&world->fixture, "storage.id_timeout=60s");
    fixture_option(&world->fixture, "storage.hang_timeout=60s");
    peer_start(&world->idserver, idserver, world);
    fixture_option(&world->fixture, "storage.idservers=%s", world->idserver.address);
    if (more)
        fixture_option(&world->fixture, "%s", more);
    fixture_load(&world->fixture);
    if (!schema_apply(world->fixture.config.base.database_url, &storage_schema, NULL, &error))
        fail_msg("%s", error.text);
    world->main_loop = loop_create("main", &error);
    assert_non_null(world->main_loop);
    assert_true(loop_group_create(&world->loops, "work", 2, &error));
    make_rooms(world);
    assert_true(loop_start(world->main_loop, &error));
    assert_true(loop_group_start(&world->loops, &error));
    snprintf(path, sizeof(path), "%s/meta.db", world->fixture.directory);
    assert_int_equal(sqlite3_open(path, &world->beside), SQLITE_OK);
    sqlite3_busy_timeout(world->beside, 10000);
}

static void on_stopped(void *argument)
{
    sem_post(argument);
}

static void end_on_main(void *argument)
{
    struct world *world = argument;
    ids_end(world->storage.ids);
    store_end(world->storage.store, 60000);
}

/* What has events on the main loop. */
static void destroy_on_main(void *argument)
{
    struct world *world = argument;
    open_cache_destroy(world->storage.open_cache);
    ids_destroy(world->storage.ids);
    meta_destroy(world->storage.meta);
    store_destroy(world->storage.store);
}

static bool all_given_back(void *argument)
{
    const struct storage *storage = argument;
    return gate_active(storage->gate) == 0 && buffers_used(storage->buffers) == 0;
}

void end_world(struct world *world)
{
    struct storage *storage = &world->storage;
    sem_t stopped;
    sem_init(&stopped, 0, 0);
    packet_server_stop(storage->base.server, 60000, on_stopped, &stopped);
    while (sem_wait(&stopped) != 0)
        ;
    sem_destroy(&stopped);
    /* Whatever was taken is given back, also by uploads whose connection went before their last job came back. */
    assert_true(loop_wait_until(all_given_back, storage));
    assert_int_equal(metric_value(storage->metrics.leftovers), 0);
    sqlite3_close(world->beside);
    loop_do(world->main_loop, end_on_main, world);
    types_end(storage->types, 60000);
    assert_int_equal(metric_value(metrics_gauge("reel_storage_types_waiting", "", NULL)), 0);
    meta_end(storage->meta);
    loop_group_destroy(&world->loops);
    packet_server_destroy(storage->base.server);
    loop_do(world->main_loop, destroy_on_main, world);
    loop_destroy(world->main_loop);
    peer_stop(&world->idserver);
    gate_destroy(storage->gate);
    partials_destroy(storage->partials);
    buffers_destroy(storage->buffers);
    types_destroy(storage->types);
    applications_destroy(storage->applications);
    fixture_destroy(&world->fixture);
}

void beside(struct world *world, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(world->beside, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

int connect_client(const struct world *world)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(packet_server_port(world->storage.base.server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

struct answer read_answer(int fd)
{
    uint8_t bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct answer answer = {0};
    struct error error = {0};
    assert_true(peer_get(fd, bytes, sizeof(bytes)));
    assert_true(proto_header_unpack(bytes, &header, &error));
    assert_int_equal(header.command, PROTO_REPLY_STORAGE);
    answer.size = header.length;
    answer.body = malloc((size_t)header.length + 1);
    assert_non_null(answer.body);
    assert_true(peer_get(fd, answer.body, (size_t)header.length));
    answer.fine = header.status == PROTO_STATUS_OK;
    if (!answer.fine) {
        proto_error_unpack(answer.body, (size_t)answer.size, &error);
        answer.code = error.code;
        assert_int_equal(strncmp(error.text, "[media1] ", 9), 0);
    }
    return answer;
}

int read_code(int fd)
{
    struct answer answer = read_answer(fd);
    if (answer.fine)
        assert_int_equal(answer.size, 0);
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

struct proto_file_key key_of(const char *file)
{
    struct proto_file_key key = {.application = "tnvideo", .user = "alice"};
    snprintf(key.file, sizeof(key.file), "%s", file);
    return key;
}

void send_header(int fd, uint8_t command, int64_t length)
{
    uint8_t header[PROTO_HEADER_SIZE];
    proto_header_pack(header, length, command, 0);
    peer_put(fd, header, sizeof(header));
}

void send_put_head(int fd, const struct proto_put *put)
{
    uint8_t head[PROTO_PUT_SIZE];
    struct error error = {0};
    assert_true(proto_put_pack(head, put, &error));
    send_header(fd, PROTO_STORAGE_PUT, PROTO_PUT_SIZE + put->size);
    peer_put(fd, head, sizeof(head));
}

int put(int fd, const struct proto_put *head, const void *content)
{
    send_put_head(fd, head);
    peer_put(fd, content, (size_t)head->size);
    return read_code(fd);
}

int upload(int fd, const char *file, const void *content, size_t size)
{
    uint8_t head[PROTO_UPLOAD_SIZE];
    struct proto_upload request = {.key = key_of(file), .size = (int64_t)size};
    struct error error = {0};
    assert_true(proto_upload_pack(head, &request, &error));
    send_header(fd, PROTO_STORAGE_UPLOAD, PROTO_UPLOAD_SIZE + (int64_t)size);
    peer_put(fd, head, sizeof(head));
    peer_put(fd, content, size);
    return read_code(fd);
}

struct answer ask_key(int fd, uint8_t command, const char *file)
{
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct proto_file_key key = key_of(file);
    struct error error = {0};
    assert_true(proto_file_key_pack(body, &key, &error));
    return ask_body(fd, command, body, sizeof(body));
}

struct answer ask_body(int fd, uint8_t command, const uint8_t *body, size_t size)
{
    send_header(fd, command, (int64_t)size);
    peer_put(fd, body, size);
    return read_answer(fd);
}

int change(int fd, uint8_t command, const char *file)
{
    struct answer answer = ask_key(fd, command, file);
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

int code_of_download(int fd, const char *file, int64_t offset, int64_t size, const void *expected,
                     size_t expected_size)
{
    uint8_t body[PROTO_DOWNLOAD_SIZE];
    struct proto_download request = {.key = key_of(file), .offset = offset, .size = size};
    struct error error = {0};
    assert_true(proto_download_pack(body, &request, &error));
    send_header(fd, PROTO_STORAGE_DOWNLOAD, sizeof(body));
    peer_put(fd, body, sizeof(body));
    struct answer answer = read_answer(fd);
    if (answer.fine) {
        assert_int_equal(answer.size, expected_size);
        assert_memory_equal(answer.body, expected, expected_size);
    }
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

struct proto_stat stat_of(int fd, const char *file)
{
    struct answer answer = ask_key(fd, PROTO_STORAGE_STAT, file);
    struct proto_stat stat;
    struct error error = {0};
    assert_true(answer.fine);
    assert_true(proto_stat_reply_unpack(answer.body, (size_t)answer.size, &stat, &error));
    free(answer.body);
    return stat;
}

uint8_t *random_bytes(size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    arc4random_buf(bytes, size);
    return bytes;
}

void digest_of(const void *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE])
{
    struct digest *digest = digest_create();
    assert_non_null(digest);
    digest_update(digest, bytes, size);
    digest_final(digest, out);
    digest_destroy(digest);
}
