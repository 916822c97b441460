/*
 * members: two levels of lists, counts beside them, and the places of the table.
 */
#include "tracker/members.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHO_SIZE (ADDRESS_TEXT_SIZE + PROTO_HOST_SIZE + PROTO_GROUP_SIZE + 40)

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

static void member_free(struct members *members, struct group *group, struct member *member)
{
    TAILQ_REMOVE(&group->members, member, link);
    group->member_count--;
    members->member_count--;
    members->state_counts[member->shown.state]--;
    if (member->shown.suspect)
        members->suspect_count--;
    free(member);
}

void members_forget(struct members *members, struct group *group, struct member *member, const char *cause)
{
    char who[WHO_SIZE];
    log_info("table", "%s: forgotten: %s", member_describe(member, who), cause);
    member_free(members, group, member);
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

/* Forgets the server that has been OFFLINE for longest, of those at PEER where that is not NULL. False where none is. */
static bool members_make_room(struct members *members, const char *peer)
{
    struct group *group, *oldest_group = NULL;
    struct member *member, *oldest = NULL;
    TAILQ_FOREACH(group, &members->groups, link)
    {
        TAILQ_FOREACH(member, &group->members, link)
        {
            if (member->shown.state == TABLE_OFFLINE &&
                (!peer || strcmp(member->shown.address.host, peer) == 0) &&
                (!oldest || member->offline_ms < oldest->offline_ms)) {
                oldest = member;
                oldest_group = group;
            }
        }
    }
    if (!oldest)
        return false;
    members_forget(members, oldest_group, oldest, "OFFLINE, and its place is needed");
    return true;
}

static size_t count_at(struct members *members, const char *peer)
{
    struct group *group;
    struct member *member;
    size_t count = 0;
    TAILQ_FOREACH(group, &members->groups, link)
    {
        TAILQ_FOREACH(member, &group->members, link)
        count += strcmp(member->shown.address.host, peer) == 0;
    }
    return count;
}

struct member *members_add(struct members *members, struct group *group, const char *peer, uint16_t port,
                           struct error *error)
{
    if (members->per_address_max > 0 && count_at(members, peer) >= members->per_address_max &&
        !members_make_room(members, peer)) {
        error_set(error, ERROR_UNAVAILABLE,
                  "%zu storage servers have joined from %s: tracker.storages_per_address allows no more",
                  members->per_address_max, peer);
        return NULL;
    }
    if (members->member_count >= members->members_max && !members_make_room(members, NULL)) {
        error_set(error, ERROR_UNAVAILABLE, "the table is full: tracker.storages_max is %zu",
                  members->members_max);
        return NULL;
    }
    struct member *member = calloc(1, sizeof(*member));
    if (!member) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    struct table_server *shown = &member->shown;
    snprintf(shown->group, sizeof(shown->group), "%s", group->row.name);
    snprintf(shown->address.host, sizeof(shown->address.host), "%s", peer);
    shown->address.port = port;
    shown->state = TABLE_OFFLINE;
    TAILQ_INSERT_TAIL(&group->members, member, link);
    group->member_count++;
    members->member_count++;
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

void members_drop_unused_group(struct members *members, struct group *group)
{
    if (!group->known && TAILQ_EMPTY(&group->members))
        group_free(members, group);
}

void members_clear(struct members *members)
{
    struct group *group;
    while ((group = TAILQ_FIRST(&members->groups))) {
        struct member *member;
        while ((member = TAILQ_FIRST(&group->members)))
            member_free(members, group, member);
        group_free(members, group);
    }
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
    struct group *group, *next;
    TAILQ_FOREACH(group, &members->groups, link)
    group->seen = false;
    for (size_t i = 0; i < count; i++) {
        group = members_find_group(members, rows[i].name);
        if (group)
            group_update(group, &rows[i]);
        else
            group_add(members, &rows[i]);
    }
    for (group = TAILQ_FIRST(&members->groups); group; group = next) {
        next = TAILQ_NEXT(group, link);
        if (group->seen)
            continue;
        if (group->known) {
            log_warning("table",
                        "group %s: no longer in the database; its %zu storage servers keep serving the "
                        "users they have",
                        group->row.name, group->member_count);
        }
        group->known = false;
        members_drop_unused_group(members, group);
    }
}
