/*
 * scrub_progress: where a scrub is and what it has found, as it is stored with the lease, so that another server goes on from there.
 */
#ifndef REEL_STORAGE_SCRUB_PROGRESS_H
#define REEL_STORAGE_SCRUB_PROGRESS_H

#include "storage/upkeep/keeper.h"

#include <jansson.h>

struct scrub_progress {
    int64_t number; /* of the run; 0: nobody asked for it */
    bool repair;
    bool rows_done;
    unsigned table;
    int64_t after; /* the last row_id of the table that is done */
    int64_t rows, bytes, digests, repaired, healed, elsewhere, leftovers, young, left;
    int64_t kinds[SCRUB_KINDS];
    json_t *lines; /* findings that are reported one by one; owned */
};

/* In findings and metrics. */
extern const char *const scrub_kind_names[SCRUB_KINDS];

/* The text, which the caller frees. FINISHED: seconds since 1970, where it is DONE. NULL: no memory. */
char *scrub_progress_text(const struct scrub_progress *at, bool done, int64_t finished, struct error *error);

/* Takes over what scrub_progress_text() wrote. False, and only `repair` is set: there is nothing to go on from. */
bool scrub_progress_read(struct scrub_progress *at, const json_t *progress);

#endif
