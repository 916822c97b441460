/* store_modes: whose new files are, and that a daemon which may not give them away says so at its start. */
#include "storage/store/store_modes.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool make(const char *group, struct store_modes *modes, struct error *error)
{
    struct storage_config config = {
        .file_mode = (char *)"0640", .directory_mode = (char *)"0750", .file_group = (char *)group};
    return store_modes_make(modes, &config, error);
}

static void the_daemons_own_group_is_taken_by_number_and_by_default_none(void **state)
{
    (void)state;
    struct store_modes modes;
    struct error error;
    char own[32];
    snprintf(own, sizeof(own), "%u", (unsigned)getgid());
    assert_true(make(own, &modes, &error));
    assert_int_equal(modes.group, getgid());
    assert_true(make("", &modes, &error));
    assert_int_equal(modes.group, (gid_t)-1);
    assert_int_equal(modes.file, 0640);
}

static void a_group_that_nobody_knows_is_named(void **state)
{
    (void)state;
    struct store_modes modes;
    struct error error;
    assert_false(make("no-such-group", &modes, &error));
    assert_non_null(strstr(error.text, "no-such-group"));
}

static void a_group_that_files_cannot_be_given_to_is_refused_at_the_start(void **state)
{
    (void)state;
    if (getuid() != 0)
        skip(); /* becoming somebody else takes root */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store_modes modes;
        struct error error;
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(3);
        bool made = make("7", &modes, &error);
        _exit(made ? 1 : strstr(error.text, "reel-storage-file-group.conf") ? 0 : 2);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_daemons_own_group_is_taken_by_number_and_by_default_none),
        cmocka_unit_test(a_group_that_nobody_knows_is_named),
        cmocka_unit_test(a_group_that_files_cannot_be_given_to_is_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
