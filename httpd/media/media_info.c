/*
 * media_info: an object of Jansson's, printed.
 */
#include "httpd/media/media_info.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *kind_name(enum media_kind kind)
{
    switch (kind) {
    case MEDIA_VIDEO:
        return "video";
    case MEDIA_AUDIO:
        return "audio";
    case MEDIA_SUBTITLE:
        return "subtitle";
    case MEDIA_OTHER:
        break;
    }
    return "other";
}

static double rounded(double value)
{
    return round(value * 1000) / 1000;
}

/* Failures of Jansson's (no memory) leave a member out; the whole of it is checked at the end. */
static void set(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value);
}

static json_t *track_info(const struct media_film *film, size_t i)
{
    const struct mp4_track *track = &film->index->tracks[i];
    const struct codec_description *codec = &track->descriptions[0].codec;
    double seconds = (double)track->duration / track->timescale;
    json_t *object = json_object();
    set(object, "kind", json_string(kind_name(track->kind)));
    set(object, "track", json_integer((json_int_t)i));
    set(object, "codec", json_string(codec->name));
    set(object, "codecs", json_string(codec->codecs));
    set(object, "language", json_string(track->language));
    if (track->title[0] != '\0')
        set(object, "title", json_string(track->title));
    if (track->count > 0) {
        set(object, "duration", json_real(rounded(seconds)));
        set(object, "samples", json_integer(track->count));
        set(object, "bytes", json_integer(track->bytes));
        if (seconds > 0)
            set(object, "bit_rate", json_integer((json_int_t)((double)track->bytes * 8 / seconds)));
    }
    if (track->kind == MEDIA_VIDEO) {
        set(object, "width", json_integer(codec->width));
        set(object, "height", json_integer(codec->height));
        if (track->count > 0)
            set(object, "key_frames", json_integer(track->syncs));
        if (seconds > 0 && track->count > 0)
            set(object, "frame_rate", json_real(rounded(track->count / seconds)));
        else if (film->ebml && media_film_frame_rate(film) > 0)
            set(object, "frame_rate", json_real(rounded(media_film_frame_rate(film))));
    } else if (track->kind == MEDIA_AUDIO) {
        set(object, "channels", json_integer(codec->channels));
        set(object, "sample_rate", json_integer(codec->sample_rate));
    }
    return object;
}

static const char *container_name(const struct media_film *film)
{
    switch (film->kind) {
    case FILM_MP4:
        return "mp4";
    case FILM_FRAGMENTED:
        return "fragmented mp4";
    case FILM_TS:
        return "mpeg-ts";
    case FILM_MATROSKA:
        return "matroska";
    case FILM_SUBTITLE:
        break;
    }
    return "subtitles";
}

static void put_film(json_t *object, const struct media_film *film)
{
    json_t *tracks = json_array();
    set(object, "container", json_string(container_name(film)));
    if (film->kind != FILM_SUBTITLE)
        set(object, "duration", json_real(rounded(media_film_seconds(film))));
    if (film->ranges.codecs[0] != '\0')
        set(object, "codecs", json_string(film->ranges.codecs));
    if (film->cut) {
        set(object, "segments", json_integer(film->cut->count));
        set(object, "open_gop", json_boolean(film->cut->open_gop));
        set(object, "interleaved", json_boolean(film->cut->muxed));
    } else if (film->ranges.count > 0) {
        set(object, "segments", json_integer((json_int_t)film->ranges.count));
    }
    for (size_t i = 0; film->index && i < film->index->track_count; i++)
        (void)json_array_append_new(tracks, track_info(film, i));
    set(object, "tracks", tracks);
    set(object, "index_bytes", json_integer((json_int_t)film->memory));
}

void media_info(const struct media_film *film, const char *file, int64_t size, const char *type,
                const char *reason, struct media_buffer *out)
{
    json_t *object = json_object();
    set(object, "file", json_string(file));
    set(object, "size", json_integer(size));
    set(object, "type", json_string(type));
    set(object, "streamable", json_boolean(film != NULL));
    if (!film)
        set(object, "reason", json_string(reason));
    else
        put_film(object, film);
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    if (text) {
        media_put_text(out, text);
        media_put_text(out, "\n");
    } else {
        out->failed = true;
    }
    free(text);
    json_decref(object);
}
