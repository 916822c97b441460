/*
 * storage_fixture: the directory with two store paths, and the configuration that names them.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/storage_fixture.h"

void fixture_option(struct fixture *fixture, const char *format, ...)
{
    va_list arguments;
    assert_in_range(fixture->count, 0, FIXTURE_OPTIONS_MAX - 1);
    va_start(arguments, format);
    vsnprintf(fixture->texts[fixture->count], sizeof(fixture->texts[0]), format, arguments);
    va_end(arguments);
    fixture->overrides[fixture->count] = fixture->texts[fixture->count];
    fixture->count++;
}

const struct config_table *fixture_tables(void)
{
    static struct config_table tables[2];
    tables[0] = (struct config_table){storage_options, storage_option_count};
    return tables;
}

void fixture_create(struct fixture *fixture)
{
    char path[128];
    memset(fixture, 0, sizeof(*fixture));
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/reel-storage-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(path, sizeof(path), "%s/one", fixture->directory);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/two", fixture->directory);
    assert_int_equal(mkdir(path, 0755), 0);
    fixture_option(fixture, "storage.group=group001");
    fixture_option(fixture, "storage.reserve_space=0");
    fixture_option(fixture, "storage.reserve_inodes=0");
    fixture_option(fixture, "storage.probe_interval=100ms");
    fixture_option(fixture, "database.url=sqlite:%s/meta.db", fixture->directory);
}

void fixture_load(struct fixture *fixture)
{
    struct error error = {0};
    bool loaded =
        config_load(fixture_tables(), NULL, fixture->overrides, fixture->count, &fixture->config, &error);
    if (!loaded)
        fail_msg("%s", error.text);
    if (!storage_options_check(&fixture->config, &error))
        fail_msg("%s", error.text);
}

void fixture_destroy(struct fixture *fixture)
{
    config_clear(fixture_tables(), &fixture->config);
    remove_tree(fixture->directory);
}

static int fixture_counted;

static int fixture_count_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    fixture_counted += type == FTW_F && path[walk->base] != '.' ? 1 : 0;
    return 0;
}

int fixture_files(const struct fixture *fixture, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
    fixture_counted = 0;
    assert_int_equal(nftw(path, fixture_count_one, 16, FTW_PHYS), 0);
    return fixture_counted;
}
