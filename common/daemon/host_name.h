/*
 * host_name: this machine's name as it stands in replies ("[host] text") and JOINs. Called by the daemons, on any thread.
 */
#ifndef REEL_COMMON_DAEMON_HOST_NAME_H
#define REEL_COMMON_DAEMON_HOST_NAME_H

/* gethostname(2), cut to 128 bytes, as it was at the first call; "localhost" where there is none. Static. */
const char *host_name(void);

#endif
