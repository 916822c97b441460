/*
 * http_lookup: a table by key with the least recently used entry first, questions under way, and who waits for them.
 */
#include "httpd/files/http_lookup.h"
#include "common/base/clock.h"
#include "common/base/lru.h"
#include "common/proto/digest.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/loop/wait_list.h"
#include "httpd/files/http_sniff.h"
#include "common/media/media_type.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <xxhash.h>

#define KEY_BYTES_MAX (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + PROTO_FILE_SIZE)

/* Part of its life after which an entry in use is asked for again ahead of time, so that a busy file never
 * waits. */
#define REFRESH_PERCENT 80

/* Texts of this size are compressed for those who take it. */
#define PACKED_MIN 512
#define PACKED_MAX (1024 * 1024)

struct http_lookup_wait {
    struct wait wait;
    http_lookup_callback callback;
    void *argument;
    struct http_lookup_file *file; /* the answer: a file with a reference for the callee, or why not */
    const struct error *error;
};

struct entry {
    struct lru_node node;
    struct http_lookup *lookup;
    struct client_operation *operation; /* under way, or NULL */
    struct http_sniff *sniff;           /* then under way, or NULL */
    struct http_lookup_file *described; /* what it is for: all but the type is known */
    struct http_lookup_file *file;      /* NULL: not known, or absent */
    bool absent;
    bool changed;     /* since the question under way was asked */
    int64_t asked_ms; /* what is known is as old as the question */
    int64_t question_ms;
    struct wait_list waits;
    size_t key_size;
    char key[];
};

struct http_lookup {
    struct http_lookup_options options;
    uint64_t seed;      /* keys come from strangers, who must not be able to choose keys that collide */
    struct lru entries; /* in the order of their use */
    uint64_t questions;
    struct metric *hits, *misses, *absences;
};

struct http_lookup *http_lookup_create(const struct http_lookup_options *options, struct error *error)
{
    struct http_lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup) {
        error_set(error, ERROR_UNAVAILABLE, "no memory for the table of files");
        return NULL;
    }
    lookup->seed = lru_seed();
    lookup->options = *options;
    lru_init(&lookup->entries);
    const char *help = "Look-ups of files by how they were answered.";
    lookup->hits = metrics_counter("reel_httpd_lookups_total", help, "result=\"cached\"");
    lookup->misses = metrics_counter("reel_httpd_lookups_total", help, "result=\"asked\"");
    lookup->absences = metrics_counter("reel_httpd_lookups_total", help, "result=\"cached_absent\"");
    return lookup;
}

void http_lookup_set_ages(struct http_lookup *lookup, int64_t age_ms, int64_t negative_age_ms)
{
    lookup->options.age_ms = age_ms;
    lookup->options.negative_age_ms = negative_age_ms;
}

struct http_lookup_file *http_lookup_file_take(struct http_lookup_file *file)
{
    file->references++;
    return file;
}

void http_lookup_file_release(struct http_lookup_file *file)
{
    if (file && --file->references == 0)
        free(file);
}

struct http_lookup_file *http_lookup_file_derive(const struct http_lookup_file *file, const char *suffix,
                                                 int64_t size, const char *type)
{
    struct http_lookup_file *derived = malloc(sizeof(*derived));
    if (!derived)
        return NULL;
    *derived = *file;
    size_t bare = strlen(file->etag) - 1; /* without its last quote */
    snprintf(derived->etag, sizeof(derived->etag), "%.*s-%.24s\"", (int)min_size(bare, 33), file->etag,
             suffix);
    snprintf(derived->content_type, sizeof(derived->content_type), "%s", type);
    derived->stat.size = size;
    derived->volume = NULL;
    derived->hint = (struct open_hint){0};
    derived->references = 1;
    derived->derived = true;
    return derived;
}

/* Texts that are worth compressing. */
static bool lookup_is_packed(const struct http_lookup_file *file)
{
    static const char *const types[] = {
        "application/vnd.apple.mpegurl", "audio/mpegurl",    "application/dash+xml", "text/vtt",
        "application/x-subrip",          "application/json", "image/svg+xml"};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (media_type_is(file->content_type, types[i]))
            return file->stat.size >= PACKED_MIN && file->stat.size <= PACKED_MAX;
    }
    return false;
}

/* ---- entries ---- */

static size_t lookup_make_key(const struct proto_file_key *key, char out[KEY_BYTES_MAX])
{
    size_t application = strnlen(key->application, PROTO_APPLICATION_SIZE - 1) + 1;
    size_t user = strnlen(key->user, PROTO_USER_SIZE - 1) + 1;
    size_t file = strnlen(key->file, PROTO_FILE_SIZE - 1) + 1;
    memcpy(out, key->application, application);
    memcpy(out + application, key->user, user);
    memcpy(out + application + user, key->file, file);
    return application + user + file;
}

/* Takes it out of the table and frees it; nobody may wait for it. */
static void entry_drop(struct entry *entry)
{
    struct http_lookup *lookup = entry->lookup;
    ASSERT(entry->waits.count == 0);
    lru_remove(&lookup->entries, &entry->node);
    if (entry->operation)
        client_cancel(entry->operation);
    http_sniff_cancel(entry->sniff);
    http_lookup_file_release(entry->described);
    http_lookup_file_release(entry->file);
    free(entry);
}

/* Makes room for one more: the least recently used entry that nobody waits for goes. */
static void lookup_make_room(struct http_lookup *lookup)
{
    struct lru_node *node, *next;
    for (node = lru_oldest(&lookup->entries); node && lookup->entries.count >= lookup->options.entries_max;
         node = next) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        next = lru_younger(node);
        if (entry->waits.count == 0)
            entry_drop(entry);
    }
}

static struct entry *entry_create(struct http_lookup *lookup, const char *key, size_t key_size)
{
    lookup_make_room(lookup);
    struct entry *entry = calloc(1, sizeof(*entry) + key_size);
    if (!entry)
        return NULL;
    entry->lookup = lookup;
    entry->key_size = key_size;
    memcpy(entry->key, key, key_size);
    wait_list_init(&entry->waits, NULL, NULL);
    const struct lru_key own = lru_key_make(lookup->seed, entry->key, key_size);
    if (!lru_add(&lookup->entries, &entry->node, &own)) {
        free(entry);
        return NULL;
    }
    return entry;
}

void http_lookup_destroy(struct http_lookup *lookup)
{
    if (!lookup)
        return;
    while (lookup->entries.count > 0)
        entry_drop(CONTAINER_OF(lru_oldest(&lookup->entries), struct entry, node));
    free(lookup);
}

/* ---- asking ---- */

/* The validators of a row. The entity tag is the digest; a row without one (stored by a predecessor, not
 * scrubbed yet) gets one out of file ID, size and time of upload: the same on every server, and as strong,
 * since the bytes of a file ID never change. Pure. */
static void lookup_file_describe(struct http_lookup_file *file)
{
    char hex[DIGEST_HEX_SIZE];
    uint8_t made[PROTO_DIGEST_SIZE];
    const uint8_t *digest = file->stat.digest;
    if (!file->stat.has_digest) {
        uint8_t text[PROTO_FILE_SIZE + 16] = {0};
        for (int i = 0; i < 8; i++) {
            text[i] = (uint8_t)((uint64_t)file->stat.size >> (56 - 8 * i));
            text[8 + i] = (uint8_t)((uint64_t)file->stat.created >> (56 - 8 * i));
        }
        memcpy(text + 16, file->key.file, strnlen(file->key.file, PROTO_FILE_SIZE));
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, sizeof(text)));
        memcpy(made, canonical.digest, sizeof(made));
        digest = made;
    }
    snprintf(file->etag, sizeof(file->etag), "\"%s\"", digest_to_hex(digest, hex));
    file->last_modified = max_i64(file->stat.created, 0);
    file->last_modified_text[0] = '\0';
    if (file->last_modified > 0)
        http_date_format(file->last_modified, file->last_modified_text);
}

static void entry_key(const struct entry *entry, struct proto_file_key *key)
{
    const char *at = entry->key;
    memset(key, 0, sizeof(*key));
    snprintf(key->application, sizeof(key->application), "%s", at);
    at += strlen(at) + 1;
    snprintf(key->user, sizeof(key->user), "%s", at);
    at += strlen(at) + 1;
    snprintf(key->file, sizeof(key->file), "%s", at);
}

static struct http_lookup_file *file_create(const struct entry *entry, const struct proto_stat *stat)
{
    struct http_lookup_file *file = calloc(1, sizeof(*file));
    if (!file)
        return NULL;
    entry_key(entry, &file->key);
    file->stat = *stat;
    file->references = 1;
    lookup_file_describe(file);
    return file;
}

static void answer_waits(struct entry *entry, const struct error *error)
{
    struct wait_list waits;
    struct wait *wait;
    /* A callback may begin another look-up, also of this file, or cancel another wait: the list is taken off
     * first, and ENTRY is not touched again. */
    wait_list_init(&waits, NULL, NULL);
    wait_list_move(&waits, &entry->waits);
    struct http_lookup_file *file = !error ? entry->file : NULL;
    if (file)
        http_lookup_file_take(file);
    struct error copy = {.code = ERROR_NONE};
    if (error)
        copy = *error;
    while ((wait = wait_list_take(&waits))) {
        struct http_lookup_wait *own = CONTAINER_OF(wait, struct http_lookup_wait, wait);
        own->file = file ? http_lookup_file_take(file) : NULL;
        own->error = error ? &copy : NULL;
        wait_answer(wait);
    }
    http_lookup_file_release(file);
}

static void lookup_waited(struct wait *wait, enum wait_end end)
{
    struct http_lookup_wait own = *CONTAINER_OF(wait, struct http_lookup_wait, wait);
    (void)end; /* the client core has its own time limits */
    free(CONTAINER_OF(wait, struct http_lookup_wait, wait));
    own.callback(own.argument, own.file, own.error);
}

static bool means_absent(const struct error *error)
{
    return error->code == ERROR_NOT_FOUND || error->code == ERROR_DELETED || error->code == ERROR_REFUSED;
}

/* A text that does not say how it is encoded. */
static bool is_open_text(const char *type)
{
    return strncasecmp(type, "text/", 5) == 0 && !strchr(type, ';');
}

void http_lookup_content_type(const struct http_lookup_file *file, const char *name,
                              char type[HTTP_LOOKUP_TYPE_SIZE])
{
    const char *chosen = media_type_choose(file->stat.content_type, file->stat.name, name, file->sniffed);
    bool charset = file->utf8 && is_open_text(chosen);
    snprintf(type, HTTP_LOOKUP_TYPE_SIZE, "%s%s", chosen, charset ? "; charset=utf-8" : "");
}

/* The file is known now. */
static void accept_file(struct entry *entry, struct http_lookup_file *file)
{
    if (entry->file)
        file->served_ms = entry->file->served_ms;
    http_lookup_content_type(file, "", file->content_type);
    file->varies = lookup_is_packed(file);
    http_lookup_file_release(entry->file);
    entry->file = file;
    entry->absent = false;
    entry->asked_ms = entry->question_ms;
    answer_waits(entry, NULL);
}

static bool ask_once_more(struct entry *entry);

static void on_sniffed(void *argument, bool had, const char *type, bool utf8)
{
    struct entry *entry = argument;
    struct http_lookup_file *file = entry->described;
    entry->sniff = NULL;
    entry->described = NULL;
    if (entry->changed) {
        http_lookup_file_release(file);
        (void)ask_once_more(entry);
        return;
    }
    file->looked_at = had;
    file->sniffed = type;
    file->utf8 = utf8;
    accept_file(entry, file);
}

/* Neither the row nor the name says what the file is, or how its letters are encoded: its first bytes may. True: they are
 * being asked for. */
static bool sniff_content(struct entry *entry, struct http_lookup_file *file)
{
    const struct http_lookup_file *before = entry->file;
    bool known = !media_type_is_vague(file->stat.content_type) || media_type_by_name(file->stat.name);
    if (file->stat.size == 0 ||
        (known && !is_open_text(media_type_choose(file->stat.content_type, file->stat.name, "", NULL))))
        return false;
    if (before && before->looked_at && strcmp(before->etag, file->etag) == 0) {
        file->looked_at = true;
        file->sniffed = before->sniffed;
        file->utf8 = before->utf8;
        return false;
    }
    struct http_lookup_options *options = &entry->lookup->options;
    const struct http_sniff_options wanted = {.client = options->client,
                                              .loop = options->loop,
                                              .key = &file->key,
                                              .size = file->stat.size,
                                              .digest = file->stat.has_digest ? file->stat.digest : NULL,
                                              .done = on_sniffed,
                                              .argument = entry};
    entry->sniff = http_sniff_start(&wanted);
    if (!entry->sniff)
        return false;
    entry->described = file;
    return true;
}

static void note_place(struct http_lookup_file *file, const struct proto_where *where,
                       const struct local_volumes *volumes)
{
    /* An old storage server does not say where. */
    if (strlen(where->place) != LOCAL_PLACE_SIZE - 1)
        return;
    file->volume = local_volumes_find(volumes, where->stat.group, where->key);
    if (!file->volume)
        local_volumes_miss(volumes, where->stat.group, where->key);
    memcpy(file->place, where->place, LOCAL_PLACE_SIZE);
}

/* WHERE: NULL where the file is not on this machine. */
static void take_answer(struct entry *entry, const struct proto_stat *stat, const struct proto_where *where,
                        const struct error *error)
{
    struct error local;
    entry->operation = NULL;
    if (entry->changed) {
        (void)ask_once_more(entry);
        return;
    }
    if (!error && stat->status != PROTO_FILE_NORMAL) {
        (void)error_set(&local, ERROR_DELETED, "the file is deleted");
        error = &local;
    }
    if (!error) {
        struct http_lookup_file *file = file_create(entry, stat);
        if (file) {
            if (where)
                note_place(file, where, entry->lookup->options.volumes);
            if (!sniff_content(entry, file))
                accept_file(entry, file);
            return;
        }
        (void)error_set(&local, ERROR_UNAVAILABLE, "no memory for the entry of a file");
        error = &local;
    } else if (means_absent(error)) {
        http_lookup_file_release(entry->file);
        entry->file = NULL;
        entry->absent = true;
        entry->asked_ms = entry->question_ms;
    }
    /* Any other failure leaves what is known as it is: it ends by itself when it is too old. */
    answer_waits(entry, error);
}

static void on_stat(void *argument, const struct proto_stat *stat, const struct error *error)
{
    take_answer(argument, stat, NULL, error);
}

static void on_where(void *argument, const struct proto_where *where, const struct error *error)
{
    take_answer(argument, !error ? &where->stat : NULL, where, error);
}

static bool is_asking(const struct entry *entry)
{
    return entry->operation || entry->sniff;
}

static bool entry_ask(struct entry *entry, const struct proto_file_key *key, const struct request_id *name)
{
    entry->question_ms = clock_monotonic_ms();
    entry->lookup->questions++;
    const struct http_lookup_options *options = &entry->lookup->options;
    if (options->volumes)
        entry->operation = client_where(options->client, key, on_where, entry);
    else
        entry->operation = client_stat(options->client, key, on_stat, entry);
    if (name)
        client_name_request(entry->operation, name);
    return entry->operation != NULL;
}

/* The question under way has come to its end, and KEY was changed meanwhile. False: those who wait have been
 * answered with the reason. */
static bool ask_once_more(struct entry *entry)
{
    struct proto_file_key key;
    struct error error;
    entry->changed = false;
    entry_key(entry, &key);
    if (entry_ask(entry, &key, NULL))
        return true;
    (void)error_set(&error, ERROR_UNAVAILABLE, "no memory for a look-up");
    answer_waits(entry, &error);
    return false;
}

/* ---- the way in ---- */

static struct entry *find(struct http_lookup *lookup, const char *key, size_t key_size)
{
    const struct lru_key wanted = lru_key_make(lookup->seed, key, key_size);
    struct lru_node *node = lru_find(&lookup->entries, &wanted);
    return node ? CONTAINER_OF(node, struct entry, node) : NULL;
}

/* True when the entry answers by itself. */
static bool answer_at_once(struct entry *entry, const struct proto_file_key *key, int64_t now,
                           enum http_lookup_result *result, struct http_lookup_file **file)
{
    struct http_lookup *lookup = entry->lookup;
    int64_t limit = entry->absent ? lookup->options.negative_age_ms : lookup->options.age_ms;
    int64_t age = now - entry->asked_ms;
    if ((!entry->file && !entry->absent) || age >= limit)
        return false;
    if (entry->absent) {
        metric_add(lookup->absences, 1);
        *result = HTTP_LOOKUP_ABSENT;
        return true;
    }
    metric_add(lookup->hits, 1);
    *file = http_lookup_file_take(entry->file);
    *result = HTTP_LOOKUP_FOUND;
    /* Without memory for asking ahead of time it is asked when it is too old. */
    if (age * 100 >= limit * REFRESH_PERCENT && !is_asking(entry))
        (void)entry_ask(entry, key, NULL);
    return true;
}

enum http_lookup_result http_lookup_start(struct http_lookup *lookup, const struct proto_file_key *key,
                                          const struct request_id *name, http_lookup_callback callback,
                                          void *argument, struct http_lookup_file **file,
                                          struct http_lookup_wait **wait)
{
    char bytes[KEY_BYTES_MAX];
    size_t size = lookup_make_key(key, bytes);
    struct entry *entry = find(lookup, bytes, size);
    enum http_lookup_result result;
    if (entry) {
        lru_use(&lookup->entries, &entry->node);
        if (answer_at_once(entry, key, clock_monotonic_ms(), &result, file))
            return result;
    } else {
        entry = entry_create(lookup, bytes, size);
        if (!entry)
            return HTTP_LOOKUP_FAILED;
    }
    metric_add(lookup->misses, 1);
    struct http_lookup_wait *new_wait = malloc(sizeof(*new_wait));
    if (!new_wait || (!is_asking(entry) && !entry_ask(entry, key, name))) {
        free(new_wait);
        if (!is_asking(entry))
            entry_drop(entry);
        return HTTP_LOOKUP_FAILED;
    }
    *new_wait = (struct http_lookup_wait){.wait = {.loop = lookup->options.loop, .done = lookup_waited},
                                          .callback = callback,
                                          .argument = argument};
    ASSERT(wait_enter(&entry->waits, &new_wait->wait, 0)); /* without a timer it cannot fail */
    *wait = new_wait;
    return HTTP_LOOKUP_WAITING;
}

void http_lookup_cancel(struct http_lookup_wait *wait)
{
    /* The question goes on: its answer is worth remembering. */
    (void)wait_leave(&wait->wait);
    free(wait);
}

uint64_t http_lookup_questions(const struct http_lookup *lookup)
{
    return lookup->questions;
}

void http_lookup_forget(struct http_lookup *lookup, const struct proto_file_key *key)
{
    char bytes[KEY_BYTES_MAX];
    struct entry *entry = find(lookup, bytes, lookup_make_key(key, bytes));
    if (entry && entry->waits.count == 0)
        entry_drop(entry);
}

void http_lookup_changed(struct http_lookup *lookup, const struct proto_file_key *key)
{
    char bytes[KEY_BYTES_MAX];
    struct entry *entry = find(lookup, bytes, lookup_make_key(key, bytes));
    if (!entry)
        return;
    if (entry->waits.count == 0) {
        entry_drop(entry);
        return;
    }
    http_lookup_file_release(entry->file);
    entry->file = NULL;
    entry->absent = false;
    entry->changed = true;
}
