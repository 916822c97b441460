/*
 * http_budget: one atomic number, so that loops need no mutex for it.
 */
#include "httpd/loop/http_budget.h"

void http_budget_init(struct http_budget *budget, size_t max)
{
    atomic_init(&budget->used, 0);
    budget->max = max;
}

bool http_budget_take(struct http_budget *budget, size_t size)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    do {
        if (used > 0 && (used > budget->max || size > budget->max - used))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + size, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void http_budget_change(struct http_budget *budget, size_t from, size_t to)
{
    /* Unsigned: a difference below zero wraps around twice. */
    (void)atomic_fetch_add_explicit(&budget->used, to - from, memory_order_relaxed);
}
