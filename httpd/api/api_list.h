/*
 * api_list: a page of a user's files in any order, out of LIST, which knows the order of file IDs alone: all pages of LIST are
 * looked through, and the best LIMIT files behind the cursor kept, so that memory is that of one page whatever a user has. On its
 * client's loop; never blocks.
 */
#ifndef REEL_HTTPD_API_LIST_H
#define REEL_HTTPD_API_LIST_H

#include "client/core/client.h"
#include "httpd/api/api_request.h"

/* Files that one request looks through at most; what comes after them is left out, and the answer says so. */
#define API_LIST_FILES_MAX 200000

struct api_list;

struct api_list_result {
    const struct proto_list_entry *const *entries; /* in the page's order */
    size_t count;
    bool more;       /* others follow the last one */
    bool all;        /* every file was looked at: MATCHED and BYTES are of the whole list */
    int64_t matched; /* files that were looked at and are what the page is of, whatever the cursor */
    int64_t bytes;   /* of them together */
};

/* RESULT is valid until api_list_end(); NULL with ERROR. Exactly once, never inside api_list_start(). */
typedef void (*api_list_callback)(void *argument, const struct api_list_result *result,
                                  const struct error *error);

/* KEY without a file ID. PAGE is copied. NULL without memory. */
struct api_list *api_list_start(struct client *client, const struct proto_file_key *key,
                                const struct api_page *page, api_list_callback callback, void *argument);
/* Gives it up, or frees it after its callback; NULL is ignored. */
void api_list_end(struct api_list *list);

#endif
