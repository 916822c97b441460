/*
 * api_list: one LIST after the other; what is kept is an array of one more than the page, in order, so that it shows whether others
 * follow. In the order of file IDs without a query LIST itself begins behind the cursor, and the first full page is the end.
 */
#include "httpd/api/api_list.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIST_PAGE 100 /* entries of one LIST: all that it gives */

struct api_list {
    struct client *client;
    struct client_operation *operation;
    struct proto_list request;
    struct api_page page;
    bool direct; /* LIST's own order is the page's */
    struct api_list_result result;
    struct proto_list_entry *slots;       /* LIMIT + 1 */
    const struct proto_list_entry **kept; /* the used ones, in order */
    size_t kept_count;
    int64_t seen;
    api_list_callback callback;
    void *argument;
};

void api_list_end(struct api_list *list)
{
    if (!list)
        return;
    if (list->operation)
        client_cancel(list->operation);
    free(list->slots);
    free(list->kept);
    free(list);
}

/* ---- order and query ---- */

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int64_t api_list_time_of(const struct proto_list_entry *entry)
{
    return entry->stat.status == PROTO_FILE_DELETED ? entry->stat.deleted : entry->stat.created;
}

/* Letters of either case stand together, and no two different names are equal. */
static int compare_names(const char *a, const char *b)
{
    int order = strcasecmp(a, b);
    return order != 0 ? order : strcmp(a, b);
}

/* Below 0: A stands before B in the order of PAGE. */
static int list_compare(const struct api_page *page, const struct proto_list_entry *a,
                        const struct proto_list_entry *b)
{
    int order = 0;
    switch (page->sort) {
    case API_SORT_ID:
        break;
    case API_SORT_NAME:
        order = compare_names(api_shown_name(a), api_shown_name(b));
        break;
    case API_SORT_SIZE:
        order = compare_numbers(a->stat.size, b->stat.size);
        break;
    case API_SORT_TIME:
        order = compare_numbers(api_list_time_of(a), api_list_time_of(b));
        break;
    }
    if (order == 0)
        order = strcmp(a->file, b->file);
    return page->descending ? -order : order;
}

/* ASCII letters of either case are the same. */
static bool api_list_list_matches(const struct api_page *page, const struct proto_list_entry *entry)
{
    return page->query[0] == '\0' || strcasestr(api_shown_name(entry), page->query);
}

/* ---- what is kept ---- */

/* Where ENTRY belongs among those that are kept. */
static size_t place_of(const struct api_list *list, const struct proto_list_entry *entry)
{
    size_t low = 0, high = list->kept_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list_compare(&list->page, list->kept[middle], entry) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void keep(struct api_list *list, const struct proto_list_entry *entry)
{
    size_t room = list->page.limit + 1, place = place_of(list, entry);
    bool full = list->kept_count == room;
    struct proto_list_entry *slot;
    if (place == room)
        return;
    if (full) /* the last one makes room */
        slot = &list->slots[list->kept[room - 1] - list->slots];
    else
        slot = &list->slots[list->kept_count];
    size_t behind = list->kept_count - place - (full ? 1 : 0);
    memmove(list->kept + place + 1, list->kept + place, behind * sizeof(list->kept[0]));
    *slot = *entry;
    list->kept[place] = slot;
    list->kept_count += full ? 0 : 1;
}

static void consider(struct api_list *list, const struct proto_list_entry *entry)
{
    const struct api_page *page = &list->page;
    if (!api_list_list_matches(page, entry))
        return;
    list->result.matched++;
    list->result.bytes += entry->stat.size;
    if (page->has_after && list_compare(page, entry, &page->after) <= 0)
        return;
    keep(list, entry);
}

/* ---- asking ---- */

static void list_done(struct api_list *list, const struct error *error)
{
    struct api_list_result *result = &list->result;
    result->entries = list->kept;
    result->more = list->kept_count > list->page.limit;
    result->count = min_size(list->kept_count, list->page.limit);
    list->callback(list->argument, error ? NULL : result, error);
}

static void on_list(void *argument, const struct proto_list_entry *entries, size_t count,
                    const struct error *error);

static bool api_list_ask(struct api_list *list)
{
    list->operation = client_list(list->client, &list->request, on_list, list);
    return list->operation != NULL;
}

static void on_list(void *argument, const struct proto_list_entry *entries, size_t count,
                    const struct error *error)
{
    struct api_list *list = argument;
    struct error no_memory = {.code = ERROR_EXHAUSTED, .text = "no memory"};
    list->operation = NULL;
    if (error && error->code != ERROR_NOT_FOUND) { /* of a user who never stored anything there is none */
        list_done(list, error);
        return;
    }
    count = error ? 0 : count;
    for (size_t i = 0; i < count; i++)
        consider(list, &entries[i]);
    list->seen += (int64_t)count;
    bool ended = count < LIST_PAGE, full = list->direct && list->kept_count > list->page.limit;
    if (ended || full || list->seen >= API_LIST_FILES_MAX) {
        list->result.all = ended && (!list->direct || !list->page.has_after);
        list_done(list, NULL);
        return;
    }
    memcpy(list->request.key.file, entries[count - 1].file, sizeof(list->request.key.file));
    if (!api_list_ask(list))
        list_done(list, &no_memory);
}

struct api_list *api_list_start(struct client *client, const struct proto_file_key *key,
                                const struct api_page *page, api_list_callback callback, void *argument)
{
    struct api_list *list = calloc(1, sizeof(*list));
    if (!list)
        return NULL;
    list->client = client;
    list->page = *page;
    list->callback = callback;
    list->argument = argument;
    list->direct = page->sort == API_SORT_ID && !page->descending && page->query[0] == '\0';
    list->request = (struct proto_list){.key = *key, .limit = LIST_PAGE, .status = page->status};
    memset(list->request.key.file, 0, sizeof(list->request.key.file));
    if (list->direct && page->has_after)
        memcpy(list->request.key.file, page->after.file, sizeof(list->request.key.file));
    list->slots = calloc(page->limit + 1, sizeof(*list->slots));
    list->kept = calloc(page->limit + 1, sizeof(*list->kept));
    if (!list->slots || !list->kept || !api_list_ask(list)) {
        api_list_end(list);
        return NULL;
    }
    return list;
}
