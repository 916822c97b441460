/*
 * mp4_index: the boxes of each track are found and checked first; then one pass over its samples packs them.
 */
#include "httpd/media/mp4_index.h"
#include "httpd/media/mp4_tables.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPE MEDIA_TYPE

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

static bool lies_behind(const struct mp4_track *track, uint32_t number, struct error *error)
{
    return error_set(error, ERROR_MALFORMED,
                     "sample %" PRIu32 " of track %" PRIu32
                     " lies behind the end of the file: its upload was cut off, or its index is damaged",
                     number + 1, track->id);
}

static bool mp4_index_no_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
}

/* What is found out about a track while its samples go by. */
struct findings {
    int64_t duration, bytes; /* sums */
    int64_t key_shown;       /* when the last key frame is shown */
    uint32_t syncs, usual;
    int32_t any_cts; /* 0: all are */
    bool open_gop, constant;
    uint8_t description; /* of the last sample */
};

/* What the COUNT samples from number BEGIN on say of the whole track. */
static bool note_samples(const struct mp4_index *index, struct mp4_track *track,
                         const struct mp4_sample *samples, uint32_t begin, uint32_t count,
                         struct findings *findings, struct error *error)
{
    struct findings found = *findings;
    const int64_t file_size = index->file_size;
    for (uint32_t i = 0; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        if (sample->size > file_size || sample->offset > file_size - sample->size)
            return lies_behind(track, begin + i, error);
        if (sample->description != found.description) {
            if (track->change_count == MP4_CHANGES_MAX)
                return error_set(error, ERROR_UNKNOWN_COMMAND,
                                 "the kind of track %" PRIu32 "'s samples changes more than %d times",
                                 track->id, MP4_CHANGES_MAX);
            if (!note_change(track, begin + i, sample->description))
                return mp4_index_no_memory(error);
            found.description = sample->description;
        }
        /* Pictures that are shown before the key frame that they follow refer to what came before it. */
        int64_t shown = sample->dts + sample->cts;
        found.open_gop |= !sample->sync && shown < found.key_shown;
        found.key_shown = sample->sync ? shown : found.key_shown;
        found.syncs += sample->sync;
        found.any_cts |= sample->cts;
        found.duration += sample->duration;
        found.bytes += sample->size;
        found.constant &= sample->duration == found.usual;
    }
    *findings = found;
    return true;
}

static void keep_findings(struct mp4_track *track, const struct findings *found)
{
    track->duration = found->duration;
    track->bytes = found->bytes;
    track->syncs = found->syncs;
    track->usual = found->usual;
    track->has_cts = found->any_cts != 0;
    track->open_gop = found->open_gop;
    track->constant = found->constant;
}

/* The track has samples. */
static bool index_samples(struct mp4_index *index, struct mp4_track *track, struct mp4_tables *tables,
                          const struct mp4_watcher *watcher, struct error *error)
{
    struct mp4_sample samples[MP4_BLOCK];
    struct findings found = {.key_shown = INT64_MIN, .constant = true};
    uint32_t count;
    track->blocks = calloc((track->count + MP4_BLOCK - 1) / MP4_BLOCK, sizeof(*track->blocks));
    if (!track->blocks)
        return mp4_index_no_memory(error);
    for (uint32_t begin = 0; begin < track->count; begin += count) {
        count = track->count - begin < MP4_BLOCK ? track->count - begin : MP4_BLOCK;
        if (!mp4_tables_read(tables, samples, count, error))
            return false;
        if (begin == 0)
            found.usual = samples[0].duration;
        if (!note_samples(index, track, samples, begin, count, &found, error))
            return false;
        if (watcher)
            watcher->watch(watcher->argument, track, (int)(track - index->tracks), begin, samples, count);
        if (!mp4_samples_pack(track, &track->blocks[begin / MP4_BLOCK], samples, count))
            return mp4_index_no_memory(error);
    }
    keep_findings(track, &found);
    return mp4_samples_end(track) || mp4_index_no_memory(error);
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

static void mp4_index_read_language(struct mp4_track *track, uint16_t code)
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
    mp4_index_read_language(track, media_get16(mdhd, wide ? 32 : 20));
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
static bool read_track(struct mp4_index *index, struct media_view trak, const struct mp4_watcher *watcher,
                       bool *taken, struct error *error)
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
    if (track->count > 0 && !index_samples(index, track, &tables, watcher, error))
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

static bool read_tracks(struct mp4_index *index, struct media_view moov, const struct mp4_watcher *watcher,
                        struct error *error)
{
    struct media_box box;
    bool taken;
    while (media_box_next(&moov, &box)) {
        if (box.type != TYPE('t', 'r', 'a', 'k'))
            continue;
        if (index->track_count == MP4_TRACKS_MAX)
            return error_set(error, ERROR_UNKNOWN_COMMAND, "it has more than %d tracks", MP4_TRACKS_MAX);
        if (!read_track(index, box.body, watcher, &taken, error))
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

struct mp4_index *mp4_index_create(struct media_view moov, int64_t file_size,
                                   const struct mp4_watcher *watcher, struct error *error)
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
    if (!read_tracks(index, box.body, watcher, error))
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
