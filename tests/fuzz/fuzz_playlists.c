/*
 * Fuzzes what is said of a set of files: two films and a file of subtitles, indexed out of foreign bytes, with foreign titles, languages
 * and names, on their way into the playlists of HLS, the manifest of DASH and the JSON of /info. Every line of a playlist must be one of
 * RFC 8216 with relative URIs that name parts of the set, and a manifest must be well-formed.
 */
#include "httpd/media/dash_manifest.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_info.h"
#include "httpd/media/media_walk.h"
#include "httpd/stream/stream_build.h"
#include <expat.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_SIZE 24 /* of the name of the file of subtitles, in front of the films */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static struct media_film *index_film(struct media_view file)
{
    struct media_walk_options options = {.size = (int64_t)file.size, .segment_ms = 1000, .moov_max = 1 << 20};
    struct media_film *film = NULL;
    struct error error;
    enum walk_step step;
    struct media_walk *walk = file.size > 0 ? media_walk_create(&options) : NULL;
    if (!walk)
        return NULL;
    do {
        int64_t offset, wanted;
        media_walk_wanted(walk, &offset, &wanted);
        struct media_view bytes = media_view_part(file, (size_t)offset, (size_t)wanted);
        step = media_walk_hop(walk, bytes, &error);
        if (step == WALK_HEAVY)
            step = media_walk_feed(walk, bytes, &film, &error);
    } while (step == WALK_READ);
    media_walk_destroy(walk);
    if (film)
        memcpy(film->version, "1a2b3c4d", MEDIA_VERSION_SIZE);
    return film;
}

/* ---- what comes out ---- */

/* Up to a '?'. */
static void check_uri(const struct media_set *set, const char *uri, size_t size)
{
    struct media_name name;
    const char *query = memchr(uri, '?', size);
    check(media_name_parse(uri, query ? (size_t)(query - uri) : size, &name) && name.item < set->count);
    check(!query || (size_t)(uri + size - query) == strlen("?v=1a2b3c4d"));
}

/* Attributes behind a tag: names, and values with both of their quotes or without any. */
static void check_attributes(const struct media_set *set, const char *at, const char *end)
{
    while (at < end) {
        const char *equal = memchr(at, '=', (size_t)(end - at)), *value = equal ? equal + 1 : NULL, *last;
        check(value && equal > at && value < end);
        for (const char *c = at; c < equal; c++)
            check((*c >= 'A' && *c <= 'Z') || *c == '-');
        if (*value == '"') {
            last = memchr(value + 1, '"', (size_t)(end - value - 1));
            check(last);
            if (equal - at == 3 && memcmp(at, "URI", 3) == 0)
                check_uri(set, value + 1, (size_t)(last - value - 1));
            last++;
        } else {
            last = memchr(value, ',', (size_t)(end - value));
            last = last ? last : end;
            check(!memchr(value, '"', (size_t)(last - value)));
        }
        check(last == end || (*last == ',' && last + 1 < end));
        at = last + 1;
    }
}

static void check_playlist(const struct media_set *set, struct media_buffer *out)
{
    static const char *const with_attributes[] = {
        "#EXT-X-MEDIA:", "#EXT-X-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-MAP:"};
    const char *at = (const char *)out->bytes, *end = at + out->size;
    check(out->size > 8 && memcmp(at, "#EXTM3U\n", 8) == 0 && end[-1] == '\n');
    check(!memchr(at, '\0', out->size) && !memchr(at, '\r', out->size));
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        check(line_end > at);
        if (*at != '#')
            check_uri(set, at, (size_t)(line_end - at));
        for (size_t i = 0; i < ARRAY_SIZE(with_attributes); i++) {
            size_t length = strlen(with_attributes[i]);
            if ((size_t)(line_end - at) > length && memcmp(at, with_attributes[i], length) == 0)
                check_attributes(set, at + length, line_end);
        }
        at = line_end + 1;
    }
    out->size = 0;
}

static void check_manifest(struct media_buffer *out)
{
    XML_Parser parser = XML_ParserCreate("UTF-8");
    check(XML_Parse(parser, (const char *)out->bytes, (int)out->size, XML_TRUE) == XML_STATUS_OK);
    XML_ParserFree(parser);
    out->size = 0;
}

static void check_info(const struct media_film *film, struct media_buffer *out)
{
    json_t *parsed;
    media_info(film, "a \"file\".mp4", film->size, "video/mp4", "", out);
    parsed = json_loadb((const char *)out->bytes, out->size, 0, NULL);
    check(parsed != NULL);
    json_decref(parsed);
    out->size = 0;
}

static void check_streams(const struct media_set *set, unsigned item, struct media_buffer *out)
{
    for (unsigned stream = STREAM_MUXED; stream <= STREAM_TEXT; stream++) {
        for (unsigned track = 0; track < MP4_TRACKS_MAX; track++) {
            struct media_name name = {.resource = MEDIA_PLAYLIST,
                                      .item = item,
                                      .stream = (enum media_stream)stream,
                                      .track = track};
            out->size = 0;
            if (hls_media(set->items[item].film, &name, 1, out) && !out->failed)
                check_playlist(set, out);
        }
    }
    out->size = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct media_set set = {.count = 3};
    struct media_buffer out = {0};
    char label[LABEL_SIZE + 1] = "";
    if (size < LABEL_SIZE + 4)
        return 0;
    memcpy(label, data, LABEL_SIZE);
    struct media_view films = {data + LABEL_SIZE + 3, size - LABEL_SIZE - 3};
    size_t first =
        ((size_t)data[LABEL_SIZE] << 16 | (size_t)data[LABEL_SIZE + 1] << 8 | data[LABEL_SIZE + 2]) %
        (films.size + 1);
    set.items[0].film = index_film(media_view_part(films, 0, first));
    set.items[1].film = index_film(media_view_from(films, first));
    set.items[2].film = media_film_create(FILM_SUBTITLE, 100);
    stream_build_label(label, &set, 2);
    unsigned left_out = media_set_disagreeing(&set);
    if (set.items[0].film || set.items[1].film) {
        hls_master(&set, left_out, &out);
        check(!out.failed);
        check_playlist(&set, &out);
    }
    if (dash_manifest(&set, left_out, &out) && !out.failed)
        check_manifest(&out);
    for (unsigned i = 0; i < set.count; i++) {
        if (set.items[i].film && set.items[i].film->kind != FILM_SUBTITLE)
            check_info(set.items[i].film, &out);
        if (set.items[i].film)
            check_streams(&set, i, &out);
        media_film_release(set.items[i].film);
    }
    media_buffer_clear(&out);
    return 0;
}
