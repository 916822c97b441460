/*
 * Fuzzes what `reel upload --package` rewrites: playlists of HLS, manifests of DASH and the URIs in them, against a folder that is
 * made up. What comes out is read again: it is as it was but for links, and every link leads to a file of the package.
 */
#include "client/package/package_dash.h"
#include "client/package/package_hls.h"
#include "client/package/package_uri.h"
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#define BASE "base"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sorted, as a folder is. */
static const char *const paths[] = {
    "0.m4s",        "1.m4s",       "2.m4s",          "a b.ts",      "a/1.ts",       "a/2.ts",
    "a/b/i.mp4",    "a/p.m3u8",    "chunk-0001.m4s", "chunk-1.m4s", "chunk-2.m4s",  "init-1.m4s",
    "init.mp4",     "key.bin",     "low.m3u8",       "main.m3u8",   "manifest.mpd", "s-1-1000.m4s",
    "s-1-2000.m4s", "s-1-500.m4s", "v1/seg-1.m4s",   "v1/seg-2.m4s"};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void open_folder(struct package_folder *folder, struct package_file *files)
{
    memset(files, 0, ARRAY_SIZE(paths) * sizeof(*files));
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        files[i].path = strdup(paths[i]);
    *folder = (struct package_folder){
        .path = strdup("/package"), .base = strdup(BASE), .files = files, .count = ARRAY_SIZE(paths)};
}

static void close_folder(struct package_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) {
        const struct package_file *file = &folder->files[i];
        check((file->state == PACKAGE_PART) == (file->id != NULL));
        check(!file->id || (strlen(file->id) <= 127 && strncmp(file->id, BASE "-", sizeof(BASE)) == 0 &&
                            !strchr(file->id, '/')));
        free(file->path);
        free(file->id);
    }
    free(folder->path);
    free(folder->base);
}

/* ---- HLS ---- */

static char *make_link(void *argument, const char *uri, enum package_use use, struct error *error)
{
    struct package_folder *folder = argument;
    char *path = package_uri_resolve("", uri, false, error), *link = NULL;
    if (path && (use == PACKAGE_NEXT || package_folder_want(folder, path, error)))
        link = package_uri_link(BASE, path);
    free(path);
    return link;
}

/* Leaves everything as it is; ARGUMENT: a link must be one that was made. */
static char *keep_link(void *argument, const char *uri, enum package_use use, struct error *error)
{
    (void)use;
    (void)error;
    check(!argument || strncmp(uri, "../" BASE "-", sizeof("../" BASE "-") - 1) == 0);
    return strdup(uri);
}

/* TEXT is a playlist: with its own URIs in their places it stays byte for byte what it is. */
static void check_kept(const char *text, size_t size, bool made)
{
    static bool yes = true;
    const struct package_reader keeper = {.link = keep_link, .argument = made ? &yes : NULL};
    struct error error;
    size_t again_size;
    char *again = package_hls_rewrite(text, size, &keeper, &again_size, &error);
    check(again && again_size == size && memcmp(again, text, size) == 0);
    free(again);
}

static void fuzz_hls(struct package_folder *folder, const char *text, size_t size)
{
    const struct package_reader reader = {.link = make_link, .argument = folder};
    struct error error = {.code = 0};
    size_t made_size;
    char *made = package_hls_rewrite(text, size, &reader, &made_size, &error);
    if (!made) {
        check(error.code != 0 && error.text[0] != '\0');
        return;
    }
    check(strlen(made) == made_size);
    check_kept(text, size, false);
    check_kept(made, made_size, true);
    free(made);
}

/* ---- DASH ---- */

struct counts {
    size_t elements, attributes;
};

static void XMLCALL count_element(void *argument, const char *name, const char **attributes)
{
    struct counts *counts = argument;
    (void)name;
    counts->elements++;
    for (; attributes[0]; attributes += 2)
        counts->attributes++;
}

static struct counts count(const char *text, size_t size)
{
    struct counts counts = {0, 0};
    XML_Parser parser = XML_ParserCreate("UTF-8");
    XML_SetUserData(parser, &counts);
    XML_SetStartElementHandler(parser, count_element);
    check(XML_Parse(parser, text, (int)size, XML_TRUE) == XML_STATUS_OK);
    XML_ParserFree(parser);
    return counts;
}

static void fuzz_dash(struct package_folder *folder, const char *directory, const char *text, size_t size)
{
    struct error error = {.code = 0};
    size_t made_size;
    char *made = package_dash_rewrite(folder, directory, text, size, &made_size, &error);
    if (!made) {
        check(error.code != 0 && error.text[0] != '\0');
        return;
    }
    check(strlen(made) == made_size);
    struct counts before = count(text, size), after = count(made, made_size);
    check(before.elements == after.elements && before.attributes == after.attributes);
    free(made);
}

/* ---- URIs ---- */

/* A link leads to the file ID of its path, by the same rules, and keeps what templates say. */
static void fuzz_uri(const char *uri, bool templates)
{
    struct error error;
    char *path = package_uri_resolve("a/b/", uri, templates, &error);
    if (!path)
        return;
    check(path[0] != '/' && strncmp(path, "../", 3) != 0 && !strstr(path, "/../"));
    char *link = package_uri_link(BASE, path), *id = package_uri_file_id(BASE, path), *wanted = NULL;
    const char *name = strrchr(path, '/');
    check(link && id && asprintf(&wanted, "%s/%s", id, name ? name + 1 : path) >= 0);
    char *back = strlen(link) < 4000 ? package_uri_resolve("z/", link, templates, &error) : NULL;
    check(strlen(link) >= 4000 || (back && strcmp(back, wanted) == 0));
    char *filled = package_uri_fill(path, 7), *named = package_uri_name(path, "v1", "500");
    uint64_t value = 0;
    check(filled && named);
    check(!package_uri_has(path, 0) == (strcmp(filled, path) == 0 && strcmp(named, path) == 0));
    (void)package_uri_matches(path, filled, &value);
    free(filled);
    free(named);
    free(back);
    free(wanted);
    free(id);
    free(link);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct package_file files[ARRAY_SIZE(paths)];
    struct package_folder folder;
    char *text = malloc(size + 1);
    if (!text || size == 0 || memchr(data, '\0', size)) { /* a file with a NUL is refused when it is read */
        free(text);
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    for (int below = 0; below < 2; below++) {
        open_folder(&folder, files);
        if (text[0] == '<')
            fuzz_dash(&folder, below ? "a/" : "", text, size);
        else if (!below)
            fuzz_hls(&folder, text, size);
        close_folder(&folder);
    }
    fuzz_uri(text, true);
    fuzz_uri(text, false);
    free(text);
    return 0;
}
