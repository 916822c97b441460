/*
 * poster_answer: one request of reel-httpd (common/media/poster_wire.h), read from a connection and answered on it. Blocks; uses
 * nothing but memory and that connection.
 */
#ifndef REEL_POSTER_ANSWER_H
#define REEL_POSTER_ANSWER_H

/* FD: a connected stream socket, left open. Nothing is answered where the request does not come whole. */
void poster_answer(int fd);

#endif
