/*
 * base: the few macros and inline helpers that every room uses. Touches nothing.
 */
#ifndef REEL_COMMON_BASE_H
#define REEL_COMMON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The result says whether it worked and must be checked. */
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_argument)                                                            \
    __attribute__((format(printf, format_index, first_argument)))

#define ARRAY_SIZE(array)                   (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* SIZE bytes, of which the first HEAD are zero and the others are anything: for a large buffer at the end of a structure. NULL: no
 * memory. */
static inline void *allocate_head(size_t size, size_t head)
{
    void *memory = malloc(size);
    return memory ? memset(memory, 0, head) : NULL;
}

#endif
