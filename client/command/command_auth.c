/*
 * command_auth: `reel auth`: makes keys and tokens, verifies tokens and audit logs, asks a tracker who it takes us for.
 */
#include "client/command/command_internal.h"

#include "common/auth/audit_verify.h"
#include "common/auth/keys_file.h"
#include "common/auth/token.h"
#include "common/base/clock.h"

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

/* Appends the line to PATH, which is made where it is not there, with one write(2). */
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

/* ---- token ---- */

/* What the settings name, opened: the keys file and the key in it. NULL: *RESULT is the exit code. */
static struct keys *open_keys(struct command *command, const struct key **key, int *result)
{
    char id[KEY_ID_SIZE];
    struct error error;
    const char *setting = command->settings.keys;

    if (setting[0] == '\0') {
        *result = command_usage(&command->options,
                                "auth %s needs a keys file: REEL_KEYS=[ID@]FILE, or `keys` under "
                                "[client] in ~/.config/reel.conf",
                                command->arguments[0]);
        return NULL;
    }
    struct keys *keys = keys_load(keys_setting_split(setting, id), &error);
    if (!keys) {
        *result = auth_failed(command, setting, &error);
        return NULL;
    }
    *key = id[0] != '\0' ? keys_find(keys, id) : NULL;
    for (size_t i = 0; id[0] == '\0' && i < keys->count; i++)
        if (key_has_role(&keys->items[i], KEY_ROLE_ISSUER))
            *key = &keys->items[i];
    return keys;
}

static bool command_fill_token(const struct command *command, const struct key *key,
                               struct proto_token *token, struct error *error)
{
    const struct command_options *options = &command->options;
    const struct command_settings *settings = &command->settings;
    unsigned rights = KEY_RIGHT_READ;

    if (!key)
        return error_set(error, ERROR_NOT_FOUND,
                         "the keys file has no such key, or none with the role issuer");
    if (!command_parse_expires(options->expires ? options->expires : "1h", &token->expires))
        return error_set(error, ERROR_MALFORMED,
                         "--expires %s: a time (30m, 6h, 7d) or a date (2026-11-28[T12:00:00Z]) is expected",
                         options->expires);
    if (token->expires <= clock_wall_seconds())
        return error_set(error, ERROR_MALFORMED, "--expires %s: that time has passed", options->expires);
    if (options->rights && !key_rights_parse(options->rights, &rights))
        return error_set(error, ERROR_MALFORMED,
                         "--rights %s: letters of rwdl are expected (read, write, delete, list)",
                         options->rights);
    token->rights = (uint8_t)rights;
    token->has_prefix = options->prefix != NULL;
    if (snprintf(token->application, sizeof(token->application), "%s", settings->application) >=
            (int)sizeof(token->application) ||
        snprintf(token->user, sizeof(token->user), "%s", settings->user) >= (int)sizeof(token->user) ||
        snprintf(token->prefix, sizeof(token->prefix), "%s", options->prefix ? options->prefix : "") >=
            (int)sizeof(token->prefix))
        return error_set(error, ERROR_MALFORMED, "application, user ID or --prefix is too long");
    return true;
}

static int command_make_token(struct command *command)
{
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    char text[TOKEN_TEXT_SIZE];
    struct proto_token token = {0};
    const struct key *key = NULL;
    int result = COMMAND_OK;
    struct error error;

    if (command->settings.user[0] == '\0')
        return command_usage(&command->options, "auth token needs a user: -u ID");
    struct keys *keys = open_keys(command, &key, &result);
    if (!keys)
        return result;
    size_t size =
        command_fill_token(command, key, &token, &error) ? token_sign(key, &token, body, &error) : 0;
    keys_release(keys);
    if (size == 0)
        return error.code == ERROR_MALFORMED ? command_usage(&command->options, "auth token: %s", error.text)
                                             : auth_failed(command, "auth token", &error);
    token_format(body, size, text);
    if (command->options.json)
        result = command_print_json(
            command, json_pack("{s:s,s:I}", "token", text, "expires", (json_int_t)token.expires));
    else
        result = command_print(command, "%s\n", text);
    explicit_bzero(text, sizeof(text));
    return result;
}

/* ---- verify ---- */

/* REEL_TOKEN, else standard input. */
static bool command_read_token(char *text, size_t size)
{
    const char *given = getenv("REEL_TOKEN");

    if (given && given[0] != '\0')
        return (size_t)snprintf(text, size, "%s", given) < size;
    size_t got = fread(text, 1, size - 1, stdin);
    text[got] = '\0';
    return got > 0 && got < size - 1;
}

static int auth_verify(struct command *command)
{
    char text[TOKEN_TEXT_SIZE + 16], rights[8], from[COMMAND_TIME_SIZE], until[COMMAND_TIME_SIZE],
        user[PROTO_USER_SIZE];
    char prefix[PROTO_FILE_SIZE];
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    struct proto_token token = {0};
    const struct key *key = NULL;
    int result = COMMAND_OK;
    struct error error;

    size_t size = command_read_token(text, sizeof(text)) ? token_parse(text, body) : 0;
    if (size == 0)
        return command_usage(&command->options,
                             "auth verify reads a token from REEL_TOKEN or standard input; there is none");
    struct keys *keys = open_keys(command, &key, &result);
    if (!keys)
        return result;
    bool good = token_verify(keys, body, size, clock_wall_seconds(), &token, NULL, &error);
    keys_release(keys);
    if (!good && token.issuer[0] == '\0')
        return auth_failed(command, "auth verify", &error);
    (void)key_rights_format(token.rights, rights);
    if (command->options.json)
        result = command_print_json(
            command, json_pack("{s:b,s:s,s:s,s:o,s:s,s:I,s:I,s:o}", "valid", (int)good, "issuer",
                               token.issuer, "application", token.application, "user",
                               command_json_text(token.user), "rights", rights, "not_before",
                               (json_int_t)token.not_before, "expires", (json_int_t)token.expires, "prefix",
                               token.has_prefix ? command_json_text(token.prefix) : json_null()));
    else
        result = command_print(
            command,
            "issuer       %s\napplication  %s\nuser         %s\nrights       %s\nfiles        %s%s\n"
            "from         %s\nuntil        %s\n",
            token.issuer, token.application, command_printable(token.user, user, sizeof(user)), rights,
            token.has_prefix ? "those that begin with " : "all",
            command_printable(token.prefix, prefix, sizeof(prefix)), command_time(token.not_before, from),
            command_time(token.expires, until));
    return good ? result : auth_failed(command, "auth verify", &error);
}

/* ---- whoami ---- */

bool command_auth_asks(const struct command *command)
{
    return command->verb->run == command_auth && strcmp(command->arguments[0], "whoami") == 0;
}

static int auth_whoami(struct command *command)
{
    struct reel_error error;
    int result;

    char *text = reel_whoami(command->reel, &error);
    if (!text)
        return command_failed(command, "auth whoami", &error);
    result = command_print(command, "%s\n", text);
    reel_free(text);
    return result;
}

/* ---- audit-verify ---- */

static int tell_verdict(struct command *command, const char *file, const struct audit_verdict *verdict)
{
    if (command->options.json)
        return command_print_json(
            command, json_pack("{s:s,s:I,s:I,s:I,s:s,s:s}", "file", file, "lines", (json_int_t)verdict->lines,
                               "unlinked", (json_int_t)verdict->unlinked, "torn", (json_int_t)verdict->torn,
                               "follows", verdict->follows, "last", verdict->last));
    return command_print(
        command, "%s: %zu lines, the chain holds (%zu without a link, %zu cut by a crash)%s%s%s%s\n", file,
        verdict->lines, verdict->unlinked, verdict->torn, verdict->last[0] != '\0' ? "; it follows " : "",
        verdict->follows, verdict->last[0] != '\0' ? " and ends with " : "", verdict->last);
}

/* FILE, which continues where BEFORE ended; BEFORE becomes its end. */
static int auth_verify_file(struct command *command, const struct keys *keys, const char *file,
                            char before[AUDIT_LINK_HEX + 1])
{
    struct audit_verdict verdict;
    struct error error;
    bool good = audit_verify(file, keys, &verdict, &error);

    if (good && before[0] != '\0' && strcmp(before, verdict.follows) != 0)
        good = error_set(&error, ERROR_DIGEST,
                         "%s: it does not go on where the file before it ends: it follows %s, not %s", file,
                         verdict.follows[0] != '\0' ? verdict.follows : "nothing", before);
    if (!good)
        return auth_failed(command, "audit-verify", &error);
    memcpy(before, verdict.last, AUDIT_LINK_HEX + 1);
    return tell_verdict(command, file, &verdict);
}

static int auth_audit_verify(struct command *command)
{
    const struct key *key = NULL;
    int result = COMMAND_OK;
    char before[AUDIT_LINK_HEX + 1] = "";

    if (command->count < 2)
        return command_usage(&command->options, "auth audit-verify takes FILE..., the oldest first");
    struct keys *keys = open_keys(command, &key, &result);
    if (!keys)
        return result;
    for (int i = 1; i < command->count && result == COMMAND_OK; i++)
        result = auth_verify_file(command, keys, command->arguments[i], before);
    keys_release(keys);
    return result;
}

/* ---- the verb ---- */

int command_auth(struct command *command)
{
    static const struct {
        const char *name;
        int (*run)(struct command *command);
    } parts[] = {{"new-key", auth_new_key},
                 {"token", command_make_token},
                 {"verify", auth_verify},
                 {"whoami", auth_whoami},
                 {"audit-verify", auth_audit_verify}};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (strcmp(parts[i].name, command->arguments[0]) == 0)
            return parts[i].run(command);
    return command_usage(&command->options,
                         "auth: there is no \"%s\"; new-key, token, verify, whoami or audit-verify expected",
                         command->arguments[0]);
}
