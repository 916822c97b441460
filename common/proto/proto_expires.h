/*
 * proto_expires: times at which a file is to be deleted, as requests and replies state them. Pure; any thread.
 */
#ifndef REEL_COMMON_PROTO_EXPIRES_H
#define REEL_COMMON_PROTO_EXPIRES_H

#include "common/base/base.h"

/* A time of expiry: seconds since the epoch, from 1 to PROTO_EXPIRES_MAX; or, in requests, a negative number: that many seconds from the
 * upload (EXPIRE: from now) on; or PROTO_EXPIRES_NEVER. Between a string and the end of its field: the byte 'E', then 8 bytes. */
#define PROTO_EXPIRES_MAX   INT64_C(253402300799) /* the end of the year 9999 */
#define PROTO_EXPIRES_NEVER INT64_MAX
#define PROTO_EXPIRES_SIZE  9
bool proto_expires_valid(int64_t expires);

/* ---- for the other modules of proto ---- */

/* A time of expiry behind the NUL of a string: 'E', then 8 bytes. END: of what it stands before, in the string's field. Load
 * returns 0 where there is none. */
void proto_store_expires(uint8_t *end, int64_t expires);
int64_t proto_load_expires(const uint8_t *end);

#endif
