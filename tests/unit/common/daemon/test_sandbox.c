/* sandbox: a process that has entered one opens what it named, and nothing else. */
#include "common/daemon/sandbox.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/mute_volume.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    char base[64], inside[80], outside[80];
};

static void make_file(const char *directory, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    snprintf(place->base, sizeof(place->base), "/tmp/reel-sandbox-XXXXXX");
    assert_non_null(mkdtemp(place->base));
    snprintf(place->inside, sizeof(place->inside), "%s/inside", place->base);
    snprintf(place->outside, sizeof(place->outside), "%s/outside", place->base);
    assert_int_equal(mkdir(place->inside, 0700), 0);
    assert_int_equal(mkdir(place->outside, 0700), 0);
    make_file(place->inside, "file");
    make_file(place->outside, "file");
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    remove_tree(place->base);
    free(place);
    return 0;
}

/* What CHECK says in a process of its own, which it may confine; 0 is good. */
static void in_a_child(int (*check)(const struct place *place), const struct place *place)
{
    int status = -1;
    if (sandbox_abi() < SANDBOX_ABI_MIN) {
        print_message("THIS KERNEL HAS NO LANDLOCK: NOTHING IS TESTED HERE\n");
        skip();
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(check(place));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int opens(const char *directory, const char *name, int flags)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int failure = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return failure;
}

static bool confine(const struct place *place, enum sandbox_access access)
{
    struct sandbox sandbox;
    struct error error;
    return sandbox_begin(&sandbox, &error) && sandbox_allow(&sandbox, place->inside, access, &error) &&
           sandbox_enter(&sandbox, &error);
}

static int check_paths(const struct place *place)
{
    if (!confine(place, SANDBOX_WRITE))
        return 1;
    if (opens(place->inside, "file", O_RDWR) != 0 || opens(place->inside, "new", O_WRONLY | O_CREAT) != 0)
        return 2;
    if (opens(place->outside, "file", O_RDONLY) != EACCES || opens("/etc", "passwd", O_RDONLY) != EACCES)
        return 3;
    if (opens(place->outside, "new", O_WRONLY | O_CREAT) != EACCES)
        return 4;
    return opens(place->inside, "../outside/file", O_RDONLY) == EACCES ? 0 : 5;
}

static void another_path_cannot_be_opened(void **state)
{
    in_a_child(check_paths, *state);
}

static int check_reading(const struct place *place)
{
    if (!confine(place, SANDBOX_READ))
        return 1;
    if (opens(place->inside, "file", O_RDONLY) != 0 || opens(place->inside, "", O_RDONLY | O_DIRECTORY) != 0)
        return 2;
    if (opens(place->inside, "file", O_WRONLY) != EACCES ||
        opens(place->inside, "new", O_WRONLY | O_CREAT) != EACCES)
        return 3;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", place->inside);
    return unlink(path) != 0 && errno == EACCES ? 0 : 4;
}

static void what_may_be_read_cannot_be_written_or_removed(void **state)
{
    in_a_child(check_reading, *state);
}

static int check_moves(const struct place *place)
{
    char from[128], to[128], away[128];
    if (!confine(place, SANDBOX_WRITE))
        return 1;
    snprintf(from, sizeof(from), "%s/file", place->inside);
    snprintf(to, sizeof(to), "%s/a", place->inside);
    snprintf(away, sizeof(away), "%s/taken", place->outside);
    if (mkdir(to, 0700) != 0)
        return 2;
    snprintf(to, sizeof(to), "%s/a/file", place->inside);
    if (rename(from, to) != 0 || link(to, from) != 0 || truncate(to, 0) != 0)
        return 3;
    if (rename(to, away) == 0 || link(from, away) == 0)
        return 4;
    return unlink(to) == 0 && symlink("/etc", to) != 0 && errno == EACCES ? 0 : 5;
}

static void files_move_between_directories_that_are_allowed_and_nowhere_else(void **state)
{
    in_a_child(check_moves, *state);
}

static void *open_outside(void *argument)
{
    const struct place *place = argument;
    return (void *)(intptr_t)opens(place->outside, "file", O_RDONLY);
}

static int check_threads(const struct place *place)
{
    pthread_t thread;
    void *failure = NULL;
    int before = open(place->outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!confine(place, SANDBOX_WRITE) ||
        pthread_create(&thread, NULL, open_outside, (void *)(uintptr_t)place) != 0 ||
        pthread_join(thread, &failure) != 0)
        return 1;
    if ((intptr_t)failure != EACCES)
        return 2;
    struct stat status; /* what was open stays so */
    return before >= 0 && fstat(before, &status) == 0 ? 0 : 3;
}

static void threads_that_come_later_are_confined_too(void **state)
{
    in_a_child(check_threads, *state);
}

#ifndef __SANITIZE_ADDRESS__
static int check_programs(const struct place *place)
{
    struct sandbox sandbox;
    struct error error;
    (void)place;
    if (!sandbox_begin(&sandbox, &error) || !sandbox_allow(&sandbox, "/", SANDBOX_WRITE, &error) ||
        !sandbox_enter(&sandbox, &error))
        return 1;
    execl("/bin/true", "true", NULL);
    return errno == EACCES ? 0 : 2;
}

static void no_program_can_be_started(void **state)
{
    in_a_child(check_programs, *state);
}
#endif

/* A volume that may be mounted later: the directory around it. */
static int check_volume(const struct place *place)
{
    struct sandbox sandbox;
    struct error error;
    if (!sandbox_begin(&sandbox, &error))
        return 1;
    if (sandbox_allow_volume(&sandbox, "/proc", false, SANDBOX_READ, &error) || error.code != ERROR_REFUSED)
        return 2; /* it is a mount point below / */
    if (!sandbox_allow_volume(&sandbox, place->inside, true, SANDBOX_WRITE, &error) ||
        !sandbox_enter(&sandbox, &error))
        return 3;
    char moved[128];
    snprintf(moved, sizeof(moved), "%s/moved", place->base);
    if (rename(place->inside, moved) != 0 || mkdir(place->inside, 0700) != 0)
        return 4;
    return opens(place->inside, "new", O_WRONLY | O_CREAT) == 0 && opens("/etc", "passwd", O_RDONLY) == EACCES
               ? 0
               : 5;
}

static void a_volume_may_be_mounted_and_replaced_later(void **state)
{
    in_a_child(check_volume, *state);
}

static int check_plain_volume(const struct place *place)
{
    struct sandbox sandbox;
    struct error error;
    if (!sandbox_begin(&sandbox, &error) ||
        !sandbox_allow_volume(&sandbox, place->inside, false, SANDBOX_WRITE, &error) ||
        !sandbox_enter(&sandbox, &error))
        return 1;
    return opens(place->inside, "file", O_RDWR) == 0 && opens(place->outside, "file", O_RDONLY) == EACCES ? 0
                                                                                                          : 2;
}

static void a_directory_that_stays_is_allowed_by_itself(void **state)
{
    in_a_child(check_plain_volume, *state);
}

static int remove_volume(const struct place *place)
{
    char volume[128];
    snprintf(volume, sizeof(volume), "%s/volume", place->inside);
    return rmdir(volume);
}

/* It is mounted before the child is confined: DIRECTORY lies in it, or is it. */
static int confine_around_mute(const struct place *place, const char *directory)
{
    struct sandbox sandbox;
    struct error error;
    char volume[128];
    snprintf(volume, sizeof(volume), "%s/volume", place->inside);
    if (mkdir(volume, 0700) != 0 || !mute_volume_mount(volume))
        return MUTE_VOLUME_SKIPPED;
    if (!sandbox_begin(&sandbox, &error) ||
        !sandbox_allow_volume(&sandbox, directory, false, SANDBOX_WRITE, &error) ||
        !sandbox_enter(&sandbox, &error))
        return 1;
    return opens(place->inside, "new", O_WRONLY | O_CREAT) == 0 &&
                   opens(place->outside, "file", O_RDONLY) == EACCES
               ? 0
               : 2;
}

static int check_mute(void *place)
{
    char directory[128];
    snprintf(directory, sizeof(directory), "%s/volume", ((const struct place *)place)->inside);
    return confine_around_mute(place, directory);
}

static int check_within_mute(void *place)
{
    char directory[128];
    snprintf(directory, sizeof(directory), "%s/volume/a/b", ((const struct place *)place)->inside);
    return confine_around_mute(place, directory);
}

/* What the link says is allowed beside where it lies. */
static int check_link_to_mute(void *argument)
{
    const struct place *place = argument;
    char link[128];
    snprintf(link, sizeof(link), "%s/linked", place->base);
    if (mkdir(link, 0700) != 0)
        return 3;
    snprintf(link, sizeof(link), "%s/linked/volume", place->base);
    return symlink("../inside/volume", link) == 0 ? confine_around_mute(place, link) : 4;
}

static void a_volume_that_hangs_holds_nobody_up(void **state)
{
    if (sandbox_abi() < SANDBOX_ABI_MIN) {
        print_message("THIS KERNEL HAS NO LANDLOCK: NOTHING IS TESTED HERE\n");
        skip();
    }
    mute_volume_in_a_child(check_mute, *state);
    assert_int_equal(remove_volume(*state), 0);
    mute_volume_in_a_child(check_within_mute, *state);
    assert_int_equal(remove_volume(*state), 0);
    mute_volume_in_a_child(check_link_to_mute, *state);
}

static int check_around(const struct place *place)
{
    struct sandbox sandbox;
    struct error error;
    char file[128], link[128];
    snprintf(file, sizeof(file), "%s/file", place->outside);
    snprintf(link, sizeof(link), "%s/link", place->inside);
    if (symlink(file, link) != 0 || !sandbox_begin(&sandbox, &error) ||
        !sandbox_allow_around(&sandbox, link, SANDBOX_READ, &error) ||
        !sandbox_allow_around(&sandbox, "/nowhere/at/all", SANDBOX_READ, &error) ||
        !sandbox_enter(&sandbox, &error))
        return 1;
    return opens(place->inside, "link", O_RDONLY) == 0 && opens("/etc", "passwd", O_RDONLY) == EACCES ? 0 : 2;
}

static void a_file_is_found_where_its_link_leads_and_what_is_absent_is_no_failure(void **state)
{
    in_a_child(check_around, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_path_cannot_be_opened, make_place, remove_place),
        cmocka_unit_test_setup_teardown(what_may_be_read_cannot_be_written_or_removed, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(files_move_between_directories_that_are_allowed_and_nowhere_else,
                                        make_place, remove_place),
        cmocka_unit_test_setup_teardown(threads_that_come_later_are_confined_too, make_place, remove_place),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test_setup_teardown(no_program_can_be_started, make_place, remove_place),
#endif
        cmocka_unit_test_setup_teardown(a_volume_may_be_mounted_and_replaced_later, make_place, remove_place),
        cmocka_unit_test_setup_teardown(a_volume_that_hangs_holds_nobody_up, make_place, remove_place),
        cmocka_unit_test_setup_teardown(a_directory_that_stays_is_allowed_by_itself, make_place,
                                        remove_place),
        cmocka_unit_test_setup_teardown(a_file_is_found_where_its_link_leads_and_what_is_absent_is_no_failure,
                                        make_place, remove_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
