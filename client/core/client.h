/*
 * client: libreel's asynchronous core: trackers asked, storage servers found, calls made, other servers tried. One
 * client belongs to one loop, and everything here happens on that loop's thread. The blocking face (reel.c) and
 * reel-httpd are built on it. Touches common/ only.
 */
#ifndef REEL_CLIENT_CLIENT_H
#define REEL_CLIENT_CLIENT_H

#include "common/base/address.h"
#include "common/loop/loop.h"
#include "common/call/packet_call.h"
#include "common/call/packet_line.h"
#include "common/proto/proto.h"
#include "common/proto/proto_partial.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_quota.h"
#include "common/proto/proto_storage.h"
#include "common/proto/proto_tracker.h"
#include "common/proto/request_id.h"
#include "common/loop/workers.h"

#define CLIENT_SERVERS_MAX 16 /* addresses kept of one SADDRS answer */

struct auth;
struct client;

/* What the clients of one process know together, each on a loop of its own: the last location of every user that any of
 * them learned, used while every tracker is away, so that all of them go on or none does; and whether one answers.
 * Thread-safe; no lock is taken but to ask a tracker, or for lack of one. */
struct client_shared;
MUST_CHECK struct client_shared *client_shared_create(size_t location_entries_max); /* NULL without memory */
void client_shared_destroy(struct client_shared *shared); /* after its clients; NULL is ignored */

struct client_options {
    struct address_list trackers; /* copied; asked from a random one on, the others where it fails */
    struct tls_client *tls;       /* for tls:// addresses; outlives the client. NULL: none can be called */
    struct workers *resolver;     /* for host names; NULL: numeric only */
    int64_t connect_timeout_ms;   /* for one server; 0: 1,000 */
    int64_t call_timeout_ms;      /* for one reply's header; 0: 10,000 */
    int64_t progress_timeout_ms;  /* without a byte of a body; 0: 30,000 */
    size_t connections_per_server_max; /* 0: 256; further calls wait in order, bounded by call_timeout_ms */
    int64_t hedge_ms;            /* a tracker silent for so long: the next is asked too; 0: 300, < 0: never */
    int64_t location_age_ms;     /* how long a user's location is cached; 0: 5,000 */
    size_t location_entries_max; /* 0: 10,000 */
    struct client_shared *shared; /* NULL: it is the only one */
    /* "": as above. Else every user's files are looked for at the servers of this group (SERVERS), by whoever runs the
     * trackers; deleted files can be downloaded (FETCH); */
    char group[PROTO_GROUP_SIZE];
    char moves_from[PROTO_GROUP_SIZE]; /* and uploads are MOVEs of files that this group has; "": uploads */
    struct auth *auth;                 /* who we are; must outlive the client. NULL: nobody in particular */
};

MUST_CHECK struct client *client_create(struct loop *loop, const struct client_options *options,
                                        struct error *error);
/* Cancels every operation (no callback is called) and closes everything. */
void client_destroy(struct client *client);

/* Where a user's files are. */
struct client_location {
    char group[PROTO_GROUP_SIZE];
    size_t count;                               /* at least 1 */
    struct address servers[CLIENT_SERVERS_MAX]; /* best first */
};

struct client_operation; /* something in progress; cancel it or wait for its callback, which ends it */
void client_cancel(struct client_operation *operation);

/* REMARK is called, on the loop, whenever the operation continues after a failure: TEXT says what failed and what
 * is done about it, and is valid during the call. */
typedef void (*client_remark_callback)(void *argument, const char *text);
void client_watch(struct client_operation *operation, client_remark_callback remark, void *argument);

/* The name under which the operation's requests appear in the logs of trackers and storage servers. Before it begins, which is in the next
 * turn of the loop. NULL operation: nothing. */
void client_name_request(struct client_operation *operation, const struct request_id *id);

/* Which server of the group is asked first, for operations that are about the same thing: the one that did the last of them, which may
 * have in memory what another one would have to read; before the first of them the TURN-th of the group's, so that things
 * that go on at the same time are spread. */
struct client_server {
    size_t turn;
    bool known; /* ADDRESS did the last one */
    struct address address;
};
/* SERVER is read when servers are chosen, and holds who did it when the callback is called; it outlives the operation. */
void client_prefer(struct client_operation *operation, struct client_server *server);

/* Each starter returns NULL only without memory (nothing is called). Callbacks come exactly once, never inside the
 * starter. ERROR is NULL on success. */

/* STAT (from a legacy storage server: FILESIZE, with created 0 and no digest). */
typedef void (*client_stat_callback)(void *argument, const struct proto_stat *stat,
                                     const struct error *error);
struct client_operation *client_stat(struct client *client, const struct proto_file_key *key,
                                     client_stat_callback callback, void *argument);

/* WHERE: STAT and where the file lies in the store of its group. A storage server that does not know WHERE is asked with
 * STAT, as client_stat() does: then key and place are empty. A deleted file is ERROR_NOT_FOUND. */
typedef void (*client_where_callback)(void *argument, const struct proto_where *where,
                                      const struct error *error);
struct client_operation *client_where(struct client *client, const struct proto_file_key *key,
                                      client_where_callback callback, void *argument);

/* DELETE, RESTORE. */
typedef void (*client_done_callback)(void *argument, const struct error *error);
struct client_operation *client_delete(struct client *client, const struct proto_file_key *key,
                                       client_done_callback callback, void *argument);
struct client_operation *client_restore(struct client *client, const struct proto_file_key *key,
                                        client_done_callback callback, void *argument);

/* RENAME: ERROR_UNKNOWN_COMMAND, or ERROR_GENERAL of a legacy server: no server of the group can. */
struct client_operation *client_rename(struct client *client, const struct proto_rename *rename,
                                       client_done_callback callback, void *argument);

/* EXPIRE: asks when a file is to be deleted, or changes it: the time of the reply, 0: never. ERROR_UNKNOWN_COMMAND, or ERROR_GENERAL of
 * a legacy server: no server of the group can. */
typedef void (*client_expire_callback)(void *argument, int64_t expires, const struct error *error);
struct client_operation *client_expire(struct client *client, const struct proto_expire *expire,
                                       client_expire_callback callback, void *argument);

/* QUOTA where SET's limits are PROTO_QUOTA_KEEP, else SET_QUOTA. ERROR_UNKNOWN_COMMAND, or ERROR_GENERAL of a legacy server: no server
 * of the group can. */
typedef void (*client_quota_callback)(void *argument, const struct proto_quota *quota,
                                      const struct error *error);
struct client_operation *client_quota(struct client *client, const struct proto_set_quota *set,
                                      client_quota_callback callback, void *argument);

/* LIST: one page. ENTRIES valid during the callback. */
typedef void (*client_list_callback)(void *argument, const struct proto_list_entry *entries, size_t count,
                                     const struct error *error);
struct client_operation *client_list(struct client *client, const struct proto_list *list,
                                     client_list_callback callback, void *argument);

/* GROUPS and STATUS of the first tracker that answers: TEXT is NUL-terminated, valid during the callback. */
typedef void (*client_text_callback)(void *argument, const char *text, size_t size,
                                     const struct error *error);
/* FSCK of the group of KEY's user, or of the one that its file ID names: a scrub is asked for, or reported on; TEXT is JSON. */
struct client_operation *client_fsck(struct client *client, const struct proto_file_key *key,
                                     enum proto_fsck_action action, client_text_callback callback,
                                     void *argument);
struct client_operation *client_groups(struct client *client, client_text_callback callback, void *argument);
struct client_operation *client_status(struct client *client, client_text_callback callback, void *argument);
/* Who we are to the first tracker that answers: a JSON object with role, rights, ends, key. */
struct client_operation *client_whoami(struct client *client, client_text_callback callback, void *argument);

/* USERS and REROUTE at the first tracker that answers: TEXT is the body of the reply, which may have NULs; valid during the
 * callback. */
struct client_operation *client_users(struct client *client, const struct proto_users *users,
                                      client_text_callback callback, void *argument);
struct client_operation *client_reroute(struct client *client, const struct proto_reroute *reroute,
                                        client_text_callback callback, void *argument);
/* QUOTAS at a server of the client's group: likewise. */
struct client_operation *client_quotas(struct client *client, const struct proto_users_entry *after,
                                       client_text_callback callback, void *argument);
/* LEFT at a server of the client's group: likewise. */
struct client_operation *client_left(struct client *client, const struct proto_left *left,
                                     client_text_callback callback, void *argument);

/* GROUP at the first tracker that answers: adds a group or changes it. TEXT is empty. */
struct client_operation *client_group(struct client *client, const struct proto_group *change,
                                      client_text_callback callback, void *argument);

/* What became of a content. */
struct client_stored {
    bool known; /* the server said it: else it is one that knows PUT only */
    struct proto_store_reply reply;
};
typedef void (*client_stored_callback)(void *argument, const struct client_stored *stored,
                                       const struct error *error);

/* PUT (a legacy storage server, or has_digest, name and content type all absent: UPLOAD). The content comes from SOURCE as
 * in struct packet_call_options; REWIND starts it again from byte 0 for another try (false: it cannot, and the
 * operation fails with the first error). The same file ID is used in every try: a server that has it already with the
 * same bytes says so with success. */
struct client_upload_options {
    struct proto_put put; /* key, size, name, ... */
    /* SOURCE gives the digest of the content behind it (PUT_TRAILER), PROTO_DIGEST_SIZE more bytes than put.size;
     * put.has_digest is false. A server that does not know that command makes the operation fail with
     * ERROR_UNKNOWN_COMMAND or, a legacy one, ERROR_GENERAL: then the digest goes into `put`. */
    bool digest_follows;
    int64_t (*source)(void *argument, uint8_t *buffer, size_t size);
    int64_t (*pass)(void *argument, struct transport to,
                    int64_t left); /* in place of SOURCE; see packet_call.h */
    bool (*rewind)(void *argument);
    /* STORE in place of PUT where the server knows it: the reply says what became of the content, and with ASKS the source is not
     * called before a server has accepted the upload, so that after a refusal the next server still gets all of it. A server that does not know
     * STORE is sent PUT, and asked nothing. Not with digest_follows. */
    bool store, asks;
    client_stored_callback stored; /* in place of `callback`; may be NULL */
    int tries;                     /* over all servers and trackers; 0: 10, as the legacy client does */
    client_done_callback callback;
    void *argument;
};
struct client_operation *client_upload(struct client *client, const struct client_upload_options *options);
void client_upload_resume(struct client_operation *operation); /* SOURCE has bytes again */

/* ---- partial uploads (docs/protocol.md): any server of the group continues what another one began. Servers that do not know them:
 * ERROR_UNKNOWN_COMMAND, or ERROR_GENERAL of a legacy one ---- */

/* BEGIN. REPLY is valid during the callback. Where a reply is lost another one may be begun; the first one expires. */
typedef void (*client_begin_callback)(void *argument, const struct proto_begin_reply *reply,
                                      const struct error *error);
struct client_operation *client_begin(struct client *client, const struct proto_begin *begin,
                                      client_begin_callback callback, void *argument);

/* APPEND: append.size bytes from SOURCE (as in struct packet_call_options), and the digest behind them where append.digest_follows. Once a
 * byte was taken no other server is tried: the callback gets the error, client_offset() has the offset that counts. STATE is valid during the callback. */
typedef void (*client_state_callback)(void *argument, const struct proto_partial_state *state,
                                      const struct error *error);
struct client_append_options {
    struct proto_append append;
    int64_t (*source)(void *argument, uint8_t *buffer, size_t size); /* NULL: append.size is 0 */
    client_state_callback callback;
    void *argument;
};
struct client_operation *client_append(struct client *client, const struct client_append_options *options);
void client_append_resume(struct client_operation *operation); /* SOURCE has bytes again */

struct client_operation *client_offset(struct client *client, const struct proto_partial *partial,
                                       client_state_callback callback, void *argument);
/* ERROR_NOT_FOUND also where an answer was lost and it is gone. */
struct client_operation *client_abort(struct client *client, const struct proto_partial *partial,
                                      client_done_callback callback, void *argument);

/* FINISH, JOIN_PARTS. PATIENCE_MS: how long one server may take for it, where that is more than call_timeout_ms: perhaps it reads (or copies) the whole
 * file. TOKENS: COUNT of PROTO_PARTIAL_TOKEN_SIZE bytes, copied. NULL also where they are too many or none. */
struct client_operation *client_finish(struct client *client, const struct proto_finish *finish,
                                       int64_t patience_ms, client_done_callback callback, void *argument);
struct client_operation *client_join_parts(struct client *client, const struct proto_finish *target,
                                           const uint8_t *tokens, size_t count, int64_t patience_ms,
                                           client_done_callback callback, void *argument);

/* DOWNLOAD: finds a server that answers with success (others of the group are tried first) and hands over the socket at
 * the first byte of the body. DIGEST: of the content that is meant (PROTO_DIGEST_SIZE bytes, copied): where the file has
 * another one by now, ERROR_DIGEST, so that two contents are never mixed; NULL: whatever the file's content is; a server
 * that does not know READ is not asked for it either way. AVOID (may be NULL): an address that is tried last, for going on after a failure
 * mid-body. The callback gets CALL (then the caller's, ended by packet_call_release()), or an error. */
typedef void (*client_download_callback)(void *argument, struct packet_call *call, const struct error *error);
struct client_operation *client_download(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, int64_t size, const uint8_t *digest,
                                         const struct address *avoid, client_download_callback callback,
                                         void *argument);

/* The same for few bytes, as part of what the client's whole loop asks that server in one round; without other servers
 * and time limits of its own (common/call/packet_line.h). The callback gets the SIZE bytes, or NULL: then client_download()
 * is the way. NULL, and nothing is called: it is not possible now, and client_download() is the way too. */
struct packet_line_request *client_fetch(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, size_t size, const uint8_t *digest,
                                         const struct request_id *name, packet_line_callback callback,
                                         void *argument);

/* For health checks: true when a tracker answered last time, to any of the clients that share (or none was asked yet). */
bool client_trackers_reachable(const struct client *client);

#endif
