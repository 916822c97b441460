/* What clients ask of a storage server, and what they get. */
#include "tests/unit/library/storage_server.h"
#include "common/base/metrics.h"

#include <jansson.h>

static void files_of_every_size_make_the_round_trip(void **state)
{
    static const size_t sizes[] = {0,      1,      4095,   4096,   4097,    131071,
                                   131072, 131073, 262144, 262145, 1 << 20, 3000001};
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint8_t *content = random_bytes(sizes[i]), digest[PROTO_DIGEST_SIZE];
        char file[32];
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, sizes[i]), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, sizes[i]), ERROR_NONE);
        struct proto_stat stat = stat_of(fd, file);
        digest_of(content, sizes[i], digest);
        assert_int_equal(stat.size, sizes[i]);
        assert_true(stat.has_digest);
        assert_memory_equal(stat.digest, digest, sizeof(digest));
        assert_string_equal(stat.group, "group001");
        free(content);
    }
    assert_int_equal(fixture_files(&world.fixture, "one"), ARRAY_SIZE(sizes));
    close(fd);
    end_world(&world);
}

static void with_memory_short_uploads_still_work(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(1 << 20);
    int fds[30];
    (void)state;
    start_world(&world, "storage.buffer_memory=1M");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        char file[32];
        struct proto_put head = {.size = 1 << 20};
        snprintf(file, sizeof(file), "file%zu", i);
        head.key = key_of(file);
        fds[i] = connect_client(&world);
        send_put_head(fds[i], &head);
        peer_put(fds[i], content, 1000); /* all are under way at once */
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        peer_put(fds[i], content + 1000, (1 << 20) - 1000);
        assert_int_equal(read_code(fds[i]), ERROR_NONE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        char file[32];
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(code_of_download(fds[i], file, 0, 0, content, 1 << 20), ERROR_NONE);
        close(fds[i]);
    }
    free(content);
    end_world(&world);
}

static void a_taken_file_id_is_refused_unless_the_bytes_are_the_same(void **state)
{
    static const size_t sizes[] = {0, 5000, 500000};
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t size = sizes[i];
        uint8_t *content = random_bytes(size + 1);
        char file[32];
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE); /* the reply was lost, say */
        assert_int_equal(upload(fd, file, content, size + 1), ERROR_EXISTS);
        if (size > 0) {
            content[size - 1] ^= 1;
            assert_int_equal(upload(fd, file, content, size), ERROR_EXISTS);
            content[size - 1] ^= 1;
        }
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        free(content);
    }
    assert_int_equal(fixture_files(&world.fixture, "one"), ARRAY_SIZE(sizes));
    close(fd);
    end_world(&world);
}

static void a_row_of_the_predecessor_is_compared_by_the_stored_bytes(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(300000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "old", content, 300000), ERROR_NONE);
    beside(&world, "UPDATE t_file_02 SET digest = '', group_name = '', content_type = '' WHERE id = 'old'");
    assert_int_equal(upload(fd, "old", content, 300000), ERROR_NONE);
    content[0] ^= 1;
    assert_int_equal(upload(fd, "old", content, 300000), ERROR_EXISTS);
    content[0] ^= 1;
    assert_int_equal(code_of_download(fd, "old", 0, 0, content, 300000), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    free(content);
    end_world(&world);
}

static void bytes_that_miss_their_digest_are_refused_and_leave_nothing(void **state)
{
    static const size_t sizes[] = {0, 1000, 400000};
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint8_t *content = random_bytes(sizes[i]);
        struct proto_put head = {.key = key_of("file"), .size = (int64_t)sizes[i], .has_digest = true};
        digest_of(content, sizes[i], head.digest);
        head.digest[3] ^= 0x10;
        assert_int_equal(put(fd, &head, content), ERROR_DIGEST);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, sizes[i]), ERROR_NOT_FOUND);
        assert_int_equal(fixture_files(&world.fixture, "one"), 0);
        free(content);
    }
    close(fd);
    end_world(&world);
}

static void name_and_type_are_kept_and_found_out(void **state)
{
    struct world world;
    struct proto_put head = {.key = key_of("vtt"), .size = 7};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    snprintf(head.name, sizeof(head.name), "de.vtt");
    snprintf(head.content_type, sizeof(head.content_type), "application/octet-stream");
    assert_int_equal(put(fd, &head, "WEBVTT\n"), ERROR_NONE);
    assert_string_equal(stat_of(fd, "vtt").content_type, "text/vtt");
    assert_string_equal(stat_of(fd, "vtt").name, "de.vtt");
    head.key = key_of("own");
    snprintf(head.content_type, sizeof(head.content_type), "text/x-own; charset=utf-8");
    assert_int_equal(put(fd, &head, "WEBVTT\n"), ERROR_NONE);
    assert_string_equal(stat_of(fd, "own").content_type, "text/x-own; charset=utf-8");
    close(fd);
    end_world(&world);
}

/* A content that the table of signatures does not know, and libmagic does. */
static const char script[] = "#!/bin/sh\necho hello\n";

static int first_column(void *argument, int count, char **columns, char **names)
{
    (void)names;
    assert_int_equal(count, 1);
    snprintf(argument, PROTO_CONTENT_TYPE_SIZE, "%s", columns[0]);
    return 0;
}

static const char *column_of(struct world *world, const char *column, const char *file)
{
    static char type[PROTO_CONTENT_TYPE_SIZE];
    char sql[200], *message = NULL;
    snprintf(sql, sizeof(sql), "SELECT %s FROM t_file_02 WHERE id = '%s'", column, file);
    snprintf(type, sizeof(type), "no row");
    if (sqlite3_exec(world->beside, sql, first_column, type, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    return type;
}

static const char *type_in_row(struct world *world, const char *file)
{
    return column_of(world, "content_type", file);
}

static bool script_is_typed(void *argument)
{
    return strcmp(type_in_row(argument, "script"), "text/x-shellscript") == 0;
}

static void a_type_that_libmagic_alone_knows_comes_into_the_row_after_the_reply(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "script", script, sizeof(script) - 1), ERROR_NONE);
    assert_true(loop_wait_until(script_is_typed, &world)); /* nobody asked for it */
    assert_string_equal(stat_of(fd, "script").content_type, "text/x-shellscript");
    close(fd);
    end_world(&world);
}

static void a_row_without_a_type_gets_one_when_it_is_asked_for(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, "storage.cache_age=1ms");
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "script", script, sizeof(script) - 1), ERROR_NONE);
    assert_true(loop_wait_until(script_is_typed, &world));
    beside(&world,
           "UPDATE t_file_02 SET digest = '', group_name = '', content_type = '' WHERE id = 'script'");
    usleep(20000); /* the row in the cache is too old by now */
    assert_string_equal(stat_of(fd, "script").content_type, "text/x-shellscript");
    assert_true(loop_wait_until(script_is_typed, &world)); /* and keeps it */
    struct answer where = ask_key(fd, PROTO_STORAGE_WHERE, "script");
    struct proto_where unpacked;
    struct error error = {0};
    assert_true(where.fine && proto_where_reply_unpack(where.body, (size_t)where.size, &unpacked, &error));
    assert_string_equal(unpacked.stat.content_type, "text/x-shellscript");
    free(where.body);
    close(fd);
    end_world(&world);
}

static void a_row_whose_file_is_gone_is_shown_without_a_type(void **state)
{
    struct world world;
    char command[200];
    (void)state;
    start_world(&world, "storage.cache_age=1ms");
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "script", script, sizeof(script) - 1), ERROR_NONE);
    assert_true(loop_wait_until(script_is_typed, &world));
    beside(&world, "UPDATE t_file_02 SET content_type = '' WHERE id = 'script'");
    snprintf(command, sizeof(command), "find %s/one -type f ! -name '.*' -delete", world.fixture.directory);
    assert_int_equal(system(command), 0);
    usleep(20000); /* the row in the cache is too old by now */
    assert_string_equal(stat_of(fd, "script").content_type, "");
    assert_string_equal(type_in_row(&world, "script"), "");
    close(fd);
    end_world(&world);
}

static bool nothing_waits(void *unused)
{
    (void)unused;
    return metric_value(metrics_gauge("reel_storage_types_waiting", "", NULL)) == 0;
}

static void a_type_found_late_leaves_another_one_alone(void **state)
{
    struct world world;
    struct proto_put head = {.key = key_of("own"), .size = 7, .content_type = "text/x-own"};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "script", script, sizeof(script) - 1), ERROR_NONE);
    assert_int_equal(put(fd, &head, "WEBVTT\n"), ERROR_NONE);
    assert_true(loop_wait_until(script_is_typed, &world));
    beside(&world, "UPDATE t_file_02 SET content_type = '' WHERE id = 'script'");
    types_settle(world.storage.types, &head.key, column_of(&world, "file_path", "own"), "video/mp4");
    struct proto_file_key other = key_of("script");
    types_settle(world.storage.types, &other, "../data/1FF/1FF/1FF/00000000_1FF",
                 "video/mp4"); /* another file */
    assert_true(loop_wait_until(nothing_waits, world.storage.types));
    assert_string_equal(type_in_row(&world, "own"), "text/x-own");
    assert_string_equal(type_in_row(&world, "script"), "");
    close(fd);
    end_world(&world);
}

static void a_part_is_served_and_what_lies_outside_refused(void **state)
{
    static const struct {
        int64_t offset, size;
        int code;
        size_t length;
    } rows[] = {
        {0, 0, ERROR_NONE, 10000},
        {0, 1, ERROR_NONE, 1},
        {9999, 1, ERROR_NONE, 1},
        {9999, 0, ERROR_NONE, 1},
        {10000, 0, ERROR_NONE, 0},
        {4096, 4096, ERROR_NONE, 4096},
        {10000, 1, ERROR_RANGE, 0},
        {10001, 0, ERROR_RANGE, 0},
        {0, 10001, ERROR_RANGE, 0},
        {1, INT64_MAX, ERROR_RANGE, 0},
        {INT64_MAX, INT64_MAX, ERROR_RANGE, 0},
    };
    struct world world;
    uint8_t *content = random_bytes(10000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 10000), ERROR_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const uint8_t *expected = rows[i].code == ERROR_NONE ? content + rows[i].offset : content;
        assert_int_equal(code_of_download(fd, "file", rows[i].offset, rows[i].size, expected, rows[i].length),
                         rows[i].code);
    }
    close(fd);
    free(content);
    end_world(&world);
}

static int code_of_read(int fd, const char *file, const uint8_t digest[PROTO_DIGEST_SIZE],
                        const void *expected, size_t size)
{
    struct proto_read_request request = {.download = {.key = key_of(file), .offset = 10, .size = 0}};
    uint8_t body[PROTO_READ_SIZE];
    struct error error = {0};
    memcpy(request.digest, digest, sizeof(request.digest));
    assert_true(proto_read_request_pack(body, &request, &error));
    send_header(fd, PROTO_STORAGE_READ, sizeof(body));
    peer_put(fd, body, sizeof(body));
    struct answer answer = read_answer(fd);
    if (answer.fine) {
        assert_int_equal(answer.size, size - 10);
        assert_memory_equal(answer.body, (const uint8_t *)expected + 10, size - 10);
    }
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

static void a_reader_gets_the_content_that_it_began_with_or_none(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(10000), digest[PROTO_DIGEST_SIZE], other[PROTO_DIGEST_SIZE] = {1};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 10000), ERROR_NONE);
    digest_of(content, 10000, digest);
    assert_int_equal(code_of_read(fd, "file", digest, content, 10000), ERROR_NONE);
    assert_int_equal(code_of_read(fd, "file", other, content, 10000), ERROR_DIGEST);
    assert_int_equal(code_of_read(fd, "file", digest, content, 10000), ERROR_NONE);
    assert_int_equal(code_of_read(fd, "nothing", digest, content, 10000), ERROR_NOT_FOUND);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_deleted_file_is_gone_until_it_is_restored(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(5000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 5000), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 5000), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 5000), ERROR_NOT_FOUND);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "file"), ERROR_NOT_FOUND);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_NOT_FOUND);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "nothing"), ERROR_NOT_FOUND);
    assert_int_equal(upload(fd, "file", content, 5000), ERROR_DELETED);
    assert_int_equal(stat_of(fd, "file").status, PROTO_FILE_DELETED);
    assert_true(stat_of(fd, "file").deleted > 0);
    assert_int_equal(change(fd, PROTO_STORAGE_RESTORE, "file"), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_RESTORE, "file"), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_RESTORE, "nothing"), ERROR_NOT_FOUND);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 5000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

/* Its bytes are known without a look, but not whether they are this file's: the row may be another group's. */
static int rename_file(int fd, const char *file, const char *name)
{
    struct proto_rename rename = {.key = key_of(file)};
    uint8_t body[PROTO_RENAME_SIZE];
    snprintf(rename.name, sizeof(rename.name), "%s", name);
    assert_true(proto_rename_pack(body, &rename, NULL));
    struct answer answer = ask_body(fd, PROTO_STORAGE_RENAME, body, sizeof(body));
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

static void a_file_is_renamed(void **state)
{
    struct world world;
    struct proto_put head = {.key = key_of("file"), .size = 3, .name = "old.mp4"};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(rename_file(fd, "file", "new.mp4"), ERROR_NOT_FOUND);
    assert_int_equal(put(fd, &head, "abc"), ERROR_NONE);
    assert_int_equal(rename_file(fd, "file", "new.mp4"), ERROR_NONE);
    assert_string_equal(stat_of(fd, "file").name, "new.mp4");
    assert_int_equal(put(fd, &head, "abc"),
                     ERROR_NONE); /* the same bytes: stored already, and named as it is */
    assert_string_equal(stat_of(fd, "file").name, "new.mp4");
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_NONE);
    assert_int_equal(rename_file(fd, "file", "more.mp4"), ERROR_DELETED);
    struct proto_rename other = {.key = key_of("file")};
    uint8_t body[PROTO_RENAME_SIZE];
    snprintf(other.key.application, sizeof(other.key.application), "unknown");
    assert_true(proto_rename_pack(body, &other, NULL));
    struct answer answer = ask_body(fd, PROTO_STORAGE_RENAME, body, sizeof(body));
    assert_int_equal(answer.code, ERROR_REFUSED);
    free(answer.body);
    close(fd);
    end_world(&world);
}

static void an_empty_file_is_served_only_where_it_is_there_and_still_empty(void **state)
{
    struct world world;
    uint8_t content[1] = {0};
    (void)state;
    start_world(&world, "storage.cache_age=1ms");
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 0), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 0), ERROR_NONE);
    beside(&world, "UPDATE t_file_02 SET group_name = '', file_path = '../data/1FF/1FF/1FF/5F9E3FA7_000'");
    usleep(5000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 0), ERROR_IO);
    close(fd);
    end_world(&world);
}

static void rows_that_point_elsewhere_are_not_served(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(100);
    (void)state;
    start_world(&world, "storage.cache_age=1ms");
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 100), ERROR_NONE);
    static const char *const changes[] = {
        "UPDATE t_file_02 SET file_path = '/etc/passwd'",
        "UPDATE t_file_02 SET file_path = '../data/../../../etc/passwd'",
        "UPDATE t_file_02 SET file_path = '../other/000/000/000/5F9E3FA7_000'",
        "UPDATE t_file_02 SET file_path = '../data/1FF/1FF/1FF/5F9E3FA7_000'", /* nothing lies there */
        "UPDATE t_file_02 SET file_path = NULL",
    };
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        beside(&world, changes[i]);
        usleep(20000);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, 100), ERROR_IO);
    }
    beside(&world, "UPDATE t_file_02 SET group_name = 'group002'");
    usleep(20000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 100), ERROR_OTHER_GROUP);
    assert_int_equal(upload(fd, "file", content, 100), ERROR_EXISTS);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_file_of_another_size_than_its_row_is_not_served(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(100);
    (void)state;
    start_world(&world, "storage.cache_age=1ms");
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 100), ERROR_NONE);
    beside(&world, "UPDATE t_file_02 SET file_size = 99");
    usleep(20000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 99), ERROR_IO);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 99), ERROR_IO);
    beside(&world, "UPDATE t_file_02 SET file_size = 100");
    usleep(20000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 100), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

/* Returns the code of the reply; the report, where it is one, in REPORT (to be released). */
static int ask_fsck(int fd, const char *group, uint8_t action, json_t **report)
{
    uint8_t body[PROTO_FSCK_SIZE];
    struct proto_fsck fsck = {.key = key_of(group), .action = action};
    struct error error = {0};
    *report = NULL;
    assert_true(proto_fsck_pack(body, &fsck, &error));
    struct answer answer = ask_body(fd, PROTO_STORAGE_FSCK, body, sizeof(body));
    if (answer.fine)
        *report = json_loadb((const char *)answer.body, (size_t)answer.size, 0, NULL);
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

static int64_t number_in(const json_t *report, const char *object, const char *name)
{
    const json_t *from = object ? json_object_get(report, object) : report;
    return (int64_t)json_integer_value(json_object_get(from, name));
}

/* Of another group: that one's holder of the lease reads the row; nobody here is woken. */
static void fsck_is_asked_of_any_group_that_uses_the_database(void **state)
{
    struct world world;
    json_t *report;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(ask_fsck(fd, "", PROTO_FSCK_STATUS, &report), ERROR_NONE);
    assert_string_equal(json_string_value(json_object_get(report, "group")), "group001");
    assert_true(json_is_null(json_object_get(report, "progress")));
    json_decref(report);
    assert_int_equal(ask_fsck(fd, "group002", PROTO_FSCK_CHECK, &report), ERROR_NOT_FOUND);
    assert_int_equal(ask_fsck(fd, "group-2", PROTO_FSCK_CHECK, &report), ERROR_MALFORMED);
    beside(&world,
           "INSERT INTO t_lease (name, progress) VALUES ('upkeep/group002', '{\"phase\": \"done\"}')");
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(ask_fsck(fd, "group002", i == 1 ? PROTO_FSCK_REPAIR : PROTO_FSCK_CHECK, &report),
                         ERROR_NONE);
        assert_int_equal(number_in(report, NULL, "wanted"), i);
        assert_int_equal(number_in(report, NULL, "done"), 0);
        json_decref(report);
    }
    /* Nothing waits for a confirmation before the clean-up has stopped; then one is enough. */
    assert_int_equal(ask_fsck(fd, "group002", PROTO_FSCK_CONFIRM, &report), ERROR_NONE);
    assert_false(json_is_true(json_object_get(report, "confirmed")));
    json_decref(report);
    beside(&world, "UPDATE t_lease SET progress = '{\"phase\": \"stopped\", \"left\": 7}' WHERE name = "
                   "'sweep/group002'");
    assert_int_equal(ask_fsck(fd, "group002", PROTO_FSCK_CONFIRM, &report), ERROR_NONE);
    assert_true(json_is_true(json_object_get(report, "confirmed")));
    assert_int_equal(number_in(report, "sweep", "wanted"), 1);
    assert_int_equal(number_in(report, "sweep", "left"), 7);
    json_decref(report);
    beside(&world, "DROP TABLE t_lease");
    assert_int_equal(ask_fsck(fd, "", PROTO_FSCK_STATUS, &report), ERROR_GENERAL);
    close(fd);
    end_world(&world);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fsck_is_asked_of_any_group_that_uses_the_database),
        cmocka_unit_test(files_of_every_size_make_the_round_trip),
        cmocka_unit_test(with_memory_short_uploads_still_work),
        cmocka_unit_test(a_taken_file_id_is_refused_unless_the_bytes_are_the_same),
        cmocka_unit_test(a_row_of_the_predecessor_is_compared_by_the_stored_bytes),
        cmocka_unit_test(bytes_that_miss_their_digest_are_refused_and_leave_nothing),
        cmocka_unit_test(name_and_type_are_kept_and_found_out),
        cmocka_unit_test(a_type_that_libmagic_alone_knows_comes_into_the_row_after_the_reply),
        cmocka_unit_test(a_row_without_a_type_gets_one_when_it_is_asked_for),
        cmocka_unit_test(a_row_whose_file_is_gone_is_shown_without_a_type),
        cmocka_unit_test(a_type_found_late_leaves_another_one_alone),
        cmocka_unit_test(a_part_is_served_and_what_lies_outside_refused),
        cmocka_unit_test(a_reader_gets_the_content_that_it_began_with_or_none),
        cmocka_unit_test(a_deleted_file_is_gone_until_it_is_restored),
        cmocka_unit_test(a_file_is_renamed),
        cmocka_unit_test(an_empty_file_is_served_only_where_it_is_there_and_still_empty),
        cmocka_unit_test(rows_that_point_elsewhere_are_not_served),
        cmocka_unit_test(a_file_of_another_size_than_its_row_is_not_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
