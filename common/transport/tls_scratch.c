/*
 * tls_scratch: a thread's buffers for content and records, made when it first needs them and freed when it ends.
 */
#include "common/transport/tls_internal.h"
#include "common/base/log.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;

static void make_scratch_key(void)
{
    ASSERT(pthread_key_create(&scratch_key, free) == 0);
}

struct tls_scratch *tls_scratch(void)
{
    struct tls_scratch *scratch;

    ASSERT(pthread_once(&scratch_once, make_scratch_key) == 0);
    scratch = pthread_getspecific(scratch_key);
    if (scratch)
        return scratch;
    scratch = malloc(sizeof(*scratch));
    if (scratch && pthread_setspecific(scratch_key, scratch) != 0) {
        free(scratch);
        scratch = NULL;
    }
    if (scratch)
        scratch->used = 0;
    return scratch;
}
