#include "httpd/syntax/media_type.h"
#include "httpd/syntax/http_text.h"
#include <string.h>
#include <strings.h>

struct type_row {
    const char *key;
    const char *type;
};

static const struct type_row extensions[] = {
    {"3gp", "video/3gpp"},
    {"aac", "audio/aac"},
    {"ass", "text/x-ssa"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"cmfa", "audio/mp4"},
    {"cmfv", "video/mp4"},
    {"css", "text/css"},
    {"flac", "audio/flac"},
    {"flv", "video/x-flv"},
    {"gif", "image/gif"},
    {"heic", "image/heic"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"m2ts", "video/mp2t"},
    {"m3u", "audio/mpegurl"},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4s", "video/iso.segment"},
    {"m4v", "video/mp4"},
    {"mka", "audio/x-matroska"},
    {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpd", "application/dash+xml"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"mts", "video/mp2t"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"srt", "application/x-subrip"},
    {"svg", "image/svg+xml"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ts", "video/mp2t"},
    {"ttml", "application/ttml+xml"},
    {"txt", "text/plain"},
    {"vtt", "text/vtt"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"wmv", "video/x-ms-wmv"},
    {"xml", "application/xml"},
    {"zip", "application/zip"},
};

/* Spellings that detectors and old uploaders use, and the one that players know. */
static const struct type_row aliases[] = {
    {"application/x-mpegurl", "application/vnd.apple.mpegurl"},
    {"audio/mp3", "audio/mpeg"},
    {"audio/x-aac", "audio/aac"},
    {"audio/x-flac", "audio/flac"},
    {"audio/x-hx-aac-adts", "audio/aac"},
    {"audio/x-m4a", "audio/mp4"},
    {"audio/x-mp3", "audio/mpeg"},
    {"audio/x-mpeg", "audio/mpeg"},
    {"audio/x-wav", "audio/wav"},
    {"image/jpg", "image/jpeg"},
    {"image/x-icon", "image/vnd.microsoft.icon"},
    {"video/flv", "video/x-flv"},
    {"video/x-m4v", "video/mp4"},
};

/* A container can hold several kinds, and detectors name the commonest; the name decides between them. */
static const struct {
    const char *detected;
    const char *named;
} containers[] = {
    {"video/mp4", "audio/mp4"},
    {"video/mp4", "video/iso.segment"},
    {"audio/mp4", "video/mp4"},
    {"video/x-matroska", "video/webm"},
    {"video/x-matroska", "audio/x-matroska"},
    {"video/webm", "audio/webm"},
    {"application/ogg", "audio/ogg"},
    {"application/ogg", "video/ogg"},
    {"audio/mpegurl", "application/vnd.apple.mpegurl"},
    {"video/quicktime", "video/mp4"},
    {"video/quicktime", "audio/mp4"},
    {"application/vnd.apple.mpegurl", "audio/mpegurl"},
    {"text/xml", "application/dash+xml"},
    {"text/xml", "image/svg+xml"},
    {"text/xml", "application/ttml+xml"},
    {"application/xml", "application/dash+xml"},
};

const char *media_type_by_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (dot == NULL || dot == name)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
        if (strcasecmp(dot + 1, extensions[i].key) == 0)
            return extensions[i].type;
    }
    return NULL;
}

static bool has_at(const uint8_t *bytes, size_t size, size_t offset, const char *literal, size_t literal_size)
{
    return size >= offset + literal_size && memcmp(bytes + offset, literal, literal_size) == 0;
}
#define HAS_AT(offset, literal) has_at(bytes, size, offset, literal, sizeof(literal) - 1)

/* ISO base media (ISO/IEC 14496-12): "ftyp" and its major brand, or a segment without one. */
static const char *sniff_iso_media(const uint8_t *bytes, size_t size)
{
    if (HAS_AT(4, "styp") || HAS_AT(4, "moof") || HAS_AT(4, "sidx"))
        return "video/iso.segment";
    if (HAS_AT(4, "moov") || HAS_AT(4, "mdat"))
        return "video/mp4";
    if (!HAS_AT(4, "ftyp"))
        return NULL;
    if (HAS_AT(8, "qt  "))
        return "video/quicktime";
    if (HAS_AT(8, "M4A ") || HAS_AT(8, "M4B "))
        return "audio/mp4";
    if (HAS_AT(8, "avif"))
        return "image/avif";
    if (HAS_AT(8, "heic") || HAS_AT(8, "heix"))
        return "image/heic";
    if (HAS_AT(8, "3gp"))
        return "video/3gpp";
    return "video/mp4";
}

static const char *sniff_matroska(const uint8_t *bytes, size_t size)
{
    if (!HAS_AT(0, "\x1a\x45\xdf\xa3"))
        return NULL;
    /* The DocType stands within the EBML head. */
    return memmem(bytes, min_size(size, 64), "webm", 4) != NULL ? "video/webm" : "video/x-matroska";
}

static const char *sniff_text(const uint8_t *bytes, size_t size)
{
    if (HAS_AT(0, "\xef\xbb\xbf")) {
        bytes += 3;
        size -= 3;
    }
    if (HAS_AT(0, "WEBVTT") &&
        (size == 6 || bytes[6] == ' ' || bytes[6] == '\t' || bytes[6] == '\n' || bytes[6] == '\r'))
        return "text/vtt";
    if (HAS_AT(0, "#EXTM3U"))
        return "application/vnd.apple.mpegurl";
    return NULL;
}

/* MPEG audio frame headers: 11 bits of sync, then version, layer and bit rate that must not be reserved. */
static const char *sniff_mpeg_audio(const uint8_t *bytes, size_t size)
{
    if (HAS_AT(0, "ID3"))
        return "audio/mpeg";
    if (size < 4 || bytes[0] != 0xff || (bytes[1] & 0xe0) != 0xe0)
        return NULL;
    if ((bytes[1] & 0xf6) == 0xf0)
        return "audio/aac"; /* ADTS: layer bits 00 */
    bool layer = (bytes[1] & 0x06) != 0;
    bool version = (bytes[1] & 0x18) != 0x08;
    bool rate = (bytes[2] & 0xf0) != 0xf0 && (bytes[2] & 0x0c) != 0x0c;
    return layer && version && rate ? "audio/mpeg" : NULL;
}

/* Transport streams have no magic, only 0x47 at each 188 (192 with time codes in front) bytes. */
static const char *sniff_transport_stream(const uint8_t *bytes, size_t size)
{
    if (size > 376 && bytes[0] == 0x47 && bytes[188] == 0x47 && bytes[376] == 0x47)
        return "video/mp2t";
    if (size > 388 && bytes[4] == 0x47 && bytes[196] == 0x47 && bytes[388] == 0x47)
        return "video/mp2t";
    return NULL;
}

const char *media_type_sniff(const uint8_t *bytes, size_t size)
{
    static const struct {
        const char *magic;
        size_t magic_size;
        const char *type;
    } magics[] = {
        {"FLV\x01", 4, "video/x-flv"},
        {"fLaC", 4, "audio/flac"},
        {"\x89PNG\r\n\x1a\n", 8, "image/png"},
        {"\xff\xd8\xff", 3, "image/jpeg"},
        {"GIF87a", 6, "image/gif"},
        {"GIF89a", 6, "image/gif"},
        {"%PDF-", 5, "application/pdf"},
        {"\x00\x00\x01\xba", 4, "video/mpeg"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
        if (has_at(bytes, size, 0, magics[i].magic, magics[i].magic_size))
            return magics[i].type;
    }
    if (HAS_AT(0, "OggS"))
        return memmem(bytes, size, "theora", 6) != NULL ? "video/ogg" : "audio/ogg";
    if (HAS_AT(0, "RIFF") && size >= 12) {
        if (HAS_AT(8, "WAVE"))
            return "audio/wav";
        if (HAS_AT(8, "AVI "))
            return "video/x-msvideo";
        if (HAS_AT(8, "WEBP"))
            return "image/webp";
    }
    const char *type = sniff_iso_media(bytes, size);
    if (type == NULL)
        type = sniff_matroska(bytes, size);
    if (type == NULL)
        type = sniff_text(bytes, size);
    if (type == NULL)
        type = sniff_transport_stream(bytes, size);
    if (type == NULL)
        type = sniff_mpeg_audio(bytes, size);
    return type;
}

/* type "/" subtype, then perhaps parameters; printable ASCII throughout, so that it can stand in a header. */
static bool is_well_formed(const char *type)
{
    size_t i = 0;
    while (http_text_is_token_character(type[i]))
        i++;
    if (i == 0 || type[i] != '/')
        return false;
    size_t subtype = ++i;
    while (http_text_is_token_character(type[i]))
        i++;
    if (i == subtype || (type[i] != '\0' && type[i] != ';' && type[i] != ' '))
        return false;
    for (; type[i] != '\0'; i++) {
        if (type[i] < ' ' || type[i] > '~')
            return false;
    }
    return true;
}

static bool essence_is(const char *type, const char *essence)
{
    size_t size = strlen(essence);
    return strncasecmp(type, essence, size) == 0 &&
           (type[size] == '\0' || type[size] == ';' || type[size] == ' ');
}

bool media_type_is_vague(const char *type)
{
    static const char *const vague[] = {
        "application/octet-stream",  "binary/octet-stream", "text/plain",
        "application/x-empty",       "inode/x-empty",       "application/unknown",
        "application/force-download"};
    if (!is_well_formed(type))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(vague); i++) {
        if (essence_is(type, vague[i]))
            return true;
    }
    return false;
}

static const char *canonical(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
        if (strcasecmp(type, aliases[i].key) == 0)
            return aliases[i].type;
    }
    return type;
}

const char *media_type_choose(const char *row_type, const char *file_name, const char *url_name,
                              const char *sniffed)
{
    const char *named = media_type_by_name(file_name);
    if (named == NULL)
        named = media_type_by_name(url_name);
    if (!media_type_is_vague(row_type)) {
        const char *type = canonical(row_type);
        for (size_t i = 0; named != NULL && i < ARRAY_SIZE(containers); i++) {
            if (essence_is(type, containers[i].detected) && strcmp(named, containers[i].named) == 0)
                return named;
        }
        return type;
    }
    if (named != NULL)
        return named;
    if (sniffed != NULL)
        return sniffed;
    return is_well_formed(row_type) && !essence_is(row_type, "inode/x-empty") ? row_type : MEDIA_TYPE_UNKNOWN;
}
