/* access_log: the lines, and the file behind its worker. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <jansson.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/base/metrics.h"
#include "httpd/loop/access_log.h"
#include "tests/unit/library/storage_loop.h"

static struct access_log_record make_record(void)
{
    return (struct access_log_record){
        .peer = "192.0.2.1",
        .method = http_text_of("GET"),
        .target = http_text_of("/files/x"),
        .minor_version = 1,
        .status = 206,
        .time = 784111777,
        .duration_us = 1234567,
        .body_bytes = 42,
        .complete = true,
        .user_agent = http_text_of("VLC/3.0"),
        .request_id = "c1-1",
    };
}

static void the_combined_line_is_what_log_readers_expect(void **state)
{
    char line[1024];
    struct access_log_record record = make_record();
    (void)state;
    size_t size = access_log_format_line(line, sizeof(line), ACCESS_LOG_COMBINED, &record);
    line[size] = '\0';
    assert_string_equal(line,
                        "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /files/x HTTP/1.1\" 206 42 \"-\" "
                        "\"VLC/3.0\" 1.234567\n");
    record.method = (struct http_text){NULL, 0};
    size = access_log_format_line(line, sizeof(line), ACCESS_LOG_COMBINED, &record);
    line[size] = '\0';
    assert_string_equal(
        line, "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"-\" 206 42 \"-\" \"VLC/3.0\" 1.234567\n");
}

static void strangers_can_forge_neither_lines_nor_strings(void **state)
{
    char line[2048];
    struct access_log_record record = make_record();
    (void)state;
    record.user_agent = http_text_of("a\" 200\n1.2.3.4 \\ \x1b[0m \xc3\xbc");
    size_t size = access_log_format_line(line, sizeof(line), ACCESS_LOG_COMBINED, &record);
    line[size] = '\0';
    assert_ptr_equal(strchr(line, '\n'), line + size - 1);
    assert_non_null(strstr(line, "\"a\\x22 200\\x0A1.2.3.4 \\x5C \\x1B[0m \\xC3\\xBC\""));
    size = access_log_format_line(line, sizeof(line), ACCESS_LOG_JSON, &record);
    json_t *json = json_loadb(line, size, 0, NULL);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "bytes")), 42);
    assert_string_equal(json_string_value(json_object_get(json, "time")), "1994-11-06T08:49:37Z");
    json_decref(json);
}

static void the_longest_texts_stay_one_whole_line(void **state)
{
    static char text[20000], line[24 * 1024];
    struct access_log_record record = make_record();
    (void)state;
    memset(text, '"', sizeof(text));
    struct http_text longest = {text, sizeof(text)};
    record.target = record.host = record.referer = record.user_agent = record.range = longest;
    for (int format = ACCESS_LOG_COMBINED; format <= ACCESS_LOG_JSON; format++) {
        size_t size = access_log_format_line(line, sizeof(line), (enum access_log_format)format, &record);
        assert_true(size < sizeof(line));
        assert_int_equal(line[size - 1], '\n');
        if (format == ACCESS_LOG_JSON) {
            json_t *json = json_loadb(line, size, 0, NULL);
            assert_non_null(json);
            json_decref(json);
        }
    }
}

struct writing {
    struct access_log *log;
    struct loop *loop;
    enum access_log_format format;
    int lines;
    sem_t closed;
};

static void on_closed(void *argument)
{
    struct writing *writing = argument;
    sem_post(&writing->closed);
}

static void begin_writing(void *argument)
{
    struct writing *writing = argument;
    struct access_log_record record = make_record();
    struct access_log_buffer *buffer = access_log_buffer_create(writing->log, writing->loop);
    assert_non_null(buffer);
    for (int i = 0; i < writing->lines; i++)
        access_log_add(buffer, writing->format, &record);
    access_log_buffer_close(buffer, on_closed, writing);
}

/* Until they are in the file. LOOP has to outlive the worker, which wakes it. */
static void write_lines(struct access_log *log, struct loop *loop, enum access_log_format format, int lines)
{
    struct writing writing = {.log = log, .loop = loop, .format = format, .lines = lines};
    sem_init(&writing.closed, 0, 0);
    loop_do(loop, begin_writing, &writing);
    while (sem_wait(&writing.closed) != 0)
        ;
    sem_destroy(&writing.closed);
}

static size_t count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t lines = 0;
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static void every_line_is_in_the_file_when_the_buffer_is_closed(void **state)
{
    char path[] = "/tmp/test-access-XXXXXX", moved[64];
    struct error error;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(moved, sizeof(moved), "%s.1", path);
    struct loop *loop = loop_fresh();
    struct access_log *log = access_log_create(path, &error);
    assert_non_null(log);
    write_lines(log, loop, ACCESS_LOG_COMBINED, 1000); /* more than one buffer, less than two */
    assert_int_equal(count_lines(path), 1000);

    /* After logrotate moved it: a new file under the old name. */
    assert_int_equal(rename(path, moved), 0);
    access_log_reopen(log);
    write_lines(log, loop, ACCESS_LOG_JSON, 1);
    assert_int_equal(count_lines(path), 1);
    assert_int_equal(count_lines(moved), 1000);
    access_log_end_workers(log);
    access_log_destroy(log);
    loop_destroy(loop);
    unlink(path);
    unlink(moved);
}

static void a_file_that_cannot_be_reopened_is_tried_again(void **state)
{
    char path[] = "/tmp/test-access-XXXXXX", moved[64];
    struct error error;
    (void)state;
    int fd = mkstemp(path), lines = 0;
    assert_true(fd >= 0);
    close(fd);
    snprintf(moved, sizeof(moved), "%s.1", path);
    struct access_log *log = access_log_create(path, &error);
    assert_non_null(log);
    struct loop *loop = loop_fresh();
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    access_log_reopen(log);
    write_lines(log, loop, ACCESS_LOG_JSON, 1);
    lines++;
    assert_int_equal(count_lines(moved), 1);
    assert_int_equal(rmdir(path), 0);
    for (; access(path, F_OK) != 0 && lines < 10000; lines++) {
        write_lines(log, loop, ACCESS_LOG_JSON, 1);
        usleep(1000);
    }
    assert_int_equal(count_lines(path), 1); /* the first one behind the pause */
    assert_int_equal(count_lines(moved), lines - 1);
    access_log_end_workers(log);
    access_log_destroy(log);
    loop_destroy(loop);
    unlink(path);
    unlink(moved);
}

static void half_a_line_on_a_full_disk_spoils_no_other(void **state)
{
    const struct rlimit no_limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    char path[] = "/tmp/test-access-XXXXXX", line[4096];
    struct error error;
    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct access_log *log = access_log_create(path, &error);
    assert_non_null(log);
    struct loop *loop = loop_fresh();
    write_lines(log, loop, ACCESS_LOG_JSON, 1);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    struct rlimit half = {.rlim_cur = (rlim_t)file.st_size * 5 / 2, .rlim_max = RLIM_INFINITY};
    struct metric *dropped = metrics_counter("reel_httpd_access_log_dropped_total", "", NULL);
    int64_t before = metric_value(dropped);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &half), 0);
    write_lines(log, loop, ACCESS_LOG_JSON, 4); /* one fits, and the half of the next */
    write_lines(log, loop, ACCESS_LOG_JSON, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_limit), 0);
    assert_int_equal(metric_value(dropped), before + 4);
    write_lines(log, loop, ACCESS_LOG_JSON, 2);

    FILE *lines = fopen(path, "r");
    assert_non_null(lines);
    for (int i = 0; i < 5; i++) {
        assert_non_null(fgets(line, sizeof(line), lines));
        assert_int_equal(line[0], '{');
        assert_true((strlen(line) == (size_t)file.st_size) == (i != 2));
    }
    assert_null(fgets(line, sizeof(line), lines));
    fclose(lines);
    access_log_end_workers(log);
    access_log_destroy(log);
    loop_destroy(loop);
    unlink(path);
}

static void a_file_that_cannot_be_opened_is_named(void **state)
{
    struct error error;
    (void)state;
    assert_null(access_log_create("/nonexistent/access.log", &error));
    assert_non_null(strstr(error.text, "/nonexistent/access.log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_combined_line_is_what_log_readers_expect),
        cmocka_unit_test(strangers_can_forge_neither_lines_nor_strings),
        cmocka_unit_test(the_longest_texts_stay_one_whole_line),
        cmocka_unit_test(every_line_is_in_the_file_when_the_buffer_is_closed),
        cmocka_unit_test(a_file_that_cannot_be_reopened_is_tried_again),
        cmocka_unit_test(half_a_line_on_a_full_disk_spoils_no_other),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
