/*
 * proto_put: the bodies of the commands that store a whole file: UPLOAD, PUT, PUT_TRAILER, STORE, MOVE. Part of proto:
 * what pack and unpack take, how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_PUT_H
#define REEL_COMMON_PROTO_PUT_H

#include "common/proto/proto.h"
#include "common/proto/proto_expires.h"

/* Sizes of bodies. */
#define PROTO_UPLOAD_SIZE 408 /* then the content */
#define PROTO_PUT_SIZE                                                                                       \
    (408 + PROTO_NAME_SIZE + PROTO_CONTENT_TYPE_SIZE + 1 + PROTO_DIGEST_SIZE) /* then the content */
#define PROTO_STORE_SIZE       (PROTO_PUT_SIZE + 1)                           /* then the content */
#define PROTO_STORE_REPLY_SIZE (1 + 1 + PROTO_DIGEST_SIZE + 8)

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
    /* When the file is to be deleted, see PROTO_EXPIRES_MAX; 0: not said. It stands before the group, where the content type is not longer than
     * PROTO_PUT_EXPIRES_TYPE_MAX; with a longer one it cannot be sent. */
    int64_t expires;
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE];
};
#define PROTO_PUT_TYPE_MAX         (PROTO_CONTENT_TYPE_SIZE - PROTO_GROUP_SIZE - 1)
#define PROTO_PUT_EXPIRES_TYPE_MAX (PROTO_PUT_TYPE_MAX - PROTO_EXPIRES_SIZE)

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

/* ---- for the bodies that hold PUT's bytes ---- */

struct proto_reader;
struct proto_writer;
/* LEAST: of the size; -1 where it need not be known yet. */
void proto_write_put(struct proto_writer *writer, const struct proto_put *put, int64_t least);
void proto_read_put(struct proto_reader *reader, struct proto_put *put, int64_t least);

#endif
