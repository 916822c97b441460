/*
 * audit_verify: reads an audit file that audit.c wrote, and says whether its chain holds.
 */
#ifndef REEL_COMMON_AUTH_AUDIT_VERIFY_H
#define REEL_COMMON_AUTH_AUDIT_VERIFY_H

#include "common/auth/keys.h"

struct audit_verdict {
    size_t lines, unlinked,
        torn; /* UNLINKED: without a chain; TORN: cut by a crash, which the chain steps over */
};
/* Checks FILE with the keys that its lines name. False: ERROR says the line where the chain breaks. BLOCKS. */
MUST_CHECK bool audit_verify(const char *file, const struct keys *keys, struct audit_verdict *verdict,
                             struct error *error);

#endif
