/*
 * source_head: the memory is sent through an output of its own; then the other source follows.
 */
#include "httpd/source/source_head.h"
#include "httpd/source/source_local.h"
#include "httpd/source/source_pieces.h"
#include <errno.h>
#include <stdlib.h>

struct head_source {
    struct source source; /* first */
    struct source_memory *memory;
    struct http_output left; /* of the memory */
    struct source *rest;     /* NULL: nothing follows */
    struct metric *copied;
};

/* NOLINTNEXTLINE(readability-non-const-parameter): it is freed */
struct source_memory *source_memory_create(uint8_t *bytes, size_t size)
{
    struct source_memory *memory = malloc(sizeof(*memory));
    if (!memory)
        return NULL;
    *memory = (struct source_memory){.references = 1, .size = size, .bytes = bytes};
    return memory;
}

struct source_memory *source_memory_take(struct source_memory *memory)
{
    memory->references++;
    return memory;
}

void source_memory_charge(struct source_memory *memory, struct http_budget *budget, size_t taken)
{
    http_budget_change(budget, taken, memory->size);
    memory->budget = budget;
}

void source_memory_release(struct source_memory *memory)
{
    if (!memory || --memory->references > 0)
        return;
    if (memory->budget)
        http_budget_change(memory->budget, memory->size, 0);
    free(memory->bytes);
    free(memory);
}

/* Sends what is pending of OUT, at most *BUDGET bytes. SOURCE_READY: all of it left. */
static enum source_status head_flush(struct head_source *head, struct transport to, struct http_output *out,
                                     bool more, int64_t *budget)
{
    struct http_output part = *out;
    size_t sent, pending = http_output_pending(out);
    if (pending == 0)
        return SOURCE_READY;
    if (*budget <= 0)
        return SOURCE_MORE;
    size_t allowed = (size_t)min_i64((int64_t)pending, *budget);
    part.end = part.start + (uint32_t)allowed;
    bool flushed = http_output_flush(&part, to, more || allowed < pending, &sent);
    out->start += (uint32_t)sent;
    *budget -= (int64_t)sent;
    head->source.corked = more;
    if (!flushed)
        return errno == EAGAIN || errno == EWOULDBLOCK ? SOURCE_BLOCKED : SOURCE_GONE;
    return allowed < pending ? SOURCE_MORE : SOURCE_READY;
}

static enum source_status source_head_send_all(struct head_source *head, struct transport to,
                                               struct http_output *out, bool last, int64_t *budget)
{
    enum source_status status = SOURCE_READY;
    if (http_output_pending(&head->left) > 0) {
        status = head_flush(head, to, out, true, budget);
        int64_t before = *budget;
        if (status == SOURCE_READY)
            status = head_flush(head, to, &head->left, head->rest || !last, budget);
        metric_add(head->copied, before - *budget);
    }
    if (status != SOURCE_READY)
        return status;
    return head->rest ? source_send(head->rest, to, out, last, budget) : SOURCE_DONE;
}

static enum source_status head_send(struct source *source, struct transport to, struct http_output *out,
                                    bool last, int64_t *budget)
{
    struct head_source *head = CONTAINER_OF(source, struct head_source, source);
    enum source_status status = source_head_send_all(head, to, out, last, budget);
    if (status == SOURCE_FAILED)
        source->error_code = head->rest->error_code;
    return status;
}

/* Nothing is sent before the stored bytes are at hand: an error may still be answered then. */
static enum source_status head_status(const struct source *source)
{
    struct head_source *head = CONTAINER_OF((struct source *)(uintptr_t)source, struct head_source, source);
    enum source_status status = head->rest ? source_status(head->rest) : SOURCE_READY;
    if (status == SOURCE_FAILED)
        head->source.error_code = head->rest->error_code;
    return status;
}

static void head_stalled(struct source *source)
{
    struct head_source *head = CONTAINER_OF(source, struct head_source, source);
    if (head->rest)
        source_stalled(head->rest);
}

static void head_close(struct source *source)
{
    struct head_source *head = CONTAINER_OF(source, struct head_source, source);
    source_close(head->rest);
    source_memory_release(head->memory);
    free(head);
}

static const struct source_operations head_operations = {
    .status = head_status,
    .send = head_send,
    .stalled = head_stalled,
    .close = head_close,
};

struct source *source_head_open(const struct source_options *options, struct source_memory *memory,
                                size_t start, size_t size)
{
    struct head_source *head = calloc(1, sizeof(*head));
    if (!head)
        return NULL;
    head->source.operations = &head_operations;
    head->copied = options->loop->metrics->copied;
    if (size > 0) {
        head->memory = source_memory_take(memory);
        head->left = (struct http_output){.bytes = (char *)memory->bytes,
                                          .start = (uint32_t)start,
                                          .end = (uint32_t)(start + size),
                                          .capacity = (uint32_t)memory->size};
    }
    if (options->length > 0) {
        head->rest = options->file->volume ? source_local_open(options) : source_pieces_open(options);
        if (!head->rest) {
            head_close(&head->source);
            return NULL;
        }
    }
    return &head->source;
}
