/*
 * command_move: what moves users from one group of storage servers to others, as client/command/command_empty.c drives it: a
 * mover with its targets, and the steps over all users. Private to these two.
 */
#ifndef REEL_CLIENT_COMMAND_MOVE_H
#define REEL_CLIENT_COMMAND_MOVE_H

#include "client/command/command_internal.h"

#define MOVE_TARGETS_MAX  64
#define MOVE_TRACKERS_MAX 16

struct target {
    char name[REEL_GROUP_SIZE];
    int64_t free, capacity; /* bytes; FREE as it will be */
    struct reel *sink;      /* uploads there are MOVEs; NULL: not opened yet */
};

struct moved_user {
    char *application, *user; /* owned */
    struct target *target;
    int64_t at_ms; /* monotonic: when the trackers were asked to name the new group */
};

struct mover {
    struct command *command;
    const char *from;
    struct reel *source; /* asks the servers of FROM */
    struct reel *trackers[MOVE_TRACKERS_MAX];
    size_t tracker_count;
    struct target targets[MOVE_TARGETS_MAX];
    size_t target_count;
    struct moved_user *users; /* that were moved, the latest last */
    size_t user_count;
    int64_t rate; /* bytes per second; 0: no limit */
    int64_t settle_ms;
    int64_t budget;        /* bytes that are to be moved; -1: all */
    pthread_mutex_t mutex; /* for what follows: files are moved by several threads */
    int64_t at_us;         /* when the next byte may go */
    int64_t files, bytes, failures;
};

/* True once a signal or --max-time has ended the command. */
bool move_ended(const struct mover *mover);

/* Moves the users whom the tracker has in the group, or says who would move (--dry-run), until the budget is used up. Each of the
 * following returns an exit code; what fails for one user is counted and does not hold up the others. */
int move_routed_users(struct mover *mover);

/* Looks for some time after the users who were moved, and moves what they have uploaded by old addresses. */
void move_settle(struct mover *mover);

/* Moves what users still have in the group though no tracker names it for them: of a run that was interrupted. *FILES,
 * *FORMER: what the group had before. */
int move_left_users(struct mover *mover, int64_t *files, int64_t *former);

#endif
