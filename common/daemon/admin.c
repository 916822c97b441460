/*
 * admin: see admin.h. One evhttp on the main loop; everything is answered from memory. What a peer may send
 * is bounded by evhttp (header, body, time); the answer to anything but the three paths is a line of text.
 */
#include "common/daemon/admin.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX   16 /* of one host name */
#define BACKLOG         128
#define HEADERS_MAX     8192
#define BODY_MAX        4096 /* nothing that is served takes a body */
#define TIMEOUT_SECONDS 10
#define REASON_SIZE     512

struct admin {
    struct evhttp *http;
    struct admin_handlers handlers;
};

static void reply_buffer(struct evhttp_request *request, int code, const char *reason, const char *type,
                         struct evbuffer *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

    if (evhttp_add_header(headers, "Content-Type", type) != 0 ||
        evhttp_add_header(headers, "Cache-Control", "no-store") != 0)
        log_warning("admin", "a header of the reply was lost: out of memory");
    evhttp_send_reply(request, code, reason, body);
}

static void reply_text(struct evhttp_request *request, int code, const char *reason, const char *text)
{
    struct evbuffer *body = evbuffer_new();

    /* RFC 9110, section 9.3.2: no body behind the header of a HEAD; evhttp would send one. */
    if (evhttp_request_get_command(request) == EVHTTP_REQ_HEAD)
        text = NULL;
    if (body == NULL || (text != NULL && evbuffer_add_printf(body, "%s\n", text) < 0))
        evhttp_send_error(request, HTTP_INTERNAL, NULL);
    else
        reply_buffer(request, code, reason, "text/plain; charset=utf-8", body);
    if (body != NULL)
        evbuffer_free(body);
}

static void serve_metrics(struct admin *admin, struct evhttp_request *request)
{
    struct evbuffer *body = evbuffer_new();

    (void)admin;
    if (body == NULL) {
        reply_text(request, HTTP_INTERNAL, "Internal Server Error", "out of memory");
        return;
    }
    metrics_write(body);
    reply_buffer(request, HTTP_OK, "OK", "text/plain; version=0.0.4; charset=utf-8", body);
    evbuffer_free(body);
}

static void serve_health(struct admin *admin, struct evhttp_request *request)
{
    char reason[REASON_SIZE] = "";

    if (admin->handlers.health == NULL ||
        admin->handlers.health(admin->handlers.argument, reason, sizeof(reason)))
        reply_text(request, HTTP_OK, "OK", "ok");
    else
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable",
                   reason[0] == '\0' ? "not healthy" : reason);
}

static void serve_status(struct admin *admin, struct evhttp_request *request)
{
    json_t *status =
        admin->handlers.status == NULL ? json_object() : admin->handlers.status(admin->handlers.argument);
    char *text = status == NULL ? NULL : json_dumps(status, JSON_INDENT(2));
    struct evbuffer *body = evbuffer_new();

    if (text == NULL || body == NULL || evbuffer_add_printf(body, "%s\n", text) < 0)
        reply_text(request, HTTP_INTERNAL, "Internal Server Error",
                   "the status cannot be told: out of memory");
    else
        reply_buffer(request, HTTP_OK, "OK", "application/json", body);
    if (body != NULL)
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

static void on_request(struct evhttp_request *request, void *argument)
{
    struct admin *admin = argument;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri == NULL ? NULL : evhttp_uri_get_path(uri);

    for (size_t i = 0; path != NULL && i < ARRAY_SIZE(pages); i++) {
        if (strcmp(path, pages[i].path) != 0)
            continue;
        if (evhttp_request_get_command(request) == EVHTTP_REQ_GET) {
            pages[i].serve(admin, request);
            return;
        }
        /* RFC 9110, section 15.5.6: a 405 names what is allowed. */
        (void)evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET");
        reply_text(request, HTTP_BADMETHOD, "Method Not Allowed", "only GET is allowed here");
        return;
    }
    reply_text(request, HTTP_NOTFOUND, "Not Found", "nothing here; there are /metrics, /healthz and /status");
}

/* A listening socket; -1 with errno. */
static int open_listener(const struct socket_address *address, bool wildcard)
{
    int family = address->storage.ss_family, one = 1, zero = 0;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        (family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, wildcard ? &zero : &one, sizeof(int)) != 0) ||
        bind(fd, (const struct sockaddr *)&address->storage, address->length) != 0 ||
        listen(fd, BACKLOG) != 0) {
        int saved_errno = errno;
        (void)close(fd);
        errno = saved_errno;
        return -1;
    }
    return fd;
}

static bool listen_on(struct admin *admin, const struct address *address, struct error *error)
{
    struct socket_address sockets[ADDRESSES_MAX];
    char text[ADDRESS_TEXT_SIZE];
    bool wildcard = strcmp(address->host, "*") == 0;
    size_t count;

    address_format(address, text, sizeof(text));
    if (!address_resolve(address, sockets, ARRAY_SIZE(sockets), &count, error))
        return false;
    for (size_t i = 0; i < count; i++) {
        int fd = open_listener(&sockets[i], wildcard);
        if (fd < 0 && wildcard && errno == EAFNOSUPPORT) { /* a kernel without IPv6 */
            struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(address->port)};
            memcpy(&sockets[i].storage, &any, sizeof(any));
            sockets[i].length = sizeof(any);
            fd = open_listener(&sockets[i], false);
        }
        if (fd < 0)
            return error_set_errno(error, errno, "the admin port cannot listen on %s", text);
        if (evhttp_accept_socket_with_handle(admin->http, fd) == NULL) {
            (void)close(fd);
            return error_set(error, ERROR_UNAVAILABLE, "the admin port cannot listen on %s: out of memory",
                             text);
        }
    }
    return true;
}

struct admin *admin_create(struct event_base *base, const struct address_list *listen,
                           const struct admin_handlers *handlers, struct error *error)
{
    struct admin *admin = calloc(1, sizeof(*admin));

    if (admin == NULL || (admin->http = evhttp_new(base)) == NULL) {
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
    for (size_t i = 0; i < listen->count; i++) {
        if (!listen_on(admin, &listen->items[i], error))
            goto fail;
    }
    return admin;
fail:
    admin_destroy(admin);
    return NULL;
}

void admin_destroy(struct admin *admin)
{
    if (admin == NULL)
        return;
    if (admin->http != NULL)
        evhttp_free(admin->http);
    free(admin);
}
