/*
 * proto_bodies: the bodies of the packet protocol as docs/protocol.md has them, repeated by hand and apart
 * from the code under test: where each field lies in the body, what it may hold, and where its value lies in
 * the struct. From them a seeded generator makes a struct and, on its own, the bytes that it must become. For
 * test_proto.c alone.
 */
#ifndef REEL_TESTS_UNIT_PROTO_BODIES_H
#define REEL_TESTS_UNIT_PROTO_BODIES_H

#include "common/proto/proto.h"

#include <string.h>

enum kind { BYTES, NAME, TEXT, FILE_NAME, ASCII, PLACE, NUMBER, FLAG, DIGEST, ZEROS, RAW };

struct field {
    const char *name; /* as error texts say it */
    size_t offset;    /* in the body */
    size_t size;      /* in the body */
    size_t place;     /* in the struct; a string's and a number's size there is the same */
    enum kind kind;
    bool may_be_empty;        /* strings */
    int64_t minimum, maximum; /* numbers */
};

struct body {
    const char *name;
    size_t size;
    size_t struct_size;
    bool (*pack)(uint8_t *buffer, const void *value, struct error *error);
    bool (*unpack)(const uint8_t *body, size_t size, void *value, struct error *error);
    size_t field_count;
    const struct field *fields;
    bool packs_unchecked; /* its sender vouches for the values: pack refuses none */
};

/* Every body of the protocol. */
extern const struct body proto_bodies[];
extern const size_t proto_bodies_count;

/* Where the generator stands; a test that sets it repeats what it made. */
extern uint64_t proto_bodies_seed;

/* The next number of the generator, and one from 0 to LIMIT - 1. */
uint64_t random_u64(void);
size_t random_below(size_t limit);

bool is_string(const struct field *field);

/* VALUE as the wire has an integer of SIZE bytes. */
void store_be(uint8_t *at, size_t size, int64_t value);

/* VALUE as the struct has an integer of SIZE bytes. */
void store_native(char *at, size_t size, int64_t value);

/* A valid struct (body->struct_size bytes at VALUE) and the bytes (body->size) that it must become. */
void generate(const struct body *body, char *value, uint8_t *bytes);

#endif
