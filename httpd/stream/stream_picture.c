/*
 * stream_picture: posters, storyboards and covers.
 */
#include "httpd/stream/stream_poster.h"
#include "httpd/stream/stream_state.h"
#include <stdlib.h>

#define PICTURE_WIDTH 640 /* where the target says none */

static void on_picture(void *argument, uint8_t *jpeg, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->poster = NULL;
    if (error) {
        stream_finish_error(request, error);
        return;
    }
    struct stream_body *body = stream_body_create(stream_own(request)->file, jpeg, size, 0, 0, "image/jpeg");
    stream_text_keep(request, body);
    stream_finish_body(request, body);
}

static void ask_for_picture(struct stream_request *request, struct stream_poster_options *options)
{
    struct stream_loop *streams = request->options.streams;
    options->loop = streams->http;
    options->service = streams->posters;
    options->workers = streams->workers;
    options->file = stream_own(request)->file;
    options->film = stream_own(request)->film;
    options->done = on_picture;
    options->argument = request;
    if (!streams->posters) {
        (void)error_set(&request->result.error, ERROR_UNAVAILABLE,
                        "no poster: httpd.poster_socket of this server is empty");
        stream_finish(request, STREAM_OFF);
        return;
    }
    request->poster = stream_poster_start(options);
    if (!request->poster)
        stream_finish_failed(request, ERROR_EXHAUSTED, "too many pictures wait to be made");
}

/* The file's own, as it is. */
static bool give_cover(struct stream_request *request, const struct media_cover *cover)
{
    if (cover->size == 0)
        return false;
    stream_finish_body(request, stream_body_create(stream_own(request)->file, NULL, 0, cover->offset,
                                                   cover->size, cover->type));
    return true;
}

static void on_cover_read(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    struct stream_item *item = stream_own(request);
    struct media_cover cover;
    request->read = NULL;
    if (error) {
        stream_finish_error(request, error);
        return;
    }
    media_cover_in_head((struct media_view){bytes, size}, item->file->stat.size, &cover);
    if (!give_cover(request, &cover))
        stream_finish_error(request, &item->error);
    free(bytes);
}

void stream_picture_cover(struct stream_request *request)
{
    struct mp4_piece head = {0, min_i64(stream_own(request)->file->stat.size, MEDIA_COVER_HEAD)};
    if (head.size == 0)
        stream_finish_error(request, &stream_own(request)->error);
    else
        stream_read(request, &head, 1, head.size, on_cover_read);
}

/* A picture at a time; without one a tenth into the film, where titles and black are over. */
void stream_picture_make(struct stream_request *request)
{
    const struct media_film *film = stream_own(request)->film;
    int64_t time =
        request->picture_time >= 0 ? request->picture_time : (int64_t)(media_film_seconds(film) * 100);
    int64_t width = request->picture_width > 0
                        ? min_i64(max_i64(request->picture_width, 16), POSTER_WIDTH_MAX)
                        : PICTURE_WIDTH;
    uint32_t segment = storyboard_segment(film, time);
    int video = film->cut ? mp4_index_first(film->index, MEDIA_VIDEO) : -1;
    while (video >= 0 && segment > 0 && mp4_cut_samples(film->cut, video, segment) == 0)
        segment--; /* sound goes on behind the last picture */
    struct stream_poster_options options = {
        .first = segment, .step = 1, .tiles = 1, .columns = 1, .width = (uint32_t)width & ~UINT32_C(1)};
    if (request->picture_time < 0 && give_cover(request, &film->cover))
        return;
    if (film->kind == FILM_SUBTITLE || (film->cut && video < 0)) {
        stream_finish_failed(request, ERROR_UNKNOWN_COMMAND, "it has no pictures");
        return;
    }
    ask_for_picture(request, &options);
}

void stream_picture_board(struct stream_request *request)
{
    struct storyboard board;
    const struct media_film *film = stream_own(request)->film;
    if (!storyboard_plan(film, &board)) {
        stream_finish_failed(
            request, ERROR_UNKNOWN_COMMAND,
            "storyboards are made of MP4 files with an index and of Matroska, where they have pictures");
        return;
    }
    if (request->name.resource == MEDIA_BOARD_VTT) {
        struct media_buffer out = {0};
        storyboard_vtt(film, &board, "storyboard.jpg", &out);
        if (out.failed)
            media_buffer_clear(&out);
        stream_finish_body(request, out.bytes ? stream_body_create(stream_own(request)->file, out.bytes,
                                                                   out.size, 0, 0, "text/vtt; charset=utf-8")
                                              : NULL);
        return;
    }
    struct stream_poster_options options = {.step = board.step,
                                            .tiles = board.tiles,
                                            .columns = STORYBOARD_COLUMNS,
                                            .width = board.width,
                                            .height = board.height};
    ask_for_picture(request, &options);
}
