/*
 * command_auth: `reel auth`: makes keys for keys files.
 */
#include "client/command/command_internal.h"

#include "common/auth/keys_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int auth_failed(struct command *command, const char *what, const struct error *error)
{
    struct reel_error public = {.code = error->code, .errnum = error->errnum};

    (void)snprintf(public.text, sizeof(public.text), "%s", error->text);
    return command_failed(command, what, &public);
}

/* ---- new-key ---- */

/* Whether KEY, a line for the keys file FD, makes a good file together with what is in it. */
static bool fits_into_file(int fd, const char *path, const char *key, bool *newline, struct error *error)
{
    struct stat status;
    size_t length = strlen(key);
    bool good = fstat(fd, &status) == 0;
    char *text = NULL;

    if (!good)
        return error_set_errno(error, errno, "%s", path);
    if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return error_set(error, ERROR_REFUSED,
                         "%s: a regular file that only its owner can read is expected (chmod 600)", path);
    if (status.st_size > KEYS_FILE_MAX || !(text = malloc((size_t)status.st_size + length + 2)))
        return error_set(error, ERROR_UNAVAILABLE, "%s: too large", path);
    ssize_t size = pread(fd, text, (size_t)status.st_size, 0);
    good = size == (ssize_t)status.st_size;
    if (good) {
        *newline = size > 0 && text[size - 1] != '\n';
        if (*newline)
            text[size++] = '\n';
        memcpy(text + size, key, length);
        struct keys *keys = keys_parse(text, (size_t)size + length, path, error);
        good = keys != NULL;
        keys_release(keys);
        explicit_bzero(text, (size_t)size + length);
    } else {
        error_set_errno(error, size < 0 ? errno : EIO, "%s: cannot read it", path);
    }
    free(text);
    return good;
}

/* The line behind those of PATH, which is made where it is not there, with one write(2). */
static bool append_key(const char *path, const char *key, struct error *error)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW, 0600);
    bool newline = false, good;
    char *line = NULL;
    int length;

    if (fd < 0)
        return error_set_errno(error, errno, "%s: cannot open the keys file", path);
    good = fits_into_file(fd, path, key, &newline, error);
    if (good) {
        length = asprintf(&line, "%s%s\n", newline ? "\n" : "", key);
        good = (length >= 0 && write(fd, line, (size_t)length) == length && fsync(fd) == 0) ||
               error_set_errno(error, errno, "%s: cannot write the key", path);
        if (length >= 0) {
            explicit_bzero(line, (size_t)length);
            free(line);
        }
    }
    if (close(fd) != 0 && good)
        good = error_set_errno(error, errno, "%s: cannot write the key", path);
    return good;
}

/* ROLES ID [FROM [UNTIL]] [OPTION=VALUE...] */
static int auth_new_key(struct command *command)
{
    char rest[2048] = "";
    size_t length = 0;
    struct error error;
    int result = COMMAND_OK;

    if (command->count < 3)
        return command_usage(
            &command->options,
            "auth new-key takes ROLES ID [FROM [UNTIL]] [OPTION=VALUE...], e.g. storage st-2026a "
            "groups=group001");
    for (int i = 3; i < command->count; i++) {
        int more = snprintf(rest + length, sizeof(rest) - length, "%s%s", length > 0 ? " " : "",
                            command->arguments[i]);

        if (more < 0 || (size_t)more >= sizeof(rest) - length)
            return command_usage(&command->options, "auth new-key: the options are too long");
        length += (size_t)more;
    }
    char *line = keys_file_new_line(command->arguments[2], command->arguments[1], rest, &error);
    if (!line)
        return command_usage(&command->options, "auth %s", error.text);
    if (!command->options.output)
        result = command_print(command, "%s\n", line);
    else if (!append_key(command->options.output, line, &error))
        result = auth_failed(command, command->options.output, &error);
    explicit_bzero(line, strlen(line));
    free(line);
    return result;
}

/* ---- the verb ---- */

int command_auth(struct command *command)
{
    static const struct {
        const char *name;
        int (*run)(struct command *command);
    } parts[] = {{"new-key", auth_new_key}};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (strcmp(parts[i].name, command->arguments[0]) == 0)
            return parts[i].run(command);
    return command_usage(&command->options, "auth: there is no \"%s\"; new-key expected",
                         command->arguments[0]);
}
