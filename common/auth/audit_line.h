/*
 * audit_line: events as lines of the audit log, before they are linked: a JSON object without its closing brace, which follows the
 * link (common/auth/audit_chain.h), and a newline. There is no other brace to close in a line, so that its end is known. Pure but for
 * the clock; any thread. Only audit.c calls it.
 */
#ifndef REEL_COMMON_AUDIT_LINE_H
#define REEL_COMMON_AUDIT_LINE_H

#include "common/auth/audit.h"
#include "common/auth/audit_chain.h"

#define AUDIT_LINE_SIZE 8192

/* The length; 0: it does not fit. */
MUST_CHECK size_t audit_line_event(const char *daemon, const struct audit_event *event,
                                   char line[AUDIT_LINE_SIZE]);

/* A line that says after which link a file, or a part of it, goes on. */
MUST_CHECK size_t audit_line_opening(const char *daemon, const uint8_t follows[AUDIT_LINK_SIZE],
                                     char line[AUDIT_LINE_SIZE]);

#endif
