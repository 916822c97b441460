/*
 * http_target: what a request-target names (RFC 9112 section 3.2): a stored file, the server as a whole, or
 * nothing. Pure.
 *
 *   /files/FILEID                              with the application and user of the configuration
 *   /files/APPLICATION/USER/FILEID[/ANY-NAME]  ANY-NAME is for people and players only
 *   /t/TOKEN/files/...                         the same, with a signed link (http_link.h) that is not looked at here
 *   ?download[=NAME]                           asks for Content-Disposition: attachment
 *
 * A segment is decoded exactly once, after the path was split: %2F inside one does not separate.
 */
#ifndef REEL_HTTPD_HTTP_TARGET_H
#define REEL_HTTPD_HTTP_TARGET_H

#include "common/proto/proto.h"
#include "httpd/syntax/http_text.h"

enum http_target_kind {
    HTTP_TARGET_FILE,
    HTTP_TARGET_SERVER,  /* "*" */
    HTTP_TARGET_UNKNOWN, /* well-formed, but nothing can be there: 404 */
    HTTP_TARGET_BROKEN,  /* 400 */
};

struct http_target {
    struct proto_file_key key;  /* FILE; the fields' bytes after their NUL are zeros */
    char name[PROTO_NAME_SIZE]; /* the decoded ANY-NAME, "" where none was given or it is too long */
    bool download;
    char download_name[PROTO_NAME_SIZE]; /* "" where none was given or it is too long */
};

/* TEXT: the request-target as it came (origin-form, absolute-form or "*"). DEFAULT_APPLICATION and
 * DEFAULT_USER may be
 * "": then the short form names nothing. TARGET is filled for FILE only. */
enum http_target_kind http_target_parse(struct http_text text, const char *default_application,
                                        const char *default_user, struct http_target *target);

/* The parts of TEXT in absolute-form, SCHEME without "://", or of the origin-form, where SCHEME and AUTHORITY are empty. REST is
 * path and query. False: it is neither. */
MUST_CHECK bool http_target_split(struct http_text text, struct http_text *scheme,
                                  struct http_text *authority, struct http_text *rest);

#endif
