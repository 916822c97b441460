/*
 * http_tus: resumable uploads by tus 1.0.0 over the partial uploads of the storage servers (docs/protocol.md, BEGIN to JOIN_PARTS). An
 * upload's address carries all that is needed to continue it: this server keeps nothing. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_TUS_H
#define REEL_HTTPD_HTTP_TUS_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* A request whose target is TARGET, of kind TUS, and no OPTIONS. HAS_BODY: nothing of its body was looked at; else it was dropped. */
void http_tus_take(struct http_connection *connection, const struct http_target *target, bool has_body);

/* stored() of struct http_answering, where exchange->tus is there. */
bool http_tus_stored(struct http_connection *connection);

/* Gives up what is under way. NULL is ignored. */
void http_tus_end(struct http_tus *tus);

#endif
