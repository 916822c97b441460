/*
 * stream_body: the entity tag has the digest of what was made, so that another version of this program, or another
 * segment_time, gives another one.
 */
#include "httpd/stream/stream_body.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

struct stream_body *stream_body_create(struct http_lookup_file *file, uint8_t *made, size_t size,
                                       int64_t offset, int64_t length, const char *type)
{
    char suffix[24];
    struct stream_body *body = calloc(1, sizeof(*body));
    snprintf(suffix, sizeof(suffix), "%016" PRIx64,
             (uint64_t)XXH3_64bits_withSeed(made, size, (uint64_t)offset));
    if (body && size > 0) {
        body->memory = source_memory_create(made, size);
        made = body->memory ? NULL : made;
    }
    if (!body || (size > 0 && !body->memory) ||
        !(body->described = http_lookup_file_derive(file, suffix, (int64_t)size + length, type))) {
        free(made);
        stream_body_destroy(body);
        return NULL;
    }
    body->offset = offset;
    body->length = length;
    if (length > 0)
        body->file = http_lookup_file_take(file);
    if (size == 0)
        free(made);
    return body;
}

struct stream_body *stream_body_share(const struct stream_body *body)
{
    struct stream_body *other = malloc(sizeof(*other));
    if (!other)
        return NULL;
    *other = *body;
    (void)http_lookup_file_take(other->described);
    if (other->file)
        (void)http_lookup_file_take(other->file);
    if (other->memory)
        (void)source_memory_take(other->memory);
    return other;
}

void stream_body_destroy(struct stream_body *body)
{
    if (!body)
        return;
    http_lookup_file_release(body->described);
    http_lookup_file_release(body->file);
    source_memory_release(body->memory);
    free(body);
}

struct source *stream_body_open(const struct stream_body *body, const struct source_options *options)
{
    int64_t made = body->memory ? (int64_t)body->memory->size : 0;
    int64_t start = min_i64(options->offset, made), end = options->offset + options->length;
    int64_t from_memory = min_i64(end, made) - start;
    struct source_options rest = *options;
    rest.file = body->file;
    rest.length = options->length - from_memory;
    rest.offset = body->offset + max_i64(options->offset - made, 0);
    return source_head_open(&rest, body->memory, (size_t)start, (size_t)from_memory);
}
