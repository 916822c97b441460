/*
 * ebml_walk: one state for what is looked for next. Identifiers are those of RFC 9559 section 5.1.
 */
#include "httpd/media/ebml_walk.h"
#include "httpd/media/ebml_clusters.h"
#include "httpd/media/ebml_cues.h"
#include "httpd/media/ebml_entry.h"
#include "httpd/media/ebml_film.h"
#include "httpd/media/ebml_frames.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ID_EBML    0x1a45dfa3
#define ID_SEGMENT 0x18538067
#define ID_SEEKS   0x114d9b74
#define ID_INFO    0x1549a966
#define ID_TRACKS  0x1654ae6b
#define ID_CUES    0x1c53bb6b
#define ID_CLUSTER 0x1f43b675
#define ID_FILES   0x1941a469 /* Attachments */

#define HOP_SIZE     ((int64_t)16 * 1024)
#define PROBE_SIZE   ((int64_t)256 * 1024)
#define PROBE_MAX    ((int64_t)4 * 1024 * 1024) /* bytes in which each track's first frame must be */
#define PIECE_SIZE   ((int64_t)1536 * 1024)
#define HEAD_MAX     ((int64_t)4 * 1024 * 1024)
#define ELEMENTS_MAX 65536 /* before the first cluster */

enum walk_state {
    READING_HEAD,  /* from element to element, up to the first cluster */
    READING_FIRST, /* the first frame of each track */
    READING_CUES,
    READING_ORDER, /* the pictures behind the second key frame: do some come before it? */
    READING_ALL,   /* every block, as there are no cues */
};

struct ebml_walk {
    struct media_walk_options options;
    enum walk_state state;
    int64_t at;
    size_t elements;
    int64_t segment; /* where the segment's body begins; 0: not seen yet */
    int64_t cues;    /* 0: not known */
    bool has_info, has_tracks;
    struct media_cover cover;
    struct ebml_film *film;
    struct ebml_clusters clusters;
    struct ebml_block block;
    struct media_buffer first[MP4_TRACKS_MAX]; /* the first frame of each */
    bool seen[MP4_TRACKS_MAX];
    int64_t sound[MP4_TRACKS_MAX], sound_end[MP4_TRACKS_MAX]; /* bytes, and ticks, of what was looked at */
    int64_t key_time;                                         /* of the last key frame; INT64_MIN: none */
    size_t pictures;                                          /* behind it */
};

bool ebml_walk_looks_so(struct media_view bytes)
{
    return media_get32(bytes, 0) == ID_EBML;
}

struct ebml_walk *ebml_walk_create(const struct media_walk_options *options)
{
    struct ebml_walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return NULL;
    walk->options = *options;
    walk->film = ebml_film_create();
    walk->key_time = INT64_MIN;
    if (walk->film)
        return walk;
    free(walk);
    return NULL;
}

void ebml_walk_destroy(struct ebml_walk *walk)
{
    if (!walk)
        return;
    for (size_t i = 0; i < MP4_TRACKS_MAX; i++)
        media_buffer_clear(&walk->first[i]);
    ebml_film_destroy(walk->film);
    free(walk);
}

static enum walk_step ebml_walk_refuse(struct error *error, int code, const char *text)
{
    (void)error_set(error, code, "%s", text);
    return WALK_REFUSED;
}

static enum walk_step damaged(const struct ebml_walk *walk, struct error *error)
{
    (void)error_set(error, ERROR_MALFORMED, "an element of it is damaged at byte %" PRId64, walk->at);
    return WALK_REFUSED;
}

/* ---- the film is made ---- */

/* Sample descriptions of all tracks; those of sound whose first frame was not found and is needed are left out. */
static bool make_entries(struct ebml_walk *walk, struct media_buffer *entries, struct error *error)
{
    struct ebml_film *film = walk->film;
    for (size_t i = 0; i < film->tracks.count; i++) {
        const struct ebml_track *track = &film->tracks.items[i];
        struct media_view frame = {walk->first[i].bytes, walk->first[i].size};
        if (!ebml_entry_make(track, ebml_tracks_private(&film->tracks, track), frame, &entries[i], error))
            return false;
        if (entries[i].failed)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    }
    return true;
}

static void note_rates(struct ebml_walk *walk)
{
    struct ebml_film *film = walk->film;
    for (size_t i = 0; i < film->tracks.count; i++) {
        if (film->tracks.items[i].kind == MEDIA_SUBTITLE)
            continue;
        int64_t lasted = ebml_film_time(film, walk->sound_end[i] - film->origin[i], 1000);
        film->rate[i] = lasted >= 500 ? walk->sound[i] * 8 * 1000 / lasted
                                      : (int64_t)film->tracks.items[i].channels * 96000;
    }
}

static enum walk_step ebml_walk_finish(struct ebml_walk *walk, struct media_film **film, struct error *error)
{
    struct media_buffer entries[MP4_TRACKS_MAX] = {0};
    struct media_film *made = NULL;
    note_rates(walk);
    if (make_entries(walk, entries, error)) {
        made = media_film_create(FILM_MATROSKA, walk->options.size);
        if (!made)
            (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    }
    if (made) {
        made->index = ebml_film_index(walk->film, entries, walk->options.size, error);
        made->cut = made->index ? ebml_film_cut(walk->film, made->index, error) : NULL;
        if (!made->cut) {
            media_film_release(made);
            made = NULL;
        }
    }
    for (size_t i = 0; i < MP4_TRACKS_MAX; i++)
        media_buffer_clear(&entries[i]);
    if (!made)
        return WALK_REFUSED;
    made->cover = walk->cover;
    made->ebml = walk->film;
    walk->film = NULL;
    media_film_measure(made);
    *film = made;
    return WALK_DONE;
}

/* ---- blocks ---- */

/* Which track of picture or sound NUMBER is; -1: none. */
static int ebml_walk_track_of(const struct ebml_film *film, uint64_t number)
{
    for (size_t i = 0; i < film->tracks.count; i++) {
        if (film->tracks.items[i].number == number)
            return film->tracks.items[i].kind == MEDIA_SUBTITLE ? -1 : (int)i;
    }
    return -1;
}

static int64_t block_bytes(const struct ebml_block *block)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < block->count; i++)
        bytes += (int64_t)block->frames[i].size;
    return bytes;
}

static void note_first(struct ebml_walk *walk, size_t i)
{
    const struct ebml_track *track = &walk->film->tracks.items[i];
    struct media_view frame = media_view_part(walk->block.frames[0], 0, 4096);
    if (walk->seen[i]) {
        walk->sound[i] += block_bytes(&walk->block);
        walk->sound_end[i] = walk->block.time;
        return;
    }
    walk->seen[i] = true;
    walk->film->origin[i] = walk->block.time;
    walk->sound[i] = block_bytes(&walk->block);
    walk->sound_end[i] = walk->block.time;
    media_put(&walk->first[i], track->strip, track->strip_size);
    media_put(&walk->first[i], frame.bytes, frame.size);
}

static bool all_seen(const struct ebml_walk *walk)
{
    for (size_t i = 0; i < walk->film->tracks.count; i++) {
        if (!walk->seen[i] && walk->film->tracks.items[i].kind != MEDIA_SUBTITLE)
            return false;
    }
    return true;
}

/* Pictures that are shown before the key frame that they follow refer to what came before it. */
static void note_order(struct ebml_walk *walk)
{
    if (walk->block.key) {
        walk->key_time = walk->block.time;
        walk->pictures = 0;
    } else if (walk->key_time != INT64_MIN) {
        walk->pictures++;
        walk->film->open_gop = walk->film->open_gop || walk->block.time < walk->key_time;
    }
}

/* ---- from state to state ---- */

static enum walk_step ebml_walk_want(int64_t at, int64_t size, int64_t end, int64_t *offset, int64_t *wanted)
{
    *offset = at;
    *wanted = max_i64(min_i64(size, end - at), 1);
    return WALK_READ;
}

static enum walk_step begin_all(struct ebml_walk *walk, int64_t *offset, int64_t *size)
{
    struct ebml_film *film = walk->film;
    walk->state = READING_ALL;
    film->cut_count = 0;
    film->end_time = 0;
    film->open_gop = false;
    walk->key_time = INT64_MIN;
    ebml_clusters_open(&walk->clusters, film->begin, film->end, film->open_end);
    return ebml_walk_want(film->begin, PIECE_SIZE, film->end, offset, size);
}

/* The first frames are known. */
static enum walk_step begin_cues(struct ebml_walk *walk, int64_t *offset, int64_t *size)
{
    if (walk->cues == 0)
        return begin_all(walk, offset, size);
    walk->state = READING_CUES;
    walk->at = walk->cues;
    return ebml_walk_want(walk->at, HOP_SIZE * 4, walk->options.size, offset, size);
}

static enum walk_step begin_first(struct ebml_walk *walk, struct error *error, int64_t *offset, int64_t *size)
{
    struct ebml_film *film = walk->film;
    if (!walk->has_tracks || film->begin == 0)
        return ebml_walk_refuse(error, ERROR_MALFORMED,
                                walk->has_tracks
                                    ? "it has no clusters: its recording or upload was cut off"
                                    : "it has no description of its tracks before its first cluster");
    if (!walk->has_info)
        film->tracks.scale = 1000000;
    for (size_t i = film->tracks.count; i-- > 0;) {
        if (film->tracks.items[i].kind == MEDIA_VIDEO ||
            film->tracks.items[film->reference].kind != MEDIA_VIDEO)
            film->reference = i;
    }
    walk->state = READING_FIRST;
    ebml_clusters_open(&walk->clusters, film->begin, film->end, film->open_end);
    return ebml_walk_want(film->begin, PROBE_SIZE, film->end, offset, size);
}

/* ---- READING_HEAD ---- */

static bool take_ebml(struct media_view body)
{
    struct ebml_element element;
    char type[16];
    if (!ebml_find(body, 0x4282, &element))
        return false;
    ebml_text(element.body, type, sizeof(type));
    uint64_t version = ebml_find(body, 0x4285, &element) ? ebml_unsigned(element.body, 99) : 1;
    return (strcmp(type, "matroska") == 0 || strcmp(type, "webm") == 0) && version <= 4;
}

static void take_seeks(struct ebml_walk *walk, struct media_view body)
{
    struct ebml_element seek, element;
    while (ebml_next(&body, &seek)) {
        if (seek.id != 0x4dbb || !ebml_find(seek.body, 0x53ab, &element) ||
            ebml_unsigned(element.body, 0) != ID_CUES || !ebml_find(seek.body, 0x53ac, &element))
            continue;
        uint64_t position = ebml_unsigned(element.body, UINT64_MAX);
        if (position < (uint64_t)(walk->film->end - walk->segment))
            walk->cues = walk->segment + (int64_t)position;
    }
}

static bool ebml_walk_begin_segment(struct ebml_walk *walk, const struct ebml_element *element,
                                    struct error *error)
{
    struct ebml_film *film = walk->film;
    walk->segment = walk->at + (int64_t)element->header;
    film->open_end = element->unknown;
    film->end = walk->options.size;
    if (!element->unknown && (int64_t)element->size > film->end - walk->segment)
        return error_set(error, ERROR_MALFORMED, "it is shorter than it says: its upload was cut off");
    if (!element->unknown)
        film->end = walk->segment + (int64_t)element->size;
    walk->at = walk->segment;
    return true;
}

/* A whole element of the top level. False: ERROR is set. */
static bool take_head(struct ebml_walk *walk, const struct ebml_element *element, struct error *error)
{
    struct ebml_tracks *tracks = &walk->film->tracks;
    switch (element->id) {
    case ID_EBML:
        return take_ebml(element->body) ||
               error_set(error, ERROR_UNKNOWN_COMMAND, "it is neither a Matroska nor a WebM file");
    case ID_SEEKS:
        take_seeks(walk, element->body);
        return true;
    case ID_INFO:
        walk->has_info = true;
        return ebml_tracks_info(tracks, element->body, error);
    case ID_TRACKS:
        if (walk->has_tracks)
            return true;
        walk->has_tracks = true;
        return ebml_tracks_read(tracks, element->body, error);
    case ID_CUES:
        walk->cues = walk->at;
        return true;
    case ID_FILES:
        if (element->body.size == element->size)
            media_cover_in_attachments(element->body, walk->at + (int64_t)element->header, &walk->cover);
        return true;
    default:
        return true;
    }
}

static bool needs_body(uint32_t id)
{
    return id == ID_EBML || id == ID_SEEKS || id == ID_INFO || id == ID_TRACKS;
}

static enum walk_step ebml_walk_read_head(struct ebml_walk *walk, struct media_view bytes, int64_t base,
                                          int64_t *offset, int64_t *size, struct error *error)
{
    struct ebml_element element;
    for (;;) {
        int64_t end = walk->segment > 0 ? walk->film->end : walk->options.size;
        if (walk->at >= end || ++walk->elements > ELEMENTS_MAX)
            return walk->segment > 0 ? begin_first(walk, error, offset, size) : damaged(walk, error);
        struct media_view here = {NULL, 0};
        if (walk->at >= base && walk->at - base < (int64_t)bytes.size)
            here = media_view_from(bytes, (size_t)(walk->at - base));
        enum ebml_look look = ebml_look(here, &element);
        if (look == EBML_SHORT && (int64_t)here.size < min_i64(EBML_HEADER_MAX, end - walk->at))
            return ebml_walk_want(walk->at, HOP_SIZE, end, offset, size);
        if (look != EBML_FOUND)
            return damaged(walk, error);
        if (walk->segment == 0 && element.id == ID_SEGMENT) {
            if (!ebml_walk_begin_segment(walk, &element, error))
                return WALK_REFUSED;
            continue;
        }
        if (walk->segment > 0 && element.id == ID_CLUSTER) {
            walk->film->begin = walk->at;
            return begin_first(walk, error, offset, size);
        }
        int64_t whole = (int64_t)element.header + (int64_t)element.size;
        if (element.unknown || whole > end - walk->at)
            return damaged(walk, error);
        if (needs_body(element.id) && whole > HEAD_MAX)
            return ebml_walk_refuse(error, ERROR_UNKNOWN_COMMAND, "its description has more than 4 MiB");
        bool files = element.id == ID_FILES && whole <= HEAD_MAX;
        if ((needs_body(element.id) || files) && element.body.size < element.size)
            return ebml_walk_want(walk->at, whole, end, offset, size);
        if (!take_head(walk, &element, error))
            return WALK_REFUSED;
        walk->at += whole;
    }
}

/* ---- the other states ---- */

/* What could not be found of the tracks in the first megabytes is left out: sound that begins much later, whose kind is not known. */
static bool ebml_walk_leave_out(struct ebml_walk *walk, struct error *error)
{
    struct ebml_film *film = walk->film;
    struct ebml_tracks *tracks = &film->tracks;
    size_t kept = 0;
    for (size_t i = 0; i < tracks->count; i++) {
        struct ebml_track *track = &tracks->items[i];
        if (!walk->seen[i] &&
            (i == film->reference || ebml_entry_needs_frame(track, ebml_tracks_private(tracks, track)))) {
            if (i == film->reference)
                return error_set(error, ERROR_MALFORMED, "its first megabytes have no picture or sound");
            continue;
        }
        if (kept != i) {
            tracks->items[kept] = *track;
            walk->seen[kept] = walk->seen[i];
            walk->sound[kept] = walk->sound[i];
            walk->sound_end[kept] = walk->sound_end[i];
            film->origin[kept] = film->origin[i];
            film->reference = film->reference == i ? kept : film->reference;
            media_buffer_clear(&walk->first[kept]);
            walk->first[kept] = walk->first[i];
            walk->first[i] = (struct media_buffer){0};
        }
        kept++;
    }
    tracks->count = kept;
    for (size_t i = 0; i < kept; i++) {
        struct ebml_track *track = &tracks->items[i];
        uint32_t rate = track->kind == MEDIA_AUDIO
                            ? ebml_config_rate(track->codec, ebml_tracks_private(tracks, track))
                            : 0;
        track->rate = rate > 0 ? rate : track->rate;
        if (walk->first[i].failed)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    }
    return true;
}

static enum walk_step read_first(struct ebml_walk *walk, struct media_view bytes, int64_t base,
                                 int64_t *offset, int64_t *size, struct error *error)
{
    int64_t wanted = 0;
    const struct ebml_film *film = walk->film;
    enum ebml_step step;
    while ((step = ebml_clusters_next(&walk->clusters, bytes, base, &walk->block, &wanted, error)) ==
           EBML_BLOCK) {
        int track = ebml_walk_track_of(film, walk->block.track);
        if (track >= 0 && ((size_t)track != film->reference || walk->seen[track] || walk->block.key))
            note_first(walk, (size_t)track);
    }
    if (step == EBML_BROKEN)
        return WALK_REFUSED;
    if (step == EBML_MORE && !all_seen(walk) && walk->clusters.at - film->begin < PROBE_MAX)
        return ebml_walk_want(walk->clusters.at, max_i64(wanted, PROBE_SIZE), film->end, offset, size);
    return ebml_walk_leave_out(walk, error) ? begin_cues(walk, offset, size) : WALK_REFUSED;
}

/* A player wants to know whether it may begin at any segment: the second one is looked at. */
static bool order_matters(const struct ebml_film *film)
{
    const struct ebml_track *track = &film->tracks.items[film->reference];
    return film->cut_count > 1 && (track->codec == EBML_AVC || track->codec == EBML_HEVC);
}

static enum walk_step read_cues_element(struct ebml_walk *walk, struct media_view bytes, int64_t *offset,
                                        int64_t *size, struct media_film **film, struct error *error)
{
    struct ebml_element element;
    struct ebml_film *own = walk->film;
    if (ebml_look(bytes, &element) != EBML_FOUND || element.id != ID_CUES || element.unknown ||
        (int64_t)element.size > own->end - walk->at - (int64_t)element.header)
        return begin_all(walk, offset, size);
    if ((int64_t)element.size > walk->options.moov_max) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND,
                        "its index has %" PRIu64 " bytes; at most %" PRId64 " are read", element.size,
                        walk->options.moov_max);
        return WALK_REFUSED;
    }
    if (element.body.size < element.size)
        return ebml_walk_want(walk->at, (int64_t)element.header + (int64_t)element.size, own->end, offset,
                              size);
    int64_t least = ebml_film_ticks(own, walk->options.segment_ms * 9 / 10);
    if (!ebml_cues_read(own, walk->segment, least, element.body))
        return begin_all(walk, offset, size);
    if (!order_matters(own))
        return ebml_walk_finish(walk, film, error);
    walk->state = READING_ORDER;
    ebml_clusters_open(&walk->clusters, own->cuts[1].position, own->end, own->open_end);
    return ebml_walk_want(own->cuts[1].position, PROBE_SIZE, own->end, offset, size);
}

static enum walk_step read_order(struct ebml_walk *walk, struct media_view bytes, int64_t base,
                                 int64_t *offset, int64_t *size, struct media_film **film,
                                 struct error *error)
{
    int64_t wanted = 0;
    struct ebml_film *own = walk->film;
    enum ebml_step step;
    while ((step = ebml_clusters_next(&walk->clusters, bytes, base, &walk->block, &wanted, error)) ==
               EBML_BLOCK &&
           walk->pictures < 8) {
        if (ebml_walk_track_of(own, walk->block.track) == (int)own->reference)
            note_order(walk);
    }
    if (step == EBML_BROKEN)
        return WALK_REFUSED;
    if (step == EBML_MORE && walk->pictures < 8 && walk->clusters.at - own->cuts[1].position < PROBE_MAX)
        return ebml_walk_want(walk->clusters.at, max_i64(wanted, PROBE_SIZE), own->end, offset, size);
    return ebml_walk_finish(walk, film, error);
}

static enum walk_step ebml_walk_read_all(struct ebml_walk *walk, struct media_view bytes, int64_t base,
                                         int64_t *offset, int64_t *size, struct media_film **film,
                                         struct error *error)
{
    int64_t wanted = 0;
    struct ebml_film *own = walk->film;
    int64_t least = ebml_film_ticks(own, walk->options.segment_ms * 9 / 10);
    int64_t frame = ebml_film_ticks(own, 40);
    enum ebml_step step;
    while ((step = ebml_clusters_next(&walk->clusters, bytes, base, &walk->block, &wanted, error)) ==
           EBML_BLOCK) {
        int track = ebml_walk_track_of(own, walk->block.track);
        if (track < 0)
            continue;
        own->end_time = max_i64(own->end_time, walk->block.time + frame);
        if ((size_t)track != own->reference)
            continue;
        note_order(walk);
        if ((walk->block.key || own->tracks.items[track].kind == MEDIA_AUDIO) &&
            !ebml_film_add(own, walk->block.time, walk->clusters.cluster, least))
            return ebml_walk_refuse(error, ERROR_UNAVAILABLE, "no memory for its segments");
    }
    if (step == EBML_BROKEN)
        return WALK_REFUSED;
    if (step == EBML_MORE)
        return ebml_walk_want(walk->clusters.at, max_i64(wanted, PIECE_SIZE), own->end, offset, size);
    if (own->cut_count > 0)
        own->cuts[0].position = own->begin;
    return ebml_walk_finish(walk, film, error);
}

enum walk_step ebml_walk_feed(struct ebml_walk *walk, struct media_view bytes, int64_t base, int64_t *offset,
                              int64_t *size, struct media_film **film, struct error *error)
{
    switch (walk->state) {
    case READING_HEAD:
        return ebml_walk_read_head(walk, bytes, base, offset, size, error);
    case READING_FIRST:
        return read_first(walk, bytes, base, offset, size, error);
    case READING_CUES:
        return read_cues_element(walk, bytes, offset, size, film, error);
    case READING_ORDER:
        return read_order(walk, bytes, base, offset, size, film, error);
    case READING_ALL:
        return ebml_walk_read_all(walk, bytes, base, offset, size, film, error);
    }
    return WALK_REFUSED;
}
