/*
 * media_set: names are a few letters and numbers separated by hyphens.
 */
#include "httpd/media/media_set.h"
#include <stdio.h>
#include <string.h>

/* ---- names ---- */

struct reader {
    const char *at, *end;
};

static bool take_text(struct reader *reader, const char *text)
{
    size_t size = strlen(text);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, text, size) != 0)
        return false;
    reader->at += size;
    return true;
}

/* Digits without a leading zero, below LIMIT. */
static bool media_set_take_number(struct reader *reader, uint32_t limit, uint32_t *number)
{
    uint64_t value = 0;
    const char *begin = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9' && reader->at - begin < 10)
        value = value * 10 + (uint64_t)(*reader->at++ - '0');
    *number = (uint32_t)value;
    return reader->at > begin && value < limit && (*begin != '0' || reader->at == begin + 1);
}

static bool media_set_take_stream(struct reader *reader, struct media_name *name)
{
    uint32_t track;
    name->track = 0;
    if (take_text(reader, "m"))
        name->stream = STREAM_MUXED;
    else if (take_text(reader, "v"))
        name->stream = STREAM_VIDEO;
    else if (take_text(reader, "i"))
        name->stream = STREAM_KEYS;
    else if (take_text(reader, "a"))
        name->stream = STREAM_AUDIO;
    else if (take_text(reader, "t"))
        name->stream = STREAM_TEXT;
    else
        return false;
    bool numbered = name->stream == STREAM_AUDIO || name->stream == STREAM_TEXT;
    if (numbered && reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        if (!media_set_take_number(reader, MP4_TRACKS_MAX, &track))
            return false;
        name->track = track;
        return true;
    }
    return name->stream != STREAM_AUDIO;
}

static bool media_set_at_end(const struct reader *reader)
{
    return reader->at == reader->end;
}

bool media_name_parse(const char *text, size_t size, struct media_name *name)
{
    struct reader reader = {text, text + size};
    uint32_t number;
    memset(name, 0, sizeof(*name));
    if (take_text(&reader, "master.m3u8"))
        return media_set_at_end(&reader);
    if (take_text(&reader, "manifest.mpd")) {
        name->resource = MEDIA_MANIFEST;
        return media_set_at_end(&reader);
    }
    if (size > 0 && text[0] >= '1' && text[0] <= '9') {
        if (!media_set_take_number(&reader, MEDIA_SET_MAX, &number) || !take_text(&reader, "-"))
            return false;
        name->item = number;
    }
    if (take_text(&reader, "file.")) {
        name->resource = MEDIA_FILE;
        return (take_text(&reader, "mp4") || take_text(&reader, "ts")) && media_set_at_end(&reader);
    }
    if (take_text(&reader, "init-")) {
        name->resource = MEDIA_INIT;
        if (!media_set_take_stream(&reader, name) || name->stream == STREAM_TEXT ||
            !take_text(&reader, "-") || !media_set_take_number(&reader, MP4_DESCRIPTIONS_MAX, &number))
            return false;
        name->description = number;
        return take_text(&reader, ".mp4") && media_set_at_end(&reader);
    }
    if (!media_set_take_stream(&reader, name))
        return false;
    if (name->stream == STREAM_TEXT && take_text(&reader, ".vtt")) {
        name->resource = MEDIA_VTT;
        return media_set_at_end(&reader);
    }
    name->resource = MEDIA_PLAYLIST;
    if (take_text(&reader, ".m3u8"))
        return media_set_at_end(&reader);
    name->resource = MEDIA_SEGMENT;
    return name->stream != STREAM_TEXT && take_text(&reader, "-") &&
           media_set_take_number(&reader, UINT32_MAX, &name->segment) && take_text(&reader, ".m4s") &&
           media_set_at_end(&reader);
}

char *media_stream_id(unsigned item, enum media_stream stream, unsigned track, char buffer[MEDIA_NAME_MAX])
{
    static const char *const letters[] = {"m", "v", "a", "i", "t"};
    char before[16] = "", behind[16] = "";
    if (item > 0)
        snprintf(before, sizeof(before), "%u-", item);
    if (stream == STREAM_AUDIO || (stream == STREAM_TEXT && track != UINT32_MAX))
        snprintf(behind, sizeof(behind), "%u", track);
    snprintf(buffer, MEDIA_NAME_MAX, "%s%s%s", before, letters[stream], behind);
    return buffer;
}

char *media_version_query(const struct media_film *film, char buffer[MEDIA_NAME_MAX])
{
    buffer[0] = '\0';
    if (film->version[0] != '\0')
        snprintf(buffer, MEDIA_NAME_MAX, "?v=%s", film->version);
    return buffer;
}

/* ---- streams ---- */

static bool media_set_part_of(const struct media_film *film, int track, uint32_t segment, bool one,
                              struct mp4_part *part)
{
    const struct mp4_cut *cut = film->cut;
    if (track < 0)
        return false;
    part->track = &film->index->tracks[track];
    if (cut->unread) {
        part->first = 0;
        part->count = 1; /* how many there are is found out when it is read */
        part->description = 0;
        return true;
    }
    part->first = segment == UINT32_MAX ? 0 : cut->first[track][segment];
    part->count = segment == UINT32_MAX ? part->track->count : mp4_cut_samples(cut, track, segment);
    part->description = segment == UINT32_MAX ? 0 : mp4_cut_description(cut, film->index, track, segment);
    if (one && part->count > 1)
        part->count = 1;
    return true;
}

size_t media_stream_parts(const struct media_film *film, enum media_stream stream, unsigned track,
                          uint32_t segment, struct mp4_part *parts)
{
    const struct mp4_index *index = film->index;
    if (!film->cut || (segment != UINT32_MAX && segment >= film->cut->count))
        return 0;
    int video = mp4_index_first(index, MEDIA_VIDEO), audio = mp4_index_first(index, MEDIA_AUDIO);
    switch (stream) {
    case STREAM_MUXED:
        return film->cut->muxed && media_set_part_of(film, video, segment, false, &parts[0]) &&
                       media_set_part_of(film, audio, segment, false, &parts[1])
                   ? 2
                   : 0;
    case STREAM_VIDEO:
        return media_set_part_of(film, video, segment, false, &parts[0]) ? 1 : 0;
    case STREAM_KEYS:
        return media_set_part_of(film, video, segment, segment != UINT32_MAX, &parts[0]) ? 1 : 0;
    case STREAM_AUDIO:
        if (track >= index->track_count || index->tracks[track].kind != MEDIA_AUDIO)
            return 0;
        return media_set_part_of(film, (int)track, segment, false, &parts[0]) ? 1 : 0;
    case STREAM_TEXT:
        break;
    }
    return 0;
}

unsigned media_set_disagreeing(const struct media_set *set)
{
    const struct media_film *first = NULL;
    unsigned bits = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct media_film *film = set->items[i].film;
        if (!film || film->kind == FILM_SUBTITLE)
            continue;
        if (!first)
            first = film;
        else if (!film->cut || !first->cut ||
                 !mp4_cut_agrees(first->cut, first->index, film->cut, film->index))
            bits |= 1u << i;
    }
    return bits;
}

const char *media_language(const char *code)
{
    static const char *const languages[][2] = {
        {"eng", "en"}, {"deu", "de"}, {"ger", "de"}, {"fra", "fr"}, {"fre", "fr"}, {"spa", "es"},
        {"ita", "it"}, {"por", "pt"}, {"nld", "nl"}, {"dut", "nl"}, {"rus", "ru"}, {"jpn", "ja"},
        {"zho", "zh"}, {"chi", "zh"}, {"kor", "ko"}, {"ara", "ar"}, {"heb", "he"}, {"hin", "hi"},
        {"tur", "tr"}, {"pol", "pl"}, {"ces", "cs"}, {"cze", "cs"}, {"slk", "sk"}, {"slo", "sk"},
        {"hun", "hu"}, {"ron", "ro"}, {"rum", "ro"}, {"bul", "bg"}, {"ukr", "uk"}, {"ell", "el"},
        {"gre", "el"}, {"swe", "sv"}, {"dan", "da"}, {"nor", "no"}, {"fin", "fi"}, {"vie", "vi"},
        {"tha", "th"}, {"ind", "id"}, {"msa", "ms"}, {"may", "ms"}, {"hrv", "hr"}, {"srp", "sr"},
        {"slv", "sl"}, {"lit", "lt"}, {"lav", "lv"}, {"est", "et"}, {"cat", "ca"}, {"fas", "fa"},
        {"per", "fa"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(languages); i++) {
        if (strcmp(languages[i][0], code) == 0)
            return languages[i][1];
    }
    return code;
}
