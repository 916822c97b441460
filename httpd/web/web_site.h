/*
 * web_site: the files of the web page as one loop answers with them: plain and compressed, with an entity tag; those of the program, and
 * what scripts/fetch-web.sh has put into a folder. Made at the start of the server; then on its loop's thread only.
 */
#ifndef REEL_HTTPD_WEB_SITE_H
#define REEL_HTTPD_WEB_SITE_H

#include "httpd/source/source_head.h"

#define WEB_SITE_ETAG_SIZE 24

struct web_page {
    const char *name, *type;
    char etag[WEB_SITE_ETAG_SIZE]; /* strong, with its quotes; the compressed form has another one */
    char gzip_etag[WEB_SITE_ETAG_SIZE];
    struct source_memory *plain, *gzip; /* GZIP NULL: it would not be smaller */
};

struct web_site;

#define WEB_SITE_HLS "hls.mjs" /* hls.js, where it is available */

/* Some milliseconds, for the compression and for reading what is in FOLDER ("": nothing is). NULL without memory. */
MUST_CHECK struct web_site *web_site_create(const char *folder);
void web_site_destroy(struct web_site *site); /* NULL is ignored */

/* NULL: there is no such file. */
const struct web_page *web_site_find(const struct web_site *site, struct http_text name);

#endif
