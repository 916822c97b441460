/*
 * http_budget: a bound of bytes that all loops share: what answers bring into memory to be put together (segments, heads of clips,
 * key frames of pictures) and hold until they are sent. Any thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_BUDGET_H
#define REEL_HTTPD_HTTP_BUDGET_H

#include "common/base/base.h"
#include <stdatomic.h>

struct http_budget {
    atomic_size_t used;
    size_t max;
};

void http_budget_init(struct http_budget *budget, size_t max);
/* False, and nothing is taken, where SIZE more would exceed the bound; a request that finds the whole budget free is always let
 * through, so that what is larger than the bound can be answered alone. */
MUST_CHECK bool http_budget_take(struct http_budget *budget, size_t size);
/* FROM bytes that were taken turn out to be TO: the difference is given back, or taken in any case. */
void http_budget_change(struct http_budget *budget, size_t from, size_t to);

#endif
