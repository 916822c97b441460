/*
 * upkeep_world: see the header for what it holds. The system calls are this program's own, since a symbol of the program
 * comes before the C library's.
 */
#include "tests/unit/library/upkeep_world.h"

#include "common/db/schema.h"
#include "sql/storage_sql.h"
#include "storage/store/store_scan.h"
#include "storage/upkeep/expire.h"
#include "storage/upkeep/expire_files.h"
#include "storage/upkeep/purge.h"
#include "storage/upkeep/quarantine.h"
#include "storage/upkeep/scrub.h"
#include "storage/upkeep/sweep.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

struct upkeep_hooks upkeep_hooks;

/* ---- system calls ---- */

/* NAME below the store path, where FD is a directory of it; else NULL. */
static const char *name_below(int fd, const char *name, char buffer[PATH_MAX])
{
    char link[64], path[PATH_MAX], root[128];
    if (!upkeep_hooks.world || name[0] == '/' || fd < 0)
        return NULL;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[max_i64(length, 0)] = '\0';
    snprintf(root, sizeof(root), "%s/one", upkeep_hooks.world->fixture.directory);
    size_t size = strlen(root);
    if (strncmp(path, root, size) != 0)
        return NULL;
    if (path[size] == '/')
        snprintf(buffer, PATH_MAX, "%.2000s/%.2000s", path + size + 1, name);
    else
        snprintf(buffer, PATH_MAX, "%.2000s", name);
    return buffer;
}

static int fails_with(int failure)
{
    errno = failure;
    return -1;
}

/* openat2(2) has no function in the C library. */
long syscall(long number, ...)
{
    static long (*real)(long number, ...);
    long arguments[6];
    char buffer[PATH_MAX];
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (!real) {
        void *symbol = dlsym(RTLD_NEXT, "syscall");
        memcpy(&real, &symbol, sizeof(symbol));
    }
    if (number == SYS_openat2 && upkeep_hooks.open_before) {
        const struct open_how *how = (const struct open_how *)arguments[2];
        const char *name =
            how->flags & O_PATH ? NULL : name_below((int)arguments[0], (const char *)arguments[1], buffer);
        int failure = name ? upkeep_hooks.open_before(upkeep_hooks.world, name) : 0;
        if (failure != 0)
            return fails_with(failure);
    }
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

int renameat(int old_fd, const char *old_name, int new_fd, const char *new_name)
{
    char old_buffer[PATH_MAX], new_buffer[PATH_MAX];
    const char *from = name_below(old_fd, old_name, old_buffer),
               *to = name_below(new_fd, new_name, new_buffer);
    upkeep_hooks.renames++;
    int failure = from && to && upkeep_hooks.rename_before
                      ? upkeep_hooks.rename_before(upkeep_hooks.world, from, to)
                      : 0;
    if (failure != 0)
        return fails_with(failure);
    int result = (int)syscall(SYS_renameat2, old_fd, old_name, new_fd, new_name, 0);
    if (result == 0 && from && to && upkeep_hooks.rename_after)
        upkeep_hooks.rename_after(upkeep_hooks.world, from, to);
    return result;
}

int unlinkat(int fd, const char *name, int flags)
{
    char buffer[PATH_MAX];
    const char *below = name_below(fd, name, buffer);
    int failure =
        below && upkeep_hooks.unlink_before ? upkeep_hooks.unlink_before(upkeep_hooks.world, below) : 0;
    upkeep_hooks.unlinks += below ? 1 : 0;
    return failure != 0 ? fails_with(failure) : (int)syscall(SYS_unlinkat, fd, name, flags);
}

ssize_t read(int fd, void *buffer, size_t size)
{
    char link[64], path[256];
    if (upkeep_hooks.world && upkeep_hooks.read_before) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof(path) - 1);
        path[max_i64(length, 0)] = '\0';
        if (strstr(path, "/one/")) {
            int failure = upkeep_hooks.read_before(upkeep_hooks.world);
            if (failure != 0)
                return fails_with(failure);
        }
    }
    return syscall(SYS_read, fd, buffer, size);
}

int fsync(int fd)
{
    char link[64], path[PATH_MAX];
    if (upkeep_hooks.world && upkeep_hooks.synced) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof(path) - 1);
        path[max_i64(length, 0)] = '\0';
        upkeep_hooks.synced(upkeep_hooks.world, path);
        if (upkeep_hooks.sync_failure != 0)
            return fails_with(upkeep_hooks.sync_failure);
    }
    return (int)syscall(SYS_fsync, fd);
}

int fstatat(int fd, const char *restrict name, struct stat *restrict status, int flags)
{
    char buffer[PATH_MAX];
    const char *below = name_below(fd, name, buffer);
    if (below && upkeep_hooks.look_before)
        upkeep_hooks.look_before(upkeep_hooks.world, below);
    int result = (int)syscall(SYS_newfstatat, fd, name, status, flags);
    if (result == 0 && below) {
        status->st_mtim.tv_sec -= upkeep_hooks.age;
        status->st_ctim.tv_sec -= upkeep_hooks.age;
    }
    return result;
}

/* ---- the world ---- */

static void add_options(struct fixture *fixture, const char *options)
{
    char text[1024], *rest = text;
    snprintf(text, sizeof(text), "%s", options ? options : "");
    for (char *one = strsep(&rest, ";"); one; one = strsep(&rest, ";")) {
        if (one[0] != '\0')
            fixture_option(fixture, "%s", one);
    }
}

void upkeep_world_start(struct upkeep_world *world, const char *options)
{
    struct error error = {0};
    char path[128];
    memset(world, 0, sizeof(*world));
    memset(&upkeep_hooks, 0, sizeof(upkeep_hooks));
    upkeep_hooks.age = 100000;
    fixture_create(&world->fixture);
    fixture_option(&world->fixture, "storage.paths=../data=%s/one", world->fixture.directory);
    fixture_option(&world->fixture, "storage.scrub_rate=0");
    fixture_option(&world->fixture, "database.timeout=30s");
    add_options(&world->fixture, options);
    fixture_load(&world->fixture);
    if (!schema_apply(world->fixture.config.base.database_url, &storage_schema, NULL, &error))
        fail_msg("%s", error.text);
    world->loop = loop_create("test", &error);
    assert_non_null(world->loop);
    world->storage.config = &world->fixture.config;
    world->storage.host_name = "media1";
    world->storage.store = store_create(&world->fixture.config, world->loop, 10000, NULL, NULL, &error);
    assert_non_null(world->storage.store);
    world->storage.meta = meta_create(&world->fixture.config, world->storage.store, world->loop, &error);
    assert_non_null(world->storage.meta);
    world->storage.open_cache = open_cache_create(16, 5000, world->loop);
    snprintf(path, sizeof(path), "%s/meta.db", world->fixture.directory);
    assert_int_equal(sqlite3_open(path, &world->beside), SQLITE_OK);
    sqlite3_busy_timeout(world->beside, 10000);
    fake_clock_start(&world->clock);
    upkeep_hooks.world = world;
}

void upkeep_world_end(struct upkeep_world *world)
{
    memset(&upkeep_hooks, 0, sizeof(upkeep_hooks));
    fake_clock_end();
    sqlite3_close(world->beside);
    meta_end(world->storage.meta);
    store_end(world->storage.store, 60000);
    open_cache_destroy(world->storage.open_cache);
    meta_destroy(world->storage.meta);
    store_destroy(world->storage.store);
    loop_destroy(world->loop);
    fixture_destroy(&world->fixture);
}

void upkeep_member_start(struct upkeep_world *world, struct keeper *keeper, const struct chore *chores,
                         size_t count)
{
    struct error error = {0};
    if (!keeper_init(keeper, &world->storage, 23000, chores, count, &error))
        fail_msg("%s", error.text);
    purge_register_metrics(&keeper->metrics);
    expire_register_metrics(&keeper->metrics);
    expire_files_register_metrics(&keeper->metrics);
    sweep_register_metrics(&keeper->metrics);
    quarantine_register_metrics(&keeper->metrics);
    scrub_register_metrics(&keeper->metrics);
}

void upkeep_member_end(struct keeper *keeper)
{
    keeper_stop(keeper);
    keeper_give_up(keeper);
    keeper_clear(keeper);
}

void upkeep_member_leads(struct keeper *keeper)
{
    keeper->renew_at_ms = 0;
    assert_true(keeper_breathe(keeper));
}

/* ---- files and rows ---- */

static void full_path(const struct upkeep_world *world, const char *place, char path[256])
{
    snprintf(path, 256, "%s/one/%s", world->fixture.directory, place);
}

static void place_of(int64_t value, char place[PATH_TEXT_SIZE])
{
    const struct path path = {.value = value, .seconds = 0x5F9E3FA7};
    assert_true(path_format(&path, place));
}

void upkeep_file(struct upkeep_world *world, int64_t value, size_t size, char place[PATH_TEXT_SIZE])
{
    char path[256], directory[PATH_TEXT_SIZE];
    for (int depth = 1; depth <= PATH_DIRECTORY_DEPTH; depth++) {
        path_directory(value, depth, directory);
        full_path(world, directory, path);
        assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
    }
    place_of(value, place);
    full_path(world, place, path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(fputc('x', file), 'x');
    assert_int_equal(fclose(file), 0);
}

void upkeep_row(struct upkeep_world *world, const char *id, int64_t value, int64_t size, const char *changes)
{
    char place[PATH_TEXT_SIZE];
    place_of(value, place);
    upkeep_sql(world,
               "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, group_name) VALUES "
               "('%s', 'tnvideo', 'alice', 0, '../data/%s', %lld, 'group001')",
               id, place, (long long)size);
    if (changes && changes[0] != '\0')
        upkeep_sql(world, "UPDATE t_file_02 SET %s WHERE id = '%s'", changes, id);
}

void upkeep_stored(struct upkeep_world *world, const char *id, int64_t value, size_t size,
                   const char *changes)
{
    char place[PATH_TEXT_SIZE];
    upkeep_file(world, value, size, place);
    upkeep_row(world, id, value, (int64_t)size, changes);
}

bool upkeep_there(const struct upkeep_world *world, int64_t value)
{
    char place[PATH_TEXT_SIZE], path[256];
    place_of(value, place);
    full_path(world, place, path);
    return access(path, F_OK) == 0;
}

int upkeep_quarantined(const struct upkeep_world *world)
{
    char path[256];
    int count = 0;
    full_path(world, STORE_QUARANTINE, path);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    for (const struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
        count += entry->d_name[0] != '.' ? 1 : 0;
    closedir(directory);
    return count;
}

/* ---- the database ---- */

void upkeep_sql(struct upkeep_world *world, const char *format, ...)
{
    char sql[1024], *message = NULL;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    if (sqlite3_exec(world->beside, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

int64_t upkeep_number(struct upkeep_world *world, const char *format, ...)
{
    char sql[1024];
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sql, sizeof(sql), format, arguments);
    va_end(arguments);
    if (sqlite3_prepare_v2(world->beside, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(world->beside));
    if (sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

int64_t upkeep_status_of(struct upkeep_world *world, const char *id)
{
    return upkeep_number(world, "SELECT COALESCE(status, 0) FROM t_file_02 WHERE id = '%s'", id);
}

struct test_job {
    struct db_job job;
    enum db_result (*run)(void *argument, struct db_connection *connection, struct error *error);
    void *argument;
};

static enum db_result test_job_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct test_job *test = CONTAINER_OF(job, struct test_job, job);
    return test->run(test->argument, connection, error);
}

enum db_result upkeep_job(struct upkeep_world *world,
                          enum db_result (*run)(void *argument, struct db_connection *connection,
                                                struct error *error),
                          void *argument)
{
    struct test_job job = {.job = {.run = test_job_run}, .run = run, .argument = argument};
    return meta_run_wait(world->storage.meta, &job.job);
}
