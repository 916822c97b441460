/*
 * mp4_tables: the sample tables of one track (stts, ctts, stss, stsz or stz2, stsc, stco or co64; ISO/IEC 14496-12 section 8.6 and
 * 8.7), checked against their boxes and read side by side, a block of samples at a time. Pure; for mp4_index alone.
 */
#ifndef REEL_HTTPD_MP4_TABLES_H
#define REEL_HTTPD_MP4_TABLES_H

#include "httpd/media/mp4_index.h"

struct mp4_tables {
    const struct mp4_track *track;
    struct media_view stts, ctts, stss, sizes, stsc, chunks; /* the entries of each, without head and count */
    uint32_t fixed_size;                                     /* of every sample; 0: in SIZES */
    uint8_t size_bits;                                       /* of an entry of SIZES */
    uint8_t chunk_bytes;                                     /* of an entry of CHUNKS */
    uint32_t chunk_count;

    uint32_t number; /* of the next sample */
    int64_t dts;
    size_t stts_at, ctts_at, stss_at, stsc_at;
    uint32_t stts_left, stts_delta, ctts_left;
    int32_t ctts_offset;
    uint32_t key;               /* the next sample that is one, counted from 1; 0: none is left */
    uint32_t chunk, chunk_left; /* the chunk behind the present one; samples left in that */
    int64_t offset;
    uint8_t description;
};

/* Fills TRACK's count and all_sync too. False: the tables contradict their boxes or each other. */
MUST_CHECK bool mp4_tables_open(struct mp4_tables *tables, struct media_view stbl, struct mp4_track *track,
                                struct error *error);
/* The next COUNT samples; the track has so many left. */
MUST_CHECK bool mp4_tables_read(struct mp4_tables *tables, struct mp4_sample *samples, size_t count,
                                struct error *error);

#endif
