/*
 * audit_verify: reads an audit file that audit.c wrote, and says whether its chain holds.
 */
#ifndef REEL_COMMON_AUTH_AUDIT_VERIFY_H
#define REEL_COMMON_AUTH_AUDIT_VERIFY_H

#include "common/auth/audit_chain.h"

struct audit_verdict {
    size_t lines, unlinked,
        torn; /* UNLINKED: without a chain; TORN: cut by a crash, which the chain steps over */
    /* As hexadecimal digits: the link that the first line follows, zeros where none was before it; and the last one. Where one file
     * continues another, its first is the other's last. "": no line has a link. */
    char follows[AUDIT_LINK_HEX + 1], last[AUDIT_LINK_HEX + 1];
};
/* Checks FILE with the keys that its lines name. False: ERROR says the line where the chain breaks. BLOCKS. */
MUST_CHECK bool audit_verify(const char *file, const struct keys *keys, struct audit_verdict *verdict,
                             struct error *error);

#endif
