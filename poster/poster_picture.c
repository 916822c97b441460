/*
 * poster_picture: demuxer, decoder, scaler, encoder, one behind the other. A picture is scaled into its place of the sheet; one
 * that was taken upright is turned there.
 */
#include "poster/poster_picture.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/log.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define IO_SIZE     65536
#define PACKETS_MAX 4096 /* that are looked at for a key frame */
#define PIXELS_MAX  (INT64_C(8192) * 8192)
#define QUALITY     4 /* of JPEG, 2 the best, 31 the worst */

struct memory {
    const uint8_t *bytes;
    int64_t size, at;
};

struct maker {
    const struct poster_request *request;
    struct memory memory;
    AVIOContext *io;
    AVFormatContext *film;
    int stream;
    AVCodecContext *decoder;
    AVPacket *packet;
    AVFrame *frame, *sheet;
    uint32_t width, height; /* of a picture as it is shown */
    int turns;              /* clockwise, by 90 degrees */
};

static int read_memory(void *opaque, uint8_t *buffer, int size)
{
    struct memory *memory = opaque;
    int64_t left = memory->size - memory->at;
    int taken = (int)(left < size ? left : size);
    if (taken <= 0)
        return AVERROR_EOF;
    memcpy(buffer, memory->bytes + memory->at, (size_t)taken);
    memory->at += taken;
    return taken;
}

static int64_t seek_memory(void *opaque, int64_t offset, int whence)
{
    struct memory *memory = opaque;
    if (whence == AVSEEK_SIZE)
        return memory->size;
    int64_t base = whence == SEEK_CUR ? memory->at : whence == SEEK_END ? memory->size : 0;
    if (offset < -base || offset > memory->size - base)
        return AVERROR(EINVAL);
    memory->at = base + offset;
    return memory->at;
}

static bool open_film(struct maker *maker)
{
    bool ts = maker->request->container == POSTER_TS;
    const AVInputFormat *format = av_find_input_format(ts ? "mpegts" : "mov");
    uint8_t *buffer = av_malloc(IO_SIZE);
    maker->io = buffer
                    ? avio_alloc_context(buffer, IO_SIZE, 0, &maker->memory, read_memory, NULL, seek_memory)
                    : NULL;
    maker->film = avformat_alloc_context();
    if (!maker->io || !maker->film) {
        if (!maker->io)
            av_free(buffer);
        return false;
    }
    maker->film->pb = maker->io;
    maker->film->flags |= AVFMT_FLAG_CUSTOM_IO;
    maker->film->probesize = 4 * 1024 * 1024;
    if (!format || avformat_open_input(&maker->film, NULL, format, NULL) != 0 ||
        (ts && avformat_find_stream_info(maker->film, NULL) < 0))
        return false;
    maker->stream = av_find_best_stream(maker->film, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    return maker->stream >= 0;
}

static bool open_decoder(struct maker *maker)
{
    const AVCodecParameters *parameters = maker->film->streams[maker->stream]->codecpar;
    const AVCodec *codec = avcodec_find_decoder(parameters->codec_id);
    maker->decoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!maker->decoder || avcodec_parameters_to_context(maker->decoder, parameters) < 0)
        return false;
    maker->decoder->thread_count = 1;
    maker->decoder->max_pixels = PIXELS_MAX;
    maker->decoder->pkt_timebase = maker->film->streams[maker->stream]->time_base;
    return avcodec_open2(maker->decoder, codec, NULL) == 0;
}

enum next { NEXT_PICTURE, NEXT_BROKEN, NEXT_NONE };

/* The next key frame, decoded without what follows it. */
static enum next next_picture(struct maker *maker)
{
    for (int looked_at = 0; looked_at < PACKETS_MAX; looked_at++) {
        if (av_read_frame(maker->film, maker->packet) < 0)
            return NEXT_NONE;
        bool wanted =
            maker->packet->stream_index == maker->stream && (maker->packet->flags & AV_PKT_FLAG_KEY) != 0;
        bool sent = wanted && avcodec_send_packet(maker->decoder, maker->packet) == 0;
        av_packet_unref(maker->packet);
        if (!sent)
            continue;
        (void)avcodec_send_packet(maker->decoder, NULL);
        av_frame_unref(maker->frame);
        bool got = avcodec_receive_frame(maker->decoder, maker->frame) == 0 && maker->frame->width > 0 &&
                   maker->frame->height > 0;
        avcodec_flush_buffers(maker->decoder);
        return got ? NEXT_PICTURE : NEXT_BROKEN;
    }
    return NEXT_NONE;
}

static int find_turns(const struct maker *maker)
{
    const uint8_t *matrix =
        av_stream_get_side_data(maker->film->streams[maker->stream], AV_PKT_DATA_DISPLAYMATRIX, NULL);
    double angle = matrix ? -av_display_rotation_get((const int32_t *)(const void *)matrix) : 0;
    return isfinite(angle) ? (int)(lround(angle / 90) & 3) : 0;
}

static uint32_t even(double value)
{
    double bounded = fmin(fmax(value, 2), 2 * POSTER_WIDTH_MAX);
    return (uint32_t)lround(bounded / 2) * 2;
}

/* How large a picture of the sheet is, by the first one. */
static void find_size(struct maker *maker)
{
    const struct poster_request *request = maker->request;
    AVRational ratio =
        av_guess_sample_aspect_ratio(maker->film, maker->film->streams[maker->stream], maker->frame);
    double wide = fmax(maker->frame->width, 1), high = fmax(maker->frame->height, 1);
    if (ratio.num > 0 && ratio.den > 0)
        wide *= av_q2d(ratio);
    maker->turns = find_turns(maker);
    if ((maker->turns & 1) != 0) {
        double other = wide;
        wide = high;
        high = other;
    }
    maker->width = request->width;
    maker->height = request->height;
    if (request->height > 0)
        return;
    maker->width = even(fmin(request->width, wide));
    maker->height = even(maker->width * high / wide);
}

static bool begin_sheet(struct maker *maker)
{
    const struct poster_request *request = maker->request;
    uint32_t columns = request->columns < request->tiles ? request->columns : request->tiles;
    uint32_t rows = (request->tiles + columns - 1) / columns;
    maker->sheet->width = (int)(columns * maker->width);
    maker->sheet->height = (int)(rows * maker->height);
    maker->sheet->format = AV_PIX_FMT_YUVJ420P;
    maker->sheet->color_range = AVCOL_RANGE_JPEG;
    if (maker->sheet->width > 65500 || maker->sheet->height > 65500 ||
        av_frame_get_buffer(maker->sheet, 0) != 0)
        return false;
    for (int plane = 0; plane < 3; plane++) {
        int lines = plane == 0 ? maker->sheet->height : maker->sheet->height / 2;
        memset(maker->sheet->data[plane], plane == 0 ? 0 : 128,
               (size_t)maker->sheet->linesize[plane] * (size_t)lines);
    }
    return true;
}

/* One plane of WIDTH by HEIGHT as it is shown, out of one that was turned so often. */
static void turn_plane(const uint8_t *from, int from_line, uint8_t *to, int to_line, int width, int height,
                       int turns)
{
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            int from_x = turns == 1 ? y : turns == 2 ? width - 1 - x : turns == 3 ? height - 1 - y : x;
            int from_y = turns == 1 ? width - 1 - x : turns == 2 ? height - 1 - y : turns == 3 ? x : y;
            to[(ptrdiff_t)y * to_line + x] = from[(ptrdiff_t)from_y * from_line + from_x];
        }
    }
}

static bool poster_put_picture(struct maker *maker, uint32_t number)
{
    const AVFrame *frame = maker->frame;
    int wide = (int)((maker->turns & 1) != 0 ? maker->height : maker->width);
    int high = (int)((maker->turns & 1) != 0 ? maker->width : maker->height);
    uint8_t *scaled[4] = {NULL};
    int lines[4] = {0};
    uint32_t column = number % maker->request->columns, row = number / maker->request->columns;
    struct SwsContext *scaler = sws_getContext(frame->width, frame->height, frame->format, wide, high,
                                               AV_PIX_FMT_YUVJ420P, SWS_BILINEAR, NULL, NULL, NULL);
    bool done = scaler && av_image_alloc(scaled, lines, wide, high, AV_PIX_FMT_YUVJ420P, 16) >= 0 &&
                sws_scale(scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height,
                          scaled, lines) == high;
    for (int plane = 0; done && plane < 3; plane++) {
        int half = plane == 0 ? 1 : 2;
        int line = maker->sheet->linesize[plane];
        uint8_t *place = maker->sheet->data[plane] +
                         (ptrdiff_t)(row * maker->height / (uint32_t)half) * line +
                         column * maker->width / (uint32_t)half;
        turn_plane(scaled[plane], lines[plane], place, line, (int)maker->width / half,
                   (int)maker->height / half, maker->turns);
    }
    av_freep(&scaled[0]);
    sws_freeContext(scaler);
    return done;
}

static bool encode(struct maker *maker, uint8_t **jpeg, size_t *size)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    AVCodecContext *encoder = codec ? avcodec_alloc_context3(codec) : NULL;
    bool done = false;
    if (!encoder)
        return false;
    encoder->width = maker->sheet->width;
    encoder->height = maker->sheet->height;
    encoder->pix_fmt = AV_PIX_FMT_YUVJ420P;
    encoder->color_range = AVCOL_RANGE_JPEG;
    encoder->time_base = (AVRational){1, 25};
    encoder->thread_count = 1;
    encoder->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
    encoder->global_quality = QUALITY * FF_QP2LAMBDA;
    maker->sheet->quality = encoder->global_quality;
    if (avcodec_open2(encoder, codec, NULL) == 0 && avcodec_send_frame(encoder, maker->sheet) == 0 &&
        avcodec_receive_packet(encoder, maker->packet) == 0 && maker->packet->size > 0) {
        *size = (size_t)maker->packet->size;
        *jpeg = malloc(*size);
        done = *jpeg;
        if (done)
            memcpy(*jpeg, maker->packet->data, *size);
    }
    avcodec_free_context(&encoder);
    return done;
}

/* All pictures that there are, up to what is wanted; a sheet without any is none. */
static bool draw(struct maker *maker)
{
    uint32_t number = 0;
    bool any = false;
    enum next next;
    while (number < maker->request->tiles && (next = next_picture(maker)) != NEXT_NONE) {
        if (next == NEXT_BROKEN) { /* its place stays black; one alone is the next that can be decoded */
            number += maker->request->tiles > 1 ? 1 : 0;
            continue;
        }
        if (!any) {
            find_size(maker);
            if (!begin_sheet(maker))
                return false;
        }
        any = true;
        if (!poster_put_picture(maker, number++))
            return false;
    }
    return any;
}

enum poster_status poster_picture_make(const struct poster_request *request, const uint8_t *bytes,
                                       uint8_t **jpeg, size_t *size)
{
    struct maker maker = {.request = request, .memory = {bytes, request->size, 0}};
    av_log_set_level(AV_LOG_QUIET);
    maker.packet = av_packet_alloc();
    maker.frame = av_frame_alloc();
    maker.sheet = av_frame_alloc();
    bool made = maker.packet && maker.frame && maker.sheet && open_film(&maker) && open_decoder(&maker) &&
                draw(&maker) && encode(&maker, jpeg, size);
    av_packet_free(&maker.packet);
    av_frame_free(&maker.frame);
    av_frame_free(&maker.sheet);
    avcodec_free_context(&maker.decoder);
    avformat_close_input(&maker.film);
    if (maker.io)
        av_freep(&maker.io->buffer);
    avio_context_free(&maker.io);
    return made ? POSTER_MADE : POSTER_NO_PICTURE;
}
