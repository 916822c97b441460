/*
 * stream_state: one request for a stream (stream_request.h), and the steps that its modules share: stream_finish.c ends it and reads bytes of
 * its file, stream_segment.c, stream_text.c and stream_picture.c make what it asks for, stream_request.c begins with the files that takes.
 * All on the loop's thread; never blocks. Each step ends with one of the stream_finish functions, now or later.
 */
#ifndef REEL_HTTPD_STREAM_STATE_H
#define REEL_HTTPD_STREAM_STATE_H

#include "httpd/media/media_set.h"
#include "httpd/stream/media_read.h"
#include "httpd/stream/stream_request.h"

/* Bytes that one answer may bring into memory. */
#define STREAM_GATHER_MAX ((int64_t)48 * 1024 * 1024)

/* One file of the set, on its way. */
struct stream_item {
    struct stream_request *request;
    bool needed, asked_again;
    struct proto_file_key key;
    struct http_lookup_wait *lookup;
    struct media_cache_wait *wait;
    struct http_lookup_file *file; /* a reference */
    struct media_film *film;       /* a reference */
    struct error error;            /* why there is none; code 0: there may be */
};

struct stream_request {
    struct stream_request_options options;
    char type[HTTP_LOOKUP_TYPE_SIZE]; /* of a stored text */
    struct proto_file_key key;        /* application and user */
    enum http_service service;
    struct media_name name;
    char resource[MEDIA_NAME_MAX];
    char version[MEDIA_VERSION_SIZE]; /* that its file must have; "": any */
    size_t count;
    size_t waiting; /* items that have not been answered */
    bool started;   /* stream_request_start() has returned: wake() may come */
    bool ready;
    struct stream_result result;
    struct stream_item items[MEDIA_SET_MAX];

    struct media_read *read;
    size_t charged;               /* of the loops' budget of memory */
    struct mp4_fragment fragment; /* whose pieces are being read */
    struct stream_build *build;
    struct stream_repack *repack;
    struct stream_clip *clip;
    struct stream_poster *poster;
    int64_t picture_time, picture_width; /* of the target */
    bool prepared;                       /* the first look at the texts was taken */
};

/* The file of the set that the target's name is about. */
static inline struct stream_item *stream_own(struct stream_request *request)
{
    return &request->items[request->name.item];
}

/* ---- stream_finish.c ---- */

/* The request is answered: wake() is called, unless it has not been started yet. */
void stream_finish(struct stream_request *request, enum stream_outcome outcome);
void stream_finish_error(struct stream_request *request, const struct error *error);
void stream_finish_failed(struct stream_request *request, int code, const char *text);
/* With BODY, which is taken over; NULL: no memory. */
void stream_finish_body(struct stream_request *request, struct stream_body *body);
/* The same for a body whose bytes nothing else keeps: they count until they are sent. */
void stream_finish_charged(struct stream_request *request, struct stream_body *body);

/* SIZE bytes of the loops' budget, until it is finished. False: there are not so many, and it is finished. */
MUST_CHECK bool stream_charge(struct stream_request *request, size_t size);
void stream_charge_nothing(struct stream_request *request);

/* The PIECES of its file, SIZE bytes in all, for CALLBACK with the request as argument. What cannot begin is finished. */
void stream_read(struct stream_request *request, const struct mp4_piece *pieces, size_t count, int64_t size,
                 media_read_callback callback);

/* ---- stream_segment.c ---- */

void stream_segment_make(struct stream_request *request);
void stream_segment_init(struct stream_request *request);

/* ---- stream_text.c ---- */

/* True: what was made before is the answer. */
MUST_CHECK bool stream_text_find(struct stream_request *request);
/* For the next request. BODY NULL: nothing is kept. */
void stream_text_keep(struct stream_request *request, struct stream_body *body);
/* On a worker. MATERIAL (malloc'd, NULL for none), of SIZE bytes, is taken over. */
void stream_text_build(struct stream_request *request, uint8_t *material, size_t size);
/* Of stream_read(): what was read is the material. */
void stream_text_read(void *argument, uint8_t *bytes, size_t size, const struct error *error);
/* Subtitles of a file or a track. */
void stream_text_vtt(struct stream_request *request);

/* ---- stream_picture.c ---- */

void stream_picture_make(struct stream_request *request);
void stream_picture_board(struct stream_request *request);
/* Of what is no film, but may be a piece of music that brings a picture along. */
void stream_picture_cover(struct stream_request *request);

#endif
