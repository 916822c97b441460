/*
 * tls_library: OpenSSL's tables of algorithms and providers, which every handshake asks a hundred times, are guarded by locks that all
 * threads of a process share, and so are the counters of references to certificates and keys: threads that shake hands at the same time hold each
 * other up. Threads with tables of their own (OSSL_LIB_CTX) do not. Private to common/transport.
 */
#ifndef REEL_COMMON_TLS_LIBRARY_H
#define REEL_COMMON_TLS_LIBRARY_H

#include <openssl/crypto.h>
#include <stddef.h>

#define TLS_LIBRARIES_MAX 16

/* Numbers from 0 up to the returned count, which is at least 1 and at most COUNT, are good from now on, for ever. Reads openssl.cnf:
 * BLOCKS; any thread. */
size_t tls_libraries_make(size_t count);

/* Any thread. NUMBER 0 is the one that the whole process shares: NULL, for OpenSSL. */
OSSL_LIB_CTX *tls_library(size_t number);

/* Which of COUNT the calling thread is to use: always the same, and another one than other threads as far as they go round. */
size_t tls_library_of_thread(size_t count);

#endif
