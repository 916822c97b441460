/*
 * Fuzzes entries of sample descriptions: the first byte says of which kind of track, the rest is the entry. What comes out goes into
 * playlists and manifests as it is, so it must be what RFC 6381 and the bindings of the codecs allow.
 */
#include "httpd/media/codec_string.h"
#include <regex.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char grammar[] =
    "^(avc[13]\\.[0-9a-f]{6}"
    "|(hvc1|hev1)\\.[ABC]?[0-9]{1,2}\\.[0-9A-F]{1,8}\\.[LH][0-9]{1,3}(\\.[0-9A-F]{1,2}){0,6}"
    "|av01\\.[012]\\.[0-9]{2}[MH]\\.(08|10|12)"
    "|vp09\\.0[0-3]\\.[0-9]{2}\\.(08|10|12)"
    "|mp4a\\.(40\\.[1-9][0-9]?|69|6b)"
    "|ac-3|ec-3|opus|fLaC|wvtt)$";

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static regex_t pattern;
    static bool compiled;
    struct codec_description description;
    struct error error = {.code = ERROR_NONE};
    if (!compiled)
        check(regcomp(&pattern, grammar, REG_EXTENDED | REG_NOSUB) == 0);
    compiled = true;
    if (size == 0)
        return 0;
    enum media_kind kind = (enum media_kind)(data[0] % (MEDIA_OTHER + 1));
    struct media_view entry = {data + 1, size - 1};
    if (codec_describe(kind, entry, &description, &error)) {
        check(memchr(description.codecs, '\0', sizeof(description.codecs)) && description.name);
        check(regexec(&pattern, description.codecs, 0, NULL, 0) == 0);
        check(kind == MEDIA_VIDEO || (description.width == 0 && description.height == 0));
        check(kind == MEDIA_AUDIO || (description.channels == 0 && description.sample_rate == 0));
        check(kind != MEDIA_VIDEO || !codec_is_picture(entry));
        return 0;
    }
    check(error.code == ERROR_MALFORMED || error.code == ERROR_UNKNOWN_COMMAND);
    for (const char *at = error.text; *at != '\0'; at++)
        check(*at >= ' ' && *at <= '~');
    (void)codec_is_picture(entry);
    return 0;
}
