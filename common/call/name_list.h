/*
 * name_list: a configured list of servers as the addresses that its names stand for. A name that means several servers (a
 * service of several trackers) becomes all of them, looked up in the background and followed as they come and go; a name of
 * one server, also where that has an IPv4 and an IPv6 address, stays a name, which packet_pool resolves. While the name
 * server is away the list stays as it is. On one loop.
 */
#ifndef REEL_COMMON_NAME_LIST_H
#define REEL_COMMON_NAME_LIST_H

#include "common/base/address.h"
#include "common/loop/loop.h"
#include "common/loop/workers.h"

struct name_list;

struct name_list_options {
    struct loop *loop;
    struct workers *resolver;             /* NULL: names stay names */
    const struct address_list *addresses; /* as configured; copied */
    int64_t age_ms;                       /* between two look-ups of a name; 0: 10 s */
    /* The list has changed. On the loop. NULL: nobody needs to know. */
    void (*changed)(void *argument);
    void *argument;
};

/* NULL without memory. Before the loop runs, or on it. */
MUST_CHECK struct name_list *name_list_create(const struct name_list_options *options, struct error *error);
/* On the loop, or after it has ended; also inside changed(). NULL is ignored. */
void name_list_destroy(struct name_list *list);

/* What is known now; valid until the loop's next turn. */
const struct address_list *name_list_addresses(const struct name_list *list);

#endif
