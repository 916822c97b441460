/*
 * row_cache: file rows kept compactly in memory, bounded, and the epochs that distinguish an answer of the database
 * that was asked for before a change from one that was asked for after it. Called by storage/rows/meta*.c, on any
 * thread; never blocks, knows no database.
 */
#ifndef REEL_STORAGE_ROW_CACHE_H
#define REEL_STORAGE_ROW_CACHE_H

#include "storage/rows/meta_sql.h"

#define ROW_KEY_MAX (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + PROTO_FILE_SIZE)

struct row_key {
    size_t size;
    uint8_t bytes[ROW_KEY_MAX];
};

void row_key_make(const struct proto_file_key *file_key, struct row_key *key);

struct row_cache;

/* CONFIG and STORE must outlive it. NULL without memory. */
MUST_CHECK struct row_cache *row_cache_create(const struct storage_config *config, const struct store *store);
void row_cache_destroy(struct row_cache *cache); /* NULL is ignored */

/* The row, if it is known and not older than the age; counted as a hit. */
MUST_CHECK bool row_cache_get(struct row_cache *cache, const struct proto_file_key *file_key,
                              const struct row_key *key, struct meta_row *row);

/* The same whatever its age: for when the database is away. */
MUST_CHECK bool row_cache_get_stale(struct row_cache *cache, const struct proto_file_key *file_key,
                                    const struct row_key *key, struct meta_row *row);

/* Counts a look-up that the database has to answer. */
void row_cache_missed(struct row_cache *cache);

/*
 * A key's epoch grows whenever this server has changed its row. Whoever is about to ask the database notes the
 * epoch first; what the answer says is kept only if the epoch is still the same, in one step with that
 * comparison. So of two changes at the same moment the older one never stays in the cache: the one that ends
 * later finds that the epoch has moved and removes the row. Some keys share an epoch.
 */
uint64_t row_cache_epoch(struct row_cache *cache, const struct row_key *key);

/* The database said so to a question that was asked in EPOCH: ROW (of this server's group), or NULL for a row
 * that is not there or not ours. Where the epoch has moved nobody knows which is older, this or what is in memory: nothing is kept. */
void row_cache_learn(struct row_cache *cache, const struct row_key *key, uint64_t epoch,
                     const struct meta_row *row);

/* The row is not what it was: the next epoch begins and the row is removed. */
void row_cache_changed(struct row_cache *cache, const struct row_key *key);

/* The row has more to say than it had, but what is known of it is still true: the next epoch begins, and the row is
 * asked for anew; row_cache_get_stale() still gives it. */
void row_cache_outdated(struct row_cache *cache, const struct row_key *key);

/* What row_cache_changed() does, for a row that was added by a job that began in EPOCH: ROW is kept where nobody else has
 * changed the row since, nor learned what may have become of it meanwhile. */
void row_cache_added(struct row_cache *cache, const struct row_key *key, uint64_t epoch,
                     const struct meta_row *row);

void row_cache_set_age(struct row_cache *cache, int64_t age_ms);
size_t row_cache_count(struct row_cache *cache);

#endif
