/*
 * http_target: what a request-target names (RFC 9112 section 3.2): a stored file, a stream made of stored files, the server as
 * a whole, or nothing. Pure.
 *
 *   /files/FILEID                              with the application and user of the configuration
 *   /files/APPLICATION/USER/FILEID[/ANY-NAME]  ANY-NAME is for people and players only
 *   /t/TOKEN/files/...                         the same, with a signed link (http_link.h), which is only noted here
 *   /files[/APPLICATION/USER][/]                where a file is put whose ID is made here
 *   /tus[/APPLICATION/USER][/]                  where a resumable upload (tus) is created
 *   /tus/APPLICATION/USER/FILEID/TOKEN[/METADATA[/CONCAT]]   an upload that was created
 *   ?name=NAME                                 of a file that is put
 *   ?download[=NAME]                           asks for Content-Disposition: attachment
 *   ?start=SECONDS&end=SECONDS                 asks for a clip of a film; either may be left out
 *   /hls/[APPLICATION/USER/]FILEID[,FILEID...]/RESOURCE    a playlist or a part of a stream
 *   /dash/[APPLICATION/USER/]FILEID[,FILEID...]/RESOURCE   the same for DASH
 *   ?v=VERSION                                 of a part of a stream: of this version of its file only
 *   /info/[APPLICATION/USER/]FILEID                        what is known about a file
 *   /poster/[APPLICATION/USER/]FILEID/NAME.jpg?t=SECONDS&w=PIXELS    a picture of it
 *   /storyboard/[APPLICATION/USER/]FILEID/RESOURCE         many small pictures
 *   /  /admin  /web/NAME                       the web page and its parts (http_page.h)
 *   /api/...                                   the JSON API (api_request.h takes the rest apart)
 *
 * A segment is decoded exactly once, after the path was split: %2F inside one does not separate.
 */
#ifndef REEL_HTTPD_HTTP_TARGET_H
#define REEL_HTTPD_HTTP_TARGET_H

#include "common/proto/proto.h"
#include "httpd/syntax/http_link.h"
#include "httpd/syntax/http_text.h"

enum http_target_kind {
    HTTP_TARGET_FILE,
    HTTP_TARGET_USER, /* a user's files as a whole: the key without a file */
    HTTP_TARGET_STREAM,
    HTTP_TARGET_TUS,     /* an upload; the key without a file: where they are created */
    HTTP_TARGET_PAGE,    /* the web page or a part of it */
    HTTP_TARGET_API,     /* the JSON API */
    HTTP_TARGET_SERVER,  /* "*" */
    HTTP_TARGET_UNKNOWN, /* well-formed, but nothing can be there: 404 */
    HTTP_TARGET_BROKEN,  /* 400 */
};

#define HTTP_TARGET_ITEMS_MAX 8 /* files of one stream */
#define HTTP_TARGET_PARTS_MAX 6 /* segments of an address of the API */

enum http_service {
    HTTP_SERVICE_HLS,
    HTTP_SERVICE_DASH,
    HTTP_SERVICE_INFO,
    HTTP_SERVICE_POSTER,
    HTTP_SERVICE_STORYBOARD,
};

struct http_target {
    struct proto_file_key
        key; /* FILE, STREAM (the first file); the fields' bytes after their NUL are zeros */
    char name[PROTO_NAME_SIZE]; /* the decoded ANY-NAME, "" where none was given or it is too long */
    bool download;
    char download_name[PROTO_NAME_SIZE]; /* "" where none was given or it is too long */
    char put_name[PROTO_NAME_SIZE];      /* likewise */
    bool clip;                           /* FILE: a stretch of it is asked for */
    int64_t clip_start, clip_end;        /* ms, START < END; END INT64_MAX: up to its end */

    /* TUS alone: segments as they came; BYTES NULL: absent */
    struct http_text tus_token, tus_metadata, tus_concat;

    /* PAGE, API: the segments behind /web or /api as they came (PAGE: none for /, "admin" for /admin), and the query. Each can be
     * decoded. */
    struct http_text parts[HTTP_TARGET_PARTS_MAX];
    size_t part_count;
    struct http_text query;

    struct http_link_marks link; /* UNKNOWN too */

    /* STREAM alone */
    enum http_service service;
    struct http_text resource; /* the last segment, as it came; empty for INFO */
    int64_t picture_time;      /* POSTER: ms; -1: not said */
    int64_t picture_width;     /* POSTER; 0: not said */
    bool picture_broken;       /* one of them cannot be read */
    struct http_text version;  /* v=, as it came; BYTES NULL: not said */
    size_t item_count;         /* at least 1 */
    char items[HTTP_TARGET_ITEMS_MAX][PROTO_FILE_SIZE];
};

/* TEXT: the request-target as it came (origin-form, absolute-form or "*"). DEFAULT_APPLICATION and
 * DEFAULT_USER may be
 * "": then the short form names nothing. TARGET, which borrows from TEXT, is filled for FILE, USER, STREAM, TUS, PAGE and API only. */
enum http_target_kind http_target_parse(struct http_text text, const char *default_application,
                                        const char *default_user, struct http_target *target);

/* Of a target that is "/files/APPLICATION/USER/FILEID?..." with nothing encoded, whose query says nothing but a link: where its names
 * end, as offsets. */
struct http_target_plain {
    uint8_t application, user, file; /* FILE 0: of another target */
};

/* TARGET: what http_target_parse() made of TEXT, a FILE. */
struct http_target_plain http_target_plain_of(struct http_text text, const struct http_target *target);

/* TARGET is filled as http_target_parse() did when PLAIN, whose FILE is not 0, was made of the same TEXT; its link is left out. */
void http_target_take_plain(struct http_text text, struct http_target_plain plain,
                            struct http_target *target);

/* The first segments of the addresses that name files: "files", "hls", ...; NULL: there are no more. */
const char *http_target_root(size_t number);

/* The parts of TEXT in absolute-form, SCHEME without "://", or of the origin-form, where SCHEME and AUTHORITY are empty. REST is
 * path and query. False: it is neither. */
MUST_CHECK bool http_target_split(struct http_text text, struct http_text *scheme,
                                  struct http_text *authority, struct http_text *rest);

#endif
