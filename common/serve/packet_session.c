/*
 * packet_session: identities in the packet server: answers HELLO, PROVE, TOKEN and WHOAMI, and checks requests before their
 * handlers see them. common/auth decides; here are connections, replies, the log and metrics. On the connection's loop.
 */
#include "common/auth/audit.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/rate.h"
#include "common/proto/request_id.h"
#include "common/serve/packet_connection.h"
#include "common/transport/tls.h"

#include <inttypes.h>
#include <string.h>

#define WOULD_REFUSE_LOG_MS 60000
#define REFUSALS_AUDITED    100 /* a second: strangers make them */

static struct log_gate would_gate;

void packet_session_register_metrics(struct packet_server *server)
{
    server->throttled_metric =
        metrics_counter("reel_packet_throttled_total",
                        "Requests refused because their sender exceeded requests_per_second.", NULL);
    if (!server->options.auth)
        return;
    server->proofs_metric = metrics_counter("reel_auth_proofs_total",
                                            "Proofs of identity by peers, by result.", "result=\"good\"");
    server->proofs_failed_metric = metrics_counter(
        "reel_auth_proofs_total", "Proofs of identity by peers, by result.", "result=\"failed\"");
    server->would_refuse_metric =
        metrics_counter("reel_auth_would_refuse_total",
                        "Requests that auth.mode = prefer let through and required would refuse.", NULL);
}

/* ---- the commands ---- */

/* The present request's session, made where it is the first. False: the request was answered. */
static bool begin(struct packet_request *request, struct session_server *server, char id[KEY_ID_SIZE])
{
    struct packet_connection *connection = request->connection;
    struct auth *auth = connection->lane->server->options.auth;

    if (!auth_serves(auth)) {
        packet_reply_error(request, ERROR_UNKNOWN_COMMAND, "command %u is unknown here", request->command);
        return false;
    }
    if (!connection->session && !(connection->session = session_create())) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for a session");
        return false;
    }
    struct tls *tls = connection->transport.tls;
    if (tls && !connection->bound)
        connection->bound = tls_binding(tls, connection->binding);
    auth_own_id(auth, id);
    *server = (struct session_server){
        .keys = auth_keys(auth),
        .id = id,
        .role = auth_role(auth),
        .required = auth_mode(auth) == AUTH_REQUIRED,
        .now = clock_wall_seconds(),
        .lifetime = auth_session_seconds(auth),
        .binding = connection->bound ? connection->binding : NULL,
        .peer = connection->peer.host,
    };
    return true;
}

/* One step of the session: a command's body in, a reply of SIZE bytes out, or a failure. */
static void take_step(struct packet_request *request,
                      bool (*step)(struct session *, const struct session_server *, const uint8_t *, size_t,
                                   uint8_t *, struct error *),
                      size_t size)
{
    uint8_t reply[PROTO_HELLO_REPLY_SIZE]; /* the longest */
    struct session_server server;
    char id[KEY_ID_SIZE];
    struct error error;

    ASSERT(size <= sizeof(reply));
    if (!begin(request, &server, id))
        return;
    bool good = step(request->connection->session, &server, request->head, request->head_size, reply, &error);
    keys_release(server.keys);
    if (good)
        packet_reply(request, reply, size);
    else
        packet_reply_failure(request, &error);
}

static void handle_hello(struct packet_request *request)
{
    take_step(request, session_hello, PROTO_HELLO_REPLY_SIZE);
}

static void handle_prove(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct packet_server *owner = connection->lane->server;
    uint8_t reply[PROTO_PROVE_REPLY_SIZE];
    struct session_server server;
    char id[KEY_ID_SIZE];
    struct error error;

    if (!begin(request, &server, id))
        return;
    bool good = session_prove(connection->session, &server, request->head, request->head_size, reply, &error);
    keys_release(server.keys);
    metric_add(good ? owner->proofs_metric : owner->proofs_failed_metric, 1);
    if (good) {
        packet_reply(request, reply, sizeof(reply));
        return;
    }
    connection->ends = true; /* one failure per connection */
    packet_reply_failure(request, &error);
}

static void handle_token(struct packet_request *request)
{
    take_step(request, session_token, PROTO_VALUE_SIZE);
}

static void handle_whoami(struct packet_request *request)
{
    uint8_t reply[PROTO_WHOAMI_REPLY_SIZE];
    struct session_server server;
    char id[KEY_ID_SIZE];

    if (!begin(request, &server, id))
        return;
    session_refresh(request->connection->session, server.keys);
    session_whoami(request->connection->session, server.now, reply);
    keys_release(server.keys);
    packet_reply(request, reply, sizeof(reply));
}

const struct packet_command packet_session_commands[] = {
    {.command = PROTO_SESSION_HELLO,
     .name = "hello",
     .minimum = PROTO_HELLO_SIZE,
     .maximum = PROTO_HELLO_SIZE,
     .handle = handle_hello},
    {.command = PROTO_SESSION_PROVE,
     .name = "prove",
     .minimum = PROTO_PROOF_SIZE,
     .maximum = PROTO_PROOF_SIZE,
     .handle = handle_prove},
    {.command = PROTO_SESSION_TOKEN,
     .name = "token",
     .minimum = PROTO_TOKEN_SIZE_MIN,
     .maximum = PROTO_TOKEN_SIZE_MAX,
     .handle = handle_token},
    {.command = PROTO_SESSION_WHOAMI, .name = "whoami", .minimum = 0, .maximum = 0, .handle = handle_whoami},
};
const size_t packet_session_command_count = ARRAY_SIZE(packet_session_commands);

/* ---- judging ---- */

/* Keys that were read since the session was last used may have ended it. */
static void packet_session_refresh(struct packet_connection *connection, struct auth *auth)
{
    if (!connection->session || session_generation(connection->session) == auth_generation(auth))
        return;
    struct keys *keys = auth_keys(auth);
    if (keys)
        session_refresh(connection->session, keys);
    keys_release(keys);
}

static void note_would_refuse(struct packet_connection *connection, const struct error *error)
{
    char name[PACKET_NAME_SIZE];
    uint64_t suppressed;

    metric_add(connection->lane->server->would_refuse_metric, 1);
    if (log_gate_open(&would_gate, WOULD_REFUSE_LOG_MS, &suppressed))
        log_warning(
            "auth",
            "%s: %s is let through because auth.mode is prefer; required would refuse it: %s (%" PRIu64
            " more like it not shown)",
            packet_connection_name(connection, name, sizeof(name)), connection->command->name, error->text,
            suppressed);
}

bool packet_session_admits(struct packet_connection *connection, bool head, struct error *error)
{
    struct auth *auth = connection->lane->server->options.auth;
    const struct packet_request *request = &connection->request;
    const struct access *access = access_of(request->command);
    int64_t now = clock_wall_seconds();
    enum auth_mode mode = auth_mode(auth);
    bool admitted;

    if (access && access->audited && connection->lane->server->options.audit_required &&
        !audit_works(connection->lane->server->options.audit))
        return error_set(error, ERROR_UNAVAILABLE,
                         "%s cannot be written to the audit log, which audit.required demands", access->name);
    if (!access || access->roles == 0 || (mode != AUTH_REQUIRED && !auth_serves(auth)))
        return true;
    if (!head && mode != AUTH_REQUIRED)
        return true; /* looked at once */
    packet_session_refresh(connection, auth);
    if (head)
        admitted = session_admits(connection->session, access, request->head, request->head_size, now, error);
    else
        admitted = session_admits_command(connection->session, access, now, error);
    if (admitted)
        return true;
    if (access->legacy && session_role(connection->session) == KEY_ROLE_NONE &&
        auth_is_legacy(auth, connection->peer.host))
        return true;
    if (mode != AUTH_REQUIRED) {
        note_would_refuse(connection, error);
        return true;
    }
    return false;
}

/* ---- how many ---- */

/* A gateway speaks for many, and a storage server's heartbeats must not be lost. */
static bool is_counted(enum key_role role)
{
    return role != KEY_ROLE_STORAGE && role != KEY_ROLE_GATEWAY && role != KEY_ROLE_OPERATOR;
}

bool packet_session_within_rate(struct packet_connection *connection, struct error *error)
{
    const struct access *access = access_of(connection->request.command);
    const struct session *session = connection->session;
    bool proved = session_is_proved(session);
    int64_t wait_ms;

    /* A caller must be able to prove its key. */
    if ((connection->lane->server->options.auth && access && access->roles == 0) ||
        (proved && !is_counted(session_role(session))))
        return true;
    wait_ms = rate_take(connection->lane->server->rate, proved ? session_key_id(session) : "",
                        proved ? "" : connection->peer.host, 1, clock_monotonic_ms());
    if (wait_ms == 0)
        return true;
    metric_add(connection->lane->server->throttled_metric, 1);
    return error_set(error, ERROR_THROTTLED,
                     "more requests than requests_per_second allows one key or address: try again in %" PRId64
                     " ms",
                     wait_ms);
}

/* ---- audit ---- */

/* What the request is about, as far as its head says it. */
static void fill_subject(const struct packet_request *request, const struct access *access,
                         struct audit_event *event, struct proto_file_key *key)
{
    char *const fields[] = {key->application, key->user, key->file};
    static const size_t sizes[] = {PROTO_APPLICATION_SIZE, PROTO_USER_SIZE, PROTO_FILE_SIZE};
    size_t at = 0;

    if (request->head_size < PROTO_FILE_KEY_SIZE || access->scope == ACCESS_NOTHING ||
        access->scope == ACCESS_GROUP || access->scope == ACCESS_PATH)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        size_t length = strnlen((const char *)request->head + at, sizes[i] - 1);

        memcpy(fields[i], request->head + at, length);
        at += sizes[i];
    }
    event->application = key->application;
    event->user = key->user;
    event->file = key->file;
    if (access->right == KEY_RIGHT_WRITE)
        event->bytes = request->body_length;
}

static bool is_refusal(int outcome)
{
    return outcome == ERROR_UNAUTHENTICATED || outcome == ERROR_FORBIDDEN;
}

void packet_session_audit(struct packet_connection *connection)
{
    static struct log_rate rate;
    const struct packet_request *request = &connection->request;
    const struct access *access = access_of(request->command);
    struct proto_file_key key = {0};
    struct request_id id;
    char name[REQUEST_ID_TEXT_SIZE];
    uint64_t suppressed;

    if (!access || (!access->audited && !is_refusal(connection->outcome)))
        return;
    if (is_refusal(connection->outcome) && !log_rate_open(&rate, REFUSALS_AUDITED, &suppressed))
        return;
    struct audit_event event = {
        .event = access->name,
        .connection = connection->id,
        .peer = connection->peer.host,
        .key = session_key_id(connection->session),
        .role = key_role_name(session_role(connection->session)),
        .outcome = connection->outcome,
        .bytes = -1,
    };
    if (request->head)
        fill_subject(request, access, &event, &key);
    if (connection->head_held && request_id_get(request->head, request->head_size, &id))
        event.request = request_id_text(&id, name);
    (void)audit_write(connection->lane->server->options.audit, &event);
    if (request->command == PROTO_TRACKER_JOIN && connection->outcome == ERROR_NONE)
        connection->joined = true;
}

void packet_session_audit_end(struct packet_connection *connection)
{
    const struct audit_event event = {
        .event = "leave",
        .connection = connection->id,
        .peer = connection->peer.host,
        .key = session_key_id(connection->session),
        .role = key_role_name(session_role(connection->session)),
        .bytes = -1,
    };

    if (connection->joined)
        (void)audit_write(connection->lane->server->options.audit, &event);
}
