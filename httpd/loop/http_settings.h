/*
 * http_settings: the options that a reload may change, in the form that requests use. One object is shared by all loops
 * and never changes: a reload makes another one.
 */
#ifndef REEL_HTTPD_HTTP_SETTINGS_H
#define REEL_HTTPD_HTTP_SETTINGS_H

#include "httpd/http_options.h"

struct http_settings {
    int references; /* atomic */
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    struct http_request_limits limits;
    struct http_live live;
    int64_t retry_after_s;
    enum access_log_format access_log_format;
    char *server_line;                   /* "Server: ...\r\n" or "" */
    struct config_strings web_operators; /* "APPLICATION/USER" */
    int64_t share_max_s;
    enum http_write_mode write;
    bool access_signed;       /* files are given to signed links only */
    bool signed_cache_public; /* and shared caches may keep them */
    char *cache_control_line; /* "Cache-Control: ...\r\n" or "" */
    char *private_cache_line; /* the same, but for no shared cache */
    char *file_lines;         /* fields of every file that are the same for all */
    char *hsts_line;          /* "Strict-Transport-Security: ...\r\n" or ""; only under TLS */
    bool serves_https;
    int https_port; /* that plain requests are redirected to; 0: none */
    struct config_strings inline_types;
    bool cors_any; /* "*" */
    struct networks trusted_proxies;
    enum forwarded_form forwarded_form;
    struct address_list proxy_protocol;
    struct config_strings cors_origins;
};

/* NULL without memory. The caller has one reference. */
MUST_CHECK struct http_settings *http_settings_create(const struct httpd_config *config);
/* Any thread. */
struct http_settings *http_settings_take(struct http_settings *settings);
void http_settings_release(struct http_settings *settings);

#endif
