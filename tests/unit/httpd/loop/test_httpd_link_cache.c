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
    source_set(&source, "app-a issuer " SECRET_A);
    struct link_cache *cache = make(&source);
    struct proto_file_key file = file_number(1), other = file_number(2);
    struct link_token token = token_for(&source, &file, NOW);
    for (int i = 0; i < 2; i++)
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_GOOD);
    assert_int_equal(link_cache_count(cache), 1);
    assert_int_equal(link_cache_verify(cache, &token, &other, NULL, "", NOW), LINK_WRONG);
    struct link_token forged = token;
    forged.signature[3] ^= 1;
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NOW), LINK_WRONG);
    forged = token;
    forged.expires++;
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NOW), LINK_WRONG);
    forged = token;
    strcpy(forged.key, "app-b");
    assert_int_equal(link_cache_verify(cache, &forged, &file, NULL, "", NOW), LINK_WRONG);
    assert_int_equal(link_cache_count(cache), 1);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW + LINK_SKEW - 1), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW + LINK_SKEW), LINK_EXPIRED);
    assert_int_equal(link_cache_count(cache), 0);
    link_cache_destroy(cache);
    keys_release(source.keys);
}

static void a_key_that_goes_or_changes_takes_its_links_along(void **state)
{
    (void)state;
    struct source source = {0};
    source_set(&source, "app-a issuer " SECRET_A);
    struct link_cache *cache = make(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = token_for(&source, &file, NOW + 100);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_GOOD);
    source_set(&source, "app-a issuer " SECRET_B);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_WRONG);
    source_set(&source, NULL);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_WRONG);
    source_set(&source, "app-a issuer " SECRET_A " - 2027-01-15T08:00:10Z"); /* NOW + 10 */
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW + 9), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW + 10), LINK_WRONG);
    link_cache_destroy(cache);
    keys_release(source.keys);
}

static void no_more_links_are_remembered_than_there_are_places(void **state)
{
    (void)state;
    struct source source = {0};
    source_set(&source, "app-a issuer " SECRET_A);
    struct link_cache *cache = make(&source);
    for (int i = 0; i < LINK_CACHE_ENTRIES + 10; i++) {
        struct proto_file_key file = file_number(i);
        struct link_token token = token_for(&source, &file, NOW);
        assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "", NOW), LINK_GOOD);
    }
    assert_int_equal(link_cache_count(cache), LINK_CACHE_ENTRIES);
    link_cache_destroy(cache);
    keys_release(source.keys);
}

static void a_link_of_one_network_is_remembered_for_it(void **state)
{
    (void)state;
    struct source source = {0};
    source_set(&source, "app-a issuer " SECRET_A);
    struct link_cache *cache = make(&source);
    struct proto_file_key file = file_number(1);
    struct link_token token = {.expires = NOW, .network = true};
    assert_true(link_token_sign(&token, keys_find(source.keys, "app-a"), &file, NULL, "192.0.2.1"));
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "192.0.2.9", NOW), LINK_GOOD);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "198.51.100.9", NOW), LINK_WRONG);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "nowhere", NOW), LINK_WRONG);
    assert_int_equal(link_cache_verify(cache, &token, &file, NULL, "192.0.2.9", NOW), LINK_GOOD);
    assert_int_equal(link_cache_count(cache), 1);
    link_cache_destroy(cache);
    keys_release(source.keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_remembered_until_it_expires),
        cmocka_unit_test(a_key_that_goes_or_changes_takes_its_links_along),
        cmocka_unit_test(no_more_links_are_remembered_than_there_are_places),
        cmocka_unit_test(a_link_of_one_network_is_remembered_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
