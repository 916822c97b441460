/*
 * api_request: what a request to the JSON API asks for, out of its target (docs/web.md, docs/openapi.json). Pure.
 *
 *   /api/v1/session
 *   /api/v1/status
 *   /api/v1/files/APPLICATION/USER                 ?state= q= sort= order= limit= after=
 *   /api/v1/files/APPLICATION/USER/FILEID
 *   /api/v1/files/APPLICATION/USER/FILEID/restore
 *   /api/v1/files/APPLICATION/USER/FILEID/link     ?expires=
 *   /api/v1/quota/APPLICATION/USER
 */
#ifndef REEL_HTTPD_API_REQUEST_H
#define REEL_HTTPD_API_REQUEST_H

#include "common/proto/proto.h"
#include "common/proto/proto_storage.h"
#include "httpd/syntax/http_request.h"
#include "httpd/syntax/http_target.h"

#define API_LIMIT_DEFAULT 50
#define API_LIMIT_MAX     200
#define API_QUERY_SIZE    PROTO_NAME_SIZE
#define API_CURSOR_MAX    (PROTO_NAME_SIZE + PROTO_FILE_SIZE) /* bytes that a cursor stands for */

enum api_resource {
    API_SESSION,
    API_STATUS,
    API_FILES,
    API_FILE,
    API_RESTORE,
    API_LINK,
    API_QUOTA,
    API_RESOURCES,
};

enum api_sort { API_SORT_ID, API_SORT_NAME, API_SORT_SIZE, API_SORT_TIME };

/* What a page of a list is of. */
struct api_page {
    uint8_t status; /* enum proto_file_status */
    enum api_sort sort;
    bool descending;
    size_t limit;               /* 1 to API_LIMIT_MAX */
    char query[API_QUERY_SIZE]; /* that names must contain; "": any */
    bool has_after;             /* behind the file AFTER, of which only what SORT looks at is set */
    struct proto_list_entry after;
};

struct api_request {
    enum api_resource resource;
    struct proto_file_key key; /* zeros where the resource has none; without a file ID where it has no such */
    struct api_page page;      /* FILES */
    int64_t expires;           /* LINK: seconds from now; 0: not said */
};

/* 0; or the status to refuse with, *MESSAGE (static) saying why. TARGET is an API one. */
MUST_CHECK int api_request_parse(const struct http_target *target, struct api_request *request,
                                 const char **message);

/* The methods of RESOURCE, as Allow lists them: "GET, HEAD, OPTIONS". */
const char *api_request_methods(enum api_resource resource);
bool api_request_takes(enum api_resource resource, enum http_request_method method);

/* The value of `after` for the page behind ENTRY, in the order of PAGE; returns TEXT. */
#define API_CURSOR_TEXT_SIZE (2 * API_CURSOR_MAX + 1)
char *api_cursor_format(const struct api_page *page, const struct proto_list_entry *entry,
                        char text[API_CURSOR_TEXT_SIZE]);

/* What people see a file called: its name, or its ID where it has none. */
const char *api_shown_name(const struct proto_list_entry *entry);

#endif
