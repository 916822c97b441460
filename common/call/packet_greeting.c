/*
 * packet_greeting: one step after the other: HELLO -> PROVE -> TOKEN ... -> the end. Requests wait for the server's proof: nobody
 * but a server that knows the key reads them.
 */
#include "common/call/packet_greeting.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX PROTO_TOKEN_PACKED_MAX

enum greeting_step { GREETING_HELLO, GREETING_PROVE, GREETING_TOKEN };

struct packet_greeting {
    struct packet_greeting_options options;
    struct auth_identity identity;
    struct session_client client;
    struct packet_exchange *exchange;
    enum greeting_step step;
    size_t token; /* that is shown now */
    int64_t seconds;
    uint8_t head[PROTO_HEADER_SIZE + BODY_MAX];
};

static void greeting_ended(void *argument, const struct packet_exchange_end *end);

static void greeting_free(struct packet_greeting *greeting)
{
    auth_identity_clear(&greeting->identity);
    explicit_bzero(greeting, sizeof(*greeting));
    free(greeting);
}

static void greeting_finish(struct packet_greeting *greeting, struct packet_greeting_end *end)
{
    void (*ended)(void *, const struct packet_greeting_end *) = greeting->options.ended;
    void *argument = greeting->options.argument;

    end->identity_version = greeting->identity.version;
    greeting_free(greeting);
    ended(argument, end);
}

static bool is_required(const struct packet_greeting *greeting)
{
    return auth_mode(greeting->options.auth) == AUTH_REQUIRED;
}

static void greeting_fail(struct packet_greeting *greeting, bool silent, const struct error *error)
{
    struct packet_greeting_end end = {.outcome = GREETING_FAILED, .silent = silent, .error = *error};

    greeting_finish(greeting, &end);
}

/* The server knows no sessions, or not this key. */
static void greeting_plain(struct packet_greeting *greeting, bool reusable, const struct error *error)
{
    struct packet_greeting_end end = {.outcome = GREETING_PLAIN, .reusable = reusable, .error = *error};

    if (is_required(greeting)) {
        end.outcome = GREETING_FAILED;
        (void)error_set(&end.error, ERROR_UNAUTHENTICATED,
                        "it does not prove its identity, which auth.mode = required demands: %s",
                        error->text);
    }
    greeting_finish(greeting, &end);
}

/* Sends COMMAND with the SIZE bytes that stand in the head already. False: no memory. */
static bool greeting_send(struct packet_greeting *greeting, uint8_t command, size_t size, size_t reply_max)
{
    const struct packet_exchange_options options = {
        .loop = greeting->options.loop,
        .socket = greeting->options.socket,
        .head = greeting->head,
        .head_size = PROTO_HEADER_SIZE + size,
        .reply_max = reply_max,
        .deadline_ms = greeting->options.deadline_ms,
        .timeout_ms = greeting->options.timeout_ms,
        .progress_ms = greeting->options.timeout_ms,
        .ended = greeting_ended,
        .argument = greeting,
    };

    proto_header_pack(greeting->head, (int64_t)size, command, PROTO_STATUS_OK);
    greeting->exchange = packet_exchange_start(&options);
    return greeting->exchange != NULL;
}

static bool send_hello(struct packet_greeting *greeting, struct error *error)
{
    uint8_t command = greeting->options.command;

    greeting->step = GREETING_HELLO;
    greeting->client = (struct session_client){
        .key = greeting->identity.key,
        .role = greeting->identity.role,
        .server = command < PROTO_IDSERVER_GET     ? KEY_ROLE_TRACKER
                  : command < PROTO_STORAGE_UPLOAD ? KEY_ROLE_IDSERVER
                                                   : KEY_ROLE_STORAGE,
        .binding = greeting->options.binding,
    };
    return session_client_hello(&greeting->client, greeting->head + PROTO_HEADER_SIZE, error) &&
           (greeting_send(greeting, PROTO_SESSION_HELLO, PROTO_HELLO_SIZE, PROTO_HELLO_REPLY_SIZE) ||
            error_set(error, ERROR_UNAVAILABLE, "no memory for a proof"));
}

/* The next token, or the end. */
static void next_token(struct packet_greeting *greeting)
{
    struct packet_greeting_end end = {.outcome = GREETING_PROVED, .seconds = greeting->seconds};
    const struct error no_memory = {.code = ERROR_UNAVAILABLE, .text = "no memory for a token"};
    size_t size;
    const uint8_t *body = auth_token(greeting->options.auth, greeting->token, &size);

    if (!body) {
        greeting_finish(greeting, &end);
        return;
    }
    greeting->step = GREETING_TOKEN;
    memcpy(greeting->head + PROTO_HEADER_SIZE, body, size);
    if (!greeting_send(greeting, PROTO_SESSION_TOKEN, size, PROTO_VALUE_SIZE))
        greeting_fail(greeting, false, &no_memory);
}

static void greeting_answered(struct packet_greeting *greeting, const struct packet_exchange_end *end)
{
    struct error error = {0};

    switch (greeting->step) {
    case GREETING_HELLO:
        greeting->step = GREETING_PROVE;
        if (!session_client_prove(&greeting->client, end->body, end->size, greeting->head + PROTO_HEADER_SIZE,
                                  &error))
            break;
        if (greeting_send(greeting, PROTO_SESSION_PROVE, PROTO_PROOF_SIZE, PROTO_PROVE_REPLY_SIZE))
            return;
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory for a proof");
        break;
    case GREETING_PROVE:
        if (!session_client_verify(&greeting->client, end->body, end->size, &greeting->seconds, &error))
            break;
        next_token(greeting);
        return;
    case GREETING_TOKEN:
        greeting->token++;
        next_token(greeting);
        return;
    }
    /* A server that answers HELLO and cannot complete it is not an older one. */
    greeting_fail(greeting, false, &error);
}

static bool is_older(int code)
{
    return code == ERROR_UNKNOWN_COMMAND || code == ERROR_GENERAL;
}

static void greeting_refused(struct packet_greeting *greeting, const struct packet_exchange_end *end)
{
    bool unknown = is_older(end->error.code);

    if (greeting->step == GREETING_TOKEN && !unknown)
        greeting_fail(greeting, false, &end->error); /* the token is not valid: its holder must learn that */
    else if (unknown || greeting->step == GREETING_PROVE)
        greeting_plain(greeting, unknown && end->error.code == ERROR_UNKNOWN_COMMAND && end->reusable,
                       &end->error);
    else
        greeting_fail(greeting, false, &end->error);
}

static void greeting_ended(void *argument, const struct packet_exchange_end *end)
{
    struct packet_greeting *greeting = argument;

    greeting->exchange = NULL;
    switch (end->outcome) {
    case EXCHANGE_ANSWERED:
        greeting_answered(greeting, end);
        return;
    case EXCHANGE_REFUSED:
        greeting_refused(greeting, end);
        return;
    case EXCHANGE_STALE:
    case EXCHANGE_BROKEN:
        /* A predecessor's server may just close on what it does not know. */
        if (greeting->step == GREETING_HELLO && end->error.code == ERROR_CONNECTION &&
            !is_required(greeting)) {
            greeting_plain(greeting, false, &end->error);
            return;
        }
        greeting_fail(greeting, true, &end->error);
        return;
    case EXCHANGE_WRONG:
        greeting_fail(greeting, true, &end->error);
        return;
    case EXCHANGE_GAVE_UP:
        greeting_fail(greeting, false, &end->error);
        return;
    }
}

struct packet_greeting *packet_greeting_start(const struct packet_greeting_options *options)
{
    struct packet_greeting *greeting = calloc(1, sizeof(*greeting));
    struct error error;
    size_t size;
    const uint8_t *body;
    bool sent;

    if (!greeting)
        return NULL;
    greeting->options = *options;
    auth_identity(options->auth, &greeting->identity);
    if (greeting->identity.key) {
        sent = send_hello(greeting, &error);
    } else {
        body = auth_token(options->auth, 0, &size);
        sent = body != NULL;
        greeting->step = GREETING_TOKEN;
        if (sent) {
            memcpy(greeting->head + PROTO_HEADER_SIZE, body, size);
            sent = greeting_send(greeting, PROTO_SESSION_TOKEN, size, PROTO_VALUE_SIZE);
        }
    }
    if (sent)
        return greeting;
    greeting_free(greeting);
    return NULL;
}

void packet_greeting_cancel(struct packet_greeting *greeting)
{
    if (!greeting)
        return;
    packet_exchange_cancel(greeting->exchange);
    greeting_free(greeting);
}
