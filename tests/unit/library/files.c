/* files: plain system calls, so that nothing of the product is trusted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/files.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(close(fd), 0);
}

void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

static size_t read_up_to(const char *path, void *bytes, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    ssize_t now;

    assert_true(fd >= 0);
    while ((now = read(fd, (char *)bytes + got, size - got)) > 0)
        got += (size_t)now;
    assert_int_equal(now, 0);
    close(fd);
    return got;
}

const char *read_text(const char *path)
{
    static char text[8192];

    text[read_up_to(path, text, sizeof(text) - 1)] = '\0';
    return text;
}

void assert_file_is(const char *path, const void *bytes, size_t size)
{
    uint8_t *there = malloc(size + 1);

    assert_non_null(there);
    assert_int_equal(read_up_to(path, there, size + 1), size);
    assert_memory_equal(there, bytes, size);
    free(there);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

void remove_tree(const char *directory)
{
    assert_int_equal(nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}
