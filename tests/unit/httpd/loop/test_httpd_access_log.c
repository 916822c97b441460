/* access_log: the lines, and the file behind its worker. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "httpd/loop/access_log.h"

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

static void stop_loop(void *argument)
{
    loop_stop(argument);
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
    struct loop *loop = loop_create("test", &error);
    struct access_log *log = access_log_create(path, &error);
    assert_non_null(loop);
    assert_non_null(log);
    struct access_log_buffer *buffer = access_log_buffer_create(log, loop);
    assert_non_null(buffer);
    struct access_log_record record = make_record();
    for (int i = 0; i < 1000; i++) /* more than one buffer, less than two */
        access_log_add(buffer, ACCESS_LOG_COMBINED, &record);
    access_log_buffer_close(buffer, stop_loop, loop);
    loop_run(loop);
    assert_int_equal(count_lines(path), 1000);

    /* After logrotate moved it: a new file under the old name. */
    assert_int_equal(rename(path, moved), 0);
    access_log_reopen(log);
    loop_destroy(loop);
    loop = loop_create("test", &error);
    assert_non_null(loop);
    buffer = access_log_buffer_create(log, loop);
    assert_non_null(buffer);
    access_log_add(buffer, ACCESS_LOG_JSON, &record);
    access_log_buffer_close(buffer, stop_loop, loop);
    loop_run(loop);
    assert_int_equal(count_lines(path), 1);
    assert_int_equal(count_lines(moved), 1000);
    access_log_end_workers(log);
    access_log_destroy(log);
    loop_destroy(loop);
    unlink(path);
    unlink(moved);
}

static void write_one(struct access_log *log, const struct access_log_record *record)
{
    struct error error;
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    struct access_log_buffer *buffer = access_log_buffer_create(log, loop);
    assert_non_null(buffer);
    access_log_add(buffer, ACCESS_LOG_JSON, record);
    access_log_buffer_close(buffer, stop_loop, loop);
    loop_run(loop);
    loop_destroy(loop);
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
    struct access_log_record record = make_record();
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    access_log_reopen(log);
    write_one(log, &record);
    lines++;
    assert_int_equal(count_lines(moved), 1);
    assert_int_equal(rmdir(path), 0);
    for (; access(path, F_OK) != 0 && lines < 10000; lines++) {
        write_one(log, &record);
        usleep(1000);
    }
    assert_int_equal(count_lines(path), 1); /* the first one behind the pause */
    assert_int_equal(count_lines(moved), lines - 1);
    access_log_end_workers(log);
    access_log_destroy(log);
    unlink(path);
    unlink(moved);
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
        cmocka_unit_test(a_file_that_cannot_be_opened_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
