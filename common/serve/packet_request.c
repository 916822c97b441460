/*
 * packet_request: how a handler of the packet server reads a streamed body and finishes its request. Sets up
 * what goes out, then lets packet_connection.c run. On the connection's loop.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/proto/request_id.h"
#include "common/serve/packet_connection.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REFUSED_LOG_MS 100 /* between two lines about requests that no handler saw */

#define FAILURE_LINES 100 /* per second, for each command */
#define MORE_SIZE     64
#define TRACED_LINES  200 /* per second, about requests that somebody follows */

static struct log_gate refused_gate;
static struct log_rate failure_rates[256];

const struct packet_metrics *packet_request_metrics(const struct packet_connection *connection)
{
    struct packet_server *server = connection->lane->server;

    return connection->command ? &server->metrics[connection->command->command] : &server->unknown_metrics;
}

static const char *command_name(const struct packet_connection *connection)
{
    return connection->command ? connection->command->name : "request";
}

static void observe_duration(struct packet_connection *connection)
{
    metric_observe_us(packet_request_metrics(connection)->duration,
                      clock_monotonic_us() - connection->request.start_us);
}

/* The connection whose REQUEST is being finished. */
static struct packet_connection *connection_of(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;

    ASSERT(connection->state == PACKET_HANDLING || connection->state == PACKET_READING);
    return connection;
}

/* Puts the reply before the socket. BODY (NULL: empty) is owned by the connection from now on. */
static void set_output(struct packet_connection *connection, uint8_t status, int64_t length, void *body,
                       size_t size)
{
    proto_header_pack(connection->out_header, length, connection->lane->server->options.reply_command,
                      status);
    connection->body = body ? body : connection->small_body;
    connection->body_size = size;
    connection->sent = 0;
}

/* The same with a copy, which may go out together with others. False without memory: the connection is broken
 * then. */
static bool copy_output(struct packet_connection *connection, uint8_t status, const void *body, size_t size)
{
    void *copy;

    if (status == PROTO_STATUS_OK && connection->request.body_left == 0 &&
        packet_gather_bytes(connection, body, size))
        return true;
    copy = size <= sizeof(connection->small_body) ? connection->small_body : malloc(size);
    if (!copy) {
        log_error("packet", "c%" PRIu64 ": no memory for a reply of %zu bytes, connection cut",
                  connection->id, size);
        connection->broken = true;
        return false;
    }
    if (size > 0)
        memcpy(copy, body, size);
    set_output(connection, status, (int64_t)size, copy, size);
    return true;
}

/* " (N more like it not shown)", or nothing. Returns BUFFER. */
static const char *describe_suppressed(uint64_t suppressed, char *buffer, size_t size)
{
    buffer[0] = '\0';
    if (suppressed > 0)
        (void)snprintf(buffer, size, " (%" PRIu64 " more not shown)", suppressed);
    return buffer;
}

/* "request 4bf92f3577b34da6a3ce929d0e0e4736: ", or nothing. Returns BUFFER. */
#define REQUEST_NAME_SIZE (REQUEST_ID_TEXT_SIZE + 12)
static const char *name_request(const struct packet_request *request, char buffer[REQUEST_NAME_SIZE])
{
    char text[REQUEST_ID_TEXT_SIZE];
    struct request_id id;

    buffer[0] = '\0';
    if (request->connection->head_held && request_id_get(request->head, request->head_size, &id))
        (void)snprintf(buffer, REQUEST_NAME_SIZE, "request %s: ", request_id_text(&id, text));
    return buffer;
}

char *packet_request_name(const struct packet_request *request, char buffer[PACKET_REQUEST_NAME_SIZE])
{
    const struct packet_connection *connection = request->connection;
    char text[REQUEST_ID_TEXT_SIZE];
    struct request_id id;
    bool named = connection->head_held && request_id_get(request->head, request->head_size, &id);

    (void)snprintf(buffer, PACKET_REQUEST_NAME_SIZE, "c%" PRIu64 "%s%s", connection->id,
                   named ? ": request " : "", named ? request_id_text(&id, text) : "");
    return buffer;
}

/* Somebody follows the request, or the log is to have everything. */
static void trace_success(struct packet_connection *connection)
{
    static struct log_rate rate;
    const struct packet_request *request = &connection->request;
    char name[PACKET_NAME_SIZE], text[REQUEST_ID_TEXT_SIZE], more[MORE_SIZE];
    struct request_id id;
    uint64_t suppressed;

    if (connection->outcome != ERROR_NONE || !connection->head_held ||
        !request_id_get(request->head, request->head_size, &id))
        return;
    if ((id.traced || log_get_level() <= LOG_LEVEL_DEBUG) && log_rate_open(&rate, TRACED_LINES, &suppressed))
        log_write(id.traced ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "packet",
                  "%s: request %s: %s answered after %" PRId64 " us%s",
                  packet_connection_name(connection, name, sizeof(name)), request_id_text(&id, text),
                  command_name(connection), clock_monotonic_us() - request->start_us,
                  describe_suppressed(suppressed, more, sizeof(more)));
}

/* The handler is done with the request; what it left of the body stands in the way of the next one. */
static void request_finish(struct packet_connection *connection)
{
    enum packet_state next = PACKET_REPLYING;

    if (connection->lane->server->options.audit)
        packet_session_audit(connection);
    trace_success(connection);
    connection->body_left = connection->request.body_left;
    if (connection->state == PACKET_READING)
        connection->body_left -= (int64_t)connection->read_got;
    connection->read_done = NULL;
    connection->head_held = false;
    if (!connection->has_file) {
        observe_duration(connection);
        if (connection->body_left > PACKET_HOPELESS_BODY || connection->ends)
            next = PACKET_LINGERING;
        else if (connection->body_left > 0)
            next = PACKET_DRAINING;
    }
    packet_connection_enter(connection, next);
    packet_connection_run(connection);
}

void packet_reply(struct packet_request *request, const void *body, size_t size)
{
    struct packet_connection *connection = connection_of(request);

    (void)copy_output(connection, PROTO_STATUS_OK, body, size);
    request_finish(connection);
}

void packet_reply_take(struct packet_request *request, void *body, size_t size)
{
    struct packet_connection *connection = connection_of(request);

    set_output(connection, PROTO_STATUS_OK, (int64_t)size, body, size);
    request_finish(connection);
}

void packet_reply_shared(struct packet_request *request, struct packet_shared *shared)
{
    struct packet_connection *connection = connection_of(request);
    size_t size = packet_shared_size(shared);

    set_output(connection, PROTO_STATUS_OK, (int64_t)size, (void *)(uintptr_t)packet_shared_bytes(shared),
               size);
    connection->shared = packet_shared_take(shared);
    request_finish(connection);
}

/* What strangers may read of ERROR: all, or what precedes the words that are concealed, and which line of the log has
 * those. */
static const char *public_text(const struct packet_connection *connection, const struct error *error,
                               char *buffer, size_t size)
{
    static const char instead[] = "the database failed";
    const struct packet_server_options *options = &connection->lane->server->options;
    const char *concealed = options->conceals ? options->conceals(error) : NULL;
    const char *said = strstr(error->text, instead);

    if (!concealed)
        return error->text;
    if (said && said < concealed)
        concealed = said;
    (void)snprintf(buffer, size, "%.*s%s (ref c%" PRIu64 "-%" PRIu64 ")", (int)(concealed - error->text),
                   error->text, instead, connection->id, connection->requests);
    return buffer;
}

/* What an operator will be asked about: not what the caller can see and correct by himself. */
static bool is_trouble(int code)
{
    return code == ERROR_GENERAL || code == ERROR_UNAVAILABLE || code == ERROR_IO || code == ERROR_TIMEOUT ||
           code == ERROR_NO_SERVER || code == ERROR_EXHAUSTED;
}

static void set_failure(struct packet_connection *connection, const struct error *error)
{
    uint8_t body[PROTO_ERROR_BODY_MAX];
    char text[ERROR_TEXT_SIZE], named[ERROR_TEXT_SIZE + REQUEST_ID_TEXT_SIZE + 16],
        id_text[REQUEST_ID_TEXT_SIZE];
    const char *said = public_text(connection, error, text, sizeof(text));
    const struct packet_request *request = &connection->request;
    struct request_id id;

    connection->outcome = error->code;
    if (connection->head_held && request_id_get(request->head, request->head_size, &id) &&
        (id.traced || is_trouble(error->code))) {
        (void)snprintf(named, sizeof(named), "%s (request %s)", said, request_id_text(&id, id_text));
        said = named;
    }
    size_t size =
        proto_error_pack(body, error->code, connection->lane->server->options.host_name, said, error->group);

    metric_add(packet_request_metrics(connection)->failures, 1);
    (void)copy_output(connection, PROTO_STATUS_FAILURE, body, size);
}

void packet_reply_failure(struct packet_request *request, const struct error *error)
{
    struct packet_connection *connection = connection_of(request);
    char name[PACKET_NAME_SIZE], more[MORE_SIZE], named[REQUEST_NAME_SIZE];
    uint64_t suppressed;

    if (log_rate_open(&failure_rates[request->command], FAILURE_LINES, &suppressed))
        log_info("packet", "%s: ref c%" PRIu64 "-%" PRIu64 ": %s%s failed: %s (%s)%s",
                 packet_connection_name(connection, name, sizeof(name)), connection->id, connection->requests,
                 name_request(request, named), command_name(connection), error->text,
                 error_code_name(error->code), describe_suppressed(suppressed, more, sizeof(more)));
    set_failure(connection, error);
    request_finish(connection);
}

void packet_reply_error(struct packet_request *request, int code, const char *format, ...)
{
    struct error error = {0};
    va_list arguments;

    va_start(arguments, format);
    error_set_va(&error, code, format, arguments);
    va_end(arguments);
    packet_reply_failure(request, &error);
}

void packet_request_refuse(struct packet_connection *connection, bool hopeless, const struct error *error)
{
    char name[PACKET_NAME_SIZE];
    uint64_t suppressed;

    if (log_gate_open(&refused_gate, REFUSED_LOG_MS, &suppressed))
        log_info("packet", "%s: refused: %s (%" PRIu64 " more like it not shown)",
                 packet_connection_name(connection, name, sizeof(name)), error->text, suppressed);
    set_failure(connection, error);
    if (connection->lane->server->options.audit)
        packet_session_audit(connection);
    observe_duration(connection);
    connection->body_left = hopeless ? 0 : connection->header.length;
    if (hopeless || connection->body_left > PACKET_HOPELESS_BODY)
        packet_connection_enter(connection, PACKET_LINGERING);
    else if (connection->body_left > 0)
        packet_connection_enter(connection, PACKET_DRAINING);
    else
        packet_connection_enter(connection, PACKET_REPLYING);
}

void packet_reply_file(struct packet_request *request, int fd, int64_t offset, int64_t length,
                       struct workers *workers, void (*done)(void *argument, bool ok), void *argument)
{
    struct packet_connection *connection = connection_of(request);

    connection->has_file = true;
    connection->file_fd = fd;
    connection->file_offset = offset;
    connection->file_length = length;
    connection->file_workers = workers;
    connection->file_done = done;
    connection->file_argument = argument;
    set_output(connection, PROTO_STATUS_OK, length, NULL, 0);
    request_finish(connection);
}

void packet_request_end_file(struct packet_connection *connection, bool ok)
{
    void (*done)(void *, bool) = connection->file_done;

    connection->has_file = false;
    connection->file = NULL;
    observe_duration(connection);
    if (!ok)
        metric_add(packet_request_metrics(connection)->failures, 1);
    if (done)
        done(connection->file_argument, ok);
}

static void file_ended(void *argument, int64_t sent, const struct error *error)
{
    struct packet_connection *connection = argument;
    char name[PACKET_NAME_SIZE];

    metric_add(connection->lane->server->sent_metric, sent);
    if (error) {
        log_info("packet", "%s: %s: reply cut: %s (%s)",
                 packet_connection_name(connection, name, sizeof(name)), command_name(connection),
                 error->text, error_code_name(error->code));
        connection->broken = true;
    }
    packet_request_end_file(connection, !error);
    packet_connection_run(connection);
}

void packet_request_send_file(struct packet_connection *connection)
{
    struct packet_server *server = connection->lane->server;
    struct file_send_options options = {
        .loop = connection->lane->loop,
        .workers = connection->file_workers,
        .to = connection->transport,
        .fd = connection->file_fd,
        .offset = connection->file_offset,
        .length = connection->file_length,
        .progress_ms = atomic_load_explicit(&server->progress_timeout_ms, memory_order_relaxed),
        .done = file_ended,
        .argument = connection,
    };
    struct error error = {0};
    struct file_send *file;

    packet_connection_enter(connection, PACKET_SENDING);
    file = file_send_start(&options, &error);
    if (!file)
        file_ended(connection, 0, &error);
    else if (connection->has_file)
        connection->file = file; /* else it has ended already, and is gone */
}

void packet_reply_abort(struct packet_request *request)
{
    struct packet_connection *connection = connection_of(request);

    metric_add(packet_request_metrics(connection)->failures, 1);
    observe_duration(connection);
    connection->read_done = NULL;
    packet_connection_enter(connection, PACKET_CLOSED);
    packet_connection_run(connection);
}

void packet_request_read(struct packet_request *request, void *buffer, size_t size,
                         void (*done)(struct packet_request *request, int64_t bytes))
{
    struct packet_connection *connection = request->connection;

    ASSERT(connection->state == PACKET_HANDLING && done);
    connection->read_buffer = buffer;
    connection->read_size = (size_t)min_i64((int64_t)min_size(size, INT64_MAX), request->body_left);
    connection->read_got = 0;
    connection->read_done = done;
    packet_connection_enter(connection, PACKET_READING);
    packet_connection_run(connection);
}

void packet_request_continue(struct packet_request *request)
{
    struct packet_connection *connection = connection_of(request);
    uint8_t header[PROTO_HEADER_SIZE];
    ssize_t sent = -1;

    proto_header_pack(header, 0, connection->lane->server->options.reply_command, PROTO_STATUS_OK);
    if (packet_gather_flush(connection) &&
        packet_gather_flush_rest(connection)) /* earlier replies go first */
        sent = transport_send(connection->transport, header, sizeof(header), MSG_NOSIGNAL);
    if (sent == (ssize_t)sizeof(header))
        metric_add(connection->lane->server->sent_metric, sent);
    else
        connection->broken = true;
}

int64_t packet_request_coming(const struct packet_request *request)
{
    const struct packet_connection *connection = request->connection;

    return connection->state == PACKET_READING ? (int64_t)connection->read_got : 0;
}
