/*
 * meta: the file rows as the rest of the daemon sees them: looked up through a bounded cache, listed, and the jobs of
 * those who change them (meta_insert.h, meta_change.h, storage/upkeep). The only room that submits database jobs. A
 * look-up of one file by many at once is one query. What this server changes it sees at once; what another server
 * changes, within the cache's age; while the database is away rows are served from the cache whatever their age.
 */
#ifndef REEL_STORAGE_META_H
#define REEL_STORAGE_META_H

#include "common/loop/wait_list.h"
#include "common/proto/proto_storage.h"
#include "storage/rows/meta_sql.h"

struct meta;

/* CONFIG, STORE and LOOP must outlive it. LOOP: its timer asks for a database that is away. Does not need the
 * database. */
MUST_CHECK struct meta *meta_create(const struct storage_config *config, const struct store *store,
                                    struct loop *loop, struct error *error);
/* Ends the database's threads while the loops still run; what is asked from now on is refused. May BLOCK. */
void meta_end(struct meta *meta);
/* After the loops have ended. NULL is ignored. */
void meta_destroy(struct meta *meta);

void meta_set_age(struct meta *meta, int64_t age_ms);
/* What users without limits of their own may have; 0: anything. Any thread. */
void meta_set_quota(struct meta *meta, int64_t bytes, int64_t files);
/* False and a REASON: the database is away. True and a REASON, else "": see db_healthy(). */
bool meta_healthy(struct meta *meta, char *reason, size_t reason_size);
size_t meta_cached_rows(struct meta *meta);

/* True where the row is one that this server answers for: of its group, or of the predecessor. Else
 * ERROR_OTHER_GROUP. */
MUST_CHECK bool meta_row_ours(const struct meta *meta, const struct meta_row *row, struct error *error);

/* False with ERROR_IO for a row that the scrub has marked: its file is missing or has other bytes. */
MUST_CHECK bool meta_row_sound(const struct meta_row *row, struct error *error);

/* Any thread: the row is not what it was; it is asked for again. */
void meta_forget(struct meta *meta, const struct proto_file_key *key);

/* Any thread: the row says more than it did, and nothing else; it is asked for anew, and served as it was while the
 * database is away. */
void meta_outdate(struct meta *meta, const struct proto_file_key *key);

/* A job of meta_insert.c, meta_change.c or storage/upkeep. meta_run_wait() BLOCKS until it has ended; on a thread that
 * ends before meta_end(). meta_run() never blocks, any thread; false: job->done() is not called. */
enum db_result meta_run_wait(struct meta *meta, struct db_job *job);
MUST_CHECK bool meta_run(struct meta *meta, struct db_job *job, struct error *error);

/* New rows with a content are promised by JOURNAL from now on (see storage/rows/insert_batch.h); before the first one. It must
 * outlive meta_end(). Only with SQLite. */
struct insert_journal;
void meta_set_journal(struct meta *meta, const struct insert_journal *journal);

/* Does any row speak of a file in the store path KEY? KNOWN false: the database does not say. BLOCKS; on a thread
 * that ends before meta_end(). */
bool meta_has_rows(struct meta *meta, const char *key, bool *known);

/* Any thread: the row from the cache. False: meta_find() must ask. */
MUST_CHECK bool meta_find_cached(struct meta *meta, const struct proto_file_key *key, struct meta_row *row);

/* Each of the following takes a struct that stays valid until its done(), which runs on its loop, never
 * inside the call. False: the database's queue is full; done() is not called. */

enum meta_result { META_DONE, META_ABSENT, META_FAILED };

struct meta_find {
    struct proto_file_key key;
    struct loop *loop;
    void (*done)(struct meta_find *find);
    bool stale_fine; /* while the database fails a row from the cache will do, whatever its age */
    bool fresh;      /* the database is asked after this call: no look-up that is under way is joined */
    /* out */
    enum meta_result result; /* META_DONE: ROW; META_ABSENT; META_FAILED: ERROR */
    struct meta_row row;
    struct error error;
    struct wait wait; /* private */
};
/* Asks the database, and fills the cache. On FIND->loop. */
MUST_CHECK bool meta_find(struct meta *meta, struct meta_find *find, struct error *error);

struct meta_list {
    struct proto_list list;
    struct loop *loop;
    void (*done)(struct meta_list *list);
    /* out; ENTRIES is freed by the caller */
    enum meta_result result; /* META_DONE or META_FAILED */
    struct proto_list_entry *entries;
    size_t count;
    struct error error;
    /* private */
    struct meta *meta;
    struct db_job job;
};
MUST_CHECK bool meta_list(struct meta *meta, struct meta_list *list, struct error *error);

#endif
