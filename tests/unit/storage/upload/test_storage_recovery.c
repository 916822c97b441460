/*
 * What a start makes of the upload journal, for each state of row and file that a power cut, or somebody since, may have left; and what
 * uploads are answered when their record or its sync fails. Real files and SQLite; a power cut is played by putting the journal back as
 * it was before the last checkpoint, and taking away what the cut takes. fdatasync(2) of the journal and syncfs(2) are this test's own.
 */
#include "tests/unit/library/meta_world.h"

#include "common/base/metrics.h"
#include "storage/store/journal.h"
#include "storage/upload/commit.h"
#include "storage/upload/recovery.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

static atomic_int sync_error, files_error; /* of the journal's syncs and of syncfs(2); 0: none */

static atomic_bool held; /* no checkpoint gets on: records stay where they are */

static char events[256]; /* what was synced, in its order: J the journal, W SQLite's WAL, F the files */
static atomic_size_t event_count;

static void note(char event)
{
    size_t at = atomic_fetch_add(&event_count, 1);
    if (at + 1 < sizeof(events))
        events[at] = event;
}

static void forget_events(void)
{
    memset(events, 0, sizeof(events));
    atomic_store(&event_count, 0);
}

static bool has_ending(int fd, const char *ending)
{
    char link[64], path[256];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size < 0 ? 0 : size] = '\0';
    size_t length = strlen(path), wanted = strlen(ending);
    return length > wanted && strcmp(path + length - wanted, ending) == 0;
}

/* SQLite, a library of its own, is to find them. */
__attribute__((visibility("default"))) int fdatasync(int fd)
{
    if (has_ending(fd, "-uploads") && (errno = atomic_load(&sync_error)) != 0)
        return -1;
    if (has_ending(fd, "-uploads"))
        note('J');
    if (has_ending(fd, "-wal"))
        note('W');
    return (int)syscall(SYS_fdatasync, fd);
}

__attribute__((visibility("default"))) int syncfs(int fd)
{
    while (atomic_load(&held))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if ((errno = atomic_load(&files_error)) != 0)
        return -1;
    note('F');
    return (int)syscall(SYS_syncfs, fd);
}

/* ---- a world with a journal ---- */

struct recovery_world {
    struct meta_world meta;
    struct recovery *recovery;
    char path[128]; /* of the journal */
    uint8_t *saved;
    size_t saved_size;
};

static uint8_t content[65536];

static int set_up(void **state)
{
    struct recovery_world *world = calloc(1, sizeof(*world));
    struct error error = {0};
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 13 + 5);
    atomic_store(&sync_error, 0);
    atomic_store(&files_error, 0);
    meta_world_start(&world->meta, "storage.journal=on");
    world->meta.fixture.config.journal_size = JOURNAL_SIZE_MIN;
    snprintf(world->path, sizeof(world->path), "%s/meta.db-uploads", world->meta.fixture.directory);
    if (!recovery_start(&world->meta.fixture.config, world->meta.store, world->meta.meta, &world->recovery,
                        &error))
        fail_msg("%s", error.text);
    atomic_store(&held, true);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct recovery_world *world = *state;
    atomic_store(&held, false);
    (void)recovery_end(world->recovery, 10000);
    meta_end(world->meta.meta);
    recovery_destroy(world->recovery);
    meta_world_end(&world->meta);
    free(world->saved);
    free(world);
    return 0;
}

/* The server ends in order, and another one starts: rows and store stay as they are, but for META, which is new. */
static bool start_again(struct recovery_world *world, struct error *error)
{
    struct meta_world *meta = &world->meta;
    atomic_store(&held, false);
    (void)recovery_end(world->recovery, 10000);
    meta_end(meta->meta);
    recovery_destroy(world->recovery);
    world->recovery = NULL;
    meta_destroy(meta->meta);
    if (world->saved) {
        FILE *file = fopen(world->path, "r+b");
        assert_int_equal(fwrite(world->saved, 1, world->saved_size, file), world->saved_size);
        assert_int_equal(fclose(file), 0);
    }
    meta->meta = meta_create(&meta->fixture.config, meta->store, meta->main_loop, error);
    assert_non_null(meta->meta);
    return recovery_start(&meta->fixture.config, meta->store, meta->meta, &world->recovery, error);
}

/* The journal as it is now, to be put back by start_again(). */
static void save_journal(struct recovery_world *world)
{
    struct stat status;
    FILE *file = fopen(world->path, "rb");
    assert_int_equal(stat(world->path, &status), 0);
    world->saved_size = (size_t)status.st_size;
    world->saved = realloc(world->saved, world->saved_size);
    assert_int_equal(fread(world->saved, 1, world->saved_size, file), world->saved_size);
    assert_int_equal(fclose(file), 0);
}

static void path_of(const struct recovery_world *world, int64_t value, char path[256])
{
    struct path place = {.value = value, .seconds = 0x5F9E3FA7};
    char below[PATH_TEXT_SIZE];
    assert_true(path_format(&place, below));
    snprintf(path, 256, "%s/one/%s", world->meta.fixture.directory, below);
}

static struct asked asked;

/* An upload of FILE with number VALUE and SIZE bytes, as far as its row; what the row became. PROMISED: whether the journal took it. */
static enum meta_insert_outcome upload(struct recovery_world *world, const char *file, int64_t value,
                                       size_t size, bool *promised)
{
    struct error error = {0};
    struct proto_file_key key = meta_world_key("alice", file);
    memset(&asked, 0, sizeof(asked));
    asked.world = &world->meta;
    rows_fill_insert(&world->meta, &asked.insert, &key, value, (int64_t)size, "a name");
    digest_of_bytes(content, size, asked.insert.row.stat.digest);
    struct store_file stored = {.path = asked.insert.row.path, .place = asked.insert.row.place, .fd = -1};
    if (!store_file_create(&stored, &error))
        fail_msg("%s", error.text);
    int64_t room = recovery_promise(world->recovery, &stored, size);
    *promised = room > 0;
    assert_true(store_file_write(&stored, content, size, 0, &error) &&
                commit_sync(&stored, *promised, &error));
    asked.insert.content = *promised ? content : NULL;
    loop_do(world->meta.loop, asked_run_insert, &asked);
    asked_wait(&asked);
    recovery_release(world->recovery, room);
    store_file_let_go(&stored);
    return asked.insert.outcome;
}

static void store(struct recovery_world *world, const char *file, int64_t value, size_t size)
{
    bool promised;
    assert_int_equal(upload(world, file, value, size, &promised), META_INSERTED);
    assert_true(promised);
}

static bool file_is_whole(const struct recovery_world *world, int64_t value, size_t size)
{
    char path[256];
    static uint8_t bytes[sizeof(content) + 1];
    path_of(world, value, path);
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(bytes, 1, sizeof(bytes), file) : 0;
    bool whole = file && got == size && memcmp(bytes, content, size) == 0;
    if (file)
        assert_int_equal(fclose(file), 0);
    return whole;
}

static bool file_is_there(const struct recovery_world *world, int64_t value)
{
    char path[256];
    path_of(world, value, path);
    return access(path, F_OK) == 0;
}

/* TEXT of BYTES becomes the whole file. */
static void spoil(const struct recovery_world *world, int64_t value, const char *text)
{
    char path[256];
    path_of(world, value, path);
    FILE *file = fopen(path, "wb");
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void take_file(const struct recovery_world *world, int64_t value)
{
    char path[256];
    path_of(world, value, path);
    assert_int_equal(unlink(path), 0);
}

/* The rows of FILE, and that no transaction ever recorded its number (or, as after a purge, that one did). */
static void take_row(struct recovery_world *world, const char *file, bool forgotten)
{
    char sql[256];
    for (int table = 1; table <= 3; table++) {
        snprintf(sql, sizeof(sql), "DELETE FROM t_file_%02d WHERE id = '%s'", table, file);
        meta_world_beside(&world->meta, sql);
    }
    if (forgotten)
        meta_world_beside(&world->meta, "UPDATE t_lease SET renewals = 0 WHERE name LIKE 'journal/%'");
}

static int marked(struct recovery_world *world)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(world->meta.beside,
                                        "SELECT MAX(renewals) FROM t_lease WHERE name LIKE 'journal/%'", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int number = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static enum meta_result look(struct recovery_world *world, const char *file, struct meta_row *row)
{
    struct proto_file_key key = meta_world_key("alice", file);
    return rows_find(&world->meta, &key, row);
}

static void replayed(struct recovery_world *world)
{
    struct error error = {0};
    if (!start_again(world, &error))
        fail_msg("%s", error.text);
}

/* ---- the table ---- */

static void a_row_and_a_file_that_were_lost_are_there_again(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row, before;
    store(world, "film", 7, 3000);
    store(world, "empty", 8, 0);
    store(world, "large", 9, 65536);
    save_journal(world);
    assert_int_equal(look(world, "film", &before), META_DONE);
    take_row(world, "film", true);
    take_row(world, "empty", true);
    take_file(world, 7);
    take_file(world, 8);
    spoil(world, 9, "short");
    replayed(world);
    assert_true(file_is_whole(world, 7, 3000) && file_is_whole(world, 8, 0) &&
                file_is_whole(world, 9, 65536));
    assert_int_equal(look(world, "film", &row), META_DONE);
    assert_string_equal(row.file_path, before.file_path);
    assert_int_equal(row.stat.size, 3000);
    assert_int_equal(row.stat.created, before.stat.created);
    assert_int_equal(row.state, META_STATE_NORMAL);
    assert_memory_equal(row.stat.digest, before.stat.digest, sizeof(row.stat.digest));
    assert_string_equal(row.stat.name, "a name");
    assert_string_equal(row.stat.content_type, "video/mp4");
    assert_string_equal(row.stat.group, "group001");
    assert_int_equal(look(world, "empty", &row), META_DONE);
    assert_int_equal(marked(world), 3);
}

/* A quota that was lowered since refuses nothing that was acknowledged, and counts it. */
static void what_is_replayed_counts_though_the_quota_is_full(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row;
    sqlite3_stmt *statement;
    store(world, "film", 7, 3000);
    save_journal(world);
    take_row(world, "film", true);
    meta_world_beside(&world->meta, "INSERT INTO t_quota (userid, appid, bytes_max, files_max) "
                                    "VALUES ('alice', 'tnvideo', 1000, 0)");
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_DONE);
    assert_int_equal(sqlite3_prepare_v2(world->meta.beside, "SELECT bytes_used, files_used FROM t_quota", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 3000);
    assert_int_equal(sqlite3_column_int(statement, 1), 1);
    sqlite3_finalize(statement);
}

static void what_was_removed_since_does_not_come_back(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row;
    store(world, "film", 7, 3000);
    save_journal(world);
    take_row(world, "film", false); /* the number of its record is known to the database */
    take_file(world, 7);
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_ABSENT);
    assert_false(file_is_there(world, 7));
}

static void a_row_that_is_there_wins_whatever_its_status(void **state)
{
    static const struct {
        int status;
        bool written;
    } table[] = {{META_STATE_DELETED, true},
                 {META_STATE_PURGING, false},
                 {META_STATE_DAMAGED, true},
                 {META_STATE_DAMAGED_DELETED, true}};
    struct recovery_world *world = *state;
    char sql[256], file[16];
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        snprintf(file, sizeof(file), "film %zu", i);
        store(world, file, 10 + (int64_t)i, 3000);
        for (int number = 1; number <= 3; number++) {
            snprintf(sql, sizeof(sql), "UPDATE t_file_%02d SET status = %d WHERE id = '%s'", number,
                     table[i].status, file);
            meta_world_beside(&world->meta, sql);
        }
    }
    save_journal(world);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        take_file(world, 10 + (int64_t)i);
    replayed(world);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct meta_row row;
        snprintf(file, sizeof(file), "film %zu", i);
        assert_int_equal(look(world, file, &row), META_DONE);
        assert_int_equal(row.state, table[i].status);
        assert_int_equal(file_is_whole(world, 10 + (int64_t)i, 3000), table[i].written);
    }
}

static void a_row_that_names_another_file_stays_so(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row;
    store(world, "film", 7, 3000);
    save_journal(world);
    for (int number = 1; number <= 3; number++) {
        char sql[128];
        snprintf(sql, sizeof(sql), "UPDATE t_file_%02d SET file_path = '../data/000/000/000/5F9E3FA7_1FF'",
                 number);
        meta_world_beside(&world->meta, sql);
    }
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_DONE);
    assert_non_null(strstr(row.file_path, "_1FF"));
}

static void bytes_that_differ_are_written_again(void **state)
{
    struct recovery_world *world = *state;
    store(world, "film", 7, 3000);
    save_journal(world);
    uint8_t changed = content[10];
    char path[256];
    path_of(world, 7, path);
    FILE *file = fopen(path, "r+b");
    assert_true(fseek(file, 10, SEEK_SET) == 0 && fputc(changed ^ 1, file) != EOF && fclose(file) == 0);
    replayed(world);
    assert_true(file_is_whole(world, 7, 3000));
}

static void what_another_living_server_would_know_is_not_brought_back(void **state)
{
    struct recovery_world *world = *state;
    struct error error = {0};
    struct meta_row row;
    bool absent;
    store(world, "film", 7, 3000);
    store(world, "other", 8, 3000);
    save_journal(world);
    take_row(world, "film", true);
    struct journal *other = journal_open(world->path, 1000, &absent, &error);
    assert_non_null(other);
    journal_started(other); /* alive since before this one starts: the database has lost nothing */
    take_file(world, 8);
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_ABSENT);
    assert_true(file_is_whole(world, 8, 3000)); /* what has its row is written all the same */
    journal_close(other);
}

static void a_second_server_does_without(void **state)
{
    struct recovery_world *world = *state;
    struct error error = {0};
    struct recovery *second = NULL;
    char reason[ERROR_TEXT_SIZE];
    recovery_concern(world->recovery, reason, sizeof(reason));
    assert_string_equal(reason, "");
    recovery_concern(NULL, reason, sizeof(reason));
    assert_string_equal(reason, "");
    struct meta *meta =
        meta_create(&world->meta.fixture.config, world->meta.store, world->meta.main_loop, &error);
    assert_true(recovery_start(&world->meta.fixture.config, world->meta.store, meta, &second, &error));
    recovery_concern(second, reason, sizeof(reason));
    assert_non_null(strstr(reason, "another storage server"));
    struct store_file file = {.path = store_at(world->meta.store, 0)};
    assert_int_equal(recovery_promise(second, &file, 10), 0);
    assert_true(recovery_end(second, 1000));
    meta_end(meta);
    recovery_destroy(second);
    meta_destroy(meta);
}

static void a_record_whose_store_path_is_unknown_keeps_the_server_from_starting(void **state)
{
    struct recovery_world *world = *state;
    struct error error = {0};
    store(world, "film", 7, 3000);
    save_journal(world);
    uint8_t *at = memmem(world->saved, world->saved_size, "../data", 7);
    assert_non_null(at);
    /* As if the store path had another key by now: the record is packed anew with that one. */
    struct journal_record record;
    size_t taken;
    uint8_t *begin = world->saved + JOURNAL_REGION;
    assert_true(journal_record_read(begin, JOURNAL_RECORD_MAX, &record, &taken));
    record.file_path[3] = 'D';
    uint8_t *copy = malloc(record.content_size);
    memcpy(copy, record.content, record.content_size);
    record.content = copy;
    journal_record_pack(begin, &record);
    free(copy);
    assert_false(start_again(world, &error));
    assert_non_null(strstr(error.text, "film"));
    assert_null(world->recovery);
}

static void turned_off_it_is_replayed_once_more_and_emptied(void **state)
{
    struct recovery_world *world = *state;
    struct stat status;
    struct meta_row row;
    store(world, "film", 7, 3000);
    save_journal(world);
    take_row(world, "film", true);
    take_file(world, 7);
    world->meta.fixture.config.journal = OPTIONS_JOURNAL_OFF;
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_DONE);
    assert_true(file_is_whole(world, 7, 3000));
    assert_int_equal(stat(world->path, &status), 0);
    assert_int_equal(status.st_size, 0);
    struct store_file file = {.path = store_at(world->meta.store, 0)};
    assert_int_equal(recovery_promise(world->recovery, &file, 10), 0);
}

/* ---- what is synced, and when ---- */

/* A server that was killed has left rows that no commit has synced, and the new one may find nothing to add. */
static void rows_that_a_replay_finds_are_synced_before_their_records_go(void **state)
{
    struct recovery_world *world = *state;
    store(world, "film", 7, 3000);
    save_journal(world);
    forget_events();
    replayed(world);
    const char *last = strrchr(events, 'F');
    assert_non_null(last);
    assert_int_equal(last[1], 'W'); /* between the files and the journal's new head */
}

static void a_promise_costs_one_sync_and_what_is_not_promised_one_of_its_row(void **state)
{
    struct recovery_world *world = *state;
    bool promised;
    store(world, "first", 6, 10);
    forget_events();
    store(world, "film", 7, 3000);
    assert_string_equal(events, "J");
    forget_events();
    atomic_store(&sync_error, EIO);
    assert_int_equal(upload(world, "failed", 8, 10, &promised), META_UNWRITTEN);
    assert_string_equal(events, "W"); /* that its number is void */
    forget_events();
    assert_int_equal(upload(world, "direct", 9, 10, &promised), META_INSERTED);
    assert_false(promised);
    assert_string_equal(events, "W");
    atomic_store(&sync_error, 0);
}

static void a_row_whose_number_was_stored_before_it_is_synced(void **state)
{
    struct recovery_world *world = *state;
    bool promised;
    store(world, "film", 7, 3000);
    forget_events();
    assert_int_equal(upload(world, "film", 8, 100, &promised), META_TAKEN);
    assert_string_equal(events, "JW"); /* its record; that it is void */
}

static void a_checkpoint_syncs_files_then_rows_then_the_tail(void **state)
{
    struct recovery_world *world = *state;
    char saved[sizeof(events)];
    store(world, "film", 7, 3000);
    forget_events();
    atomic_store(&held, false);
    for (int i = 0; i < 1000 && !strchr(events, 'J'); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    memcpy(saved, events, sizeof(saved));
    assert_string_equal(saved, "FWJ");
}

/* ---- failures ---- */

static void a_journal_that_cannot_be_synced_refuses_nobody_and_brings_nothing_back(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row;
    bool promised;
    char reason[ERROR_TEXT_SIZE];
    store(world, "before", 6, 100);
    atomic_store(&sync_error, EIO);
    assert_int_equal(upload(world, "film", 7, 3000, &promised), META_UNWRITTEN);
    assert_true(promised);
    assert_true(marked(world) >= 2); /* its record, which may be there, adds no row */
    recovery_concern(world->recovery, reason, sizeof(reason));
    assert_non_null(strstr(reason, "one by one"));
    save_journal(world);
    assert_int_equal(upload(world, "direct", 8, 3000, &promised), META_INSERTED);
    assert_false(promised);
    atomic_store(&sync_error, 0);
    take_file(world, 7);
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_ABSENT);
    assert_false(file_is_there(world, 7));
    assert_int_equal(look(world, "before", &row), META_DONE);
    store(world, "after", 9, 100);
}

static void a_refusal_is_answered_when_nothing_can_bring_it_back(void **state)
{
    struct recovery_world *world = *state;
    struct meta_row row;
    bool promised;
    store(world, "film", 7, 3000);
    assert_int_equal(upload(world, "film", 8, 100, &promised), META_TAKEN);
    assert_true(promised);
    assert_true(marked(world) >= 2);
    save_journal(world);
    take_row(world, "film", false); /* the one that was there is deleted and purged */
    take_file(world, 7);
    take_file(world, 8);
    replayed(world);
    assert_int_equal(look(world, "film", &row), META_ABSENT);
    assert_false(file_is_there(world, 7) || file_is_there(world, 8));
}

static bool is_written_again(struct recovery_world *world, int64_t value, size_t size)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    for (int i = 0; i < 1000; i++) {
        if (file_is_whole(world, value, size))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static void what_the_disk_may_have_lost_is_written_once_more(void **state)
{
    struct recovery_world *world = *state;
    char reason[ERROR_TEXT_SIZE] = "?";
    atomic_store(&files_error, EIO);
    atomic_store(&held, false);
    store(world, "film", 7, 3000);
    store(world, "gone", 8, 3000);
    take_file(world, 8); /* purged: it must not come again */
    spoil(world, 7, "what the disk has");
    assert_true(is_written_again(world, 7, 3000));
    assert_false(file_is_there(world, 8));
    atomic_store(&files_error, 0);
    for (int i = 0; i < 1000 && reason[0] != '\0'; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        recovery_concern(world->recovery, reason, sizeof(reason));
    }
    assert_string_equal(reason, "");
    store(world, "after", 10, 100);
}

static void what_does_not_fit_is_synced_itself(void **state)
{
    struct recovery_world *world = *state;
    struct error error = {0};
    struct store_file file = {
        .path = store_at(world->meta.store, 0), .place = {.value = 3, .seconds = 1}, .fd = -1};
    assert_true(store_file_create(&file, &error));
    assert_int_equal(recovery_promise(world->recovery, &file, JOURNAL_CONTENT_MAX + 1), 0);
    int64_t room = recovery_promise(world->recovery, &file, JOURNAL_CONTENT_MAX);
    assert_true(room > 0);
    recovery_release(world->recovery, room);
    struct store_root *root = file.root;
    file.root = (struct store_root *)&file; /* of another directory than the one that is kept */
    assert_int_equal(recovery_promise(world->recovery, &file, 10), 0);
    file.root = root;
    assert_true(store_file_discard(&file, &error));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_that_a_replay_finds_are_synced_before_their_records_go),
        TEST(a_row_and_a_file_that_were_lost_are_there_again),
        TEST(what_is_replayed_counts_though_the_quota_is_full),
        TEST(what_was_removed_since_does_not_come_back),
        TEST(a_row_that_is_there_wins_whatever_its_status),
        TEST(a_row_that_names_another_file_stays_so),
        TEST(bytes_that_differ_are_written_again),
        TEST(what_another_living_server_would_know_is_not_brought_back),
        TEST(a_second_server_does_without),
        TEST(a_record_whose_store_path_is_unknown_keeps_the_server_from_starting),
        TEST(turned_off_it_is_replayed_once_more_and_emptied),
        TEST(a_promise_costs_one_sync_and_what_is_not_promised_one_of_its_row),
        TEST(a_row_whose_number_was_stored_before_it_is_synced),
        TEST(a_checkpoint_syncs_files_then_rows_then_the_tail),
        TEST(a_journal_that_cannot_be_synced_refuses_nobody_and_brings_nothing_back),
        TEST(a_refusal_is_answered_when_nothing_can_bring_it_back),
        TEST(what_the_disk_may_have_lost_is_written_once_more),
        TEST(what_does_not_fit_is_synced_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
