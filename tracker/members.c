/*
 * members: two levels of lists, counts beside them, and the places of the table.
 */
#include "tracker/members.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PLACES_MIN 64
#define WHO_SIZE   (ADDRESS_TEXT_SIZE + PROTO_HOST_SIZE + PROTO_GROUP_SIZE + 40)

void members_init(struct members *members, size_t groups_max, size_t members_max)
{
    *members = (struct members){.groups_max = groups_max, .members_max = members_max};
    TAILQ_INIT(&members->groups);
}

/* ---- servers ---- */

static const char *member_describe(const struct member *member, char buffer[WHO_SIZE])
{
    char address[ADDRESS_TEXT_SIZE];
    snprintf(buffer, WHO_SIZE, "storage server %s (%s) of group %s",
             address_format(&member->shown.address, address, sizeof(address)), member->shown.host,
             member->shown.group);
    return buffer;
}

void members_set_state(struct members *members, struct member *member, enum table_state state,
                       struct table_moment now, const char *cause)
{
    enum table_state before = member->shown.state;
    if (before == state)
        return;
    members->state_counts[before]--;
    members->state_counts[state]++;
    member->shown.state = state;
    if (state == TABLE_OFFLINE) {
        member->offline_ms = now.monotonic_ms;
        if (member->shown.suspect)
            members->suspect_count--;
        member->shown.suspect = false;
        member->silent = false;
    }
    char who[WHO_SIZE];
    log_write(state == TABLE_OFFLINE ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "table", "%s: %s -> %s: %s",
              member_describe(member, who), table_state_name(before), table_state_name(state), cause);
}

void members_compare_clocks(struct member *member, int64_t stated, struct table_moment now)
{
    int64_t apart = stated > 0 ? stated - now.wall_seconds : 0;
    bool agree = apart >= -TABLE_CLOCK_S && apart <= TABLE_CLOCK_S;
    char who[WHO_SIZE];
    member->shown.clock_s = agree ? 0 : apart;
    if (!agree)
        log_warning("table",
                    "%s: its clock is %" PRId64
                    " s %s this machine's; correct the wrong one, then restart that daemon",
                    member_describe(member, who), apart < 0 ? -apart : apart,
                    apart < 0 ? "behind" : "ahead of");
}

void members_set_suspect(struct members *members, struct member *member, bool suspect,
                         struct table_moment now, const char *cause)
{
    if (member->shown.suspect == suspect)
        return;
    member->shown.suspect = suspect;
    member->silent = false;
    member->suspect_ms = now.monotonic_ms;
    if (suspect)
        members->suspect_count++;
    else
        members->suspect_count--;
    char who[WHO_SIZE];
    log_write(suspect ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "table", "%s: %s: %s",
              member_describe(member, who), suspect ? "suspect" : "trusted again", cause);
}

static void member_free(struct members *members, struct member *member)
{
    struct group *group = member->group;
    struct member_place *last = &members->places[--members->member_count];
    *members_place(members, member) = *last;
    last->member->place = member->place;
    TAILQ_REMOVE(&group->members, member, link);
    group->member_count--;
    members->emptied = members->emptied || group->member_count == 0;
    members->state_counts[member->shown.state]--;
    if (member->shown.suspect)
        members->suspect_count--;
    free(member);
}

void members_forget(struct members *members, struct member *member, const char *cause)
{
    char who[WHO_SIZE];
    log_info("table", "%s: forgotten: %s", member_describe(member, who), cause);
    member_free(members, member);
}

uint64_t members_hash(const char *peer)
{
    return XXH3_64bits(peer, strlen(peer));
}

struct member *members_find(struct group *group, const char *peer, uint16_t port)
{
    struct member *member;
    TAILQ_FOREACH(member, &group->members, link)
    {
        if (member->shown.address.port == port && strcmp(member->shown.address.host, peer) == 0)
            return member;
    }
    return NULL;
}

/* Where a peer is, as far as the limit per address goes. */
struct member_network {
    uint8_t bytes[ADDRESS_NETWORK_SIZE];
    uint64_t hash;
};

static struct member_network network_of(const char *peer)
{
    struct member_network network = {0};
    if (!address_network(peer, network.bytes)) /* a peer's address is numeric */
        memcpy(network.bytes, peer, strnlen(peer, sizeof(network.bytes)));
    network.hash = XXH3_64bits(network.bytes, sizeof(network.bytes));
    return network;
}

static bool is_in(const struct member_place *place, const struct member_network *network)
{
    if (place->network != network->hash)
        return false;
    const struct member_network own = network_of(place->member->shown.address.host);
    return memcmp(own.bytes, network->bytes, sizeof(own.bytes)) == 0;
}

/* Forgets the server that has been OFFLINE for longest, of those in NETWORK where that is not NULL. False where none is. */
static bool members_make_room(struct members *members, const struct member_network *network)
{
    struct member *oldest = NULL;
    for (size_t i = 0; i < members->member_count; i++) {
        struct member *member = members->places[i].member;
        if ((!network || is_in(&members->places[i], network)) && member->shown.state == TABLE_OFFLINE &&
            (!oldest || member->offline_ms < oldest->offline_ms))
            oldest = member;
    }
    if (!oldest)
        return false;
    members_forget(members, oldest, "OFFLINE, and its place is needed");
    return true;
}

static size_t count_in(const struct members *members, const struct member_network *network)
{
    size_t count = 0;
    for (size_t i = 0; i < members->member_count; i++)
        count += is_in(&members->places[i], network);
    return count;
}

/* Room for one more in `places`. */
static bool members_grow(struct members *members)
{
    if (members->member_count < members->places_room)
        return true;
    size_t room = max_size(2 * members->places_room, PLACES_MIN);
    struct member_place *places = realloc(members->places, room * sizeof(*places));
    if (!places)
        return false;
    members->places = places;
    members->places_room = room;
    return true;
}

struct member *members_add(struct members *members, struct group *group, const char *peer, uint16_t port,
                           struct error *error)
{
    const struct member_network network = network_of(peer);
    if (members->per_address_max > 0 && count_in(members, &network) >= members->per_address_max &&
        !members_make_room(members, &network)) {
        error_set(error, ERROR_UNAVAILABLE,
                  "%zu storage servers have joined from %s%s: tracker.storages_per_address allows no more",
                  members->per_address_max, strchr(peer, ':') ? "the /64 of " : "", peer);
        return NULL;
    }
    if (members->member_count >= members->members_max && !members_make_room(members, NULL)) {
        error_set(error, ERROR_UNAVAILABLE, "the table is full: tracker.storages_max is %zu",
                  members->members_max);
        return NULL;
    }
    struct member *member = members_grow(members) ? calloc(1, sizeof(*member)) : NULL;
    if (!member) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    member->group = group;
    member->place = members->member_count++;
    *members_place(members, member) = (struct member_place){
        .due_ms = INT64_MAX, .host = members_hash(peer), .network = network.hash, .member = member};
    struct table_server *shown = &member->shown;
    snprintf(shown->group, sizeof(shown->group), "%s", group->row.name);
    snprintf(shown->address.host, sizeof(shown->address.host), "%s", peer);
    shown->address.port = port;
    shown->state = TABLE_OFFLINE;
    TAILQ_INSERT_TAIL(&group->members, member, link);
    group->member_count++;
    members->state_counts[TABLE_OFFLINE]++;
    return member;
}

/* ---- groups ---- */

struct group *members_find_group(struct members *members, const char *name)
{
    struct group *group;
    HASH_FIND_STR(members->groups_by_name, name, group);
    return group;
}

static void group_free(struct members *members, struct group *group)
{
    ASSERT(members->groups_by_name);
    TAILQ_REMOVE(&members->groups, group, link);
    HASH_DEL(members->groups_by_name, group);
    members->group_count--;
    free(group);
}

void members_drop_unused_groups(struct members *members)
{
    struct group *group, *next;
    for (group = TAILQ_FIRST(&members->groups); group; group = next) {
        next = TAILQ_NEXT(group, link);
        if (!group->known && TAILQ_EMPTY(&group->members))
            group_free(members, group);
    }
    members->emptied = false;
}

void members_clear(struct members *members)
{
    struct group *group;
    while ((group = TAILQ_FIRST(&members->groups))) {
        struct member *member;
        while ((member = TAILQ_FIRST(&group->members)))
            member_free(members, member);
        group_free(members, group);
    }
    free(members->places);
    members->places = NULL;
    members->places_room = 0;
}

static void group_add(struct members *members, const struct table_group_row *row)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    if (members->group_count >= members->groups_max) {
        if (log_gate_open(&gate, 60000, &suppressed)) {
            log_warning("table", "group %s is left out: there are more groups than tracker.groups_max (%zu)",
                        row->name, members->groups_max);
        }
        return;
    }
    struct group *group = calloc(1, sizeof(*group));
    if (group) {
        group->row = *row;
        HASH_ADD_STR(members->groups_by_name, row.name, group);
    }
    if (!group || !HASH_ADDED(hh, group)) {
        log_error("table", "group %s is left out for now: out of memory", row->name);
        free(group);
        return;
    }
    group->known = true;
    group->seen = true;
    TAILQ_INIT(&group->members);
    struct group *after;
    TAILQ_FOREACH(after, &members->groups, link)
    {
        if (strcmp(after->row.name, row->name) > 0)
            break;
    }
    if (after)
        TAILQ_INSERT_BEFORE(after, group, link);
    else
        TAILQ_INSERT_TAIL(&members->groups, group, link);
    members->group_count++;
    log_info("table", "group %s: known, weight %" PRId64 "%s", row->name, row->weight,
             row->draining ? ", draining" : "");
}

static void group_update(struct group *group, const struct table_group_row *row)
{
    if (!group->known)
        log_info("table", "group %s: back in the database", row->name);
    if (group->row.draining != row->draining) {
        log_info("table", "group %s: %s", row->name,
                 row->draining ? "draining: no new users" : "open for new users");
    }
    if (group->row.weight != row->weight)
        log_info("table", "group %s: weight %" PRId64 " -> %" PRId64, row->name, group->row.weight,
                 row->weight);
    group->row = *row;
    group->known = true;
    group->seen = true;
}

void members_set_groups(struct members *members, const struct table_group_row *rows, size_t count)
{
    struct group *group;
    TAILQ_FOREACH(group, &members->groups, link)
    group->seen = false;
    for (size_t i = 0; i < count; i++) {
        group = members_find_group(members, rows[i].name);
        if (group)
            group_update(group, &rows[i]);
        else
            group_add(members, &rows[i]);
    }
    TAILQ_FOREACH(group, &members->groups, link)
    {
        if (group->seen)
            continue;
        if (group->known) {
            log_warning("table",
                        "group %s: no longer in the database; its %zu storage servers keep serving the "
                        "users they have",
                        group->row.name, group->member_count);
        }
        group->known = false;
    }
    members_drop_unused_groups(members);
}
