/*
 * poster_wire: what reel-httpd and reel-poster say to each other over a local stream socket, one request per connection: a request
 * and SIZE bytes of a film, then an answer and SIZE bytes of a JPEG picture. Numbers are the machine's own. Touches nothing.
 */
#ifndef REEL_COMMON_POSTER_WIRE_H
#define REEL_COMMON_POSTER_WIRE_H

#include <stdint.h>

#define POSTER_MAGIC     UINT32_C(0x52504f31)
#define POSTER_SIZE_MAX  (UINT32_C(48) << 20) /* bytes of a film */
#define POSTER_JPEG_MAX  (UINT32_C(8) << 20)
#define POSTER_WIDTH_MAX 1920
#define POSTER_TILES_MAX 100

enum poster_container { POSTER_MP4, POSTER_TS };

struct poster_request {
    uint32_t magic;
    uint32_t container; /* enum poster_container */
    uint32_t width;     /* of a picture, even; it is not made larger than it is where HEIGHT is 0 */
    uint32_t height;    /* even; 0: by the film's proportions */
    uint32_t tiles;     /* pictures wanted, at least 1: the film's first ones */
    uint32_t columns;   /* of them in a row, at least 1 */
    uint32_t size;
};

enum poster_status { POSTER_MADE, POSTER_NO_PICTURE, POSTER_BAD_REQUEST };

struct poster_answer {
    uint32_t magic;
    uint32_t status; /* enum poster_status */
    uint32_t size;   /* 0 where none was made */
};

#endif
