/*
 * test_log: the lines of common/base/log.c as they land in a real file or on a real stderr.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/unit/library/fake_clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64], path[96], moved[96];

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/test_log.XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/a.log", directory);
    (void)snprintf(moved, sizeof(moved), "%s/a.log.1", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    log_close();
    log_set_level(LOG_LEVEL_INFO);
    (void)unlink(path);
    (void)unlink(moved);
    return rmdir(directory);
}

static void open_log(const char *file, enum log_level level)
{
    const struct log_options options = {.program = "storage", .file = file, .level = level};
    struct error error;
    assert_true(log_open(&options, &error));
}

/* The whole file, freed by the caller. */
static char *read_all(const char *from)
{
    FILE *file = fopen(from, "r");
    char *text = calloc(1, 1 << 20);
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) < (1 << 20) - 1);
    assert_int_equal(fclose(file), 0);
    return text;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&regex);
}

/* What the child's run() writes to stderr, where STDERR_FILENO is FD's other side. */
static void run_in_child(void (*run)(void), char *output, size_t size, int *status)
{
    int fds[2];
    size_t length = 0;
    ssize_t got;
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    (void)fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        run();
        _exit(0);
    }
    assert_int_equal(close(fds[1]), 0);
    while ((got = read(fds[0], output + length, size - 1 - length)) > 0)
        length += (size_t)got;
    output[length] = '\0';
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(waitpid(child, status, 0), child);
}

static void a_line_has_time_level_program_pid_room_and_text(void **state)
{
    char expected[128];
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    log_warning("upload", "c12: %s", "disk full");
    text = read_all(path);
    (void)snprintf(
        expected, sizeof(expected),
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z warning storage\\[%ld\\] "
        "upload: c12: disk full\n$",
        (long)getpid());
    assert_matches(text, expected);
    free(text);
}

static void lines_below_the_level_are_dropped(void **state)
{
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_WARNING);
    log_debug("a", "no-debug");
    log_info("a", "no-info");
    log_warning("a", "yes-warning");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("a", "yes-debug");
    text = read_all(path);
    assert_null(strstr(text, "no-"));
    assert_non_null(strstr(text, "yes-warning"));
    assert_non_null(strstr(text, "yes-debug"));
    assert_int_equal(log_get_level(), LOG_LEVEL_DEBUG);
    free(text);
}

static void control_characters_and_broken_utf8_are_escaped_and_a_call_is_one_line(void **state)
{
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    /* Line end, escape, DEL, C1 control (U+009B), stray continuation, overlong "/", surrogate, cut sequence.
     */
    log_info("a", "b: a\nb\r\tc\x1b[1m\x7f|\xc2\x9b|\x80|\xc0\xaf|\xed\xa0\x80|\xe2\x82");
    text = read_all(path);
    assert_non_null(strstr(
        text, "b: a\\nb\\r\\tc\\x1b[1m\\x7f|\\xc2\\x9b|\\x80|\\xc0\\xaf|\\xed\\xa0\\x80|\\xe2\\x82\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    free(text);
}

static void names_in_utf8_stay_readable(void **state)
{
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    log_info("a", "b: \xe7\x94\xb5\xe5\xbd\xb1 caf\xc3\xa9 \xf0\x9f\x8e\xac");
    text = read_all(path);
    assert_non_null(strstr(text, "b: \xe7\x94\xb5\xe5\xbd\xb1 caf\xc3\xa9 \xf0\x9f\x8e\xac\n"));
    free(text);
}

static void a_long_line_is_cut_at_4_kib_and_says_so(void **state)
{
    char *text, *big = malloc(10001);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', 10000);
    big[10000] = '\0';
    open_log(path, LOG_LEVEL_INFO);
    log_info("a", "%s", big);
    memset(big, '\n', 10000); /* every byte becomes two */
    log_info("a", "%s", big);
    text = read_all(path);
    char *second = strchr(text, '\n') + 1;
    assert_int_equal(second - text, 4096);
    assert_memory_equal(second - 4, "...\n", 4);
    assert_true(strlen(second) <= 4096);
    assert_string_equal(second + strlen(second) - 6, "\\n...\n");
    free(text);
    free(big);
}

static void errno_survives_a_line(void **state)
{
    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    errno = EDOM;
    log_info("a", "b");
    assert_int_equal(errno, EDOM);
}

static void a_reopen_after_a_rename_goes_on_in_a_new_file(void **state)
{
    char *old_text, *new_text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    log_info("a", "first");
    assert_int_equal(rename(path, moved), 0);
    log_info("a", "second");
    log_reopen();
    log_info("a", "third");
    old_text = read_all(moved);
    new_text = read_all(path);
    assert_non_null(strstr(old_text, "first"));
    assert_non_null(strstr(old_text, "second"));
    assert_null(strstr(old_text, "third"));
    assert_non_null(strstr(new_text, "third"));
    free(old_text);
    free(new_text);
}

static void a_reopen_that_fails_keeps_the_file_and_is_logged_there(void **state)
{
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(log_reopen());
    assert_false(log_reopen()); /* it is tried again, and one line is enough */
    log_info("a", "after");
    assert_int_equal(rmdir(path), 0);
    text = read_all(moved);
    const char *reported = strstr(text, "cannot reopen the log file");
    assert_non_null(reported);
    assert_null(strstr(reported + 1, "cannot reopen the log file"));
    assert_non_null(strstr(text, "after"));
    free(text);
    assert_true(log_reopen());
    assert_true(log_reopen()); /* this time it is no news */
    text = read_all(path);
    reported = strstr(text, "open again; lines of the last ");
    assert_non_null(reported);
    assert_null(strstr(reported + 1, "open again"));
    free(text);
}

static void without_a_free_descriptor_a_reopen_says_so(void **state)
{
    struct rlimit before, none;
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool opened = log_reopen();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(opened);
    text = read_all(moved);
    assert_matches(text, "cannot reopen the log file .*: Too many open files; still writing");
    free(text);
    assert_true(log_reopen());
    assert_int_equal(access(path, F_OK), 0);
}

static void an_open_that_fails_keeps_the_earlier_target(void **state)
{
    const struct log_options bad = {.program = "x", .file = "/nonexistent/x.log", .level = LOG_LEVEL_ERROR};
    struct error error;
    char *text;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    assert_false(log_open(&bad, &error));
    assert_non_null(strstr(error.text, "/nonexistent/x.log"));
    assert_non_null(strstr(error.text, "No such file"));
    log_info("a", "still here");
    text = read_all(path);
    assert_matches(text, "info storage\\[[0-9]+\\] a: still here");
    free(text);
}

static void allow_bytes(const char *file, rlim_t more)
{
    struct stat status;
    assert_int_equal(stat(file, &status), 0);
    struct rlimit limit = {.rlim_cur = (rlim_t)status.st_size + more, .rlim_max = RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void half_a_line_on_a_full_disk_spoils_no_other(void **state)
{
    const struct rlimit no_limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    open_log(path, LOG_LEVEL_INFO);
    log_info("a", "before");
    allow_bytes(path, 4);
    log_info("a", "cut after the year");
    log_info("a", "lost");
    allow_bytes(path, 1);
    log_info("a", "of which only the newline in front fits");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_limit), 0);
    log_info("a", "after");
    log_info("a", "and on");
    char *text = read_all(path);
    assert_matches(text, "^[^\n]+ a: before\n2[0-9]{3}\n[^\n]+ a: after\n[^\n]+ a: and on\n$");
    free(text);

    allow_bytes(path, 4);
    log_info("a", "cut again");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_limit), 0);
    assert_int_equal(rename(path, moved), 0);
    assert_true(log_reopen());
    log_info("a", "in another file");
    text = read_all(path);
    assert_matches(text, "^2[^\n]+ a: in another file\n$");
    free(text);
}

static void write_one_to_stderr(void)
{
    open_log("", LOG_LEVEL_DEBUG);
    log_error("room", "what %d", 7);
    log_debug("room", "detail");
}

static void without_a_file_lines_go_to_stderr(void **state)
{
    char output[1024];
    int status;

    (void)state;
    run_in_child(write_one_to_stderr, output, sizeof(output), &status);
    assert_matches(output,
                   "Z error storage\\[[0-9]+\\] room: what 7\n.*Z debug storage\\[[0-9]+\\] room: detail\n$");
}

static void write_one_to_journal(void)
{
    struct stat stderr_status;
    char stream[64];

    if (fstat(STDERR_FILENO, &stderr_status) != 0)
        _exit(9);
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)stderr_status.st_dev,
                   (unsigned long long)stderr_status.st_ino);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    write_one_to_stderr();
}

static void the_journal_gets_priorities_instead_of_times(void **state)
{
    char output[1024];
    int status;

    (void)state;
    run_in_child(write_one_to_journal, output, sizeof(output), &status);
    assert_string_equal(output, "<3>room: what 7\n<7>room: detail\n");
}

static void write_with_foreign_journal_stream(void)
{
    (void)setenv("JOURNAL_STREAM", "1:1", 1);
    write_one_to_stderr();
}

static void a_journal_stream_that_is_not_stderr_changes_nothing(void **state)
{
    char output[1024];
    int status;

    (void)state;
    run_in_child(write_with_foreign_journal_stream, output, sizeof(output), &status);
    assert_matches(output, "Z error storage\\[");
}

static void fail_assertion(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    ASSERT(1 + 1 == 3);
}

static void an_assertion_that_does_not_hold_names_the_place_and_aborts(void **state)
{
    char output[1024];
    int status;

    (void)state;
    run_in_child(fail_assertion, output, sizeof(output), &status);
    assert_matches(output, "test_log.c:[0-9]+: fail_assertion: \"1 \\+ 1 == 3\" does not hold");
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void every_line_is_counted_by_level(void **state)
{
    struct metric *warnings = metrics_counter("reel_log_lines_total", "", "level=\"warning\"");
    struct metric *debugs = metrics_counter("reel_log_lines_total", "", "level=\"debug\"");
    int64_t warnings_before = metric_value(warnings), debugs_before = metric_value(debugs);

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    log_warning("a", "one");
    log_warning("a", "two");
    log_debug("a", "dropped");
    assert_int_equal(metric_value(warnings) - warnings_before, 2);
    assert_int_equal(metric_value(debugs) - debugs_before, 0);
}

static void a_gate_opens_once_an_interval_and_counts_what_it_swallowed(void **state)
{
    struct log_gate gate = {0};
    uint64_t suppressed = 99;

    (void)state;
    assert_true(log_gate_open(&gate, 3600000, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 5; i++)
        assert_false(log_gate_open(&gate, 3600000, &suppressed));
    gate.next_ms = 0; /* the hour is over */
    assert_true(log_gate_open(&gate, 3600000, &suppressed));
    assert_int_equal(suppressed, 5);
    gate.next_ms = 0;
    assert_true(log_gate_open(&gate, 3600000, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(log_gate_open(&(struct log_gate){0}, 1, NULL));
}

#define THREADS 4
#define LINES   2000

static void *write_lines(void *argument)
{
    int number = *(int *)argument;

    for (int i = 0; i < LINES; i++) {
        log_info("thread", "t%d line %d of a text that is long enough to be torn apart .......... end",
                 number, i);
        if (i % 100 == 0)
            log_reopen();
    }
    return NULL;
}

static void lines_of_many_threads_are_whole_also_while_the_file_is_reopened(void **state)
{
    pthread_t threads[THREADS];
    int numbers[THREADS], next[THREADS] = {0}, count = 0;
    char line[4200];
    FILE *file;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        int thread, number, end = 0;
        const char *text = strstr(line, " thread: t");
        assert_non_null(text);
        assert_int_equal(
            sscanf(text,
                   " thread: t%d line %d of a text that is long enough to be torn apart .......... end%n",
                   &thread, &number, &end),
            2);
        assert_string_equal(text + end, "\n");
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(number, next[thread]++);
        count++;
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(count, THREADS * LINES);
}

static void a_symbolic_link_is_refused(void **state)
{
    const struct log_options options = {.program = "storage", .file = moved};
    struct error error;
    char expected[192], *text;

    (void)state;
    assert_int_equal(symlink(path, moved), 0);
    assert_false(log_open(&options, &error));
    (void)snprintf(expected, sizeof(expected), "cannot open the log file %s: it is a symbolic link", moved);
    assert_string_equal(error.text, expected);
    assert_int_equal(access(path, F_OK), -1); /* nor was what it points at made */
    assert_int_equal(unlink(moved), 0);
    open_log(path, LOG_LEVEL_INFO);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink(moved, path), 0);
    log_reopen();
    text = read_all(moved);
    assert_matches(text, "cannot reopen the log file .*: it is a symbolic link; still writing");
    free(text);
}

/* ---- the queue ---- */

static void start_queue(void)
{
    struct error error;
    if (!log_start(&error))
        abort();
}

static void lines_leave_in_order_by_the_thread(void **state)
{
    char line[256], expected[32];
    int next = 0;

    (void)state;
    open_log(path, LOG_LEVEL_INFO);
    start_queue();
    for (int i = 0; i < 30000; i++) { /* several times what the queue holds at once */
        log_info("a", "line %d.", i);
        if (i % 1000 == 0)
            log_flush(20000);
    }
    log_flush(20000);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    (void)snprintf(expected, sizeof(expected), "a: line 0.\n");
    while (fgets(line, sizeof(line), file)) {
        if (strstr(line, expected))
            (void)snprintf(expected, sizeof(expected), "a: line %d.\n", ++next);
    }
    assert_int_equal(fclose(file), 0);
    if (next != 30000)
        fail_msg("%s is missing", expected);
}

/* stderr becomes a pipe that nobody reads; the descriptor of its reading end, for later. */
static int stuff_stderr(void)
{
    int fds[2];

    if (pipe(fds) != 0 || dup2(fds[1], STDERR_FILENO) < 0)
        abort();
    close(fds[1]);
    return fds[0];
}

static void speak_to_nobody(void)
{
    int out = dup(STDERR_FILENO), reader = stuff_stderr();
    int64_t start_ms = clock_monotonic_ms();
    char text[64 * 1024];
    ssize_t got;

    start_queue();
    for (int i = 0; i < 50000; i++)
        log_info("a", "a line that nobody reads, of a length that is usual for lines of this kind");
    dprintf(out, "spoke %s\n", clock_monotonic_ms() - start_ms < 20000 ? "freely" : "slowly");
    /* Somebody reads again: what was dropped is said to have been. */
    if (fcntl(reader, F_SETFL, O_NONBLOCK) != 0)
        abort();
    bool reported = false;
    while (!reported && clock_monotonic_ms() - start_ms < 60000) {
        log_info("a", "another");
        usleep(1000);
        while ((got = read(reader, text, sizeof(text) - 1)) > 0) {
            text[got] = '\0';
            reported = reported || strstr(text, "lines were dropped: the log is not written fast enough");
        }
    }
    dprintf(out, "dropped %s\n", reported ? "reported" : "silent");
    /* And nobody again: that does not keep the process from its end. */
    for (int i = 0; i < 5000; i++)
        log_info("a", "a line that nobody reads, of a length that is usual for lines of this kind");
    start_ms = clock_monotonic_ms();
    log_close();
    dprintf(out, "ended %s\n", clock_monotonic_ms() - start_ms < 10000 ? "soon" : "late");
}

static void a_log_that_nobody_reads_blocks_nobody(void **state)
{
    char output[1024];
    int status;

    (void)state;
    run_in_child(speak_to_nobody, output, sizeof(output), &status);
    assert_string_equal(output, "spoke freely\ndropped reported\nended soon\n");
    assert_true(WIFEXITED(status));
}

static void speak_and_abort(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    start_queue();
    for (int i = 0; i < 2000; i++)
        log_info("a", "line %d.", i);
    abort();
}

static void speak_and_crash(void)
{
    (void)signal(SIGSEGV, SIG_DFL);
    start_queue();
    for (int i = 0; i < 2000; i++)
        log_info("a", "line %d.", i);
    (void)raise(SIGSEGV);
}

static void speak_and_fail_an_assertion(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    start_queue();
    for (int i = 0; i < 2000; i++)
        log_info("a", "line %d.", i);
    ASSERT(1 + 1 == 3);
}

static void lines_before_a_crash_are_written(void **state)
{
    static const struct {
        void (*run)(void);
        int signal;
    } ends[] = {
        {speak_and_abort, SIGABRT}, {speak_and_crash, SIGSEGV}, {speak_and_fail_an_assertion, SIGABRT}};
    static char output[1 << 20];
    char expected[32], *at;
    int status;

    (void)state;
    for (size_t end = 0; end < ARRAY_SIZE(ends); end++) {
        run_in_child(ends[end].run, output, sizeof(output), &status);
        at = output;
        for (int i = 0; i < 2000; i++) {
            (void)snprintf(expected, sizeof(expected), "a: line %d.\n", i);
            at = strstr(at, expected);
            if (!at)
                fail_msg("end %zu: %s is missing", end, expected);
        }
        if (end == 2)
            assert_non_null(strstr(at, "\"1 + 1 == 3\" does not hold\n"));
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), ends[end].signal);
    }
}

static void a_rate_opens_so_often_a_second_and_counts_what_it_swallowed(void **state)
{
    struct log_rate rate = {0};
    uint64_t suppressed = 0, open = 0;
    struct fake_clock clock;

    (void)state;
    fake_clock_start(&clock); /* so that all of it happens in one second */
    for (int i = 0; i < 50; i++)
        open += log_rate_open(&rate, 10, &suppressed);
    assert_int_equal(open, 10);
    assert_int_equal(suppressed, 0);
    fake_clock_pass(&clock, 1000);
    assert_true(log_rate_open(&rate, 10, &suppressed));
    assert_int_equal(suppressed, 40);
    fake_clock_end();
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(a_line_has_time_level_program_pid_room_and_text),
        WITH_FILE(lines_below_the_level_are_dropped),
        WITH_FILE(control_characters_and_broken_utf8_are_escaped_and_a_call_is_one_line),
        WITH_FILE(names_in_utf8_stay_readable),
        WITH_FILE(a_long_line_is_cut_at_4_kib_and_says_so),
        WITH_FILE(errno_survives_a_line),
        WITH_FILE(a_reopen_after_a_rename_goes_on_in_a_new_file),
        WITH_FILE(a_reopen_that_fails_keeps_the_file_and_is_logged_there),
        WITH_FILE(without_a_free_descriptor_a_reopen_says_so),
        WITH_FILE(half_a_line_on_a_full_disk_spoils_no_other),
        WITH_FILE(an_open_that_fails_keeps_the_earlier_target),
        cmocka_unit_test(without_a_file_lines_go_to_stderr),
        cmocka_unit_test(the_journal_gets_priorities_instead_of_times),
        cmocka_unit_test(a_journal_stream_that_is_not_stderr_changes_nothing),
        cmocka_unit_test(an_assertion_that_does_not_hold_names_the_place_and_aborts),
        WITH_FILE(every_line_is_counted_by_level),
        cmocka_unit_test(a_gate_opens_once_an_interval_and_counts_what_it_swallowed),
        WITH_FILE(lines_of_many_threads_are_whole_also_while_the_file_is_reopened),
        WITH_FILE(a_symbolic_link_is_refused),
        WITH_FILE(lines_leave_in_order_by_the_thread),
        cmocka_unit_test(a_log_that_nobody_reads_blocks_nobody),
        cmocka_unit_test(lines_before_a_crash_are_written),
        cmocka_unit_test(a_rate_opens_so_often_a_second_and_counts_what_it_swallowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
