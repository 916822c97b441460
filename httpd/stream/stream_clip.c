/*
 * stream_clip: has a worker make the head of a clip, in one job, and notifies the loop when it is there. A clip that nobody
 * waits for any more is freed when its job ends.
 */
#include "httpd/stream/stream_clip.h"
#include <stdlib.h>

struct stream_clip {
    struct job job;
    struct stream_clip_options options; /* done NULL: nobody waits any more */
    struct mp4_clip clip;
    struct error error;
    bool made;
};

static void clip_free(struct stream_clip *clip)
{
    media_film_release(clip->options.film);
    mp4_clip_clear(&clip->clip);
    free(clip);
}

static void clip_run(struct job *job)
{
    struct stream_clip *clip = CONTAINER_OF(job, struct stream_clip, job);
    const struct stream_clip_options *options = &clip->options;
    clip->made =
        mp4_clip_make(options->film->index, options->start_ms, options->end_ms, &clip->clip, &clip->error);
}

static void clip_done(struct job *job)
{
    struct stream_clip *clip = CONTAINER_OF(job, struct stream_clip, job);
    stream_clip_callback done = clip->options.done;
    void *argument = clip->options.argument;
    struct mp4_clip made = clip->clip;
    struct error error = clip->error;
    bool is_made = clip->made;
    clip->clip = (struct mp4_clip){0};
    clip_free(clip);
    if (done)
        done(argument, is_made ? &made : NULL, is_made ? NULL : &error);
    else
        mp4_clip_clear(&made);
}

struct stream_clip *stream_clip_start(const struct stream_clip_options *options)
{
    struct stream_clip *clip = calloc(1, sizeof(*clip));
    if (!clip)
        return NULL;
    clip->options = *options;
    clip->options.film = media_film_take(options->film);
    clip->job = (struct job){.run = clip_run, .done = clip_done, .loop = options->loop};
    if (workers_submit(options->workers, &clip->job))
        return clip;
    clip_free(clip);
    return NULL;
}

void stream_clip_cancel(struct stream_clip *clip)
{
    if (clip)
        clip->options.done = NULL;
}
