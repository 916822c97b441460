/* What must fit each other in the configuration of reel-storage. */
#include "tests/unit/library/storage_fixture.h"
#include <sys/resource.h>

static void assert_refused(const char *override, const char *mentioned)
{
    struct fixture fixture;
    struct error error = {0};
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    /* The later one of two that name the same option counts. */
    fixture_option(&fixture, "%s", override);
    assert_true(
        config_load(fixture_tables(), NULL, fixture.overrides, fixture.count, &fixture.config, &error));
    assert_false(storage_options_check(&fixture.config, &error));
    if (!strstr(error.text, mentioned))
        fail_msg("\"%s\" does not mention \"%s\"", error.text, mentioned);
    fixture_destroy(&fixture);
}

static void a_sound_configuration_is_accepted(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one, ../data=%s/two", fixture.directory, fixture.directory);
    fixture_load(&fixture);
    assert_int_equal(fixture.config.paths.count, 2);
    assert_int_equal(fixture.config.durability, OPTIONS_DURABLE);
    fixture_destroy(&fixture);
}

static void what_does_not_fit_is_reported_by_name(void **state)
{
    (void)state;
    assert_refused("storage.group=group-1", "group");
    assert_refused("storage.group=group0123456789ab", "group");
    assert_refused("storage.applications=tn-video", "tn-video");
    assert_refused("storage.applications=", "applications");
    assert_refused("storage.expires=30d", "APPLICATION=TIME");
    assert_refused("storage.expires=tn-video=30d", "application ID");
    assert_refused("storage.expires==30d", "application ID");
    assert_refused("storage.expires=0123456789abcdef=30d", "APPLICATION=TIME");
    assert_refused("storage.expires=thumbs=soon", "thumbs=soon");
    assert_refused("storage.expires=thumbs=10ms", "thumbs=10ms");
    assert_refused("storage.listen=", "listen");
    assert_refused("storage.paths=", "paths");
    assert_refused("storage.paths=data", "absolute");
    assert_refused("storage.paths=../data", "absolute");
    assert_refused("storage.paths==/srv", "key");
    assert_refused("storage.paths=/a,/a", "twice");
    assert_refused("storage.paths=k=/a,k=/b", "twice");
    assert_refused("storage.paths=k=/a,l=/a", "twice");
    assert_refused("storage.paths=01234567890123456789012345678901234567890123456789012345678901234=/a",
                   "key");
    assert_refused("database.url=oracle://x", "oracle");
    assert_refused("storage.file_mode=0440", "file_mode");
    assert_refused("storage.file_mode=rw", "file_mode");
    assert_refused("storage.directory_mode=0600", "directory_mode");
    assert_refused("storage.leftover_age=60s",
                   "leftover_age"); /* a minute of progress_timeout, and the database */
    assert_refused("storage.leftover_age=70s", "database.timeout");
}

static void files_kept_open_are_a_quarter_of_the_limit_unless_a_number_is_given(void **state)
{
    struct storage_config config = {.open_files = 0};
    struct rlimit before, limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = 400;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(storage_options_open_files(&config), 100);
    limit.rlim_cur = 40;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(storage_options_open_files(&config), 16);
    config.open_files = 3;
    assert_int_equal(storage_options_open_files(&config), 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void a_store_path_has_a_key_and_a_directory(void **state)
{
    char key[PROTO_KEY_SIZE];
    const char *directory;
    struct error error;
    (void)state;
    assert_true(storage_options_split_path("../data=/srv/data", key, &directory, &error));
    assert_string_equal(key, "../data");
    assert_string_equal(directory, "/srv/data");
    assert_true(storage_options_split_path("/srv/data/", key, &directory, &error));
    assert_string_equal(key, "/srv/data"); /* else the rows would say "/srv/data//000" */
    char sequence[PROTO_KEY_SIZE];
    assert_true(storage_options_split_path("../data/=/srv/data", key, &directory, &error));
    assert_string_equal(key, "../data");
    storage_options_sequence("../data/=/srv/data", sequence);
    assert_string_equal(sequence, "../data/"); /* what the predecessor asks for */
    assert_true(storage_options_split_path("k=/srv/a=b", key, &directory, &error));
    assert_string_equal(directory, "/srv/a=b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_configuration_is_accepted),
        cmocka_unit_test(what_does_not_fit_is_reported_by_name),
        cmocka_unit_test(files_kept_open_are_a_quarter_of_the_limit_unless_a_number_is_given),
        cmocka_unit_test(a_store_path_has_a_key_and_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
