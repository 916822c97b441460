/*
 * command_state: where the `reel` command keeps what it needs to resume an interrupted upload: a small file for each, in
 * $XDG_STATE_HOME/reelstore/uploads (XDG Base Directory Specification; by default ~/.local/state), whose name is made of where the upload goes
 * (trackers, application, user, file ID) and of the path. Its content is libreel's (client/reel.h, reel_upload.state).
 */
#ifndef REEL_CLIENT_COMMAND_STATE_H
#define REEL_CLIENT_COMMAND_STATE_H

#include "client/command/command_internal.h"

/* The state file for an upload of PATH; its directory is made (mode 0700). NULL where there can be none: ERROR. The caller frees it. */
char *command_state_path(const struct command *command, const char *path, struct error *error);

#endif
