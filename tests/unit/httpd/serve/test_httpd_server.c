/*
 * reel-httpd as a whole: a real daemon in a child process in front of scripted trackers and storage servers,
 * whose faults are ordered.
 */
#include "common/daemon/daemon.h"
#include "httpd/serve/http_server.h"
#include "common/base/clock.h"
#include "tests/unit/library/free_port.h"
#include "tests/unit/library/http_client.h"
#include "tests/unit/library/scripted_cluster.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define BIG_SIZE (3 * 1024 * 1024 + 7)

struct daemon_under_test {
    struct fake_cluster cluster;
    char directory[64];
    uint16_t port;
    pid_t pid; /* 0: it does not run */
    bool cluster_runs;
};

/* ---- the daemon ---- */

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {20, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void add_file(struct fake_group *group, const char *id, size_t size, const char *name,
                     const char *type)
{
    struct fake_file *file = &group->files[group->count++];
    snprintf(file->application, sizeof(file->application), "tnvideo");
    snprintf(file->user, sizeof(file->user), "alice");
    snprintf(file->id, sizeof(file->id), "%s", id);
    snprintf(file->name, sizeof(file->name), "%s", name);
    snprintf(file->type, sizeof(file->type), "%s", type);
    file->has_digest = true;
    memset(file->digest, 0xab, sizeof(file->digest));
    file->size = size;
    file->bytes = malloc(size + 1);
    assert_non_null(file->bytes);
    for (size_t i = 0; i < size; i++)
        file->bytes[i] = (uint8_t)(i * 2654435761u >> 11);
}

static void write_configuration(const struct daemon_under_test *test, const char *path, const char *more)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "[log]\nfile = %s/log\n[admin]\nlisten =\n[httpd]\nlisten = 127.0.0.1:%u\n"
            "trackers = %s\nuser = alice\n%s\n%s",
            test->directory, test->port, test->cluster.tracker.peer.address, more,
            strstr(more, "loops = ") ? "" : "[daemon]\nloops = 2\n");
    assert_int_equal(fclose(file), 0);
}

/* This program once more, as the daemon: a fork alone would take over whatever the peers' threads hold. */
static void run_child(char *path)
{
    char program[4096];
    char *arguments[] = {(char *)"reel-httpd", (char *)"-c", path, NULL};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) /* should this program be killed */
        _exit(98);
    /* By its name: under valgrind the link itself leads to valgrind. */
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (size > 0) {
        program[size] = '\0';
        execv(program, arguments);
    }
    _exit(99);
}

static void start_daemon(struct daemon_under_test *test, int storages, const char *more)
{
    char path[128];
    snprintf(test->directory, sizeof(test->directory), "/tmp/test-httpd-XXXXXX");
    assert_non_null(mkdtemp(test->directory));
    fake_cluster_start(&test->cluster, storages);
    test->cluster_runs = true;
    add_file(&test->cluster.group, "empty", 0, "", "");
    add_file(&test->cluster.group, "small", 4096, "note.txt", "text/plain");
    add_file(&test->cluster.group, "big", BIG_SIZE, "Film \xc3\xbc.mp4", "application/octet-stream");
    if (test->port == 0)
        test->port = free_port();
    snprintf(path, sizeof(path), "%s/httpd.conf", test->directory);
    write_configuration(test, path, more);
    test->pid = fork();
    assert_true(test->pid >= 0);
    if (test->pid == 0)
        run_child(path);
    for (int tries = 0; tries < 1200; tries++) {
        int fd = connect_to(test->port);
        if (fd >= 0) {
            close(fd);
            return;
        }
        usleep(50000);
    }
    fail_msg("the daemon does not listen");
}

static void wait_for_end(struct daemon_under_test *test)
{
    int status = -1;
    assert_int_equal(waitpid(test->pid, &status, 0), test->pid);
    test->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the daemon ended with status %x", (unsigned)status);
}

static void clean_up(struct daemon_under_test *test)
{
    char path[128];
    if (!test->cluster_runs)
        return;
    fake_cluster_stop(&test->cluster);
    test->cluster_runs = false;
    snprintf(path, sizeof(path), "%s/httpd.conf", test->directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/log", test->directory);
    unlink(path);
    rmdir(test->directory);
}

static void stop_daemon(struct daemon_under_test *test)
{
    assert_int_equal(kill(test->pid, SIGTERM), 0);
    wait_for_end(test);
    clean_up(test);
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct daemon_under_test));
    return *state == NULL;
}

/* Also what a test left that failed in its middle. */
static int teardown(void **state)
{
    struct daemon_under_test *test = *state;
    if (test->pid > 0) {
        (void)kill(test->pid, SIGKILL);
        (void)waitpid(test->pid, NULL, 0);
    }
    clean_up(test);
    free(test);
    return 0;
}

/* ---- a client ---- */

static void ask(struct daemon_under_test *test, const char *method, const char *path, const char *fields,
                struct http_answer *answer)
{
    char request[1024];
    int fd = connect_to(test->port);
    assert_true(fd >= 0);
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, fields);
    http_send(fd, request);
    http_answer_read(fd, strcmp(method, "HEAD") == 0, answer);
    close(fd);
}

static void expect_status(struct daemon_under_test *test, const char *method, const char *path,
                          const char *fields, int status)
{
    struct http_answer answer;
    ask(test, method, path, fields, &answer);
    if (answer.status != status)
        fail_msg("%s %s (%s): %d instead of %d", method, path, fields, answer.status, status);
    free(answer.body);
}

static const struct fake_file *find_file(struct daemon_under_test *test, const char *id)
{
    for (int i = 0; i < test->cluster.group.count; i++) {
        if (strcmp(test->cluster.group.files[i].id, id) == 0)
            return &test->cluster.group.files[i];
    }
    fail_msg("no file %s", id);
    return NULL;
}

static void expect_bytes(struct daemon_under_test *test, const struct http_answer *answer, const char *id,
                         size_t offset)
{
    const struct fake_file *file = find_file(test, id);
    assert_true(answer->whole);
    assert_true(offset + answer->size <= file->size);
    assert_memory_equal(answer->body, file->bytes + offset, answer->size);
}

/* ---- what it answers ---- */

static void files_come_whole_with_the_fields_of_their_rows(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 2, "cache_control = public, max-age=60");
    ask(test, "GET", "/files/small", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, 4096);
    expect_bytes(test, &answer, "small", 0);
    assert_true(http_answer_has(&answer, "Content-Type: text/plain"));
    assert_true(http_answer_has(&answer, "ETag: \"abababababababababababababababab\""));
    assert_true(http_answer_has(&answer, "Last-Modified: Sun, 01 Nov 2020 03:39:43 GMT"));
    assert_true(http_answer_has(&answer, "Accept-Ranges: bytes"));
    assert_true(http_answer_has(&answer, "Cache-Control: public, max-age=60"));
    assert_true(http_answer_has(&answer, "X-Content-Type-Options: nosniff"));
    free(answer.body);
    ask(test, "GET", "/files/tnvideo/alice/big/x?download", "", &answer);
    assert_int_equal(answer.size, BIG_SIZE);
    expect_bytes(test, &answer, "big", 0);
    assert_true(http_answer_has(&answer, "Content-Type: video/mp4"));
    assert_true(http_answer_has(
        &answer,
        "Content-Disposition: attachment; filename=\"Film _.mp4\"; filename*=UTF-8''Film%20%C3%BC.mp4"));
    free(answer.body);
    ask(test, "GET", "/files/empty", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_true(http_answer_has(&answer, "Content-Length: 0"));
    free(answer.body);
    ask(test, "HEAD", "/files/big", "Range: bytes=0-1\r\n", &answer);
    assert_int_equal(answer.status, 200);
    assert_true(http_answer_has(&answer, "Content-Length: 3145735"));
    free(answer.body);
    stop_daemon(test);
}

static void a_file_that_nobody_described_is_known_by_its_first_bytes(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    add_file(&test->cluster.group, "flac", 2000, "", "");
    add_file(&test->cluster.group, "tiny", 4, "", "application/octet-stream");
    memcpy(test->cluster.group.files[3].bytes, "fLaC", 4);
    memcpy(test->cluster.group.files[4].bytes, "GIF8", 4);
    ask(test, "HEAD", "/files/flac", "", &answer);
    assert_true(http_answer_has(&answer, "Content-Type: audio/flac"));
    free(answer.body);
    ask(test, "GET", "/files/flac", "", &answer);
    expect_bytes(test, &answer, "flac", 0);
    free(answer.body);
    ask(test, "HEAD", "/files/tiny", "", &answer);
    assert_true(http_answer_has(&answer, "Content-Type: application/octet-stream"));
    free(answer.body);
    stop_daemon(test);
}

static void a_time_in_the_future_is_not_shown(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    add_file(&test->cluster.group, "future", 10, "", "video/mp4");
    test->cluster.group.files[3].created = time(NULL) + 3600;
    ask(test, "GET", "/files/future", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n", &answer);
    assert_int_equal(answer.status, 200); /* no condition on a date that is not stated */
    assert_null(strstr(answer.head, "Last-Modified"));
    assert_true(http_answer_has(&answer, "ETag: \"abababababababababababababababab\""));
    free(answer.body);
    stop_daemon(test);
}

static void nothing_lies_below_a_playlist(void **state)
{
    static const struct {
        const char *path;
        int status;
    } rows[] = {
        {"/files/tnvideo/alice/hls/seg0.ts", 404},      {"/files/tnvideo/alice/hls/init", 200},
        {"/files/tnvideo/alice/hls/seg0.unknown", 404}, {"/files/tnvideo/alice/hls/live.m3u8", 200},
        {"/files/tnvideo/alice/hls/live.M3U", 200},     {"/files/tnvideo/alice/hls", 200},
        {"/files/tnvideo/alice/dash/init.mp4", 404},    {"/files/tnvideo/alice/dash/film.mpd", 200},
        {"/files/tnvideo/alice/dash/film.m3u8", 404},   {"/files/tnvideo/alice/big/seg0.ts", 200},
    };
    struct daemon_under_test *test = *state;
    start_daemon(test, 1, "");
    add_file(&test->cluster.group, "hls", 100, "", "application/vnd.apple.mpegurl");
    add_file(&test->cluster.group, "dash", 100, "", "application/dash+xml");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        expect_status(test, "GET", rows[i].path, "", rows[i].status);
    stop_daemon(test);
}

static void the_fields_of_dlna_come_when_they_are_asked_for(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    ask(test, "HEAD", "/files/big", "getcontentFeatures.dlna.org: 1\r\ntransferMode.dlna.org: streaming\r\n",
        &answer);
    assert_true(http_answer_has(&answer, "contentFeatures.dlna.org: DLNA.ORG_OP=01;DLNA.ORG_CI=0;"
                                         "DLNA.ORG_FLAGS=01700000000000000000000000000000"));
    assert_true(http_answer_has(&answer, "transferMode.dlna.org: Streaming"));
    free(answer.body);
    ask(test, "HEAD", "/files/big", "getcontentFeatures.dlna.org: 0\r\ntransferMode.dlna.org: x\r\n",
        &answer);
    assert_null(strcasestr(answer.head, "dlna"));
    free(answer.body);
    ask(test, "HEAD", "/files/big", "", &answer);
    assert_null(strcasestr(answer.head, "dlna"));
    free(answer.body);
    stop_daemon(test);
}

static void a_link_cannot_make_a_page_of_a_file(void **state)
{
    static const struct {
        const char *path, *type;
        bool attachment;
    } rows[] = {
        {"/files/tnvideo/alice/unknown/a.html", "application/octet-stream", true},
        {"/files/tnvideo/alice/unknown/a.svg", "application/octet-stream", true},
        {"/files/tnvideo/alice/unknown/a.js", "application/octet-stream", true},
        {"/files/tnvideo/alice/unknown/a.mkv", "video/x-matroska", false},
        {"/files/tnvideo/alice/plain/a.html", "text/plain; charset=utf-8", false},
        {"/files/tnvideo/alice/plain/a.vtt", "text/vtt; charset=utf-8", false},
        {"/files/tnvideo/alice/xml/a.svg", "text/xml; charset=utf-8", true},
        {"/files/page", "text/html; charset=utf-8", true},
        {"/files/drawing", "image/svg+xml", true},
        {"/files/tnvideo/alice/latin/a.txt", "text/plain", false},
    };
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    struct fake_group *group = &test->cluster.group;
    add_file(group, "unknown", 100, "", "");
    add_file(group, "plain", 5, "", "text/plain");
    add_file(group, "xml", 5, "", "text/xml");
    add_file(group, "page", 5, "a.html", "text/html");
    add_file(group, "drawing", 5, "a.svg", "image/svg+xml");
    add_file(group, "latin", 5, "", "text/plain");
    for (int i = 4; i < 8; i++)
        memcpy(group->files[i].bytes, "gr\xc3\xbcn", 5);
    memcpy(group->files[8].bytes, "gr\xfcn.", 5);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char line[128];
        snprintf(line, sizeof(line), "Content-Type: %s", rows[i].type);
        ask(test, "GET", rows[i].path, "", &answer);
        if (answer.status != 200 || !http_answer_has(&answer, line) ||
            !strstr(answer.head, "Content-Security-Policy: sandbox;") ||
            !strstr(answer.head, "Content-Disposition: attachment") == rows[i].attachment)
            fail_msg("%s: %s", rows[i].path, answer.head);
        free(answer.body);
    }
    stop_daemon(test);
    start_daemon(test, 1, "inline_types = text/html, image/svg+xml");
    ask(test, "GET", "/files/tnvideo/alice/big/a.mp4", "", &answer);
    assert_non_null(strstr(answer.head, "Content-Disposition: attachment"));
    free(answer.body);
    stop_daemon(test);
}

static void ranges_and_conditions_are_followed(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    ask(test, "GET", "/files/big", "Range: bytes=1000000-2999999\r\n", &answer);
    assert_int_equal(answer.status, 206);
    assert_int_equal(answer.size, 2000000);
    expect_bytes(test, &answer, "big", 1000000);
    assert_true(http_answer_has(&answer, "Content-Range: bytes 1000000-2999999/3145735"));
    free(answer.body);
    ask(test, "GET", "/files/big", "Range: bytes=-7\r\n", &answer);
    expect_bytes(test, &answer, "big", BIG_SIZE - 7);
    free(answer.body);
    ask(test, "GET", "/files/small", "Range: bytes=4096-\r\n", &answer);
    assert_int_equal(answer.status, 416);
    assert_true(http_answer_has(&answer, "Content-Range: bytes */4096"));
    free(answer.body);
    expect_status(test, "GET", "/files/small", "If-None-Match: \"abababababababababababababababab\"\r\n",
                  304);
    expect_status(test, "GET", "/files/small", "If-Match: \"x\"\r\n", 412);
    expect_status(test, "GET", "/files/small", "If-Range: \"x\"\r\nRange: bytes=0-1\r\n", 200);
    expect_status(test, "GET", "/files/nothing", "", 404);
    expect_status(test, "GET", "/files/%00", "", 400);
    expect_status(test, "DELETE", "/files/small", "", 405);
    stop_daemon(test);
}

static void several_ranges_come_as_parts_of_the_announced_length(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    static const size_t offsets[] = {0, 2000000, BIG_SIZE - 10};
    static const size_t sizes[] = {100, 500001, 10};
    start_daemon(test, 2, "");
    ask(test, "GET", "/files/big", "Range: bytes=0-99,2000000-2500000,-10\r\n", &answer);
    assert_int_equal(answer.status, 206);
    assert_true(answer.whole);
    const struct fake_file *file = find_file(test, "big");
    uint8_t *at = answer.body;
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        at = memmem(at, (size_t)(answer.body + answer.size - at), "\r\n\r\n", 4);
        assert_non_null(at);
        at += 4;
        assert_memory_equal(at, file->bytes + offsets[i], sizes[i]);
        at += sizes[i];
        assert_memory_equal(at, "\r\n--", 4);
    }
    assert_memory_equal(answer.body + answer.size - 4, "--\r\n", 4);
    free(answer.body);
    stop_daemon(test);
}

static void pipelined_requests_are_answered_in_their_order(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    static const char *const order[] = {"small", "big", "empty", "small", "nothing", "big"};
    start_daemon(test, 2, "");
    int fd = connect_to(test->port);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        char request[128];
        snprintf(request, sizeof(request),
                 "GET /files/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", order[i]);
        http_send(fd, request);
    }
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        http_answer_read(fd, false, &answer);
        assert_int_equal(answer.status, strcmp(order[i], "nothing") == 0 ? 404 : 200);
        if (answer.status == 200) {
            expect_bytes(test, &answer, order[i], 0);
            assert_int_equal(answer.size, find_file(test, order[i])->size);
        }
        free(answer.body);
    }
    close(fd);
    stop_daemon(test);
}

/* Asks for the whole of the big file and takes SIZE bytes each STEP_MS, for at most 40 s: how many came. */
static size_t read_slowly(struct daemon_under_test *test, size_t size, int step_ms)
{
    static char bytes[65536];
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(test->port)};
    size_t total = 0;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    http_send(fd, "GET /files/big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (int64_t start = clock_monotonic_ms(); clock_monotonic_ms() - start < 40000;) {
        ssize_t got = recv(fd, bytes, size, 0);
        if (got <= 0)
            break;
        total += (size_t)got;
        usleep((useconds_t)step_ms * 1000);
    }
    close(fd);
    return total;
}

static void a_client_that_takes_a_little_now_and_then_is_cut_off(void **state)
{
    struct daemon_under_test *test = *state;
    start_daemon(test, 1, "send_timeout = 5s\nsend_rate_min = 64K\nunsent_max = 32K");
    int64_t start = clock_monotonic_ms();
    assert_true(read_slowly(test, 200, 100) < BIG_SIZE / 10); /* 2 KB/s, and never still for long */
    assert_true(clock_monotonic_ms() - start < 36000);
    size_t whole = 0; /* a machine that stood still for a second says nothing: then once more */
    for (int attempt = 0; attempt < 10 && whole <= BIG_SIZE; attempt++)
        whole = read_slowly(test, 65536, 0);
    assert_true(whole > BIG_SIZE); /* with its head */
    stop_daemon(test);
}

static void many_requests_for_one_file_ask_about_it_once(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "");
    for (int i = 0; i < 10; i++) {
        ask(test, "HEAD", "/files/small", "", &answer);
        assert_int_equal(answer.status, 200);
        free(answer.body);
    }
    /* One question for each of the two loops at most. */
    assert_in_range(fake_requests(&test->cluster, 74), 1, 2);
    /* It is a text, whose first bytes say how it is encoded: they are read with the first question. */
    assert_int_equal(fake_requests(&test->cluster, 72), fake_requests(&test->cluster, 74));
    stop_daemon(test);
}

/* ---- faults ---- */

static void a_body_that_breaks_off_goes_on_from_another_server(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 2, "");
    /* Whichever is asked first: each of them cuts one download in the middle. */
    atomic_store(&test->cluster.storages[0].cut_downloads, 1);
    atomic_store(&test->cluster.storages[1].cut_downloads, 1);
    ask(test, "GET", "/files/big", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.size, BIG_SIZE);
    expect_bytes(test, &answer, "big", 0);
    free(answer.body);
    assert_true(fake_requests(&test->cluster, 72) >= 3);
    for (int i = 0; i < 2; i++)
        assert_int_equal(atomic_load(&test->cluster.storages[i].cut_downloads), 0);
    stop_daemon(test);
}

static void a_body_that_nobody_can_finish_is_cut_short(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 2, "failover_tries = 0");
    atomic_store(&test->cluster.storages[0].cut_downloads, 1000);
    atomic_store(&test->cluster.storages[1].cut_downloads, 1000);
    ask(test, "GET", "/files/big", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_false(answer.whole);
    assert_memory_equal(answer.body, find_file(test, "big")->bytes, answer.size);
    free(answer.body);
    stop_daemon(test);
}

static void a_server_that_sends_another_length_is_not_believed(void **state)
{
    struct daemon_under_test *test = *state;
    start_daemon(test, 1, "");
    atomic_store(&test->cluster.storages[0].wrong_length, true);
    expect_status(test, "GET", "/files/small", "", 502);
    atomic_store(&test->cluster.storages[0].wrong_length, false);
    expect_status(test, "GET", "/files/small", "", 200);
    stop_daemon(test);
}

static void failures_of_trackers_and_servers_have_their_status(void **state)
{
    static const struct {
        int code;
        int status;
    } rows[] = {{-4, 404}, {-6, 404}, {-9, 503}, {-10, 503}, {-13, 502}};
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "lookup_negative_age = 0\nretry_after = 7s");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        atomic_store(&test->cluster.storages[0].fail_left, 1000);
        atomic_store(&test->cluster.storages[0].fail_code, rows[i].code);
        ask(test, "GET", "/files/small", "Accept: application/json\r\n", &answer);
        if (answer.status != rows[i].status)
            fail_msg("error %d: status %d", rows[i].code, answer.status);
        assert_true(http_answer_has(&answer, "Content-Type: application/json"));
        assert_int_equal(http_answer_has(&answer, "Retry-After: 7"), answer.status == 503);
        free(answer.body);
    }
    stop_daemon(test);
}

static void a_file_deleted_behind_the_cache_is_not_served(void **state)
{
    struct daemon_under_test *test = *state;
    start_daemon(test, 1, "");
    expect_status(test, "GET", "/files/small", "", 200);
    pthread_mutex_lock(&test->cluster.group.mutex);
    test->cluster.group.files[1].deleted = true;
    pthread_mutex_unlock(&test->cluster.group.mutex);
    expect_status(test, "GET", "/files/small", "", 404);
    stop_daemon(test);
}

/* The answer to a question that was asked before the file was deleted is not what is known of it afterwards. */
static void a_question_under_way_does_not_bring_a_deleted_file_back(void **state)
{
    struct daemon_under_test *test = *state;
    struct fake_storage *storages = test->cluster.storages;
    start_daemon(test, 1, "write = open\nlookup_age = 1h\n[daemon]\nloops = 1");
    atomic_store(&storages[0].holds_stat, true);
    int fd = connect_to(test->port);
    assert_true(fd >= 0);
    http_send(fd, "HEAD /files/small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (int tries = 0; atomic_load(&storages[0].held) == 0; tries++) {
        assert_true(tries < 4000);
        usleep(5000);
    }
    expect_status(test, "DELETE", "/files/small", "", 204);
    atomic_store(&storages[0].holds_stat, false);
    struct http_answer answer;
    http_answer_read(fd, true, &answer);
    assert_int_equal(answer.status, 404);
    free(answer.body);
    close(fd);
    expect_status(test, "HEAD", "/files/small", "", 404);
    stop_daemon(test);
}

/* What was purged and stored anew under its ID, while this server still remembers the former file. */
static void a_file_that_was_replaced_is_answered_as_it_is_now(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    start_daemon(test, 1, "lookup_age = 1h\n[daemon]\nloops = 1");
    expect_status(test, "GET", "/files/big", "", 200);
    pthread_mutex_lock(&test->cluster.group.mutex);
    struct fake_file *file = &test->cluster.group.files[2];
    memset(file->digest, 0x77, sizeof(file->digest));
    memset(file->bytes, 'n', file->size);
    pthread_mutex_unlock(&test->cluster.group.mutex);
    ask(test, "GET", "/files/big", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_true(http_answer_has(&answer, "ETag: \"77777777777777777777777777777777\""));
    expect_bytes(test, &answer, "big", 0);
    free(answer.body);
    atomic_store(&test->cluster.storages[0].replaces,
                 true); /* and again and again: that is said in the end */
    expect_status(test, "GET", "/files/big", "", 502);
    stop_daemon(test);
}

/* Its first bytes could not be had for a moment; that is no word on what it is. */
static void first_bytes_that_did_not_come_are_asked_for_again(void **state)
{
    struct daemon_under_test *test = *state;
    struct fake_storage *storages = test->cluster.storages;
    struct http_answer answer;
    bool known = false;
    start_daemon(test, 1, "lookup_age = 50ms\n[daemon]\nloops = 1");
    add_file(&test->cluster.group, "flac", 2000, "", "");
    memcpy(test->cluster.group.files[3].bytes, "fLaC", 4);
    atomic_store(&storages[0].fail_command, 81);
    atomic_store(&storages[0].fail_left, 1000);
    atomic_store(&storages[0].fail_code, -9);
    ask(test, "HEAD", "/files/flac", "", &answer);
    assert_true(http_answer_has(&answer, "Content-Type: application/octet-stream"));
    free(answer.body);
    atomic_store(&storages[0].fail_code, 0);
    for (int tries = 0; tries < 400 && !known; tries++) {
        ask(test, "HEAD", "/files/flac", "", &answer);
        known = http_answer_has(&answer, "Content-Type: audio/flac");
        free(answer.body);
        usleep(50000);
    }
    assert_true(known);
    stop_daemon(test);
}

/* ---- proxies in front ---- */

/* How many lines of the access log begin with CLIENT. */
static int lines_of(const char *path, const char *client)
{
    char line[1024];
    int count = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        count += strncmp(line, client, strlen(client)) == 0;
    fclose(file);
    return count;
}

static void a_proxy_that_is_trusted_says_who_the_client_is(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    char more[256], path[] = "/tmp/test-httpd-access-XXXXXX", byte;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    test->port = free_port();
    snprintf(more, sizeof(more),
             "access_log = %s\ntrusted_proxies = 127.0.0.1\nproxy_protocol = 127.0.0.1:%u", path, test->port);
    start_daemon(test, 1, more);
    fd = connect_to(test->port);
    http_send(fd, "PROXY TCP4 192.0.2.7 127.0");
    usleep(20000); /* so that it comes in two parts, most times */
    http_send(fd, ".0.1 4000 80\r\nGET /files/small HTTP/1.1\r\nHost: x\r\n\r\n");
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 200);
    free(answer.body);
    close(fd);
    fd = connect_to(test->port); /* no header: closed without an answer */
    http_send(fd, "GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
    stop_daemon(test);
    assert_int_equal(lines_of(path, "192.0.2.7 "), 1);
    assert_int_equal(lines_of(path, ""), 1);
    unlink(path);
}

static void nobody_else_may_speak_for_a_client(void **state)
{
    struct daemon_under_test *test = *state;
    char more[128], byte;
    test->port = free_port();
    snprintf(more, sizeof(more), "trusted_proxies = 192.0.2.0/24\nproxy_protocol = 127.0.0.1:%u", test->port);
    start_daemon(test, 1, more);
    int fd = connect_to(test->port);
    http_send(fd, "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\nGET /files/small HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
    stop_daemon(test);
}

static void a_forwarded_field_counts_from_a_trusted_proxy_alone(void **state)
{
    struct daemon_under_test *test = *state;
    char more[128], path[] = "/tmp/test-httpd-access-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(more, sizeof(more), "access_log = %s\ntrusted_proxies = 127.0.0.0/8", path);
    start_daemon(test, 1, more);
    expect_status(test, "GET", "/files/small", "X-Forwarded-For: 198.51.100.4, 192.0.2.9\r\n", 200);
    expect_status(test, "GET", "/files/small", "Forwarded: for=203.0.113.1\r\n", 200);
    stop_daemon(test);
    assert_int_equal(lines_of(path, "192.0.2.9 "), 1); /* the nearest that is no proxy itself */
    assert_int_equal(lines_of(path, "127.0.0.1 "), 1);
    unlink(path);
}

/* ---- life ---- */

static void a_drain_lets_the_transfer_finish(void **state)
{
    struct daemon_under_test *test = *state;
    struct http_answer answer;
    int small = 65536;
    start_daemon(test, 1, "");
    int idle = connect_to(test->port);
    http_send(idle, "GET /files/empty HTTP/1.1\r\nHost: x\r\n\r\n");
    http_answer_read(idle, false, &answer);
    free(answer.body);
    int fd = connect_to(test->port);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    http_send(fd, "GET /files/big HTTP/1.1\r\nHost: x\r\n\r\n");
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
    assert_int_equal(kill(test->pid, SIGTERM), 0);
    assert_int_equal(recv(idle, &byte, 1, 0), 0); /* an idle connection goes at once */
    close(idle);
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.size, BIG_SIZE);
    expect_bytes(test, &answer, "big", 0);
    free(answer.body);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    wait_for_end(test);
    clean_up(test);
}

static void every_request_leaves_a_line_in_the_access_log(void **state)
{
    struct daemon_under_test *test = *state;
    char more[160], path[] = "/tmp/test-httpd-access-XXXXXX", line[1024];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(more, sizeof(more), "access_log = %s", path);
    start_daemon(test, 1, more);
    expect_status(test, "GET", "/files/small", "User-Agent: a \"b\"\xc3\r\nReferer: http://r/\r\n", 200);
    expect_status(test, "GET", "/files/nothing", "", 404);
    stop_daemon(test);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    /* Each loop writes its own lines: their order is not that of the requests. */
    int small = 0, nothing = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        small +=
            strstr(line, "\"GET /files/small HTTP/1.1\" 200 4096 \"http://r/\" \"a \\x22b\\x22\\xC3\" ") !=
            NULL;
        nothing += strstr(line, "\"GET /files/nothing HTTP/1.1\" 404 ") != NULL;
    }
    assert_int_equal(small, 1);
    assert_int_equal(nothing, 1);
    fclose(file);
    unlink(path);
}

/* ---- what it stores ---- */

struct store_seen {
    pthread_mutex_t mutex;
    uint8_t asks[4]; /* of each STORE, in their order */
    int count;
};

/* A storage server that takes STORE alone, and notes whether it was asked whether it is ready (the last byte of 810). */
static void store_script(struct peer *peer, int fd, int connection)
{
    struct store_seen *seen = peer->argument;
    struct peer_request request;
    (void)connection;
    while (peer_read_header(peer, fd, &request)) {
        uint8_t fixed[810], reply[26] = {0}, *content;
        if (request.command != 95 || request.length < sizeof(fixed) || !peer_get(fd, fixed, sizeof(fixed)))
            return;
        pthread_mutex_lock(&seen->mutex);
        if (seen->count < (int)ARRAY_SIZE(seen->asks))
            seen->asks[seen->count++] = fixed[809];
        pthread_mutex_unlock(&seen->mutex);
        if (fixed[809] == 1)
            peer_reply(fd, 102, NULL, 0);
        content = malloc(request.length - sizeof(fixed) + 1);
        if (content && peer_get(fd, content, request.length - sizeof(fixed)))
            peer_reply(fd, 102, reply, sizeof(reply));
        free(content);
    }
}

/* What has come whole goes to the storage server at once, with a digest too; it is asked first about what is still to come. */
static void a_small_upload_takes_one_exchange(void **state)
{
    static const struct {
        size_t sent, size;
        const char *fields;
    } rows[] = {{4096, 4096, ""},
                {8192, 8192, "Repr-Digest: sha-256=:kahxF2cKoG9gTGxr9DWegtCc9YFgbOjKTah9iK1iaLw=:\r\n"},
                {1000, 4096, ""},
                {100000, 100000, ""}};
    struct daemon_under_test *test = *state;
    struct store_seen seen = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct peer storage;
    char *request = malloc(101000), addresses[64];
    assert_non_null(request);
    start_daemon(test, 1, "write = open");
    peer_start(&storage, store_script, &seen);
    snprintf(addresses, sizeof(addresses), "%s;", storage.address);
    fake_tracker_point(&test->cluster.tracker, addresses);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_answer answer;
        int fd = connect_to(test->port);
        assert_true(fd >= 0);
        size_t head = (size_t)sprintf(
            request, "PUT /files/tnvideo/alice/s%zu HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n", i,
            rows[i].size, rows[i].fields);
        memset(request + head, 'z', rows[i].size);
        request[head + rows[i].sent] = '\0';
        http_send(fd, request);
        for (int tries = 0; rows[i].sent < rows[i].size;
             tries++) { /* the rest comes when the server was asked */
            pthread_mutex_lock(&seen.mutex);
            bool asked = seen.count == (int)i + 1;
            pthread_mutex_unlock(&seen.mutex);
            if (asked)
                break;
            assert_true(tries < 2000);
            usleep(10000);
        }
        memset(request, 'z', rows[i].size - rows[i].sent);
        request[rows[i].size - rows[i].sent] = '\0';
        http_send(fd, request);
        http_answer_read(fd, false, &answer);
        if (answer.status != 201)
            fail_msg("row %zu: %d %s", i, answer.status, (const char *)answer.body);
        free(answer.body);
        close(fd);
    }
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.asks[0], 0);
    assert_int_equal(seen.asks[1], 0);
    assert_int_equal(seen.asks[2], 1);
    assert_int_equal(seen.asks[3], 1);
    stop_daemon(test);
    peer_stop(&storage);
    free(request);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        struct daemon_spec spec;
        http_server_spec(&spec);
        return daemon_run(&spec, argc, argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_come_whole_with_the_fields_of_their_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_nobody_described_is_known_by_its_first_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_time_in_the_future_is_not_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_lies_below_a_playlist, setup, teardown),
        cmocka_unit_test_setup_teardown(the_fields_of_dlna_come_when_they_are_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_cannot_make_a_page_of_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_and_conditions_are_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(several_ranges_come_as_parts_of_the_announced_length, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_takes_a_little_now_and_then_is_cut_off, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_requests_for_one_file_ask_about_it_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_breaks_off_goes_on_from_another_server, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_nobody_can_finish_is_cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_sends_another_length_is_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_of_trackers_and_servers_have_their_status, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_deleted_behind_the_cache_is_not_served, setup, teardown),
        cmocka_unit_test_setup_teardown(a_question_under_way_does_not_bring_a_deleted_file_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(first_bytes_that_did_not_come_are_asked_for_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_was_replaced_is_answered_as_it_is_now, setup, teardown),
        cmocka_unit_test_setup_teardown(a_proxy_that_is_trusted_says_who_the_client_is, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_else_may_speak_for_a_client, setup, teardown),
        cmocka_unit_test_setup_teardown(a_forwarded_field_counts_from_a_trusted_proxy_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_drain_lets_the_transfer_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(every_request_leaves_a_line_in_the_access_log, setup, teardown),
        cmocka_unit_test_setup_teardown(a_small_upload_takes_one_exchange, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
