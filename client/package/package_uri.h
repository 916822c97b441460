/*
 * package_uri: references in playlists and manifests: from a relative URI to a path below the folder (RFC
 * 3986 section 5.2), and from a path to the link that replaces it. Pure; any thread.
 *
 * Templates of DASH (ISO/IEC 23009-1, 5.3.9.4.4) pass through both: `$Number%05d$` and its like stand in a
 * path as bytes below 0x20, which no path of a package may have, so that nothing else can be mistaken for
 * them.
 */
#ifndef REEL_CLIENT_PACKAGE_URI_H
#define REEL_CLIENT_PACKAGE_URI_H

#include "common/base/base.h"
#include "common/base/error.h"

/* What stands for an identifier in a path: the byte, and where it has a width, PACKAGE_WIDTH + the width
 * behind it. */
enum package_identifier {
    PACKAGE_REPRESENTATION = 1,
    PACKAGE_NUMBER = 2,
    PACKAGE_TIME = 3,
    PACKAGE_BANDWIDTH = 4,
    PACKAGE_WIDTH = 0x10 /* 0x11 to 0x1F: digits, at least 1 to 15 */
};

/* Whether URI begins with a scheme ("https:", "data:"): it is no reference into the folder. */
bool package_uri_is_absolute(const char *uri);

/* The path below the folder that URI means in a file whose directory is DIRECTORY ("" or "a/b/"). A query
 * and a fragment say nothing about files and are dropped. TEMPLATES: identifiers in `$` are turned into
 * bytes. Owned by the caller; NULL: ERROR says why. */
char *package_uri_resolve(const char *directory, const char *uri, bool templates, struct error *error);

/* "a/b/" of "a/b/c"; "" of "c". Owned by the caller; NULL without memory. */
char *package_uri_directory(const char *path);

/* The file ID that PATH has in the package BASE: "BASE-a-b-c.ts" of "a/b/c.ts". Owned by the caller; NULL
 * without memory. */
char *package_uri_file_id(const char *base, const char *path);

/* "../ID/NAME", NAME being the last part of PATH, percent-encoded (so that it has no `$` of its own);
 * identifiers are written out again. Owned by the caller; NULL without memory. */
char *package_uri_link(const char *base, const char *path);

/* PATH with ID and BANDWIDTH of a Representation put in. Owned by the caller; NULL without memory. */
char *package_uri_name(const char *path, const char *id, const char *bandwidth);

/* PATH with VALUE for its number or time. Owned by the caller; NULL without memory. */
char *package_uri_fill(const char *path, uint64_t value);

/* Whether PATH has IDENTIFIER; 0: any. */
bool package_uri_has(const char *path, int identifier);

/* Whether PATH is what PATTERN means for some number or time. *VALUE (may be NULL): which. */
bool package_uri_matches(const char *pattern, const char *path, uint64_t *value);

#endif
