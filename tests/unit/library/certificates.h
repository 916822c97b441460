/*
 * certificates: keys and certificates as files in a directory of the test's own, made in memory: no program is called, and
 * times may lie in the past.
 */
#ifndef REEL_TESTS_CERTIFICATES_H
#define REEL_TESTS_CERTIFICATES_H

#include "common/base/base.h"

struct certificate_spec {
    const char *name;          /* common name, and DNS name; NULL: "localhost" */
    const char *addresses;     /* more subject alternative names, e.g. "IP:127.0.0.1"; NULL: none */
    int from_days, until_days; /* from now; both 0: -1 and 30 */
    const char *issuer; /* the files of an authority by certificate_make(); NULL: it vouches for itself */
    bool authority;
    bool rsa; /* else P-256 */
};

/* Writes DIRECTORY/LABEL.pem and DIRECTORY/LABEL.key, the latter 0600. */
void certificate_make(const char *directory, const char *label, const struct certificate_spec *spec);

/* DIRECTORY/LABEL.SUFFIX in static memory, four at a time. */
const char *certificate_path(const char *directory, const char *label, const char *suffix);

/* A directory, and its removal with everything in it. */
char *certificates_directory(void);
void certificates_remove(char *directory);

#endif
