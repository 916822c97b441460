/*
 * audit: who did what, as one JSON object per line in a file of its own that only its owner can read. Lines are taken on any
 * thread without a wait and written by a thread of the audit's own, synced once per batch. Each line carries a link of a chain
 * that only whoever knows the daemon's key can forge: the first 16 bytes of HMAC-SHA-256(K_audit, link before, line). What the
 * file cannot show is that its newest lines are missing.
 */
#ifndef REEL_COMMON_AUTH_AUDIT_H
#define REEL_COMMON_AUTH_AUDIT_H

#include "common/auth/keys.h"

struct audit;

struct audit_options {
    const char *file;      /* made with mode 0600, which an empty one gets too; a symbolic link is refused */
    const char *daemon;    /* "storage" */
    const struct key *key; /* for the chain; NULL: lines without it. Not kept */
};

/* Opens FILE, reads the end of the chain, starts the thread. A file that can be opened but not written (a full disk) is no failure.
 * Main thread; BLOCKS. */
struct audit *audit_create(const struct audit_options *options, struct error *error);
/* Writes what is left; what cannot be written then is lost, and the log says how much. BLOCKS for three seconds at most. NULL is nothing. */
void audit_destroy(struct audit *audit);

/* After logrotate moved it, also while it cannot be written: what the former file has not got whole goes into the new one. Where no file
 * can be opened the former one stays, and each second it is tried again. Any thread; does not wait. */
void audit_reopen(struct audit *audit);
/* Lines from now on are linked with KEY. Any thread. */
void audit_set_key(struct audit *audit, const struct key *key);

/* One event. Texts may be NULL or "": left out. */
struct audit_event {
    const char *event; /* "upload", "prove", "reload" */
    uint64_t connection;
    const char *peer, *key, *role, *application, *user, *file, *text;
    const char *request; /* 32 hex digits, as common/proto/request_id.h makes them; NULL: none */
    int outcome;         /* enum error_code; 0: success */
    int64_t bytes;       /* below 0: left out */
};

/* False: there was no room, and the event was counted as lost. Any thread; never waits for the file. */
bool audit_write(struct audit *audit, const struct audit_event *event);

/* Whether events reach the file at present: it can be written, and the thread that does comes in time. Any thread; atomic reads. */
bool audit_works(const struct audit *audit);

#endif
