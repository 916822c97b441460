/*
 * proto_expires: where a time of expiry lies hidden from older servers: in what follows the NUL of a string.
 */
#include "common/proto/proto_expires.h"
#include "common/proto/proto_fields.h"

bool proto_expires_valid(int64_t expires)
{
    return expires == PROTO_EXPIRES_NEVER || (expires >= -PROTO_EXPIRES_MAX && expires <= PROTO_EXPIRES_MAX);
}

void proto_store_expires(uint8_t *end, int64_t expires)
{
    end[-PROTO_EXPIRES_SIZE] = 'E';
    proto_store_be(end - 8, 8, (uint64_t)expires);
}

int64_t proto_load_expires(const uint8_t *end)
{
    int64_t expires = (int64_t)proto_load_be(end - 8, 8);
    return end[-PROTO_EXPIRES_SIZE] == 'E' && proto_expires_valid(expires) ? expires : 0;
}
