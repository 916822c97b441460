/*
 * mp4_samples: a block's fields are measured and then packed behind each other; what is the same for all samples of a block stays
 * in registers while they are read.
 */
#include "httpd/media/mp4_samples.h"
#include "httpd/media/mp4_index.h"
#include <endian.h>
#include <string.h>

/* ---- packing ---- */

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static uint8_t bits_of(uint64_t value)
{
    return value == 0 ? 0 : (uint8_t)(64 - __builtin_clzll(value));
}

/* Bits behind each other in whole words. */
struct bit_writer {
    uint64_t *at;
    uint64_t pending; /* bits that make no word yet */
    unsigned used;    /* how many, below 64 */
};

/* VALUE has no more than COUNT bits, at most 64. */
static inline void put_bits(struct bit_writer *writer, uint64_t value, unsigned count)
{
    writer->pending |= value << writer->used;
    if (writer->used + count < 64) {
        writer->used += count;
        return;
    }
    *writer->at++ = htole64(writer->pending);
    writer->pending = writer->used > 0 ? value >> (64 - writer->used) : 0;
    writer->used = (writer->used + count) % 64;
}

/* The gap before each sample: the block has the offset of the first. */
static void find_gaps(const struct mp4_sample *samples, uint32_t count, uint64_t gaps[MP4_BLOCK])
{
    int64_t end = samples[0].offset + samples[0].size;
    gaps[0] = 0;
    for (uint32_t i = 1; i < count; i++) {
        gaps[i] = zigzag(samples[i].offset - end);
        end = samples[i].offset + samples[i].size;
    }
}

/* The narrowest form for the samples of a block. */
static struct mp4_block block_measure(const struct mp4_sample *samples, uint32_t count, const uint64_t *gaps,
                                      bool all_sync)
{
    uint32_t size_min = samples[0].size, size_max = size_min;
    uint32_t duration_min = samples[0].duration, duration_max = duration_min;
    int32_t cts_min = samples[0].cts, cts_max = cts_min;
    uint64_t gap_bits = 0; /* of all gaps: their highest is that of the largest */
    for (uint32_t i = 1; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        size_min = sample->size < size_min ? sample->size : size_min;
        size_max = sample->size > size_max ? sample->size : size_max;
        duration_min = sample->duration < duration_min ? sample->duration : duration_min;
        duration_max = sample->duration > duration_max ? sample->duration : duration_max;
        cts_min = sample->cts < cts_min ? sample->cts : cts_min;
        cts_max = sample->cts > cts_max ? sample->cts : cts_max;
        gap_bits |= gaps[i];
    }
    struct mp4_block block = {.dts = samples[0].dts,
                              .offset = samples[0].offset,
                              .size_min = size_min,
                              .duration_min = duration_min,
                              .cts_min = cts_min,
                              .size_bits = bits_of(size_max - size_min),
                              .gap_bits = bits_of(gap_bits),
                              .cts_bits = bits_of((uint64_t)((int64_t)cts_max - cts_min)),
                              .duration_bits = bits_of(duration_max - duration_min),
                              .sync = all_sync ? 0 : 1};
    block.bits =
        (uint8_t)(block.size_bits + block.gap_bits + block.cts_bits + block.duration_bits + block.sync);
    return block;
}

/* The fields of each sample in one word. */
static void pack_words(struct bit_writer *bits, struct mp4_block block, const struct mp4_sample *samples,
                       uint32_t count, const uint64_t *gaps)
{
    const unsigned gap_at = block.size_bits, cts_at = gap_at + block.gap_bits,
                   duration_at = cts_at + block.cts_bits, sync_at = duration_at + block.duration_bits;
    struct bit_writer writer = *bits;
    for (uint32_t i = 0; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        uint64_t word = sample->size - block.size_min;
        word |= gaps[i] << gap_at;
        word |= (uint64_t)((int64_t)sample->cts - block.cts_min) << cts_at;
        word |= (uint64_t)(sample->duration - block.duration_min) << duration_at;
        word |= (uint64_t)(block.sync & sample->sync) << sync_at;
        put_bits(&writer, word, block.bits);
    }
    *bits = writer;
}

/* Where they do not go into one. */
static void pack_fields(struct bit_writer *bits, const struct mp4_block *block,
                        const struct mp4_sample *samples, uint32_t count, const uint64_t *gaps)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        put_bits(bits, sample->size - block->size_min, block->size_bits);
        put_bits(bits, gaps[i], block->gap_bits);
        put_bits(bits, (uint64_t)((int64_t)sample->cts - block->cts_min), block->cts_bits);
        put_bits(bits, sample->duration - block->duration_min, block->duration_bits);
        put_bits(bits, block->sync && sample->sync, block->sync);
    }
}

bool mp4_samples_pack(struct mp4_track *track, struct mp4_block *block, const struct mp4_sample *samples,
                      uint32_t count)
{
    uint64_t gaps[MP4_BLOCK];
    uint64_t words[3 * MP4_BLOCK]; /* a sample has at most 32 + 64 + 32 + 32 + 1 bits */
    struct bit_writer bits = {.at = words};
    find_gaps(samples, count, gaps);
    *block = block_measure(samples, count, gaps, track->all_sync);
    if (track->bits.size > UINT32_MAX)
        return false;
    block->at = (uint32_t)track->bits.size;
    if (block->bits <= MP4_WORD_BITS)
        pack_words(&bits, *block, samples, count, gaps);
    else
        pack_fields(&bits, block, samples, count, gaps);
    size_t whole = (size_t)(bits.at - words) * sizeof(uint64_t);
    *bits.at = htole64(bits.pending);
    media_put(&track->bits, words, whole + (bits.used + 7) / 8);
    return !track->bits.failed;
}

/* Behind the packed bits lie PADDING bytes, so that eight can be read at once anywhere. */
#define PADDING 9

bool mp4_samples_end(struct mp4_track *track)
{
    media_put_zeros(&track->bits, PADDING);
    return !track->bits.failed;
}

/* ---- unpacking ---- */

static uint64_t get_bits(struct mp4_cursor *cursor, unsigned count)
{
    const uint8_t *at = cursor->track->bits.bytes + (cursor->bit >> 3);
    unsigned shift = (unsigned)(cursor->bit & 7);
    uint64_t word;
    if (count == 0)
        return 0;
    memcpy(&word, at, sizeof(word));
    word = le64toh(word) >> shift;
    if (shift + count > 64)
        word |= (uint64_t)at[8] << (64 - shift);
    cursor->bit += count;
    return count == 64 ? word : word & ((UINT64_C(1) << count) - 1);
}

/* The fields of one sample as they are packed. */
struct fields {
    uint64_t size, gap, cts, duration, sync;
};

/* From a word of at most MP4_WORD_BITS bits. */
static inline struct fields split_word(const struct mp4_block *block, uint64_t word)
{
    struct fields fields;
    fields.size = word & ((UINT64_C(1) << block->size_bits) - 1);
    word >>= block->size_bits;
    fields.gap = word & ((UINT64_C(1) << block->gap_bits) - 1);
    word >>= block->gap_bits;
    fields.cts = word & ((UINT64_C(1) << block->cts_bits) - 1);
    word >>= block->cts_bits;
    fields.duration = word & ((UINT64_C(1) << block->duration_bits) - 1);
    word >>= block->duration_bits;
    fields.sync = word & block->sync;
    return fields;
}

static struct fields split_bits(struct mp4_cursor *cursor, const struct mp4_block *block)
{
    struct fields fields;
    fields.size = get_bits(cursor, block->size_bits);
    fields.gap = get_bits(cursor, block->gap_bits);
    fields.cts = get_bits(cursor, block->cts_bits);
    fields.duration = get_bits(cursor, block->duration_bits);
    fields.sync = get_bits(cursor, block->sync);
    return fields;
}

/* *DTS and *END move behind the sample. FIRST: of its block. */
static inline void fill_sample(struct mp4_sample *sample, const struct mp4_block *block, struct fields fields,
                               bool first, int64_t *dts, int64_t *end)
{
    sample->size = (uint32_t)(block->size_min + fields.size);
    sample->offset = first ? block->offset : *end + unzigzag(fields.gap);
    sample->cts = (int32_t)(block->cts_min + (int64_t)fields.cts);
    sample->duration = (uint32_t)(block->duration_min + fields.duration);
    sample->sync = block->sync == 0 || fields.sync != 0;
    sample->dts = *dts;
    sample->description = 0;
    *dts += sample->duration;
    *end = sample->offset + sample->size;
}

void mp4_cursor_seek(struct mp4_cursor *cursor, const struct mp4_track *track, uint32_t number)
{
    struct mp4_sample skipped;
    *cursor = (struct mp4_cursor){.track = track, .number = number / MP4_BLOCK * MP4_BLOCK};
    if (number >= track->count) {
        cursor->number = track->count;
        return;
    }
    while (cursor->number < number)
        (void)mp4_cursor_next(cursor, &skipped);
}

/* By halves: it is asked for every sample, and there may be a thousand changes. */
static uint8_t description_at(const struct mp4_track *track, uint32_t number)
{
    size_t
        low = 0,
        high =
            track
                ->change_count; /* the changes before LOW are at NUMBER or earlier, those from HIGH on later */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (track->changes[2 * middle] <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? (uint8_t)track->changes[2 * low - 1] : 0;
}

/* The cursor's block, whose beginning it goes to where it stands at its first sample. */
static const struct mp4_block *cursor_block(struct mp4_cursor *cursor)
{
    const struct mp4_block *block = &cursor->track->blocks[cursor->number / MP4_BLOCK];
    if (cursor->number % MP4_BLOCK == 0) {
        cursor->bit = (uint64_t)block->at * 8;
        cursor->dts = block->dts;
    }
    return block;
}

/* Up to COUNT samples, none of which lies behind the cursor's block. */
static void read_samples(struct mp4_cursor *cursor, struct mp4_sample *samples, size_t count)
{
    const struct mp4_block block = *cursor_block(cursor);
    const uint8_t *bytes = cursor->track->bits.bytes;
    bool first = cursor->number % MP4_BLOCK == 0;
    int64_t dts = cursor->dts, end = cursor->end;
    for (size_t i = 0; i < count; i++) {
        struct fields fields;
        if (block.bits <= MP4_WORD_BITS) {
            uint64_t word;
            memcpy(&word, bytes + (cursor->bit >> 3), sizeof(word));
            fields = split_word(&block, le64toh(word) >> (cursor->bit & 7));
            cursor->bit += block.bits;
        } else {
            fields = split_bits(cursor, &block);
        }
        fill_sample(&samples[i], &block, fields, first && i == 0, &dts, &end);
    }
    if (cursor->track->change_count > 0) {
        for (size_t i = 0; i < count; i++)
            samples[i].description = description_at(cursor->track, cursor->number + (uint32_t)i);
    }
    cursor->dts = dts;
    cursor->end = end;
    cursor->number += (uint32_t)count;
}

bool mp4_cursor_next(struct mp4_cursor *cursor, struct mp4_sample *sample)
{
    if (cursor->number >= cursor->track->count)
        return false;
    read_samples(cursor, sample, 1);
    return true;
}

size_t mp4_cursor_read(struct mp4_cursor *cursor, struct mp4_sample samples[MP4_BLOCK])
{
    if (cursor->number >= cursor->track->count)
        return 0;
    size_t count = min_size(MP4_BLOCK - cursor->number % MP4_BLOCK, cursor->track->count - cursor->number);
    read_samples(cursor, samples, count);
    return count;
}
