/*
 * access_log: one line per request, in the combined format or as JSON. Lines gather in a buffer of their loop
 * and go to the file on a worker, since a disk may be slow; when it cannot keep up, lines are dropped and
 * counted, and nobody waits.
 */
#ifndef REEL_HTTPD_ACCESS_LOG_H
#define REEL_HTTPD_ACCESS_LOG_H

#include "common/loop/workers.h"
#include "httpd/syntax/http_text.h"
#include "httpd/http_options.h"

struct access_log;        /* the file; made and closed on the main thread, written by its worker */
struct access_log_buffer; /* of one loop */

/* PATH "-" is standard output. NULL on failure. */
MUST_CHECK struct access_log *access_log_create(const char *path, struct error *error);
/* Ends the worker after what it was given is written; what comes later is written at once, by the caller.
 * May block for seconds. No other thread may use LOG or a buffer of it any more. NULL is ignored. */
void access_log_end_workers(struct access_log *log);
/* After that, and after every buffer is gone. NULL is ignored. */
void access_log_destroy(struct access_log *log);
/* Opens the file anew, on the worker; a failure is logged and keeps the open one. Any thread. */
void access_log_reopen(struct access_log *log);

MUST_CHECK struct access_log_buffer *access_log_buffer_create(struct access_log *log, struct loop *loop);
/* Writes what is left and frees, later, on the loop's thread, calling DONE. NULL is ignored (DONE is called).
 */
void access_log_buffer_close(struct access_log_buffer *buffer, void (*done)(void *argument), void *argument);

struct access_log_record {
    const char *peer;        /* numeric address */
    struct http_text method; /* empty where the request was not understood */
    struct http_text target;
    int minor_version;
    int status;
    int64_t time; /* seconds since the epoch */
    int64_t duration_us;
    int64_t body_bytes;                                /* that were sent */
    bool complete;                                     /* the whole answer was sent */
    struct http_text host, referer, user_agent, range; /* BYTES NULL: absent */
    const char *request_id;
};

/* Never blocks. */
void access_log_add(struct access_log_buffer *buffer, enum access_log_format format,
                    const struct access_log_record *record);
/* Passes the lines on if they are older than a second; called about four times a second. */
void access_log_tick(struct access_log_buffer *buffer);

/* The line for RECORD with its newline, at most SIZE bytes; returns its length. Pure. */
size_t access_log_format_line(char *line, size_t size, enum access_log_format format,
                              const struct access_log_record *record);

#endif
