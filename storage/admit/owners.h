/*
 * owners: which group a user belongs to, as the trackers say, so that nothing is stored where nobody would look for it,
 * and a server that was asked by mistake (an address that means another machine to its client) says so. Answers are
 * kept in a bounded cache; questions go out from one loop, one per user however many wait for it. Where no tracker answers
 * nobody is kept waiting and the answer is "unknown". Any thread asks; storage/upload and storage/request call it.
 */
#ifndef REEL_STORAGE_OWNERS_H
#define REEL_STORAGE_OWNERS_H

#include "common/base/address.h"
#include "common/loop/wait_list.h"
#include "common/loop/workers.h"
#include "common/proto/proto.h"

struct owners;
struct owners_question;

struct owners_options {
    struct loop *loop;                   /* questions go out from there */
    struct workers *resolver;            /* for host names of trackers */
    struct tls_client *tls;              /* for trackers at tls://; NULL: none */
    struct auth *auth;                   /* proves who we are; must outlive it. NULL: off */
    const struct address_list *trackers; /* must outlive it */
    const char *group;                   /* ours; must outlive it */
    int64_t connect_timeout_ms, call_timeout_ms, hedge_ms;
    size_t entries_max;   /* users kept */
    int64_t age_ms;       /* how long an answer is used */
    size_t questions_max; /* under way at once; beyond, the answer is "unknown" */
};

MUST_CHECK struct owners *owners_create(const struct owners_options *options, struct error *error);
/* On the loop, or after it has ended: waiters are answered "unknown", and nothing is asked any more. */
void owners_end(struct owners *owners);
void owners_destroy(struct owners *owners); /* on the loop; NULL is ignored */

enum owners_answer {
    OWNERS_UNKNOWN, /* no tracker said */
    OWNERS_OURS,
    OWNERS_OTHERS, /* GROUP: whose */
};

/* Somebody who waits for an answer; stays valid until done(), which runs once on its loop, never inside owners_ask(). */
struct owners_waiter {
    struct loop *loop;
    void (*done)(struct owners_waiter *waiter);
    /* out */
    enum owners_answer answer;
    char group[PROTO_GROUP_SIZE];
    struct wait wait; /* private */
};

/* The user of KEY. CREATE: something is to be stored for it, and a tracker gives a user without a group one (SADDRS); else
 * none is given (LOCATE). True: WAITER has the answer already, from memory or for lack of trackers. False: done() will
 * come. On WAITER->loop; never blocks. OWNERS NULL: unknown. */
MUST_CHECK bool owners_ask(struct owners *owners, const struct proto_file_key *key, bool create,
                           struct owners_waiter *waiter);

/* The error that says so, ERROR_OTHER_GROUP. Returns false. */
bool owners_refuse(const struct proto_file_key *key, const char *group, const char *ours,
                   struct error *error);

#endif
