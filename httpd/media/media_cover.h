/*
 * media_cover: pictures that files bring along (JPEG or PNG), found as ranges of the file: covr in MP4's metadata, an attachment of
 * Matroska, APIC in ID3v2 (MP3), PICTURE in FLAC. Nothing is decoded. Pure; any thread.
 */
#ifndef REEL_HTTPD_MEDIA_COVER_H
#define REEL_HTTPD_MEDIA_COVER_H

#include "httpd/media/media_bytes.h"

#define MEDIA_COVER_HEAD ((int64_t)256 * 1024) /* bytes of an MP3 or FLAC file that are looked at */

struct media_cover {
    int64_t offset, size; /* size 0: none */
    const char *type;     /* static */
};

/* MOOV: the whole box, which lies at AT in the file. */
void media_cover_in_moov(struct media_view moov, int64_t at, struct media_cover *cover);
/* BODY: of the element Attachments, which lies at AT in the file. */
void media_cover_in_attachments(struct media_view body, int64_t at, struct media_cover *cover);
/* BYTES: the first ones of an MP3 or FLAC file of FILE_SIZE. */
void media_cover_in_head(struct media_view bytes, int64_t file_size, struct media_cover *cover);

#endif
