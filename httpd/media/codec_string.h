/*
 * codec_string: the value of CODECS and codecs= for an entry of a sample description (RFC 6381; ISO/IEC 14496-15 annex E for AVC
 * and HEVC; the AV1 and VP9 ISO media bindings), and what else a playlist says of it. Pure; any thread.
 */
#ifndef REEL_HTTPD_CODEC_STRING_H
#define REEL_HTTPD_CODEC_STRING_H

#include "common/base/error.h"
#include "httpd/media/media_bytes.h"

#define CODEC_STRING_SIZE 64

enum media_kind { MEDIA_VIDEO, MEDIA_AUDIO, MEDIA_SUBTITLE, MEDIA_OTHER };

struct codec_description {
    char codecs[CODEC_STRING_SIZE]; /* "avc1.64001f" */
    const char *name;               /* "H.264", for /info and refusals; static */
    uint16_t width, height;         /* video */
    uint16_t channels;              /* audio */
    uint32_t sample_rate;           /* audio, per second */
};

/* ENTRY: one whole box below stsd, of a track of KIND. False: a fragment of it cannot be made or no player takes it; ERROR says
 * why (ERROR_UNKNOWN_COMMAND for a codec, ERROR_MALFORMED for an entry that breaks its own rules). */
MUST_CHECK bool codec_describe(enum media_kind kind, struct media_view entry,
                               struct codec_description *description, struct error *error);

/* True for still pictures that files carry as a video track (covers): they are left out. */
bool codec_is_picture(struct media_view entry);

#endif
