/*
 * buffers: a budget and a short list of spare chunks.
 */
#include "storage/admit/buffers.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SPARES_MAX 16

struct buffers {
    size_t chunk_size;
    int64_t budget;
    pthread_mutex_t mutex;
    int64_t used;
    uint8_t *spares[SPARES_MAX];
    size_t spare_count;
};

struct buffers *buffers_create(size_t chunk_size, int64_t budget)
{
    struct buffers *buffers = calloc(1, sizeof(*buffers));
    if (!buffers)
        return NULL;
    buffers->chunk_size = chunk_size;
    buffers->budget = budget;
    pthread_mutex_init(&buffers->mutex, NULL);
    return buffers;
}

void buffers_destroy(struct buffers *buffers)
{
    if (!buffers)
        return;
    for (size_t i = 0; i < buffers->spare_count; i++)
        (void)munmap(buffers->spares[i], buffers->chunk_size);
    pthread_mutex_destroy(&buffers->mutex);
    free(buffers);
}

bool buffers_take(struct buffers *buffers, int64_t left, bool optional, struct buffer *buffer)
{
    size_t size = left < (int64_t)buffers->chunk_size ? (size_t)left : buffers->chunk_size;
    uint8_t *spare = NULL;
    pthread_mutex_lock(&buffers->mutex);
    bool poor = buffers->used + (int64_t)size > buffers->budget;
    if (poor)
        size = min_size(size, BUFFERS_LEAST);
    bool refused = poor && optional;
    if (!refused) {
        buffers->used += (int64_t)size;
        if (size == buffers->chunk_size && buffers->spare_count > 0)
            spare = buffers->spares[--buffers->spare_count];
    }
    pthread_mutex_unlock(&buffers->mutex);
    *buffer = (struct buffer){.size = size};
    if (refused)
        return false;
    if (spare)
        buffer->bytes = spare;
    else if (size == buffers->chunk_size) {
        void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        buffer->bytes = mapped == MAP_FAILED ? NULL : mapped;
    } else
        buffer->bytes = malloc(max_size(size, 1));
    if (!buffer->bytes) {
        pthread_mutex_lock(&buffers->mutex);
        buffers->used -= (int64_t)size;
        pthread_mutex_unlock(&buffers->mutex);
    }
    return buffer->bytes != NULL;
}

void buffers_give(struct buffers *buffers, struct buffer *buffer)
{
    if (!buffer->bytes)
        return;
    bool chunk = buffer->size == buffers->chunk_size;
    bool kept = false;
    pthread_mutex_lock(&buffers->mutex);
    buffers->used -= (int64_t)buffer->size;
    if (chunk && buffers->spare_count < SPARES_MAX) {
        buffers->spares[buffers->spare_count++] = buffer->bytes;
        kept = true;
    }
    pthread_mutex_unlock(&buffers->mutex);
    if (!chunk)
        free(buffer->bytes);
    else if (!kept)
        (void)munmap(buffer->bytes, buffer->size);
    *buffer = (struct buffer){0};
}

int64_t buffers_used(struct buffers *buffers)
{
    pthread_mutex_lock(&buffers->mutex);
    int64_t used = buffers->used;
    pthread_mutex_unlock(&buffers->mutex);
    return used;
}
