/*
 * name_list: one entry for each configured address; those that are names are asked for again and again, one look-up at a
 * time each. A look-up that is under way when the list goes outlives it.
 */
#include "common/call/name_list.h"

#include "common/base/duration.h"
#include "common/base/log.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define AGE_MS       10000
#define RESOLVED_MAX 32

struct name_lookup {
    struct job job;
    struct address address;
    struct name_entry *entry; /* NULL: the list has gone */
    struct socket_address resolved[RESOLVED_MAX];
    size_t count;
    struct error error;
};

struct name_entry {
    struct name_list *list;
    struct address configured;
    struct address_list several; /* empty: the name, or address, stands for itself */
    struct name_lookup *lookup;  /* under way */
    struct event *timer;         /* NULL: it is numeric */
    bool failing;                /* it was logged */
};

struct name_list {
    struct name_list_options options;
    struct address_list current;
    size_t count;
    struct name_entry entries[];
};

/* ---- what a name stands for ---- */

/* Those of FAMILY, into LIST. False without memory. */
static bool take_family(const struct name_lookup *lookup, int family, struct address_list *list)
{
    for (size_t i = 0; i < lookup->count; i++) {
        const struct socket_address *each = &lookup->resolved[i];
        struct address address;

        if (each->storage.ss_family == family &&
            (!address_from_socket((const struct sockaddr *)&each->storage, each->length, &address) ||
             !address_list_append(list, &address)))
            return false;
    }
    return true;
}

static size_t count_family(const struct name_lookup *lookup, int family)
{
    size_t count = 0;

    for (size_t i = 0; i < lookup->count; i++)
        count += lookup->resolved[i].storage.ss_family == family ? 1 : 0;
    return count;
}

/* Several addresses of one family are several servers; one of each is one server with both. */
static bool take_servers(const struct name_lookup *lookup, struct address_list *several)
{
    size_t four = count_family(lookup, AF_INET), six = count_family(lookup, AF_INET6);

    if (max_size(four, six) < 2)
        return true;
    return take_family(lookup, four >= six ? AF_INET : AF_INET6, several);
}

static bool lists_have_the_same(const struct address_list *a, const struct address_list *b)
{
    size_t found = 0;

    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (address_equal(&a->items[i], &b->items[k])) {
                found++;
                break;
            }
    return a->count == b->count && found == a->count;
}

/* False without memory: the list stays as it was. */
static bool rebuild(struct name_list *list)
{
    struct address_list fresh = {0};
    bool fine = true;

    for (size_t i = 0; fine && i < list->count; i++) {
        const struct name_entry *entry = &list->entries[i];

        if (entry->several.count == 0)
            fine = address_list_append(&fresh, &entry->configured);
        for (size_t k = 0; fine && k < entry->several.count; k++)
            fine = address_list_append(&fresh, &entry->several.items[k]);
    }
    if (!fine) {
        address_list_clear(&fresh);
        return false;
    }
    address_list_clear(&list->current);
    list->current = fresh;
    return true;
}

/* ---- look-ups ---- */

static void name_lookup_run(struct job *job)
{
    struct name_lookup *lookup = CONTAINER_OF(job, struct name_lookup, job);

    if (address_resolve(&lookup->address, lookup->resolved, RESOLVED_MAX, &lookup->count, &lookup->error))
        lookup->error.code = ERROR_NONE;
    else if (lookup->error.code == ERROR_NONE)
        lookup->error.code = ERROR_CONNECTION;
}

static void name_arm(struct name_entry *entry, int64_t wait_ms)
{
    const struct timeval wait = duration_timeval(wait_ms);

    if (event_add(entry->timer, &wait) != 0)
        log_error("names", "%s: cannot arm a timer; the name will not be looked up again",
                  entry->configured.host);
}

static void name_note_failure(struct name_entry *entry, const struct error *error)
{
    bool failed = error->code != ERROR_NONE;

    if (failed && !entry->failing)
        log_warning("names", "%s: %s; keeping the known addresses", entry->configured.host, error->text);
    else if (!failed && entry->failing)
        log_info("names", "%s: the name resolves again", entry->configured.host);
    entry->failing = failed;
}

static void name_lookup_done(struct job *job)
{
    struct name_lookup *lookup = CONTAINER_OF(job, struct name_lookup, job);
    struct name_entry *entry = lookup->entry;
    struct address_list several = {0}, before;

    if (!entry) {
        free(lookup);
        return;
    }
    entry->lookup = NULL;
    name_note_failure(entry, &lookup->error);
    name_arm(entry, entry->list->options.age_ms);
    if (lookup->error.code != ERROR_NONE || !take_servers(lookup, &several) ||
        lists_have_the_same(&several, &entry->several)) {
        address_list_clear(&several);
        free(lookup);
        return;
    }
    free(lookup);
    before = entry->several;
    entry->several = several;
    if (!rebuild(entry->list)) {
        entry->several = before;
        address_list_clear(&several);
        return;
    }
    address_list_clear(&before);
    log_info("names", "%s stands for %zu servers", entry->configured.host, max_size(entry->several.count, 1));
    if (entry->list->options.changed)
        entry->list->options.changed(entry->list->options.argument);
}

static void name_timer(evutil_socket_t fd, short what, void *argument)
{
    struct name_entry *entry = argument;
    struct name_lookup *lookup = calloc(1, sizeof(*lookup));

    (void)fd;
    (void)what;
    if (lookup) {
        lookup->address = entry->configured;
        lookup->entry = entry;
        lookup->job =
            (struct job){.run = name_lookup_run, .done = name_lookup_done, .loop = entry->list->options.loop};
        if (workers_submit(entry->list->options.resolver, &lookup->job)) {
            entry->lookup = lookup;
            return;
        }
        free(lookup);
    }
    name_arm(entry, entry->list->options.age_ms); /* no worker, no memory: later */
}

/* ---- life ---- */

static bool watch_name(struct name_entry *entry)
{
    struct socket_address ignored;

    if (!entry->list->options.resolver || address_to_socket(&entry->configured, &ignored))
        return true;
    entry->timer = evtimer_new(loop_base(entry->list->options.loop), name_timer, entry);
    if (!entry->timer)
        return false;
    name_arm(entry, 0);
    return true;
}

struct name_list *name_list_create(const struct name_list_options *options, struct error *error)
{
    size_t count = options->addresses->count;
    struct name_list *list = calloc(1, sizeof(*list) + count * sizeof(list->entries[0]));
    bool fine = list;

    if (fine) {
        list->options = *options;
        list->options.addresses = NULL;
        if (list->options.age_ms <= 0)
            list->options.age_ms = AGE_MS;
        list->count = count;
    }
    for (size_t i = 0; fine && i < count; i++) {
        list->entries[i].list = list;
        list->entries[i].configured = options->addresses->items[i];
        fine = watch_name(&list->entries[i]);
    }
    if (fine && rebuild(list))
        return list;
    name_list_destroy(list);
    error_set(error, ERROR_UNAVAILABLE, "no memory for a list of servers");
    return NULL;
}

void name_list_destroy(struct name_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++) {
        struct name_entry *entry = &list->entries[i];

        if (entry->lookup)
            entry->lookup->entry = NULL;
        if (entry->timer)
            event_free(entry->timer);
        address_list_clear(&entry->several);
    }
    address_list_clear(&list->current);
    free(list);
}

const struct address_list *name_list_addresses(const struct name_list *list)
{
    return &list->current;
}
