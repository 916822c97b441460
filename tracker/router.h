/*
 * router: which group a user belongs to: the cache, then t_router, then (SADDRS only) a group is chosen for a
 * new user and written down, once, also when two trackers are asked at the same moment: the unique index on
 * (appid, userid) refuses the second row, and what the first wrote is read. Only a group that is open in the database at that
 * moment is written down, whatever memory says of it. Applications that are not
 * configured are refused here. Thread-safe. Called by service.c.
 */
#ifndef REEL_TRACKER_ROUTER_H
#define REEL_TRACKER_ROUTER_H

#include "tracker/table.h"
#include "common/config/config.h"
#include "common/db/db.h"

struct router;

struct router_options {
    struct table *table;
    struct db *db;
    size_t cache_entries;
    int64_t cache_age_ms;   /* a cached answer is used without asking */
    int64_t unknown_age_ms; /* "no such user" is used without asking; for LOCATE */
    int64_t timeout_ms;     /* for an answer of the database */
};

MUST_CHECK struct router *router_create(const struct router_options *options, struct error *error);
/* Before the database is closed (any thread): nothing is submitted any more. */
void router_close(struct router *router);
/* After the last look-up has ended. NULL is ignored. */
void router_destroy(struct router *router);

/* Rules and ages, at start-up and at a reload (any thread). PINS as the configuration has them. On failure
 * the earlier rules stay. */
MUST_CHECK bool router_configure(struct router *router, const struct config_strings *applications,
                                 const struct config_strings *pins, int64_t cache_age_ms,
                                 int64_t unknown_age_ms, struct error *error);

enum router_answer {
    ROUTER_FOUND,  /* the group is filled in */
    ROUTER_FAILED, /* ERROR is filled in: ERROR_REFUSED (application), ERROR_NOT_FOUND (LOCATE) */
    ROUTER_ASK,    /* only the database knows: router_ask() */
};

/* APPLICATION's USER belongs to GROUP, as the database said a moment ago. Any thread. */
void router_learn(struct router *router, const char *application, const char *user, const char *group);

/* A job on the same database. Any thread; false: job->done() is not called. */
MUST_CHECK bool router_submit(struct router *router, struct db_job *job, struct error *error);

/* What memory alone can answer. CREATE: for SADDRS. While the database is away, cached answers of any age
 * count. */
MUST_CHECK enum router_answer router_find(struct router *router, const struct proto_file_key *key,
                                          bool create, char group[PROTO_GROUP_SIZE], struct error *error);

/* The end of a look-up. GROUP: NULL where it failed; then ERROR says why: also what table_place() says, and
 * ERROR_UNAVAILABLE. Both are valid during the call. */
typedef void (*router_callback)(void *argument, const char *group, const struct error *error);

/* Asks the database, and gives a user without a group one where CREATE says so. On the thread of LOOP, never
 * blocks; CALLBACK comes once, later, on the loop, at most TIMEOUT_MS of the options from now: where the
 * database is slow, the cached answer, whatever its age, is given after a moment. ROUTER_ASK: CALLBACK will
 * come. Else it will not, because too many wait: ROUTER_FOUND with a cached answer in GROUP, or ROUTER_FAILED
 * with ERROR. */
MUST_CHECK enum router_answer router_ask(struct router *router, struct loop *loop,
                                         const struct proto_file_key *key, bool create,
                                         router_callback callback, void *argument,
                                         char group[PROTO_GROUP_SIZE], struct error *error);

#endif
