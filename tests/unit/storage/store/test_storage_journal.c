/*
 * The file of the upload journal: what is appended is read back, up to a torn tail and no further; damage before it is said; the ring
 * goes round; a failed sync leaves nothing behind that counts. fdatasync(2) and pwrite(2) are this test's own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE JOURNAL_SIZE_MIN

static int sync_error, write_error; /* of the next calls; 0: none */
static int direct_error;            /* the same, of those past the page cache */
static int syncs, direct_writes;

int fdatasync(int fd)
{
    syncs++;
    if (sync_error != 0) {
        errno = sync_error;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (write_error != 0) {
        errno = write_error;
        return -1;
    }
    if ((fcntl(fd, F_GETFL) & O_DIRECT) != 0) {
        direct_writes++;
        if (direct_error != 0) {
            errno = direct_error;
            return -1;
        }
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset);
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

/* ---- a journal ---- */

struct world {
    char path[64];
    struct journal *journal;
    int64_t read[4096]; /* numbers of the records of the last replay */
    size_t count;
    bool refuse;
};

static uint8_t content[JOURNAL_CONTENT_MAX];

static struct journal_record record_of(int number, size_t size)
{
    struct journal_record record = {.expires = number, .content = content, .content_size = size};
    snprintf(record.key.application, sizeof(record.key.application), "app");
    snprintf(record.key.user, sizeof(record.key.user), "user %d", number);
    snprintf(record.key.file, sizeof(record.key.file), "file %d", number);
    snprintf(record.file_path, sizeof(record.file_path), "data/000/000/000/00000000_%03d", number % 512);
    memset(record.digest, number, sizeof(record.digest));
    return record;
}

static void open_journal(struct world *world)
{
    struct error error = {0};
    bool absent;
    world->journal = journal_open(world->path, 100, &absent, &error);
    if (!world->journal)
        fail_msg("%s", error.text);
}

static void close_journal(struct world *world)
{
    journal_close(world->journal);
    world->journal = NULL;
}

static bool on_record(void *argument, const struct journal_record *record, struct error *error)
{
    struct world *world = argument;
    if (world->refuse)
        return error_set(error, ERROR_IO, "refused");
    assert_memory_equal(record->content, content, record->content_size);
    world->read[world->count++] = record->sequence;
    return true;
}

static bool replay(struct world *world, struct error *error)
{
    world->count = 0;
    return journal_replay(world->journal, on_record, world, error);
}

static void begin(struct world *world)
{
    struct error error = {0};
    if (!replay(world, &error) || !journal_begin(world->journal, SIZE, true, &error))
        fail_msg("%s", error.text);
    journal_started(world->journal);
}

/* A group of COUNT records of SIZE bytes. Room for all is reserved and given back. */
static bool append(struct world *world, int count, size_t size)
{
    struct journal_record records[64], *group[64] = {NULL};
    int64_t reserved[64];
    struct error error = {0};
    for (int i = 0; i < count; i++) {
        records[i] = record_of(i, size);
        group[i] = &records[i];
        reserved[i] = journal_reserve(world->journal, size);
    }
    bool fine = journal_write(world->journal, group, (size_t)count, &error);
    for (int i = 0; i < count; i++)
        journal_release(world->journal, reserved[i]);
    if (fine)
        journal_settle(world->journal, records[count - 1].sequence);
    return fine;
}

static void checkpoint(struct world *world)
{
    struct journal_mark mark;
    struct error error = {0};
    assert_true(journal_mark(world->journal, &mark));
    world->count = 0;
    if (!journal_read(world->journal, &mark, on_record, world, &error) ||
        !journal_move_tail(world->journal, &mark, &error))
        fail_msg("%s", error.text);
    assert_false(journal_mark(world->journal, &mark));
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    snprintf(world->path, sizeof(world->path), "/tmp/reel-journal-XXXXXX");
    assert_true(close(mkstemp(world->path)) == 0);
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7 + i / 251);
    sync_error = write_error = direct_error = direct_writes = 0;
    open_journal(world);
    begin(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    close_journal(world);
    (void)unlink(world->path);
    free(world);
    return 0;
}

static void change_byte(struct world *world, off_t at)
{
    int fd = open(world->path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_true(pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    assert_true(pwrite(fd, &byte, 1, at) == 1);
    assert_true(close(fd) == 0);
}

/* ---- past the page cache ---- */

static void where_blocks_have_another_size_records_are_written_through_memory(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    direct_error = EINVAL;
    assert_true(append(world, 3, 4096));
    int tried = direct_writes;
    assert_true(tried <= 1); /* none where the file system of the tests has no such way */
    assert_true(append(world, 2, 100));
    assert_int_equal(direct_writes, tried);
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 5);
    begin(world);
}

static void a_disk_that_fails_is_not_written_to_in_another_way(void **state)
{
    struct world *world = *state;
    if (!append(world, 1, 4096) || direct_writes == 0)
        skip(); /* the file system of the tests has no such way */
    direct_error = EIO;
    assert_false(append(world, 1, 4096));
    assert_int_equal(journal_reserve(world->journal, 1), 0);
}

/* ---- format ---- */

static void a_record_is_read_as_it_was_written_or_not_at_all(void **state)
{
    (void)state;
    uint8_t bytes[JOURNAL_RECORD_MAX];
    struct journal_record read, record = record_of(7, 1000);
    size_t taken;
    record.generation = 99;
    record.sequence = 5;
    record.synced = 4;
    record.last = record.has_sha256 = true;
    memset(record.sha256, 3, sizeof(record.sha256));
    snprintf(record.group, sizeof(record.group), "group001");
    snprintf(record.name, sizeof(record.name), "a name");
    snprintf(record.content_type, sizeof(record.content_type), "video/mp4");
    size_t size = journal_record_size(&record);
    assert_int_equal(size % JOURNAL_ALIGN, 0);
    journal_record_pack(bytes, &record);
    assert_true(journal_record_begins(bytes, 99));
    assert_false(journal_record_begins(bytes, 98));
    assert_true(journal_record_read(bytes, size, &read, &taken));
    assert_int_equal(taken, size);
    assert_int_equal(read.sequence, 5);
    assert_int_equal(read.synced, 4);
    assert_int_equal(read.generation, 99);
    assert_int_equal(read.expires, 7);
    assert_true(read.last && read.has_sha256);
    assert_memory_equal(&read.key, &record.key, sizeof(read.key));
    assert_string_equal(read.file_path, record.file_path);
    assert_string_equal(read.group, "group001");
    assert_string_equal(read.name, "a name");
    assert_string_equal(read.content_type, "video/mp4");
    assert_memory_equal(read.sha256, record.sha256, sizeof(read.sha256));
    assert_memory_equal(read.digest, record.digest, sizeof(read.digest));
    assert_int_equal(read.content_size, 1000);
    assert_memory_equal(read.content, content, 1000);
    size_t whole = 104 + 1000 + 16;
    for (size_t i = 0; i < whole; i++) {
        bytes[i] ^= 4;
        assert_false(journal_record_read(bytes, size, &read, &taken));
        bytes[i] ^= 4;
        assert_false(journal_record_read(bytes, i, &read, &taken));
    }
}

static void a_head_is_read_as_it_was_written_or_not_at_all(void **state)
{
    (void)state;
    uint8_t block[JOURNAL_BLOCK];
    struct journal_head read, head = {.id = 1,
                                      .generation = 2,
                                      .count = 3,
                                      .size = 8 * JOURNAL_BLOCK,
                                      .tail = JOURNAL_BLOCK,
                                      .sequence = 9,
                                      .clean = true};
    journal_head_pack(block, &head);
    assert_true(journal_head_read(block, &read));
    assert_true(read.id == head.id && read.generation == head.generation && read.count == head.count &&
                read.size == head.size && read.tail == head.tail && read.sequence == head.sequence &&
                read.clean);
    for (size_t i = 0; i < 76; i++) {
        block[i] ^= 1;
        assert_false(journal_head_read(block, &read));
        block[i] ^= 1;
    }
    const struct journal_head wrong[] = {{.size = 0, .sequence = 1},
                                         {.size = JOURNAL_BLOCK + 1, .sequence = 1},
                                         {.size = JOURNAL_BLOCK, .tail = JOURNAL_BLOCK, .sequence = 1},
                                         {.size = 2 * JOURNAL_BLOCK, .tail = 512, .sequence = 1},
                                         {.size = JOURNAL_BLOCK, .sequence = 0}};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        journal_head_pack(block, &wrong[i]);
        assert_false(journal_head_read(block, &read));
    }
}

/* ---- the file ---- */

static void what_was_appended_is_replayed_in_its_order(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    syncs = 0;
    assert_true(append(world, 3, 100));
    assert_int_equal(syncs, 1); /* one for all */
    assert_true(append(world, 1, JOURNAL_CONTENT_MAX));
    assert_true(append(world, 2, 0));
    close_journal(world);
    open_journal(world);
    assert_true(journal_is_held(world->journal) && journal_is_alone(world->journal));
    assert_false(journal_is_clean(world->journal));
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 6);
    for (size_t i = 0; i < world->count; i++)
        assert_int_equal(world->read[i], i + 1);
    world->refuse = true;
    assert_false(replay(world, &error));
    assert_string_equal(error.text, "refused");
}

/* Whoever was killed may have written them, and not synced: what is done because of them outlives a power cut. */
static void what_is_replayed_is_on_the_disk_first(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 2, 100));
    close_journal(world);
    open_journal(world);
    sync_error = EIO;
    bool fine = replay(world, &error);
    sync_error = 0;
    assert_false(fine);
    assert_int_equal(error.code, ERROR_IO);
    assert_int_equal(world->count, 0);
    syncs = 0;
    assert_true(replay(world, &error));
    assert_true(syncs > 0 && world->count == 2);
}

static void nothing_of_an_earlier_start_is_read_again(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 8, 3000));
    close_journal(world);
    open_journal(world);
    begin(world);
    assert_int_equal(world->count, 8);
    assert_true(append(world, 1, 3000)); /* over the first one; what follows it is of the start before */
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 1);
    assert_int_equal(world->read[0], 9);
}

static void what_a_checkpoint_has_passed_is_not_replayed(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 4, 100));
    checkpoint(world);
    assert_int_equal(world->count, 4);
    assert_int_equal(journal_used(world->journal), 0);
    assert_true(append(world, 2, 100));
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 2);
    assert_int_equal(world->read[0], 5);
}

static void after_an_end_in_order_nothing_is_read(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 4, 100));
    journal_stop(world->journal);
    assert_int_equal(journal_reserve(world->journal, 1), 0);
    assert_true(journal_finish(world->journal, &error)); /* not passed by a checkpoint: not in order */
    close_journal(world);
    open_journal(world);
    assert_false(journal_is_clean(world->journal));
    begin(world);
    assert_int_equal(world->count, 4);
    assert_true(append(world, 4, 100));
    checkpoint(world);
    journal_stop(world->journal);
    assert_true(journal_finish(world->journal, &error));
    close_journal(world);
    open_journal(world);
    assert_true(journal_is_clean(world->journal));
    begin(world);
    assert_int_equal(world->count, 0);
    assert_true(append(world, 1, 100));
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->read[0], 9); /* numbers go on */
}

static void a_torn_tail_ends_the_replay_wherever_it_is_torn(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 2, 1000));
    off_t end = JOURNAL_REGION + journal_used(world->journal);
    assert_true(append(world, 3, 1000)); /* one group: 3 records of 1,536 bytes */
    close_journal(world);
    for (int torn = 0; torn < 3; torn++) {
        change_byte(world, end + torn * 1536 + 700);
        open_journal(world);
        assert_true(replay(world, &error));
        assert_int_equal(world->count, 2 + torn);
        close_journal(world);
        change_byte(world, end + torn * 1536 + 700);
    }
    open_journal(world);
}

static void damage_before_what_was_promised_is_said(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_true(append(world, 2, 1000));
    assert_true(append(world, 3, 1000));
    close_journal(world);
    change_byte(world, JOURNAL_REGION + 1536 + 700); /* the second one of the first group */
    open_journal(world);
    assert_false(replay(world, &error));
    assert_non_null(strstr(error.text, "record 2"));
    assert_non_null(strstr(error.text, "damaged"));
    assert_int_equal(world->count, 1);
    change_byte(world, JOURNAL_REGION + 1536 + 700);
    change_byte(world, JOURNAL_REGION + 10); /* the very first one */
    assert_false(replay(world, &error));
    assert_non_null(strstr(error.text, "record 1"));
}

static void the_ring_goes_round_and_loses_nothing(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    static const size_t sizes[] = {0, 100, 5000, 30000, JOURNAL_CONTENT_MAX, 777, 64000};
    int64_t total = 0;
    for (int i = 0; total < 6 * SIZE; i++) {
        int64_t before = journal_used(world->journal);
        int count = i % 3 + 1;
        assert_true(append(world, count, sizes[(size_t)i % ARRAY_SIZE(sizes)]));
        total += journal_used(world->journal) - before;
        if (i % 4 == 3)
            checkpoint(world);
        if (i % 4 != 1)
            continue;
        int64_t first = 0; /* a crash: all that no checkpoint has passed is read */
        close_journal(world);
        open_journal(world);
        assert_true(replay(world, &error));
        first = world->read[0];
        for (size_t at = 0; at < world->count; at++)
            assert_int_equal(world->read[at], first + (int64_t)at);
        assert_true(world->count >= (size_t)count);
        begin(world);
    }
}

static void room_is_reserved_until_there_is_none(void **state)
{
    struct world *world = *state;
    int64_t reserved = 0, one;
    int count = 0;
    while ((one = journal_reserve(world->journal, 4096)) > 0) {
        reserved += one;
        count++;
    }
    assert_in_range(count, 60, SIZE / 8192);
    journal_release(world->journal, reserved);
    /* Written records take it as well, until a checkpoint. */
    for (int i = 0; i < 9; i++)
        assert_true(append(world, 12, 4096));
    int left = 0;
    for (reserved = 0; (one = journal_reserve(world->journal, 4096)) > 0; left++)
        reserved += one;
    journal_release(world->journal, reserved);
    assert_true(left < count / 2);
    checkpoint(world);
    one = journal_reserve(world->journal, 4096);
    assert_true(one > 0);
    journal_release(world->journal, one);
}

static void more_than_there_is_room_for_is_refused_and_hurts_nothing(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    int groups = 0;
    while (append(world, 16, 60000) && groups < 10)
        groups++;
    assert_int_equal(groups, 1); /* 16 of them are nearly the whole file */
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 16);
}

/* The next group may be written before the rows of the one before are settled. */
static void a_checkpoint_ends_at_the_last_group_whose_rows_are_settled(void **state)
{
    struct world *world = *state;
    struct journal_record records[3], *one;
    struct journal_mark mark;
    struct error error = {0};
    for (int i = 0; i < 3; i++) {
        records[i] = record_of(i, 1000);
        one = &records[i];
        assert_true(journal_write(world->journal, &one, 1, &error));
    }
    assert_false(journal_mark(world->journal, &mark));
    journal_settle(world->journal, records[0].sequence);
    journal_settle(world->journal, records[1].sequence);
    assert_true(journal_mark(world->journal, &mark));
    assert_int_equal(mark.sequence, records[1].sequence);
    assert_true(journal_move_tail(world->journal, &mark, &error));
    assert_false(journal_is_idle(world->journal));
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 1);
    assert_int_equal(world->read[0], records[2].sequence);
}

static void after_a_failed_sync_nothing_is_written_until_a_checkpoint_has_passed_it(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    char why[ERROR_TEXT_SIZE];
    assert_true(append(world, 2, 1000));
    sync_error = EIO;
    assert_false(append(world, 2, 1000));
    sync_error = 0;
    assert_false(append(world, 1, 1000));
    assert_int_equal(journal_reserve(world->journal, 10), 0);
    journal_concern(world->journal, why, sizeof(why));
    assert_non_null(strstr(why, "cannot sync"));
    checkpoint(world); /* of the first two: what failed is not settled yet */
    assert_int_equal(world->count, 2);
    assert_int_equal(journal_reserve(world->journal, 10), 0);
    journal_settle(world->journal, 4);
    struct journal_mark mark;
    assert_true(journal_mark(world->journal, &mark));
    assert_true(journal_move_tail(world->journal, &mark, &error));
    journal_concern(world->journal, why, sizeof(why));
    assert_string_equal(why, "");
    assert_true(append(world, 1, 1000));
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 1);
    assert_int_equal(world->read[0], 5);
}

static void a_tail_that_cannot_be_moved_stays(void **state)
{
    struct world *world = *state;
    struct journal_mark mark;
    struct error error = {0};
    assert_true(append(world, 2, 1000));
    assert_true(journal_mark(world->journal, &mark));
    write_error = ENOSPC;
    assert_false(journal_move_tail(world->journal, &mark, &error));
    write_error = 0;
    assert_int_equal(error.code, ERROR_NO_SPACE);
    assert_true(journal_used(world->journal) > 0);
    assert_false(append(world, 1, 10));
    close_journal(world);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 2);
}

static void space_is_not_free_before_the_tail_is_synced(void **state)
{
    struct world *world = *state;
    struct journal_mark mark;
    struct error error = {0};
    assert_true(append(world, 2, 1000));
    assert_true(journal_mark(world->journal, &mark));
    sync_error = EIO;
    assert_false(journal_move_tail(world->journal, &mark, &error));
    sync_error = 0;
    assert_true(journal_used(world->journal) > 0);
    assert_false(append(world, 1, 10));
    assert_true(journal_move_tail(world->journal, &mark, &error));
    assert_int_equal(journal_used(world->journal), 0);
    assert_true(append(world, 1, 10));
}

static void a_sync_of_files_that_failed_suspends_until_all_of_that_time_has_ended(void **state)
{
    struct world *world = *state;
    assert_true(append(world, 1, 10));
    int64_t under_way = journal_reserve(world->journal, 10);
    journal_suspend(world->journal, "the disk");
    assert_int_equal(journal_reserve(world->journal, 10), 0);
    checkpoint(world);
    journal_resume(world->journal);
    assert_true(journal_is_suspended(world->journal)); /* one that began before is still under way */
    struct journal_record record = record_of(1, 10), *one = &record;
    struct error error = {0};
    char why[ERROR_TEXT_SIZE];
    assert_true(journal_write(world->journal, &one, 1, &error)); /* which is promised all the same */
    journal_settle(world->journal, record.sequence);
    journal_release(world->journal, under_way);
    journal_resume(world->journal);
    assert_true(journal_is_suspended(world->journal));
    journal_concern(world->journal, why, sizeof(why));
    assert_string_equal(why, "the disk");
    checkpoint(world);
    journal_resume(world->journal);
    assert_false(journal_is_suspended(world->journal));
    journal_concern(world->journal, why, sizeof(why));
    assert_string_equal(why, "");
    assert_true(append(world, 1, 10));
}

static void two_heads_one_of_them_torn(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    bool absent;
    assert_true(append(world, 1, 10));
    checkpoint(world); /* the second head, in the first place */
    close_journal(world);
    change_byte(world, 20);
    open_journal(world);
    assert_true(replay(world, &error));
    assert_int_equal(world->count, 1); /* as before the checkpoint */
    close_journal(world);
    change_byte(world, JOURNAL_BLOCK + 20);
    world->journal = journal_open(world->path, 100, &absent, &error);
    assert_null(world->journal);
    assert_false(absent);
    assert_non_null(strstr(error.text, "neither of its heads"));
}

static void one_that_was_being_made_is_made_anew(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    close_journal(world);
    assert_true(truncate(world->path, 0) == 0 && truncate(world->path, 100000) == 0);
    open_journal(world);
    assert_int_equal(journal_id(world->journal), 0);
    begin(world);
    assert_true(journal_id(world->journal) != 0);
    assert_true(append(world, 1, 10));
    checkpoint(world);
    /* Another size: made anew as well. */
    uint64_t id = journal_id(world->journal);
    assert_true(replay(world, &error) && journal_begin(world->journal, 2 * SIZE, false, &error));
    assert_true(journal_id(world->journal) != id);
    struct stat status;
    assert_true(stat(world->path, &status) == 0);
    assert_int_equal(status.st_size, 2 * SIZE);
    assert_true(journal_empty(world->journal, &error));
    assert_true(stat(world->path, &status) == 0);
    assert_int_equal(status.st_size, 0);
}

static void space_is_taken_only_after_some_uploads(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    struct stat status;
    char why[ERROR_TEXT_SIZE];
    assert_true(journal_empty(world->journal, &error) && journal_begin(world->journal, SIZE, false, &error));
    assert_true(journal_make(world->journal, &error));
    assert_int_equal(journal_reserve(world->journal, 10), 0);
    assert_true(journal_make(world->journal, &error));
    assert_true(stat(world->path, &status) == 0);
    assert_int_equal(status.st_size, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(journal_reserve(world->journal, 10), 0);
    write_error = ENOSPC;
    assert_false(journal_make(world->journal, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
    journal_concern(world->journal, why, sizeof(why));
    assert_non_null(strstr(why, "No space"));
    write_error = 0;
    for (int i = 0; i < 100; i++)
        assert_int_equal(journal_reserve(world->journal, 10), 0);
    assert_true(journal_make(world->journal, &error));
    assert_true(append(world, 1, 10));
}

static void one_server_writes_and_the_next_one_waits_for_its_start(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    bool absent;
    struct journal *other = journal_open(world->path, 100, &absent, &error);
    assert_non_null(other);
    assert_false(journal_is_held(other) || journal_is_alone(other));
    struct journal *third = journal_open(world->path, 100, &absent, &error); /* `other` has not started yet */
    assert_null(third);
    assert_false(absent);
    assert_non_null(strstr(error.text, "locked"));
    journal_started(other);
    close_journal(world);
    open_journal(world); /* held by nobody, but `other` is alive */
    assert_true(journal_is_held(world->journal));
    assert_false(journal_is_alone(world->journal));
    journal_started(world->journal);
    journal_leave(world->journal);
    journal_close(other);
    other = journal_open(world->path, 100, &absent, &error);
    assert_true(journal_is_held(other));
    journal_close(other);
    assert_null(journal_open("/nonexistent/journal", 100, &absent, &error));
    assert_true(absent);
}

static void waiting_ends_when_it_is_half_full_or_to_stop(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < 10; i++)
        assert_true(append(world, 1, JOURNAL_CONTENT_MAX));
    journal_wait(world->journal, 60000);
    checkpoint(world);
    journal_wait(world->journal, 1);
    assert_true(journal_is_idle(world->journal));
    journal_stop(world->journal);
    journal_wait(world->journal, 60000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_it_was_written_or_not_at_all),
        cmocka_unit_test(a_head_is_read_as_it_was_written_or_not_at_all),
        TEST(where_blocks_have_another_size_records_are_written_through_memory),
        TEST(a_disk_that_fails_is_not_written_to_in_another_way),
        TEST(what_was_appended_is_replayed_in_its_order),
        TEST(what_is_replayed_is_on_the_disk_first),
        TEST(nothing_of_an_earlier_start_is_read_again),
        TEST(what_a_checkpoint_has_passed_is_not_replayed),
        TEST(after_an_end_in_order_nothing_is_read),
        TEST(a_torn_tail_ends_the_replay_wherever_it_is_torn),
        TEST(damage_before_what_was_promised_is_said),
        TEST(the_ring_goes_round_and_loses_nothing),
        TEST(room_is_reserved_until_there_is_none),
        TEST(more_than_there_is_room_for_is_refused_and_hurts_nothing),
        TEST(a_checkpoint_ends_at_the_last_group_whose_rows_are_settled),
        TEST(after_a_failed_sync_nothing_is_written_until_a_checkpoint_has_passed_it),
        TEST(a_tail_that_cannot_be_moved_stays),
        TEST(space_is_not_free_before_the_tail_is_synced),
        TEST(a_sync_of_files_that_failed_suspends_until_all_of_that_time_has_ended),
        TEST(two_heads_one_of_them_torn),
        TEST(one_that_was_being_made_is_made_anew),
        TEST(space_is_taken_only_after_some_uploads),
        TEST(one_server_writes_and_the_next_one_waits_for_its_start),
        TEST(waiting_ends_when_it_is_half_full_or_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
