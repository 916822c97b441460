/*
 * command_package: `reel upload --package`: stores folders with ready-made HLS or DASH streams
 * (client/package): segments first, several at a time with --parallel, then the playlists, those that others
 * name first. The master playlist comes last, so that its link leads to a whole stream or to nothing.
 */
#include "client/command/command_internal.h"

#include "client/package/package.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct package_upload {
    struct package package;
    struct package_file **parts, **playlists; /* in the order in which they are stored */
    int part_count, playlist_count;
    int64_t bytes, expires;
    atomic_bool failed; /* what is left is not begun */
};

static int package_failed(struct command *command, const char *path, const struct error *why)
{
    struct reel_error error = {.code = why->code, .errnum = why->errnum};

    (void)snprintf(error.text, sizeof(error.text), "%s", why->text);
    return command_failed(command, path, &error);
}

static int compare_order(const void *left, const void *right)
{
    const struct package_file *const *a = left, *const *b = right;

    return (*a)->order - (*b)->order;
}

/* The file's path on the disk; NULL without memory. */
static char *disk_path(const struct package_upload *upload, const struct package_file *file)
{
    char *path;

    return asprintf(&path, "%s/%s", upload->package.folder.path, file->path) < 0 ? NULL : path;
}

static bool sort_files(struct package_upload *upload)
{
    struct package_folder *folder = &upload->package.folder;
    struct stat status;

    upload->parts = calloc(folder->count, sizeof(struct package_file *));
    upload->playlists = calloc(folder->count, sizeof(struct package_file *));
    if (!upload->parts || !upload->playlists)
        return false;
    for (size_t i = 0; i < folder->count; i++) {
        struct package_file *file = &folder->files[i];
        char *path;

        if (file->state == PACKAGE_PLAYLIST) {
            upload->playlists[upload->playlist_count++] = file;
            upload->bytes += (int64_t)file->size;
        } else if (file->state == PACKAGE_PART) {
            upload->parts[upload->part_count++] = file;
            path = disk_path(upload, file);
            upload->bytes += path && stat(path, &status) == 0 ? status.st_size : 0;
            free(path);
        }
    }
    qsort(upload->playlists, (size_t)upload->playlist_count, sizeof(struct package_file *), compare_order);
    return true;
}

static void say_unused(struct command *command, const struct package_upload *upload)
{
    const struct package_folder *folder = &upload->package.folder;

    for (size_t i = 0; i < folder->count; i++)
        if (folder->files[i].state == PACKAGE_UNUSED)
            command_remark(command, "%s: no playlist names it: left out", folder->files[i].path);
}

/* Stores FILE, from memory where it is a playlist. */
static int store(struct command *command, struct package_upload *upload, struct package_file *file)
{
    const char *slash = strrchr(file->path, '/'), *name = slash ? slash + 1 : file->path;
    char *path = disk_path(upload, file), id[REEL_FILE_SIZE];
    struct command_bar *bar = command_bar_begin(command->display, name);
    struct reel_upload options = {.file = file->id,
                                  .name = name,
                                  .expires = upload->expires,
                                  .progress = command_bar_step,
                                  .preparing = command_bar_prepare,
                                  .argument = bar};
    struct reel_error error = {.code = REEL_E_UNAVAILABLE, .text = "no memory"};
    bool good = false;

    if (file->text) {
        options.content_type =
            package_is_dash(file->path) ? "application/dash+xml" : "application/vnd.apple.mpegurl";
        good = reel_upload_memory(command->reel, &options, file->text, file->size, id, &error);
    } else if (path) {
        good = reel_upload_path(command->reel, &options, path, id, &error);
    }
    command_bar_end(bar);
    free(path);
    if (good)
        return COMMAND_OK;
    atomic_store(&upload->failed, true);
    return command_failed(command, file->path, &error);
}

static int store_part(struct command *command, void *items, int number)
{
    struct package_upload *upload = items;

    return atomic_load(&upload->failed) ? COMMAND_OK : store(command, upload, upload->parts[number]);
}

static int store_playlists(struct command *command, struct package_upload *upload)
{
    int result = COMMAND_OK;

    for (int i = 0; i < upload->playlist_count && result == COMMAND_OK; i++)
        result = store(command, upload, upload->playlists[i]);
    return result;
}

static int print_master(struct command *command, const struct package_file *root, const char *argument)
{
    const struct reel_key key = {
        .application = command->settings.application, .user = command->settings.user, .file = root->id};
    const char *http = command->settings.http;
    struct reel_error error;
    char *url = reel_url(NULL, &key, http[0] != '\0' ? http : "/", root->path, &error), shown[4096];
    int result;

    if (!url)
        return command_failed(command, argument, &error);
    if (command->options.json)
        result = command_print_json(command,
                                    json_pack("{s:o,s:o,s:o,s:o,s:s}", "file", command_json_text(root->id),
                                              "application", command_json_text(command->settings.application),
                                              "user", command_json_text(command->settings.user), "path",
                                              command_json_text(argument), "url", url));
    else if (command->count > 1)
        result = command_print(command, "%s\t%s\n", url, command_printable(argument, shown, sizeof(shown)));
    else
        result = command_print(command, "%s\n", url);
    reel_free(url);
    return result;
}

static int store_package(struct command *command, struct package_upload *upload, const char *argument)
{
    char shown[4096], size[32];
    int result;

    if (command->options.dry_run)
        return command_print(command, "would upload %s (%d segments and other parts, %d playlists, %s)\n",
                             command_printable(argument, shown, sizeof(shown)), upload->part_count,
                             upload->playlist_count,
                             command_human((double)upload->bytes, size, sizeof(size)));
    command_display_expect(command->display, upload->part_count + upload->playlist_count, upload->bytes);
    result = command_each(command, upload->part_count, store_part, upload);
    if (result == COMMAND_OK)
        result = store_playlists(command, upload);
    if (result != COMMAND_OK)
        command_remark(
            command, "%s is not completely stored; with --file-id %s the same command stores what is missing",
            argument, upload->package.folder.base);
    for (size_t i = 0; i < upload->package.root_count && result == COMMAND_OK; i++)
        result = print_master(command, upload->package.roots[i], argument);
    return result;
}

static int upload_package(struct command *command, const char *argument, int64_t expires)
{
    struct package_upload upload = {.expires = expires};
    char id[REEL_FILE_ID_SIZE];
    const char *base = command->options.file_id;
    struct reel_error failure;
    struct error error;
    int result;

    if (!base) {
        if (!reel_make_file_id(command->settings.user, id, &failure))
            return command_failed(command, argument, &failure);
        base = id;
    }
    if (!package_read(&upload.package, argument, base, &error)) {
        result = package_failed(command, argument, &error);
    } else if (!sort_files(&upload)) {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory");
        result = package_failed(command, argument, &error);
    } else {
        say_unused(command, &upload);
        result = store_package(command, &upload, argument);
    }
    free(upload.parts);
    free(upload.playlists);
    package_clear(&upload.package);
    return result;
}

int command_upload_packages(struct command *command)
{
    const struct command_options *options = &command->options;
    int64_t expires = 0;
    int result = COMMAND_OK;

    if (options->expires && !command_parse_file_expires(options->expires, &expires))
        return command_usage(options, COMMAND_EXPIRES_EXPECTED, options->expires);
    if (options->name || options->type || options->recursive || options->resume)
        return command_usage(options, "--package takes no --name, --type, --recursive or --resume: names and "
                                      "types are those of the files in the folder");
    if (options->file_id && command->count > 1)
        return command_usage(options, "--file-id is for one package");
    for (int i = 0; i < command->count && atomic_load(&command->ended_by) == 0; i++) {
        int one = upload_package(command, command->arguments[i], expires);

        result = result == COMMAND_OK ? one : result;
    }
    return result;
}
