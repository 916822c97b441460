/*
 * web_site: copies of the files, since what is being sent holds on to its memory by references that are one loop's.
 */
#include "httpd/web/web_site.h"
#include "httpd/media/gzip_text.h"
#include "httpd/web/web_files.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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

/* NULL without memory. */
static struct source_memory *copy_of(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    if (!copy)
        return NULL;
    memcpy(copy, bytes, size);
    struct source_memory *memory = source_memory_create(copy, size);
    if (!memory)
        free(copy);
    return memory;
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

static bool take_file(struct web_page *page, const struct web_file *file)
{
    struct media_view text = {file->bytes, (size_t)(file->end - file->bytes)};
    uint64_t digest = XXH3_64bits(text.bytes, text.size);
    page->name = file->name;
    page->type = file->type;
    snprintf(page->etag, sizeof(page->etag), "\"%016" PRIx64 "\"", digest);
    snprintf(page->gzip_etag, sizeof(page->gzip_etag), "\"%016" PRIx64 "-g\"", digest);
    page->plain = copy_of(text.bytes, text.size);
    return page->plain && compress_page(page, text);
}

struct web_site *web_site_create(void)
{
    struct web_site *site = calloc(1, sizeof(*site) + web_file_count * sizeof(site->pages[0]));
    if (!site)
        return NULL;
    for (; site->count < web_file_count; site->count++) {
        if (!take_file(&site->pages[site->count], &web_files[site->count])) {
            site->count++;
            web_site_destroy(site);
            return NULL;
        }
    }
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
