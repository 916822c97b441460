/*
 * mp4_index: the boxes of each track are found and checked first; then one pass over its samples packs them.
 */
#include "httpd/media/mp4_index.h"
#include "httpd/media/mp4_tables.h"
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPE MEDIA_TYPE

/* ---- packing ---- */

/* Samples of the block that is being filled. */
struct block_writer {
    struct mp4_track *track;
    uint32_t filled, blocks;
    int64_t end; /* of the last sample */
    struct mp4_sample samples[MP4_BLOCK];
    uint64_t gaps[MP4_BLOCK];
    uint64_t words[3 * MP4_BLOCK]; /* a sample has at most 32 + 64 + 32 + 32 + 1 bits */
};

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
    writer->used = writer->used + count - 64;
}

/* The narrowest form for the samples of the block. */
static struct mp4_block block_measure(const struct block_writer *writer)
{
    const struct mp4_sample *samples = writer->samples;
    struct mp4_block block = {.dts = samples[0].dts,
                              .offset = samples[0].offset,
                              .size_min = samples[0].size,
                              .duration_min = samples[0].duration,
                              .cts_min = samples[0].cts};
    uint32_t size_max = 0, duration_max = 0;
    int32_t cts_max = samples[0].cts;
    uint64_t gap_max = 0;
    for (uint32_t i = 0; i < writer->filled; i++) {
        const struct mp4_sample *sample = &samples[i];
        block.size_min = sample->size < block.size_min ? sample->size : block.size_min;
        block.duration_min = sample->duration < block.duration_min ? sample->duration : block.duration_min;
        block.cts_min = sample->cts < block.cts_min ? sample->cts : block.cts_min;
        size_max = sample->size > size_max ? sample->size : size_max;
        duration_max = sample->duration > duration_max ? sample->duration : duration_max;
        cts_max = sample->cts > cts_max ? sample->cts : cts_max;
        gap_max = i > 0 && writer->gaps[i] > gap_max ? writer->gaps[i] : gap_max;
    }
    block.size_bits = bits_of(size_max - block.size_min);
    block.duration_bits = bits_of(duration_max - block.duration_min);
    block.cts_bits = bits_of((uint64_t)((int64_t)cts_max - block.cts_min));
    block.gap_bits = bits_of(gap_max);
    block.sync = writer->track->all_sync ? 0 : 1;
    block.bits =
        (uint8_t)(block.size_bits + block.gap_bits + block.cts_bits + block.duration_bits + block.sync);
    return block;
}

/* The fields of one sample as they stand behind each other. */
static inline uint64_t pack_sample(const struct mp4_block *block, const struct mp4_sample *sample,
                                   uint64_t gap)
{
    unsigned shift = block->size_bits;
    uint64_t word = sample->size - block->size_min;
    word |= gap << shift;
    shift += block->gap_bits;
    word |= (uint64_t)((int64_t)sample->cts - block->cts_min) << shift;
    shift += block->cts_bits;
    word |= (uint64_t)(sample->duration - block->duration_min) << shift;
    shift += block->duration_bits;
    return word | (uint64_t)(block->sync && sample->sync) << shift;
}

static void pack_samples(struct block_writer *writer, const struct mp4_block *block, struct bit_writer *bits)
{
    for (uint32_t i = 0; i < writer->filled; i++) {
        const struct mp4_sample *sample = &writer->samples[i];
        if (block->bits <= MP4_WORD_BITS) {
            put_bits(bits, pack_sample(block, sample, writer->gaps[i]), block->bits);
            continue;
        }
        put_bits(bits, sample->size - block->size_min, block->size_bits);
        put_bits(bits, writer->gaps[i], block->gap_bits);
        put_bits(bits, (uint64_t)((int64_t)sample->cts - block->cts_min), block->cts_bits);
        put_bits(bits, sample->duration - block->duration_min, block->duration_bits);
        put_bits(bits, block->sync && sample->sync, block->sync);
    }
}

/* The samples of WRITER become a block of the track. */
static bool block_flush(struct block_writer *writer)
{
    struct mp4_track *track = writer->track;
    struct bit_writer bits = {.at = writer->words};
    for (uint32_t i = 0; i < writer->filled; i++) {
        const struct mp4_sample *sample = &writer->samples[i];
        writer->gaps[i] =
            i > 0 ? zigzag(sample->offset - writer->end) : 0; /* the block has the first one's offset */
        writer->end = sample->offset + sample->size;
    }
    struct mp4_block block = block_measure(writer);
    if (track->bits.size > UINT32_MAX)
        return false;
    block.at = (uint32_t)track->bits.size;
    pack_samples(writer, &block, &bits);
    size_t whole = (size_t)(bits.at - writer->words) * sizeof(uint64_t);
    *bits.at = htole64(bits.pending);
    media_put(&track->bits, writer->words, whole + (bits.used + 7) / 8);
    track->blocks[writer->blocks++] = block;
    return !track->bits.failed;
}

/* ---- unpacking ---- */

/* Behind the packed bits lie PADDING bytes, so that eight can be read at once anywhere. */
#define PADDING 9

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

static uint8_t description_at(const struct mp4_track *track, uint32_t number)
{
    uint8_t description = 0;
    for (size_t i = 0; i < track->change_count && track->changes[2 * i] <= number; i++)
        description = (uint8_t)track->changes[2 * i + 1];
    return description;
}

/* The lowest COUNT bits of *WORD, at most 63, which are taken off it. */
static inline uint64_t take_bits(uint64_t *word, unsigned count)
{
    uint64_t value = *word & ((UINT64_C(1) << count) - 1);
    *word >>= count;
    return value;
}

bool mp4_cursor_next(struct mp4_cursor *cursor, struct mp4_sample *sample)
{
    const struct mp4_track *track = cursor->track;
    if (cursor->number >= track->count)
        return false;
    const struct mp4_block *block = &track->blocks[cursor->number / MP4_BLOCK];
    bool first = cursor->number % MP4_BLOCK == 0;
    uint64_t size, gap, cts, duration, sync;
    if (first) {
        cursor->bit = (uint64_t)block->at * 8;
        cursor->dts = block->dts;
    }
    if (block->bits <= MP4_WORD_BITS) {
        uint64_t word;
        memcpy(&word, track->bits.bytes + (cursor->bit >> 3), sizeof(word));
        word = le64toh(word) >> (cursor->bit & 7);
        cursor->bit += block->bits;
        size = take_bits(&word, block->size_bits);
        gap = take_bits(&word, block->gap_bits);
        cts = take_bits(&word, block->cts_bits);
        duration = take_bits(&word, block->duration_bits);
        sync = word & block->sync;
    } else {
        size = get_bits(cursor, block->size_bits);
        gap = get_bits(cursor, block->gap_bits);
        cts = get_bits(cursor, block->cts_bits);
        duration = get_bits(cursor, block->duration_bits);
        sync = get_bits(cursor, block->sync);
    }
    sample->size = (uint32_t)(block->size_min + size);
    sample->offset = first ? block->offset : cursor->end + unzigzag(gap);
    sample->cts = (int32_t)(block->cts_min + (int64_t)cts);
    sample->duration = (uint32_t)(block->duration_min + duration);
    sample->sync = block->sync == 0 || sync != 0;
    sample->dts = cursor->dts;
    sample->description = track->change_count > 0 ? description_at(track, cursor->number) : 0;
    cursor->dts += sample->duration;
    cursor->end = sample->offset + sample->size;
    cursor->number++;
    return true;
}

/* ---- one track ---- */

/* Another description begins at sample NUMBER. */
static bool note_change(struct mp4_track *track, uint32_t number, uint8_t description)
{
    if ((track->change_count & (track->change_count + 1)) == 0) {
        size_t capacity = 2 * (track->change_count + 1);
        uint32_t *changes = realloc(track->changes, capacity * 2 * sizeof(*changes));
        if (!changes)
            return false;
        track->changes = changes;
    }
    track->changes[2 * track->change_count] = number;
    track->changes[2 * track->change_count + 1] = description;
    track->change_count++;
    return true;
}

/* Pictures that are shown before the key frame that they follow refer to what came before it. */
static void note_order(struct mp4_track *track, const struct mp4_sample *sample, int64_t *key_shown)
{
    int64_t shown = sample->dts + sample->cts;
    if (sample->sync)
        *key_shown = shown;
    else if (shown < *key_shown)
        track->open_gop = true;
    track->syncs += sample->sync;
    track->has_cts = track->has_cts || sample->cts != 0;
}

static bool lies_behind(const struct mp4_track *track, uint32_t number, struct error *error)
{
    return error_set(error, ERROR_MALFORMED,
                     "sample %" PRIu32 " of track %" PRIu32
                     " lies behind the end of the file: its upload was cut off, or its index is damaged",
                     number + 1, track->id);
}

static bool no_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
}

/* What the COUNT samples from number BEGIN on say of the whole track. *LAST: the description of the one before. */
static bool note_samples(const struct mp4_index *index, struct mp4_track *track,
                         const struct mp4_sample *samples, uint32_t begin, uint32_t count, uint8_t *last,
                         int64_t *key_shown, struct error *error)
{
    uint32_t usual = begin == 0 ? samples[0].duration : track->usual;
    bool constant = begin == 0 || track->constant;
    for (uint32_t i = 0; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        if (sample->size > index->file_size || sample->offset > index->file_size - sample->size)
            return lies_behind(track, begin + i, error);
        if (sample->description != *last) {
            if (track->change_count == MP4_CHANGES_MAX)
                return error_set(error, ERROR_UNKNOWN_COMMAND,
                                 "the kind of track %" PRIu32 "'s samples changes more than %d times",
                                 track->id, MP4_CHANGES_MAX);
            if (!note_change(track, begin + i, sample->description))
                return no_memory(error);
            *last = sample->description;
        }
        note_order(track, sample, key_shown);
        track->duration += sample->duration;
        track->bytes += sample->size;
        constant = constant && sample->duration == usual;
    }
    track->usual = usual;
    track->constant = constant;
    return true;
}

static bool index_samples(struct mp4_index *index, struct mp4_track *track, struct mp4_tables *tables,
                          struct error *error)
{
    struct block_writer *writer = calloc(1, sizeof(*writer));
    size_t blocks = (track->count + MP4_BLOCK - 1) / MP4_BLOCK;
    int64_t key_shown = INT64_MIN;
    uint8_t last = 0;
    bool done = false;
    track->blocks = calloc(max_size(blocks, 1), sizeof(*track->blocks));
    if (!writer || !track->blocks) {
        (void)no_memory(error);
        goto done;
    }
    writer->track = track;
    for (uint32_t begin = 0; begin < track->count; begin += writer->filled) {
        writer->filled = track->count - begin < MP4_BLOCK ? track->count - begin : MP4_BLOCK;
        if (!mp4_tables_read(tables, writer->samples, writer->filled, error) ||
            !note_samples(index, track, writer->samples, begin, writer->filled, &last, &key_shown, error))
            goto done;
        if (!block_flush(writer)) {
            (void)no_memory(error);
            goto done;
        }
    }
    media_put_zeros(&track->bits, PADDING);
    done = !track->bits.failed || no_memory(error);
done:
    free(writer);
    return done;
}

/* A copy of VIEW that lives as long as the index; addresses are set by index_settle(), since the block may still move. */
static struct media_view keep_text(struct mp4_index *index, struct media_view view)
{
    struct media_view kept = {(const uint8_t *)(uintptr_t)index->texts.size, view.size};
    media_put(&index->texts, view.bytes, view.size);
    return kept;
}

static void settle_text(const struct mp4_index *index, struct media_view *view)
{
    view->bytes = index->texts.bytes + (size_t)(uintptr_t)view->bytes;
}

static bool read_descriptions(struct mp4_index *index, struct mp4_track *track, struct media_view stsd,
                              struct error *error)
{
    struct media_view rest = media_view_from(stsd, 8);
    struct media_box entry;
    uint32_t count = media_get32(stsd, 4);
    if (count == 0 || count > MP4_DESCRIPTIONS_MAX)
        return error_set(error, ERROR_MALFORMED,
                         "track %" PRIu32 " has %" PRIu32 " descriptions of its samples; 1 to %d are read",
                         track->id, count, MP4_DESCRIPTIONS_MAX);
    track->descriptions = calloc(count, sizeof(*track->descriptions));
    if (!track->descriptions)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    for (uint32_t i = 0; i < count; i++) {
        struct mp4_description *description = &track->descriptions[i];
        if (!media_box_next(&rest, &entry))
            return error_set(error, ERROR_MALFORMED,
                             "the descriptions of track %" PRIu32 "'s samples are cut off", track->id);
        if (!codec_describe(track->kind, entry.whole, &description->codec, error))
            return false;
        description->entry = keep_text(index, entry.whole);
        track->description_count++;
    }
    return true;
}

/* elst: an empty edit at the beginning, then one that shows the media from MEDIA_TIME on. */
static bool read_edits(const struct mp4_index *index, struct mp4_track *track, struct media_view trak,
                       struct error *error)
{
    struct media_box edts, elst;
    uint64_t empty = 0;
    bool shown = false;
    if (!media_box_find(trak, TYPE('e', 'd', 't', 's'), &edts) ||
        !media_box_find(edts.body, TYPE('e', 'l', 's', 't'), &elst))
        return true;
    bool wide = media_get8(elst.body, 0) == 1;
    size_t entry_size = wide ? 20 : 12;
    uint32_t count = media_get32(elst.body, 4);
    if (elst.body.size < 8 || count > (elst.body.size - 8) / entry_size)
        return error_set(error, ERROR_MALFORMED, "the edit list of track %" PRIu32 " is longer than its box",
                         track->id);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = 8 + i * entry_size;
        uint64_t duration = wide ? media_get64(elst.body, at) : media_get32(elst.body, at);
        int64_t media_time =
            wide ? (int64_t)media_get64(elst.body, at + 8) : (int32_t)media_get32(elst.body, at + 4);
        if (media_time == -1 && !shown && duration <= UINT32_MAX) {
            empty += duration;
            continue;
        }
        if (media_time < 0 || media_time > INT32_MAX / 2 || shown)
            return error_set(error, ERROR_UNKNOWN_COMMAND,
                             "the edit list of track %" PRIu32
                             " rearranges it, which is not streamed (a single cut is)",
                             track->id);
        track->skipped = (int32_t)media_time;
        shown = true;
    }
    track->start = (uint64_t)media_rescale((int64_t)min_size((size_t)empty, UINT32_MAX), track->timescale,
                                           index->timescale);
    return true;
}

static void read_language(struct mp4_track *track, uint16_t code)
{
    track->language_code = code;
    memcpy(track->language, "und", 4);
    for (int i = 0; i < 3; i++) {
        int letter = (code >> (10 - 5 * i) & 31) + 0x60;
        if (letter < 'a' || letter > 'z') {
            memcpy(track->language, "und", 4);
            return;
        }
        track->language[i] = (char)letter;
    }
}

static bool read_mdhd(struct mp4_track *track, struct media_view mdhd)
{
    bool wide = media_get8(mdhd, 0) == 1;
    track->timescale = media_get32(mdhd, wide ? 20 : 12);
    read_language(track, media_get16(mdhd, wide ? 32 : 20));
    return mdhd.size >= (wide ? 36u : 24u) && track->timescale > 0 && track->timescale <= 1000000000;
}

/* The handler's name, where it says something: not the one that a program always writes. */
static void read_title(struct mp4_track *track, struct media_view hdlr)
{
    struct media_view name = media_view_from(hdlr, 24);
    size_t length = 0;
    while (length < name.size && length + 1 < sizeof(track->title) && name.bytes[length] >= ' ' &&
           name.bytes[length] != '"' && name.bytes[length] != '\\' && name.bytes[length] < 0x7f)
        length++;
    memcpy(track->title, name.bytes, length);
    track->title[length] = '\0';
    if (length < name.size && name.bytes[length] != '\0')
        track->title[0] = '\0';
    if (strstr(track->title, "Handler") || strstr(track->title, "GPAC") ||
        strstr(track->title, "Mainconcept"))
        track->title[0] = '\0';
}

static enum media_kind kind_of_handler(uint32_t handler)
{
    switch (handler) {
    case TYPE('v', 'i', 'd', 'e'):
        return MEDIA_VIDEO;
    case TYPE('s', 'o', 'u', 'n'):
        return MEDIA_AUDIO;
    case TYPE('s', 'b', 't', 'l'):
    case TYPE('t', 'e', 'x', 't'):
        return MEDIA_SUBTITLE;
    default:
        return MEDIA_OTHER;
    }
}

/* Boxes of one track that are needed. */
struct track_boxes {
    struct media_box tkhd, mdia, mdhd, hdlr, minf, stbl, stsd;
};

static bool find_boxes(struct media_view trak, struct track_boxes *boxes)
{
    return media_box_find(trak, TYPE('t', 'k', 'h', 'd'), &boxes->tkhd) && boxes->tkhd.body.size >= 84 &&
           media_box_find(trak, TYPE('m', 'd', 'i', 'a'), &boxes->mdia) &&
           media_box_find(boxes->mdia.body, TYPE('m', 'd', 'h', 'd'), &boxes->mdhd) &&
           media_box_find(boxes->mdia.body, TYPE('h', 'd', 'l', 'r'), &boxes->hdlr) &&
           media_box_find(boxes->mdia.body, TYPE('m', 'i', 'n', 'f'), &boxes->minf) &&
           media_box_find(boxes->minf.body, TYPE('s', 't', 'b', 'l'), &boxes->stbl) &&
           media_box_find(boxes->stbl.body, TYPE('s', 't', 's', 'd'), &boxes->stsd) &&
           boxes->stsd.body.size >= 16;
}

/* False: the file cannot be streamed. *TAKEN: the track is one that is. */
static bool read_track(struct mp4_index *index, struct media_view trak, bool *taken, struct error *error)
{
    struct mp4_track *track = &index->tracks[index->track_count];
    struct track_boxes boxes;
    struct mp4_tables tables;
    *taken = false;
    if (!find_boxes(trak, &boxes))
        return error_set(error, ERROR_MALFORMED, "a track lacks boxes that every track has");
    track->kind = kind_of_handler(media_get32(boxes.hdlr.body, 8));
    bool picture = track->kind == MEDIA_VIDEO && codec_is_picture(media_view_from(boxes.stsd.body, 8));
    if (track->kind == MEDIA_OTHER || picture)
        return true;
    track->id = media_get32(boxes.tkhd.body, media_get8(boxes.tkhd.body, 0) == 1 ? 20 : 12);
    if (!read_mdhd(track, boxes.mdhd.body))
        return error_set(error, ERROR_MALFORMED, "the media header of track %" PRIu32 " is damaged",
                         track->id);
    if (!read_descriptions(index, track, boxes.stsd.body, error)) {
        if (track->kind != MEDIA_SUBTITLE || error->code == ERROR_UNAVAILABLE)
            return false;
        free(track->descriptions); /* subtitles of another kind are only left out */
        memset(track, 0, sizeof(*track));
        return true;
    }
    read_title(track, boxes.hdlr.body);
    track->tkhd = keep_text(index, boxes.tkhd.body);
    *taken = true;
    if (!read_edits(index, track, trak, error))
        return false;
    if (!mp4_tables_open(&tables, boxes.stbl.body, track, error))
        return false;
    if (track->count > 0 && !index_samples(index, track, &tables, error))
        return false;
    *taken = track->count > 0 || index->fragmented;
    return true;
}

static void track_clear(struct mp4_track *track)
{
    free(track->descriptions);
    free(track->changes);
    free(track->blocks);
    media_buffer_clear(&track->bits);
    memset(track, 0, sizeof(*track));
}

void mp4_index_destroy(struct mp4_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < MP4_TRACKS_MAX; i++)
        track_clear(&index->tracks[i]);
    media_buffer_clear(&index->texts);
    free(index);
}

/* Gives back what growing blocks took too much, makes addresses of offsets, and counts. */
static void index_settle(struct mp4_index *index)
{
    index->memory = sizeof(*index) + index->texts.capacity;
    for (size_t i = 0; i < index->track_count; i++) {
        struct mp4_track *track = &index->tracks[i];
        uint8_t *bits = track->bits.size > 0 ? realloc(track->bits.bytes, track->bits.size) : NULL;
        if (bits) {
            track->bits.bytes = bits;
            track->bits.capacity = track->bits.size;
        }
        settle_text(index, &track->tkhd);
        for (size_t j = 0; j < track->description_count; j++)
            settle_text(index, &track->descriptions[j].entry);
        index->memory += track->bits.capacity +
                         (track->count + MP4_BLOCK - 1) / MP4_BLOCK * sizeof(struct mp4_block) +
                         track->description_count * sizeof(struct mp4_description) +
                         track->change_count * 4 * sizeof(uint32_t);
    }
}

static bool read_tracks(struct mp4_index *index, struct media_view moov, struct error *error)
{
    struct media_box box;
    bool taken;
    while (media_box_next(&moov, &box)) {
        if (box.type != TYPE('t', 'r', 'a', 'k'))
            continue;
        if (index->track_count == MP4_TRACKS_MAX)
            return error_set(error, ERROR_UNKNOWN_COMMAND, "it has more than %d tracks", MP4_TRACKS_MAX);
        if (!read_track(index, box.body, &taken, error))
            return false;
        if (taken)
            index->track_count++;
        else
            track_clear(&index->tracks[index->track_count]);
    }
    if (moov.size > 0)
        return error_set(error, ERROR_MALFORMED, "a box of its index is longer than the index");
    if (mp4_index_first(index, MEDIA_VIDEO) < 0 && mp4_index_first(index, MEDIA_AUDIO) < 0)
        return error_set(error, ERROR_UNKNOWN_COMMAND, "it has neither video nor audio");
    return true;
}

struct mp4_index *mp4_index_create(struct media_view moov, int64_t file_size, struct error *error)
{
    struct media_box box, mvhd, mvex;
    struct mp4_index *index = calloc(1, sizeof(*index));
    if (!index) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
        return NULL;
    }
    index->file_size = file_size;
    if (!media_box_next(&moov, &box) || box.type != TYPE('m', 'o', 'o', 'v') ||
        !media_box_find(box.body, TYPE('m', 'v', 'h', 'd'), &mvhd) || mvhd.body.size < 100) {
        (void)error_set(error, ERROR_MALFORMED, "its index (moov) is damaged");
        goto fail;
    }
    bool wide = media_get8(mvhd.body, 0) == 1;
    index->timescale = media_get32(mvhd.body, wide ? 20 : 12);
    index->duration = wide ? (int64_t)(media_get64(mvhd.body, 24) & INT64_MAX) : media_get32(mvhd.body, 16);
    index->fragmented = media_box_find(box.body, TYPE('m', 'v', 'e', 'x'), &mvex);
    if (index->timescale == 0) {
        (void)error_set(error, ERROR_MALFORMED, "its time scale is 0");
        goto fail;
    }
    if (!read_tracks(index, box.body, error))
        goto fail;
    if (index->texts.failed) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
        goto fail;
    }
    index_settle(index);
    return index;
fail:
    mp4_index_destroy(index);
    return NULL;
}

int mp4_index_first(const struct mp4_index *index, enum media_kind kind)
{
    for (size_t i = 0; i < index->track_count; i++) {
        if (index->tracks[i].kind == kind)
            return (int)i;
    }
    return -1;
}
