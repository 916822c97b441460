/*
 * proto_quota: the bodies of the commands about quotas. Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_QUOTA_H
#define REEL_COMMON_PROTO_QUOTA_H

#include "common/proto/proto.h"
#include "common/proto/proto_tracker.h"

/* Sizes of bodies. */
#define PROTO_QUOTA_SIZE        400
#define PROTO_SET_QUOTA_SIZE    (400 + 8 + 8)
#define PROTO_QUOTA_REPLY_SIZE  (8 + 8 + 8 + 8 + 1 + 1)
#define PROTO_QUOTAS_SIZE       (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)
#define PROTO_QUOTAS_ENTRY_SIZE (PROTO_QUOTAS_SIZE + PROTO_QUOTA_REPLY_SIZE + 8)
#define PROTO_QUOTAS_MAX        100 /* entries in one QUOTAS reply */

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

/* QUOTAS 98: application 16, user 256: the user after which to continue, both "": from the first one = 272. The reply: at most
 * PROTO_QUOTAS_MAX entries in the order of users, then applications; none: that was all. An entry: application 16, user 256, the
 * 34 bytes of QUOTA's reply, held 8 = 314. */
struct proto_quotas_entry {
    struct proto_users_entry of; /* its number is not sent */
    struct proto_quota quota;
    int64_t held; /* bytes in partial uploads, which are no files yet */
};
MUST_CHECK bool proto_quotas_pack(uint8_t buffer[PROTO_QUOTAS_SIZE], const struct proto_users_entry *after,
                                  struct error *error);
MUST_CHECK bool proto_quotas_unpack(const uint8_t *body, size_t size, struct proto_users_entry *after,
                                    struct error *error);
MUST_CHECK bool proto_quotas_entry_pack(uint8_t buffer[PROTO_QUOTAS_ENTRY_SIZE],
                                        const struct proto_quotas_entry *entry, struct error *error);
MUST_CHECK bool proto_quotas_entry_unpack(const uint8_t *body, size_t size, struct proto_quotas_entry *entry,
                                          struct error *error);

#endif
