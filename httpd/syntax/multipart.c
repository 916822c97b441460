/*
 * multipart: the delimiter is looked for as CR LF - - boundary; since it has but one CR, its first byte, a beginning of it that turns
 * out to be none is content as a whole, and the search goes on at the byte that differed.
 */
#include "httpd/syntax/multipart.h"
#include "httpd/syntax/content_name.h"
#include <string.h>
#include <strings.h>

enum step {
    STEP_PREAMBLE,
    STEP_DELIMITER_END, /* behind a delimiter: CR LF, or two hyphens */
    STEP_HEAD,
    STEP_CONTENT,
    STEP_CONTENT_ENDS, /* a delimiter came behind content: its end is to be reported */
    STEP_EPILOGUE,
    STEP_BROKEN,
};

#define FORM "multipart/form-data"

bool multipart_is_form(struct http_text content_type)
{
    size_t size = sizeof(FORM) - 1;
    return content_type.bytes && content_type.size >= size &&
           strncasecmp(content_type.bytes, FORM, size) == 0 &&
           (content_type.size == size || strchr("; \t", content_type.bytes[size]));
}

/* bchars of RFC 2046 section 5.1.1; no space, with which it could not end. */
static bool boundary_is_legal(const char *boundary)
{
    size_t size = strlen(boundary);
    for (size_t i = 0; i < size; i++) {
        char c = boundary[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              strchr("'()+_,-./:=?", c)))
            return false;
    }
    return size > 0;
}

bool multipart_begin(struct multipart *multipart, struct http_text content_type)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    memset(multipart, 0, sizeof(*multipart));
    if (!multipart_is_form(content_type) ||
        content_name_parameter(content_type, "boundary", false, boundary, sizeof(boundary)) !=
            CONTENT_NAME_FOUND ||
        !boundary_is_legal(boundary))
        return false;
    memcpy(multipart->delimiter, "\r\n--", 4);
    memcpy(multipart->delimiter + 4, boundary, strlen(boundary) + 1);
    multipart->delimiter_size = 4 + strlen(boundary);
    multipart->matched = 2; /* the first one has no line end before it */
    return true;
}

size_t multipart_tail(const struct multipart *multipart)
{
    return multipart->delimiter_size + 4;
}

static void advance(struct http_text *bytes, size_t count)
{
    bytes->bytes += count;
    bytes->size -= count;
}

/* ---- the head of a part ---- */

/* One line of it. False: it is malformed. */
static bool multipart_take_line(struct multipart *multipart, struct http_text line, bool *disposition)
{
    const char *colon = line.size > 0 ? memchr(line.bytes, ':', line.size) : NULL;
    if (!colon)
        return false;
    struct http_text name = {line.bytes, (size_t)(colon - line.bytes)};
    struct http_text value = http_text_trim((struct http_text){colon + 1, line.size - name.size - 1});
    if (http_text_equal_nocase(name, "content-type") && value.size < sizeof(multipart->content_type))
        memcpy(multipart->content_type, value.bytes, value.size);
    if (!http_text_equal_nocase(name, "content-disposition"))
        return true;
    static const char form[] = "form-data";
    *disposition = value.size >= sizeof(form) - 1 && strncasecmp(value.bytes, form, sizeof(form) - 1) == 0;
    if (content_name_parameter(value, "name", true, multipart->field, sizeof(multipart->field)) !=
        CONTENT_NAME_FOUND)
        memset(multipart->field, 0, sizeof(multipart->field));
    enum content_name_result named =
        content_name_parameter(value, "filename", true, multipart->file_name, sizeof(multipart->file_name));
    multipart->has_file_name = named != CONTENT_NAME_NONE;
    if (named != CONTENT_NAME_FOUND)
        memset(multipart->file_name, 0, sizeof(multipart->file_name));
    return true;
}

/* RFC 7578 section 4.2: each part has a Content-Disposition. */
static bool parse_head(struct multipart *multipart)
{
    struct http_text rest = {multipart->head, multipart->head_size};
    bool disposition = false;
    memset(multipart->field, 0, sizeof(multipart->field));
    memset(multipart->file_name, 0, sizeof(multipart->file_name));
    memset(multipart->content_type, 0, sizeof(multipart->content_type));
    multipart->has_file_name = false;
    while (rest.size > 2) {
        const char *end = memmem(rest.bytes, rest.size, "\r\n", 2);
        struct http_text line = {rest.bytes, (size_t)(end - rest.bytes)};
        if (!multipart_take_line(multipart, line, &disposition))
            return false;
        advance(&rest, line.size + 2);
    }
    return disposition && !memchr(multipart->head, '\0', multipart->head_size);
}

static enum multipart_event multipart_step_head(struct multipart *multipart, struct http_text *bytes)
{
    while (bytes->size > 0) {
        if (multipart->head_size == sizeof(multipart->head))
            return MULTIPART_BROKEN;
        multipart->head[multipart->head_size++] = *bytes->bytes;
        advance(bytes, 1);
        size_t size = multipart->head_size;
        bool over = size >= 4 && memcmp(multipart->head + size - 4, "\r\n\r\n", 4) == 0;
        if (!over)
            continue;
        if (!parse_head(multipart))
            return MULTIPART_BROKEN;
        multipart->step = STEP_CONTENT;
        return MULTIPART_PART;
    }
    return MULTIPART_MORE;
}

/* ---- content and delimiters ---- */

/* The bytes up to the next delimiter. True: it has come whole. CONTENT gets what is surely before it, perhaps nothing. */
static bool find_delimiter(struct multipart *multipart, struct http_text *bytes, struct http_text *content)
{
    *content = (struct http_text){bytes->bytes, 0};
    if (multipart->matched > 0) {
        while (bytes->size > 0 && multipart->matched < multipart->delimiter_size &&
               *bytes->bytes == multipart->delimiter[multipart->matched]) {
            multipart->matched++;
            advance(bytes, 1);
        }
        if (multipart->matched == multipart->delimiter_size)
            return true;
        if (bytes->size == 0)
            return false;
        /* It was none. What of it came before is content, and stands in the delimiter's own text. */
        *content = (struct http_text){multipart->delimiter, multipart->matched};
        multipart->matched = 0;
        return false;
    }
    const char *at = memmem(bytes->bytes, bytes->size, multipart->delimiter, multipart->delimiter_size);
    if (at) {
        content->size = (size_t)(at - bytes->bytes);
        advance(bytes, content->size + multipart->delimiter_size);
        multipart->matched = multipart->delimiter_size;
        return true;
    }
    size_t keep = min_size(bytes->size, multipart->delimiter_size - 1);
    while (keep > 0 && memcmp(bytes->bytes + bytes->size - keep, multipart->delimiter, keep) != 0)
        keep--;
    content->size = bytes->size - keep;
    multipart->matched = keep;
    advance(bytes, bytes->size);
    return false;
}

static enum multipart_event step_content(struct multipart *multipart, struct http_text *bytes,
                                         struct http_text *content)
{
    bool preamble = multipart->step == STEP_PREAMBLE;
    while (bytes->size > 0) {
        if (find_delimiter(multipart, bytes, content)) {
            multipart->matched = multipart->ended = 0;
            multipart->step = preamble ? STEP_DELIMITER_END : STEP_CONTENT_ENDS;
            if (content->size > 0 && !preamble)
                return MULTIPART_CONTENT;
            if (preamble)
                return MULTIPART_MORE; /* the caller's loop goes on */
            multipart->step = STEP_DELIMITER_END;
            return MULTIPART_PART_END;
        }
        if (content->size > 0 && !preamble)
            return MULTIPART_CONTENT;
    }
    return MULTIPART_MORE;
}

/* Two hyphens end the form; else a line end, with blanks before it (RFC 2046 section 5.1.1). */
static enum multipart_event step_delimiter_end(struct multipart *multipart, struct http_text *bytes)
{
    while (bytes->size > 0) {
        char c = *bytes->bytes;
        advance(bytes, 1);
        if (multipart->ended == 0 && (c == ' ' || c == '\t'))
            continue;
        multipart->ending[multipart->ended++] = c;
        if (multipart->ended < 2)
            continue;
        multipart->head_size = 0;
        if (memcmp(multipart->ending, "--", 2) == 0) {
            multipart->step = STEP_EPILOGUE;
            return MULTIPART_END;
        }
        if (memcmp(multipart->ending, "\r\n", 2) != 0)
            return MULTIPART_BROKEN;
        multipart->step = STEP_HEAD;
        return MULTIPART_MORE;
    }
    return MULTIPART_MORE;
}

enum multipart_event multipart_next(struct multipart *multipart, struct http_text *bytes,
                                    struct http_text *content)
{
    enum multipart_event event = MULTIPART_MORE;
    *content = (struct http_text){NULL, 0};
    if (multipart->step == STEP_CONTENT_ENDS) {
        multipart->step = STEP_DELIMITER_END;
        return MULTIPART_PART_END;
    }
    while (event == MULTIPART_MORE && bytes->size > 0) {
        switch ((enum step)multipart->step) {
        case STEP_PREAMBLE:
        case STEP_CONTENT:
            event = step_content(multipart, bytes, content);
            break;
        case STEP_DELIMITER_END:
            event = step_delimiter_end(multipart, bytes);
            break;
        case STEP_HEAD:
            event = multipart_step_head(multipart, bytes);
            break;
        case STEP_EPILOGUE:
            advance(bytes, bytes->size);
            return MULTIPART_END;
        case STEP_CONTENT_ENDS:
        case STEP_BROKEN:
            event = MULTIPART_BROKEN;
            break;
        }
    }
    if (event == MULTIPART_BROKEN)
        multipart->step = STEP_BROKEN;
    return event;
}
