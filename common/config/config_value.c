/*
 * config_value: see config_value.h. Every type is parsed into a local value first and takes the member's
 * place only when it is right, so that a refused value changes nothing.
 */
#include "common/config/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_TEXT_SIZE 32

struct unit {
    const char *name;
    int64_t factor;
};

/* From the largest to the smallest: the first that divides a value is its canonical unit. */
static const struct unit size_units[] = {{"T", INT64_C(1) << 40},
                                         {"G", INT64_C(1) << 30},
                                         {"M", INT64_C(1) << 20},
                                         {"K", INT64_C(1) << 10},
                                         {"", 1}};
static const struct unit duration_units[] = {{"d", INT64_C(86400000)},
                                             {"h", INT64_C(3600000)},
                                             {"m", INT64_C(60000)},
                                             {"s", INT64_C(1000)},
                                             {"ms", 1}};

static const char *const true_words[] = {"yes", "true", "on", "1"};
static const char *const false_words[] = {"no", "false", "off", "0"};

static bool out_of_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "out of memory");
}

static void *member_of(const struct config_option *option, void *config)
{
    return (char *)config + option->offset;
}

static const void *const_member_of(const struct config_option *option, const void *config)
{
    return (const char *)config + option->offset;
}

/* ---- numbers ---- */

/* Both bounds 0 stand for "not negative". */
static int64_t upper_bound(const struct config_option *option)
{
    return option->minimum == 0 && option->maximum == 0 ? INT64_MAX : option->maximum;
}

static char *format_number(enum config_type type, int64_t value, char *buffer, size_t size)
{
    const struct unit *units = type == CONFIG_SIZE ? size_units : duration_units;
    size_t count = type == CONFIG_SIZE ? ARRAY_SIZE(size_units) : ARRAY_SIZE(duration_units);

    if (type == CONFIG_INTEGER || (type == CONFIG_SIZE && value == 0)) {
        (void)snprintf(buffer, size, "%" PRId64, value);
    } else if (value == 0) {
        (void)snprintf(buffer, size, "0s");
    } else {
        size_t i = 0;
        while (i < count - 1 && value % units[i].factor != 0)
            i++;
        (void)snprintf(buffer, size, "%" PRId64 "%s", value / units[i].factor, units[i].name);
    }
    return buffer;
}

static void describe_bounds(const struct config_option *option, char *buffer, size_t size)
{
    char low[NUMBER_TEXT_SIZE], high[NUMBER_TEXT_SIZE];

    format_number(option->type, option->minimum, low, sizeof(low));
    format_number(option->type, upper_bound(option), high, sizeof(high));
    if (upper_bound(option) == INT64_MAX)
        (void)snprintf(buffer, size, "%s or more", low);
    else
        (void)snprintf(buffer, size, "%s to %s", low, high);
}

/* What a number of this type looks like, for the message about one that does not. */
static bool refuse_number(const struct config_option *option, const char *text, const char *why,
                          struct error *error)
{
    static const char *const forms[] = {
        [CONFIG_INTEGER] = "a whole number",
        [CONFIG_SIZE] = "a size: bytes, or with K, M, G or T (powers of 1024), such as 64K or 10M",
        [CONFIG_DURATION] =
            "a duration: a number with ms, s, m, h or d, such as 500ms or 30s (a bare number is seconds)",
    };
    char bounds[2 * NUMBER_TEXT_SIZE + 16];

    describe_bounds(option, bounds, sizeof(bounds));
    return error_set(error, ERROR_MALFORMED, "\"%s\" %s; expected %s; %s", text, why, forms[option->type],
                     bounds);
}

static bool value_parse_number(const struct config_option *option, const char *text, int64_t *number,
                               struct error *error)
{
    const struct unit *units = option->type == CONFIG_SIZE ? size_units : duration_units;
    size_t count = option->type == CONFIG_SIZE ? ARRAY_SIZE(size_units) : ARRAY_SIZE(duration_units);
    const char *why_not = option->type == CONFIG_INTEGER ? "is not a whole number"
                          : option->type == CONFIG_SIZE  ? "is not a size"
                                                         : "is not a duration";
    int64_t factor = option->type == CONFIG_DURATION ? 1000 : 1, value;
    char *end;

    if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
        return refuse_number(option, text, why_not, error);
    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno == ERANGE)
        return refuse_number(option, text, "is out of bounds", error);
    while (*end == ' ' || *end == '\t')
        end++;
    if (*end != '\0') {
        size_t i = 0;
        while (option->type != CONFIG_INTEGER && i < count && strcasecmp(end, units[i].name) != 0)
            i++;
        if (option->type == CONFIG_INTEGER || i == count)
            return refuse_number(option, text, why_not, error);
        factor = units[i].factor;
    }
    if (__builtin_mul_overflow(value, factor, &value) || value < option->minimum ||
        value > upper_bound(option))
        return refuse_number(option, text, "is out of bounds", error);
    *number = value;
    return true;
}

/* ---- words ---- */

static bool parse_bool(const char *text, bool *value, struct error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(true_words); i++) {
        if (strcasecmp(text, true_words[i]) == 0 || strcasecmp(text, false_words[i]) == 0) {
            *value = strcasecmp(text, true_words[i]) == 0;
            return true;
        }
    }
    return error_set(error, ERROR_MALFORMED,
                     "\"%s\" is neither yes nor no (true/false, on/off and 1/0 are the same)", text);
}

size_t config_edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t width = strlen(b);

    if (width >= ARRAY_SIZE(row) || strlen(a) >= ARRAY_SIZE(row))
        return SIZE_MAX;
    for (size_t i = 0; i <= width; i++)
        row[i] = i;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= width; k++) {
            size_t above = row[k];
            size_t change = diagonal + (a[i - 1] != b[k - 1]);
            row[k] = min_size(change, min_size(above, row[k - 1]) + 1);
            diagonal = above;
        }
    }
    return row[width];
}

bool config_is_nearer(const char *word, const char *candidate, size_t *best)
{
    size_t shorter = min_size(strlen(word), strlen(candidate));
    size_t distance = config_edit_distance(word, candidate), tolerance = max_size(1, shorter / 3);

    if (shorter >= 3 && strncmp(word, candidate, shorter) == 0)
        tolerance = SIZE_MAX - 1; /* a word that was cut, or goes on */
    if (distance > tolerance || distance >= *best)
        return false;
    *best = distance;
    return true;
}

/* Copies the choice that CHOICES ("a|b|c") begins with to WORD and returns what follows; NULL at the end. */
static const char *next_choice(const char *choices, char *word, size_t size)
{
    size_t length = strcspn(choices, "|");

    if (length == 0)
        return NULL;
    (void)snprintf(word, size, "%.*s", (int)length, choices);
    return choices[length] == '|' ? choices + length + 1 : choices + length;
}

/* "a, b or c". */
static void list_choices(const char *choices, char *buffer, size_t size)
{
    const char *last = strrchr(choices, '|');
    size_t used = 0;

    buffer[0] = '\0';
    for (const char *from = choices; *from != '\0' && used + 5 < size; from++) {
        const char *piece = from == last ? " or " : ", ";
        int printed = *from == '|' ? snprintf(buffer + used, size - used, "%s", piece)
                                   : snprintf(buffer + used, size - used, "%c", *from);
        used += (size_t)printed;
    }
}

static bool parse_choice(const struct config_option *option, const char *text, int *value,
                         struct error *error)
{
    char word[64], best_word[64] = "", list[256];
    const char *choices = option->choices;
    size_t best = SIZE_MAX;

    for (int i = 0; (choices = next_choice(choices, word, sizeof(word))) != NULL; i++) {
        if (strcasecmp(text, word) == 0) {
            *value = i;
            return true;
        }
        if (config_is_nearer(text, word, &best))
            (void)snprintf(best_word, sizeof(best_word), "%s", word);
    }
    list_choices(option->choices, list, sizeof(list));
    if (best_word[0] != '\0')
        return error_set(error, ERROR_MALFORMED, "\"%s\" is not one of %s; did you mean \"%s\"?", text, list,
                         best_word);
    return error_set(error, ERROR_MALFORMED, "\"%s\" is not one of %s", text, list);
}

/* ---- texts ---- */

static bool is_quoted(const char *text)
{
    size_t length = strlen(text);
    return length >= 2 && text[0] == '"' && text[length - 1] == '"';
}

static bool has_comment(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if ((*at == ';' || *at == '#') && (at == text || at[-1] == ' ' || at[-1] == '\t'))
            return true;
    }
    return false;
}

static bool may_be_quoted(const struct config_option *option)
{
    return option->type == CONFIG_STRING || option->type == CONFIG_STRINGS;
}

bool config_value_has_comment(const struct config_option *option, const char *text)
{
    return has_comment(text) && !(may_be_quoted(option) && is_quoted(text));
}

/* TEXT without the quotes around the whole of it; freed by the caller. NULL without memory. */
static char *unquote(const char *text)
{
    return is_quoted(text) ? strndup(text + 1, strlen(text) - 2) : strdup(text);
}

static bool parse_string(const char *text, char **value, struct error *error)
{
    char *copy = unquote(text);

    if (!copy)
        return out_of_memory(error);
    free(*value);
    *value = copy;
    return true;
}

/* As unquote() would read it back. */
static char *format_string(const char *value)
{
    size_t length = strlen(value);
    bool blank_edge =
        length > 0 && (isspace((unsigned char)value[0]) || isspace((unsigned char)value[length - 1]));
    char *text;

    if (!blank_edge && !is_quoted(value) && !has_comment(value))
        return strdup(value);
    return asprintf(&text, "\"%s\"", value) < 0 ? NULL : text;
}

void config_strings_clear(struct config_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct config_strings){0};
}

static bool append_string(struct config_strings *strings, const char *text, size_t length)
{
    char **items = realloc(strings->items, (strings->count + 1) * sizeof(*items));

    if (!items)
        return false;
    strings->items = items;
    items[strings->count] = strndup(text, length);
    if (!items[strings->count])
        return false;
    strings->count++;
    return true;
}

bool config_strings_copy(struct config_strings *to, const struct config_strings *from, struct error *error)
{
    struct config_strings copy = {0};

    for (size_t i = 0; i < from->count; i++) {
        if (!append_string(&copy, from->items[i], strlen(from->items[i]))) {
            config_strings_clear(&copy);
            *to = copy;
            return out_of_memory(error);
        }
    }
    *to = copy;
    return true;
}

static bool append_items(const char *text, struct config_strings *strings)
{
    while (*text != '\0') {
        size_t whole = strcspn(text, ","), length = whole, blank = 0;
        while (blank < length && isspace((unsigned char)text[blank]))
            blank++;
        while (length > blank && isspace((unsigned char)text[length - 1]))
            length--;
        if (length > blank && !append_string(strings, text + blank, length - blank))
            return false;
        text += whole + (text[whole] == ',');
    }
    return true;
}

static bool parse_strings(const char *text, struct config_strings *value, struct error *error)
{
    struct config_strings strings = {0};
    char *bare = unquote(text);

    if (!bare || !append_items(bare, &strings)) {
        config_strings_clear(&strings);
        free(bare);
        return out_of_memory(error);
    }
    free(bare);
    config_strings_clear(value);
    *value = strings;
    return true;
}

static char *format_strings(const struct config_strings *value)
{
    size_t size = 1;
    char *text, *at, *quoted;

    for (size_t i = 0; i < value->count; i++)
        size += strlen(value->items[i]) + 2;
    at = text = malloc(size);
    if (!text)
        return NULL;
    *at = '\0';
    for (size_t i = 0; i < value->count; i++)
        at += snprintf(at, size - (size_t)(at - text), "%s%s", i == 0 ? "" : ", ", value->items[i]);
    quoted = format_string(text); /* an item that begins with "#" or ";" would be taken for a comment */
    free(text);
    return quoted;
}

/* ---- addresses ---- */

static bool value_parse_address(const struct config_option *option, const char *text, struct address *value,
                                struct error *error)
{
    struct address address = {0};
    bool may_be_empty = option->default_value && option->default_value[0] == '\0';

    if (!(text[0] == '\0' && may_be_empty) &&
        !address_parse(text, (uint16_t)option->minimum, &address, error))
        return false;
    *value = address;
    return true;
}

static bool parse_addresses(const struct config_option *option, const char *text, struct address_list *value,
                            struct error *error)
{
    struct address_list list = {0};

    if (!address_list_parse(text, (uint16_t)option->minimum, &list, error))
        return false;
    address_list_clear(value);
    *value = list;
    return true;
}

static char *format_addresses(const struct address_list *value)
{
    size_t size = value->count * (ADDRESS_TEXT_SIZE + 2) + 1;
    char *text = malloc(size), *at = text;
    char address[ADDRESS_TEXT_SIZE];

    if (!text)
        return NULL;
    *at = '\0';
    for (size_t i = 0; i < value->count; i++)
        at += snprintf(at, size - (size_t)(at - text), "%s%s", i == 0 ? "" : ", ",
                       address_format(&value->items[i], address, sizeof(address)));
    return text;
}

/* ---- every type ---- */

bool config_value_parse(const struct config_option *option, const char *text, void *config,
                        struct error *error)
{
    void *member = member_of(option, config);

    switch (option->type) {
    case CONFIG_BOOL:
        return parse_bool(text, member, error);
    case CONFIG_INTEGER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        return value_parse_number(option, text, member, error);
    case CONFIG_STRING:
        return parse_string(text, member, error);
    case CONFIG_CHOICE:
        return parse_choice(option, text, member, error);
    case CONFIG_ADDRESS:
        return value_parse_address(option, text, member, error);
    case CONFIG_ADDRESSES:
        return parse_addresses(option, text, member, error);
    case CONFIG_STRINGS:
        return parse_strings(text, member, error);
    }
    return error_set(error, ERROR_GENERAL, "option %s.%s has no type", option->section, option->name);
}

void config_value_clear(const struct config_option *option, void *config)
{
    void *member = member_of(option, config);

    switch (option->type) {
    case CONFIG_BOOL:
        *(bool *)member = false;
        break;
    case CONFIG_INTEGER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        *(int64_t *)member = 0;
        break;
    case CONFIG_STRING:
        free(*(char **)member);
        *(char **)member = NULL;
        break;
    case CONFIG_CHOICE:
        *(int *)member = 0;
        break;
    case CONFIG_ADDRESS:
        *(struct address *)member = (struct address){0};
        break;
    case CONFIG_ADDRESSES:
        address_list_clear(member);
        break;
    case CONFIG_STRINGS:
        config_strings_clear(member);
        break;
    }
}

char *config_value_format(const struct config_option *option, const void *config)
{
    const void *member = const_member_of(option, config);
    char buffer[ADDRESS_TEXT_SIZE];
    const char *choices = option->choices;
    const struct address *address;

    switch (option->type) {
    case CONFIG_BOOL:
        return strdup(*(const bool *)member ? "yes" : "no");
    case CONFIG_INTEGER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        return strdup(format_number(option->type, *(const int64_t *)member, buffer, sizeof(buffer)));
    case CONFIG_STRING:
        return format_string(*(char *const *)member == NULL ? "" : *(char *const *)member);
    case CONFIG_CHOICE:
        for (int i = 0; i <= *(const int *)member && choices; i++)
            choices = next_choice(choices, buffer, sizeof(buffer));
        return strdup(!choices ? "?" : buffer);
    case CONFIG_ADDRESS:
        address = member;
        return strdup(address->host[0] == '\0' ? "" : address_format(address, buffer, sizeof(buffer)));
    case CONFIG_ADDRESSES:
        return format_addresses(member);
    case CONFIG_STRINGS:
        return format_strings(member);
    }
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_length = strlen(text), end_length = strlen(end);
    return text_length >= end_length && strcmp(text + text_length - end_length, end) == 0;
}

char *config_value_mask(const struct config_option *option, const char *text)
{
    const char *user, *password, *host;
    char *masked;

    if (!text)
        return NULL;
    if (text[0] != '\0' && (ends_with(option->name, "password") || ends_with(option->name, "secret")))
        return strdup("***");
    /* To the last "@" of all, so that a password with "/" or "@" in it does not show in part. */
    user = strstr(text, "://");
    password = !user ? NULL : strchr(user + 3, ':');
    host = !password ? NULL : strrchr(password, '@');
    if (!host)
        return strdup(text);
    return asprintf(&masked, "%.*s***%s", (int)(password + 1 - text), text, host) < 0 ? NULL : masked;
}

char *config_value_describe(const struct config_option *option, char *buffer, size_t size)
{
    static const char *const names[] = {
        [CONFIG_BOOL] = "yes or no",    [CONFIG_INTEGER] = "number",      [CONFIG_SIZE] = "size",
        [CONFIG_DURATION] = "duration", [CONFIG_STRING] = "text",         [CONFIG_CHOICE] = "",
        [CONFIG_ADDRESS] = "address",   [CONFIG_ADDRESSES] = "addresses", [CONFIG_STRINGS] = "list",
    };
    char bounds[2 * NUMBER_TEXT_SIZE + 16];

    switch (option->type) {
    case CONFIG_INTEGER:
    case CONFIG_SIZE:
    case CONFIG_DURATION:
        describe_bounds(option, bounds, sizeof(bounds));
        (void)snprintf(buffer, size, "%s, %s", names[option->type], bounds);
        break;
    case CONFIG_CHOICE:
        list_choices(option->choices, buffer, size);
        break;
    default:
        (void)snprintf(buffer, size, "%s", names[option->type]);
    }
    return buffer;
}
