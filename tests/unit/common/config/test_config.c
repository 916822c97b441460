/*
 * test_config: tables of options against real files: what is taken, what is refused with which words, what is
 * shown.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/config/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sample {
    bool durable;
    int64_t count, any, size, interval;
    char *database, *password;
    int level;
    struct address peer;
    struct address_list listen;
    struct config_strings applications;
};

#define AT(member) offsetof(struct sample, member)

static const struct config_option own_options[] = {
    {"storage", "listen", CONFIG_ADDRESSES, AT(listen), "*:23000", 23000, 0, NULL, false, "Where to listen."},
    {"storage", "durable", CONFIG_BOOL, AT(durable), "yes", 0, 0, NULL, false, "Whether to fsync."},
    {"storage", "count", CONFIG_INTEGER, AT(count), "100", 1, 65535, NULL, true, "How many."},
    {"storage", "any", CONFIG_INTEGER, AT(any), "0", 0, 0, NULL, true, "Any number."},
    {"storage", "size", CONFIG_SIZE, AT(size), "64K", 4096, INT64_C(1) << 40, NULL, true, "How large."},
    {"storage", "beat_interval", CONFIG_DURATION, AT(interval), "10s", 100, 86400000, NULL, true,
     "How often."},
    {"storage", "database", CONFIG_STRING, AT(database), NULL, 0, 0, NULL, false, "The database's URL."},
};
static const struct config_option common_options[] = {
    {"log", "level", CONFIG_CHOICE, AT(level), "info", 0, 0, "debug|info|warning|error", true,
     "Least | level <x>."},
    {"log", "peer", CONFIG_ADDRESS, AT(peer), "", 80, 0, NULL, true, "A peer."},
    {"log", "applications", CONFIG_STRINGS, AT(applications), "tnvideo", 0, 0, NULL, true, "Names."},
    {"storage", "link_secret", CONFIG_STRING, AT(password), "", 0, 0, NULL, true, "A secret."},
};
static const struct config_table tables[] = {
    {own_options, ARRAY_SIZE(own_options)}, {common_options, ARRAY_SIZE(common_options)}, {NULL, 0}};

static char path[64];

static int make_file(void **state)
{
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/test_config.XXXXXX");
    fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_bytes(const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void load(struct sample *sample, const char *text, const char *override)
{
    struct error error = {0};

    *sample = (struct sample){0};
    write_bytes(text, strlen(text));
    if (!config_load(tables, path, &override, override == NULL ? 0 : 1, sample, &error))
        fail_msg("%s", error.text);
}

/* The file must be refused with exactly "FILE" + EXPECTED, and nothing be left of it. */
static void assert_refused(const char *text, const char *expected)
{
    static const struct sample zero;
    struct sample sample = {0};
    struct error error = {0};
    char whole[ERROR_TEXT_SIZE];

    write_bytes(text, strlen(text));
    (void)snprintf(whole, sizeof(whole), "%s%s", path, expected);
    assert_false(config_load(tables, path, NULL, 0, &sample, &error));
    assert_string_equal(error.text, whole);
    assert_memory_equal(&sample, &zero, sizeof(sample));
}

static void assert_override_refused(const char *override, const char *expected)
{
    struct sample sample = {0};
    struct error error = {0};

    write_bytes("[storage]\ndatabase = x\n", 23);
    assert_false(config_load(tables, path, &override, 1, &sample, &error));
    assert_string_equal(error.text, expected);
}

/* What config_print() or a help writes, freed by the caller. */
static char *printed(void (*print)(const struct config_table *, FILE *), const struct sample *sample)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    if (print != NULL)
        print(tables, out);
    else
        config_print(tables, sample, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

#define NEEDED "[storage]\ndatabase = x\n"

static void every_type_takes_its_forms(void **state)
{
    struct sample sample;

    (void)state;
    load(&sample,
         "# comment\n; comment\n\n[storage]\n  listen = 192.0.2.1:1, [2001:db8::1]:2; media1\n"
         "durable=OFF\ncount :7\nany = 0\nsize = 10m\nbeat_interval = 500ms\ndatabase = sqlite:/x y\n"
         "[log]\r\nlevel = WARNING\r\npeer = media2\r\napplications = a , b c,,d,\r\n",
         NULL);
    assert_int_equal(sample.listen.count, 3);
    assert_string_equal(sample.listen.items[1].host, "2001:db8::1");
    assert_int_equal(sample.listen.items[1].port, 2);
    assert_int_equal(sample.listen.items[2].port, 23000);
    assert_false(sample.durable);
    assert_int_equal(sample.count, 7);
    assert_int_equal(sample.size, 10 * 1048576);
    assert_int_equal(sample.interval, 500);
    assert_string_equal(sample.database, "sqlite:/x y");
    assert_int_equal(sample.level, 2);
    assert_string_equal(sample.peer.host, "media2");
    assert_int_equal(sample.peer.port, 80);
    assert_int_equal(sample.applications.count, 3);
    assert_string_equal(sample.applications.items[0], "a");
    assert_string_equal(sample.applications.items[1], "b c");
    assert_string_equal(sample.applications.items[2], "d");
    config_clear(tables, &sample);
    assert_null(sample.database);
}

static void units_and_words_mean_what_they_say(void **state)
{
    static const struct {
        const char *override;
        int64_t expected;
        size_t offset;
    } cases[] = {
        {"storage.size=4096", 4096, AT(size)},
        {"storage.size=5K", 5120, AT(size)},
        {"storage.size=2G", INT64_C(2) << 30, AT(size)},
        {"storage.size=1T", INT64_C(1) << 40, AT(size)},
        {"storage.size=8 k", 8192, AT(size)},
        {"storage.beat_interval=30", 30000, AT(interval)},
        {"storage.beat_interval=30s", 30000, AT(interval)},
        {"storage.beat_interval=5m", 300000, AT(interval)},
        {"storage.beat_interval=2h", 7200000, AT(interval)},
        {"storage.beat_interval=1d", 86400000, AT(interval)},
        {"storage.any=9223372036854775807", INT64_MAX, AT(any)},
        {"storage.count=1", 1, AT(count)},
        {"storage.count=65535", 65535, AT(count)},
    };
    static const char *const yes[] = {"yes", "true", "on", "1", "YES"}, *const no[] = {"no", "false", "off",
                                                                                       "0", "No"};
    struct sample sample;
    char override[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        load(&sample, NEEDED, cases[i].override);
        assert_int_equal(*(int64_t *)(void *)((char *)&sample + cases[i].offset), cases[i].expected);
        config_clear(tables, &sample);
    }
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        (void)snprintf(override, sizeof(override), "storage.durable=%s", yes[i]);
        load(&sample, NEEDED, override);
        assert_true(sample.durable);
        config_clear(tables, &sample);
        (void)snprintf(override, sizeof(override), "storage.durable=%s", no[i]);
        load(&sample, NEEDED, override);
        assert_false(sample.durable);
        config_clear(tables, &sample);
    }
}

static void defaults_hold_where_the_file_is_silent(void **state)
{
    struct sample sample;

    (void)state;
    load(&sample, NEEDED, NULL);
    assert_int_equal(sample.listen.count, 1);
    assert_string_equal(sample.listen.items[0].host, "*");
    assert_true(sample.durable);
    assert_int_equal(sample.size, 65536);
    assert_int_equal(sample.interval, 10000);
    assert_int_equal(sample.level, 1);
    assert_string_equal(sample.peer.host, "");
    assert_string_equal(sample.password, "");
    config_clear(tables, &sample);
}

static void semicolons_and_hashes_inside_a_value_belong_to_it(void **state)
{
    struct sample sample;

    (void)state;
    load(&sample, "[storage]\ndatabase = mysql://reel:p;a#ss@h/db?x=1\nlisten = a:1;b:2\n", NULL);
    assert_string_equal(sample.database, "mysql://reel:p;a#ss@h/db?x=1");
    assert_int_equal(sample.listen.count, 2);
    config_clear(tables, &sample);
    load(&sample, "[storage]\ndatabase = \" a # b ; c \"\n", NULL);
    assert_string_equal(sample.database, " a # b ; c ");
    config_clear(tables, &sample);
    load(&sample, "[storage]\ndatabase = a \"quoted\" b\n", NULL);
    assert_string_equal(sample.database, "a \"quoted\" b");
    config_clear(tables, &sample);
    load(&sample, NEEDED, "storage.database=a # b");
    assert_string_equal(sample.database, "a # b");
    config_clear(tables, &sample);
}

static void a_comment_behind_a_value_is_refused_not_swallowed(void **state)
{
    (void)state;
    assert_refused("[storage]\ncount = 5 ; five\n",
                   ":2: option \"storage.count\": a comment must stand on a line of its own");
    assert_refused("[storage]\nlisten = a:1 ; b:2\n",
                   ":2: option \"storage.listen\": a comment must stand on a line of its own");
    assert_refused(
        "[storage]\ndatabase = # none\n",
        ":2: option \"storage.database\": a comment must stand on a line of its own (a value with \" #\" or "
        "\" ;\" in it needs quotes around the whole: \"...\")");
}

static void unknown_names_are_reported_with_what_was_probably_meant(void **state)
{
    (void)state;
    assert_refused("\n[storage]\nlistn = x\n",
                   ":3: unknown option \"storage.listn\"; did you mean \"listen\"?");
    assert_refused("[storage]\nbeat = 5\n",
                   ":2: unknown option \"storage.beat\"; did you mean \"beat_interval\"?");
    assert_refused("[storage]\nlevel = info\n",
                   ":2: unknown option \"storage.level\"; did you mean \"log.level\"?");
    assert_refused("[storage]\nfrobnicate = x\n",
                   ":2: unknown option \"storage.frobnicate\"; --help lists them");
    assert_refused("[storge]\ncount = 5\n", ":2: unknown section \"[storge]\"; did you mean \"[storage]\"?");
    assert_refused("[something]\ncount = 5\n", ":2: unknown section \"[something]\"; --help lists them");
    assert_refused("count = 5\n", ":1: option \"count\" comes before any [section]");
}

static void a_wrong_value_is_reported_with_what_would_be_right(void **state)
{
    (void)state;
    assert_refused("[storage]\ncount = 70000\n",
                   ":2: option \"storage.count\": \"70000\" is out of bounds; expected "
                   "a whole number; 1 to 65535");
    assert_refused(
        "[storage]\ncount = 0x10\n",
        ":2: option \"storage.count\": \"0x10\" is not a whole number; expected a whole number; 1 to 65535");
    assert_refused("[storage]\ncount =\n",
                   ":2: option \"storage.count\": \"\" is not a whole number; expected a "
                   "whole number; 1 to 65535");
    assert_refused("[storage]\nany = -1\n",
                   ":2: option \"storage.any\": \"-1\" is out of bounds; expected a whole "
                   "number; 0 or more");
    assert_refused("[storage]\nany = 9223372036854775808\n",
                   ":2: option \"storage.any\": \"9223372036854775808\" is out of bounds; expected a "
                   "whole number; "
                   "0 or more");
    assert_refused(
        "[storage]\nsize = 1.5G\n",
        ":2: option \"storage.size\": \"1.5G\" is not a size; expected a size: bytes, or with K, M, G "
        "or T (powers of 1024), such as 64K or 10M; 4K to 1T");
    /* 2^24 + 1: in 64 bits it would wrap round to 1T, which is allowed. */
    assert_refused("[storage]\nsize = 16777217T\n",
                   ":2: option \"storage.size\": \"16777217T\" is out of bounds; expected a size: "
                   "bytes, or with "
                   "K, M, G or T (powers of 1024), such as 64K or 10M; 4K to 1T");
    assert_refused(
        "[storage]\nbeat_interval = 5w\n",
        ":2: option \"storage.beat_interval\": \"5w\" is not a duration; expected a duration: a number "
        "with ms, s, m, h or d, such as 500ms or 30s (a bare number is seconds); 100ms to 1d");
    assert_refused("[storage]\ndurable = maybe\n",
                   ":2: option \"storage.durable\": \"maybe\" is neither yes nor no "
                   "(true/false, on/off and 1/0 are the same)");
    assert_refused("[log]\nlevel = warn\n",
                   ":2: option \"log.level\": \"warn\" is not one of debug, info, warning or "
                   "error; did you mean \"warning\"?");
    assert_refused("[log]\nlevel = loud\n",
                   ":2: option \"log.level\": \"loud\" is not one of debug, info, warning or error");
}

static void a_wrong_address_is_refused_with_its_line(void **state)
{
    struct sample sample = {0};
    struct error error;

    (void)state;
    write_bytes("[log]\npeer = a b\n", 17);
    assert_false(config_load(tables, path, NULL, 0, &sample, &error));
    assert_non_null(strstr(error.text, ":2: option \"log.peer\": "));
    write_bytes("[storage]\nlisten = a:1, b:99999\n", 32);
    assert_false(config_load(tables, path, NULL, 0, &sample, &error));
    assert_non_null(strstr(error.text, ":2: option \"storage.listen\": "));
}

static void an_option_given_twice_is_refused_with_both_lines(void **state)
{
    (void)state;
    assert_refused("[storage]\ncount = 5\n[log]\nlevel = info\n[storage]\ncount = 5\n",
                   ":6: option \"storage.count\" was given in line 2 already");
}

static void a_missing_option_without_default_is_named(void **state)
{
    struct sample sample;

    (void)state;
    assert_refused("[log]\n",
                   ": option \"storage.database\" is missing and has no default: The database's URL.");
    load(&sample, "", "storage.database=given elsewhere");
    assert_string_equal(sample.database, "given elsewhere");
    config_clear(tables, &sample);
}

static void what_is_no_ini_is_refused_with_the_first_such_line(void **state)
{
    (void)state;
    assert_refused("[storage]\ncount 5\nsize = wrong\n",
                   ":2: neither \"[section]\" nor \"name = value\" nor a comment");
    assert_refused("[storage\ncount = 5\n", ":1: neither \"[section]\" nor \"name = value\" nor a comment");
    assert_refused(
        "[storage]\ncount = x\nrubbish\n",
        ":2: option \"storage.count\": \"x\" is not a whole number; expected a whole number; 1 to 65535");
    /* A continued line, as some INI readers have it, is none here. */
    assert_refused("[log]\napplications = a,\n  b\n",
                   ":3: neither \"[section]\" nor \"name = value\" nor a comment");
    assert_refused("[log]\n\x01level = info\n", ":2: byte 1 is a control character (0x01)");
}

static void a_file_that_is_no_text_or_cannot_be_read_is_refused(void **state)
{
    struct sample sample = {0};
    struct error error;

    (void)state;
    write_bytes("[storage]\0count = 5\n", 20);
    assert_false(config_load(tables, path, NULL, 0, &sample, &error));
    assert_non_null(strstr(error.text, "contains a NUL byte"));
    assert_false(config_load(tables, "/nonexistent/x.conf", NULL, 0, &sample, &error));
    assert_string_equal(error.text,
                        "cannot open the configuration file /nonexistent/x.conf: No such file or directory");
    assert_false(config_load(tables, "/tmp", NULL, 0, &sample, &error));
    assert_string_equal(error.text, "cannot read the configuration file /tmp: Is a directory");
}

static void long_lines_are_whole_or_refused_never_cut(void **state)
{
    struct sample sample;
    char *text = malloc(8192);

    (void)state;
    assert_non_null(text);
    (void)snprintf(text, 8192, "[storage]\ndatabase = %0*d\n", 4000, 7);
    load(&sample, text, NULL);
    assert_int_equal(strlen(sample.database), 4000);
    config_clear(tables, &sample);
    (void)snprintf(text, 8192, "[storage]\ndatabase = %0*d\n", 4084, 7);
    assert_refused(text, ":2: the line is longer than 4094 characters");
    free(text);
}

static void a_file_past_its_limit_is_refused(void **state)
{
    struct sample sample = {0};
    struct error error;
    char *text = malloc((1 << 20) + 1);

    (void)state;
    assert_non_null(text);
    memset(text, '\n', (1 << 20) + 1);
    write_bytes(text, (1 << 20) + 1);
    free(text);
    assert_false(config_load(tables, path, NULL, 0, &sample, &error));
    assert_non_null(strstr(error.text, "is larger than 1 MiB"));
}

static void a_byte_order_mark_does_no_harm(void **state)
{
    struct sample sample;

    (void)state;
    load(&sample, "\xef\xbb\xbf[storage]\ndatabase = x\n", NULL);
    config_clear(tables, &sample);
}

static void overrides_count_more_than_the_file_and_later_ones_more_than_earlier(void **state)
{
    const char *const overrides[] = {"storage.count=6", "storage.database=a=b.c", "storage.count=7"};
    struct sample sample = {0};
    struct error error;

    (void)state;
    write_bytes("[storage]\ncount = 5\n", 20);
    assert_true(config_load(tables, path, overrides, 3, &sample, &error));
    assert_int_equal(sample.count, 7);
    assert_string_equal(sample.database, "a=b.c");
    config_clear(tables, &sample);
}

static void wrong_overrides_are_refused_by_name(void **state)
{
    (void)state;
    assert_override_refused("count=5", "-o count=5: not of the form SECTION.NAME=VALUE");
    assert_override_refused("storage.count", "-o storage.count: not of the form SECTION.NAME=VALUE");
    assert_override_refused(".count=5", "-o .count=5: not of the form SECTION.NAME=VALUE");
    assert_override_refused("storage.=5", "-o storage.=5: not of the form SECTION.NAME=VALUE");
    assert_override_refused("storage.cont=5",
                            "-o storage.cont=5: unknown option \"storage.cont\"; did you mean \"count\"?");
    assert_override_refused(
        "storage.count=no",
        "-o storage.count: \"no\" is not a whole number; expected a whole number; 1 to 65535");
    assert_override_refused("storage.database=a\nb",
                            "-o storage.database: the value contains a control character");
}

static void without_a_file_the_defaults_and_overrides_count(void **state)
{
    const char *override = "storage.database=x";
    struct sample sample = {0};
    struct error error;

    (void)state;
    assert_true(config_load(tables, NULL, &override, 1, &sample, &error));
    assert_int_equal(sample.count, 100);
    config_clear(tables, &sample);
    assert_false(config_load(tables, NULL, NULL, 0, &sample, &error));
    assert_non_null(strstr(error.text, "option \"storage.database\" is missing"));
}

static void the_printed_configuration_is_canonical_and_gives_the_same_again(void **state)
{
    static const char source[] =
        "[log]\napplications=a,b c\n[storage]\nlisten=media1 [::1]:5\nsize=1048576\nbeat_interval=90\n"
        "database=\" x # y\"\ncount=007\ndurable=0\n";
    static const char expected[] =
        "[storage]\nlisten = media1:23000, [::1]:5\ndurable = no\ncount = 7\nany = 0\n"
        "size = 1M\nbeat_interval = 90s\ndatabase = \" x # y\"\nlink_secret =\n\n"
        "[log]\nlevel = info\npeer =\napplications = a, b c\n";
    struct sample sample;
    char *text, *again;

    (void)state;
    load(&sample, source, NULL);
    text = printed(NULL, &sample);
    assert_string_equal(text, expected);
    config_clear(tables, &sample);
    load(&sample, text, NULL);
    again = printed(NULL, &sample);
    assert_string_equal(again, text);
    config_clear(tables, &sample);
    free(text);
    free(again);
}

static void secrets_are_not_printed(void **state)
{
    static const struct {
        const char *database, *shown;
    } cases[] = {
        {"mysql://reel:pa:s@s/w@h1:3306,h2/db?x=1", "database = mysql://reel:***@h1:3306,h2/db?x=1\n"},
        {"mysql://reel@h/db", "database = mysql://reel@h/db\n"},
        {"sqlite:/var/lib/x.db", "database = sqlite:/var/lib/x.db\n"},
        {"mysql://h:3306/db", "database = mysql://h:3306/db\n"},
    };
    struct sample sample;
    char override[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *text;
        (void)snprintf(override, sizeof(override), "storage.database=%s", cases[i].database);
        load(&sample, "[storage]\nlink_secret = hidden\n", override);
        text = printed(NULL, &sample);
        assert_non_null(strstr(text, cases[i].shown));
        assert_non_null(strstr(text, "link_secret = ***\n"));
        assert_null(strstr(text, "hidden"));
        assert_null(strstr(text, "pa:"));
        config_clear(tables, &sample);
        free(text);
    }
}

struct changes {
    char text[1024];
    int count;
};

static void note_change(void *argument, const struct config_option *option, const char *old_value,
                        const char *new_value)
{
    struct changes *changes = argument;
    size_t used = strlen(changes->text);

    changes->count++;
    (void)snprintf(changes->text + used, sizeof(changes->text) - used, "%s.%s: %s -> %s\n", option->section,
                   option->name, old_value, new_value);
}

static void a_comparison_reports_each_changed_option_and_no_password(void **state)
{
    struct sample old_sample, new_sample;
    struct changes changes = {.count = 0};

    (void)state;
    load(&old_sample, "[storage]\ndatabase = mysql://u:one@h/db\nsize = 64K\n", NULL);
    load(&new_sample,
         "[storage]\ndatabase = mysql://u:two@h/db\nsize = 65536\ncount = 5\n[log]\nlevel = debug\n", NULL);
    config_compare(tables, &old_sample, &new_sample, note_change, &changes);
    assert_string_equal(changes.text, "storage.count: 100 -> 5\nstorage.database: mysql://u:***@h/db -> "
                                      "mysql://u:***@h/db\nlog.level: info -> debug\n");
    changes = (struct changes){.count = 0};
    config_compare(tables, &new_sample, &new_sample, note_change, &changes);
    assert_int_equal(changes.count, 0);
    config_clear(tables, &old_sample);
    config_clear(tables, &new_sample);
}

static void the_help_names_every_option_once_with_type_bounds_and_default(void **state)
{
    char *text = printed(config_help, NULL);

    (void)state;
    assert_non_null(
        strstr(text, "[storage]\n  listen: addresses; default *:23000\n      Where to listen.\n"));
    assert_non_null(strstr(text, "  count: number, 1 to 65535; default 100; reloadable\n"));
    assert_non_null(strstr(text, "  size: size, 4K to 1T; default 64K; reloadable\n"));
    assert_non_null(strstr(text, "  any: number, 0 or more; default 0; reloadable\n"));
    assert_non_null(strstr(text, "  database: text; must be given\n"));
    assert_non_null(strstr(text, "  level: debug, info, warning or error; default info; reloadable\n"));
    assert_non_null(strstr(text, "  peer: address; default empty; reloadable\n"));
    /* One heading a section, though two tables have options of it. */
    assert_null(strstr(strstr(text, "[storage]") + 1, "[storage]"));
    assert_true(strstr(text, "link_secret") < strstr(text, "[log]"));
    free(text);
}

static void the_markdown_help_is_a_table_a_section_with_bars_escaped(void **state)
{
    char *text = printed(config_help_markdown, NULL);

    (void)state;
    assert_non_null(strstr(
        text, "### [storage]\n\n| option | type | default | reload | meaning |\n"
              "|---|---|---|---|---|\n| `listen` | addresses | `*:23000` | no | Where to listen. |\n"));
    assert_non_null(strstr(
        text, "| `level` | debug, info, warning or error | `info` | yes | Least \\| level &lt;x>. |\n"));
    assert_non_null(strstr(text, "| `database` | text | must be given | no | The database's URL. |\n"));
    free(text);
}

static void a_default_that_breaks_its_own_bounds_is_reported(void **state)
{
    static const struct config_option options[] = {
        {"a", "b", CONFIG_INTEGER, AT(count), "5", 10, 20, NULL, false, "Wrong."}};
    static const struct config_table wrong[] = {{options, 1}, {NULL, 0}};
    struct sample sample = {0};
    struct error error;

    (void)state;
    assert_false(config_load(wrong, NULL, NULL, 0, &sample, &error));
    assert_string_equal(error.text,
                        "default of option \"a.b\": \"5\" is out of bounds; expected a whole number; 10 "
                        "to 20");
}

static void no_rubbish_file_crashes_the_parser(void **state)
{
    static const char alphabet[] = "[]=:;# \t\n\r\"storagecountlevel0159KMxyz,.\xc3\xa9\x01";
    struct sample sample = {0};
    struct error error;
    unsigned seed = 20260101;
    int refused = 0;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char text[160];
        size_t size = (size_t)(rand_r(&seed) % (int)sizeof(text));
        size_t head = 0;
        if (round % 2 == 0) {
            head = (size_t)snprintf(text, sizeof(text), "[storage]\ncount =");
            size = size < head ? head : size;
        }
        for (size_t i = head; i < size; i++)
            text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        write_bytes(text, size);
        error.text[0] = '\0';
        if (config_load(tables, path, NULL, 0, &sample, &error)) {
            config_clear(tables, &sample);
        } else {
            refused++;
            assert_true(error.text[0] != '\0');
        }
    }
    assert_int_equal(refused, 3000); /* the database is never given */
}

static void a_list_whose_items_look_like_comments_can_be_read_back(void **state)
{
    static const char *const lists[] = {
        "log.applications=#one, ;two, three", "log.applications=one, #two", "log.applications=a #b, c",
        "log.applications=\"a\", \"b\"",      "log.applications=\"",        "log.applications= , ,x y;z"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        const char *overrides[] = {lists[i], "storage.database=sqlite:/x"};
        struct sample one = {0}, two = {0};
        struct error error;
        char *text = NULL;
        size_t size = 0;

        assert_true(config_load(tables, NULL, overrides, 2, &one, &error));
        FILE *out = open_memstream(&text, &size);
        config_print(tables, &one, out);
        assert_int_equal(fclose(out), 0);
        write_bytes(text, size);
        free(text);
        if (!config_load(tables, path, NULL, 0, &two, &error))
            fail_msg("%s: %s", lists[i], error.text);
        assert_int_equal(two.applications.count, one.applications.count);
        for (size_t j = 0; j < one.applications.count; j++)
            assert_string_equal(two.applications.items[j], one.applications.items[j]);
        config_clear(tables, &one);
        config_clear(tables, &two);
    }
}

static void a_copy_of_a_list_has_strings_of_its_own(void **state)
{
    char *items[] = {"tnvideo", "tnaudio"};
    struct config_strings from = {items, 2}, to;
    struct error error;
    (void)state;
    assert_true(config_strings_copy(&to, &from, &error));
    assert_int_equal(to.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(to.items[i], items[i]);
        assert_ptr_not_equal(to.items[i], items[i]);
    }
    config_strings_clear(&to);
    assert_int_equal(to.count, 0);
    assert_null(to.items);
    assert_true(config_strings_copy(&to, &to, &error)); /* of nothing: nothing */
    assert_int_equal(to.count, 0);
    assert_null(to.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_takes_its_forms),
        cmocka_unit_test(a_copy_of_a_list_has_strings_of_its_own),
        cmocka_unit_test_setup_teardown(a_list_whose_items_look_like_comments_can_be_read_back, make_file,
                                        remove_file),
        cmocka_unit_test(units_and_words_mean_what_they_say),
        cmocka_unit_test(defaults_hold_where_the_file_is_silent),
        cmocka_unit_test(semicolons_and_hashes_inside_a_value_belong_to_it),
        cmocka_unit_test(a_comment_behind_a_value_is_refused_not_swallowed),
        cmocka_unit_test(unknown_names_are_reported_with_what_was_probably_meant),
        cmocka_unit_test(a_wrong_value_is_reported_with_what_would_be_right),
        cmocka_unit_test(a_wrong_address_is_refused_with_its_line),
        cmocka_unit_test(an_option_given_twice_is_refused_with_both_lines),
        cmocka_unit_test(a_missing_option_without_default_is_named),
        cmocka_unit_test(what_is_no_ini_is_refused_with_the_first_such_line),
        cmocka_unit_test(a_file_that_is_no_text_or_cannot_be_read_is_refused),
        cmocka_unit_test(long_lines_are_whole_or_refused_never_cut),
        cmocka_unit_test(a_file_past_its_limit_is_refused),
        cmocka_unit_test(a_byte_order_mark_does_no_harm),
        cmocka_unit_test(overrides_count_more_than_the_file_and_later_ones_more_than_earlier),
        cmocka_unit_test(wrong_overrides_are_refused_by_name),
        cmocka_unit_test(without_a_file_the_defaults_and_overrides_count),
        cmocka_unit_test(the_printed_configuration_is_canonical_and_gives_the_same_again),
        cmocka_unit_test(secrets_are_not_printed),
        cmocka_unit_test(a_comparison_reports_each_changed_option_and_no_password),
        cmocka_unit_test(the_help_names_every_option_once_with_type_bounds_and_default),
        cmocka_unit_test(the_markdown_help_is_a_table_a_section_with_bars_escaped),
        cmocka_unit_test(a_default_that_breaks_its_own_bounds_is_reported),
        cmocka_unit_test(no_rubbish_file_crashes_the_parser),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
