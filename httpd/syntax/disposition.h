/*
 * disposition: Content-Disposition: attachment with any file name (RFC 6266, RFC 8187). Pure.
 */
#ifndef REEL_HTTPD_DISPOSITION_H
#define REEL_HTTPD_DISPOSITION_H

#include "common/base/base.h"

#define DISPOSITION_SIZE 1152 /* enough for every name of up to 255 bytes, NUL included */

/* The field's value for NAME (UTF-8, at most 255 bytes; what stands before a path separator is cut off). A
 * name outside of plain ASCII stands twice: filename* for clients that know RFC 8187, filename with '_' in
 * place of each other character for the rest. "" gives a bare "attachment". Returns BUFFER. */
char *disposition_format(const char *name, char buffer[DISPOSITION_SIZE]);

/* True where a browser may show a file of CONTENT_TYPE: one of the COUNT TYPES is its essence, or "TYPE/" and a star for
 * all of its kind but those in XML, which can hold scripts. */
bool disposition_is_inline(char *const *types, size_t count, const char *content_type);

#endif
