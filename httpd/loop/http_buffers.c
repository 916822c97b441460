/*
 * http_buffers: a free list per size, bounded, so that a busy loop allocates nothing.
 */
#include "httpd/loop/http_buffers.h"
#include "common/base/log.h"
#include <stdlib.h>

struct http_buffer_link {
    struct http_buffer_link *next;
};

/* Kept beyond what is in use: enough for bursts, small beside what the same connections cost the kernel. */
#define KEPT_BYTES_MAX ((size_t)2 * 1024 * 1024)

void http_buffers_init(struct http_buffers *buffers, size_t large_size)
{
    static const size_t fixed[HTTP_BUFFER_CLASSES] = {HTTP_BUFFER_SMALL_SIZE, 0, HTTP_BUFFER_COPY_SIZE};
    for (size_t i = 0; i < HTTP_BUFFER_CLASSES; i++) {
        size_t size = fixed[i] > 0 ? fixed[i] : max_size(large_size, HTTP_BUFFER_SMALL_SIZE);
        buffers->classes[i].size = size;
        buffers->classes[i].kept_max = KEPT_BYTES_MAX / size;
        buffers->classes[i].kept = 0;
        buffers->classes[i].lent = 0;
        buffers->classes[i].first = NULL;
    }
}

void http_buffers_clear(struct http_buffers *buffers)
{
    for (size_t i = 0; i < HTTP_BUFFER_CLASSES; i++) {
        ASSERT(buffers->classes[i].lent == 0);
        while (buffers->classes[i].first) {
            struct http_buffer_link *link = buffers->classes[i].first;
            buffers->classes[i].first = link->next;
            free(link);
        }
        buffers->classes[i].kept = 0;
    }
}

void *http_buffers_take(struct http_buffers *buffers, enum http_buffer_class kind)
{
    struct http_buffer_link *link = buffers->classes[kind].first;
    if (link) {
        buffers->classes[kind].first = link->next;
        buffers->classes[kind].kept--;
    } else {
        link = malloc(buffers->classes[kind].size);
    }
    if (link)
        buffers->classes[kind].lent++;
    return link;
}

void http_buffers_give(struct http_buffers *buffers, enum http_buffer_class kind, void *block)
{
    struct http_buffer_link *link = block;
    if (!link)
        return;
    ASSERT(buffers->classes[kind].lent > 0);
    buffers->classes[kind].lent--;
    if (buffers->classes[kind].kept == buffers->classes[kind].kept_max) {
        free(link);
        return;
    }
    link->next = buffers->classes[kind].first;
    buffers->classes[kind].first = link;
    buffers->classes[kind].kept++;
}

size_t http_buffers_size(const struct http_buffers *buffers, enum http_buffer_class kind)
{
    return buffers->classes[kind].size;
}
