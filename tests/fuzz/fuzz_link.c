/*
 * Fuzzes signed links: a request-target and, behind a newline, a Cookie field. Whatever is taken for a link is written in the one way
 * in which links are written, opens nothing without the key, and is masked in logs once and for all.
 */
#include "common/auth/keys_file.h"
#include "httpd/syntax/http_link.h"
#include "httpd/syntax/http_target.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct keys *fuzz_keys(void)
{
    static const char line[] = "app-a issuer /v8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4=";
    static struct keys *keys;
    struct error error;
    if (!keys && !(keys = keys_parse(line, strlen(line), "keys", &error)))
        abort();
    return keys;
}

static void check_token(const struct link_token *token, const struct http_target *parsed,
                        enum http_target_kind kind)
{
    struct link_token again;
    char text[LINK_TEXT_SIZE];
    uint8_t message[LINK_MESSAGE_SIZE];
    link_token_format(token, text);
    /* What is for one view alone is never inherited: it has no such form. */
    bool parsed_again = link_token_parse(text, strlen(text), &again);
    if (strlen(text) >= sizeof(text) || parsed_again == token->exact ||
        (parsed_again && memcmp(&again, token, sizeof(again)) != 0))
        abort();
    if (kind != HTTP_TARGET_FILE)
        return;
    const struct link_view view = {parsed->name, parsed->download_name, parsed->download};
    size_t size = link_message(token, &parsed->key, &view, "192.0.2.1", message);
    if (size > sizeof(message) ||
        link_token_verify(token, fuzz_keys(), &parsed->key, message, size, false, 0) != LINK_WRONG)
        abort();
}

static void check_mask(struct http_text target)
{
    static char once[65536], twice[65536];
    struct http_text masked = {once, http_link_mask(target, once, sizeof(once))};
    if (masked.size > sizeof(once))
        abort();
    if (masked.size == sizeof(once))
        return; /* cut: the second time may cut elsewhere */
    size_t size = http_link_mask(masked, twice, sizeof(twice));
    if (size != masked.size || memcmp(once, twice, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *newline = size > 0 ? memchr(text, '\n', size) : NULL;
    struct http_text target = {text, newline ? (size_t)(newline - text) : size};
    struct http_text cookie = {newline ? newline + 1 : NULL, newline ? size - target.size - 1 : 0};
    struct link_token token;
    struct http_target parsed;
    enum http_target_kind kind = http_target_parse(target, "tnvideo", "alice", &parsed);
    if (kind != HTTP_TARGET_BROKEN && kind != HTTP_TARGET_SERVER) {
        enum http_link_form form = http_link_find(&parsed.link, &cookie, newline ? 1 : 0, &token);
        if (form == HTTP_LINK_QUERY || form == HTTP_LINK_PATH || form == HTTP_LINK_COOKIE)
            check_token(&token, &parsed, kind);
    }
    check_mask(target);
    return 0;
}
