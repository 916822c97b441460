/*
 * admin: see admin.h. One evhttp on the main loop; everything is answered from memory, or later with a text that another thread
 * made. What a peer may send is bounded by evhttp (header, body, time); the answer to anything but the three paths is a line of text.
 */
#include "common/daemon/admin.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/loop/bind.h"
#include "common/serve/packet_server.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEADERS_MAX     8192
#define BODY_MAX        4096 /* nothing that is served takes a body */
#define TIMEOUT_SECONDS 10
#define REASON_SIZE     512
#define HTTP_PORT       80
#define MISDIRECTED     421 /* RFC 9110, section 15.5.20 */
#define REFUSALS_LOGGED 1   /* per second */

struct admin {
    struct evhttp *http;
    struct admin_handlers handlers;
    struct config_strings hosts;
    bool any_host;
};

/* RFC 9110, section 9.3.2: the answer to HEAD has the fields of GET's and no body; evhttp would send one. */
static void drop_body_of_head(struct evhttp_request *request, struct evbuffer *body)
{
    char length[32];

    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
        return;
    (void)snprintf(length, sizeof(length), "%zu", evbuffer_get_length(body));
    (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Length", length);
    (void)evbuffer_drain(body, evbuffer_get_length(body));
}

static void reply_buffer(struct evhttp_request *request, int code, const char *reason, const char *type,
                         struct evbuffer *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

    drop_body_of_head(request, body);
    if (evhttp_add_header(headers, "Content-Type", type) != 0 ||
        evhttp_add_header(headers, "Cache-Control", "no-store") != 0)
        log_warning("admin", "a header of the reply was lost: out of memory");
    evhttp_send_reply(request, code, reason, body);
}

static void reply_text(struct evhttp_request *request, int code, const char *reason, const char *text)
{
    struct evbuffer *body = evbuffer_new();

    if (!body || evbuffer_add_printf(body, "%s\n", text) < 0)
        evhttp_send_error(request, HTTP_INTERNAL, NULL);
    else
        reply_buffer(request, code, reason, "text/plain; charset=utf-8", body);
    if (body)
        evbuffer_free(body);
}

static void serve_metrics(struct admin *admin, struct evhttp_request *request)
{
    struct evbuffer *body = evbuffer_new();

    (void)admin;
    if (!body) {
        reply_text(request, HTTP_INTERNAL, "Internal Server Error", "out of memory");
        return;
    }
    metrics_write(body);
    reply_buffer(request, HTTP_OK, "OK", "text/plain; version=0.0.4; charset=utf-8", body);
    evbuffer_free(body);
}

static void serve_health(struct admin *admin, struct evhttp_request *request)
{
    char reason[REASON_SIZE] = "", text[REASON_SIZE + 16] = "ok";
    bool works =
        !admin->handlers.health || admin->handlers.health(admin->handlers.argument, reason, sizeof(reason));

    if (works && reason[0] != '\0')
        (void)snprintf(text, sizeof(text), "degraded: %s", reason);
    if (works)
        reply_text(request, HTTP_OK, "OK", text);
    else
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable",
                   reason[0] == '\0' ? "not healthy" : reason);
}

/* ---- /status ---- */

struct admin_question {
    struct admin *admin;
    struct evhttp_request *request; /* NULL: the connection has gone */
};

static void question_gone(struct evhttp_connection *connection, void *argument)
{
    struct admin_question *question = argument;

    (void)connection;
    /* One that libevent took away from its connection before is ours; others go with it. */
    if (!evhttp_request_get_connection(question->request))
        evhttp_request_free(question->request);
    question->request = NULL;
}

static void ask_status(struct admin *admin, struct evhttp_request *request)
{
    struct admin_question *question = malloc(sizeof(*question));

    if (!question) {
        reply_text(request, HTTP_INTERNAL, "Internal Server Error", "out of memory");
        return;
    }
    *question = (struct admin_question){admin, request};
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), question_gone, question);
    admin->handlers.ask(admin->handlers.argument, question);
}

static void text_sent(const void *bytes, size_t size, void *text)
{
    (void)bytes;
    (void)size;
    packet_shared_release(text);
}

/* HEAD's members, written with an indentation of two, and then those of TEXT. */
static bool add_status(struct evbuffer *body, json_t *head, struct packet_shared *text)
{
    char *front = json_dumps(head, JSON_INDENT(2)); /* "{\n  ...\n}" */
    const char *rest = packet_shared_bytes(text);
    bool fits = front && json_object_size(head) > 0 && evbuffer_add(body, front, strlen(front) - 2) == 0 &&
                evbuffer_add(body, ",", 1) == 0;

    free(front);
    fits = fits && evbuffer_add_reference(body, rest + 1, packet_shared_size(text) - 1, text_sent, text) == 0;
    if (!fits)
        packet_shared_release(text);
    return fits && evbuffer_add(body, "\n", 1) == 0;
}

void admin_answer(struct admin_question *question, struct packet_shared *text)
{
    struct evhttp_request *request = question->request;

    if (request) {
        const struct admin_handlers *handlers = &question->admin->handlers;
        json_t *head = text ? handlers->status(handlers->argument) : NULL;
        struct evbuffer *body = evbuffer_new();

        evhttp_connection_set_closecb(evhttp_request_get_connection(request), NULL, NULL);
        if (!head || !body || !add_status(body, head, packet_shared_take(text)))
            reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable",
                       "the status cannot be made: out of memory, or stopping");
        else
            reply_buffer(request, HTTP_OK, "OK", "application/json", body);
        if (body)
            evbuffer_free(body);
        json_decref(head);
    }
    packet_shared_release(text);
    free(question);
}

static void serve_status(struct admin *admin, struct evhttp_request *request)
{
    if (admin->handlers.ask) {
        ask_status(admin, request);
        return;
    }
    json_t *status =
        !admin->handlers.status ? json_object() : admin->handlers.status(admin->handlers.argument);
    char *text = !status ? NULL : json_dumps(status, JSON_INDENT(2));
    struct evbuffer *body = evbuffer_new();

    if (!text || !body || evbuffer_add_printf(body, "%s\n", text) < 0)
        reply_text(request, HTTP_INTERNAL, "Internal Server Error", "out of memory");
    else
        reply_buffer(request, HTTP_OK, "OK", "application/json", body);
    if (body)
        evbuffer_free(body);
    free(text);
    json_decref(status);
}

static const struct {
    const char *path;
    void (*serve)(struct admin *admin, struct evhttp_request *request);
} pages[] = {
    {"/metrics", serve_metrics},
    {"/healthz", serve_health},
    {"/status", serve_status},
};

/* A host without its port. */
static bool admin_knows_host(const struct admin *admin, const char *host)
{
    struct address address;
    struct socket_address numeric;
    struct error error;
    size_t length;

    if (!address_parse(host, HTTP_PORT, &address, &error))
        return false;
    if (address_to_socket(&address, &numeric))
        return true;
    length = strlen(address.host);
    if (length > 1 && address.host[length - 1] == '.')
        address.host[length - 1] = '\0';
    for (size_t i = 0; i < admin->hosts.count; i++) {
        if (strcasecmp(admin->hosts.items[i], address.host) == 0)
            return true;
    }
    return strcasecmp(address.host, "localhost") == 0;
}

/* Browsers always say which host a page's script asks; a client that says none is no browser. */
static bool is_called_rightly(const struct admin *admin, struct evhttp_request *request)
{
    static struct log_rate rate;
    const char *host = evhttp_request_get_host(request);
    uint64_t suppressed;

    if (admin->any_host || !host || host[0] == '\0' || admin_knows_host(admin, host))
        return true;
    if (log_rate_open(&rate, REFUSALS_LOGGED, &suppressed))
        log_warning("admin",
                    "refused a request for host \"%.255s\", which is not in admin.hosts (%" PRIu64
                    " alike not logged)",
                    host, suppressed);
    return false;
}

static void on_request(struct evhttp_request *request, void *argument)
{
    struct admin *admin = argument;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = !uri ? NULL : evhttp_uri_get_path(uri);

    if (!is_called_rightly(admin, request)) {
        reply_text(request, MISDIRECTED, "Misdirected Request",
                   "not by this host name; admin.hosts says by which");
        return;
    }
    for (size_t i = 0; path && i < ARRAY_SIZE(pages); i++) {
        if (strcmp(path, pages[i].path) != 0)
            continue;
        if (evhttp_request_get_command(request) & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD)) {
            pages[i].serve(admin, request);
            return;
        }
        /* RFC 9110, section 15.5.6: a 405 names what is allowed. */
        (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
        reply_text(request, HTTP_BADMETHOD, "Method Not Allowed", "only GET and HEAD are allowed here");
        return;
    }
    reply_text(request, HTTP_NOTFOUND, "Not Found", "nothing here; there are /metrics, /healthz and /status");
}

static bool admin_listen_on(struct admin *admin, struct bind_list *addresses, struct error *error)
{
    const struct bind_options options = {.keep_alive = true};

    for (size_t i = 0; i < addresses->count; i++) {
        int fd = bind_socket(&addresses->items[i], &options, error);

        if (fd < 0)
            return false;
        if (!evhttp_accept_socket_with_handle(admin->http, fd)) {
            (void)close(fd);
            return error_set(error, ERROR_UNAVAILABLE, "out of memory");
        }
    }
    return true;
}

static bool admin_is_loopback(const struct socket_address *address)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;

    if (address->storage.ss_family == AF_INET)
        return ntohl(in4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

static bool all_are_loopback(const struct bind_list *addresses)
{
    for (size_t i = 0; i < addresses->count; i++) {
        if (!admin_is_loopback(&addresses->items[i]))
            return false;
    }
    return true;
}

static bool take_hosts(struct admin *admin, const struct config_strings *hosts,
                       const struct bind_list *addresses, struct error *error)
{
    admin->any_host = hosts->count == 0 && !all_are_loopback(addresses);
    for (size_t i = 0; i < hosts->count; i++)
        admin->any_host = admin->any_host || strcmp(hosts->items[i], "*") == 0;
    return config_strings_copy(&admin->hosts, hosts, error);
}

static bool admin_listen(struct admin *admin, const struct address_list *listen,
                         const struct config_strings *hosts, struct error *error)
{
    struct bind_list addresses;
    struct error cause;
    bool listens;

    if (listen->count == 0)
        return true;
    listens = bind_list_resolve(listen, &addresses, &cause) && take_hosts(admin, hosts, &addresses, &cause) &&
              admin_listen_on(admin, &addresses, &cause);
    bind_list_clear(&addresses);
    return listens || error_set(error, cause.code, "admin.listen: %s", cause.text);
}

struct admin *admin_create(struct event_base *base, const struct address_list *listen,
                           const struct config_strings *hosts, const struct admin_handlers *handlers,
                           struct error *error)
{
    struct admin *admin = calloc(1, sizeof(*admin));

    if (!admin || !(admin->http = evhttp_new(base))) {
        error_set(error, ERROR_UNAVAILABLE, "cannot create the admin port: out of memory");
        goto fail;
    }
    admin->handlers = *handlers;
    evhttp_set_max_headers_size(admin->http, HEADERS_MAX);
    evhttp_set_max_body_size(admin->http, BODY_MAX);
    evhttp_set_timeout(admin->http, TIMEOUT_SECONDS);
    evhttp_set_default_content_type(admin->http, NULL);
    /* All, so that they come here and get a 405 with what is allowed instead of evhttp's 501. */
    evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD |
                                                EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS |
                                                EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
    evhttp_set_gencb(admin->http, on_request, admin);
    if (!admin_listen(admin, listen, hosts, error))
        goto fail;
    return admin;
fail:
    admin_destroy(admin);
    return NULL;
}

void admin_destroy(struct admin *admin)
{
    if (!admin)
        return;
    if (admin->http)
        evhttp_free(admin->http);
    config_strings_clear(&admin->hosts);
    free(admin);
}
