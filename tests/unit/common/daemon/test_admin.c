/*
 * test_admin: the operators' HTTP port, asked over real connections while its loop runs in a thread.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/free_port.h"
#include "common/daemon/admin.h"
#include "common/loop/loop.h"
#include "common/base/metrics.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct admin *admin;
static struct address_list listen_list;
static uint16_t port;
static atomic_bool healthy;
static char reply[1 << 20];

static bool health(void *argument, char *reason, size_t reason_size)
{
    assert_string_equal(argument, "argument");
    if (!atomic_load(&healthy))
        (void)snprintf(reason, reason_size, "the database is away");
    return atomic_load(&healthy);
}

static json_t *status(void *argument)
{
    return json_pack("{s:s, s:i}", "argument", argument, "files", 7);
}

static char handler_argument[] = "argument";
static const struct admin_handlers handlers = {health, status, handler_argument};

static void parse_list(const char *host)
{
    struct error error;
    char text[64];

    port = free_port();
    (void)snprintf(text, sizeof(text), "%s:%u", host, port);
    assert_true(address_list_parse(text, 0, &listen_list, &error));
}

static int start_admin(void **state)
{
    struct error error;

    (void)state;
    atomic_store(&healthy, true);
    parse_list("127.0.0.1");
    loop = loop_create("admin", &error);
    if (loop == NULL)
        return -1;
    admin = admin_create(loop_base(loop), &listen_list, &handlers, &error);
    if (admin == NULL || !loop_start(loop, &error))
        return -1;
    return 0;
}

static void run_destroy(struct task *task)
{
    (void)task;
    admin_destroy(admin);
}

static int stop_admin(void **state)
{
    static struct task task = {.run = run_destroy};

    (void)state;
    loop_post(loop, &task);
    loop_destroy(loop);
    address_list_clear(&listen_list);
    return 0;
}

static int connect_to(const char *host, uint16_t to_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(to_port)};
    const struct timeval limit = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, host, &address.sin_addr), 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Everything until the server closes. */
static void receive_all(int fd)
{
    size_t length = 0;
    ssize_t got;

    while ((got = recv(fd, reply + length, sizeof(reply) - 1 - length, 0)) > 0)
        length += (size_t)got;
    reply[length] = '\0';
    assert_int_equal(close(fd), 0);
}

static void ask(const char *request)
{
    int fd = connect_to("127.0.0.1", port);

    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    receive_all(fd);
}

static void get(const char *path)
{
    char request[256];

    (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    ask(request);
}

static const char *body(void)
{
    const char *end = strstr(reply, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void assert_status(const char *line)
{
    assert_true(strlen(reply) > strlen(line));
    if (strncmp(reply, line, strlen(line)) != 0)
        fail_msg("not \"%s\" but \"%.60s\"", line, reply);
}

static void metrics_are_prometheus_text(void **state)
{
    (void)state;
    metric_set(metrics_gauge("t_admin", "Admin.", NULL), 5);
    get("/metrics");
    assert_status("HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(body(), "# TYPE t_admin gauge\nt_admin 5\n"));
}

static void health_is_200_ok_or_503_with_the_reason(void **state)
{
    (void)state;
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
    assert_string_equal(body(), "ok\n");
    atomic_store(&healthy, false);
    get("/healthz");
    assert_status("HTTP/1.1 503 Service Unavailable\r\n");
    assert_string_equal(body(), "the database is away\n");
    assert_non_null(strstr(reply, "Cache-Control: no-store\r\n"));
}

static void the_status_is_the_daemons_json(void **state)
{
    json_error_t error;
    json_t *json;

    (void)state;
    get("/status?pretty");
    assert_status("HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(reply, "Content-Type: application/json\r\n"));
    json = json_loads(body(), 0, &error);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "files")), 7);
    json_decref(json);
}

static void other_paths_are_404_with_what_there_is(void **state)
{
    (void)state;
    get("/");
    assert_status("HTTP/1.1 404 Not Found\r\n");
    assert_string_equal(body(), "nothing here; there are /metrics, /healthz and /status\n");
    get("/metrics/../status");
    assert_status("HTTP/1.1 404 Not Found\r\n");
}

static void head_has_the_fields_of_get_and_no_body(void **state)
{
    static const char *const paths[] = {"/healthz", "/status", "/nothing"};
    char request[128], fields[2][32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        for (int head = 0; head < 2; head++) {
            const char *length;

            (void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                           head ? "HEAD" : "GET", paths[i]);
            ask(request);
            assert_status(i == 2 ? "HTTP/1.1 404 Not Found\r\n" : "HTTP/1.1 200 OK\r\n");
            assert_int_equal(body()[0] == '\0', head);
            length = strstr(reply, "Content-Length: ");
            assert_non_null(length);
            (void)snprintf(fields[head], sizeof(fields[head]), "%.*s", (int)strcspn(length, "\r"), length);
        }
        assert_string_equal(fields[0], fields[1]);
    }
}

static void other_methods_are_405_with_what_is_allowed(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    char request[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        (void)snprintf(request, sizeof(request),
                       "%s /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", methods[i]);
        ask(request);
        assert_status("HTTP/1.1 405 Method Not Allowed\r\n");
        assert_non_null(strstr(reply, "Allow: GET, HEAD\r\n"));
        assert_string_equal(body(), "only GET and HEAD are allowed here\n");
    }
}

static void one_connection_serves_several_requests(void **state)
{
    (void)state;
    ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\nConnection: "
        "close\r\n\r\n");
    assert_status("HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(reply, "HTTP/1.1 404 Not Found\r\n"));
}

static void a_header_past_the_limit_is_refused_and_others_are_served(void **state)
{
    size_t size = 1 << 16;
    char *request = malloc(size + 64);

    (void)state;
    assert_non_null(request);
    int head = snprintf(request, 64, "GET /healthz HTTP/1.1\r\nX: ");
    memset(request + head, 'x', size);
    int fd = connect_to("127.0.0.1", port);
    (void)send(fd, request, (size_t)head + size, MSG_NOSIGNAL);
    receive_all(fd);
    assert_null(strstr(reply, "200 OK"));
    free(request);
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
}

static void a_body_past_the_limit_is_refused(void **state)
{
    (void)state;
    ask("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nConnection: close\r\n\r\n");
    assert_null(strstr(reply, "200 OK"));
}

static void rubbish_is_refused_and_others_are_served(void **state)
{
    int fd = connect_to("127.0.0.1", port);

    (void)state;
    assert_int_equal(send(fd, "\x00\x01\xff rubbish\r\n\r\n", 14, MSG_NOSIGNAL), 14);
    receive_all(fd);
    assert_null(strstr(reply, "200 OK"));
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
}

static void without_handlers_it_is_healthy_with_an_empty_status(void **state)
{
    const struct admin_handlers none = {0};
    struct error error;
    struct address_list list;
    uint16_t first = port;
    char text[32];

    (void)state;
    port = free_port();
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    assert_true(address_list_parse(text, 0, &list, &error));
    struct loop *other = loop_create("other", &error);
    assert_non_null(other);
    struct admin *plain = admin_create(loop_base(other), &list, &none, &error);
    assert_non_null(plain);
    assert_true(loop_start(other, &error));
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
    get("/status");
    assert_string_equal(body(), "{}\n");
    loop_stop(other);
    struct admin *saved = admin;
    admin = plain;
    struct task task = {.run = run_destroy};
    loop_at_end(other, &task);
    loop_destroy(other);
    admin = saved;
    port = first;
    address_list_clear(&list);
}

static void a_taken_port_is_told_with_its_address(void **state)
{
    struct error error;
    char expected[128];

    (void)state;
    struct loop *other = loop_create("other", &error);
    assert_non_null(other);
    assert_null(admin_create(loop_base(other), &listen_list, &handlers, &error));
    (void)snprintf(expected, sizeof(expected),
                   "admin.listen: address 127.0.0.1:%u is in use by another process", port);
    assert_string_equal(error.text, expected);
    loop_destroy(other);
}

static void every_address_and_family_of_the_list_is_served(void **state)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const char *request = "GET /healthz HTTP/1.0\r\n\r\n";
    struct error error;
    struct address_list list;
    uint16_t first = port, star = free_port();
    char text[64];

    (void)state;
    port = free_port();
    (void)snprintf(text, sizeof(text), "127.0.0.2:%u, *:%u", port, star);
    assert_true(address_list_parse(text, 0, &list, &error));
    struct loop *other = loop_create("other", &error);
    assert_non_null(other);
    struct admin *several = admin_create(loop_base(other), &list, &handlers, &error);
    assert_non_null(several);
    assert_true(loop_start(other, &error));

    int fds[3] = {connect_to("127.0.0.2", port), connect_to("127.0.0.1", star),
                  socket(AF_INET6, SOCK_STREAM, 0)};
    six.sin6_port = htons(star);
    assert_int_equal(connect(fds[2], (struct sockaddr *)&six, sizeof(six)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        assert_int_equal(send(fds[i], request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
        receive_all(fds[i]);
        assert_non_null(strstr(reply, "200 OK"));
    }
    struct admin *saved = admin;
    admin = several;
    struct task task = {.run = run_destroy};
    loop_at_end(other, &task);
    loop_destroy(other);
    admin = saved;
    port = first;
    address_list_clear(&list);
}

#define WITH_ADMIN(test) cmocka_unit_test_setup_teardown(test, start_admin, stop_admin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ADMIN(metrics_are_prometheus_text),
        WITH_ADMIN(health_is_200_ok_or_503_with_the_reason),
        WITH_ADMIN(the_status_is_the_daemons_json),
        WITH_ADMIN(other_paths_are_404_with_what_there_is),
        WITH_ADMIN(head_has_the_fields_of_get_and_no_body),
        WITH_ADMIN(other_methods_are_405_with_what_is_allowed),
        WITH_ADMIN(one_connection_serves_several_requests),
        WITH_ADMIN(a_header_past_the_limit_is_refused_and_others_are_served),
        WITH_ADMIN(a_body_past_the_limit_is_refused),
        WITH_ADMIN(rubbish_is_refused_and_others_are_served),
        WITH_ADMIN(without_handlers_it_is_healthy_with_an_empty_status),
        WITH_ADMIN(a_taken_port_is_told_with_its_address),
        WITH_ADMIN(every_address_and_family_of_the_list_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
