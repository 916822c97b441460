/*
 * http_range: reading of sets, joining of near ranges, and the framing of multipart/byteranges.
 */
#include "httpd/syntax/http_range.h"
#include "common/base/hex.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum spec_verdict { SPEC_BROKEN, SPEC_UNSATISFIABLE, SPEC_FINE };

/* One range-spec: int-range "first-[last]" or suffix-range "-length" (section 14.1.2). */
static enum spec_verdict parse_spec(struct http_text spec, int64_t size, struct http_range *range)
{
    const char *dash = memchr(spec.bytes, '-', spec.size);
    if (!dash)
        return SPEC_BROKEN;
    struct http_text before = {spec.bytes, (size_t)(dash - spec.bytes)};
    struct http_text after = {dash + 1, spec.size - before.size - 1};
    int64_t first, last = INT64_MAX;

    if (before.size == 0) {
        int64_t suffix;
        if (!http_text_number(after, &suffix))
            return SPEC_BROKEN;
        if (suffix == 0)
            return SPEC_UNSATISFIABLE;
        range->length = min_i64(suffix, size);
        range->offset = size - range->length;
        return SPEC_FINE;
    }
    if (!http_text_number(before, &first) || (after.size > 0 && !http_text_number(after, &last)) ||
        last < first)
        return SPEC_BROKEN;
    if (first >= size)
        return SPEC_UNSATISFIABLE;
    range->offset = first;
    range->length = min_i64(last, size - 1) - first + 1;
    return SPEC_FINE;
}

static bool nearly_touch(const struct http_range *a, const struct http_range *b)
{
    const struct http_range *low = a->offset <= b->offset ? a : b;
    const struct http_range *high = low == a ? b : a;
    return high->offset - (low->offset + low->length) <= HTTP_RANGE_GAP_MAX;
}

static void join(struct http_range *into, const struct http_range *other)
{
    int64_t end = max_i64(into->offset + into->length, other->offset + other->length);
    into->offset = min_i64(into->offset, other->offset);
    into->length = end - into->offset;
}

/* Each range is joined into the first one of the request that it nearly touches; as the joined one has grown,
 * all are compared again until nothing moves. At most HTTP_RANGES_MAX of them, so that the square costs
 * nothing. */
static void coalesce(struct http_range_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        size_t j = i + 1;
        while (j < set->count) {
            if (!nearly_touch(&set->ranges[i], &set->ranges[j])) {
                j++;
                continue;
            }
            join(&set->ranges[i], &set->ranges[j]);
            memmove(&set->ranges[j], &set->ranges[j + 1], (set->count - j - 1) * sizeof(set->ranges[0]));
            set->count--;
            j = i + 1;
        }
    }
}

/* An earlier range that grew may now touch one before it. */
static void coalesce_all(struct http_range_set *set)
{
    size_t before;
    do {
        before = set->count;
        coalesce(set);
    } while (set->count < before);
}

enum http_range_verdict http_range_parse(struct http_text value, int64_t size, struct http_range_set *set)
{
    set->count = 0;
    /* No part of an empty file differs from all of it, and proxies that ask piece by piece (nginx's
     * slice) take 416 for a failure. */
    if (size == 0)
        return HTTP_RANGE_WHOLE;
    value = http_text_trim(value);
    const char *equals = value.size > 0 ? memchr(value.bytes, '=', value.size) : NULL;
    if (!equals)
        return HTTP_RANGE_WHOLE;
    struct http_text unit = {value.bytes, (size_t)(equals - value.bytes)};
    if (!http_text_equal_nocase(unit, "bytes"))
        return HTTP_RANGE_WHOLE;

    struct http_text rest = {equals + 1, value.size - unit.size - 1};
    struct http_text spec;
    size_t seen = 0;
    while (http_text_next_item(&rest, &spec)) {
        struct http_range range;
        if (++seen > HTTP_RANGES_MAX)
            return HTTP_RANGE_WHOLE;
        enum spec_verdict verdict = parse_spec(spec, size, &range);
        if (verdict == SPEC_BROKEN)
            return HTTP_RANGE_WHOLE;
        if (verdict == SPEC_UNSATISFIABLE)
            continue;
        set->ranges[set->count++] = range;
    }
    if (seen == 0)
        return HTTP_RANGE_WHOLE;
    if (set->count == 0)
        return HTTP_RANGE_UNSATISFIABLE;
    coalesce_all(set);
    return HTTP_RANGE_PARTIAL;
}

void http_range_boundary(const uint8_t random[12], char boundary[HTTP_RANGE_BOUNDARY_SIZE])
{
    (void)hex_format(random, 12, boundary);
}

static size_t clamp_written(int written)
{
    return written < 0 ? 0 : min_size((size_t)written, HTTP_RANGE_PART_HEAD_SIZE - 1);
}

size_t http_range_part_head(char buffer[HTTP_RANGE_PART_HEAD_SIZE], const struct http_range *range,
                            int64_t size, const char *content_type, const char *boundary)
{
    return clamp_written(snprintf(buffer, HTTP_RANGE_PART_HEAD_SIZE,
                                  "\r\n--%.24s\r\nContent-Type: %.127s\r\nContent-Range: bytes %" PRId64
                                  "-%" PRId64 "/%" PRId64 "\r\n\r\n",
                                  boundary, content_type, range->offset, range->offset + range->length - 1,
                                  size));
}

size_t http_range_last_delimiter(char buffer[HTTP_RANGE_PART_HEAD_SIZE], const char *boundary)
{
    return clamp_written(snprintf(buffer, HTTP_RANGE_PART_HEAD_SIZE, "\r\n--%.24s--\r\n", boundary));
}

int64_t http_range_multipart_length(const struct http_range_set *set, int64_t size, const char *content_type,
                                    const char *boundary)
{
    char scratch[HTTP_RANGE_PART_HEAD_SIZE];
    int64_t total = (int64_t)http_range_last_delimiter(scratch, boundary);
    for (size_t i = 0; i < set->count; i++)
        total += (int64_t)http_range_part_head(scratch, &set->ranges[i], size, content_type, boundary) +
                 set->ranges[i].length;
    return total;
}
