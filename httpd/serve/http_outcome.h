/*
 * http_outcome: what became of a request that writes, as its client and the audit log get it: the table of docs/http.md. On the loop's
 * thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_OUTCOME_H
#define REEL_HTTPD_HTTP_OUTCOME_H

#include "httpd/serve/http_connection.h"

/* The status for a number of a failure (enum error_code), and a static text for the client. */
int http_outcome_status(int code);
const char *http_outcome_message(int status);

/* Refuses with ERROR's status, which goes to the log where it is of the 500s. The body must have been read. */
void http_outcome_refuse(struct http_connection *connection, const struct error *error);

struct http_outcome {
    const char *event;  /* "upload" */
    const char *issuer; /* of the token; "": none was needed */
    const struct proto_file_key *key;
    int code;
    int64_t bytes; /* below 0: left out */
};
/* A line of the audit log, where there is one. */
void http_outcome_audit(const struct http_connection *connection, const struct http_outcome *outcome);
/* False: the audit log is required and cannot be written. */
bool http_outcome_auditable(const struct http_loop *loop);

#endif
