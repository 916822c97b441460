/*
 * keys: counts the references of snapshots, overwrites secrets with the last of them, finds keys by their ID, and answers
 * what a key may be used for.
 */
#include "common/auth/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const role_names[KEY_ROLES] = {"none",     "client",  "storage",  "gateway",
                                                  "operator", "tracker", "idserver", "issuer"};
static const char right_letters[] = "rwdl"; /* of bits 1, 2, 4, 8 */

/* ---- snapshots ---- */

struct keys *keys_hold(struct keys *keys)
{
    if (keys)
        (void)atomic_fetch_add(&keys->references, 1);
    return keys;
}

void keys_release(struct keys *keys)
{
    if (!keys || atomic_fetch_sub(&keys->references, 1) != 1)
        return;
    for (size_t i = 0; i < keys->count; i++) {
        struct key *key = &keys->items[i];

        config_strings_clear(&key->groups);
        config_strings_clear(&key->applications);
        config_strings_clear(&key->paths);
        networks_clear(&key->addresses);
    }
    if (keys->items)
        explicit_bzero(keys->items, keys->count * sizeof(*keys->items));
    free(keys->items);
    free(keys);
}

static int compare_with_id(const void *id, const void *item)
{
    return strcmp(id, ((const struct key *)item)->id);
}

const struct key *keys_find(const struct keys *keys, const char *id)
{
    return keys->count == 0 ? NULL
                            : bsearch(id, keys->items, keys->count, sizeof(*keys->items), compare_with_id);
}

/* ---- questions ---- */

bool key_valid_at(const struct key *key, int64_t now)
{
    return now >= key->from && now < key->until;
}

bool key_has_role(const struct key *key, enum key_role role)
{
    return role > KEY_ROLE_NONE && role < KEY_ROLES && (key->roles & (1u << role)) != 0;
}

/* An empty list allows everything. */
static bool list_allows(const struct config_strings *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return list->count == 0;
}

bool key_may_group(const struct key *key, const char *group)
{
    return list_allows(&key->groups, group);
}

bool key_may_application(const struct key *key, const char *application)
{
    return list_allows(&key->applications, application);
}

bool key_may_path(const struct key *key, const char *path)
{
    return list_allows(&key->paths, path);
}

bool key_may_address(const struct key *key, const char *host)
{
    return key->addresses.count == 0 || networks_contain(&key->addresses, host);
}

static bool lists_equal(const struct config_strings *a, const struct config_strings *b)
{
    bool equal = a->count == b->count;

    for (size_t i = 0; equal && i < a->count; i++)
        equal = strcmp(a->items[i], b->items[i]) == 0;
    return equal;
}

static bool networks_equal(const struct networks *a, const struct networks *b)
{
    bool equal = a->count == b->count;

    for (size_t i = 0; equal && i < a->count; i++)
        equal = a->items[i].bits == b->items[i].bits &&
                memcmp(a->items[i].address, b->items[i].address, sizeof(a->items[i].address)) == 0;
    return equal;
}

bool key_equal(const struct key *a, const struct key *b)
{
    return strcmp(a->id, b->id) == 0 && a->roles == b->roles && a->from == b->from && a->until == b->until &&
           a->rights == b->rights && memcmp(a->secret, b->secret, sizeof(a->secret)) == 0 &&
           lists_equal(&a->groups, &b->groups) && lists_equal(&a->applications, &b->applications) &&
           lists_equal(&a->paths, &b->paths) && networks_equal(&a->addresses, &b->addresses);
}

/* ---- words ---- */

bool key_id_valid(const char *id)
{
    size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");

    return length > 0 && length < KEY_ID_SIZE && id[length] == '\0';
}

const char *key_role_name(enum key_role role)
{
    return role_names[(unsigned)role < KEY_ROLES ? role : KEY_ROLE_NONE];
}

enum key_role key_role_of_name(const char *name)
{
    for (int role = KEY_ROLE_NONE + 1; role < KEY_ROLES; role++)
        if (strcmp(role_names[role], name) == 0)
            return (enum key_role)role;
    return KEY_ROLE_NONE;
}

bool key_rights_parse(const char *text, unsigned *rights)
{
    *rights = 0;
    for (const char *at = text; *at != '\0'; at++) {
        const char *letter = strchr(right_letters, *at);
        unsigned bit = letter ? 1u << (letter - right_letters) : 0;

        if (bit == 0 || (*rights & bit) != 0)
            return false;
        *rights |= bit;
    }
    return *rights != 0;
}

char *key_rights_format(unsigned rights, char buffer[8])
{
    size_t length = 0;

    for (size_t i = 0; right_letters[i] != '\0'; i++)
        if ((rights & (1u << i)) != 0)
            buffer[length++] = right_letters[i];
    if (length == 0)
        buffer[length++] = '-';
    buffer[length] = '\0';
    return buffer;
}

bool key_time_parse(const char *text, int64_t *seconds)
{
    static const char day[] = "%Y-%m-%d", second[] = "%Y-%m-%dT%H:%M:%SZ";
    struct tm parts = {0};
    char again[32];
    const char *end = strptime(text, second, &parts);
    size_t length;

    if (!end || *end != '\0') {
        parts = (struct tm){0};
        end = strptime(text, day, &parts);
    }
    if (!end || *end != '\0')
        return false;
    *seconds = (int64_t)timegm(&parts);
    /* timegm() makes 3 March of 31 February: only what is written as it would be printed is a date. */
    length = strftime(again, sizeof(again), second, &parts);
    if (length > 0 && !strchr(text, 'T'))
        again[10] = '\0';
    return length > 0 && strcmp(again, text) == 0;
}
