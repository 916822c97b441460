/*
 * package_folder: lists a folder, keeps what is wanted of it.
 */
#include "client/package/package_folder.h"

#include "client/package/package_uri.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_BYTES 127 /* of a file ID, as the protocol has it */

static int folder_compare_files(const void *left, const void *right)
{
    const struct package_file *a = left, *b = right;

    return strcmp(a->path, b->path);
}

static int folder_compare_ids(const void *left, const void *right)
{
    const struct package_file *const *a = left, *const *b = right;

    return strcmp((*a)->id, (*b)->id);
}

/* Whether what ENTRY names is a regular file inside of the folder. */
static bool is_inside(const struct package_folder *folder, const FTSENT *entry)
{
    char real[PATH_MAX];
    size_t size = strlen(folder->path);
    struct stat status;

    if (entry->fts_info == FTS_F)
        return true;
    return entry->fts_info == FTS_SL && realpath(entry->fts_path, real) &&
           strncmp(real, folder->path, size) == 0 && real[size] == '/' && stat(real, &status) == 0 &&
           S_ISREG(status.st_mode);
}

static bool add_file(struct package_folder *folder, size_t *room, const char *path, struct error *error)
{
    if (folder->count == PACKAGE_FILES_MAX)
        return error_set(error, ERROR_MALFORMED, "%s has more than %d files", folder->path,
                         PACKAGE_FILES_MAX);
    if (folder->count == *room) {
        size_t more = *room > 0 ? 2 * *room : 64;
        struct package_file *larger = realloc(folder->files, more * sizeof(*larger));

        if (!larger)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for a list of files");
        folder->files = larger;
        *room = more;
    }
    folder->files[folder->count] = (struct package_file){.path = strdup(path)};
    if (!folder->files[folder->count].path)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a list of files");
    folder->count++;
    return true;
}

static bool list_files(struct package_folder *folder, struct error *error)
{
    char *paths[] = {folder->path, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    size_t room = 0, before = strlen(folder->path) + 1;
    bool good = tree != NULL;
    FTSENT *entry;

    if (!tree)
        return error_set_errno(error, errno, "%s", folder->path);
    while (good && (entry = fts_read(tree))) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
            good = error_set_errno(error, entry->fts_errno, "%s", entry->fts_path);
        else if (is_inside(folder, entry))
            good = add_file(folder, &room, entry->fts_path + before, error);
    }
    (void)fts_close(tree);
    if (good && folder->count > 1)
        qsort(folder->files, folder->count, sizeof(*folder->files), folder_compare_files);
    return good;
}

bool package_folder_open(struct package_folder *folder, const char *path, const char *base,
                         struct error *error)
{
    struct stat status;

    *folder = (struct package_folder){.path = realpath(path, NULL), .base = strdup(base)};
    if (!folder->path)
        return error_set_errno(error, errno, "%s", path);
    if (!folder->base)
        return error_set(error, ERROR_UNAVAILABLE, "no memory");
    if (folder->path[1] == '\0')
        return error_set(error, ERROR_MALFORMED, "/ cannot be stored as one package");
    if (stat(folder->path, &status) != 0 || !S_ISDIR(status.st_mode))
        return error_set_errno(error, ENOTDIR, "%s", path);
    return list_files(folder, error);
}

void package_folder_clear(struct package_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->files[i].path);
        free(folder->files[i].id);
        free(folder->files[i].text);
    }
    free(folder->files);
    free(folder->base);
    free(folder->path);
    memset(folder, 0, sizeof(*folder));
}

struct package_file *package_folder_find(const struct package_folder *folder, const char *path)
{
    struct package_file wanted = {.path = strdupa(path)};

    return folder->count == 0
               ? NULL
               : bsearch(&wanted, folder->files, folder->count, sizeof(*folder->files), folder_compare_files);
}

bool package_folder_name(struct package_folder *folder, struct package_file *file, const char *id,
                         struct error *error)
{
    free(file->id);
    file->id = id ? strdup(id) : package_uri_file_id(folder->base, file->path);
    if (!file->id)
        return error_set(error, ERROR_UNAVAILABLE, "no memory");
    if (strlen(file->id) > ID_BYTES)
        return error_set(error, ERROR_MALFORMED,
                         "%s: its file ID would be %s, which is longer than %d bytes; use shorter file "
                         "names, or a shorter "
                         "--file-id",
                         file->path, file->id, ID_BYTES);
    return true;
}

bool package_folder_want(struct package_folder *folder, const char *path, struct error *error)
{
    struct package_file *file = package_folder_find(folder, path);

    if (!file)
        return error_set(error, ERROR_NOT_FOUND, "%s is not in the folder", path);
    if (file->state == PACKAGE_PART)
        return true;
    if (package_is_hls(path) || package_is_dash(path))
        return error_set(error, ERROR_MALFORMED, "%s is a playlist, where a segment is expected", path);
    file->state = PACKAGE_PART;
    return package_folder_name(folder, file, NULL, error);
}

size_t package_folder_matching(const struct package_folder *folder, const char *pattern)
{
    size_t count = 0;

    for (size_t i = 0; i < folder->count; i++)
        count += package_uri_matches(pattern, folder->files[i].path, NULL) ? 1 : 0;
    return count;
}

bool package_folder_distinct(const struct package_folder *folder, struct error *error)
{
    struct package_file **named = calloc(folder->count + 1, sizeof(struct package_file *));
    size_t count = 0;
    bool good = true;

    if (!named)
        return error_set(error, ERROR_UNAVAILABLE, "no memory");
    for (size_t i = 0; i < folder->count; i++)
        if (folder->files[i].id)
            named[count++] = &folder->files[i];
    qsort(named, count, sizeof(struct package_file *), folder_compare_ids);
    for (size_t i = 1; i < count && good; i++)
        if (strcmp(named[i - 1]->id, named[i]->id) == 0)
            good = error_set(error, ERROR_MALFORMED, "%s and %s would have the same file ID, %s; rename one",
                             named[i - 1]->path, named[i]->path, named[i]->id);
    free(named);
    return good;
}

static bool has_extension(const char *path, const char *extension)
{
    const char *dot = strrchr(path, '.');

    return dot && strcasecmp(dot + 1, extension) == 0;
}

bool package_is_hls(const char *path)
{
    return has_extension(path, "m3u8") || has_extension(path, "m3u");
}

bool package_is_dash(const char *path)
{
    return has_extension(path, "mpd");
}

char *package_folder_read(const struct package_folder *folder, const struct package_file *file, size_t *size,
                          struct error *error)
{
    char *path = NULL, *text = NULL;
    struct stat status;
    int fd = -1;

    *size = 0;
    if (asprintf(&path, "%s/%s", folder->path, file->path) < 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
        return NULL;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    free(path);
    if (fd < 0 || fstat(fd, &status) != 0) {
        (void)error_set_errno(error, errno, "%s", file->path);
    } else if (!S_ISREG(status.st_mode) || (size_t)status.st_size > PACKAGE_PLAYLIST_MAX) {
        (void)error_set(error, ERROR_MALFORMED, "%s is larger than %zu MiB, too large for a playlist",
                        file->path, PACKAGE_PLAYLIST_MAX >> 20);
    } else if (!(text = malloc((size_t)status.st_size + 1))) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for %s", file->path);
    } else {
        ssize_t got;

        while (*size < (size_t)status.st_size &&
               (got = read(fd, text + *size, (size_t)status.st_size - *size)) > 0)
            *size += (size_t)got;
        text[*size] = '\0';
        if (*size < (size_t)status.st_size || strlen(text) != *size) {
            (void)error_set(error, ERROR_MALFORMED, "%s cannot be read to its end, or has a NUL inside",
                            file->path);
            free(text);
            text = NULL;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return text;
}
