/*
 * A daemon under TLS, with keys and an audit file, as users run it: the end of its certificate is reported, a reload takes new
 * certificates and keys or leaves all as it was, and a start that cannot be says why.
 */
#include "common/base/clock.h"
#include "common/daemon/sandbox.h"
#include "tests/unit/library/certificates.h"
#include "tests/unit/library/real_daemon.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

#define DAY_S INT64_C(86400)

static struct real_daemon tracker;
static char *directory;

static void write_keys(const char *text)
{
    FILE *out = fopen(certificate_path(directory, "all", "keys"), "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(certificate_path(directory, "all", "keys"), 0600), 0);
}

/* What stands behind [tracker]: CERTIFICATE is a label. */
static char *with(char text[2048], const char *certificate, const char *more)
{
    snprintf(text, 2048,
             "listen_tls = 127.0.0.1:0\n[tls]\ncert = %s/%s.pem\nkey = %s/%s.key\n[audit]\nfile = %s/audit\n"
             "[auth]\nkeys = %s/all.keys\nmode = required\n%s\n",
             directory, certificate, directory, certificate, directory, directory, more);
    return text;
}

static int set_up(void **state)
{
    static const struct certificate_spec good = {.until_days = 30, .from_days = -1},
                                         soon = {.until_days = 3, .from_days = -1},
                                         ended = {.until_days = -2, .from_days = -9};

    (void)state;
    directory = certificates_directory();
    certificate_make(directory, "good", &good);
    certificate_make(directory, "soon", &soon);
    certificate_make(directory, "ended", &ended);
    write_keys("tr-1 tracker " SECRET_A "\nweb-1 gateway " SECRET_B "\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    real_daemon_kill(&tracker);
    certificates_remove(directory);
    return 0;
}

/* Whether FILE of the directory WHERE has WANTED; waits up to 20 seconds. */
static bool file_has(const char *where, const char *file, const char *wanted)
{
    char path[256], *text = calloc(1, 1 << 20);
    bool has = false;

    assert_non_null(text);
    snprintf(path, sizeof(path), "%s/%s", where, file);
    for (int64_t until_ms = clock_monotonic_ms() + 20000; !has && clock_monotonic_ms() < until_ms;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd >= 0 ? read(fd, text, (1 << 20) - 1) : 0;

        if (fd >= 0)
            close(fd);
        text[max_i64(size, 0)] = '\0';
        has = strstr(text, wanted) != NULL;
        if (!has)
            usleep(20000);
    }
    if (!has)
        print_message("%s: %s\n", path, text);
    free(text);
    return has;
}

static void start(const char *certificate, const char *more)
{
    char text[2048];

    real_daemon_start(&tracker, "tracker", true, with(text, certificate, more));
    assert_true(file_has(tracker.directory, "log", "ready: ")); /* the admin port listens too */
}

static void reload(const char *certificate, const char *more)
{
    char text[2048];

    real_daemon_reload(&tracker, true, with(text, certificate, more));
}

static int64_t certificate_end(void)
{
    static const char name[] = "\nreel_tls_certificate_not_after_seconds ";
    struct real_answer answer = real_daemon_admin(&tracker, "/metrics");
    const char *at = strstr(answer.body, name);
    int64_t end = at ? strtoll(at + strlen(name), NULL, 10) : -1;

    free(answer.body);
    return end;
}

/* OPTION over what the file says: a start, which must end with CODE. */
static void assert_ends(const char *option, int code, const char *file, const char *message)
{
    assert_int_equal(real_daemon_run(&tracker, option), code);
    assert_true(file_has(tracker.directory, file, message));
}

static void a_certificate_that_ends_soon_or_has_ended_degrades_the_health(void **state)
{
    (void)state;
    start("good", "");
    assert_true(real_daemon_shows(&tracker, "/healthz", "ok"));
    int64_t left = certificate_end() - clock_wall_seconds();
    assert_true(left > 29 * DAY_S && left <= 30 * DAY_S + 60);
    reload("soon", "");
    assert_true(
        real_daemon_shows(&tracker, "/healthz", "degraded: a certificate of tls.cert expires in 2 days"));
    left = certificate_end() - clock_wall_seconds();
    assert_true(left > 2 * DAY_S && left <= 3 * DAY_S + 60);
    assert_true(file_has(tracker.directory, "log", "a certificate of tls.cert expires in "));
    reload("ended", "");
    assert_true(real_daemon_shows(&tracker, "/healthz", "degraded: a certificate of tls.cert has expired"));
    assert_true(certificate_end() < clock_wall_seconds());
    assert_true(file_has(tracker.directory, "log", "clients will refuse it"));
    reload("soon", "[tls]\nexpiry_warning = 1d");
    assert_true(real_daemon_shows(&tracker, "/healthz", "ok"));
    real_daemon_stop(&tracker);
}

static void a_reload_with_a_bad_certificate_or_bad_keys_leaves_all_as_it_was(void **state)
{
    (void)state;
    start("good", "");
    int64_t end = certificate_end();
    reload("missing", "");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 1"));
    assert_true(real_daemon_shows(&tracker, "/status", "\"reload_refused\": true"));
    assert_true(file_has(tracker.directory, "log", "missing.pem"));
    assert_int_equal(certificate_end(), end);
    reload("good", "");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 0"));
    write_keys("tr-1 nobody " SECRET_A "\n");
    reload("good", "");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 1"));
    assert_true(file_has(tracker.directory, "log", "cannot apply the new configuration: auth: "));
    /* A good certificate beside bad keys, and the reverse: neither is taken. */
    reload("soon", "");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 1"));
    assert_int_equal(certificate_end(), end);
    assert_true(real_daemon_shows(&tracker, "/healthz", "ok"));
    write_keys("tr-1 tracker " SECRET_B "\ntr-2 tracker " SECRET_A "\n");
    reload("missing", "identity = tr-2");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 1"));
    assert_false(file_has(tracker.directory, "log", "option auth.identity:"));
    write_keys("tr-1 tracker " SECRET_B "\ntr-2 tracker " SECRET_A "\n");
    reload("good", "identity = tr-2");
    assert_true(real_daemon_shows(&tracker, "/metrics", "\nreel_daemon_reload_refused 0"));
    assert_true(file_has(tracker.directory, "log", "option auth.identity:  -> tr-2"));
    real_daemon_stop(&tracker);
    assert_true(file_has(directory, "audit", "\"event\":\"start\""));
    assert_true(file_has(directory, "audit", "\"event\":\"reload\""));
    assert_true(file_has(directory, "audit", "\"event\":\"stop\""));
}

static void who_does_not_prove_an_identity_is_refused_where_it_is_required(void **state)
{
    const uint8_t body[PROTO_FILE_KEY_SIZE] = {0};

    (void)state;
    start("good", "");
    int fd = real_daemon_connect(&tracker);
    assert_int_not_equal(real_daemon_code(fd, PROTO_TRACKER_LOCATE, body, sizeof(body)), ERROR_NONE);
    close(fd);
    real_daemon_stop(&tracker);
}

static void what_cannot_start_says_why(void **state)
{
    (void)state;
    start("good", "");
    assert_ends("-oauth.identity=nobody", 1, "log", "there is no key nobody in the keys file");
    assert_ends("-oauth.identity=web-1", 1, "log", "key web-1 does not have the role tracker");
    assert_ends("-oauth.keys=/nowhere/keys", 1, "log", "/nowhere/keys");
    assert_ends("-oauth.keys=", 1, "log", "mode = required needs a keys file");
    assert_ends("-oaudit.file=/nowhere/audit", 1, "log", "/nowhere/audit");
    assert_ends("-otls.cert=/nowhere/cert.pem", 1, "log", "/nowhere/cert.pem");
    assert_ends("-oauth.mode=perhaps", 2, "output", "auth.mode");
    assert_ends("-otls.expiry_warning=soon", 2, "output", "tls.expiry_warning");
    real_daemon_stop(&tracker);
}

static void its_options_are_shown_in_every_form(void **state)
{
    (void)state;
    start("good", "");
    assert_ends("--help-json", 0, "output", "\"command_line\": [");
    assert_true(file_has(tracker.directory, "output", "\"name\": \"help-json\""));
    assert_ends("--check-config", 0, "output", "tracker.conf: OK");
    assert_ends("--print-config", 0, "output", "expiry_warning = 14d");
    assert_ends("--help", 0, "output", "Signals: SIGTERM");
    real_daemon_stop(&tracker);
}

static void it_confines_itself_where_the_kernel_can(void **state)
{
    bool can = sandbox_abi() >= SANDBOX_ABI_MIN;
    char build[512], more[640];
    ssize_t length = readlink("/proc/self/exe", build, sizeof(build) - 1);

    (void)state;
    assert_true(length > 0);
    build[length] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(build, '/') = '\0';
    /* There, since a build for coverage writes its counts beside what it was built of. */
    snprintf(more, sizeof(more), "[daemon]\nsandbox = auto\npid_file = %s/test_daemon_tls.pid", build);
    start("good", more);
    assert_true(real_daemon_shows(&tracker, "/status", can ? "\"confined\": true" : "\"confined\": false"));
    assert_true(file_has(tracker.directory, "log", can ? "confined by Landlock" : "NOT CONFINED"));
    if (!can)
        assert_ends("-odaemon.sandbox=required", 1, "log", "daemon.sandbox is \"required\"");
    real_daemon_stop(&tracker);
}

static void without_keys_it_warns_that_everybody_may_do_everything(void **state)
{
    char text[1024];

    (void)state;
    snprintf(text, sizeof(text), "[audit]\nfile = %s/audit\n[daemon]\nsandbox = off", directory);
    real_daemon_start(&tracker, "tracker", true, text);
    assert_true(file_has(tracker.directory, "log", "ready: "));
    assert_true(file_has(tracker.directory, "log", "auth.mode is prefer and auth.keys is empty"));
    assert_true(file_has(tracker.directory, "log", "are not chained"));
    assert_true(file_has(tracker.directory, "log", "daemon.sandbox is off"));
    assert_int_equal(certificate_end(), -1);
    real_daemon_stop(&tracker);
}

#define TLS_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(a_certificate_that_ends_soon_or_has_ended_degrades_the_health),
        TLS_TEST(a_reload_with_a_bad_certificate_or_bad_keys_leaves_all_as_it_was),
        TLS_TEST(who_does_not_prove_an_identity_is_refused_where_it_is_required),
        TLS_TEST(what_cannot_start_says_why),
        TLS_TEST(its_options_are_shown_in_every_form),
        TLS_TEST(it_confines_itself_where_the_kernel_can),
        TLS_TEST(without_keys_it_warns_that_everybody_may_do_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
