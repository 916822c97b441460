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
    int64_t request_body_max;
    int64_t connections_max;
    int64_t connections_per_address;
    int64_t queue_timeout_ms;
    int64_t keepalive_requests;
    int64_t head_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t send_timeout_ms;
    int64_t send_rate_min;
    int64_t receive_timeout_ms;
    int64_t receive_rate_min;
    int64_t linger_timeout_ms;
    int64_t storage_timeout_ms;
    int64_t lookup_age_ms;
    int64_t lookup_negative_age_ms;
    int64_t failover_tries;
    int64_t rate_limit; /* bytes a second and connection; 0: none */
    int64_t retry_after_s;
    enum access_log_format access_log_format;
    char *server_line; /* "Server: ...\r\n" or "" */
    bool web;
    struct config_strings web_operators; /* "APPLICATION/USER" */
    int64_t share_max_s;
    enum http_write_mode write;
    bool upload_draft;
    int64_t upload_size_max;  /* bytes; 0: no limit */
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
