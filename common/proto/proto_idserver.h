/*
 * proto_idserver: the bodies of the ID server's commands. Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_IDSERVER_H
#define REEL_COMMON_PROTO_IDSERVER_H

#include "common/proto/proto.h"

/* Sizes of bodies. */
#define PROTO_KEY_MIN          2 /* GET: one byte and its NUL */
#define PROTO_RANGE_SIZE       (PROTO_KEY_SIZE + 8)
#define PROTO_RANGE_REPLY_SIZE 16

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

#endif
