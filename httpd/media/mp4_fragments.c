/*
 * mp4_fragments: the times of one track decide.
 */
#include "httpd/media/mp4_fragments.h"
#include <inttypes.h>
#include <stdio.h>

#define TYPE MEDIA_TYPE

#define NOT_SYNC 0x10000u /* sample_is_non_sync_sample */

static bool find_trex(struct media_view moov, uint32_t track_id, struct media_box *trex)
{
    struct media_box mvex;
    if (!media_box_find(moov, TYPE('m', 'v', 'e', 'x'), &mvex))
        return false;
    struct media_view rest = mvex.body;
    while (media_box_next(&rest, trex)) {
        if (trex->type == TYPE('t', 'r', 'e', 'x') && media_get32(trex->body, 4) == track_id)
            return true;
    }
    return false;
}

void mp4_fragments_open(struct mp4_fragments *fragments, struct film_ranges *ranges,
                        const struct mp4_index *index, struct media_view moov, int64_t segment_ms)
{
    struct media_box trex;
    int video = mp4_index_first(index, MEDIA_VIDEO), audio = mp4_index_first(index, MEDIA_AUDIO);
    const struct mp4_track *track = &index->tracks[video >= 0 ? video : audio];
    *fragments = (struct mp4_fragments){.ranges = ranges, .track_id = track->id, .begin = -1};
    fragments->segment = media_rescale(segment_ms, track->timescale, 1000);
    if (find_trex(moov, track->id, &trex)) {
        fragments->track_default = media_get32(trex.body, 12);
        fragments->flags_default = media_get32(trex.body, 20);
    }
    ranges->timescale = track->timescale;
    ranges->independent = true;
    const struct codec_description *picture = video >= 0 ? &index->tracks[video].descriptions[0].codec : NULL;
    const struct codec_description *sound = audio >= 0 ? &index->tracks[audio].descriptions[0].codec : NULL;
    snprintf(ranges->codecs, sizeof(ranges->codecs), "%s%s%s", picture ? picture->codecs : "",
             picture && sound ? "," : "", sound ? sound->codecs : "");
    ranges->width = picture ? picture->width : 0;
    ranges->height = picture ? picture->height : 0;
}

/* What a traf says of the reference track. */
struct traf_facts {
    int64_t time, duration;
    bool has_time, sync, samples;
};

static bool read_trun(struct media_view trun, uint32_t default_duration, uint32_t default_flags,
                      struct traf_facts *facts)
{
    uint32_t flags = media_get24(trun, 1), count = media_get32(trun, 4);
    size_t at = 8, each = 0;
    uint32_t first_flags = default_flags;
    for (uint32_t bit = 0x100; bit <= 0x800; bit <<= 1)
        each += (flags & bit) != 0 ? 4u : 0u;
    at += (flags & 1) != 0 ? 4u : 0u;
    if ((flags & 4) != 0) {
        first_flags = media_get32(trun, at);
        at += 4;
    }
    if (at > trun.size || (each > 0 && count > (trun.size - at) / each))
        return false;
    if (each > 0 && (flags & 0x400) != 0 && (flags & 4) == 0 && count > 0)
        first_flags =
            media_get32(trun, at + ((flags & 0x100) != 0 ? 4u : 0u) + ((flags & 0x200) != 0 ? 4u : 0u));
    if (!facts->samples && count > 0)
        facts->sync = (first_flags & NOT_SYNC) == 0;
    facts->samples = facts->samples || count > 0;
    if ((flags & 0x100) == 0)
        facts->duration += (int64_t)count * default_duration;
    for (uint32_t i = 0; i < count && (flags & 0x100) != 0; i++)
        facts->duration += media_get32(trun, at + (size_t)i * each);
    return true;
}

/* False: damaged. *FOUND: it is the reference track's. */
static bool read_traf(const struct mp4_fragments *fragments, struct media_view traf, struct traf_facts *facts,
                      bool *found)
{
    struct media_box tfhd, tfdt, trun;
    *found = false;
    if (!media_box_find(traf, TYPE('t', 'f', 'h', 'd'), &tfhd) || tfhd.body.size < 8)
        return false;
    if (media_get32(tfhd.body, 4) != fragments->track_id)
        return true;
    *found = true;
    uint32_t flags = media_get24(tfhd.body, 1), duration = fragments->track_default,
             sample_flags = fragments->flags_default;
    size_t at = 8 + ((flags & 1) != 0 ? 8u : 0u) + ((flags & 2) != 0 ? 4u : 0u);
    if ((flags & 8) != 0) {
        duration = media_get32(tfhd.body, at);
        at += 4;
    }
    at += (flags & 16) != 0 ? 4u : 0u;
    if ((flags & 32) != 0)
        sample_flags = media_get32(tfhd.body, at);
    if (media_box_find(traf, TYPE('t', 'f', 'd', 't'), &tfdt)) {
        uint64_t time = media_get8(tfdt.body, 0) == 1 ? media_get64(tfdt.body, 4) : media_get32(tfdt.body, 4);
        facts->time = (int64_t)(time & (INT64_MAX >> 8));
        facts->has_time = true;
    }
    while (media_box_next(&traf, &trun)) {
        if (trun.type == TYPE('t', 'r', 'u', 'n') && !read_trun(trun.body, duration, sample_flags, facts))
            return false;
    }
    return true;
}

static bool range_end(struct mp4_fragments *fragments, int64_t end, int64_t time)
{
    int64_t duration = max_i64(time - fragments->begin_time, 1);
    return film_ranges_add(fragments->ranges, fragments->begin, end - fragments->begin, duration);
}

bool mp4_fragments_add(struct mp4_fragments *fragments, struct media_view moof, int64_t begin,
                       struct error *error)
{
    struct media_box box, traf;
    struct traf_facts facts = {0};
    bool found = false, own;
    if (!media_box_next(&moof, &box))
        return error_set(error, ERROR_MALFORMED, "a fragment (moof) of it is damaged");
    struct media_view rest = box.body;
    while (media_box_next(&rest, &traf)) {
        if (traf.type != TYPE('t', 'r', 'a', 'f'))
            continue;
        if (!read_traf(fragments, traf.body, &facts, &own))
            return error_set(error, ERROR_MALFORMED, "a fragment (moof) of it is damaged");
        found = found || own;
    }
    if (!found || !facts.samples)
        return true; /* of another track: it goes with the range under way */
    int64_t time = facts.has_time ? facts.time : fragments->time;
    if (!fragments->any) {
        fragments->ranges->start = time;
        fragments->ranges->independent = facts.sync;
    }
    bool begins = !fragments->any || (facts.sync && time - fragments->begin_time >= fragments->segment);
    if (begins && fragments->any && !range_end(fragments, begin, time))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
    if (begins) {
        fragments->begin = begin;
        fragments->begin_time = time;
        fragments->any = true;
    }
    fragments->time = time + facts.duration;
    return true;
}

bool mp4_fragments_end(struct mp4_fragments *fragments, int64_t end, struct error *error)
{
    if (!fragments->any)
        return error_set(error, ERROR_MALFORMED, "it says that it is fragmented, and has no fragment");
    if (!range_end(fragments, end, fragments->time))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
    return true;
}

bool mp4_fragments_by_sidx(struct mp4_fragments *fragments, struct media_view sidx, int64_t at, int64_t size)
{
    bool wide = media_get8(sidx, 0) != 0;
    uint32_t timescale = media_get32(sidx, 8);
    uint64_t start = wide ? media_get64(sidx, 12) : media_get32(sidx, 12);
    uint64_t first = wide ? media_get64(sidx, 20) : media_get32(sidx, 16);
    size_t head = wide ? 28 : 20;
    uint32_t count = media_get16(sidx, head + 2);
    int64_t end = at + (int64_t)(first & INT32_MAX), begin = end, lasted = 0;
    if (sidx.size < head + 4 || count > (sidx.size - head - 4) / 12 || timescale == 0 || count == 0 ||
        first > INT32_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t reference = media_get32(sidx, head + 4 + i * 12u),
                 sap = media_get32(sidx, head + 12 + i * 12u);
        if ((reference >> 31) != 0 || (sap >> 31) == 0) /* another index, or no key frame at its beginning */
            return false;
        end += reference & INT32_MAX;
    }
    if (end > size || size - end > 64 * 1024)
        return false;
    int64_t least = media_rescale(fragments->segment, timescale, fragments->ranges->timescale);
    fragments->ranges->timescale = timescale;
    fragments->ranges->start = (int64_t)(start & (INT64_MAX >> 8));
    end = begin;
    for (uint32_t i = 0; i < count; i++) {
        end += media_get32(sidx, head + 4 + i * 12u) & INT32_MAX;
        lasted += media_get32(sidx, head + 8 + i * 12u);
        if (lasted < least && i + 1 < count)
            continue;
        if (!film_ranges_add(fragments->ranges, begin, end - begin, max_i64(lasted, 1))) {
            fragments->ranges->count = 0;
            return false;
        }
        begin = end;
        lasted = 0;
    }
    return true;
}

void mp4_fragments_move(uint8_t *bytes, size_t size, int64_t delta)
{
    struct media_view rest = {bytes, size};
    struct media_box moof, traf, tfhd;
    while (media_box_next(&rest, &moof)) {
        struct media_view tracks = moof.body;
        while (moof.type == TYPE('m', 'o', 'o', 'f') && media_box_next(&tracks, &traf)) {
            if (traf.type != TYPE('t', 'r', 'a', 'f') ||
                !media_box_find(traf.body, TYPE('t', 'f', 'h', 'd'), &tfhd) ||
                (media_get24(tfhd.body, 1) & 1) == 0 || !media_view_has(tfhd.body, 8, 8))
                continue;
            uint64_t base = media_get64(tfhd.body, 8) - (uint64_t)delta;
            uint8_t *at = bytes + (tfhd.body.bytes - bytes) + 8;
            for (int i = 0; i < 8; i++)
                at[i] = (uint8_t)(base >> (56 - 8 * i));
        }
    }
}
