/*
 * A configuration file and an override of any bytes: what is taken prints as a file that gives the same; what is refused
 * says where and why. And database URLs: a password shows neither in the error nor in the redacted text.
 */
#include "common/config/config.h"
#include "common/base/log.h"
#include "common/config/config_value.h"
#include "common/db/db_url.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATH_SIZE 64
#define CANARY    "Sekr3tPw"

struct sample {
    bool flag;
    int64_t integer, size, duration;
    char *text, *url, *secret;
    int choice;
    struct address address;
    struct address_list addresses;
    struct config_strings list;
};

#define ROW(name_, type_, member_, default_, minimum_, maximum_, choices_)                                   \
    {                                                                                                        \
        .section = "s", .name = (name_), .type = (type_), .offset = offsetof(struct sample, member_),        \
        .default_value = (default_), .minimum = (minimum_), .maximum = (maximum_), .choices = (choices_),    \
        .help = "help"                                                                                       \
    }

static const struct config_option options[] = {
    ROW("b", CONFIG_BOOL, flag, "no", 0, 0, NULL),
    ROW("i", CONFIG_INTEGER, integer, "5", -3, 1000000, NULL),
    ROW("z", CONFIG_SIZE, size, "4K", 0, INT64_MAX, NULL),
    ROW("d", CONFIG_DURATION, duration, "5s", 0, 86400000, NULL),
    ROW("s", CONFIG_STRING, text, "", 0, 0, NULL),
    ROW("url", CONFIG_STRING, url, "sqlite:/x", 0, 0, NULL),
    ROW("secret", CONFIG_STRING, secret, "", 0, 0, NULL),
    ROW("ch", CONFIG_CHOICE, choice, "one", 0, 0, "one|two|three"),
    ROW("a", CONFIG_ADDRESS, address, "127.0.0.1:1", 21000, 0, NULL),
    ROW("l", CONFIG_ADDRESSES, addresses, "", 21000, 0, NULL),
    ROW("t", CONFIG_STRINGS, list, "", 0, 0, NULL),
};
static const struct config_table tables[] = {{options, ARRAY_SIZE(options)}, {NULL, 0}};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void differ(void *argument, const struct config_option *option, const char *old_value,
                   const char *new_value)
{
    (void)argument;
    fprintf(stderr, "%s: \"%s\" came back as \"%s\"\n", option->name, old_value, new_value);
    abort();
}

/* A file of these bytes, by PATH; closed by the caller. */
static int make_file(const void *bytes, size_t size, char path[PATH_SIZE])
{
    int fd = memfd_create("config", MFD_CLOEXEC);

    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, PATH_SIZE, "/proc/self/fd/%d", fd);
    return fd;
}

static void check_round_trip(const struct sample *one)
{
    struct sample two = {0};
    struct error error = {0};
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    int fd;

    must(out != NULL);
    config_print(tables, one, out);
    must(fclose(out) == 0);
    fd = make_file(text, size, path);
    if (!config_load(tables, path, NULL, 0, &two, &error)) {
        fprintf(stderr, "%s\n---\n%s\n", error.text, text);
        abort();
    }
    if (!strstr(text, "***")) /* what is not shown cannot be the same */
        config_compare(tables, one, &two, differ, NULL);
    config_clear(tables, &two);
    close(fd);
    free(text);
}

static void try_file(const uint8_t *data, size_t size, bool has_override, size_t override_size)
{
    struct sample one = {0};
    struct error error = {0};
    char path[PATH_SIZE], text[300];
    const char *overrides[] = {text};
    int fd;

    has_override = has_override && override_size > 0 && override_size < size && override_size < sizeof(text);
    if (has_override) {
        memcpy(text, data, override_size);
        text[override_size] = '\0';
        data += override_size;
        size -= override_size;
    }
    fd = make_file(data, size, path);
    if (config_load(tables, path, overrides, has_override, &one, &error)) {
        check_round_trip(&one);
        config_clear(tables, &one);
    } else {
        must(error.text[0] != '\0');
    }
    close(fd);
}

/* mysql:// with a user, the canary in the place of the password, and whatever else. */
static void try_url(const uint8_t *data, size_t size)
{
    char text[600], redacted[700];
    struct db_url url;
    struct error error = {0};
    size_t at = 0, user = size > 0 ? data[0] % 8 : 0, length;

    if (size < 3 || size > 200 || memmem(data, size, CANARY, 4))
        return;
    length = (size_t)snprintf(text, sizeof(text), "mysql://");
    for (at = 1; at < size && user > 0; at++, user--) {
        if (data[at] && !strchr(":@/?", data[at]))
            text[length++] = (char)data[at];
    }
    length += (size_t)snprintf(text + length, sizeof(text) - length, ":%s", CANARY);
    for (; at < size && data[at] != '@'; at++) {
        if (data[at])
            text[length++] = (char)data[at];
    }
    text[length++] = '@';
    for (at++; at < size; at++) {
        if (data[at])
            text[length++] = (char)data[at];
    }
    text[length] = '\0';
    bool parsed = db_url_parse(text, &url, &error);
    db_url_redact(text, redacted, sizeof(redacted));
    must(!strstr(redacted, CANARY));
    must(parsed || !strstr(error.text, CANARY));
    if (!parsed)
        return;
    must(!strstr(url.text, CANARY));
    db_url_clear(&url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    log_set_level(LOG_LEVEL_ERROR);
    if (data[0] & 1)
        try_url(data + 1, size - 1);
    else
        try_file(data + 2, size - 2, data[0] & 2, data[1]);
    return 0;
}
