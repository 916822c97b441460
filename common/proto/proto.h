/*
 * proto: the packet protocol (docs/protocol.md): sizes, pack and unpack of every body, checked. Pure: no I/O, no
 * allocation, any thread. The only place that knows an offset.
 *
 * pack:   writes the whole body into BUFFER, which has at least the size named beside it; strings are NUL-padded to
 *         their field; fails (ERROR_MALFORMED) where a string does not fit or breaks its rule.
 * unpack: takes exactly the bytes of one body; fails with ERROR_MALFORMED and a text that names the field, what was
 *         wrong and what would be right. What follows a string's NUL is ignored and comes out as zeros.
 */
#ifndef REEL_COMMON_PROTO_H
#define REEL_COMMON_PROTO_H

#include "common/base/base.h"
#include "common/base/error.h"

/* Header, 10 bytes: body length 8, command 1, status 1; big-endian. */
#define PROTO_HEADER_SIZE    10
#define PROTO_STATUS_OK      0
#define PROTO_STATUS_FAILURE 0xFD

/* String fields, terminating NUL included. */
#define PROTO_VERSION_SIZE      7
#define PROTO_GROUP_SIZE        17
#define PROTO_HOST_SIZE         129
#define PROTO_APPLICATION_SIZE  16
#define PROTO_USER_SIZE         256
#define PROTO_FILE_SIZE         128
#define PROTO_KEY_SIZE          65
#define PROTO_NAME_SIZE         256 /* original file name, UTF-8; additive */
#define PROTO_CONTENT_TYPE_SIZE 128 /* media type, RFC 9110 section 8.3.1; additive */
#define PROTO_PLACE_SIZE        128 /* "AAA/BBB/CCC/SSSSSSSS_DDD" below a store path; additive */
#define PROTO_DIGEST_SIZE       16  /* XXH3-128, canonical (big-endian) form; additive */

/* A failure reply: number 2, then text up to 1024 bytes with its NUL (may be absent). */
#define PROTO_ERROR_TEXT_SIZE 1024
#define PROTO_ERROR_BODY_MAX  (2 + PROTO_ERROR_TEXT_SIZE)

/* Who answers. */
enum proto_reply_command { PROTO_REPLY_TRACKER = 100, PROTO_REPLY_IDSERVER = 101, PROTO_REPLY_STORAGE = 102 };

enum proto_command {
    PROTO_SESSION_HELLO = 1, /* additive: sessions, on every port */
    PROTO_SESSION_PROVE = 2,
    PROTO_SESSION_TOKEN = 3,
    PROTO_SESSION_WHOAMI = 4,
    PROTO_TRACKER_JOIN = 10,
    PROTO_TRACKER_BEAT = 11,
    PROTO_TRACKER_SADDRS = 12,
    PROTO_TRACKER_GROUPS = 13,
    PROTO_TRACKER_LOAD = 14,      /* additive: a heartbeat that carries load */
    PROTO_TRACKER_STATUS = 15,    /* additive: the whole table as JSON */
    PROTO_TRACKER_LOCATE = 16,    /* additive: SADDRS that never gives a new user a group */
    PROTO_TRACKER_GROUP = 17,     /* additive: adds a group, or changes its state or weight */
    PROTO_TRACKER_ADVERTISE = 18, /* additive: the address that clients are to use */
    PROTO_TRACKER_USERS = 24,     /* additive: the users of a group */
    PROTO_TRACKER_REROUTE = 25,   /* additive: a user of one group becomes one of another */
    PROTO_TRACKER_SERVERS = 26,   /* additive: the storage servers of a group */
    PROTO_IDSERVER_GET = 40,
    PROTO_IDSERVER_RANGE = 41, /* additive: a run of numbers */
    PROTO_STORAGE_UPLOAD = 70,
    PROTO_STORAGE_FILESIZE = 71,
    PROTO_STORAGE_DOWNLOAD = 72,
    PROTO_STORAGE_DELETE = 73,
    PROTO_STORAGE_STAT = 74,        /* additive */
    PROTO_STORAGE_RESTORE = 75,     /* additive */
    PROTO_STORAGE_LIST = 76,        /* additive */
    PROTO_STORAGE_PUT = 77,         /* additive: UPLOAD with name, content type and expected digest */
    PROTO_STORAGE_WHERE = 78,       /* additive: STAT and the place in the store */
    PROTO_STORAGE_PUT_TRAILER = 79, /* additive: PUT whose digest follows the content */
    PROTO_STORAGE_FSCK = 80,        /* additive: the scrub of the group */
    PROTO_STORAGE_READ = 81,        /* additive: DOWNLOAD of the content with a digest */
    PROTO_STORAGE_BEGIN = 82,       /* additive: partial uploads: one begins */
    PROTO_STORAGE_APPEND = 83,      /* additive: its next bytes */
    PROTO_STORAGE_OFFSET = 84,      /* additive: how far it is */
    PROTO_STORAGE_FINISH = 85,      /* additive: it becomes the file */
    PROTO_STORAGE_ABORT = 86,       /* additive: it is given up */
    PROTO_STORAGE_JOIN_PARTS = 87,  /* additive: several of them become the file */
    PROTO_STORAGE_RENAME = 90,      /* additive: another original file name */
    PROTO_STORAGE_MOVE = 91,        /* additive: PUT_TRAILER of a file that another group has, and gives up */
    PROTO_STORAGE_FETCH = 92,       /* additive: DOWNLOAD of a deleted file too */
    PROTO_STORAGE_LEFT = 93,        /* additive: the users who have rows of this group */
    PROTO_STORAGE_EXPIRE = 94,      /* additive: when a file is to be deleted, asked or changed */
    PROTO_STORAGE_STORE =
        95, /* additive: PUT with a reply before the content, and one that says what became of it */
    PROTO_STORAGE_QUOTA = 96,     /* additive: what a user has, and may have */
    PROTO_STORAGE_SET_QUOTA = 97, /* additive: what a user may have from now on */
};

/* Body sizes: sessions. */
#define PROTO_ID_SIZE           16 /* of a key */
#define PROTO_NONCE_SIZE        32
#define PROTO_PROOF_SIZE        32
#define PROTO_HELLO_SIZE        64
#define PROTO_HELLO_REPLY_SIZE  96
#define PROTO_PROVE_REPLY_SIZE  48
#define PROTO_TOKEN_FIXED       54 /* before the scope */
#define PROTO_TOKEN_SCOPE_MAX   (PROTO_USER_SIZE + PROTO_FILE_SIZE - 1)
#define PROTO_TOKEN_SIZE_MIN    (PROTO_TOKEN_FIXED + 1 + PROTO_PROOF_SIZE)
#define PROTO_TOKEN_SIZE_MAX    1024 /* that a header may announce */
#define PROTO_TOKEN_PACKED_MAX  (PROTO_TOKEN_FIXED + PROTO_TOKEN_SCOPE_MAX + PROTO_PROOF_SIZE)
#define PROTO_WHOAMI_REPLY_SIZE 40

/* Body sizes: requests. */
#define PROTO_JOIN_SIZE 171
#define PROTO_BEAT_SIZE 146
#define PROTO_FILE_KEY_SIZE                                                                                  \
    400 /* application, user, file: SADDRS, LOCATE, FILESIZE, DELETE, STAT, RESTORE, WHERE */
#define PROTO_UPLOAD_SIZE       408 /* then the content */
#define PROTO_DOWNLOAD_SIZE     416
#define PROTO_READ_SIZE         432
#define PROTO_ADVERTISE_SIZE    277
#define PROTO_LOAD_SIZE         200
#define PROTO_GROUP_CHANGE_SIZE 22
#define PROTO_KEY_MIN           2 /* GET: one byte and its NUL */
#define PROTO_RANGE_SIZE        (PROTO_KEY_SIZE + 8)
#define PROTO_LIST_SIZE         (400 + 4 + 1)
#define PROTO_FSCK_SIZE         (400 + 1)
#define PROTO_RENAME_SIZE       (400 + PROTO_NAME_SIZE)
#define PROTO_EXPIRE_SIZE       (400 + 1 + 8)
#define PROTO_USERS_SIZE        (PROTO_GROUP_SIZE + 8 + 4)
#define PROTO_REROUTE_SIZE      (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + 2 * PROTO_GROUP_SIZE)
#define PROTO_LEFT_SIZE         9
#define PROTO_PUT_SIZE                                                                                       \
    (408 + PROTO_NAME_SIZE + PROTO_CONTENT_TYPE_SIZE + 1 + PROTO_DIGEST_SIZE) /* then the content */
#define PROTO_PARTIAL_TOKEN_SIZE 16
#define PROTO_BEGIN_SIZE         (PROTO_PUT_SIZE + 8)
#define PROTO_PARTIAL_SIZE       (PROTO_FILE_KEY_SIZE + PROTO_PARTIAL_TOKEN_SIZE) /* OFFSET, ABORT */
#define PROTO_APPEND_SIZE        (PROTO_PARTIAL_SIZE + 8 + 8 + 8 + 1) /* then the content, then perhaps its digest */
#define PROTO_FINISH_SIZE        (PROTO_PARTIAL_SIZE + 1 + PROTO_DIGEST_SIZE)
#define PROTO_PARTS_MAX          1000 /* of one JOIN_PARTS, whose tokens follow FINISH's bytes */
#define PROTO_JOIN_PARTS_MAX     (PROTO_FINISH_SIZE + PROTO_PARTS_MAX * PROTO_PARTIAL_TOKEN_SIZE)

#define PROTO_STORE_SIZE     (PROTO_PUT_SIZE + 1) /* then the content */
#define PROTO_QUOTA_SIZE     400
#define PROTO_SET_QUOTA_SIZE (400 + 8 + 8)

/* Body sizes: success replies. */
#define PROTO_VALUE_SIZE       8 /* GET's value, FILESIZE's size */
#define PROTO_RANGE_REPLY_SIZE 16
#define PROTO_STAT_REPLY_SIZE                                                                                \
    (8 + 1 + 8 + 8 + 1 + PROTO_DIGEST_SIZE + PROTO_CONTENT_TYPE_SIZE + PROTO_NAME_SIZE + PROTO_GROUP_SIZE)
#define PROTO_WHERE_REPLY_SIZE   (PROTO_STAT_REPLY_SIZE + PROTO_KEY_SIZE + PROTO_PLACE_SIZE)
#define PROTO_LIST_ENTRY_SIZE    (PROTO_FILE_SIZE + PROTO_STAT_REPLY_SIZE)
#define PROTO_LIST_LIMIT_MAX     100             /* entries in one LIST reply */
#define PROTO_PARTIAL_STATE_SIZE (8 + 8 + 8 + 1) /* OFFSET, APPEND */
#define PROTO_BEGIN_REPLY_SIZE   (PROTO_PARTIAL_TOKEN_SIZE + PROTO_PARTIAL_STATE_SIZE)
#define PROTO_SADDRS_MAX         (PROTO_GROUP_SIZE + 8 * 1024) /* what a client accepts */
#define PROTO_USERS_ENTRY_SIZE   (8 + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define PROTO_USERS_LIMIT_MAX    100 /* entries in one USERS reply */
#define PROTO_LEFT_HEAD_SIZE     (1 + 8 + 8 + 8)
#define PROTO_LEFT_ENTRY_SIZE    (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define PROTO_LEFT_USERS_MAX     100 /* entries in one LEFT reply */
#define PROTO_STORE_REPLY_SIZE   (1 + 1 + PROTO_DIGEST_SIZE + 8)
#define PROTO_QUOTA_REPLY_SIZE   (8 + 8 + 8 + 8 + 1 + 1)

struct proto_header {
    int64_t length; /* of the body; >= 0 after unpack */
    uint8_t command;
    uint8_t status;
};

void proto_header_pack(uint8_t buffer[PROTO_HEADER_SIZE], int64_t length, uint8_t command, uint8_t status);
/* Fails on a negative length, and on what HTTP and SSH servers answer with; then HEADER still holds what was read. */
MUST_CHECK bool proto_header_unpack(const uint8_t buffer[PROTO_HEADER_SIZE], struct proto_header *header,
                                    struct error *error);

/* "[HOST] TEXT" with CODE, cut to fit. BUFFER of PROTO_ERROR_BODY_MAX. Returns the body's size. */
size_t proto_error_pack(uint8_t buffer[PROTO_ERROR_BODY_MAX], int code, const char *host, const char *text);
/* Any failure body, also a legacy one, empty, cut or not terminated: ERROR gets its number (0 becomes ERROR_GENERAL;
 * a body under 2 bytes gives ERROR_GENERAL) and its text ("" where absent), control characters replaced. */
void proto_error_unpack(const uint8_t *body, size_t size, struct error *error);

/* ---- keys of files: SADDRS, LOCATE, FILESIZE, DELETE, STAT, RESTORE, and the head of others ---- */

struct proto_file_key {
    char application[PROTO_APPLICATION_SIZE]; /* letters and digits, not empty */
    char user[PROTO_USER_SIZE];               /* not empty; bytes */
    char file[PROTO_FILE_SIZE];               /* not empty; bytes. LOCATE, LIST: may be empty */
};
MUST_CHECK bool proto_file_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                                    struct error *error);
MUST_CHECK bool proto_file_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key,
                                      struct error *error);
/* The same with an empty file ID allowed: LOCATE asks for a user's servers. */
MUST_CHECK bool proto_user_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                                    struct error *error);
MUST_CHECK bool proto_user_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key,
                                      struct error *error);

/* Letters and digits only, not empty, at most SIZE - 1 bytes. */
bool proto_name_valid(const char *text, size_t size);

/* ---- sessions ---- */

#define PROTO_SESSION_VERSION 1

enum proto_hello_wish { PROTO_WISH_SERVER_PROOF = 1, PROTO_WISH_BINDING = 2 };
enum proto_hello_flag { PROTO_HELLO_REQUIRED = 1, PROTO_HELLO_BOUND = 2 };

struct proto_hello {
    uint16_t version; /* 1 or more */
    uint16_t wishes;
    char key[PROTO_ID_SIZE]; /* of letters, digits and hyphens, not empty */
    uint8_t role;            /* that is claimed */
    uint8_t nonce[PROTO_NONCE_SIZE];
};
MUST_CHECK bool proto_hello_pack(uint8_t buffer[PROTO_HELLO_SIZE], const struct proto_hello *hello,
                                 struct error *error);
MUST_CHECK bool proto_hello_unpack(const uint8_t *body, size_t size, struct proto_hello *hello,
                                   struct error *error);

struct proto_hello_reply {
    uint16_t version;
    uint16_t flags;
    char key[PROTO_ID_SIZE]; /* may be empty */
    uint8_t role;
    int64_t time; /* seconds since the epoch */
    uint8_t nonce[PROTO_NONCE_SIZE];
};
MUST_CHECK bool proto_hello_reply_pack(uint8_t buffer[PROTO_HELLO_REPLY_SIZE],
                                       const struct proto_hello_reply *reply, struct error *error);
MUST_CHECK bool proto_hello_reply_unpack(const uint8_t *body, size_t size, struct proto_hello_reply *reply,
                                         struct error *error);

struct proto_prove_reply {
    uint8_t proof[PROTO_PROOF_SIZE];
    int64_t seconds; /* that the session holds */
    int64_t rights;  /* bits */
};
void proto_prove_reply_pack(uint8_t buffer[PROTO_PROVE_REPLY_SIZE], const struct proto_prove_reply *reply);
MUST_CHECK bool proto_prove_reply_unpack(const uint8_t *body, size_t size, struct proto_prove_reply *reply,
                                         struct error *error);

struct proto_token {
    uint8_t rights; /* bits, at least one */
    int64_t not_before, expires;
    char issuer[PROTO_ID_SIZE];
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    bool has_prefix; /* the scope is of files whose IDs begin with `prefix` */
    char prefix[PROTO_FILE_SIZE];
    uint8_t mac[PROTO_PROOF_SIZE];
};
/* The size that was written; 0: ERROR. The MAC is that of TOKEN: computed over all but the last 32 of these bytes. */
MUST_CHECK size_t proto_token_pack(uint8_t buffer[PROTO_TOKEN_PACKED_MAX], const struct proto_token *token,
                                   struct error *error);
MUST_CHECK bool proto_token_unpack(const uint8_t *body, size_t size, struct proto_token *token,
                                   struct error *error);

struct proto_whoami_reply {
    uint8_t role;
    int64_t rights, ends;
    char key[PROTO_ID_SIZE]; /* may be empty */
};
MUST_CHECK bool proto_whoami_reply_pack(uint8_t buffer[PROTO_WHOAMI_REPLY_SIZE],
                                        const struct proto_whoami_reply *reply, struct error *error);
MUST_CHECK bool proto_whoami_reply_unpack(const uint8_t *body, size_t size, struct proto_whoami_reply *reply,
                                          struct error *error);

/* ---- tracker ---- */

struct proto_join {
    char version[PROTO_VERSION_SIZE];
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    int64_t start_time; /* seconds since the epoch */
    int64_t join_time;
};
MUST_CHECK bool proto_join_pack(uint8_t buffer[PROTO_JOIN_SIZE], const struct proto_join *join,
                                struct error *error);
MUST_CHECK bool proto_join_unpack(const uint8_t *body, size_t size, struct proto_join *join,
                                  struct error *error);

struct proto_beat {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
};
MUST_CHECK bool proto_beat_pack(uint8_t buffer[PROTO_BEAT_SIZE], const struct proto_beat *beat,
                                struct error *error);
MUST_CHECK bool proto_beat_unpack(const uint8_t *body, size_t size, struct proto_beat *beat,
                                  struct error *error);

/* LOAD 14: group 17, host 129, port 2, state 1, reserved 3 (zero), capacity 8, free 8, free inodes 8, connections 4,
 * uploads 4, requests per second 4, trash bytes 8, reserved 4 (zero) = 200. Counts as a BEAT of the server that joined
 * with this group, host and port. */
enum proto_load_state {
    PROTO_LOAD_READY = 0,
    PROTO_LOAD_BUSY = 1,
    PROTO_LOAD_READ_ONLY = 2,
    PROTO_LOAD_DRAINING = 3
};
struct proto_load {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    uint8_t state;    /* enum proto_load_state */
    int64_t capacity; /* bytes, over all store paths */
    int64_t free;     /* bytes that uploads may use (the floor taken off) */
    int64_t free_inodes;
    int32_t connections; /* open now */
    int32_t uploads;     /* under way now */
    int32_t requests;    /* per second, over the last heartbeat interval */
    int64_t trash;       /* bytes of deleted files that are still kept */
};
MUST_CHECK bool proto_load_pack(uint8_t buffer[PROTO_LOAD_SIZE], const struct proto_load *load,
                                struct error *error);
MUST_CHECK bool proto_load_unpack(const uint8_t *body, size_t size, struct proto_load *load,
                                  struct error *error);
/* ADVERTISE: the server that joined as GROUP, HOST and PORT is reached by clients at ADDRESS ("192.0.2.1:23000"). */
struct proto_advertise {
    char group[PROTO_GROUP_SIZE];
    char host[PROTO_HOST_SIZE];
    uint16_t port;
    char address[PROTO_HOST_SIZE];
};
MUST_CHECK bool proto_advertise_pack(uint8_t buffer[PROTO_ADVERTISE_SIZE],
                                     const struct proto_advertise *advertise, struct error *error);
MUST_CHECK bool proto_advertise_unpack(const uint8_t *body, size_t size, struct proto_advertise *advertise,
                                       struct error *error);

/* GROUP 17: group 17, change 1, weight 4 (0 where the change has none) = 22. */
enum proto_group_change {
    PROTO_GROUP_ADD = 1, /* with the weight; a group that is there stays as it is */
    PROTO_GROUP_DRAIN = 2,
    PROTO_GROUP_OPEN = 3,
    PROTO_GROUP_WEIGHT = 4,
    PROTO_GROUP_REMOVE = 5, /* one that is drained and has no users */
};
#define PROTO_GROUP_WEIGHT_MAX 1000000
struct proto_group {
    char group[PROTO_GROUP_SIZE];
    uint8_t change; /* enum proto_group_change */
    int32_t weight; /* share of new users */
};
MUST_CHECK bool proto_group_pack(uint8_t buffer[PROTO_GROUP_CHANGE_SIZE], const struct proto_group *change,
                                 struct error *error);
MUST_CHECK bool proto_group_unpack(const uint8_t *body, size_t size, struct proto_group *change,
                                   struct error *error);

/* USERS 24: group 17, after 8 (0: from the first), limit 4 (1..100) = 29. The reply is as many entries of number 8 (for the next
 * question's "after"), application 16, user 256 as there are; fewer than the limit means that there are no more. */
struct proto_users {
    char group[PROTO_GROUP_SIZE];
    int64_t after;
    int32_t limit;
};
MUST_CHECK bool proto_users_pack(uint8_t buffer[PROTO_USERS_SIZE], const struct proto_users *users,
                                 struct error *error);
MUST_CHECK bool proto_users_unpack(const uint8_t *body, size_t size, struct proto_users *users,
                                   struct error *error);
struct proto_users_entry {
    int64_t number;
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
};
MUST_CHECK bool proto_users_entry_pack(uint8_t buffer[PROTO_USERS_ENTRY_SIZE],
                                       const struct proto_users_entry *entry, struct error *error);
MUST_CHECK bool proto_users_entry_unpack(const uint8_t *body, size_t size, struct proto_users_entry *entry,
                                         struct error *error);

/* REROUTE 25: application 16, user 256, from 17, to 17 = 306. The reply is the group 17 that the user has then. */
struct proto_reroute {
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    char from[PROTO_GROUP_SIZE], to[PROTO_GROUP_SIZE];
};
MUST_CHECK bool proto_reroute_pack(uint8_t buffer[PROTO_REROUTE_SIZE], const struct proto_reroute *reroute,
                                   struct error *error);
MUST_CHECK bool proto_reroute_unpack(const uint8_t *body, size_t size, struct proto_reroute *reroute,
                                     struct error *error);
/* A body that is a group's name: SERVERS 26, the reply to REROUTE. */
MUST_CHECK bool proto_group_name_pack(uint8_t buffer[PROTO_GROUP_SIZE], const char *group,
                                      struct error *error);
MUST_CHECK bool proto_group_name_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                                        struct error *error);

/* Reply to SADDRS, LOCATE and SERVERS: group 17, then "address;address;" with its NUL. Pack: ADDRESSES is that text; returns the
 * body's size, 0 when BUFFER (SIZE bytes) is too small or GROUP is not a group name. Unpack: the text is copied to
 * ADDRESSES (ADDRESSES_SIZE bytes), perhaps empty; address_list_parse() checks it. A missing trailing NUL or ';' is
 * accepted. */
size_t proto_saddrs_reply_pack(uint8_t *buffer, size_t size, const char *group, const char *addresses);
MUST_CHECK bool proto_saddrs_reply_unpack(const uint8_t *body, size_t size, char group[PROTO_GROUP_SIZE],
                                          char *addresses, size_t addresses_size, struct error *error);

/* ---- ID server ---- */

/* GET 40: the key and its NUL, 2 to 65 bytes. Pack returns the body's size (0: KEY empty or too long). */
size_t proto_get_pack(uint8_t buffer[PROTO_KEY_SIZE], const char *key);
MUST_CHECK bool proto_get_unpack(const uint8_t *body, size_t size, char key[PROTO_KEY_SIZE],
                                 struct error *error);

/* RANGE 41: key 65, count 8 (1..100,000) -> first 8, count 8 (1..asked). */
#define PROTO_RANGE_COUNT_MAX 100000
struct proto_range {
    char key[PROTO_KEY_SIZE];
    int64_t count;
};
MUST_CHECK bool proto_range_pack(uint8_t buffer[PROTO_RANGE_SIZE], const struct proto_range *range,
                                 struct error *error);
MUST_CHECK bool proto_range_unpack(const uint8_t *body, size_t size, struct proto_range *range,
                                   struct error *error);
struct proto_range_reply {
    int64_t first; /* >= 0 */
    int64_t count; /* >= 1 */
};
void proto_range_reply_pack(uint8_t buffer[PROTO_RANGE_REPLY_SIZE], const struct proto_range_reply *reply);
MUST_CHECK bool proto_range_reply_unpack(const uint8_t *body, size_t size, struct proto_range_reply *reply,
                                         struct error *error);

/* An 8-byte value: GET's number, FILESIZE's size. Unpack refuses a negative one. */
void proto_value_pack(uint8_t buffer[PROTO_VALUE_SIZE], int64_t value);
MUST_CHECK bool proto_value_unpack(const uint8_t *body, size_t size, int64_t *value, struct error *error);

/* ---- storage ---- */

/* UPLOAD 70: the head; the content follows. Unpack checks size >= 0; the caller checks body length = 408 + size. */
struct proto_upload {
    struct proto_file_key key;
    int64_t size;
};
MUST_CHECK bool proto_upload_pack(uint8_t buffer[PROTO_UPLOAD_SIZE], const struct proto_upload *upload,
                                  struct error *error);
MUST_CHECK bool proto_upload_unpack(const uint8_t *body, size_t size, struct proto_upload *upload,
                                    struct error *error);

/* PUT 77: UPLOAD's 408 bytes, name 256, content type 128, has digest 1 (0 or 1), digest 16 = 809, then the content.
 * PUT_TRAILER 79: the same with has digest 0, then the content, then the 16 bytes of its digest. */
struct proto_put {
    struct proto_file_key key;
    int64_t size;
    char name[PROTO_NAME_SIZE]; /* "" for none; valid UTF-8 without control characters or '/' */
    char content_type[PROTO_CONTENT_TYPE_SIZE]; /* "" for "find out"; printable ASCII */
    /* That the tracker named; "": not said. It stands in the last 17 bytes of the content type's field, where that is not
     * longer than PROTO_PUT_TYPE_MAX: older servers do not look there. */
    char group[PROTO_GROUP_SIZE];
    /* When the file is to be deleted, see below; 0: not said. It stands before the group, where the content type is not longer than
     * PROTO_PUT_EXPIRES_TYPE_MAX; with a longer one it cannot be sent. */
    int64_t expires;
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE];
};
#define PROTO_PUT_TYPE_MAX         (PROTO_CONTENT_TYPE_SIZE - PROTO_GROUP_SIZE - 1)
#define PROTO_PUT_EXPIRES_TYPE_MAX (PROTO_PUT_TYPE_MAX - PROTO_EXPIRES_SIZE)

/* A time of expiry: seconds since the epoch, from 1 to PROTO_EXPIRES_MAX; or, in requests, a negative number: so many seconds from the
 * upload (EXPIRE: from now) on; or PROTO_EXPIRES_NEVER. Between a string and the end of its field: the byte 'E', then 8 bytes. */
#define PROTO_EXPIRES_MAX   INT64_C(253402300799) /* the end of the year 9999 */
#define PROTO_EXPIRES_NEVER INT64_MAX
#define PROTO_EXPIRES_SIZE  9
bool proto_expires_valid(int64_t expires);
MUST_CHECK bool proto_put_pack(uint8_t buffer[PROTO_PUT_SIZE], const struct proto_put *put,
                               struct error *error);
MUST_CHECK bool proto_put_unpack(const uint8_t *body, size_t size, struct proto_put *put,
                                 struct error *error);

/* STORE 95: PUT's 809 bytes, asks 1 (0 or 1) = 810, then the content. With `asks` an empty success reply comes as soon as the
 * server is ready for the content, and the outcome after the content; a failure comes in place of either. */
struct proto_store {
    struct proto_put put;
    bool asks;
};
MUST_CHECK bool proto_store_pack(uint8_t buffer[PROTO_STORE_SIZE], const struct proto_store *store,
                                 struct error *error);
MUST_CHECK bool proto_store_unpack(const uint8_t *body, size_t size, struct proto_store *store,
                                   struct error *error);
/* Its outcome: repeated 1, has digest 1, digest 16, created 8 = 26. */
struct proto_store_reply {
    bool repeated; /* the file was there already, with the same bytes */
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE];
    int64_t created; /* seconds since the epoch: the time of the upload */
};
void proto_store_reply_pack(uint8_t buffer[PROTO_STORE_REPLY_SIZE], const struct proto_store_reply *reply);
MUST_CHECK bool proto_store_reply_unpack(const uint8_t *body, size_t size, struct proto_store_reply *reply,
                                         struct error *error);

struct proto_download {
    struct proto_file_key key;
    int64_t offset; /* >= 0 */
    int64_t size;   /* >= 0; 0: to the end */
};
MUST_CHECK bool proto_download_pack(uint8_t buffer[PROTO_DOWNLOAD_SIZE],
                                    const struct proto_download *download, struct error *error);
MUST_CHECK bool proto_download_unpack(const uint8_t *body, size_t size, struct proto_download *download,
                                      struct error *error);
/* READ: DIGEST is what the file's content must have. */
struct proto_read_request {
    struct proto_download download;
    uint8_t digest[PROTO_DIGEST_SIZE];
};
MUST_CHECK bool proto_read_request_pack(uint8_t buffer[PROTO_READ_SIZE],
                                        const struct proto_read_request *read, struct error *error);
MUST_CHECK bool proto_read_request_unpack(const uint8_t *body, size_t size, struct proto_read_request *read,
                                          struct error *error);

/* Reply to STAT 74: size 8, status 1, created 8, deleted 8, has digest 1, digest 16, content type 128, name 256,
 * group 17 = 443. Also the tail of each entry of LIST. */
enum proto_file_status { PROTO_FILE_NORMAL = 0, PROTO_FILE_DELETED = 1 };
struct proto_stat {
    int64_t size;    /* bytes, >= 0 */
    uint8_t status;  /* enum proto_file_status */
    int64_t created; /* seconds since the epoch: the time of the upload */
    int64_t deleted; /* seconds since the epoch, 0 while not deleted */
    bool has_digest; /* a legacy row has none until the scrub has read the file */
    uint8_t digest[PROTO_DIGEST_SIZE];
    char content_type[PROTO_CONTENT_TYPE_SIZE]; /* "" where unknown */
    char name[PROTO_NAME_SIZE];                 /* "" where unknown */
    char group[PROTO_GROUP_SIZE];
    /* Seconds since the epoch; 0: never. It stands at the end of the content type's field, where that is not longer than
     * PROTO_STAT_TYPE_MAX (else EXPIRE tells). */
    int64_t expires;
};
#define PROTO_STAT_TYPE_MAX (PROTO_CONTENT_TYPE_SIZE - 1 - PROTO_EXPIRES_SIZE)
MUST_CHECK bool proto_stat_reply_pack(uint8_t buffer[PROTO_STAT_REPLY_SIZE], const struct proto_stat *stat,
                                      struct error *error);
MUST_CHECK bool proto_stat_reply_unpack(const uint8_t *body, size_t size, struct proto_stat *stat,
                                        struct error *error);

/* LIST 76: application 16, user 256, after 128 (file ID; "" from the start), limit 4 (1..100), status 1 (0 normal,
 * 1 deleted) = 405. The reply is as many entries of file ID 128 + STAT's 443 as there are, in byte order of the
 * file ID; fewer than the limit means that the list has ended. */
struct proto_list {
    struct proto_file_key key; /* key.file is "after" and may be empty */
    int32_t limit;
    uint8_t status; /* enum proto_file_status */
};
MUST_CHECK bool proto_list_pack(uint8_t buffer[PROTO_LIST_SIZE], const struct proto_list *list,
                                struct error *error);
MUST_CHECK bool proto_list_unpack(const uint8_t *body, size_t size, struct proto_list *list,
                                  struct error *error);
struct proto_list_entry {
    char file[PROTO_FILE_SIZE];
    struct proto_stat stat;
};
MUST_CHECK bool proto_list_entry_pack(uint8_t buffer[PROTO_LIST_ENTRY_SIZE],
                                      const struct proto_list_entry *entry, struct error *error);
MUST_CHECK bool proto_list_entry_unpack(const uint8_t *body, size_t size, struct proto_list_entry *entry,
                                        struct error *error);

/* Reply to WHERE 78: STAT's 443, key of the store path 65, place below it 128 = 636. A place is exactly what a storage
 * server makes: three directories and a name of base-512 digits (docs/protocol.md, "File IDs and store paths"), so that
 * whoever opens it below a directory stays there. */
struct proto_where {
    struct proto_stat stat;
    char key[PROTO_KEY_SIZE]; /* not empty */
    char place[PROTO_PLACE_SIZE];
};
MUST_CHECK bool proto_where_reply_pack(uint8_t buffer[PROTO_WHERE_REPLY_SIZE],
                                       const struct proto_where *where, struct error *error);
MUST_CHECK bool proto_where_reply_unpack(const uint8_t *body, size_t size, struct proto_where *where,
                                         struct error *error);

/* FSCK 80: application 16, user 256, group 128 (in the place of a file ID; empty: the server's own), action 1 (0 status, 1
 * check, 2 check and repair, 3 files without rows are leftovers indeed) = 401. The reply is a JSON object. */
enum proto_fsck_action {
    PROTO_FSCK_STATUS = 0,
    PROTO_FSCK_CHECK = 1,
    PROTO_FSCK_REPAIR = 2,
    PROTO_FSCK_CONFIRM = 3
};
struct proto_fsck {
    struct proto_file_key key; /* file: the group */
    uint8_t action;            /* enum proto_fsck_action */
};
MUST_CHECK bool proto_fsck_pack(uint8_t buffer[PROTO_FSCK_SIZE], const struct proto_fsck *fsck,
                                struct error *error);
MUST_CHECK bool proto_fsck_unpack(const uint8_t *body, size_t size, struct proto_fsck *fsck,
                                  struct error *error);

/* RENAME 90: application 16, user 256, file 128, name 256 = 656. */
struct proto_rename {
    struct proto_file_key key;
    char name[PROTO_NAME_SIZE]; /* as in PUT; "" for none */
};
MUST_CHECK bool proto_rename_pack(uint8_t buffer[PROTO_RENAME_SIZE], const struct proto_rename *rename,
                                  struct error *error);
MUST_CHECK bool proto_rename_unpack(const uint8_t *body, size_t size, struct proto_rename *rename,
                                    struct error *error);

/* EXPIRE 94: application 16, user 256, file 128, change 1 (0 or 1), expires 8 = 409. The reply, 8 bytes: when the file expires
 * from now on, seconds since the epoch; 0: never. */
struct proto_expire {
    struct proto_file_key key;
    bool change;     /* false: it is only asked, and EXPIRES is 0 */
    int64_t expires; /* a time of expiry, see proto_put */
};
MUST_CHECK bool proto_expire_pack(uint8_t buffer[PROTO_EXPIRE_SIZE], const struct proto_expire *expire,
                                  struct error *error);
MUST_CHECK bool proto_expire_unpack(const uint8_t *body, size_t size, struct proto_expire *expire,
                                    struct error *error);

/* Limits and counts of a user in an application. */
#define PROTO_QUOTA_NONE    INT64_C(-1) /* no limit; of counts: nobody counts */
#define PROTO_QUOTA_DEFAULT INT64_C(-2) /* SET_QUOTA: as the storage servers are configured */
#define PROTO_QUOTA_KEEP    INT64_C(-3) /* SET_QUOTA: as it is */

/* QUOTA 96: application 16, user 256, file 128 (may be empty, says nothing) = 400. SET_QUOTA 97: the same, bytes 8, files 8 = 416. */
struct proto_set_quota {
    struct proto_file_key key;
    int64_t bytes, files; /* 0 or more, or one of the three above */
};
MUST_CHECK bool proto_set_quota_pack(uint8_t buffer[PROTO_SET_QUOTA_SIZE], const struct proto_set_quota *set,
                                     struct error *error);
MUST_CHECK bool proto_set_quota_unpack(const uint8_t *body, size_t size, struct proto_set_quota *set,
                                       struct error *error);

/* The reply of both: bytes used 8, files used 8, bytes 8, files 8, own bytes 1, own files 1 = 34. */
struct proto_quota {
    int64_t bytes_used, files_used; /* PROTO_QUOTA_NONE where nothing is counted */
    int64_t bytes, files;           /* limits that hold, or PROTO_QUOTA_NONE */
    bool own_bytes, own_files;      /* set for this user; else as the servers are configured */
};
MUST_CHECK bool proto_quota_pack(uint8_t buffer[PROTO_QUOTA_REPLY_SIZE], const struct proto_quota *quota,
                                 struct error *error);
MUST_CHECK bool proto_quota_unpack(const uint8_t *body, size_t size, struct proto_quota *quota,
                                   struct error *error);

/* LEFT 93: table 1 (0..2), after 8 (0: from the first) = 9. The reply: where to go on (table 1, 3: that was all; after 8), rows 8,
 * former copies 8 that were found on the way, then application 16, user 256 of each of their users, once. */
struct proto_left {
    uint8_t table;
    int64_t after;
};
struct proto_left_head {
    struct proto_left next;
    int64_t rows;   /* of files that are the group's */
    int64_t former; /* copies of files that another group has by now, and that the purge is going to remove */
};
#define PROTO_LEFT_TABLES 3
MUST_CHECK bool proto_left_pack(uint8_t buffer[PROTO_LEFT_SIZE], const struct proto_left *left,
                                struct error *error);
MUST_CHECK bool proto_left_unpack(const uint8_t *body, size_t size, struct proto_left *left,
                                  struct error *error);
MUST_CHECK bool proto_left_head_pack(uint8_t buffer[PROTO_LEFT_HEAD_SIZE], const struct proto_left_head *head,
                                     struct error *error);
MUST_CHECK bool proto_left_head_unpack(const uint8_t *body, size_t size, struct proto_left_head *head,
                                       struct error *error);
/* The number of an entry is not sent. */
MUST_CHECK bool proto_left_entry_pack(uint8_t buffer[PROTO_LEFT_ENTRY_SIZE],
                                      const struct proto_users_entry *entry, struct error *error);
MUST_CHECK bool proto_left_entry_unpack(const uint8_t *body, size_t size, struct proto_users_entry *entry,
                                        struct error *error);

/* ---- partial uploads ---- */

/* BEGIN 82: PUT's 809 bytes, whose size may be -1 (not known yet), keep 8 = 817. */
struct proto_begin {
    struct proto_put put; /* the digest is that of the whole content */
    int64_t
        keep; /* seconds that it is kept after its last change; 0: as the server is configured, which bounds it */
};
MUST_CHECK bool proto_begin_pack(uint8_t buffer[PROTO_BEGIN_SIZE], const struct proto_begin *begin,
                                 struct error *error);
MUST_CHECK bool proto_begin_unpack(const uint8_t *body, size_t size, struct proto_begin *begin,
                                   struct error *error);

/* How far one is: the reply to OFFSET 84 and APPEND 83: offset 8, size 8 (-1: not known yet), expires 8, complete 1 = 25. */
struct proto_partial_state {
    int64_t offset; /* bytes from the first on that are on the disk and recorded */
    int64_t size;
    int64_t expires; /* seconds since the epoch */
    bool complete;   /* the file is stored: FINISH or JOIN_PARTS succeeded */
};
MUST_CHECK bool proto_partial_state_pack(uint8_t buffer[PROTO_PARTIAL_STATE_SIZE],
                                         const struct proto_partial_state *state, struct error *error);
MUST_CHECK bool proto_partial_state_unpack(const uint8_t *body, size_t size,
                                           struct proto_partial_state *state, struct error *error);

/* Reply to BEGIN: token 16, then how far it is. */
struct proto_begin_reply {
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE]; /* random; names the partial upload from here on */
    struct proto_partial_state state;
};
MUST_CHECK bool proto_begin_reply_pack(uint8_t buffer[PROTO_BEGIN_REPLY_SIZE],
                                       const struct proto_begin_reply *reply, struct error *error);
MUST_CHECK bool proto_begin_reply_unpack(const uint8_t *body, size_t size, struct proto_begin_reply *reply,
                                         struct error *error);

/* OFFSET 84 and ABORT 86: key 400, token 16 = 416; the beginning of all but BEGIN. */
struct proto_partial {
    struct proto_file_key key; /* as in BEGIN */
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
};
MUST_CHECK bool proto_partial_pack(uint8_t buffer[PROTO_PARTIAL_SIZE], const struct proto_partial *partial,
                                   struct error *error);
MUST_CHECK bool proto_partial_unpack(const uint8_t *body, size_t size, struct proto_partial *partial,
                                     struct error *error);

/* APPEND 83: the 416 bytes, offset 8, total 8, size 8, digest follows 1 = 441, then the content, then perhaps the 16 bytes of
 * its digest. The caller checks the body's length. */
struct proto_append {
    struct proto_partial partial;
    int64_t offset;      /* of the content's first byte */
    int64_t total;       /* size of the whole file; -1: not said */
    int64_t size;        /* of the content */
    bool digest_follows; /* of this content alone: where it has another one, none of it counts */
};
MUST_CHECK bool proto_append_pack(uint8_t buffer[PROTO_APPEND_SIZE], const struct proto_append *append,
                                  struct error *error);
MUST_CHECK bool proto_append_unpack(const uint8_t *body, size_t size, struct proto_append *append,
                                    struct error *error);

/* FINISH 85: the 416 bytes, has digest 1, digest 16 = 433. */
struct proto_finish {
    struct proto_partial partial;
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE]; /* that the whole content must have */
};
MUST_CHECK bool proto_finish_pack(uint8_t buffer[PROTO_FINISH_SIZE], const struct proto_finish *finish,
                                  struct error *error);
MUST_CHECK bool proto_finish_unpack(const uint8_t *body, size_t size, struct proto_finish *finish,
                                    struct error *error);

/* JOIN_PARTS 87: FINISH's 433 bytes about the target, then 1 to PROTO_PARTS_MAX tokens of 16 bytes. Pack returns the body's size
 * (0: ERROR); BUFFER has SIZE bytes. Unpack: *TOKENS points into BODY. */
MUST_CHECK size_t proto_join_parts_pack(uint8_t *buffer, size_t size, const struct proto_finish *target,
                                        const uint8_t *tokens, size_t count, struct error *error);
MUST_CHECK bool proto_join_parts_unpack(const uint8_t *body, size_t size, struct proto_finish *target,
                                        const uint8_t **tokens, size_t *count, struct error *error);

#endif
