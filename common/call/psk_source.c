/*
 * psk_source: looks keys up by the name in the handshake. Keys that are not valid now are as if they were not there.
 */
#include "common/call/psk_source.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <string.h>

#define NAME_PREFIX "reel-1 "

_Static_assert(sizeof(NAME_PREFIX) + KEY_ID_SIZE <= TLS_IDENTITY_SIZE, "every key ID fits");
_Static_assert(TLS_KEY_SIZE == KEY_SECRET_SIZE, "one is the other");

static bool psk_take(const struct key *key, uint8_t out[TLS_KEY_SIZE])
{
    bool valid = key && key_valid_at(key, clock_wall_seconds());

    if (valid)
        memcpy(out, key->derived[KEY_USE_PSK], TLS_KEY_SIZE);
    return valid;
}

static bool psk_find(void *argument, const char *identity, uint8_t key[TLS_KEY_SIZE])
{
    struct keys *keys = auth_keys(argument);
    size_t prefix = strlen(NAME_PREFIX);
    bool found = keys && strncmp(identity, NAME_PREFIX, prefix) == 0 &&
                 psk_take(keys_find(keys, identity + prefix), key);

    keys_release(keys);
    return found;
}

static bool psk_own(void *argument, char identity[TLS_IDENTITY_SIZE], uint8_t key[TLS_KEY_SIZE])
{
    struct auth_identity own;

    auth_identity(argument, &own);
    bool found = psk_take(own.key, key);
    if (found)
        (void)snprintf(identity, TLS_IDENTITY_SIZE, NAME_PREFIX "%s", own.key->id);
    auth_identity_clear(&own);
    return found;
}

struct tls_keys psk_source(struct auth *auth)
{
    return (struct tls_keys){.find = psk_find, .own = psk_own, .argument = auth};
}
