/*
 * mute_volume: mount(2) with a descriptor of /dev/fuse that nobody reads.
 */
#include "tests/unit/library/mute_volume.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 60

bool mute_volume_mount(const char *directory)
{
    char options[128];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd < 0 || unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
    return mount("mute", directory, "fuse.mute", 0, options) == 0;
}

void mute_volume_in_a_child(int (*check)(void *argument), void *argument)
{
    int status = -1;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(LIMIT_S);
        _exit(check(argument));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == MUTE_VOLUME_SKIPPED) {
        print_message("NO VOLUME CAN BE MOUNTED HERE: NOTHING IS TESTED\n");
        skip();
    }
    assert_true(WIFEXITED(status)); /* else it hung */
    assert_int_equal(WEXITSTATUS(status), 0);
}
