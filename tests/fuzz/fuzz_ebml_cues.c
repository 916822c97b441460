/*
 * Fuzzes the Cues of Matroska files: what is taken of them must lie inside of the file, in its order, without a gap. The first bytes
 * say what is known of the film already; the rest is the Cues' body.
 */
#include "httpd/media/ebml_cues.h"
#include <stdlib.h>

#define KNOWN 8 /* bytes that say what is known */
#define LEAST 900

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_cuts(const struct ebml_film *film)
{
    if (film->cut_count == 0 || film->cuts[0].position != film->begin)
        abort();
    for (size_t i = 0; i < film->cut_count; i++) {
        const struct ebml_cut *cut = &film->cuts[i];
        int64_t next = i + 1 < film->cut_count ? film->cuts[i + 1].time : film->end_time;
        if (cut->position < film->begin || cut->position >= film->end || cut->time < 0 || next <= cut->time)
            abort();
        if (i + 1 < film->cut_count &&
            (next - cut->time < LEAST || film->cuts[i + 1].position < cut->position))
            abort();
        if (next - cut->time >= ebml_film_ticks(film, INT64_C(1000) * MP4_CUT_SECONDS_MAX))
            abort();
    }
}

/* Kept ones are of a track of subtitles, and begin inside of the file. */
static void check_texts(const struct ebml_film *film, int64_t segment)
{
    for (size_t i = 0; i < film->cue_count; i++) {
        const struct ebml_cue *cue = &film->cues[i];
        if (cue->track != 3 || cue->cluster < segment || cue->cluster >= film->end || cue->relative < 0 ||
            cue->relative >= film->end - segment)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t scales[] = {1, 1000, 1000000, 22676};
    if (size < KNOWN)
        return 0;
    struct ebml_film *film = ebml_film_create();
    if (!film)
        return 0;
    struct ebml_tracks *tracks = &film->tracks;
    tracks->scale = scales[data[0] % 4];
    tracks->duration = (double)(data[1] * 256 + data[2]) * 100;
    tracks->count = 3;
    tracks->items[0] = (struct ebml_track){.number = 1, .kind = MEDIA_VIDEO};
    tracks->items[1] = (struct ebml_track){.number = 2, .kind = MEDIA_AUDIO};
    tracks->items[2] = (struct ebml_track){.number = 3, .kind = MEDIA_SUBTITLE};
    film->reference = data[3] % 2;
    int64_t segment = data[4];
    film->begin = segment + data[5];
    film->end = film->begin + 1 + data[6] * 256 + data[7];
    if (ebml_cues_read(film, segment, LEAST, (struct media_view){data + KNOWN, size - KNOWN}))
        check_cuts(film);
    check_texts(film, segment);
    ebml_film_destroy(film);
    return 0;
}
