/*
 * utf8: well-formed UTF-8 as RFC 3629 defines it: no sequence longer than necessary, no surrogate, nothing past
 * U+10FFFF. Used wherever text from strangers is checked. Touches nothing. Any thread.
 */
#ifndef REEL_COMMON_UTF8_H
#define REEL_COMMON_UTF8_H

#include "common/base/base.h"

/* The length in bytes, 1 to 4, of the sequence that BYTES of SIZE (at least 1) begin with; 0: they begin with none. CUT
 * (may be NULL) then says whether what is there is right and only its end is missing. */
size_t utf8_sequence(const void *bytes, size_t size, bool *cut);

/* True when BYTES are such sequences, one after the other; WHOLE false: the end of the last one may be missing. */
bool utf8_valid(const void *bytes, size_t size, bool whole);

#endif
