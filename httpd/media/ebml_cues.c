/*
 * ebml_cues: point by point; those of the track that was cut become cuts, those of subtitles are kept as they are.
 */
#include "httpd/media/ebml_cues.h"

#define ID_POINT     0xbb
#define ID_TIME      0xb3
#define ID_POSITIONS 0xb7
#define ID_TRACK     0xf7
#define ID_CLUSTER   0xf1
#define ID_RELATIVE  0xf0

struct cue_reader {
    struct ebml_film *film;
    int64_t segment, least;
};

static bool is_text(const struct ebml_film *film, uint64_t number)
{
    for (size_t i = 0; i < film->tracks.count; i++) {
        if (film->tracks.items[i].number == number)
            return film->tracks.items[i].kind == MEDIA_SUBTITLE;
    }
    return false;
}

/* POSITIONS: of a track of subtitles. Without the place of the block they are useless; so are more than there is room for. */
static void note_text(const struct cue_reader *reader, uint64_t number, struct media_view positions)
{
    struct ebml_element position, relative;
    uint64_t most = (uint64_t)(reader->film->end - reader->segment);
    if (!ebml_find(positions, ID_CLUSTER, &position) || !ebml_find(positions, ID_RELATIVE, &relative))
        return;
    uint64_t cluster = ebml_unsigned(position.body, UINT64_MAX);
    uint64_t inside = ebml_unsigned(relative.body, UINT64_MAX);
    if (cluster < most && inside < most)
        ebml_film_add_cue(reader->film,
                          &(struct ebml_cue){number, reader->segment + (int64_t)cluster, (int64_t)inside});
}

static bool read_point(const struct cue_reader *reader, struct media_view point)
{
    struct ebml_element element, inner;
    struct ebml_film *film = reader->film;
    bool added = false;
    if (!ebml_find(point, ID_TIME, &element))
        return false;
    uint64_t time = ebml_unsigned(element.body, UINT64_MAX);
    while (ebml_next(&point, &element)) {
        if (element.id != ID_POSITIONS || !ebml_find(element.body, ID_TRACK, &inner))
            continue;
        uint64_t number = ebml_unsigned(inner.body, 0);
        if (is_text(film, number))
            note_text(reader, number, element.body);
        if (number != film->tracks.items[film->reference].number)
            continue;
        uint64_t position =
            ebml_find(element.body, ID_CLUSTER, &inner) ? ebml_unsigned(inner.body, UINT64_MAX) : 0;
        if (time > (uint64_t)1 << 52 || position >= (uint64_t)(film->end - reader->segment))
            return false;
        if (added) /* one block per track and point counts */
            continue;
        added = true;
        if (!ebml_film_add(film, (int64_t)time, reader->segment + (int64_t)position, reader->least))
            return false;
    }
    return true;
}

bool ebml_cues_read(struct ebml_film *film, int64_t segment, int64_t least, struct media_view body)
{
    const struct cue_reader reader = {film, segment, least};
    struct ebml_element element;
    while (ebml_next(&body, &element)) {
        if (element.id == ID_POINT && !read_point(&reader, element.body))
            return false;
    }
    int64_t duration = film->tracks.duration < 9e15 ? (int64_t)film->tracks.duration : 0;
    if (body.size > 0 || film->cut_count == 0 || duration <= film->cuts[film->cut_count - 1].time)
        return false;
    film->end_time = duration;
    /* The first segment has what comes before its key frame too. */
    film->cuts[0].position = film->begin;
    int64_t most = ebml_film_ticks(film, INT64_C(1000) * MP4_CUT_SECONDS_MAX);
    for (size_t i = 0; i < film->cut_count; i++) {
        int64_t next = i + 1 < film->cut_count ? film->cuts[i + 1].time : duration;
        if (next - film->cuts[i].time >= most || film->cuts[i].position < film->begin)
            return false;
    }
    return true;
}
