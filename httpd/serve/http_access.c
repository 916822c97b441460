/*
 * http_access: finds the link of a request and has it verified.
 */
#include "httpd/serve/http_access.h"
#include "common/base/clock.h"
#include "httpd/serve/http_answer.h"
#include "httpd/syntax/http_link.h"
#include <stdio.h>
#include <string.h>

#define AFTER_COOKIES 1024 /* bytes of the head that follow them */

const char *http_access_client(const struct http_connection *connection, char text[INET6_ADDRSTRLEN])
{
    const struct http_settings *settings = connection->loop->settings;
    enum http_field field =
        settings->forwarded_form == FORWARDED_RFC7239 ? HTTP_FIELD_FORWARDED : HTTP_FIELD_X_FORWARDED_FOR;
    struct http_text lines[HTTP_CONDITION_FIELDS_MAX];
    size_t count;
    http_connection_peer_text(connection, text, INET6_ADDRSTRLEN);
    if (settings->trusted_proxies.count > 0 && connection->in &&
        http_request_lines(&connection->exchange.request, http_answer_request_head(connection), field, lines,
                           &count))
        forwarded_client(lines, count, settings->forwarded_form, &settings->trusted_proxies, text);
    return text;
}

static enum http_link_form find_link(const struct http_connection *connection, struct link_token *token)
{
    const struct http_request *request = &connection->exchange.request;
    const char *head = http_answer_request_head(connection);
    struct http_text cookies[HTTP_CONDITION_FIELDS_MAX];
    size_t count;
    if (!http_request_lines(request, head, HTTP_FIELD_COOKIE, cookies, &count))
        return HTTP_LINK_SEVERAL;
    return http_link_find(http_request_text(head, request->target), cookies, count, token);
}

bool http_access_admits(struct http_connection *connection, const struct proto_file_key *key)
{
    const struct http_settings *settings = connection->loop->settings;
    struct link_token token;
    char client[INET6_ADDRSTRLEN];
    if (!settings->access_signed)
        return true;
    switch (find_link(connection, &token)) {
    case HTTP_LINK_QUERY:
    case HTTP_LINK_PATH:
        connection->exchange.is_private = !settings->signed_cache_public;
        break;
    case HTTP_LINK_COOKIE: /* a shared cache would give the answer to others at the same address */
        connection->exchange.is_private = true;
        break;
    case HTTP_LINK_NONE:
        http_answer_refuse(connection, 403, "a signed link is needed");
        return false;
    case HTTP_LINK_BROKEN:
        http_answer_refuse(connection, 400, "the link's signature is malformed or incomplete");
        return false;
    case HTTP_LINK_SEVERAL:
        http_answer_refuse(connection, 400, "the request carries more than one link");
        return false;
    }
    if (token.network)
        http_access_client(connection, client);
    switch (link_cache_verify(connection->loop->links, &token, key, token.network ? client : "",
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

/* TEXT with everything but letters, digits and -._~ as %XX, so that it is one segment and one word. */
static void put_segment(struct http_output *out, const char *text)
{
    for (; *text != '\0'; text++) {
        char escaped[4];
        unsigned char c = (unsigned char)*text;
        bool plain =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~", c);
        (void)snprintf(escaped, sizeof(escaped), plain ? "%c" : "%%%02X", c);
        http_output_text(out, escaped);
    }
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
    put_segment(out, target->key.application);
    HTTP_OUTPUT_LITERAL(out, "/");
    put_segment(out, target->key.user);
    HTTP_OUTPUT_LITERAL(out, "/; Max-Age=");
    http_output_number(out, max_i64(token->expires - clock_wall_seconds(), 1));
    HTTP_OUTPUT_LITERAL(out, "; Secure; HttpOnly; SameSite=None\r\n");
}

bool http_access_cookie(struct http_connection *connection, const struct http_target *target)
{
    struct http_output *out = &connection->out;
    struct link_token token;
    if (strcmp(target->name, "cookie") != 0 || find_link(connection, &token) != HTTP_LINK_PATH)
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
