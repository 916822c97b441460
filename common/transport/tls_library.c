/*
 * tls_library: made once each and kept to the end of the process, since sessions of a server that has gone may still use one.
 */
#include "common/transport/tls_library.h"
#include "common/base/base.h"
#include "common/base/log.h"
#include <openssl/conf.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static pthread_mutex_t make_mutex = PTHREAD_MUTEX_INITIALIZER;
static OSSL_LIB_CTX *libraries[TLS_LIBRARIES_MAX]; /* the first one is the process's own: NULL */
static size_t made = 1;
static atomic_size_t threads;

/* What the operator has OpenSSL use (openssl.cnf) holds for each of them. */
static bool library_configure(OSSL_LIB_CTX *library)
{
    char *file = CONF_get1_default_config_file();
    bool fine = file && (access(file, F_OK) != 0 || OSSL_LIB_CTX_load_config(library, file) == 1);

    OPENSSL_free(file);
    return fine;
}

static OSSL_LIB_CTX *library_make(void)
{
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();

    if (!library || library_configure(library))
        return library;
    OSSL_LIB_CTX_free(library);
    return NULL;
}

size_t tls_libraries_make(size_t count)
{
    size_t usable;

    count = min_size(max_size(count, 1), TLS_LIBRARIES_MAX);
    pthread_mutex_lock(&make_mutex);
    while (made < count && (libraries[made] = library_make()))
        made++;
    usable = min_size(made, count);
    pthread_mutex_unlock(&make_mutex);
    ERR_clear_error();
    if (usable < count)
        log_info("tls", "OpenSSL could not be set up once for each of %zu threads: they share %zu", count,
                 usable);
    return usable;
}

OSSL_LIB_CTX *tls_library(size_t number)
{
    return libraries[number];
}

size_t tls_library_of_thread(size_t count)
{
    static _Thread_local size_t number; /* of this thread, from 1 on; 0: it has none yet */

    if (number == 0)
        number = atomic_fetch_add(&threads, 1) + 1;
    return (number - 1) % count;
}
