/*
 * keys: which keys there are, in which roles, with what secret and within which bounds: one state of the keys file as an
 * unchanging snapshot with a count of references. keys_file.h reads it, key_holder.h holds the valid one,
 * key_mac.h computes with its secrets. Touches nothing. Any thread.
 */
#ifndef REEL_COMMON_AUTH_KEYS_H
#define REEL_COMMON_AUTH_KEYS_H

#include "common/config/networks.h"

#include <stdatomic.h>

#define KEY_ID_SIZE                                                                                          \
    16 /* 1 to 15 of [A-Za-z0-9-], and a NUL; the field of HELLO and TOKEN, filled up with zeros */
#define KEY_SECRET_SIZE 32
#define KEYS_MAX        4096 /* in a file */

/* What a connection's other end is; the numbers travel in HELLO and WHOAMI (docs/protocol.md). */
enum key_role {
    KEY_ROLE_NONE = 0,
    KEY_ROLE_CLIENT = 1,
    KEY_ROLE_STORAGE = 2,
    KEY_ROLE_GATEWAY = 3, /* an HTTP server */
    KEY_ROLE_OPERATOR = 4,
    KEY_ROLE_TRACKER = 5,
    KEY_ROLE_IDSERVER = 6,
    KEY_ROLE_ISSUER = 7, /* an application that signs tokens and links */
    KEY_ROLES,
};

/* What may be done to files, as bits: in `rights=` and in tokens. */
enum key_right {
    KEY_RIGHT_READ = 1,   /* r: DOWNLOAD, READ, STAT, WHERE, FILESIZE */
    KEY_RIGHT_WRITE = 2,  /* w: UPLOAD, PUT */
    KEY_RIGHT_DELETE = 4, /* d: DELETE, RESTORE */
    KEY_RIGHT_LIST = 8,   /* l: LIST */
    KEY_RIGHTS_ALL = 15,
};

/* The sub-keys that are made when the file is read. One secret is never used twice: each is
 * HMAC-SHA-256(secret, "reel-1 " then the word of its use). */
enum key_use {
    KEY_USE_CLIENT, /* "client": the client's proof */
    KEY_USE_SERVER, /* "server": the server's proof */
    KEY_USE_TOKEN,  /* "token" */
    KEY_USE_LINK,   /* "link" */
    KEY_USE_PSK,    /* "psk": the pre-shared key of TLS */
    KEY_USES,
};

/* HMAC-SHA-256 as it begins and ends under a key: SHA-256 behind the inner and the outer pad. */
#define MAC_STATE_WORDS 8
struct mac_state {
    uint32_t inner[MAC_STATE_WORDS], outer[MAC_STATE_WORDS];
};

struct key {
    char id[KEY_ID_SIZE];
    unsigned roles;      /* bits: 1 << enum key_role */
    int64_t from, until; /* seconds since the epoch: from <= now < until; INT64_MIN, INT64_MAX: no bound */
    unsigned rights;     /* enum key_right; all where none are named */
    struct config_strings groups; /* empty: every group. So with the others */
    struct config_strings applications;
    struct config_strings paths;     /* keys of sequences: store paths as reel-storage names them */
    struct networks addresses;       /* where the other end's address must lie */
    uint8_t secret[KEY_SECRET_SIZE]; /* for key_derive(); nothing else reads it */
    uint8_t derived[KEY_USES][KEY_SECRET_SIZE];
    struct mac_state states[KEY_USES]; /* of the derived keys, for key_mac() */
};

/* One state of the file; never changes. */
struct keys {
    struct key *items; /* by ID, ascending */
    size_t count;
    uint64_t generation; /* of the holder that it came from; 0: of none */
    atomic_size_t references;
};

/* One more reference, one less. With the last the secrets are overwritten and freed. KEYS may be NULL. Any thread. */
struct keys *keys_hold(struct keys *keys);
void keys_release(struct keys *keys);

/* NULL: there is none with this ID. Valid as long as KEYS is held. */
const struct key *keys_find(const struct keys *keys, const char *id);

/* ---- questions about a key; pure ---- */

bool key_valid_at(const struct key *key, int64_t now);
bool key_has_role(const struct key *key, enum key_role role);
bool key_may_group(const struct key *key, const char *group);
bool key_may_application(const struct key *key, const char *application);
bool key_may_path(const struct key *key, const char *path);
bool key_may_address(const struct key *key, const char *host);

/* True if A and B are equal in everything: a session under A stays valid under B. */
bool key_equal(const struct key *a, const struct key *b);

/* 1 to 15 of [A-Za-z0-9-]. */
bool key_id_valid(const char *id);

/* "storage"; "none" for a number that is no role. The reverse gives KEY_ROLE_NONE for what is no role. */
const char *key_role_name(enum key_role role);
enum key_role key_role_of_name(const char *name);

/* "rwdl" -> bits. False: empty, another letter, or one twice. */
bool key_rights_parse(const char *text, unsigned *rights);
/* The reverse, "-" for none. Returns BUFFER. */
char *key_rights_format(unsigned rights, char buffer[8]);

/* 2027-01-01 or 2027-01-01T12:00:00Z, in UTC. False: neither. */
bool key_time_parse(const char *text, int64_t *seconds);

#endif
