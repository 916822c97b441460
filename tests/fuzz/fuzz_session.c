/*
 * fuzz_session: HELLO, PROVE, TOKEN, WHOAMI and other commands in any order, with true and false proofs and tokens, reloads and
 * passing time. The invariant: no request is admitted that the keys and tokens shown so far do not give. An input is a series of
 * one byte for what is done and one for with what; a step of raw bytes takes the rest.
 */
#include "common/auth/keys_file.h"
#include "common/auth/session.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static const char text[] =
    "storage storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= - - groups=g1 paths=p1\n"
    "gateway gateway AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA= - - applications=a1 rights=r\n"
    "issuer issuer AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE= - - applications=a1 rights=rw\n"
    "client client AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI=\n"
    "operator operator BAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiM=\n";
static const char *const ids[] = {"storage", "gateway", "issuer", "client", "operator"};

struct world {
    struct keys *keys;
    struct session *session;
    struct session_server server;
    enum key_role proved; /* by a proof that was true */
    int64_t ends;
    bool has_token; /* for a1, alice, read */
    int64_t token_ends;
    size_t tokens_shown;
    bool over;
};

static void do_prove(struct world *world, uint8_t with)
{
    const char *id = ids[with % 5];
    const struct key *key = keys_find(world->keys, id);
    struct session_client client = {.key = key, .role = key_role_of_name(ids[(with >> 3) % 5])};
    uint8_t hello[PROTO_HELLO_SIZE], reply[PROTO_HELLO_REPLY_SIZE], proof[PROTO_PROOF_SIZE],
        answer[PROTO_PROVE_REPLY_SIZE];
    bool honest = (with & 0x80) == 0;
    struct error error;

    EXPECT(session_client_hello(&client, hello, &error));
    EXPECT(session_hello(world->session, &world->server, hello, sizeof(hello), reply, &error));
    EXPECT(session_client_prove(&client, reply, sizeof(reply), proof, &error));
    if (!honest)
        proof[with & 31] ^= 1;
    bool good = session_prove(world->session, &world->server, proof, sizeof(proof), answer, &error);
    EXPECT(good == (honest && key_has_role(key, client.role)));
    if (good) {
        world->proved = client.role;
        world->ends = world->server.now + world->server.lifetime;
    } else {
        world->over = true; /* the server ends the connection */
    }
}

static void do_token(struct world *world, uint8_t with)
{
    struct proto_token token = {.rights = KEY_RIGHT_READ,
                                .expires = world->server.now + (with & 15),
                                .application = "a1",
                                .user = "alice"};
    uint8_t body[PROTO_TOKEN_PACKED_MAX], reply[PROTO_VALUE_SIZE];
    bool honest = (with & 0x80) == 0;
    struct error error;
    size_t size = token_sign(keys_find(world->keys, "issuer"), &token, body, &error);

    EXPECT(size > 0);
    if (!honest)
        body[with % size] ^= 0x40;
    bool good = session_token(world->session, &world->server, body, size, reply, &error);
    EXPECT(good == (honest && token.expires > world->server.now));
    if (good) {
        world->has_token = true;
        world->tokens_shown++;
        world->token_ends = max_i64(world->token_ends, token.expires);
    }
}

/* What the model says of a request about group g1, path p1, or file of a1 and alice. */
static bool may(const struct world *world, const struct access *access)
{
    enum key_role role = world->proved;
    bool token = world->has_token && world->server.now < world->token_ends;

    if (access->roles == 0)
        return true;
    if (role != KEY_ROLE_NONE && world->server.now >= world->ends)
        return false;
    if (role == KEY_ROLE_NONE)
        role = world->has_token ? KEY_ROLE_CLIENT : KEY_ROLE_NONE;
    if (role == KEY_ROLE_NONE || (access->roles & (1u << role)) == 0)
        return false;
    if (role == KEY_ROLE_CLIENT)
        return token && (access->right & ~(unsigned)KEY_RIGHT_READ) == 0;
    if (role == KEY_ROLE_GATEWAY)
        return (access->right & ~(unsigned)KEY_RIGHT_READ) == 0;
    if (role == KEY_ROLE_ISSUER)
        return (access->right & ~(unsigned)(KEY_RIGHT_READ | KEY_RIGHT_WRITE)) == 0;
    return true;
}

static void do_request(struct world *world, uint8_t command)
{
    const struct access *access = access_of(command);
    uint8_t head[400] = {0};
    size_t size = sizeof(head);
    struct error error;

    if (!access)
        return;
    if (access->scope == ACCESS_GROUP) {
        memcpy(head + access->at, "g1", 2);
    } else if (access->scope == ACCESS_PATH) {
        memcpy(head, "p1", 2);
    } else {
        memcpy(head, "a1", 2);
        memcpy(head + PROTO_APPLICATION_SIZE, "alice", 5);
        memcpy(head + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE, "f", 1);
    }
    bool admitted = session_admits(world->session, access, head, size, world->server.now, &error);
    /* Of more tokens than a connection keeps the one that lasts longest may have gone: then less is admitted, never more. */
    EXPECT(admitted == may(world, access) || (!admitted && world->tokens_shown > SESSION_TOKENS_MAX));
}

static void do_raw(struct world *world, uint8_t with, const uint8_t *data, size_t size)
{
    uint8_t reply[PROTO_HELLO_REPLY_SIZE];
    struct error error;

    switch (with % 4) {
    case 0:
        (void)!session_hello(world->session, &world->server, data, size, reply, &error);
        return;
    case 1: /* nobody guesses a proof */
        EXPECT(!session_prove(world->session, &world->server, data, size, reply, &error));
        world->over = true;
        return;
    case 2:
        EXPECT(!session_token(world->session, &world->server, data, size, reply, &error));
        return;
    default:
        if (access_of(with))
            (void)!session_admits(world->session, access_of(with), data, size, world->server.now, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    struct world world = {.keys = keys_parse(text, sizeof(text) - 1, "keys", &error),
                          .session = session_create()};

    EXPECT(world.keys && world.session);
    world.server = (struct session_server){.keys = world.keys,
                                           .id = "",
                                           .role = KEY_ROLE_TRACKER,
                                           .now = 1800000000,
                                           .lifetime = 20,
                                           .peer = "192.0.2.1"};
    for (size_t i = 0; i + 1 < size && !world.over; i += 2) {
        uint8_t with = data[i + 1];

        switch (data[i] % 6) {
        case 0:
            do_prove(&world, with);
            break;
        case 1:
            do_token(&world, with);
            break;
        case 2:
            do_request(&world, with);
            break;
        case 3:
            world.server.now += with % 8;
            break;
        case 4: {
            struct keys *again = keys_parse(text, sizeof(text) - 1, "keys", &error);
            EXPECT(again);
            session_refresh(world.session, again); /* nothing has changed: nothing ends */
            keys_release(world.keys);
            world.keys = world.server.keys = again;
            break;
        }
        default:
            do_raw(&world, with, data + i + 2, size - i - 2);
            world.over = true;
        }
    }
    session_destroy(world.session);
    keys_release(world.keys);
    return 0;
}
