/*
 * mp4_samples: the samples of a track in about four bytes each: blocks of 128 whose fields are packed in as many bits as that block
 * needs, written by mp4_index and read in their order by whoever cuts, sends or shows a film. Pure; any thread.
 */
#ifndef REEL_HTTPD_MP4_SAMPLES_H
#define REEL_HTTPD_MP4_SAMPLES_H

#include "httpd/media/media_bytes.h"

#define MP4_BLOCK 128

struct mp4_track; /* of mp4_index.h: it has the blocks and their bits */

struct mp4_sample {
    int64_t dts;       /* decoding time, in the track's timescale; an initial empty edit is in it */
    int64_t offset;    /* in the file */
    uint32_t size;     /* bytes */
    uint32_t duration; /* in the track's timescale */
    int32_t cts;       /* presentation time less DTS; what the edit list skips is taken off */
    bool sync;
    uint8_t description; /* index into the track's descriptions */
};

/* Where the first sample of a block is, and how the fields of its samples are packed, least significant bit first: SIZE, GAP
 * (zigzag: bytes between the end of the sample before and this one), CTS, DURATION, SYNC. */
struct mp4_block {
    int64_t dts, offset;
    uint32_t at; /* byte in the track's bits */
    uint32_t size_min, duration_min;
    int32_t cts_min;
    uint8_t size_bits, gap_bits, cts_bits, duration_bits;
    uint8_t sync; /* bits per sample: 0 where all of them are */
    uint8_t bits; /* of a sample: all of these together */
};

/* So many bits stand in one word, whatever bit of a byte they begin at. */
#define MP4_WORD_BITS 57

/* ---- writing, by mp4_index ---- */

/* BLOCK, the next one of TRACK, is filled with COUNT samples, 1 to MP4_BLOCK; their bits go behind those of the ones before. Offsets
 * and sizes lie within a file. False without memory. */
MUST_CHECK bool mp4_samples_pack(struct mp4_track *track, struct mp4_block *block,
                                 const struct mp4_sample *samples, uint32_t count);
/* Behind the last block: from then on the samples can be read. False without memory, now or before. */
MUST_CHECK bool mp4_samples_end(struct mp4_track *track);

/* ---- reading ---- */

struct mp4_cursor {
    const struct mp4_track *track;
    uint32_t number; /* of the next one */
    int64_t dts, end;
    uint64_t bit;
};

/* NUMBER may be the track's count: then there is no next one. */
void mp4_cursor_seek(struct mp4_cursor *cursor, const struct mp4_track *track, uint32_t number);
/* False: there is no further one. */
bool mp4_cursor_next(struct mp4_cursor *cursor, struct mp4_sample *sample);
/* The samples up to the end of the cursor's block at once; how many, 0 where there is no further one. What costs a quarter
 * of mp4_cursor_next() for each, for those who go through whole tracks. */
size_t mp4_cursor_read(struct mp4_cursor *cursor, struct mp4_sample samples[MP4_BLOCK]);

#endif
