/*
 * Unit tests of httpd/files/disk_cache: what is kept, what goes first, and what a crash or a damaged disk left in the directory.
 */
#include "httpd/files/disk_cache.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define PICTURE  1000
#define OVERHEAD 8 /* the digest before it */

static char directory[32];

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", directory, name);
}

static void key_of(int number, char key[DISK_CACHE_KEY_SIZE])
{
    disk_cache_key(&number, sizeof(number), key);
}

static struct disk_cache *open_cache(int64_t bytes_max)
{
    struct error error = {.text = ""};
    struct disk_cache *cache = disk_cache_create(directory, bytes_max, &error);
    if (!cache)
        fail_msg("refused: %s", error.text);
    return cache;
}

static void put(struct disk_cache *cache, int number)
{
    char key[DISK_CACHE_KEY_SIZE];
    uint8_t bytes[PICTURE];
    memset(bytes, number, sizeof(bytes));
    key_of(number, key);
    disk_cache_put(cache, key, bytes, sizeof(bytes));
}

static bool has(struct disk_cache *cache, int number)
{
    char key[DISK_CACHE_KEY_SIZE];
    size_t size = 0;
    key_of(number, key);
    uint8_t *bytes = disk_cache_get(cache, key, &size);
    if (bytes) {
        assert_int_equal(size, PICTURE);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(bytes[i], (uint8_t)number);
    }
    free(bytes);
    return bytes;
}

/* Files in the directory, and their bytes. */
static int count_files(int64_t *bytes)
{
    int count = 0;
    DIR *listing = opendir(directory);
    assert_non_null(listing);
    *bytes = 0;
    for (const struct dirent *item; (item = readdir(listing));) {
        struct stat status;
        char path[128];
        path_of(item->d_name, path);
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
            count++;
            *bytes += status.st_size;
        }
    }
    closedir(listing);
    return count;
}

static void write_text(const char *name, const char *text)
{
    char path[128];
    path_of(name, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/disk_cache.XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    DIR *listing = opendir(directory);
    for (const struct dirent *item; listing && (item = readdir(listing));) {
        char path[128];
        path_of(item->d_name, path);
        (void)remove(path);
    }
    if (listing)
        closedir(listing);
    return rmdir(directory);
}

static void what_is_put_is_got_also_by_the_next_run(void **state)
{
    (void)state;
    struct disk_cache *cache = open_cache(1 << 20);
    assert_false(has(cache, 1));
    put(cache, 1);
    put(cache, 2);
    put(cache, 2); /* again: the same file */
    assert_true(has(cache, 1) && has(cache, 2));
    disk_cache_destroy(cache);
    int64_t bytes;
    assert_int_equal(count_files(&bytes), 2);
    cache = open_cache(1 << 20);
    assert_true(has(cache, 1) && has(cache, 2));
    disk_cache_destroy(cache);
    disk_cache_destroy(NULL);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    int64_t bytes;
    struct disk_cache *cache = open_cache(3 * (PICTURE + OVERHEAD));
    for (int i = 1; i <= 3; i++)
        put(cache, i);
    assert_true(has(cache, 1));
    put(cache, 4);
    assert_false(has(cache, 2));
    assert_true(has(cache, 1) && has(cache, 3) && has(cache, 4));
    assert_int_equal(count_files(&bytes), 3);
    assert_int_equal(bytes, 3 * (PICTURE + OVERHEAD));
    disk_cache_destroy(cache);
    /* A smaller bound holds from the start on, by the times of the files (whose clock is coarse). */
    char key[DISK_CACHE_KEY_SIZE], path[128];
    const struct timespec later[2] = {{.tv_sec = INT32_MAX}, {.tv_sec = INT32_MAX}};
    key_of(4, key);
    path_of(key, path);
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    cache = open_cache(PICTURE + OVERHEAD);
    assert_int_equal(count_files(&bytes), 1);
    assert_true(has(cache, 4));
    disk_cache_destroy(cache);
}

static void what_is_larger_than_the_bound_is_not_kept(void **state)
{
    (void)state;
    int64_t bytes;
    struct disk_cache *cache = open_cache(PICTURE);
    put(cache, 1);
    assert_false(has(cache, 1));
    assert_int_equal(count_files(&bytes), 0);
    disk_cache_destroy(cache);
}

static void what_a_crash_left_is_removed_and_foreign_files_are_not(void **state)
{
    (void)state;
    int64_t bytes;
    write_text("new-12", "half of a pic");
    write_text("README", "what this directory is for");
    struct disk_cache *cache = open_cache(1 << 20);
    assert_int_equal(count_files(&bytes), 1);
    put(cache, 1);
    assert_int_equal(count_files(&bytes), 2);
    disk_cache_destroy(cache);
}

static void a_damaged_file_is_none_and_is_removed(void **state)
{
    (void)state;
    char key[DISK_CACHE_KEY_SIZE], path[128];
    int64_t bytes;
    struct disk_cache *cache = open_cache(1 << 20);
    for (int i = 1; i <= 4; i++)
        put(cache, i);
    key_of(1, key);
    path_of(key, path);
    assert_int_equal(truncate(path, PICTURE), 0);
    key_of(2, key);
    write_text(key, "");
    key_of(3, key);
    path_of(key, path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && pwrite(fd, "\xff", 1, 500) == 1);
    close(fd);
    key_of(4, key);
    path_of(key, path);
    assert_int_equal(remove(path), 0);
    for (int i = 1; i <= 4; i++)
        assert_false(has(cache, i));
    assert_int_equal(count_files(&bytes), 0);
    put(cache, 1);
    assert_true(has(cache, 1));
    disk_cache_destroy(cache);
}

static void a_directory_that_is_missing_is_an_error(void **state)
{
    (void)state;
    struct error error;
    assert_null(disk_cache_create("/nonexistent/pictures", 1 << 20, &error));
    assert_non_null(strstr(error.text, "/nonexistent/pictures"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_got_also_by_the_next_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_least_recently_used_goes_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_larger_than_the_bound_is_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_crash_left_is_removed_and_foreign_files_are_not, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_none_and_is_removed, set_up, tear_down),
        cmocka_unit_test(a_directory_that_is_missing_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
