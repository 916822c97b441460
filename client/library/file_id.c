/*
 * file_id: makes file IDs: the form is that of the older clients, the uniqueness comes from the kernel's random
 * numbers.
 */
#include "client/library/file_id.h"

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/proto/digest.h"

#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANDOM_SIZE 24
#define IDS_AHEAD   16
#define DIGEST_USED 8 /* bytes of it that are in an ID */

/* What a thread asks the kernel for once in IDS_AHEAD IDs; a process that was forked asks anew. */
struct id_source {
    pid_t process, thread;
    size_t left; /* the first ones of RANDOM that no ID was made of */
    uint8_t random[IDS_AHEAD][RANDOM_SIZE];
};

static _Thread_local struct id_source id_source;

/* Everything that makes an ID different from others of its user and moment, side by side. */
struct id_distinction {
    pid_t process, thread;
    uint8_t random[RANDOM_SIZE];
};

static void take_distinction(struct id_distinction *distinction)
{
    struct id_source *source = &id_source;
    pid_t process = getpid();

    if (source->left == 0 || source->process != process) {
        arc4random_buf(source->random, sizeof(source->random));
        source->left = IDS_AHEAD;
        source->process = process;
        source->thread = gettid();
    }
    distinction->process = process;
    distinction->thread = source->thread;
    memcpy(distinction->random, source->random[--source->left], RANDOM_SIZE);
}

/* VALUE, at most 10^DIGITS - 1, in DIGITS decimal digits. Returns where they end. */
static char *put_decimal(unsigned value, size_t digits, char *at)
{
    for (size_t i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + digits;
}

bool file_id_make(const char *user, char id[FILE_ID_SIZE], struct error *error)
{
    static atomic_uint counter;
    int64_t now = clock_wall_us();
    const uint32_t seconds = htobe32((uint32_t)(now / 1000000)), micros = htobe32((uint32_t)(now % 1000000));
    size_t user_size = strlen(user);
    struct id_distinction distinction;
    uint8_t digested[PROTO_USER_SIZE + sizeof(distinction)], sum[PROTO_DIGEST_SIZE];

    if (user_size > PROTO_USER_SIZE)
        return error_set(error, ERROR_MALFORMED, "cannot make a file ID: the user's name is too long");
    take_distinction(&distinction);
    memcpy(digested, user, user_size);
    memcpy(digested + user_size, &distinction, sizeof(distinction));
    digest_of_bytes(digested, user_size + sizeof(distinction), sum);
    char *at = hex_put(&seconds, sizeof(seconds), id);
    at = hex_put((const uint8_t *)&micros + 1, sizeof(micros) - 1, at);
    at = hex_put(sum, DIGEST_USED, at);
    at = put_decimal(atomic_fetch_add(&counter, 1) % 10000, 4, at);
    *put_decimal(distinction.random[0] % 100U, 2, at) = '\0';
    return true;
}
