/*
 * http_access: finds the link or token of a request and has it verified.
 */
#include "httpd/serve/http_access.h"
#include "common/auth/auth.h"
#include "common/base/clock.h"
#include "httpd/serve/http_answer.h"
#include "httpd/syntax/http_link.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define AFTER_COOKIES 1024 /* bytes of the head that follow them */

const char *http_access_client(const struct http_connection *connection, char text[INET6_ADDRSTRLEN])
{
    const struct http_settings *settings = connection->loop->settings;
    enum http_field field =
        settings->forwarded_form == FORWARDED_RFC7239 ? HTTP_FIELD_FORWARDED : HTTP_FIELD_X_FORWARDED_FOR;
    struct http_text lines[HTTP_CONDITION_FIELDS_MAX];
    size_t count;
    http_peer_text(&connection->peer, text, INET6_ADDRSTRLEN);
    if (settings->trusted_proxies.count > 0 && connection->in &&
        http_request_lines(&connection->exchange.request, http_answer_request_head(connection), field, lines,
                           &count))
        forwarded_client(lines, count, settings->forwarded_form, &settings->trusted_proxies, text);
    return text;
}

static bool is_secure_target(struct http_text text)
{
    struct http_text scheme, authority, rest;
    return http_target_split(text, &scheme, &authority, &rest) && scheme.size == sizeof("https") - 1;
}

/* Only HTTPS is served, and this is not under TLS. */
static bool is_redirected(const struct http_connection *connection)
{
    return !connection->transport.tls && !connection->by_proxy && connection->loop->settings->https_port > 0;
}

/* Methods of what TARGET names, for Allow. */
static const char *methods_of(const struct http_settings *settings, enum http_target_kind kind,
                              const struct http_target *target)
{
    if (settings->write == HTTP_WRITE_OFF)
        return NULL;
    if (kind == HTTP_TARGET_TUS)
        return target->key.file[0] == '\0' ? "OPTIONS, POST" : "OPTIONS, HEAD, POST, PATCH, DELETE";
    if (kind != HTTP_TARGET_FILE && kind != HTTP_TARGET_USER)
        return NULL;
    return kind == HTTP_TARGET_FILE ? "GET, HEAD, OPTIONS, PUT, DELETE" : "OPTIONS, POST";
}

/* A request by the IETF's draft: about an upload without the version that tus demands, or a content that begins one. */
static bool is_draft(const struct http_connection *connection, enum http_target_kind kind,
                     const struct http_target *target)
{
    const struct http_settings *settings = connection->loop->settings;
    enum http_request_method method = connection->exchange.request.method;
    if (!settings->live.upload_draft || settings->write == HTTP_WRITE_OFF ||
        !http_text_equal(http_answer_request_field(connection, HTTP_FIELD_UPLOAD_INTEROP),
                         HTTP_DRAFT_INTEROP))
        return false;
    if (kind == HTTP_TARGET_TUS && target->tus_token.bytes)
        return !http_answer_request_field(connection, HTTP_FIELD_TUS_RESUMABLE).bytes;
    bool begins = (kind == HTTP_TARGET_FILE && method == HTTP_METHOD_PUT) ||
                  (kind == HTTP_TARGET_USER && method == HTTP_METHOD_POST);
    return begins && http_answer_request_field(connection, HTTP_FIELD_UPLOAD_COMPLETE).bytes;
}

bool http_access_target(struct http_connection *connection, struct http_target *target,
                        enum http_target_kind *kind)
{
    const struct http_settings *settings = connection->loop->settings;
    struct http_text text =
        http_request_text(http_answer_request_head(connection), connection->exchange.request.target);
    bool options = connection->exchange.request.method == HTTP_METHOD_OPTIONS;
    bool plain = !connection->transport.tls && !connection->by_proxy;
    *kind = http_target_parse(text, settings->application, settings->user, target);
    if (!settings->live.web && (*kind == HTTP_TARGET_PAGE || *kind == HTTP_TARGET_API))
        *kind = HTTP_TARGET_UNKNOWN;
    connection->exchange.allow = methods_of(settings, *kind, target);
    connection->exchange.is_draft = is_draft(connection, *kind, target);
    connection->exchange.is_tus =
        *kind == HTTP_TARGET_TUS && settings->write != HTTP_WRITE_OFF && !connection->exchange.is_draft;
    if (*kind == HTTP_TARGET_BROKEN || (*kind == HTTP_TARGET_SERVER && !options))
        http_answer_refuse(connection, 400, "the request-target is malformed");
    else if (is_redirected(connection) && *kind != HTTP_TARGET_SERVER)
        http_answer_redirect(connection);
    else if (plain && settings->serves_https && is_secure_target(text))
        http_answer_refuse(connection, 421, "an https:// target, and the connection is not under TLS");
    else
        return true;
    return false;
}

/* ---- tokens ---- */

#define REALM "Bearer realm=\"reelstore\""

bool http_access_has_token(const struct http_connection *connection)
{
    return http_request_field_count(&connection->exchange.request, HTTP_FIELD_AUTHORIZATION) > 0;
}

/* The token of "Bearer TOKEN" (RFC 6750 section 2.1), NUL-terminated. False: there is none. */
static bool bearer_token(const struct http_connection *connection, char text[TOKEN_TEXT_SIZE])
{
    static const char scheme[] = "bearer ";
    struct http_text value = http_answer_request_field(connection, HTTP_FIELD_AUTHORIZATION);
    if (!value.bytes || value.size <= sizeof(scheme) - 1 ||
        strncasecmp(value.bytes, scheme, sizeof(scheme) - 1) != 0)
        return false;
    value = http_text_trim(
        (struct http_text){value.bytes + sizeof(scheme) - 1, value.size - (sizeof(scheme) - 1)});
    if (value.size >= TOKEN_TEXT_SIZE)
        value.size = TOKEN_TEXT_SIZE - 1; /* longer than any: it cannot be right */
    memcpy(text, value.bytes, value.size);
    text[value.size] = '\0';
    return true;
}

static int refuse_writer(struct http_connection *connection, int status, const char *challenge,
                         const char *text, const char **message)
{
    connection->exchange.challenge = challenge;
    *message = text;
    return status;
}

static bool http_access_token_covers(const struct proto_token *token, const struct proto_file_key *key)
{
    return strcmp(token->application, key->application) == 0 && strcmp(token->user, key->user) == 0 &&
           (!token->has_prefix || key->file[0] == '\0' ||
            strncmp(key->file, token->prefix, strlen(token->prefix)) == 0);
}

/* TOKEN out of TEXT, or where that is NULL out of Authorization. 0, or the status to refuse with. */
static int http_access_read_token(struct http_connection *connection, const char *token_text,
                                  struct proto_token *token, const char **message)
{
    char text[TOKEN_TEXT_SIZE];
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    struct error error;
    if (http_request_field_count(&connection->exchange.request, HTTP_FIELD_AUTHORIZATION) > 1)
        return refuse_writer(connection, 400, NULL, "more than one Authorization", message);
    if (!token_text && !bearer_token(connection, text))
        return refuse_writer(connection, 401, REALM, "a token is needed: Authorization: Bearer TOKEN",
                             message);
    size_t size = token_parse(token_text ? token_text : text, body);
    struct keys *keys = auth_keys(connection->loop->auth);
    bool good = size > 0 && keys && token_verify(keys, body, size, clock_wall_seconds(), token, NULL, &error);
    keys_release(keys);
    if (good)
        return 0;
    return refuse_writer(connection, 401, REALM ", error=\"invalid_token\"",
                         "the token is not valid, or has expired", message);
}

/* Whether TOKEN gives RIGHT to KEY (NULL: to whatever its user has). */
static int judge_token(struct http_connection *connection, const struct proto_token *token,
                       const struct proto_file_key *key, unsigned right, const char **message)
{
    if (key && !http_access_token_covers(token, key))
        return refuse_writer(connection, 403, REALM ", error=\"insufficient_scope\"",
                             "the token is for other files", message);
    if ((token->rights & right) != right)
        return refuse_writer(connection, 403, REALM ", error=\"insufficient_scope\"",
                             "the token does not give this right", message);
    return 0;
}

int http_access_shown(struct http_connection *connection, const struct proto_file_key *key, unsigned right,
                      struct http_shown *shown, const char **message)
{
    shown->has_token =
        connection->loop->settings->write != HTTP_WRITE_OPEN || http_access_has_token(connection);
    if (!shown->has_token)
        return 0;
    int status = http_access_read_token(connection, NULL, &shown->token, message);
    return status != 0 ? status : judge_token(connection, &shown->token, key, right, message);
}

int http_access_writer(struct http_connection *connection, const struct proto_file_key *key, unsigned right,
                       const char *token_text, struct http_grant *grant, const char **message)
{
    struct proto_token token;
    memset(grant, 0, sizeof(*grant));
    if (connection->loop->settings->write == HTTP_WRITE_OPEN)
        return 0;
    int status = http_access_read_token(connection, token_text, &token, message);
    if (status == 0)
        status = judge_token(connection, &token, key, right, message);
    if (status != 0)
        return status;
    memcpy(grant->issuer, token.issuer, sizeof(grant->issuer));
    if (token.has_prefix)
        memcpy(grant->prefix, token.prefix, sizeof(grant->prefix));
    return 0;
}

/* ---- links ---- */

static enum http_link_form find_link(const struct http_connection *connection,
                                     const struct http_target *target, struct link_token *token)
{
    const struct http_request *request = &connection->exchange.request;
    const char *head = http_answer_request_head(connection);
    struct http_text cookies[HTTP_CONDITION_FIELDS_MAX];
    size_t count;
    if (!http_request_lines(request, head, HTTP_FIELD_COOKIE, cookies, &count))
        return HTTP_LINK_SEVERAL;
    return http_link_find(&target->link, cookies, count, token);
}

/* Whether what find_link() found in FORM may be used. False: it was refused, or there was nothing. */
static bool access_take_form(struct http_connection *connection, enum http_link_form form)
{
    switch (form) {
    case HTTP_LINK_QUERY:
    case HTTP_LINK_PATH:
        connection->exchange.is_private = !connection->loop->settings->signed_cache_public;
        return true;
    case HTTP_LINK_COOKIE: /* a shared cache would give the answer to others at the same address */
        connection->exchange.is_private = true;
        return true;
    case HTTP_LINK_NONE:
        http_answer_refuse(connection, 403, "a signed link is needed");
        return false;
    case HTTP_LINK_BROKEN:
        http_answer_refuse(connection, 400, "the link's signature is malformed or incomplete");
        return false;
    case HTTP_LINK_SEVERAL:
        break;
    }
    http_answer_refuse(connection, 400, "the request carries more than one link");
    return false;
}

/* Whether the target is all that says which file may be read, and that over this connection. */
static bool is_all(const struct http_connection *connection)
{
    return http_request_field_count(&connection->exchange.request, HTTP_FIELD_COOKIE) == 0;
}

bool http_access_knows(struct http_connection *connection, struct link_target *whole,
                       struct http_target *target)
{
    const struct http_settings *settings = connection->loop->settings;
    struct http_exchange *exchange = &connection->exchange;
    whole->bytes = NULL;
    if (!settings->access_signed || !is_all(connection))
        return false;
    struct http_text text = http_request_text(http_answer_request_head(connection), exchange->request.target);
    whole->bytes = text.bytes;
    whole->size = text.size;
    if (!link_cache_knows(connection->loop->links, whole, clock_wall_seconds()) || whole->plain.file == 0 ||
        (exchange->request.method != HTTP_METHOD_GET && exchange->request.method != HTTP_METHOD_HEAD) ||
        is_redirected(connection))
        return false;
    http_target_take_plain(text, whole->plain, target);
    exchange->allow = methods_of(settings, HTTP_TARGET_FILE, target);
    return access_take_form(connection, HTTP_LINK_QUERY);
}

bool http_access_admits(struct http_connection *connection, const struct http_target *target,
                        const struct proto_file_key *key, const struct link_view *view,
                        struct link_target *whole)
{
    const struct http_settings *settings = connection->loop->settings;
    struct link_cache *links = connection->loop->links;
    struct link_token token;
    char client[INET6_ADDRSTRLEN];
    if (!settings->access_signed)
        return true;
    /* Of a stream the target stands for several files; beside cookies it is not all that counts. */
    if (whole && !whole->bytes)
        whole = NULL;
    if (whole && whole->known)
        return access_take_form(connection, HTTP_LINK_QUERY);
    if (whole)
        whole->parsed = target;
    if (!access_take_form(connection, find_link(connection, target, &token)))
        return false;
    if (token.network)
        http_access_client(connection, client);
    /* At the same address a shared cache would give it to clients of every network. */
    connection->exchange.is_private = connection->exchange.is_private || token.network;
    switch (link_cache_verify(links, &token, key, view, token.network ? client : "", whole,
                              clock_wall_seconds())) {
    case LINK_GOOD:
        return true;
    case LINK_EXPIRED:
        http_answer_refuse(connection, 403, "the link has expired");
        return false;
    case LINK_WRONG:
        break;
    }
    http_answer_refuse(connection, 403, "the link is not valid for this file");
    return false;
}

/* A cookie has one path: one for each kind of address that begins with the user's name. */
static void put_cookie(struct http_output *out, const struct link_token *token,
                       const struct http_target *target, const char *root)
{
    char text[LINK_TEXT_SIZE];
    HTTP_OUTPUT_LITERAL(out, "Set-Cookie: " HTTP_LINK_COOKIE_NAME "=");
    http_output_text(out, link_token_format(token, text));
    HTTP_OUTPUT_LITERAL(out, "; Path=/");
    http_output_text(out, root);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, target->key.application);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, target->key.user);
    HTTP_OUTPUT_LITERAL(out, "/; Max-Age=");
    http_output_number(out, max_i64(token->expires - clock_wall_seconds(), 1));
    HTTP_OUTPUT_LITERAL(out, "; Secure; HttpOnly; SameSite=None\r\n");
}

bool http_access_cookie(struct http_connection *connection, const struct http_target *target)
{
    struct http_output *out = &connection->out;
    struct link_token token;
    if (strcmp(target->name, "cookie") != 0 || find_link(connection, target, &token) != HTTP_LINK_PATH)
        return false;
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return true;
    }
    http_answer_begin(connection, 204);
    const char *root;
    uint32_t before = out->end, line = 0;
    /* Of a user whose name is that long browsers keep no cookie anyway. */
    for (size_t i = 0; (root = http_target_root(i)) && out->capacity - out->end > line + AFTER_COOKIES; i++) {
        put_cookie(out, &token, target, root);
        line = i == 0 ? out->end - before : line;
    }
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n");
    http_answer_end(connection);
    return true;
}
