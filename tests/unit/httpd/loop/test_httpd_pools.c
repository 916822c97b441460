/* http_buffers, http_pipes: what a loop lends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <errno.h>
#include "httpd/loop/http_buffers.h"
#include "httpd/loop/http_pipes.h"

static void a_block_that_was_given_back_is_lent_again(void **state)
{
    struct http_buffers buffers;
    (void)state;
    http_buffers_init(&buffers, 16384);
    void *first = http_buffers_take(&buffers, HTTP_BUFFER_SMALL);
    assert_non_null(first);
    memset(first, 1, http_buffers_size(&buffers, HTTP_BUFFER_SMALL));
    http_buffers_give(&buffers, HTTP_BUFFER_SMALL, first);
    assert_ptr_equal(http_buffers_take(&buffers, HTTP_BUFFER_SMALL), first);
    void *large = http_buffers_take(&buffers, HTTP_BUFFER_LARGE);
    assert_non_null(large);
    assert_int_equal(http_buffers_size(&buffers, HTTP_BUFFER_LARGE), 16384);
    memset(large, 1, 16384);
    http_buffers_give(&buffers, HTTP_BUFFER_LARGE, large);
    http_buffers_give(&buffers, HTTP_BUFFER_SMALL, first);
    http_buffers_give(&buffers, HTTP_BUFFER_SMALL, NULL);
    http_buffers_clear(&buffers);
}

static void only_so_many_unused_blocks_are_kept(void **state)
{
    enum { MANY = 1000 };
    static void *blocks[MANY];
    struct http_buffers buffers;
    (void)state;
    http_buffers_init(&buffers, 4096);
    for (int i = 0; i < MANY; i++) {
        blocks[i] = http_buffers_take(&buffers, HTTP_BUFFER_COPY);
        assert_non_null(blocks[i]);
    }
    for (int i = 0; i < MANY; i++)
        http_buffers_give(&buffers, HTTP_BUFFER_COPY, blocks[i]);
    assert_int_equal(buffers.classes[HTTP_BUFFER_COPY].kept, buffers.classes[HTTP_BUFFER_COPY].kept_max);
    assert_true(buffers.classes[HTTP_BUFFER_COPY].kept < MANY);
    http_buffers_clear(&buffers);
}

static void pipes_are_bounded_and_used_again(void **state)
{
    struct http_pipes pipes;
    (void)state;
    http_pipes_init(&pipes, 2, 65536);
    struct http_pipe *a = http_pipes_take(&pipes);
    struct http_pipe *b = http_pipes_take(&pipes);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(http_pipes_take(&pipes));
    assert_true(a->capacity >= 4096);
    http_pipes_give(&pipes, a, true);
    assert_ptr_equal(http_pipes_take(&pipes), a);
    http_pipes_give(&pipes, a, true);
    http_pipes_give(&pipes, b, true);
    http_pipes_clear(&pipes);
    assert_int_equal(pipes.count, 0);
}

static void a_pipe_with_bytes_left_in_it_is_not_lent_again(void **state)
{
    struct http_pipes pipes;
    char byte;
    (void)state;
    http_pipes_init(&pipes, 1, 65536);
    struct http_pipe *pipe = http_pipes_take(&pipes);
    assert_non_null(pipe);
    assert_int_equal(write(pipe->write_end, "x", 1), 1);
    http_pipes_give(&pipes, pipe, false);
    assert_int_equal(pipes.count, 0);
    pipe = http_pipes_take(&pipes);
    assert_non_null(pipe);
    assert_int_equal(read(pipe->read_end, &byte, 1), -1);
    http_pipes_give(&pipes, pipe, true);
    http_pipes_clear(&pipes);
}

/* In a child, since the allowance is a user's: one without privileges takes pipes until the kernel gives none
 * of use. */
enum { NO_OTHER_USER = 10, OTHERS_HAVE_ALL };

static int take_all_pipes(void)
{
    enum { MANY = 20000 };
    struct http_pipes pipes;
    struct http_pipe *pipe;
    size_t taken = 0;
    if (geteuid() == 0 && setuid(65534) != 0)
        return errno == EINVAL ? NO_OTHER_USER : 2;
    http_pipes_init(&pipes, MANY, 256 * 1024);
    while ((pipe = http_pipes_take(&pipes)) != NULL) {
        if (pipe->capacity < HTTP_BUFFER_COPY_SIZE)
            return 3;
        taken++;
    }
    if (taken == 0)
        return OTHERS_HAVE_ALL;
    /* Asked again at once, the kernel is not. */
    return taken > 0 && taken < MANY && pipes.count == taken && http_pipes_take(&pipes) == NULL &&
                   pipes.refused_until_ms > 0
               ? 0
               : 4;
}

static void pipes_too_small_to_be_of_use_are_done_without(void **state)
{
    int status, code = OTHERS_HAVE_ALL;
    (void)state;
    /* Another run of this test, or another program of that user, may have all of them for a moment. */
    for (int attempt = 0; attempt < 300 && code == OTHERS_HAVE_ALL; attempt++) {
        if (attempt > 0)
            usleep(100000);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(take_all_pipes());
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        code = WEXITSTATUS(status);
    }
    if (code == NO_OTHER_USER)
        skip(); /* a container that knows of no other user */
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_that_was_given_back_is_lent_again),
        cmocka_unit_test(only_so_many_unused_blocks_are_kept),
        cmocka_unit_test(pipes_are_bounded_and_used_again),
        cmocka_unit_test(a_pipe_with_bytes_left_in_it_is_not_lent_again),
        cmocka_unit_test(pipes_too_small_to_be_of_use_are_done_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
