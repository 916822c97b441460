/*
 * stream_request: a request below /hls, /dash or /info from its target to what is answered: the files looked up, their indexes
 * found, playlists and heads of segments made. The loop's thread only; what takes long is left to a worker.
 */
#ifndef REEL_HTTPD_STREAM_REQUEST_H
#define REEL_HTTPD_STREAM_REQUEST_H

#include "httpd/stream/stream_loop.h"
#include "httpd/syntax/http_target.h"

struct stream_request;

struct stream_request_options {
    struct stream_loop *streams;
    const struct http_target *target; /* HTTP_TARGET_STREAM; needed during the call only */
    bool gzip;                        /* the client takes it */
    /* Instead of TARGET: a stored text, to be compressed, or made WebVTT where TO_VTT; of TYPE. */
    struct http_lookup_file *stored;
    const char *type;
    bool to_vtt;
    /* With STORED: a clip of it, of TYPE, from key frame to key frame (mp4_clip). END_MS INT64_MAX: up to its end. */
    bool clip;
    int64_t start_ms, end_ms;
    void (*wake)(void *argument); /* it has become ready; never inside stream_request_start() */
    void *argument;
};

enum stream_outcome {
    STREAM_BODY,    /* BODY */
    STREAM_FILE,    /* FILE as it is stored */
    STREAM_ABSENT,  /* 404 */
    STREAM_REFUSED, /* 415: ERROR says why */
    STREAM_OFF,     /* 501: ERROR says what is missing */
    STREAM_BUSY,    /* 503: ERROR says why */
    STREAM_FAILED,  /* ERROR: of the look-up, the storage servers, or for lack of memory */
};

struct stream_result {
    enum stream_outcome outcome;
    struct stream_body *body;      /* the caller's */
    struct http_lookup_file *file; /* with a reference for the caller */
    struct error error;
};

/* NULL without memory. */
MUST_CHECK struct stream_request *stream_request_start(const struct stream_request_options *options);
/* False: wake() will come. True: RESULT is filled, once. */
bool stream_request_ready(struct stream_request *request, struct stream_result *result);
/* At any time. NULL is ignored. */
void stream_request_end(struct stream_request *request);

#endif
