/*
 * api_text: what the JSON API answers with, as text (docs/openapi.json). Names may hold anything: what is not UTF-8 in them is
 * shown as U+FFFD, and `path` has the bytes themselves, percent-encoded. Pure; any thread.
 */
#ifndef REEL_HTTPD_API_TEXT_H
#define REEL_HTTPD_API_TEXT_H

#include "common/auth/token.h"
#include "httpd/api/api_list.h"
#include <jansson.h>

/* Each returns malloc'd text; NULL without memory. */

/* KEY: whose files they are. */
char *api_text_list(const struct proto_file_key *key, const struct api_page *page,
                    const struct api_list_result *result);
char *api_text_file(const struct proto_file_key *key, const struct proto_stat *stat);
/* What a user has and may have. */
char *api_text_quota(const struct proto_quota *quota);

/* What a session is: who asks, and what this server can do for them. */
struct api_session_facts {
    const struct proto_token *token; /* NULL: none was required */
    const char *application, *user;  /* without a token: those of the configuration, "" for none */
    const char *media;               /* what stands before /files and the like; NULL: nothing can be read */
    bool writes, shares, operates;
    bool hls;                /* /web/hls.mjs is there */
    int64_t upload_size_max; /* bytes; 0: no limit */
    int64_t share_max;       /* seconds that a shared link may hold */
};
char *api_text_session(const struct api_session_facts *facts);

/* EXPIRES: seconds since 1970; 0: never. */
char *api_text_link(const char *path, int64_t expires);

/* "/APPLICATION/USER[/FILEID]", percent-encoded, malloc'd. */
char *api_text_path(const struct proto_file_key *key);

/* OBJECT as compact text; its reference is taken in any case. NULL is fine. */
char *api_text_of(json_t *object);

#endif
