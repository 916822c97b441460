/*
 * http_turn: which requests of a loop may begin in its present turn. A crowd that comes at once has its turns one part after the other, in
 * the order in which it came, so that in between answers under way go on. Where there are none, hardly anybody is held up, and so many
 * may begin that looking at all sockets costs next to nothing. Asking a storage server about a file, over a connection of its own,
 * comes behind the events of the turn. On the loop's thread; called by http_connection.
 */
#ifndef REEL_HTTPD_HTTP_TURN_H
#define REEL_HTTPD_HTTP_TURN_H

#include <stdbool.h>

struct http_connection;
struct http_loop;

/* No further request may begin before the loop has looked at its sockets again. */
bool http_turn_is_used_up(const struct http_loop *loop);

/* CONNECTION has a request to begin and must wait for a later turn; else it is counted as begun. Also one whose client has closed it:
 * its end takes as long as many a request. */
bool http_turn_must_wait(struct http_connection *connection);

#endif
