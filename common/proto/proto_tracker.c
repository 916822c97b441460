/*
 * proto_tracker: the bodies of the tracker's commands.
 */
#include "common/proto/proto_tracker.h"
#include "common/proto/proto_fields.h"

#include <string.h>

bool proto_join_pack(uint8_t buffer[PROTO_JOIN_SIZE], const struct proto_join *join, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_JOIN_SIZE, error);
    proto_write_string(&writer, &proto_field_version, join->version);
    proto_write_string(&writer, &proto_field_group, join->group);
    proto_write_string(&writer, &proto_field_host, join->host);
    proto_write_port(&writer, join->port);
    proto_write_i64(&writer, "start time", join->start_time, 0, INT64_MAX);
    proto_write_i64(&writer, "join time", join->join_time, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_join_unpack(const uint8_t *body, size_t size, struct proto_join *join, struct error *error)
{
    struct proto_reader reader;
    memset(join, 0, sizeof(*join));
    proto_read_begin(&reader, "JOIN", body, size, PROTO_JOIN_SIZE, error);
    proto_read_string(&reader, &proto_field_version, join->version);
    proto_read_string(&reader, &proto_field_group, join->group);
    proto_read_string(&reader, &proto_field_host, join->host);
    join->port = proto_read_port(&reader);
    join->start_time = proto_read_i64(&reader, "start time", 0, INT64_MAX);
    join->join_time = proto_read_i64(&reader, "join time", 0, INT64_MAX);
    return proto_read_end(&reader);
}

bool proto_beat_pack(uint8_t buffer[PROTO_BEAT_SIZE], const struct proto_beat *beat, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_BEAT_SIZE, error);
    proto_write_string(&writer, &proto_field_group, beat->group);
    proto_write_string(&writer, &proto_field_host, beat->host);
    return proto_write_end(&writer);
}

bool proto_beat_unpack(const uint8_t *body, size_t size, struct proto_beat *beat, struct error *error)
{
    struct proto_reader reader;
    memset(beat, 0, sizeof(*beat));
    proto_read_begin(&reader, "BEAT", body, size, PROTO_BEAT_SIZE, error);
    proto_read_string(&reader, &proto_field_group, beat->group);
    proto_read_string(&reader, &proto_field_host, beat->host);
    return proto_read_end(&reader);
}

#define LOAD_RESERVED 3

bool proto_advertise_pack(uint8_t buffer[PROTO_ADVERTISE_SIZE], const struct proto_advertise *advertise,
                          struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_ADVERTISE_SIZE, error);
    proto_write_string(&writer, &proto_field_group, advertise->group);
    proto_write_string(&writer, &proto_field_host, advertise->host);
    proto_write_port(&writer, advertise->port);
    proto_write_string(&writer, &proto_field_host, advertise->address);
    return proto_write_end(&writer);
}

bool proto_advertise_unpack(const uint8_t *body, size_t size, struct proto_advertise *advertise,
                            struct error *error)
{
    struct proto_reader reader;
    memset(advertise, 0, sizeof(*advertise));
    proto_read_begin(&reader, "ADVERTISE", body, size, PROTO_ADVERTISE_SIZE, error);
    proto_read_string(&reader, &proto_field_group, advertise->group);
    proto_read_string(&reader, &proto_field_host, advertise->host);
    advertise->port = proto_read_port(&reader);
    proto_read_string(&reader, &proto_field_host, advertise->address);
    return proto_read_end(&reader);
}

bool proto_load_pack(uint8_t buffer[PROTO_LOAD_SIZE], const struct proto_load *load, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LOAD_SIZE, error);
    proto_write_string(&writer, &proto_field_group, load->group);
    proto_write_string(&writer, &proto_field_host, load->host);
    proto_write_port(&writer, load->port);
    proto_write_u8(&writer, "state", load->state, PROTO_LOAD_DRAINING);
    proto_write_zeros(&writer, LOAD_RESERVED);
    proto_write_i64(&writer, "capacity", load->capacity, 0, INT64_MAX);
    proto_write_i64(&writer, "free", load->free, 0, INT64_MAX);
    proto_write_i64(&writer, "free inodes", load->free_inodes, 0, INT64_MAX);
    proto_write_i32(&writer, "connections", load->connections, 0, INT32_MAX);
    proto_write_i32(&writer, "uploads", load->uploads, 0, INT32_MAX);
    proto_write_i32(&writer, "requests", load->requests, 0, INT32_MAX);
    proto_write_i64(&writer, "trash", load->trash, 0, INT64_MAX);
    proto_write_i32(&writer, "damaged", load->damaged, 0, INT32_MAX);
    return proto_write_end(&writer);
}

bool proto_load_unpack(const uint8_t *body, size_t size, struct proto_load *load, struct error *error)
{
    struct proto_reader reader;
    memset(load, 0, sizeof(*load));
    proto_read_begin(&reader, "LOAD", body, size, PROTO_LOAD_SIZE, error);
    proto_read_string(&reader, &proto_field_group, load->group);
    proto_read_string(&reader, &proto_field_host, load->host);
    load->port = proto_read_port(&reader);
    load->state = proto_read_u8(&reader, "state", PROTO_LOAD_DRAINING);
    proto_skip(&reader, LOAD_RESERVED);
    load->capacity = proto_read_i64(&reader, "capacity", 0, INT64_MAX);
    load->free = proto_read_i64(&reader, "free", 0, INT64_MAX);
    load->free_inodes = proto_read_i64(&reader, "free inodes", 0, INT64_MAX);
    load->connections = proto_read_i32(&reader, "connections", 0, INT32_MAX);
    load->uploads = proto_read_i32(&reader, "uploads", 0, INT32_MAX);
    load->requests = proto_read_i32(&reader, "requests", 0, INT32_MAX);
    load->trash = proto_read_i64(&reader, "trash", 0, INT64_MAX);
    load->damaged = proto_read_i32(&reader, "damaged", 0, INT32_MAX); /* zeros from older servers */
    return proto_read_end(&reader);
}

static bool group_change_known(const struct proto_group *change, struct error *error)
{
    if (change->change >= PROTO_GROUP_ADD && change->change <= PROTO_GROUP_REMOVE)
        return true;
    return error_set(error, ERROR_MALFORMED,
                     "change: %d; 1 (add), 2 (drain), 3 (open), 4 (weight) or 5 (remove) expected",
                     change->change);
}

bool proto_group_pack(uint8_t buffer[PROTO_GROUP_CHANGE_SIZE], const struct proto_group *change,
                      struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_GROUP_CHANGE_SIZE, error);
    proto_write_string(&writer, &proto_field_group, change->group);
    proto_write_u8(&writer, "change", change->change, UINT8_MAX);
    proto_write_i32(&writer, "weight", change->weight, 0, PROTO_GROUP_WEIGHT_MAX);
    return proto_write_end(&writer) && group_change_known(change, error);
}

bool proto_group_unpack(const uint8_t *body, size_t size, struct proto_group *change, struct error *error)
{
    struct proto_reader reader;
    memset(change, 0, sizeof(*change));
    proto_read_begin(&reader, "GROUP", body, size, PROTO_GROUP_CHANGE_SIZE, error);
    proto_read_string(&reader, &proto_field_group, change->group);
    change->change = proto_read_u8(&reader, "change", UINT8_MAX);
    change->weight = proto_read_i32(&reader, "weight", 0, PROTO_GROUP_WEIGHT_MAX);
    return proto_read_end(&reader) && group_change_known(change, error);
}

size_t proto_saddrs_reply_pack(uint8_t *buffer, size_t size, const char *group, const char *addresses)
{
    size_t group_length = strnlen(group, PROTO_GROUP_SIZE);
    size_t text_size = strlen(addresses) + 1;
    if (size < PROTO_GROUP_SIZE || text_size > size - PROTO_GROUP_SIZE ||
        !proto_field_check(&proto_field_group, group, group_length, NULL))
        return 0;
    memset(buffer, 0, PROTO_GROUP_SIZE);
    memcpy(buffer, group, group_length);
    memcpy(buffer + PROTO_GROUP_SIZE, addresses, text_size);
    return PROTO_GROUP_SIZE + text_size;
}

bool proto_saddrs_reply_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                               char *addresses, size_t addresses_size, struct error *error)
{
    struct proto_reader reader;
    memset(group, 0, PROTO_GROUP_SIZE);
    memset(addresses, 0, addresses_size);
    if (size < PROTO_GROUP_SIZE)
        return error_set(error, ERROR_MALFORMED, "SADDRS reply: body of %zu bytes; at least %d expected",
                         size, PROTO_GROUP_SIZE);
    proto_read_begin(&reader, "SADDRS reply", body, PROTO_GROUP_SIZE, PROTO_GROUP_SIZE, error);
    proto_read_string(&reader, &proto_field_group, group);
    if (!proto_read_end(&reader))
        return false;

    const char *text = (const char *)body + PROTO_GROUP_SIZE;
    size_t length = strnlen(text, size - PROTO_GROUP_SIZE);
    if (length >= addresses_size)
        return error_set(error, ERROR_MALFORMED, "addresses: %zu bytes; fewer than %zu expected", length,
                         addresses_size);
    memcpy(addresses, text, length);
    return true;
}

bool proto_users_pack(uint8_t buffer[PROTO_USERS_SIZE], const struct proto_users *users, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_USERS_SIZE, error);
    proto_write_string(&writer, &proto_field_group, users->group);
    proto_write_i64(&writer, "after", users->after, 0, INT64_MAX);
    proto_write_i32(&writer, "limit", users->limit, 1, PROTO_USERS_LIMIT_MAX);
    return proto_write_end(&writer);
}

bool proto_users_unpack(const uint8_t *body, size_t size, struct proto_users *users, struct error *error)
{
    struct proto_reader reader;
    memset(users, 0, sizeof(*users));
    proto_read_begin(&reader, "USERS", body, size, PROTO_USERS_SIZE, error);
    proto_read_string(&reader, &proto_field_group, users->group);
    users->after = proto_read_i64(&reader, "after", 0, INT64_MAX);
    users->limit = proto_read_i32(&reader, "limit", 1, PROTO_USERS_LIMIT_MAX);
    return proto_read_end(&reader);
}

bool proto_users_entry_pack(uint8_t buffer[PROTO_USERS_ENTRY_SIZE], const struct proto_users_entry *entry,
                            struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_USERS_ENTRY_SIZE, error);
    proto_write_i64(&writer, "number", entry->number, 0, INT64_MAX);
    proto_write_string(&writer, &proto_field_application, entry->application);
    proto_write_string(&writer, &proto_field_user, entry->user);
    return proto_write_end(&writer);
}

bool proto_users_entry_unpack(const uint8_t *body, size_t size, struct proto_users_entry *entry,
                              struct error *error)
{
    struct proto_reader reader;
    memset(entry, 0, sizeof(*entry));
    proto_read_begin(&reader, "entry of USERS", body, size, PROTO_USERS_ENTRY_SIZE, error);
    entry->number = proto_read_i64(&reader, "number", 0, INT64_MAX);
    proto_read_string(&reader, &proto_field_application, entry->application);
    proto_read_string(&reader, &proto_field_user, entry->user);
    return proto_read_end(&reader);
}

bool proto_reroute_pack(uint8_t buffer[PROTO_REROUTE_SIZE], const struct proto_reroute *reroute,
                        struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_REROUTE_SIZE, error);
    proto_write_string(&writer, &proto_field_application, reroute->application);
    proto_write_string(&writer, &proto_field_user, reroute->user);
    proto_write_string(&writer, &proto_field_group, reroute->from);
    proto_write_string(&writer, &proto_field_group, reroute->to);
    return proto_write_end(&writer);
}

bool proto_reroute_unpack(const uint8_t *body, size_t size, struct proto_reroute *reroute,
                          struct error *error)
{
    struct proto_reader reader;
    memset(reroute, 0, sizeof(*reroute));
    proto_read_begin(&reader, "REROUTE", body, size, PROTO_REROUTE_SIZE, error);
    proto_read_string(&reader, &proto_field_application, reroute->application);
    proto_read_string(&reader, &proto_field_user, reroute->user);
    proto_read_string(&reader, &proto_field_group, reroute->from);
    proto_read_string(&reader, &proto_field_group, reroute->to);
    return proto_read_end(&reader);
}

bool proto_group_name_pack(uint8_t buffer[PROTO_GROUP_SIZE], const char *group, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_GROUP_SIZE, error);
    proto_write_string(&writer, &proto_field_group, group);
    return proto_write_end(&writer);
}

bool proto_group_name_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                             struct error *error)
{
    struct proto_reader reader;
    memset(group, 0, PROTO_GROUP_SIZE);
    proto_read_begin(&reader, "name of a group", body, size, PROTO_GROUP_SIZE, error);
    proto_read_string(&reader, &proto_field_group, group);
    return proto_read_end(&reader);
}
