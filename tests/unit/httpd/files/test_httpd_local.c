/*
 * Local groups of reel-httpd: how entries are read, what is opened below a volume's directory and what is
 * not, and the open files that a loop keeps.
 */
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "httpd/http_options.h"
#include "httpd/files/local_files.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define PLACE "000/001/1FF/5F9E3FA7_002"

/* ---- entries ---- */

static void assert_split(const char *text, const char *group, const char *key, const char *directory)
{
    char got_group[PROTO_GROUP_SIZE], got_key[PROTO_KEY_SIZE];
    const char *got_directory;
    struct error error = {0};
    assert_true(local_volume_split(text, got_group, got_key, &got_directory, &error));
    assert_string_equal(got_group, group);
    assert_string_equal(got_key, key);
    assert_string_equal(got_directory, directory);
}

static void an_entry_names_group_key_and_directory(void **state)
{
    (void)state;
    assert_split("group001:../data=/srv/media", "group001", "../data", "/srv/media");
    assert_split("group001:/srv/media", "group001", "/srv/media", "/srv/media");
    assert_split("group001:/srv/media/", "group001", "/srv/media", "/srv/media/");
    assert_split("g:/=/a=b:c", "g", "/", "/a=b:c");
}

static void a_broken_entry_is_refused_with_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "names no group"},
        {"/srv/media", "names no group"},
        {":/srv/media", "names no group"},
        {"group0010123456789:/srv", "names no group"},
        {"group-1:/srv/media", "letters and digits"},
        {"group001:", "key of"},
        {"group001:=/srv", "key of"},
        {"group001:data", "must be absolute"},
        {"group001:data=srv", "must be absolute"},
        {"group001:data=", "must be absolute"},
        {"group001:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "key of"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char group[PROTO_GROUP_SIZE], key[PROTO_KEY_SIZE];
        const char *directory;
        struct error error = {0};
        assert_false(local_volume_split(cases[i].text, group, key, &directory, &error));
        assert_non_null(strstr(error.text, cases[i].said));
        assert_non_null(strstr(error.text, "httpd.local_groups"));
    }
}

static void a_key_stands_once_in_a_group(void **state)
{
    (void)state;
    char *fine[] = {(char *)"g1:/a", (char *)"g2:/a", (char *)"g1:/b=/a"};
    char *twice[] = {(char *)"g1:/a", (char *)"g1:/a/=/b"};
    struct error error = {0};
    assert_true(local_volumes_check(&(struct config_strings){fine, 3}, &error));
    assert_false(local_volumes_check(&(struct config_strings){twice, 2}, &error));
    assert_non_null(strstr(error.text, "appears twice"));
}

/* ---- a volume ---- */

struct fixture {
    char directory[64];
    char entry[128];
    struct local_volumes *volumes;
    const struct local_volume *volume;
    struct loop *loop;
    struct local_files *files;
    struct open_file *got;
    struct error error;
    bool called;
};

static void in_volume(const struct fixture *fixture, const char *name, char path[256])
{
    int size = snprintf(path, 256, "%s/%s", fixture->directory, name);
    assert_true(size > 0 && size < 256);
}

static void make_file(const struct fixture *fixture, const char *name, const char *content)
{
    char path[256];
    in_volume(fixture, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

static void make_directory(const struct fixture *fixture, const char *name)
{
    char path[256];
    in_volume(fixture, name, path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char *entries[1];
    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/reel-local-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    make_directory(fixture, "000");
    make_directory(fixture, "000/001");
    make_directory(fixture, "000/001/1FF");
    make_file(fixture, PLACE, "content");
    snprintf(fixture->entry, sizeof(fixture->entry), "group001:data=%s", fixture->directory);
    entries[0] = fixture->entry;
    fixture->volumes = local_volumes_create(&(struct config_strings){entries, 1}, 2, &fixture->error);
    assert_non_null(fixture->volumes);
    fixture->volume = local_volumes_find(fixture->volumes, "group001", "data");
    fixture->loop = loop_create("test", &fixture->error);
    fixture->files = local_files_create(fixture->loop, 2, 60000);
    assert_non_null(fixture->files);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    char command[][32] = {
        PLACE, "000/001/1FF/5F9E3FA7_003", "000/001/1FF/5F9E3FA7_004", "000/001/1FF", "000/001", "000/002",
        "000"};
    local_files_close(fixture->files);
    local_volumes_end_workers(fixture->volumes, 10000);
    loop_destroy(fixture->loop);
    local_volumes_destroy(fixture->volumes);
    for (size_t i = 0; i < ARRAY_SIZE(command); i++) {
        char path[256];
        in_volume(fixture, command[i], path);
        (void)remove(path);
    }
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
    return 0;
}

static void only_the_store_path_of_the_group_is_found(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(fixture->volume);
    assert_null(local_volumes_find(fixture->volumes, "group002", "data"));
    assert_null(local_volumes_find(fixture->volumes, "group001", "data2"));
    assert_false(local_volume_hangs(fixture->volume));
}

static void a_file_opens_if_it_has_the_size_of_its_row(void **state)
{
    struct fixture *fixture = *state;
    char bytes[8] = "";
    int fd = local_volume_open(fixture->volume, PLACE, 7, &fixture->error);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 7);
    assert_string_equal(bytes, "content");
    close(fd);
    assert_int_equal(local_volume_open(fixture->volume, PLACE, 8, &fixture->error), -1);
    assert_non_null(strstr(fixture->error.text, "7 bytes"));
    assert_int_equal(local_volume_open(fixture->volume, "000/001/1FF/5F9E3FA7_1FF", 7, &fixture->error), -1);
    assert_int_equal(fixture->error.code, ERROR_NOT_FOUND);
}

static void no_symbolic_link_is_followed_below_the_directory(void **state)
{
    struct fixture *fixture = *state;
    char link[256];
    in_volume(fixture, "000/001/1FF/5F9E3FA7_003", link);
    assert_int_equal(symlink("5F9E3FA7_002", link), 0);
    assert_int_equal(local_volume_open(fixture->volume, "000/001/1FF/5F9E3FA7_003", 7, &fixture->error), -1);
    in_volume(fixture, "000/002", link);
    assert_int_equal(symlink("001", link), 0);
    assert_int_equal(local_volume_open(fixture->volume, "000/002/1FF/5F9E3FA7_002", 7, &fixture->error), -1);
}

/* ---- open files ---- */

static void on_opened(void *argument, struct open_file *file, const struct error *error)
{
    struct fixture *fixture = argument;
    fixture->called = true;
    fixture->got = file;
    if (error != NULL)
        fixture->error = *error;
}

static struct open_file *open_file(struct fixture *fixture, const char *place, int64_t size)
{
    fixture->called = false;
    fixture->got = NULL;
    assert_non_null(
        local_files_open(fixture->files, fixture->volume, place, size, on_opened, fixture, &fixture->error));
    assert_false(fixture->called);
    loop_stop(fixture->loop); /* each run is one round then */
    for (int i = 0; i < 20000 && !fixture->called; i++) {
        loop_run(fixture->loop);
        usleep(1000);
    }
    assert_true(fixture->called);
    return fixture->got;
}

static void a_file_is_opened_once_and_found_until_it_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct open_hint hint = {0};
    assert_null(local_files_find(fixture->files, fixture->volume, PLACE, &hint));
    struct open_file *file = open_file(fixture, PLACE, 7);
    assert_non_null(file);
    for (int i = 0; i < 2; i++) { /* the second time by the hint */
        assert_ptr_equal(local_files_find(fixture->files, fixture->volume, PLACE, &hint), file);
        local_files_release(fixture->files, file);
    }
    assert_ptr_equal(hint.file, file);
    local_files_forget(fixture->files, file);
    assert_null(local_files_find(fixture->files, fixture->volume, PLACE, &hint));
    char bytes[8] = ""; /* who holds it reads on */
    assert_int_equal(pread(file->fd, bytes, sizeof(bytes), 0), 7);
    local_files_release(fixture->files, file);
}

static void a_file_that_cannot_be_opened_says_why(void **state)
{
    struct fixture *fixture = *state;
    assert_null(open_file(fixture, "000/001/1FF/5F9E3FA7_1FF", 7));
    assert_int_equal(fixture->error.code, ERROR_NOT_FOUND);
}

static void no_more_files_than_allowed_are_kept(void **state)
{
    struct fixture *fixture = *state;
    static const char *const places[] = {PLACE, "000/001/1FF/5F9E3FA7_003", "000/001/1FF/5F9E3FA7_004"};
    struct open_file *files[3];
    for (size_t i = 0; i < 3; i++) {
        make_file(fixture, places[i], "content");
        files[i] = open_file(fixture, places[i], 7);
        assert_non_null(files[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        struct open_hint hint = {0};
        struct open_file *found = local_files_find(fixture->files, fixture->volume, places[i], &hint);
        assert_ptr_equal(found, i == 0 ? NULL : files[i]); /* the oldest went */
        if (found != NULL)
            local_files_release(fixture->files, found);
        local_files_release(fixture->files, files[i]);
    }
}

static void the_bytes_of_a_small_file_are_kept_with_it(void **state)
{
    struct fixture *fixture = *state;
    struct open_file *file = open_file(fixture, PLACE, 7);
    char *large = calloc(1, LOCAL_KEPT_SIZE + 1);
    assert_non_null(large);
    local_files_keep(fixture->files, file, large, LOCAL_KEPT_SIZE + 1);
    assert_null(file->bytes);
    free(large);
    local_files_keep(fixture->files, file, "content", 7);
    assert_memory_equal(file->bytes, "content", 7);
    local_files_release(fixture->files, file);
}

static void who_gives_up_is_not_called(void **state)
{
    struct fixture *fixture = *state;
    struct local_opening *opening =
        local_files_open(fixture->files, fixture->volume, PLACE, 7, on_opened, fixture, &fixture->error);
    assert_non_null(opening);
    local_files_cancel(opening);
    struct open_file *file = open_file(fixture, PLACE, 7);
    assert_non_null(file);
    local_files_release(fixture->files, file);
}

static void a_key_that_no_entry_names_is_counted_and_logged_once(void **state)
{
    struct fixture *fixture = *state;
    struct metric *unknown = metrics_counter("reel_httpd_local_unknown_keys_total", "", NULL);
    char path[256], text[4096] = "";
    struct error error = {0};
    in_volume(fixture, "log", path);
    assert_true(log_open(&(struct log_options){.file = path, .level = LOG_LEVEL_INFO}, &error));
    int64_t before = metric_value(unknown);
    for (int i = 0; i < 3; i++) {
        local_volumes_miss(fixture->volumes, "group001", "dtaa");
        local_volumes_miss(fixture->volumes, "group002", "data"); /* not local at all */
    }
    local_volumes_miss(fixture->volumes, "group001", "other");
    assert_int_equal(metric_value(unknown), before + 4);
    log_close();
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    const char *first = strstr(text, "\"dtaa\"");
    assert_non_null(first);
    assert_null(strstr(first + 1, "\"dtaa\""));
    assert_non_null(strstr(text, "\"other\""));
    assert_null(strstr(text, "group002"));
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_names_group_key_and_directory),
        cmocka_unit_test(a_broken_entry_is_refused_with_what_would_be_right),
        cmocka_unit_test(a_key_stands_once_in_a_group),
        cmocka_unit_test_setup_teardown(only_the_store_path_of_the_group_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_opens_if_it_has_the_size_of_its_row, setup, teardown),
        cmocka_unit_test_setup_teardown(no_symbolic_link_is_followed_below_the_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_opened_once_and_found_until_it_is_forgotten, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(no_more_files_than_allowed_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bytes_of_a_small_file_are_kept_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(who_gives_up_is_not_called, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_that_no_entry_names_is_counted_and_logged_once, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
