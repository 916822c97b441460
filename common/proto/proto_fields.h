/*
 * proto_fields: the parts that bodies are made of: fields with their rules, and cursors that read and write
 * them in order. Private to proto*.c. Touches nothing but its arguments; any thread.
 *
 * A cursor goes through one body of a fixed size. The first failure sticks: it fills the error, and every
 * later step does nothing, so that a body is a plain list of its fields and one look at the end.
 */
#ifndef REEL_COMMON_PROTO_FIELDS_H
#define REEL_COMMON_PROTO_FIELDS_H

#include "common/proto/proto.h"

/* What a string may hold. Every rule but NAME's, NOT_EMPTY's and PLACE's takes an empty one. */
enum proto_rule {
    PROTO_RULE_BYTES,         /* anything */
    PROTO_RULE_NOT_EMPTY,     /* anything, at least one byte */
    PROTO_RULE_NAME,          /* ASCII letters and digits, at least one */
    PROTO_RULE_NAME_OR_EMPTY, /* ASCII letters and digits */
    PROTO_RULE_TEXT,          /* no control characters, so that it can be printed */
    PROTO_RULE_FILE_NAME,     /* UTF-8 without control characters or '/' */
    PROTO_RULE_ASCII,         /* printable ASCII */
    PROTO_RULE_PLACE,         /* AAA/BBB/CCC/SSSSSSSS_DDD: base-512 digits and seconds, upper-case hex */
};

struct proto_field {
    const char *name; /* as error texts say it */
    size_t size;      /* bytes, NUL included */
    enum proto_rule rule;
};

extern const struct proto_field proto_field_version;
extern const struct proto_field proto_field_group;
extern const struct proto_field proto_field_group_or_none;
extern const struct proto_field proto_field_host;
extern const struct proto_field proto_field_file;
extern const struct proto_field proto_field_application;
extern const struct proto_field proto_field_user;
extern const struct proto_field proto_field_file_or_none;
extern const struct proto_field proto_field_key;
extern const struct proto_field proto_field_name;
extern const struct proto_field proto_field_content_type;
extern const struct proto_field proto_field_place;

/* True where the LENGTH bytes of TEXT obey FIELD's rule; else fills ERROR. */
bool proto_field_check(const struct proto_field *field, const char *text, size_t length, struct error *error);

struct proto_reader {
    const uint8_t *at;
    size_t left;
    struct error *error;
    bool ok;
};

/* BODY must have exactly EXPECTED bytes; WHAT names it in the error. */
void proto_read_begin(struct proto_reader *reader, const char *what, const uint8_t *body, size_t size,
                      size_t expected, struct error *error);
/* OUT has FIELD's size; it gets the string and zeros behind it. */
void proto_read_string(struct proto_reader *reader, const struct proto_field *field, char *out);
void proto_read_bytes(struct proto_reader *reader, uint8_t *out, size_t size);
void proto_skip(struct proto_reader *reader, size_t size);
/* Numbers between MINIMUM and MAXIMUM; NAME names the field in the error. 0 after a failure. */
uint8_t proto_read_u8(struct proto_reader *reader, const char *name, uint8_t maximum);
uint16_t proto_read_port(struct proto_reader *reader);
int32_t proto_read_i32(struct proto_reader *reader, const char *name, int32_t minimum, int32_t maximum);
int64_t proto_read_i64(struct proto_reader *reader, const char *name, int64_t minimum, int64_t maximum);
/* True where nothing failed and the whole body was read. */
MUST_CHECK bool proto_read_end(const struct proto_reader *reader);

struct proto_writer {
    uint8_t *at;
    size_t left;
    struct error *error;
    bool ok;
};

/* BUFFER has SIZE bytes. */
void proto_write_begin(struct proto_writer *writer, uint8_t *buffer, size_t size, struct error *error);
/* TEXT has FIELD's size; what follows its NUL is not sent. */
void proto_write_string(struct proto_writer *writer, const struct proto_field *field, const char *text);
void proto_write_bytes(struct proto_writer *writer, const uint8_t *bytes, size_t size);
void proto_write_zeros(struct proto_writer *writer, size_t size);
void proto_write_u8(struct proto_writer *writer, const char *name, uint8_t value, uint8_t maximum);
void proto_write_port(struct proto_writer *writer, uint16_t port);
void proto_write_i32(struct proto_writer *writer, const char *name, int32_t value, int32_t minimum,
                     int32_t maximum);
void proto_write_i64(struct proto_writer *writer, const char *name, int64_t value, int64_t minimum,
                     int64_t maximum);
/* True where nothing failed and the whole body was written. */
MUST_CHECK bool proto_write_end(const struct proto_writer *writer);

/* Application, user and file, with FILE's field: with or without an empty one. */
void proto_read_key(struct proto_reader *reader, const struct proto_field *file, struct proto_file_key *key);
void proto_write_key(struct proto_writer *writer, const struct proto_field *file,
                     const struct proto_file_key *key);

/* Has digest 1, digest 16; a digest that is absent is zeros, whatever stands in its place. */
void proto_read_digest(struct proto_reader *reader, bool *has_digest, uint8_t digest[PROTO_DIGEST_SIZE]);
void proto_write_digest(struct proto_writer *writer, bool has_digest,
                        const uint8_t digest[PROTO_DIGEST_SIZE]);

/* Big-endian numbers in raw memory. */
uint64_t proto_load_be(const uint8_t *bytes, size_t size);
void proto_store_be(uint8_t *bytes, size_t size, uint64_t value);

#endif
