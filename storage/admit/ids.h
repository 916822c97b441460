/*
 * ids: numbers for new files, one sequence for each store path, fetched ahead from the ID servers in runs
 * (RANGE), or one by one from a legacy ID server (GET), so that an upload seldom waits for one. Numbers are
 * taken on any loop; the ID servers are asked from one loop.
 */
#ifndef REEL_STORAGE_IDS_H
#define REEL_STORAGE_IDS_H

#include "common/base/address.h"
#include "common/loop/wait_list.h"
#include "common/loop/workers.h"

struct auth;
struct ids;

struct ids_options {
    struct auth *auth;        /* who this server is to ID servers; must outlive the ids; may be NULL */
    struct loop *loop;        /* asks the ID servers; must outlive the ids */
    struct workers *resolver; /* for host names */
    struct tls_client *tls;   /* for ID servers at tls://; NULL: none */
    const struct address_list *servers; /* must outlive the ids, like the keys */
    const char *const *keys;            /* one for each store path */
    size_t key_count;
    int64_t range;      /* numbers fetched at once */
    int64_t timeout_ms; /* how long somebody waits for a number */
    size_t waiting_max; /* over all keys */
    int64_t connect_timeout_ms, call_timeout_ms;
    int64_t hedge_ms; /* an ID server that is silent for so long: the next one is asked too; 0: never */
};

/* Embed it in what waits. */
struct ids_waiter {
    /* On LOOP, never inside ids_wait(): the number, or -1 with ERROR. */
    void (*done)(struct ids_waiter *waiter, int64_t value, const struct error *error);
    struct loop *loop;
    /* private */
    struct wait wait;
    struct sequence *sequence;
    int64_t value;
    struct error error;
};

/* Before the loops run, or on options->loop. Asks for the first numbers at once. */
MUST_CHECK struct ids *ids_create(const struct ids_options *options, struct error *error);
/* On the loop's thread: asks no server any more; numbers in memory can still be taken. */
void ids_end(struct ids *ids);
/* After the other loops have ended, while the loop still exists; nobody may wait. NULL is ignored. */
void ids_destroy(struct ids *ids);

/* Any thread: the next number of the key with this index, where one is in memory. */
bool ids_take(struct ids *ids, size_t index, int64_t *value);

/* Any thread: numbers in memory are dropped; new ones are asked for. For a run that was given before. */
void ids_discard(struct ids *ids, size_t index);

/* On WAITER->loop: waits for one. False when too many wait (done() is not called). */
MUST_CHECK bool ids_wait(struct ids *ids, size_t index, struct ids_waiter *waiter, struct error *error);

/* False with the reason after the last try to get numbers failed. */
bool ids_healthy(struct ids *ids, char *reason, size_t reason_size);
int64_t ids_available(struct ids *ids, size_t index);

#endif
