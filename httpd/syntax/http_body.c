/*
 * http_body: framing by length and by chunks, one byte at a time where lines are concerned.
 */
#include "httpd/syntax/http_body.h"
#include "common/base/hex.h"

/* chunk = size [extensions] CRLF data CRLF; the last one has size 0, then come trailer lines and an empty
 * one. */
enum step {
    STEP_SIZE_FIRST, /* at least one digit */
    STEP_SIZE,
    STEP_EXTENSION,
    STEP_SIZE_LF,
    STEP_DATA,
    STEP_DATA_CR,
    STEP_DATA_LF,
    STEP_TRAILER_START, /* at the first byte of a line */
    STEP_TRAILER,
    STEP_TRAILER_LF,
    STEP_LAST_LF,
    STEP_DONE,
};

#define LINE_MAX_BYTES 4096 /* of one framing line, and of the trailer section as a whole */
#define DIGITS_MAX     15   /* hex digits that always fit in an int64_t */

void http_body_init(struct http_body *body, const struct http_request *request)
{
    *body = (struct http_body){.kind = request->body_kind, .step = STEP_SIZE_FIRST};
    if (body->kind == HTTP_BODY_LENGTH)
        body->left = request->body_length;
}

static enum http_body_state skip_length(struct http_body *body, size_t size, size_t *used)
{
    int64_t taken = min_i64(body->left, (int64_t)size);
    body->left -= taken;
    body->total += taken;
    *used = (size_t)taken;
    return body->left == 0 ? HTTP_BODY_DONE : HTTP_BODY_MORE;
}

/* One byte of framing. False: it must not be here. */
static bool framing_byte(struct http_body *body, char c)
{
    if (body->line++ == LINE_MAX_BYTES)
        return false;
    switch ((enum step)body->step) {
    case STEP_SIZE_FIRST:
    case STEP_SIZE: {
        int digit = hex_digit_value(c);
        if (digit >= 0) {
            if (body->line > DIGITS_MAX)
                return false;
            body->left = body->left * 16 + digit;
            body->step = STEP_SIZE;
            return true;
        }
        if (body->step == STEP_SIZE_FIRST || (c != '\r' && c != ';' && c != ' ' && c != '\t'))
            return false;
        body->step = c == '\r' ? STEP_SIZE_LF : STEP_EXTENSION;
        return true;
    }
    case STEP_EXTENSION:
        if (c == '\r')
            body->step = STEP_SIZE_LF;
        return c != '\n' && c != '\0';
    case STEP_SIZE_LF:
        body->step = body->left > 0 ? STEP_DATA : STEP_TRAILER_START;
        body->line = 0;
        return c == '\n';
    case STEP_DATA_CR:
        body->step = STEP_DATA_LF;
        return c == '\r';
    case STEP_DATA_LF:
        body->step = STEP_SIZE_FIRST;
        body->line = 0;
        return c == '\n';
    case STEP_TRAILER_START:
        body->step = c == '\r' ? STEP_LAST_LF : STEP_TRAILER;
        return c != '\n' && c != ' ' && c != '\t';
    case STEP_TRAILER:
        if (c == '\r')
            body->step = STEP_TRAILER_LF;
        return c != '\n' && c != '\0';
    case STEP_TRAILER_LF:
        body->step = STEP_TRAILER_START;
        return c == '\n';
    case STEP_LAST_LF:
        body->step = STEP_DONE;
        return c == '\n';
    case STEP_DATA:
    case STEP_DONE:
        break;
    }
    return false;
}

static enum http_body_state chunked_content(struct http_body *body, const char *bytes, size_t size,
                                            size_t *used, struct http_text *content)
{
    size_t at = 0;
    while (at < size && content->size == 0 && body->step != STEP_DONE) {
        if (body->step == STEP_DATA) {
            int64_t taken = min_i64(body->left, (int64_t)(size - at));
            *content = (struct http_text){bytes + at, (size_t)taken};
            body->left -= taken;
            body->total = body->total > INT64_MAX - taken ? INT64_MAX : body->total + taken;
            at += (size_t)taken;
            if (body->left == 0)
                body->step = STEP_DATA_CR;
        } else if (!framing_byte(body, bytes[at++])) {
            *used = at;
            return HTTP_BODY_BROKEN;
        }
    }
    *used = at;
    return body->step == STEP_DONE ? HTTP_BODY_DONE : HTTP_BODY_MORE;
}

enum http_body_state http_body_content(struct http_body *body, const char *bytes, size_t size, size_t *used,
                                       struct http_text *content)
{
    enum http_body_state state = HTTP_BODY_BROKEN;
    *used = 0;
    *content = (struct http_text){bytes, 0};
    switch (body->kind) {
    case HTTP_BODY_NONE:
        return HTTP_BODY_DONE;
    case HTTP_BODY_LENGTH:
        state = skip_length(body, size, used);
        content->size = *used;
        break;
    case HTTP_BODY_CHUNKED:
        state = chunked_content(body, bytes, size, used, content);
        break;
    }
    return state;
}

/* The shortest end: the last chunk and the empty line. */
#define LAST_CHUNK ((int64_t)sizeof("0\r\n\r\n") - 1)
#define CRLF       INT64_C(2)

int64_t http_body_least(const struct http_body *body)
{
    if (body->kind != HTTP_BODY_CHUNKED)
        return body->kind == HTTP_BODY_LENGTH ? body->left : 0;
    int64_t behind_line = body->left > 0 ? body->left + CRLF + LAST_CHUNK : CRLF;
    switch ((enum step)body->step) {
    case STEP_SIZE_FIRST:
        return LAST_CHUNK;
    case STEP_SIZE:
    case STEP_EXTENSION:
        return CRLF + behind_line;
    case STEP_SIZE_LF:
        return 1 + behind_line;
    case STEP_DATA:
        return behind_line;
    case STEP_DATA_CR:
        return CRLF + LAST_CHUNK;
    case STEP_DATA_LF:
        return 1 + LAST_CHUNK;
    case STEP_TRAILER_START:
        return CRLF;
    case STEP_TRAILER:
        return CRLF + CRLF;
    case STEP_TRAILER_LF:
        return 1 + CRLF;
    case STEP_LAST_LF:
        return 1;
    case STEP_DONE:
        break;
    }
    return 0;
}

enum http_body_state http_body_skip(struct http_body *body, const char *bytes, size_t size, size_t *used)
{
    enum http_body_state state;
    size_t taken;
    *used = 0;
    do {
        struct http_text content;
        state = http_body_content(body, bytes + *used, size - *used, &taken, &content);
        *used += taken;
    } while (state == HTTP_BODY_MORE && *used < size && taken > 0);
    return state;
}
