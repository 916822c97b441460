/*
 * db_url: parses a database URL and checks every part of it. Pure apart from allocation. Called by db.c
 * and schema.c; configuration checks come in by db_url_check().
 *
 * The password must not leak into an error text even where the URL is malformed: every '@' and '/' of user
 * and password has to be percent-encoded, so a stray '@' means that the password may lie anywhere, and then
 * nothing of the text is shown.
 */
#include "common/db/db_url.h"

#include "common/base/hex.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MYSQL_PREFIX       "mysql://"
#define SQLITE_PREFIX      "sqlite:"
#define MYSQL_DEFAULT_PORT 3306
#define DURATION_MAX_MS    (24LL * 3600 * 1000)
#define DATABASE_NAME_MAX  64

#define URL_FORMS                                                                                            \
    "mysql://user:password@host[:port][,host...]/database[?name=value&...] or "                              \
    "sqlite:/path[?busy_timeout=5s]"

/* Percent-decodes FROM[0..SIZE) into a new string; NULL with ERROR on a bad escape. WHAT names the part. */
static char *decode(const char *from, size_t size, const char *what, struct error *error)
{
    char *text = strndup(from, size), *to = text;

    if (!text) {
        error_set(error, ERROR_UNAVAILABLE, "database URL: no memory");
        return NULL;
    }
    for (const char *cursor = text; *cursor != '\0'; cursor++) {
        int high, low;

        if (*cursor != '%') {
            *to++ = *cursor;
            continue;
        }
        high = hex_digit_value(cursor[1]);
        low = high >= 0 ? hex_digit_value(cursor[2]) : -1;
        if (low < 0 || (high == 0 && low == 0)) {
            error_set(
                error, ERROR_GENERAL,
                "database URL: bad percent escape in the %s (%%XX with two hex digits, not %%00; a percent "
                "sign itself is %%25)",
                what);
            explicit_bzero(text, strlen(text)); /* it may be the password */
            free(text);
            return NULL;
        }
        *to++ = (char)(high * 16 + low);
        cursor += 2;
    }
    *to = '\0';
    return text;
}

static bool parse_duration(const char *name, const char *text, int64_t *out, struct error *error)
{
    static const struct {
        const char *suffix;
        int64_t factor;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000LL}, {"h", 3600 * 1000LL}, {"", 1000}};
    const char *cursor = text;
    int64_t number = 0;

    while (*cursor >= '0' && *cursor <= '9' && number <= DURATION_MAX_MS)
        number = number * 10 + (*cursor++ - '0');
    for (size_t i = 0; cursor != text && i < ARRAY_SIZE(units); i++) {
        if (strcmp(cursor, units[i].suffix) == 0 && number <= DURATION_MAX_MS / units[i].factor &&
            number > 0) {
            *out = number * units[i].factor;
            return true;
        }
    }
    return error_set(error, ERROR_GENERAL,
                     "database URL: %s=%s is not a duration from 1ms to 24h (as in 500ms, 5s, 2m)", name,
                     text);
}

/* Names that users of other programs try, and what to say instead. */
static const struct hint {
    const char *name, *text;
} hints[] = {
    {"ssl-mode",
     "TLS is chosen by tls=required, tls=prefer or tls=off, and verified with ca=/path/to/ca.pem"},
    {"sslmode", "TLS is chosen by tls=required, tls=prefer or tls=off, and verified with ca=/path/to/ca.pem"},
    {"ssl_mode",
     "TLS is chosen by tls=required, tls=prefer or tls=off, and verified with ca=/path/to/ca.pem"},
    {"ssl", "TLS is chosen by tls=required, tls=prefer or tls=off, and verified with ca=/path/to/ca.pem"},
    {"usessl", "TLS is chosen by tls=required, tls=prefer or tls=off, and verified with ca=/path/to/ca.pem"},
    {"ssl-ca", "the file of certificates is named by ca=/path/to/ca.pem"},
    {"ssl_ca", "the file of certificates is named by ca=/path/to/ca.pem"},
    {"sslrootcert", "the file of certificates is named by ca=/path/to/ca.pem"},
    {"charset", "the character set is always utf8mb4; leave it out"},
    {"timeout", "there are connect_timeout, read_timeout and write_timeout"},
    {"unix_socket", "the socket is named by socket=/path"},
    {"user", "the user stands before the host, as in mysql://user:password@host/database"},
    {"password", "the password stands before the host, as in mysql://user:password@host/database"},
};

#define MYSQL_PARAMETERS                                                                                     \
    "connect_timeout", "read_timeout", "write_timeout", "socket", "tls", "ca", "causal_reads"

static bool db_url_is_one_of(const char *name, size_t size, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
            return true;
    }
    return false;
}

static bool fail_unknown(const char *name, struct error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
        if (strcasecmp(name, hints[i].name) == 0)
            return error_set(error, ERROR_GENERAL, "database URL: unknown parameter \"%s\": %s", name,
                             hints[i].text);
    }
    return error_set(error, ERROR_GENERAL,
                     "database URL: unknown parameter \"%.64s\" (mysql: has connect_timeout, read_timeout, "
                     "write_timeout, socket, tls, ca, causal_reads)",
                     name);
}

/* The value as an absolute path. */
static bool set_path(const char *name, const char *value, char **path, struct error *error)
{
    if (value[0] != '/')
        return error_set(error, ERROR_GENERAL, "database URL: %s=%s is not an absolute path", name, value);
    free(*path);
    *path = strdup(value);
    return *path || error_set(error, ERROR_UNAVAILABLE, "database URL: no memory");
}

static bool set_tls(const char *value, enum db_tls *tls, struct error *error)
{
    static const char *const names[] = {
        [DB_TLS_OFF] = "off", [DB_TLS_PREFER] = "prefer", [DB_TLS_REQUIRED] = "required"};
    for (size_t i = DB_TLS_OFF; i < ARRAY_SIZE(names); i++) {
        if (strcmp(value, names[i]) == 0) {
            *tls = (enum db_tls)i;
            return true;
        }
    }
    return error_set(error, ERROR_GENERAL, "database URL: tls=%s is not one of required, prefer, off", value);
}

static bool set_switch(const char *name, const char *value, bool *on, struct error *error)
{
    *on = strcmp(value, "on") == 0;
    return *on || strcmp(value, "off") == 0 ||
           error_set(error, ERROR_GENERAL, "database URL: %s=%s is neither on nor off", name, value);
}

static bool set_parameter(struct db_url *url, const char *name, const char *value, struct error *error)
{
    if (url->backend == DB_BACKEND_SQLITE) {
        if (strcmp(name, "busy_timeout") == 0)
            return parse_duration(name, value, &url->busy_timeout_ms, error);
        return error_set(error, ERROR_GENERAL,
                         "database URL: unknown parameter \"%.64s\" (sqlite: has busy_timeout)", name);
    }
    if (strcmp(name, "connect_timeout") == 0)
        return parse_duration(name, value, &url->connect_timeout_ms, error);
    if (strcmp(name, "read_timeout") == 0)
        return parse_duration(name, value, &url->read_timeout_ms, error);
    if (strcmp(name, "write_timeout") == 0)
        return parse_duration(name, value, &url->write_timeout_ms, error);
    if (strcmp(name, "socket") == 0)
        return set_path(name, value, &url->socket, error);
    if (strcmp(name, "ca") == 0)
        return set_path(name, value, &url->ca, error);
    if (strcmp(name, "tls") == 0)
        return set_tls(value, &url->tls, error);
    if (strcmp(name, "causal_reads") == 0)
        return set_switch(name, value, &url->causal_reads, error);
    return fail_unknown(name, error);
}

/* QUERY: what follows the '?', or NULL. */
static bool parse_parameters(struct db_url *url, const char *query, struct error *error)
{
    while (query && *query != '\0') {
        size_t size = strcspn(query, "&");
        const char *equals = memchr(query, '=', size);
        char *name, *value;
        bool good;

        if (!equals)
            return error_set(error, ERROR_GENERAL,
                             "database URL: parameter without a value: \"%.*s\" (name=value)",
                             (int)min_size(size, 64), query);
        name = decode(query, (size_t)(equals - query), "parameters", error);
        value = decode(equals + 1, (size_t)(query + size - equals - 1), "parameters", error);
        good = name && value && set_parameter(url, name, value, error);
        free(name);
        free(value);
        if (!good)
            return false;
        query += size + (query[size] == '&');
    }
    return true;
}

static bool parse_sqlite(const char *rest, struct db_url *url, struct error *error)
{
    size_t size = strcspn(rest, "?");

    url->busy_timeout_ms = 5000;
    url->path = decode(rest, size, "path", error);
    if (!url->path)
        return false;
    if (url->path[0] == '\0' || url->path[strlen(url->path) - 1] == '/')
        return error_set(error, ERROR_GENERAL, "database URL %s: no file is named (sqlite:/path/to/file.db)",
                         url->text);
    /* Each connection would have a database of its own. */
    if (strcmp(url->path, ":memory:") == 0 || strncmp(url->path, "file:", 5) == 0)
        return error_set(error, ERROR_GENERAL, "database URL %s: a path is needed (sqlite:/path/to/file.db)",
                         url->text);
    return parse_parameters(url, rest[size] == '?' ? rest + size + 1 : NULL, error);
}

static bool db_url_parse_user(const char *from, size_t size, struct db_url *url, struct error *error)
{
    const char *colon = memchr(from, ':', size);
    size_t user_size = colon ? (size_t)(colon - from) : size;

    url->user = decode(from, user_size, "user", error);
    if (!url->user)
        return false;
    url->password = colon ? decode(colon + 1, size - user_size - 1, "password", error) : strdup("");
    return url->password != NULL;
}

static bool parse_hosts(const char *from, size_t size, struct db_url *url, struct error *error)
{
    char *text = decode(from, size, "host list", error);
    bool good;

    if (!text)
        return false;
    good = address_list_parse(size > 0 ? text : "localhost", MYSQL_DEFAULT_PORT, &url->hosts, error);
    free(text);
    if (!good) /* what follows the colon of a host may be a password whose '@' was left out */
        return error_set(
            error, ERROR_GENERAL,
            "database URL %s: the hosts cannot be read (host[:port][,host...], with user:password@ "
            "before them)",
            url->text);
    if (url->hosts.count == 0 || url->hosts.count > DB_URL_HOSTS_MAX)
        return error_set(error, ERROR_GENERAL, "database URL %s: %zu hosts (1 to %d)", url->text,
                         url->hosts.count, DB_URL_HOSTS_MAX);
    for (size_t i = 0; i < url->hosts.count; i++) {
        if (strcmp(url->hosts.items[i].host, "*") == 0)
            return error_set(error, ERROR_GENERAL, "database URL %s: \"*\" is not a host to connect to",
                             url->text);
    }
    return true;
}

static bool check_database_name(const struct db_url *url, struct error *error)
{
    size_t length = strlen(url->database);

    if (length == 0 || length > DATABASE_NAME_MAX)
        return error_set(
            error, ERROR_GENERAL,
            "database URL %s: a database name of 1 to %d bytes is needed (mysql://host/database)", url->text,
            DATABASE_NAME_MAX);
    if (strspn(url->database, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") != length)
        return error_set(error, ERROR_GENERAL,
                         "database URL %s: a database name has only letters, digits and _ - $", url->text);
    return true;
}

static bool check_tls(struct db_url *url, struct error *error)
{
    if (url->ca[0] == '\0')
        return true;
    if (url->tls == DB_TLS_UNSAID)
        url->tls = DB_TLS_REQUIRED;
    return url->tls == DB_TLS_REQUIRED ||
           error_set(error, ERROR_GENERAL,
                     "database URL %s: ca= verifies nothing unless TLS is required (tls=required)",
                     url->text);
}

static bool url_is_loopback(const struct address *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (strcasecmp(host->host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host->host, address) == 1)
        return address[0] == 127;
    return inet_pton(AF_INET6, host->host, address) == 1 &&
           memcmp(address, &in6addr_loopback, sizeof(in6addr_loopback)) == 0;
}

bool db_url_is_local(const struct db_url *url, size_t host)
{
    return url->socket[0] != '\0' || url_is_loopback(&url->hosts.items[host]);
}

static bool parse_mysql(const char *rest, struct db_url *url, struct error *error)
{
    size_t authority = strcspn(rest, "/?");
    const char *at = memchr(rest, '@', authority);
    const char *path = rest + authority;
    const char *hosts = at ? at + 1 : rest;
    size_t path_size;

    if (strchr(hosts, '@'))
        return error_set(error, ERROR_GENERAL,
                         "database URL: special characters in user, password and parameters must be "
                         "percent-encoded (@ is %%40, / is %%2F, ? is %%3F)");
    url->connect_timeout_ms = 2000;
    url->read_timeout_ms = 10000;
    url->write_timeout_ms = 10000;
    url->causal_reads = true;
    url->socket = strdup("");
    url->ca = strdup("");
    if (!url->socket || !url->ca)
        return error_set(error, ERROR_UNAVAILABLE, "database URL: no memory");
    if (!db_url_parse_user(rest, at ? (size_t)(at - rest) : 0, url, error) ||
        !parse_hosts(hosts, (size_t)(path - hosts), url, error))
        return false;
    if (*path == '/')
        path++;
    path_size = strcspn(path, "?");
    url->database = decode(path, path_size, "database name", error);
    if (!url->database || !check_database_name(url, error))
        return false;
    return parse_parameters(url, path[path_size] == '?' ? path + path_size + 1 : NULL, error) &&
           check_tls(url, error);
}

bool db_url_parse(const char *text, struct db_url *url, struct error *error)
{
    bool good;

    *url = (struct db_url){0};
    if (!text)
        text = "";
    db_url_redact(text, url->text, sizeof(url->text));
    if (strncmp(text, MYSQL_PREFIX, strlen(MYSQL_PREFIX)) == 0) {
        url->backend = DB_BACKEND_MYSQL;
        good = parse_mysql(text + strlen(MYSQL_PREFIX), url, error);
    } else if (strncmp(text, SQLITE_PREFIX, strlen(SQLITE_PREFIX)) == 0) {
        url->backend = DB_BACKEND_SQLITE;
        good = parse_sqlite(text + strlen(SQLITE_PREFIX), url, error);
    } else {
        good = error_set(error, ERROR_GENERAL, "database URL \"%s\" is neither mysql: nor sqlite: (%s)",
                         url->text, URL_FORMS);
    }
    if (!good)
        db_url_clear(url);
    return good;
}

void db_url_clear(struct db_url *url)
{
    if (url->password)
        explicit_bzero(url->password, strlen(url->password));
    free(url->user);
    free(url->password);
    free(url->database);
    free(url->socket);
    free(url->ca);
    free(url->path);
    address_list_clear(&url->hosts);
    *url = (struct db_url){0};
}

bool db_url_check(const char *url, struct error *error)
{
    struct db_url parsed;

    if (!db_url_parse(url, &parsed, error))
        return false;
    db_url_clear(&parsed);
    return true;
}

/* Text on its way into a buffer, cut where that is full. */
struct redaction {
    char *at;
    size_t left; /* with the NUL */
};

static void show(struct redaction *to, const char *text, size_t size)
{
    size = min_size(size, to->left - 1);
    memcpy(to->at, text, size);
    to->at += size;
    to->left -= size;
    *to->at = '\0';
}

static void show_text(struct redaction *to, const char *text)
{
    show(to, text, strlen(text));
}

/* Parameters that are known hold no secret; of others only the name is shown. */
static void show_parameters(struct redaction *to, const char *query)
{
    static const char *const known[] = {MYSQL_PARAMETERS};

    while (*query != '\0') {
        size_t size = strcspn(query, "&"), name = min_size(strcspn(query, "="), size);
        if (db_url_is_one_of(query, name, known, ARRAY_SIZE(known)) || name == size) {
            show(to, query, size);
        } else {
            show(to, query, name);
            show_text(to, "=***");
        }
        query += size;
        query += strspn(query, "&");
        if (*query != '\0')
            show_text(to, "&");
    }
}

/* Hosts, database and parameters. Without an '@' before them (BARE) what follows a colon and is no port may be a
 * password. */
static void show_hosts(struct redaction *to, const char *hosts, bool bare)
{
    size_t size = strcspn(hosts, "?");

    for (const char *colon = strchr(hosts, ':'); bare && colon; colon = strchr(colon + 1, ':')) {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits == 0 || digits > 5 || !strchr(",/?", colon[1 + digits])) {
            show(to, hosts, (size_t)(strchr(hosts, ':') - hosts));
            show_text(to, ":***");
            return;
        }
    }
    show(to, hosts, size);
    if (hosts[size] == '?') {
        show_text(to, "?");
        show_parameters(to, hosts + size + 1);
    }
}

char *db_url_redact(const char *url, char *buffer, size_t size)
{
    struct redaction to = {buffer, size};
    /* The last '@' of the whole text: where the password holds a raw '@', '/' or '?', it is better to hide too
     * much. */
    const char *at = strrchr(url, '@'), *colon = strchr(url, ':');
    bool mysql = strncmp(url, MYSQL_PREFIX, strlen(MYSQL_PREFIX)) == 0;
    const char *rest = mysql ? url + strlen(MYSQL_PREFIX) : url;

    buffer[0] = '\0';
    if (strncmp(url, SQLITE_PREFIX, strlen(SQLITE_PREFIX)) == 0 || (!at && !colon)) {
        show_text(&to, url);
    } else if (!mysql) {
        /* Misspelt: its parts cannot be distinguished. */
        show(&to, url, colon && (!at || colon < at) ? (size_t)(colon - url) + 1 : 0);
        show_text(&to, "***");
        if (at)
            show_hosts(&to, at, false);
    } else if (!at) {
        show_text(&to, MYSQL_PREFIX);
        show_hosts(&to, rest, true);
    } else {
        colon = memchr(rest, ':', (size_t)(at - rest));
        show(&to, url, (size_t)((colon ? colon : at) - url));
        show_text(&to, colon ? ":***" : "");
        show_hosts(&to, at, false);
    }
    return buffer;
}
