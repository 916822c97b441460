/*
 * http_front: the processes are real_daemon.c's, the servers behind them scripted_cluster.c's.
 */
#include "tests/unit/library/http_front.h"

#include "tests/unit/library/files.h"

#include <stdio.h>

struct http_front http_front;

char *http_front_text(char text[HTTP_FRONT_TEXT_SIZE], const char *more)
{
    snprintf(text, HTTP_FRONT_TEXT_SIZE,
             "trackers = %s\nuser = alice\n%s\n[daemon]\nloops = 1\nstop_timeout = 1s\n",
             http_front.cluster.tracker.peer.address, more);
    return text;
}

void http_front_start(const char *more)
{
    char text[HTTP_FRONT_TEXT_SIZE];
    real_daemon_start(&http_front.httpd, "httpd", false, http_front_text(text, more));
}

void http_front_stop(void)
{
    real_daemon_stop(&http_front.httpd);
    fake_cluster_stop(&http_front.cluster);
}

int http_front_tear_down(void **state)
{
    (void)state;
    if (http_front.volume[0] != '\0')
        remove_tree(http_front.volume);
    http_front.volume[0] = '\0';
    real_daemon_kill(&http_front.httpd);
    return 0;
}

struct http_answer http_front_ask(const char *method, const char *path, const char *fields)
{
    return http_ask(real_daemon_connect(&http_front.httpd), method, path, fields);
}
