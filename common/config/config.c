/*
 * config: see config.h. Reads the file with inih, finds each option in the tables and lets config_value.c
 * parse it.
 *
 * INI readers differ; these are the rules here: a line is "[section]", "name = value" (or "name:
 * value"), empty, or a comment (";" or "#" as its first character that is not blank). There are no comments
 * after a value and no continued lines, so that ";" and "#" may stand in a value (an address list, a password
 * in a URL). A line in which one follows a space is refused: it is most likely meant as a comment;
 * quotes around the value make it part of the value. An option may appear once in a file.
 */
#include "common/config/config.h"

#include "common/config/config_value.h"
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SIZE_MAX ((size_t)1 << 20)
#define LINE_SIZE     4096 /* with line end and NUL, as inih counts */

struct load {
    const struct config_table *tables;
    void *config;
    const char *file;
    struct error *error;
    int *lines;       /* where each option was given; 0: not yet; -1: in no file */
    const char *at;   /* what of the file is left */
    int line;         /* number of the line that was handed out last */
    int refused_line; /* where ERROR was filled; 0: all right so far */
};

/* ---- the tables ---- */

/* Option NUMBER over all tables; NULL behind the last. */
static const struct config_option *option_at(const struct config_table *tables, size_t number)
{
    for (; tables->options != NULL; tables++) {
        if (number < tables->count)
            return &tables->options[number];
        number -= tables->count;
    }
    return NULL;
}

static size_t count_options(const struct config_table *tables)
{
    size_t count = 0;

    for (; tables->options != NULL; tables++)
        count += tables->count;
    return count;
}

static bool find_option(const struct config_table *tables, const char *section, const char *name,
                        size_t *number)
{
    const struct config_option *option;

    for (size_t i = 0; (option = option_at(tables, i)) != NULL; i++) {
        if (strcmp(option->section, section) == 0 && strcmp(option->name, name) == 0) {
            *number = i;
            return true;
        }
    }
    return false;
}

/* Says that there is no option SECTION.NAME, and which one was probably meant. */
static void explain_unknown(const struct config_table *tables, const char *section, const char *name,
                            struct error *error)
{
    const struct config_option *option, *near_section = NULL, *near_name = NULL, *elsewhere = NULL;
    size_t section_distance = SIZE_MAX, name_distance = SIZE_MAX;
    bool known_section = false;

    for (size_t i = 0; (option = option_at(tables, i)) != NULL; i++) {
        if (config_is_nearer(section, option->section, &section_distance))
            near_section = option;
        if (strcmp(option->section, section) == 0) {
            known_section = true;
            if (config_is_nearer(name, option->name, &name_distance))
                near_name = option;
        } else if (strcmp(option->name, name) == 0) {
            elsewhere = option;
        }
    }
    if (section[0] == '\0')
        error_set(error, ERROR_MALFORMED, "option \"%s\" comes before any [section]", name);
    else if (!known_section && near_section)
        error_set(error, ERROR_MALFORMED, "unknown section \"[%s]\"; did you mean \"[%s]\"?", section,
                  near_section->section);
    else if (!known_section)
        error_set(error, ERROR_MALFORMED, "unknown section \"[%s]\"; --help lists them", section);
    else if (near_name)
        error_set(error, ERROR_MALFORMED, "unknown option \"%s.%s\"; did you mean \"%s\"?", section, name,
                  near_name->name);
    else if (elsewhere)
        error_set(error, ERROR_MALFORMED, "unknown option \"%s.%s\"; did you mean \"%s.%s\"?", section, name,
                  elsewhere->section, elsewhere->name);
    else
        error_set(error, ERROR_MALFORMED, "unknown option \"%s.%s\"; --help lists them", section, name);
}

/* ---- loading ---- */

static bool refuse_line(struct load *load, int line, const char *format, ...) PRINTF_LIKE(3, 4);
static bool refuse_line(struct load *load, int line, const char *format, ...)
{
    struct error reason;
    va_list arguments;

    if (load->refused_line != 0 && load->refused_line <= line)
        return false; /* the first wrong line is reported */
    load->refused_line = line;
    va_start(arguments, format);
    error_set_va(&reason, ERROR_MALFORMED, format, arguments);
    va_end(arguments);
    return error_set(load->error, ERROR_MALFORMED, "%s:%d: %s", load->file, line, reason.text);
}

/* inih's handler: 1 for a good line. */
static int config_take_option(void *argument, const char *section, const char *name, const char *value)
{
    struct load *load = argument;
    const struct config_option *option;
    struct error error;
    size_t number;

    if (!find_option(load->tables, section, name, &number)) {
        explain_unknown(load->tables, section, name, &error);
        return refuse_line(load, load->line, "%s", error.text);
    }
    option = option_at(load->tables, number);
    if (load->lines[number] > 0)
        return refuse_line(load, load->line, "option \"%s.%s\" was given in line %d already", section, name,
                           load->lines[number]);
    load->lines[number] = load->line;
    if (config_value_has_comment(option, value))
        return refuse_line(load, load->line, "option \"%s.%s\": a comment must stand on a line of its own%s",
                           section, name,
                           option->type == CONFIG_STRING || option->type == CONFIG_STRINGS
                               ? " (a value with \" #\" or \" ;\" in it needs quotes around "
                                 "the whole: \"...\")"
                               : "");
    if (!config_value_parse(option, value, load->config, &error))
        return refuse_line(load, load->line, "option \"%s.%s\": %s", section, name, error.text);
    return 1;
}

/* inih's reader: the next line, like fgets(3). */
static char *config_read_line(char *buffer, int size, void *stream)
{
    struct load *load = stream;
    size_t length = strcspn(load->at, "\n");

    if (load->at[0] == '\0')
        return NULL;
    load->line++;
    if (length + 2 > (size_t)size) {
        refuse_line(load, load->line, "the line is longer than %d characters", LINE_SIZE - 2);
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)load->at[i];
        bool line_end = c == '\r' && i == length - 1;
        if ((c < 0x20 && c != '\t' && !line_end) || c == 0x7f) {
            refuse_line(load, load->line, "byte %zu is a control character (0x%02x)", i + 1, c);
            return NULL;
        }
    }
    memcpy(buffer, load->at, length);
    buffer[length] = '\n';
    buffer[length + 1] = '\0';
    load->at += length + (load->at[length] == '\n');
    return buffer;
}

/* The whole file, NUL-terminated, freed by the caller; so that it is read before anything is done with it. */
static char *config_read_file(const char *path, struct error *error)
{
    char *text = malloc(FILE_SIZE_MAX + 1), *result = NULL;
    size_t length = 0;
    ssize_t got;
    int fd = -1;

    if (!text) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        goto done;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        error_set_errno(error, errno, "cannot open the configuration file %s", path);
        goto done;
    }
    while ((got = read(fd, text + length, FILE_SIZE_MAX + 1 - length)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error_set_errno(error, errno, "cannot read the configuration file %s", path);
            goto done;
        }
        length += (size_t)got;
        if (length > FILE_SIZE_MAX) {
            error_set(error, ERROR_MALFORMED, "the configuration file %s is larger than 1 MiB", path);
            goto done;
        }
    }
    if (memchr(text, '\0', length)) {
        error_set(error, ERROR_MALFORMED, "the configuration file %s is not text: it contains a NUL byte",
                  path);
        goto done;
    }
    text[length] = '\0';
    result = text;
    text = NULL;
done:
    if (fd >= 0)
        (void)close(fd);
    free(text);
    return result;
}

static bool load_file(struct load *load)
{
    char *text = config_read_file(load->file, load->error);
    int result;

    if (!text)
        return false;
    ini_allow_multiline = false;
    ini_allow_inline_comments = false;
    ini_allow_bom = true;
    ini_max_line = LINE_SIZE;
    load->at = text;
    result = ini_parse_stream(config_read_line, load, config_take_option, load);
    free(text);
    if (result < 0)
        return error_set(load->error, ERROR_UNAVAILABLE, "%s: out of memory", load->file);
    /* A line that inih itself refuses comes without a call of the handler. */
    if (result > 0 && (load->refused_line == 0 || result < load->refused_line))
        refuse_line(load, result, "neither \"[section]\" nor \"name = value\" nor a comment");
    return load->refused_line == 0;
}

static bool load_defaults(struct load *load)
{
    const struct config_option *option;
    struct error error;

    for (size_t i = 0; (option = option_at(load->tables, i)) != NULL; i++) {
        if (option->default_value && !config_value_parse(option, option->default_value, load->config, &error))
            return error_set(load->error, ERROR_GENERAL, "default of option \"%s.%s\": %s", option->section,
                             option->name, error.text);
    }
    return true;
}

static bool load_override(struct load *load, const char *text)
{
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    char section[64], name[64];
    struct error error;
    size_t number;

    if (!equals || !dot || dot > equals || dot == text || dot + 1 == equals)
        return error_set(load->error, ERROR_MALFORMED, "-o %s: not of the form SECTION.NAME=VALUE", text);
    (void)snprintf(section, sizeof(section), "%.*s", (int)(dot - text), text);
    (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - dot - 1), dot + 1);
    if (!find_option(load->tables, section, name, &number)) {
        explain_unknown(load->tables, section, name, &error);
        return error_set(load->error, ERROR_MALFORMED, "-o %s: %s", text, error.text);
    }
    for (const char *at = equals; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return error_set(load->error, ERROR_MALFORMED, "-o %s.%s: the value contains a control character",
                             section, name);
    }
    if (!config_value_parse(option_at(load->tables, number), equals + 1, load->config, &error))
        return error_set(load->error, ERROR_MALFORMED, "-o %s.%s: %s", section, name, error.text);
    load->lines[number] = -1;
    return true;
}

static bool check_required(struct load *load)
{
    const struct config_option *option;

    for (size_t i = 0; (option = option_at(load->tables, i)) != NULL; i++) {
        if (!option->default_value && load->lines[i] == 0)
            return error_set(
                load->error, ERROR_MALFORMED, "%s: option \"%s.%s\" is missing and has no default: %s",
                !load->file ? "configuration" : load->file, option->section, option->name, option->help);
    }
    return true;
}

bool config_load(const struct config_table *tables, const char *file, const char *const *overrides,
                 size_t override_count, void *config, struct error *error)
{
    struct load load = {.tables = tables, .config = config, .file = file, .error = error};
    bool loaded = false;

    load.lines = calloc(count_options(tables) + 1, sizeof(*load.lines));
    if (!load.lines)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    if (!load_defaults(&load) || (file && !load_file(&load)))
        goto done;
    for (size_t i = 0; i < override_count; i++) {
        if (!load_override(&load, overrides[i]))
            goto done;
    }
    loaded = check_required(&load);
done:
    free(load.lines);
    if (!loaded)
        config_clear(tables, config);
    return loaded;
}

void config_clear(const struct config_table *tables, void *config)
{
    const struct config_option *option;

    for (size_t i = 0; (option = option_at(tables, i)) != NULL; i++)
        config_value_clear(option, config);
}

/* ---- showing ---- */

/* The options in the order of the tables, but those of one section together even where two tables share it.
 * SECTION and PLACE walk: both start at 0; NULL behind the last. FIRST: the option is its section's first. */
static const struct config_option *next_option(const struct config_table *tables, size_t *head, size_t *place,
                                               bool *first)
{
    const struct config_option *leader, *option;

    while ((leader = option_at(tables, *head))) {
        size_t earlier;
        bool shown = false;
        for (earlier = 0; earlier < *head && !shown; earlier++)
            shown = strcmp(option_at(tables, earlier)->section, leader->section) == 0;
        while (!shown && (option = option_at(tables, *place))) {
            (*place)++;
            if (strcmp(option->section, leader->section) == 0) {
                *first = option == leader;
                return option;
            }
        }
        *place = ++*head;
    }
    return NULL;
}

void config_print(const struct config_table *tables, const void *config, FILE *out)
{
    const struct config_option *option;
    size_t head = 0, place = 0;
    bool first;

    while ((option = next_option(tables, &head, &place, &first))) {
        char *text = config_value_format(option, config);
        char *shown = config_value_mask(option, text);
        if (first)
            (void)fprintf(out, "%s[%s]\n", head == 0 ? "" : "\n", option->section);
        if (!shown)
            (void)fprintf(out, "# %s: out of memory\n", option->name);
        else
            (void)fprintf(out, "%s =%s%s\n", option->name, shown[0] == '\0' ? "" : " ", shown);
        free(shown);
        free(text);
    }
}

/* TEXT in lines of at most 78 columns, each behind INDENT blanks. */
static void print_wrapped(FILE *out, const char *text, int indent)
{
    const size_t width = 78 - (size_t)indent;

    while (*text != '\0') {
        size_t length = strlen(text);
        if (length > width) {
            length = width;
            while (length > 0 && text[length] != ' ')
                length--;
            if (length == 0)
                length = strcspn(text, " ");
        }
        (void)fprintf(out, "%*s%.*s\n", indent, "", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

void config_help(const struct config_table *tables, FILE *out)
{
    const struct config_option *option;
    size_t head = 0, place = 0;
    char description[320];
    bool first;

    while ((option = next_option(tables, &head, &place, &first))) {
        if (first)
            (void)fprintf(out, "%s[%s]\n", head == 0 ? "" : "\n", option->section);
        (void)fprintf(out, "  %s: %s; ", option->name,
                      config_value_describe(option, description, sizeof(description)));
        if (!option->default_value)
            (void)fprintf(out, "must be given");
        else
            (void)fprintf(out, "default %s",
                          option->default_value[0] == '\0' ? "empty" : option->default_value);
        (void)fprintf(out, "%s\n", option->reloadable ? "; reloadable" : "");
        print_wrapped(out, option->help, 6);
    }
}

/* TEXT inside of a table's cell. */
static void print_cell(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            (void)fputs("\\|", out);
        else if (*text == '<')
            (void)fputs("&lt;", out);
        else
            (void)fputc(*text, out);
    }
}

void config_help_markdown(const struct config_table *tables, FILE *out)
{
    const struct config_option *option;
    size_t head = 0, place = 0;
    char description[320];
    bool first;

    while ((option = next_option(tables, &head, &place, &first))) {
        if (first)
            (void)fprintf(
                out, "%s### [%s]\n\n| option | type | default | reload | meaning |\n|---|---|---|---|---|\n",
                head == 0 ? "" : "\n", option->section);
        (void)fprintf(out, "| `%s` | ", option->name);
        print_cell(out, config_value_describe(option, description, sizeof(description)));
        (void)fputs(" | ", out);
        if (!option->default_value)
            (void)fputs("must be given", out);
        else if (option->default_value[0] == '\0')
            (void)fputs("empty", out);
        else
            (void)fprintf(out, "`%s`", option->default_value);
        (void)fprintf(out, " | %s | ", option->reloadable ? "yes" : "no");
        print_cell(out, option->help);
        (void)fputs(" |\n", out);
    }
}

json_t *config_help_json(const struct config_table *tables)
{
    const struct config_option *option;
    size_t head = 0, place = 0;
    json_t *array = json_array();
    char description[320];
    bool first;

    while (array && (option = next_option(tables, &head, &place, &first))) {
        json_t *row =
            json_pack("{s:s, s:s, s:s, s:s?, s:b, s:s}", "section", option->section, "name", option->name,
                      "type", config_value_describe(option, description, sizeof(description)), "default",
                      option->default_value, "reload", option->reloadable, "help", option->help);

        if (json_array_append_new(array, row) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

void config_compare(const struct config_table *tables, const void *old_config, const void *new_config,
                    void (*changed)(void *argument, const struct config_option *option, const char *old_value,
                                    const char *new_value),
                    void *argument)
{
    const struct config_option *option;

    for (size_t i = 0; (option = option_at(tables, i)) != NULL; i++) {
        char *old_text = config_value_format(option, old_config),
             *new_text = config_value_format(option, new_config);
        if (!old_text || !new_text || strcmp(old_text, new_text) != 0) {
            char *old_shown = config_value_mask(option, old_text),
                 *new_shown = config_value_mask(option, new_text);
            changed(argument, option, !old_shown ? "?" : old_shown, !new_shown ? "?" : new_shown);
            free(old_shown);
            free(new_shown);
        }
        free(old_text);
        free(new_text);
    }
}
