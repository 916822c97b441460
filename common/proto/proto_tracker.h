/*
 * proto_tracker: the bodies of the tracker's commands. Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_TRACKER_H
#define REEL_COMMON_PROTO_TRACKER_H

#include "common/proto/proto.h"

/* Sizes of bodies. */
#define PROTO_JOIN_SIZE         171
#define PROTO_BEAT_SIZE         146
#define PROTO_ADVERTISE_SIZE    277
#define PROTO_LOAD_SIZE         200
#define PROTO_GROUP_CHANGE_SIZE 22
#define PROTO_USERS_SIZE        (PROTO_GROUP_SIZE + 8 + 4)
#define PROTO_USERS_ENTRY_SIZE  (8 + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define PROTO_USERS_LIMIT_MAX   100 /* entries in one USERS reply */
#define PROTO_REROUTE_SIZE      (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + 2 * PROTO_GROUP_SIZE)
#define PROTO_SADDRS_MAX        (PROTO_GROUP_SIZE + 8 * 1024) /* what a client accepts */

struct proto_join {
    char version[PROTO_VERSION_SIZE];
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    int64_t start_time; /* seconds since the epoch */
    int64_t join_time;
};
MUST_CHECK bool proto_join_pack(uint8_t buffer[PROTO_JOIN_SIZE], const struct proto_join *join,
                                struct error *error);
MUST_CHECK bool proto_join_unpack(const uint8_t *body, size_t size, struct proto_join *join,
                                  struct error *error);

struct proto_beat {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
};
MUST_CHECK bool proto_beat_pack(uint8_t buffer[PROTO_BEAT_SIZE], const struct proto_beat *beat,
                                struct error *error);
MUST_CHECK bool proto_beat_unpack(const uint8_t *body, size_t size, struct proto_beat *beat,
                                  struct error *error);

/* LOAD 14: group 17, host 129, port 2, state 1, reserved 3 (zero), capacity 8, free 8, free inodes 8, connections 4,
 * uploads 4, requests per second 4, trash bytes 8, reserved 4 (zero) = 200. Counts as a BEAT of the server that joined
 * with this group, host and port. */
enum proto_load_state {
    PROTO_LOAD_READY = 0,
    PROTO_LOAD_BUSY = 1,
    PROTO_LOAD_READ_ONLY = 2,
    PROTO_LOAD_DRAINING = 3
};
struct proto_load {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    uint8_t state;    /* enum proto_load_state */
    int64_t capacity; /* bytes, over all store paths */
    int64_t free;     /* bytes that uploads may use (the floor taken off) */
    int64_t free_inodes;
    int32_t connections; /* open now */
    int32_t uploads;     /* under way now */
    int32_t requests;    /* per second, over the last heartbeat interval */
    int64_t trash;       /* bytes of deleted files that are still kept */
    int32_t damaged;     /* files of the group that the scrub found missing or damaged */
};
MUST_CHECK bool proto_load_pack(uint8_t buffer[PROTO_LOAD_SIZE], const struct proto_load *load,
                                struct error *error);
MUST_CHECK bool proto_load_unpack(const uint8_t *body, size_t size, struct proto_load *load,
                                  struct error *error);
/* ADVERTISE: the server that joined as GROUP, HOST and PORT is reached by clients at ADDRESS ("192.0.2.1:23000"). */
struct proto_advertise {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    char address[PROTO_HOST_SIZE];
};
MUST_CHECK bool proto_advertise_pack(uint8_t buffer[PROTO_ADVERTISE_SIZE],
                                     const struct proto_advertise *advertise, struct error *error);
MUST_CHECK bool proto_advertise_unpack(const uint8_t *body, size_t size, struct proto_advertise *advertise,
                                       struct error *error);

/* GROUP 17: group 17, change 1, weight 4 (0 where the change has none) = 22. */
enum proto_group_change {
    PROTO_GROUP_ADD = 1, /* with the weight; a group that is there stays as it is */
    PROTO_GROUP_DRAIN = 2,
    PROTO_GROUP_OPEN = 3,
    PROTO_GROUP_WEIGHT = 4,
    PROTO_GROUP_REMOVE = 5, /* one that is drained and has no users */
};
#define PROTO_GROUP_WEIGHT_MAX 1000000
struct proto_group {
    char group[PROTO_GROUP_SIZE];
    uint8_t change; /* enum proto_group_change */
    int32_t weight; /* share of new users */
};
MUST_CHECK bool proto_group_pack(uint8_t buffer[PROTO_GROUP_CHANGE_SIZE], const struct proto_group *change,
                                 struct error *error);
MUST_CHECK bool proto_group_unpack(const uint8_t *body, size_t size, struct proto_group *change,
                                   struct error *error);

/* USERS 24: group 17, after 8 (0: from the first), limit 4 (1..100) = 29. The reply is as many entries of number 8 (for the next
 * question's "after"), application 16, user 256 as there are; fewer than the limit means that there are no more. */
struct proto_users {
    char group[PROTO_GROUP_SIZE];
    int64_t after;
    int32_t limit;
};
MUST_CHECK bool proto_users_pack(uint8_t buffer[PROTO_USERS_SIZE], const struct proto_users *users,
                                 struct error *error);
MUST_CHECK bool proto_users_unpack(const uint8_t *body, size_t size, struct proto_users *users,
                                   struct error *error);
struct proto_users_entry {
    int64_t number;
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
};
MUST_CHECK bool proto_users_entry_pack(uint8_t buffer[PROTO_USERS_ENTRY_SIZE],
                                       const struct proto_users_entry *entry, struct error *error);
MUST_CHECK bool proto_users_entry_unpack(const uint8_t *body, size_t size, struct proto_users_entry *entry,
                                         struct error *error);

/* REROUTE 25: application 16, user 256, from 17, to 17 = 306. The reply is the group 17 that the user has then. */
struct proto_reroute {
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    char from[PROTO_GROUP_SIZE], to[PROTO_GROUP_SIZE];
};
MUST_CHECK bool proto_reroute_pack(uint8_t buffer[PROTO_REROUTE_SIZE], const struct proto_reroute *reroute,
                                   struct error *error);
MUST_CHECK bool proto_reroute_unpack(const uint8_t *body, size_t size, struct proto_reroute *reroute,
                                     struct error *error);
/* A body that is a group's name: SERVERS 26, the reply to REROUTE. */
MUST_CHECK bool proto_group_name_pack(uint8_t buffer[PROTO_GROUP_SIZE], const char *group,
                                      struct error *error);
MUST_CHECK bool proto_group_name_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                                        struct error *error);

/* Reply to SADDRS, LOCATE and SERVERS: group 17, then "address;address;" with its NUL. Pack: ADDRESSES is that text; returns the
 * body's size, 0 when BUFFER (SIZE bytes) is too small or GROUP is not a group name. Unpack: the text is copied to
 * ADDRESSES (ADDRESSES_SIZE bytes), perhaps empty; address_list_parse() checks it. A missing trailing NUL or ';' is
 * accepted. */
size_t proto_saddrs_reply_pack(uint8_t *buffer, size_t size, const char *group, const char *addresses);
MUST_CHECK bool proto_saddrs_reply_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                                          char *addresses, size_t addresses_size, struct error *error);

#endif
