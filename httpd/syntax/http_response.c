/*
 * http_response: fields are appended to a buffer, and an overflow is remembered rather than reported each time.
 */
#include "httpd/syntax/http_response.h"
#include "common/base/clock.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void http_output_append(struct http_output *out, const void *bytes, size_t size)
{
    if (size > out->capacity - out->end) {
        out->overflow = true;
        return;
    }
    memcpy(out->bytes + out->end, bytes, size);
    out->end += (uint32_t)size;
}

void http_output_text(struct http_output *out, const char *text)
{
    http_output_append(out, text, strlen(text));
}

void http_output_number(struct http_output *out, int64_t number)
{
    char digits[24];
    char *at = digits + sizeof(digits);
    uint64_t value = (uint64_t)max_i64(number, 0);
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    http_output_append(out, at, (size_t)(digits + sizeof(digits) - at));
}

/* RFC 3986 section 2.3. */
static bool is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void http_output_segment(struct http_output *out, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    while (*text != '\0') {
        size_t plain = 0;
        while (is_unreserved((unsigned char)text[plain]))
            plain++;
        http_output_append(out, text, plain);
        text += plain;
        if (*text == '\0')
            return;
        unsigned char c = (unsigned char)*text++;
        const char escaped[] = {'%', digits[c >> 4], digits[c & 15]};
        http_output_append(out, escaped, sizeof(escaped));
    }
}

bool http_output_flush(struct http_output *out, struct transport to, bool more, size_t *sent)
{
    *sent = 0;
    while (out->start < out->end) {
        ssize_t written = transport_send(to, out->bytes + out->start, out->end - out->start,
                                         MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        out->start += (uint32_t)written;
        *sent += (size_t)written;
    }
    return true;
}

int64_t http_clock_read(struct http_clock *clock)
{
    int64_t now = clock_wall_seconds();
    if (now != clock->second || clock->date[0] == '\0') {
        clock->second = now;
        http_date_format(now, clock->date);
    }
    return now;
}

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {100, "Continue"},
    {104, "Upload Resumption Supported"},
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {206, "Partial Content"},
    {303, "See Other"},
    {304, "Not Modified"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {460, "Checksum Mismatch"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

/* The phrase of a status, e.g. "Not Found". */
static const char *status_phrase(int status)
{
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++) {
        if (phrases[i].status == status)
            return phrases[i].phrase;
    }
    return "Unknown";
}

void http_response_interim(struct http_output *out, int status)
{
    HTTP_OUTPUT_LITERAL(out, "HTTP/1.1 ");
    http_output_number(out, status);
    HTTP_OUTPUT_LITERAL(out, " ");
    http_output_text(out, status_phrase(status));
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

void http_response_begin(struct http_output *out, int status, const struct http_clock *clock,
                         const char *server)
{
    if (status == 200) {
        HTTP_OUTPUT_LITERAL(out, "HTTP/1.1 200 OK\r\n");
    } else {
        HTTP_OUTPUT_LITERAL(out, "HTTP/1.1 ");
        http_output_number(out, status);
        HTTP_OUTPUT_LITERAL(out, " ");
        http_output_text(out, status_phrase(status));
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    HTTP_OUTPUT_LITERAL(out, "Date: ");
    http_output_append(out, clock->date, HTTP_DATE_SIZE - 1);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
    http_output_text(out, server);
}

void http_response_field(struct http_output *out, const char *name, const char *value)
{
    http_output_text(out, name);
    HTTP_OUTPUT_LITERAL(out, ": ");
    http_output_text(out, value);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

void http_response_content_length(struct http_output *out, int64_t length)
{
    HTTP_OUTPUT_LITERAL(out, "Content-Length: ");
    http_output_number(out, length);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

void http_response_end(struct http_output *out, bool keep_alive, int minor_version)
{
    if (!keep_alive)
        HTTP_OUTPUT_LITERAL(out, "Connection: close\r\n");
    else if (minor_version == 0)
        HTTP_OUTPUT_LITERAL(out, "Connection: keep-alive\r\n");
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

size_t http_error_body(char *buffer, size_t size, bool json, int status, const char *message,
                       const char *request_id)
{
    /* Phrase, message and ID are texts of this program and hold nothing that JSON would have to escape. */
    int written;
    if (json)
        written = snprintf(buffer, size,
                           "{\"status\":%d,\"error\":\"%s\",\"message\":\"%s\",\"request_id\":\"%s\"}\n",
                           status, status_phrase(status), message, request_id);
    else
        written = snprintf(buffer, size, "%d %s: %s\nrequest %s\n", status, status_phrase(status), message,
                           request_id);
    return written < 0 ? 0 : min_size((size_t)written, size - 1);
}

/* The weight of one element of Accept, "type/subtype;q=0.8", in thousandths (RFC 9110 section 12.4.2). */
static int accept_parse_weight(struct http_text item, struct http_text *range)
{
    const char *semicolon = memchr(item.bytes, ';', item.size);
    size_t end = !semicolon ? item.size : (size_t)(semicolon - item.bytes);
    *range = http_text_trim((struct http_text){item.bytes, end});
    const char *q = memmem(item.bytes + end, item.size - end, "q=", 2);
    if (!q)
        return 1000;
    size_t left = (size_t)(item.bytes + item.size - q) - 2;
    q += 2;
    if (left == 0 || *q == '1')
        return 1000;
    int weight = 0;
    for (size_t i = 0, place = 100; i + 2 < left && i < 3; i++, place /= 10) {
        if (q[i + 2] < '0' || q[i + 2] > '9')
            break;
        weight += (q[i + 2] - '0') * (int)place;
    }
    return weight;
}

bool http_accept_prefers_json(struct http_text accept)
{
    struct http_text rest = accept, item, range;
    int json = 0, text = 0;
    if (!accept.bytes)
        return false;
    while (http_text_next_item(&rest, &item)) {
        int weight = accept_parse_weight(item, &range);
        if (http_text_equal_nocase(range, "application/json"))
            json = weight;
        else if (range.size >= 5 && memcmp(range.bytes, "text/", 5) == 0 && weight > text)
            text = weight;
    }
    return json > text;
}

bool http_accept_gzip(struct http_text accept_encoding)
{
    struct http_text rest = accept_encoding, item, coding;
    int gzip = -1, any = 0;
    if (!accept_encoding.bytes)
        return false;
    while (http_text_next_item(&rest, &item)) {
        int weight = accept_parse_weight(item, &coding);
        if (http_text_equal_nocase(coding, "gzip") || http_text_equal_nocase(coding, "x-gzip"))
            gzip = weight;
        else if (http_text_equal(coding, "*"))
            any = weight;
    }
    return gzip >= 0 ? gzip > 0 : any > 0;
}
