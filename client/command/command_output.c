/*
 * command_output: what the `reel` command prints: errors, JSON, the progress bar. Declared in
 * command_internal.h.
 */
#include "client/command/command_internal.h"

#include "common/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH     24
#define BAR_PERIOD_MS 100
#define LABEL_WIDTH   24

int command_exit_code(int error_code)
{
    switch (error_code) {
    case REEL_E_NONE:
        return COMMAND_OK;
    case REEL_E_NOT_FOUND:
        return COMMAND_NOT_FOUND;
    case REEL_E_EXISTS:
        return COMMAND_EXISTS;
    case REEL_E_UNAVAILABLE:
    case REEL_E_NO_SERVER:
    case REEL_E_TIMEOUT:
    case REEL_E_CONNECTION:
        return COMMAND_UNAVAILABLE;
    case REEL_E_DIGEST:
        return COMMAND_MISMATCH;
    case REEL_E_DELETED:
        return COMMAND_DELETED;
    case REEL_E_NO_SPACE:
        return COMMAND_NO_SPACE;
    case REEL_E_REFUSED:
        return COMMAND_REFUSED;
    default:
        return COMMAND_FAILED;
    }
}

char *command_printable(const char *text, char *buffer, size_t size)
{
    size_t at = 0;

    for (; text[at] != '\0' && at + 1 < size; at++) {
        unsigned char byte = (unsigned char)text[at];

        buffer[at] = byte < 0x20 || byte == 0x7F ? '?' : (char)byte;
    }
    buffer[at] = '\0';
    return buffer;
}

/* Bytes that are no UTF-8 would make no string: each such text is shown with '?' instead. */
static json_t *json_text(const char *text)
{
    json_t *string = json_string(text);
    char buffer[1024];

    if (string != NULL)
        return string;
    (void)command_printable(text, buffer, sizeof(buffer));
    for (char *at = buffer; *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    return json_string(buffer);
}

int command_print_json(json_t *object)
{
    int result;

    if (object == NULL) {
        fputs("reel: no memory for the output\n", stderr);
        return COMMAND_FAILED;
    }
    result =
        json_dumpf(object, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF ? COMMAND_OK : COMMAND_FAILED;
    json_decref(object);
    return result;
}

json_t *command_file_to_json(const struct reel_file *file)
{
    json_t *object = json_object();

    if (json_object_set_new(object, "file", json_text(file->file)) != 0 ||
        json_object_set_new(object, "size", json_integer(file->size)) != 0 ||
        json_object_set_new(object, "deleted", json_boolean(file->deleted)) != 0 ||
        json_object_set_new(object, "created",
                            file->created_time > 0 ? json_integer(file->created_time) : json_null()) != 0 ||
        json_object_set_new(object, "deleted_time",
                            file->deleted_time > 0 ? json_integer(file->deleted_time) : json_null()) != 0 ||
        json_object_set_new(object, "digest",
                            file->digest[0] != '\0' ? json_text(file->digest) : json_null()) != 0 ||
        json_object_set_new(object, "content_type",
                            file->content_type[0] != '\0' ? json_text(file->content_type) : json_null()) !=
            0 ||
        json_object_set_new(object, "name", file->name[0] != '\0' ? json_text(file->name) : json_null()) !=
            0 ||
        json_object_set_new(object, "group", file->group[0] != '\0' ? json_text(file->group) : json_null()) !=
            0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int command_failed(const struct command *command, const char *what, const struct reel_error *error)
{
    char printable[1024], text[REEL_ERROR_TEXT_SIZE];

    (void)command_printable(what, printable, sizeof(printable));
    (void)command_printable(error->text, text, sizeof(text));
    size_t named = strlen(printable);
    if (strncmp(text, printable, named) == 0 && text[named] == ':')
        printable[0] = '\0'; /* the text names it already */
    fprintf(stderr, "reel: %s%s%s\n", printable, printable[0] != '\0' ? ": " : "", text);
    if (command->options.json) {
        json_t *object =
            json_pack("{s:{s:i,s:s,s:o,s:o}}", "error", "code", error->code, "name",
                      reel_error_name(error->code), "text", json_text(error->text), "of", json_text(what));

        (void)command_print_json(object); /* the exit code tells of a failure anyway */
    }
    return command_exit_code(error->code);
}

int command_flush(int exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    fprintf(stderr, "reel: writing the output: %s\n", strerror(errno));
    return exit_code != COMMAND_OK ? exit_code : COMMAND_FAILED;
}

/* ---- the progress bar ---- */

/* 1.2 GiB. Returns BUFFER. */
static char *human_size(double bytes, char *buffer, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(buffer, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return buffer;
}

void command_progress_begin(struct command_progress *progress, const struct command *command,
                            const char *label)
{
    memset(progress, 0, sizeof(*progress));
    progress->label = label;
    progress->shown = !command->options.quiet && !command->options.json && isatty(STDERR_FILENO) == 1;
}

bool command_progress_step(void *argument, int64_t done, int64_t total)
{
    struct command_progress *progress = argument;
    int64_t now = clock_monotonic_ms(), elapsed, seconds;
    int filled, percent;
    char label[256], size[32], speed[32], bar[BAR_WIDTH + 1];
    double rate;

    if (!progress->shown)
        return true;
    if (!progress->begun) {
        progress->begun = true;
        progress->start_ms = now;
        progress->first = done;
    }
    if (now < progress->next_ms && done < total)
        return true;
    progress->next_ms = now + BAR_PERIOD_MS;
    elapsed = max_i64(now - progress->start_ms, 1);
    rate = (double)max_i64(done - progress->first, 0) * 1000 / (double)elapsed;
    seconds = rate > 0 ? (int64_t)((double)(total - done) / rate) : 0;
    percent = total > 0 ? (int)((double)done * 100 / (double)total) : 100;
    filled = percent * BAR_WIDTH / 100;
    memset(bar, ' ', sizeof(bar));
    memset(bar, '=', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r%-*.*s %3d%% [%s] %10s %10s/s %2" PRId64 ":%02" PRId64 " \033[K", LABEL_WIDTH,
            LABEL_WIDTH, command_printable(progress->label, label, sizeof(label)), percent, bar,
            human_size((double)done, size, sizeof(size)), human_size(rate, speed, sizeof(speed)),
            seconds / 60, seconds % 60);
    return true;
}

void command_progress_end(struct command_progress *progress)
{
    if (progress->shown && progress->begun)
        fputc('\n', stderr);
}
