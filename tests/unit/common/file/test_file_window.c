/*
 * file_window: real files, real TCP sockets; one window at a time.
 */
#include "common/file/file_window.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define SIZE ((size_t)8 * 1024 * 1024)

struct fixture {
    int file, ours, peer;
    struct file_window window;
};

static uint8_t pattern(size_t offset)
{
    return (uint8_t)((uint64_t)offset * 2654435761u >> 13);
}

static void make_pair(struct fixture *fixture)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    fixture->peer = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fixture->peer, (struct sockaddr *)&address, sizeof(address)), 0);
    fixture->ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(fixture->ours >= 0);
    close(listener);
}

static int setup(void **state)
{
    char path[] = "/tmp/test_file_window.XXXXXX";
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    uint8_t *bytes = malloc(SIZE);
    assert_true(fixture != NULL && bytes != NULL);
    fixture->file = mkstemp(path);
    assert_true(fixture->file >= 0);
    unlink(path);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = pattern(i);
    assert_int_equal(write(fixture->file, bytes, SIZE), SIZE);
    free(bytes);
    make_pair(fixture);
    fixture->window = (struct file_window){.to = {fixture->ours, NULL}, .fd = fixture->file};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->file);
    close(fixture->ours);
    close(fixture->peer);
    free(fixture);
    return 0;
}

static void expect_bytes(const struct fixture *fixture, size_t offset, size_t size)
{
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(recv(fixture->peer, bytes, size, MSG_WAITALL), size);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != pattern(offset + i))
            fail_msg("byte %zu is another", offset + i);
    }
    free(bytes);
}

static void a_window_leaves_as_a_whole_where_the_socket_has_room(void **state)
{
    struct fixture *fixture = *state;
    fixture->window.offset = 4095;
    fixture->window.size = 10000;
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_SENT);
    assert_int_equal(fixture->window.sent, 10000);
    expect_bytes(fixture, 4095, 10000);
}

static void a_full_socket_takes_part_and_the_rest_later(void **state)
{
    struct fixture *fixture = *state;
    fixture->window.size = SIZE;
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_BLOCKED);
    assert_in_range(fixture->window.sent, 1, SIZE - 1);
    size_t sent = fixture->window.sent;
    file_window_send(&fixture->window); /* nobody has read: not a byte of it leaves */
    assert_int_equal(fixture->window.end, FILE_WINDOW_BLOCKED);
    assert_int_equal(fixture->window.sent, 0);
    expect_bytes(fixture, 0, sent);
    fixture->window.offset = (int64_t)sent;
    fixture->window.size = 1000;
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_SENT);
    expect_bytes(fixture, sent, 1000);
}

static void a_file_that_ends_inside_is_short(void **state)
{
    struct fixture *fixture = *state;
    fixture->window.offset = (int64_t)SIZE - 100;
    fixture->window.size = 101;
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_SHORT);
    assert_int_equal(fixture->window.sent, 100);
}

static void the_end_that_failed_is_named(void **state)
{
    struct fixture *fixture = *state;
    int directory = open("/tmp", O_RDONLY | O_DIRECTORY);
    fixture->window.size = 10;
    fixture->window.fd = directory;
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_UNREADABLE);
    assert_int_not_equal(fixture->window.errnum, 0);
    close(directory);
    fixture->window.fd = fixture->file;
    assert_int_equal(shutdown(fixture->ours, SHUT_WR), 0);
    file_window_send(&fixture->window);
    assert_int_equal(fixture->window.end, FILE_WINDOW_GONE);
    assert_int_equal(fixture->window.errnum, EPIPE);
    assert_int_equal(fixture->window.sent, 0);
}

static void what_was_just_written_is_cached(void **state)
{
    struct fixture *fixture = *state;
    char bytes[16];
    bool cannot_tell = false;
    bool cached = file_window_is_cached(fixture->file, 0, SIZE, &cannot_tell);
    if (cannot_tell)
        skip(); /* a file system of its own kind below /tmp */
    assert_true(cached);
    assert_true(file_window_is_cached(fixture->file, SIZE, 1, &cannot_tell)); /* the end costs no disk */
    assert_int_equal(file_window_read_cached(fixture->file, SIZE - 4, bytes, sizeof(bytes), &cannot_tell), 4);
    assert_int_equal((uint8_t)bytes[3], pattern(SIZE - 1));
}

/* Whether the page with this byte is in memory. To ask by a read with RWF_NOWAIT would begin to read it in. */
static bool is_in_memory(const struct fixture *fixture, off_t offset)
{
    off_t page = offset - offset % sysconf(_SC_PAGESIZE);
    unsigned char present;
    void *map = mmap(NULL, 1, PROT_READ, MAP_SHARED, fixture->file, page);

    assert_true(map != MAP_FAILED);
    assert_int_equal(mincore(map, 1, &present), 0);
    assert_int_equal(munmap(map, 1), 0);
    return (present & 1) != 0;
}

/* Only the first page is read back after the file left the cache; false where the kernel keeps what it likes. */
static bool keep_the_first_page_alone(const struct fixture *fixture)
{
    char byte;

    assert_int_equal(fsync(fixture->file), 0);
    assert_int_equal(posix_fadvise(fixture->file, 0, 0, POSIX_FADV_RANDOM), 0); /* no reading ahead */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(posix_fadvise(fixture->file, 0, 0, POSIX_FADV_DONTNEED), 0);
        assert_int_equal(pread(fixture->file, &byte, 1, 0), 1);
        if (!is_in_memory(fixture, SIZE - 1))
            return true;
        usleep(10000);
    }
    return false;
}

/* The kernel's own answer for the last byte; asking begins to read it in. */
static bool the_end_comes_at_once(const struct fixture *fixture)
{
    char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};

    return preadv2(fixture->file, &vector, 1, SIZE - 1, RWF_NOWAIT) == 1;
}

static void a_window_of_which_the_end_must_be_read_is_not_cached(void **state)
{
    struct fixture *fixture = *state;
    bool cannot_tell = false;
    bool quick = false;

    /* The look begins to read the end in, and the disk may be quicker than its answer: the kernel is asked beside it
     * whether this is such a disk. */
    bool whole = true;
    for (int i = 0; i < 20 && whole; i++) {
        if (!keep_the_first_page_alone(fixture))
            skip();
        quick = the_end_comes_at_once(fixture) || quick;
        if (!keep_the_first_page_alone(fixture))
            skip();
        bool first = file_window_is_cached(fixture->file, 0, 1, &cannot_tell);
        if (cannot_tell)
            skip(); /* a file system of its own kind below /tmp */
        assert_true(first);
        whole = file_window_is_cached(fixture->file, 0, SIZE, &cannot_tell);
    }
    if (whole && quick) {
        print_message("skipped: this disk reads a page before the kernel can say that it must be read\n");
        skip();
    }
    assert_false(whole);
    assert_false(cannot_tell);
}

static void a_file_system_that_cannot_tell_is_asked_once(void **state)
{
    struct fixture *fixture = *state;
    bool cannot_tell = false;
    int fd = open("/proc/self/status", O_RDONLY);
    assert_true(fd >= 0);
    assert_false(file_window_is_cached(fd, 0, 10, &cannot_tell));
    assert_true(cannot_tell);
    assert_false(file_window_is_cached(fixture->file, 0, 10, &cannot_tell));
    close(fd);
}

static void a_read_gives_what_there_is(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[200];
    assert_int_equal(file_window_read(fixture->file, SIZE - 100, bytes, sizeof(bytes)), 100);
    assert_int_equal(bytes[99], pattern(SIZE - 1));
    assert_int_equal(file_window_read(fixture->file, SIZE, bytes, sizeof(bytes)), 0);
    assert_int_equal(file_window_read(-1, 0, bytes, sizeof(bytes)), -1);
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_window_leaves_as_a_whole_where_the_socket_has_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_socket_takes_part_and_the_rest_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_ends_inside_is_short, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_that_failed_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_just_written_is_cached, setup, teardown),
        cmocka_unit_test_setup_teardown(a_window_of_which_the_end_must_be_read_is_not_cached, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_system_that_cannot_tell_is_asked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_read_gives_what_there_is, setup, teardown),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
