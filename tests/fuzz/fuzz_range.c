/*
 * Fuzzes the Range field against a file whose size is the first eight bytes: every range lies in the file,
 * none touch, and the multipart framing comes to the length that was computed.
 */
#include "httpd/syntax/http_range.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_set(const struct http_range_set *set, int64_t size)
{
    if (set->count == 0 || set->count > HTTP_RANGES_MAX)
        abort();
    for (size_t i = 0; i < set->count; i++) {
        const struct http_range *a = &set->ranges[i];
        if (a->offset < 0 || a->length < 1 || a->length > size || a->offset > size - a->length)
            abort();
        for (size_t j = 0; j < i; j++) {
            const struct http_range *b = &set->ranges[j];
            if (a->offset <= b->offset + b->length - 1 && b->offset <= a->offset + a->length - 1)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_range_set set;
    uint64_t bits = 0;
    if (size < 8)
        return 0;
    memcpy(&bits, data, 8);
    int64_t file_size = (int64_t)(bits >> 1 >> (data[0] % 63));
    struct http_text value = {(const char *)data + 8, size - 8};
    if (http_range_parse(value, file_size, &set) != HTTP_RANGE_PARTIAL)
        return 0;
    check_set(&set, file_size);
    char boundary[HTTP_RANGE_BOUNDARY_SIZE], head[HTTP_RANGE_PART_HEAD_SIZE];
    static const uint8_t random[12] = {1, 2, 3};
    http_range_boundary(random, boundary);
    uint64_t total = http_range_last_delimiter(head, boundary);
    for (size_t i = 0; i < set.count; i++)
        total += http_range_part_head(head, &set.ranges[i], file_size, "video/mp4", boundary) +
                 (uint64_t)set.ranges[i].length;
    if (total < INT64_MAX &&
        http_range_multipart_length(&set, file_size, "video/mp4", boundary) != (int64_t)total)
        abort();
    return 0;
}
