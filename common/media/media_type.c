/*
 * media_type: the tables of extensions, aliases and containers, and the choice between what is known.
 */
#include "common/media/media_type.h"

#include "common/media/media_signature.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How far a name is to be believed where the bytes have no signature. */
enum belief {
    SIGNED, /* the kind has a signature: without it the name is wrong */
    TEXT,   /* the kind is text, and has none */
    PLAIN,  /* anything goes */
};

struct extension {
    const char *extension;
    const char *type;
    enum belief belief;
};

/* Sorted, for binary search. */
static const struct extension extensions[] = {
    {"3g2", "video/3gpp2", SIGNED},
    {"3gp", "video/3gpp", SIGNED},
    {"aac", "audio/aac", SIGNED},
    {"ac3", "audio/ac3", SIGNED},
    {"aif", "audio/aiff", SIGNED},
    {"aiff", "audio/aiff", SIGNED},
    {"amr", "audio/amr", SIGNED},
    {"asf", "video/x-ms-asf", SIGNED},
    {"ass", "text/x-ssa", TEXT},
    {"avi", "video/x-msvideo", SIGNED},
    {"avif", "image/avif", SIGNED},
    {"bmp", "image/bmp", SIGNED},
    {"caf", "audio/x-caf", SIGNED},
    {"cmfa", "audio/mp4", SIGNED},
    {"cmfv", "video/mp4", SIGNED},
    {"css", "text/css", TEXT},
    {"csv", "text/csv", TEXT},
    {"dts", "audio/vnd.dts", SIGNED},
    {"eac3", "audio/eac3", SIGNED},
    {"ec3", "audio/eac3", SIGNED},
    {"flac", "audio/flac", SIGNED},
    {"flv", "video/x-flv", SIGNED},
    {"gif", "image/gif", SIGNED},
    {"heic", "image/heic", SIGNED},
    {"heif", "image/heif", SIGNED},
    {"htm", "text/html", TEXT},
    {"html", "text/html", TEXT},
    {"ico", "image/vnd.microsoft.icon", SIGNED},
    {"jpeg", "image/jpeg", SIGNED},
    {"jpg", "image/jpeg", SIGNED},
    {"js", "text/javascript", TEXT},
    {"json", "application/json", TEXT},
    {"jxl", "image/jxl", PLAIN},
    {"m2ts", "video/mp2t", SIGNED},
    {"m3u", "audio/mpegurl", TEXT},
    {"m3u8", "application/vnd.apple.mpegurl", SIGNED},
    {"m4a", "audio/mp4", SIGNED},
    {"m4b", "audio/mp4", SIGNED},
    {"m4s", "video/iso.segment", SIGNED},
    {"m4v", "video/mp4", SIGNED},
    {"md", "text/markdown", TEXT},
    {"mid", "audio/midi", SIGNED},
    {"mjs", "text/javascript", TEXT},
    {"mka", "audio/x-matroska", SIGNED},
    {"mkv", "video/x-matroska", SIGNED},
    {"mov", "video/quicktime", SIGNED},
    {"mp3", "audio/mpeg", SIGNED},
    {"mp4", "video/mp4", SIGNED},
    {"mpd", "application/dash+xml", TEXT},
    {"mpeg", "video/mpeg", SIGNED},
    {"mpg", "video/mpeg", SIGNED},
    {"mts", "video/mp2t", SIGNED},
    {"oga", "audio/ogg", SIGNED},
    {"ogg", "audio/ogg", SIGNED},
    {"ogv", "video/ogg", SIGNED},
    {"opus", "audio/ogg", SIGNED},
    {"pdf", "application/pdf", SIGNED},
    {"png", "image/png", SIGNED},
    {"srt", "application/x-subrip", TEXT},
    {"ssa", "text/x-ssa", TEXT},
    {"svg", "image/svg+xml", TEXT},
    {"tif", "image/tiff", SIGNED},
    {"tiff", "image/tiff", SIGNED},
    {"ts", "video/mp2t", SIGNED},
    {"ttml", "application/ttml+xml", TEXT},
    {"txt", "text/plain", TEXT},
    {"vtt", "text/vtt", SIGNED},
    {"wav", "audio/wav", SIGNED},
    {"weba", "audio/webm", SIGNED},
    {"webm", "video/webm", SIGNED},
    {"webp", "image/webp", SIGNED},
    {"wma", "audio/x-ms-wma", SIGNED},
    {"wmv", "video/x-ms-wmv", SIGNED},
    {"xml", "application/xml", TEXT},
    {"zip", "application/zip", SIGNED},
};

/* Spellings that detectors and old uploaders use, and the one that players know. */
static const struct {
    const char *said;
    const char *type;
} aliases[] = {
    {"application/x-mpegurl", "application/vnd.apple.mpegurl"},
    {"audio/mp3", "audio/mpeg"},
    {"audio/x-aac", "audio/aac"},
    {"audio/x-aiff", "audio/aiff"},
    {"audio/x-flac", "audio/flac"},
    {"audio/x-hx-aac-adts", "audio/aac"},
    {"audio/x-m4a", "audio/mp4"},
    {"audio/x-mp3", "audio/mpeg"},
    {"audio/x-mpeg", "audio/mpeg"},
    {"audio/x-mpegurl", "audio/mpegurl"},
    {"audio/x-wav", "audio/wav"},
    {"image/jpg", "image/jpeg"},
    {"image/x-icon", "image/vnd.microsoft.icon"},
    {"image/x-ms-bmp", "image/bmp"},
    {"video/flv", "video/x-flv"},
    {"video/x-m4v", "video/mp4"},
};

/* A container can hold several kinds, and its signature names the commonest; the name decides between them. */
static const struct {
    const char *detected;
    const char *named;
} containers[] = {
    {"video/mp4", "audio/mp4"},
    {"video/mp4", "video/iso.segment"},
    {"video/iso.segment", "video/mp4"},
    {"video/iso.segment", "audio/mp4"},
    {"audio/mp4", "video/mp4"},
    {"video/x-matroska", "video/webm"},
    {"video/x-matroska", "audio/x-matroska"},
    {"video/webm", "audio/webm"},
    {"application/ogg", "audio/ogg"},
    {"application/ogg", "video/ogg"},
    {"audio/mpegurl", "application/vnd.apple.mpegurl"},
    {"video/quicktime", "video/mp4"},
    {"video/quicktime", "audio/mp4"},
    {"video/x-ms-asf", "audio/x-ms-wma"},
    {"video/x-ms-asf", "video/x-ms-wmv"},
    {"application/vnd.apple.mpegurl", "audio/mpegurl"},
    {"text/xml", "application/dash+xml"},
    {"text/xml", "image/svg+xml"},
    {"text/xml", "application/ttml+xml"},
    {"application/xml", "application/dash+xml"},
};

/* ---- names ---- */

static int compare_extension(const void *name, const void *row)
{
    return strcasecmp(name, ((const struct extension *)row)->extension);
}

static const struct extension *extension_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name)
        return NULL;
    return bsearch(dot + 1, extensions, ARRAY_SIZE(extensions), sizeof(extensions[0]), compare_extension);
}

const char *media_type_by_name(const char *name)
{
    const struct extension *row = extension_of(name);
    return row ? row->type : NULL;
}

/* TYPE, or what NAMED says of the container that TYPE is. */
static const char *narrow(const char *type, const char *named)
{
    for (size_t i = 0; named && i < ARRAY_SIZE(containers); i++) {
        if (media_type_is(type, containers[i].detected) && strcmp(named, containers[i].named) == 0)
            return named;
    }
    return type;
}

/* A segment of one or two packets is too short for the signature. */
static bool is_short_transport_stream(const struct extension *row, const uint8_t *bytes, size_t size)
{
    return strcmp(row->type, "video/mp2t") == 0 && size >= 188 && bytes[0] == 0x47 &&
           (size == 188 || bytes[188] == 0x47);
}

const char *media_type_of_content(const void *bytes, size_t size, const char *name)
{
    const struct extension *row = extension_of(name);
    const char *found = media_signature_find(bytes, size);
    if (found)
        return narrow(found, row ? row->type : NULL);
    if (row && (row->belief == PLAIN || is_short_transport_stream(row, bytes, size)))
        return row->type;
    if (row && row->belief == TEXT && media_signature_is_text(bytes, min_size(size, MEDIA_SIGNATURE_BYTES)))
        return row->type;
    return NULL;
}

/* ---- types ---- */

/* RFC 9110 section 5.6.2. */
static bool is_token_character(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c);
}

/* type "/" subtype, then perhaps parameters; printable ASCII throughout, so that it can stand in a header. */
static bool is_well_formed(const char *type)
{
    size_t i = 0;
    while (is_token_character(type[i]))
        i++;
    if (i == 0 || type[i] != '/')
        return false;
    size_t subtype = ++i;
    while (is_token_character(type[i]))
        i++;
    if (i == subtype || (type[i] != '\0' && type[i] != ';' && type[i] != ' '))
        return false;
    for (; type[i] != '\0'; i++) {
        if (type[i] < ' ' || type[i] > '~')
            return false;
    }
    return true;
}

bool media_type_is(const char *type, const char *essence)
{
    size_t size = strlen(essence);
    return strncasecmp(type, essence, size) == 0 &&
           (type[size] == '\0' || type[size] == ';' || type[size] == ' ');
}

bool media_type_is_generic(const char *type)
{
    return type[0] == '\0' || media_type_is(type, MEDIA_TYPE_UNKNOWN) ||
           media_type_is(type, "binary/octet-stream");
}

bool media_type_is_vague(const char *type)
{
    static const char *const vague[] = {"text/plain", "application/x-empty", "inode/x-empty",
                                        "application/unknown", "application/force-download"};
    if (!is_well_formed(type) || media_type_is_generic(type))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(vague); i++) {
        if (media_type_is(type, vague[i]))
            return true;
    }
    return false;
}

const char *media_type_canonical(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
        if (strcasecmp(type, aliases[i].said) == 0)
            return aliases[i].type;
    }
    return type;
}

const char *media_type_choose(const char *row_type, const char *file_name, const char *url_name,
                              const char *sniffed)
{
    const char *named = media_type_by_name(file_name);
    if (!named)
        named = media_type_by_name(url_name);
    if (!media_type_is_vague(row_type))
        return narrow(media_type_canonical(row_type), named);
    if (named)
        return named;
    if (sniffed)
        return sniffed;
    return is_well_formed(row_type) && !media_type_is(row_type, "inode/x-empty") ? row_type
                                                                                 : MEDIA_TYPE_UNKNOWN;
}
