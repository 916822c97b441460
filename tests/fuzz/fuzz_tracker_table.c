/*
 * Fuzzes the tracker's table with any series of JOIN, BEAT, LOAD, closed connections, passing time, groups and choices; packets
 * are unpacked as service.c does. The counts agree with a snapshot, the bounds hold, the reports can be made and hold
 * nothing that a terminal would obey.
 */
#include "common/base/log.h"
#include "tracker/report.h"
#include "tracker/table.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX  3
#define SERVERS_MAX 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const group_names[] = {"g1", "g2", "g3", "g4", "g5"};
static const char *const host_names[] = {"h1", "h2"};
static const char *const peers[] = {"10.0.0.1", "10.0.0.2", "::1"};

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static void take_bytes(struct input *input, uint8_t *to, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = take(input);
}

static const char *take_group(struct input *input)
{
    return group_names[take(input) % ARRAY_SIZE(group_names)];
}

/* A field of a packet: mostly one of NAMES, now and then any bytes. */
static void take_field(struct input *input, uint8_t *to, size_t size, const char *const *names, size_t count)
{
    uint8_t choice = take(input);
    memset(to, 0, size);
    if (choice < 200)
        memcpy(to, names[choice % count], strlen(names[choice % count]));
    else
        take_bytes(input, to, size);
}

static void take_names(struct input *input, uint8_t *to)
{
    take_field(input, to, PROTO_GROUP_SIZE, group_names, ARRAY_SIZE(group_names));
    take_field(input, to + PROTO_GROUP_SIZE, PROTO_HOST_SIZE, host_names, ARRAY_SIZE(host_names));
}

/* ---- what must hold ---- */

static void check_group(const struct table_group *group, size_t states[3], size_t *suspect)
{
    size_t active = 0;
    for (size_t i = 0; i < group->server_count; i++) {
        const struct table_server *server = &group->servers[i];
        states[server->state]++;
        *suspect += server->suspect;
        active += server->state == TABLE_ACTIVE;
        if ((server->suspect && server->state == TABLE_OFFLINE) || server->address.port == 0 ||
            strcmp(server->group, group->row.name) != 0)
            abort();
    }
    if (active != group->active_count)
        abort();
}

static void check_reports(const struct table_snapshot *snapshot)
{
    size_t size = 0;
    char *text = report_groups(snapshot, &size);
    if (!text || text[size - 1] != '\0' || strlen(text) != size - 1)
        abort();
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\n' && ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e))
            abort();
    }
    free(text);
    json_t *status = report_status(snapshot);
    char *json = status ? json_dumps(status, JSON_COMPACT) : NULL;
    if (!json)
        abort();
    free(json);
    json_decref(status);
}

static void check(struct table *table, struct table_moment now)
{
    struct table_snapshot snapshot;
    size_t states[3] = {0}, suspect = 0, servers = 0;
    if (!table_snapshot_take(table, now, &snapshot) || snapshot.server_count > SERVERS_MAX)
        abort();
    for (size_t i = 0; i < snapshot.group_count; i++) {
        servers += snapshot.groups[i].server_count;
        check_group(&snapshot.groups[i], states, &suspect);
    }
    if (servers != snapshot.server_count || table_count_suspect(table) != suspect)
        abort();
    for (int state = 0; state < 3; state++) {
        if (table_count(table, (enum table_state)state) != states[state])
            abort();
    }
    check_reports(&snapshot);
    table_snapshot_clear(&snapshot);
}

/* ---- what may happen ---- */

static void set_groups(struct input *input, struct table *table)
{
    struct table_group_row rows[5];
    size_t count = take(input) % (ARRAY_SIZE(rows) + 1);
    memset(rows, 0, sizeof(rows));
    for (size_t i = 0; i < count; i++) {
        const char *name = take_group(input);
        memcpy(rows[i].name, name, strlen(name));
        rows[i].draining = take(input) & 1;
        rows[i].weight = take(input);
    }
    table_set_groups(table, rows, count);
}

static void join(struct input *input, struct table *table, uint64_t connection, const char *peer,
                 struct table_moment now)
{
    uint8_t packet[PROTO_JOIN_SIZE] = "1.0";
    struct proto_join join;
    struct error error;
    take_names(input, packet + PROTO_VERSION_SIZE);
    packet[154] = take(input) % 4; /* the port */
    packet[153] = take(input) > 250;
    take_bytes(input, packet + 155, 4);
    if (proto_join_unpack(packet, sizeof(packet), &join, &error))
        (void)!table_join(table, connection, peer, &join, now, &error);
}

static void beat(struct input *input, struct table *table, uint64_t connection, const char *peer,
                 struct table_moment now)
{
    uint8_t packet[PROTO_BEAT_SIZE] = {0};
    struct proto_beat beat;
    struct error error;
    take_names(input, packet);
    if (proto_beat_unpack(packet, sizeof(packet), &beat, &error))
        (void)!table_beat(table, connection, peer, &beat, now, &error);
}

static void load(struct input *input, struct table *table, uint64_t connection, const char *peer,
                 struct table_moment now)
{
    uint8_t packet[PROTO_LOAD_SIZE] = {0};
    struct proto_load load;
    struct error error;
    take_names(input, packet);
    packet[147] = take(input) % 4;
    take_bytes(input, packet + 148, sizeof(packet) - 148);
    if (take(input) < 220) { /* mostly numbers that are taken: small flags, nothing negative */
        packet[148] &= 3;
        for (size_t i = 152; i < 196; i += i < 176 ? 8 : 4)
            packet[i] &= 0x7f;
        packet[188] &= 0x7f;
    }
    if (proto_load_unpack(packet, sizeof(packet), &load, &error))
        (void)!table_load(table, connection, peer, &load, now, &error);
}

static void choose(struct input *input, struct table *table)
{
    struct address servers[4];
    const char *group = take_group(input);
    size_t count = table_choose(table, group, false, servers, take(input) % (ARRAY_SIZE(servers) + 1));
    if (count > ARRAY_SIZE(servers))
        abort();
    for (size_t i = 0; i < count; i++) {
        if (servers[i].port == 0)
            abort();
    }
}

static void place(struct input *input, struct table *table)
{
    char allowed[2][PROTO_GROUP_SIZE] = {0}, group[PROTO_GROUP_SIZE];
    struct error error;
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        const char *name = take_group(input);
        memcpy(allowed[i], name, strlen(name));
    }
    if (table_place(table, allowed, take(input) % 3, group, &error) && !table_group_known(table, group))
        abort();
}

static void act(struct input *input, struct table *table, uint8_t what, struct table_moment *now)
{
    uint64_t connection = 1 + what / 8 % 4;
    const char *peer = peers[what / 32 % 3];
    switch (what % 8) {
    case 0:
        set_groups(input, table);
        break;
    case 1:
        join(input, table, connection, peer, *now);
        break;
    case 2:
        beat(input, table, connection, peer, *now);
        break;
    case 3:
        load(input, table, connection, peer, *now);
        break;
    case 4:
        table_connection_closed(table, connection, *now);
        break;
    case 5:
        now->monotonic_ms += take(input) * (int64_t)(take(input) + 1);
        table_tick(table, *now, what >= 192);
        break;
    case 6:
        choose(input, table);
        break;
    case 7:
        place(input, table);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct table_settings settings = {.heartbeat_timeout_ms = 4000,
                                            .suspect_grace_ms = 1000,
                                            .forget_after_ms = 10000,
                                            .minimum_free = 100};
    struct input input = {data, size};
    struct table_moment now = {1000, 1000000};
    log_set_level(LOG_LEVEL_ERROR);
    struct table *table = table_create(GROUPS_MAX, SERVERS_MAX, &settings);
    if (!table)
        return 0;
    while (input.left > 0) {
        uint8_t what = take(&input);
        act(&input, table, what, &now);
        if (what >= 224 || input.left == 0)
            check(table, now);
    }
    table_destroy(table);
    return 0;
}
