/*
 * type: libmagic with two handles (a handle serves one thread at a time, and maps the database anew), and a
 * small table of extensions. Reads libmagic's database on the first use.
 */
#include "storage/admit/type.h"

#include "common/base/log.h"

#include <magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ROOM    "type"
#define GENERIC "application/octet-stream"
#define HANDLES 2

struct handle {
    pthread_mutex_t mutex; /* held while libmagic looks at a file: a tenth of a millisecond to one */
    magic_t magic;         /* NULL: not loaded yet */
    bool broken;           /* libmagic has no database here */
};

struct types {
    struct handle handles[HANDLES];
    atomic_uint next;
    atomic_bool told; /* of the missing database */
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
    for (size_t i = 0; i < HANDLES; i++)
        pthread_mutex_init(&types->handles[i].mutex, NULL);
    return types;
}

void types_destroy(struct types *types)
{
    if (!types)
        return;
    for (size_t i = 0; i < HANDLES; i++) {
        if (types->handles[i].magic)
            magic_close(types->handles[i].magic);
        pthread_mutex_destroy(&types->handles[i].mutex);
    }
    free(types);
}

/* Held by the caller, who unlocks its mutex. */
static struct handle *hold_handle(struct types *types)
{
    for (size_t i = 0; i < HANDLES; i++) {
        if (pthread_mutex_trylock(&types->handles[i].mutex) == 0)
            return &types->handles[i];
    }
    struct handle *handle = &types->handles[atomic_fetch_add(&types->next, 1) % HANDLES];
    pthread_mutex_lock(&handle->mutex);
    return handle;
}

static bool load_database(struct types *types, struct handle *handle)
{
    if (handle->magic || handle->broken)
        return handle->magic != NULL;
    magic_t magic = magic_open(MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TOKENS);
    if (magic && magic_load(magic, NULL) == 0) {
        handle->magic = magic;
        return true;
    }
    handle->broken = true;
    if (!atomic_exchange(&types->told, true))
        log_warning(ROOM, "content types come from file names only: libmagic: %s",
                    magic ? magic_error(magic) : "no memory");
    if (magic)
        magic_close(magic);
    return false;
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
    if (size == 0)
        return;
    struct handle *handle = hold_handle(types);
    const char *said = load_database(types, handle) ? magic_buffer(handle->magic, bytes, size) : NULL;
    if (said && is_media_type(said)) {
        for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
            if (strcmp(said, aliases[i].said) == 0)
                said = aliases[i].type;
        }
        memcpy(type, said, strlen(said) + 1);
    }
    pthread_mutex_unlock(&handle->mutex);
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
