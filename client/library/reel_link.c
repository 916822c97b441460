/*
 * reel_link: signed links, made with a key of a keys file and without asking a server. Any thread; reads the keys file and
 * blocks for nothing else.
 */
#include "client/library/reel_internal.h"

#include "common/auth/keys_file.h"
#include "common/auth/link_token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_ROOM (sizeof("/t/?e=&k=&s=") + LINK_TEXT_SIZE)

/* "FILE" or "ID@FILE" into ID ("" for none); returns the file's name. */
static const char *split_keys(const char *text, char id[KEY_ID_SIZE])
{
    const char *at = strchr(text, '@');
    size_t size = at ? (size_t)(at - text) : 0;

    memset(id, 0, KEY_ID_SIZE);
    if (!at || size >= KEY_ID_SIZE)
        return text;
    memcpy(id, text, size);
    if (key_id_valid(id))
        return at + 1;
    memset(id, 0, KEY_ID_SIZE);
    return text;
}

/* The issuer's key with ID, or, for "", the only one. */
static const struct key *find_issuer(const struct keys *keys, const char *id, const char *file,
                                     struct error *error)
{
    const struct key *found = id[0] != '\0' ? keys_find(keys, id) : NULL;
    size_t count = 0;

    for (size_t i = 0; id[0] == '\0' && i < keys->count; i++) {
        if (!key_has_role(&keys->items[i], KEY_ROLE_ISSUER))
            continue;
        found = &keys->items[i];
        count++;
    }
    if (count > 1)
        error_set(error, ERROR_MALFORMED, "%s has %zu keys with the role issuer; name one: ID@%s", file,
                  count, file);
    else if (!found)
        error_set(error, ERROR_MALFORMED, "%s has no key %s%s", file,
                  id[0] != '\0' ? id : "with the role issuer", id[0] != '\0' ? "" : ", which signs links");
    else if (!key_has_role(found, KEY_ROLE_ISSUER))
        error_set(error, ERROR_MALFORMED, "key %s of %s does not have the role issuer, which signs links", id,
                  file);
    else
        return found;
    return NULL;
}

static bool reel_fill_token(const struct reel_link *link, struct link_token *token, struct error *error)
{
    *token = (struct link_token){
        .expires = link->expires,
        .prefix = link->prefix,
        .exact = link->exact,
        .network = link->client && link->client[0] != '\0',
    };
    if (link->expires <= 0 || link->expires > INT64_MAX - LINK_SKEW)
        return error_set(error, ERROR_MALFORMED,
                         "a link needs the time at which it expires, in seconds since 1970");
    if (link->exact && (link->in_path || link->scope != REEL_LINK_FILE))
        return error_set(error, ERROR_MALFORMED,
                         "only a link to one file, in the query, can be bound to its name");
    switch (link->scope) {
    case REEL_LINK_FILE:
        token->scope = LINK_SCOPE_FILE;
        return true;
    case REEL_LINK_USER:
        token->scope = LINK_SCOPE_USER;
        return true;
    case REEL_LINK_PREFIX:
        token->scope = LINK_SCOPE_PREFIX;
        return true;
    default:
        return error_set(error, ERROR_MALFORMED, "a link has no scope %d", link->scope);
    }
}

static bool reel_sign_link(const struct reel_link *link, const struct proto_file_key *file,
                           struct link_token *token, struct error *error)
{
    const char *text = link->keys && link->keys[0] != '\0' ? link->keys : getenv("REEL_KEYS");
    const struct link_view view = {.name = link->name};
    char id[KEY_ID_SIZE];

    if (!reel_fill_token(link, token, error))
        return false;
    if (!text || text[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no keys file is given to sign links with (REEL_KEYS)");
    const char *name = split_keys(text, id);
    struct keys *keys = keys_load(name, error);
    const struct key *key = keys ? find_issuer(keys, id, name, error) : NULL;
    bool good = key != NULL;
    if (good && !key_may_application(key, file->application))
        good = error_set(error, ERROR_REFUSED, "key %s is not for the application %s", key->id,
                         file->application);
    else if (good && (key->rights & KEY_RIGHT_READ) == 0)
        good = error_set(error, ERROR_REFUSED, "key %s does not have the right to read (rights=r)", key->id);
    else if (good && token->scope == LINK_SCOPE_PREFIX &&
             (token->prefix == 0 || token->prefix > strlen(file->file)))
        good = error_set(error, ERROR_MALFORMED, "a prefix of %zu bytes: the file ID %s has %zu",
                         token->prefix, file->file, strlen(file->file));
    else if (good && !link_token_sign(token, key, file, &view, token->network ? link->client : ""))
        good = error_set(error, ERROR_MALFORMED, "\"%s\" is not a numeric address of a client",
                         token->network ? link->client : "");
    keys_release(keys);
    return good;
}

char *reel_sign_url(const struct reel *reel, const struct reel_key *key, const char *base,
                    const struct reel_link *link, struct reel_error *error)
{
    struct proto_file_key full;
    struct link_token token;
    struct error why;
    char text[LINK_TEXT_SIZE], expires[LINK_EXPIRES_SIZE], signature[LINK_SIGNATURE_LENGTH + 1];
    char *plain = reel_url(reel, key, base, link->name, error), *url;

    if (!plain)
        return NULL;
    if (!reel_fill_key(reel, key, false, &full, &why) || !reel_sign_link(link, &full, &token, &why)) {
        free(plain);
        if (why.code == ERROR_MALFORMED)
            (void)error_of_argument(&why);
        (void)reel_fail(error, &why);
        return NULL;
    }
    size_t size = strlen(plain) + LINK_ROOM, base_size = strlen(base);
    while (base_size > 0 && base[base_size - 1] == '/')
        base_size--;
    url = malloc(size);
    if (!url) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a link");
        (void)reel_fail(error, &why);
    } else if (link->in_path || token.scope != LINK_SCOPE_FILE) {
        (void)snprintf(url, size, "%.*s/t/%s%s", (int)base_size, base, link_token_format(&token, text),
                       plain + base_size);
    } else {
        (void)snprintf(url, size, "%s?e=%s&k=%s&s=%s", plain, link_expires_format(&token, expires), token.key,
                       link_signature_format(&token, signature));
    }
    free(plain);
    return url;
}
