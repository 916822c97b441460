/*
 * groups: keeps the table's groups as t_groups_info has them: reads it every so often, and at once for a JOIN
 * that names a group nobody knows yet. Touches the table and the database; called by service.c.
 */
#ifndef REEL_TRACKER_GROUPS_H
#define REEL_TRACKER_GROUPS_H

#include "tracker/table.h"
#include "common/db/db.h"
#include "common/loop/wait_list.h"

struct groups;

/* The first reading begins when LOOP (the main loop) runs. TABLE and DB must outlive it. GROUPS_MAX rows are
 * read. */
MUST_CHECK struct groups *groups_create(struct loop *loop, struct db *db, struct table *table,
                                        size_t groups_max, int64_t refresh_ms, int64_t timeout_ms,
                                        struct error *error);
/* On the loop: no reading begins any more; STOPPED (then on the loop, perhaps before this returns) is called
 * when none is under way. */
void groups_stop(struct groups *groups, void (*stopped)(void *argument), void *argument);
/* On the main thread, before the database is closed: nothing is submitted any more, and what waits for the
 * next reading is answered as unavailable. */
void groups_close(struct groups *groups);
/* After the loops have ended. NULL is ignored. */
void groups_destroy(struct groups *groups);

/* On the loop. */
void groups_set_refresh(struct groups *groups, int64_t refresh_ms);

/* Somebody who waits for a group to be looked up. Embed it; valid until done(). */
struct groups_question {
    char group[PROTO_GROUP_SIZE];
    struct loop *loop;
    void (*done)(struct groups_question *question); /* on LOOP */
    bool known;
    struct error
        error; /* where not known: ERROR_REFUSED (no such group), ERROR_UNAVAILABLE (cannot be asked) */
    /* private */
    struct wait wait;
    struct groups *groups;
};

/* On QUESTION->loop. Answers within TIMEOUT_MS of groups_create(). Reads the groups (one reading serves all that ask
 * meanwhile) and answers by done(). To be asked when table_group_known() says no. */
void groups_ask(struct groups *groups, struct groups_question *question);

/* Any thread: the groups were read at least once. */
bool groups_loaded(struct groups *groups);
/* Any thread: false with REASON when the last reading failed. */
bool groups_reading_works(struct groups *groups, char *reason, size_t reason_size);

#endif
