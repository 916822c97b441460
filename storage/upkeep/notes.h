/*
 * notes: what the holder of the lease writes down about a long chore, so that it goes on there after a restart and on
 * another member: a row of t_lease of its own, NAME/GROUP, whose `progress` is a JSON object, `wanted` the number of the
 * last confirmation that an operator gave, `done` the last one that was used up. Whoever begins takes the row; what a
 * former holder stores later is refused. On the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_NOTES_H
#define REEL_STORAGE_NOTES_H

#include "storage/upkeep/keeper.h"

#include <jansson.h>

struct notes {
    struct keeper *keeper;
    char name[LEASE_NAME_SIZE];
    struct lease_row row;
};

void notes_init(struct notes *notes, struct keeper *keeper, const char *name);

/* The row as it is. */
MUST_CHECK bool notes_read(struct notes *notes, struct error *error);

/* The same, and it is ours from now on. False also when another member was quicker. */
MUST_CHECK bool notes_take(struct notes *notes, struct error *error);

/* Stores PROGRESS (a reference is taken away) and, where DONE is not negative, that this confirmation is used up. False with
 * ERROR_CANCELLED when another member has taken the row. */
MUST_CHECK bool notes_store(struct notes *notes, json_t *progress, int64_t done, struct error *error);

/* What stands in it; a new reference; NULL: nothing that can be read. */
json_t *notes_progress(const struct notes *notes);

/* The number NAME of PROGRESS; 0 where it has none. */
int64_t notes_number(const json_t *progress, const char *name);

#endif
