/*
 * stream_texts: a map in the order of use.
 */
#include "httpd/stream/stream_texts.h"
#include "common/base/lru.h"
#include <stdlib.h>
#include <string.h>

struct stream_texts {
    struct lru entries;
    uint64_t seed;
    size_t bytes, bytes_max;
};

struct text_entry {
    struct lru_node node;
    struct stream_body *body;
    size_t bytes;
    char key[];
};

struct stream_texts *stream_texts_create(size_t bytes_max)
{
    struct stream_texts *texts = calloc(1, sizeof(*texts));
    if (!texts)
        return NULL;
    lru_init(&texts->entries);
    texts->seed = lru_seed();
    texts->bytes_max = bytes_max;
    return texts;
}

static void text_drop(struct stream_texts *texts, struct text_entry *entry)
{
    lru_remove(&texts->entries, &entry->node);
    texts->bytes -= entry->bytes;
    stream_body_destroy(entry->body);
    free(entry);
}

void stream_texts_destroy(struct stream_texts *texts)
{
    if (!texts)
        return;
    while (texts->entries.count > 0)
        text_drop(texts, CONTAINER_OF(lru_oldest(&texts->entries), struct text_entry, node));
    free(texts);
}

static struct text_entry *text_find(struct stream_texts *texts, const void *key, size_t size)
{
    const struct lru_key wanted = lru_key_make(texts->seed, key, size);
    struct lru_node *node = lru_find(&texts->entries, &wanted);
    return node ? CONTAINER_OF(node, struct text_entry, node) : NULL;
}

struct stream_body *stream_texts_find(struct stream_texts *texts, const void *key, size_t size)
{
    struct text_entry *entry = text_find(texts, key, size);
    if (!entry)
        return NULL;
    lru_use(&texts->entries, &entry->node);
    return stream_body_share(entry->body);
}

void stream_texts_keep(struct stream_texts *texts, const void *key, size_t size,
                       const struct stream_body *body)
{
    size_t bytes = sizeof(struct text_entry) + size + sizeof(*body) + sizeof(*body->described) +
                   (body->memory ? body->memory->size : 0);
    if (bytes > texts->bytes_max / 4 || text_find(texts, key, size))
        return;
    while (texts->bytes + bytes > texts->bytes_max)
        text_drop(texts, CONTAINER_OF(lru_oldest(&texts->entries), struct text_entry, node));
    struct text_entry *entry = calloc(1, sizeof(*entry) + size);
    if (!entry)
        return;
    memcpy(entry->key, key, size);
    entry->bytes = bytes;
    entry->body = stream_body_share(body);
    const struct lru_key own = lru_key_make(texts->seed, entry->key, size);
    if (!entry->body || !lru_add(&texts->entries, &entry->node, &own)) {
        stream_body_destroy(entry->body);
        free(entry);
        return;
    }
    texts->bytes += bytes;
}
