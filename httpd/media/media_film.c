/*
 * media_film: made once, counted while it is used.
 */
#include "httpd/media/media_film.h"
#include <stdlib.h>

#define RANGES_MAX ((size_t)1024 * 1024)

struct media_film *media_film_create(enum film_kind kind, int64_t size)
{
    struct media_film *film = calloc(1, sizeof(*film));
    if (!film)
        return NULL;
    film->references = 1;
    film->kind = kind;
    film->size = size;
    return film;
}

struct media_film *media_film_take(struct media_film *film)
{
    (void)__atomic_add_fetch(&film->references, 1, __ATOMIC_RELAXED);
    return film;
}

void media_film_release(struct media_film *film)
{
    if (!film || __atomic_sub_fetch(&film->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    mp4_cut_destroy(film->cut);
    mp4_index_destroy(film->index);
    ebml_film_destroy(film->ebml);
    free(film->ranges.items);
    free(film);
}

bool film_ranges_add(struct film_ranges *ranges, int64_t offset, int64_t size, int64_t duration)
{
    if (ranges->count == ranges->capacity) {
        size_t capacity = max_size(64, ranges->capacity * 2);
        if (capacity > RANGES_MAX)
            return false;
        struct film_range *items = realloc(ranges->items, capacity * sizeof(*items));
        if (!items)
            return false;
        ranges->items = items;
        ranges->capacity = capacity;
    }
    ranges->items[ranges->count++] = (struct film_range){offset, size, duration};
    return true;
}

void media_film_measure(struct media_film *film)
{
    film->memory = sizeof(*film) + film->ranges.capacity * sizeof(struct film_range);
    if (film->index)
        film->memory += film->index->memory;
    if (film->cut)
        film->memory += film->cut->memory;
    if (film->ebml)
        film->memory += ebml_film_memory(film->ebml);
}

double media_film_seconds(const struct media_film *film)
{
    int64_t sum = 0;
    if (film->cut)
        return (double)(film->cut->times[film->cut->count] - film->cut->times[0]) / film->cut->timescale;
    for (size_t i = 0; i < film->ranges.count; i++)
        sum += film->ranges.items[i].duration;
    return film->ranges.timescale > 0 ? (double)sum / film->ranges.timescale : 0;
}

double media_film_frame_rate(const struct media_film *film)
{
    int video = film->cut ? mp4_index_first(film->index, MEDIA_VIDEO) : -1;
    if (video >= 0 && film->ebml) {
        uint64_t frame = film->ebml->tracks.items[video].frame_ns;
        return frame > 0 ? 1e9 / (double)frame : 0;
    }
    if (video < 0 || film->index->tracks[video].duration == 0)
        return 0;
    const struct mp4_track *track = &film->index->tracks[video];
    return (double)track->count * track->timescale / (double)track->duration;
}
