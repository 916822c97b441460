/*
 * media_signature: the patterns, one function per family of formats. Every read is checked against the size:
 * the bytes come from a stranger.
 */
#include "common/media/media_signature.h"

#include <string.h>

struct head {
    const uint8_t *bytes;
    size_t size;
};

static bool has_at(const struct head *head, size_t offset, const char *literal, size_t literal_size)
{
    return head->size >= offset + literal_size && memcmp(head->bytes + offset, literal, literal_size) == 0;
}
#define HAS_AT(head, offset, literal) has_at(head, offset, literal, sizeof(literal) - 1)

static bool contains(const struct head *head, size_t within, const char *literal)
{
    return memmem(head->bytes, min_size(head->size, within), literal, strlen(literal)) != NULL;
}

/* Kinds that a few bytes at the very beginning identify. */
static const struct literal {
    const char *bytes;
    uint8_t size;
    const char *type;
} images[] =
    {
        {"\x00\x00\x01\x00", 4, "image/vnd.microsoft.icon"},
        {"\x00\x00\x02\x00", 4, "image/vnd.microsoft.icon"}, /* a cursor */
        {"GIF87a", 6, "image/gif"},
        {"GIF89a", 6, "image/gif"},
        {"\x89PNG\r\n\x1a\n", 8, "image/png"},
        {"\xff\xd8\xff", 3, "image/jpeg"},
        {"II*\x00", 4, "image/tiff"},
        {"MM\x00*", 4, "image/tiff"},
        {"\x00\x00\x00\x0cJXL \r\n\x87\n", 12, "image/jxl"},
},
  others[] = {
      {"ID3", 3, "audio/mpeg"},
      {"MThd\x00\x00\x00\x06", 8, "audio/midi"},
      {"fLaC", 4, "audio/flac"},
      {"FLV\x01", 4, "video/x-flv"},
      {"caff\x00\x01", 6, "audio/x-caf"},
      {"#!AMR", 5, "audio/amr"},
      {"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", 16, "video/x-ms-asf"},
      {"\x7f\xfe\x80\x01", 4, "audio/vnd.dts"},
      {"\xfe\x7f\x01\x80", 4, "audio/vnd.dts"},
      {"\x00\x00\x01\xba", 4, "video/mpeg"},
      {"\x00\x00\x01\xb3", 4, "video/mpeg"},
      {"%PDF-", 5, "application/pdf"},
};

static const char *find_literal(const struct head *head, const struct literal *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (has_at(head, 0, rows[i].bytes, rows[i].size))
            return rows[i].type;
    }
    return NULL;
}

static const char *find_bitmap(const struct head *head)
{
    /* "BM" alone begins too many texts: the four bytes behind the size are 0. */
    return HAS_AT(head, 0, "BM") && HAS_AT(head, 6, "\x00\x00\x00\x00") ? "image/bmp" : NULL;
}

static const char *find_riff(const struct head *head)
{
    if (HAS_AT(head, 0, "FORM"))
        return HAS_AT(head, 8, "AIFF") || HAS_AT(head, 8, "AIFC") ? "audio/aiff" : NULL;
    if (!HAS_AT(head, 0, "RIFF") && !HAS_AT(head, 0, "RF64"))
        return NULL;
    if (HAS_AT(head, 8, "WEBP"))
        return "image/webp";
    if (HAS_AT(head, 8, "AVI "))
        return "video/x-msvideo";
    return HAS_AT(head, 8, "WAVE") ? "audio/wav" : NULL;
}

/* RFC 5334: one type for audio, one for video; the first pages decide. */
static const char *find_ogg(const struct head *head)
{
    if (!HAS_AT(head, 0, "OggS\x00"))
        return NULL;
    bool pictures = contains(head, head->size, "\x80theora") || contains(head, head->size, "OVP80");
    return pictures ? "video/ogg" : "audio/ogg";
}

/* ISO base media (ISO/IEC 14496-12): "ftyp" and its major brand, or a file or segment without one. */
static const char *find_iso_media(const struct head *head)
{
    static const struct {
        char brand[5];
        uint8_t size;
        const char *type;
    } brands[] = {
        {"qt  ", 4, "video/quicktime"}, {"M4A ", 4, "audio/mp4"},  {"M4B ", 4, "audio/mp4"},
        {"avif", 4, "image/avif"},      {"avis", 4, "image/avif"}, {"heic", 4, "image/heic"},
        {"heix", 4, "image/heic"},      {"mif1", 4, "image/heif"}, {"3g2", 3, "video/3gpp2"},
        {"3gp", 3, "video/3gpp"},
    };
    if (HAS_AT(head, 4, "styp") || HAS_AT(head, 4, "moof") || HAS_AT(head, 4, "sidx"))
        return "video/iso.segment";
    if (HAS_AT(head, 4, "moov") || HAS_AT(head, 4, "mdat"))
        return "video/mp4";
    if (!HAS_AT(head, 4, "ftyp"))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(brands); i++) {
        if (has_at(head, 8, brands[i].brand, brands[i].size)) {
            /* The brand of any still image: AVIF says what it is among the compatible ones. */
            bool avif = strcmp(brands[i].brand, "mif1") == 0 && contains(head, 64, "avif");
            return avif ? "image/avif" : brands[i].type;
        }
    }
    return "video/mp4";
}

static const char *find_matroska(const struct head *head)
{
    if (!HAS_AT(head, 0, "\x1a\x45\xdf\xa3"))
        return NULL;
    /* The DocType stands within the EBML head. */
    return contains(head, 64, "webm") ? "video/webm" : "video/x-matroska";
}

static const char *find_playlist_or_subtitles(const struct head *head)
{
    size_t start = HAS_AT(head, 0, "\xef\xbb\xbf") ? 3 : 0;
    if (HAS_AT(head, start, "WEBVTT")) {
        size_t end = start + 6;
        if (head->size == end || memchr(" \t\r\n", head->bytes[end], 4))
            return "text/vtt";
    }
    return HAS_AT(head, start, "#EXTM3U") ? "application/vnd.apple.mpegurl" : NULL;
}

/* Transport streams have no signature, only 0x47 at each 188 (192 with time codes in front) bytes. */
static const char *find_transport_stream(const struct head *head)
{
    const uint8_t *bytes = head->bytes;
    if (head->size > 376 && bytes[0] == 0x47 && bytes[188] == 0x47 && bytes[376] == 0x47)
        return "video/mp2t";
    if (head->size > 388 && bytes[4] == 0x47 && bytes[196] == 0x47 && bytes[388] == 0x47)
        return "video/mp2t";
    return NULL;
}

/* ATSC A/52: sync word; the bit stream identification distinguishes AC-3 from Enhanced AC-3. */
static const char *find_dolby_audio(const struct head *head)
{
    if (!HAS_AT(head, 0, "\x0b\x77") || head->size < 6)
        return NULL;
    unsigned identification = head->bytes[5] >> 3;
    if (identification > 16)
        return NULL;
    return identification > 10 ? "audio/eac3" : "audio/ac3";
}

/* Size of the MPEG audio frame whose 4-byte header is at BYTES; 0: it is none. ISO/IEC 11172-3, 13818-3; the
 * table of rates as in the WHATWG standard, section 6.2.3. */
static size_t mpeg_frame_size(const uint8_t *bytes)
{
    static const uint16_t kilobits[5][16] = {
        {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0}, /* version 1, layer I */
        {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0},    /* layer II */
        {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},     /* layer III */
        {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0},    /* version 2, layer I */
        {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0},         /* layers II and III */
    };
    static const uint16_t hertz[3] = {44100, 48000, 32000};
    if (bytes[0] != 0xff || (bytes[1] & 0xe0) != 0xe0)
        return 0;
    unsigned version = bytes[1] >> 3 & 3, layer = 4 - (bytes[1] >> 1 & 3);
    unsigned rate = bytes[2] >> 4, frequency = bytes[2] >> 2 & 3, padding = bytes[2] >> 1 & 1;
    if (version == 1 || layer == 4 || frequency == 3)
        return 0;
    unsigned row = version == 3 ? layer - 1 : layer == 1 ? 3 : 4;
    size_t bits = (size_t)kilobits[row][rate] * 1000;
    size_t sampling = hertz[frequency] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
    if (bits == 0)
        return 0;
    if (layer == 1)
        return (12 * bits / sampling + padding) * 4;
    size_t samples = layer == 3 && version != 3 ? 72 : 144;
    return samples * bits / sampling + padding;
}

/* Sync words occur in any data: a second frame must follow the first one where it lies within the bytes. */
static const char *find_mpeg_audio(const struct head *head)
{
    const uint8_t *bytes = head->bytes;
    if (head->size < 4 || bytes[0] != 0xff)
        return NULL;
    if ((bytes[1] & 0xf6) == 0xf0) { /* ADTS (ISO/IEC 13818-7): the layer bits are 00 */
        if ((bytes[2] >> 2 & 15) > 12)
            return NULL; /* no sampling frequency */
        size_t size =
            head->size < 6 ? 0 : (size_t)(bytes[3] & 3) << 11 | (size_t)bytes[4] << 3 | bytes[5] >> 5;
        if (head->size < 6 || size + 2 > head->size)
            return "audio/aac";
        return size >= 7 && bytes[size] == 0xff && (bytes[size + 1] & 0xf6) == 0xf0 ? "audio/aac" : NULL;
    }
    size_t size = mpeg_frame_size(bytes);
    if (size == 0)
        return NULL;
    return size + 4 > head->size || mpeg_frame_size(bytes + size) > 0 ? "audio/mpeg" : NULL;
}

const char *media_signature_find(const void *bytes, size_t size)
{
    static const char *(*const families[])(const struct head *) = {
        find_bitmap,           find_riff,        find_ogg,
        find_iso_media,        find_matroska,    find_playlist_or_subtitles,
        find_transport_stream, find_dolby_audio, find_mpeg_audio,
    };
    const struct head head = {bytes, min_size(size, MEDIA_SIGNATURE_BYTES)};
    /* A byte order mark makes it text in UTF-16, whose first letters can look like an MPEG frame. */
    if (head.size < 2 || HAS_AT(&head, 0, "\xff\xfe") || HAS_AT(&head, 0, "\xfe\xff"))
        return NULL;
    const char *type = find_literal(&head, images, ARRAY_SIZE(images));
    if (!type)
        type = find_literal(&head, others, ARRAY_SIZE(others));
    for (size_t i = 0; !type && i < ARRAY_SIZE(families); i++)
        type = families[i](&head);
    return type;
}

bool media_signature_is_text(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) {
        if (at[i] < 0x20 && at[i] != '\t' && at[i] != '\n' && at[i] != '\f' && at[i] != '\r' && at[i] != 0x1b)
            return false;
    }
    return true;
}
