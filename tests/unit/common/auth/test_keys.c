/* keys: what a keys file may hold, who may read it, what keys allow, and snapshots under a reload. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/key_holder.h"
#include "common/auth/key_mac.h"
#include "common/auth/keys_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 32 bytes: 0, 1, ..., 31, and 1, 2, ..., 32. */
#define SECRET_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SECRET_B "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static struct keys *parse(const char *text)
{
    struct error error;
    struct keys *keys = keys_parse(text, strlen(text), "keys", &error);

    if (!keys)
        fail_msg("%s", error.text);
    return keys;
}

static void assert_refused(const char *text, const char *expected)
{
    struct error error = {0};
    struct keys *keys = keys_parse(text, strlen(text), "keys", &error);

    if (keys || !strstr(error.text, expected))
        fail_msg("\"%s\": \"%s\" expected, not \"%s\"", text, expected, keys ? "success" : error.text);
    assert_null(strstr(error.text, SECRET_A));
}

static void a_line_is_a_key(void **state)
{
    (void)state;
    struct keys *keys =
        parse("# comment\n"
              "\n"
              "  st-2026a\tstorage " SECRET_A
              " - 2027-01-01 groups=group001,group002 addresses=192.0.2.0/24 # here\r\n"
              "app issuer,client " SECRET_B " 2026-01-01T12:00:00Z rights=rd applications=tnvideo");
    const struct key *storage = keys_find(keys, "st-2026a"), *app = keys_find(keys, "app");

    assert_int_equal(keys->count, 2);
    assert_true(storage && app);
    assert_null(keys_find(keys, "st-2026"));
    assert_true(key_has_role(storage, KEY_ROLE_STORAGE) && !key_has_role(storage, KEY_ROLE_CLIENT));
    assert_true(key_has_role(app, KEY_ROLE_ISSUER) && key_has_role(app, KEY_ROLE_CLIENT));
    assert_false(key_has_role(app, KEY_ROLE_NONE));
    assert_true(storage->from == INT64_MIN && storage->until == 1798761600);
    assert_true(key_valid_at(storage, 1798761599) && !key_valid_at(storage, 1798761600));
    assert_true(!key_valid_at(app, 1767268799) && key_valid_at(app, 1767268800));
    assert_true(key_may_group(storage, "group002") && !key_may_group(storage, "group003"));
    assert_true(key_may_address(storage, "192.0.2.9") && !key_may_address(storage, "192.0.3.9"));
    assert_true(key_may_group(app, "any") && key_may_address(app, "::1") && key_may_path(app, "../data"));
    assert_true(key_may_application(app, "tnvideo") && !key_may_application(app, "tnvide"));
    assert_int_equal(app->rights, KEY_RIGHT_READ | KEY_RIGHT_DELETE);
    assert_int_equal(storage->rights, KEY_RIGHTS_ALL);
    assert_int_equal(storage->secret[31], 31);
    keys_release(keys);
}

static void a_gateway_changes_only_what_its_line_says(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned rights;
    } lines[] = {{"a gateway " SECRET_A, KEY_RIGHT_READ},
                 {"a gateway,storage " SECRET_A, KEY_RIGHT_READ},
                 {"a gateway " SECRET_A " rights=rwd", KEY_RIGHT_READ | KEY_RIGHT_WRITE | KEY_RIGHT_DELETE},
                 {"a gateway,issuer " SECRET_A, KEY_RIGHTS_ALL},
                 {"a issuer " SECRET_A, KEY_RIGHTS_ALL}};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct error error;
        struct keys *keys = keys_parse(lines[i].line, strlen(lines[i].line), "keys", &error);
        assert_non_null(keys);
        assert_int_equal(keys_find(keys, "a")->rights, lines[i].rights);
        keys_release(keys);
    }
}

static void what_is_no_key_is_refused_by_line(void **state)
{
    (void)state;
    assert_refused("a storage\n", "keys:1: at least three words");
    assert_refused("\n#\nsixteen-letters- storage " SECRET_A, "keys:3: ID");
    assert_refused("a_b storage " SECRET_A, "ID");
    assert_refused("a stora " SECRET_A, "no role \"stora\"");
    assert_refused("a none " SECRET_A, "no role \"none\"");
    assert_refused("a storage,storage " SECRET_A, "twice");
    assert_refused("a storage,,client " SECRET_A, "single commas");
    assert_refused("a storage, " SECRET_A, "single commas");
    assert_refused("a storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "not 32 bytes");
    assert_refused("a storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
                   "not 32 bytes"); /* bits behind the end */
    assert_refused("a storage AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A", "not 32 bytes");
    assert_refused("a storage AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "same byte");
    assert_refused("a storage " SECRET_A " 2026-02-31", "from");
    assert_refused("a storage " SECRET_A " 2026-1-1", "from");
    assert_refused("a storage " SECRET_A " - yesterday", "until");
    assert_refused("a storage " SECRET_A " 2026-02-01 2026-02-01", "before until");
    assert_refused("a storage " SECRET_A " - - more", "NAME=VALUE");
    assert_refused("a storage " SECRET_A " groups=", "groups=");
    assert_refused("a storage " SECRET_A " groups=a,,b", "groups=");
    assert_refused("a storage " SECRET_A " groups=a b=c", "no option \"b\"");
    assert_refused("a storage " SECRET_A " groups=a groups=b", "twice");
    assert_refused("a storage " SECRET_A " addresses=localhost", "neither an address");
    assert_refused("a storage " SECRET_A " rights=rr", "rights=");
    assert_refused("a storage " SECRET_A " rights=", "rights=");
    assert_refused("a storage " SECRET_A "\na client " SECRET_B, "keys:2: the ID a is already used by a key");
    assert_refused("a storage " SECRET_A "\nb client " SECRET_A, "same secret");
}

static void a_nul_byte_is_no_text(void **state)
{
    static const char text[] = "a storage " SECRET_A "\0 groups=a";
    struct error error;
    (void)state;
    assert_null(keys_parse(text, sizeof(text) - 1, "keys", &error));
    assert_non_null(strstr(error.text, "NUL"));
}

/* Computed by Python: hmac.new(bytes(range(32)), b"reel-1 client", "sha256"). */
static void sub_keys_are_hmacs_of_the_secret(void **state)
{
    (void)state;
    static const uint8_t client[MAC_SIZE] = {0x86, 0xcd, 0xb9, 0x57, 0xac, 0x51, 0x11, 0x90, 0x1a, 0xd7, 0x99,
                                             0x8c, 0x38, 0x0b, 0x9c, 0x37, 0x49, 0xf1, 0x36, 0x1e, 0x11, 0xd8,
                                             0xe6, 0xa3, 0x0f, 0x18, 0x96, 0x53, 0x86, 0x23, 0xc8, 0x89};
    static const uint8_t link[MAC_SIZE] = {0x28, 0xf1, 0x5a, 0x8b, 0x54, 0x31, 0x3e, 0x00, 0x4a, 0x19, 0x8d,
                                           0xac, 0x16, 0xa5, 0x21, 0x41, 0x94, 0x11, 0xf8, 0x20, 0x2d, 0x6b,
                                           0x3b, 0x15, 0xcb, 0x42, 0xac, 0xd8, 0x5b, 0xcf, 0x44, 0xa0};
    struct keys *keys = parse("a storage " SECRET_A);
    const struct key *key = keys_find(keys, "a");
    uint8_t again[MAC_SIZE];

    assert_memory_equal(key->derived[KEY_USE_CLIENT], client, MAC_SIZE);
    assert_memory_equal(key->derived[KEY_USE_LINK], link, MAC_SIZE);
    key_derive(key, "link", again);
    assert_memory_equal(again, link, MAC_SIZE);
    assert_true(mac_equal(again, link, MAC_SIZE));
    again[31] ^= 1;
    assert_false(mac_equal(again, link, MAC_SIZE));
    keys_release(keys);
}

/* RFC 4231 section 4.3 needs a shorter key; this one is section 4.2's data under a key filled up with zeros, which HMAC
 * does anyway. */
static void hmac_is_that_of_rfc_4231(void **state)
{
    static const uint8_t expected[MAC_SIZE] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
        0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    uint8_t secret[MAC_SIZE] = "Jefe", out[MAC_SIZE];
    const struct mac_part parts[] = {{"what do ya want ", 16}, {NULL, 0}, {"for nothing?", 12}};
    (void)state;
    mac_compute(secret, parts, ARRAY_SIZE(parts), out);
    assert_memory_equal(out, expected, MAC_SIZE);
}

/* Padding is done here, blocks by OpenSSL: each length of the last block, in one part and in three, by the definition of HMAC. */
static void hmac_is_right_for_each_length(void **state)
{
    uint8_t secret[MAC_SIZE], bytes[200], inner[64], outer[64], expected[MAC_SIZE], out[MAC_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 31 + 5);
    for (size_t i = 0; i < sizeof(inner); i++) {
        inner[i] = (uint8_t)((i < sizeof(secret) ? secret[i] : 0) ^ 0x36);
        outer[i] = (uint8_t)((i < sizeof(secret) ? secret[i] : 0) ^ 0x5c);
    }
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        const struct mac_part first[] = {{inner, sizeof(inner)}, {bytes, size}};
        sha256_compute(first, ARRAY_SIZE(first), expected);
        const struct mac_part second[] = {{outer, sizeof(outer)}, {expected, sizeof(expected)}};
        sha256_compute(second, ARRAY_SIZE(second), expected);
        const struct mac_part whole = {bytes, size};
        mac_compute(secret, &whole, 1, out);
        assert_memory_equal(out, expected, MAC_SIZE);
        const struct mac_part parts[] = {{bytes, size / 3}, {NULL, 0}, {bytes + size / 3, size - size / 3}};
        mac_compute(secret, parts, ARRAY_SIZE(parts), out);
        assert_memory_equal(out, expected, MAC_SIZE);
    }
}

/* ---- the file ---- */

static char path[] = "keys";

static void write_file(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void a_file_that_others_can_read_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610};
    struct error error;
    struct keys *keys;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        write_file("a storage " SECRET_A "\n", modes[i]);
        assert_null(keys_load("./keys", &error));
        assert_non_null(strstr(error.text, "chmod 600"));
    }
    write_file("a storage " SECRET_A "\n", 0400);
    keys = keys_load("./keys", &error);
    assert_non_null(keys);
    keys_release(keys);
    assert_null(keys_load("./nothing", &error));
    assert_null(keys_load("/", &error));
    assert_non_null(strstr(error.text, "not a regular file"));
}

static void a_credential_is_found_by_its_name(void **state)
{
    struct error error;
    struct keys *keys;
    char directory[4096];
    (void)state;

    write_file("a storage " SECRET_A "\n", 0440); /* with the mask of an access list */
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_null(keys_load("keys", &error));
    assert_non_null(strstr(error.text, "LoadCredential"));
    assert_non_null(getcwd(directory, sizeof(directory)));
    setenv("CREDENTIALS_DIRECTORY", directory, 1);
    keys = keys_load("keys", &error);
    assert_non_null(keys);
    keys_release(keys);
    unsetenv("CREDENTIALS_DIRECTORY");
}

static bool reload(struct key_holder *holder, struct key_changes *changes, struct error *error)
{
    struct keys *fresh = key_holder_read(holder, error);

    if (fresh)
        key_holder_put(holder, fresh, changes);
    return fresh;
}

static void a_reload_replaces_what_is_new_and_keeps_what_is_held(void **state)
{
    struct key_changes changes;
    struct error error;
    (void)state;

    write_file("a storage " SECRET_A "\nb client " SECRET_B "\n", 0600);
    struct key_holder *holder = key_holder_create("./keys", &error);
    assert_non_null(holder);
    assert_int_equal(key_holder_generation(holder), 1);
    struct keys *old = key_holder_get(holder);
    write_file("a gateway " SECRET_A "\nc client " SECRET_B "\n", 0600);
    assert_true(reload(holder, &changes, &error));
    assert_true(changes.added == 1 && changes.removed == 1 && changes.changed == 1);
    assert_int_equal(key_holder_generation(holder), 2);
    struct keys *fresh = key_holder_get(holder);
    assert_int_equal(fresh->generation, 2);
    assert_true(keys_find(old, "b") && !keys_find(fresh, "b") && keys_find(fresh, "c"));
    write_file("broken\n", 0600);
    assert_false(reload(holder, NULL, &error));
    assert_int_equal(key_holder_generation(holder), 2);
    key_holder_destroy(holder);
    assert_non_null(keys_find(fresh, "c"));
    keys_release(old);
    keys_release(fresh);
}

struct readers {
    struct key_holder *holder;
    atomic_bool stop;
};

static void *read_keys(void *argument)
{
    struct readers *readers = argument;
    bool good = true;

    while (good && !atomic_load(&readers->stop)) {
        struct keys *keys = key_holder_get(readers->holder);
        good = keys->count == 1 && keys_find(keys, "a");
        keys_release(keys);
    }
    return good ? readers : NULL;
}

static void readers_never_see_half_a_reload(void **state)
{
    struct readers readers = {0};
    struct error error;
    pthread_t threads[2];
    void *good;
    (void)state;

    write_file("a storage " SECRET_A "\n", 0600);
    readers.holder = key_holder_create("./keys", &error);
    assert_non_null(readers.holder);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_keys, &readers), 0);
    for (int i = 0; i < 200; i++)
        assert_true(reload(readers.holder, NULL, &error));
    atomic_store(&readers.stop, true);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_non_null(good);
    }
    key_holder_destroy(readers.holder);
}

static void a_new_line_is_a_key_of_its_own(void **state)
{
    struct error error;
    (void)state;
    char *one = keys_file_new_line("a", "storage", "- 2027-01-01 groups=g1", &error);
    char *two = keys_file_new_line("a", "storage", "- 2027-01-01 groups=g1", &error);

    assert_true(one && two && strcmp(one, two) != 0);
    struct keys *keys = parse(one);
    assert_true(key_may_group(keys_find(keys, "a"), "g1") && !key_may_group(keys_find(keys, "a"), "g2"));
    keys_release(keys);
    free(one);
    free(two);
    assert_null(keys_file_new_line("a b", "storage", "", &error));
    assert_null(keys_file_new_line("a", "storage", "# groups=g1", &error));
    assert_null(keys_file_new_line("#a", "storage", "", &error));
    assert_null(keys_file_new_line("a", "king", "", &error));
}

static void rights_are_read_and_written(void **state)
{
    unsigned rights;
    char text[8];
    (void)state;
    assert_true(key_rights_parse("ldwr", &rights) && rights == KEY_RIGHTS_ALL);
    assert_string_equal(key_rights_format(KEY_RIGHT_READ | KEY_RIGHT_LIST, text), "rl");
    assert_string_equal(key_rights_format(0, text), "-");
    assert_false(key_rights_parse("x", &rights));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_key),
        cmocka_unit_test(a_gateway_changes_only_what_its_line_says),
        cmocka_unit_test(what_is_no_key_is_refused_by_line),
        cmocka_unit_test(a_nul_byte_is_no_text),
        cmocka_unit_test(sub_keys_are_hmacs_of_the_secret),
        cmocka_unit_test(hmac_is_that_of_rfc_4231),
        cmocka_unit_test(hmac_is_right_for_each_length),
        cmocka_unit_test(a_file_that_others_can_read_is_refused),
        cmocka_unit_test(a_credential_is_found_by_its_name),
        cmocka_unit_test(a_reload_replaces_what_is_new_and_keeps_what_is_held),
        cmocka_unit_test(readers_never_see_half_a_reload),
        cmocka_unit_test(a_new_line_is_a_key_of_its_own),
        cmocka_unit_test(rights_are_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
