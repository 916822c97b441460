#include "httpd/buffers.h"
#include "common/log.h"
#include <stdlib.h>

struct buffer_link {
    struct buffer_link *next;
};

/* Kept beyond what is in use: enough for bursts, small beside what the same connections cost the kernel. */
#define KEPT_BYTES_MAX (2 * 1024 * 1024)

void buffers_init(struct buffers *buffers, size_t large_size)
{
    static const size_t fixed[BUFFER_CLASSES] = {BUFFER_SMALL_SIZE, 0, BUFFER_COPY_SIZE};
    for (size_t i = 0; i < BUFFER_CLASSES; i++) {
        size_t size = fixed[i] > 0 ? fixed[i] : max_size(large_size, BUFFER_SMALL_SIZE);
        buffers->classes[i].size = size;
        buffers->classes[i].kept_max = KEPT_BYTES_MAX / size;
        buffers->classes[i].kept = 0;
        buffers->classes[i].lent = 0;
        buffers->classes[i].first = NULL;
    }
}

void buffers_clear(struct buffers *buffers)
{
    for (size_t i = 0; i < BUFFER_CLASSES; i++) {
        ASSERT(buffers->classes[i].lent == 0);
        while (buffers->classes[i].first != NULL) {
            struct buffer_link *link = buffers->classes[i].first;
            buffers->classes[i].first = link->next;
            free(link);
        }
        buffers->classes[i].kept = 0;
    }
}

void *buffers_take(struct buffers *buffers, enum buffer_class class)
{
    struct buffer_link *link = buffers->classes[class].first;
    if (link != NULL) {
        buffers->classes[class].first = link->next;
        buffers->classes[class].kept--;
    } else {
        link = malloc(buffers->classes[class].size);
    }
    if (link != NULL)
        buffers->classes[class].lent++;
    return link;
}

void buffers_give(struct buffers *buffers, enum buffer_class class, void *block)
{
    struct buffer_link *link = block;
    if (link == NULL)
        return;
    ASSERT(buffers->classes[class].lent > 0);
    buffers->classes[class].lent--;
    if (buffers->classes[class].kept == buffers->classes[class].kept_max) {
        free(link);
        return;
    }
    link->next = buffers->classes[class].first;
    buffers->classes[class].first = link;
    buffers->classes[class].kept++;
}

size_t buffers_size(const struct buffers *buffers, enum buffer_class class)
{
    return buffers->classes[class].size;
}
