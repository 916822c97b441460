/*
 * pins: parsing of app:APPLICATION=GROUP|GROUP and user:PREFIX=GROUP|GROUP, and the longest match.
 */
#include "tracker/pins.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIN_FORM "write app:APPLICATION=GROUP|GROUP or user:PREFIX=GROUP|GROUP"

static bool pin_parse_groups(const char *text, const char *groups, struct pin *pin, struct error *error)
{
    size_t count = 1;
    for (const char *c = groups; *c != '\0'; c++)
        count += *c == '|';
    pin->groups = calloc(count, sizeof(*pin->groups));
    if (!pin->groups)
        return error_set(error, ERROR_UNAVAILABLE, "tracker.pins: out of memory");
    for (size_t i = 0; i < count; i++) {
        groups += strspn(groups, " \t");
        size_t length = strcspn(groups, "|");
        const char *next = groups + length + (groups[length] == '|');
        while (length > 0 && (groups[length - 1] == ' ' || groups[length - 1] == '\t'))
            length--;
        char name[PROTO_GROUP_SIZE + 1];
        snprintf(name, sizeof(name), "%.*s", (int)min_size(length, sizeof(name) - 1), groups);
        if (!proto_name_valid(name, PROTO_GROUP_SIZE)) {
            return error_set(
                error, ERROR_REFUSED,
                "tracker.pins: \"%s\": a group name is letters and digits, at most %d: " PIN_FORM, text,
                PROTO_GROUP_SIZE - 1);
        }
        memcpy(pin->groups[pin->group_count++], name, PROTO_GROUP_SIZE);
        groups = next;
    }
    return true;
}

static bool pin_parse(const char *text, struct pin *pin, struct error *error)
{
    const char *subject;
    if (strncmp(text, "user:", 5) == 0) {
        pin->is_user = true;
        subject = text + 5;
    } else if (strncmp(text, "app:", 4) == 0) {
        subject = text + 4;
    } else {
        return error_set(error, ERROR_REFUSED, "tracker.pins: \"%s\": " PIN_FORM, text);
    }
    const char *equals = strrchr(subject, '=');
    if (!equals)
        return error_set(error, ERROR_REFUSED, "tracker.pins: \"%s\" has no '=': " PIN_FORM, text);
    size_t length = (size_t)(equals - subject);
    while (length > 0 && (subject[length - 1] == ' ' || subject[length - 1] == '\t'))
        length--;
    if (length == 0 || length >= sizeof(pin->subject))
        return error_set(error, ERROR_REFUSED,
                         "tracker.pins: \"%s\" names no application or prefix: " PIN_FORM, text);
    memcpy(pin->subject, subject, length);
    pin->subject[length] = '\0';
    if (!pin->is_user && !proto_name_valid(pin->subject, PROTO_APPLICATION_SIZE)) {
        return error_set(error, ERROR_REFUSED,
                         "tracker.pins: \"%s\": an application ID is letters and digits, at most %d", text,
                         PROTO_APPLICATION_SIZE - 1);
    }
    return pin_parse_groups(text, equals + 1, pin, error);
}

static bool pin_is_known(const struct pins *pins, const struct pin *pin)
{
    for (size_t i = 0; i < pins->count; i++) {
        if (pins->items[i].is_user == pin->is_user && strcmp(pins->items[i].subject, pin->subject) == 0)
            return true;
    }
    return false;
}

bool pins_parse(const struct config_strings *texts, struct pins *pins, struct error *error)
{
    *pins = (struct pins){0};
    if (texts->count == 0)
        return true;
    pins->items = calloc(texts->count, sizeof(*pins->items));
    if (!pins->items)
        return error_set(error, ERROR_UNAVAILABLE, "tracker.pins: out of memory");
    for (size_t i = 0; i < texts->count; i++) {
        struct pin pin = {0};
        if (!pin_parse(texts->items[i], &pin, error)) {
            free(pin.groups);
            goto fail;
        }
        if (pin_is_known(pins, &pin)) {
            error_set(error, ERROR_REFUSED,
                      "tracker.pins: \"%s\": %s is pinned twice: join its groups with '|'", texts->items[i],
                      pin.subject);
            free(pin.groups);
            goto fail;
        }
        pins->items[pins->count++] = pin;
    }
    return true;
fail:
    pins_clear(pins);
    return false;
}

void pins_clear(struct pins *pins)
{
    for (size_t i = 0; i < pins->count; i++)
        free(pins->items[i].groups);
    free(pins->items);
    *pins = (struct pins){0};
}

const struct pin *pins_match(const struct pins *pins, const char *application, const char *user)
{
    const struct pin *best = NULL;
    size_t best_length = 0;
    for (size_t i = 0; i < pins->count; i++) {
        const struct pin *pin = &pins->items[i];
        size_t length = strlen(pin->subject);
        if (pin->is_user && length > best_length && strncmp(user, pin->subject, length) == 0) {
            best = pin;
            best_length = length;
        } else if (!pin->is_user && best_length == 0 && strcmp(application, pin->subject) == 0) {
            best = pin;
        }
    }
    return best;
}
