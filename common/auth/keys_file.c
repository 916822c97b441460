/*
 * keys_file: opens the keys file and checks its owner and mode; splits its lines into words, makes keys of them, and checks
 * each. Text with secrets is overwritten before it is freed. BLOCKS in keys_load().
 */
#include "common/auth/keys_file.h"

#include "common/auth/key_mac.h"
#include "common/proto/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX     16
#define LINE_MAX_SIZE 4096
#define BASE64_SIZE   44 /* characters of a secret */

/* ---- one line ---- */

struct key_line {
    const char *name; /* of the file */
    size_t number;
    char *words[WORDS_MAX];
    size_t count;
    struct error *error;
};

static bool line_wrong(const struct key_line *line, const char *format, ...) PRINTF_LIKE(2, 3);

static bool line_wrong(const struct key_line *line, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    return error_set(line->error, ERROR_MALFORMED, "%s:%zu: %s", line->name, line->number, text);
}

/* Into words, up to a # that begins one. */
static bool line_split(struct key_line *line, char *text)
{
    char *rest = NULL;

    line->count = 0;
    for (char *word = strtok_r(text, " \t\r", &rest); word && word[0] != '#';
         word = strtok_r(NULL, " \t\r", &rest)) {
        if (line->count == WORDS_MAX)
            return line_wrong(line, "more than %d words", WORDS_MAX);
        line->words[line->count++] = word;
    }
    return true;
}

/* ---- words ---- */

static bool take_roles(const struct key_line *line, char *word, struct key *key)
{
    char *rest = NULL;

    if (word[strspn(word, ",")] == '\0' || strstr(word, ",,") || word[0] == ',' ||
        word[strlen(word) - 1] == ',')
        return line_wrong(line, "roles \"%s\": names separated by single commas are expected", word);
    for (char *name = strtok_r(word, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        enum key_role role = key_role_of_name(name);

        if (role == KEY_ROLE_NONE)
            return line_wrong(
                line,
                "there is no role \"%s\"; client, storage, gateway, operator, tracker, idserver or "
                "issuer is expected",
                name);
        if (key_has_role(key, role))
            return line_wrong(line, "role %s is given twice", name);
        key->roles |= 1u << role;
    }
    return true;
}

/* Exactly the 44 characters that encode 32 bytes: what decodes must encode to the same again. */
static bool take_secret(const struct key_line *line, const char *word, struct key *key)
{
    uint8_t bytes[BASE64_SIZE / 4 * 3 + 1], again[BASE64_SIZE + 1];
    bool good = strlen(word) == BASE64_SIZE &&
                EVP_DecodeBlock(bytes, (const uint8_t *)word, BASE64_SIZE) == BASE64_SIZE / 4 * 3 &&
                EVP_EncodeBlock(again, bytes, KEY_SECRET_SIZE) == BASE64_SIZE &&
                memcmp(again, word, BASE64_SIZE) == 0;
    bool dull = good;

    for (size_t i = 1; dull && i < KEY_SECRET_SIZE; i++)
        dull = bytes[i] == bytes[0];
    if (good && !dull)
        memcpy(key->secret, bytes, KEY_SECRET_SIZE);
    explicit_bzero(bytes, sizeof(bytes));
    explicit_bzero(again, sizeof(again));
    if (dull)
        return line_wrong(line, "the secret is 32 times the same byte; make one with `reel auth new-key`");
    return good || line_wrong(line, "the secret is not 32 bytes in base64 (44 characters); make one with "
                                    "`reel auth new-key`");
}

static bool keys_take_time(const struct key_line *line, const char *what, const char *word, int64_t *seconds)
{
    return strcmp(word, "-") == 0 || key_time_parse(word, seconds) ||
           line_wrong(line, "%s \"%s\": 2027-01-31, 2027-01-31T12:00:00Z (UTC) or - is expected", what, word);
}

static bool name_valid(const char *name, size_t size)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");

    return length > 0 && length < size && name[length] == '\0';
}

static bool valid_group(const char *name)
{
    return name_valid(name, PROTO_GROUP_SIZE);
}

static bool valid_application(const char *name)
{
    return name_valid(name, PROTO_APPLICATION_SIZE);
}

static bool valid_path(const char *path)
{
    return strlen(path) < PROTO_KEY_SIZE;
}

static bool valid_any(const char *text)
{
    (void)text;
    return true;
}

/* "a,b,c" after the = of an option. */
static bool take_list(const struct key_line *line, const char *option, char *value,
                      bool (*valid)(const char *text), struct config_strings *list)
{
    size_t count = 1;

    if (list->count > 0)
        return line_wrong(line, "%s= is given twice", option);
    for (const char *at = value; *at != '\0'; at++)
        count += *at == ',';
    list->items = calloc(count, sizeof(*list->items));
    if (!list->items)
        return error_set_errno(line->error, ENOMEM, "%s", line->name);
    for (char *item = value, *end; item; item = end) {
        end = strchr(item, ',');
        if (end)
            *end++ = '\0';
        if (item[0] == '\0' || !valid(item))
            return line_wrong(line, "%s=: \"%s\" is not a valid name", option, item);
        if (!(list->items[list->count] = strdup(item)))
            return error_set_errno(line->error, ENOMEM, "%s", line->name);
        list->count++;
    }
    return true;
}

static bool take_addresses(const struct key_line *line, char *value, struct key *key)
{
    struct config_strings texts = {0};
    struct error why;
    bool good = key->addresses.count == 0 || line_wrong(line, "addresses= is given twice");

    good = good && take_list(line, "addresses", value, valid_any, &texts);
    if (good && !networks_parse(&texts, &key->addresses, &why))
        good = line_wrong(line, "addresses=: %s", why.text);
    config_strings_clear(&texts);
    return good;
}

static bool keys_take_option(const struct key_line *line, char *word, struct key *key, bool *has_rights)
{
    char *value = strchr(word, '=');

    if (!value)
        return line_wrong(line, "\"%s\": NAME=VALUE is expected", word);
    *value++ = '\0';
    if (strcmp(word, "groups") == 0)
        return take_list(line, word, value, valid_group, &key->groups);
    if (strcmp(word, "applications") == 0)
        return take_list(line, word, value, valid_application, &key->applications);
    if (strcmp(word, "paths") == 0)
        return take_list(line, word, value, valid_path, &key->paths);
    if (strcmp(word, "addresses") == 0)
        return take_addresses(line, value, key);
    if (strcmp(word, "rights") != 0)
        return line_wrong(
            line, "there is no option \"%s\"; groups, addresses, applications, rights or paths is expected",
            word);
    if (*has_rights)
        return line_wrong(line, "rights= is given twice");
    *has_rights = true;
    return key_rights_parse(value, &key->rights) ||
           line_wrong(line, "rights=%s: letters of rwdl are expected, each once", value);
}

static void derive_all(struct key *key)
{
    static const char *const words[KEY_USES] = {"client", "server", "token", "link", "psk"};

    for (size_t use = 0; use < KEY_USES; use++) {
        key_derive(key, words[use], key->derived[use]);
        mac_state_make(key->derived[use], &key->states[use]);
    }
}

/* A gateway may read by default; what it may change must be stated. */
static bool reads_only(const struct key *key)
{
    return key_has_role(key, KEY_ROLE_GATEWAY) && !key_has_role(key, KEY_ROLE_ISSUER) &&
           !key_has_role(key, KEY_ROLE_OPERATOR) && !key_has_role(key, KEY_ROLE_CLIENT);
}

/* KEY is zeroed; what it owns is the caller's to free also after a failure. */
static bool keys_take_line(const struct key_line *line, struct key *key)
{
    bool has_rights = false;
    size_t at = 3;

    *key = (struct key){.from = INT64_MIN, .until = INT64_MAX, .rights = KEY_RIGHTS_ALL};
    if (line->count < 3)
        return line_wrong(line, "at least three words are expected: ID, roles and secret");
    if (!key_id_valid(line->words[0]))
        return line_wrong(line, "ID: 1 to 15 letters, digits and hyphens are expected");
    memcpy(key->id, line->words[0], strlen(line->words[0]));
    if (!take_roles(line, line->words[1], key) || !take_secret(line, line->words[2], key))
        return false;
    if (at < line->count && !strchr(line->words[at], '=') &&
        !keys_take_time(line, "from", line->words[at++], &key->from))
        return false;
    if (at == 4 && at < line->count && !strchr(line->words[at], '=') &&
        !keys_take_time(line, "until", line->words[at++], &key->until))
        return false;
    for (; at < line->count; at++)
        if (!keys_take_option(line, line->words[at], key, &has_rights))
            return false;
    if (key->from >= key->until)
        return line_wrong(line, "from must be before until");
    if (!has_rights && reads_only(key))
        key->rights = KEY_RIGHT_READ;
    derive_all(key);
    return true;
}

/* ---- the text ---- */

static bool keys_add_line(struct keys *keys, const struct key_line *line)
{
    struct key *key = &keys->items[keys->count];

    if (keys->count == KEYS_MAX)
        return line_wrong(line, "more than %d keys", KEYS_MAX);
    keys->count++; /* first: what the line allocates is freed with the rest */
    if (!keys_take_line(line, key))
        return false;
    for (size_t i = 0; i + 1 < keys->count; i++) {
        if (strcmp(keys->items[i].id, key->id) == 0)
            return line_wrong(line, "the ID %s is already used by a key above", key->id);
        if (memcmp(keys->items[i].secret, key->secret, sizeof(key->secret)) == 0)
            return line_wrong(line, "keys %s and %s have the same secret; each needs one of its own",
                              keys->items[i].id, key->id);
    }
    return true;
}

static int keys_compare_ids(const void *a, const void *b)
{
    return strcmp(((const struct key *)a)->id, ((const struct key *)b)->id);
}

static bool add_lines(struct keys *keys, const char *text, size_t size, const char *name, struct error *error)
{
    char copy[LINE_MAX_SIZE];
    struct key_line line = {.name = name, .error = error};
    bool good = true;

    for (const char *at = text, *end = text + size, *next; good && at < end; at = next) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline ? newline : end) - at);

        next = newline ? newline + 1 : end;
        line.number++;
        if (length >= sizeof(copy)) {
            good = line_wrong(&line, "longer than %d bytes", LINE_MAX_SIZE - 1);
            break;
        }
        memcpy(copy, at, length);
        copy[length] = '\0';
        if (strlen(copy) != length)
            good = line_wrong(&line, "a NUL byte; text is expected");
        good = good && line_split(&line, copy) && (line.count == 0 || keys_add_line(keys, &line));
    }
    explicit_bzero(copy, sizeof(copy));
    return good;
}

struct keys *keys_parse(const char *text, size_t size, const char *name, struct error *error)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    size_t lines = 1;

    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    if (!keys || !(keys->items = calloc(min_size(lines, KEYS_MAX), sizeof(*keys->items)))) {
        free(keys);
        error_set_errno(error, ENOMEM, "%s", name);
        return NULL;
    }
    atomic_store(&keys->references, 1);
    if (!add_lines(keys, text, size, name, error)) {
        keys_release(keys);
        return NULL;
    }
    qsort(keys->items, keys->count, sizeof(*keys->items), keys_compare_ids);
    return keys;
}

/* ---- the file ---- */

static bool file_path(const char *file, char path[PATH_MAX], bool *credential, struct error *error)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    int length;

    *credential = !strchr(file, '/');
    if (*credential && !directory)
        return error_set(error, ERROR_GENERAL,
                         "%s: a name without a slash names a credential, and the service manager passed none "
                         "(LoadCredential=%s:/path in the unit); set it there, or give a path",
                         file, file);
    length = *credential ? snprintf(path, PATH_MAX, "%s/%s", directory, file)
                         : snprintf(path, PATH_MAX, "%s", file);
    return (length >= 0 && length < PATH_MAX) ||
           error_set(error, ERROR_GENERAL, "%s: the path is too long", file);
}

/* A credential's mode may show the mask of an access list that only the service's user is in. */
static bool check_file(const struct stat *file, bool credential, const char *path, struct error *error)
{
    mode_t forbidden = credential ? S_IWGRP | S_IRWXO : S_IRWXG | S_IRWXO;

    if (!S_ISREG(file->st_mode))
        return error_set(error, ERROR_REFUSED, "%s: not a regular file", path);
    if (file->st_uid != 0 && file->st_uid != geteuid())
        return error_set(
            error, ERROR_REFUSED,
            "%s: it belongs to user %u; the keys file must belong to root or to the user of this "
            "process (%u)",
            path, (unsigned)file->st_uid, (unsigned)geteuid());
    if ((file->st_mode & forbidden) != 0)
        return error_set(error, ERROR_REFUSED,
                         "%s: users other than its owner can read or change it (mode %04o); chmod 600", path,
                         (unsigned)file->st_mode & 07777);
    if (file->st_size > KEYS_FILE_MAX)
        return error_set(error, ERROR_REFUSED, "%s: more than %d bytes", path, KEYS_FILE_MAX);
    return true;
}

/* The bytes of FD into TEXT, at most ROOM. -1: errno. */
static ssize_t keys_read_whole(int fd, char *text, size_t room)
{
    size_t size = 0;
    ssize_t part = 1;

    while (size < room && (part = read(fd, text + size, room - size)) != 0) {
        if (part > 0)
            size += (size_t)part;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)size;
}

struct keys *keys_load(const char *file, struct error *error)
{
    struct keys *keys = NULL;
    char path[PATH_MAX];
    struct stat status;
    bool credential;

    if (!file_path(file, path, &credential, error))
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &status) != 0) {
        error_set_errno(error, errno, "%s: cannot read the keys file", path);
    } else if (check_file(&status, credential, path, error)) {
        size_t room = (size_t)status.st_size + 1; /* one more: a file that grows meanwhile is noticed */
        char *text = malloc(room);
        ssize_t size = text ? keys_read_whole(fd, text, room) : -1;

        if (size < 0)
            error_set_errno(error, text ? errno : ENOMEM, "%s: cannot read the keys file", path);
        else if ((size_t)size == room)
            error_set(error, ERROR_UNAVAILABLE, "%s: it was changed while it was read; reload again", path);
        else
            keys = keys_parse(text, (size_t)size, path, error);
        if (text)
            explicit_bzero(text, room);
        free(text);
    }
    if (fd >= 0)
        (void)close(fd); /* opened for reading */
    return keys;
}

/* ---- settings ---- */

const char *keys_setting_split(const char *setting, char id[KEY_ID_SIZE])
{
    const char *at = strchr(setting, '@');
    size_t length = at ? (size_t)(at - setting) : 0;

    id[0] = '\0';
    if (length == 0 || length >= KEY_ID_SIZE)
        return setting;
    memcpy(id, setting, length);
    id[length] = '\0';
    if (key_id_valid(id))
        return at + 1;
    id[0] = '\0';
    return setting;
}

/* ---- a new key ---- */

char *keys_file_new_line(const char *id, const char *roles, const char *rest, struct error *error)
{
    uint8_t secret[KEY_SECRET_SIZE], text[BASE64_SIZE + 1];
    char *line = NULL;
    bool made =
        random_secret(secret, sizeof(secret)) &&
        EVP_EncodeBlock(text, secret, sizeof(secret)) == BASE64_SIZE &&
        asprintf(&line, "%s %s %s%s%s", id, roles, (char *)text, rest[0] != '\0' ? " " : "", rest) >= 0;

    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(text, sizeof(text));
    if (!made) {
        error_set(error, ERROR_UNAVAILABLE, "the system provided no random bytes or no memory");
        return NULL;
    }
    struct keys *keys = strpbrk(line, "#\n") ? NULL : keys_parse(line, strlen(line), "new key", error);
    if (!keys || keys->count != 1) {
        if (strpbrk(line, "#\n"))
            error_set(error, ERROR_MALFORMED, "new key: words without # and line ends are expected");
        explicit_bzero(line, strlen(line));
        free(line);
        line = NULL;
    }
    keys_release(keys);
    return line;
}
