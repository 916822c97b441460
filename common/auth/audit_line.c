/*
 * audit_line: JSON, member by member.
 */
#include "common/auth/audit_line.h"

#include "common/base/clock.h"
#include "common/base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct audit_text {
    char *at, *end; /* END: behind the last byte that may be written */
    bool full;
};

static void audit_put(struct audit_text *text, const char *bytes, size_t size)
{
    if ((size_t)(text->end - text->at) < size) {
        text->full = true;
        return;
    }
    memcpy(text->at, bytes, size);
    text->at += size;
}

static void audit_put_literal(struct audit_text *text, const char *literal)
{
    audit_put(text, literal, strlen(literal));
}

/* As a JSON string; bytes that are no UTF-8 become the lone surrogate dcXX, which says which byte it was. */
static void audit_put_string(struct audit_text *text, const char *value)
{
    size_t left = strlen(value);
    char escape[8];

    audit_put_literal(text, "\"");
    while (left > 0) {
        uint8_t c = (uint8_t)*value;
        size_t length = utf8_sequence(value, left, NULL);

        if (length == 0) {
            (void)snprintf(escape, sizeof(escape), "\\udc%02x", c);
            audit_put_literal(text, escape);
            length = 1;
        } else if (c < 0x20 || c == 0x7F || c == '"' || c == '\\' || c == '}') { /* which ends a line */
            (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
            audit_put_literal(text, escape);
        } else {
            audit_put(text, value, length);
        }
        value += length;
        left -= length;
    }
    audit_put_literal(text, "\"");
}

static void audit_put_member(struct audit_text *text, const char *name, const char *value)
{
    if (!value || value[0] == '\0')
        return;
    audit_put_literal(text, ",\"");
    audit_put_literal(text, name);
    audit_put_literal(text, "\":");
    audit_put_string(text, value);
}

static void audit_put_number(struct audit_text *text, const char *name, int64_t value)
{
    char number[64];

    (void)snprintf(number, sizeof(number), ",\"%s\":%" PRId64, name, value);
    audit_put_literal(text, number);
}

static void audit_put_time(struct audit_text *text)
{
    int64_t now_us = clock_wall_us();
    time_t seconds = (time_t)(now_us / 1000000);
    char stamp[64];
    struct tm parts;

    (void)gmtime_r(&seconds, &parts);
    size_t length = strftime(stamp, sizeof(stamp), "{\"time\":\"%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(stamp + length, sizeof(stamp) - length, ".%06dZ\"", (int)(now_us % 1000000));
    audit_put_literal(text, stamp);
}

size_t audit_line_event(const char *daemon, const struct audit_event *event, char line[AUDIT_LINE_SIZE])
{
    struct audit_text text = {.at = line, .end = line + AUDIT_LINE_SIZE};

    audit_put_time(&text);
    audit_put_member(&text, "daemon", daemon);
    audit_put_member(&text, "event", event->event);
    if (event->connection > 0)
        audit_put_number(&text, "connection", (int64_t)event->connection);
    audit_put_member(&text, "peer", event->peer);
    audit_put_member(&text, "key", event->key);
    audit_put_member(&text, "role", event->role);
    audit_put_member(&text, "application", event->application);
    audit_put_member(&text, "user", event->user);
    audit_put_member(&text, "file", event->file);
    if (event->bytes >= 0)
        audit_put_number(&text, "bytes", event->bytes);
    audit_put_number(&text, "outcome", event->outcome);
    audit_put_member(&text, "request", event->request);
    audit_put_member(&text, "text", event->text);
    audit_put_literal(&text, "\n");
    return text.full ? 0 : (size_t)(text.at - line);
}

size_t audit_line_opening(const char *daemon, const uint8_t follows[AUDIT_LINK_SIZE],
                          char line[AUDIT_LINE_SIZE])
{
    struct audit_text text = {.at = line, .end = line + AUDIT_LINE_SIZE};
    char hex[AUDIT_LINK_HEX + 1];

    audit_put_time(&text);
    audit_put_member(&text, "daemon", daemon);
    audit_put_member(&text, "event", "open");
    audit_chain_format(follows, hex);
    audit_put_member(&text, "follows", hex);
    audit_put_number(&text, "outcome", 0);
    audit_put_literal(&text, "\n");
    return (size_t)(text.at - line);
}
