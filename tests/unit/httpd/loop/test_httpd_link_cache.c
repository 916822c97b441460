/* link_cache: what is remembered of links is what verifying them again would say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/keys_file.h"
#include "httpd/loop/link_cache.h"

#include <stdio.h>
#include <string.h>

#define SECRET_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define NOW      INT64_C(1800000000)

struct source {
    struct keys *keys;
    uint64_t generation;
};

static struct keys *source_get(void *argument)
{
    return keys_hold(((struct source *)argument)->keys);
}

static uint64_t source_generation(void *argument)
{
    return ((struct source *)argument)->generation;
}

static void source_set(struct source *source, const char *text)
{
    struct error error;
    keys_release(source->keys);
    source->keys = text ? keys_parse(text, strlen(text), "keys", &error) : NULL;
    assert_true(!text || source->keys);
    source->generation++;
}

static struct link_cache *make(struct source *source)
{
    const struct link_keys keys = {source_get, source_generation, source};
    struct link_cache *cache = link_cache_create(&keys);
    assert_non_null(cache);
    return cache;
}

static struct link_cache *with_a_key(struct source *source)
{
    source_set(source, "app-a issuer " SECRET_A);
    return make(source);
}

static void end(struct link_cache *cache, const struct source *source)
{
    link_cache_destroy(cache);
    keys_release(source->keys);
}

static struct proto_file_key file_number(int number)
{
    struct proto_file_key file = {"tnvideo", "alice", ""};
    snprintf(file.file, sizeof(file.file), "%08d", number);
    return file;
}

static struct link_token token_for(const struct source *source, const struct proto_file_key *file,
                                   int64_t expires)
{
    struct link_token token = {.expires = expires};
    assert_true(link_token_sign(&token, keys_find(source->keys, "app-a"), file, NULL, ""));
    return token;
}

static void a_link_is_remembered_until_it_expires(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1), other = file_number(2);
    struct link_token token = token_for(&source, &file, NOW);
    for (int i = 0; i < 2; i++)
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_count(cache), 1);
    assert_int_equal(link_cache_verify(cache, &token, &other, NULL, "", NULL, NOW), LINK_WRONG);
    struct link_token forged = token;
    forged.signature[0] ^= 1;
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NULL, NOW), LINK_WRONG);
    forged = token;
    forged.expires++;
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NULL, NOW), LINK_WRONG);
    forged = token;
    strcpy(forged.key, "app-b");
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NULL, NOW), LINK_WRONG);
    assert_int_equal(link_cache_count(cache), 1);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW + LINK_SKEW - 1), LINK_GOOD);
    for (int i = 0; i < 2; i++)
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW + LINK_SKEW),
                         LINK_EXPIRED);
    struct proto_file_key late = file_number(3);
    token = token_for(&source, &late, NOW);
    assert_int_equal(link_cache_verify(cache, &token, &late, NULL, "", NULL, NOW + LINK_SKEW), LINK_EXPIRED);
    assert_int_equal(link_cache_count(cache), 1);
    end(cache, &source);
}

static void a_key_that_goes_or_changes_takes_its_links_along(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW + 100);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_GOOD);
    source_set(&source, "app-a issuer " SECRET_B);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_WRONG);
    source_set(&source, NULL);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_WRONG);
    source_set(&source, "app-a issuer " SECRET_A " - 2027-01-15T08:00:10Z"); /* NOW + 10 */
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW + 9), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW + 10), LINK_WRONG);
    source_set(&source, "app-a issuer " SECRET_A " 2027-01-15T08:00:00Z"); /* NOW */
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW - 1), LINK_WRONG);
    end(cache, &source);
}

static void no_more_links_are_remembered_than_there_are_places(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    for (int i = 0; i < 30 * LINK_CACHE_ENTRIES; i++) { /* each set has had its fill, whatever the seed */
        struct proto_file_key file = file_number(i);
        struct link_token token = token_for(&source, &file, NOW);
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NULL, NOW), LINK_GOOD);
    }
    assert_int_equal(link_cache_count(cache), LINK_CACHE_ENTRIES);
    end(cache, &source);
}

static void a_link_that_is_used_stays_and_one_too_long_to_keep_is_good_all_the_same(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key used = file_number(0), long_one = {.application = "tnvideo"}, file;
    struct link_token often = token_for(&source, &used, NOW), other;
    memset(long_one.user, 'u', sizeof(long_one.user) - 1);
    memset(long_one.file, 'f', sizeof(long_one.file) - 1);
    struct link_token token = token_for(&source, &long_one, NOW);
    for (int i = 0; i < 2; i++)
        assert_int_equal(link_cache_verify(cache, &token, &long_one, NULL, "", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_count(cache), 0);
    assert_int_equal(link_cache_verify(cache, &often, &used, NULL, "", NULL, NOW), LINK_GOOD);
    /* While the state is another, whatever is computed comes out wrong: what is good then was remembered. */
    uint32_t *state_word = &source.keys->items[0].states[KEY_USE_LINK].inner[0];
    for (int i = 1; i < 20 * LINK_CACHE_ENTRIES; i++) {
        file = file_number(i);
        other = token_for(&source, &file, NOW);
        /* First every set has its fill; then each link comes back, and drives another one out. */
        for (int shown = i < 10 * LINK_CACHE_ENTRIES ? 1 : 0; shown < 2; shown++)
            assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_GOOD);
        if (i % 4 != 0)
            continue;
        *state_word ^= 1;
        assert_int_equal(link_cache_verify(cache, &often, &used, NULL, "", NULL, NOW), LINK_GOOD);
        *state_word ^= 1;
    }
    /* What is met once does not. */
    *state_word ^= 1;
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_GOOD);
    *state_word ^= 1;
    file = file_number(20 * LINK_CACHE_ENTRIES);
    other = token_for(&source, &file, NOW);
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_GOOD);
    *state_word ^= 1;
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_WRONG);
    *state_word ^= 1;
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_GOOD);
    *state_word ^= 1;
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &long_one, NULL, "", NULL, NOW), LINK_WRONG);
    other.expires++;
    assert_int_equal(link_cache_verify(cache, &other, &file, NULL, "", NULL, NOW), LINK_WRONG);
    end(cache, &source);
}

static void a_link_of_one_network_is_remembered_for_it(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = {.expires = NOW, .network = true};
    assert_true(link_token_sign(&token, keys_find(source.keys, "app-a"), &file, NULL, "192.0.2.1"));
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "192.0.2.9", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "198.51.100.9", NULL, NOW), LINK_WRONG);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "nowhere", NULL, NOW), LINK_WRONG);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "192.0.2.9", NULL, NOW), LINK_GOOD);
    assert_int_equal(link_cache_count(cache), 1);
    end(cache, &source);
}

/* ---- targets ---- */

static bool knows(struct link_cache *cache, const char *text, int64_t now)
{
    struct link_target target = {.bytes = text, .size = strlen(text)};
    return link_cache_knows(cache, &target, now);
}

static const struct http_target
    unnamed; /* no target of these tests says what it names, but where one is made */

/* As a request does. Whether nothing but the target was looked at. */
static bool asked(struct link_cache *cache, const char *text, const struct link_token *token,
                  const struct proto_file_key *file, int64_t now)
{
    struct link_target target = {.bytes = text, .size = strlen(text), .parsed = &unnamed};
    if (link_cache_knows(cache, &target, now))
        return true;
    (void)link_cache_verify(cache, token, file, NULL, "", &target, now);
    return false;
}

static void a_target_is_known_by_every_byte_and_until_its_link_expires(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW);
    char text[] = "/files/tnvideo/alice/00000001?e=6b49d200&k=app-a&s=0123456789012345678901";
    assert_false(asked(cache, text, &token, &file, NOW));
    assert_true(asked(cache, text, &token, &file, NOW));
    assert_int_equal(link_cache_count(cache), 1); /* and not the link too, which comes back with its target */
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        text[i] ^= 1;
        assert_false(knows(cache, text, NOW));
        text[i] ^= 1;
    }
    struct link_target shorter = {.bytes = text, .size = strlen(text) - 1};
    assert_false(link_cache_knows(cache, &shorter, NOW));
    assert_true(knows(cache, text, NOW + LINK_SKEW - 1));
    assert_false(knows(cache, text, NOW + LINK_SKEW));
    assert_false(asked(cache, text, &token, &file, NOW + LINK_SKEW)); /* and is not learnt again */
    assert_false(knows(cache, text, NOW + LINK_SKEW));
    assert_true(knows(cache, text, NOW));
    link_cache_forget(cache);
    assert_false(knows(cache, text, NOW));
    assert_int_equal(link_cache_count(cache), 0);
    end(cache, &source);
}

static void a_target_is_known_while_its_key_is_valid(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW + 100);
    assert_false(asked(cache, "/a", &token, &file, NOW));
    assert_true(asked(cache, "/a", &token, &file, NOW));
    source_set(&source, "app-a issuer " SECRET_B);
    assert_false(asked(cache, "/a", &token, &file, NOW));
    assert_false(asked(cache, "/a", &token, &file, NOW));
    source_set(&source,
               "app-a issuer " SECRET_A " 2027-01-15T08:00:00Z 2027-01-15T08:00:10Z"); /* NOW, NOW + 10 */
    assert_false(asked(cache, "/a", &token, &file, NOW));
    assert_true(asked(cache, "/a", &token, &file, NOW));
    assert_true(knows(cache, "/a", NOW + 9));
    assert_false(knows(cache, "/a", NOW + 10));
    assert_false(knows(cache, "/a", NOW - 1));
    source_set(&source, NULL);
    assert_false(knows(cache, "/a", NOW));
    end(cache, &source);
}

static void a_target_too_long_to_keep_is_good_all_the_same(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW);
    char text[400];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 3; i++)
        assert_false(asked(cache, text, &token, &file, NOW));
    assert_int_equal(link_cache_count(cache), 1); /* the link itself */
    end(cache, &source);
}

static void what_opens_more_than_one_file_is_remembered_beside_its_targets(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1), other = file_number(2);
    struct link_token token = {.expires = NOW, .scope = LINK_SCOPE_USER};
    assert_true(link_token_sign(&token, keys_find(source.keys, "app-a"), &file, NULL, ""));
    assert_false(asked(cache, "/t/x/1", &token, &file, NOW));
    assert_int_equal(link_cache_count(cache), 2);
    /* While the state is another, whatever is computed comes out wrong: what is good then was remembered. */
    uint32_t *state_word = &source.keys->items[0].states[KEY_USE_LINK].inner[0];
    *state_word ^= 1;
    assert_false(asked(cache, "/t/x/2", &token, &other, NOW));
    assert_true(asked(cache, "/t/x/2", &token, &other, NOW));
    *state_word ^= 1;
    assert_int_equal(link_cache_count(cache), 3);
    end(cache, &source);
}

static void a_target_whose_link_is_of_one_network_is_not_learnt(void **state)
{
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = {.expires = NOW, .network = true};
    struct link_target target = {.bytes = "/a", .size = 2, .parsed = &unnamed};
    assert_true(link_token_sign(&token, keys_find(source.keys, "app-a"), &file, NULL, "192.0.2.1"));
    assert_false(link_cache_knows(cache, &target, NOW));
    for (int i = 0; i < 2; i++)
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "192.0.2.9", &target, NOW), LINK_GOOD);
    assert_false(link_cache_knows(cache, &target, NOW));
    assert_int_equal(link_cache_count(cache), 1); /* the link */
    end(cache, &source);
}

static void what_a_target_names_is_remembered_with_it(void **state)
{
    static const char *const texts[] = {"/files/tnvideo/alice/00000001?e=1", "/files/00000001?e=1"};
    (void)state;
    struct source source = {0};
    struct link_cache *cache = with_a_key(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct http_target parsed, again;
        struct http_text text = http_text_of(texts[i]);
        struct link_target target = {.bytes = text.bytes, .size = text.size, .parsed = &parsed};
        assert_int_equal(http_target_parse(text, "tnvideo", "alice", &parsed), HTTP_TARGET_FILE);
        assert_false(link_cache_knows(cache, &target, NOW));
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", &target, NOW), LINK_GOOD);
        target = (struct link_target){.bytes = text.bytes, .size = text.size};
        assert_true(link_cache_knows(cache, &target, NOW));
        assert_true(target.known);
        assert_int_equal(target.plain.file > 0, i == 0);
        if (target.plain.file == 0)
            continue;
        http_target_take_plain(text, target.plain, &again);
        assert_memory_equal(&again.key, &file, sizeof(file));
        assert_false(link_cache_knows(cache, &target, NOW + LINK_SKEW));
        assert_false(target.known);
    }
    end(cache, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_remembered_until_it_expires),
        cmocka_unit_test(a_key_that_goes_or_changes_takes_its_links_along),
        cmocka_unit_test(no_more_links_are_remembered_than_there_are_places),
        cmocka_unit_test(a_link_that_is_used_stays_and_one_too_long_to_keep_is_good_all_the_same),
        cmocka_unit_test(a_link_of_one_network_is_remembered_for_it),
        cmocka_unit_test(a_target_is_known_by_every_byte_and_until_its_link_expires),
        cmocka_unit_test(a_target_is_known_while_its_key_is_valid),
        cmocka_unit_test(what_opens_more_than_one_file_is_remembered_beside_its_targets),
        cmocka_unit_test(a_target_whose_link_is_of_one_network_is_not_learnt),
        cmocka_unit_test(what_a_target_names_is_remembered_with_it),
        cmocka_unit_test(a_target_too_long_to_keep_is_good_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
