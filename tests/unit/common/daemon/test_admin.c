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
#include "common/serve/packet_server.h"
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
static const struct config_strings no_hosts;
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
static const struct admin_handlers handlers = {
    .health = health, .status = status, .argument = handler_argument};

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
    admin = admin_create(loop_base(loop), &listen_list, &no_hosts, &handlers, &error);
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

    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
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

            (void)snprintf(request, sizeof(request),
                           "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
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
                       "%s /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", methods[i]);
        ask(request);
        assert_status("HTTP/1.1 405 Method Not Allowed\r\n");
        assert_non_null(strstr(reply, "Allow: GET, HEAD\r\n"));
        assert_string_equal(body(), "only GET and HEAD are allowed here\n");
    }
}

static void one_connection_serves_several_requests(void **state)
{
    (void)state;
    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: "
        "localhost\r\nConnection: "
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
    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\nConnection: "
        "close\r\n\r\n");
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

/* Another port than set_up's, on a loop of its own; what asks, asks that one meanwhile. */
struct beside {
    struct loop *loop;
    struct address_list list;
    struct admin *former;
    uint16_t former_port;
};

/* LISTEN: addresses without the port's number. */
static void begin_beside(struct beside *beside, const char *listen, const struct config_strings *hosts,
                         const struct admin_handlers *own)
{
    struct error error;

    *beside = (struct beside){.former = admin, .former_port = port};
    port = free_port();
    assert_true(address_list_parse(listen, port, &beside->list, &error));
    beside->loop = loop_create("other", &error);
    assert_non_null(beside->loop);
    admin = admin_create(loop_base(beside->loop), &beside->list, hosts, own, &error);
    assert_non_null(admin);
    assert_true(loop_start(beside->loop, &error));
}

static void end_beside(struct beside *beside)
{
    struct task task = {.run = run_destroy};

    loop_stop(beside->loop);
    loop_at_end(beside->loop, &task);
    loop_destroy(beside->loop);
    admin = beside->former;
    port = beside->former_port;
    address_list_clear(&beside->list);
}

static void without_handlers_it_is_healthy_with_an_empty_status(void **state)
{
    const struct admin_handlers none = {0};
    struct beside beside;

    (void)state;
    begin_beside(&beside, "127.0.0.1", &no_hosts, &none);
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
    get("/status");
    assert_string_equal(body(), "{}\n");
    end_beside(&beside);
}

static void a_taken_port_is_reported_with_its_address(void **state)
{
    struct error error;
    char expected[128];

    (void)state;
    struct loop *other = loop_create("other", &error);
    assert_non_null(other);
    assert_null(admin_create(loop_base(other), &listen_list, &no_hosts, &handlers, &error));
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
    struct admin *several = admin_create(loop_base(other), &list, &no_hosts, &handlers, &error);
    assert_non_null(several);
    assert_true(loop_start(other, &error));

    int fds[3] = {connect_to("127.0.0.2", port), connect_to("127.0.0.1", star), -1};
    size_t count = has_ipv6() ? 3 : 2;
    if (count == 3) {
        fds[2] = socket(AF_INET6, SOCK_STREAM, 0);
        six.sin6_port = htons(star);
        assert_int_equal(connect(fds[2], (struct sockaddr *)&six, sizeof(six)), 0);
    }
    for (size_t i = 0; i < count; i++) {
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

/* ---- by which names ---- */

static void host_is_answered(const char *host, const char *line)
{
    char request[512];

    (void)snprintf(request, sizeof(request), "GET /metrics HTTP/1.1\r\n%s%s%sConnection: close\r\n\r\n",
                   host ? "Host: " : "", host ? host : "", host ? "\r\n" : "");
    ask(request);
    assert_status(line);
}

/* Of a port at the addresses LISTEN, without its number, that is to be called by HOSTS. */
static void names_are(const char *listen, const struct config_strings *hosts, const char *const *fine,
                      const char *const *refused)
{
    struct beside beside;

    begin_beside(&beside, listen, hosts, &handlers);
    for (; *fine; fine++)
        host_is_answered(*fine, "HTTP/1.1 200 OK\r\n");
    for (; *refused; refused++) {
        host_is_answered(*refused, "HTTP/1.1 421 Misdirected Request\r\n");
        assert_null(strstr(reply, "t_admin"));
    }
    end_beside(&beside);
}

static void a_loopback_port_is_not_read_by_pages_of_names_that_mean_it(void **state)
{
    static const char *const fine[] = {"localhost",   "LOCALHOST:21100", "localhost.:1", "127.0.0.1",
                                       "192.0.2.1:1", "[::1]",           "[::1]:21100",  "",
                                       NULL};
    static const char *const refused[] = {"evil.example",      "evil.example:21100", "localhost.evil.example",
                                          "127.0.0.1.evil.io", "x.localhost",        "*.example",
                                          "[::1].evil.io",     "evil.example.",      NULL};

    (void)state;
    names_are("127.0.0.1", &no_hosts, fine, refused);
    names_are(has_ipv6() ? "127.0.0.1, [::1]" : "127.0.0.1, 127.0.0.2", &no_hosts, fine, refused);
}

static void a_port_that_others_reach_is_called_by_any_name_unless_they_are_listed(void **state)
{
    static const char *const any[] = {"media1", "media1.example:21100", "127.0.0.1", "localhost", NULL};
    static const char *const listed[] = {"media1",    "MEDIA1.:21100", "metrics.example",
                                         "127.0.0.1", "localhost",     NULL};
    static const char *const others[] = {"media2", "evil.example", "media1.evil.example", NULL};
    static const char *const none[] = {NULL};
    char first[] = "media1", second[] = "metrics.example", every[] = "*";
    char *both[] = {first, second}, *one[] = {every};
    const struct config_strings two = {both, 2}, star = {one, 1};

    (void)state;
    names_are("*", &no_hosts, any, none);
    names_are("*", &two, listed, others);
    names_are("127.0.0.1", &two, listed, others);
    names_are("127.0.0.1", &star, any, none);
}

static void whoever_names_no_host_is_no_page(void **state)
{
    (void)state;
    ask("GET /healthz HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(reply, "200 OK"));
    ask("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_status("HTTP/1.1 421 ");
}

/* ---- a status that is made elsewhere ---- */

#define WAITING  8
#define PATIENCE 20000 /* ms */

static struct admin_question *waiting[WAITING];
static atomic_int asked, answered;

static void ask_later(void *argument, struct admin_question *question)
{
    assert_string_equal(argument, "argument");
    waiting[atomic_load(&asked)] = question;
    atomic_fetch_add(&asked, 1);
}

static const struct admin_handlers later_handlers = {
    .health = health, .status = status, .ask = ask_later, .argument = handler_argument};

static int start_later(void **state)
{
    struct error error;

    (void)state;
    atomic_store(&healthy, true);
    atomic_store(&asked, 0);
    atomic_store(&answered, 0);
    parse_list("127.0.0.1");
    loop = loop_create("admin", &error);
    admin = loop ? admin_create(loop_base(loop), &listen_list, &no_hosts, &later_handlers, &error) : NULL;
    return admin && loop_start(loop, &error) ? 0 : -1;
}

static void wait_until(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > PATIENCE)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static int send_for_status(const char *method)
{
    char request[128];
    int fd = connect_to("127.0.0.1", port), before = atomic_load(&asked);

    (void)snprintf(request, sizeof(request),
                   "%s /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    wait_until(&asked, before + 1);
    return fd;
}

static struct packet_shared *answer_text;

static void run_answers(struct task *task)
{
    (void)task;
    for (int i = 0; i < atomic_load(&asked); i++) {
        if (waiting[i])
            admin_answer(waiting[i], answer_text ? packet_shared_take(answer_text) : NULL);
        waiting[i] = NULL;
    }
    atomic_fetch_add(&answered, 1);
}

/* Everybody who waits. */
static void answer_all(const char *text)
{
    static struct task task = {.run = run_answers};
    int before = atomic_load(&answered);

    answer_text = text ? packet_shared_create(text, strlen(text)) : NULL;
    loop_post(loop, &task);
    wait_until(&answered, before + 1);
    packet_shared_release(answer_text);
}

static void while_the_status_is_made_the_loop_answers_others(void **state)
{
    json_error_t error;
    json_t *json;

    (void)state;
    int first = send_for_status("GET"), second = send_for_status("GET"), head = send_for_status("HEAD");
    get("/healthz");
    assert_status("HTTP/1.1 200 OK\r\n");
    answer_all("{\n  \"groups\": [1, 2]\n}");
    receive_all(first);
    assert_status("HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(reply, "Content-Type: application/json\r\n"));
    json = json_loads(body(), 0, &error);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "files")), 7);
    assert_int_equal(json_array_size(json_object_get(json, "groups")), 2);
    assert_int_equal(json_object_size(json), 3);
    json_decref(json);
    size_t length = strlen(body());
    receive_all(second);
    assert_int_equal(strlen(body()), length);
    char field[64];
    receive_all(head);
    (void)snprintf(field, sizeof(field), "Content-Length: %zu\r\n", length);
    assert_non_null(strstr(reply, field));
    assert_int_equal(strlen(body()), 0);
}

static void a_status_that_cannot_be_made_is_503(void **state)
{
    (void)state;
    int fd = send_for_status("GET");
    answer_all(NULL);
    receive_all(fd);
    assert_status("HTTP/1.1 503 Service Unavailable\r\n");
    fd = send_for_status("GET");
    answer_all("{\n  \"groups\": []\n}");
    receive_all(fd);
    assert_status("HTTP/1.1 200 OK\r\n");
}

/* What is sent to one that has gone, and whatever is left of it, is found by the sanitizer. */
static void whoever_goes_before_the_status_is_made_is_forgotten(void **state)
{
    const struct linger now = {1, 0};

    (void)state;
    int fd = send_for_status("GET");
    assert_int_equal(close(fd), 0);
    fd = send_for_status("GET");
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    assert_int_equal(close(fd), 0);
    fd = send_for_status("GET");
    answer_all("{\n  \"groups\": []\n}");
    receive_all(fd);
    assert_status("HTTP/1.1 200 OK\r\n");
}

static struct task end_task;

static void end_then_answer(struct task *task)
{
    (void)task;
    admin_destroy(admin);
    admin = NULL;
    run_answers(task);
}

static void at_the_end_who_waits_is_let_go(void **state)
{
    (void)state;
    int fd = send_for_status("GET");
    end_task = (struct task){.run = end_then_answer};
    answer_text = packet_shared_create("{\"a\":1}", 7);
    loop_post(loop, &end_task);
    wait_until(&answered, 1);
    packet_shared_release(answer_text);
    receive_all(fd);
    assert_string_equal(reply, "");
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
        WITH_ADMIN(a_taken_port_is_reported_with_its_address),
        WITH_ADMIN(every_address_and_family_of_the_list_is_served),
        WITH_ADMIN(a_loopback_port_is_not_read_by_pages_of_names_that_mean_it),
        WITH_ADMIN(a_port_that_others_reach_is_called_by_any_name_unless_they_are_listed),
        WITH_ADMIN(whoever_names_no_host_is_no_page),
        cmocka_unit_test_setup_teardown(while_the_status_is_made_the_loop_answers_others, start_later,
                                        stop_admin),
        cmocka_unit_test_setup_teardown(a_status_that_cannot_be_made_is_503, start_later, stop_admin),
        cmocka_unit_test_setup_teardown(whoever_goes_before_the_status_is_made_is_forgotten, start_later,
                                        stop_admin),
        cmocka_unit_test_setup_teardown(at_the_end_who_waits_is_let_go, start_later, stop_admin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
