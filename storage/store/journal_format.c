/*
 * journal_format: packing and reading of the upload journal's heads and records, little-endian, each with an XXH3-128 of
 * itself.
 */
#include "storage/store/journal_format.h"

#include <string.h>

#define HEAD_MAGIC   UINT32_C(0x484c4a52) /* "RJLH" */
#define RECORD_MAGIC UINT32_C(0x524c4a52) /* "RJLR" */
#define VERSION      1
#define HEAD_SIZE    60  /* and the digest behind it */
#define FIXED_SIZE   104 /* of a record: then the texts and the content, then the digest */
#define TEXTS        7
#define FLAG_LAST    1U
#define FLAG_SHA256  2U

_Static_assert(FIXED_SIZE + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + PROTO_FILE_SIZE +
                       STORE_FILE_PATH_SIZE + PROTO_GROUP_SIZE + PROTO_NAME_SIZE + PROTO_CONTENT_TYPE_SIZE +
                       PROTO_DIGEST_SIZE <=
                   JOURNAL_BLOCK - JOURNAL_ALIGN,
               "what is not content fits beside the largest one");

/* ---- numbers ---- */

static void journal_put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* ---- heads ---- */

void journal_head_pack(uint8_t block[JOURNAL_BLOCK], const struct journal_head *head)
{
    memset(block, 0, JOURNAL_BLOCK);
    journal_put(block, HEAD_MAGIC, 4);
    journal_put(block + 4, VERSION, 4);
    journal_put(block + 8, head->id, 8);
    journal_put(block + 16, head->generation, 8);
    journal_put(block + 24, head->count, 8);
    journal_put(block + 32, (uint64_t)head->size, 8);
    journal_put(block + 40, (uint64_t)head->tail, 8);
    journal_put(block + 48, (uint64_t)head->sequence, 8);
    journal_put(block + 56, head->clean ? 1 : 0, 4);
    digest_of_bytes(block, HEAD_SIZE, block + HEAD_SIZE);
}

bool journal_head_read(const uint8_t block[JOURNAL_BLOCK], struct journal_head *head)
{
    uint8_t digest[PROTO_DIGEST_SIZE];
    if (get(block, 4) != HEAD_MAGIC || get(block + 4, 4) != VERSION)
        return false;
    digest_of_bytes(block, HEAD_SIZE, digest);
    if (memcmp(digest, block + HEAD_SIZE, sizeof(digest)) != 0)
        return false;
    head->id = get(block + 8, 8);
    head->generation = get(block + 16, 8);
    head->count = get(block + 24, 8);
    head->size = (int64_t)get(block + 32, 8);
    head->tail = (int64_t)get(block + 40, 8);
    head->sequence = (int64_t)get(block + 48, 8);
    head->clean = get(block + 56, 4) != 0;
    return head->size > 0 && head->size % JOURNAL_BLOCK == 0 && head->tail >= 0 && head->tail < head->size &&
           head->tail % JOURNAL_BLOCK == 0 && head->sequence > 0;
}

/* ---- records ---- */

struct text {
    char *at;
    size_t room;
};

/* In the order in which they stand. */
static void list_texts(struct journal_record *record, struct text texts[TEXTS])
{
    texts[0] = (struct text){record->key.application, sizeof(record->key.application)};
    texts[1] = (struct text){record->key.user, sizeof(record->key.user)};
    texts[2] = (struct text){record->key.file, sizeof(record->key.file)};
    texts[3] = (struct text){record->file_path, sizeof(record->file_path)};
    texts[4] = (struct text){record->group, sizeof(record->group)};
    texts[5] = (struct text){record->name, sizeof(record->name)};
    texts[6] = (struct text){record->content_type, sizeof(record->content_type)};
}

static size_t bytes_of_record(const struct journal_record *record)
{
    struct text texts[TEXTS];
    size_t size = FIXED_SIZE + record->content_size + PROTO_DIGEST_SIZE;
    list_texts((struct journal_record *)record, texts); /* nothing is changed */
    for (size_t i = 0; i < TEXTS; i++)
        size += strlen(texts[i].at);
    return size;
}

size_t journal_record_size(const struct journal_record *record)
{
    return round_up(bytes_of_record(record), JOURNAL_ALIGN);
}

void journal_record_pack(uint8_t *out, const struct journal_record *record)
{
    struct text texts[TEXTS];
    size_t size = bytes_of_record(record);
    uint8_t *next = out + FIXED_SIZE;
    list_texts((struct journal_record *)record, texts);
    journal_put(out, RECORD_MAGIC, 4);
    journal_put(out + 4, size, 4);
    journal_put(out + 8, record->generation, 8);
    journal_put(out + 16, (uint64_t)record->sequence, 8);
    journal_put(out + 24, (uint64_t)record->synced, 8);
    journal_put(out + 32, (record->last ? FLAG_LAST : 0) | (record->has_sha256 ? FLAG_SHA256 : 0), 2);
    journal_put(out + 34, (uint64_t)record->expires, 8);
    journal_put(out + 42, record->content_size, 4);
    for (size_t i = 0; i < TEXTS; i++)
        journal_put(out + 46 + i, strlen(texts[i].at), 1);
    memcpy(out + 53, record->digest, PROTO_DIGEST_SIZE);
    memset(out + 69, 0, FIXED_SIZE - 69);
    if (record->has_sha256)
        memcpy(out + 69, record->sha256, DIGEST_SHA256_SIZE);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t length = strlen(texts[i].at);
        memcpy(next, texts[i].at, length);
        next += length;
    }
    if (record->content_size > 0)
        memcpy(next, record->content, record->content_size);
    next += record->content_size;
    digest_of_bytes(out, size - PROTO_DIGEST_SIZE, next);
    memset(out + size, 0, round_up(size, JOURNAL_ALIGN) - size);
}

bool journal_record_begins(const uint8_t *bytes, uint64_t generation)
{
    return get(bytes, 4) == RECORD_MAGIC && get(bytes + 8, 8) == generation;
}

/* The texts at NEXT, whose lengths stand in the fixed part. False where one is longer than its place. */
static bool journal_format_read_texts(const uint8_t *bytes, const uint8_t *next,
                                      struct journal_record *record)
{
    struct text texts[TEXTS];
    list_texts(record, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        size_t length = bytes[46 + i];
        if (length >= texts[i].room || memchr(next, '\0', length))
            return false;
        memcpy(texts[i].at, next, length);
        next += length;
    }
    return record->key.application[0] != '\0' && record->key.user[0] != '\0' && record->key.file[0] != '\0';
}

bool journal_record_read(const uint8_t *bytes, size_t size, struct journal_record *record, size_t *taken)
{
    uint8_t digest[PROTO_DIGEST_SIZE];
    if (size < FIXED_SIZE + PROTO_DIGEST_SIZE || get(bytes, 4) != RECORD_MAGIC)
        return false;
    size_t whole = get(bytes + 4, 4), content = get(bytes + 42, 4), texts = 0;
    for (size_t i = 0; i < TEXTS; i++)
        texts += bytes[46 + i];
    if (whole > size || content > JOURNAL_CONTENT_MAX ||
        whole != FIXED_SIZE + texts + content + PROTO_DIGEST_SIZE)
        return false;
    digest_of_bytes(bytes, whole - PROTO_DIGEST_SIZE, digest);
    if (memcmp(digest, bytes + whole - PROTO_DIGEST_SIZE, sizeof(digest)) != 0)
        return false;
    memset(record, 0, sizeof(*record));
    record->generation = get(bytes + 8, 8);
    record->sequence = (int64_t)get(bytes + 16, 8);
    record->synced = (int64_t)get(bytes + 24, 8);
    unsigned flags = (unsigned)get(bytes + 32, 2);
    record->last = (flags & FLAG_LAST) != 0;
    record->has_sha256 = (flags & FLAG_SHA256) != 0;
    record->expires = (int64_t)get(bytes + 34, 8);
    memcpy(record->digest, bytes + 53, PROTO_DIGEST_SIZE);
    memcpy(record->sha256, bytes + 69, DIGEST_SHA256_SIZE);
    record->content = bytes + FIXED_SIZE + texts;
    record->content_size = content;
    *taken = round_up(whole, JOURNAL_ALIGN);
    return journal_format_read_texts(bytes, bytes + FIXED_SIZE, record) && record->sequence > 0 &&
           record->synced >= 0 && record->synced < record->sequence;
}
