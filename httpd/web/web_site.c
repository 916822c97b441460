/*
 * web_site: copies of the files, since what is being sent holds on to its memory by references that are one loop's.
 */
#include "httpd/web/web_site.h"
#include "httpd/media/gzip_text.h"
#include "httpd/web/web_files.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FETCHED_MAX (4 * 1024 * 1024) /* bytes of a file of the folder */

struct web_site {
    size_t count;
    struct web_page pages[];
};

void web_site_destroy(struct web_site *site)
{
    if (!site)
        return;
    for (size_t i = 0; i < site->count; i++) {
        source_memory_release(site->pages[i].plain);
        source_memory_release(site->pages[i].gzip);
    }
    free(site);
}

/* Of malloc'd BYTES, which are given up in any case. NULL without memory. */
static struct source_memory *memory_of(uint8_t *bytes, size_t size)
{
    struct source_memory *memory = bytes ? source_memory_create(bytes, size) : NULL;
    if (!memory)
        free(bytes);
    return memory;
}

static struct source_memory *copy_of(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    if (copy)
        memcpy(copy, bytes, size);
    return memory_of(copy, size);
}

static bool compress_page(struct web_page *page, struct media_view text)
{
    struct media_buffer packed = {0};
    gzip_text(text, &packed);
    if (!packed.failed && packed.size < text.size)
        page->gzip = copy_of(packed.bytes, packed.size);
    bool good = !packed.failed && (page->gzip || packed.size >= text.size);
    free(packed.bytes);
    return good;
}

static void name_page(struct web_page *page, const char *name, const char *type, struct media_view text)
{
    uint64_t digest = XXH3_64bits(text.bytes, text.size);
    page->name = name;
    page->type = type;
    snprintf(page->etag, sizeof(page->etag), "\"%016" PRIx64 "\"", digest);
    snprintf(page->gzip_etag, sizeof(page->gzip_etag), "\"%016" PRIx64 "-g\"", digest);
}

static bool take_file(struct web_page *page, const struct web_file *file)
{
    struct media_view text = {file->bytes, (size_t)(file->end - file->bytes)};
    name_page(page, file->name, file->type, text);
    page->plain = copy_of(text.bytes, text.size);
    return page->plain && compress_page(page, text);
}

/* ---- what was fetched ---- */

/* All of an open file of 1 to FETCHED_MAX bytes. NULL: it is another one, or cannot be read (errno), or no memory. */
static struct source_memory *web_site_read_whole(int file)
{
    struct stat about;
    if (fstat(file, &about) != 0)
        return NULL;
    errno = EFBIG;
    if (!S_ISREG(about.st_mode) || about.st_size < 1 || about.st_size > FETCHED_MAX)
        return NULL;
    size_t size = (size_t)about.st_size, used = 0;
    uint8_t *bytes = malloc(size);
    while (bytes && used < size) {
        ssize_t count = read(file, bytes + used, size - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            free(bytes);
            return NULL;
        }
        used += (size_t)count;
    }
    return memory_of(bytes, size);
}

/* NULL: it is not there, or (logged) cannot be used. */
static struct source_memory *read_fetched(const char *folder, const char *name, const char *suffix)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
    if (folder[0] == '\0' || length < 0 || (size_t)length >= sizeof(path))
        return NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            log_warning("web", "cannot open %s: %s; the web page does without it", path, strerror(errno));
        return NULL;
    }
    struct source_memory *memory = web_site_read_whole(file);
    if (!memory)
        log_warning("web", "cannot take %s: %s; the web page does without it", path, strerror(errno));
    close(file);
    return memory;
}

/* The compressed form lies beside it, since compressing half a megabyte per loop would take its time at each start. */
static bool take_fetched(struct web_page *page, const char *folder, const char *name, const char *type)
{
    page->plain = read_fetched(folder, name, "");
    if (!page->plain)
        return false;
    page->gzip = read_fetched(folder, name, ".gz");
    name_page(page, name, type, (struct media_view){page->plain->bytes, page->plain->size});
    return true;
}

/* ---- all of them ---- */

struct web_site *web_site_create(const char *folder)
{
    struct web_site *site = calloc(1, sizeof(*site) + (web_file_count + 1) * sizeof(site->pages[0]));
    if (!site)
        return NULL;
    for (; site->count < web_file_count; site->count++) {
        if (!take_file(&site->pages[site->count], &web_files[site->count])) {
            site->count++;
            web_site_destroy(site);
            return NULL;
        }
    }
    if (take_fetched(&site->pages[site->count], folder, WEB_SITE_HLS, "text/javascript; charset=utf-8"))
        site->count++;
    return site;
}

const struct web_page *web_site_find(const struct web_site *site, struct http_text name)
{
    for (size_t i = 0; i < site->count; i++) {
        if (http_text_equal(name, site->pages[i].name))
            return &site->pages[i];
    }
    return NULL;
}
