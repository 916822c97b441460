/*
 * Fuzzes forms: the first byte says in how large pieces the rest, a body with the boundary XyZ, comes. Cut in whatever way, it is
 * the same parts; and what uploaders say in fields of their names and digests is read without harm.
 */
#include "httpd/syntax/content_digest.h"
#include "httpd/syntax/content_name.h"
#include "httpd/syntax/multipart.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (1 << 17)

/* The contents and marks of the events; what does not fit is left out. */
static size_t read_in_pieces(const uint8_t *data, size_t size, size_t step, char *out)
{
    struct multipart form;
    size_t used = 0;
    if (!multipart_begin(&form, http_text_of("multipart/form-data; boundary=XyZ")))
        abort();
    for (size_t at = 0; at < size; at += step) {
        struct http_text bytes = {(const char *)data + at, min_size(step, size - at)}, content;
        enum multipart_event event;
        do {
            event = multipart_next(&form, &bytes, &content);
            if (event == MULTIPART_CONTENT && content.size == 0)
                abort();
            size_t taken = min_size(content.size, OUT_MAX - 1 - used);
            if (event == MULTIPART_CONTENT)
                memcpy(out + used, content.bytes, taken);
            used += event == MULTIPART_CONTENT ? taken : 0;
            if (event != MULTIPART_CONTENT && event != MULTIPART_MORE && used < OUT_MAX - 1)
                out[used++] = (char)('0' + (int)event);
            if (event == MULTIPART_BROKEN || event == MULTIPART_END)
                return used;
        } while (event != MULTIPART_MORE || bytes.size > 0);
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char once[OUT_MAX], again[OUT_MAX];
    if (size < 1 || size > OUT_MAX / 2)
        return 0;
    size_t whole = read_in_pieces(data + 1, size - 1, size, once);
    if (read_in_pieces(data + 1, size - 1, (size_t)data[0] % 64 + 1, again) != whole ||
        memcmp(once, again, whole) != 0)
        abort();
    struct http_text text = {(const char *)data + 1, size - 1};
    char name[PROTO_NAME_SIZE] = "";
    uint8_t digest[CONTENT_DIGEST_SHA256_SIZE];
    if (content_name_of_disposition(text, name) == CONTENT_NAME_FOUND && content_name_tidy(name) &&
        strpbrk(name, "/\\\n"))
        abort();
    (void)content_name_parameter(text, "name", true, name, 8);
    (void)content_digest_sha256(text, digest);
    (void)content_digest_xxh3(text, digest);
    return 0;
}
