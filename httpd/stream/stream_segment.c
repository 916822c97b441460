/*
 * stream_segment: segments and what stands before them, as they lie in the file, gathered from it, or packed anew from Matroska.
 */
#include "httpd/stream/stream_repack.h"
#include "httpd/stream/stream_state.h"
#include <stdlib.h>

#define SEGMENT_TYPE "video/mp4"
#define AUDIO_TYPE   "audio/mp4"

static const char *segment_type(const struct stream_request *request)
{
    return request->name.stream == STREAM_AUDIO ? AUDIO_TYPE : SEGMENT_TYPE;
}

static void on_gathered(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    struct media_buffer *head = &request->fragment.head;
    request->read = NULL;
    if (error) {
        stream_finish_error(request, error);
        return;
    }
    media_put(head, bytes, size);
    free(bytes);
    uint8_t *made = head->bytes;
    bool failed = head->failed;
    head->bytes = NULL;
    if (failed) {
        free(made);
        stream_finish_body(request, NULL);
        return;
    }
    stream_finish_charged(request, stream_body_create(stream_own(request)->file, made, head->size, 0, 0,
                                                      segment_type(request)));
}

static void on_repacked(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->repack = NULL;
    if (error)
        stream_finish_error(request, error);
    else
        stream_finish_charged(
            request, stream_body_create(stream_own(request)->file, bytes, size, 0, 0, segment_type(request)));
}

/* A segment of Matroska: its clusters are read and packed anew. */
static void repack_segment(struct stream_request *request, const struct mp4_part *parts, size_t count)
{
    struct stream_loop *streams = request->options.streams;
    const struct stream_item *item = stream_own(request);
    struct ebml_segment_options options = {.film = item->film,
                                           .number = request->name.segment,
                                           .count = count,
                                           .key_only = request->name.stream == STREAM_KEYS,
                                           .bytes_max = STREAM_GATHER_MAX};
    /* What is read and what is made of it, about. */
    const struct ebml_film *film = item->film->ebml;
    int64_t begin = film->cuts[options.number].position;
    int64_t end = options.number + 1 < film->cut_count ? film->cuts[options.number + 1].position : film->end;
    size_t size = (size_t)min_i64(2 * max_i64(end - begin, 64 * 1024), 2 * STREAM_GATHER_MAX);
    for (size_t i = 0; i < count; i++)
        options.tracks[i] = (size_t)(parts[i].track - item->film->index->tracks);
    if (!stream_charge(request, size))
        return;
    request->repack =
        stream_repack_start(streams->http, streams->workers, item->file, &options, on_repacked, request);
    if (!request->repack)
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for a segment");
}

void stream_segment_make(struct stream_request *request)
{
    struct stream_item *item = stream_own(request);
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment *fragment = &request->fragment;
    struct error error;
    uint32_t samples = 0;
    size_t count = media_stream_parts(item->film, request->name.stream, request->name.track,
                                      request->name.segment, parts);
    for (size_t i = 0; i < count; i++)
        samples += parts[i].count;
    if (samples == 0) {
        stream_finish(request, STREAM_ABSENT);
        return;
    }
    if (item->film->ebml) {
        repack_segment(request, parts, count);
        return;
    }
    if (!mp4_fragment_make(parts, count, request->name.segment + 1, fragment, &error)) {
        stream_finish_error(request, &error);
        return;
    }
    if (!fragment->pieces) {
        uint8_t *head = fragment->head.bytes;
        fragment->head.bytes = NULL;
        stream_finish_body(request,
                           stream_body_create(item->file, head, fragment->head.size, fragment->offset,
                                              fragment->length, segment_type(request)));
        return;
    }
    if (fragment->length > STREAM_GATHER_MAX) {
        stream_finish_failed(request, ERROR_UNKNOWN_COMMAND,
                             "its samples lie too far apart for a segment to be put together");
        return;
    }
    stream_read(request, fragment->pieces, fragment->piece_count, fragment->length, on_gathered);
}

void stream_segment_init(struct stream_request *request)
{
    struct stream_item *item = stream_own(request);
    struct mp4_part parts[MP4_PARTS_MAX];
    struct media_buffer out = {0};
    size_t count =
        media_stream_parts(item->film, request->name.stream, request->name.track, UINT32_MAX, parts);
    bool found = count > 0 && request->name.description < parts[0].track->description_count;
    if (!found) {
        stream_finish(request, STREAM_ABSENT);
        return;
    }
    for (size_t i = 0; i < count; i++)
        parts[i].description =
            (uint8_t)min_size(request->name.description, parts[i].track->description_count - 1);
    mp4_fragment_init(item->film->index, parts, count, &out);
    if (out.failed) {
        media_buffer_clear(&out);
        stream_finish_body(request, NULL);
        return;
    }
    stream_finish_body(request,
                       stream_body_create(item->file, out.bytes, out.size, 0, 0, segment_type(request)));
}
