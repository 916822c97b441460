/*
 * command_copy: `reel cp`: files of one user stored once more for another one. The content passes through an unlinked
 * temporary file here, since the two users may belong to groups that share nothing; the copy must have the digest of what
 * was read, and that is the stored one.
 */
#include "client/command/command_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int command_temporary_file(struct reel_error *error)
{
    const char *directory = getenv("TMPDIR");

    if (!directory || directory[0] == '\0')
        directory = "/var/tmp";
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    *error = (struct reel_error){.code = REEL_E_IO, .errnum = errno};
    (void)snprintf(error->text, sizeof(error->text), "no temporary file in %.200s: %.200s", directory,
                   strerror(errno));
    return -1;
}

/* SOURCE's content, through FD, to the user who is to have it. COPY: the new file. */
static bool copy_content(struct command *command, const struct reel_file *source, int fd,
                         char copy[REEL_FILE_SIZE], struct reel_error *error)
{
    const struct command_options *options = &command->options;
    char label[REEL_NAME_SIZE];
    struct command_bar *bar = command_bar_begin(
        command->display,
        command_printable(source->name[0] != '\0' ? source->name : source->file, label, sizeof(label)));
    const struct reel_download download = {.key = {.file = source->file},
                                           .verify = source->digest[0] != '\0',
                                           .progress = command_bar_prepare,
                                           .argument = bar};
    const struct reel_upload upload = {.user = options->to,
                                       .file = options->file_id,
                                       .name = options->name ? options->name : source->name,
                                       .content_type =
                                           source->content_type[0] != '\0' ? source->content_type : NULL,
                                       .progress = command_bar_step,
                                       .argument = bar};
    bool fine = reel_download_fd(command->reel, &download, fd, error);

    if (fine && lseek(fd, 0, SEEK_SET) != 0) {
        *error = (struct reel_error){
            .code = REEL_E_IO, .errnum = errno, .text = "the temporary file cannot be read"};
        fine = false;
    }
    fine = fine && reel_upload_fd(command->reel, &upload, fd, source->size, copy, error);
    command_bar_end(bar);
    return fine;
}

/* Has the copy the bytes of SOURCE? A source without a digest (an old row) was compared while it was sent. */
static bool copy_is_same(struct command *command, const struct reel_file *source, const char *copy,
                         struct reel_error *error)
{
    const struct reel_key key = {.user = command->options.to, .file = copy};
    struct reel_file stored;

    if (!reel_stat(command->reel, &key, &stored, error))
        return false;
    if (stored.size == source->size &&
        (source->digest[0] == '\0' || strcmp(stored.digest, source->digest) == 0))
        return true;
    *error = (struct reel_error){.code = REEL_E_DIGEST, .text = "the copy has other bytes than the file"};
    return false;
}

static int copy_say(struct command *command, const struct reel_file *source, const char *copy)
{
    char shown[REEL_FILE_SIZE], from[REEL_FILE_SIZE];
    bool several = command->count > 1;
    int result;

    (void)command_printable(copy, shown, sizeof(shown));
    (void)command_printable(source->file, from, sizeof(from));
    if (command->options.json)
        result = command_print_json(command, json_pack("{s:o,s:o,s:o}", "file", command_json_text(copy), "of",
                                                       command_json_text(source->file), "user",
                                                       command_json_text(command->options.to)));
    else
        result = command_print(command, "%s%s%s\n", shown, several ? "\t" : "", several ? from : "");
    if (result != COMMAND_OK) /* nobody else would know of it */
        fprintf(stderr, "reel: %s: stored, under the file ID %s\n", from, shown);
    return result;
}

/* The copy may exist all the same; then another try must not make a second one. */
static int copy_failed(struct command *command, const char *id, const char *copy,
                       const struct reel_error *error)
{
    if (copy[0] != '\0' && error->code != REEL_E_DIGEST)
        command_remark(command, "%s: if the copy was stored after all, its file ID is %s", id, copy);
    return command_failed(command, id, error);
}

static int copy_would(struct command *command, const struct reel_file *source)
{
    char id[REEL_FILE_SIZE], name[REEL_NAME_SIZE], user[REEL_NAME_SIZE];

    if (command->options.json)
        return command_print_json(command, json_pack("{s:s,s:o,s:o}", "would", "copy", "file",
                                                     command_json_text(source->file), "user",
                                                     command_json_text(command->options.to)));
    return command_print(command, "would copy %s %s to user %s\n",
                         command_printable(source->file, id, sizeof(id)),
                         command_printable(source->name, name, sizeof(name)),
                         command_printable(command->options.to, user, sizeof(user)));
}

static int copy_one(struct command *command, const char *id)
{
    const struct reel_key key = {.file = id};
    char copy[REEL_FILE_SIZE] = "";
    struct reel_file source;
    struct reel_error error;

    if (!reel_stat(command->reel, &key, &source, &error))
        return command_failed(command, id, &error);
    if (source.deleted) {
        error = (struct reel_error){.code = REEL_E_DELETED, .text = "the file is deleted"};
        return command_failed(command, id, &error);
    }
    if (command->options.dry_run)
        return copy_would(command, &source);
    int fd = command_temporary_file(&error);
    bool fine = fd >= 0 && copy_content(command, &source, fd, copy, &error) &&
                copy_is_same(command, &source, copy, &error);
    if (fd >= 0)
        (void)close(fd);
    return fine ? copy_say(command, &source, copy) : copy_failed(command, id, copy, &error);
}

int command_cp(struct command *command)
{
    const struct command_options *options = &command->options;

    if (!options->to || options->to[0] == '\0')
        return command_usage(options, "cp needs the user who gets the copy: --to USER");
    if (command->count > 1 && (options->file_id || options->name))
        return command_usage(options, "--name and --file-id are for one file, not for %d", command->count);
    if (strcmp(options->to, command->settings.user) == 0 && options->file_id && command->count == 1 &&
        strcmp(options->file_id, command->arguments[0]) == 0)
        return command_usage(options, "a file cannot be copied onto itself");
    return command_each_argument(command, copy_one);
}
