/*
 * Fuzzes what a file's first bytes and name say of its type: nothing is read past the bytes, and whatever comes out can
 * stand in a header and in a row.
 */
#include "common/base/utf8.h"
#include "common/media/media_signature.h"
#include "common/media/media_type.h"
#include "common/proto/proto.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *type)
{
    if (!type)
        return;
    if (!strchr(type, '/') || strlen(type) >= PROTO_CONTENT_TYPE_SIZE)
        abort();
    for (const char *c = type; *c; c++) {
        if (*c < ' ' || *c > '~')
            abort();
    }
}

/* The first byte says how many bytes are the name, which follows; the rest is content. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[256] = "";
    size_t name_size = size > 0 ? min_size(data[0], size - 1) : 0;
    size_t content_size = size > 0 ? size - 1 - name_size : 0;
    if (size > 0)
        memcpy(name, data + 1, name_size);
    uint8_t *content = malloc(content_size); /* of exactly this size, so that a read past it is seen */
    if (content_size > 0)
        memcpy(content, data + 1 + name_size, content_size);
    const char *found = media_signature_find(content, content_size);
    check(found);
    check(media_type_by_name(name));
    check(media_type_of_content(content, content_size, name));
    char row_type[PROTO_CONTENT_TYPE_SIZE]; /* a row's column is no longer */
    snprintf(row_type, sizeof(row_type), "%.*s", PROTO_CONTENT_TYPE_SIZE - 1, name);
    check(media_type_choose(row_type, name, name, found));
    bool whole = utf8_valid(content, content_size, true);
    if (whole && !utf8_valid(content, content_size, false))
        abort();
    (void)media_signature_is_text(content, content_size);
    free(content);
    return 0;
}
