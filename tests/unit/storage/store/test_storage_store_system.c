/* What is believed of a file system: its type decides whether the sync of a file covers its name, and what is advised. */
#include "storage/store/store_system.h"
#include "storage/store/store.h"
#include "storage/store/store_file.h"
#include "common/base/metrics.h"
#include "tests/unit/library/mute_volume.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"
#include "tests/unit/library/upkeep_world.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

static long pretended; /* type of every file system; 0: what it is */

/* In place of the C library's. */
int fstatfs(int fd, struct statfs *space)
{
    int result = (int)syscall(SYS_fstatfs, fd, space);
    if (result == 0 && pretended != 0)
        space->f_type = pretended;
    return result;
}

/* While it is set: what /proc/self/mountinfo says. */
static const char *pretended_mounts;

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    if (pretended_mounts && strcmp(path, "/proc/self/mountinfo") == 0)
        return fmemopen((void *)pretended_mounts, strlen(pretended_mounts), "r");
    return real(path, mode);
}

/* The syncs of files and file systems, in their order. */
static char synced[64];

static void note_sync(char kind)
{
    size_t length = strlen(synced);
    if (length + 1 < sizeof(synced))
        synced[length] = kind;
}

int syncfs(int fd)
{
    note_sync('s');
    return (int)syscall(SYS_syncfs, fd);
}

static void on_fsync(struct upkeep_world *world, const char *path)
{
    (void)world;
    (void)path;
    note_sync('f');
}

static struct store_system system_at(const char *directory)
{
    struct store_system system;
    int fd = open(directory, O_PATH | O_DIRECTORY);
    assert_true(fd >= 0);
    store_system_find(fd, &system);
    close(fd);
    return system;
}

static void a_file_system_is_believed_by_its_type(void **state)
{
    static const struct {
        unsigned long magic;
        bool one_journal;
    } types[] = {{0x58465342, true},
                 {0x9123683E, true},
                 {TMPFS_MAGIC, false},
                 {OVERLAYFS_SUPER_MAGIC, false},
                 {0x65735546 /* FUSE */, false},
                 {NFS_SUPER_MAGIC, false},
                 {MSDOS_SUPER_MAGIC, false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        pretended = (long)types[i].magic;
        assert_int_equal(system_at("/proc").one_journal, types[i].one_journal);
    }
    /* ext2 has the same number as ext4, and no journal: the mount's own line must say which it is. */
    pretended = EXT4_SUPER_MAGIC;
    assert_string_equal(system_at("/proc").type, "proc");
    assert_false(system_at("/proc").one_journal);
    pretended = 0;
    assert_string_equal(system_at("/proc").type, "proc");
    struct store_system closed;
    store_system_find(-1, &closed);
    assert_string_equal(closed.type, "");
    assert_false(closed.one_journal);
}

static void mounts_below_a_directory_are_seen(void **state)
{
    static const struct {
        const char *before, *after; /* the directory's name */
        bool below;
    } mounts_of[] = {
        {"30 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 30 8:2 / ", " rw - ext4 /dev/sda2 rw\n", false},
        {"31 30 8:2 / ", "-other/000 rw - ext4 /dev/sda2 rw\n", false},
        {"31 30 0:9 / ", "/000 rw shared:1 - nfs4 host:/volume rw\n", true},
        {"31 30 0:9 / ", "/a\\040volume rw - fuse.glusterfs host:/volume rw\n", true},
        {"31 30 8:1 /elsewhere ", "/000 rw - ext4 /dev/sda1 rw\n", false}, /* bound: the same file system */
        {"nonsense\n31 30 0:9 /\n", "", false}};
    char directory[] = "/tmp/reel-test-XXXXXX", mounts[64];
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(mounts, sizeof(mounts), "%s/mountinfo", directory);
    for (size_t i = 0; i < ARRAY_SIZE(mounts_of); i++) {
        FILE *file = fopen(mounts, "we");
        assert_non_null(file);
        fprintf(file, "%s%s%s", mounts_of[i].before, directory, mounts_of[i].after);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(store_system_mounts_below(mounts, directory, makedev(8, 1)), mounts_of[i].below);
        assert_int_equal(store_system_mounts_below(mounts, "/", makedev(8, 1)), i != 4 && i != 5);
    }
    assert_false(store_system_mounts_below(mounts, "/no/such/directory", makedev(8, 1)));
    assert_int_equal(unlink(mounts), 0);
    assert_false(store_system_mounts_below(mounts, directory, makedev(8, 1)));
    assert_int_equal(rmdir(directory), 0);
}

/* The syncs of directories that storing a file takes, the directories above it being there. */
static int64_t directory_syncs(const char *directory_sync, long type)
{
    struct fixture fixture;
    struct error error = {0};
    pretended = type;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    fixture_option(&fixture, "storage.directory_sync=%s", directory_sync);
    fixture_load(&fixture);
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    struct store *store = store_create(&fixture.config, loop, 10000, NULL, NULL, &error);
    assert_non_null(store);
    struct metric *syncs =
        metrics_counter("reel_storage_directory_syncs_total", "Syncs of directories.", NULL);
    int64_t before = 0;
    for (int i = 0; i < 2; i++) {
        struct store_file file = {
            .path = store_at(store, 0), .place = {.value = i, .seconds = 1700000000}, .fd = -1};
        assert_true(store_file_create(&file, &error));
        before = metric_value(syncs);
        assert_true(store_file_write(&file, "bytes", 5, 0, &error));
        assert_true(store_file_sync(&file, &error));
        assert_true(store_file_close(&file, &error));
        assert_true(store_file_sync_directory(&file, &error));
        store_file_let_go(&file);
    }
    int64_t after = metric_value(syncs);
    store_end(store, 5000);
    loop_destroy(loop);
    store_destroy(store);
    fixture_destroy(&fixture);
    pretended = 0;
    return after - before;
}

static void a_directory_is_synced_where_the_file_does_not_bring_its_name_along(void **state)
{
    (void)state;
    assert_int_equal(directory_syncs("auto", 0x58465342), 0);
    assert_int_equal(directory_syncs("always", 0x58465342), 1);
    assert_int_equal(directory_syncs("auto", TMPFS_MAGIC), 1);
    assert_int_equal(directory_syncs("auto", 0x65735546), 1);
}

/* May a file just made be promised by the upload journal? WANTED: is there a store path for it at all? */
static bool waits_for_journal(const char *journal, long type, bool *wanted)
{
    struct fixture fixture;
    struct error error = {0};
    pretended = type;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    if (journal)
        fixture_option(&fixture, "storage.journal=%s", journal);
    fixture_load(&fixture);
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    struct store *store = store_create(&fixture.config, loop, 10000, NULL, NULL, &error);
    assert_non_null(store);
    struct store_file file = {
        .path = store_at(store, 0), .place = {.value = 1, .seconds = 1700000000}, .fd = -1};
    assert_true(store_file_create(&file, &error));
    bool waits = store_path_may_wait(file.path, file.root, file.fd);
    *wanted = store_path_may_be_journaled(file.path);
    assert_true(store_file_close(&file, &error));
    store_file_let_go(&file);
    store_end(store, 5000);
    loop_destroy(loop);
    store_destroy(store);
    fixture_destroy(&fixture);
    pretended = 0;
    return waits;
}

static void auto_and_that_is_the_default_journals_where_a_sync_of_a_file_covers_its_name(void **state)
{
    bool wanted;
    (void)state;
    assert_true(waits_for_journal(NULL, 0x58465342, &wanted));
    assert_true(wanted);
    assert_true(waits_for_journal("auto", 0x9123683E, &wanted));
    assert_false(waits_for_journal("auto", TMPFS_MAGIC, &wanted));
    assert_false(wanted);
    assert_false(waits_for_journal(NULL, 0x65735546, &wanted));
    assert_false(wanted);
    assert_true(waits_for_journal("on", TMPFS_MAGIC, &wanted));
    assert_false(waits_for_journal("off", 0x58465342, &wanted));
}

/* What /proc/self/mountinfo says of the file system of /tmp, and by that of every store path. */
static void pretend_mount(char *line, size_t size, const char *type)
{
    struct stat status;
    assert_int_equal(stat("/tmp", &status), 0);
    snprintf(line, size, "36 35 %u:%u / /tmp rw - %s /dev/loop7 rw\n", major(status.st_dev),
             minor(status.st_dev), type);
    pretended_mounts = line;
}

static void auto_takes_ext4_whether_it_has_a_journal_or_not(void **state)
{
    char line[128];
    bool wanted;
    (void)state;
    pretend_mount(line, sizeof(line), "ext4"); /* nothing in it says whether there is a journal */
    assert_true(waits_for_journal("auto", EXT4_SUPER_MAGIC, &wanted));
    assert_true(wanted);
    pretend_mount(line, sizeof(line), "ext2");
    assert_false(waits_for_journal("auto", EXT4_SUPER_MAGIC, &wanted));
    assert_false(wanted);
    pretended_mounts = NULL;
}

/* Without a journal syncfs(2) of ext4 flushes the disk before it writes the directories. */
static void the_disk_is_flushed_after_the_whole_file_system_was_written(void **state)
{
    struct fixture fixture;
    struct error error = {0};
    struct upkeep_world nobody;
    struct store_root *root;
    (void)state;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    fixture_option(&fixture, "storage.journal=on");
    fixture_load(&fixture);
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    struct store *store = store_create(&fixture.config, loop, 10000, NULL, NULL, &error);
    assert_non_null(store);
    assert_true(store_path_enter(store_at(store, 0), &root, &error));
    upkeep_hooks = (struct upkeep_hooks){.world = &nobody, .synced = on_fsync};
    memset(synced, 0, sizeof(synced));
    assert_true(store_path_sync_system(store_at(store, 0), root, &error));
    assert_string_equal(synced, "sf");
    upkeep_hooks = (struct upkeep_hooks){0};
    store_path_leave(store_at(store, 0), root);
    store_end(store, 5000);
    loop_destroy(loop);
    store_destroy(store);
    fixture_destroy(&fixture);
}

static void write_brick(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void bricks_that_would_lose_names_are_reported(void **state)
{
    struct store_system gluster = {.type = "fuse.glusterfs", .source = "host:/volume"};
    struct store_system local = {.type = "ext4", .source = "/dev/sda1"};
    char top[] = "/tmp/reel-bricks-XXXXXX", bricks[256], text[2048] = "";
    (void)state;
    assert_non_null(mkdtemp(top));
    snprintf(bricks, sizeof(bricks), "mkdir -p %s/volume/bricks", top);
    assert_int_equal(system(bricks), 0);
    snprintf(bricks, sizeof(bricks), "%s/volume/bricks", top);
    write_brick(bricks, "here:-proc", "hostname=here\npath=/proc\nlisten-port=0\n");
    write_brick(bricks, "there:-bricks-b1", "hostname=there\npath=/no/such/brick\n");
    write_brick(bricks, "broken", "nothing\n");
    FILE *out = fmemopen(text, sizeof(text), "w");
    assert_non_null(out);
    assert_int_equal(store_system_advise_on("data", "/mnt/media", &gluster, top, out), 2);
    assert_int_equal(store_system_advise_on("data", "/srv/data", &local, top, out), 0);
    assert_int_equal(store_system_advise_on("data", "/mnt/media", &gluster, "/no/such/directory", out), 1);
    fclose(out);
    assert_non_null(strstr(text, "store path data at /mnt/media is on GlusterFS (host:/volume)"));
    assert_non_null(strstr(text, "brick /proc of volume volume is on proc: bricks must be on XFS or ext4"));
    assert_null(strstr(text, "b1"));
    snprintf(bricks, sizeof(bricks), "rm -r %s", top);
    assert_int_equal(system(bricks), 0);
}

static void only_durable_store_paths_on_glusterfs_get_advice(void **state)
{
    struct fixture fixture;
    char text[256] = "";
    (void)state;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    fixture_load(&fixture);
    FILE *out = fmemopen(text, sizeof(text), "w");
    assert_non_null(out);
    assert_int_equal(store_system_advise(&fixture.config, "/no/such/directory", out), 0);
    fclose(out);
    assert_string_equal(text, "");
    fixture_destroy(&fixture);
}

static int check_advice_on_mute(void *argument)
{
    struct fixture *fixture = argument;
    char volume[256], text[512] = "";
    snprintf(volume, sizeof(volume), "%s/one", fixture->directory);
    if (mkdir(volume, 0700) != 0 && errno != EEXIST)
        return 1;
    if (!mute_volume_mount(volume))
        return MUTE_VOLUME_SKIPPED;
    FILE *out = fmemopen(text, sizeof(text), "w");
    if (!out || store_system_advise(&fixture->config, "/no/such/directory", out) != 1)
        return 2;
    fclose(out);
    return strstr(text, "does not answer: its volume hangs") ? 0 : 3;
}

/* --check-config comes before each reload. */
static void advice_does_not_wait_for_a_volume_that_hangs(void **state)
{
    struct fixture fixture;
    (void)state;
    fixture_create(&fixture);
    fixture_option(&fixture, "storage.paths=%s/one", fixture.directory);
    fixture_load(&fixture);
    mute_volume_in_a_child(check_advice_on_mute, &fixture);
    fixture_destroy(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_system_is_believed_by_its_type),
        cmocka_unit_test(mounts_below_a_directory_are_seen),
        cmocka_unit_test(a_directory_is_synced_where_the_file_does_not_bring_its_name_along),
        cmocka_unit_test(auto_and_that_is_the_default_journals_where_a_sync_of_a_file_covers_its_name),
        cmocka_unit_test(auto_takes_ext4_whether_it_has_a_journal_or_not),
        cmocka_unit_test(the_disk_is_flushed_after_the_whole_file_system_was_written),
        cmocka_unit_test(bricks_that_would_lose_names_are_reported),
        cmocka_unit_test(only_durable_store_paths_on_glusterfs_get_advice),
        cmocka_unit_test(advice_does_not_wait_for_a_volume_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
