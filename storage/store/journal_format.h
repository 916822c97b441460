/*
 * journal_format: the bytes of the upload journal (storage/store/journal.h): the two heads of the file and its records. Pure. What
 * is read back comes from a disk: every length is checked, and nothing counts without its checksum.
 *
 * The file: a head at 0 and another at JOURNAL_BLOCK, of which the valid one with the higher `count` holds; then the
 * region, a ring of records. A record begins at a multiple of JOURNAL_ALIGN and never spans the end of the region. What is
 * written with one sync (a group) begins at a multiple of JOURNAL_BLOCK, so that no write touches a block in which something
 * acknowledged lies.
 */
#ifndef REEL_STORAGE_JOURNAL_FORMAT_H
#define REEL_STORAGE_JOURNAL_FORMAT_H

#include "common/proto/digest.h"
#include "storage/store/store_path.h"

#define JOURNAL_BLOCK       4096
#define JOURNAL_ALIGN       512
#define JOURNAL_REGION      ((int64_t)2 * JOURNAL_BLOCK) /* where it begins */
#define JOURNAL_CONTENT_MAX 65536 /* bytes of a file whose content is kept in a record */
#define JOURNAL_RECORD_MAX  (JOURNAL_CONTENT_MAX + JOURNAL_BLOCK) /* bytes of a record, padding included */

struct journal_head {
    uint64_t id;         /* of the file, chosen at random when it was made */
    uint64_t generation; /* chosen at random by each start: records of another one mean nothing */
    uint64_t count;      /* of heads written */
    int64_t size;        /* of the region */
    int64_t tail;        /* where the first record is that still matters, from the region's beginning */
    int64_t sequence;    /* its number */
    bool clean;          /* no record matters: the server ended in order */
};

/* One upload: all that makes its row and its file. */
struct journal_record {
    uint64_t generation;
    int64_t sequence; /* 1 for the first record of the file's life, then one more each */
    int64_t synced;   /* this many were on the disk for certain before this one was written */
    bool last;        /* of its group: the next record is at the next block */
    struct proto_file_key key;
    char file_path[STORE_FILE_PATH_SIZE];
    char group[PROTO_GROUP_SIZE];
    char name[PROTO_NAME_SIZE];
    char content_type[PROTO_CONTENT_TYPE_SIZE];
    int64_t expires; /* as in struct proto_stat, or below 0: that many seconds after the upload */
    uint8_t digest[PROTO_DIGEST_SIZE];
    bool has_sha256;
    uint8_t sha256[DIGEST_SHA256_SIZE];
    const uint8_t *content; /* borrowed; read: points into what was read */
    size_t content_size;    /* at most JOURNAL_CONTENT_MAX */
};

void journal_head_pack(uint8_t block[JOURNAL_BLOCK], const struct journal_head *head);
/* False for what is no head, or whose numbers contradict each other. */
MUST_CHECK bool journal_head_read(const uint8_t block[JOURNAL_BLOCK], struct journal_head *head);

/* Bytes that RECORD takes, rounded up to JOURNAL_ALIGN; at most JOURNAL_RECORD_MAX. */
size_t journal_record_size(const struct journal_record *record);
/* Writes these bytes to OUT, padding and all. */
void journal_record_pack(uint8_t *out, const struct journal_record *record);
/* The record at BYTES, of which SIZE are there; *TAKEN: how many it takes. False for what is none, or not a whole one. */
MUST_CHECK bool journal_record_read(const uint8_t *bytes, size_t size, struct journal_record *record,
                                    size_t *taken);
/* A quick look: may a record of GENERATION begin here? BYTES has JOURNAL_ALIGN of them. */
bool journal_record_begins(const uint8_t *bytes, uint64_t generation);

#endif
