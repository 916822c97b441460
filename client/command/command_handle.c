/*
 * command_handle: opens the libreel handle of a verb that asks servers: the settings, and the token where one is named.
 */
#include "client/command/command_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say_remark(void *argument, const char *text)
{
    command_remark(argument, "%s", text);
}

/* The token_file's text, owned; NULL with *RESULT COMMAND_OK: there is none. */
static char *read_token_file(struct command *command, int *result)
{
    const char *path = command->settings.token_file;
    char text[4096];
    struct stat file;
    ssize_t got = -1;

    *result = COMMAND_OK;
    if (path[0] == '\0')
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    bool mine = fd >= 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && (file.st_mode & 077) == 0;
    if (mine)
        got = read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        (void)close(fd);
    if (got <= 0) {
        *result =
            command_usage(&command->options, "token_file %s: %s", path,
                          fd < 0 ? strerror(errno)
                          : mine ? "it cannot be read or is empty"
                                 : "a regular file that only its owner can read is expected (chmod 600)");
        return NULL;
    }
    text[got] = '\0';
    char *copy = strdup(text);
    explicit_bzero(text, sizeof(text));
    if (!copy)
        *result = command_usage(&command->options, "no memory");
    return copy;
}

struct reel *command_open_at(struct command *command, const char *trackers, const char *group,
                             const char *moves_from, int *result)
{
    const struct command_settings *settings = &command->settings;
    char *token = read_token_file(command, result);
    const struct reel_options options = {
        .trackers = trackers,
        .group = group,
        .moves_from = moves_from,
        .application = settings->application,
        .user = settings->user[0] != '\0' ? settings->user : NULL,
        .tls_ca = settings->tls_ca[0] != '\0' ? settings->tls_ca : NULL,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .call_timeout_ms = settings->timeout_ms,
        .progress_timeout_ms = settings->progress_timeout_ms,
        .hedge_ms = settings->hedge_ms > 0 ? settings->hedge_ms : -1,
        .tries = (int)settings->tries,
        .keys = settings->keys[0] != '\0' ? settings->keys : NULL,
        .token = token,
        .auth = settings->auth, /* in the same order */
        .traced = command->options.verbose > 0,
        .remark = say_remark,
        .remark_argument = command,
    };
    struct reel_error error;
    struct reel *reel;

    if (*result != COMMAND_OK)
        return NULL;
    if (command->options.verbose > 0)
        (void)setenv("REEL_LOG", command->options.verbose > 1 ? "debug" : "info", 1);
    reel = reel_open(&options, &error);
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
    if (!reel)
        *result = error.errnum != 0 && error.code != REEL_E_MALFORMED
                      ? command_failed(command, "reel", &error)
                      : command_usage(&command->options, "%s", error.text);
    return reel;
}

int command_open_handle(struct command *command)
{
    int result;

    command->reel = command_open_at(command, command->settings.trackers, NULL, NULL, &result);
    if (command->reel && command->options.verbose > 0)
        command_remark(command, "request %s", reel_request(command->reel));
    return result;
}
