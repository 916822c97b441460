/*
 * partials: a map by token in the order of use, behind one mutex; whoever waits for an older writer waits on one condition.
 */
#include "storage/upload/partials.h"

#include "common/base/lru.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct partials_entry {
    struct lru_node node;
    char token[PARTIAL_HEX_SIZE];
    int64_t epoch;    /* the newest one that is known */
    unsigned holders; /* it stays while there are any */
    unsigned writing; /* pieces on their way to the disk */
    struct digest *digest;
    int64_t digested;           /* bytes */
    struct partials_copy *copy; /* NULL: none is under way */
};

struct partials {
    pthread_mutex_t mutex;
    pthread_cond_t written;
    struct lru lru;
    uint64_t seed;
    size_t kept;
};

struct partials *partials_create(size_t kept)
{
    struct partials *partials = calloc(1, sizeof(*partials));
    if (!partials)
        return NULL;
    pthread_mutex_init(&partials->mutex, NULL);
    pthread_cond_init(&partials->written, NULL);
    lru_init(&partials->lru);
    partials->seed = lru_seed();
    partials->kept = kept;
    return partials;
}

static void partials_drop(struct partials *partials, struct partials_entry *entry)
{
    lru_remove(&partials->lru, &entry->node);
    digest_destroy(entry->digest);
    free(entry->copy);
    free(entry);
}

void partials_destroy(struct partials *partials)
{
    struct lru_node *node;
    if (!partials)
        return;
    while ((node = lru_oldest(&partials->lru)))
        partials_drop(partials, CONTAINER_OF(node, struct partials_entry, node));
    pthread_cond_destroy(&partials->written);
    pthread_mutex_destroy(&partials->mutex);
    free(partials);
}

/* The mutex is held, as in all that follows. */
static struct partials_entry *partials_entry_of(struct partials *partials, const char *token)
{
    const struct lru_key key = lru_key_make(partials->seed, token, strlen(token));
    struct lru_node *node = lru_find(&partials->lru, &key);
    return node ? CONTAINER_OF(node, struct partials_entry, node) : NULL;
}

static struct partials_entry *entry_made(struct partials *partials, const char *token)
{
    struct partials_entry *entry = partials_entry_of(partials, token);
    if (entry)
        return entry;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    snprintf(entry->token, sizeof(entry->token), "%s", token);
    const struct lru_key key = lru_key_make(partials->seed, entry->token, strlen(entry->token));
    if (lru_add(&partials->lru, &entry->node, &key))
        return entry;
    free(entry);
    return NULL;
}

/* Digests that nobody came back for go, the longest unused ones first. */
static void partials_trim(struct partials *partials)
{
    struct lru_node *node = lru_oldest(&partials->lru);
    while (node && partials->lru.count > partials->kept) {
        struct partials_entry *entry = CONTAINER_OF(node, struct partials_entry, node);
        node = lru_younger(node);
        if (entry->holders == 0)
            partials_drop(partials, entry);
    }
}

bool partials_begin(struct partials *partials, const char *token, struct partials_hold *hold)
{
    pthread_mutex_lock(&partials->mutex);
    struct partials_entry *entry = entry_made(partials, token);
    if (entry) {
        lru_use(&partials->lru, &entry->node);
        entry->holders++;
    }
    pthread_mutex_unlock(&partials->mutex);
    *hold = (struct partials_hold){.entry = entry};
    return entry;
}

bool partials_enter(struct partials *partials, struct partials_hold *hold, int64_t epoch, struct error *error)
{
    struct partials_entry *entry = hold->entry;
    pthread_mutex_lock(&partials->mutex);
    hold->epoch = epoch;
    entry->epoch = max_i64(entry->epoch, epoch);
    while (entry->writing > 0 && entry->epoch == epoch)
        pthread_cond_wait(&partials->written, &partials->mutex);
    bool fine = entry->epoch == epoch;
    pthread_mutex_unlock(&partials->mutex);
    return fine || error_set(error, ERROR_UNAVAILABLE, "another request has taken over this upload");
}

void partials_supersede(struct partials *partials, const char *token, int64_t epoch)
{
    pthread_mutex_lock(&partials->mutex);
    struct partials_entry *entry = partials_entry_of(partials, token);
    if (entry) {
        entry->epoch = max_i64(entry->epoch, epoch);
        digest_destroy(entry->digest);
        entry->digest = NULL;
        if (entry->holders == 0)
            partials_drop(partials, entry);
    }
    pthread_mutex_unlock(&partials->mutex);
}

bool partials_write_begin(struct partials *partials, const struct partials_hold *hold, struct error *error)
{
    pthread_mutex_lock(&partials->mutex);
    bool fine = hold->entry->epoch == hold->epoch;
    hold->entry->writing += fine ? 1 : 0;
    pthread_mutex_unlock(&partials->mutex);
    return fine || error_set(error, ERROR_UNAVAILABLE, "another request has taken over this upload");
}

void partials_write_end(struct partials *partials, const struct partials_hold *hold)
{
    pthread_mutex_lock(&partials->mutex);
    hold->entry->writing--;
    pthread_cond_broadcast(&partials->written);
    pthread_mutex_unlock(&partials->mutex);
}

struct digest *partials_take_digest(struct partials *partials, const struct partials_hold *hold,
                                    int64_t offset)
{
    struct digest *digest = NULL;
    pthread_mutex_lock(&partials->mutex);
    struct partials_entry *entry = hold->entry;
    if (entry->epoch == hold->epoch) {
        digest = entry->digested == offset ? entry->digest : NULL;
        if (!digest)
            digest_destroy(entry->digest);
        entry->digest = NULL;
    }
    pthread_mutex_unlock(&partials->mutex);
    return digest;
}

bool partials_find_copy(struct partials *partials, const struct partials_hold *hold, const char *from,
                        struct partials_copy *copy)
{
    pthread_mutex_lock(&partials->mutex);
    const struct partials_copy *known = hold->entry->copy;
    bool found = known && hold->entry->epoch == hold->epoch && strcmp(known->from, from) == 0;
    if (found)
        *copy = *known;
    pthread_mutex_unlock(&partials->mutex);
    return found;
}

void partials_note_copy(struct partials *partials, const struct partials_hold *hold,
                        const struct partials_copy *copy)
{
    struct partials_entry *entry = hold->entry;
    pthread_mutex_lock(&partials->mutex);
    if (entry->epoch == hold->epoch && !copy) {
        free(entry->copy);
        entry->copy = NULL;
    } else if (entry->epoch == hold->epoch) {
        if (!entry->copy)
            entry->copy = malloc(sizeof(*entry->copy));
        if (entry->copy)
            *entry->copy = *copy;
    }
    pthread_mutex_unlock(&partials->mutex);
}

void partials_leave(struct partials *partials, struct partials_hold *hold, struct digest *digest,
                    int64_t offset)
{
    struct partials_entry *entry = hold->entry;
    hold->entry = NULL;
    if (!entry) {
        digest_destroy(digest);
        return;
    }
    pthread_mutex_lock(&partials->mutex);
    if (entry->epoch == hold->epoch && digest) {
        digest_destroy(entry->digest);
        entry->digest = digest;
        entry->digested = offset;
        digest = NULL;
    }
    entry->holders--;
    if (entry->holders == 0 && !entry->digest && !entry->copy)
        partials_drop(partials, entry);
    else
        partials_trim(partials);
    pthread_mutex_unlock(&partials->mutex);
    digest_destroy(digest);
}

size_t partials_count(struct partials *partials)
{
    pthread_mutex_lock(&partials->mutex);
    size_t count = partials->lru.count;
    pthread_mutex_unlock(&partials->mutex);
    return count;
}
