/*
 * Unit tests of how reel-httpd gets pictures: one making for all who ask, the way to reel-poster and what becomes of it when that
 * answers wrongly, breaks off or is not there; the budget of memory that all loops share.
 */
#include "httpd/loop/http_budget.h"
#include "httpd/stream/poster_service.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#define KEY "0123456789abcdef0123456789abcdef"

/* ---- the budget ---- */

static void a_budget_is_shared_and_lets_one_through_that_is_alone(void **state)
{
    struct http_budget budget;
    (void)state;
    http_budget_init(&budget, 100);
    assert_true(http_budget_take(&budget, 60));
    assert_false(http_budget_take(&budget, 41));
    assert_true(http_budget_take(&budget, 40));
    assert_false(http_budget_take(&budget, 1));
    http_budget_change(&budget, 60, 10);
    assert_int_equal(atomic_load(&budget.used), 50);
    http_budget_change(&budget, 10, 70); /* it has become more than was thought */
    assert_int_equal(atomic_load(&budget.used), 110);
    assert_false(http_budget_take(&budget, 1));
    http_budget_change(&budget, 70, 0);
    http_budget_change(&budget, 40, 0);
    assert_true(http_budget_take(&budget, 1000)); /* alone, however large */
    assert_false(http_budget_take(&budget, 1));
    http_budget_change(&budget, 1000, 0);
    assert_int_equal(atomic_load(&budget.used), 0);
}

/* ---- flights ---- */

struct waiting {
    struct poster_waiter waiter;
    int woken;
};

static void on_woken(struct task *task)
{
    struct waiting *waiting = CONTAINER_OF(task, struct waiting, waiter.task);
    waiting->woken++;
}

/* Runs what was posted. */
static void run_posted(struct loop *loop)
{
    loop_stop(loop);
    loop_run(loop);
}

static void whoever_comes_second_gets_a_copy(void **state)
{
    struct poster_flights flights;
    struct error error;
    (void)state;
    struct loop *loop = loop_create("test", &error);
    struct waiting waiting[3] = {0};
    assert_non_null(loop);
    for (int i = 0; i < 3; i++)
        waiting[i].waiter = (struct poster_waiter){.task.run = on_woken, .loop = loop};
    poster_flights_init(&flights);
    assert_int_equal(poster_flights_join(&flights, KEY, &waiting[0].waiter), POSTER_LEADS);
    assert_int_equal(poster_flights_join(&flights, KEY, &waiting[1].waiter), POSTER_WAITS);
    assert_int_equal(poster_flights_join(&flights, KEY, &waiting[2].waiter), POSTER_WAITS);
    struct poster_waiter other = {.loop = loop};
    assert_int_equal(poster_flights_join(&flights, "fedcba9876543210fedcba9876543210", &other), POSTER_LEADS);
    assert_true(poster_flights_leave(&flights, KEY, &waiting[1].waiter));
    assert_false(poster_flights_leave(&flights, KEY, &waiting[1].waiter));
    poster_flights_end(&flights, KEY, (const uint8_t *)"JPEG", 4, NULL);
    assert_false(poster_flights_leave(&flights, KEY, &waiting[2].waiter)); /* it is on its way */
    run_posted(loop);
    assert_int_equal(waiting[0].woken, 0);
    assert_int_equal(waiting[1].woken, 0);
    assert_int_equal(waiting[2].woken, 1);
    assert_int_equal(waiting[2].waiter.size, 4);
    assert_memory_equal(waiting[2].waiter.jpeg, "JPEG", 4);
    free(waiting[2].waiter.jpeg);
    poster_flights_end(&flights, KEY, NULL, 0, NULL); /* nobody makes it: nothing happens */
    poster_flights_clear(&flights);
    loop_destroy(loop);
}

static void a_failure_reaches_all_and_one_who_leaves_hands_it_on(void **state)
{
    struct poster_flights flights;
    struct error error, failure;
    (void)state;
    struct loop *loop = loop_create("test", &error);
    struct waiting first = {.waiter = {.task.run = on_woken, .loop = loop}}, second = first;
    poster_flights_init(&flights);
    assert_int_equal(poster_flights_join(&flights, KEY, &first.waiter), POSTER_LEADS);
    assert_int_equal(poster_flights_join(&flights, KEY, &second.waiter), POSTER_WAITS);
    (void)error_set(&failure, ERROR_MALFORMED, "no picture");
    poster_flights_end(&flights, KEY, NULL, 0, &failure);
    run_posted(loop);
    assert_int_equal(second.woken, 1);
    assert_null(second.waiter.jpeg);
    assert_int_equal(second.waiter.error.code, ERROR_MALFORMED);

    assert_int_equal(poster_flights_join(&flights, KEY, &first.waiter), POSTER_LEADS);
    assert_int_equal(poster_flights_join(&flights, KEY, &second.waiter), POSTER_WAITS);
    poster_flights_end(&flights, KEY, NULL, 0, NULL);
    run_posted(loop);
    assert_int_equal(second.woken, 2);
    assert_null(second.waiter.jpeg);
    assert_int_equal(second.waiter.error.code, 0);
    assert_int_equal(poster_flights_join(&flights, KEY, &second.waiter), POSTER_LEADS);
    poster_flights_clear(&flights);
    loop_destroy(loop);
}

/* ---- failures ---- */

static void add_failure(struct poster_failures *failures, const char *film, uint32_t segment, const char *why,
                        int64_t until_ms)
{
    struct error error;
    (void)error_set(&error, ERROR_MALFORMED, "%s", why);
    poster_failures_add(failures, film, segment, &error, until_ms);
}

static void a_film_without_a_picture_is_remembered_for_a_while(void **state)
{
    struct poster_failures failures;
    struct error error = {.code = 0};
    (void)state;
    poster_failures_init(&failures);
    assert_false(poster_failures_find(&failures, "a", 3, 0, &error));
    add_failure(&failures, "a", 3, "why", 1000);
    assert_true(poster_failures_find(&failures, "a", 3, 999, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_string_equal(error.text, "why");
    assert_false(poster_failures_find(&failures, "a", 4, 999, &error));
    assert_false(poster_failures_find(&failures, "b", 3, 999, &error));
    assert_false(poster_failures_find(&failures, "a", 3, 1000, &error));
    assert_int_equal(failures.films.count, 0);
    /* Whoever asks for another time again and again comes to an end, too. */
    for (uint32_t i = 0; i < POSTER_FAILURES_TIMES; i++) {
        assert_false(poster_failures_find(&failures, "a", 100 + i, 0, &error));
        add_failure(&failures, "a", i, "why", 1000);
        add_failure(&failures, "a", i, "why", 500);
    }
    assert_true(poster_failures_find(&failures, "a", 100, 999, &error));
    assert_true(poster_failures_find(&failures, "a", POSTER_SHEET, 999, &error));
    poster_failures_clear(&failures);
}

static void failures_are_bounded(void **state)
{
    struct poster_failures failures;
    struct error error;
    char name[16];
    (void)state;
    poster_failures_init(&failures);
    for (int i = 0; i < POSTER_FAILURES_FILMS + 10; i++) {
        snprintf(name, sizeof(name), "%d", i);
        add_failure(&failures, name, 0, "why", 1000);
    }
    assert_int_equal(failures.films.count, POSTER_FAILURES_FILMS);
    assert_false(poster_failures_find(&failures, "9", 0, 0, &error));
    assert_true(poster_failures_find(&failures, "10", 0, 0, &error));
    poster_failures_clear(&failures);
}

/* ---- reel-poster ---- */

static char directory[32], path[64];
static int listener = -1;
static pthread_t thread;

/* What is sent to the next connection. */
static struct {
    struct poster_answer answer;
    size_t answer_size, jpeg_size;
    struct poster_request seen;
    int64_t holds_ms; /* what was said of a failure */
    char film[64];
} script;

static void *serve_one(void *argument)
{
    (void)argument;
    char jpeg[64];
    memset(jpeg, 'j', sizeof(jpeg));
    int fd = accept(listener, NULL, NULL);
    if (recv(fd, &script.seen, sizeof(script.seen), MSG_WAITALL) == (ssize_t)sizeof(script.seen) &&
        recv(fd, script.film, script.seen.size, MSG_WAITALL) == (ssize_t)script.seen.size) {
        (void)send(fd, &script.answer, script.answer_size, MSG_NOSIGNAL);
        (void)send(fd, jpeg, script.jpeg_size, MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

static int set_up(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/posters.XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", directory);
    memcpy(address.sun_path, path, strlen(path));
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    return bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0 ? listen(listener, 4) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    close(listener);
    (void)unlink(path);
    return rmdir(directory);
}

static struct poster_service *open_service(void)
{
    struct error error = {.text = ""};
    struct poster_service *service;
    if (!poster_service_create(path, "", 1 << 20, &service, &error))
        fail_msg("refused: %s", error.text);
    assert_non_null(service);
    assert_null(service->cache);
    return service;
}

static void close_service(struct poster_service *service)
{
    assert_true(poster_service_end_workers(service, 20000));
    poster_service_destroy(service);
}

/* The error's code, 0 for none. */
static int ask(uint32_t status, uint32_t said, size_t answer_size, size_t jpeg_size, const char *text)
{
    struct poster_service *service = open_service();
    struct poster_request request = {
        .magic = POSTER_MAGIC, .width = 320, .tiles = 1, .columns = 1, .size = 4};
    struct error error = {.code = 0, .text = ""};
    uint8_t *jpeg;
    size_t size = 0;
    script.answer = (struct poster_answer){POSTER_MAGIC, status, said};
    script.answer_size = answer_size;
    script.jpeg_size = jpeg_size;
    assert_int_equal(pthread_create(&thread, NULL, serve_one, NULL), 0);
    bool made = poster_service_ask(service, &request, (const uint8_t *)"film", &jpeg, &size, &script.holds_ms,
                                   &error);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_memory_equal(script.film, "film", 4);
    assert_int_equal(script.seen.width, 320);
    assert_int_equal(made, jpeg != NULL);
    if (made)
        assert_true(size == jpeg_size && jpeg[0] == 'j' && jpeg[size - 1] == 'j');
    else if (!strstr(error.text, text))
        fail_msg("\"%s\" is not in: %s", text, error.text);
    free(jpeg);
    close_service(service);
    return made ? 0 : error.code;
}

static void what_reel_poster_answers_is_checked(void **state)
{
    const size_t whole = sizeof(struct poster_answer);
    (void)state;
    assert_int_equal(ask(POSTER_MADE, 10, whole, 10, ""), 0);
    assert_int_equal(script.holds_ms, 0);
    assert_int_equal(ask(POSTER_NO_PICTURE, 0, whole, 0, "cannot be decoded"), ERROR_MALFORMED);
    assert_int_equal(script.holds_ms, 60000);
    assert_int_equal(ask(POSTER_MADE, 0, whole, 0, "cannot be decoded"), ERROR_MALFORMED);
    assert_int_equal(ask(POSTER_MADE, POSTER_JPEG_MAX + 1, whole, 0, "cannot be decoded"), ERROR_MALFORMED);
    assert_int_equal(ask(POSTER_MADE, 10, 0, 0, "ended before it had made one"), ERROR_EXHAUSTED);
    assert_int_equal(script.holds_ms, 10000);
    assert_int_equal(ask(POSTER_MADE, 10, whole - 1, 0, "ended before it had made one"), ERROR_EXHAUSTED);
    assert_int_equal(ask(POSTER_MADE, 10, whole, 9, "ended before it had sent one"), ERROR_EXHAUSTED);
}

static void one_that_is_not_there_is_named(void **state)
{
    struct poster_request request = {.magic = POSTER_MAGIC, .size = 4};
    struct poster_service *service = open_service();
    struct error error;
    uint8_t *jpeg;
    size_t size;
    int64_t holds_ms = -1;
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_false(
        poster_service_ask(service, &request, (const uint8_t *)"film", &jpeg, &size, &holds_ms, &error));
    assert_int_equal(holds_ms, 0); /* it may be there at any moment */
    assert_int_equal(error.code, ERROR_EXHAUSTED);
    assert_non_null(strstr(error.text, "no poster: reel-poster is not installed"));
    close_service(service);
}

static void a_service_starts_without_its_cache_and_not_with_a_path_that_no_socket_can_have(void **state)
{
    struct poster_service *service;
    struct error error;
    char text[200];
    (void)state;
    assert_true(poster_service_create("", "", 1 << 20, &service, &error));
    assert_null(service);
    assert_true(poster_service_end_workers(service, 0));
    poster_service_destroy(service);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(poster_service_create(text, "", 1 << 20, &service, &error));
    assert_non_null(strstr(error.text, "httpd.poster_socket"));
    assert_true(
        poster_service_create("/nonexistent/socket", "/nonexistent/cache", 1 << 20, &service, &error));
    assert_null(service->cache);
    close_service(service);
    assert_true(poster_service_create("/nonexistent/socket", directory, 1 << 20, &service, &error));
    assert_non_null(service->cache);
    close_service(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_shared_and_lets_one_through_that_is_alone),
        cmocka_unit_test(whoever_comes_second_gets_a_copy),
        cmocka_unit_test(a_failure_reaches_all_and_one_who_leaves_hands_it_on),
        cmocka_unit_test(a_film_without_a_picture_is_remembered_for_a_while),
        cmocka_unit_test(failures_are_bounded),
        cmocka_unit_test_setup_teardown(what_reel_poster_answers_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_not_there_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_service_starts_without_its_cache_and_not_with_a_path_that_no_socket_can_have, set_up,
            tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
