/*
 * ebml_texts: cues in lots; of each lot the heads of its clusters first, which say where their blocks begin,
 * then the blocks.
 */
#include "httpd/media/ebml_texts.h"
#include "httpd/media/ebml_clusters.h"
#include "httpd/media/gzip_text.h"
#include "httpd/media/subtitles.h"
#include <stdlib.h>

#define LOT         512
#define HEAD_SIZE   64
#define BLOCK_SIZE  2048                 /* that are read of a block at first */
#define BLOCK_MAX   ((int64_t)64 * 1024) /* a longer one is no text */
#define PIECE_SIZE  ((int64_t)1024 * 1024)
#define SCAN_MAX    ((int64_t)8 << 30)        /* bytes of a film that is read as a whole */
#define TEXT_MAX    ((size_t)4 * 1024 * 1024) /* of all lines */
#define LINES_MAX   65536
#define SHOWN_TICKS 5000 /* milliseconds: a last line without a duration */

struct line {
    int64_t from, to; /* milliseconds; TO -1: up to the next one */
    size_t at, size;  /* in the texts */
};

enum texts_state { READING_HEADS, READING_BLOCKS, READING_LONG, READING_ALL };

struct ebml_texts {
    const struct ebml_film *film;
    const struct ebml_track *track;
    size_t number; /* of the track */
    enum texts_state state;
    size_t next, count;               /* the lot: cues from NEXT on */
    struct ebml_clusters places[LOT]; /* where each block of the lot is */
    struct mp4_piece pieces[LOT];
    size_t of_piece[LOT]; /* the place that each piece belongs to */
    size_t piece_count;
    struct ebml_clusters scan;
    struct ebml_block block;
    struct line *lines;
    size_t line_count, line_room;
    struct media_buffer text;
};

/* ---- what is wanted ---- */

static void want_all(struct ebml_texts *texts)
{
    const struct ebml_film *film = texts->film;
    texts->state = READING_ALL;
    ebml_clusters_open(&texts->scan, film->begin, film->end, film->open_end);
    texts->piece_count = 1;
    texts->pieces[0] =
        (struct mp4_piece){film->begin, max_i64(min_i64(PIECE_SIZE, film->end - film->begin), 1)};
}

static void want_piece(struct ebml_texts *texts, size_t place, int64_t offset, int64_t size)
{
    int64_t left = texts->film->end - offset;
    if (left <= 0)
        return;
    texts->of_piece[texts->piece_count] = place;
    texts->pieces[texts->piece_count++] = (struct mp4_piece){offset, min_i64(size, left)};
}

/* The next lot. False: there is none. */
static bool want_heads(struct ebml_texts *texts)
{
    const struct ebml_film *film = texts->film;
    texts->state = READING_HEADS;
    texts->count = 0;
    texts->piece_count = 0;
    for (; texts->next < film->cue_count && texts->count < LOT; texts->next++) {
        const struct ebml_cue *cue = &film->cues[texts->next];
        if (cue->track != texts->track->number)
            continue;
        struct ebml_clusters *place = &texts->places[texts->count++];
        ebml_clusters_open(place, cue->cluster, film->end, film->open_end);
        place->cluster_end = cue->relative; /* until the head is known */
        if (texts->piece_count == 0 || texts->pieces[texts->piece_count - 1].offset != cue->cluster)
            want_piece(texts, texts->count - 1, cue->cluster, HEAD_SIZE);
    }
    return texts->piece_count > 0;
}

struct ebml_texts *ebml_texts_create(const struct media_film *film, size_t track)
{
    struct ebml_texts *texts = calloc(1, sizeof(*texts));
    if (!texts)
        return NULL;
    texts->film = film->ebml;
    texts->track = &film->ebml->tracks.items[track];
    texts->number = track;
    if (!want_heads(texts))
        want_all(texts);
    return texts;
}

void ebml_texts_destroy(struct ebml_texts *texts)
{
    if (!texts)
        return;
    free(texts->lines);
    media_buffer_clear(&texts->text);
    free(texts);
}

const struct mp4_piece *ebml_texts_wanted(const struct ebml_texts *texts, size_t *count)
{
    *count = texts->piece_count;
    return texts->pieces;
}

/* ---- lines ---- */

static bool add_line(struct ebml_texts *texts, struct media_view frame, int64_t from, int64_t to,
                     struct error *error)
{
    const struct ebml_track *track = texts->track;
    size_t at = texts->text.size;
    if (texts->line_count == texts->line_room) {
        size_t room = max_size(256, texts->line_room * 2);
        if (room > LINES_MAX)
            return error_set(
                error, ERROR_UNKNOWN_COMMAND,
                "it has more than %zu subtitles of one language, which are too many for a stream",
                texts->line_count);
        struct line *lines = realloc(texts->lines, room * sizeof(*lines));
        if (!lines)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for subtitles");
        texts->lines = lines;
        texts->line_room = room;
    }
    media_put(&texts->text, track->strip, track->strip_size);
    if (!track->deflated)
        media_put(&texts->text, frame.bytes, frame.size);
    else if (!inflate_text(frame, (size_t)BLOCK_MAX, &texts->text))
        texts->text.size = at; /* damaged: this line is left out */
    if (texts->text.failed)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for subtitles");
    if (texts->text.size > TEXT_MAX)
        return error_set(
            error, ERROR_UNKNOWN_COMMAND,
            "its subtitles of one language have more than %zu bytes, which are too many for a stream",
            TEXT_MAX);
    if (texts->text.size > at)
        texts->lines[texts->line_count++] = (struct line){from, to, at, texts->text.size - at};
    return true;
}

static bool ebml_texts_take_block(struct ebml_texts *texts, struct error *error)
{
    const struct ebml_block *block = &texts->block;
    const struct ebml_film *film = texts->film;
    if (block->track != texts->track->number || block->count != 1)
        return true;
    int64_t from = ebml_film_time(film, block->time, 1000);
    int64_t to = block->duration < 0 ? -1 : ebml_film_time(film, block->time + block->duration, 1000);
    return add_line(texts, block->frames[0], from, to, error);
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return left->at < right->at ? -1 : left->at > right->at;
}

static enum walk_step ebml_texts_finish(struct ebml_texts *texts, struct media_buffer *out,
                                        struct error *error)
{
    media_put_text(out, "WEBVTT\n");
    if (texts->line_count > 1)
        qsort(texts->lines, texts->line_count, sizeof(*texts->lines), compare_lines);
    for (size_t i = 0; i < texts->line_count; i++) {
        struct line *line = &texts->lines[i];
        struct media_view text = {texts->text.bytes + line->at, line->size};
        if (line->to < 0)
            line->to = i + 1 < texts->line_count ? texts->lines[i + 1].from : line->from + SHOWN_TICKS;
        subtitles_cue(texts->track->text, line->from, line->to, text, out);
    }
    if (!out->failed)
        return WALK_DONE;
    (void)error_set(error, ERROR_UNAVAILABLE, "no memory for subtitles");
    return WALK_REFUSED;
}

/* ---- the states ---- */

/* The head of a cluster: its time, and where its first element begins. False: no cluster is there. */
static bool ebml_texts_read_head(struct ebml_clusters *place, struct media_view bytes,
                                 struct ebml_block *block)
{
    struct ebml_element element;
    struct error ignored;
    struct ebml_clusters cluster = *place;
    int64_t relative = place->cluster_end, wanted;
    cluster.cluster_end = INT64_MAX;
    if (ebml_look(bytes, &element) != EBML_FOUND)
        return false;
    (void)ebml_clusters_next(&cluster, bytes, place->at, block, &wanted, &ignored);
    if (!cluster.inside || cluster.cluster != place->at || cluster.time < 0)
        return false;
    cluster.at = place->at + (int64_t)element.header + relative;
    if (cluster.at >= min_i64(cluster.cluster_end, cluster.end))
        return false;
    *place = cluster;
    return true;
}

/* Cues of one cluster share its head, which is that of the first of them. */
static void ebml_texts_read_heads(struct ebml_texts *texts, struct media_view bytes)
{
    size_t pieces = texts->piece_count, at = 0;
    size_t own[LOT];
    for (size_t i = 0; i < pieces; i++)
        own[i] = texts->of_piece[i];
    struct mp4_piece heads[LOT];
    for (size_t i = 0; i < pieces; i++)
        heads[i] = texts->pieces[i];
    texts->piece_count = 0;
    texts->state = READING_BLOCKS;
    for (size_t i = 0; i < pieces; i++) {
        struct media_view head = media_view_part(bytes, at, (size_t)heads[i].size);
        size_t end = i + 1 < pieces ? own[i + 1] : texts->count;
        at += (size_t)heads[i].size;
        for (size_t k = own[i]; k < end; k++) {
            if (ebml_texts_read_head(&texts->places[k], head, &texts->block))
                want_piece(texts, k, texts->places[k].at, BLOCK_SIZE);
        }
    }
}

/* False: ERROR is set. A block that is longer than what was read of it is asked for once more. */
static bool read_blocks(struct ebml_texts *texts, struct media_view bytes, struct error *error)
{
    size_t pieces = texts->piece_count, at = 0;
    int64_t wanted;
    struct error ignored;
    texts->piece_count = 0;
    for (size_t i = 0; i < pieces; i++) {
        const struct mp4_piece piece = texts->pieces[i];
        struct ebml_clusters *place = &texts->places[texts->of_piece[i]];
        struct media_view own = media_view_part(bytes, at, (size_t)piece.size);
        at += (size_t)piece.size;
        enum ebml_step step = ebml_clusters_next(place, own, piece.offset, &texts->block, &wanted, &ignored);
        if (step == EBML_BLOCK && !ebml_texts_take_block(texts, error))
            return false;
        if (step == EBML_MORE && texts->state == READING_BLOCKS && wanted <= BLOCK_MAX)
            want_piece(texts, texts->of_piece[i], place->at, wanted);
    }
    texts->state = READING_LONG;
    return true;
}

static enum walk_step ebml_texts_read_all(struct ebml_texts *texts, struct media_view bytes,
                                          struct media_buffer *out, struct error *error)
{
    int64_t wanted = 0, base = texts->pieces[0].offset;
    enum ebml_step step;
    if (texts->film->end - texts->film->begin > SCAN_MAX) {
        (void)error_set(
            error, ERROR_UNKNOWN_COMMAND,
            "its Cues do not say where its subtitles are, and it is too long to be read for them");
        return WALK_REFUSED;
    }
    while ((step = ebml_clusters_next(&texts->scan, bytes, base, &texts->block, &wanted, error)) ==
           EBML_BLOCK) {
        if (!ebml_texts_take_block(texts, error))
            return WALK_REFUSED;
    }
    if (step == EBML_BROKEN)
        return WALK_REFUSED;
    if (step == EBML_END)
        return ebml_texts_finish(texts, out, error);
    int64_t at = texts->scan.at;
    texts->pieces[0] =
        (struct mp4_piece){at, max_i64(min_i64(max_i64(wanted, PIECE_SIZE), texts->film->end - at), 1)};
    return WALK_READ;
}

enum walk_step ebml_texts_feed(struct ebml_texts *texts, struct media_view bytes, struct media_buffer *out,
                               struct error *error)
{
    int64_t expected = 0;
    for (size_t i = 0; i < texts->piece_count; i++)
        expected += texts->pieces[i].size;
    if ((int64_t)bytes.size != expected) {
        (void)error_set(error, ERROR_UNAVAILABLE, "it could not be read to its end");
        return WALK_REFUSED;
    }
    if (texts->state == READING_ALL)
        return ebml_texts_read_all(texts, bytes, out, error);
    if (texts->state == READING_HEADS)
        ebml_texts_read_heads(texts, bytes);
    else if (!read_blocks(texts, bytes, error))
        return WALK_REFUSED;
    if (texts->piece_count > 0 || want_heads(texts))
        return WALK_READ;
    if (texts->line_count > 0)
        return ebml_texts_finish(texts, out, error);
    want_all(texts); /* the Cues were wrong */
    return WALK_READ;
}
