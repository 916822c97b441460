/*
 * lease: which member of the group does the upkeep: one row of t_lease, taken by compare-and-swap and kept
 * alive by a counter. No clock of one machine is compared with that of another: a member takes over when it
 * has seen the same owner and the same counter for the whole lease time of its own monotonic clock, and a holder
 * gives up its lease when that much time has passed since it sent the renewal that succeeded. A step of a wall
 * clock changes nothing.
 *
 * The row also carries what the members report to each other: runs of the scrub that are wanted and done, and its
 * progress. Called by storage/upkeep/keeper.c and the chores on the upkeep's thread; the statements are
 * storage/upkeep/lease_sql.h's, which storage/request/fsck.c calls too.
 */
#ifndef REEL_STORAGE_LEASE_H
#define REEL_STORAGE_LEASE_H

#include "storage/upkeep/lease_sql.h"
#include "storage/rows/meta.h"

#include <stdatomic.h>

struct lease {
    struct meta *meta;
    char name[LEASE_NAME_SIZE];
    char owner[LEASE_OWNER_SIZE]; /* of this process, never used before */
    int64_t duration_ms;
    struct lease_row row; /* as it was seen last */
    int64_t seen_since_ms;
    int64_t held_until_ms; /* monotonic; 0: not held */
    atomic_bool asks;      /* waits for the database at this moment */
};

/* HOST and PORT are for people; the owner's name is made unique. */
void lease_init(struct lease *lease, struct meta *meta, const char *group, const char *host, int port,
                int64_t duration_ms);

/* Takes, renews or watches. BLOCKS. False with ERROR when the database did not answer; whether it is held
 * then is still reported by lease_held(). */
MUST_CHECK bool lease_try(struct lease *lease, struct error *error);

bool lease_held(const struct lease *lease);

/* Gives it up, so that another member need not wait. BLOCKS. */
void lease_release(struct lease *lease);

/* Stores PROGRESS (and, where DONE is not negative, that this run is done) while the lease is held by us.
 * BLOCKS. */
MUST_CHECK bool lease_store(struct lease *lease, const char *progress, int64_t done, struct error *error);

/* The scrub that the row asks for begins, with PROGRESS. False with ERROR_CANCELLED when the row asks for another one by
 * now. BLOCKS. */
MUST_CHECK bool lease_begin(struct lease *lease, const char *progress, struct error *error);

#endif
