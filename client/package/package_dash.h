/*
 * package_dash: a manifest of MPEG-DASH (ISO/IEC 23009-1) whose URIs are replaced by links; everything else
 * stays as it is, byte by byte. Looks into a package_folder for what templates mean; blocks for nothing; one
 * thread. XML is read by expat; a document type (and with it every entity of its own) is refused.
 */
#ifndef REEL_CLIENT_PACKAGE_DASH_H
#define REEL_CLIENT_PACKAGE_DASH_H

#include "client/package/package_folder.h"

/* The SIZE bytes of TEXT, the manifest in DIRECTORY ("" or "a/") of FOLDER, with links. All that it names is
 * marked as wanted: what templates name too, each number or time of a SegmentTimeline, without one the
 * numbers from startNumber on as far as there are files, without gaps. Owned by the caller; NULL: ERROR,
 * with the line. */
char *package_dash_rewrite(struct package_folder *folder, const char *directory, const char *text,
                           size_t size, size_t *new_size, struct error *error);

#endif
