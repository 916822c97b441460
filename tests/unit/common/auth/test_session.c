/* session: the bytes of HELLO, PROVE and TOKEN against vectors of tests/system/wire.py, proofs that must fail, and the whole
 * matrix of commands, roles, scopes and times. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/key_mac.h"
#include "common/auth/keys_file.h"
#include "common/auth/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1800000000)

/* 32 bytes: 0, 1, ..., 31, and 1, 2, ..., 32, and so on. */
#define SECRET_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static const char hello_vector[] =
    "0001000173742d310000000000000000000000000200000000000000000000001111111111"
    "111111111111111111111111111111111111111111111111111111";
static const char reply_vector[] =
    "0001000174722d3100000000000000000000000005000000000000006b49d2002222222222222222222222222222222222222222"
    "2222"
    "222222222222222222220000000000000000000000000000000000000000000000000000000000000000";
static const char client_vector[] = "f07833de8b85f887bdaf31a32809b78442d48d2d17fcc593157b53e7c9fa9c66";
static const char server_vector[] = "6eb8486a7b88682ce3e1c51a03dd6f9fc131183e3a567b442040a5c3d009c4f5";
/* The same with wishes 3, flags 3 and a binding of 32 times 0x33. */
static const char bound_vector[] = "9493e2bd929d5dcd33d8d313c9a7ac7e6df5015c5448966f5852085256b2365f";
static const char token_vector[] =
    "01030000000000006b49d1c4000000006b49e01061707000000000000000000000000000746e766964656f000000000000000000"
    "000a"
    "616c6963650035663965cdcc76a5cad276eb7d333f8bef0b6203a77b14fda36e87b4e033e72624725dfd";
static const char token_text[] =
    "AQMAAAAAAABrSdHEAAAAAGtJ4BBhcHAAAAAAAAAAAAAAAAAAdG52aWRlbwAAAAAAAAAAAAAKYWxpY2UANWY5"
    "Zc3MdqXK0nbrfTM_i-8LYgOnexT9o26HtOAz5yYkcl39";

static uint8_t nonce_client[32], nonce_server[32], binding[32];

static struct keys *parse(const char *text)
{
    struct error error;
    struct keys *keys = keys_parse(text, strlen(text), "keys", &error);

    if (!keys)
        fail_msg("%s", error.text);
    return keys;
}

static struct session_server server_of(struct keys *keys)
{
    return (struct session_server){.keys = keys,
                                   .id = "tr-1",
                                   .role = KEY_ROLE_TRACKER,
                                   .required = true,
                                   .now = NOW,
                                   .lifetime = 3600,
                                   .peer = "192.0.2.1"};
}

static void assert_hex(const uint8_t *bytes, size_t size, const char *expected)
{
    char text[2048];

    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, expected);
}

static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t size = strlen(text) / 2;

    for (size_t i = 0; i < size; i++) {
        unsigned byte;

        assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    return size;
}

/* ---- vectors ---- */

static void both_sides_make_the_bytes_of_the_protocol(void **state)
{
    struct keys *keys = parse("st-1 storage " SECRET_A);
    struct session_server server = server_of(keys);
    struct session_client client = {.key = keys_find(keys, "st-1"),
                                    .role = KEY_ROLE_STORAGE,
                                    .server = KEY_ROLE_TRACKER,
                                    .nonce = nonce_client};
    struct session *session = session_create();
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE],
        answer[PROTO_PROVE_REPLY_SIZE];
    struct error error;
    int64_t seconds;
    (void)state;

    server.nonce = nonce_server;
    assert_true(session_client_hello(&client, hello, &error));
    assert_hex(hello, sizeof(hello), hello_vector);
    assert_true(session_hello(session, &server, hello, sizeof(hello), reply, &error));
    assert_hex(reply, sizeof(reply), reply_vector);
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    assert_true(client.required);
    assert_hex(proof, sizeof(proof), client_vector);
    assert_true(session_prove(session, &server, proof, sizeof(proof), answer, &error));
    assert_hex(answer, 32, server_vector);
    assert_true(session_client_verify(&client, answer, sizeof(answer), &seconds, &error));
    assert_int_equal(seconds, 3600);
    assert_int_equal(session_role(session), KEY_ROLE_STORAGE);
    session_destroy(session);
    keys_release(keys);
}

static void a_binding_is_covered_by_the_proofs(void **state)
{
    struct keys *keys = parse("st-1 storage " SECRET_A);
    struct session_server server = server_of(keys);
    struct session_client client = {
        .key = keys_find(keys, "st-1"), .role = KEY_ROLE_STORAGE, .nonce = nonce_client, .binding = binding};
    struct session *session = session_create();
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE],
        answer[PROTO_PROVE_REPLY_SIZE], other[32] = {1};
    struct error error;
    (void)state;

    server.nonce = nonce_server;
    assert_true(session_client_hello(&client, hello, &error));
    assert_false(session_hello(session, &server, hello, sizeof(hello), reply, &error)); /* no TLS here */
    server.binding = binding;
    assert_true(session_hello(session, &server, hello, sizeof(hello), reply, &error));
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    assert_hex(proof, sizeof(proof), bound_vector);
    server.binding = other; /* two connections, with somebody between them */
    assert_true(session_hello(session, &server, hello, sizeof(hello), reply, &error));
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    assert_false(session_prove(session, &server, proof, sizeof(proof), answer, &error));
    assert_int_equal(error.code, ERROR_UNAUTHENTICATED);
    client.binding = NULL; /* whoever takes TLS away is noticed */
    assert_false(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    session_destroy(session);
    keys_release(keys);
}

static void a_token_has_the_bytes_of_the_protocol(void **state)
{
    struct keys *keys = parse("app issuer " SECRET_B " rights=rw applications=tnvideo");
    struct proto_token token = {.rights = KEY_RIGHT_READ | KEY_RIGHT_WRITE,
                                .not_before = NOW - 60,
                                .expires = NOW + 3600,
                                .application = "tnvideo",
                                .user = "alice",
                                .has_prefix = true,
                                .prefix = "5f9e"};
    uint8_t body[PROTO_TOKEN_PACKED_MAX], parsed[PROTO_TOKEN_PACKED_MAX], vector[PROTO_TOKEN_PACKED_MAX];
    char text[TOKEN_TEXT_SIZE];
    struct proto_token again;
    struct error error;
    (void)state;

    size_t size = token_sign(keys_find(keys, "app"), &token, body, &error);
    assert_hex(body, size, token_vector);
    token_format(body, size, text);
    assert_string_equal(text, token_text);
    assert_int_equal(token_parse(" ", parsed), 0);
    assert_int_equal(token_parse(token_text, parsed), size);
    assert_memory_equal(parsed, body, size);
    assert_int_equal(from_hex(token_vector, vector), size);
    assert_true(token_verify(keys, vector, size, NOW, &again, NULL, &error));
    assert_string_equal(again.user, "alice");
    assert_string_equal(again.prefix, "5f9e");
    for (size_t i = 0; i < size; i++) { /* no byte of it may change */
        vector[i] ^= 1;
        assert_false(token_verify(keys, vector, size, NOW, &again, NULL, &error));
        vector[i] ^= 1;
    }
    assert_false(token_verify(keys, vector, size, NOW - 61, &again, NULL, &error));
    assert_true(token_verify(keys, vector, size, NOW - 60, &again, NULL, &error));
    assert_true(token_verify(keys, vector, size, NOW + 3599, &again, NULL, &error));
    assert_false(token_verify(keys, vector, size, NOW + 3600, &again, NULL, &error));
    token.rights = KEY_RIGHT_DELETE;
    assert_int_equal(token_sign(keys_find(keys, "app"), &token, body, &error), 0);
    token.rights = KEY_RIGHT_READ;
    strcpy(token.application, "other");
    assert_int_equal(token_sign(keys_find(keys, "app"), &token, body, &error), 0);
    keys_release(keys);
}

/* ---- proofs that fail ---- */

/* HELLO and PROVE of key ID in ROLE, with the secret of KNOWN; what becomes of it. */
static int prove(struct session *session, const struct session_server *server, const struct key *known,
                 const char *id, enum key_role role)
{
    struct key claimed = *known;
    struct session_client client = {.key = &claimed, .role = role};
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE],
        answer[PROTO_PROVE_REPLY_SIZE];
    struct error error;
    int64_t seconds;

    snprintf(claimed.id, sizeof(claimed.id), "%s", id);
    assert_true(session_client_hello(&client, hello, &error));
    assert_true(session_hello(session, server, hello, sizeof(hello), reply, &error));
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    if (!session_prove(session, server, proof, sizeof(proof), answer, &error))
        return error.code;
    assert_true(session_client_verify(&client, answer, sizeof(answer), &seconds, &error));
    return ERROR_NONE;
}

static void who_does_not_know_the_secret_gets_no_session(void **state)
{
    struct keys *keys = parse("a storage " SECRET_A " 2027-01-15 2027-01-16 addresses=192.0.2.0/24");
    struct keys *others = parse("a storage " SECRET_B);
    const struct key *right = keys_find(keys, "a"), *wrong = keys_find(others, "a");
    struct session_server server = server_of(keys);
    struct session *session = session_create();
    (void)state;

    server.now = right->from;
    assert_int_equal(prove(session, &server, wrong, "a", KEY_ROLE_STORAGE), ERROR_UNAUTHENTICATED);
    assert_int_equal(prove(session, &server, right, "b", KEY_ROLE_STORAGE), ERROR_UNAUTHENTICATED);
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_OPERATOR), ERROR_FORBIDDEN);
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_NONE), ERROR_FORBIDDEN);
    assert_int_equal(session_role(session), KEY_ROLE_NONE);
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_STORAGE), ERROR_NONE);
    server.peer = "192.0.3.1";
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_STORAGE), ERROR_FORBIDDEN);
    server.peer = "192.0.2.1";
    server.now = right->from - 1;
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_STORAGE), ERROR_UNAUTHENTICATED);
    server.now = right->until;
    assert_int_equal(prove(session, &server, right, "a", KEY_ROLE_STORAGE), ERROR_UNAUTHENTICATED);
    session_destroy(session);
    keys_release(keys);
    keys_release(others);
}

static void a_proof_is_good_once_and_for_its_own_hello(void **state)
{
    struct keys *keys = parse("a storage " SECRET_A);
    struct session_server server = server_of(keys);
    struct session *session = session_create();
    struct session_client client = {.key = keys_find(keys, "a"), .role = KEY_ROLE_STORAGE};
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE],
        answer[PROTO_PROVE_REPLY_SIZE];
    struct error error;
    int64_t seconds;
    (void)state;

    assert_false(session_prove(session, &server, proof, sizeof(proof), answer, &error)); /* without HELLO */
    assert_true(session_client_hello(&client, hello, &error));
    assert_true(session_hello(session, &server, hello, sizeof(hello), reply, &error));
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    assert_true(session_prove(session, &server, proof, sizeof(proof), answer, &error));
    assert_false(session_prove(session, &server, proof, sizeof(proof), answer, &error)); /* again */
    /* The same HELLO and PROVE on another connection: the server's nonce is another one. */
    assert_true(session_hello(session, &server, hello, sizeof(hello), reply, &error));
    assert_false(session_prove(session, &server, proof, sizeof(proof), answer, &error));
    /* Reflection: the client's own proof, and zeros, are no proof of the server. */
    memcpy(answer, proof, sizeof(proof));
    assert_false(session_client_verify(&client, answer, sizeof(answer), &seconds, &error));
    memset(answer, 0, sizeof(answer));
    assert_false(session_client_verify(&client, answer, sizeof(answer), &seconds, &error));
    assert_int_equal(error.code, ERROR_UNAUTHENTICATED);
    /* A server of another kind. */
    client.server = KEY_ROLE_IDSERVER;
    assert_false(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    session_destroy(session);
    keys_release(keys);
}

/* ---- the matrix ---- */

#define EVERYBODY                                                                                            \
    "operator client gateway issuer storage tracker idserver client+r client+w client+d "                    \
    "client+l "

/* Who may, for each command of the protocol: words of the columns below, each with a blank behind it. "client+w" is a client with
 * a token for w. A command without a line here does not compile. */
static const char *expected_of(enum proto_command command)
{
    switch (command) {
    case PROTO_SESSION_HELLO:
    case PROTO_SESSION_PROVE:
    case PROTO_SESSION_TOKEN:
    case PROTO_SESSION_WHOAMI:
        return EVERYBODY "none ";
    case PROTO_TRACKER_JOIN:
    case PROTO_TRACKER_BEAT:
    case PROTO_TRACKER_LOAD:
    case PROTO_TRACKER_ADVERTISE:
        return "storage ";
    case PROTO_TRACKER_SADDRS:
    case PROTO_TRACKER_LOCATE:
    case PROTO_TRACKER_SERVERS: /* names no user whom a token would have to cover: any that is valid will do */
        return "operator issuer gateway storage client+r client+w client+d client+l ";
    case PROTO_TRACKER_STATUS:
        return "operator gateway ";
    case PROTO_TRACKER_GROUPS:
    case PROTO_TRACKER_GROUP:
    case PROTO_TRACKER_USERS:
    case PROTO_TRACKER_REROUTE:
    case PROTO_STORAGE_FSCK:
    case PROTO_STORAGE_MOVE:
    case PROTO_STORAGE_FETCH:
    case PROTO_STORAGE_LEFT:
    case PROTO_STORAGE_SET_QUOTA:
    case PROTO_STORAGE_QUOTAS:
        return "operator ";
    case PROTO_IDSERVER_GET:
    case PROTO_IDSERVER_RANGE:
        return "operator storage ";
    case PROTO_STORAGE_PUT_TRAILER:
        return "operator issuer client+w ";
    case PROTO_STORAGE_UPLOAD:
    case PROTO_STORAGE_PUT:
    case PROTO_STORAGE_STORE:
    case PROTO_STORAGE_BEGIN:
    case PROTO_STORAGE_APPEND:
    case PROTO_STORAGE_OFFSET:
    case PROTO_STORAGE_FINISH:
    case PROTO_STORAGE_ABORT:
    case PROTO_STORAGE_JOIN_PARTS:
        return "operator issuer gateway client+w ";
    case PROTO_STORAGE_RENAME:
        return "operator issuer client+w ";
    case PROTO_STORAGE_FILESIZE:
    case PROTO_STORAGE_DOWNLOAD:
    case PROTO_STORAGE_STAT:
    case PROTO_STORAGE_READ:
        return "operator issuer gateway client+r ";
    case PROTO_STORAGE_WHERE:
        return "operator gateway ";
    case PROTO_STORAGE_DELETE:
    case PROTO_STORAGE_EXPIRE:
    case PROTO_STORAGE_RESTORE:
        return "operator issuer gateway client+d ";
    case PROTO_STORAGE_LIST:
    case PROTO_STORAGE_QUOTA:
        return "operator issuer gateway client+l ";
    }
    return NULL;
}

static const char matrix_keys[] =
    "operator operator AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= - 2027-02-01 applications=tnvideo\n"
    "client client AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA= - 2027-02-01 applications=tnvideo\n"
    "gateway gateway AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE= - 2027-02-01 applications=tnvideo "
    "rights=rwdl\n"
    "issuer issuer AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI= - 2027-02-01 applications=tnvideo\n"
    "storage storage BAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiM= - 2027-02-01 groups=group001 "
    "applications=tnvideo "
    "paths=../data\n"
    "tracker tracker BQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQ= - 2027-02-01\n"
    "idserver idserver BgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCU= - 2027-02-01\n";

/* A body whose head is about what is given. */
static size_t head_of(uint8_t command, bool foreign, uint8_t head[512])
{
    const struct access *access = access_of(command);
    memset(head, 0, 512);
    switch (access->scope) {
    case ACCESS_GROUP:
        strcpy((char *)head + access->at, foreign ? "group002" : "group001");
        return 200;
    case ACCESS_PATH:
        strcpy((char *)head, foreign ? "../else" : "../data");
        return 8;
    case ACCESS_FILE:
    case ACCESS_USER:
    case ACCESS_LIST:
        strcpy((char *)head, foreign ? "other" : "tnvideo");
        strcpy((char *)head + 16, "alice");
        strcpy((char *)head + 272, "5f9e1");
        return 400;
    case ACCESS_NOTHING:
        break;
    }
    return 0;
}

/* A session of the column: a role, or "client+r" with a token. */
static struct session *session_of(struct keys *keys, const struct session_server *server, const char *column)
{
    struct session *session = session_create();
    char role[16];
    const char *plus = strchr(column, '+');
    struct error error;
    uint8_t body[PROTO_TOKEN_PACKED_MAX], reply[PROTO_VALUE_SIZE];

    snprintf(role, sizeof(role), "%.*s", (int)strcspn(column, "+"), column);
    if (strcmp(role, "none") == 0)
        return session;
    assert_int_equal(prove(session, server, keys_find(keys, role), role, key_role_of_name(role)), ERROR_NONE);
    if (plus) {
        struct proto_token token = {
            .not_before = NOW, .expires = NOW + 600, .application = "tnvideo", .user = "alice"};
        unsigned rights;

        assert_true(key_rights_parse(plus + 1, &rights));
        token.rights = (uint8_t)rights;
        size_t size = token_sign(keys_find(keys, "issuer"), &token, body, &error);
        assert_true(size > 0 && session_token(session, server, body, size, reply, &error));
    }
    return session;
}

static const char *const columns[] = {"none",     "client", "storage",  "gateway",  "operator", "tracker",
                                      "idserver", "issuer", "client+r", "client+w", "client+d", "client+l"};

static void every_command_is_for_its_roles_and_scopes(void **state)
{
    struct keys *keys = parse(matrix_keys);
    struct session_server server = server_of(keys);
    uint8_t head[512];
    size_t cells = 0;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        struct session *session = session_of(keys, &server, columns[i]);
        char word[32];

        snprintf(word, sizeof(word), "%s ", columns[i]);
        for (int command = 0; command < 256; command++) {
            const struct access *access = access_of((uint8_t)command);
            const char *expected = expected_of((enum proto_command)command);
            struct error error;

            assert_true(!access == !expected);
            if (!access)
                continue;
            const char *found = strstr(expected, word);
            bool may = found && (found == expected || found[-1] == ' ');
            size_t size = head_of((uint8_t)command, false, head);
            if (session_admits(session, access, head, size, NOW + 1, &error) != may)
                fail_msg("%s as %s: %s expected", access->name, columns[i], may ? "success" : "refusal");
            if (!may)
                assert_true(error.code == ERROR_FORBIDDEN || error.code == ERROR_UNAUTHENTICATED);
            if (strcmp(columns[i], "none") == 0 && !may)
                assert_int_equal(error.code, ERROR_UNAUTHENTICATED);
            bool early = session_admits_command(session, access, NOW + 1, &error);
            if (may && !early)
                fail_msg("%s as %s is refused before its head came", access->name, columns[i]);
            /* A foreign group, path, application: nobody but where there is nothing to be foreign. */
            size = head_of((uint8_t)command, true, head);
            bool scoped = access->scope != ACCESS_NOTHING &&
                          !(access->scope == ACCESS_PATH && strcmp(columns[i], "operator") == 0);
            if (session_admits(session, access, head, size, NOW + 1, &error) != (may && !scoped))
                fail_msg("%s as %s in a foreign scope", access->name, columns[i]);
            /* Past the session's time. */
            if (session_admits(session, access, head, head_of((uint8_t)command, false, head), NOW + 3600,
                               &error) != (may && access->roles == 0))
                fail_msg("%s as %s after the session has ended", access->name, columns[i]);
            cells += 3;
        }
        session_destroy(session);
    }
    assert_int_equal(cells, 3 * ARRAY_SIZE(columns) * 45);
    keys_release(keys);
}

static bool admits_file(struct session *session, uint8_t command, const char *user, const char *file,
                        int64_t now)
{
    uint8_t head[400] = "tnvideo";
    struct error error;

    memcpy(head + 16, user, strlen(user));
    memcpy(head + 272, file, strlen(file));
    return session_admits(session, access_of(command), head, sizeof(head), now, &error);
}

static void add_token(struct session *session, const struct session_server *server, const char *user,
                      const char *prefix, int64_t expires)
{
    struct proto_token token = {.rights = KEY_RIGHTS_ALL, .expires = expires, .application = "tnvideo"};
    uint8_t body[PROTO_TOKEN_PACKED_MAX], reply[PROTO_VALUE_SIZE];
    struct error error;

    snprintf(token.user, sizeof(token.user), "%s", user);
    token.has_prefix = prefix != NULL;
    snprintf(token.prefix, sizeof(token.prefix), "%s", prefix ? prefix : "");
    size_t size = token_sign(keys_find(server->keys, "issuer"), &token, body, &error);
    assert_true(size > 0 && session_token(session, server, body, size, reply, &error));
}

static void a_token_covers_its_user_files_and_time(void **state)
{
    struct keys *keys = parse(matrix_keys);
    struct session_server server = server_of(keys);
    struct session *session = session_create(); /* a token alone makes a client */
    (void)state;

    add_token(session, &server, "alice", NULL, NOW + 100);
    add_token(session, &server, "bob", "5f9e", NOW + 100);
    assert_true(admits_file(session, PROTO_STORAGE_DOWNLOAD, "alice", "1", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "alice2", "1", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "alic", "1", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "Alice", "1", NOW));
    assert_true(admits_file(session, PROTO_STORAGE_DOWNLOAD, "bob", "5f9e77", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "bob", "5f9", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "bob", "6f9e77", NOW));
    assert_true(admits_file(session, PROTO_TRACKER_LOCATE, "bob", "", NOW));
    assert_true(admits_file(session, PROTO_STORAGE_LIST, "alice", "", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_LIST, "bob", "5f9e", NOW)); /* it would show the others */
    assert_true(admits_file(session, PROTO_STORAGE_DOWNLOAD, "alice", "1", NOW + 99));
    assert_false(admits_file(session, PROTO_STORAGE_DOWNLOAD, "alice", "1", NOW + 100));
    assert_true(admits_file(session, PROTO_TRACKER_SERVERS, "", "", NOW + 99));
    assert_false(admits_file(session, PROTO_TRACKER_SERVERS, "", "", NOW + 100));
    session_destroy(session);
    keys_release(keys);
}

static void of_nine_tokens_the_least_recently_used_goes(void **state)
{
    struct keys *keys = parse(matrix_keys);
    struct session_server server = server_of(keys);
    struct session *session = session_create();
    char user[16];
    (void)state;

    for (int i = 0; i < SESSION_TOKENS_MAX; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        add_token(session, &server, user, NULL, NOW + 100);
    }
    assert_true(admits_file(session, PROTO_STORAGE_STAT, "u0", "1", NOW));
    add_token(session, &server, "u8", NULL, NOW + 100);
    assert_true(admits_file(session, PROTO_STORAGE_STAT, "u0", "1", NOW));
    assert_false(admits_file(session, PROTO_STORAGE_STAT, "u1", "1", NOW));
    assert_true(admits_file(session, PROTO_STORAGE_STAT, "u2", "1", NOW));
    assert_true(admits_file(session, PROTO_STORAGE_STAT, "u8", "1", NOW));
    session_destroy(session);
    keys_release(keys);
}

static void a_session_ends_with_its_key(void **state)
{
    struct keys *keys = parse(matrix_keys); /* until 2027-02-01 */
    struct session_server server = server_of(keys);
    uint8_t reply[PROTO_WHOAMI_REPLY_SIZE];
    struct proto_whoami_reply who;
    struct error error;
    (void)state;

    server.now = keys_find(keys, "gateway")->until - 10;
    struct session *session = session_of(keys, &server, "gateway");
    session_whoami(session, server.now, reply);
    assert_true(proto_whoami_reply_unpack(reply, sizeof(reply), &who, &error));
    assert_true(who.role == KEY_ROLE_GATEWAY && who.ends == server.now + 10);
    assert_int_equal(who.rights, KEY_RIGHTS_ALL);
    assert_string_equal(who.key, "gateway");
    assert_true(admits_file(session, PROTO_STORAGE_STAT, "u", "1", server.now + 9));
    assert_false(admits_file(session, PROTO_STORAGE_STAT, "u", "1", server.now + 10));
    session_whoami(session, server.now + 10, reply);
    assert_true(proto_whoami_reply_unpack(reply, sizeof(reply), &who, &error) && who.role == KEY_ROLE_NONE);
    session_destroy(session);
    keys_release(keys);
}

static void a_reload_ends_sessions_of_keys_that_went_and_no_others(void **state)
{
    struct keys *keys = parse(matrix_keys);
    struct session_server server = server_of(keys);
    struct session *gateway = session_of(keys, &server, "gateway"), *client = session_create();
    (void)state;

    add_token(client, &server, "alice", NULL, NOW + 100);
    struct keys *same = parse(matrix_keys);
    session_refresh(gateway, same);
    session_refresh(client, same);
    assert_true(admits_file(gateway, PROTO_STORAGE_STAT, "u", "1", NOW));
    assert_true(admits_file(client, PROTO_STORAGE_STAT, "alice", "1", NOW));
    struct keys *fewer = parse("gateway gateway " SECRET_A);
    session_refresh(gateway, fewer);
    session_refresh(client, fewer);
    assert_false(admits_file(gateway, PROTO_STORAGE_STAT, "u", "1", NOW));
    assert_false(admits_file(client, PROTO_STORAGE_STAT, "alice", "1", NOW));
    session_destroy(gateway);
    session_destroy(client);
    keys_release(keys);
    keys_release(same);
    keys_release(fewer);
}

static void a_field_without_its_nul_is_refused(void **state)
{
    struct keys *keys = parse(matrix_keys);
    struct session_server server = server_of(keys);
    struct session *session = session_of(keys, &server, "storage");
    uint8_t head[200];
    struct error error;
    (void)state;

    memset(head, 'a', sizeof(head));
    assert_false(session_admits(session, access_of(PROTO_TRACKER_JOIN), head, 171, NOW, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_false(session_admits(session, access_of(PROTO_IDSERVER_GET), head, 8, NOW, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    session_destroy(session);
    keys_release(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_make_the_bytes_of_the_protocol),
        cmocka_unit_test(a_binding_is_covered_by_the_proofs),
        cmocka_unit_test(a_token_has_the_bytes_of_the_protocol),
        cmocka_unit_test(who_does_not_know_the_secret_gets_no_session),
        cmocka_unit_test(a_proof_is_good_once_and_for_its_own_hello),
        cmocka_unit_test(every_command_is_for_its_roles_and_scopes),
        cmocka_unit_test(a_token_covers_its_user_files_and_time),
        cmocka_unit_test(of_nine_tokens_the_least_recently_used_goes),
        cmocka_unit_test(a_session_ends_with_its_key),
        cmocka_unit_test(a_reload_ends_sessions_of_keys_that_went_and_no_others),
        cmocka_unit_test(a_field_without_its_nul_is_refused),
    };
    memset(nonce_client, 0x11, sizeof(nonce_client));
    memset(nonce_server, 0x22, sizeof(nonce_server));
    memset(binding, 0x33, sizeof(binding));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
