/*
 * table: the groups and their storage servers, and what each server's state is: who joined, who sends heartbeats, who
 * fell silent. Also chooses from it: the servers named for a group, the group of a new user. In memory only; bounded;
 * thread-safe (one mutex, held briefly, never across anything that blocks but a log line). Every change of a server's
 * state is logged with its cause. Called by service.c, router.c, groups.c, report.c.
 *
 * Identity. A server is (group, peer address, stated port). The connection of the latest JOIN is the server's
 * own until it closes: a heartbeat on it that names the group and host of the JOIN is the server's (several
 * servers that joined over one connection with the same group and host: the latest). A heartbeat on any other
 * connection is matched by group, host and peer address, and LOAD by its port also. Where a BEAT fits several
 * servers (one host, two ports) those that have a connection of their own are left out, since their
 * heartbeats come there; it is refused when that does not leave exactly one, because a wrong guess would keep
 * a dead server alive. A refused server joins again.
 *
 * Time. Silence, grace and forgetting are measured on the monotonic clock; wall time is kept for display
 * only. How far apart a server's heartbeats come is learned from them: one that has missed three is suspect, and asked
 * only where no other is left, long before its silence makes it OFFLINE.
 */
#ifndef REEL_TRACKER_TABLE_H
#define REEL_TRACKER_TABLE_H

#include "common/base/address.h"
#include "common/proto/proto.h"
#include "common/proto/proto_tracker.h"

struct table;

enum table_state { TABLE_OFFLINE, TABLE_ONLINE, TABLE_ACTIVE };
#define TABLE_STATE_COUNT 3

/* "OFFLINE", "ONLINE", "ACTIVE". Static. */
static inline const char *table_state_name(enum table_state state)
{
    switch (state) {
    case TABLE_OFFLINE:
        return "OFFLINE";
    case TABLE_ONLINE:
        return "ONLINE";
    case TABLE_ACTIVE:
        return "ACTIVE";
    }
    return "UNKNOWN";
}

struct table_settings {
    int64_t heartbeat_timeout_ms; /* silence of a server until it is OFFLINE */
    int64_t suspect_grace_ms;     /* from its connection's end until it is OFFLINE */
    int64_t forget_after_ms;      /* OFFLINE until it is forgotten */
    int64_t minimum_free;         /* bytes a group must have free to be given a new user */
    size_t per_address_max; /* storage servers at one address, of IPv6 in one /64; 0: no limit of its own */
};

/* One moment on both clocks. */
struct table_moment {
    int64_t monotonic_ms;
    int64_t wall_seconds;
};
struct table_moment table_now(void);

/* NULL without memory. */
MUST_CHECK struct table *table_create(size_t groups_max, size_t servers_max,
                                      const struct table_settings *settings);
void table_destroy(struct table *table);
void table_set_settings(struct table *table, const struct table_settings *settings);

/* ---- groups ---- */

struct table_group_row {
    char name[PROTO_GROUP_SIZE];
    bool draining;  /* gets no new user */
    int64_t weight; /* share of new users; 0: none */
};

/* The groups as the database has them, all of them. One that is gone keeps the servers it has, for the users
 * that it has; nobody joins it and nobody new is routed to it. Rows past groups_max are left out, with a
 * warning. */
void table_set_groups(struct table *table, const struct table_group_row *rows, size_t count);

/* GROUP gets no new user until the next table_set_groups(): by now the database says that it is drained or gone. */
void table_close_group(struct table *table, const char *group);

/* True for a group of the latest table_set_groups(). */
bool table_group_known(struct table *table, const char *group);

/* True, with its name, when the latest table_set_groups() gave exactly one group. */
bool table_only_group(struct table *table, char name[PROTO_GROUP_SIZE]);

/* ---- what storage servers say; CONNECTION: its id, never 0; PEER: its numeric address ---- */

/* ERROR_REFUSED: unknown group, no port. ERROR_UNAVAILABLE: the table is full of servers that are not
 * OFFLINE. */
MUST_CHECK bool table_join(struct table *table, uint64_t connection, const char *peer,
                           const struct proto_join *join, struct table_moment now, struct error *error);
/* ERROR_REFUSED: nobody joined under that name, or it is ambiguous which server it is. */
MUST_CHECK bool table_beat(struct table *table, uint64_t connection, const char *peer,
                           const struct proto_beat *beat, struct table_moment now, struct error *error);
MUST_CHECK bool table_load(struct table *table, uint64_t connection, const char *peer,
                           const struct proto_load *load, struct table_moment now, struct error *error);
/* Clients are given ADDRESS, numeric, as the server's from now until it joins again. ERROR_REFUSED as above. */
MUST_CHECK bool table_advertise(struct table *table, uint64_t connection, const char *peer,
                                const struct proto_advertise *advertise, const struct address *address,
                                struct error *error);
/* The connection is gone: what joined over it and is not OFFLINE is suspect. */
void table_connection_closed(struct table *table, uint64_t connection, struct table_moment now);

/* Time passes: to be called several times per second. When two calls lie further apart than TABLE_PAUSE_MS this
 * process itself stood still, with heartbeats waiting unread: the gap is nobody's silence. STUCK: a loop that reads
 * heartbeats does not run (loop_watch.h), which is the same. */
#define TABLE_PAUSE_MS 2000
void table_tick(struct table *table, struct table_moment now, bool stuck);

/* ---- choosing ---- */

/* Up to CAPACITY servers of GROUP that a client may ask, best first: ACTIVE ones, or where there is none those that are
 * ONLINE (after a tracker's restart every server is, until its next heartbeat). SECURE: the address under TLS of each that
 * has one. Returns how many. */
size_t table_choose(struct table *table, const char *group, bool secure, struct address *servers,
                    size_t capacity);

/* A group for a new user; of the ALLOWED ones only, where ALLOWED_COUNT is not 0: one with an ACTIVE server, or
 * where none has, one with an ONLINE server. ERROR_NO_SERVER: no group has a server that takes new files; ERROR_NO_SPACE: those that have are full; ERROR_REFUSED: every
 * group is closed to new users. */
MUST_CHECK bool table_place(struct table *table, char (*allowed)[PROTO_GROUP_SIZE], size_t allowed_count,
                            char group[PROTO_GROUP_SIZE], struct error *error);

/* ---- reading ---- */

struct table_server {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    char version[PROTO_VERSION_SIZE];
    struct address address; /* of the peer, with the stated port */
    bool has_advertised;
    struct address advertised; /* what it states as its address for clients */
    bool has_tls;
    struct address tls; /* the same for clients that came under TLS; host "*": as without */
    enum table_state state;
    bool suspect;
    int64_t start_time; /* seconds since the epoch, as the server stated them */
    int64_t join_time;
    int64_t
        clock_s; /* how far its clock was ahead of ours when it joined; 0: they agree within TABLE_CLOCK_S */
    int64_t beat_time; /* by this machine's clock: the last heartbeat; before the first one, the JOIN */
    int64_t silent_ms; /* since the last sign of life; filled in snapshots */
    bool has_load;     /* its last heartbeat was a LOAD */
    struct proto_load load;
};

struct table_group {
    struct table_group_row row;
    bool known; /* in the database */
    size_t active_count;
    size_t server_count;
    struct table_server *servers; /* inside the snapshot, in order of their first JOIN */
};

struct table_snapshot {
    struct table_group *groups; /* by name */
    size_t group_count;
    struct table_server *servers; /* of all groups */
    size_t server_count;
};

/* A copy of everything. False without memory. */
MUST_CHECK bool table_snapshot_take(struct table *table, struct table_moment now,
                                    struct table_snapshot *snapshot);
void table_snapshot_clear(struct table_snapshot *snapshot);

/* How many servers are in STATE. */
size_t table_count(struct table *table, enum table_state state);
size_t table_count_suspect(struct table *table);
/* Those that are not OFFLINE and whose clock differs from this machine's. */
#define TABLE_CLOCK_S 30
size_t table_count_clocks_off(struct table *table);
size_t table_count_groups(struct table *table);

#endif
