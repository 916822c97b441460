/* Files that move from one group to another: the row, the former copy's row, and what both groups see of them. */
#include "storage/rows/meta_move.h"
#include "tests/unit/library/slept_clock.h"
#include "tests/unit/library/storage_server.h"

#include <magic.h>
#include <pthread.h>

#define OLD "group002" /* has the file; the server under test is of group001 */

/* A question to the rows, as a job. */
enum question { FIND, SWITCH, BACK, IS_FORMER };

struct asked {
    struct db_job job;
    struct world *world;
    const char *group;
    struct proto_file_key key;
    struct meta_row row, seen, new;
    bool found, changed, refused, former;
    enum question what;
    enum db_result result;
    struct error error;
};

static enum db_result asked_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct asked *asked = CONTAINER_OF(job, struct asked, job);
    const struct store *store = asked->world->storage.store;
    enum db_result result = DB_OK;
    switch (asked->what) {
    case FIND:
        result =
            meta_move_find(connection, store, asked->group, &asked->key, &asked->row, &asked->found, error);
        break;
    case SWITCH:
        result = meta_move_switch(connection, store, &asked->key, OLD, &asked->seen, &asked->new,
                                  &asked->changed, &asked->refused, error);
        break;
    case BACK:
        result = meta_move_back(connection, store, &asked->key, OLD, &asked->new, error);
        break;
    case IS_FORMER:
        result = meta_move_is_former(connection, store, asked->group, &asked->key, &asked->row,
                                     &asked->former, error);
        break;
    }
    asked->result = result;
    asked->error = *error;
    return DB_OK;
}

static void ask(struct asked *asked, enum question what)
{
    asked->what = what;
    asked->error = (struct error){0};
    asked->job = (struct db_job){.run = asked_run};
    assert_int_equal(meta_run_wait(asked->world->storage.meta, &asked->job), DB_OK);
}

/* What GROUP sees of FILE. */
static struct meta_row see(struct world *world, const char *group, const char *file, bool *found)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.group = group;
    asked.key = key_of(file);
    ask(&asked, FIND);
    *found = asked.found;
    return asked.row;
}

/* A MOVE of CONTENT from the group FROM. */
static void send_move(int fd, const char *file, const char *from, const void *content, size_t size)
{
    struct proto_put head = {.key = key_of(file), .size = (int64_t)size, .group = "group001"};
    uint8_t body[PROTO_PUT_SIZE + 4096 + PROTO_DIGEST_SIZE];
    snprintf(head.name, sizeof(head.name), "%s", from);
    assert_true(proto_put_pack(body, &head, NULL));
    memcpy(body + PROTO_PUT_SIZE, content, size);
    digest_of(content, size, body + PROTO_PUT_SIZE + size);
    size_t whole = PROTO_PUT_SIZE + size + PROTO_DIGEST_SIZE;
    send_header(fd, PROTO_STORAGE_MOVE, (int64_t)whole);
    peer_put(fd, body, whole);
}

/* The number of the reply. */
static int move(int fd, const char *file, const char *from, const void *content, size_t size)
{
    send_move(fd, file, from, content, size);
    return read_code(fd);
}

static int fetch(int fd, const char *file, size_t expected)
{
    struct proto_download request = {.key = key_of(file)};
    uint8_t body[PROTO_DOWNLOAD_SIZE];
    assert_true(proto_download_pack(body, &request, NULL));
    struct answer answer = ask_body(fd, PROTO_STORAGE_FETCH, body, sizeof(body));
    if (answer.fine)
        assert_int_equal(answer.size, expected);
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

/* A file that the other group has; alice's rows are in t_file_02. */
static int start_with_option(struct world *world, const char *option, const char *file, const void *content,
                             size_t size)
{
    start_world(world, option);
    int fd = connect_client(world);
    assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
    beside(world, "UPDATE t_file_02 SET group_name = 'group002', file_name = 'film.mp4', "
                  "file_path = '../data/000/000/001/5F9E3FA7_003'");
    return fd;
}

static int start_with_file(struct world *world, const char *file, const void *content, size_t size)
{
    return start_with_option(world, "storage.cache_age=1ms", file, content, size);
}

static void a_moved_file_is_served_by_both_groups(void **state)
{
    struct world world;
    bool found;
    (void)state;
    int fd = start_with_file(&world, "file", "content", 7);
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NONE);
    struct meta_row new = see(&world, "group001", "file", &found);
    assert_true(found && !new.given_up);
    assert_string_equal(new.stat.group, "group001");
    assert_string_equal(new.stat.name, "film.mp4");
    assert_int_equal(new.stat.created, 0x5F9E3FA7); /* the time of the upload stays */
    struct meta_row former = see(&world, OLD, "file", &found);
    assert_true(found && former.given_up);
    assert_string_equal(former.stat.group, OLD);
    assert_string_equal(former.file_path, "../data/000/000/001/5F9E3FA7_003");
    assert_int_equal(former.stat.status, PROTO_FILE_NORMAL);
    (void)see(&world, "group003", "file", &found);
    assert_true(found);
    usleep(5000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, "content", 7), ERROR_NONE);
    /* The reply was lost: the same once more. */
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void a_move_keeps_what_is_deleted_deleted(void **state)
{
    struct world world;
    bool found;
    (void)state;
    int fd = start_with_option(&world, "storage.cache_age=300s", "file", "content", 7);
    beside(&world, "UPDATE t_file_02 SET status = 1, deleted_at = 1700000000, change_id = 5");
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NONE);
    struct meta_row row = see(&world, "group001", "file", &found);
    assert_int_equal(row.state, META_STATE_DELETED);
    assert_int_equal(row.stat.deleted, 1700000000);
    assert_int_equal(code_of_download(fd, "file", 0, 0, "content", 7), ERROR_NOT_FOUND);
    assert_int_equal(fetch(fd, "file", 7), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_RESTORE, "file"), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "file", 0, 0, "content", 7), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void what_is_not_the_file_does_not_move(void **state)
{
    struct world world;
    bool found;
    (void)state;
    int fd = start_with_file(&world, "file", "content", 7);
    assert_int_equal(move(fd, "file", OLD, "contenT", 7), ERROR_EXISTS);
    assert_int_equal(move(fd, "file", OLD, "conten", 6), ERROR_DIGEST);
    assert_int_equal(move(fd, "file", "group003", "content", 7), ERROR_OTHER_GROUP);
    assert_int_equal(move(fd, "file", "not a name", "content", 7), ERROR_MALFORMED);
    assert_int_equal(move(fd, "other", OLD, "content", 7), ERROR_NOT_FOUND);
    beside(&world, "UPDATE t_file_02 SET status = 3");
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_IO);
    beside(&world, "UPDATE t_file_02 SET status = 2");
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NOT_FOUND);
    struct meta_row row = see(&world, OLD, "file", &found);
    assert_string_equal(row.file_path, "../data/000/000/001/5F9E3FA7_003");
    /* A row without a digest (the predecessor's) gains one; one without a group is taken from whom it is said to be. */
    beside(&world, "UPDATE t_file_02 SET status = 0, digest = '', group_name = ''");
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NONE);
    row = see(&world, "group001", "file", &found);
    assert_true(row.stat.has_digest);
    row = see(&world, OLD, "file", &found);
    assert_true(row.given_up);
    close(fd);
    end_world(&world);
}

/* ---- content types that libmagic finds ---- */

static pthread_mutex_t magic_mutex = PTHREAD_MUTEX_INITIALIZER;
static char magic_saw[256]; /* the first byte of each content, in their order */

/* In the place of libmagic's. */
const char *magic_buffer(magic_t magic, const void *bytes, size_t size)
{
    size_t length;
    (void)magic;
    (void)size;
    pthread_mutex_lock(&magic_mutex);
    length = strlen(magic_saw);
    magic_saw[length] = *(const char *)bytes;
    magic_saw[length + 1] = '\0';
    pthread_mutex_unlock(&magic_mutex);
    return "application/x-found";
}

/* The thread that asks libmagic takes files in the order of their uploads: this is the last one. */
static void upload_and_await_type(struct world *world, int fd, const char *file, const char *content)
{
    bool found;
    assert_int_equal(upload(fd, file, content, strlen(content)), ERROR_NONE);
    for (int i = 0; i < 3000 && see(world, "group001", file, &found).stat.content_type[0] == '\0'; i++)
        usleep(10000);
    assert_string_equal(see(world, "group001", file, &found).stat.content_type, "application/x-found");
}

static void saw(const char *expected)
{
    pthread_mutex_lock(&magic_mutex);
    assert_string_equal(magic_saw, expected);
    magic_saw[0] = '\0';
    pthread_mutex_unlock(&magic_mutex);
}

static void a_moved_file_keeps_its_type_which_nobody_looks_for(void **state)
{
    struct world world;
    bool found;
    (void)state;
    magic_saw[0] = '\0';
    int fd = start_with_file(&world, "file", "a content", 9);
    upload_and_await_type(&world, fd, "next", "b content");
    saw("ab");
    beside(&world, "UPDATE t_file_02 SET content_type = 'application/x-own' WHERE id = 'file'");
    assert_int_equal(move(fd, "file", OLD, "a content", 9), ERROR_NONE);
    upload_and_await_type(&world, fd, "third", "c content");
    saw("c");
    assert_string_equal(see(&world, "group001", "file", &found).stat.content_type, "application/x-own");
    close(fd);
    end_world(&world);
}

static void a_moved_file_without_a_type_gets_one(void **state)
{
    struct world world;
    bool found;
    (void)state;
    magic_saw[0] = '\0';
    int fd = start_with_file(&world, "file", "a content", 9);
    upload_and_await_type(&world, fd, "next", "b content");
    saw("ab");
    beside(&world, "UPDATE t_file_02 SET content_type = '' WHERE id = 'file'");
    assert_int_equal(move(fd, "file", OLD, "a content", 9), ERROR_NONE);
    upload_and_await_type(&world, fd, "third", "c content");
    saw("ac");
    assert_string_equal(see(&world, "group001", "file", &found).stat.content_type, "application/x-found");
    close(fd);
    end_world(&world);
}

/* Between the look-up and the transaction somebody deletes the file, moves it elsewhere, or purges it. */
static void the_row_is_switched_as_it_is_by_then(void **state)
{
    struct world world;
    struct asked asked = {.world = &world, .group = "group001"};
    bool found;
    (void)state;
    int fd = start_with_file(&world, "file", "content", 7);
    asked.key = key_of("file");
    asked.seen = see(&world, OLD, "file", &found);
    asked.new = asked.seen;
    snprintf(asked.new.stat.group, sizeof(asked.new.stat.group), "group001");
    snprintf(asked.new.file_path, sizeof(asked.new.file_path), "../data/000/000/001/5F9E3FA7_009");
    beside(&world, "UPDATE t_file_02 SET status = 1, deleted_at = 1700000000");
    ask(&asked, SWITCH);
    assert_true(asked.result == DB_OK && asked.changed);
    struct meta_row row = see(&world, "group001", "file", &found);
    assert_int_equal(row.state, META_STATE_DELETED);
    assert_string_equal(row.file_path, asked.new.file_path);
    /* Carried out once more, or late: the row is about another file by now. */
    ask(&asked, SWITCH);
    assert_true(asked.result == DB_OK && !asked.changed && !asked.refused);
    /* Taken back, as where the clean-up took the new file; a second time there is nothing to take back. */
    for (int i = 0; i < 2; i++) {
        ask(&asked, BACK);
        assert_int_equal(asked.result, DB_OK);
        row = see(&world, OLD, "file", &found);
        assert_true(!row.given_up && row.state == META_STATE_DELETED);
        assert_string_equal(row.file_path, "../data/000/000/001/5F9E3FA7_003");
    }
    beside(&world, "UPDATE t_file_02 SET group_name = 'group003'");
    ask(&asked, SWITCH);
    assert_true(asked.refused && asked.error.code == ERROR_OTHER_GROUP);
    beside(&world, "DELETE FROM t_file_02");
    ask(&asked, SWITCH);
    assert_true(asked.refused && asked.error.code == ERROR_NOT_FOUND);
    close(fd);
    end_world(&world);
}

/* ---- a switch that came late ---- */

/* While the row waits to be switched the machine sleeps for longer than leftover_age allows. Meanwhile the clean-up may have taken the new
 * copy, or another directory lies at the store path, so that it is not known: the former group has the file again. */
static void a_file_whose_new_copy_cannot_be_found_stays_where_it_was(void **state)
{
    (void)state;
    for (int exchanged = 0; exchanged < 2; exchanged++) {
        struct world world;
        char one[160], gone[160], command[512];
        bool found;
        slept_clock_start();
        int fd = start_with_file(&world, "file", "content", 7);
        snprintf(one, sizeof(one), "%s/one", world.fixture.directory);
        snprintf(gone, sizeof(gone), "%s/gone", world.fixture.directory);
        int before = fixture_files(&world.fixture, "one");
        beside(&world, "BEGIN IMMEDIATE");
        send_move(fd, "file", OLD, "content", 7);
        while (fixture_files(&world.fixture, "one") == before)
            usleep(1000);
        usleep(
            200000); /* by now the switch waits, mostly; else it comes later, which the test does not mind */
        slept_clock_sleep(3600);
        if (exchanged) {
            assert_int_equal(rename(one, gone), 0);
            assert_int_equal(mkdir(one, 0755), 0);
        } else {
            snprintf(command, sizeof(command), "rm -r %s/000", one);
            assert_int_equal(system(command), 0);
        }
        beside(&world, "COMMIT");
        assert_int_equal(read_code(fd), ERROR_UNAVAILABLE);
        struct meta_row row = see(&world, OLD, "file", &found);
        assert_true(found && !row.given_up);
        assert_string_equal(row.stat.group, OLD);
        assert_string_equal(row.file_path, "../data/000/000/001/5F9E3FA7_003");
        close(fd);
        end_world(&world);
        slept_clock_end();
    }
}

static void a_file_does_not_come_back_before_its_former_copy_is_purged(void **state)
{
    struct world world;
    struct asked asked = {.world = &world, .group = OLD};
    bool found;
    (void)state;
    int fd = start_with_file(&world, "file", "content", 7);
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_NONE);
    beside(&world,
           "UPDATE t_file_02 SET group_name = 'group002' WHERE status = 0"); /* moved back by somebody */
    asked.key = key_of("file");
    asked.seen = see(&world, OLD, "file", &found);
    asked.new = asked.seen;
    snprintf(asked.new.stat.group, sizeof(asked.new.stat.group), "group001");
    snprintf(asked.new.file_path, sizeof(asked.new.file_path), "../data/000/000/001/5F9E3FA7_009");
    ask(&asked, SWITCH);
    assert_true(asked.refused && asked.error.code == ERROR_EXISTS);
    struct meta_row row = see(&world, OLD, "file", &found); /* and nothing is half done */
    assert_string_equal(row.file_path, asked.seen.file_path);
    /* This group has a former copy of a file that comes back: not yet. */
    beside(&world, "UPDATE t_file_02 SET group_name = 'group001' WHERE status = 2");
    char id[PROTO_FILE_SIZE], sql[512];
    meta_move_former_id("group001", "file", id);
    snprintf(sql, sizeof(sql), "UPDATE t_file_02 SET id = '%s' WHERE status = 2", id);
    beside(&world, sql);
    assert_int_equal(move(fd, "file", OLD, "content", 7), ERROR_EXISTS);
    close(fd);
    end_world(&world);
}

static void changes_are_carried_out_by_either_group(void **state)
{
    struct world world;
    char id[PROTO_FILE_SIZE], sql[512];
    bool found;
    (void)state;
    /* This server's group is the former one now. */
    int fd = start_with_file(&world, "file", "content", 7);
    meta_move_former_id("group001", "file", id);
    assert_int_equal(id[0], 1); /* no client's */
    snprintf(sql, sizeof(sql),
             "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, group_name, "
             "deleted_at) VALUES "
             "('%s', 'tnvideo', 'alice', 0, (SELECT '../data/000/000/000/' || '00000000_000'), 7, "
             "'group001', 9000000000)",
             id);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_OTHER_GROUP);
    beside(&world, sql); /* somebody's file of that name */
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_OTHER_GROUP);
    beside(&world, "UPDATE t_file_02 SET status = 2 WHERE id <> 'file'");
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_NONE);
    assert_int_equal(see(&world, OLD, "file", &found).state, META_STATE_DELETED);
    assert_int_equal(change(fd, PROTO_STORAGE_RESTORE, "file"), ERROR_NONE);
    struct proto_rename rename = {.key = key_of("file"), .name = "new.mp4"};
    uint8_t body[PROTO_RENAME_SIZE];
    assert_true(proto_rename_pack(body, &rename, NULL));
    struct answer answer = ask_body(fd, PROTO_STORAGE_RENAME, body, sizeof(body));
    assert_true(answer.fine);
    free(answer.body);
    assert_string_equal(see(&world, OLD, "file", &found).stat.name, "new.mp4");
    assert_string_equal(stat_of(fd, "file").group, "group001"); /* shown as the copy that it has */
    close(fd);
    end_world(&world);
}

/* All that LEFT finds: "users/rows/former". */
static const char *left_of(int fd)
{
    static char text[64];
    struct proto_left left = {0};
    struct proto_left_head head;
    int64_t users = 0, rows = 0, former = 0;
    uint8_t body[PROTO_LEFT_SIZE];
    while (left.table < PROTO_LEFT_TABLES) {
        assert_true(proto_left_pack(body, &left, NULL));
        struct answer answer = ask_body(fd, PROTO_STORAGE_LEFT, body, sizeof(body));
        assert_true(answer.fine);
        assert_true(proto_left_head_unpack(answer.body, PROTO_LEFT_HEAD_SIZE, &head, NULL));
        users += (answer.size - PROTO_LEFT_HEAD_SIZE) / PROTO_LEFT_ENTRY_SIZE;
        rows += head.rows;
        former += head.former;
        free(answer.body);
        assert_true(head.next.table > left.table || head.next.after > left.after);
        left = head.next;
    }
    snprintf(text, sizeof(text), "%lld/%lld/%lld", (long long)users, (long long)rows, (long long)former);
    return text;
}

static void what_a_group_still_has_is_found(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_string_equal(left_of(fd), "0/0/0");
    beside(&world,
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
           "INSERT INTO t_file_01 (row_id, id, appid, userid, status, file_path, group_name) "
           "SELECT i * 30, 'f' || i, 'tnvideo', 'u' || (i % 150), i % 2, 'x' || i, 'group001' FROM n");
    beside(&world,
           "INSERT INTO t_file_03 (id, appid, userid, status, file_path, group_name) VALUES "
           "('a', 'tnvideo', 'zoe', 2, 'y', 'group001'), ('b', 'tnvideo', 'zoe', 0, 'z', 'group002')");
    const char *found = left_of(fd);
    assert_non_null(strstr(found, "/2500/1"));
    assert_true(atoi(found) >= 150);
    uint8_t body[PROTO_LEFT_SIZE] = {3};
    struct answer answer = ask_body(fd, PROTO_STORAGE_LEFT, body, sizeof(body));
    assert_int_equal(answer.code, ERROR_MALFORMED);
    free(answer.body);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moved_file_is_served_by_both_groups),
        cmocka_unit_test(a_move_keeps_what_is_deleted_deleted),
        cmocka_unit_test(a_moved_file_keeps_its_type_which_nobody_looks_for),
        cmocka_unit_test(a_moved_file_without_a_type_gets_one),
        cmocka_unit_test(what_is_not_the_file_does_not_move),
        cmocka_unit_test(the_row_is_switched_as_it_is_by_then),
        cmocka_unit_test(a_file_whose_new_copy_cannot_be_found_stays_where_it_was),
        cmocka_unit_test(a_file_does_not_come_back_before_its_former_copy_is_purged),
        cmocka_unit_test(changes_are_carried_out_by_either_group),
        cmocka_unit_test(what_a_group_still_has_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
