/*
 * command_state: a directory made step by step, and a digest as a name.
 */
#include "client/command/command_state.h"

#include "common/proto/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* DIRECTORY and what is above it, for this user alone. */
static bool state_make_directory(char *directory, struct error *error)
{
    for (char *slash = strchr(directory + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool fine = mkdir(directory, 0700) == 0 || errno == EEXIST;

        if (!fine)
            return error_set_errno(error, errno, "cannot make the directory %s", directory);
        *slash = '/';
    }
    return true;
}

/* What distinguishes this upload from others. */
static bool state_name(const struct command *command, const char *path, char name[DIGEST_HEX_SIZE],
                       struct error *error)
{
    const char *file_id = command->options.file_id;
    char *real = realpath(path, NULL);
    struct digest *digest = digest_create();
    const char *const parts[] = {command->settings.trackers, command->settings.application,
                                 command->settings.user, file_id ? file_id : "", real};
    uint8_t bytes[PROTO_DIGEST_SIZE];
    bool fine = real && digest;

    if (!real)
        (void)error_set_errno(error, errno, "%s", path);
    else if (!digest)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
    for (size_t i = 0; fine && i < ARRAY_SIZE(parts); i++)
        digest_update(digest, parts[i], strlen(parts[i]) + 1);
    if (fine) {
        digest_final(digest, bytes);
        digest_to_hex(bytes, name);
    }
    digest_destroy(digest);
    free(real);
    return fine;
}

char *command_state_path(const struct command *command, const char *path, struct error *error)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char name[DIGEST_HEX_SIZE], *file = NULL;
    int size;

    if (!state_name(command, path, name, error))
        return NULL;
    if (state && state[0] == '/')
        size = asprintf(&file, "%s/reelstore/uploads/%s", state, name);
    else if (home && home[0] == '/')
        size = asprintf(&file, "%s/.local/state/reelstore/uploads/%s", home, name);
    else {
        (void)error_set(error, ERROR_GENERAL, "neither XDG_STATE_HOME nor HOME names a directory");
        return NULL;
    }
    if (size < 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
        return NULL;
    }
    if (state_make_directory(file, error))
        return file;
    free(file);
    return NULL;
}
