/*
 * access: which command needs which role and right, and where in its body stands what the key or token must cover. One row per
 * command of docs/protocol.md; a command in enum proto_command without a row does not compile. Pure; any thread.
 */
#ifndef REEL_COMMON_AUTH_ACCESS_H
#define REEL_COMMON_AUTH_ACCESS_H

#include "common/auth/keys.h"
#include "common/proto/proto.h"

/* What a request is about, found in the head of its body. */
enum access_scope {
    ACCESS_NOTHING, /* nothing that a key can limit */
    ACCESS_FILE,    /* application, user and file ID at the beginning: of a token's files */
    ACCESS_USER,    /* application and user; the file ID says nothing */
    ACCESS_LIST,    /* application and user, all of whose files are shown */
    ACCESS_GROUP,   /* a group's name */
    ACCESS_PATH,    /* the key of a sequence */
};

struct access {
    const char *name;
    unsigned roles; /* bits: 1 << enum key_role; those that may. 0: everybody, without a session too */
    unsigned right; /* enum key_right that is needed; 0: none */
    enum access_scope scope;
    size_t at;   /* where a group's name stands in the head */
    bool legacy; /* of the base set that `legacy_addresses` may send without a session */
    bool
        audited; /* each outcome is written to the audit log; of the others only refusals for lack of rights */
};

/* NULL: there is no such command. */
const struct access *access_of(uint8_t command);

#endif
