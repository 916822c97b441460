/*
 * session: the two state machines and the judgement over requests. The transcript that both proofs cover is
 * SHA-256(HELLO request, HELLO reply, binding).
 */
#include "common/auth/session.h"

#include "common/auth/key_mac.h"
#include "common/proto/proto_fields.h"

#include <stdlib.h>
#include <string.h>

/* A token that this connection has shown. */
struct session_token {
    struct proto_token token;
    uint64_t used; /* of session->uses */
};

struct session {
    struct keys *keys;     /* held; that `key` is in, and that tokens were last compared with */
    const struct key *key; /* that was proved; NULL: none */
    enum key_role role;
    int64_t ends; /* of `key`: seconds since the epoch */

    bool greeted; /* HELLO has come, its PROVE has not */
    char claimed_id[PROTO_ID_SIZE];
    enum key_role claimed_role;
    uint8_t transcript[MAC_SIZE];

    struct session_token *tokens[SESSION_TOKENS_MAX];
    uint64_t uses;
};

static const uint8_t no_binding[SESSION_BINDING_SIZE];

/* ---- what both sides compute ---- */

static void compute_transcript(const uint8_t *hello, const uint8_t *reply, const uint8_t *binding,
                               uint8_t transcript[MAC_SIZE])
{
    const struct mac_part parts[] = {{hello, PROTO_HELLO_SIZE},
                                     {reply, PROTO_HELLO_REPLY_SIZE},
                                     {binding ? binding : no_binding, SESSION_BINDING_SIZE}};

    sha256_compute(parts, ARRAY_SIZE(parts), transcript);
}

static void compute_client_proof(const struct key *key, const uint8_t transcript[MAC_SIZE],
                                 uint8_t proof[MAC_SIZE])
{
    const struct mac_part parts[] = {{"reel-auth-1 c", 14}, {transcript, MAC_SIZE}}; /* with its NUL */

    key_mac(key, KEY_USE_CLIENT, parts, ARRAY_SIZE(parts), proof);
}

static void compute_server_proof(const struct key *key, const uint8_t transcript[MAC_SIZE],
                                 const uint8_t client_proof[MAC_SIZE], uint8_t proof[MAC_SIZE])
{
    const struct mac_part parts[] = {
        {"reel-auth-1 s", 14}, {transcript, MAC_SIZE}, {client_proof, MAC_SIZE}}; /* with its NUL */

    key_mac(key, KEY_USE_SERVER, parts, ARRAY_SIZE(parts), proof);
}

/* ---- life ---- */

struct session *session_create(void)
{
    return calloc(1, sizeof(struct session));
}

void session_destroy(struct session *session)
{
    if (!session)
        return;
    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++)
        free(session->tokens[i]);
    keys_release(session->keys);
    free(session);
}

static void take_keys(struct session *session, struct keys *keys)
{
    if (session->keys == keys)
        return;
    keys_release(session->keys);
    session->keys = keys_hold(keys);
}

static void drop_token(struct session *session, size_t i)
{
    free(session->tokens[i]);
    session->tokens[i] = NULL;
}

void session_refresh(struct session *session, struct keys *keys)
{
    if (session->keys == keys)
        return;
    if (session->key) {
        const struct key *key = keys_find(keys, session->key->id);

        session->key = key && key_equal(key, session->key) ? key : NULL;
    }
    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++) {
        if (!session->tokens[i])
            continue;
        const char *issuer = session->tokens[i]->token.issuer;
        const struct key *old = session->keys ? keys_find(session->keys, issuer) : NULL;
        const struct key *key = keys_find(keys, issuer);

        if (!old || !key || !key_equal(old, key))
            drop_token(session, i);
    }
    take_keys(session, keys);
}

uint64_t session_generation(const struct session *session)
{
    return session->keys ? session->keys->generation : 0;
}

bool session_is_proved(const struct session *session)
{
    return session && session->key;
}

const char *session_key_id(const struct session *session)
{
    if (!session)
        return "";
    return session->key ? session->key->id : session->claimed_id;
}

enum key_role session_role(const struct session *session)
{
    if (!session)
        return KEY_ROLE_NONE;
    if (session->key)
        return session->role;
    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++)
        if (session->tokens[i])
            return KEY_ROLE_CLIENT;
    return KEY_ROLE_NONE;
}

/* ---- HELLO, PROVE ---- */

bool session_hello(struct session *session, const struct session_server *server, const uint8_t *body,
                   size_t size, uint8_t reply[PROTO_HELLO_REPLY_SIZE], struct error *error)
{
    struct proto_hello_reply answer = {
        .version = PROTO_SESSION_VERSION,
        .flags = (uint16_t)((server->required ? PROTO_HELLO_REQUIRED : 0) |
                            (server->binding ? PROTO_HELLO_BOUND : 0)),
        .role = (uint8_t)server->role,
        .time = max_i64(server->now, 0),
    };
    struct proto_hello hello;

    session->greeted = false;
    if (!proto_hello_unpack(body, size, &hello, error))
        return false;
    if ((hello.wishes & PROTO_WISH_BINDING) != 0 && !server->binding)
        return error_set(error, ERROR_UNAVAILABLE,
                         "HELLO asks for channel binding on a connection without TLS");
    memcpy(answer.key, server->id, strlen(server->id));
    if (server->nonce)
        memcpy(answer.nonce, server->nonce, sizeof(answer.nonce));
    else if (!random_secret(answer.nonce, sizeof(answer.nonce)))
        return error_set(error, ERROR_UNAVAILABLE, "the system provided no random bytes");
    if (!proto_hello_reply_pack(reply, &answer, error))
        return false;
    compute_transcript(body, reply, server->binding, session->transcript);
    memcpy(session->claimed_id, hello.key, sizeof(session->claimed_id));
    session->claimed_role = hello.role < KEY_ROLES ? (enum key_role)hello.role : KEY_ROLE_NONE;
    session->greeted = true;
    return true;
}

/* The key that the proof was made with, if it was; only the result distinguishes it from one that does not
 * exist. */
static const struct key *find_prover(const struct session *session, const struct session_server *server,
                                     const uint8_t proof[PROTO_PROOF_SIZE])
{
    static const struct key
        nobody; /* its MAC is computed too, so that the time does not reveal which IDs exist */
    const struct key *key = keys_find(server->keys, session->claimed_id);
    uint8_t expected[MAC_SIZE];

    compute_client_proof(key ? key : &nobody, session->transcript, expected);
    return mac_equal(expected, proof, MAC_SIZE) ? key : NULL;
}

bool session_prove(struct session *session, const struct session_server *server, const uint8_t *body,
                   size_t size, uint8_t reply[PROTO_PROVE_REPLY_SIZE], struct error *error)
{
    struct proto_prove_reply answer = {0};
    const struct key *key;

    if (size != PROTO_PROOF_SIZE)
        return error_set(error, ERROR_MALFORMED, "PROVE: body of %zu bytes; %d expected", size,
                         PROTO_PROOF_SIZE);
    if (!session->greeted)
        return error_set(error, ERROR_UNAUTHENTICATED, "PROVE without a HELLO before it");
    session->greeted = false; /* a transcript is good for one proof */
    key = find_prover(session, server, body);
    if (!key)
        return error_set(error, ERROR_UNAUTHENTICATED, "the proof is wrong, or the key %s is not known here",
                         session->claimed_id);
    if (!key_valid_at(key, server->now))
        return error_set(error, ERROR_UNAUTHENTICATED, "key %s is not valid now: %s", key->id,
                         server->now < key->from ? "not yet" : "it has expired");
    if (!key_has_role(key, session->claimed_role))
        return error_set(error, ERROR_FORBIDDEN, "key %s does not have the role %s", key->id,
                         key_role_name(session->claimed_role));
    if (!key_may_address(key, server->peer))
        return error_set(error, ERROR_FORBIDDEN, "key %s may not be used from %s", key->id, server->peer);
    compute_server_proof(key, session->transcript, body, answer.proof);
    session_refresh(session, server->keys);
    take_keys(session, server->keys);
    session->key = key;
    session->role = session->claimed_role;
    session->ends = server->now + server->lifetime;
    if (key->until < session->ends)
        session->ends = key->until;
    answer.seconds = session->ends - server->now;
    answer.rights = session->role == KEY_ROLE_CLIENT ? 0 : (int64_t)key->rights;
    proto_prove_reply_pack(reply, &answer);
    return true;
}

/* ---- TOKEN, WHOAMI ---- */

/* The place for one more: an empty one, that of one that has expired, or the least recently used. */
static size_t place_for_token(const struct session *session, int64_t now)
{
    size_t place = 0;

    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++) {
        if (!session->tokens[i] || now >= session->tokens[i]->token.expires)
            return i;
        if (session->tokens[i]->used < session->tokens[place]->used)
            place = i;
    }
    return place;
}

bool session_token(struct session *session, const struct session_server *server, const uint8_t *body,
                   size_t size, uint8_t reply[PROTO_VALUE_SIZE], struct error *error)
{
    const struct key *issuer;
    struct proto_token token;
    int64_t ends;
    size_t place;

    if (!token_verify(server->keys, body, size, server->now, &token, &issuer, error))
        return false;
    session_refresh(session, server->keys);
    ends = min_i64(token.expires, issuer->until);
    place = place_for_token(session, server->now);
    if (!session->tokens[place] && !(session->tokens[place] = calloc(1, sizeof(*session->tokens[place]))))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a token");
    session->tokens[place]->token = token;
    session->tokens[place]->token.expires = ends;
    session->tokens[place]->used = ++session->uses;
    proto_value_pack(reply, ends);
    return true;
}

void session_whoami(const struct session *session, int64_t now, uint8_t reply[PROTO_WHOAMI_REPLY_SIZE])
{
    struct proto_whoami_reply answer = {0};
    bool proved = session && session->key && now < session->ends;

    if (proved) {
        answer.role = (uint8_t)session->role;
        answer.ends = session->ends;
        answer.rights = session->role == KEY_ROLE_CLIENT ? 0 : (int64_t)session->key->rights;
        memcpy(answer.key, session->key->id, sizeof(answer.key));
    }
    for (size_t i = 0; session && i < SESSION_TOKENS_MAX; i++) {
        const struct session_token *token = session->tokens[i];

        if (!token || now >= token->token.expires || (proved && session->role != KEY_ROLE_CLIENT))
            continue;
        answer.role = KEY_ROLE_CLIENT;
        answer.rights |= token->token.rights;
        if (!proved)
            answer.ends = max_i64(answer.ends, token->token.expires);
    }
    if (!proto_whoami_reply_pack(reply, &answer, NULL))
        memset(reply, 0, PROTO_WHOAMI_REPLY_SIZE);
}

/* ---- judging a request ---- */

/* The string at AT of SIZE bytes of HEAD: into OUT of ROOM bytes. */
static bool read_field(const uint8_t *head, size_t size, size_t at, size_t room, char *out,
                       struct error *error)
{
    size_t length = at < size ? strnlen((const char *)head + at, min_size(size - at, room)) : room;

    if (length >= room || at + length >= size)
        return error_set(error, ERROR_MALFORMED, "the request's field at byte %zu does not end", at);
    memcpy(out, head + at, length);
    out[length] = '\0';
    return true;
}

static bool session_token_covers(const struct proto_token *token, const struct access *access,
                                 const struct proto_file_key *file)
{
    if ((token->rights & access->right) != access->right ||
        strcmp(token->application, file->application) != 0 || strcmp(token->user, file->user) != 0)
        return false;
    if (!token->has_prefix || access->scope == ACCESS_USER)
        return true;
    return access->scope == ACCESS_FILE && strncmp(file->file, token->prefix, strlen(token->prefix)) == 0;
}

static bool read_file_key(const uint8_t *head, size_t size, struct proto_file_key *key, struct error *error)
{
    return read_field(head, size, 0, PROTO_APPLICATION_SIZE, key->application, error) &&
           read_field(head, size, PROTO_APPLICATION_SIZE, PROTO_USER_SIZE, key->user, error) &&
           read_field(head, size, PROTO_APPLICATION_SIZE + PROTO_USER_SIZE, PROTO_FILE_SIZE, key->file,
                      error);
}

static bool no_valid_token(const struct access *access, struct error *error)
{
    return error_set(error, ERROR_UNAUTHENTICATED, "a client needs a TOKEN that is valid before %s",
                     access->name);
}

/* What concerns no user is allowed with any valid token. */
static bool client_admitted_at_all(const struct session *session, const struct access *access, int64_t now,
                                   struct error *error)
{
    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++) {
        if (session->tokens[i] && now < session->tokens[i]->token.expires)
            return true;
    }
    return no_valid_token(access, error);
}

/* A client may do what its tokens grant, within what its own key allows. */
static bool client_admitted(struct session *session, const struct access *access,
                            const struct proto_file_key *file, int64_t now, struct error *error)
{
    bool any = false;

    if (session->key && (!key_may_application(session->key, file->application) ||
                         (access->right & ~session->key->rights) != 0))
        return error_set(error, ERROR_FORBIDDEN, "key %s may not %s in application %s", session->key->id,
                         access->name, file->application);
    for (size_t i = 0; i < SESSION_TOKENS_MAX; i++) {
        struct session_token *token = session->tokens[i];

        if (!token || now >= token->token.expires)
            continue;
        any = true;
        if (session_token_covers(&token->token, access, file)) {
            token->used = ++session->uses;
            return true;
        }
    }
    return any ? error_set(error, ERROR_FORBIDDEN,
                           "no token of this connection covers %s for this user and file", access->name)
               : no_valid_token(access, error);
}

static bool key_admitted(const struct session *session, const struct access *access, const uint8_t *head,
                         size_t size, struct error *error)
{
    const struct key *key = session->key;
    char text[PROTO_KEY_SIZE];

    switch (access->scope) {
    case ACCESS_NOTHING:
        return true;
    case ACCESS_FILE:
    case ACCESS_USER:
    case ACCESS_LIST:
        return read_field(head, size, 0, PROTO_APPLICATION_SIZE, text, error) &&
               (key_may_application(key, text) ||
                error_set(error, ERROR_FORBIDDEN, "key %s has no rights in application %s", key->id, text));
    case ACCESS_GROUP:
        return read_field(head, size, access->at, PROTO_GROUP_SIZE, text, error) &&
               (key_may_group(key, text) ||
                error_set(error, ERROR_FORBIDDEN, "key %s is not for group %s", key->id, text));
    case ACCESS_PATH:
        return read_field(head, size, 0, min_size(size, PROTO_KEY_SIZE), text, error) &&
               (key_may_path(key, text) ||
                error_set(error, ERROR_FORBIDDEN, "key %s is not for the path %s", key->id, text));
    }
    return false;
}

bool session_admits_command(const struct session *session, const struct access *access, int64_t now,
                            struct error *error)
{
    enum key_role role = session_role(session);

    if (access->roles == 0)
        return true;
    if (role == KEY_ROLE_NONE)
        return error_set(error, ERROR_UNAUTHENTICATED, "%s needs a session: HELLO and PROVE first",
                         access->name);
    if (session->key && now >= session->ends)
        return error_set(error, ERROR_UNAUTHENTICATED, "the session has ended: HELLO and PROVE again");
    if ((access->roles & (1u << role)) == 0)
        return error_set(error, ERROR_FORBIDDEN, "%s is not for the role %s", access->name,
                         key_role_name(role));
    if (role != KEY_ROLE_CLIENT && session->key && (access->right & ~session->key->rights) != 0)
        return error_set(error, ERROR_FORBIDDEN, "key %s does not have the right to %s", session->key->id,
                         access->name);
    return true;
}

bool session_admits(struct session *session, const struct access *access, const uint8_t *head, size_t size,
                    int64_t now, struct error *error)
{
    struct proto_file_key file = {0};

    if (!session_admits_command(session, access, now, error))
        return false;
    if (access->roles == 0)
        return true;
    if (session_role(session) != KEY_ROLE_CLIENT)
        return key_admitted(session, access, head, size, error);
    if (access->scope == ACCESS_NOTHING)
        return client_admitted_at_all(session, access, now, error);
    return read_file_key(head, size, &file, error) && client_admitted(session, access, &file, now, error);
}

/* ---- the client's side ---- */

bool session_client_hello(struct session_client *client, uint8_t body[PROTO_HELLO_SIZE], struct error *error)
{
    struct proto_hello hello = {
        .version = PROTO_SESSION_VERSION,
        .wishes = (uint16_t)(PROTO_WISH_SERVER_PROOF | (client->binding ? PROTO_WISH_BINDING : 0)),
        .role = (uint8_t)client->role,
    };

    memcpy(hello.key, client->key->id, sizeof(hello.key));
    if (client->nonce)
        memcpy(hello.nonce, client->nonce, sizeof(hello.nonce));
    else if (!random_secret(hello.nonce, sizeof(hello.nonce)))
        return error_set(error, ERROR_UNAVAILABLE, "the system provided no random bytes");
    if (!proto_hello_pack(client->hello, &hello, error))
        return false;
    memcpy(body, client->hello, PROTO_HELLO_SIZE);
    return true;
}

bool session_client_prove(struct session_client *client, const uint8_t *reply, size_t size,
                          uint8_t body[PROTO_PROOF_SIZE], struct error *error)
{
    struct proto_hello_reply answer;

    if (!proto_hello_reply_unpack(reply, size, &answer, error))
        return false;
    if (answer.version != PROTO_SESSION_VERSION)
        return error_set(error, ERROR_MALFORMED, "HELLO reply: version %u; %d expected", answer.version,
                         PROTO_SESSION_VERSION);
    if (client->server != KEY_ROLE_NONE && answer.role != client->server)
        return error_set(error, ERROR_UNAUTHENTICATED,
                         "another kind of server answers: role %s, where %s is expected",
                         key_role_name((enum key_role)answer.role), key_role_name(client->server));
    if (((answer.flags & PROTO_HELLO_BOUND) != 0) != (client->binding != NULL))
        return error_set(error, ERROR_UNAUTHENTICATED,
                         "the two ends do not agree on whether this is a connection over TLS");
    client->required = (answer.flags & PROTO_HELLO_REQUIRED) != 0;
    compute_transcript(client->hello, reply, client->binding, client->transcript);
    compute_client_proof(client->key, client->transcript, client->proof);
    memcpy(body, client->proof, PROTO_PROOF_SIZE);
    return true;
}

bool session_client_verify(struct session_client *client, const uint8_t *reply, size_t size, int64_t *seconds,
                           struct error *error)
{
    struct proto_prove_reply answer;
    uint8_t expected[MAC_SIZE];

    if (!proto_prove_reply_unpack(reply, size, &answer, error))
        return false;
    compute_server_proof(client->key, client->transcript, client->proof, expected);
    if (!mac_equal(expected, answer.proof, MAC_SIZE))
        return error_set(error, ERROR_UNAUTHENTICATED,
                         "the server's proof is wrong: whoever answers does not know key %s",
                         client->key->id);
    *seconds = answer.seconds;
    return true;
}
