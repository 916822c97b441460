/*
 * package: from the playlists at the top of the folder down to the segments.
 */
#include "client/package/package.h"

#include "client/package/package_dash.h"
#include "client/package/package_hls.h"
#include "client/package/package_uri.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NESTING_MAX 8 /* playlists that name playlists */

/* A playlist that is being read. */
struct visit {
    struct package *package;
    char *directory;
    int depth;
};

static bool read_playlist(struct package *package, struct package_file *file, int depth, struct error *error);

/* A playlist that another one names. */
static bool read_named(struct visit *visit, const char *path, struct error *error)
{
    struct package_file *file = package_folder_find(&visit->package->folder, path);

    if (!file)
        return error_set(error, ERROR_NOT_FOUND, "%s is not in the folder", path);
    if (file->state == PACKAGE_OPEN)
        return error_set(error, ERROR_MALFORMED, "%s names itself, or what it names leads back to it", path);
    if (!package_is_hls(path))
        return error_set(error, ERROR_MALFORMED,
                         "%s is referenced as a playlist, but its name does not end in .m3u8", path);
    if (visit->depth == NESTING_MAX)
        return error_set(error, ERROR_MALFORMED, "playlists name playlists more than %d deep", NESTING_MAX);
    file->named = true;
    return file->state == PACKAGE_PLAYLIST || read_playlist(visit->package, file, visit->depth + 1, error);
}

static char *link_of(void *argument, const char *uri, enum package_use use, struct error *error)
{
    struct visit *visit = argument;
    struct package_folder *folder = &visit->package->folder;
    struct error why;
    char *path = package_uri_resolve(visit->directory, uri, false, &why), *link = NULL;

    if (!path) {
        (void)error_set(error, why.code, "%s: %s", uri, why.text);
        return NULL;
    }
    if (use == PACKAGE_NEXT ? read_named(visit, path, error) : package_folder_want(folder, path, error)) {
        link = package_uri_link(folder->base, path);
        if (!link)
            (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
    }
    free(path);
    return link;
}

static char *rewrite(struct visit *visit, struct package_file *file, const char *text, size_t size,
                     struct error *error)
{
    struct package_reader reader = {.link = link_of, .argument = visit};

    return package_is_dash(file->path) ? package_dash_rewrite(&visit->package->folder, visit->directory, text,
                                                              size, &file->size, error)
                                       : package_hls_rewrite(text, size, &reader, &file->size, error);
}

static bool read_playlist(struct package *package, struct package_file *file, int depth, struct error *error)
{
    struct visit visit = {.package = package, .directory = package_uri_directory(file->path), .depth = depth};
    struct error why;
    size_t size;
    char *text = package_folder_read(&package->folder, file, &size, error);

    file->state = PACKAGE_OPEN;
    if (text && !visit.directory)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
    else if (text && !(file->text = rewrite(&visit, file, text, size, &why)))
        (void)error_set(error, why.code, "%s: %s", file->path, why.text);
    free(visit.directory);
    free(text);
    if (!file->text)
        return false;
    file->state = PACKAGE_PLAYLIST;
    file->order = package->folder.playlists++;
    return package_folder_name(&package->folder, file, NULL, error);
}

/* ---- the beginning ---- */

static bool check_base(const char *base, struct error *error)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~";

    if (base[0] != '\0' && !strchr("-._~", base[0]) && base[strspn(base, plain)] == '\0')
        return true;
    return error_set(error, ERROR_MALFORMED,
                     "the file ID of a package has letters, digits, '-', '.', '_' and '~', and begins with a "
                     "letter or a digit: \"%s\"",
                     base);
}

/* What no other playlist names, of one kind. */
static bool find_root(struct package *package, bool (*is_kind)(const char *path), struct error *error)
{
    struct package_folder *folder = &package->folder;
    struct package_file *root = NULL;

    for (size_t i = 0; i < folder->count; i++) {
        struct package_file *file = &folder->files[i];

        if (file->state != PACKAGE_PLAYLIST || file->named || !is_kind(file->path))
            continue;
        if (root)
            return error_set(
                error, ERROR_MALFORMED,
                "no playlist names %s, and none names %s: give the one that is meant, %s/%s or %s/%s",
                root->path, file->path, folder->path, root->path, folder->path, file->path);
        root = file;
    }
    if (root)
        package->roots[package->root_count++] = root;
    return true;
}

/* All playlists at the top of the folder. */
static bool read_top(struct package *package, struct error *error)
{
    struct package_folder *folder = &package->folder;
    bool found = false;

    for (size_t i = 0; i < folder->count; i++) {
        struct package_file *file = &folder->files[i];

        if (strchr(file->path, '/') || (!package_is_hls(file->path) && !package_is_dash(file->path)))
            continue;
        found = true;
        if (file->state == PACKAGE_UNUSED && !read_playlist(package, file, 0, error))
            return false;
    }
    return found || error_set(error, ERROR_NOT_FOUND,
                              "%s has no playlist (.m3u8) and no manifest (.mpd) at its top", folder->path);
}

/* The folder that PATH is, or that the playlist PATH lies in; *NAME: the playlist's name, or NULL. */
static char *package_split_path(const char *path, const char **name, struct error *error)
{
    const char *slash = strrchr(path, '/');
    struct stat status;
    char *folder;

    *name = NULL;
    if (stat(path, &status) != 0) {
        (void)error_set_errno(error, errno, "%s", path);
        return NULL;
    }
    if (S_ISDIR(status.st_mode)) {
        folder = strdup(path);
    } else if (!package_is_hls(path) && !package_is_dash(path)) {
        (void)error_set(error, ERROR_MALFORMED, "%s is neither a folder nor a playlist (.m3u8, .mpd)", path);
        return NULL;
    } else {
        *name = slash ? slash + 1 : path;
        folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    }
    if (!folder)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
    return folder;
}

static bool read_chosen(struct package *package, const char *name, struct error *error)
{
    struct package_file *file = package_folder_find(&package->folder, name);

    return file ? read_playlist(package, file, 0, error)
                : error_set(error, ERROR_NOT_FOUND, "%s leads out of its folder", name);
}

bool package_read(struct package *package, const char *path, const char *base, struct error *error)
{
    const char *name;
    char *folder;
    bool good;

    memset(package, 0, sizeof(*package));
    folder = check_base(base, error) ? package_split_path(path, &name, error) : NULL;
    good = folder && package_folder_open(&package->folder, folder, base, error) &&
           (name ? read_chosen(package, name, error) : read_top(package, error)) &&
           find_root(package, package_is_hls, error) && find_root(package, package_is_dash, error) &&
           package_folder_name(&package->folder, package->roots[0], base, error) &&
           package_folder_distinct(&package->folder, error);
    free(folder);
    return good;
}

void package_clear(struct package *package)
{
    package_folder_clear(&package->folder);
    memset(package, 0, sizeof(*package));
}
