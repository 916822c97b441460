/*
 * client_internal: what the files of the asynchronous core share: the client, an operation and its steps.
 * Private to client*.c (not to reel.c, which uses client.h as anybody does). On the client's loop only.
 */
#ifndef REEL_CLIENT_CLIENT_INTERNAL_H
#define REEL_CLIENT_CLIENT_INTERNAL_H

#include "client/core/client.h"
#include "common/base/backoff.h"
#include "common/base/cache.h"
#include "common/base/lru.h"
#include "common/call/name_list.h"
#include "common/call/packet_call.h"
#include "common/loop/wait_list.h"

#include <event2/event_struct.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define CLIENT_TRIES         10                 /* of one operation, over all servers */
#define CLIENT_TEXT_MAX      (64 * 1024 * 1024) /* of GROUPS and STATUS */
#define CLIENT_BODY_MAX      PROTO_BEGIN_SIZE   /* the largest fixed part of a request but JOIN_PARTS' */
#define CLIENT_LEGACY_AGE_MS 60000 /* how long a server is remembered to know the base commands only */
#define CLIENT_LEGACY_MAX    1024
#define CLIENT_USER_KEY_MAX  (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)

TAILQ_HEAD(client_operation_list, client_operation);

/* Small, so that a cache of many users stays small: a SADDRS reply has three servers. */
struct client_cached_location {
    char group[PROTO_GROUP_SIZE];
    char addresses[495]; /* as in a SADDRS reply */
};

struct client_shared {
    struct cache *locations; /* as below; whatever their age */
    atomic_bool trackers_reachable;
};

struct client {
    struct loop *loop;
    struct client_options options; /* without zeros */
    struct name_list *trackers;
    struct packet_pool *pool;
    struct cache *locations; /* application NUL user -> struct client_cached_location */
    struct cache
        *legacy; /* address text -> nothing: it answered that it does not know one of our own commands */
    struct client_operation_list operations;
    struct lru searches; /* questions about users that others may join */
    uint64_t search_seed;
    struct client_cached_location parsed_text; /* the last one that was taken apart, and what it was */
    struct client_location parsed;
    uint32_t next_tracker;   /* who is asked first; random at the start, then one after the other */
    bool trackers_reachable; /* where nothing is shared */
};

enum client_step {
    CLIENT_STARTING, /* the first kick is to come */
    CLIENT_LOCATING, /* a tracker is asked */
    CLIENT_CALLING,  /* a storage server, or a tracker for its own sake */
    CLIENT_PAUSING,  /* before another round */
    CLIENT_ENDED,
};

struct client_operation;

/* The end of a search: FOUND, or ERROR where that is not NULL. */
typedef void (*client_searched_callback)(struct client_operation *operation,
                                         const struct client_location *found, const struct error *error);

/* One command of the protocol as operations use it: a constant row for each. */
struct client_command {
    uint8_t number;   /* PROTO_STORAGE_..., PROTO_TRACKER_... */
    size_t body_size; /* of the fixed part of the request; 0: none */
    size_t reply_max; /* bytes of a reply's body */
    /* Writes BODY_SIZE bytes. NULL where there are none. False: ERROR says why it cannot be asked. */
    bool (*pack)(const struct client_operation *operation, uint8_t *body, struct error *error);
    /* Adds to the OPTIONS of its storage calls; NULL: nothing to add. */
    void (*options)(struct client_operation *operation, struct packet_call_options *options);
    /* Takes a reply apart into operation->result. NULL: there is nothing in it. False: ERROR. */
    bool (*unpack)(struct client_operation *operation, const uint8_t *body, size_t size, struct error *error);
    /* Calls the operation's callback with operation->result, or with ERROR where that is not NULL. */
    void (*report)(struct client_operation *operation, const struct error *error);
    /* What a server that does not know this command is asked instead; NULL: it is a base command, or there is
     * nothing like it. */
    const struct client_command *older;
    bool change; /* what a server that was given up does late could undo a later one: it is waited for */
    bool recent; /* younger servers of ours do not know it: it says nothing about them otherwise */
};

struct client_operation {
    struct client *client;
    TAILQ_ENTRY(client_operation) link;
    enum client_step step;
    struct packet_call *call;     /* to a storage server; NULL: none is in progress */
    struct packet_call *question; /* to the trackers, for their own sake */
    struct client_search *search; /* that it waits for, while LEAVE is not NULL */
    struct wait wait;
    void (*leave)(struct client_operation *operation); /* ends the waiting */
    client_searched_callback searched;
    struct packet_call *probe; /* whether the storage server that is silent answers at all */
    struct event stall;        /* looks for the silence of a storage server */
    bool stall_assigned;
    void (*stalled)(struct client_operation *operation, const struct address *server,
                    const struct error *error); /* see client_stall_watch() */
    int stalls_left;                            /* servers that may still be given up for their silence */
    struct event kick;
    void (*kicked)(struct client_operation *operation); /* what comes after the start or a pause */
    const struct client_command *wanted;                /* what is asked of a server that knows everything */
    const struct client_command *command;               /* what is asked now: WANTED, or an older one */

    struct request_id request; /* zeros: none */

    /* locating */
    struct proto_file_key key;
    bool create, fresh;
    char
        elsewhere[PROTO_GROUP_SIZE]; /* "", or the group that has the file, as a server of another one said */
    void (*located)(struct client_operation *operation, const struct error *error);

    /* calling a storage server */
    uint8_t body[CLIENT_BODY_MAX];
    bool tried[CLIENT_SERVERS_MAX]; /* in this round */
    int rounds, rounds_max;
    struct backoff backoff; /* between rounds */
    int tries_left;
    bool has_avoid;
    struct address avoid;         /* tried last */
    struct client_server *server; /* tried first, and noted on success; NULL: best first */
    struct error last_error;      /* of the last call to a storage server; ERROR_NONE before */

    union {
        struct proto_list list;
        struct proto_expire expire;
        struct proto_set_quota quota;
        struct proto_append append;
        struct proto_finish finish; /* OFFSET, ABORT: its partial */
    };
    int64_t keep;               /* BEGIN */
    int64_t patience_ms;        /* FINISH, JOIN_PARTS: how long one server may take */
    uint8_t action;             /* of FSCK */
    char name[PROTO_NAME_SIZE]; /* of RENAME */
    struct proto_group group;
    union {
        struct proto_users users;
        struct proto_reroute reroute;
        struct proto_left left;
        struct proto_users_entry quotas;
    } moving;
    struct client_upload_options upload;
    bool source_taken;
    int64_t offset, size; /* download */
    uint8_t digest[PROTO_DIGEST_SIZE];

    union {
        client_stat_callback stat;
        client_where_callback where;
        client_done_callback done;
        client_list_callback list;
        client_expire_callback expire;
        client_quota_callback quota;
        client_text_callback text;
        client_download_callback download;
        client_begin_callback begin;
        client_state_callback state;
    } callback;
    void *argument;

    client_remark_callback remark; /* may be NULL */
    void *remark_argument;

    void *owned; /* freed after the callback: what `result` points to, or a large request; may be NULL */
    size_t owned_size;

    /* Last: large, and of a new operation only the count of servers is set. */
    struct client_location location;
    union { /* what unpack() took from the reply, for report() */
        struct client_stored stored;
        struct proto_stat stat;
        struct proto_where where;
        int64_t expires;
        struct proto_quota quota;
        struct {
            const struct proto_list_entry *entries;
            size_t count;
        } list;
        struct {
            const char *bytes; /* NUL-terminated */
            size_t size;
        } text;
        struct packet_call *download;
        struct proto_begin_reply begin; /* APPEND, OFFSET: its state */
    } result;
};

static inline bool client_is_upload(const struct client_operation *operation)
{
    return operation->upload.source || operation->upload.pass;
}

/* ---- client.c ---- */

/* A new operation that is to ask COMMAND, whose KICKED runs from the loop; NULL without memory. KEY may be
 * NULL. */
struct client_operation *client_operation_create(struct client *client, const struct client_command *command,
                                                 const struct proto_file_key *key,
                                                 void (*kicked)(struct client_operation *operation),
                                                 void *argument);
/* KICKED runs from the loop after DELAY_MS. */
void client_operation_pause(struct client_operation *operation, int64_t delay_ms,
                            void (*kicked)(struct client_operation *operation));
void client_operation_set_step(struct client_operation *operation, enum client_step step);
/* The end: the operation leaves the client, its callback is called with the result (ERROR NULL) or the error,
 * and it is freed. */
void client_operation_finish(struct client_operation *operation, const struct error *error);

/* The call that carries out OPERATION's command: packs its request, and begins OPTIONS with what all such calls have; the
 * addresses, the callbacks and the rest are the caller's. False: the operation has been finished, with an error. */
bool client_operation_pack(struct client_operation *operation, struct packet_call_options *options);

/* Reports that the operation continues after ERROR, and how: "trying the next server". */
void client_operation_remark(const struct client_operation *operation, const struct error *error,
                             const char *next);
/* A command's unpack() that keeps SIZE bytes of text as the result. */
bool client_unpack_text(struct client_operation *operation, const uint8_t *body, size_t size,
                        struct error *error);
/* The same for any bytes. */
bool client_unpack_bytes(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error);
/* A command's report() to callbacks of texts, and to those that only learn that it is done. */
void client_report_text(struct client_operation *operation, const struct error *error);
void client_report_done(struct client_operation *operation, const struct error *error);

void client_remember_legacy(struct client *client, const struct address *address);
bool client_is_legacy(struct client *client, const struct address *address);
/* Whether a failure reply may mean that the server does not know the command. */
bool client_error_is_legacy(const struct error *error);
/* Whether it says that a server does not answer, rather than what it answers. */
bool client_error_is_away(const struct error *error);

/* The trackers, another one first each time. False without memory. */
MUST_CHECK bool client_tracker_order(struct client *client, struct address_list *list);
/* Notes what a call to the trackers says about them. */
void client_note_trackers(struct client *client, const struct error *error);
/* packet_call_options.again for trackers: whether another one may do better. Its argument is not looked at. */
bool client_tracker_again(void *argument, const struct error *error);

/* ---- client_location.c ---- */

/* Names KEY's user in tables; no two users have the same name. Returns its size. */
size_t client_user_key(const struct proto_file_key *key, char buffer[CLIENT_USER_KEY_MAX]);
/* ADDRESSES as in a SADDRS reply. False: ERROR says what is wrong, or that there is no server. */
bool client_location_parse(const char *group, const char *addresses, struct client_location *location,
                           struct error *error);
/* Remembers where USER's files are, or forgets it. */
void client_location_keep(struct client *client, const struct proto_file_key *user,
                          const struct client_location *location);
void client_location_forget(struct client *client, const struct proto_file_key *user);
/* What the cache knows of KEY's user, valid until the next call; NULL: nothing. STALE: however old it is. */
const struct client_location *client_location_recall(struct client *client, const struct proto_file_key *key,
                                                     bool stale);

/* ---- client_locate.c ---- */

/* Fills operation->location for its key's user, from the cache or a tracker, then calls located(), perhaps at once.
 * `create`: a new user is given a group (SADDRS); else LOCATE, which fails with ERROR_NOT_FOUND for an unknown user (a
 * legacy tracker without LOCATE is asked with SADDRS). `fresh` asks also where the cache has an answer. While every
 * tracker is away a cached answer is used whatever its age. */
void client_locate_begin(struct client_operation *operation);

/* ---- client_search.c ---- */

/* Asks the trackers where OPERATION's user is, or waits with others for the answer to a question that is under way; one that is `fresh` is
 * asked now, and the next ones wait for it. GROUP not "": asks for the servers of that group instead, alone. SEARCHED is called, later, unless
 * operation->leave() comes before; what is found of a user is remembered. Without memory, or a tracker, located() is called at once. */
void client_search_begin(struct client_operation *operation, const char group[PROTO_GROUP_SIZE],
                         client_searched_callback searched);

/* ---- client_storage.c ---- */

/* Locates, then asks the servers the operation's command, until one succeeds or none is left. */
void client_storage_begin(struct client_operation *operation);

/* ---- client_stall.c ---- */

/* A call has begun that may be repeated: its server is watched, while others of the group could take its place. STALLED:
 * it has stopped, ERROR says so; its call was cancelled, another one is to be tried. */
void client_stall_watch(struct client_operation *operation,
                        void (*stalled)(struct client_operation *operation, const struct address *server,
                                        const struct error *error));
void client_stall_end(struct client_operation *operation);

#endif
