/*
 * ebml: the number of leading zero bits is the length of a number.
 */
#include "httpd/media/ebml.h"
#include <math.h>
#include <string.h>

/* Bytes of a number that begins with FIRST; 9 where it is longer than eight. */
static size_t length_of(uint8_t first)
{
    size_t length = 1;
    while (length <= 8 && (first & (0x100 >> length)) == 0)
        length++;
    return length;
}

static uint64_t big_endian(struct media_view bytes, size_t at, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | media_get8(bytes, at + i);
    return value;
}

bool ebml_vint(struct media_view bytes, uint64_t *value, size_t *used)
{
    size_t length = bytes.size > 0 ? length_of(bytes.bytes[0]) : 9;
    if (length > 8 || length > bytes.size)
        return false;
    *value = big_endian(bytes, 0, length) & ((UINT64_C(1) << (7 * length)) - 1);
    *used = length;
    return true;
}

enum ebml_look ebml_look(struct media_view bytes, struct ebml_element *element)
{
    if (bytes.size == 0)
        return EBML_SHORT;
    size_t id = length_of(bytes.bytes[0]);
    if (id > 4)
        return EBML_DAMAGED;
    if (bytes.size <= id)
        return EBML_SHORT;
    size_t length = length_of(bytes.bytes[id]);
    if (length > 8)
        return EBML_DAMAGED;
    if (bytes.size < id + length)
        return EBML_SHORT;
    uint64_t all_ones = (UINT64_C(1) << (7 * length)) - 1;
    element->id = (uint32_t)big_endian(bytes, 0, id);
    element->size = big_endian(bytes, id, length) & all_ones;
    element->unknown = element->size == all_ones;
    element->header = id + length;
    element->body =
        media_view_part(bytes, element->header, element->size > SIZE_MAX ? SIZE_MAX : (size_t)element->size);
    return EBML_FOUND;
}

bool ebml_next(struct media_view *rest, struct ebml_element *element)
{
    if (ebml_look(*rest, element) != EBML_FOUND || element->unknown || element->body.size < element->size)
        return false;
    *rest = media_view_from(*rest, element->header + element->body.size);
    return true;
}

bool ebml_find(struct media_view parent, uint32_t id, struct ebml_element *element)
{
    while (ebml_next(&parent, element)) {
        if (element->id == id)
            return true;
    }
    return false;
}

uint64_t ebml_unsigned(struct media_view body, uint64_t fallback)
{
    return body.size > 8 ? fallback : big_endian(body, 0, body.size);
}

double ebml_float(struct media_view body, double fallback)
{
    double wide = fallback;
    if (body.size == 0) {
        wide = 0;
    } else if (body.size == 4) {
        uint32_t bits = media_get32(body, 0);
        float narrow;
        memcpy(&narrow, &bits, sizeof(narrow));
        wide = (double)narrow;
    } else if (body.size == 8) {
        uint64_t bits = media_get64(body, 0);
        memcpy(&wide, &bits, sizeof(wide));
    }
    return isfinite(wide) ? wide : fallback;
}

void ebml_text(struct media_view body, char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < body.size && body.bytes[i] != '\0' && used + 1 < size; i++) {
        uint8_t c = body.bytes[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
            text[used++] = (char)c;
    }
    text[used] = '\0';
}
