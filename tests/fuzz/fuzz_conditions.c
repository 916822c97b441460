/*
 * Fuzzes dates, entity-tag lists, Accept and file names for headers. The input's lines are If-Match,
 * If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range, Accept and a file name.
 */
#include "httpd/syntax/disposition.h"
#include "httpd/syntax/http_conditions.h"
#include "httpd/syntax/http_date.h"
#include "httpd/syntax/http_response.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW INT64_C(1606780800)

static struct http_text next_line(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size > 0 ? memchr(*data, '\n', *size) : NULL;
    struct http_text line = {(const char *)*data, end != NULL ? (size_t)(end - *data) : *size};
    size_t used = min_size(line.size + 1, *size);
    *data += used;
    *size -= used;
    return line;
}

/* A date that was taken is written in one form, which is taken as the same moment. */
static void check_date(struct http_text text)
{
    char buffer[HTTP_DATE_SIZE];
    int64_t seconds, again;
    if (!http_date_parse(text, NOW, &seconds))
        return;
    http_date_format(seconds, buffer);
    if (!http_date_parse(http_text_of(buffer), NOW, &again) ||
        (again != seconds && seconds < INT64_C(253402300800)))
        abort();
}

static void check_disposition(struct http_text name)
{
    char copy[256] = "", buffer[DISPOSITION_SIZE];
    if (name.size > 0)
        memcpy(copy, name.bytes, min_size(name.size, sizeof(copy) - 1));
    disposition_format(copy, buffer);
    for (const char *at = buffer; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_validators validators = {"\"0123456789abcdef\"", 784111777};
    struct http_conditions conditions = {0};
    conditions.if_match[0] = next_line(&data, &size);
    conditions.if_match_count = conditions.if_match[0].size > 0;
    conditions.if_none_match[0] = next_line(&data, &size);
    conditions.if_none_match_count = conditions.if_none_match[0].size > 0;
    conditions.if_modified_since = next_line(&data, &size);
    conditions.if_unmodified_since = next_line(&data, &size);
    conditions.if_range = next_line(&data, &size);
    check_date(conditions.if_modified_since);
    check_date(conditions.if_unmodified_since);
    (void)http_conditions_evaluate(&conditions, &validators, NOW);
    (void)http_conditions_range_applies(&conditions, &validators, NOW);
    (void)http_accept_prefers_json(next_line(&data, &size));
    check_disposition(next_line(&data, &size));
    return 0;
}
