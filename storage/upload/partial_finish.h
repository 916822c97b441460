/*
 * partial_finish: the end of a partial upload as FINISH and JOIN_PARTS have it in common. Private to partial_finish.c and
 * partial_join.c; on the request's loop where nothing else is said.
 */
#ifndef REEL_STORAGE_PARTIAL_FINISH_H
#define REEL_STORAGE_PARTIAL_FINISH_H

#include "storage/upload/partial_state.h"

/* May it be finished, as its row is? For partial_job.allowed. */
MUST_CHECK bool partial_finish_allowed(struct partial_job *rows, struct error *error);

/* The row was taken, or is stored already: waits for a place; upload_kind.advance follows. */
void partial_finish_taken(struct partial *partial);

/* The content is whole in the open file, and its digest known: syncs, row, end. */
void partial_finish_whole(struct partial *partial);

/* What is left of upload_kind.worked and upload_kind.settle from there on. Worked: false where the job is none of its own. */
MUST_CHECK bool partial_finish_worked(struct upload *upload);
MUST_CHECK bool partial_finish_settle(struct upload *upload);

/* Reads a part of the first END bytes of the open file into partial->digest, up to partial->digested. On a worker; BLOCKS. */
MUST_CHECK bool partial_read_back(struct partial *partial, int64_t end, struct error *error);

#endif
