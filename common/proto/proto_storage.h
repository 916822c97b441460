/*
 * proto_storage: the bodies of the storage server's commands about files that are stored: read, listed, changed, checked.
 * Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_STORAGE_H
#define REEL_COMMON_PROTO_STORAGE_H

#include "common/proto/proto_tracker.h"

/* Sizes of bodies. */
#define PROTO_DOWNLOAD_SIZE 416
#define PROTO_READ_SIZE     432
#define PROTO_STAT_REPLY_SIZE                                                                                \
    (8 + 1 + 8 + 8 + 1 + PROTO_DIGEST_SIZE + PROTO_CONTENT_TYPE_SIZE + PROTO_NAME_SIZE + PROTO_GROUP_SIZE)
#define PROTO_LIST_SIZE        (400 + 4 + 1)
#define PROTO_LIST_ENTRY_SIZE  (PROTO_FILE_SIZE + PROTO_STAT_REPLY_SIZE)
#define PROTO_LIST_LIMIT_MAX   100 /* entries in one LIST reply */
#define PROTO_WHERE_REPLY_SIZE (PROTO_STAT_REPLY_SIZE + PROTO_KEY_SIZE + PROTO_PLACE_SIZE)
#define PROTO_FSCK_SIZE        (400 + 1)
#define PROTO_RENAME_SIZE      (400 + PROTO_NAME_SIZE)
#define PROTO_EXPIRE_SIZE      (400 + 1 + 8)
#define PROTO_LEFT_SIZE        9
#define PROTO_LEFT_HEAD_SIZE   (1 + 8 + 8 + 8)
#define PROTO_LEFT_ENTRY_SIZE  (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define PROTO_LEFT_USERS_MAX   100 /* entries in one LEFT reply */

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
     * PROTO_STAT_TYPE_MAX (else EXPIRE gives it). */
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
    int64_t expires; /* a time of expiry, see PROTO_EXPIRES_MAX */
};
MUST_CHECK bool proto_expire_pack(uint8_t buffer[PROTO_EXPIRE_SIZE], const struct proto_expire *expire,
                                  struct error *error);
MUST_CHECK bool proto_expire_unpack(const uint8_t *body, size_t size, struct proto_expire *expire,
                                    struct error *error);

/* LEFT 93: table 1 (0..2), after 8 (0: from the first) = 9. The reply: where to continue (table 1, 3: that was all; after 8), rows 8,
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

#endif
