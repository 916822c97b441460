/* Store paths on real directories: found, chosen, lost, found again; and the files in them. */
#include "storage/store/store_choice.h"
#include "storage/store/store_look.h"
#include "storage/store/store_file.h"
#include "storage/store/store_scan.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"

#include <errno.h>
#include <stdatomic.h>

struct world {
    struct fixture fixture;
    struct loop *loop;
    struct store *store;
};

/* PATHS with @ for the directory. */
static void start_world(struct world *world, const char *paths, const char *more)
{
    struct error error = {0};
    char text[240] = "storage.paths=";
    fixture_create(&world->fixture);
    for (const char *c = paths; *c; c++) {
        size_t used = strlen(text);
        if (*c == '@')
            snprintf(text + used, sizeof(text) - used, "%s", world->fixture.directory);
        else
            snprintf(text + used, sizeof(text) - used, "%c", *c);
    }
    fixture_option(&world->fixture, "%s", text);
    if (more)
        fixture_option(&world->fixture, "%s", more);
    fixture_load(&world->fixture);
    world->loop = loop_create("test", &error);
    assert_non_null(world->loop);
    world->store = store_create(&world->fixture.config, world->loop, 10000, NULL, NULL, &error);
    if (!world->store)
        fail_msg("%s", error.text);
    assert_true(loop_start(world->loop, &error));
}

static void end_timer(void *argument)
{
    store_end(argument, 5000);
}

static void end_world(struct world *world)
{
    loop_do(world->loop, end_timer, world->store);
    loop_destroy(world->loop);
    store_destroy(world->store);
    fixture_destroy(&world->fixture);
}

static char *in_world(const struct world *world, const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", world->fixture.directory, name);
    return path;
}

static bool writable_is(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return status.writable;
}

static bool unreadable(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return !status.readable;
}

static bool readable(void *argument)
{
    return !unreadable(argument);
}

/* ---- files; called in the test's thread, as a worker would ---- */

/* Makes the file at PLACE; *FD is the caller's. */
static bool create_at(struct store_path *path, const struct path *place, int *fd, struct error *error)
{
    struct store_file file = {.path = path, .place = *place, .fd = -1};
    bool fine = store_file_create(&file, error);
    *fd = file.fd;
    store_file_let_go(&file);
    return fine;
}

static void a_file_is_made_with_its_directories_and_never_over_another(void **state)
{
    struct world world;
    struct error error = {0};
    const struct path place = {.value = ((INT64_C(1) * 512 + 2) * 512 + 3) * 512 + 4, .seconds = 0x5F9E3FA7};
    int fd, again;
    int64_t size;
    char text[STORE_FILE_PATH_SIZE], byte;
    (void)state;
    start_world(&world, "../data=@/one", NULL);
    struct store_path *path = store_at(world.store, 0);
    struct store_file file = {.path = path, .place = place, .fd = -1};
    assert_true(store_file_create(&file, &error));
    assert_true(store_file_write(&file, "hello", 5, 0, &error));
    assert_true(store_file_write(&file, "!", 1, 5, &error));
    assert_true(store_file_sync(&file, &error));
    assert_true(store_file_close(&file, &error));
    assert_true(store_file_sync_directory(&file, &error));
    assert_true(store_file_in_place(&file, &error));
    store_file_let_go(&file);
    assert_int_equal(access(in_world(&world, "one/001/002/003/5F9E3FA7_004"), F_OK), 0);

    assert_false(create_at(path, &place, &again, &error));
    assert_int_equal(error.code, ERROR_EXISTS);
    assert_true(writable_is(path)); /* that says nothing about the path */
    assert_true(store_file_open(path, &place, &fd, &size, &error));
    assert_true(size == 6 && pread(fd, &byte, 1, 5) == 1 && byte == '!');
    close(fd);

    assert_true(store_path_format(path, &place, text));
    assert_string_equal(text, "../data/001/002/003/5F9E3FA7_004");
    assert_true(store_file_remove(path, &place, &error));
    assert_true(store_file_remove(path, &place, &error)); /* gone is gone */
    assert_false(store_file_open(path, &place, &fd, &size, &error));
    assert_int_equal(error.code, ERROR_IO); /* a row says it is there: not the client's mistake */
    end_world(&world);
}

static void a_directory_that_somebody_removed_is_made_again(void **state)
{
    struct world world;
    struct error error = {0};
    struct path place = {.value = 1, .seconds = 1};
    int fd;
    (void)state;
    start_world(&world, "@/one", NULL);
    struct store_path *path = store_at(world.store, 0);
    for (int round = 0; round < 3; round++) {
        assert_true(create_at(path, &place, &fd, &error));
        close(fd);
        assert_true(store_file_remove(path, &place, &error));
        assert_int_equal(rmdir(in_world(&world, "one/000/000/000")), 0);
        assert_int_equal(rmdir(in_world(&world, "one/000/000")), 0);
        if (round > 0)
            assert_int_equal(rmdir(in_world(&world, "one/000")), 0);
    }
    end_world(&world);
}

static void a_link_or_a_directory_in_a_files_place_is_not_followed(void **state)
{
    struct world world;
    struct error error = {0};
    const struct path place = {.value = 1, .seconds = 1}, other = {.value = 2, .seconds = 1};
    int fd;
    int64_t size;
    (void)state;
    start_world(&world, "@/one", NULL);
    struct store_path *path = store_at(world.store, 0);
    assert_true(create_at(path, &other, &fd, &error)); /* makes the directories */
    close(fd);
    assert_int_equal(symlink("/etc/passwd", in_world(&world, "one/000/000/000/00000001_001")), 0);
    assert_false(store_file_open(path, &place, &fd, &size, &error));
    assert_int_equal(error.code, ERROR_IO);
    assert_false(create_at(path, &place, &fd, &error));
    assert_int_equal(error.code, ERROR_EXISTS);
    assert_int_equal(unlink(in_world(&world, "one/000/000/000/00000001_001")), 0);
    assert_int_equal(mkfifo(in_world(&world, "one/000/000/000/00000001_001"), 0600), 0);
    assert_false(store_file_open(path, &place, &fd, &size, &error)); /* and does not hang */
    assert_int_equal(error.code, ERROR_IO);
    end_world(&world);
}

/* A link in the place of AAA, BBB or CCC leads out of the store path: nothing is read, made or removed there. */
static void a_link_in_a_directorys_place_is_not_followed(void **state)
{
    static const char *const links[] = {"one/000", "one/000/000", "one/000/000/000"};
    struct world world;
    struct error error = {0};
    const struct path place = {.value = 1, .seconds = 1}, other = {.value = 2, .seconds = 1};
    int fd;
    int64_t size;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        start_world(&world, "@/one", NULL);
        struct store_path *path = store_at(world.store, 0);
        char elsewhere[160], link[160];
        assert_true(create_at(path, &place, &fd, &error));
        close(fd);
        snprintf(link, sizeof(link), "%s", in_world(&world, links[i]));
        snprintf(elsewhere, sizeof(elsewhere), "%s", in_world(&world, "elsewhere"));
        assert_int_equal(rename(link, elsewhere), 0);
        assert_int_equal(symlink(elsewhere, link), 0);
        assert_false(store_file_open(path, &place, &fd, &size, &error));
        assert_int_equal(error.code, ERROR_IO);
        assert_false(create_at(path, &other, &fd, &error));
        assert_false(store_file_remove(path, &place, &error));
        assert_int_equal(unlink(link), 0);
        assert_int_equal(rename(elsewhere, link), 0);
        assert_true(store_file_open(path, &place, &fd, &size, &error)); /* it is there still */
        close(fd);
        assert_true(store_file_remove(path, &place, &error));
        end_world(&world);
    }
}

/* Another directory is put in the store path's place while a file is stored: it goes on in the first one, and is not
 * said to be stored. */
static void a_file_in_a_directory_that_was_exchanged_is_not_in_place(void **state)
{
    struct world world;
    struct error error = {0};
    char old[160], new[160];
    (void)state;
    start_world(&world, "@/one", NULL);
    struct store_file file = {
        .path = store_at(world.store, 0), .place = {.value = 1, .seconds = 1}, .fd = -1};
    assert_true(store_file_create(&file, &error));
    snprintf(old, sizeof(old), "%s", in_world(&world, "gone"));
    snprintf(new, sizeof(new), "%s", in_world(&world, "one"));
    assert_int_equal(rename(new, old), 0);
    assert_int_equal(mkdir(new, 0755), 0);
    assert_true(store_file_write(&file, "x", 1, 0, &error));
    assert_true(store_file_close(&file, &error));
    assert_true(store_file_sync_directory(&file, &error));
    assert_false(store_file_in_place(&file, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    /* Of what is missing in the former one nothing is known; nothing is removed from it. */
    const struct path missing = {.value = 2, .seconds = 1};
    struct store_scan_look look;
    int64_t size;
    int fd;
    error.code = 0;
    assert_false(store_file_look(file.path, &missing, &fd, &size, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_int_equal(fd, -1);
    assert_false(store_scan_look(file.path, "000/000/000/missing", &look, &error));
    assert_false(store_file_remove(file.path, &file.place, &error));
    assert_false(store_scan_remove(file.path, "000/000/000", "name", &error));
    assert_false(store_path_in_place(file.path, &error));
    /* Nor is what is put back there said to be in its place. */
    error.code = 0;
    assert_false(store_file_put_back(file.path, &file.place, "x", 1, true, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_int_equal(fixture_files(&world.fixture, "gone"), 1);
    assert_true(store_file_discard(&file, &error));
    assert_int_equal(fixture_files(&world.fixture, "gone"), 0);
    end_world(&world);
}

static mode_t mode_at(struct world *world, const char *name)
{
    struct stat status;
    assert_int_equal(stat(in_world(world, name), &status), 0);
    return status.st_mode & 07777;
}

static void files_and_directories_get_the_configured_modes_whatever_the_umask(void **state)
{
    struct world world;
    struct error error = {0};
    const struct path place = {.value = 1, .seconds = 1};
    int fd;
    (void)state;
    mode_t before = umask(0077);
    start_world(&world, "@/one", "storage.file_mode=0664");
    assert_true(create_at(store_at(world.store, 0), &place, &fd, &error));
    close(fd);
    assert_int_equal(mode_at(&world, "one/000/000/000/00000001_001"), 0664);
    assert_int_equal(mode_at(&world, "one/000/000/000"), 0750);
    end_world(&world);
    start_world(&world, "@/one", "storage.directory_mode=2775");
    assert_true(create_at(store_at(world.store, 0), &place, &fd, &error));
    close(fd);
    assert_int_equal(mode_at(&world, "one/000/000/000/00000001_001"), 0640);
    assert_int_equal(mode_at(&world, "one/000"), 02775);
    end_world(&world);
    umask(before);
}

/* ---- what hinders uploads is said ---- */

struct rows {
    atomic_int answer; /* 0: not known; 1: none; 2: some */
    atomic_int asked;
};

static bool has_rows(void *argument, const struct store_path *path, bool *known)
{
    struct rows *rows = argument;
    int answer = atomic_load(&rows->answer);
    assert_non_null(store_path_key(path));
    atomic_fetch_add(&rows->asked, 1);
    *known = answer != 0;
    return answer == 2;
}

static bool asked_twice(void *argument)
{
    return atomic_load(&((struct rows *)argument)->asked) >= 2;
}

/* A volume that is not mounted leaves an empty directory; where rows speak of files in it, that is no new store path. */
static void an_empty_directory_is_a_new_store_path_only_where_no_rows_are(void **state)
{
    struct rows rows = {0};
    struct world world;
    struct error error = {0};
    struct store_path_status status;
    (void)state;
    start_world(&world, "../data=@/one", NULL);
    loop_do(world.loop, end_timer, world.store);
    store_destroy(world.store);
    assert_int_equal(unlink(in_world(&world, "one/" STORE_MARKER)), 0);
    loop_destroy(world.loop);
    world.loop = loop_create("again", &error);
    world.store = store_create(&world.fixture.config, world.loop, 10000, has_rows, &rows, &error);
    assert_non_null(world.store);
    assert_true(loop_start(world.loop, &error));
    struct store_path *path = store_at(world.store, 0);
    store_path_status(path, &status);
    assert_false(status.readable);
    assert_non_null(strstr(status.reason, "database"));
    atomic_store(&rows.answer, 2);
    atomic_store(&rows.asked, 0);
    assert_true(loop_wait_until(asked_twice, &rows));
    store_path_status(path, &status);
    assert_false(status.readable);
    assert_non_null(strstr(status.reason, "touch"));
    assert_int_equal(access(in_world(&world, "one/" STORE_MARKER), F_OK), -1);
    atomic_store(&rows.answer, 1);
    assert_true(loop_wait_until(readable, path));
    assert_int_equal(access(in_world(&world, "one/" STORE_MARKER), F_OK), 0);
    end_world(&world);
}

/* The first look has found a database that could not be asked yet, and is still under way. */
static bool has_rows_slowly(void *argument, const struct store_path *path, bool *known)
{
    struct rows *rows = argument;
    (void)path;
    if (atomic_fetch_add(&rows->asked, 1) == 0) {
        *known = false;
        while (atomic_load(&rows->answer) == 0)
            usleep(1000);
        return false;
    }
    *known = true;
    return false;
}

static void *let_the_first_look_end(void *argument)
{
    usleep(100 * 1000); /* meanwhile another look is asked for; sooner or later makes no difference */
    atomic_store(&((struct rows *)argument)->answer, 1);
    return NULL;
}

static void a_look_that_is_asked_for_during_another_follows_at_once(void **state)
{
    struct rows rows = {0};
    struct world world;
    struct error error = {0};
    struct store_path_status status;
    pthread_t thread;
    (void)state;
    start_world(&world, "../data=@/one", NULL);
    loop_do(world.loop, end_timer, world.store);
    store_destroy(world.store);
    assert_int_equal(unlink(in_world(&world, "one/" STORE_MARKER)), 0);
    loop_destroy(world.loop);
    world.loop = loop_create("again", &error);
    world.fixture.config.probe_interval_ms = 3600 * 1000;
    world.store = store_create(&world.fixture.config, world.loop, 10, has_rows_slowly, &rows, &error);
    assert_non_null(world.store);
    assert_int_equal(pthread_create(&thread, NULL, let_the_first_look_end, &rows), 0);
    store_look_again(world.store, 60000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    store_path_status(store_at(world.store, 0), &status);
    assert_true(status.readable);
    assert_true(status.writable);
    assert_true(loop_start(world.loop, &error));
    end_world(&world);
}

static struct store *store_under_test;

/* A call has failed; a trial write puts that right again at any moment. */
static bool fails_when_it_refuses(void *argument)
{
    char reason[ERROR_TEXT_SIZE];
    store_path_report(argument, EACCES, "create");
    return !store_healthy(store_under_test, reason, sizeof(reason)) && strstr(reason, "create") != NULL;
}

static void where_uploads_are_hindered_the_reason_is_said(void **state)
{
    struct world world;
    struct store_path_status status;
    char reason[ERROR_TEXT_SIZE];
    (void)state;
    start_world(&world, "../data=@/one", NULL);
    store_under_test = world.store;
    assert_true(store_healthy(world.store, reason, sizeof(reason)));
    assert_string_equal(reason, "");
    store_set_floors(world.store, INT64_MAX, 0);
    struct store_path *path = store_at(world.store, 0);
    for (;;) { /* the next look finds it below its floor */
        store_path_status(path, &status);
        if (status.full)
            break;
        usleep(1000);
    }
    assert_true(store_healthy(world.store, reason, sizeof(reason))); /* what is there can be read */
    assert_non_null(strstr(reason, "reserve_space"));
    store_set_floors(world.store, 0, 0);
    assert_true(loop_wait_until(fails_when_it_refuses, path));
    end_world(&world);
}

/* ---- choice ---- */

static void rows_are_matched_to_their_store_path(void **state)
{
    static const char *const wrong[] = {"",
                                        "../data",
                                        "../data/",
                                        "../data/000/000/000/00000001_00",
                                        "../data/../data/000/000/000/00000001_005",
                                        "../dat/000/000/000/00000001_005",
                                        "../data2/000/000/000/00000001_005",
                                        "/000/000/000/00000001_005",
                                        "000/000/000/00000001_005",
                                        "../data/000/000/000/00000001_005/",
                                        "../data/000/000/../00000001_005"};
    struct world world;
    struct error error = {0};
    struct path place;
    (void)state;
    start_world(&world, "../data=@/one, k=@/two", NULL);
    assert_ptr_equal(store_find(world.store, "../data/000/000/001/00000001_005", &place, &error),
                     store_at(world.store, 0));
    assert_true(place.value == 517 && place.seconds == 1);
    assert_ptr_equal(store_find(world.store, "k/000/000/000/00000001_005", &place, &error),
                     store_at(world.store, 1));
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_null(store_find(world.store, wrong[i], &place, &error));
        assert_int_equal(error.code, ERROR_IO);
    }
    end_world(&world);
}

static void uploads_go_to_every_path_with_room_and_to_none_below_the_floor(void **state)
{
    struct world world;
    struct error error = {0};
    int chosen[2] = {0};
    (void)state;
    start_world(&world, "a=@/one, b=@/two", NULL);
    for (int i = 0; i < 2000; i++)
        chosen[store_path_index(store_choose(world.store, 1000, &error))]++;
    assert_in_range(chosen[0], 800, 1200); /* one file system: equal room */

    assert_null(store_choose(world.store, INT64_MAX, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
    store_set_floors(world.store, INT64_MAX, 0);
    assert_null(store_choose(world.store, 0, &error));
    assert_int_equal(error.code, ERROR_NO_SPACE);
    store_set_floors(world.store, 0, INT64_MAX - 1);
    struct store_path_status status;
    store_path_status(store_at(world.store, 0), &status);
    if (status.free_inodes != INT64_MAX) { /* file systems that count inodes */
        assert_null(store_choose(world.store, 0, &error));
        assert_int_equal(error.code, ERROR_NO_SPACE);
    }
    store_set_floors(world.store, 0, 0);
    assert_non_null(store_choose(world.store, 0, &error));
    end_world(&world);
}

static void a_failed_write_takes_the_path_out_until_a_trial_works(void **state)
{
    struct world world;
    struct error error = {0};
    (void)state;
    start_world(&world, "a=@/one, b=@/two", NULL);
    struct store_path *path = store_at(world.store, 0);
    store_path_report(path, ENOENT, "open"); /* one file's trouble */
    assert_true(writable_is(path));
    store_path_report(path, EIO, "write");
    /* The looks run all the time: what counts is that it comes back, and that no file of the trial stays. */
    assert_true(loop_wait_until(writable_is, path));
    assert_true(store_path_readable(path, &error));
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    end_world(&world);
}

/* ---- mounts ---- */

static void a_path_that_vanishes_is_noticed_and_comes_back(void **state)
{
    struct world world;
    struct error error = {0};
    char reason[256], away[160];
    (void)state;
    start_world(&world, "@/one", NULL);
    struct store_path *path = store_at(world.store, 0);
    assert_true(store_healthy(world.store, reason, sizeof(reason)));
    snprintf(away, sizeof(away), "%s/away", world.fixture.directory);
    assert_int_equal(rename(in_world(&world, "one"), away), 0);
    assert_true(loop_wait_until(unreadable, path));
    assert_false(store_healthy(world.store, reason, sizeof(reason)));
    assert_null(store_choose(world.store, 1, &error));
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_false(store_path_readable(path, &error));

    /* An empty directory where the volume was: not ours. */
    assert_int_equal(mkdir(in_world(&world, "one"), 0755), 0);
    usleep(300000);
    assert_true(unreadable(path));
    assert_int_equal(rmdir(in_world(&world, "one")), 0);

    assert_int_equal(rename(away, in_world(&world, "one")), 0);
    assert_true(loop_wait_until(readable, path));
    assert_true(loop_wait_until(writable_is, path));
    end_world(&world);
}

static void with_a_marker_wanted_an_empty_directory_is_not_used(void **state)
{
    struct world world;
    struct error error = {0};
    FILE *out = fopen("/dev/null", "w");
    (void)state;
    assert_non_null(out);
    start_world(&world, "@/one", "storage.mount_check=marker");
    struct store_path *path = store_at(world.store, 0);
    assert_true(unreadable(path));
    assert_null(store_choose(world.store, 1, &error));
    assert_int_equal(access(in_world(&world, "one/" STORE_MARKER), F_OK), -1);
    assert_true(store_make_markers(&world.fixture.config, out, &error));
    assert_true(store_make_markers(&world.fixture.config, out, &error)); /* at any time */
    assert_true(loop_wait_until(writable_is, path));
    fclose(out);
    end_world(&world);
}

static void a_directory_that_must_be_a_mount_point_and_is_none_is_not_used(void **state)
{
    struct world world;
    struct error error = {0};
    (void)state;
    start_world(&world, "@/one", "storage.mount_check=mount");
    assert_true(unreadable(store_at(world.store, 0)));
    assert_false(store_path_readable(store_at(world.store, 0), &error));
    assert_non_null(strstr(error.text, "mount"));
    end_world(&world);
}

static void the_marker_of_another_key_or_group_is_refused(void **state)
{
    struct world world;
    char name[160], moved[160];
    (void)state;
    start_world(&world, "a=@/one, b=@/two", NULL);
    /* The two volumes are exchanged. */
    snprintf(name, sizeof(name), "%s/one/" STORE_MARKER, world.fixture.directory);
    snprintf(moved, sizeof(moved), "%s/two/" STORE_MARKER, world.fixture.directory);
    assert_int_equal(rename(name, moved), 0);
    assert_true(loop_wait_until(unreadable, store_at(world.store, 1)));
    assert_true(loop_wait_until(unreadable, store_at(world.store, 0))); /* its own is gone */
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_made_with_its_directories_and_never_over_another),
        cmocka_unit_test(a_directory_that_somebody_removed_is_made_again),
        cmocka_unit_test(a_link_or_a_directory_in_a_files_place_is_not_followed),
        cmocka_unit_test(a_link_in_a_directorys_place_is_not_followed),
        cmocka_unit_test(a_file_in_a_directory_that_was_exchanged_is_not_in_place),
        cmocka_unit_test(files_and_directories_get_the_configured_modes_whatever_the_umask),
        cmocka_unit_test(an_empty_directory_is_a_new_store_path_only_where_no_rows_are),
        cmocka_unit_test(a_look_that_is_asked_for_during_another_follows_at_once),
        cmocka_unit_test(where_uploads_are_hindered_the_reason_is_said),
        cmocka_unit_test(rows_are_matched_to_their_store_path),
        cmocka_unit_test(uploads_go_to_every_path_with_room_and_to_none_below_the_floor),
        cmocka_unit_test(a_failed_write_takes_the_path_out_until_a_trial_works),
        cmocka_unit_test(a_path_that_vanishes_is_noticed_and_comes_back),
        cmocka_unit_test(with_a_marker_wanted_an_empty_directory_is_not_used),
        cmocka_unit_test(a_directory_that_must_be_a_mount_point_and_is_none_is_not_used),
        cmocka_unit_test(the_marker_of_another_key_or_group_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
