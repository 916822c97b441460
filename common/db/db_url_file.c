/*
 * db_url_file: finds the file, reads at most a few kilobytes of it, and wants exactly one line.
 */
#include "common/db/db_url_file.h"

#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 4096

static bool url_file_find(const char *name, char path[PATH_MAX], struct error *error)
{
    const char *directory = "";

    if (!strchr(name, '/')) {
        directory = getenv("CREDENTIALS_DIRECTORY");
        if (!directory)
            return error_set(error, ERROR_GENERAL,
                             "%s: a name without a slash names a credential, and the service manager passed "
                             "none (LoadCredential=%s:/path in the unit); set it there, or give a path",
                             name, name);
    }
    int length = snprintf(path, PATH_MAX, "%s%s%s", directory, directory[0] != '\0' ? "/" : "", name);
    return (length >= 0 && length < PATH_MAX) ||
           error_set(error, ERROR_GENERAL, "%s: the path is too long", name);
}

/* Reads the whole file. -1: see ERROR. */
static ssize_t url_file_read_all(const char *path, char *text, size_t room, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat file = {0};
    size_t size = 0;
    ssize_t part = -1;

    if (fd < 0 || fstat(fd, &file) != 0)
        goto fail;
    if (S_ISREG(file.st_mode) && (file.st_mode & S_IROTH) != 0)
        log_warning("db", "%s: every user of this machine can read it; chmod 640 or 600", path);
    while (size < room && (part = read(fd, text + size, room - size)) > 0)
        size += (size_t)part;
    if (part < 0)
        goto fail;
    (void)close(fd); /* opened for reading */
    return (ssize_t)size;
fail:
    error_set_errno(error, errno, "%s: cannot read it", path);
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

char *db_url_file_read(const char *name, struct error *error)
{
    char path[PATH_MAX], text[FILE_MAX + 1] = "", *url = NULL;

    if (!url_file_find(name, path, error))
        return NULL;
    ssize_t size = url_file_read_all(path, text, FILE_MAX, error);
    if (size < 0)
        return NULL;
    const char *line = text + strspn(text, " \t\r\n");
    size_t length = strcspn(line, "\r\n");
    const char *rest = line + length;
    if (size == FILE_MAX || strlen(text) != (size_t)size || length == 0 ||
        rest[strspn(rest, " \t\r\n")] != '\0') {
        error_set(error, ERROR_GENERAL, "%s: one line is expected, the URL of the database", path);
    } else {
        while (line[length - 1] == ' ' || line[length - 1] == '\t')
            length--;
        url = strndup(line, length);
        if (!url)
            error_set(error, ERROR_UNAVAILABLE, "%s: no memory", path);
    }
    explicit_bzero(text, sizeof(text));
    return url;
}

void db_url_file_forget(char *url)
{
    if (url)
        explicit_bzero(url, strlen(url));
    free(url);
}
