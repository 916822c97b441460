/*
 * Fuzzes subtitles on their way to WebVTT, and the names of what streams consist of.
 */
#include "common/base/utf8.h"
#include "httpd/media/media_set.h"
#include "httpd/media/subtitles.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct media_buffer out = {0};
    struct media_name name;
    char id[MEDIA_NAME_MAX];
    subtitles_of_file((struct media_view){data, size}, &out);
    if (!out.failed && (out.size < 6 || memcmp(out.bytes, "WEBVTT", 6) != 0 ||
                        !utf8_valid(out.bytes, out.size, true) || memchr(out.bytes, '\0', out.size)))
        abort();
    media_buffer_clear(&out);
    if (media_name_parse((const char *)data, size, &name) &&
        (name.item >= MEDIA_SET_MAX || name.track >= MP4_TRACKS_MAX ||
         strlen(media_stream_id(name.item, name.stream, name.track, id)) >= size))
        abort();
    return 0;
}
