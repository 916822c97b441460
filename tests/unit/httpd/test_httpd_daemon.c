/*
 * reel-httpd as users run it, in front of scripted trackers and storage servers: admin port, reload, files of local groups,
 * bodies that stall or break off, limits of clients.
 */
#include "common/auth/keys_file.h"
#include "common/auth/link_token.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/http_front.h"
#include "common/base/clock.h"
#include "common/file/file_window.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#define FILM_SIZE (6 * 1024 * 1024 + 5)
#define NOTE_SIZE 5000
#define PLACE     "000/001/1FF/5F9E3FA7_002" /* where the scripted storage servers say that every file lies */

/* ---- the daemon and what it serves ---- */

static void add_file(const char *id, size_t size, const char *type)
{
    struct fake_file *file = &http_front.cluster.group.files[http_front.cluster.group.count++];
    snprintf(file->application, sizeof(file->application), "tnvideo");
    snprintf(file->user, sizeof(file->user), "alice");
    snprintf(file->id, sizeof(file->id), "%s", id);
    snprintf(file->type, sizeof(file->type), "%s", type);
    file->has_digest = true;
    memset(file->digest, 0xab, sizeof(file->digest));
    file->size = size;
    file->bytes = malloc(size);
    assert_non_null(file->bytes);
    for (size_t i = 0; i < size; i++)
        file->bytes[i] = (uint8_t)(i * 2654435761u >> 11);
}

static const struct fake_file *find_file(const char *id)
{
    int i = 0;
    while (strcmp(http_front.cluster.group.files[i].id, id) != 0)
        assert_true(++i < http_front.cluster.group.count);
    return &http_front.cluster.group.files[i];
}

static void start(int storages, const char *more)
{
    fake_cluster_start(&http_front.cluster, storages);
    add_file("film", FILM_SIZE, "video/mp4");
    add_file("note", NOTE_SIZE, "image/png");
    http_front_start(more);
}

/* ---- requests ---- */

static void expect_status(const char *method, const char *path, const char *fields, int status)
{
    struct http_answer answer = http_front_ask(method, path, fields);
    if (answer.status != status)
        fail_msg("%s %s (%s): %d instead of %d", method, path, fields, answer.status, status);
    free(answer.body);
}

static void expect_bytes(const struct http_answer *answer, const char *id, size_t offset, size_t size)
{
    const struct fake_file *file = find_file(id);
    assert_true(answer->whole);
    assert_int_equal(answer->size, size);
    assert_memory_equal(answer->body, file->bytes + offset, size);
}

/* A GET that must give all of the file. */
static void expect_file(const char *id)
{
    char path[64];
    snprintf(path, sizeof(path), "/files/%s", id);
    struct http_answer answer = http_front_ask("GET", path, "");
    assert_int_equal(answer.status, 200);
    expect_bytes(&answer, id, 0, find_file(id)->size);
    free(answer.body);
}

/* The value of a line of /metrics. */
static long metric(const char *name)
{
    char wanted[128];
    struct real_answer answer = real_daemon_admin(&http_front.httpd, "/metrics");
    snprintf(wanted, sizeof(wanted), "\n%s ", name);
    const char *at = strstr(answer.body, wanted);
    if (!at)
        fail_msg("no metric %s", name);
    long value = strtol(at + strlen(wanted), NULL, 10);
    free(answer.body);
    return value;
}

#define SPLICED   "reel_httpd_body_bytes_total{way=\"spliced\"}"
#define COPIED    "reel_httpd_body_bytes_total{way=\"copied\"}"
#define SENDFILED "reel_httpd_body_bytes_total{way=\"sendfile\"}"

/* A connection that takes little at once, behind a request for the film: nothing of the answer has been read. */
static int ask_for_film_slowly(void)
{
    int fd = real_daemon_connect(&http_front.httpd), small = 32768;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    http_send(fd, "GET /files/film HTTP/1.1\r\nHost: x\r\n\r\n");
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
    return fd;
}

/* ---- files of this machine ---- */

/* A volume below PARENT where FILE lies as SIZE bytes of its content. */
static char *make_volume(const char *parent, const char *id, size_t size, char entry[128])
{
    const char *const parts[] = {"000", "000/001", "000/001/1FF"};
    char path[128];
    snprintf(http_front.volume, sizeof(http_front.volume), "%s/reel-volume-test-XXXXXX", parent);
    assert_non_null(mkdtemp(http_front.volume));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        snprintf(path, sizeof(path), "%s/%s", http_front.volume, parts[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(entry, 128, "local_groups = group001:../data=%s", http_front.volume);
    snprintf(path, sizeof(path), "%s/%s", http_front.volume, PLACE);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    const struct fake_file *file = find_file(id);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file->bytes, size), size);
    assert_int_equal(fsync(fd), 0);
    close(fd);
    return entry;
}

static void start_local(const char *parent, const char *id, size_t size)
{
    char entry[128];
    fake_cluster_start(&http_front.cluster, 2);
    add_file("film", FILM_SIZE, "video/mp4");
    add_file("note", NOTE_SIZE, "image/png");
    make_volume(parent, id, size, entry);
    http_front_start(entry);
}

/* Whether the file system says what is cached (RWF_NOWAIT): an overlay or tmpfs may not, and then workers read. */
static bool can_tell(void)
{
    char path[128], byte;
    bool cannot_tell = false;
    snprintf(path, sizeof(path), "%s/%s", http_front.volume, PLACE);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    (void)file_window_read_cached(fd, 0, &byte, 1, &cannot_tell);
    close(fd);
    return !cannot_tell;
}

/* Out of the page cache, where the file system has one behind it. */
static void forget_pages(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", http_front.volume, PLACE);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
}

static void a_local_film_is_sent_by_the_kernel_and_nobody_is_asked_for_it(void **state)
{
    (void)state;
    start_local("/tmp", "film", FILM_SIZE);
    expect_file("film");
    struct http_answer answer = http_front_ask("GET", "/files/film", "Range: bytes=1000-2000999\r\n");
    assert_int_equal(answer.status, 206);
    expect_bytes(&answer, "film", 1000, 2000000);
    free(answer.body);
    answer = http_front_ask("HEAD", "/files/film", "");
    assert_int_equal(answer.status, 200);
    free(answer.body);
    assert_int_equal(fake_requests(&http_front.cluster, 72), 0);
    /* A rest that is small leaves from memory. */
    assert_int_equal(metric(SENDFILED) + metric(COPIED), FILM_SIZE + 2000000);
    assert_int_equal(metric(SENDFILED) > FILM_SIZE, can_tell());
    forget_pages();
    expect_file("film");
    assert_int_equal(fake_requests(&http_front.cluster, 72), 0);
    http_front_stop();
}

static void a_small_local_file_leaves_with_its_head(void **state)
{
    (void)state;
    start_local("/tmp", "note", NOTE_SIZE);
    forget_pages();
    expect_file("note");
    expect_file("note");
    struct http_answer answer = http_front_ask("GET", "/files/note", "Range: bytes=0-9, 4000-4009\r\n");
    assert_int_equal(answer.status, 206);
    assert_true(answer.whole);
    assert_non_null(memmem(answer.body, answer.size, find_file("note")->bytes + 4000, 10));
    free(answer.body);
    assert_int_equal(fake_requests(&http_front.cluster, 72), 0);
    assert_true(metric(COPIED) >= NOTE_SIZE);
    http_front_stop();
}

/* tmpfs does not say what is cached, no more than FUSE does. */
static void where_the_file_system_cannot_tell_workers_read(void **state)
{
    (void)state;
    start_local("/dev/shm", "film", FILM_SIZE);
    expect_file("film");
    struct http_answer answer = http_front_ask("GET", "/files/film", "Range: bytes=5000000-\r\n");
    assert_int_equal(answer.status, 206);
    expect_bytes(&answer, "film", 5000000, FILM_SIZE - 5000000);
    free(answer.body);
    assert_int_equal(fake_requests(&http_front.cluster, 72), 0);
    assert_int_equal(metric("reel_httpd_local_failures_total"), 0);
    http_front_stop();
}

static void a_file_of_another_size_comes_from_a_storage_server(void **state)
{
    (void)state;
    start_local("/tmp", "film", FILM_SIZE - 1);
    expect_file("film");
    expect_file("note"); /* which the servers place there too */
    assert_int_equal(metric(SENDFILED), 0);
    assert_true(metric("reel_httpd_local_failures_total") >= 2);
    atomic_store(&http_front.cluster.storages[0].fail_left, 1000);
    atomic_store(&http_front.cluster.storages[1].fail_left, 1000);
    atomic_store(&http_front.cluster.storages[0].fail_code, -9);
    atomic_store(&http_front.cluster.storages[1].fail_code, -9);
    expect_status("GET", "/files/film", "", 503);
    http_front_stop();
}

/* At the byte where the file ends all at once a storage server goes on: the client sees one body. */
static void truncate_in_the_middle(const char *parent)
{
    char path[128];
    struct http_answer answer;
    start_local(parent, "film", FILM_SIZE);
    int fd = ask_for_film_slowly();
    snprintf(path, sizeof(path), "%s/%s", http_front.volume, PLACE);
    assert_int_equal(truncate(path, 0), 0);
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 200);
    expect_bytes(&answer, "film", 0, FILM_SIZE);
    free(answer.body);
    close(fd);
    assert_int_equal(metric("reel_httpd_local_failures_total"), 1);
    assert_true(fake_requests(&http_front.cluster, 72) >= 1);
    http_front_stop();
}

static void a_local_film_that_becomes_shorter_goes_on_from_a_storage_server(void **state)
{
    (void)state;
    truncate_in_the_middle("/tmp");
}

static void so_does_one_that_workers_read(void **state)
{
    (void)state;
    truncate_in_the_middle("/dev/shm");
}

static void a_client_that_goes_away_ends_its_local_transfer(void **state)
{
    (void)state;
    start_local("/dev/shm", "film", FILM_SIZE);
    int fd = ask_for_film_slowly();
    const struct linger reset = {1, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fd);
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"connections\": 0,"));
    expect_file("film");
    http_front_stop();
}

/* ---- admin port and reload ---- */

static void the_admin_port_shows_health_and_counts(void **state)
{
    (void)state;
    start(1, "");
    expect_file("note");
    assert_true(real_daemon_shows(&http_front.httpd, "/healthz", "ok"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"trackers_reachable\": true"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"requests_total\": 1"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"relays\": 0"));
    assert_true(
        real_daemon_shows(&http_front.httpd, "/metrics", "reel_httpd_requests_total{class=\"2xx\"} 1\n"));
    fake_tracker_stop(&http_front.cluster.tracker);
    expect_status("GET", "/files/tnvideo/bob/other", "", 503);
    assert_true(real_daemon_shows(&http_front.httpd, "/healthz", "no tracker answers"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"trackers_reachable\": false"));
    fake_tracker_start(&http_front.cluster.tracker); /* for the end */
    http_front_stop();
}

/* Until answers have LINE, which a reload brings. */
static void wait_for_line(const char *line)
{
    for (int64_t until_ms = clock_monotonic_ms() + 20000;; usleep(20000)) {
        struct http_answer answer = http_front_ask("HEAD", "/files/note", "");
        free(answer.body);
        if (http_answer_has(&answer, line))
            return;
        if (clock_monotonic_ms() > until_ms)
            fail_msg("no answer has \"%s\"", line);
    }
}

static void a_reload_takes_what_may_change(void **state)
{
    char text[1024];
    (void)state;
    start(1, "cache_control = no-store");
    struct http_answer answer = http_front_ask("HEAD", "/files/note", "");
    assert_true(http_answer_has(&answer, "Cache-Control: no-store"));
    free(answer.body);
    real_daemon_reload(&http_front.httpd, false,
                       http_front_text(text, "cache_control = private\nserver_header = other"));
    wait_for_line("Cache-Control: private");
    wait_for_line("Server: other");
    real_daemon_reload(&http_front.httpd, false, http_front_text(text, "resource_policy = anywhere"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"reload_refused\": true"));
    assert_int_equal(real_daemon_run(&http_front.httpd, "--check-config"), 2);
    answer = http_front_ask("HEAD", "/files/note", "");
    assert_true(http_answer_has(&answer, "Cache-Control: private")); /* the earlier one holds */
    free(answer.body);
    http_front_stop();
}

/* ---- storage servers that fail ---- */

static void a_server_that_stalls_is_left_for_another_one(void **state)
{
    (void)state;
    start(2, "storage_timeout = 1s");
    atomic_store(&http_front.cluster.storages[0].stall_downloads, 1);
    atomic_store(&http_front.cluster.storages[1].stall_downloads, 1);
    expect_file("film");
    assert_int_equal(atomic_load(&http_front.cluster.storages[0].stall_downloads), 0);
    assert_int_equal(atomic_load(&http_front.cluster.storages[1].stall_downloads), 0);
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"cut_total\": 0"));
    http_front_stop();
}

static void a_body_goes_on_where_the_only_server_broke_off(void **state)
{
    (void)state;
    start(1, "failover_tries = 1\nstorage_timeout = 10s");
    atomic_store(&http_front.cluster.storages[0].cut_downloads, 6);
    expect_file("film");
    assert_int_equal(atomic_load(&http_front.cluster.storages[0].cut_downloads), 0);
    assert_true(metric("reel_httpd_failovers_total") >= 1);
    assert_int_equal(metric("reel_httpd_cut_total"), 0);
    http_front_stop();
}

static void a_body_goes_on_once_the_only_server_gives_bytes_again(void **state)
{
    struct http_answer answer;
    (void)state;
    start(1, "failover_tries = 1\nstorage_timeout = 20s");
    int fd = ask_for_film_slowly();
    atomic_store(&http_front.cluster.storages[0].fail_left, 3);
    atomic_store(&http_front.cluster.storages[0].fail_code, -9);
    http_answer_read(fd, false, &answer);
    expect_bytes(&answer, "film", 0, FILM_SIZE);
    free(answer.body);
    close(fd);
    assert_int_equal(atomic_load(&http_front.cluster.storages[0].fail_left), 0);
    assert_int_equal(metric("reel_httpd_cut_total"), 0);
    http_front_stop();
}

static void without_pipes_bodies_are_copied(void **state)
{
    (void)state;
    start(1, "pipes_max = 0");
    expect_file("film");
    struct http_answer answer =
        http_front_ask("GET", "/files/film", "Range: bytes=10-39, 3000000-3999999\r\n");
    assert_int_equal(answer.status, 206);
    assert_true(answer.whole);
    assert_non_null(memmem(answer.body, answer.size, find_file("film")->bytes + 3000000, 1000000));
    free(answer.body);
    assert_int_equal(metric(SPLICED), 0);
    assert_true(metric(COPIED) > FILM_SIZE / 2);
    http_front_stop();
}

static void with_pipes_the_kernel_moves_them(void **state)
{
    (void)state;
    start(1, "");
    expect_file("film");
    assert_true(metric(SPLICED) > FILM_SIZE / 2);
    http_front_stop();
}

static void a_file_that_was_replaced_is_not_mixed_into_a_body(void **state)
{
    (void)state;
    start(1, "");
    atomic_store(&http_front.cluster.storages[0].replaces, true);
    struct http_answer answer = http_front_ask("GET", "/files/film", "");
    assert_int_equal(answer.status, 200);
    assert_false(answer.whole);
    assert_true(answer.size > 0 && answer.size < FILM_SIZE);
    assert_memory_equal(answer.body, find_file("film")->bytes, answer.size);
    free(answer.body);
    http_front_stop();
}

/* ---- clients ---- */

static void a_client_that_goes_away_ends_its_relay(void **state)
{
    (void)state;
    start(1, "");
    int fd = ask_for_film_slowly();
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"connections\": 1,"));
    const struct linger reset = {1, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fd);
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"connections\": 0,"));
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"relays\": 0"));
    http_front_stop();
}

static void a_client_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    start(1, "send_timeout = 300ms\nunsent_max = 32K");
    int fd = ask_for_film_slowly();
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"connections\": 0,"));
    close(fd);
    http_front_stop();
}

static void a_stop_cuts_off_what_does_not_end_in_time(void **state)
{
    (void)state;
    start(1, "unsent_max = 32K");
    int fd = ask_for_film_slowly();
    int half = real_daemon_connect(&http_front.httpd);
    http_send(half, "GET /fi");
    int64_t start_ms = clock_monotonic_ms();
    http_front_stop(); /* with 0 */
    assert_true(clock_monotonic_ms() - start_ms >= 900);
    close(half);
    close(fd);
}

/* A client that connected just before the end has its answer, whether it was accepted or still waits in the kernel. */
static void a_stop_answers_who_has_just_come(void **state)
{
    struct http_answer answer;
    int fds[3];

    (void)state;
    start(1, "");
    assert_int_equal(kill(http_front.httpd.pid, SIGSTOP), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = real_daemon_connect(&http_front.httpd);
    assert_int_equal(kill(http_front.httpd.pid, SIGTERM), 0);
    assert_int_equal(kill(http_front.httpd.pid, SIGCONT), 0);
    assert_true(real_daemon_shows(&http_front.httpd, "/healthz", "stopping"));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        http_send(fds[i], "GET /files/note HTTP/1.1\r\nHost: a\r\n\r\n");
        http_answer_read(fds[i], false, &answer);
        assert_int_equal(answer.status, 200);
        assert_true(http_answer_has(&answer, "Connection: close"));
        expect_bytes(&answer, "note", 0, NOTE_SIZE);
        free(answer.body);
        close(fds[i]);
    }
    http_front_stop();
}

static void the_rate_of_a_connection_is_kept(void **state)
{
    (void)state;
    start(1, "rate_limit = 400K");
    int64_t start_ms = clock_monotonic_ms();
    struct http_answer answer = http_front_ask("GET", "/files/film", "Range: bytes=0-614399\r\n");
    expect_bytes(&answer, "film", 0, 614400);
    free(answer.body);
    assert_true(clock_monotonic_ms() - start_ms >= 1000); /* a quarter of a second's bytes come at once */
    http_front_stop();
}

static void a_request_that_does_not_come_in_time_gets_an_answer_that_says_so(void **state)
{
    struct http_answer answer;
    char byte;
    (void)state;
    start(1, "head_timeout = 3s\nidle_timeout = 3s\nkeepalive_requests = 2");
    int fd = real_daemon_connect(&http_front.httpd);
    http_send(fd, "GET /files/note HTTP/1.1\r\nHo");
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 408);
    free(answer.body);
    close(fd);
    fd = real_daemon_connect(&http_front.httpd); /* nothing, and it is closed without a word */
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    fd = real_daemon_connect(&http_front.httpd);
    http_send(fd, "HEAD /files/note HTTP/1.1\r\nHost: x\r\n\r\n");
    http_answer_read(fd, true, &answer);
    assert_null(strstr(answer.head, "Connection: close"));
    free(answer.body);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    fd = real_daemon_connect(&http_front.httpd);
    http_send(fd, "HEAD /files/note HTTP/1.1\r\nHost: x\r\n\r\nHEAD /files/note HTTP/1.1\r\nHost: x\r\n\r\n");
    http_answer_read(fd, true, &answer);
    free(answer.body);
    http_answer_read(fd, true, &answer);
    assert_true(http_answer_has(&answer, "Connection: close"));
    free(answer.body);
    close(fd);
    http_front_stop();
}

static void requests_beyond_bounds_have_their_status(void **state)
{
    static char fields[900];
    (void)state;
    start(1, "request_body_max = 10\nhead_size_max = 1K\ntarget_size_max = 256\ncors_origins = "
             "https://tv.example");
    expect_status("PUT", "/files/note", "", 405);
    expect_status("PUT", "/files/note", "Content-Length: 3\r\n", 405);
    expect_status("GET", "/files/note", "Content-Length: 11\r\n", 413);
    expect_status("GET", "/files/note", "Transfer-Encoding: chunked\r\n\r\nb\r\nabcdefghijk\r\n0\r\n", 413);
    expect_status("GET", "/files/note", "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400);
    expect_status("GET", "/files/note", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", 200);
    expect_status("GET", "/files/../note", "", 400);
    expect_status("GET", "/elsewhere", "", 404);
    expect_status("GET", "/files/note", "If-Match: \"other\"\r\n", 412);
    expect_status("GET", "/files/note", "If-None-Match: \"abababababababababababababababab\"\r\n", 304);
    snprintf(fields, sizeof(fields), "/%0300d", 0);
    expect_status("GET", fields, "", 414);
    struct http_answer answer = http_front_ask("OPTIONS", "*", "");
    assert_int_equal(answer.status, 204);
    assert_true(http_answer_has(&answer, "Allow: GET, HEAD, OPTIONS"));
    free(answer.body);
    answer = http_front_ask("OPTIONS", "/files/note",
                            "Origin: https://tv.example\r\nAccess-Control-Request-Method: GET\r\n");
    assert_true(http_answer_has(&answer, "Access-Control-Allow-Origin: https://tv.example"));
    assert_true(http_answer_has(&answer, "Access-Control-Allow-Methods: GET, HEAD, OPTIONS"));
    free(answer.body);
    answer = http_front_ask("GET", "/files/note", "Origin: https://elsewhere.example\r\n");
    assert_true(http_answer_has(&answer, "Vary: Origin"));
    assert_null(strstr(answer.head, "Access-Control-Allow-Origin"));
    free(answer.body);
    http_front_stop();
}

static void a_body_that_waits_for_leave_is_asked_for(void **state)
{
    static const char leave[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char got[sizeof(leave)] = "";
    struct http_answer answer;
    (void)state;
    start(1, "");
    int fd = real_daemon_connect(&http_front.httpd);
    http_send(fd, "GET /files/note HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_true(peer_get(fd, got, sizeof(got) - 1));
    assert_string_equal(got, leave);
    http_send(fd, "abcde");
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 200);
    expect_bytes(&answer, "note", 0, NOTE_SIZE);
    free(answer.body);
    close(fd);
    http_front_stop();
}

static void a_long_head_is_read_and_a_longer_one_refused(void **state)
{
    struct http_answer answer;
    char *head = malloc(40000);
    (void)state;
    assert_non_null(head);
    start(1, "");
    for (int size = 8000; size <= 32000; size *= 4) {
        int fd = real_daemon_connect(&http_front.httpd);
        snprintf(head, 40000, "GET /files/note HTTP/1.1\r\nHost: x\r\nX: %0*d\r\n\r\n", size, 0);
        http_send(fd, head);
        http_answer_read(fd, false, &answer);
        assert_int_equal(answer.status, size == 8000 ? 200 : 431);
        free(answer.body);
        close(fd);
    }
    free(head);
    http_front_stop();
}

static void connections_beyond_a_limit_are_answered_503_or_take_an_idle_place(void **state)
{
    struct http_answer answer;
    char byte, text[1024];
    (void)state;
    start(1, "connections_per_address = 1\nretry_after = 9s");
    int first;
    for (int64_t until_ms = clock_monotonic_ms() + 20000;; usleep(20000)) {
        /* The connection that found the daemon listening may have the only place for a moment. */
        first = real_daemon_connect(&http_front.httpd);
        http_send(first, "HEAD /files/note HTTP/1.1\r\nHost: x\r\n\r\n");
        http_answer_read(first, true, &answer);
        free(answer.body);
        if (answer.status == 200 || clock_monotonic_ms() > until_ms)
            break;
        close(first);
    }
    assert_int_equal(answer.status, 200);
    long refused = metric("reel_httpd_connections_refused_total");
    answer = http_front_ask("GET", "/files/note", "");
    assert_int_equal(answer.status, 503);
    assert_true(http_answer_has(&answer, "Retry-After: 9"));
    free(answer.body);
    assert_int_equal(metric("reel_httpd_connections_refused_total"), refused + 1);
    close(first);
    assert_true(real_daemon_shows(&http_front.httpd, "/status", "\"connections\": 0,"));
    real_daemon_reload(&http_front.httpd, false,
                       http_front_text(text, "connections_max = 1\nserver_header = tight"));
    wait_for_line("Server: tight");
    first = real_daemon_connect(&http_front.httpd);
    http_send(first, "HEAD /files/note HTTP/1.1\r\nHost: x\r\n\r\n");
    http_answer_read(first, true, &answer);
    free(answer.body);
    expect_file("note"); /* the idle one makes room */
    assert_int_equal(recv(first, &byte, 1, 0), 0);
    close(first);
    http_front_stop();
}

/* ---- signed links ---- */

#define ISSUER_LINE "app-1 issuer AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

/* "KEY.EXPIRES.SCOPE.SIGNATURE" for the note of alice. */
static char *signed_link(int64_t expires, enum link_scope scope, char text[LINK_TEXT_SIZE])
{
    static const struct proto_file_key file = {.application = "tnvideo", .user = "alice", .file = "note"};
    struct link_token token = {.expires = expires, .scope = scope};
    struct error error;
    struct keys *keys = keys_parse(ISSUER_LINE, strlen(ISSUER_LINE), "keys", &error);
    assert_non_null(keys);
    assert_true(link_token_sign(&token, keys_find(keys, "app-1"), &file, NULL, ""));
    keys_release(keys);
    return link_token_format(&token, text);
}

static void where_access_is_signed_only_a_good_link_opens_a_file(void **state)
{
    char keys[] = "/tmp/reel-keys-test-XXXXXX", more[256], path[256], cookie[256], text[LINK_TEXT_SIZE];
    int64_t now = clock_wall_seconds();
    struct http_answer answer;
    int fd = mkstemp(keys); /* 0600 */
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, ISSUER_LINE, strlen(ISSUER_LINE)), strlen(ISSUER_LINE));
    close(fd);
    snprintf(more, sizeof(more), "access = signed\n[auth]\nkeys = %s\n[httpd]", keys);
    start(1, more);
    expect_status("GET", "/files/tnvideo/alice/note", "", 403);
    expect_status("GET", "/files/tnvideo/alice/note?e=1", "", 400);
    snprintf(path, sizeof(path), "/t/%s/files/tnvideo/alice/note",
             signed_link(now + 600, LINK_SCOPE_FILE, text));
    answer = http_front_ask("GET", path, "");
    assert_int_equal(answer.status, 200);
    expect_bytes(&answer, "note", 0, NOTE_SIZE);
    assert_non_null(strstr(answer.head, "private"));
    free(answer.body);
    snprintf(cookie, sizeof(cookie), "Cookie: reel=%s\r\n", text);
    expect_status("GET", "/files/tnvideo/alice/note", cookie, 200);
    expect_status("GET", path, cookie, 400); /* two links */
    expect_status("GET", "/files/tnvideo/alice/film", cookie, 403);
    snprintf(path, sizeof(path), "/t/%s/files/tnvideo/alice/note",
             signed_link(now - 600, LINK_SCOPE_FILE, text));
    expect_status("GET", path, "", 403);
    snprintf(path, sizeof(path), "/t/%s/files/tnvideo/alice/note/cookie",
             signed_link(now + 600, LINK_SCOPE_USER, text));
    answer = http_front_ask("GET", path, "");
    assert_int_equal(answer.status, 204);
    assert_non_null(strstr(answer.head, "Set-Cookie: reel=app-1."));
    assert_non_null(strstr(answer.head, "; Path=/files/tnvideo/alice/; Max-Age="));
    free(answer.body);
    snprintf(path, sizeof(path), "/t/%s/files/tnvideo/alice/film", text);
    expect_status("HEAD", path, "", 200); /* of the same user */
    http_front_stop();
    assert_int_equal(unlink(keys), 0);
}

static void what_comes_without_tls_is_sent_to_https(void **state)
{
    (void)state;
    start(1, "redirect_https = 8443");
    struct http_answer answer = http_front_ask("GET", "/files/note", "");
    assert_int_equal(answer.status, 308);
    assert_true(http_answer_has(&answer, "Location: https://x:8443/files/note"));
    assert_true(http_answer_has(&answer, "Cache-Control: no-store"));
    free(answer.body);
    http_front_stop();
}

#define DAEMON_TEST(function) cmocka_unit_test_teardown(function, http_front_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAEMON_TEST(a_local_film_is_sent_by_the_kernel_and_nobody_is_asked_for_it),
        DAEMON_TEST(a_small_local_file_leaves_with_its_head),
        DAEMON_TEST(where_the_file_system_cannot_tell_workers_read),
        DAEMON_TEST(a_file_of_another_size_comes_from_a_storage_server),
        DAEMON_TEST(a_local_film_that_becomes_shorter_goes_on_from_a_storage_server),
        DAEMON_TEST(so_does_one_that_workers_read),
        DAEMON_TEST(a_client_that_goes_away_ends_its_local_transfer),
        DAEMON_TEST(the_admin_port_shows_health_and_counts),
        DAEMON_TEST(a_reload_takes_what_may_change),
        DAEMON_TEST(a_server_that_stalls_is_left_for_another_one),
        DAEMON_TEST(a_body_goes_on_where_the_only_server_broke_off),
        DAEMON_TEST(a_body_goes_on_once_the_only_server_gives_bytes_again),
        DAEMON_TEST(without_pipes_bodies_are_copied),
        DAEMON_TEST(with_pipes_the_kernel_moves_them),
        DAEMON_TEST(a_file_that_was_replaced_is_not_mixed_into_a_body),
        DAEMON_TEST(a_client_that_goes_away_ends_its_relay),
        DAEMON_TEST(a_client_that_takes_nothing_is_cut_off),
        DAEMON_TEST(a_stop_cuts_off_what_does_not_end_in_time),
        DAEMON_TEST(a_stop_answers_who_has_just_come),
        DAEMON_TEST(the_rate_of_a_connection_is_kept),
        DAEMON_TEST(a_request_that_does_not_come_in_time_gets_an_answer_that_says_so),
        DAEMON_TEST(requests_beyond_bounds_have_their_status),
        DAEMON_TEST(a_body_that_waits_for_leave_is_asked_for),
        DAEMON_TEST(a_long_head_is_read_and_a_longer_one_refused),
        DAEMON_TEST(connections_beyond_a_limit_are_answered_503_or_take_an_idle_place),
        DAEMON_TEST(where_access_is_signed_only_a_good_link_opens_a_file),
        DAEMON_TEST(what_comes_without_tls_is_sent_to_https),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
