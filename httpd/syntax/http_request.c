/*
 * http_request: http-parser 2.9 splits a head into lines; everything else, and all that the library lets through, is decided
 * here. The library is named in parser_of(), in the four callbacks, in find_method() and parser_failed(): llhttp, its
 * successor, has the same callbacks, pauses by returning HPE_PAUSED, and reports where by llhttp_get_error_pos().
 */
#include "httpd/syntax/http_request.h"
#include "httpd/syntax/http_authority.h"
#include <http_parser.h>
#include <string.h>
#include <strings.h>

#define METHOD_SIZE_MAX 32 /* bytes; longer is no method */

enum { LAST_NONE, LAST_NAME, LAST_VALUE };

_Static_assert(sizeof(((struct http_request *)0)->parser) >= sizeof(http_parser), "room for the parser");

static http_parser *parser_of(struct http_request *request)
{
    return (http_parser *)(void *)request->parser;
}

/* Always returns 1, which stops the parser. */
static int http_request_refuse(struct http_request *request, uint16_t status, const char *reason)
{
    if (request->status == 0) {
        request->status = status;
        request->reason = reason;
    }
    return 1;
}

static const char *const field_names[HTTP_FIELD_COUNT] = {
    [HTTP_FIELD_HOST] = "host",
    [HTTP_FIELD_CONNECTION] = "connection",
    [HTTP_FIELD_CONTENT_LENGTH] = "content-length",
    [HTTP_FIELD_TRANSFER_ENCODING] = "transfer-encoding",
    [HTTP_FIELD_EXPECT] = "expect",
    [HTTP_FIELD_RANGE] = "range",
    [HTTP_FIELD_IF_MATCH] = "if-match",
    [HTTP_FIELD_IF_NONE_MATCH] = "if-none-match",
    [HTTP_FIELD_IF_MODIFIED_SINCE] = "if-modified-since",
    [HTTP_FIELD_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
    [HTTP_FIELD_IF_RANGE] = "if-range",
    [HTTP_FIELD_ACCEPT] = "accept",
    [HTTP_FIELD_ACCEPT_ENCODING] = "accept-encoding",
    [HTTP_FIELD_ORIGIN] = "origin",
    [HTTP_FIELD_ACCESS_CONTROL_REQUEST_METHOD] = "access-control-request-method",
    [HTTP_FIELD_ACCESS_CONTROL_REQUEST_HEADERS] = "access-control-request-headers",
    [HTTP_FIELD_REFERER] = "referer",
    [HTTP_FIELD_USER_AGENT] = "user-agent",
    [HTTP_FIELD_X_FORWARDED_FOR] = "x-forwarded-for",
    [HTTP_FIELD_FORWARDED] = "forwarded",
    [HTTP_FIELD_DLNA_FEATURES] = "getcontentfeatures.dlna.org",
    [HTTP_FIELD_DLNA_TRANSFER_MODE] = "transfermode.dlna.org",
    [HTTP_FIELD_COOKIE] = "cookie",
    [HTTP_FIELD_AUTHORIZATION] = "authorization",
    [HTTP_FIELD_CONTENT_TYPE] = "content-type",
    [HTTP_FIELD_CONTENT_DISPOSITION] = "content-disposition",
    [HTTP_FIELD_CONTENT_ENCODING] = "content-encoding",
    [HTTP_FIELD_CONTENT_RANGE] = "content-range",
    [HTTP_FIELD_CONTENT_DIGEST] = "content-digest",
    [HTTP_FIELD_REPR_DIGEST] = "repr-digest",
    [HTTP_FIELD_REEL_DIGEST] = "x-reel-digest",
    [HTTP_FIELD_METHOD_OVERRIDE] = "x-http-method-override",
    [HTTP_FIELD_TUS_RESUMABLE] = "tus-resumable",
    [HTTP_FIELD_UPLOAD_LENGTH] = "upload-length",
    [HTTP_FIELD_UPLOAD_DEFER_LENGTH] = "upload-defer-length",
    [HTTP_FIELD_UPLOAD_OFFSET] = "upload-offset",
    [HTTP_FIELD_UPLOAD_METADATA] = "upload-metadata",
    [HTTP_FIELD_UPLOAD_CHECKSUM] = "upload-checksum",
    [HTTP_FIELD_UPLOAD_CONCAT] = "upload-concat",
    [HTTP_FIELD_UPLOAD_COMPLETE] = "upload-complete",
    [HTTP_FIELD_UPLOAD_INTEROP] = "upload-draft-interop-version",
    [HTTP_FIELD_TRACEPARENT] = "traceparent",
};

/* HTTP_FIELD_COUNT for a field that is not used here. */
static enum http_field find_field(struct http_text name)
{
    for (int i = 0; i < HTTP_FIELD_COUNT; i++) {
        /* The first letter settles nearly all of them. */
        if ((name.bytes[0] | 0x20) == field_names[i][0] && http_text_equal_nocase(name, field_names[i]))
            return (enum http_field)i;
    }
    return HTTP_FIELD_COUNT;
}

struct http_text http_request_text(const char *base, struct http_slice slice)
{
    return (struct http_text){base + slice.offset, slice.size};
}

/* Keeps the line whose name and value are complete now. */
static int keep_field(struct http_request *request)
{
    struct http_text name = http_request_text(request->base, request->name);
    if (++request->field_count > request->limits->fields_max)
        return http_request_refuse(request, 431, "too many header fields");
    for (size_t i = 0; i < name.size; i++) {
        if (!http_text_is_token_character(name.bytes[i]))
            return http_request_refuse(request, 400,
                                       "a header field's name has a character that it must not have");
    }
    enum http_field field = find_field(name);
    if (field == HTTP_FIELD_COUNT)
        return 0;

    struct http_text value = http_text_trim(http_request_text(request->base, request->value));
    struct http_slice slice = {(uint16_t)(value.bytes - request->base), (uint16_t)value.size};
    if ((request->present >> field & 1u) == 0) {
        request->present |= UINT64_C(1) << field;
        request->fields[field] = slice;
        return 0;
    }
    if (request->repeated_count == HTTP_REPEATED_FIELDS_MAX)
        return http_request_refuse(request, 431, "too many repeated header fields");
    request->repeated[request->repeated_count++] = (struct http_repeated_field){(uint8_t)field, slice};
    return 0;
}

/* Pieces of one string come in several calls; as the buffer is one, the last piece's end is the string's end.
 */
static void http_request_extend(const struct http_request *request, struct http_slice *slice, bool first,
                                const char *at, size_t size)
{
    size_t offset = (size_t)(at - request->base);
    if (first)
        slice->offset = (uint16_t)offset;
    slice->size = (uint16_t)(offset + size - slice->offset);
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
    struct http_request *request = parser->data;
    http_request_extend(request, &request->target, request->target.size == 0, at, size);
    if (request->target.size > request->limits->target_max)
        return http_request_refuse(request, 414, "the request-target is too long");
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t size)
{
    struct http_request *request = parser->data;
    bool first = request->last != LAST_NAME;
    if (request->last == LAST_VALUE && keep_field(request) != 0)
        return 1;
    http_request_extend(request, &request->name, first, at, size);
    request->last = LAST_NAME;
    return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t size)
{
    struct http_request *request = parser->data;
    http_request_extend(request, &request->value, request->last != LAST_VALUE, at, size);
    request->last = LAST_VALUE;
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct http_request *request = parser->data;
    request->complete = request->last != LAST_VALUE || keep_field(request) == 0;
    /* What follows is not the library's: the body is skipped by http_body, the next request begins anew. */
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

void http_request_init(struct http_request *request)
{
    memset(request, 0, sizeof(*request));
    http_parser_init(parser_of(request), HTTP_REQUEST);
}

struct http_text http_request_field(const struct http_request *request, const char *base,
                                    enum http_field field)
{
    if ((request->present >> field & 1u) == 0)
        return (struct http_text){NULL, 0};
    return http_request_text(base, request->fields[field]);
}

size_t http_request_field_count(const struct http_request *request, enum http_field field)
{
    size_t count = request->present >> field & 1u;
    for (size_t i = 0; i < request->repeated_count; i++)
        count += request->repeated[i].field == field;
    return count;
}

bool http_request_lines(const struct http_request *request, const char *base, enum http_field field,
                        struct http_text *lines, size_t *count)
{
    *count = 0;
    if ((request->present >> field & 1u) == 0)
        return true;
    lines[(*count)++] = http_request_text(base, request->fields[field]);
    for (size_t i = 0; i < request->repeated_count; i++) {
        if (request->repeated[i].field != field)
            continue;
        if (*count == HTTP_CONDITION_FIELDS_MAX)
            return false;
        lines[(*count)++] = http_request_text(base, request->repeated[i].value);
    }
    return true;
}

/* A field that must appear once and appears twice cannot be relied upon. */
static struct http_text single(const struct http_request *request, const char *base, enum http_field field)
{
    if (http_request_field_count(request, field) != 1)
        return (struct http_text){NULL, 0};
    return http_request_field(request, base, field);
}

bool http_request_conditions(const struct http_request *request, const char *base,
                             struct http_conditions *conditions)
{
    if (!http_request_lines(request, base, HTTP_FIELD_IF_MATCH, conditions->if_match,
                            &conditions->if_match_count) ||
        !http_request_lines(request, base, HTTP_FIELD_IF_NONE_MATCH, conditions->if_none_match,
                            &conditions->if_none_match_count))
        return false;
    conditions->if_modified_since = single(request, base, HTTP_FIELD_IF_MODIFIED_SINCE);
    conditions->if_unmodified_since = single(request, base, HTTP_FIELD_IF_UNMODIFIED_SINCE);
    conditions->if_range = http_request_field(request, base, HTTP_FIELD_IF_RANGE);
    return true;
}

/* ---- what the library lets through ---- */

/* The request line as it stands: METHOD SP target SP HTTP/1.x, single spaces (RFC 9112 section 3). */
static bool request_line_is_strict(const struct http_request *request, const char *base)
{
    size_t method_end = (size_t)request->method_text.offset + request->method_text.size;
    size_t target_end = (size_t)request->target.offset + request->target.size;
    return base[method_end] == ' ' && request->target.offset == method_end + 1 && base[target_end] == ' ' &&
           memcmp(base + target_end + 1, "HTTP/", 5) == 0;
}

/* obs-fold (RFC 9112 section 5.2): a line that begins with white space; a CR without its LF (section 2.2),
 * with which the library ends a head, and what stands behind it would be a request of its own; and a NUL
 * anywhere. */
static bool lines_are_strict(const char *base, size_t size)
{
    const char *at = base;
    const char *end = base + size;
    if (memchr(base, '\0', size))
        return false;
    for (const char *cr = base; (cr = memchr(cr, '\r', (size_t)(end - cr))) != NULL;) {
        if (++cr == end || *cr != '\n')
            return false;
    }
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        if (++at == end)
            break;
        if (*at == ' ' || *at == '\t')
            return false;
    }
    return true;
}

static int check_framing(struct http_request *request, const char *base)
{
    const http_parser *parser = parser_of(request);
    struct http_text coding = http_request_field(request, base, HTTP_FIELD_TRANSFER_ENCODING);
    struct http_text length = http_request_field(request, base, HTTP_FIELD_CONTENT_LENGTH);

    if (http_request_field_count(request, HTTP_FIELD_CONTENT_LENGTH) > 1)
        return http_request_refuse(request, 400, "more than one Content-Length");
    if (coding.bytes) {
        if (length.bytes)
            return http_request_refuse(request, 400, "Content-Length beside Transfer-Encoding");
        if (parser->http_minor == 0)
            return http_request_refuse(request, 400, "Transfer-Encoding in HTTP/1.0");
        if (http_request_field_count(request, HTTP_FIELD_TRANSFER_ENCODING) > 1 ||
            !http_text_equal_nocase(coding, "chunked"))
            return http_request_refuse(request, 501, "a transfer coding other than chunked");
        request->body_kind = HTTP_BODY_CHUNKED;
    } else if (length.bytes) {
        if (!http_text_number(length, &request->body_length) || request->body_length == INT64_MAX)
            return http_request_refuse(request, 400, "Content-Length is not a number");
        request->body_kind = request->body_length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    }
    return 0;
}

static int check_host(struct http_request *request, const char *base)
{
    size_t count = http_request_field_count(request, HTTP_FIELD_HOST);
    if (count > 1)
        return http_request_refuse(request, 400, "more than one Host");
    if (count == 0 && request->minor_version > 0)
        return http_request_refuse(request, 400, "Host is missing");
    if (count == 1 && !http_authority_is_legal(http_request_field(request, base, HTTP_FIELD_HOST), true))
        return http_request_refuse(request, 400, "Host is not a host name and port");
    return 0;
}

/* True when one of the lines of Connection names OPTION. */
static bool connection_has(const struct http_request *request, const char *base, const char *option)
{
    struct http_text lines[HTTP_CONDITION_FIELDS_MAX];
    struct http_text item;
    size_t count;
    if (!http_request_lines(request, base, HTTP_FIELD_CONNECTION, lines, &count))
        return strcmp(option, "close") == 0; /* more lines than anybody sends: do not go on */
    for (size_t i = 0; i < count; i++) {
        while (http_text_next_item(&lines[i], &item)) {
            if (http_text_equal_nocase(item, option))
                return true;
        }
    }
    return false;
}

static enum http_request_method http_request_method_of(unsigned method)
{
    switch (method) {
    case HTTP_GET:
        return HTTP_METHOD_GET;
    case HTTP_HEAD:
        return HTTP_METHOD_HEAD;
    case HTTP_OPTIONS:
        return HTTP_METHOD_OPTIONS;
    case HTTP_PUT:
        return HTTP_METHOD_PUT;
    case HTTP_POST:
        return HTTP_METHOD_POST;
    case HTTP_DELETE:
        return HTTP_METHOD_DELETE;
    case HTTP_PATCH:
        return HTTP_METHOD_PATCH;
    default:
        return HTTP_METHOD_OTHER;
    }
}

static enum http_request_state finish_head(struct http_request *request, const char *base)
{
    http_parser *parser = parser_of(request);
    request->minor_version = (uint8_t)min_size(parser->http_minor, 1);
    request->method = http_request_method_of(parser->method);
    if (parser->http_major != 1) {
        (void)http_request_refuse(request, parser->http_major == 0 ? 400 : 505,
                                  "only HTTP/1.0 and HTTP/1.1 are spoken here");
        return HTTP_REQUEST_ERROR;
    }
    if (!request_line_is_strict(request, base) || !lines_are_strict(base, request->head_size)) {
        (void)http_request_refuse(request, 400, "the request line or a header line is malformed");
        return HTTP_REQUEST_ERROR;
    }
    if (check_host(request, base) != 0 || check_framing(request, base) != 0)
        return HTTP_REQUEST_ERROR;

    struct http_text expect = http_request_field(request, base, HTTP_FIELD_EXPECT);
    if (expect.bytes && request->minor_version > 0) {
        if (!http_text_equal_nocase(expect, "100-continue")) {
            (void)http_request_refuse(request, 417, "an expectation other than 100-continue");
            return HTTP_REQUEST_ERROR;
        }
        request->expect_continue = true;
    }
    request->keep_alive = !connection_has(request, base, "close") &&
                          (request->minor_version > 0 || connection_has(request, base, "keep-alive"));
    return HTTP_REQUEST_HEAD;
}

/* The method is read here first: one that the library does not know is a method all the same (RFC 9110
 * section 9.1), a token and a space. False: the request is refused or the method is not complete (status 0).
 */
static bool find_method(struct http_request *request, const char *base, size_t size)
{
    size_t start = 0, end;
    while (start < size && (base[start] == '\r' || base[start] == '\n'))
        start++;
    for (end = start; end < size && http_text_is_token_character(base[end]); end++)
        ;
    if (end - start > METHOD_SIZE_MAX || (end < size && (end == start || base[end] != ' '))) {
        (void)http_request_refuse(request, 400, "the request line does not begin with a method");
        return false;
    }
    if (end == size)
        return false;
    /* The preface of HTTP/2 (RFC 9113 section 3.4): a version that is not spoken here, not a method. */
    if (end - start == 3 && memcmp(base + start, "PRI", 3) == 0) {
        const char *line_end = memchr(base + end, '\n', size - end);
        if (!line_end)
            return false;
        if (line_end - (base + end) >= 8 && memcmp(base + end, " * HTTP/", 8) == 0)
            (void)http_request_refuse(request, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
        if (request->status != 0)
            return false;
    }
    request->method_text = (struct http_slice){(uint16_t)start, (uint16_t)(end - start)};
    return true;
}

static enum http_request_state parser_failed(struct http_request *request)
{
    enum http_errno number = HTTP_PARSER_ERRNO(parser_of(request));
    if (request->status != 0)
        return HTTP_REQUEST_ERROR;
    switch (number) {
    case HPE_INVALID_METHOD:
        request->method = HTTP_METHOD_OTHER;
        (void)http_request_refuse(request, 405, "only GET, HEAD and OPTIONS are served");
        break;
    case HPE_INVALID_VERSION:
        (void)http_request_refuse(request, 400, "the HTTP version is malformed");
        break;
    case HPE_HEADER_OVERFLOW:
        (void)http_request_refuse(request, 431, "the header fields are too large");
        break;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
        (void)http_request_refuse(request, 400,
                                  "Content-Length is repeated, malformed or beside Transfer-Encoding");
        break;
    case HPE_INVALID_TRANSFER_ENCODING:
        (void)http_request_refuse(request, 501, "a transfer coding other than chunked");
        break;
    default:
        (void)http_request_refuse(request, 400, http_errno_description(number));
        break;
    }
    return HTTP_REQUEST_ERROR;
}

enum http_request_state http_request_parse(struct http_request *request,
                                           const struct http_request_limits *limits, const char *base,
                                           size_t size)
{
    http_parser *parser = parser_of(request);
    size_t limit = min_size(size, limits->head_max);
    request->base = base;
    request->limits = limits;
    parser->data = request;
    if (request->method_text.size == 0 && !find_method(request, base, limit)) {
        if (request->status != 0)
            return HTTP_REQUEST_ERROR;
    } else if (limit > request->parsed) {
        size_t taken =
            http_parser_execute(parser, &settings, base + request->parsed, limit - request->parsed);
        request->parsed = (uint16_t)(request->parsed + taken);
        request->base = NULL;
        if (request->complete) {
            request->head_size = (uint16_t)(request->parsed + 1); /* the parser stands on the last line end */
            return finish_head(request, base);
        }
        if (HTTP_PARSER_ERRNO(parser) != HPE_OK)
            return parser_failed(request);
    }
    if (size >= limits->head_max) {
        bool in_target = request->field_count == 0 && request->last == LAST_NONE;
        (void)http_request_refuse(request, in_target ? 414 : 431,
                                  in_target ? "the request-target is too long"
                                            : "the header fields are too large");
        return HTTP_REQUEST_ERROR;
    }
    return HTTP_REQUEST_MORE;
}
