/*
 * reel-httpd: what the client library can download, over HTTP. Everything is in the rooms beside this file.
 */
#include "httpd/serve/http_server.h"

int main(int argc, char **argv)
{
    struct daemon_spec spec;
    http_server_spec(&spec);
    return daemon_run(&spec, argc, argv);
}
