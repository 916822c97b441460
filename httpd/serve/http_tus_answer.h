/*
 * http_tus_answer: what is answered about a resumable upload, by tus 1.0.0 or by the IETF's draft (draft-ietf-httpbis-resumable-upload).
 * On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_TUS_ANSWER_H
#define REEL_HTTPD_HTTP_TUS_ANSWER_H

#include "httpd/serve/http_tus_head.h"

/* The answer of success: how far the upload is, or that it has become a file. Leaves the connection in SEND. */
void http_tus_answer(struct http_connection *connection);

/* By the draft, 104: where the upload that has been created is continued, should this connection break. */
void http_tus_announce(struct http_connection *connection);

#endif
