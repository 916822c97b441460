/*
 * http_options: what httpd.conf may say, as a table and a struct.
 */
#ifndef REEL_HTTPD_HTTP_OPTIONS_H
#define REEL_HTTPD_HTTP_OPTIONS_H

#include "common/daemon/daemon.h"
#include "common/proto/proto.h"
#include "httpd/syntax/forwarded.h"
#include "httpd/syntax/http_request.h"

/* Those of the options that a reload may change which requests read as they were written; the others that it may
 * change are in httpd_config alone, and requests have them in the form of http_settings. */
struct http_live {
    int64_t connections_max;
    int64_t connections_per_address;
    int64_t queue_timeout_ms;
    int64_t keepalive_requests;
    int64_t head_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t send_timeout_ms;
    int64_t send_rate_min; /* bytes per second; 0: any */
    int64_t receive_timeout_ms;
    int64_t receive_rate_min; /* bytes per second; 0: any */
    int64_t linger_timeout_ms;
    int64_t request_body_max; /* bytes */
    int64_t lookup_age_ms;
    int64_t lookup_negative_age_ms;
    int64_t storage_timeout_ms;
    int64_t failover_tries;
    int64_t rate_limit; /* bytes per second and connection; 0: none */
    bool web;
    bool upload_draft;
    int64_t upload_size_max; /* bytes; 0: no limit */
};

struct httpd_config {
    struct daemon_config daemon; /* first */
    struct address_list listen;
    struct address_list listen_tls;
    int64_t https_port; /* that plain requests are redirected to; 0: they are answered */
    char *strict_transport_security;
    struct address_list trackers;
    struct config_strings trusted_proxies;
    int forwarded_header; /* enum forwarded_form */
    struct address_list proxy_protocol;
    char *application;
    char *user;
    struct http_live live;

    int64_t head_size_max;
    int64_t target_size_max;
    int64_t header_fields_max;

    int64_t lookup_entries;
    int64_t location_age_ms;

    int64_t connect_timeout_ms;
    int64_t call_timeout_ms;
    int64_t hedge_ms;
    int64_t storage_connections;

    struct config_strings local_groups; /* see local_volume_split() */
    int64_t local_workers;
    int64_t local_open_files;
    int64_t local_open_age_ms;

    int64_t index_cache;
    int64_t index_moov_max;
    int64_t segment_time_ms;
    int64_t stream_workers;
    int64_t stream_memory;
    char *web_folder;
    char *poster_socket;
    char *poster_cache;
    int64_t poster_cache_size;

    int64_t pipes_max;
    int64_t pipe_size;
    int64_t unsent_max;
    int64_t unsent_total;

    char *access_log;
    int access_log_format; /* enum access_log_format */

    struct config_strings web_operators;
    int64_t share_max_ms;
    int write;        /* enum http_write_mode */
    int access;       /* enum http_access_mode */
    int signed_cache; /* enum http_signed_cache */
    char *cache_control;
    struct config_strings inline_types;
    char *resource_policy;
    char *extra_headers;
    struct config_strings cors_origins;
    char *server_header;
    int64_t retry_after_ms;
};

enum http_write_mode { HTTP_WRITE_OFF, HTTP_WRITE_ON, HTTP_WRITE_OPEN };
enum http_access_mode { HTTP_ACCESS_OPEN, HTTP_ACCESS_SIGNED };
enum http_signed_cache { HTTP_SIGNED_CACHE_PRIVATE, HTTP_SIGNED_CACHE_PUBLIC };
enum access_log_format { ACCESS_LOG_COMBINED, ACCESS_LOG_JSON };

extern const struct config_option http_options[];
extern const size_t http_option_count;

/* What must fit together beyond the table's bounds. */
MUST_CHECK bool http_options_check(const void *config, struct error *error);

/* Bytes of an option that becomes a header field: several of them must fit into one answer's head. */
#define HTTP_FIELD_TEXT_MAX 256

#endif
