/*
 * standard_files: open(2) gives the lowest free number, so closed ones are filled from below.
 */
#include "common/base/standard_files.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void standard_files_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd)
            _exit(1);
    }
}
