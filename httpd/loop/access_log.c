/*
 * access_log: lines are formatted on the loop that served, and written by one worker; what it cannot keep up with is dropped
 * and counted.
 */
#include "httpd/loop/access_log.h"
#include "httpd/syntax/http_link.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "httpd/syntax/http_date.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES   ((size_t)64 * 1024)
#define LINE_BYTES_MAX (24 * 1024) /* more than the longest line, every byte escaped */
#define FIELD_BYTES    1024        /* of a field's text that are kept; of the target twice as many */
#define MASKED_BYTES   ((size_t)2 * FIELD_BYTES + 64)
#define FLUSH_MS       1000
#define STOP_MS        5000
#define RETRY_MS       1000

struct access_log {
    char *path;
    int fd;                  /* touched on the worker only, once it runs; so are the next two */
    int64_t reopen_at_ms;    /* not before this is it tried again; 0: it need not be */
    bool torn;               /* the file ends inside of a line, which the next ones end first */
    struct workers *workers; /* one thread: writes and reopening come one after the other */
    struct metric *dropped;
};

struct access_log_buffer {
    struct access_log *log;
    struct loop *loop;
    char *filling;
    size_t filled;
    int64_t first_ms; /* when the oldest line in it was added */
    char *writing;
    size_t writing_size;
    bool busy; /* the worker has `writing` */
    struct job job;
    bool closing;
    void (*closed)(void *argument);
    void *closed_argument;
};

/* ---- the file ---- */

static int access_log_open(const char *path)
{
    if (strcmp(path, "-") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

struct access_log *access_log_create(const char *path, struct error *error)
{
    struct access_log *log = calloc(1, sizeof(*log));
    if (!log || !(log->path = strdup(path))) {
        error_set_errno(error, ENOMEM, "access log");
        goto fail;
    }
    log->dropped = metrics_counter(
        "reel_httpd_access_log_dropped_total",
        "Lines of the access log that were dropped: the file was too slow or could not be written.", NULL);
    log->fd = access_log_open(path);
    if (log->fd < 0) {
        error_set_errno(error, errno, "httpd.access_log: cannot open %s", path);
        goto fail;
    }
    log->workers = workers_create("access-log", 1, 1024, error);
    if (!log->workers) {
        close(log->fd);
        goto fail;
    }
    return log;
fail:
    if (log)
        free(log->path);
    free(log);
    return NULL;
}

void access_log_end_workers(struct access_log *log)
{
    if (!log)
        return;
    if (workers_destroy(log->workers, STOP_MS))
        log->workers = NULL;
    else
        log_warning("access-log", "%s hangs; its last lines are lost", log->path);
}

void access_log_destroy(struct access_log *log)
{
    if (!log || log->workers)
        return; /* a thread still hangs in the file */
    close(log->fd);
    free(log->path);
    free(log);
}

struct reopening {
    struct job job;
    struct access_log *log;
};

/* On the worker. Where it fails it is tried again with the next lines: a second later at the earliest. */
static void reopen_file(struct access_log *log)
{
    static struct log_gate gate;
    int fd = access_log_open(log->path);

    log->reopen_at_ms = fd < 0 ? clock_monotonic_ms() + RETRY_MS : 0;
    if (fd >= 0) {
        close(log->fd);
        log->fd = fd;
        log->torn = false;
    } else if (log_gate_open(&gate, 60000, NULL)) {
        log_error("access-log", "cannot reopen %s: %m; still writing to the old file; trying again",
                  log->path);
    }
}

static void reopen_run(struct job *job)
{
    struct reopening *reopening = CONTAINER_OF(job, struct reopening, job);

    reopen_file(reopening->log);
    free(reopening);
}

void access_log_reopen(struct access_log *log)
{
    struct reopening *reopening = calloc(1, sizeof(*reopening));
    if (reopening) {
        reopening->job.run = reopen_run;
        reopening->log = log;
        if (workers_submit(log->workers, &reopening->job))
            return;
    }
    free(reopening);
    log_error("access-log", "%s was not reopened: the queue of its worker is full", log->path);
}

/* ---- a loop's lines ---- */

/* Returns how many of SIZE bytes are in the file; errno where that is not all. */
static size_t write_out(int fd, const char *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(fd, bytes + done, size - done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        done += (size_t)written;
    }
    return done;
}

static void write_run(struct job *job)
{
    static struct log_gate gate;
    struct access_log_buffer *buffer = CONTAINER_OF(job, struct access_log_buffer, job);
    struct access_log *log = buffer->log;
    const char *lines = buffer->writing;
    size_t size = buffer->writing_size, done = 0;
    if (log->reopen_at_ms != 0 && clock_monotonic_ms() >= log->reopen_at_ms)
        reopen_file(log);
    log->torn = log->torn && write_out(log->fd, "\n", 1) == 0;
    if (!log->torn)
        done = write_out(log->fd, lines, size);
    if (done == size)
        return;
    int failure = errno;
    log->torn = log->torn || (done > 0 && lines[done - 1] != '\n');
    for (size_t i = done; i < size; i++)
        metric_add(log->dropped, lines[i] == '\n');
    errno = failure;
    if (log_gate_open(&gate, 60000, NULL))
        log_error("access-log", "cannot write to %s: %m; lines are lost", log->path);
}

static void buffer_send(struct access_log_buffer *buffer);

static void buffer_free(struct access_log_buffer *buffer)
{
    void (*closed)(void *argument) = buffer->closed;
    void *argument = buffer->closed_argument;
    free(buffer->filling);
    free(buffer->writing);
    free(buffer);
    closed(argument);
}

static void write_done(struct job *job)
{
    struct access_log_buffer *buffer = CONTAINER_OF(job, struct access_log_buffer, job);
    buffer->busy = false;
    if (!buffer->closing)
        return;
    buffer_send(buffer);
    if (!buffer->busy)
        buffer_free(buffer);
}

/* Hands the lines to the worker, if it is done with the ones before. */
static void buffer_send(struct access_log_buffer *buffer)
{
    if (buffer->busy || buffer->filled == 0)
        return;
    char *lines = buffer->filling;
    buffer->filling = buffer->writing;
    buffer->writing = lines;
    buffer->writing_size = buffer->filled;
    buffer->filled = 0;
    buffer->job = (struct job){.run = write_run, .done = write_done, .loop = buffer->loop};
    if (!buffer->log->workers) { /* at the very end */
        write_run(&buffer->job);
        return;
    }
    buffer->busy = workers_submit(buffer->log->workers, &buffer->job);
    if (!buffer->busy)
        log_warning("access-log", "%zu bytes of lines are lost: the queue of its worker is full",
                    buffer->writing_size);
}

struct access_log_buffer *access_log_buffer_create(struct access_log *log, struct loop *loop)
{
    struct access_log_buffer *buffer = calloc(1, sizeof(*buffer));
    if (!buffer)
        return NULL;
    buffer->log = log;
    buffer->loop = loop;
    buffer->filling = malloc(BUFFER_BYTES);
    buffer->writing = malloc(BUFFER_BYTES);
    if (!buffer->filling || !buffer->writing) {
        free(buffer->filling);
        free(buffer->writing);
        free(buffer);
        return NULL;
    }
    return buffer;
}

void access_log_buffer_close(struct access_log_buffer *buffer, void (*done)(void *argument), void *argument)
{
    if (!buffer) {
        done(argument);
        return;
    }
    buffer->closing = true;
    buffer->closed = done;
    buffer->closed_argument = argument;
    buffer_send(buffer);
    if (!buffer->busy)
        buffer_free(buffer);
}

void access_log_tick(struct access_log_buffer *buffer)
{
    if (buffer && buffer->filled > 0 && clock_monotonic_ms() - buffer->first_ms >= FLUSH_MS)
        buffer_send(buffer);
}

void access_log_add(struct access_log_buffer *buffer, enum access_log_format format,
                    const struct access_log_record *record)
{
    char line[LINE_BYTES_MAX];
    if (!buffer)
        return;
    size_t size = access_log_format_line(line, sizeof(line), format, record);
    if (size > BUFFER_BYTES - buffer->filled)
        buffer_send(buffer);
    if (size > BUFFER_BYTES - buffer->filled) {
        metric_add(buffer->log->dropped, 1);
        return;
    }
    if (buffer->filled == 0)
        buffer->first_ms = clock_monotonic_ms();
    memcpy(buffer->filling + buffer->filled, line, size);
    buffer->filled += size;
}

/* ---- the lines ---- */

struct writer {
    char *at;
    char *end; /* one byte is kept for the newline */
};

static void access_log_put(struct writer *writer, const char *text, size_t size)
{
    size = min_size(size, (size_t)(writer->end - writer->at));
    memcpy(writer->at, text, size);
    writer->at += size;
}

static void put_format(struct writer *writer, const char *format, ...) PRINTF_LIKE(2, 3);
static void put_format(struct writer *writer, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size > 0)
        access_log_put(writer, text, min_size((size_t)size, sizeof(text) - 1));
}

/* A stranger's text: what could end a string or a line, or means something to a terminal, is written as a
 * number. */
static void put_escaped(struct writer *writer, struct http_text text, size_t limit, bool json)
{
    size_t start = 0, end = min_size(text.size, limit);
    for (size_t i = 0; i < end; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
            continue;
        access_log_put(writer, text.bytes + start, i - start);
        put_format(writer, json ? "\\u%04x" : "\\x%02X", (unsigned)c);
        start = i + 1;
    }
    if (end > start)
        access_log_put(writer, text.bytes + start, end - start);
}

static void put_json_field(struct writer *writer, const char *name, struct http_text text, size_t limit)
{
    if (!text.bytes)
        return;
    put_format(writer, ",\"%s\":\"", name);
    put_escaped(writer, text, limit, true);
    access_log_put(writer, "\"", 1);
}

static void put_quoted(struct writer *writer, struct http_text text)
{
    if (!text.bytes)
        access_log_put(writer, " \"-\"", 4);
    else {
        access_log_put(writer, " \"", 2);
        put_escaped(writer, text, FIELD_BYTES, false);
        access_log_put(writer, "\"", 1);
    }
}

/* Without the signature of a link, which would open the file to whoever reads the log. */
static struct http_text masked(struct http_text text, char out[MASKED_BYTES])
{
    return text.bytes ? (struct http_text){out, http_link_mask(text, out, MASKED_BYTES)} : text;
}

static void format_combined(struct writer *writer, const struct access_log_record *r)
{
    struct http_calendar c;
    char text[MASKED_BYTES];
    http_date_to_calendar(r->time, &c);
    put_format(writer, "%s - - [%02d/%s/%04" PRId64 ":%02d:%02d:%02d +0000] \"", r->peer, c.day,
               http_date_month_name(c.month), c.year, c.hour, c.minute, c.second);
    if (r->method.size > 0) {
        put_escaped(writer, r->method, 32, false);
        access_log_put(writer, " ", 1);
        put_escaped(writer, masked(r->target, text), (size_t)2 * FIELD_BYTES, false);
        put_format(writer, " HTTP/1.%d", r->minor_version);
    } else {
        access_log_put(writer, "-", 1);
    }
    put_format(writer, "\" %d %" PRId64, r->status, r->body_bytes);
    put_quoted(writer, masked(r->referer, text));
    put_quoted(writer, r->user_agent);
    put_format(writer, " %" PRId64 ".%06" PRId64, r->duration_us / 1000000, r->duration_us % 1000000);
}

static void format_json(struct writer *writer, const struct access_log_record *r)
{
    struct http_calendar c;
    char text[MASKED_BYTES];
    http_date_to_calendar(r->time, &c);
    put_format(writer, "{\"time\":\"%04" PRId64 "-%02d-%02dT%02d:%02d:%02dZ\",\"id\":\"%s\",\"peer\":\"%s\"",
               c.year, c.month, c.day, c.hour, c.minute, c.second, r->request_id, r->peer);
    if (r->method.size > 0) {
        put_json_field(writer, "method", r->method, 32);
        put_json_field(writer, "target", masked(r->target, text), (size_t)2 * FIELD_BYTES);
        put_format(writer, ",\"protocol\":\"HTTP/1.%d\"", r->minor_version);
    }
    put_format(writer,
               ",\"status\":%d,\"bytes\":%" PRId64 ",\"complete\":%s,\"seconds\":%" PRId64 ".%06" PRId64,
               r->status, r->body_bytes, r->complete ? "true" : "false", r->duration_us / 1000000,
               r->duration_us % 1000000);
    put_json_field(writer, "host", r->host, 256);
    put_json_field(writer, "range", r->range, 256);
    put_json_field(writer, "referer", masked(r->referer, text), 256);
    put_json_field(writer, "user_agent", r->user_agent, 256);
    access_log_put(writer, "}", 1);
}

size_t access_log_format_line(char *line, size_t size, enum access_log_format format,
                              const struct access_log_record *record)
{
    struct writer writer = {line, line + size - 1};
    if (format == ACCESS_LOG_JSON)
        format_json(&writer, record);
    else
        format_combined(&writer, record);
    *writer.at++ = '\n';
    return (size_t)(writer.at - line);
}
