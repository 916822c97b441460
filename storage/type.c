/*
 * type: libmagic with a free list of its handles (a handle serves one thread at a time), and a small table of
 * extensions. Reads libmagic's database on the first use.
 */
#include "storage/type.h"

#include "common/log.h"

#include <magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROOM        "type"
#define GENERIC     "application/octet-stream"
#define HANDLES_MAX 8

struct types {
    pthread_mutex_t mutex;
    magic_t free[HANDLES_MAX];
    size_t free_count;
    bool broken; /* libmagic has no database here: said once */
};

/* Kinds that libmagic calls plain text or data. BEGINS: what the content must begin with, where the kind has
 * that. */
static const struct extension {
    const char *extension;
    const char *begins;
    const char *type;
} extensions[] = {
    {"m3u8", "#EXTM3U", "application/vnd.apple.mpegurl"},
    {"m3u", "", "audio/x-mpegurl"},
    {"mpd", "", "application/dash+xml"},
    {"vtt", "WEBVTT", "text/vtt"},
    {"srt", "", "application/x-subrip"},
    {"ass", "", "text/x-ssa"},
    {"ts", "G", "video/mp2t"},
    {"m4s", "", "video/iso.segment"},
    {"css", "", "text/css"},
    {"csv", "", "text/csv"},
    {"js", "", "text/javascript"},
    {"json", "", "application/json"},
    {"md", "", "text/markdown"},
    {"mjs", "", "text/javascript"},
};

/* What libmagic says in its own way of something that has a registered name. */
static const struct alias {
    const char *said;
    const char *type;
} aliases[] = {
    {"audio/x-wav", "audio/wav"}, {"audio/x-hx-aac-adts", "audio/aac"}, {"audio/x-flac", "audio/flac"},
    {"video/x-m4v", "video/mp4"}, {"audio/x-m4a", "audio/mp4"},
};

struct types *types_create(void)
{
    struct types *types = calloc(1, sizeof(*types));
    if (!types)
        return NULL;
    pthread_mutex_init(&types->mutex, NULL);
    return types;
}

void types_destroy(struct types *types)
{
    if (!types)
        return;
    for (size_t i = 0; i < types->free_count; i++)
        magic_close(types->free[i]);
    pthread_mutex_destroy(&types->mutex);
    free(types);
}

static magic_t take_handle(struct types *types)
{
    magic_t handle = NULL;
    pthread_mutex_lock(&types->mutex);
    if (types->free_count > 0)
        handle = types->free[--types->free_count];
    bool broken = types->broken;
    pthread_mutex_unlock(&types->mutex);
    if (handle || broken)
        return handle;

    handle = magic_open(MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TOKENS);
    if (handle && magic_load(handle, NULL) == 0)
        return handle;
    pthread_mutex_lock(&types->mutex);
    bool first = !types->broken;
    types->broken = true;
    pthread_mutex_unlock(&types->mutex);
    if (first)
        log_warning(ROOM, "content types come from file names only: libmagic: %s",
                    handle ? magic_error(handle) : "no memory");
    if (handle)
        magic_close(handle);
    return NULL;
}

static void give_handle(struct types *types, magic_t handle)
{
    pthread_mutex_lock(&types->mutex);
    bool kept = types->free_count < HANDLES_MAX;
    if (kept)
        types->free[types->free_count++] = handle;
    pthread_mutex_unlock(&types->mutex);
    if (!kept)
        magic_close(handle);
}

static bool is_media_type(const char *text)
{
    if (!strchr(text, '/') || strlen(text) >= PROTO_CONTENT_TYPE_SIZE || strncmp(text, "inode/", 6) == 0)
        return false;
    for (const char *c = text; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f)
            return false;
    }
    return true;
}

static void ask_magic(struct types *types, const void *bytes, size_t size, char type[PROTO_CONTENT_TYPE_SIZE])
{
    memcpy(type, GENERIC, sizeof(GENERIC));
    magic_t handle = size > 0 ? take_handle(types) : NULL;
    if (!handle)
        return;
    const char *said = magic_buffer(handle, bytes, size);
    if (said && is_media_type(said)) {
        for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
            if (strcmp(said, aliases[i].said) == 0)
                said = aliases[i].type;
        }
        memcpy(type, said, strlen(said) + 1);
    }
    give_handle(types, handle);
}

static const char *type_of_extension(const char *name, const void *bytes, size_t size)
{
    const char *dot = strrchr(name, '.');
    if (!dot)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
        const struct extension *row = &extensions[i];
        size_t begins = strlen(row->begins);
        if (strcasecmp(dot + 1, row->extension) == 0 && size >= begins &&
            memcmp(bytes, row->begins, begins) == 0)
            return row->type;
    }
    return NULL;
}

void types_find(struct types *types, const void *bytes, size_t size, const char *name,
                char type[PROTO_CONTENT_TYPE_SIZE])
{
    /* A playlist, a subtitle or a segment is sure by its name and its first bytes. */
    const char *named = type_of_extension(name, bytes, size);
    ask_magic(types, bytes, min_size(size, TYPE_BYTES), type);
    if (named && (type_is_generic(type) || strncmp(type, "text/", 5) == 0 ||
                  strcmp(type, "application/json") == 0 || strncmp(type, "application/x-", 14) == 0))
        memcpy(type, named, strlen(named) + 1);
}

bool type_is_generic(const char *type)
{
    return type[0] == '\0' || strcasecmp(type, GENERIC) == 0 || strcasecmp(type, "binary/octet-stream") == 0;
}
