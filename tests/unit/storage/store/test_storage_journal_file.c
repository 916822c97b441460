/*
 * What the disk could not write is reported to each descriptor of the upload journal once, as the kernel does: neither the sync of a head
 * nor that of records takes from the other what must be reported to it. And a file that is exchanged while it is opened is not used.
 * fdatasync(2) and nanosleep(2) are this test's own.
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
#include <time.h>
#include <unistd.h>

#define FDS_MAX 1024

static int errors;               /* of writing back what lies in memory */
static int reported_to[FDS_MAX]; /* how many of them each descriptor has reported */

/* What happens between a write and its sync, once. */
static void (*meanwhile)(void);
static void (*asleep)(void);

static void call_once(void (**function)(void))
{
    void (*call)(void) = *function;
    *function = NULL;
    if (call)
        call();
}

int fdatasync(int fd)
{
    call_once(&meanwhile);
    assert_in_range(fd, 0, FDS_MAX - 1);
    bool fine = reported_to[fd] == errors;
    reported_to[fd] = errors;
    errno = EIO;
    return fine ? 0 : -1;
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    call_once(&asleep);
    return 0;
}

/* ---- a journal ---- */

static char path[64], other_path[80];
static struct journal *journal;
static bool append_fine, head_fine;

static void open_journal(void)
{
    struct error error = {0};
    bool absent;
    journal = journal_open(path, 100, &absent, &error);
    if (!journal || !journal_begin(journal, JOURNAL_SIZE_MIN, true, &error))
        fail_msg("%s", error.text);
    journal_started(journal);
    for (size_t i = 0; i < ARRAY_SIZE(reported_to); i++)
        reported_to[i] = errors;
}

static void append(void)
{
    struct journal_record record = {.key = {.application = "app", .user = "user", .file = "file"},
                                    .file_path = "data/000/000/000/1_1"};
    struct journal_record *group = &record;
    struct error error = {0};
    append_fine = journal_write(journal, &group, 1, &error);
    journal_settle(journal, record.sequence);
}

static void move_tail(void)
{
    struct journal_mark mark;
    struct error error = {0};
    assert_true(journal_mark(journal, &mark));
    head_fine = journal_move_tail(journal, &mark, &error);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/reel-journal-XXXXXX");
    assert_true(close(mkstemp(path)) == 0);
    snprintf(other_path, sizeof(other_path), "%s-other", path);
    append_fine = head_fine = false;
    meanwhile = asleep = NULL;
    open_journal();
    append();
    assert_true(append_fine);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    journal_close(journal);
    (void)unlink(path);
    (void)unlink(other_path);
    return 0;
}

/* ---- what the disk could not write ---- */

static void the_disk_fails_and_a_head_is_synced(void)
{
    errors++;
    move_tail();
}

static void the_disk_fails_and_records_are_synced(void)
{
    errors++;
    append();
}

static void records_are_not_promised_because_a_head_learned_what_became_of_them(void **state)
{
    (void)state;
    meanwhile = the_disk_fails_and_a_head_is_synced;
    append();
    assert_false(head_fine); /* which of both it was about nobody knows */
    assert_false(append_fine);
    assert_int_equal(journal_reserve(journal, 10), 0);
}

static void a_head_does_not_count_because_records_learned_what_became_of_it(void **state)
{
    (void)state;
    int64_t used = journal_used(journal);
    meanwhile = the_disk_fails_and_records_are_synced;
    move_tail();
    assert_false(append_fine);
    assert_false(head_fine);
    assert_true(journal_used(journal) >= used); /* nothing was freed */
}

/* ---- another file ---- */

static void exchange_and_let_go(void)
{
    assert_true(rename(other_path, path) == 0);
    journal_close(journal);
    journal = NULL;
}

static void a_file_that_is_exchanged_while_it_is_opened_is_not_used(void **state)
{
    (void)state;
    struct error error = {0};
    bool absent;
    journal_close(journal);
    journal = journal_open(path, 100, &absent, &error); /* and is starting */
    assert_non_null(journal);
    int fd = open(other_path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && close(fd) == 0);
    asleep = exchange_and_let_go;
    assert_null(journal_open(path, 10000, &absent, &error));
    assert_null(journal); /* it did wait */
    assert_false(absent);
    assert_non_null(strstr(error.text, "a second time"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_not_promised_because_a_head_learned_what_became_of_them),
        TEST(a_head_does_not_count_because_records_learned_what_became_of_it),
        TEST(a_file_that_is_exchanged_while_it_is_opened_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
