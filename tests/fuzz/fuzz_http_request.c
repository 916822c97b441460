/*
 * Fuzzes request heads and bodies: parsed whole and in pieces, from buffers of exactly the size that has
 * come, which must give the same outcome. The first byte chooses the size of the pieces.
 */
#include "httpd/syntax/http_body.h"
#include "httpd/syntax/http_request.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_request_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};

static enum http_request_state parse(struct http_request *request, const uint8_t *data, size_t size,
                                     size_t step, size_t *have)
{
    enum http_request_state state = HTTP_REQUEST_MORE;
    http_request_init(request);
    *have = 0;
    while (*have < size && state == HTTP_REQUEST_MORE) {
        *have = min_size(*have + step, size);
        char *copy = malloc(*have);
        if (copy == NULL)
            abort();
        memcpy(copy, data, *have);
        state = http_request_parse(request, &limits, copy, *have);
        free(copy);
    }
    return state;
}

static enum http_body_state skip(const struct http_request *request, const uint8_t *data, size_t size,
                                 size_t step, size_t *used)
{
    struct http_body body;
    enum http_body_state state = HTTP_BODY_MORE;
    *used = 0;
    http_body_init(&body, request);
    do {
        size_t piece = min_size(step, size - *used), taken;
        state = http_body_skip(&body, (const char *)data + *used, piece, &taken);
        if (taken > piece)
            abort();
        *used += taken;
    } while (state == HTTP_BODY_MORE && *used < size);
    return state;
}

/* Every slice must lie in the head. */
static void check_slices(const struct http_request *request)
{
    for (int field = 0; field < HTTP_FIELD_COUNT; field++) {
        const struct http_slice *slice = &request->fields[field];
        if ((request->present >> field & 1u) != 0 && slice->offset + slice->size > request->head_size)
            abort();
    }
    if (request->target.offset + request->target.size > request->head_size)
        abort();
}

/* A head that was taken means the same to every reader: no NUL, no CR without its LF, no folded line, and it
 * ends where it is said to end. */
static void check_head(const char *head, size_t size)
{
    if (size == 0 || head[size - 1] != '\n' || memchr(head, '\0', size) != NULL)
        abort();
    for (size_t i = 0; i + 1 < size; i++) {
        if (head[i] == '\r' && head[i + 1] != '\n')
            abort();
        if (head[i] == '\n' && (head[i + 1] == ' ' || head[i + 1] == '\t'))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request whole, pieces;
    struct http_conditions conditions;
    size_t have, have_pieces;
    if (size < 2)
        return 0;
    size_t step = (size_t)data[0] % 16 + 1;
    data++;
    size--;
    enum http_request_state state = parse(&whole, data, size, size, &have);
    enum http_request_state state_pieces = parse(&pieces, data, size, step, &have_pieces);
    /* What comes after the limit is not looked at in pieces, and may be the reason of a refusal as a whole.
     */
    if (state != state_pieces)
        abort();
    if (state != HTTP_REQUEST_HEAD)
        return 0;
    if (whole.head_size != pieces.head_size || whole.keep_alive != pieces.keep_alive ||
        whole.present != pieces.present)
        abort();
    check_slices(&whole);
    check_head((const char *)data, whole.head_size);
    (void)!http_request_conditions(&whole, (const char *)data, &conditions);

    size_t used, used_pieces;
    const uint8_t *rest = data + whole.head_size;
    size_t left = size - whole.head_size;
    if (skip(&whole, rest, left, left, &used) != skip(&whole, rest, left, step, &used_pieces) ||
        used != used_pieces)
        abort();
    return 0;
}
