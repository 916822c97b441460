/*
 * storyboard: every so many segments, so that no sheet has more than a hundred tiles.
 */
#include "httpd/media/storyboard.h"
#include <math.h>

/* Width and height as they are shown: by the track header, turned by its matrix (ISO/IEC 14496-12 section 8.3.2). */
static void find_shape(const struct mp4_track *track, double *width, double *height)
{
    struct media_view tkhd = track->tkhd;
    size_t fixed = media_get8(tkhd, 0) == 1 ? 36 : 24;
    *width = media_get32(tkhd, fixed + 52) / 65536.0;
    *height = media_get32(tkhd, fixed + 56) / 65536.0;
    if (*width < 1 || *height < 1) {
        *width = track->descriptions[0].codec.width;
        *height = track->descriptions[0].codec.height;
    }
    bool turned = media_get32(tkhd, fixed + 16) == 0 && media_get32(tkhd, fixed + 20) != 0;
    if (turned) {
        double other = *width;
        *width = *height;
        *height = other;
    }
}

static int64_t key_bytes(const struct media_film *film, int video, uint32_t step)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    int64_t sum = 0;
    for (uint32_t i = 0; i < film->cut->count; i += step) {
        mp4_cursor_seek(&cursor, &film->index->tracks[video], film->cut->first[video][i]);
        if (mp4_cursor_next(&cursor, &sample))
            sum += sample.size;
    }
    return sum;
}

bool storyboard_plan(const struct media_film *film, struct storyboard *board)
{
    int video = film->cut ? mp4_index_first(film->index, MEDIA_VIDEO) : -1;
    double width, height;
    if (video < 0)
        return false;
    find_shape(&film->index->tracks[video], &width, &height);
    double high = width >= 1 && height >= 1 ? STORYBOARD_WIDTH * height / width : 90;
    board->width = STORYBOARD_WIDTH;
    board->height = (uint32_t)lround(fmin(fmax(high, 16), 4.0 * STORYBOARD_WIDTH) / 2) * 2;
    board->step = (film->cut->count + STORYBOARD_TILES - 1) / STORYBOARD_TILES;
    while (!film->cut->unread && board->step < film->cut->count &&
           key_bytes(film, video, board->step) > STORYBOARD_BYTES)
        board->step *= 2;
    board->tiles = (film->cut->count + board->step - 1) / board->step;
    return true;
}

static void storyboard_put_time(struct media_buffer *out, double seconds)
{
    long long ms = llround(fmax(seconds, 0) * 1000);
    media_printf(out, "%02lld:%02lld:%02lld.%03lld", ms / 3600000, ms / 60000 % 60, ms / 1000 % 60,
                 ms % 1000);
}

void storyboard_vtt(const struct media_film *film, const struct storyboard *board, const char *sheet,
                    struct media_buffer *out)
{
    const struct mp4_cut *cut = film->cut;
    media_put_text(out, "WEBVTT\n");
    for (uint32_t i = 0; i < board->tiles; i++) {
        uint32_t next = (uint32_t)min_size((size_t)(i + 1) * board->step, cut->count);
        media_put_text(out, "\n");
        storyboard_put_time(out, i == 0 ? 0 : (double)cut->times[i * board->step] / cut->timescale);
        media_put_text(out, " --> ");
        storyboard_put_time(out, (double)cut->times[next] / cut->timescale);
        media_printf(out, "\n%s#xywh=%u,%u,%u,%u\n", sheet, i % STORYBOARD_COLUMNS * board->width,
                     i / STORYBOARD_COLUMNS * board->height, board->width, board->height);
    }
}

uint32_t storyboard_segment(const struct media_film *film, int64_t milliseconds)
{
    uint32_t segment = 0;
    if (film->cut) {
        int64_t time = media_rescale(milliseconds, film->cut->timescale, 1000);
        while (segment + 1 < film->cut->count && film->cut->times[segment + 1] <= time)
            segment++;
        return segment;
    }
    const struct film_ranges *ranges = &film->ranges;
    int64_t time = ranges->timescale > 0 ? media_rescale(milliseconds, ranges->timescale, 1000) : 0;
    for (int64_t end = 0; segment + 1 < ranges->count; segment++) {
        end += ranges->items[segment].duration;
        if (end > time)
            break;
    }
    return segment;
}
