/*
 * command_probe: one question to one server, as `reel doctor` asks it: connected, sent, answered within a time, and
 * nothing kept. Not through libreel, which would try another server. Blocks. Private to client/command.
 */
#ifndef REEL_CLIENT_COMMAND_PROBE_H
#define REEL_CLIENT_COMMAND_PROBE_H

#include "common/base/address.h"
#include "common/proto/proto.h"

/* Sends COMMAND with BODY to ADDRESS and reads the reply. True: it is an answer of this protocol; CODE gets 0 or the
 * number of its failure, ERROR its text. False: ERROR says why there was none. */
MUST_CHECK bool probe_packet(const struct address *address, uint8_t command, const void *body, size_t size,
                             int64_t timeout_ms, int *code, struct error *error);

/* Connects under TLS and looks at the certificate that is shown, whoever vouches for it. NOT_AFTER: when it ends, seconds since the
 * epoch; 0: the server shows none, since keys prove who it is. */
MUST_CHECK bool probe_certificate(const struct address *address, int64_t timeout_ms, int64_t *not_after,
                                  struct error *error);

/* GET /healthz of an HTTP server: the status of whatever it answers (200, 404, 503, ...), and the time of its clock, seconds since
 * the epoch; 0: it does not say. */
MUST_CHECK bool probe_health(const struct address *address, int64_t timeout_ms, int *status, int64_t *clock,
                             struct error *error);

#endif
