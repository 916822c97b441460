/*
 * command_output: what the `reel` command prints: errors, JSON, texts that are readable on any terminal; and what
 * it asks. One line at a time, whichever thread has it.
 */
#include "client/command/command_internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- exit codes ---- */

static int exit_of(const struct command *command, const struct reel_error *error)
{
    switch (error->code) {
    case REEL_E_NONE:
        return COMMAND_OK;
    case REEL_E_NOT_FOUND: /* with an errno: a file here */
        return error->errnum != 0 ? COMMAND_LOCAL : COMMAND_NOT_FOUND;
    case REEL_E_EXISTS:
        return COMMAND_EXISTS;
    case REEL_E_UNAVAILABLE:
    case REEL_E_THROTTLED:
    case REEL_E_NO_SERVER:
    case REEL_E_TIMEOUT:
    case REEL_E_CONNECTION:
        return COMMAND_UNAVAILABLE;
    case REEL_E_MALFORMED: /* an argument that the library refuses; else an answer that makes no sense */
        return error->errnum == EINVAL ? COMMAND_USAGE : COMMAND_FAILED;
    case REEL_E_DIGEST:
        return COMMAND_MISMATCH;
    case REEL_E_DELETED:
        return COMMAND_DELETED;
    case REEL_E_NO_SPACE:
    case REEL_E_QUOTA:
        return COMMAND_NO_SPACE;
    case REEL_E_REFUSED:
    case REEL_E_UNAUTHENTICATED:
    case REEL_E_FORBIDDEN:
        return COMMAND_REFUSED;
    case REEL_E_IO: /* with an errno: of a file here */
        return error->errnum != 0 ? COMMAND_LOCAL : COMMAND_FAILED;
    case REEL_E_CANCELLED:
        return atomic_load(&command->ended_by) == COMMAND_MAX_TIME ? COMMAND_UNAVAILABLE : COMMAND_FAILED;
    default:
        return COMMAND_FAILED;
    }
}

/* ---- standard output that takes nothing ---- */

static atomic_int output_failure; /* errno of the first write that failed; 0: none has */

/* An exit code. */
static int output_failed(int failure)
{
    int none = 0;

    (void)atomic_compare_exchange_strong(&output_failure, &none, failure);
    failure = atomic_load(&output_failure);
    return failure == ENOSPC || failure == EDQUOT ? COMMAND_NO_SPACE : COMMAND_LOCAL;
}

/* ---- JSON ---- */

json_t *command_json_text(const char *text)
{
    json_t *string = json_string(text);
    char buffer[1024];

    return string ? string : json_string(command_printable(text, buffer, sizeof(buffer)));
}

static int output_print_json(json_t *object, bool buffered)
{
    bool fine;

    if (!object) {
        fputs("reel: no memory for the output\n", stderr);
        return COMMAND_FAILED;
    }
    fine = json_dumpf(object, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF &&
           (buffered || fflush(stdout) == 0);
    int failure = errno;
    json_decref(object);
    return fine ? COMMAND_OK : output_failed(failure);
}

int command_print_json(struct command *command, json_t *object)
{
    int result;

    pthread_mutex_lock(&command->output);
    command_display_clear(command->display);
    result = output_print_json(object, command->buffered);
    pthread_mutex_unlock(&command->output);
    return result;
}

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? command_json_text(text) : json_null();
}

json_t *command_json_time(int64_t seconds)
{
    return seconds > 0 ? json_integer(seconds) : json_null();
}

json_t *command_file_to_json(const struct reel_file *file)
{
    return json_pack("{s:o,s:I,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "file", command_json_text(file->file),
                     "size", (json_int_t)file->size, "deleted", (int)file->deleted, "created",
                     command_json_time(file->created_time), "deleted_time",
                     command_json_time(file->deleted_time), "digest", text_or_null(file->digest),
                     "content_type", text_or_null(file->content_type), "name", text_or_null(file->name),
                     "group", text_or_null(file->group), "expires", command_json_time(file->expires_time));
}

static json_t *error_to_json(int code, const char *name, const char *text, const char *of)
{
    return json_pack("{s:{s:i,s:s,s:o,s:o}}", "error", "code", code, "name", name, "text",
                     command_json_text(text), "of", of ? command_json_text(of) : json_null());
}

/* ---- lines ---- */

int command_usage(const struct command_options *options, const char *format, ...)
{
    char text[1024], shown[1024];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    fprintf(stderr, "reel: %s\nreel --help says how it is used.\n",
            command_printable(text, shown, sizeof(shown)));
    if (options->json)
        (void)output_print_json(error_to_json(REEL_E_MALFORMED, "usage", text, NULL), false);
    return COMMAND_USAGE;
}

/* What would help, after a failure's text; "" where nothing is known. */
static const char *hint_of(const struct command *command, const struct reel_error *error)
{
    if (error->code == REEL_E_MALFORMED && strncmp(error->text, "name", 4) == 0 && !command->options.name &&
        strstr(command->verb->options, " name "))
        return "; give it another one: --name NAME";
    if ((error->code == REEL_E_MALFORMED && strstr(error->text, "not a reply of this protocol")) ||
        (error->code == REEL_E_UNKNOWN_COMMAND && command->verb->needs_user))
        return "; is that the port of a tracker? (21000 unless configured otherwise)";
    if (error->code == REEL_E_CANCELLED && atomic_load(&command->ended_by) == COMMAND_MAX_TIME)
        return "; --max-time is over";
    if (error->code == REEL_E_UNAUTHENTICATED && command->settings.keys[0] == '\0')
        return "; that takes a key: REEL_KEYS=[ID@]FILE, or `keys` under [client] in the settings";
    return "";
}

int command_failed(struct command *command, const char *what, const struct reel_error *error)
{
    char name[1024], text[REEL_ERROR_TEXT_SIZE];
    size_t named;

    (void)command_printable(what, name, sizeof(name));
    (void)command_printable(error->text, text, sizeof(text));
    named = strlen(name);
    if (strncmp(text, name, named) == 0 && text[named] == ':')
        name[0] = '\0'; /* the text names it already */
    pthread_mutex_lock(&command->output);
    command_display_clear(command->display);
    fprintf(stderr, "%sreel: %s%s%s%s%s\n", command_colour(stderr, COMMAND_RED), name,
            name[0] != '\0' ? ": " : "", text, hint_of(command, error),
            command_colour(stderr, COMMAND_PLAIN));
    if (command->options.json) /* the exit code reports a failure anyway */
        (void)output_print_json(error_to_json(error->code, reel_error_name(error->code), error->text, what),
                                false);
    pthread_mutex_unlock(&command->output);
    return exit_of(command, error);
}

void command_remark(struct command *command, const char *format, ...)
{
    char text[1024], shown[1024];
    va_list list;

    if (command->options.quiet)
        return;
    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    pthread_mutex_lock(&command->output);
    command_display_clear(command->display);
    fprintf(stderr, "reel: %s\n", command_printable(text, shown, sizeof(shown)));
    pthread_mutex_unlock(&command->output);
}

int command_print(struct command *command, const char *format, ...)
{
    va_list list;
    bool fine;

    va_start(list, format);
    pthread_mutex_lock(&command->output);
    command_display_clear(command->display);
    fine = vprintf(format, list) >= 0 && (command->buffered || fflush(stdout) == 0);
    int failure = errno;
    pthread_mutex_unlock(&command->output);
    va_end(list);
    return fine ? COMMAND_OK : output_failed(failure);
}

int command_flush(int exit_code)
{
    bool flushed = fflush(stdout) == 0;

    if (flushed && !ferror(stdout))
        return exit_code;
    int failed = output_failed(errno);
    fprintf(stderr, "reel: writing the output: %s\n", strerror(atomic_load(&output_failure)));
    clearerr(stdout);
    atomic_store(&output_failure, 0);
    return exit_code != COMMAND_OK ? exit_code : failed;
}

bool command_confirm(struct command *command, const char *question)
{
    char answer[16];

    if (command->options.yes || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return true;
    fprintf(stderr, "reel: %s [y/N] ", question);
    return fgets(answer, sizeof(answer), stdin) && tolower((unsigned char)answer[0]) == 'y';
}
