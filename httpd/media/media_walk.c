/*
 * media_walk: one state for what is looked for next.
 */
#include "httpd/media/media_walk.h"
#include "httpd/media/ebml_walk.h"
#include "httpd/media/mp4_fragments.h"
#include "httpd/media/ts_index.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPE MEDIA_TYPE

#define HOP_SIZE      ((int64_t)16 * 1024)
#define REST_MAX      ((int64_t)8 * 1024 * 1024) /* behind the media data: most likely the index, read at once */
#define HOP_BOXES_MAX 1024                       /* that media_walk_hop() looks at */
#define BOXES_MAX     (256 * 1024)               /* of the top level */
#define MOOF_MAX      ((int64_t)4 * 1024 * 1024)
#define TS_PIECE      ((int64_t)TS_PACKET * 8192) /* 1.5 MB */
#define SUBTITLES_MAX ((int64_t)4 * 1024 * 1024)

enum walk_state {
    LOOKING_FIRST, /* at the first bytes */
    LOOKING_MOOV,  /* from box to box of the top level */
    LOOKING_MOOF,  /* the same behind the moov of a fragmented file */
    LOOKING_TS,
    LOOKING_EBML,
};

struct media_walk {
    struct media_walk_options options;
    enum walk_state state;
    int64_t wanted, wanted_size; /* the range that is asked for */
    int64_t at;                  /* the box that is looked at */
    int64_t begin;               /* where the fragment under way began: at its styp */
    bool behind_data;            /* the box before it is mdat */
    size_t boxes;
    struct media_film *film;
    struct mp4_fragments fragments;
    int64_t open_begin; /* where the fragments begin whose media data has not come yet; -1: there are none */
    struct mp4_fragments whole; /* FRAGMENTS before them */
    size_t whole_count;         /* of ranges */
    struct ts_index ts;
    struct ebml_walk *ebml;
};

struct media_walk *media_walk_create(const struct media_walk_options *options)
{
    struct media_walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return NULL;
    walk->options = *options;
    walk->wanted_size = min_i64(options->size, MEDIA_WALK_FIRST);
    walk->begin = walk->open_begin = -1;
    return walk;
}

void media_walk_destroy(struct media_walk *walk)
{
    if (!walk)
        return;
    media_film_release(walk->film);
    ebml_walk_destroy(walk->ebml);
    free(walk);
}

void media_walk_wanted(const struct media_walk *walk, int64_t *offset, int64_t *size)
{
    *offset = walk->wanted;
    *size = walk->wanted_size;
}

static enum walk_step media_walk_want(struct media_walk *walk, int64_t offset, int64_t size)
{
    walk->wanted = offset;
    walk->wanted_size = min_i64(size, walk->options.size - offset);
    return WALK_READ;
}

static enum walk_step media_walk_refuse(struct error *error, int code, const char *text)
{
    (void)error_set(error, code, "%s", text);
    return WALK_REFUSED;
}

static enum walk_step media_walk_finish(struct media_walk *walk, struct media_film **film)
{
    media_film_measure(walk->film);
    *film = walk->film;
    walk->film = NULL;
    return WALK_DONE;
}

/* ---- MP4 ---- */

/* Reads MOOV and, but for a fragmented file, cuts the film. */
static struct mp4_index *read_moov(const struct media_walk *walk, struct media_view moov,
                                   struct mp4_cut **cut, struct error *error)
{
    struct mp4_cutter *cutter = mp4_cutter_create(walk->options.segment_ms);
    const struct mp4_watcher watcher = {.watch = mp4_cutter_watch, .argument = cutter};
    struct mp4_index *index = NULL;
    *cut = NULL;
    if (cutter)
        index = mp4_index_create(moov, walk->options.size, &watcher, error);
    else
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
    if (index && !index->fragmented) {
        *cut = mp4_cut_create(index, cutter, error);
        if (!*cut) {
            mp4_index_destroy(index);
            index = NULL;
        }
    }
    mp4_cutter_destroy(cutter);
    return index;
}

static enum walk_step take_moov(struct media_walk *walk, struct media_view moov, struct media_film **film,
                                struct error *error)
{
    struct media_box box;
    struct mp4_cut *cut;
    struct mp4_index *index = read_moov(walk, moov, &cut, error);
    if (!index)
        return WALK_REFUSED;
    walk->film = media_film_create(index->fragmented ? FILM_FRAGMENTED : FILM_MP4, walk->options.size);
    if (!walk->film) {
        mp4_cut_destroy(cut);
        mp4_index_destroy(index);
        return media_walk_refuse(error, ERROR_UNAVAILABLE, "no memory for its index");
    }
    walk->film->index = index;
    walk->film->cut = cut;
    media_cover_in_moov(moov, walk->at, &walk->film->cover);
    if (!index->fragmented)
        return media_walk_finish(walk, film);
    struct media_view rest = moov;
    if (!media_box_next(&rest, &box))
        return media_walk_refuse(error, ERROR_MALFORMED, "its index (moov) is damaged");
    mp4_fragments_open(&walk->fragments, &walk->film->ranges, index, box.body, walk->options.segment_ms);
    walk->state = LOOKING_MOOF;
    walk->at += (int64_t)moov.size;
    walk->film->ranges.init_size = walk->at;
    return WALK_READ;
}

static bool is_box_type(uint32_t type)
{
    for (int i = 0; i < 4; i++) {
        uint8_t c = (uint8_t)(type >> (8 * i));
        if ((c < ' ' || c > '~') && c != 0xa9)
            return false;
    }
    return true;
}

/* A box of the top level behind the moov. */
static enum walk_step take_fragment_box(struct media_walk *walk, uint32_t type, struct media_view box,
                                        int64_t size, struct media_film **film, struct error *error)
{
    struct media_view rest = box;
    struct media_box parsed;
    if (type == TYPE('m', 'o', 'o', 'f')) {
        int64_t begin = walk->begin >= 0 ? walk->begin : walk->at;
        walk->begin = -1;
        if (walk->open_begin < 0) {
            walk->open_begin = begin;
            walk->whole = walk->fragments;
            walk->whole_count = walk->film->ranges.count;
        }
        if (!mp4_fragments_add(&walk->fragments, box, begin, error))
            return WALK_REFUSED;
    } else if (type == TYPE('s', 'i', 'd', 'x') && !walk->fragments.any && media_box_next(&rest, &parsed) &&
               mp4_fragments_by_sidx(&walk->fragments, parsed.body, walk->at + size, walk->options.size)) {
        return media_walk_finish(walk, film);
    } else if (type != TYPE('m', 'd', 'a', 't') && walk->begin < 0) {
        walk->begin = walk->at;
    } else if (type == TYPE('m', 'd', 'a', 't')) {
        walk->begin = walk->open_begin = -1;
    }
    return WALK_READ;
}

static bool needs_whole(const struct media_walk *walk, uint32_t type)
{
    return type == TYPE('m', 'o', 'o', 'v') ||
           (walk->state == LOOKING_MOOF &&
            (type == TYPE('m', 'o', 'o', 'f') || type == TYPE('s', 'i', 'd', 'x')));
}

/* The file ends here, or within the box at AT. Fragments whose media data it does not have are left out. */
static enum walk_step fragments_at_end(struct media_walk *walk, struct media_film **film, struct error *error)
{
    int64_t end = walk->begin >= 0 ? walk->begin : walk->at;
    if (walk->open_begin >= 0) {
        end = walk->open_begin;
        walk->fragments = walk->whole;
        walk->film->ranges.count = walk->whole_count;
        if (!walk->fragments.any)
            return media_walk_refuse(
                error, ERROR_MALFORMED,
                "not one of its fragments is whole: its recording or upload was cut off");
    }
    if (!mp4_fragments_end(&walk->fragments, min_i64(end, walk->options.size), error))
        return WALK_REFUSED;
    return media_walk_finish(walk, film);
}

static enum walk_step media_walk_at_end(struct media_walk *walk, struct media_film **film,
                                        struct error *error)
{
    if (walk->state == LOOKING_MOOF)
        return fragments_at_end(walk, film, error);
    return media_walk_refuse(error, ERROR_MALFORMED,
                             "it has no index (moov): its recording or upload was cut off");
}

static enum walk_step want_box(struct media_walk *walk)
{
    int64_t rest = walk->options.size - walk->at;
    bool all =
        walk->state == LOOKING_MOOV && walk->behind_data && rest <= min_i64(REST_MAX, walk->options.moov_max);
    return media_walk_want(walk, walk->at, all ? rest : HOP_SIZE);
}

/* Goes from box to box as far as BYTES, which lie at WANTED, go. BOXES_LEFT: so many at most, and no box is taken; 0: all. */
static enum walk_step walk_boxes(struct media_walk *walk, struct media_view bytes, size_t boxes_left,
                                 struct media_film **film, struct error *error)
{
    bool hops = boxes_left > 0;
    for (;; boxes_left--) {
        if (hops && (boxes_left == 0 || walk->state != LOOKING_MOOV))
            return WALK_HEAVY;
        enum walk_step step = WALK_READ;
        int64_t left = walk->options.size - walk->at;
        if (left < 8)
            return media_walk_at_end(walk, film, error);
        if (walk->at < walk->wanted || walk->at + min_i64(left, 16) > walk->wanted + (int64_t)bytes.size)
            return want_box(walk);
        struct media_view here = media_view_from(bytes, (size_t)(walk->at - walk->wanted));
        uint64_t size = media_get32(here, 0);
        uint32_t type = media_get32(here, 4);
        size = size == 1 ? media_get64(here, 8) : size == 0 ? (uint64_t)left : size;
        if (!is_box_type(type) || size < 8 || size > INT64_MAX || ++walk->boxes > BOXES_MAX)
            return media_walk_refuse(error, ERROR_MALFORMED, "a box of its top level is damaged");
        if ((int64_t)size > left) {
            /* The last fragment was cut off; what came before it is whole. */
            return walk->state == LOOKING_MOOF
                       ? media_walk_at_end(walk, film, error)
                       : media_walk_refuse(error, ERROR_MALFORMED,
                                           "it is shorter than its boxes say: its upload was cut off");
        }
        if (needs_whole(walk, type)) {
            int64_t limit = type == TYPE('m', 'o', 'o', 'v') ? walk->options.moov_max : MOOF_MAX;
            if ((int64_t)size > limit) {
                (void)error_set(error, ERROR_UNKNOWN_COMMAND,
                                "its index has %" PRIu64 " bytes; at most %" PRId64 " are read", size, limit);
                return WALK_REFUSED;
            }
            if (size > here.size)
                return media_walk_want(walk, walk->at, (int64_t)size);
        }
        struct media_view box = media_view_part(here, 0, (size_t)size);
        if (walk->state == LOOKING_MOOV && type == TYPE('m', 'o', 'o', 'v')) {
            if (hops)
                return WALK_HEAVY;
            step = take_moov(walk, box, film, error);
            if (step != WALK_READ)
                return step;
            continue; /* AT has moved */
        }
        if (walk->state == LOOKING_MOOF)
            step = take_fragment_box(walk, type, box, (int64_t)size, film, error);
        if (step != WALK_READ)
            return step;
        walk->behind_data = type == TYPE('m', 'd', 'a', 't');
        walk->at += (int64_t)size;
    }
}

/* ---- transport streams ---- */

static enum walk_step walk_ts(struct media_walk *walk, struct media_view bytes, struct media_film **film,
                              struct error *error)
{
    int64_t whole = walk->options.size / TS_PACKET * TS_PACKET;
    if (!ts_index_feed(&walk->ts, bytes, error))
        return WALK_REFUSED;
    if (walk->ts.offset < whole)
        return media_walk_want(walk, walk->ts.offset, min_i64(TS_PIECE, whole - walk->ts.offset));
    return ts_index_end(&walk->ts, error) ? media_walk_finish(walk, film) : WALK_REFUSED;
}

static enum walk_step begin_ts(struct media_walk *walk, struct error *error)
{
    walk->film = media_film_create(FILM_TS, walk->options.size);
    if (!walk->film)
        return media_walk_refuse(error, ERROR_UNAVAILABLE, "no memory for its index");
    ts_index_open(&walk->ts, &walk->film->ranges, walk->options.segment_ms);
    walk->state = LOOKING_TS;
    return media_walk_want(walk, 0, min_i64(TS_PIECE, walk->options.size / TS_PACKET * TS_PACKET));
}

/* ---- the first bytes ---- */

static bool looks_like_ts(struct media_view bytes)
{
    if (bytes.size < TS_PACKET)
        return false;
    for (size_t i = 0; i < 5 && i * TS_PACKET < bytes.size; i++) {
        if (bytes.bytes[i * TS_PACKET] != 0x47)
            return false;
    }
    return true;
}

static bool looks_like_mp4(struct media_view bytes)
{
    switch (media_get32(bytes, 4)) {
    case TYPE('f', 't', 'y', 'p'):
    case TYPE('m', 'o', 'o', 'v'):
    case TYPE('m', 'd', 'a', 't'):
    case TYPE('f', 'r', 'e', 'e'):
    case TYPE('s', 'k', 'i', 'p'):
    case TYPE('w', 'i', 'd', 'e'):
    case TYPE('s', 't', 'y', 'p'):
        return bytes.size >= 8;
    default:
        return false;
    }
}

static bool looks_like_subtitles(struct media_view bytes)
{
    size_t skip = media_get24(bytes, 0) == 0xefbbbf ? 3 : 0;
    struct media_view text = media_view_part(bytes, skip, 4096);
    if (text.size >= 6 && memcmp(text.bytes, "WEBVTT", 6) == 0)
        return true;
    return text.size > 0 && text.bytes[0] >= '0' && text.bytes[0] <= '9' &&
           memmem(text.bytes, text.size, " --> ", 5);
}

static enum walk_step take_subtitles(struct media_walk *walk, struct media_film **film, struct error *error)
{
    if (walk->options.size > SUBTITLES_MAX) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND,
                        "it is a WebVTT or SubRip file of %" PRId64
                        " bytes; as subtitles of a stream it may have %" PRId64
                        " at most (/files serves it as it is)",
                        walk->options.size, SUBTITLES_MAX);
        return WALK_REFUSED;
    }
    walk->film = media_film_create(FILM_SUBTITLE, walk->options.size);
    return walk->film ? media_walk_finish(walk, film)
                      : media_walk_refuse(error, ERROR_UNAVAILABLE, "no memory for its index");
}

static enum walk_step walk_ebml(struct media_walk *walk, struct media_view bytes, struct media_film **film,
                                struct error *error)
{
    return ebml_walk_feed(walk->ebml, bytes, walk->wanted, &walk->wanted, &walk->wanted_size, film, error);
}

static enum walk_step look_first(struct media_walk *walk, struct media_view bytes, struct media_film **film,
                                 struct error *error)
{
    if (looks_like_mp4(bytes)) {
        walk->state = LOOKING_MOOV;
        return walk_boxes(walk, bytes, 0, film, error);
    }
    if (looks_like_ts(bytes))
        return begin_ts(walk, error);
    if (ebml_walk_looks_so(bytes)) {
        walk->ebml = ebml_walk_create(&walk->options);
        if (!walk->ebml)
            return media_walk_refuse(error, ERROR_UNAVAILABLE, "no memory for its index");
        walk->state = LOOKING_EBML;
        return walk_ebml(walk, bytes, film, error);
    }
    if (looks_like_subtitles(bytes))
        return take_subtitles(walk, film, error);
    return media_walk_refuse(error, ERROR_UNKNOWN_COMMAND,
                             "it is neither an MP4, QuickTime, Matroska or WebM file nor a transport stream");
}

static enum walk_step cut_short(struct error *error)
{
    return media_walk_refuse(error, ERROR_UNAVAILABLE, "it could not be read to its end");
}

enum walk_step media_walk_hop(struct media_walk *walk, struct media_view bytes, struct error *error)
{
    struct media_film *none = NULL;
    if ((int64_t)bytes.size != walk->wanted_size)
        return cut_short(error);
    if (walk->state == LOOKING_FIRST && looks_like_mp4(bytes))
        walk->state = LOOKING_MOOV;
    return walk->state == LOOKING_MOOV ? walk_boxes(walk, bytes, HOP_BOXES_MAX, &none, error) : WALK_HEAVY;
}

enum walk_step media_walk_feed(struct media_walk *walk, struct media_view bytes, struct media_film **film,
                               struct error *error)
{
    if ((int64_t)bytes.size != walk->wanted_size)
        return cut_short(error);
    switch (walk->state) {
    case LOOKING_FIRST:
        return look_first(walk, bytes, film, error);
    case LOOKING_MOOV:
    case LOOKING_MOOF:
        return walk_boxes(walk, bytes, 0, film, error);
    case LOOKING_TS:
        return walk_ts(walk, bytes, film, error);
    case LOOKING_EBML:
        return walk_ebml(walk, bytes, film, error);
    }
    return WALK_REFUSED;
}
