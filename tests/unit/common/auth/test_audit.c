/* audit: lines that are JSON whatever the bytes, a chain that shows what was changed, and a file that goes on after a rotation, a
 * crash and another key. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/audit.h"
#include "common/auth/audit_verify.h"
#include "common/auth/keys_file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char key_text[] = "st-1 storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                               "st-2 storage AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n";
static struct keys *keys;

static struct audit *open_audit(const char *file, const char *id)
{
    const struct audit_options options = {
        .file = file, .daemon = "storage", .key = id ? keys_find(keys, id) : NULL};
    struct error error;
    struct audit *audit = audit_create(&options, &error);

    if (!audit)
        fail_msg("%s", error.text);
    return audit;
}

static void note(struct audit *audit, const char *event, const char *user)
{
    const struct audit_event line = {.event = event,
                                     .connection = 7,
                                     .peer = "192.0.2.1",
                                     .key = "app",
                                     .role = "issuer",
                                     .user = user,
                                     .bytes = 5};

    assert_true(audit_write(audit, &line));
}

/* A line about each user, and the log is closed again. */
static void write_log(const char *file, const char *id, const char *const users[])
{
    struct audit *audit = open_audit(file, id);

    for (size_t i = 0; users[i]; i++)
        note(audit, i % 2 ? "delete" : "upload", users[i]);
    audit_destroy(audit);
}

static char *read_all(const char *file)
{
    FILE *stream = fopen(file, "re");
    char *text = calloc(1, 1 << 20);

    assert_true(stream && text);
    (void)!fread(text, 1, (1 << 20) - 1, stream);
    (void)fclose(stream);
    return text;
}

static void write_all(const char *file, const char *text)
{
    FILE *stream = fopen(file, "we");

    assert_non_null(stream);
    assert_int_equal(fwrite(text, 1, strlen(text), stream), strlen(text));
    assert_int_equal(fclose(stream), 0);
}

static bool verifies(const char *file, struct audit_verdict *verdict, struct error *error)
{
    return audit_verify(file, keys, verdict, error);
}

static void lines_are_json_whatever_the_bytes_are(void **state)
{
    struct audit *audit = open_audit("json", "st-1");
    struct audit_verdict verdict;
    struct error error;
    json_error_t why;
    (void)state;

    note(audit, "upload", "a\"b\\c\n\xc3\xa9");
    audit_destroy(audit);
    char *text = read_all("json");
    char *second = strchr(text, '\n') + 1;
    *strchr(second, '\n') = '\0';
    json_t *line = json_loads(second, 0, &why);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "user")), "a\"b\\c\n\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(line, "by")), "st-1");
    assert_int_equal(json_integer_value(json_object_get(line, "bytes")), 5);
    assert_int_equal(json_integer_value(json_object_get(line, "connection")), 7);
    json_decref(line);
    free(text);
    assert_true(verifies("json", &verdict, &error));
    assert_int_equal(verdict.lines, 2);
    audit = open_audit("json", "st-1");
    note(audit, "upload", "\xff"); /* no UTF-8: a lone surrogate */
    audit_destroy(audit);
    text = read_all("json");
    assert_non_null(strstr(text, "\\udcff"));
    free(text);
    assert_true(verifies("json", &verdict, &error));
    struct stat file;
    assert_int_equal(stat("json", &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static void every_change_shows(void **state)
{
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("chain", "st-1", (const char *const[]){"alice", "bob", "carol", NULL});
    char *whole = read_all("chain");
    size_t size = strlen(whole);
    for (size_t at = 0; at < size; at += 7) { /* no byte may change */
        char kept = whole[at];

        if (kept == '\n' || kept == '}')
            continue;
        whole[at] = kept == 'x' ? 'y' : 'x';
        write_all("changed", whole);
        whole[at] = kept;
        if (verifies("changed", &verdict, &error))
            fail_msg("byte %zu of the log may change", at);
    }
    char *second = strchr(whole, '\n') + 1, *third = strchr(second, '\n') + 1;
    write_all("changed", second); /* without its beginning */
    assert_false(verifies("changed", &verdict, &error));
    assert_int_equal(error.code, ERROR_DIGEST);
    *second = '\0';
    char *gap = calloc(1, size + 1);
    assert_non_null(gap);
    (void)snprintf(gap, size + 1, "%s%s", whole, third);
    write_all("changed", gap);
    assert_false(verifies("changed", &verdict, &error));
    free(gap);
    free(whole);
}

static void the_chain_goes_on_after_a_crash_a_rotation_and_another_key(void **state)
{
    struct audit *audit;
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("long", "st-1", (const char *const[]){"alice", NULL});
    char *text = read_all("long");
    FILE *stream = fopen("long", "ae");
    assert_non_null(stream);
    assert_true(fputs("{\"time\":\"2026", stream) >= 0); /* what a crash leaves */
    assert_int_equal(fclose(stream), 0);
    free(text);
    audit = open_audit("long", "st-1");
    audit_set_key(audit, keys_find(keys, "st-2"));
    note(audit, "upload", "bob");
    audit_destroy(audit);
    assert_true(verifies("long", &verdict, &error));
    assert_true(verdict.torn == 1 && verdict.unlinked == 0);
    text = read_all("long");
    assert_non_null(strstr(text, "\"by\":\"st-2\""));
    free(text);
    /* logrotate */
    write_log("long", "st-2", (const char *const[]){"carol", NULL});
    assert_int_equal(rename("long", "long.1"), 0);
    audit = open_audit("long", "st-2");
    assert_int_equal(rename("long", "long.2"), 0);
    audit_reopen(audit);
    note(audit, "upload", "dora");
    audit_destroy(audit);
    assert_true(verifies("long.1", &verdict, &error));
    assert_true(verifies("long.2", &verdict, &error));
    assert_true(verifies("long", &verdict, &error));
    assert_true(verdict.lines >= 1);
}

/* Wherever a crash cuts the file off, the chain goes on, and what is there is found whole but for one line. */
static void a_crash_may_cut_the_file_at_any_byte(void **state)
{
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("cut", "st-1", (const char *const[]){"alice", "bob", NULL});
    char *whole = read_all("cut");
    size_t size = strlen(whole);
    for (size_t at = size - 60; at <= size; at++) {
        char kept = whole[at];

        whole[at] = '\0';
        write_all("cut", whole);
        whole[at] = kept;
        write_log("cut", "st-1", (const char *const[]){"carol", NULL});
        if (!verifies("cut", &verdict, &error))
            fail_msg("cut at byte %zu of %zu: %s", at, size, error.text);
        assert_int_equal(verdict.torn, at < size - 1);
        assert_int_equal(verdict.lines, 5);
    }
    free(whole);
}

static void a_line_without_its_end_is_no_disguise(void **state)
{
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("disguise", "st-1", (const char *const[]){"alice", "bob", NULL});
    char *whole = read_all("disguise"), *text = NULL;
    char *third = strchr(strchr(whole, '\n') + 1, '\n') + 1;
    assert_true(asprintf(&text, "%.*s{\"event\":\"delete\",\"user\":\"mallory\"\n%s", (int)(third - whole),
                         whole, third) > 0);
    write_all("disguise", text);
    assert_false(verifies("disguise", &verdict, &error));
    assert_int_equal(error.code, ERROR_DIGEST);
    free(text);
    free(whole);
}

static void without_a_key_there_is_no_chain_and_a_link_to_another_file_is_refused(void **state)
{
    struct audit *audit = open_audit("plain", NULL);
    const struct audit_options through = {.file = "link", .daemon = "storage"};
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    note(audit, "upload", "alice");
    assert_true(audit_works(audit));
    audit_destroy(audit);
    assert_true(verifies("plain", &verdict, &error));
    assert_true(verdict.lines == 2 && verdict.unlinked == 2);
    assert_int_equal(symlink("plain", "link"), 0);
    assert_null(audit_create(&through, &error));
    assert_false(verifies("nothing", &verdict, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_json_whatever_the_bytes_are),
        cmocka_unit_test(every_change_shows),
        cmocka_unit_test(the_chain_goes_on_after_a_crash_a_rotation_and_another_key),
        cmocka_unit_test(a_crash_may_cut_the_file_at_any_byte),
        cmocka_unit_test(a_line_without_its_end_is_no_disguise),
        cmocka_unit_test(without_a_key_there_is_no_chain_and_a_link_to_another_file_is_refused),
    };
    struct error error;
    keys = keys_parse(key_text, sizeof(key_text) - 1, "keys", &error);
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    keys_release(keys);
    return result;
}
