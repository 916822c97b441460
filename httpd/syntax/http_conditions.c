/*
 * http_conditions: the order of RFC 9110 section 13.2.2, and the two comparisons of entity tags.
 */
#include "httpd/syntax/http_conditions.h"
#include "httpd/syntax/http_date.h"
#include <string.h>

/* Takes an entity-tag apart (section 8.8.3); OPAQUE includes the quotes. False for what is none. */
static bool parse_entity_tag(struct http_text text, bool *weak, struct http_text *opaque)
{
    *weak = text.size >= 2 && text.bytes[0] == 'W' && text.bytes[1] == '/';
    if (*weak) {
        text.bytes += 2;
        text.size -= 2;
    }
    *opaque = text;
    return text.size >= 2 && text.bytes[0] == '"' && text.bytes[text.size - 1] == '"' &&
           !memchr(text.bytes + 1, '"', text.size - 2);
}

/* Section 8.8.3.2. Our tag is strong, so that the strong comparison only has to refuse a weak one of theirs.
 */
static bool tag_matches(struct http_text text, const char *etag, bool strong)
{
    bool weak;
    struct http_text opaque;
    return parse_entity_tag(text, &weak, &opaque) && !(strong && weak) && http_text_equal(opaque, etag);
}

static bool conditions_list_matches(const struct http_text *fields, size_t count, const char *etag,
                                    bool strong)
{
    for (size_t i = 0; i < count; i++) {
        struct http_text rest = fields[i];
        struct http_text item;
        if (http_text_equal(http_text_trim(rest), "*"))
            return true; /* something is there */
        while (http_text_next_item(&rest, &item)) {
            if (tag_matches(item, etag, strong))
                return true;
        }
    }
    return false;
}

/* True when FIELD holds a date and the file was last modified after it. *VALID: whether it holds one. */
static bool modified_since(struct http_text field, int64_t last_modified, int64_t now, bool *valid)
{
    int64_t date;
    *valid = field.bytes && last_modified != 0 && http_date_parse(field, now, &date);
    return *valid && last_modified > date;
}

enum http_condition_verdict http_conditions_evaluate(const struct http_conditions *conditions,
                                                     const struct http_validators *validators, int64_t now)
{
    bool valid;

    /* Steps 1 and 2: If-Unmodified-Since counts only without If-Match. */
    if (conditions->if_match_count > 0) {
        if (!conditions_list_matches(conditions->if_match, conditions->if_match_count, validators->etag,
                                     true))
            return HTTP_CONDITION_FAILED;
    } else if (modified_since(conditions->if_unmodified_since, validators->last_modified, now, &valid)) {
        return HTTP_CONDITION_FAILED;
    }

    /* Steps 3 and 4: If-Modified-Since counts only without If-None-Match. */
    if (conditions->if_none_match_count > 0) {
        if (conditions_list_matches(conditions->if_none_match, conditions->if_none_match_count,
                                    validators->etag, false))
            return HTTP_CONDITION_NOT_MODIFIED;
    } else if (!modified_since(conditions->if_modified_since, validators->last_modified, now, &valid) &&
               valid) {
        return HTTP_CONDITION_NOT_MODIFIED;
    }
    return HTTP_CONDITION_PROCEED;
}

bool http_conditions_range_applies(const struct http_conditions *conditions,
                                   const struct http_validators *validators, int64_t now)
{
    struct http_text field = http_text_trim(conditions->if_range);
    int64_t date;
    if (!conditions->if_range.bytes)
        return true;
    if (field.size > 0 && (field.bytes[0] == '"' || field.bytes[0] == 'W'))
        return tag_matches(field, validators->etag, true);
    /* The date must be the very one we gave: the bytes under a file ID never change, so that it is a strong
     * validator. */
    return validators->last_modified != 0 && http_date_parse(field, now, &date) &&
           date == validators->last_modified;
}
