/*
 * stream_build: a job that owns copies of, or references to, all that it needs.
 */
#include "httpd/stream/stream_build.h"
#include "common/base/log.h"
#include "httpd/media/dash_manifest.h"
#include "httpd/media/gzip_text.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_info.h"
#include "httpd/media/subtitles.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GZIP_MIN 512 /* a shorter text would hardly become shorter */

struct stream_build {
    struct job job;
    struct stream_build_options options; /* done NULL: nobody waits any more */
    char file_name[PROTO_NAME_SIZE], file_type[PROTO_CONTENT_TYPE_SIZE + 16], reason[ERROR_TEXT_SIZE];
    struct media_buffer text;
    bool gzipped;
};

static void build_free(struct stream_build *build)
{
    for (size_t i = 0; i < build->options.set.count; i++)
        media_film_release(build->options.set.items[i].film);
    free(build->options.material);
    media_buffer_clear(&build->text);
    free(build);
}

static double main_seconds(const struct media_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].film && set->items[i].film->kind != FILM_SUBTITLE)
            return media_film_seconds(set->items[i].film);
    }
    return 24 * 3600.0; /* of a file of subtitles alone: nothing says how long its film is */
}

static void make_subtitles(struct stream_build *build)
{
    const struct media_film *film = build->options.set.items[build->options.name.item].film;
    struct media_view material = {build->options.material, build->options.material_size};
    if (film->kind == FILM_SUBTITLE)
        subtitles_of_file(material, &build->text);
    else if (film->kind == FILM_MATROSKA) /* made of them before */
        media_put(&build->text, material.bytes, material.size);
    else
        subtitles_of_track(&film->index->tracks[build->options.name.track], material, &build->text);
}

static unsigned disagreeing(const struct media_set *set)
{
    unsigned left_out = media_set_disagreeing(set);
    if (left_out != 0)
        log_info("media",
                 "files of a set are left out, since their key frames lie elsewhere than those of its first "
                 "film: mask 0x%x",
                 left_out);
    return left_out;
}

static void make_text(struct stream_build *build)
{
    const struct stream_build_options *options = &build->options;
    const struct media_film *film = options->set.items[options->name.item].film;
    bool found = true;
    if (options->stored && !options->to_vtt)
        media_put(&build->text, options->material, options->material_size);
    else if (options->stored)
        subtitles_of_file((struct media_view){options->material, options->material_size}, &build->text);
    else if (options->service == HTTP_SERVICE_INFO)
        media_info(film, build->file_name, options->file_size, build->file_type, build->reason, &build->text);
    else if (options->name.resource == MEDIA_MASTER)
        hls_master(&options->set, disagreeing(&options->set), &build->text);
    else if (options->name.resource == MEDIA_MANIFEST)
        found = dash_manifest(&options->set, disagreeing(&options->set), &build->text);
    else if (options->name.resource == MEDIA_VTT)
        make_subtitles(build);
    else
        found = hls_media(film, &options->name, main_seconds(&options->set), &build->text);
    build->text.failed = build->text.failed || !found;
}

static void build_run(struct job *job)
{
    struct stream_build *build = CONTAINER_OF(job, struct stream_build, job);
    struct media_buffer packed = {0};
    make_text(build);
    if (build->text.failed || !build->options.gzip || build->text.size < GZIP_MIN)
        return;
    gzip_text((struct media_view){build->text.bytes, build->text.size}, &packed);
    if (packed.failed) {
        media_buffer_clear(&packed);
        return;
    }
    media_buffer_clear(&build->text);
    build->text = packed;
    build->gzipped = true;
}

static void build_done(struct job *job)
{
    struct stream_build *build = CONTAINER_OF(job, struct stream_build, job);
    stream_build_callback done = build->options.done;
    void *argument = build->options.argument;
    struct media_buffer text = build->text;
    bool gzipped = build->gzipped;
    build->text = (struct media_buffer){0};
    build_free(build);
    if (done)
        done(argument, &text, gzipped);
    else
        media_buffer_clear(&text);
}

struct stream_build *stream_build_start(const struct stream_build_options *options)
{
    struct stream_build *build = calloc(1, sizeof(*build));
    if (!build) {
        free(options->material);
        return NULL;
    }
    build->options = *options;
    build->job = (struct job){.run = build_run, .done = build_done, .loop = options->loop};
    for (size_t i = 0; i < options->set.count; i++) {
        if (options->set.items[i].film)
            (void)media_film_take(options->set.items[i].film);
    }
    snprintf(build->file_name, sizeof(build->file_name), "%s", options->file_name);
    snprintf(build->file_type, sizeof(build->file_type), "%s", options->file_type);
    snprintf(build->reason, sizeof(build->reason), "%s", options->reason);
    if (workers_submit(options->workers, &build->job))
        return build;
    build_free(build);
    return NULL;
}

void stream_build_cancel(struct stream_build *build)
{
    if (build)
        build->options.done = NULL;
}

const char *stream_build_type(enum http_service service, const struct media_name *name)
{
    if (service == HTTP_SERVICE_INFO)
        return "application/json";
    switch (name->resource) {
    case MEDIA_MANIFEST:
        return "application/dash+xml";
    case MEDIA_VTT:
        return "text/vtt; charset=utf-8";
    default:
        return "application/vnd.apple.mpegurl";
    }
}

void stream_build_label(const char *name, struct media_set *set, size_t item)
{
    size_t used = 0;
    char *out = set->items[item].name;
    const char *dot = strrchr(name, '.');
    size_t length = dot ? (size_t)(dot - name) : strlen(name);
    for (size_t i = 0; i < length && used + 1 < sizeof(set->items[item].name); i++) {
        unsigned char c = (unsigned char)name[i];
        if (c >= ' ' && c != '"' && c != '\\' && c < 0x7f)
            out[used++] = (char)c;
    }
    out[used] = '\0';
    /* film.en.srt, film.eng.srt */
    const char *language = strrchr(out, '.');
    size_t letters = language ? strlen(language + 1) : 0;
    bool fits = letters == 2 || letters == 3;
    for (size_t i = 1; fits && i <= letters; i++)
        fits = language[i] >= 'a' && language[i] <= 'z';
    if (fits)
        memcpy(set->items[item].language, language + 1, letters + 1);
}
