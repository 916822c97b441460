/*
 * file_id: makes file IDs: the form is that of the older clients, the uniqueness comes from the kernel's random
 * numbers.
 */
#include "client/library/file_id.h"

#include "common/base/clock.h"
#include "common/proto/digest.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RANDOM_SIZE 24

bool file_id_make(const char *user, char id[FILE_ID_SIZE], struct error *error)
{
    static atomic_uint counter;
    int64_t now = clock_wall_us();
    pid_t process = getpid(), thread = gettid();
    uint8_t random[RANDOM_SIZE], sum[PROTO_DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE];
    struct digest *digest;

    arc4random_buf(random, sizeof(random));
    digest = digest_create();
    if (!digest)
        return error_set(error, ERROR_UNAVAILABLE, "cannot make a file ID: no memory");
    digest_update(digest, user, strlen(user));
    digest_update(digest, &process, sizeof(process));
    digest_update(digest, &thread, sizeof(thread));
    digest_update(digest, random, sizeof(random));
    digest_final(digest, sum);
    digest_destroy(digest);
    digest_to_hex(sum, hex);
    (void)snprintf(id, FILE_ID_SIZE, "%08x%06x%.16s%04u%02u",
                   (unsigned)((uint64_t)now / 1000000 & 0xFFFFFFFF), (unsigned)(now % 1000000), hex,
                   atomic_fetch_add(&counter, 1) % 10000, random[0] % 100u);
    return true;
}
