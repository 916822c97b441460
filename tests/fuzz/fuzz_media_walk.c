/*
 * Fuzzes files that are to be streamed: MP4 files, fragmented ones, transport streams and Matroska are indexed and cut; then every
 * playlist and every segment of what was taken is made, and must lie inside of the file.
 */
#include "httpd/media/dash_manifest.h"
#include "httpd/media/ebml_segment.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_info.h"
#include "httpd/media/media_walk.h"
#include "httpd/media/mp4_clip.h"
#include "httpd/media/subtitles.h"
#include <stdlib.h>

#define SEGMENTS_LOOKED_AT 20

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_range(int64_t offset, int64_t length, int64_t size)
{
    if (offset < 0 || length < 0 || offset > size || length > size - offset)
        abort();
}

static struct media_view file;

static void repack(const struct media_film *film, const struct mp4_part *parts, size_t count, bool key_only,
                   uint32_t number)
{
    struct ebml_segment_options options = {
        .film = film, .number = number, .count = count, .key_only = key_only, .bytes_max = 1 << 20};
    struct media_buffer out = {0};
    struct error error;
    enum walk_step step;
    for (size_t i = 0; i < count; i++)
        options.tracks[i] = (size_t)(parts[i].track - film->index->tracks);
    struct ebml_segment *segment = ebml_segment_create(&options);
    if (!segment)
        return;
    do {
        int64_t offset, wanted;
        ebml_segment_wanted(segment, &offset, &wanted);
        check_range(offset, wanted, film->size);
        if (wanted == 0)
            abort();
        step =
            ebml_segment_feed(segment, media_view_part(file, (size_t)offset, (size_t)wanted), &out, &error);
    } while (step == WALK_READ);
    media_buffer_clear(&out);
    ebml_segment_destroy(segment);
}

static void check_segment(const struct media_film *film, enum media_stream stream, unsigned track,
                          uint32_t segment)
{
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment fragment;
    struct error error;
    size_t count = media_stream_parts(film, stream, track, segment, parts);
    if (count > 0 && film->ebml) {
        repack(film, parts, count, stream == STREAM_KEYS, segment);
        return;
    }
    if (count == 0 || !mp4_fragment_make(parts, count, segment, &fragment, &error))
        return;
    if (!fragment.pieces)
        check_range(fragment.offset, fragment.length, film->size);
    for (size_t i = 0; i < fragment.piece_count; i++)
        check_range(fragment.pieces[i].offset, fragment.pieces[i].size, film->size);
    mp4_fragment_clear(&fragment);
}

static void check_clip(const struct media_film *film, int64_t start, int64_t end)
{
    struct mp4_clip clip;
    struct error error;
    if (film->kind != FILM_MP4 || !mp4_clip_make(film->index, start, end, &clip, &error))
        return;
    check_range(clip.offset, clip.length, film->size);
    mp4_clip_clear(&clip);
}

static void check_film(struct media_film *film)
{
    struct media_set set = {.count = 1};
    struct media_buffer out = {0};
    set.items[0].film = film;
    check_clip(film, 0, INT64_MAX);
    check_clip(film, 1000, 2000);
    if (film->kind != FILM_SUBTITLE)
        hls_master(&set, media_set_disagreeing(&set), &out);
    if (dash_manifest(&set, 0, &out) != (film->cut != NULL))
        abort();
    media_info(film, "file", film->size, "video/mp4", "", &out);
    for (unsigned stream = STREAM_MUXED; stream <= STREAM_TEXT; stream++) {
        for (unsigned track = 0; track < MP4_TRACKS_MAX; track++) {
            struct media_name name = {
                .resource = MEDIA_PLAYLIST, .stream = (enum media_stream)stream, .track = track};
            if (hls_media(film, &name, 1, &out) && film->kind == FILM_SUBTITLE && stream != STREAM_TEXT)
                abort();
            for (uint32_t i = 0; film->cut && i < film->cut->count && i < SEGMENTS_LOOKED_AT; i++)
                check_segment(film, name.stream, track, i);
        }
    }
    for (size_t i = 0; i < film->ranges.count; i++)
        check_range(film->ranges.items[i].offset, film->ranges.items[i].size, film->size);
    media_buffer_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct media_walk_options options = {.size = (int64_t)size, .segment_ms = 1000, .moov_max = 1 << 20};
    struct media_film *film = NULL;
    struct error error;
    enum walk_step step;
    if (size == 0)
        return 0;
    file = (struct media_view){data, size};
    struct media_walk *walk = media_walk_create(&options);
    if (!walk)
        return 0;
    do {
        int64_t offset, wanted;
        media_walk_wanted(walk, &offset, &wanted);
        check_range(offset, wanted, (int64_t)size);
        if (wanted == 0)
            abort();
        struct media_view bytes = {data + offset, (size_t)wanted};
        step = media_walk_hop(walk, bytes, &error);
        if (step == WALK_DONE)
            abort();
        if (step == WALK_HEAVY)
            step = media_walk_feed(walk, bytes, &film, &error);
    } while (step == WALK_READ);
    if ((step == WALK_DONE) != (film != NULL))
        abort();
    if (film)
        check_film(film);
    media_film_release(film);
    media_walk_destroy(walk);
    return 0;
}
