/* psk_source: which keys of a keys file are pre-shared keys of TLS, under which name, and what a reload changes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/call/psk_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 32 bytes: 0, 1, ..., 31, and 1, 2, ..., 32. */
#define SECRET_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static void write_keys(const char *text)
{
    int fd = open("./psk-keys", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink("./psk-keys");
    return 0;
}

static const struct auth_options storage = {
    .mode = AUTH_REQUIRED, .keys_file = "./psk-keys", .role = KEY_ROLE_STORAGE, .session_ms = 1000};

static bool reload_auth(struct auth *auth, const struct auth_options *options, struct error *error)
{
    struct auth_fresh *fresh = auth_read(auth, options, error);

    if (fresh)
        auth_fresh_use(auth, fresh);
    return fresh;
}

static void a_key_is_found_by_its_name_in_the_handshake(void **state)
{
    (void)state;
    /* HMAC-SHA-256 of "reel-1 psk" under 0, 1, ..., 31, as Python's hmac has it. */
    static const uint8_t expected[] = {0xba, 0x8e, 0x25, 0x7f, 0xe1, 0x09, 0x02, 0x8c, 0xff, 0x71, 0xe5,
                                       0xad, 0x2f, 0x78, 0x78, 0xb7, 0x08, 0x93, 0x06, 0x3a, 0xeb, 0xbf,
                                       0x6e, 0xe8, 0x66, 0x39, 0x46, 0xf6, 0xa0, 0x97, 0x04, 0x41};
    uint8_t key[TLS_KEY_SIZE], own[TLS_KEY_SIZE];
    char identity[TLS_IDENTITY_SIZE];
    struct error error;

    write_keys("st-1 storage " SECRET_A "\nold gateway " SECRET_B " - 2001-01-01\n");
    struct auth *auth = auth_create(&storage, &error);
    assert_non_null(auth);
    struct tls_keys keys = psk_source(auth);
    assert_true(keys.find(keys.argument, "reel-1 st-1", key));
    assert_memory_equal(key, expected, sizeof(key));
    assert_true(keys.own(keys.argument, identity, own));
    assert_string_equal(identity, "reel-1 st-1");
    assert_memory_equal(own, expected, sizeof(own));
    static const char *const others[] = {"st-1", "reel-1 st-2", "reel-1 ", "reel-2 st-1", "", "reel-1 old"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(keys.find(keys.argument, others[i], key));

    /* What a reload takes away is gone at the next handshake; another secret is another key. */
    write_keys("st-1 storage " SECRET_B "\n");
    assert_true(reload_auth(auth, &storage, &error));
    assert_true(keys.find(keys.argument, "reel-1 st-1", key));
    assert_memory_not_equal(key, expected, sizeof(key));
    write_keys("st-2 storage " SECRET_A "\n");
    assert_true(reload_auth(auth, &storage, &error));
    assert_false(keys.find(keys.argument, "reel-1 st-1", key));
    assert_true(keys.own(keys.argument, identity, own));
    assert_string_equal(identity, "reel-1 st-2");
    auth_destroy(auth);
}

static void without_keys_there_are_none(void **state)
{
    (void)state;
    const struct auth_options options = {.mode = AUTH_PREFER, .role = KEY_ROLE_STORAGE, .session_ms = 1000};
    uint8_t key[TLS_KEY_SIZE];
    char identity[TLS_IDENTITY_SIZE];
    struct error error;
    struct auth *auth = auth_create(&options, &error);

    assert_non_null(auth);
    struct tls_keys keys = psk_source(auth);
    assert_false(keys.find(keys.argument, "reel-1 st-1", key));
    assert_false(keys.own(keys.argument, identity, key));
    auth_destroy(auth);
}

static void a_key_that_has_expired_is_not_ones_own(void **state)
{
    (void)state;
    uint8_t key[TLS_KEY_SIZE];
    char identity[TLS_IDENTITY_SIZE];
    struct error error;

    write_keys("st-1 storage " SECRET_A " - 2001-01-01\n");
    struct auth *auth = auth_create(&storage, &error);
    assert_non_null(auth);
    struct tls_keys keys = psk_source(auth);
    assert_false(keys.own(keys.argument, identity, key));
    auth_destroy(auth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_key_is_found_by_its_name_in_the_handshake, tear_down),
        cmocka_unit_test_teardown(without_keys_there_are_none, tear_down),
        cmocka_unit_test_teardown(a_key_that_has_expired_is_not_ones_own, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
