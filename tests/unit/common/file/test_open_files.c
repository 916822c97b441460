/* open_files: what both kinds of tables keep, find, close, and do not close. */
#include "common/file/open_files.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool refuse;          /* what the workers do */
static int refused, closed;  /* how often */
static const char owners[2]; /* two addresses */

/* A worker that is quick. */
static bool submit(const void *owner, struct job *job)
{
    assert_true(owner == &owners[0] || owner == &owners[1]);
    refused += refuse;
    if (refuse)
        return false;
    closed++;
    job->run(job);
    return true;
}

static struct open_files *make(bool shared, size_t files_max)
{
    refuse = false;
    refused = closed = 0;
    struct open_files *files = open_files_create(&(struct open_files_options){
        .files_max = files_max, .age_ms = 100, .bytes_max = 10, .shared = shared, .submit = submit});
    assert_non_null(files);
    return files;
}

static struct open_key key_of(uint64_t place)
{
    return (struct open_key){.owner = &owners[0], .place = {place}};
}

static struct open_file *add(struct open_files *files, uint64_t place, int64_t now_ms)
{
    struct open_key key = key_of(place);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct open_file *file = open_files_add(files, &key, fd, 7, NULL, now_ms);
    assert_non_null(file);
    return file;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static struct open_file *find(struct open_files *files, uint64_t place, int64_t now_ms)
{
    struct open_key key = key_of(place);
    return open_files_find(files, &key, NULL, now_ms);
}

static void another_owner_has_other_files(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct open_files *files = make(shared, 10);
        struct open_file *file = add(files, 1, 0);
        struct open_key other = key_of(1);
        other.owner = &owners[1];
        assert_null(open_files_find(files, &other, NULL, 0));
        assert_ptr_equal(find(files, 1, 0), file);
        open_files_release(files, file);
        open_files_release(files, file);
        assert_int_equal(closed, 0);
        open_files_end(files);
    }
}

static void a_file_past_its_age_is_closed_by_the_tick_unless_it_is_held(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct open_files *files = make(shared, 10);
        struct open_file *held = add(files, 1, 0);
        open_files_release(files, add(files, 2, 0));
        open_files_tick(files, 100);
        assert_int_equal(closed, 0);
        open_files_tick(files, 101);
        assert_int_equal(closed, 1);
        assert_null(find(files, 1, 101));
        assert_true(is_open(held->fd));
        assert_int_equal(open_files_count(files), 1);
        open_files_release(files, held);
        assert_int_equal(closed, 2);
        open_files_end(files);
    }
}

static void what_no_worker_takes_is_closed_later(void **state)
{
    (void)state;
    struct open_files *files = make(true, 10);
    struct open_file *file = add(files, 1, 0);
    struct open_key key = key_of(1);
    int fd = file->fd;
    refuse = true;
    open_files_forget(files, &key);
    open_files_release(files, file);
    open_files_tick(files, 0);
    assert_int_equal(refused, 2);
    assert_true(is_open(fd));
    assert_int_equal(open_files_count(files), 1);
    refuse = false;
    open_files_tick(files, 0);
    assert_false(is_open(fd));
    assert_int_equal(open_files_count(files), 0);
    open_files_end(files);
}

static void after_the_end_the_last_holder_closes(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct open_files *files = make(shared, 10);
        struct open_file *held = add(files, 1, 0), *kept = add(files, 2, 0), *waiting = add(files, 3, 0);
        int fds[] = {held->fd, kept->fd, waiting->fd};
        open_files_release(files, kept);
        refuse = true;
        open_files_forget_held(files, waiting);
        open_files_release(files, waiting);
        open_files_end(files);
        assert_true(is_open(fds[0]));
        assert_false(is_open(fds[1]));
        assert_false(is_open(fds[2]));
        open_files_release(files, held);
        assert_false(is_open(fds[0]));
    }
    open_files_end(NULL);
}

static void a_hint_finds_the_file_until_one_leaves_the_table(void **state)
{
    struct open_hint hint = {0};
    struct open_key key = key_of(1);
    (void)state;
    struct open_files *files = make(false, 10);
    struct open_file *file = add(files, 1, 0), *other = add(files, 2, 0);
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(open_files_find(files, &key, &hint, 0), file);
        open_files_release(files, file);
    }
    assert_null(open_files_find(files, &key, &hint, 101)); /* too old, by the hint too */
    open_files_release(files, file);                       /* closed and gone */
    assert_null(open_files_find(files, &key, &hint, 0));
    open_files_release(files, other);
    open_files_end(files);
}

static void bytes_are_kept_up_to_the_limit(void **state)
{
    (void)state;
    struct open_files *files = make(false, 10);
    struct open_file *first = add(files, 1, 0), *second = add(files, 2, 0);
    open_files_keep(files, first, "content", 7);
    assert_memory_equal(first->bytes, "content", 7);
    open_files_keep(files, second, "content", 7);
    assert_null(second->bytes); /* 14 would be more than 10 */
    open_files_forget_held(files, first);
    open_files_forget_held(files, first);
    open_files_release(files, first);
    open_files_keep(files, second, "content", 7);
    assert_memory_equal(second->bytes, "content", 7);
    open_files_release(files, second);
    open_files_end(files);
}

static void where_nothing_is_kept_a_file_serves_its_holders(void **state)
{
    (void)state;
    struct open_files *files = make(false, 0);
    struct open_file *file = add(files, 1, 0);
    assert_null(find(files, 1, 0));
    open_files_take(files, file);
    open_files_release(files, file);
    assert_true(is_open(file->fd));
    open_files_release(files, file);
    assert_int_equal(closed, 1);
    open_files_end(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_owner_has_other_files),
        cmocka_unit_test(a_file_past_its_age_is_closed_by_the_tick_unless_it_is_held),
        cmocka_unit_test(what_no_worker_takes_is_closed_later),
        cmocka_unit_test(after_the_end_the_last_holder_closes),
        cmocka_unit_test(a_hint_finds_the_file_until_one_leaves_the_table),
        cmocka_unit_test(bytes_are_kept_up_to_the_limit),
        cmocka_unit_test(where_nothing_is_kept_a_file_serves_its_holders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
