/*
 * poster_answer: what is wrong with a request is found before memory is taken for its bytes.
 */
#include "poster/poster_answer.h"
#include "common/media/poster_wire.h"
#include "poster/poster_picture.h"
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static bool poster_read_all(int fd, void *bytes, size_t size)
{
    for (uint8_t *at = bytes; size > 0;) {
        ssize_t done = read(fd, at, size);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool write_all(int fd, const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size > 0;) {
        ssize_t done = write(fd, at, size);
        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool is_sound(const struct poster_request *request)
{
    return request->magic == POSTER_MAGIC && request->container <= POSTER_TS && request->size > 0 &&
           request->size <= POSTER_SIZE_MAX && request->width >= 2 && request->width <= POSTER_WIDTH_MAX &&
           request->width % 2 == 0 && request->height <= 2 * POSTER_WIDTH_MAX && request->height % 2 == 0 &&
           request->tiles > 0 && request->tiles <= POSTER_TILES_MAX && request->columns > 0 &&
           request->columns <= POSTER_TILES_MAX;
}

void poster_answer(int fd)
{
    struct poster_request request;
    struct poster_answer reply = {.magic = POSTER_MAGIC, .status = POSTER_BAD_REQUEST};
    uint8_t *jpeg = NULL;
    size_t size = 0;
    if (!poster_read_all(fd, &request, sizeof(request)))
        return;
    uint8_t *bytes = is_sound(&request) ? malloc(request.size) : NULL;
    if (bytes && poster_read_all(fd, bytes, request.size))
        reply.status = poster_picture_make(&request, bytes, &jpeg, &size);
    if (size > POSTER_JPEG_MAX) {
        reply.status = POSTER_NO_PICTURE;
        size = 0;
    }
    reply.size = (uint32_t)size;
    if (write_all(fd, &reply, sizeof(reply)) && size > 0)
        (void)write_all(fd, jpeg, size);
    free(jpeg);
    free(bytes);
}
