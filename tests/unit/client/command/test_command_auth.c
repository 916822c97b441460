/*
 * `reel auth`, `reel url --sign` and `reel --help-json` in this process: keys, tokens, links and audit logs in a directory
 * of their own, what is printed, and the exit codes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/command/command_internal.h"

#include "common/base/clock.h"
#include "common/auth/audit.h"
#include "common/auth/keys_file.h"
#include "tests/unit/library/command_run.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/scripted_peer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECRET     "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* the bytes 0 to 31 */
#define ISSUER     "app-1 issuer " SECRET " applications=tnvideo rights=rl\n"
#define OTHER_KEY  "st-1 storage IAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
#define OTHER_APP  "app-2 issuer IQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= applications=other\n"
#define OTHER_SELF "app-1 issuer IgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

static int run(const char *format, ...) PRINTF_LIKE(1, 2);
static int run(const char *format, ...)
{
    char text[8192], *argv[64] = {"reel"};
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    return command_run(1, argv, text);
}

static int set_up(void **state)
{
    static const char *const variables[] = {"REEL_TRACKERS", "REEL_USER",  "REEL_APPLICATION",
                                            "REEL_HTTP",     "REEL_TOKEN", "REEL_TOKEN_FILE",
                                            "REEL_AUTH",     "REEL_TLS_CA"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        unsetenv(variables[i]);
    setenv("REEL_KEYS", "./keys", 1);
    command_place_open();
    write_text("keys", ISSUER OTHER_KEY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("REEL_KEYS");
    unsetenv("REEL_TOKEN");
    command_place_close();
    return 0;
}

/* ---- new-key ---- */

static void a_new_key_is_a_line_of_a_keys_file(void **state)
{
    struct error error;
    struct keys *keys;

    (void)state;
    assert_int_equal(run("auth|new-key|storage|st-9|-|2099-01-01|groups=group001"), 0);
    keys = keys_parse(command_out, strlen(command_out), "output", &error);
    assert_non_null(keys);
    assert_int_equal(keys->count, 1);
    assert_string_equal(keys->items[0].id, "st-9");
    assert_int_equal(keys->items[0].until, 4070908800);
    assert_true(key_has_role(&keys->items[0], KEY_ROLE_STORAGE));
    assert_true(key_may_group(&keys->items[0], "group001"));
    assert_false(key_may_group(&keys->items[0], "group002"));
    keys_release(keys);
    assert_int_equal(run("auth|new-key|storage"), 2);
    said("ROLES ID");
    assert_int_equal(run("auth|new-key|king|st-9"), 2);
    said("there is no role \"king\"");
    assert_int_equal(run("auth|new-key|storage|st-9|#x"), 2);
    said("words without #");
    assert_int_equal(run("auth|new-key|storage|st-9|%02100d", 0), 2);
    said("too long");
    assert_int_equal(run("auth|new-kye"), 2);
    said("there is no \"new-kye\"");
}

static void a_new_key_is_added_to_a_file_that_stays_good(void **state)
{
    struct error error;
    struct keys *keys;
    struct stat file;

    (void)state;
    assert_int_equal(run("auth|new-key|client|c-1|-o|fresh"), 0);
    assert_string_equal(command_out, "");
    assert_int_equal(stat("fresh", &file), 0);
    assert_int_equal(file.st_mode & 07777, 0600);
    write_text("cut", "# without an end");
    assert_int_equal(run("auth|new-key|client|c-1|-o|cut"), 0);
    assert_int_equal(strncmp(read_text("cut"), "# without an end\nc-1 client ", 28), 0);
    assert_int_equal(run("auth|new-key|client|c-2|-o|fresh"), 0);
    keys = keys_load("./fresh", &error);
    assert_non_null(keys);
    assert_int_equal(keys->count, 2);
    keys_release(keys);
    assert_int_equal(run("auth|new-key|client|c-2|-o|fresh"), 1);
    said("the ID c-2 is already used by a key above");
    assert_int_equal(chmod("fresh", 0644), 0);
    assert_int_equal(run("auth|new-key|client|c-3|-o|fresh"), 9);
    said("chmod 600");
    assert_int_equal(run("auth|new-key|client|c-3|-o|none/fresh"), 10);
    write_text("large", "");
    assert_int_equal(truncate("large", KEYS_FILE_MAX + 1), 0);
    assert_int_equal(run("auth|new-key|client|c-3|-o|large"), 5);
    said("too large");
}

/* ---- token, verify ---- */

/* Makes a token with the words of OPTIONS and has REEL_TOKEN be it. */
static void issue(const char *options)
{
    assert_int_equal(run("auth|token|-u|user1%s", options), 0);
    command_out[strcspn(command_out, "\n")] = '\0';
    setenv("REEL_TOKEN", command_out, 1);
}

static void a_token_says_what_it_was_made_for(void **state)
{
    json_t *made, *read;
    int64_t now = (int64_t)time(NULL), expires;

    (void)state;
    assert_int_equal(run("auth|token|--json|-u|user1|--expires|2h|--rights|rl|--prefix|clip-"), 0);
    made = output_json();
    expires = json_integer_value(json_object_get(made, "expires"));
    assert_true(expires >= now + 7200 && expires <= now + 7260);
    setenv("REEL_TOKEN", json_string_value(json_object_get(made, "token")), 1);
    assert_int_equal(run("auth|verify|--json"), 0);
    read = output_json();
    assert_true(json_is_true(json_object_get(read, "valid")));
    assert_string_equal(json_string_value(json_object_get(read, "issuer")), "app-1");
    assert_string_equal(json_string_value(json_object_get(read, "application")), "tnvideo");
    assert_string_equal(json_string_value(json_object_get(read, "user")), "user1");
    assert_string_equal(json_string_value(json_object_get(read, "rights")), "rl");
    assert_string_equal(json_string_value(json_object_get(read, "prefix")), "clip-");
    assert_int_equal(json_integer_value(json_object_get(read, "expires")), expires);
    json_decref(read);
    assert_int_equal(run("auth|verify"), 0);
    printed("files        those that begin with clip-\n");
    unsetenv("REEL_TOKEN");
    write_text("input", json_string_value(json_object_get(made, "token")));
    json_decref(made);
    assert_int_equal(run("auth|verify"), 0);
    printed("issuer       app-1\napplication  tnvideo\nuser         user1\nrights       rl\n");
    unlink("input");
    assert_int_equal(run("auth|verify"), 2);
    said("there is none");
    setenv("REEL_TOKEN", "no token", 1);
    assert_int_equal(run("auth|verify"), 2);
    issue("");
    assert_int_equal(run("auth|verify"), 0);
    printed("rights       r\nfiles        all\nfrom         -\n");
}

static void a_token_that_does_not_hold_is_refused(void **state)
{
    char *token, *at;

    (void)state;
    issue("|--expires|1ms"); /* until the end of this second */
    for (int64_t until = clock_wall_seconds() + 1; clock_wall_seconds() <= until;)
        usleep(10000);
    assert_int_equal(run("auth|verify"), 9);
    said("the token has expired");
    printed("user         user1\n");
    assert_int_equal(run("auth|verify|--json"), 9);
    printed("\"valid\":false");
    issue("");
    token = strdup(getenv("REEL_TOKEN"));
    assert_non_null(token);
    write_text("keys", OTHER_SELF);
    assert_int_equal(run("auth|verify"), 9);
    said("no key that issues tokens signed it");
    write_text("keys", "app-1 client " SECRET "\n");
    assert_int_equal(run("auth|verify"), 9);
    said("no key that issues tokens signed it");
    write_text("keys", "app-1 issuer " SECRET " rights=w\n");
    assert_int_equal(run("auth|verify"), 9);
    said("more than its issuer may give");
    write_text("keys", ISSUER);
    at = token + strlen(token) - 9; /* in the signature */
    *at = *at == 'A' ? 'B' : 'A';
    setenv("REEL_TOKEN", token, 1);
    assert_int_equal(run("auth|verify"), 9);
    said("no key that issues tokens signed it");
    free(token);
}

static void what_makes_no_token_says_why(void **state)
{
    (void)state;
    assert_int_equal(run("auth|token"), 2);
    said("needs a user");
    assert_int_equal(run("auth|token|-u|user1|--rights|rx"), 2);
    said("letters of rwdl");
    assert_int_equal(run("auth|token|-u|user1|--expires|soon"), 2);
    said("a time (30m, 6h, 7d) or a date");
    assert_int_equal(run("auth|token|-u|user1|--prefix|%0300d", 0), 2);
    said("too long");
    assert_int_equal(run("auth|token|-u|user1|--rights|w"), 9);
    said("key app-1 may not issue this token");
    assert_int_equal(run("auth|token|-u|user1|-a|other"), 9);
    setenv("REEL_KEYS", "st-1@./keys", 1);
    assert_int_equal(run("auth|token|-u|user1"), 9);
    said("key st-1 may not issue this token");
    setenv("REEL_KEYS", "nobody@./keys", 1);
    assert_int_equal(run("auth|token|-u|user1"), 3);
    said("no such key");
    setenv("REEL_KEYS", "app-1@./keys", 1);
    assert_int_equal(run("auth|token|-u|user1"), 0);
    setenv("REEL_KEYS", "", 1);
    assert_int_equal(run("auth|token|-u|user1"), 2);
    said("needs a keys file");
}

static void a_keys_file_that_is_not_right_is_refused(void **state)
{
    (void)state;
    issue("");
    write_text("audit.log", "");
    assert_int_equal(chmod("keys", 0644), 0);
    assert_int_equal(run("auth|token|-u|user1"), 9);
    said("mode 0644");
    assert_int_equal(run("auth|verify"), 9);
    said("mode 0644");
    assert_int_equal(run("auth|audit-verify|audit.log"), 9);
    said("mode 0644");
    assert_int_equal(chmod("keys", 0600), 0);
    write_text("keys", "app-1 issuer short\n");
    assert_int_equal(run("auth|token|-u|user1"), 1);
    said("./keys:1: the secret is not 32 bytes");
    assert_null(strstr(command_err, "short"));
    unlink("keys");
    assert_int_equal(run("auth|token|-u|user1|--json"), 10);
    printed("\"of\":\"./keys\"");
}

/* ---- audit-verify ---- */

static void rotated_files_must_go_on_where_the_one_before_ended(void **state)
{
    struct error error;
    struct audit_event event = {.event = "upload", .user = "user1", .bytes = 5};
    struct audit_options options = {.file = "rotated.log", .daemon = "storage"};

    (void)state;
    write_text("keys", "st-1 storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    struct keys *keys = keys_load("./keys", &error);
    assert_non_null(keys);
    options.key = keys_find(keys, "st-1");
    struct audit *audit = audit_create(&options, &error);
    assert_non_null(audit);
    for (int i = 2; i > 0; i--) {
        char name[32];

        assert_true(audit_write(audit, &event));
        audit_destroy(audit);
        audit = audit_create(&options, &error);
        assert_non_null(audit);
        (void)snprintf(name, sizeof(name), "rotated.log.%d", i);
        assert_int_equal(rename("rotated.log", name), 0);
        audit_reopen(audit);
    }
    audit_destroy(audit);
    keys_release(keys);
    assert_int_equal(run("auth|audit-verify|rotated.log.2|rotated.log.1|rotated.log"), 0);
    assert_int_equal(run("auth|audit-verify|rotated.log"), 0);
    assert_int_equal(run("auth|audit-verify|rotated.log.2|rotated.log"), 6);
    said("rotated.log: it does not go on where the file before it ends");
}

static void write_audit(void)
{
    struct error error;
    struct keys *keys = keys_load("./keys", &error);
    struct audit_options options = {.file = "audit.log", .daemon = "storage"};
    struct audit_event event = {.event = "upload", .user = "user1", .bytes = 5};

    assert_non_null(keys);
    options.key = keys_find(keys, "st-1");
    struct audit *audit = audit_create(&options, &error);
    assert_non_null(audit);
    assert_true(audit_write(audit, &event));
    event.event = "delete";
    assert_true(audit_write(audit, &event));
    audit_destroy(audit);
    keys_release(keys);
}

static void an_audit_log_is_checked_line_by_line(void **state)
{
    char text[8192], *at;

    (void)state;
    write_audit();
    assert_int_equal(run("auth|audit-verify|audit.log"), 0);
    static const char expected[] = "audit.log: 3 lines, the chain holds (0 without a link, 0 cut by a "
                                   "crash); it follows 00000000000000000000000000000000 and ends with ";
    assert_int_equal(strncmp(command_out, expected, strlen(expected)), 0);
    snprintf(text, sizeof(text), "%s{\"time\":", read_text("audit.log"));
    write_text("cut.log", text);
    assert_int_equal(run("auth|audit-verify|cut.log|--json"), 0);
    json_t *verdict = output_json();
    assert_int_equal(json_integer_value(json_object_get(verdict, "lines")), 4);
    assert_int_equal(json_integer_value(json_object_get(verdict, "unlinked")), 0);
    assert_int_equal(json_integer_value(json_object_get(verdict, "torn")), 1);
    json_decref(verdict);
    at = strstr(text, "user1");
    assert_non_null(at);
    at[4] = '2';
    write_text("changed.log", text);
    assert_int_equal(run("auth|audit-verify|changed.log"), 6);
    said("changed.log:2: the chain breaks");
    assert_int_equal(run("auth|audit-verify|none.log"), 10);
    assert_int_equal(run("auth|audit-verify"), 2);
    said("audit-verify takes FILE...");
    write_text("keys", ISSUER);
    assert_int_equal(run("auth|audit-verify|audit.log"), 3);
    said("linked with key st-1, which is not in the keys file");
}

/* ---- whoami ---- */

static void whoami_needs_a_tracker_and_a_token_of_ones_own(void **state)
{
    (void)state;
    assert_int_equal(run("auth|whoami"), 2);
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    said("needs a key of its own");
    setenv("REEL_KEYS", "app-1@./keys", 1);
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1|--tries|1|--max-time|20s"), 5);
    said("auth whoami");
    setenv("REEL_TOKEN_FILE", "token", 1);
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    said("token_file token: No such file");
    write_text("token", "");
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    said("cannot be read or is empty");
    write_text("token", "not a token");
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    assert_int_equal(chmod("token", 0644), 0);
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    said("only its owner can read");
    unsetenv("REEL_TOKEN_FILE");
    assert_int_equal(run("auth|whoami|-t|tls://127.0.0.1:1|--tls-ca|none.pem"), 10);
    said("none.pem");
    assert_int_equal(chmod("keys", 0644), 0);
    assert_int_equal(run("auth|whoami|-t|127.0.0.1:1"), 2);
    said("mode 0644");
}

/* A tracker that takes everybody for the client app-1 with the rights r and l until 2100. */
static void whoami_script(struct peer *peer, int fd, int connection)
{
    static const uint8_t body[40] = {1, 0, 0,    0,    0,    0, 0,   0,   9,   0,   0,
                                     0, 0, 0xF4, 0x86, 0x57, 0, 'a', 'p', 'p', '-', '1'};
    struct peer_request request;

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        if (request.command == 4)
            peer_reply(fd, 100, body, sizeof(body));
        else
            peer_fail(fd, 100, -1, "[fake] unknown command");
    }
}

static void whoami_prints_whom_the_tracker_takes_us_for(void **state)
{
    struct peer peer;

    (void)state;
    setenv("REEL_KEYS", "", 1);
    peer_start(&peer, whoami_script, NULL);
    assert_int_equal(run("auth|whoami|-t|%s", peer.address), 0);
    assert_string_equal(command_out,
                        "{\"role\":\"client\",\"rights\":\"rl\",\"ends\":4102444800,\"key\":\"app-1\"}\n");
    assert_int_equal(peer_requests(&peer, 4), 1);
    peer_stop(&peer);
}

/* ---- settings ---- */

static void settings_come_from_the_first_file_that_is_there(void **state)
{
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    char *config_home = getenv("XDG_CONFIG_HOME") ? strdup(getenv("XDG_CONFIG_HOME")) : NULL;

    (void)state;
    unsetenv("REEL_CONFIG");
    setenv("REEL_KEYS", "", 1);
    setenv("HOME", command_place, 1);
    setenv("XDG_CONFIG_HOME", command_place, 1);
    write_text("reel.conf", "[client]\nuser = xdg\nhttp = http://x:1\nkeys = ./keys\n");
    assert_int_equal(mkdir(".config", 0700), 0);
    write_text(".config/reel.conf", "[client]\nuser = home\nhttp = http://h:1\n");
    assert_int_equal(run("url|f"), 0);
    assert_string_equal(command_out, "http://x:1/files/tnvideo/xdg/f\n");
    assert_int_equal(run("auth|token"), 0); /* keys is a setting, too */
    unsetenv("XDG_CONFIG_HOME");
    assert_int_equal(run("url|f"), 0);
    assert_string_equal(command_out, "http://h:1/files/tnvideo/home/f\n");
    write_text("reel.conf", "[client]\nusr = x\n");
    assert_int_equal(run("url|f|--config|reel.conf"), 2);
    said("usr");
    setenv("HOME", home ? home : "", 1); /* empty is as good as none */
    setenv("XDG_CONFIG_HOME", config_home ? config_home : "", 1);
    free(home);
    free(config_home);
}

/* ---- url --sign ---- */

static void a_signed_link_has_its_scope_time_and_key(void **state)
{
    (void)state;
#define URL "url|-u|user1|--http|http://m:1|--sign|--expires|2100-01-01"
    assert_int_equal(run(URL "|f"), 0);
    assert_string_equal(command_out,
                        "http://m:1/files/tnvideo/user1/f?e=f4865700&k=app-1&s=fivKT6LvnbqQ6pALxCF_oA\n");
    assert_int_equal(run(URL "|--scope|user|f"), 0);
    assert_string_equal(command_out,
                        "http://m:1/t/app-1.f4865700.u.jU8wzB9QjDnOSyCtjVU3wA/files/tnvideo/user1/f\n");
    assert_int_equal(run(URL "|--scope|prefix:2|abc|--json"), 0);
    printed("\"http://m:1/t/app-1.f4865700.p2.gn364qypjQFnxJ4ysuQ-ow/files/tnvideo/user1/abc\"");
    assert_int_equal(run(URL "|--network|192.0.2.7|f"), 0);
    assert_string_equal(command_out,
                        "http://m:1/files/tnvideo/user1/f?e=f4865700n&k=app-1&s=KdZJX_778ge5aXcQG3jbdA\n");
    assert_int_equal(run("url|-u|user1|--http|http://m:1|--sign|f|g"), 0);
    printed("/files/tnvideo/user1/g?e=");
}

static void a_link_that_cannot_be_signed_says_why(void **state)
{
    (void)state;
    assert_int_equal(run("url|-u|user1|--http|http://m:1|--scope|user|f"), 2);
    said("belong to --sign");
    assert_int_equal(run("url|-u|user1|--sign|f"), 2);
    said("no HTTP server is given");
    assert_int_equal(run(URL "|--scope|prefix:0|f"), 2);
    assert_int_equal(run(URL "|--scope|prefix:1x|f"), 2);
    assert_int_equal(run(URL "|--scope|all|f"), 2);
    said("--scope is file, user or prefix:N");
    assert_int_equal(run("url|-u|user1|--http|http://m:1|--sign|--expires|soon|f"), 2);
    assert_int_equal(run(URL "|--scope|prefix:2|f"), 2);
    said("a prefix of 2 bytes");
    assert_int_equal(run(URL "|--network|here|f"), 2);
    said("not a numeric address");
    assert_int_equal(run(URL "|-a|other|f"), 9);
    said("not for the application other");
    setenv("REEL_KEYS", "st-1@./keys", 1);
    assert_int_equal(run(URL "|f"), 2);
    said("does not have the role issuer");
    setenv("REEL_KEYS", "./keys", 1);
    write_text("keys", ISSUER OTHER_APP);
    assert_int_equal(run(URL "|f"), 2);
    said("name one: ID@");
    write_text("keys", OTHER_KEY);
    assert_int_equal(run(URL "|f"), 2);
    said("no key with the role issuer");
    write_text("keys", "app-1 issuer " SECRET " rights=w\n");
    assert_int_equal(run(URL "|f"), 9);
    said("does not have the right to read");
    assert_int_equal(chmod("keys", 0644), 0);
    assert_int_equal(run(URL "|f"), 9);
    said("mode 0644");
    setenv("REEL_KEYS", "", 1);
    assert_int_equal(run(URL "|f"), 2);
    said("no keys file is given");
}

/* ---- help ---- */

static void the_help_is_json_for_programs(void **state)
{
    size_t count, index;
    const struct command_verb *verbs = command_verbs(&count);
    json_t *help, *commands, *option;
    bool tls_ca = false;

    (void)state;
    assert_int_equal(run("--help-json"), 0);
    help = output_json();
    assert_string_equal(json_string_value(json_object_get(help, "version")), reel_version());
    commands = json_object_get(help, "commands");
    assert_int_equal(json_array_size(commands), count);
    for (size_t i = 0; i < count; i++) {
        json_t *command = json_array_get(commands, i);

        assert_string_equal(json_string_value(json_object_get(command, "name")), verbs[i].name);
        assert_string_equal(json_string_value(json_object_get(command, "help")), verbs[i].help);
    }
    json_array_foreach(json_object_get(help, "options"), index, option)
    {
        if (strcmp(json_string_value(json_object_get(option, "name")), "tls-ca") != 0)
            continue;
        tls_ca = true;
        assert_string_equal(json_string_value(json_object_get(option, "argument")), "PATH");
        assert_true(json_is_true(json_object_get(option, "common")));
    }
    assert_true(tls_ca);
    assert_non_null(json_object_get(help, "settings"));
    json_decref(help);
    assert_int_equal(run("auth|--help"), 0);
    printed("Usage: reel auth [OPTIONS] PART ...");
    printed("--rights LETTERS");
    printed("Exit codes:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_new_key_is_a_line_of_a_keys_file),
        TEST(a_new_key_is_added_to_a_file_that_stays_good),
        TEST(a_token_says_what_it_was_made_for),
        TEST(a_token_that_does_not_hold_is_refused),
        TEST(what_makes_no_token_says_why),
        TEST(a_keys_file_that_is_not_right_is_refused),
        TEST(an_audit_log_is_checked_line_by_line),
        TEST(rotated_files_must_go_on_where_the_one_before_ended),
        TEST(whoami_needs_a_tracker_and_a_token_of_ones_own),
        TEST(whoami_prints_whom_the_tracker_takes_us_for),
        TEST(settings_come_from_the_first_file_that_is_there),
        TEST(a_signed_link_has_its_scope_time_and_key),
        TEST(a_link_that_cannot_be_signed_says_why),
        TEST(the_help_is_json_for_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
