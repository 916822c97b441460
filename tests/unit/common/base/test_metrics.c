/*
 * test_metrics: what common/base/metrics.c counts and how it reads as Prometheus text.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/metrics.h"
#include <event2/buffer.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The whole text, freed by the caller. */
static char *write_text(void)
{
    struct evbuffer *out = evbuffer_new();
    char *text;

    assert_non_null(out);
    metrics_write(out);
    text = calloc(1, evbuffer_get_length(out) + 1);
    assert_non_null(text);
    (void)evbuffer_remove(out, text, evbuffer_get_length(out));
    evbuffer_free(out);
    return text;
}

static void assert_written(const char *expected)
{
    char *text = write_text();
    if (strstr(text, expected) == NULL)
        fail_msg("\"%s\" is missing in:\n%s", expected, text);
    free(text);
}

static void assert_not_written(const char *unexpected)
{
    char *text = write_text();
    assert_null(strstr(text, unexpected));
    free(text);
}

static double value_of(const char *name)
{
    char *text = write_text(), line[128];
    char *at;
    double value;

    (void)snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(text, line);
    assert_non_null(at);
    value = strtod(at + strlen(line), NULL);
    free(text);
    return value;
}

static void a_counter_is_written_with_help_and_type(void **state)
{
    struct metric *metric = metrics_counter("t_requests_total", "Requests.", NULL);

    (void)state;
    metric_add(metric, 1);
    metric_add(metric, 41);
    assert_int_equal(metric_value(metric), 42);
    assert_written(
        "# HELP t_requests_total Requests.\n# TYPE t_requests_total counter\nt_requests_total 42\n");
}

static void the_series_of_a_family_stand_together_under_one_head(void **state)
{
    struct metric *upload = metrics_counter("t_family_total", "Family.", "command=\"upload\"");
    (void)metrics_counter("t_between_total", "Between.", NULL);
    struct metric *delete = metrics_counter("t_family_total", "Family.", "command=\"delete\"");

    (void)state;
    metric_add(upload, 1);
    metric_add(delete, 2);
    assert_written("# HELP t_family_total Family.\n# TYPE t_family_total counter\n"
                   "t_family_total{command=\"upload\"} 1\nt_family_total{command=\"delete\"} 2\n# HELP ");
}

static void the_same_name_and_labels_give_the_same_metric(void **state)
{
    (void)state;
    assert_ptr_equal(metrics_gauge("t_same", "Same.", "a=\"1\""),
                     metrics_gauge("t_same", "Same.", "a=\"1\""));
    assert_ptr_not_equal(metrics_gauge("t_same", "Same.", "a=\"1\""),
                         metrics_gauge("t_same", "Same.", "a=\"2\""));
}

static void a_gauge_goes_up_and_down(void **state)
{
    struct metric *metric = metrics_gauge("t_open", "Open.", NULL);

    (void)state;
    metric_set(metric, 10);
    metric_add(metric, -13);
    assert_written("# TYPE t_open gauge\nt_open -3\n");
}

static void a_histogram_has_cumulative_buckets_sum_and_count_in_seconds(void **state)
{
    struct metric *metric = metrics_histogram("t_seconds", "Seconds.", "command=\"get\"");

    (void)state;
    metric_observe_us(metric, 100);      /* on the bound: belongs to it */
    metric_observe_us(metric, 101);      /* above */
    metric_observe_us(metric, 999999);   /* 1 s */
    metric_observe_us(metric, 61000000); /* above every bound */
    metric_observe_us(metric, -5);       /* a clock that is read in two threads: counts as nothing */
    assert_int_equal(metric_value(metric), 5);
    assert_written("# TYPE t_seconds histogram\nt_seconds_bucket{command=\"get\",le=\"0.0001\"} 2\n"
                   "t_seconds_bucket{command=\"get\",le=\"0.00025\"} 3\n");
    assert_written(
        "t_seconds_bucket{command=\"get\",le=\"0.5\"} 3\nt_seconds_bucket{command=\"get\",le=\"1\"} 4\n");
    assert_written(
        "t_seconds_bucket{command=\"get\",le=\"60\"} 4\nt_seconds_bucket{command=\"get\",le=\"+Inf\"} 5\n"
        "t_seconds_sum{command=\"get\"} 62.000200\nt_seconds_count{command=\"get\"} 5\n");
}

static void a_histogram_without_labels_has_le_alone(void **state)
{
    (void)state;
    (void)metrics_histogram("t_plain_seconds", "Plain.", NULL);
    assert_written("t_plain_seconds_bucket{le=\"0.0001\"} 0\n");
    assert_written("t_plain_seconds_sum 0.000000\nt_plain_seconds_count 0\n");
}

static void label_values_are_escaped_where_they_need_it(void **state)
{
    (void)state;
    (void)metrics_gauge("t_labels", "Labels.", "path=\"/a\"b\\c\nd\"");
    assert_written("t_labels{path=\"/a\\\"b\\\\c\\nd\"} 0\n");
    (void)metrics_gauge("t_labels", "Labels.", "path=\"x\\\\y\\\"z\\nw\",other=\"C:\\\"");
    assert_written("t_labels{path=\"x\\\\y\\\"z\\nw\",other=\"C:\\\\\"} 0\n");
    (void)metrics_gauge("t_labels", "Labels.", "path=\"a\",b\",c=\"d\"");
    assert_written("t_labels{path=\"a\\\",b\",c=\"d\"} 0\n");
}

static void help_is_escaped(void **state)
{
    (void)state;
    (void)metrics_gauge("t_help", "Two\nlines, a \\.", NULL);
    assert_written("# HELP t_help Two\\nlines, a \\\\.\n");
}

static double read_double(void *argument)
{
    return *(double *)argument;
}

static void a_read_gauge_is_asked_when_somebody_reads(void **state)
{
    double value = 0.5;

    (void)state;
    metrics_gauge_read("t_read", "Read.", "pool=\"a\"", read_double, &value);
    assert_written("t_read{pool=\"a\"} 0.5\n");
    value = 1e18;
    assert_written("t_read{pool=\"a\"} 1e+18\n");
    value = (double)NAN;
    assert_written("t_read{pool=\"a\"} NaN\n");
    value = -(double)INFINITY;
    assert_written("t_read{pool=\"a\"} -Inf\n");
    metrics_gauge_read("t_read", "Read.", "pool=\"a\"", NULL, NULL);
    assert_not_written("t_read{");
}

static void a_read_gauge_that_is_given_again_reads_the_new_one(void **state)
{
    double first = 1, second = 2;

    (void)state;
    metrics_gauge_read("t_again", "Again.", NULL, read_double, &first);
    metrics_gauge_read("t_again", "Again.", NULL, read_double, &second);
    assert_written("# TYPE t_again gauge\nt_again 2\n#");
    metrics_gauge_read("t_again", "Again.", NULL, NULL, NULL);
}

static void the_process_reports_memory_descriptors_start_and_version(void **state)
{
    double now = (double)time(NULL), fds, fds_later, open_now = 0;
    int pipe_fds[2];

    (void)state;
    assert_true(value_of("process_resident_memory_bytes") > 500000);
    assert_true(value_of("process_start_time_seconds") <= now + 1);
    assert_true(value_of("process_start_time_seconds") > now - 3600);
    assert_true(value_of("process_cpu_seconds_total") >= 0);
    assert_true(value_of("process_max_fds") > 0);
    fds = value_of("process_open_fds");
    for (int fd = 0; fd < 100000; fd++)
        open_now += fcntl(fd, F_GETFD) >= 0;
    assert_true(fds == open_now);
    assert_int_equal(pipe(pipe_fds), 0);
    fds_later = value_of("process_open_fds");
    assert_int_equal(close(pipe_fds[0]) + close(pipe_fds[1]), 0);
    assert_true(fds_later == fds + 2);
    assert_written("# TYPE reel_build_info gauge\nreel_build_info{version=\"");
}

static void every_line_is_a_comment_or_a_sample(void **state)
{
    char *text = write_text(), *rest = NULL;
    int samples = 0;

    (void)state;
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *end, *value;
        if (strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0)
            continue;
        value = strrchr(line, ' ');
        assert_non_null(value);
        (void)strtod(value + 1, &end);
        assert_string_equal(end, "");
        assert_true(end != value + 1);
        samples++;
    }
    assert_true(samples > 10);
    free(text);
}

static int exit_status_of(void (*run)(void))
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void register_with_two_types(void)
{
    (void)metrics_counter("t_two", "Two.", NULL);
    (void)metrics_gauge("t_two", "Two.", NULL);
}

static void register_bad_labels(void)
{
    (void)metrics_counter("t_bad_total", "Bad.", "no quotes");
}

static void what_only_a_programmer_can_do_wrong_ends_the_process_at_the_start(void **state)
{
    (void)state;
    assert_int_equal(exit_status_of(register_with_two_types), 1);
    assert_int_equal(exit_status_of(register_bad_labels), 1);
}

#define THREADS 4
#define ROUNDS  20000

static void *count(void *argument)
{
    struct metric *histogram = metrics_histogram("t_threads_seconds", "Threads.", NULL);

    for (int i = 0; i < ROUNDS; i++) {
        metric_add(argument, 1);
        metric_observe_us(histogram, i);
        if (i % 5000 == 0) {
            char *text = write_text();
            free(text);
        }
    }
    return NULL;
}

static void no_count_is_lost_between_threads(void **state)
{
    struct metric *counter = metrics_counter("t_threads_total", "Threads.", NULL);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, counter), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(metric_value(counter), THREADS * ROUNDS);
    assert_int_equal(metric_value(metrics_histogram("t_threads_seconds", "Threads.", NULL)),
                     THREADS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_is_written_with_help_and_type),
        cmocka_unit_test(the_series_of_a_family_stand_together_under_one_head),
        cmocka_unit_test(the_same_name_and_labels_give_the_same_metric),
        cmocka_unit_test(a_gauge_goes_up_and_down),
        cmocka_unit_test(a_histogram_has_cumulative_buckets_sum_and_count_in_seconds),
        cmocka_unit_test(a_histogram_without_labels_has_le_alone),
        cmocka_unit_test(label_values_are_escaped_where_they_need_it),
        cmocka_unit_test(help_is_escaped),
        cmocka_unit_test(a_read_gauge_is_asked_when_somebody_reads),
        cmocka_unit_test(a_read_gauge_that_is_given_again_reads_the_new_one),
        cmocka_unit_test(the_process_reports_memory_descriptors_start_and_version),
        cmocka_unit_test(every_line_is_a_comment_or_a_sample),
        cmocka_unit_test(what_only_a_programmer_can_do_wrong_ends_the_process_at_the_start),
        cmocka_unit_test(no_count_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
