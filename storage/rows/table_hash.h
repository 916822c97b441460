/*
 * table_hash: which of the tables t_file_01..t_file_03 holds a user's files (docs/protocol.md, "Tables").
 * Pure; called by whoever writes SQL about files.
 */
#ifndef REEL_STORAGE_TABLE_HASH_H
#define REEL_STORAGE_TABLE_HASH_H

#include "common/base/base.h"

#define TABLE_HASH_TABLES 3

/* 0..TABLE_HASH_TABLES - 1 for t_file_01..t_file_03. USER is NUL-terminated bytes. */
unsigned table_hash_of_user(const char *user);

#endif
