/*
 * command_transfer: `reel upload` and `reel download`. Declared in command_internal.h.
 */
#include "client/command/command_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- upload ---- */

static int print_uploaded(const struct command *command, const char *path, const char *file_id)
{
    json_t *object;

    if (!command->options.json)
        return printf("%s\n", file_id) > 0 ? COMMAND_OK : COMMAND_FAILED;
    object = json_pack("{s:s,s:s,s:s,s:s*}", "file", file_id, "application", command->settings.application,
                       "user", command->settings.user, "path", path);
    return command_print_json(object);
}

static int upload_one(struct command *command, const char *path)
{
    bool standard_input = strcmp(path, "-") == 0;
    struct command_progress progress;
    struct reel_upload upload = {
        .file = command->options.file_id,
        .name = command->options.name,
        .content_type = command->options.type,
        .progress = command_progress_step,
        .argument = &progress,
    };
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    bool fine;

    command_progress_begin(&progress, command, standard_input ? "standard input" : path);
    fine = standard_input ? reel_upload_fd(command->reel, &upload, STDIN_FILENO, -1, file_id, &error)
                          : reel_upload_path(command->reel, &upload, path, file_id, &error);
    command_progress_end(&progress);
    return fine ? print_uploaded(command, path, file_id) : command_failed(command, path, &error);
}

int command_upload(struct command *command)
{
    int result = COMMAND_OK;

    if (command->count > 1 && (command->options.file_id != NULL || command->options.name != NULL)) {
        fputs("reel: --file-id and --name are for one file\n", stderr);
        return COMMAND_USAGE;
    }
    for (int i = 0; i < command->count; i++) {
        int one = upload_one(command, command->arguments[i]);

        if (result == COMMAND_OK)
            result = one;
    }
    return result;
}

/* ---- download ---- */

/* A name that a server gives must not lead anywhere else than here. */
static bool name_is_plain(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Where to: PATH itself; in a directory, or without PATH, under the stored name, else under the file ID.
 * Owned by the caller; NULL: *RESULT is the exit code. */
static char *choose_path(struct command *command, const struct reel_key *key, const char *path, int *result)
{
    struct reel_error error;
    struct reel_file file;
    const char *name = key->file;
    struct stat stat_of_path;
    char *chosen;

    if (path != NULL && (stat(path, &stat_of_path) != 0 || !S_ISDIR(stat_of_path.st_mode))) {
        chosen = strdup(path);
        *result = COMMAND_FAILED;
        return chosen;
    }
    if (!reel_stat(command->reel, key, &file, &error)) {
        *result = command_failed(command, key->file, &error);
        return NULL;
    }
    if (name_is_plain(file.name))
        name = file.name;
    if (!name_is_plain(name)) {
        fprintf(stderr, "reel: neither name nor ID of the file can be a file's name here: give a PATH\n");
        *result = COMMAND_USAGE;
        return NULL;
    }
    *result = COMMAND_FAILED;
    if (asprintf(&chosen, "%s%s%s", path != NULL ? path : "", path != NULL ? "/" : "", name) < 0)
        return NULL;
    /* Nobody here has said that this name may be overwritten. */
    if (!command->options.resume && access(chosen, F_OK) == 0) {
        fprintf(stderr, "reel: %s exists: give a PATH to replace it, or -c\n", chosen);
        *result = COMMAND_EXISTS;
        free(chosen);
        return NULL;
    }
    return chosen;
}

static int download_to_path(struct command *command, struct reel_download *download, const char *path)
{
    struct reel_error error;
    int result = COMMAND_FAILED;
    char *chosen;

    if (download->offset != 0 || download->size != 0) {
        fputs("reel: --offset and --size are for standard output (-)\n", stderr);
        return COMMAND_USAGE;
    }
    chosen = choose_path(command, &download->key, path, &result);
    if (chosen == NULL)
        return result;
    if (!reel_download_path(command->reel, download, chosen, &error)) {
        result = command_failed(command, download->key.file, &error);
    } else if (command->options.json) {
        result = command_print_json(json_pack("{s:s,s:s}", "file", download->key.file, "path", chosen));
    } else {
        result = COMMAND_OK;
        if (!command->options.quiet && (path == NULL || strcmp(path, chosen) != 0))
            fprintf(stderr, "reel: saved as %s\n", chosen);
    }
    free(chosen);
    return result;
}

int command_download(struct command *command)
{
    const char *path = command->count > 1 ? command->arguments[1] : NULL;
    struct command_progress progress;
    struct reel_download download = {
        .key = {.file = command->arguments[0]},
        .offset = command->options.offset,
        .size = command->options.size,
        .verify = command->options.verify,
        .resume = command->options.resume,
        .progress = command_progress_step,
        .argument = &progress,
    };
    struct reel_error error;
    int result;

    command_progress_begin(&progress, command, download.key.file);
    if (path == NULL || strcmp(path, "-") != 0) {
        result = download_to_path(command, &download, path);
    } else if (command->options.resume || command->options.json) {
        fputs("reel: -c and --json are not for standard output\n", stderr);
        result = COMMAND_USAGE;
    } else if (reel_download_fd(command->reel, &download, STDOUT_FILENO, &error)) {
        result = COMMAND_OK;
    } else {
        result = command_failed(command, download.key.file, &error);
    }
    command_progress_end(&progress);
    return result;
}
