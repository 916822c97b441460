/*
 * web_files: the files of the web page, as they lie in this folder; they are part of the program. Constant; any thread.
 */
#ifndef REEL_HTTPD_WEB_FILES_H
#define REEL_HTTPD_WEB_FILES_H

#include <stddef.h>

struct web_file {
    const char *name; /* "index.html" */
    const char *type; /* Content-Type */
    const unsigned char *bytes, *end;
};

extern const struct web_file web_files[];
extern const size_t web_file_count;

#endif
