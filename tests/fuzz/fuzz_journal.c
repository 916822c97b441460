/*
 * Fuzzes what a start reads of the upload journal: heads and records, of which any bit may be wrong. What is taken for a record has its
 * lengths within its bytes, and packs to what was read.
 */
#include "storage/store/journal_format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const uint8_t *bytes, size_t size)
{
    struct journal_record record;
    size_t taken = 0;
    if (!journal_record_read(bytes, size, &record, &taken))
        return;
    if (taken % JOURNAL_ALIGN != 0 || taken > JOURNAL_RECORD_MAX ||
        record.content_size > JOURNAL_CONTENT_MAX || record.content < bytes ||
        record.content + record.content_size > bytes + size)
        abort();
    struct journal_record again;
    size_t other;
    uint8_t *packed = malloc(taken);
    if (!packed)
        return;
    if (journal_record_size(&record) != taken)
        abort();
    journal_record_pack(packed, &record);
    if (!journal_record_read(packed, taken, &again, &other) || other != taken ||
        memcmp(again.content, record.content, record.content_size) != 0 ||
        memcmp(&again.key, &record.key, sizeof(again.key)) != 0 || again.sequence != record.sequence)
        abort();
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal_head head;
    uint8_t block[JOURNAL_BLOCK] = {0};
    memcpy(block, data, min_size(size, sizeof(block)));
    if (journal_head_read(block, &head) && (head.tail >= head.size || head.sequence <= 0))
        abort();
    check_record(data, size);
    /* A checksum that is right, so that more than one guess in 2^128 comes further: of a head, and of a record as long as it says. */
    digest_of_bytes(block, 60, block + 60);
    if (journal_head_read(block, &head) && (head.tail >= head.size || head.sequence <= 0))
        abort();
    if (size < 128)
        return 0;
    uint8_t *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    size_t whole = copy[4] | (size_t)copy[5] << 8 | (size_t)copy[6] << 16 | (size_t)copy[7] << 24;
    if (whole > PROTO_DIGEST_SIZE && whole <= size)
        digest_of_bytes(copy, whole - PROTO_DIGEST_SIZE, copy + whole - PROTO_DIGEST_SIZE);
    check_record(copy, size);
    free(copy);
    return 0;
}
