/*
 * table: what storage servers report and the passing of time do to their states, behind one mutex. The rows themselves
 * are in members.c; which of them a client is given is decided in selection.c.
 */
#include "tracker/table.h"
#include "tracker/members.h"
#include "tracker/selection.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEATS_MISSED   3
#define SILENCE_MIN_MS 1500 /* whatever the interval: a busy machine is late by this much */

struct table {
    pthread_mutex_t mutex;
    struct members members;
    uint64_t joins;  /* since the start */
    int64_t tick_ms; /* monotonic: the last tick; 0 before the first */
    bool stuck;
    struct table_settings settings;
    struct selection selection;
};

struct table_moment table_now(void)
{
    return (struct table_moment){.monotonic_ms = clock_monotonic_ms(), .wall_seconds = clock_wall_seconds()};
}

static void table_lock(struct table *table)
{
    ASSERT(pthread_mutex_lock(&table->mutex) == 0);
}

static void table_unlock(struct table *table)
{
    ASSERT(pthread_mutex_unlock(&table->mutex) == 0);
}

/* ---- when time changes something ---- */

/* How long SERVER may be silent before it is suspect: three heartbeats, but, however late they were of late, no longer than half the time
 * after which it is OFFLINE; that long, too, where a single one has come, which does not say how far apart they are. */
static int64_t patience_ms(const struct member *server, const struct table_settings *settings)
{
    int64_t interval_ms = server->interval_ms;
    int64_t longest = max_i64(settings->heartbeat_timeout_ms / 2, interval_ms + interval_ms / 2);
    int64_t missed = interval_ms > 0 ? BEATS_MISSED * interval_ms : longest;
    return max_i64(min_i64(missed, longest), SILENCE_MIN_MS);
}

/* When SERVER, whose connection is gone, becomes OFFLINE for that. */
static int64_t grace_end_ms(const struct member *server, const struct table_settings *settings)
{
    return server->shown.suspect && !server->silent ? server->suspect_ms + settings->suspect_grace_ms
                                                    : INT64_MAX;
}

/* When it becomes suspect for its silence. */
static int64_t patience_end_ms(const struct member *server, const struct table_settings *settings)
{
    return !server->shown.suspect && server->shown.state == TABLE_ACTIVE
               ? server->sign_ms + patience_ms(server, settings)
               : INT64_MAX;
}

/* To be called when anything of SERVER has changed: server_tick() has nothing to do with it until then. */
static void server_plan(struct table *table, const struct member *server)
{
    const struct table_settings *settings = &table->settings;
    struct member_place *place = members_place(&table->members, server);
    if (server->shown.state != TABLE_OFFLINE)
        place->due_ms = min_i64(server->sign_ms + settings->heartbeat_timeout_ms,
                                min_i64(grace_end_ms(server, settings), patience_end_ms(server, settings)));
    else if (place->connection == 0)
        place->due_ms = server->offline_ms + settings->forget_after_ms;
    else
        place->due_ms = INT64_MAX;
}

static void plan_all(struct table *table)
{
    for (size_t i = 0; i < table->members.member_count; i++)
        server_plan(table, table->members.places[i].member);
}

/* ---- life ---- */

struct table *table_create(size_t groups_max, size_t servers_max, const struct table_settings *settings)
{
    struct table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    if (pthread_mutex_init(&table->mutex, NULL) != 0) {
        free(table);
        return NULL;
    }
    members_init(&table->members, groups_max, servers_max);
    table->settings = *settings;
    table->members.per_address_max = settings->per_address_max;
    if (!selection_init(&table->selection, groups_max, servers_max)) {
        table_destroy(table);
        return NULL;
    }
    return table;
}

void table_destroy(struct table *table)
{
    if (!table)
        return;
    members_clear(&table->members);
    selection_clear(&table->selection);
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

void table_set_settings(struct table *table, const struct table_settings *settings)
{
    table_lock(table);
    table->settings = *settings;
    table->members.per_address_max = settings->per_address_max;
    plan_all(table);
    table_unlock(table);
}

void table_set_groups(struct table *table, const struct table_group_row *rows, size_t count)
{
    table_lock(table);
    members_set_groups(&table->members, rows, count);
    table_unlock(table);
}

void table_close_group(struct table *table, const char *name)
{
    table_lock(table);
    struct group *group = members_find_group(&table->members, name);
    if (group)
        group->row.draining = true;
    table_unlock(table);
}

bool table_group_known(struct table *table, const char *name)
{
    table_lock(table);
    struct group *group = members_find_group(&table->members, name);
    bool known = group && group->known;
    table_unlock(table);
    return known;
}

bool table_only_group(struct table *table, char name[PROTO_GROUP_SIZE])
{
    struct group *group;
    size_t known = 0;
    table_lock(table);
    TAILQ_FOREACH(group, &table->members.groups, link)
    {
        if (group->known && ++known == 1)
            memcpy(name, group->row.name, PROTO_GROUP_SIZE);
    }
    table_unlock(table);
    return known == 1;
}

/* ---- what storage servers say ---- */

/* An endpoint serves one group: whoever joins as another's endpoint has left that other group. */
static void leave_other_groups(struct table *table, const struct group *joined, const char *peer,
                               uint16_t port, struct table_moment now)
{
    uint64_t host = members_hash(peer);
    for (size_t i = 0; i < table->members.member_count; i++) {
        struct member_place *place = &table->members.places[i];
        struct member *server = place->member;
        if (place->host != host || server->group == joined || server->shown.address.port != port ||
            strcmp(server->shown.address.host, peer) != 0)
            continue;
        char cause[PROTO_GROUP_SIZE + 40];
        snprintf(cause, sizeof(cause), "joined group %s instead", joined->row.name);
        place->connection = 0;
        members_set_state(&table->members, server, TABLE_OFFLINE, now, cause);
        server_plan(table, server);
    }
}

static void server_take_join(struct table *table, struct member *server, uint64_t connection,
                             const struct proto_join *join, struct table_moment now)
{
    struct table_server *shown = &server->shown;
    snprintf(shown->host, sizeof(shown->host), "%s", join->host);
    snprintf(shown->version, sizeof(shown->version), "%s", join->version);
    shown->start_time = join->start_time;
    shown->join_time = join->join_time;
    shown->beat_time = now.wall_seconds;
    shown->has_load = false;
    shown->has_advertised = shown->has_tls = false;
    members_place(&table->members, server)->connection = connection;
    server->join_number = ++table->joins;
    server->sign_ms = now.monotonic_ms;
    server->beat_ms = 0;
    members_compare_clocks(server, join->join_time, now);
    members_set_suspect(&table->members, server, false, now, "joined");
    char cause[64];
    snprintf(cause, sizeof(cause), "joined over c%" PRIu64, connection);
    members_set_state(&table->members, server, TABLE_ONLINE, now, cause);
    server_plan(table, server);
}

bool table_join(struct table *table, uint64_t connection, const char *peer, const struct proto_join *join,
                struct table_moment now, struct error *error)
{
    if (join->port == 0)
        return error_set(error, ERROR_REFUSED,
                         "JOIN with port 0: a storage server states the port it listens on");
    bool ok = false;
    table_lock(table);
    struct group *group = members_find_group(&table->members, join->group);
    if (!group || !group->known) {
        error_set(error, ERROR_REFUSED, "group %s is not in t_groups_info: add it there first", join->group);
        goto done;
    }
    struct member *server = members_find(group, peer, join->port);
    if (!server) {
        server = members_add(&table->members, group, peer, join->port, error);
        if (!server)
            goto done;
    }
    leave_other_groups(table, group, peer, join->port, now);
    server_take_join(table, server, connection, join, now);
    ok = true;
done:
    table_unlock(table);
    return ok;
}

/* Whose heartbeat this is (see "Identity" in table.h). PORT 0: not stated. */
static struct member *find_beating(struct table *table, uint64_t connection, const char *peer,
                                   const char *group_name, const char *host, uint16_t port,
                                   struct error *error)
{
    struct group *group = members_find_group(&table->members, group_name);
    struct member *server, *own = NULL, *match = NULL, *unconnected = NULL;
    size_t match_count = 0, unconnected_count = 0;
    if (group) {
        TAILQ_FOREACH(server, &group->members, link)
        {
            if (strcmp(server->shown.host, host) != 0 || (port != 0 && server->shown.address.port != port))
                continue;
            uint64_t joined_over = members_place(&table->members, server)->connection;
            if (joined_over == connection && (!own || own->join_number < server->join_number))
                own = server;
            if (strcmp(server->shown.address.host, peer) != 0)
                continue;
            match = server;
            match_count++;
            if (joined_over == 0) {
                unconnected = server;
                unconnected_count++;
            }
        }
    }
    if (own)
        return own;
    if (match_count == 1)
        return match;
    if (unconnected_count == 1)
        return unconnected;
    if (match_count == 0) {
        error_set(error, ERROR_REFUSED,
                  "no storage server of group %s and host %s has joined from %s: join first", group_name,
                  host, peer);
    } else {
        error_set(
            error, ERROR_REFUSED,
            "%zu storage servers of group %s and host %s have joined from %s: beat on the connection that "
            "joined, or join again",
            match_count, group_name, host, peer);
    }
    return NULL;
}

/* The longest of late: one that came late counts for a while, one that came early does not. A gap counts as twice the interval at
 * most: otherwise a server that hung would be believed for three times as long when it hangs again. */
static void learn_interval(struct member *server, struct table_moment now)
{
    int64_t gap_ms = server->beat_ms != 0 ? now.monotonic_ms - server->beat_ms : 0;
    if (server->interval_ms > 0)
        gap_ms = min_i64(gap_ms, 2 * max_i64(server->interval_ms, SILENCE_MIN_MS / BEATS_MISSED));
    server->interval_ms = max_i64(gap_ms, server->interval_ms - server->interval_ms / 8);
    server->beat_ms = now.monotonic_ms;
}

static void server_take_beat(struct table *table, struct member *server, struct table_moment now)
{
    learn_interval(server, now);
    server->sign_ms = now.monotonic_ms;
    server->shown.beat_time = now.wall_seconds;
    members_set_suspect(&table->members, server, false, now, "a heartbeat came");
    members_set_state(&table->members, server, TABLE_ACTIVE, now, "heartbeat");
    server_plan(table, server);
}

bool table_beat(struct table *table, uint64_t connection, const char *peer, const struct proto_beat *beat,
                struct table_moment now, struct error *error)
{
    table_lock(table);
    struct member *server = find_beating(table, connection, peer, beat->group, beat->host, 0, error);
    if (server)
        server_take_beat(table, server, now);
    table_unlock(table);
    return server;
}

bool table_load(struct table *table, uint64_t connection, const char *peer, const struct proto_load *load,
                struct table_moment now, struct error *error)
{
    if (load->port == 0)
        return error_set(error, ERROR_REFUSED,
                         "LOAD with port 0: a storage server states the port it joined with");
    table_lock(table);
    struct member *server = find_beating(table, connection, peer, load->group, load->host, load->port, error);
    if (server) {
        server->shown.load = *load;
        server->shown.has_load = true;
        server_take_beat(table, server, now);
    }
    table_unlock(table);
    return server;
}

bool table_advertise(struct table *table, uint64_t connection, const char *peer,
                     const struct proto_advertise *advertise, const struct address *address,
                     struct error *error)
{
    char text[ADDRESS_TEXT_SIZE];
    table_lock(table);
    struct member *server =
        find_beating(table, connection, peer, advertise->group, advertise->host, advertise->port, error);
    if (server) {
        if (address->tls) {
            server->shown.has_tls = true;
            server->shown.tls = *address;
        } else {
            server->shown.has_advertised = true;
            server->shown.advertised = *address;
        }
        log_info("table", "group %s, %s port %u: clients%s are given %s", advertise->group, peer,
                 (unsigned)advertise->port, address->tls ? " under TLS" : "",
                 address_format(address, text, sizeof(text)));
    }
    table_unlock(table);
    return server;
}

void table_connection_closed(struct table *table, uint64_t connection, struct table_moment now)
{
    table_lock(table);
    for (size_t i = 0; i < table->members.member_count; i++) {
        struct member *server = table->members.places[i].member;
        if (table->members.places[i].connection != connection)
            continue;
        table->members.places[i].connection = 0;
        if (server->shown.state != TABLE_OFFLINE) {
            members_set_suspect(&table->members, server, true, now, "its connection is gone");
            if (server->silent) /* it was suspect already; from now on its grace runs */
                server->suspect_ms = now.monotonic_ms;
            server->silent = false;
        }
        server_plan(table, server);
    }
    table_unlock(table);
}

/* False: it is forgotten. */
static bool server_tick(struct table *table, struct member *server, struct table_moment now)
{
    const struct table_settings *settings = &table->settings;
    char cause[96];
    if (server->shown.state == TABLE_OFFLINE) {
        if (now.monotonic_ms - server->offline_ms < settings->forget_after_ms ||
            members_place(&table->members, server)->connection != 0)
            return true;
        snprintf(cause, sizeof(cause), "OFFLINE for %" PRId64 " s",
                 (now.monotonic_ms - server->offline_ms) / 1000);
        members_forget(&table->members, server, cause);
        return false;
    }
    int64_t silent_ms = now.monotonic_ms - server->sign_ms;
    int64_t suspect_ms = now.monotonic_ms - server->suspect_ms;
    if (now.monotonic_ms >= grace_end_ms(server, settings)) {
        snprintf(cause, sizeof(cause), "its connection has been gone for %" PRId64 " ms", suspect_ms);
        members_set_state(&table->members, server, TABLE_OFFLINE, now, cause);
    } else if (silent_ms >= settings->heartbeat_timeout_ms) {
        snprintf(cause, sizeof(cause), "silent for %" PRId64 " s", silent_ms / 1000);
        members_set_state(&table->members, server, TABLE_OFFLINE, now, cause);
    } else if (now.monotonic_ms >= patience_end_ms(server, settings)) {
        if (server->interval_ms > 0)
            snprintf(cause, sizeof(cause), "silent for %" PRId64 " ms, heartbeats came every %" PRId64 " ms",
                     silent_ms, server->interval_ms);
        else
            snprintf(cause, sizeof(cause), "silent for %" PRId64 " ms after its first heartbeat", silent_ms);
        members_set_suspect(&table->members, server, true, now, cause);
        server->silent = true;
    }
    return true;
}

/* True: the time since the last tick does not count as any server's silence. */
static bool note_pause(struct table *table, int64_t gap_ms, bool stuck)
{
    if (gap_ms > TABLE_PAUSE_MS)
        log_warning("table", "this tracker stood still for %" PRId64 " ms: not counted as silence", gap_ms);
    if (stuck != table->stuck)
        log_warning("table", stuck ? "an event loop is stuck: silence is not counted until it runs again"
                                   : "every event loop runs again");
    table->stuck = stuck;
    return stuck || gap_ms > TABLE_PAUSE_MS;
}

/* It was this process that stood still, for GAP_MS. */
static void shift_signs(struct table *table, int64_t gap_ms, struct table_moment now)
{
    for (size_t i = 0; i < table->members.member_count; i++) {
        struct member *server = table->members.places[i].member;
        server->sign_ms = min_i64(server->sign_ms + gap_ms, now.monotonic_ms);
        if (server->beat_ms != 0) /* nor is it how far apart its heartbeats come */
            server->beat_ms = min_i64(server->beat_ms + gap_ms, now.monotonic_ms);
        server->suspect_ms = min_i64(server->suspect_ms + gap_ms, now.monotonic_ms);
    }
    plan_all(table);
}

void table_tick(struct table *table, struct table_moment now, bool stuck)
{
    table_lock(table);
    struct members *members = &table->members;
    int64_t gap_ms = table->tick_ms != 0 ? now.monotonic_ms - table->tick_ms : 0;
    table->tick_ms = now.monotonic_ms;
    if (note_pause(table, gap_ms, stuck))
        shift_signs(table, gap_ms, now);
    for (size_t i = 0; i < members->member_count;) {
        struct member *server = members->places[i].member;
        if (members->places[i].due_ms > now.monotonic_ms) {
            i++;
        } else if (server_tick(table, server, now)) {
            server_plan(table, server);
            i++;
        } /* else another is in its place now */
    }
    if (members->emptied)
        members_drop_unused_groups(members);
    table_unlock(table);
}

/* ---- choosing ---- */

size_t table_choose(struct table *table, const char *group, bool secure, struct address *servers,
                    size_t capacity)
{
    table_lock(table);
    size_t count = selection_servers(&table->selection, &table->members, group, secure, servers, capacity);
    table_unlock(table);
    return count;
}

bool table_place(struct table *table, char (*allowed)[PROTO_GROUP_SIZE], size_t allowed_count,
                 char group[PROTO_GROUP_SIZE], struct error *error)
{
    table_lock(table);
    const struct selection_rule rule = {allowed, allowed_count, table->settings.minimum_free};
    bool ok = selection_group(&table->selection, &table->members, &rule, group, error);
    table_unlock(table);
    return ok;
}

/* ---- reading ---- */

bool table_snapshot_take(struct table *table, struct table_moment now, struct table_snapshot *snapshot)
{
    bool ok = false;
    *snapshot = (struct table_snapshot){0};
    table_lock(table);
    snapshot->groups = calloc(table->members.group_count + 1, sizeof(*snapshot->groups));
    snapshot->servers = calloc(table->members.member_count + 1, sizeof(*snapshot->servers));
    if (!snapshot->groups || !snapshot->servers)
        goto done;
    struct group *group;
    TAILQ_FOREACH(group, &table->members.groups, link)
    {
        struct table_group *shown = &snapshot->groups[snapshot->group_count++];
        shown->row = group->row;
        shown->known = group->known;
        shown->server_count = group->member_count;
        shown->servers = &snapshot->servers[snapshot->server_count];
        struct member *server;
        TAILQ_FOREACH(server, &group->members, link)
        {
            struct table_server *copy = &snapshot->servers[snapshot->server_count++];
            *copy = server->shown;
            copy->silent_ms = now.monotonic_ms - server->sign_ms;
            if (copy->state == TABLE_ACTIVE)
                shown->active_count++;
        }
    }
    ok = true;
done:
    table_unlock(table);
    if (!ok)
        table_snapshot_clear(snapshot);
    return ok;
}

void table_snapshot_clear(struct table_snapshot *snapshot)
{
    free(snapshot->groups);
    free(snapshot->servers);
    *snapshot = (struct table_snapshot){0};
}

size_t table_count(struct table *table, enum table_state state)
{
    table_lock(table);
    size_t count = table->members.state_counts[state];
    table_unlock(table);
    return count;
}

size_t table_count_suspect(struct table *table)
{
    table_lock(table);
    size_t count = table->members.suspect_count;
    table_unlock(table);
    return count;
}

size_t table_count_clocks_off(struct table *table)
{
    size_t count = 0;
    table_lock(table);
    for (size_t i = 0; i < table->members.member_count; i++) {
        const struct table_server *shown = &table->members.places[i].member->shown;
        count += shown->clock_s != 0 && shown->state != TABLE_OFFLINE ? 1 : 0;
    }
    table_unlock(table);
    return count;
}

size_t table_count_groups(struct table *table)
{
    table_lock(table);
    size_t count = table->members.group_count;
    table_unlock(table);
    return count;
}
