/* auth: what a process takes from its options and its keys file, and that a reload takes all of it or nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/auth.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "./auth-keys"
#define SECRET_A  "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B  "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static void write_keys(const char *text)
{
    int fd = open(FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(FILE_NAME);
    return 0;
}

static bool has_key(struct auth *auth, const char *id)
{
    struct keys *keys = auth_keys(auth);
    bool found = keys && keys_find(keys, id);

    keys_release(keys);
    return found;
}

static void assert_is(struct auth *auth, const char *id)
{
    struct auth_identity own;

    auth_identity(auth, &own);
    assert_non_null(own.key);
    assert_string_equal(own.key->id, id);
    auth_identity_clear(&own);
}

static bool reload_auth(struct auth *auth, const struct auth_options *options, struct error *error)
{
    struct auth_fresh *fresh = auth_read(auth, options, error);

    if (fresh)
        auth_fresh_use(auth, fresh);
    return fresh;
}

static void a_reload_that_is_refused_changes_nothing(void **state)
{
    struct auth_options options = {.mode = AUTH_REQUIRED,
                                   .keys_file = FILE_NAME,
                                   .identity = "web-1",
                                   .role = KEY_ROLE_GATEWAY,
                                   .session_ms = 1000};
    struct error error;
    (void)state;

    write_keys("web-1 gateway " SECRET_A "\n");
    struct auth *auth = auth_create(&options, &error);
    assert_non_null(auth);
    uint64_t generation = auth_generation(auth), version = auth_identity_version(auth);
    static const char *const others[] = {
        "web-2 gateway " SECRET_B "\n",                             /* without its own */
        "web-1 storage " SECRET_A "\nweb-2 gateway " SECRET_B "\n", /* in another role */
        "web-1 gateway " SECRET_A "\nweb-2 gateway rubbish\n",      /* broken */
    };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        write_keys(others[i]);
        assert_false(reload_auth(auth, &options, &error));
        assert_true(has_key(auth, "web-1"));
        assert_false(has_key(auth, "web-2"));
        assert_int_equal(auth_generation(auth), generation);
        assert_int_equal(auth_identity_version(auth), version);
        assert_is(auth, "web-1");
    }
    write_keys("web-1 gateway " SECRET_A "\nweb-2 gateway " SECRET_B "\n");
    options.identity = "web-2";
    assert_true(reload_auth(auth, &options, &error));
    assert_true(has_key(auth, "web-1") && has_key(auth, "web-2"));
    assert_true(auth_generation(auth) > generation && auth_identity_version(auth) > version);
    assert_is(auth, "web-2");
    auth_destroy(auth);
}

struct watcher {
    struct auth *auth;
    atomic_bool stop;
    atomic_int looked;
};

static void *watch_identity(void *argument)
{
    struct watcher *watcher = argument;
    bool good = true;

    while (good && !atomic_load(&watcher->stop)) {
        struct auth_identity own;

        auth_identity(watcher->auth, &own);
        good = own.key;
        auth_identity_clear(&own);
        atomic_fetch_add(&watcher->looked, 1);
    }
    return good ? watcher : NULL;
}

/* The file and the name of the own key change together. */
static void at_no_moment_of_a_rotation_is_there_no_key(void **state)
{
    struct auth_options options = {
        .mode = AUTH_REQUIRED, .keys_file = FILE_NAME, .role = KEY_ROLE_GATEWAY, .session_ms = 1000};
    struct watcher watcher = {0};
    struct error error;
    pthread_t thread;
    void *good;
    (void)state;

    write_keys("web-0 gateway " SECRET_A "\n");
    watcher.auth = auth_create(&options, &error);
    assert_non_null(watcher.auth);
    assert_int_equal(pthread_create(&thread, NULL, watch_identity, &watcher), 0);
    for (int i = 1; i < 100 || atomic_load(&watcher.looked) < 1000; i++) {
        write_keys(i % 2 ? "web-1 gateway " SECRET_B "\n" : "web-0 gateway " SECRET_A "\n");
        assert_true(reload_auth(watcher.auth, &options, &error));
    }
    atomic_store(&watcher.stop, true);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    auth_destroy(watcher.auth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_reload_that_is_refused_changes_nothing, tear_down),
        cmocka_unit_test_teardown(at_no_moment_of_a_rotation_is_there_no_key, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
