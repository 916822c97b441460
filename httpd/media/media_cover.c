/*
 * media_cover: whatever a file says of a picture's type, its first bytes must be those of JPEG or PNG.
 */
#include "httpd/media/media_cover.h"
#include "httpd/media/ebml.h"
#include <string.h>

#define TYPE MEDIA_TYPE

#define COVER_MAX ((int64_t)16 * 1024 * 1024)

static const char *picture_type(struct media_view bytes)
{
    if (media_get24(bytes, 0) == 0xffd8ff)
        return "image/jpeg";
    return media_get64(bytes, 0) == UINT64_C(0x89504e470d0a1a0a) ? "image/png" : NULL;
}

/* PICTURE lies at OFFSET and has SIZE bytes, of which some may not be there. */
static bool cover_take(struct media_view picture, int64_t offset, int64_t size, int64_t limit,
                       struct media_cover *cover)
{
    const char *type = picture_type(picture);
    if (!type || size <= 0 || size > COVER_MAX || offset > limit - size)
        return false;
    *cover = (struct media_cover){offset, size, type};
    return true;
}

void media_cover_in_moov(struct media_view moov, int64_t at, struct media_cover *cover)
{
    static const uint32_t path[] = {TYPE('u', 'd', 't', 'a'), TYPE('m', 'e', 't', 'a'),
                                    TYPE('i', 'l', 's', 't'), TYPE('c', 'o', 'v', 'r'),
                                    TYPE('d', 'a', 't', 'a')};
    struct media_view rest = moov;
    struct media_box box;
    if (!media_box_next(&rest, &box))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(path); i++) {
        struct media_view parent = box.body;
        if (path[i] == TYPE('i', 'l', 's', 't') && media_get32(parent, 4) != TYPE('h', 'd', 'l', 'r'))
            parent = media_view_from(parent, 4); /* meta is a full box, but in QuickTime */
        if (!media_box_find(parent, path[i], &box))
            return;
    }
    struct media_view picture = media_view_from(box.body, 8);
    (void)cover_take(picture, at + (picture.bytes - moov.bytes), (int64_t)picture.size, INT64_MAX, cover);
}

void media_cover_in_attachments(struct media_view body, int64_t at, struct media_cover *cover)
{
    struct media_view rest = body;
    struct ebml_element file, data;
    while (cover->size == 0 && ebml_next(&rest, &file)) {
        if (file.id == 0x61a7 && ebml_find(file.body, 0x465c, &data))
            (void)cover_take(data.body, at + (data.body.bytes - body.bytes), (int64_t)data.body.size,
                             INT64_MAX, cover);
    }
}

/* ---- ID3v2, id3.org's version 2.3 and 2.4 ---- */

static uint32_t syncsafe(uint32_t number)
{
    return (number >> 24 & 0x7f) << 21 | (number >> 16 & 0x7f) << 14 | (number >> 8 & 0x7f) << 7 |
           (number & 0x7f);
}

/* Behind the text that begins at AT: WIDE, of two bytes a character. */
static size_t skip_text(struct media_view frame, size_t at, bool wide)
{
    size_t step = wide ? 2 : 1;
    while (at + step <= frame.size && (frame.bytes[at] != 0 || (wide && frame.bytes[at + 1] != 0)))
        at += step;
    return at + step;
}

static void cover_in_id3(struct media_view bytes, int64_t file_size, struct media_cover *cover)
{
    uint8_t version = media_get8(bytes, 3), flags = media_get8(bytes, 5);
    int64_t end = min_i64(10 + (int64_t)syncsafe(media_get32(bytes, 6)), file_size);
    size_t at = 10;
    /* Unsynchronized tags have bytes put between those of the picture. */
    if ((version != 3 && version != 4) || (flags & 0x80) != 0)
        return;
    if ((flags & 0x40) != 0)
        at += version == 4 ? syncsafe(media_get32(bytes, 10)) : 4u + media_get32(bytes, 10);
    while (media_view_has(bytes, at, 11) && (int64_t)at + 10 < end && cover->size == 0) {
        uint32_t size = media_get32(bytes, at + 4);
        size = version == 4 ? syncsafe(size) : size;
        if (size == 0 || (int64_t)size > end - (int64_t)at - 10)
            return;
        if (media_get32(bytes, at) == TYPE('A', 'P', 'I', 'C') && media_get8(bytes, at + 9) == 0) {
            struct media_view frame = media_view_part(bytes, at + 10, size);
            size_t picture = skip_text(frame, 1, false) + 1; /* behind the type, and what it shows */
            uint8_t encoding = media_get8(frame, 0);
            picture = skip_text(frame, picture, encoding == 1 || encoding == 2);
            (void)cover_take(media_view_from(frame, picture), (int64_t)(at + 10 + picture),
                             (int64_t)size - (int64_t)picture, end, cover);
        }
        at += 10 + (size_t)size;
    }
}

/* ---- FLAC, RFC 9639 section 8 ---- */

static void cover_in_flac(struct media_view bytes, int64_t file_size, struct media_cover *cover)
{
    bool last = false;
    for (size_t at = 4; !last && cover->size == 0 && media_view_has(bytes, at, 4);) {
        uint8_t kind = media_get8(bytes, at);
        size_t size = media_get24(bytes, at + 1);
        last = (kind & 0x80) != 0;
        at += 4;
        if ((kind & 0x7f) == 6) {
            struct media_view block = media_view_part(bytes, at, size);
            size_t picture = 8 + (size_t)media_get32(block, 4);
            picture += 4 + (size_t)media_get32(block, picture) + 16;
            uint32_t length = media_get32(block, picture);
            if (picture + 4 <= size && length <= size - picture - 4)
                (void)cover_take(media_view_from(block, picture + 4), (int64_t)(at + picture + 4), length,
                                 file_size, cover);
        }
        at += size;
    }
}

void media_cover_in_head(struct media_view bytes, int64_t file_size, struct media_cover *cover)
{
    *cover = (struct media_cover){0};
    if (media_get24(bytes, 0) == 0x494433)
        cover_in_id3(bytes, file_size, cover);
    else if (media_get32(bytes, 0) == TYPE('f', 'L', 'a', 'C'))
        cover_in_flac(bytes, file_size, cover);
}
