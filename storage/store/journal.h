/*
 * journal: the upload journal, one file beside an SQLite database: small uploads are promised by one synced append for all that
 * came together, long before their files and rows are on the disk in their places (docs/durability.md, "The upload journal").
 * This is the file: who holds it, the ring of records, what a checkpoint gives back. What records mean is decided in upload/recovery.
 *
 * Three byte-range locks (fcntl, F_OFD_SETLK) lie on it: `holder`, of the one server that writes to it; `recovery`, of a server
 * that starts, until what it found is put in place; `living`, shared, of every server on the database.
 */
#ifndef REEL_STORAGE_JOURNAL_H
#define REEL_STORAGE_JOURNAL_H

#include "storage/store/journal_format.h"

#define JOURNAL_SIZE_MIN ((int64_t)1 << 20)

struct journal;

/* Opens PATH, which is made empty where it is missing, and takes the lock of recovery, for which it waits TIMEOUT_MS at most; BLOCKS.
 * NULL: ERROR; of a file that cannot be made, and is not there, *ABSENT is true: nothing can be in it. */
MUST_CHECK struct journal *journal_open(const char *path, int64_t timeout_ms, bool *absent,
                                        struct error *error);
/* Gives up all locks. NULL is ignored. */
void journal_close(struct journal *journal);

/* After journal_open(): no other server has it. */
bool journal_is_held(const struct journal *journal);
/* No other server on the database was alive when this one began. */
bool journal_is_alone(const struct journal *journal);
/* The server that wrote to it last ended in order: nothing in it matters. */
bool journal_is_clean(const struct journal *journal);
/* Chosen when the file was made; 0: it has no records, and never had. */
uint64_t journal_id(struct journal *journal);

/* Each record that was on the disk for certain, or may have been, in their order. FUNCTION false ends it with its ERROR. False as well
 * where a record is damaged behind which others are that were promised: ERROR says where. Only where it is held. BLOCKS. */
typedef bool (*journal_function)(void *argument, const struct journal_record *record, struct error *error);
MUST_CHECK bool journal_replay(struct journal *journal, journal_function function, void *argument,
                               struct error *error);

/* What is in it matters no more: it is empty, of SIZE bytes from now on (0: as it is; MAKE false: where it has no records yet it
 * gets its space only after some uploads, by journal_make()). BLOCKS. */
MUST_CHECK bool journal_begin(struct journal *journal, int64_t size, bool make, struct error *error);
/* Writes the space for its records, if uploads have asked for it. BLOCKS. */
MUST_CHECK bool journal_make(struct journal *journal, struct error *error);
/* The server has started: others that start may go on. */
void journal_started(struct journal *journal);
/* This one is not to write to it: what was held is free for others. */
void journal_leave(struct journal *journal);
/* It has no records and no space any more, for a server of an earlier version. BLOCKS. */
MUST_CHECK bool journal_empty(struct journal *journal, struct error *error);
/* Takes nothing more; then, after a last checkpoint, the end in order, if that has passed all. BLOCKS. */
void journal_stop(struct journal *journal);
MUST_CHECK bool journal_finish(struct journal *journal, struct error *error);

/* ---- uploads; any thread ---- */

/* Room for a record with SIZE bytes of content, until journal_release() of what it returns. 0: there is none, or nothing can be written. */
MUST_CHECK int64_t journal_reserve(struct journal *journal, size_t size);
void journal_release(struct journal *journal, int64_t reserved);

#define JOURNAL_GROUPS_MAX 8 /* groups that are written and not settled */

/* COUNT records, for each of which room is reserved, with one sync; sequence, generation, synced and last are set. False: they may or
 * may not be there; numbers that were given (sequence > 0) are never given again, and nothing is written until a checkpoint has left
 * them behind. One call at a time. BLOCKS. */
MUST_CHECK bool journal_write(struct journal *journal, struct journal_record *const *records, size_t count,
                              struct error *error);
/* The rows of all records up to SEQUENCE, which is the last one of some journal_write(), are committed or never will be. */
void journal_settle(struct journal *journal, int64_t sequence);

/* ---- checkpoints; one thread ---- */

/* Up to where the rows of records are settled. */
struct journal_mark {
    int64_t sequence, position, written;
};
/* False: there is nothing behind the last checkpoint. */
MUST_CHECK bool journal_mark(struct journal *journal, struct journal_mark *mark);
/* The records from the last checkpoint up to MARK, as journal_replay(). BLOCKS. */
MUST_CHECK bool journal_read(struct journal *journal, const struct journal_mark *mark,
                             journal_function function, void *argument, struct error *error);
/* What MARK names is on the disk in its places: moves the tail. BLOCKS. */
MUST_CHECK bool journal_move_tail(struct journal *journal, const struct journal_mark *mark,
                                  struct error *error);
/* A sync of files failed because of WHY, which no later one will report: no room is reserved, until what was reserved has been
 * given back and a checkpoint has passed it; until then each has to write the files of its records once more. */
void journal_suspend(struct journal *journal, const char *why);
bool journal_is_suspended(struct journal *journal);
/* Ends that where it is time. */
void journal_resume(struct journal *journal);
/* Waits MS at most, less where it is half full or journal_stop() was called. BLOCKS. */
void journal_wait(struct journal *journal, int64_t ms);

/* Why nothing can be written now; "" where it can, or where nobody has asked for it. */
void journal_concern(struct journal *journal, char *reason, size_t size);
/* Bytes between tail and end. */
int64_t journal_used(struct journal *journal);
/* There is neither a record behind the tail nor room that is reserved. */
bool journal_is_idle(struct journal *journal);

#endif
