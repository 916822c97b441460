/* audit: lines that are JSON whatever the bytes, a chain that shows what was changed, and a file that goes on after a rotation, a
 * crash, a full disk and another key. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/audit.h"
#include "common/auth/audit_verify.h"
#include "common/auth/keys_file.h"

#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    char *text = calloc(1, 1 << 21);

    assert_true(stream && text);
    (void)!fread(text, 1, (1 << 21) - 1, stream);
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
    write_all("long", ""); /* with the mode of other logs */
    assert_int_equal(chmod("long", 0640), 0);
    audit_reopen(audit);
    note(audit, "upload", "dora");
    audit_destroy(audit);
    assert_true(verifies("long.1", &verdict, &error));
    assert_true(verifies("long.2", &verdict, &error));
    assert_true(verifies("long", &verdict, &error));
    assert_true(verdict.lines >= 1);
    struct stat file;
    assert_int_equal(stat("long", &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

/* Wherever a crash cuts the file off, the chain goes on, and what is there is found whole but for one line. */
static void a_crash_may_cut_the_file_at_any_byte(void **state)
{
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("cut", "st-1", (const char *const[]){"alice", "b}o}b", NULL});
    char *whole = read_all("cut");
    size_t size = strlen(whole);
    const char *last = memrchr(whole, '\n', size - 1);
    assert_non_null(last);
    for (size_t at = (size_t)(last - whole) + 2; at <= size; at++) {
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

static void a_power_cut_may_leave_zeros(void **state)
{
    static const char zeros[1 << 20];
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    write_log("zeros", "st-1", (const char *const[]){"alice", NULL});
    FILE *stream = fopen("zeros", "ae");
    assert_non_null(stream);
    assert_int_equal(fwrite(zeros, sizeof(zeros), 1, stream), 1);
    assert_int_equal(fclose(stream), 0);
    write_log("zeros", "st-1", (const char *const[]){"bob", NULL});
    if (!verifies("zeros", &verdict, &error))
        fail_msg("%s", error.text);
    assert_true(verdict.torn == 1 && verdict.lines == 5);
}

/* ---- a file that cannot be written ---- */

/* No file takes more than SIZE bytes, as on a full disk; RLIM_INFINITY: as many as there is room for. */
static void fill_disk(rlim_t size)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void await_works(const struct audit *audit, bool works)
{
    for (int i = 0; i < 20000 && audit_works(audit) != works; i++)
        usleep(1000);
    assert_int_equal(audit_works(audit), works);
}

static off_t size_of(const char *file)
{
    struct stat status;

    return stat(file, &status) == 0 ? status.st_size : 0;
}

static void await_size(const char *file, off_t size)
{
    for (int i = 0; i < 20000 && size_of(file) < size; i++)
        usleep(1000);
    assert_true(size_of(file) >= size);
}

static void await_file(const char *file)
{
    for (int i = 0; i < 20000 && access(file, F_OK) != 0; i++)
        usleep(1000);
    assert_int_equal(access(file, F_OK), 0);
}

/* How often TEXT stands in FILE. */
static size_t count_in(const char *file, const char *text)
{
    char *whole = read_all(file);
    size_t count = 0;

    for (const char *at = whole; (at = strstr(at, text)); at += strlen(text))
        count++;
    free(whole);
    return count;
}

static atomic_bool hangs;

/* In the place of the C library's. */
int fdatasync(int fd)
{
    while (atomic_load(&hangs))
        usleep(1000);
    return (int)syscall(SYS_fdatasync, fd);
}

static void a_file_that_hangs_does_not_work_before_events_are_lost(void **state)
{
    (void)state;
    struct audit *audit = open_audit("hangs", "st-1");
    await_size("hangs", 1);
    atomic_store(&hangs, true);
    int taken = 0;
    while (audit_works(audit) && taken < 100000) {
        note(audit, "upload", "alice");
        taken++;
    }
    assert_false(audit_works(audit));
    for (int i = 0; i < 1000; i++) /* what is under way finds room */
        note(audit, "upload", "alice");
    atomic_store(&hangs, false);
    await_works(audit, true);
    audit_destroy(audit);
    assert_int_equal(count_in("hangs", "\"alice\""), taken + 1000);
}

/* The disk is full after AT bytes of two lines. Then the file is opened anew, a new one or (SAME) as it is. */
static void fill_and_reopen(const char *id, off_t at, bool same)
{
    struct audit_verdict former = {0}, verdict;
    struct error error;

    (void)remove("full");
    (void)remove("full.1");
    struct audit *audit = open_audit("full", id);
    await_size("full", 1);
    off_t begin = size_of("full");
    fill_disk((rlim_t)(begin + at));
    note(audit, "upload", "alice");
    note(audit, "delete", "alice");
    await_works(audit, false);
    await_size("full", begin + at);
    if (!same)
        assert_int_equal(rename("full", "full.1"), 0);
    audit_reopen(audit);
    await_file("full");
    fill_disk(RLIM_INFINITY);
    await_works(audit, true);
    note(audit, "upload", "bob");
    audit_destroy(audit);
    if (!verifies("full", &verdict, &error) || (!same && !verifies("full.1", &former, &error)))
        fail_msg("full after %d bytes: %s", (int)at, error.text);
    if (!same)
        assert_string_equal(verdict.follows, former.last);
    assert_int_equal(former.lines - former.torn + verdict.lines - verdict.torn,
                     5); /* two of them open a file */
    assert_int_equal(count_in("full", "\"bob\""), 1);
    assert_int_equal(size_of("full.1"), same ? 0 : begin + at); /* not a byte more */
}

static void a_full_disk_does_not_keep_a_file_from_being_reopened(void **state)
{
    (void)state;
    struct audit *audit = open_audit("line", "st-1");
    await_size("line", 1);
    off_t begin = size_of("line");
    note(audit, "upload", "alice");
    audit_destroy(audit);
    off_t line = size_of("line") - begin; /* without its newline it is whole */
    off_t step;
    for (off_t at = 0; at < 2 * line; at += step) {
        step = at > line - 30 && at < line + 5 ? 1 : 23;
        fill_and_reopen("st-1", at, false);
        if (at % 3 == 0)
            fill_and_reopen("st-1", at, true);
    }
}

static void without_a_chain_it_is_the_same(void **state)
{
    struct audit *audit;
    (void)state;

    audit = open_audit("free", NULL);
    await_size("free", 1);
    fill_disk((rlim_t)(size_of("free") + 10));
    note(audit, "upload", "alice");
    await_works(audit, false);
    assert_int_equal(rename("free", "free.1"), 0);
    audit_reopen(audit);
    await_file("free");
    fill_disk(RLIM_INFINITY);
    await_works(audit, true);
    audit_destroy(audit);
    assert_int_equal(count_in("free", "\"alice\""), 1);
    assert_int_equal(count_in("free.1", "\"alice\""), 0);
}

static void a_full_disk_at_the_start_holds_up_neither_start_nor_end(void **state)
{
    struct audit_verdict verdict;
    struct error error;
    (void)state;

    fill_disk(0);
    struct audit *audit = open_audit("start", "st-1");
    await_works(audit, false);
    note(audit, "upload", "alice");
    audit_destroy(audit); /* alice's line is lost */
    audit = open_audit("start", "st-1");
    await_works(audit, false);
    note(audit, "upload", "bob");
    fill_disk(RLIM_INFINITY);
    await_works(audit, true);
    audit_destroy(audit);
    assert_true(verifies("start", &verdict, &error));
    assert_true(verdict.lines == 2 && count_in("start", "\"bob\"") == 1);
}

/* Nor does a file that cannot be opened: it is tried again until it can. */
static void a_file_that_cannot_be_reopened_is_tried_again(void **state)
{
    struct audit_verdict verdict, former;
    struct error error;
    (void)state;

    struct audit *audit = open_audit("again", "st-1");
    await_size("again", 1);
    assert_int_equal(rename("again", "again.1"), 0);
    assert_int_equal(mkdir("again", 0700), 0);
    audit_reopen(audit);
    off_t begin = size_of("again.1");
    note(audit, "upload", "alice");
    await_size("again.1", begin + 1); /* still the former one */
    begin = size_of("again.1");
    note(audit, "upload", "carol");
    await_size("again.1", begin + 1); /* so the new one was tried after alice's line */
    assert_int_equal(rmdir("again"), 0);
    await_size("again", 1); /* though nothing is written */
    note(audit, "upload", "bob");
    audit_destroy(audit);
    assert_true(verifies("again.1", &former, &error) && verifies("again", &verdict, &error));
    assert_string_equal(verdict.follows, former.last);
    assert_true(count_in("again.1", "\"alice\"") == 1 && count_in("again.1", "\"carol\"") == 1 &&
                count_in("again", "\"bob\"") == 1);
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
        cmocka_unit_test(a_power_cut_may_leave_zeros),
        cmocka_unit_test(a_file_that_hangs_does_not_work_before_events_are_lost),
        cmocka_unit_test(a_full_disk_does_not_keep_a_file_from_being_reopened),
        cmocka_unit_test(without_a_chain_it_is_the_same),
        cmocka_unit_test(a_full_disk_at_the_start_holds_up_neither_start_nor_end),
        cmocka_unit_test(a_file_that_cannot_be_reopened_is_tried_again),
        cmocka_unit_test(a_line_without_its_end_is_no_disguise),
        cmocka_unit_test(without_a_key_there_is_no_chain_and_a_link_to_another_file_is_refused),
    };
    struct error error;
    signal(SIGXFSZ, SIG_IGN);
    keys = keys_parse(key_text, sizeof(key_text) - 1, "keys", &error);
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    keys_release(keys);
    return result;
}
