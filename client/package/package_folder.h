/*
 * package_folder: what is in the folder of a package, which of it is wanted, and under which file ID. Reads
 * directories and playlists of the local disk, and blocks for it; one thread.
 */
#ifndef REEL_CLIENT_PACKAGE_FOLDER_H
#define REEL_CLIENT_PACKAGE_FOLDER_H

#include "common/base/base.h"
#include "common/base/error.h"

#define PACKAGE_FILES_MAX    100000             /* of a folder */
#define PACKAGE_PLAYLIST_MAX ((size_t)16 << 20) /* bytes of a playlist or manifest */

enum package_state { PACKAGE_UNUSED, PACKAGE_PART, PACKAGE_OPEN, PACKAGE_PLAYLIST };

struct package_file {
    char *path; /* below the folder */
    char *id;   /* the file ID; NULL while it is not wanted */
    enum package_state state;
    bool named;  /* another playlist names it */
    char *text;  /* of a playlist: as it is stored */
    size_t size; /* of text */
    int order;   /* of playlists: those that are named come before those that name them */
};

struct package_folder {
    char *path;                 /* the real one, without a slash at its end */
    char *base;                 /* the file ID that all others begin with */
    struct package_file *files; /* sorted by path */
    size_t count;
    int playlists; /* how many are read */
};

/* Lists the folder at PATH, all that is below it. Links that lead out of it, and what is neither file nor
 * directory, are not part of it. FOLDER is always ended by package_folder_clear(). */
MUST_CHECK bool package_folder_open(struct package_folder *folder, const char *path, const char *base,
                                    struct error *error);
void package_folder_clear(struct package_folder *folder);

/* The file at PATH below the folder; NULL: there is none. */
struct package_file *package_folder_find(const struct package_folder *folder, const char *path);

/* PATH is wanted as a part: it is there, is no playlist, and its file ID fits. */
MUST_CHECK bool package_folder_want(struct package_folder *folder, const char *path, struct error *error);

/* Gives FILE its file ID, ID or, where that is NULL, the one of its path. */
MUST_CHECK bool package_folder_name(struct package_folder *folder, struct package_file *file, const char *id,
                                    struct error *error);

/* No two files that are wanted have the same ID ("a/b.ts", "a-b.ts"). */
MUST_CHECK bool package_folder_distinct(const struct package_folder *folder, struct error *error);

/* How many files are what PATTERN means (package_uri_matches()). */
size_t package_folder_matching(const struct package_folder *folder, const char *pattern);

/* True by the extension: .m3u8, .m3u; .mpd. */
bool package_is_hls(const char *path);
bool package_is_dash(const char *path);

/* The content of FILE, with a NUL behind it; owned by the caller. NULL: ERROR. */
char *package_folder_read(const struct package_folder *folder, const struct package_file *file, size_t *size,
                          struct error *error);

#endif
