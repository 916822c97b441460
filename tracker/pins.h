/*
 * pins: routing rules of the configuration: which groups a new user of an application, or with a certain
 * prefix, may be given. Pure. Called by options.c (to check) and router.c (to apply).
 *
 *   app:tnvideo=group001|group002     user:vip-=group003
 */
#ifndef REEL_TRACKER_PINS_H
#define REEL_TRACKER_PINS_H

#include "common/config/config.h"
#include "common/proto/proto.h"

struct pin {
    bool is_user; /* else: an application */
    char subject[PROTO_USER_SIZE];
    char (*groups)[PROTO_GROUP_SIZE]; /* owned */
    size_t group_count;
};

struct pins {
    struct pin *items; /* owned */
    size_t count;
};

/* Overwrites PINS; to be freed with pins_clear(). On failure ERROR quotes the rule and says what would be
 * right, and PINS is empty. */
MUST_CHECK bool pins_parse(const struct config_strings *texts, struct pins *pins, struct error *error);
void pins_clear(struct pins *pins);

/* The rule for a new user: that of the longest prefix of USER, else that of APPLICATION, else NULL. */
const struct pin *pins_match(const struct pins *pins, const char *application, const char *user);

#endif
