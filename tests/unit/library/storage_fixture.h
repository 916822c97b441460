/*
 * storage_fixture: a directory of the test's own and a configuration of reel-storage for it. Included by
 * tests only.
 */
#ifndef REEL_TESTS_STORAGE_FIXTURE_H
#define REEL_TESTS_STORAGE_FIXTURE_H

#include "storage/options.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define FIXTURE_OPTIONS_MAX 32

struct fixture {
    char directory[64];
    struct storage_config config;
    char texts[FIXTURE_OPTIONS_MAX][256];
    const char *overrides[FIXTURE_OPTIONS_MAX];
    size_t count;
};

/* Adds "section.name=value" to the configuration; the later of two for one option counts. */
void fixture_option(struct fixture *fixture, const char *format, ...) PRINTF_LIKE(2, 3);

/* The table of the options of reel-storage, with its end; one for the whole program. */
const struct config_table *fixture_tables(void);

/* The directory, "one" and "two" in it, and defaults for tests; options may be added
 * before fixture_load(). */
void fixture_create(struct fixture *fixture);

/* Fills fixture->config from the options; a fault in them fails the test. */
void fixture_load(struct fixture *fixture);

/* Frees the configuration and removes the directory. */
void fixture_destroy(struct fixture *fixture);

/* Stored files below NAME: those whose name does not begin with a dot. */
int fixture_files(const struct fixture *fixture, const char *name);

#endif
