/* link_token: bytes against vectors of another program (tests/system/links.py), strict texts, and what a link opens. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/keys_file.h"
#include "common/auth/link_token.h"

#include <stdio.h>
#include <string.h>

#define SECRET  "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 0, 1, ..., 31 */
#define EXPIRES INT64_C(0x67a1b2c3)
#define GOOD    "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ"

static const struct proto_file_key file = {"tnvideo", "alice", "6748f1c0abcdef"};

static struct keys *keys_of(const char *line)
{
    struct error error;
    struct keys *keys = keys_parse(line, strlen(line), "keys", &error);
    if (!keys)
        fail_msg("%s", error.text);
    return keys;
}

static bool parse(const char *text, struct link_token *token)
{
    return link_token_parse(text, strlen(text), token);
}

static enum link_verdict verify_at(const char *text, const char *line, const struct proto_file_key *of,
                                   const char *host, int64_t now)
{
    struct link_token token;
    uint8_t message[LINK_MESSAGE_SIZE];
    struct keys *keys = keys_of(line);
    assert_true(parse(text, &token));
    size_t size = link_message(&token, of, NULL, host, message);
    enum link_verdict verdict = link_token_verify(&token, keys, of, message, size, false, now);
    keys_release(keys);
    return verdict;
}

static enum link_verdict verify(const char *text, const struct proto_file_key *of, const char *host)
{
    return verify_at(text, "app-a issuer " SECRET, of, host, EXPIRES - 1);
}

static void signatures_are_those_of_another_program(void **state)
{
    (void)state;
    static const struct {
        const char *scope, *host, *user, *id, *text;
    } rows[] = {
        {"f", NULL, "alice", "6748f1c0abcdef", GOOD},
        {"p10", NULL, "alice", "6748f1c0abcdef", "app-a.67a1b2c3.p10.zCy4hrrermQ6BaUsbaynGA"},
        {"u", NULL, "alice", "6748f1c0abcdef", "app-a.67a1b2c3.u.oXGb6E-bTfRwjXplR6T3vw"},
        {"f", "192.0.2.77", "alice", "6748f1c0abcdef", "app-a.67a1b2c3n.f.GXYUSek5ytHy-wUr7SdMAg"},
        {"u", "2001:db8:1:2:3::4", "alice", "6748f1c0abcdef", "app-a.67a1b2c3n.u.Ip8ytP5ISnkrC5aOQIZXzQ"},
        {"f", NULL, "\xc3\xbcser/\xc3\xa4", "a b", "app-a.67a1b2c3.f.UMDbqr214d4sTtijuEIDTQ"},
    };
    struct keys *keys = keys_of("app-a issuer " SECRET);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct link_token token = {.expires = EXPIRES, .network = rows[i].host != NULL};
        struct proto_file_key of = {.application = "tnvideo"};
        char text[LINK_TEXT_SIZE];
        snprintf(of.user, sizeof(of.user), "%s", rows[i].user);
        snprintf(of.file, sizeof(of.file), "%s", rows[i].id);
        assert_true(link_scope_parse(rows[i].scope, strlen(rows[i].scope), &token));
        assert_true(
            link_token_sign(&token, keys_find(keys, "app-a"), &of, NULL, rows[i].host ? rows[i].host : ""));
        assert_string_equal(link_token_format(&token, text), rows[i].text);
        assert_int_equal(verify(rows[i].text, &of, rows[i].host ? rows[i].host : ""), LINK_GOOD);
    }
    keys_release(keys);
}

static void what_is_signed_is_as_documented(void **state)
{
    (void)state;
    static const uint8_t expected[] =
        "L1\0\7tnvideo\0\5alice\0\xbp6748f1c0ab\0\0\0\0\x67\xa1\xb2\xc3\2\0\3\xc0\0\2";
    struct link_token token = {.expires = EXPIRES, .scope = LINK_SCOPE_PREFIX, .prefix = 10, .network = true};
    uint8_t message[LINK_MESSAGE_SIZE];
    assert_int_equal(link_message(&token, &file, NULL, "192.0.2.1", message), sizeof(expected) - 1);
    assert_memory_equal(message, expected, sizeof(expected) - 1);
}

static void a_text_that_is_written_in_another_way_is_no_link(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "app-a",
        "app-a.67a1b2c3.f",
        "app-a.67a1b2c3.f.",
        "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszd",   /* truncated */
        "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQA", /* longer */
        "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszd=",
        "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdsz+Q",
        "app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ.", /* one part more */
        ".67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "sixteen-letters-.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app_a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a..f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.n.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.067a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67A1B2C3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.0x67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3nn.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.7fffffffffffffff.f.bFSFQZxgj8Wn8nRKAdszdQ", /* with the skew past the end of time */
        "app-a.ffffffffffffffff.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.10000000000000000.f.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3..bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.F.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.ff.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p0.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p08.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p128.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p1000.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3.p-1.bFSFQZxgj8Wn8nRKAdszdQ",
        "app-a.67a1b2c3x.f.bFSFQZxgj8Wn8nRKAdszdQ", /* with one name: only in a query */
    };
    struct link_token token;
    char text[LINK_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (parse(rows[i], &token))
            fail_msg("taken: %s", rows[i]);
    }
    assert_false(link_token_parse(GOOD "\0", sizeof(GOOD), &token));
    assert_true(parse(GOOD, &token));
    assert_string_equal(link_token_format(&token, text), GOOD);
    assert_true(parse("fifteen-letters.7fffffffffffffe0n.p127.bFSFQZxgj8Wn8nRKAdszdQ", &token));
    assert_string_equal(link_token_format(&token, text),
                        "fifteen-letters.7fffffffffffffe0n.p127.bFSFQZxgj8Wn8nRKAdszdQ");
}

static void a_link_opens_what_its_scope_says_and_nothing_else(void **state)
{
    (void)state;
    static const struct proto_file_key longer = {"tnvideo", "alice", "6748f1c0abcdef0"},
                                       sibling = {"tnvideo", "alice", "6748f1c0ab0000"},
                                       stranger = {"tnvideo", "alice", "6748f1c0aa0000"},
                                       shorter = {"tnvideo", "alice", "6748f1c0a"},
                                       bob = {"tnvideo", "bob", "6748f1c0abcdef"},
                                       other = {"tnvide", "oalice", "6748f1c0abcdef"};
    static const char prefix[] = "app-a.67a1b2c3.p10.zCy4hrrermQ6BaUsbaynGA",
                      user[] = "app-a.67a1b2c3.u.oXGb6E-bTfRwjXplR6T3vw";
    assert_int_equal(verify(GOOD, &longer, ""), LINK_WRONG);
    assert_int_equal(verify(GOOD, &sibling, ""), LINK_WRONG);
    assert_int_equal(verify(prefix, &sibling, ""), LINK_GOOD);
    assert_int_equal(verify(prefix, &longer, ""), LINK_GOOD);
    assert_int_equal(verify(prefix, &stranger, ""), LINK_WRONG);
    assert_int_equal(verify(prefix, &shorter, ""), LINK_WRONG);
    assert_int_equal(verify(user, &stranger, ""), LINK_GOOD);
    const char *const all[] = {GOOD, prefix, user};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        assert_int_equal(verify(all[i], &bob, ""), LINK_WRONG);
        assert_int_equal(verify(all[i], &other, ""), LINK_WRONG);
    }
    /* A scope cannot be widened, nor a time moved. */
    assert_int_equal(verify("app-a.67a1b2c3.u.bFSFQZxgj8Wn8nRKAdszdQ", &file, ""), LINK_WRONG);
    assert_int_equal(verify("app-a.67a1b2c3.p14.bFSFQZxgj8Wn8nRKAdszdQ", &file, ""), LINK_WRONG);
    assert_int_equal(verify("app-a.67a1b2c4.f.bFSFQZxgj8Wn8nRKAdszdQ", &file, ""), LINK_WRONG);
    assert_int_equal(verify("app-a.67a1b2c3.f.bFSFQZxgj8Wn8nRKAdszdR", &file, ""), LINK_WRONG);
    assert_int_equal(verify("app-a.67a1b2c3.f.aFSFQZxgj8Wn8nRKAdszdQ", &file, ""), LINK_WRONG);
}

static void a_link_ends_half_a_minute_after_its_time(void **state)
{
    (void)state;
    static const char line[] = "app-a issuer " SECRET;
    assert_int_equal(verify_at(GOOD, line, &file, "", EXPIRES), LINK_GOOD);
    assert_int_equal(verify_at(GOOD, line, &file, "", EXPIRES + LINK_SKEW - 1), LINK_GOOD);
    assert_int_equal(verify_at(GOOD, line, &file, "", EXPIRES + LINK_SKEW), LINK_EXPIRED);
    /* Whoever guesses does not learn that a time is past. */
    assert_int_equal(verify_at("app-a.67a1b2c3.f.aFSFQZxgj8Wn8nRKAdszdQ", line, &file, "", EXPIRES + 1000),
                     LINK_WRONG);
}

static void a_key_signs_links_only_as_far_as_it_goes(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum link_verdict verdict;
    } rows[] = {
        {"app-a issuer " SECRET " - - applications=tnvideo rights=r", LINK_GOOD},
        {"app-a issuer,operator " SECRET, LINK_GOOD},
        {"app-b issuer " SECRET, LINK_WRONG},
        {"app-a gateway,client,operator " SECRET, LINK_WRONG},
        {"app-a issuer " SECRET " - - applications=other", LINK_WRONG},
        {"app-a issuer " SECRET " - - rights=wdl", LINK_WRONG},
        {"app-a issuer " SECRET " - 2025-01-01", LINK_WRONG},
        {"app-a issuer " SECRET " 2026-01-01", LINK_WRONG},
        {"app-a issuer AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=", LINK_WRONG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (verify_at(GOOD, rows[i].line, &file, "", EXPIRES - 1) != rows[i].verdict)
            fail_msg("%s", rows[i].line);
    }
}

static void each_bit_of_a_signature_counts(void **state)
{
    (void)state;
    struct keys *keys = keys_of("app-a issuer " SECRET);
    struct link_token token;
    uint8_t message[LINK_MESSAGE_SIZE];
    char text[LINK_TEXT_SIZE];
    assert_true(parse(GOOD, &token));
    assert_string_equal(link_token_format(&token, text), GOOD);
    size_t size = link_message(&token, &file, NULL, "", message);
    assert_int_equal(link_token_verify(&token, keys, &file, message, size, false, EXPIRES), LINK_GOOD);
    for (size_t bit = 0; bit < 6 * (size_t)LINK_SIGNATURE_LENGTH; bit++) {
        struct link_token other = token;
        other.signature[bit / 60] ^= UINT64_C(1) << bit % 60;
        assert_int_equal(link_token_verify(&other, keys, &file, message, size, false, EXPIRES), LINK_WRONG);
        link_token_format(&other, text);
        assert_string_not_equal(text, GOOD);
        assert_true(parse(text, &other));
        assert_int_equal(link_token_verify(&other, keys, &file, message, size, false, EXPIRES), LINK_WRONG);
    }
    keys_release(keys);
}

static void a_link_may_hold_for_one_network(void **state)
{
    (void)state;
    static const char four[] = "app-a.67a1b2c3n.f.GXYUSek5ytHy-wUr7SdMAg",
                      six[] = "app-a.67a1b2c3n.u.Ip8ytP5ISnkrC5aOQIZXzQ";
    assert_int_equal(verify(four, &file, "192.0.2.1"), LINK_GOOD);
    assert_int_equal(verify(four, &file, "::ffff:192.0.2.255"), LINK_GOOD);
    assert_int_equal(verify(four, &file, "192.0.3.1"), LINK_WRONG);
    assert_int_equal(verify(four, &file, "2001:db8:1:2::1"), LINK_WRONG);
    assert_int_equal(verify(four, &file, ""), LINK_WRONG);
    assert_int_equal(verify(six, &file, "2001:db8:1:2:ffff::"), LINK_GOOD);
    assert_int_equal(verify(six, &file, "2001:db8:1:3::"), LINK_WRONG);
    /* The mark cannot be taken off. */
    assert_int_equal(verify("app-a.67a1b2c3.f.GXYUSek5ytHy-wUr7SdMAg", &file, "192.0.2.1"), LINK_WRONG);
}

static void a_link_may_hold_with_one_name_alone(void **state)
{
    (void)state;
    static const uint8_t expected[] = "L1\0\7tnvideo\0\5alice\0\xf"
                                      "f6748f1c0abcdef\0\0\0\0\x67\xa1\xb2\xc3\3\0\5a.mp4\0\2db\0\3\xc0\0\2";
    static const struct link_view shown = {"a.mp4", "b", true};
    static const struct link_view others[] = {{"b.mp4", "b", true},
                                              {"a.mp4", "b", false},
                                              {"a.mp4", "", true},
                                              {"a.mp4d", "", true},
                                              {NULL, "a.mp4", true}};
    char expires[LINK_EXPIRES_SIZE], signature[LINK_SIGNATURE_LENGTH + 1], name[PROTO_NAME_SIZE + 1];
    uint8_t message[LINK_MESSAGE_SIZE];
    struct link_token token = {.expires = EXPIRES, .exact = true, .network = true}, parsed;
    assert_int_equal(link_message(&token, &file, &shown, "192.0.2.1", message), sizeof(expected) - 1);
    assert_memory_equal(message, expected, sizeof(expected) - 1);
    assert_string_equal(link_expires_format(&token, expires), "67a1b2c3xn");

    struct keys *keys = keys_of("app-a issuer " SECRET);
    assert_true(link_token_sign(&token, keys_find(keys, "app-a"), &file, &shown, "192.0.2.1"));
    assert_true(link_token_parse_query(
        (struct link_part){expires, 10}, (struct link_part){"app-a", 5},
        (struct link_part){link_signature_format(&token, signature), LINK_SIGNATURE_LENGTH}, &parsed));
    assert_true(parsed.exact && parsed.network && parsed.expires == EXPIRES);
    for (size_t i = 0; i <= ARRAY_SIZE(others); i++) {
        size_t size = link_message(&parsed, &file, i == 0 ? &shown : &others[i - 1], "192.0.2.1", message);
        assert_int_equal(link_token_verify(&parsed, keys, &file, message, size, false, EXPIRES),
                         i == 0 ? LINK_GOOD : LINK_WRONG);
    }
    /* The mark cannot be taken off. */
    parsed.exact = false;
    size_t size = link_message(&parsed, &file, &shown, "192.0.2.1", message);
    assert_int_equal(link_token_verify(&parsed, keys, &file, message, size, false, EXPIRES), LINK_WRONG);
    keys_release(keys);

    memset(name, 'n', sizeof(name));
    name[PROTO_NAME_SIZE] = '\0';
    const struct link_view longer = {.name = name}, saved = {.download_name = name, .download = true};
    assert_int_equal(link_message(&token, &file, &longer, "192.0.2.1", message), 0);
    assert_int_equal(link_message(&token, &file, &saved, "192.0.2.1", message), 0);
    name[PROTO_NAME_SIZE - 1] = '\0'; /* the longest of all */
    assert_true(link_message(&token, &file, &longer, "2001:db8::1", message) > PROTO_NAME_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_another_program),
        cmocka_unit_test(what_is_signed_is_as_documented),
        cmocka_unit_test(a_text_that_is_written_in_another_way_is_no_link),
        cmocka_unit_test(a_link_opens_what_its_scope_says_and_nothing_else),
        cmocka_unit_test(a_link_ends_half_a_minute_after_its_time),
        cmocka_unit_test(a_key_signs_links_only_as_far_as_it_goes),
        cmocka_unit_test(each_bit_of_a_signature_counts),
        cmocka_unit_test(a_link_may_hold_for_one_network),
        cmocka_unit_test(a_link_may_hold_with_one_name_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
