/*
 * Who may send what: every command of the protocol is sent by every role, in every mode of auth, about what its key or token is for
 * and about other things, over a real server and real proofs. The table stands here once more, written from docs/protocol.md; a
 * command without a row does not compile.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/packet_fixture.h"

#include "common/auth/access.h"
#include "common/auth/auth.h"
#include "common/auth/session.h"
#include "common/auth/token.h"

#include <fcntl.h>
#include <sys/stat.h>

/* ---- the table ---- */

/* Who may, as letters: S storage, G gateway, C client with a token, I issuer, O operator; b: of the base set, which legacy addresses
 * may send without a proof; *: everybody. What the key or token must cover: f application (and, of a token, user, file and
 * right), u application and user, l application and user, whole, g group, p path, - nothing. The right that it takes: r w d l
 * or -. */
static const char *row_of(enum proto_command command)
{
    switch (command) {
    case PROTO_SESSION_HELLO:
    case PROTO_SESSION_PROVE:
    case PROTO_SESSION_TOKEN:
    case PROTO_SESSION_WHOAMI:
        return "* - -";
    case PROTO_TRACKER_JOIN:
    case PROTO_TRACKER_BEAT:
        return "Sb g -";
    case PROTO_TRACKER_SADDRS:
        return "SGCIOb u -";
    case PROTO_TRACKER_GROUPS:
        return "Ob - -";
    case PROTO_TRACKER_LOAD:
    case PROTO_TRACKER_ADVERTISE:
        return "S g -";
    case PROTO_TRACKER_STATUS:
        return "GO - -";
    case PROTO_TRACKER_GROUP:
    case PROTO_TRACKER_USERS:
    case PROTO_TRACKER_REROUTE:
    case PROTO_STORAGE_FSCK:
    case PROTO_STORAGE_MOVE:
    case PROTO_STORAGE_FETCH:
    case PROTO_STORAGE_LEFT:
    case PROTO_STORAGE_SET_QUOTA:
    case PROTO_STORAGE_QUOTAS:
        return "O - -";
    case PROTO_TRACKER_LOCATE:
        return "SGCIO u -";
    case PROTO_TRACKER_SERVERS:
        return "SGCIO - -";
    case PROTO_IDSERVER_GET:
        return "SOb p -";
    case PROTO_IDSERVER_RANGE:
        return "SO p -";
    case PROTO_STORAGE_UPLOAD:
        return "GCIOb f w";
    case PROTO_STORAGE_PUT_TRAILER:
    case PROTO_STORAGE_RENAME:
        return "CIO f w";
    case PROTO_STORAGE_PUT:
    case PROTO_STORAGE_STORE:
    case PROTO_STORAGE_BEGIN:
    case PROTO_STORAGE_APPEND:
    case PROTO_STORAGE_OFFSET:
    case PROTO_STORAGE_FINISH:
    case PROTO_STORAGE_ABORT:
    case PROTO_STORAGE_JOIN_PARTS:
        return "GCIO f w";
    case PROTO_STORAGE_FILESIZE:
    case PROTO_STORAGE_DOWNLOAD:
        return "GCIOb f r";
    case PROTO_STORAGE_STAT:
    case PROTO_STORAGE_READ:
        return "GCIO f r";
    case PROTO_STORAGE_WHERE:
        return "GO f r";
    case PROTO_STORAGE_EXPIRE:
        return "GCIO f d";
    case PROTO_STORAGE_DELETE:
        return "GCIOb f d";
    case PROTO_STORAGE_RESTORE:
        return "GCIO f d";
    case PROTO_STORAGE_LIST:
    case PROTO_STORAGE_QUOTA:
        return "GCIO l l";
    }
    return NULL;
}

static bool row_has(uint8_t command, char letter)
{
    return strchr(row_of((enum proto_command)command), letter) != NULL;
}

static char row_scope(uint8_t command)
{
    return strchr(row_of((enum proto_command)command), ' ')[1];
}

static char row_right(uint8_t command)
{
    return strrchr(row_of((enum proto_command)command), ' ')[1];
}

/* ---- who asks ---- */

enum subject { OWN, FOREIGN };

struct identity {
    const char *key; /* ID; NULL: no proof */
    enum key_role role;
    char letter;
    const char *token_user, *token_prefix, *token_rights; /* NULL: no token */
    bool weak;                                            /* its key or token gives rights=r alone */
};

#define SECRET(n) "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh" n "="
#define BOUNDS    "applications=tnvideo groups=group001 paths=../data"

static const char keys_text[] = "gw-w gateway " SECRET(
    "k") " rights=rwdl " BOUNDS "\n"
         "st storage " SECRET(
             "8") " " BOUNDS "\n"
                  "gw gateway " SECRET(
                      "A") " " BOUNDS "\n"
                           "is issuer " SECRET(
                               "E") " " BOUNDS "\n"
                                    "op operator " SECRET(
                                        "I") " " BOUNDS "\n"
                                             "cl client " SECRET(
                                                 "M") " " BOUNDS "\n"
                                                      "tr tracker " SECRET(
                                                          "Q") " " BOUNDS "\n"
                                                               "id idserver " SECRET(
                                                                   "U") " " BOUNDS "\n"
                                                                        "is-r issuer " SECRET(
                                                                            "Y") " rights=r " BOUNDS "\n"
                                                                                 "old storage " SECRET(
                                                                                     "c") " - 2001-01-01\n"
                                                                                          "young "
                                                                                          "storage " SECRET(
                                                                                              "g") " 2099-01-"
                                                                                                   "01\n";

static const struct identity identities[] = {
    {NULL, KEY_ROLE_NONE, 0, NULL, NULL, NULL, false},
    {"st", KEY_ROLE_STORAGE, 'S', NULL, NULL, NULL, false},
    {"gw", KEY_ROLE_GATEWAY, 'G', NULL, NULL, NULL, true}, /* a gateway reads, unless its line says more */
    {"gw-w", KEY_ROLE_GATEWAY, 'G', NULL, NULL, NULL, false},
    {"is", KEY_ROLE_ISSUER, 'I', NULL, NULL, NULL, false},
    {"op", KEY_ROLE_OPERATOR, 'O', NULL, NULL, NULL, false},
    {"tr", KEY_ROLE_TRACKER, 0, NULL, NULL, NULL, false},
    {"id", KEY_ROLE_IDSERVER, 0, NULL, NULL, NULL, false},
    {"cl", KEY_ROLE_CLIENT, 0, NULL, NULL, NULL, false}, /* without a token it may nothing */
    {"cl", KEY_ROLE_CLIENT, 'C', "alice", NULL, "rwdl", false},
    {NULL, KEY_ROLE_CLIENT, 'C', "alice", NULL, "rwdl", false},
    {NULL, KEY_ROLE_CLIENT, 'C', "alice", NULL, "r", true},
    {NULL, KEY_ROLE_CLIENT, 'C', "alice", "film", "rwdl", false},
    {"is-r", KEY_ROLE_ISSUER, 'I', NULL, NULL, NULL, true},
};

static struct auth *auth;

/* ---- the server ---- */

static void handle_any(struct packet_request *request)
{
    packet_reply(request, "ok", 2);
}

static struct packet_command commands[256];
static size_t command_count;

static void make_commands(void)
{
    command_count = 0;
    for (int command = 1; command < 256; command++) {
        assert_int_equal(access_of((uint8_t)command) != NULL, row_of((enum proto_command)command) != NULL);
        if (row_of((enum proto_command)command) && command > PROTO_SESSION_WHOAMI)
            commands[command_count++] = (struct packet_command){.command = (uint8_t)command,
                                                                .name = access_of((uint8_t)command)->name,
                                                                .maximum = 1000,
                                                                .handle = handle_any};
    }
    assert_in_range(command_count, 20, 60);
}

static void start_as(enum auth_mode mode, bool legacy)
{
    static char home[] = "127.0.0.1";
    static char *items[] = {home};
    const struct config_strings addresses = {items, legacy ? 1 : 0};
    struct auth_options options = {.mode = mode,
                                   .keys_file = "./roles-keys",
                                   .role = KEY_ROLE_TRACKER,
                                   .session_ms = 3600000,
                                   .legacy_addresses = &addresses};
    struct packet_server_options server;
    struct address address;
    struct error error;

    write_text("./roles-keys", keys_text);
    auth = auth_create(&options, &error);
    if (!auth)
        fail_msg("%s", error.text);
    make_commands();
    server = default_options(&address);
    server.commands = commands;
    server.command_count = command_count;
    server.auth = auth;
    start_with(&server);
}

static void end(void)
{
    finish();
    auth_destroy(auth);
    auth = NULL;
    (void)unlink("./roles-keys");
}

/* ---- the client ---- */

/* The number of the reply's failure, 0 for success; BODY, of SIZE bytes, gets a success's. */
static int receive(int fd, void *body, size_t size)
{
    struct proto_header header = get_header(fd);
    uint8_t text[1024];

    assert_in_range(header.length, 0, sizeof(text));
    get_bytes(fd, text, (size_t)header.length);
    if (header.status != PROTO_STATUS_OK)
        return (int16_t)(text[0] << 8 | text[1]);
    if (size > 0) {
        assert_int_equal(header.length, size);
        memcpy(body, text, size);
    }
    return ERROR_NONE;
}

static int call(int fd, uint8_t command, const void *body, size_t size)
{
    put_request(fd, command, body, size);
    return receive(fd, NULL, 0);
}

/* HELLO and PROVE with KEY. What PROVE was answered. */
static int prove(int fd, const char *id, enum key_role role)
{
    struct keys *keys = auth_keys(auth);
    struct session_client client = {.key = keys_find(keys, id), .role = role};
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE];
    struct error error;
    int outcome;

    assert_non_null(client.key);
    assert_true(session_client_hello(&client, hello, &error));
    put_request(fd, PROTO_SESSION_HELLO, hello, sizeof(hello));
    assert_int_equal(receive(fd, reply, sizeof(reply)), ERROR_NONE);
    assert_true(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    outcome = call(fd, PROTO_SESSION_PROVE, proof, sizeof(proof));
    keys_release(keys);
    return outcome;
}

static int show_token(int fd, const char *user, const char *prefix, const char *rights, int64_t from,
                      int64_t until)
{
    struct keys *keys = auth_keys(auth);
    struct proto_token token = {
        .not_before = from, .expires = until, .application = "tnvideo", .has_prefix = prefix};
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    struct error error;
    unsigned bits;

    assert_true(key_rights_parse(rights, &bits));
    token.rights = (uint8_t)bits;
    snprintf(token.user, sizeof(token.user), "%s", user);
    snprintf(token.prefix, sizeof(token.prefix), "%s", prefix ? prefix : "");
    size_t size = token_sign(keys_find(keys, "is"), &token, body, &error);
    keys_release(keys);
    assert_int_not_equal(size, 0);
    return call(fd, PROTO_SESSION_TOKEN, body, size);
}

static int dial_as(const struct identity *who)
{
    int64_t now = clock_wall_seconds();
    int fd = dial();

    if (who->key)
        assert_int_equal(prove(fd, who->key, who->role), ERROR_NONE);
    if (who->token_user)
        assert_int_equal(show_token(fd, who->token_user, who->token_prefix, who->token_rights, 0, now + 600),
                         ERROR_NONE);
    return fd;
}

/* A body of COMMAND about what the keys above are for, or about something else. */
static size_t make_body(uint8_t command, enum subject subject, uint8_t body[512])
{
    bool own = subject == OWN;
    size_t at = command == PROTO_TRACKER_JOIN ? PROTO_VERSION_SIZE : 0;

    memset(body, 0, 512);
    switch (row_scope(command)) {
    case 'g':
        memcpy(body + at, own ? "group001" : "group002", 8);
        break;
    case 'p':
        memcpy(body, own ? "../data" : "../date", 7);
        return command == PROTO_IDSERVER_GET ? 8 : 512;
    default:
        memcpy(body, own ? "tnvideo" : "another", 7);
        memcpy(body + PROTO_APPLICATION_SIZE, "alice", 5);
        memcpy(body + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE, "film-1", 6);
    }
    return 512;
}

/* What the server must say to WHO. */
static int expected(const struct identity *who, uint8_t command, enum subject subject, enum auth_mode mode,
                    bool legacy)
{
    bool proved = who->key || who->token_user, mine = who->letter && row_has(command, who->letter);
    char right = row_right(command);

    if (mode != AUTH_REQUIRED)
        return ERROR_NONE;
    if (!proved)
        return legacy && row_has(command, 'b') ? ERROR_NONE : ERROR_UNAUTHENTICATED;
    if (who->role == KEY_ROLE_CLIENT && !who->token_user) /* its role may, and lacks what says which files */
        return row_has(command, '*') ? ERROR_NONE
               : row_has(command, 'C') && (subject == OWN || row_scope(command) == '-')
                   ? ERROR_UNAUTHENTICATED
                   : ERROR_FORBIDDEN;
    if (!mine)
        return ERROR_FORBIDDEN;
    if (who->weak && right != '-' && right != 'r')
        return ERROR_FORBIDDEN;
    if (subject == FOREIGN && row_scope(command) != '-')
        return ERROR_FORBIDDEN;
    if (who->token_prefix && row_scope(command) == 'l') /* a list shows the others too */
        return ERROR_FORBIDDEN;
    return ERROR_NONE;
}

static void every_command(enum auth_mode mode, bool legacy)
{
    static const char *const modes[] = {"off", "prefer", "required"};
    uint8_t body[512];

    start_as(mode, legacy);
    for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
        const struct identity *who = &identities[i];
        int fd = mode == AUTH_OFF ? dial() : dial_as(who);

        for (size_t j = 0; j < command_count; j++) {
            for (enum subject subject = OWN; subject <= FOREIGN; subject++) {
                uint8_t command = commands[j].command;
                size_t size = make_body(command, subject, body);
                int wanted = expected(who, command, subject, mode, legacy),
                    got = call(fd, command, body, size);

                if (got != wanted)
                    fail_msg("%s, key %s, token %s %s: %s about %s things: %d instead of %d", modes[mode],
                             who->key ? who->key : "none", who->token_rights ? who->token_rights : "none",
                             who->token_prefix ? who->token_prefix : "", commands[j].name,
                             subject == OWN ? "own" : "foreign", got, wanted);
            }
        }
        assert_int_equal(call(fd, 200, NULL, 0), ERROR_UNKNOWN_COMMAND);
        close(fd);
    }
    end();
}

static void required_lets_each_role_do_what_its_row_says(void **state)
{
    (void)state;
    every_command(AUTH_REQUIRED, false);
}

static void legacy_addresses_may_send_the_base_set_and_nothing_else(void **state)
{
    (void)state;
    every_command(AUTH_REQUIRED, true);
}

static void prefer_lets_everybody_do_everything(void **state)
{
    (void)state;
    every_command(AUTH_PREFER, false);
}

static void off_knows_of_no_sessions(void **state)
{
    uint8_t hello[PROTO_HELLO_SIZE] = {0};
    int fd;

    (void)state;
    every_command(AUTH_OFF, false);
    start_as(AUTH_OFF, false);
    fd = dial();
    assert_int_equal(call(fd, PROTO_SESSION_HELLO, hello, sizeof(hello)), ERROR_UNKNOWN_COMMAND);
    assert_int_equal(call(fd, PROTO_SESSION_WHOAMI, NULL, 0), ERROR_UNKNOWN_COMMAND);
    close(fd);
    end();
}

static void keys_and_tokens_outside_of_their_time_give_nothing(void **state)
{
    int64_t now = clock_wall_seconds();
    uint8_t body[512];
    int fd;

    (void)state;
    start_as(AUTH_REQUIRED, false);
    static const char *const ids[] = {"old", "young"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        fd = dial();
        assert_int_equal(prove(fd, ids[i], KEY_ROLE_STORAGE), ERROR_UNAUTHENTICATED);
        get_end(fd); /* one failure per connection */
        close(fd);
    }
    fd = dial();
    assert_int_not_equal(show_token(fd, "alice", NULL, "r", 0, now - 60), ERROR_NONE);
    assert_int_not_equal(show_token(fd, "alice", NULL, "r", now + 600, now + 1200), ERROR_NONE);
    size_t size = make_body(PROTO_STORAGE_DOWNLOAD, OWN, body);
    assert_int_equal(call(fd, PROTO_STORAGE_DOWNLOAD, body, size), ERROR_UNAUTHENTICATED);
    /* Another user's. */
    assert_int_equal(show_token(fd, "bob", NULL, "rwdl", 0, now + 600), ERROR_NONE);
    assert_int_equal(call(fd, PROTO_STORAGE_DOWNLOAD, body, size), ERROR_FORBIDDEN);
    /* Other files of the user's. */
    assert_int_equal(show_token(fd, "alice", "song", "rwdl", 0, now + 600), ERROR_NONE);
    assert_int_equal(call(fd, PROTO_STORAGE_DOWNLOAD, body, size), ERROR_FORBIDDEN);
    /* A role that the key does not have. */
    int other = dial();
    assert_int_equal(prove(other, "st", KEY_ROLE_OPERATOR), ERROR_FORBIDDEN);
    close(other);
    close(fd);
    end();
}

static void requests_are_counted_by_key_and_those_of_the_parts_not_at_all(void **state)
{
    static const char *const uncounted[] = {"st", "gw", "op"};
    static const enum key_role roles[] = {KEY_ROLE_STORAGE, KEY_ROLE_GATEWAY, KEY_ROLE_OPERATOR};
    uint8_t body[512];
    size_t size;
    int fd, throttled = 0;

    (void)state;
    start_as(AUTH_PREFER, false);
    packet_server_set_rate(fixture.server, 1); /* ten at once */
    size = make_body(PROTO_TRACKER_SADDRS, OWN, body);
    for (size_t i = 0; i < ARRAY_SIZE(uncounted); i++) {
        fd = dial();
        assert_int_equal(prove(fd, uncounted[i], roles[i]), ERROR_NONE);
        for (int j = 0; j < 30; j++)
            assert_int_equal(call(fd, PROTO_TRACKER_SADDRS, body, size), ERROR_NONE);
        close(fd);
    }
    for (int i = 0; i < 3; i++) { /* over several connections, which share what the key has */
        fd = dial();
        assert_int_equal(prove(fd, "is", KEY_ROLE_ISSUER), ERROR_NONE); /* which is not counted itself */
        for (int j = 0; j < 5; j++)
            throttled += call(fd, PROTO_TRACKER_SADDRS, body, size) == ERROR_THROTTLED;
        close(fd);
    }
    assert_in_range(throttled, 3, 5);
    fd = dial(); /* whoever proves nothing is counted by the address, apart from that */
    assert_int_equal(call(fd, PROTO_TRACKER_SADDRS, body, size), ERROR_NONE);
    close(fd);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_lets_each_role_do_what_its_row_says),
        cmocka_unit_test(legacy_addresses_may_send_the_base_set_and_nothing_else),
        cmocka_unit_test(prefer_lets_everybody_do_everything),
        cmocka_unit_test(off_knows_of_no_sessions),
        cmocka_unit_test(keys_and_tokens_outside_of_their_time_give_nothing),
        cmocka_unit_test(requests_are_counted_by_key_and_those_of_the_parts_not_at_all),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
