/*
 * members: the rows of the table: groups in order of their names, each with its storage servers in order of
 * their first JOIN, and the only function that changes a server's state. Bounded. Not thread-safe: table.c,
 * the only caller, holds its mutex around every call.
 */
#ifndef REEL_TRACKER_MEMBERS_H
#define REEL_TRACKER_MEMBERS_H

#include "common/base/hash.h"
#include "tracker/table.h"
#include <sys/queue.h>

struct group;

/* What is looked for among the servers of all groups, in one piece of memory: ten thousand of them are looked through in microseconds. */
struct member_place {
    int64_t due_ms;      /* monotonic: time alone changes nothing of it before */
    uint64_t connection; /* the one it joined over, while that is open; else 0 */
    uint64_t host;       /* hash of its address without the port */
    uint64_t network;    /* hash of what counts as one address where places are limited (address_network()) */
    struct member *member;
};

struct member {
    TAILQ_ENTRY(member) link;
    struct group *group;
    size_t place; /* index into members.places */
    struct table_server shown;
    uint64_t join_number; /* the higher, the later it joined */
    int64_t sign_ms;      /* monotonic: last sign of life */
    int64_t beat_ms;      /* monotonic: the last heartbeat; 0: none since it joined */
    int64_t interval_ms;  /* how far apart its heartbeats come, the longest of late; 0: not known yet */
    int64_t suspect_ms;   /* monotonic: since when it is suspect */
    bool silent;          /* suspect for its silence alone: its connection is there */
    int64_t offline_ms;   /* monotonic: since when it is OFFLINE */
};

/* Lives while the database or a server names it. */
struct group {
    TAILQ_ENTRY(group) link;
    UT_hash_handle hh;
    struct table_group_row row;
    bool known; /* in the database */
    bool seen;  /* private to members_set_groups() */
    TAILQ_HEAD(member_list, member) members;
    size_t member_count;
};

struct members {
    TAILQ_HEAD(group_list, group) groups; /* in the order of their names */
    struct group *groups_by_name;         /* uthash by row.name: every request names a group */
    size_t group_count, groups_max;
    struct member_place *places; /* of all servers, in no order */
    size_t member_count, members_max, places_room;
    bool emptied; /* a group has lost its last server */
    size_t
        per_address_max; /* of members_max, for those at one address, of IPv6 in one /64; 0: no limit of its own */
    size_t state_counts[TABLE_STATE_COUNT];
    size_t suspect_count;
};

void members_init(struct members *members, size_t groups_max, size_t members_max);
void members_clear(struct members *members);

/* See table_set_groups(). */
void members_set_groups(struct members *members, const struct table_group_row *rows, size_t count);
/* NULL where there is none. */
struct group *members_find_group(struct members *members, const char *name);
/* Frees every group that neither the database nor a server names. */
void members_drop_unused_groups(struct members *members);

/* The server of GROUP at PEER and PORT, or NULL. */
struct member *members_find(struct group *group, const char *peer, uint16_t port);
/* A new server, OFFLINE, at PEER and PORT; where the table is full the one that has been OFFLINE for longest
 * makes room. NULL: ERROR_UNAVAILABLE. */
MUST_CHECK struct member *members_add(struct members *members, struct group *group, const char *peer,
                                      uint16_t port, struct error *error);
void members_forget(struct members *members, struct member *member, const char *cause);

/* Valid until a server is added or forgotten. */
static inline struct member_place *members_place(const struct members *members, const struct member *member)
{
    return &members->places[member->place];
}
uint64_t members_hash(const char *peer);

/* STATED: the time at which MEMBER sent its JOIN, by its own clock; 0: it does not say. Logged where it differs from ours. */
void members_compare_clocks(struct member *member, int64_t stated, struct table_moment now);

/* The only places where a server's state and its being suspect change; logged with CAUSE where they do. */
void members_set_state(struct members *members, struct member *member, enum table_state state,
                       struct table_moment now, const char *cause);
void members_set_suspect(struct members *members, struct member *member, bool suspect,
                         struct table_moment now, const char *cause);

#endif
