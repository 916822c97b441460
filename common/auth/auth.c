/*
 * auth: keeps the present options under a mutex that is held for copies only; what each request reads (mode,
 * generation) is atomic.
 */
#include "common/auth/auth.h"

#include "common/auth/key_holder.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 8

struct auth_token_body {
    uint8_t bytes[PROTO_TOKEN_PACKED_MAX];
    size_t size;
};

struct auth {
    _Atomic int mode;
    _Atomic int64_t session_ms;
    _Atomic uint64_t identity_version;
    atomic_bool has_identity;
    enum key_role role;
    struct key_holder *holder; /* NULL: no keys file */
    char *keys_file;

    pthread_mutex_t mutex; /* of what follows */
    char own_id[KEY_ID_SIZE];
    enum key_role own_role;
    struct networks legacy;

    struct auth_token_body tokens[TOKENS_MAX];
    size_t token_count;
};

/* ---- options ---- */

static const enum key_role roles_of_clients[] = {KEY_ROLE_OPERATOR, KEY_ROLE_ISSUER, KEY_ROLE_CLIENT,
                                                 KEY_ROLE_GATEWAY, KEY_ROLE_STORAGE};

/* The role in which KEY is used: WANTED where it has that. */
static enum key_role role_in(const struct key *key, enum key_role wanted)
{
    if (wanted != KEY_ROLE_NONE)
        return key_has_role(key, wanted) ? wanted : KEY_ROLE_NONE;
    for (size_t i = 0; i < ARRAY_SIZE(roles_of_clients); i++)
        if (key_has_role(key, roles_of_clients[i]))
            return roles_of_clients[i];
    return KEY_ROLE_NONE;
}

/* The process's own key, *KEY NULL for none. */
static bool choose_key(const struct keys *keys, const struct auth_options *options, const struct key **key,
                       struct error *error)
{
    const char *identity = options->identity ? options->identity : "";
    size_t found = 0;

    *key = NULL;
    if (identity[0] != '\0') {
        *key = keys ? keys_find(keys, identity) : NULL;
        if (!*key)
            return error_set(error, ERROR_REFUSED, "identity: there is no key %s in the keys file", identity);
        if (role_in(*key, options->role) == KEY_ROLE_NONE)
            return error_set(error, ERROR_REFUSED, "identity: key %s does not have the role %s", identity,
                             options->role == KEY_ROLE_NONE ? "client, issuer, operator, gateway or storage"
                                                            : key_role_name(options->role));
        return true;
    }
    for (size_t i = 0; keys && i < keys->count; i++)
        if (role_in(&keys->items[i], options->role) != KEY_ROLE_NONE) {
            *key = &keys->items[i];
            found++;
        }
    if (found > 1)
        *key = NULL;
    return true;
}

/* A process that asks others needs a key of its own, or a token, under `required`; one that is only asked needs keys. */
static bool check_mode(const struct auth_options *options, const struct keys *keys, const struct key *key,
                       struct error *error)
{
    bool asks = options->role != KEY_ROLE_TRACKER && options->role != KEY_ROLE_IDSERVER;

    if (options->mode != AUTH_REQUIRED)
        return true;
    if (!keys && options->token_count == 0)
        return error_set(error, ERROR_REFUSED, "mode = required needs a keys file: [auth] keys = FILE");
    if (asks && !key && options->token_count > 0)
        return error_set(
            error, ERROR_REFUSED,
            "mode = required with a token alone: only a key lets the server prove itself; give one, or "
            "mode = prefer");
    if (asks && !key)
        return error_set(error, ERROR_REFUSED,
                         "mode = required needs a key of its own: name it with [auth] identity (the keys "
                         "file has none, or several, with the role %s)",
                         options->role == KEY_ROLE_NONE ? "client, issuer or operator"
                                                        : key_role_name(options->role));
    return true;
}

static bool take_tokens(struct auth *auth, const struct auth_options *options, struct error *error)
{
    if (options->token_count > TOKENS_MAX)
        return error_set(error, ERROR_REFUSED, "more than %d tokens", TOKENS_MAX);
    for (size_t i = 0; i < options->token_count; i++) {
        struct auth_token_body *token = &auth->tokens[i];

        token->size = token_parse(options->tokens[i], token->bytes);
        if (token->size == 0)
            return error_set(error, ERROR_REFUSED,
                             "token %zu is not a token: the text that `reel auth token` prints is expected",
                             i + 1);
        auth->token_count++;
    }
    return true;
}

/* Takes over OPTIONS, of which LEGACY was made, with FRESH keys (NULL: the present ones), of which KEY is the own one: nobody
 * sees the one without the other. */
static void auth_take_options(struct auth *auth, const struct auth_options *options, struct keys *fresh,
                              const struct key *key, struct networks *legacy)
{
    enum key_role role = key ? role_in(key, options->role) : KEY_ROLE_NONE;

    pthread_mutex_lock(&auth->mutex);
    if (fresh)
        key_holder_put(auth->holder, keys_hold(fresh), NULL);
    struct networks old = auth->legacy;
    auth->legacy = *legacy;
    memset(auth->own_id, 0, sizeof(auth->own_id));
    if (key)
        memcpy(auth->own_id, key->id, sizeof(auth->own_id));
    auth->own_role = role;
    pthread_mutex_unlock(&auth->mutex);
    networks_clear(&old);
    atomic_store(&auth->has_identity, key != NULL);
    atomic_store(&auth->session_ms, options->session_ms);
    atomic_store(&auth->mode, (int)options->mode);
}

static bool parse_legacy(const struct auth_options *options, struct networks *legacy, struct error *error)
{
    struct error cause;

    *legacy = (struct networks){0};
    return !options->legacy_addresses || networks_parse(options->legacy_addresses, legacy, &cause) ||
           error_set(error, cause.code, "legacy_addresses: %s", cause.text);
}

struct auth *auth_create(const struct auth_options *options, struct error *error)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    const char *file = options->keys_file ? options->keys_file : "";
    struct networks legacy = {0};
    const struct key *key;
    struct keys *keys = NULL;

    if (!auth || !(auth->keys_file = strdup(file))) {
        free(auth);
        error_set_errno(error, ENOMEM, "[auth]");
        return NULL;
    }
    (void)pthread_mutex_init(&auth->mutex, NULL);
    auth->role = options->role;
    atomic_store(&auth->identity_version, 1);
    if (file[0] != '\0' && !(auth->holder = key_holder_create(file, error)))
        goto fail;
    keys = auth_keys(auth);
    if (!choose_key(keys, options, &key, error) || !check_mode(options, keys, key, error) ||
        !take_tokens(auth, options, error) || !parse_legacy(options, &legacy, error))
        goto fail;
    auth_take_options(auth, options, NULL, key, &legacy);
    keys_release(keys);
    return auth;
fail:
    keys_release(keys);
    auth_destroy(auth);
    return NULL;
}

/* ---- a reload ---- */

struct auth_fresh {
    struct auth_options options; /* without what they point to: mode, role and session_ms are looked at */
    struct keys *keys;           /* NULL: there is no file */
    const struct key *key;       /* the own one, of KEYS; or NULL */
    struct networks legacy;
    bool other_key; /* than before */
};

static bool auth_read_keys(struct auth *auth, struct auth_fresh *fresh, struct error *error)
{
    return !auth->holder || (fresh->keys = key_holder_read(auth->holder, error));
}

struct auth_fresh *auth_read(struct auth *auth, const struct auth_options *options, struct error *error)
{
    struct auth_fresh *fresh;
    struct auth_identity before;

    if (strcmp(auth->keys_file, options->keys_file ? options->keys_file : "") != 0) {
        error_set(error, ERROR_REFUSED, "[auth] keys: another file needs a restart");
        return NULL;
    }
    fresh = calloc(1, sizeof(*fresh));
    if (!fresh) {
        error_set_errno(error, ENOMEM, "[auth]");
        return NULL;
    }
    fresh->options = *options;
    if (!parse_legacy(options, &fresh->legacy, error) || !auth_read_keys(auth, fresh, error) ||
        !choose_key(fresh->keys, options, &fresh->key, error) ||
        !check_mode(options, fresh->keys, fresh->key, error)) {
        auth_fresh_drop(fresh);
        return NULL;
    }
    auth_identity(auth, &before);
    fresh->other_key = !before.key != !fresh->key || (before.key && !key_equal(before.key, fresh->key));
    auth_identity_clear(&before);
    return fresh;
}

void auth_fresh_use(struct auth *auth, struct auth_fresh *fresh)
{
    auth_take_options(auth, &fresh->options, fresh->keys, fresh->key, &fresh->legacy);
    if (fresh->other_key)
        (void)atomic_fetch_add(&auth->identity_version, 1);
    keys_release(fresh->keys);
    free(fresh);
}

void auth_fresh_drop(struct auth_fresh *fresh)
{
    if (!fresh)
        return;
    keys_release(fresh->keys);
    networks_clear(&fresh->legacy);
    free(fresh);
}

void auth_destroy(struct auth *auth)
{
    if (!auth)
        return;
    key_holder_destroy(auth->holder);
    networks_clear(&auth->legacy);
    (void)pthread_mutex_destroy(&auth->mutex);
    explicit_bzero(auth->tokens, sizeof(auth->tokens));
    free(auth->keys_file);
    free(auth);
}

/* ---- questions ---- */

enum auth_mode auth_mode(const struct auth *auth)
{
    return auth ? (enum auth_mode)atomic_load_explicit(&auth->mode, memory_order_relaxed) : AUTH_OFF;
}

uint64_t auth_generation(const struct auth *auth)
{
    return auth && auth->holder ? key_holder_generation(auth->holder) : 0;
}

struct keys *auth_keys(struct auth *auth)
{
    return auth && auth->holder ? key_holder_get(auth->holder) : NULL;
}

bool auth_serves(const struct auth *auth)
{
    return auth && auth->holder && auth_mode(auth) != AUTH_OFF;
}

enum key_role auth_role(const struct auth *auth)
{
    return auth->role;
}

int64_t auth_session_seconds(const struct auth *auth)
{
    return max_i64(atomic_load_explicit(&auth->session_ms, memory_order_relaxed) / 1000, 1);
}

bool auth_is_legacy(struct auth *auth, const char *host)
{
    pthread_mutex_lock(&auth->mutex);
    bool legacy = networks_contain(&auth->legacy, host);
    pthread_mutex_unlock(&auth->mutex);
    return legacy;
}

void auth_own_id(struct auth *auth, char id[KEY_ID_SIZE])
{
    pthread_mutex_lock(&auth->mutex);
    memcpy(id, auth->own_id, KEY_ID_SIZE);
    pthread_mutex_unlock(&auth->mutex);
}

bool auth_asks(const struct auth *auth)
{
    return auth_mode(auth) != AUTH_OFF &&
           (atomic_load(&auth->has_identity) || auth->token_count > 0 || auth_mode(auth) == AUTH_REQUIRED);
}

void auth_identity(struct auth *auth, struct auth_identity *identity)
{
    *identity = (struct auth_identity){.version = auth_identity_version(auth)};
    pthread_mutex_lock(&auth->mutex);
    identity->keys = auth_keys(auth);
    if (identity->keys && auth->own_id[0] != '\0') {
        identity->key = keys_find(identity->keys, auth->own_id);
        identity->role = auth->own_role;
    }
    pthread_mutex_unlock(&auth->mutex);
}

void auth_identity_clear(struct auth_identity *identity)
{
    keys_release(identity->keys);
    *identity = (struct auth_identity){0};
}

uint64_t auth_identity_version(const struct auth *auth)
{
    return auth ? atomic_load_explicit(&auth->identity_version, memory_order_acquire) : 0;
}

const uint8_t *auth_token(const struct auth *auth, size_t number, size_t *size)
{
    if (number >= auth->token_count)
        return NULL;
    *size = auth->tokens[number].size;
    return auth->tokens[number].bytes;
}
