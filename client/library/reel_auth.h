/*
 * reel_auth: who the program is that opens a handle: options of reel.h, else the environment, as an auth of common/auth. Private
 * to client/library. Reads the keys file: BLOCKS.
 */
#ifndef REEL_CLIENT_REEL_AUTH_H
#define REEL_CLIENT_REEL_AUTH_H

#include "client/reel.h"
#include "common/auth/auth.h"

/* NULL: ERROR says which of key, token and mode is wrong. */
struct auth *reel_auth_open(const struct reel_options *options, struct error *error);

#endif
