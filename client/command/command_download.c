/*
 * command_download: `reel download`: one file to a path of the user's, or any number of files under the names
 * that are stored with them, which other people chose: they are made harmless, and replace nothing.
 */
#include "client/command/command_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

/* NAME as a file's name here: what leads elsewhere, hides, looks like an option or troubles a
 * terminal becomes "_". NULL: nothing is left of it. */
static char *harmless_name(const char *name)
{
    char shown[REEL_NAME_SIZE];
    char *safe;

    if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return NULL;
    safe = strdup(command_printable(name, shown, sizeof(shown)));
    for (size_t i = 0; safe && safe[i] != '\0'; i++)
        if (safe[i] != name[i]) /* byte by byte: a control character became '?' */
            safe[i] = '_';
    for (size_t i = 0; safe && (safe[i] == '.' || safe[i] == '-' || safe[i] == ' '); i++)
        safe[i] = '_';
    return safe;
}

static bool is_directory(const char *path)
{
    struct stat stat_of_path;

    return stat(path, &stat_of_path) == 0 && S_ISDIR(stat_of_path.st_mode);
}

/* Where a file goes under its stored name, in DIRECTORY or here. Owned by the caller; NULL: *RESULT. */
static char *stored_path(struct command *command, const char *id, const char *directory, int *result)
{
    const struct reel_key key = {.file = id};
    struct reel_error error;
    struct reel_file file;
    char *name, *path = NULL;

    if (!reel_stat(command->reel, &key, &file, &error)) {
        *result = command_failed(command, id, &error);
        return NULL;
    }
    name = harmless_name(file.name);
    if (!name)
        name = harmless_name(id);
    if (!name) {
        *result = command_usage(
            &command->options,
            "neither the name nor the ID of file %s can be a file name here; use --output PATH", id);
        return NULL;
    }
    if (asprintf(&path, "%s%s%s", directory ? directory : "", directory ? "/" : "", name) < 0)
        path = NULL;
    free(name);
    *result = COMMAND_FAILED;
    return path;
}

/* ---- one file ---- */

struct target {
    const char *path;      /* NULL: the stored name */
    const char *directory; /* of stored names; NULL: here */
};

static int download_to_path(struct command *command, struct reel_download *download, const char *path,
                            bool stored_name)
{
    struct reel_error error;
    char shown[4096];

    download->exclusive = stored_name; /* nobody here has said that this name may be overwritten */
    if (!reel_download_path(command->reel, download, path, &error)) {
        int result = command_failed(command, download->key.file, &error);

        if (stored_name && error.code == REEL_E_EXISTS)
            command_remark(command, "--output PATH replaces what is there");
        return result;
    }
    if (command->options.json)
        return command_print_json(command,
                                  json_pack("{s:o,s:o}", "file", command_json_text(download->key.file),
                                            "path", command_json_text(path)));
    if (stored_name)
        command_remark(command, "saved as %s", command_printable(path, shown, sizeof(shown)));
    return COMMAND_OK;
}

static int download_to_output(struct command *command, const struct reel_download *download)
{
    struct reel_error error;

    return reel_download_fd(command->reel, download, STDOUT_FILENO, &error)
               ? COMMAND_OK
               : command_failed(command, download->key.file, &error);
}

static int download_one(struct command *command, const char *id, const struct target *target)
{
    const struct command_options *options = &command->options;
    struct reel_download download = {
        .key = {.file = id},
        .offset = options->offset,
        .size = options->size,
        .verify = options->verify,
        .resume = options->resume,
        .progress = command_bar_step,
    };
    int result = COMMAND_OK;
    char *stored = target->path ? NULL : stored_path(command, id, target->directory, &result);
    const char *path = target->path ? target->path : stored;
    struct command_bar *bar;
    char shown[4096], name[REEL_NAME_SIZE];

    if (!path)
        return result;
    if (options->dry_run) {
        result = options->json ? command_print_json(command, json_pack("{s:s,s:o,s:o}", "would", "download",
                                                                       "file", command_json_text(id), "path",
                                                                       command_json_text(path)))
                               : command_print(command, "would download %s to %s\n",
                                               command_printable(id, name, sizeof(name)),
                                               command_printable(path, shown, sizeof(shown)));
        free(stored);
        return result;
    }
    bar = command_bar_begin(command->display, stored ? stored : id);
    download.argument = bar;
    result = strcmp(path, "-") == 0 && target->path ? download_to_output(command, &download)
                                                    : download_to_path(command, &download, path, stored);
    command_bar_end(bar);
    free(stored);
    return result;
}

static int one_of_many(struct command *command, void *items, int number)
{
    return download_one(command, command->arguments[number], items);
}

/* ---- which files, and where to ---- */

/* The form of the file IDs that clients make: 30 hex digits and 6 decimal ones. */
static bool looks_like_id(const char *text)
{
    return strlen(text) == REEL_FILE_ID_SIZE - 1 &&
           strspn(text, "0123456789abcdef") == 30 + strspn(text + 30, "0123456789");
}

/* `download A B`: is B a path, as it is in `download FILE_ID PATH`, or another file? -1: *RESULT. */
static int second_is_path(struct command *command, const char *second, int *result)
{
    const struct reel_key key = {.file = second};
    struct reel_error error;
    struct reel_file file;

    if (strcmp(second, "-") == 0 || strchr(second, '/') || is_directory(second))
        return 1;
    if (looks_like_id(second))
        return 0;
    if (reel_stat(command->reel, &key, &file, &error))
        return 0;
    if (error.code == REEL_E_NOT_FOUND || error.code == REEL_E_MALFORMED)
        return 1;
    *result = command_failed(command, second, &error);
    return -1;
}

/* Takes the old form's PATH out of the arguments. False: *RESULT is the exit code. */
static bool choose_target(struct command *command, struct target *target, int *result)
{
    const struct command_options *options = &command->options;
    int path = 0;

    target->path = options->output;
    target->directory = options->into;
    if (!options->output && !options->into && !options->files_from && command->count == 2) {
        path = second_is_path(command, command->arguments[1], result);
        if (path < 0)
            return false;
    }
    if (path == 1) {
        target->path = command->arguments[1];
        command->count = 1;
    }
    if (target->path && strcmp(target->path, "-") != 0 && is_directory(target->path)) {
        target->directory = target->path;
        target->path = NULL;
    }
    return true;
}

static int check_target(const struct command *command, const struct target *target)
{
    const struct command_options *options = &command->options;
    bool output = target->path && strcmp(target->path, "-") == 0;

    if (options->output && options->into)
        return command_usage(options, "either --output or --into");
    if (target->path && command->count > 1)
        return command_usage(options, "--output is for one file; --into DIR takes many");
    if (target->directory && !is_directory(target->directory))
        return command_usage(options, "--into %s: not a directory", target->directory);
    if ((options->offset != 0 || options->size != 0) && !output)
        return command_usage(options, "--offset and --size are for standard output (-)");
    if (output && (options->resume || options->json))
        return command_usage(options, "-c and --json are not for standard output");
    if (options->resume && !target->path)
        return command_usage(options,
                             "-c needs the path of the file to continue, not a stored name: --output PATH");
    return COMMAND_OK;
}

int command_download(struct command *command)
{
    struct target target;
    int result = COMMAND_OK;

    if (!choose_target(command, &target, &result))
        return result;
    result = check_target(command, &target);
    if (result != COMMAND_OK)
        return result;
    command_display_expect(command->display, command->count, 0);
    return command_each(command, command->count, one_of_many, &target);
}
