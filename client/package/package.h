/*
 * package: a folder with a ready-made HLS or DASH stream, read as it is to be stored (`reel upload
 * --package`): which files it consists of, under which file IDs, and the playlists with links to these in
 * place of their URIs. Reads the local disk and blocks for it; asks no server; one thread.
 *
 * A stored playlist has the address /files/APPLICATION/USER/ID/NAME, so `../ID/NAME` leads from it to any
 * other file of the user, also below a signed path and behind a proxy. All file IDs of a package begin with
 * its BASE, which is the ID of its master playlist: a signed link with scope prefix opens all of it. The
 * rest of an ID is the path in the folder, so that the templates of DASH need no other form, and the same
 * folder has the same IDs again.
 */
#ifndef REEL_CLIENT_PACKAGE_H
#define REEL_CLIENT_PACKAGE_H

#include "client/package/package_folder.h"

struct package {
    struct package_folder
        folder; /* files with an ID are stored: parts from the disk, playlists by their text */
    struct package_file
        *roots[2]; /* the master playlist of HLS and the manifest of DASH; the first one has the ID BASE */
    size_t root_count;
};

/* Reads the package at PATH: a folder, or the master playlist in it where there are several. BASE: letters,
 * digits, '-', '.', '_' and '~', beginning with a letter or digit. PACKAGE is always ended by
 * package_clear(). False: ERROR says what is wrong in which file. */
MUST_CHECK bool package_read(struct package *package, const char *path, const char *base,
                             struct error *error);
void package_clear(struct package *package);

#endif
