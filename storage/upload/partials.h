/*
 * partials: what this process has in memory about partial uploads: who writes to them here, so that of two writers the older one
 * has written its last byte before the newer one begins, and the digest of what this process wrote, so that nothing is read back
 * where it wrote everything. What other members do is settled by the database (storage/rows/partial_sql.h). Bounded; any thread.
 */
#ifndef REEL_STORAGE_PARTIALS_H
#define REEL_STORAGE_PARTIALS_H

#include "common/proto/digest.h"
#include "storage/rows/partial_sql.h"

struct partials;

/* KEPT: digests that wait for the next APPEND, about 1 KiB each. NULL without memory. */
MUST_CHECK struct partials *partials_create(size_t kept);
void partials_destroy(struct partials *partials); /* nobody may hold anything; NULL is ignored */

/* One request about a partial upload, from before it asks for its row: so what others have done meanwhile is remembered. */
struct partials_hold {
    struct partials_entry *entry; /* NULL: nothing is held */
    int64_t epoch;
};

/* A request about TOKEN begins. False without memory. */
MUST_CHECK bool partials_begin(struct partials *partials, const char *token, struct partials_hold *hold);

/* It has taken the upload over with EPOCH: waits until older writers of this process have finished their writes. False
 * where a newer one has come meanwhile. BLOCKS; on workers. */
MUST_CHECK bool partials_enter(struct partials *partials, struct partials_hold *hold, int64_t epoch,
                               struct error *error);

/* TOKEN was taken over with EPOCH by one that does not write: older writers stop, and its digest is forgotten. */
void partials_supersede(struct partials *partials, const char *token, int64_t epoch);

/* Around whatever changes the file: false where a newer one has taken over. */
MUST_CHECK bool partials_write_begin(struct partials *partials, const struct partials_hold *hold,
                                     struct error *error);
void partials_write_end(struct partials *partials, const struct partials_hold *hold);

/* The digest of the first OFFSET bytes, if this process wrote them all; it is the caller's from here on. NULL: not known. */
struct digest *partials_take_digest(struct partials *partials, const struct partials_hold *hold,
                                    int64_t offset);

/* A copy of a partial file under way, which whoever takes the upload over here carries on. */
struct partials_copy {
    char from[STORE_FILE_PATH_SIZE]; /* file_path of the file that is copied */
    struct store_path *path;         /* where the copy is */
    struct path place;
    int64_t copied; /* bytes */
};

/* False: there is none of FROM. */
MUST_CHECK bool partials_find_copy(struct partials *partials, const struct partials_hold *hold,
                                   const char *from, struct partials_copy *copy);
/* COPY NULL: there is none any more. Without memory it is forgotten, and another one begun. */
void partials_note_copy(struct partials *partials, const struct partials_hold *hold,
                        const struct partials_copy *copy);

/* Ends a hold (one without anything is ignored). DIGEST (taken; may be NULL): of the first OFFSET bytes. */
void partials_leave(struct partials *partials, struct partials_hold *hold, struct digest *digest,
                    int64_t offset);

size_t partials_count(struct partials *partials); /* tokens of which something is known */

#endif
