/* Descriptors that were closed when the process began are opened, those that were open stay what they were. */
#include "common/base/standard_files.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static int is_null(int fd)
{
    struct stat status, null;

    return fstat(fd, &status) == 0 && stat("/dev/null", &null) == 0 && S_ISCHR(status.st_mode) &&
           status.st_rdev == null.st_rdev;
}

/* In a child without the descriptors of the mask: 0 when all is as it should be. */
static int check_without(int mask)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int file = open("/", O_RDONLY | O_DIRECTORY), wrong = 0;

        for (int fd = 0; fd < 3; fd++)
            (void)(mask >> fd & 1 ? close(fd) : dup2(file, fd));
        standard_files_open();
        for (int fd = 0; fd < 3; fd++)
            wrong += is_null(fd) != (mask >> fd & 1);
        wrong += open("/", O_RDONLY) < 3; /* the next one is no standard one */
        _exit(wrong);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void closed_ones_become_dev_null_and_open_ones_stay(void **state)
{
    (void)state;
    for (int mask = 0; mask < 8; mask++)
        assert_int_equal(check_without(mask), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(closed_ones_become_dev_null_and_open_ones_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
