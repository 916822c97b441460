/*
 * subtitles: line by line; only times and a few tags differ between the kinds.
 */
#include "httpd/media/subtitles.h"
#include "common/base/utf8.h"
#include <inttypes.h>
#include <string.h>

/* ---- letters ---- */

static void put_code_point(struct media_buffer *out, uint32_t c)
{
    if (c < 0x80) {
        media_put8(out, (uint8_t)c);
    } else if (c < 0x800) {
        media_put8(out, (uint8_t)(0xc0 | c >> 6));
        media_put8(out, (uint8_t)(0x80 | (c & 63)));
    } else {
        media_put8(out, (uint8_t)(0xe0 | c >> 12));
        media_put8(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        media_put8(out, (uint8_t)(0x80 | (c & 63)));
    }
}

/* windows-1252's own characters (WHATWG Encoding standard); the rest of it is Latin-1. */
static uint32_t code_point_1252(uint8_t byte)
{
    static const uint16_t own[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178,
    };
    return byte >= 0x80 && byte < 0xa0 ? own[byte - 0x80] : byte;
}

/* The text in UTF-8, its lines ended by LF, without a byte order mark and NULs. */
static void normalize(struct media_view text, struct media_buffer *out)
{
    bool utf8 = utf8_valid(text.bytes, text.size, true);
    if (media_get24(text, 0) == 0xefbbbf)
        text = media_view_from(text, 3);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.bytes[i];
        if (c == '\r') {
            media_put8(out, '\n');
            i += i + 1 < text.size && text.bytes[i + 1] == '\n';
        } else if (c == '\0') {
            continue;
        } else if (utf8 || c < 0x80) {
            media_put8(out, c);
        } else {
            put_code_point(out, code_point_1252(c));
        }
    }
}

/* ---- SubRip ---- */

static bool next_line(struct media_view *rest, struct media_view *line)
{
    if (rest->size == 0)
        return false;
    const uint8_t *end = memchr(rest->bytes, '\n', rest->size);
    size_t size = end ? (size_t)(end - rest->bytes) : rest->size;
    *line = media_view_part(*rest, 0, size);
    *rest = media_view_from(*rest, size + 1);
    return true;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* "00:01:02,500", also with fewer digits; in ms. */
static bool read_time(struct media_view *rest, int64_t *ms)
{
    int64_t fields[4] = {0};
    size_t count = 0, at = 0;
    while (at < rest->size && rest->bytes[at] == ' ')
        at++;
    for (;;) {
        size_t digits = 0;
        while (at < rest->size && is_digit(rest->bytes[at]) && digits < 6) {
            fields[count] = fields[count] * 10 + (rest->bytes[at++] - '0');
            digits++;
        }
        if (digits == 0)
            return false;
        count++;
        if (count == 4 || at >= rest->size || !strchr(count < 3 ? ":" : ",.", rest->bytes[at]))
            break;
        at++;
    }
    if (count < 3)
        return false;
    *rest = media_view_from(*rest, at);
    *ms = ((fields[0] * 60 + fields[1]) * 60 + fields[2]) * 1000 + fields[3];
    return true;
}

static bool subtitles_read_times(struct media_view line, int64_t *from, int64_t *to)
{
    if (!read_time(&line, from))
        return false;
    const uint8_t *arrow = line.size >= 3 ? memmem(line.bytes, line.size, "-->", 3) : NULL;
    if (!arrow)
        return false;
    line = media_view_from(line, (size_t)(arrow - line.bytes) + 3);
    return read_time(&line, to);
}

static void subtitles_put_time(struct media_buffer *out, int64_t ms)
{
    media_printf(out, "%02" PRId64 ":%02d:%02d.%03d", ms / 3600000, (int)(ms / 60000 % 60),
                 (int)(ms / 1000 % 60), (int)(ms % 1000));
}

static void subtitles_put_times(struct media_buffer *out, int64_t from, int64_t to)
{
    subtitles_put_time(out, from);
    media_put_text(out, " --> ");
    subtitles_put_time(out, to);
    media_put8(out, '\n');
}

/* Tags that both kinds know. */
static bool is_known_tag(struct media_view tag)
{
    static const char *const tags[] = {"<b>", "</b>", "<i>", "</i>", "<u>", "</u>"};
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        if (tag.size == strlen(tags[i]) && memcmp(tag.bytes, tags[i], tag.size) == 0)
            return true;
    }
    return false;
}

/* A line of text, without other tags (<font ...>) and commands ({\an8}), in which nothing is a cue's time. */
static void put_text_line(struct media_buffer *out, struct media_view line)
{
    for (size_t i = 0; i < line.size; i++) {
        uint8_t c = line.bytes[i];
        struct media_view here = media_view_from(line, i);
        const uint8_t *end = c == '<'   ? memchr(here.bytes, '>', here.size)
                             : c == '{' ? memchr(here.bytes, '}', here.size)
                                        : NULL;
        if (c == '{' && end && here.size > 1 && here.bytes[1] == '\\') {
            i += (size_t)(end - here.bytes);
        } else if (c == '<' && end) {
            struct media_view tag = media_view_part(here, 0, (size_t)(end - here.bytes) + 1);
            if (is_known_tag(tag))
                media_put(out, tag.bytes, tag.size);
            i += tag.size - 1;
        } else if (c == '<') {
            media_put_text(out, "&lt;");
        } else if (c == '>') {
            media_put_text(out, "&gt;");
        } else if (c == '&') {
            media_put_text(out, "&amp;");
        } else {
            media_put8(out, c);
        }
    }
    media_put8(out, '\n');
}

static void convert_srt(struct media_view text, struct media_buffer *out)
{
    struct media_view line;
    int64_t from, to;
    bool inside = false;
    media_put_text(out, "WEBVTT\n");
    while (next_line(&text, &line)) {
        if (subtitles_read_times(line, &from, &to)) {
            media_put8(out, '\n');
            subtitles_put_times(out, from, to);
            inside = true;
        } else if (line.size == 0) {
            inside = false;
        } else if (inside) {
            put_text_line(out, line);
        }
    }
}

void subtitles_of_file(struct media_view text, struct media_buffer *out)
{
    struct media_buffer plain = {0};
    normalize(text, &plain);
    struct media_view view = {plain.bytes, plain.size};
    if (plain.failed)
        out->failed = true;
    else if (view.size >= 6 && memcmp(view.bytes, "WEBVTT", 6) == 0)
        media_put(out, view.bytes, view.size);
    else
        convert_srt(view, out);
    media_buffer_clear(&plain);
}

/* ---- cues of Matroska ---- */

/* The text behind eight commas, without what is in braces: styles and positions. \N, \n: a new line; \h: a space. Between {\p1} and {\p0} there
 * are drawings. */
static void plain_ass(struct media_view text, struct media_buffer *out)
{
    bool drawing = false;
    for (int commas = 0; commas < 8; commas++) {
        const uint8_t *comma = text.size > 0 ? memchr(text.bytes, ',', text.size) : NULL;
        if (!comma)
            return;
        text = media_view_from(text, (size_t)(comma - text.bytes) + 1);
    }
    for (size_t i = 0; i < text.size; i++) {
        struct media_view here = media_view_from(text, i);
        const uint8_t *end = here.bytes[0] == '{' ? memchr(here.bytes, '}', here.size) : NULL;
        if (end) {
            size_t size = (size_t)(end - here.bytes);
            for (size_t k = 0; k + 2 < size; k++) {
                if (here.bytes[k] == '\\' && here.bytes[k + 1] == 'p' && is_digit(here.bytes[k + 2]))
                    drawing = here.bytes[k + 2] != '0';
            }
            i += size;
        } else if (here.bytes[0] == '\\' && here.size > 1 && strchr("Nnh", here.bytes[1]) &&
                   here.bytes[1] != '\0') {
            media_put8(out, here.bytes[1] == 'h' ? ' ' : '\n');
            i++;
        } else if (!drawing) {
            media_put8(out, here.bytes[0]);
        }
    }
}

/* Settings of WebVTT ("line:10% align:start") hold letters, digits and these. */
static bool are_settings(struct media_view line)
{
    for (size_t i = 0; i < line.size; i++) {
        uint8_t c = line.bytes[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
        if (!letter && (c == '\0' || !strchr(":%,. ", c)))
            return false;
    }
    return line.size > 0;
}

/* A line of WebVTT stays as it is, unless it would be a cue's time. */
static void put_vtt_line(struct media_buffer *out, struct media_view line)
{
    if (memmem(line.bytes, line.size, "-->", 3))
        return;
    media_put(out, line.bytes, line.size);
    media_put8(out, '\n');
}

void subtitles_cue(enum subtitle_kind kind, int64_t from, int64_t to, struct media_view text,
                   struct media_buffer *out)
{
    struct media_buffer plain = {0}, lines = {0};
    struct media_view line, settings = {NULL, 0};
    normalize(text, &plain);
    struct media_view rest = {plain.bytes, plain.size};
    if (kind == SUBTITLE_ASS) {
        struct media_buffer bare = {0};
        plain_ass(rest, &bare);
        bare.failed = bare.failed || plain.failed;
        media_buffer_clear(&plain);
        plain = bare;
        rest = (struct media_view){plain.bytes, plain.size};
    } else if (kind == SUBTITLE_WEBM) {
        (void)next_line(&rest, &line);
        (void)next_line(&rest, &settings);
    }
    while (next_line(&rest, &line)) {
        if (line.size == 0)
            continue;
        if (kind == SUBTITLE_WEBVTT || kind == SUBTITLE_WEBM)
            put_vtt_line(&lines, line);
        else
            put_text_line(&lines, line);
    }
    from = max_i64(from, 0);
    if (lines.size > 0 && to > from) {
        media_put8(out, '\n');
        subtitles_put_time(out, from);
        media_put_text(out, " --> ");
        subtitles_put_time(out, to);
        if (are_settings(settings)) {
            media_put8(out, ' ');
            media_put(out, settings.bytes, settings.size);
        }
        media_put8(out, '\n');
        media_put(out, lines.bytes, lines.size);
    }
    out->failed = out->failed || plain.failed || lines.failed;
    media_buffer_clear(&plain);
    media_buffer_clear(&lines);
}

/* ---- timed text ---- */

void subtitles_of_track(const struct mp4_track *track, struct media_view samples, struct media_buffer *out)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    size_t at = 0;
    media_put_text(out, "WEBVTT\n");
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        struct media_view whole = media_view_part(samples, at, sample.size);
        struct media_buffer plain = {0};
        at += sample.size;
        struct media_view text = media_view_part(whole, 2, media_get16(whole, 0));
        normalize(text, &plain);
        text = (struct media_view){plain.bytes, plain.size};
        int64_t from = media_rescale(sample.dts + sample.cts, 1000, track->timescale);
        int64_t to = media_rescale(sample.dts + sample.cts + sample.duration, 1000, track->timescale);
        if (text.size > 0 && to > from && to > 0) {
            struct media_view line;
            media_put8(out, '\n');
            subtitles_put_times(out, max_i64(from, 0), to);
            while (next_line(&text, &line)) {
                if (line.size > 0)
                    put_text_line(out, line);
            }
        }
        media_buffer_clear(&plain);
    }
}
