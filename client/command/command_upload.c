/*
 * command_upload: `reel upload`: files, standard input, and with -r what is in directories; several at a time
 * with --parallel. Each file ID is printed at once.
 */
#include "client/command/command_internal.h"
#include "client/command/command_state.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UPLOAD_LARGE (INT64_C(64) << 20) /* bytes; uploads of as many or more can always be resumed */

struct uploads {
    char **paths; /* owned, each too */
    int count;
    bool several;    /* each ID is printed with its path */
    int64_t expires; /* as in struct reel_upload */
};

static void uploads_clear(struct uploads *uploads)
{
    for (int i = 0; i < uploads->count; i++)
        free(uploads->paths[i]);
    free(uploads->paths);
}

static bool uploads_add(struct uploads *uploads, const char *path)
{
    char **paths = realloc(uploads->paths, (size_t)(uploads->count + 1) * sizeof(*paths));
    char *copy = strdup(path);

    if (paths)
        uploads->paths = paths;
    if (!paths || !copy) {
        free(copy);
        return false;
    }
    uploads->paths[uploads->count++] = copy;
    return true;
}

static int upload_local_failure(struct command *command, const char *path, int errnum, const char *why)
{
    struct reel_error error = {.code = REEL_E_IO, .errnum = errnum};

    (void)snprintf(error.text, sizeof(error.text), "%s", why);
    return command_failed(command, path, &error);
}

/* The regular files below PATH, in the order of their names; links below it are not followed. */
static int uploads_add_directory(struct command *command, struct uploads *uploads, char *path)
{
    char *paths[] = {path, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
    int result = COMMAND_OK;
    FTSENT *entry;

    if (!tree)
        return upload_local_failure(command, path, errno, strerror(errno));
    while ((errno = 0, entry = fts_read(tree))) {
        if (entry->fts_info == FTS_F && !uploads_add(uploads, entry->fts_path))
            result = upload_local_failure(command, entry->fts_path, ENOMEM, "no memory");
        else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            result =
                upload_local_failure(command, entry->fts_path, entry->fts_errno, strerror(entry->fts_errno));
        else if (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE)
            command_remark(command, "%s: a symbolic link: left out", entry->fts_path);
        else if (entry->fts_info == FTS_DEFAULT)
            command_remark(command, "%s: no regular file: left out", entry->fts_path);
    }
    if (errno != 0)
        result = upload_local_failure(command, path, errno, strerror(errno));
    (void)fts_close(tree);
    return result;
}

/* All files of the arguments. Returns the exit code of what could not be taken; the rest is taken. */
static int uploads_collect(struct command *command, struct uploads *uploads)
{
    struct stat stat_of_path;
    int result = COMMAND_OK;

    for (int i = 0; i < command->count; i++) {
        char *path = command->arguments[i];
        int one = COMMAND_OK;

        if (command->options.recursive && strcmp(path, "-") != 0 && stat(path, &stat_of_path) == 0 &&
            S_ISDIR(stat_of_path.st_mode))
            one = uploads_add_directory(command, uploads, path);
        else if (!uploads_add(uploads, path))
            one = upload_local_failure(command, path, ENOMEM, "no memory");
        if (result == COMMAND_OK)
            result = one;
    }
    uploads->several =
        command->count > 1 || uploads->count > 1 || command->options.recursive || command->options.files_from;
    return result;
}

static int64_t uploads_bytes(const struct uploads *uploads)
{
    struct stat stat_of_path;
    int64_t bytes = 0;

    for (int i = 0; i < uploads->count; i++)
        if (stat(uploads->paths[i], &stat_of_path) == 0 && S_ISREG(stat_of_path.st_mode))
            bytes += stat_of_path.st_size;
    return bytes;
}

static int print_uploaded(struct command *command, const char *path, const char *file_id, bool several)
{
    char shown[4096];
    int result;

    (void)command_printable(path, shown, sizeof(shown));
    if (command->options.json)
        result = command_print_json(
            command, json_pack("{s:o,s:o,s:o,s:o}", "file", command_json_text(file_id), "application",
                               command_json_text(command->settings.application), "user",
                               command_json_text(command->settings.user), "path", command_json_text(path)));
    else
        result = command_print(command, "%s%s%s\n", file_id, several ? "\t" : "", several ? shown : "");
    if (result != COMMAND_OK) /* nobody else would know of it */
        fprintf(stderr, "reel: %s: stored, under the file ID %s\n", shown, file_id);
    return result;
}

static int upload_dry_run(struct command *command, const char *path, bool standard_input)
{
    struct stat stat_of_path;
    char shown[4096], size[32];
    bool json = command->options.json;

    if (standard_input)
        return json ? command_print_json(command,
                                         json_pack("{s:s,s:s,s:n}", "would", "upload", "path", path, "size"))
                    : command_print(command, "would upload standard input\n");
    if (stat(path, &stat_of_path) != 0)
        return upload_local_failure(command, path, errno, strerror(errno));
    if (S_ISDIR(stat_of_path.st_mode))
        return upload_local_failure(command, path, EISDIR, "it is a directory; -r uploads what is in it");
    if (json)
        return command_print_json(command, json_pack("{s:s,s:o,s:I}", "would", "upload", "path",
                                                     command_json_text(path), "size",
                                                     (json_int_t)stat_of_path.st_size));
    return command_print(command, "would upload %s (%s)\n", command_printable(path, shown, sizeof(shown)),
                         command_human((double)stat_of_path.st_size, size, sizeof(size)));
}

/* The state of an upload that can be resumed: of any file with -c, and of a large one. NULL: none. */
static char *upload_state(struct command *command, const char *path, const struct stat *status)
{
    struct error why = {0};
    bool resume = command->options.resume;
    char *state;

    if (!S_ISREG(status->st_mode) || (!resume && status->st_size < UPLOAD_LARGE))
        return NULL;
    state = command_state_path(command, path, &why);
    if (!state)
        command_remark(command, "%s: this upload cannot be resumed if it is interrupted: %s", path, why.text);
    return state;
}

static bool may_be_stored(const struct reel_error *error)
{
    return error->code == REEL_E_CANCELLED || error->code == REEL_E_CONNECTION ||
           error->code == REEL_E_TIMEOUT;
}

/* What the user can do about it. */
static void upload_explain(struct command *command, const char *path, const char *state, const char *file_id,
                           const struct reel_error *error)
{
    if (state && access(state, F_OK) == 0)
        command_remark(command,
                       "%s: the same command with -c continues where it stopped; without -c it starts over",
                       path);
    else if (file_id[0] != '\0' && may_be_stored(error)) /* its last reply may have been lost */
        command_remark(command, "%s: if it was stored after all, its file ID is %s", path, file_id);
}

/* Of --parallel, what is left for each of the files that go at the same time. */
static short upload_pieces(const struct command *command, const struct uploads *uploads)
{
    int64_t parallel = min_i64(command->options.parallel, COMMAND_PARALLEL_MAX);

    return (short)(parallel / max_i64(min_i64(parallel, uploads->count), 1));
}

static int upload_one(struct command *command, void *items, int number)
{
    const struct uploads *uploads = items;
    const char *path = uploads->paths[number], *slash = strrchr(path, '/');
    bool standard_input = strcmp(path, "-") == 0, fine;
    struct command_bar *bar;
    struct reel_upload upload = {
        .file = command->options.file_id,
        .name = command->options.name,
        .content_type = command->options.type,
        .expires = uploads->expires,
        .progress = command_bar_step,
        .preparing = command_bar_prepare,
    };
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct stat stat_of_path = {0};
    char *state;

    if (command->options.dry_run)
        return upload_dry_run(command, path, standard_input);
    if (!standard_input && stat(path, &stat_of_path) == 0 && S_ISDIR(stat_of_path.st_mode))
        return upload_local_failure(command, path, EISDIR, "it is a directory; -r uploads what is in it");
    state = standard_input ? NULL : upload_state(command, path, &stat_of_path);
    upload.state = state;
    upload.fresh = !command->options.resume;
    upload.pieces = upload_pieces(command, uploads);
    atomic_fetch_add(&command->resumable, state ? 1 : 0);
    bar = command_bar_begin(command->display, standard_input ? "standard input" : slash ? slash + 1 : path);
    upload.argument = bar;
    fine = standard_input ? reel_upload_fd(command->reel, &upload, STDIN_FILENO, -1, file_id, &error)
                          : reel_upload_path(command->reel, &upload, path, file_id, &error);
    command_bar_end(bar);
    atomic_fetch_sub(&command->resumable, state ? 1 : 0);
    if (!fine)
        upload_explain(command, path, state, file_id, &error);
    free(state);
    return fine ? print_uploaded(command, path, file_id, uploads->several)
                : command_failed(command, path, &error);
}

/* How often the line asks for standard input, which ends once: a second one would be stored as an empty file. */
static int uploads_of_input(const struct command *command)
{
    const char *list = command->options.files_from;
    int count = list && strcmp(list, "-") == 0;

    for (int i = 0; i < command->count; i++)
        count += strcmp(command->arguments[i], "-") == 0;
    return count;
}

int command_upload(struct command *command)
{
    const struct command_options *options = &command->options;
    struct uploads uploads = {0};
    int result, sent;

    if (options->package)
        return command_upload_packages(command);
    if (options->expires && !command_parse_file_expires(options->expires, &uploads.expires))
        return command_usage(options, COMMAND_EXPIRES_EXPECTED, options->expires);
    if (uploads_of_input(command) > 1)
        return command_usage(options, "standard input (-) can be read once only");
    result = uploads_collect(command, &uploads);

    if (uploads.several && (options->file_id || options->name) && (uploads.count > 1 || options->recursive)) {
        uploads_clear(&uploads);
        return command_usage(options, "--file-id and --name are for one file");
    }
    command_display_expect(command->display, uploads.count, uploads_bytes(&uploads));
    sent = command_each(command, uploads.count, upload_one, &uploads);
    uploads_clear(&uploads);
    return result != COMMAND_OK ? result : sent;
}
