/*
 * ts_index: an MPEG-2 transport stream (ISO/IEC 13818-1) read from end to end, to find where its pictures can be begun with:
 * ranges that begin with tables and a key frame. Pure; for media_walk.
 */
#ifndef REEL_HTTPD_TS_INDEX_H
#define REEL_HTTPD_TS_INDEX_H

#include "httpd/media/media_film.h"

#define TS_PACKET 188

struct ts_index {
    struct film_ranges *ranges;
    int64_t segment;                   /* what a range lasts at least, at 90 kHz */
    int pmt_pid, video_pid, audio_pid; /* -1: not known yet */
    uint8_t video_type, audio_type;
    int64_t tables; /* where the last PAT began that nothing of the picture has followed; -1: none */
    int64_t begin, begin_time, last_time, end_time;
    int64_t wrapped;         /* what the 33 bits of time stamps have lost */
    bool any, tables_inside; /* each range but the first has had tables at its beginning */
    int64_t offset;          /* of the next byte that is fed */
    int64_t first_pmt_end;
};

void ts_index_open(struct ts_index *ts, struct film_ranges *ranges, int64_t segment_ms);
/* BYTES: whole packets. False: no transport stream, or no memory. */
MUST_CHECK bool ts_index_feed(struct ts_index *ts, struct media_view bytes, struct error *error);
MUST_CHECK bool ts_index_end(struct ts_index *ts, struct error *error);

#endif
