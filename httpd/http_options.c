/*
 * http_options: the table of options, and what must fit together.
 */
#include "httpd/http_options.h"
#include "httpd/syntax/extra_headers.h"
#include "httpd/files/local_volume.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECTION      "httpd"
#define KIB          1024
#define MIB          (1024 * 1024)
#define DAY_MS       (INT64_C(24) * 3600 * 1000)
#define SHARE_MAX_MS (3660 * DAY_MS)
#define AT(member)   offsetof(struct httpd_config, member)
#define LIVE         true
#define AT_START     false
#define NO_BOUNDS    0, 0, NULL
#define HTTP_PORT    8080
#define HTTPS_PORT   8443
#define TRACKER_PORT 21000

const struct config_option http_options[] = {
    {SECTION, "listen", CONFIG_ADDRESSES, AT(listen), "*:8080", HTTP_PORT, 0, NULL, AT_START,
     "Addresses and ports to serve HTTP on, separated by commas."},
    {SECTION, "listen_tls", CONFIG_ADDRESSES, AT(listen_tls), "", HTTPS_PORT, 0, NULL, AT_START,
     "Addresses and ports to serve HTTPS on, with the certificates of [tls]; e.g. *:8443. Empty: none."},
    {SECTION, "redirect_https", CONFIG_INTEGER, AT(https_port), "0", 0, 65535, NULL, LIVE,
     "Port of https:// URLs that requests without TLS are redirected to (308), usually 443; those of "
     "trusted_proxies are "
     "answered. 0: all are answered."},
    {SECTION, "strict_transport_security", CONFIG_STRING, AT(strict_transport_security), "", NO_BOUNDS, LIVE,
     "Strict-Transport-Security of answers under TLS, e.g. max-age=31536000: browsers then use https:// for "
     "this host for that many seconds, whatever a link says. Empty: left out."},
    {SECTION, "trusted_proxies", CONFIG_STRINGS, AT(trusted_proxies), "", NO_BOUNDS, LIVE,
     "Addresses and networks of proxies in front, e.g. 10.0.0.0/8, ::1: the access log shows the client that "
     "they name in forwarded_header. Empty: nobody is trusted."},
    {SECTION, "forwarded_header", CONFIG_CHOICE, AT(forwarded_header), "x-forwarded-for", 0, 0,
     "x-forwarded-for|forwarded", LIVE,
     "The header field from which the client's address is taken when a request comes from one of "
     "trusted_proxies. Choose the one that the proxies set themselves: they may pass on the other one as the "
     "client sent it."},
    {SECTION, "proxy_protocol", CONFIG_ADDRESSES, AT(proxy_protocol), "", HTTP_PORT, 0, NULL, AT_START,
     "Addresses of listen and listen_tls at which each connection begins with a header of the "
     "PROXY "
     "protocol, version 1 or 2 (before TLS); only from trusted_proxies, others are closed."},
    {SECTION, "trackers", CONFIG_ADDRESSES, AT(trackers), "127.0.0.1:21000", TRACKER_PORT, 0, NULL, AT_START,
     "The trackers, separated by commas; one is asked, the others if it fails."},
    {SECTION, "application", CONFIG_STRING, AT(application), "tnvideo", NO_BOUNDS, LIVE,
     "Application ID that /files/FILEID means; letters and digits, at most 15. Empty: only "
     "/files/APPLICATION/USER/FILEID is served."},
    {SECTION, "user", CONFIG_STRING, AT(user), "", NO_BOUNDS, LIVE,
     "User ID that /files/FILEID means, at most 255 bytes. Empty: only /files/APPLICATION/USER/FILEID is "
     "served."},

    {SECTION, "connections_max", CONFIG_INTEGER, AT(live.connections_max), "20000", 1, 10000000, NULL, LIVE,
     "Client connections open at once, over all loops. Beyond that, those that have had their last answer, "
     "then idle ones, make room; if there are none, a new one waits."},
    {SECTION, "connections_per_address", CONFIG_INTEGER, AT(live.connections_per_address), "0", 0, 1000000,
     NULL, LIVE,
     "Open connections of one client address over all loops; further ones are answered 503. 0: no limit."},
    {SECTION, "queue_timeout", CONFIG_DURATION, AT(live.queue_timeout_ms), "2s", 0, DAY_MS, NULL, LIVE,
     "How long a new connection waits while connections_max are open before it is answered 503."},
    {SECTION, "keepalive_requests", CONFIG_INTEGER, AT(live.keepalive_requests), "100000", 0, INT64_MAX, NULL,
     LIVE, "Requests on one connection before it is closed. 0: no limit."},
    {SECTION, "head_timeout", CONFIG_DURATION, AT(live.head_timeout_ms), "15s", 10, DAY_MS, NULL, LIVE,
     "How long a client may take for a request's head, from its first byte (from the connect, for the first "
     "one), "
     "and again for a body."},
    {SECTION, "idle_timeout", CONFIG_DURATION, AT(live.idle_timeout_ms), "60s", 10, DAY_MS, NULL, LIVE,
     "How long a connection is kept without a request."},
    {SECTION, "send_timeout", CONFIG_DURATION, AT(live.send_timeout_ms), "60s", 10, DAY_MS, NULL, LIVE,
     "How long a client may go without taking a byte of an answer."},
    {SECTION, "send_rate_min", CONFIG_SIZE, AT(live.send_rate_min), "256", 0, MIB, NULL, LIVE,
     "Bytes per second that a client must take on average over each send_timeout; one that takes fewer is "
     "cut off. 0: no "
     "limit."},
    {SECTION, "receive_timeout", CONFIG_DURATION, AT(live.receive_timeout_ms), "60s", 10, DAY_MS, NULL, LIVE,
     "How long a client may go without sending a byte of a file that it uploads; then 408."},
    {SECTION, "receive_rate_min", CONFIG_SIZE, AT(live.receive_rate_min), "256", 0, MIB, NULL, LIVE,
     "Bytes per second that a client must send on average over each receive_timeout in which nothing but the "
     "client is waited "
     "for; one that sends fewer is answered 408. 0: no limit."},
    {SECTION, "linger_timeout", CONFIG_DURATION, AT(live.linger_timeout_ms), "2s", 10, DAY_MS, NULL, LIVE,
     "How long bytes that a client still sends after its last answer are read and discarded, so that it can "
     "read that answer."},

    {SECTION, "head_size_max", CONFIG_SIZE, AT(head_size_max), "16K", KIB, 60 * KIB, NULL, AT_START,
     "Bytes of one request's head; a longer one is answered 431."},
    {SECTION, "target_size_max", CONFIG_SIZE, AT(target_size_max), "8K", 256, 60 * KIB, NULL, LIVE,
     "Bytes of one request-target (path and query); a longer one is answered 414."},
    {SECTION, "header_fields_max", CONFIG_INTEGER, AT(header_fields_max), "100", 8, 1000, NULL, LIVE,
     "Header fields of one request; more are answered 431."},
    {SECTION, "request_body_max", CONFIG_SIZE, AT(live.request_body_max), "64K", 0, 1024 * MIB, NULL, LIVE,
     "Bytes of a request's body that are read and dropped; a longer one is answered 413."},

    {SECTION, "lookup_age", CONFIG_DURATION, AT(live.lookup_age_ms), "5s", 0, DAY_MS, NULL, LIVE,
     "How long a storage server's answer about a file is trusted: a deleted file may be served for that "
     "long."},
    {SECTION, "lookup_negative_age", CONFIG_DURATION, AT(live.lookup_negative_age_ms), "1s", 0, DAY_MS, NULL,
     LIVE, "How long a missing file is remembered as missing. 0: every request for it asks again."},
    {SECTION, "lookup_entries", CONFIG_INTEGER, AT(lookup_entries), "10000", 16, 10000000, NULL, AT_START,
     "Files that are remembered, in each loop; one takes about 1.5 KiB."},
    {SECTION, "location_age", CONFIG_DURATION, AT(location_age_ms), "5s", 1, DAY_MS, NULL, AT_START,
     "How long a tracker's answer (the storage servers of a user) is trusted."},

    {SECTION, "connect_timeout", CONFIG_DURATION, AT(connect_timeout_ms), "1s", 10, DAY_MS, NULL, AT_START,
     "How long connecting to a tracker or storage server may take before another one is tried."},
    {SECTION, "call_timeout", CONFIG_DURATION, AT(call_timeout_ms), "10s", 10, DAY_MS, NULL, AT_START,
     "How long trackers and storage servers may take to begin an answer, all tries together; then 504."},
    {SECTION, "hedge_time", CONFIG_DURATION, AT(hedge_ms), "300ms", 0, DAY_MS, NULL, AT_START,
     "How long a tracker may take to answer before the next one is asked too; the first answer counts. 0: "
     "never."},
    {SECTION, "storage_timeout", CONFIG_DURATION, AT(live.storage_timeout_ms), "15s", 10, DAY_MS, NULL, LIVE,
     "How long a storage server may go without sending a byte of a body before the next one continues from "
     "there, and how long to keep trying when no server sends it."},
    {SECTION, "storage_connections", CONFIG_INTEGER, AT(storage_connections), "0", 0, 1000000, NULL, AT_START,
     "Connections to one storage server, for each loop; further requests wait for call_timeout, then 503. 0: "
     "a quarter of "
     "the descriptors, over all loops."},
    {SECTION, "failover_tries", CONFIG_INTEGER, AT(live.failover_tries), "3", 0, 100, NULL, LIVE,
     "How often, without a byte in between, a body that broke off is resumed at once; after that with "
     "pauses, for storage_timeout, before the client is cut off. 0: it is cut off at once."},

    {SECTION, "local_groups", CONFIG_STRINGS, AT(local_groups), "", NO_BOUNDS, AT_START,
     "Storage groups whose volume is mounted on this machine, GROUP:KEY=DIR or GROUP:DIR, e.g. "
     "group001:/srv/media: their files are sent from DIR (an absolute directory) instead of through a "
     "storage "
     "server. KEY is that of the store path in storage.paths, DIR itself where it is left out. A file that "
     "cannot be read there comes from a storage server."},
    {SECTION, "local_workers", CONFIG_INTEGER, AT(local_workers), "4", 1, 256, NULL, AT_START,
     "Threads for each local volume that wait for its disk."},
    {SECTION, "local_open_files", CONFIG_INTEGER, AT(local_open_files), "4096", 0, 1000000, NULL, AT_START,
     "Files of local volumes that are kept open, over all loops."},
    {SECTION, "local_open_age", CONFIG_DURATION, AT(local_open_age_ms), "10s", 0, DAY_MS, NULL, AT_START,
     "How long such a file is kept open; a deleted one still takes up room on its disk this long."},

    {SECTION, "index_cache", CONFIG_SIZE, AT(index_cache), "256M", 1 * MIB, 1024 * (int64_t)MIB * 1024, NULL,
     AT_START,
     "Memory for the indexes of files that are streamed below /hls and /dash, over all loops; an hour of "
     "film takes about 1 "
     "MB."},
    {SECTION, "index_moov_max", CONFIG_SIZE, AT(index_moov_max), "64M", 64 * KIB, 1024 * (int64_t)MIB, NULL,
     AT_START,
     "Bytes of an MP4 file's own index (moov) that are read; a file with a larger one is not streamed. An "
     "hour of film has "
     "about 3 MB."},
    {SECTION, "segment_time", CONFIG_DURATION, AT(segment_time_ms), "6s", 500, 60000, NULL, AT_START,
     "A segment of a stream ends at the first key frame that is at least nine tenths of this after its "
     "beginning."},
    {SECTION, "stream_workers", CONFIG_INTEGER, AT(stream_workers), "2", 1, 64, NULL, AT_START,
     "Threads that read indexes, and as many again that make playlists, so that a request whose index is "
     "read "
     "does not wait for others'."},
    {SECTION, "stream_memory", CONFIG_SIZE, AT(stream_memory), "256M", 16 * MIB, 1024 * (int64_t)MIB * 1024,
     NULL, AT_START,
     "Memory, over all loops, for segments that are put together, heads of clips and key frames of pictures, "
     "until they are sent; a request that would need more is answered 503."},
    {SECTION, "poster_socket", CONFIG_STRING, AT(poster_socket), "/run/reelstore-poster/socket", NO_BOUNDS,
     AT_START,
     "Socket of reel-poster, which makes the pictures of /poster and /storyboard (503 if it does not run). "
     "Empty: 501. Covers embedded in files need no reel-poster."},
    {SECTION, "poster_cache", CONFIG_STRING, AT(poster_cache), "", NO_BOUNDS, AT_START,
     "Directory (absolute, used for nothing else) in which such pictures are kept. Empty: a few are kept in "
     "memory."},
    {SECTION, "poster_cache_size", CONFIG_SIZE, AT(poster_cache_size), "256M", 1 * MIB,
     1024 * (int64_t)MIB * 1024, NULL, AT_START,
     "Bytes of pictures that are kept there; the least recently used are removed first."},

    {SECTION, "pipes_max", CONFIG_INTEGER, AT(pipes_max), "256", 0, 1000000, NULL, AT_START,
     "Pipes for relaying bodies inside the kernel, over all loops; further streams are copied. The kernel's "
     "fs.pipe-user-pages-soft bounds pipes_max times pipe_size for ordinary users. 0: copy always."},
    {SECTION, "pipe_size", CONFIG_SIZE, AT(pipe_size), "256K", 4 * KIB, 64 * MIB, NULL, AT_START,
     "Bytes of one such pipe."},
    {SECTION, "unsent_max", CONFIG_SIZE, AT(unsent_max), "128K", 0, 64 * MIB, NULL, AT_START,
     "Bytes that wait in the kernel for one client beyond what the network has taken (TCP_NOTSENT_LOWAT): "
     "what a "
     "slow client costs. 0: the kernel's own limit."},
    {SECTION, "unsent_total", CONFIG_SIZE, AT(unsent_total), "320M", 0, 1024 * (int64_t)MIB * 1024, NULL,
     AT_START,
     "Such bytes of all clients together: unsent_max is halved, not below 32K, until those that are open fit "
     "in. Should be well below the middle value of net.ipv4.tcp_mem (in pages). 0: no bound."},
    {SECTION, "rate_limit", CONFIG_SIZE, AT(live.rate_limit), "0", 0, 1024 * (int64_t)MIB * 1024, NULL, LIVE,
     "Bytes per second of one connection. 0: no limit."},

    {SECTION, "access_log", CONFIG_STRING, AT(access_log), "", NO_BOUNDS, AT_START,
     "File for one line per request; \"-\" for standard output (the journal, under systemd); empty for none. "
     "Reopened on SIGHUP and SIGUSR1."},
    {SECTION, "access_log_format", CONFIG_CHOICE, AT(access_log_format), "combined", 0, 0, "combined|json",
     LIVE,
     "Form of its lines: the combined format of web servers with the duration in seconds at the end, or one "
     "JSON object."},

    {SECTION, "write", CONFIG_CHOICE, AT(write), "off", 0, 0, "off|on|open", LIVE,
     "Whether files can be uploaded and deleted (PUT, POST, DELETE): off: nobody may; on: anyone who "
     "presents a token that a key of auth.keys issued (reel auth token), for the files and rights that it "
     "names; open: everyone who reaches this server may; only for closed networks."},
    {SECTION, "upload_draft", CONFIG_BOOL, AT(live.upload_draft), "off", NO_BOUNDS, LIVE,
     "Whether, with write, uploads can also be resumed by the IETF's draft "
     "(draft-ietf-httpbis-resumable-upload, interop version 8). It is not a standard yet and may change with "
     "any version of this server."},
    {SECTION, "web", CONFIG_BOOL, AT(live.web), "off", NO_BOUNDS, LIVE,
     "Whether / is a web page (list, upload, play, share, delete) and /api the JSON API behind it "
     "(docs/web.md), for anyone who has a token that a key of auth.keys issued."},
    {SECTION, "web_folder", CONFIG_STRING, AT(web_folder), "/usr/share/reelstore/web", NO_BOUNDS, AT_START,
     "Directory with what the web page uses from npm (scripts/fetch-web.sh; packages contain it): "
     "hls.js, for browsers without HLS. The page does without what is not there. Empty: nothing."},
    {SECTION, "web_operators", CONFIG_STRINGS, AT(web_operators), "", NO_BOUNDS, LIVE,
     "Users, as APPLICATION/USER, whose tokens show the state of the whole installation at /admin. Empty: "
     "nobody."},
    {SECTION, "share_max", CONFIG_DURATION, AT(share_max_ms), "30d", 0, SHARE_MAX_MS, NULL, LIVE,
     "How long a link that a user of the page shares may be valid, even beyond the end of their own token. "
     "0: nothing is shared."},
    {SECTION, "upload_size_max", CONFIG_SIZE, AT(live.upload_size_max), "0", 0, INT64_MAX, NULL, LIVE,
     "Bytes of one uploaded file; a longer one is answered 413. 0: no limit."},
    {SECTION, "access", CONFIG_CHOICE, AT(access), "open", 0, 0, "open|signed", LIVE,
     "Who may read files: open: everyone who knows their address; signed: anyone who has a link that a key "
     "of auth.keys signed (docs/http.md)."},
    {SECTION, "signed_cache", CONFIG_CHOICE, AT(signed_cache), "private", 0, 0, "private|public", LIVE,
     "What Cache-Control of files says where access is signed: private: no shared cache keeps them; public: "
     "as "
     "cache_control, so that a cache in front may serve a link's address for that time after it has "
     "expired."},
    {SECTION, "cache_control", CONFIG_STRING, AT(cache_control), "public, max-age=5", NO_BOUNDS, LIVE,
     "Cache-Control of files. The bytes under a file ID never change, so \"public, max-age=31536000, "
     "immutable\" is right where a deleted file may live on in caches; with the default a deleted file is "
     "served by "
     "caches for as long as lookup_age allows here. (With \"no-cache\" nginx answers ranges with the whole "
     "file.) "
     "Empty: left out."},
    {SECTION, "inline_types", CONFIG_STRINGS, AT(inline_types),
     "audio/*, video/*, image/*, text/plain, text/vtt, application/vnd.apple.mpegurl, application/dash+xml, "
     "application/ogg",
     NO_BOUNDS, LIVE,
     "Content types that browsers may show; files of any other are sent as attachments, to be saved. TYPE/* "
     "means all of "
     "its kind but those that can run scripts (image/svg+xml), which must be named to count."},
    {SECTION, "resource_policy", CONFIG_STRING, AT(resource_policy), "cross-origin", NO_BOUNDS, LIVE,
     "Cross-Origin-Resource-Policy of files: cross-origin, same-site or same-origin; which pages may embed "
     "them. Empty: "
     "left out."},
    {SECTION, "extra_headers", CONFIG_STRING, AT(extra_headers), "", NO_BOUNDS, LIVE,
     "More header fields of files, separated by bars, e.g. Timing-Allow-Origin: * | X-Robots-Tag: noindex, "
     "nofollow"},
    {SECTION, "cors_origins", CONFIG_STRINGS, AT(cors_origins), "", NO_BOUNDS, LIVE,
     "Origins whose pages may read files (Access-Control-Allow-Origin), e.g. https://tv.example; * for every "
     "one. "
     "Empty: none."},
    {SECTION, "server_header", CONFIG_STRING, AT(server_header), "reelstore", NO_BOUNDS, LIVE,
     "The Server field of answers. Empty: left out."},
    {SECTION, "retry_after", CONFIG_DURATION, AT(retry_after_ms), "5s", 1000, DAY_MS, NULL, LIVE,
     "Retry-After of 503 answers, in whole seconds."},
};
const size_t http_option_count = ARRAY_SIZE(http_options);

/* A text that can stand in a header field as it is: printable ASCII of at most 256 bytes, or empty. */
static bool options_is_field_text(const char *text)
{
    if (strlen(text) > HTTP_FIELD_TEXT_MAX)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            return false;
    }
    return true;
}

static bool check_policy(const char *policy, struct error *error)
{
    static const char *const policies[] = {"", "cross-origin", "same-site", "same-origin"};
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
        if (strcmp(policy, policies[i]) == 0)
            return true;
    }
    return error_set(error, ERROR_MALFORMED,
                     "httpd.resource_policy: \"%s\" is not one of cross-origin, same-site, same-origin",
                     policy);
}

static bool check_proxies(const struct httpd_config *c, struct error *error)
{
    struct networks networks;
    struct error cause;
    if (!networks_parse(&c->trusted_proxies, &networks, &cause))
        return error_set(error, ERROR_MALFORMED, "httpd.trusted_proxies: %s", cause.text);
    networks_clear(&networks);
    if (c->proxy_protocol.count > 0 && c->trusted_proxies.count == 0)
        return error_set(error, ERROR_MALFORMED,
                         "httpd.proxy_protocol: trusted_proxies must say who may send the PROXY header");
    for (size_t i = 0; i < c->proxy_protocol.count; i++) {
        bool found = false;
        char text[ADDRESS_TEXT_SIZE];
        for (size_t j = 0; j < c->listen.count; j++)
            found = found || address_equal(&c->proxy_protocol.items[i], &c->listen.items[j]);
        for (size_t j = 0; j < c->listen_tls.count; j++)
            found = found || address_equal(&c->proxy_protocol.items[i], &c->listen_tls.items[j]);
        if (!found)
            return error_set(error, ERROR_MALFORMED,
                             "httpd.proxy_protocol: %s is neither in httpd.listen nor in httpd.listen_tls",
                             address_format(&c->proxy_protocol.items[i], text, sizeof(text)));
    }
    return true;
}

static bool check_inline_types(const struct config_strings *types, struct error *error)
{
    for (size_t i = 0; i < types->count; i++) {
        const char *type = types->items[i], *slash = strchr(type, '/');
        bool fine = slash && slash > type && slash[1] != '\0' && !strchr(slash + 1, '/') &&
                    options_is_field_text(type) && !strpbrk(type, " ;,");
        if (!fine)
            return error_set(error, ERROR_MALFORMED,
                             "httpd.inline_types: \"%s\" is not a media type, e.g. video/* or text/vtt",
                             type);
    }
    return true;
}

static bool check_operators(const struct config_strings *operators, struct error *error)
{
    for (size_t i = 0; i < operators->count; i++) {
        const char *text = operators->items[i], *slash = strchr(text, '/');
        char application[PROTO_APPLICATION_SIZE] = "";
        if (slash && slash - text < PROTO_APPLICATION_SIZE)
            memcpy(application, text, (size_t)(slash - text));
        if (!slash || !proto_name_valid(application, PROTO_APPLICATION_SIZE) || slash[1] == '\0' ||
            strlen(slash + 1) >= PROTO_USER_SIZE)
            return error_set(error, ERROR_MALFORMED,
                             "httpd.web_operators: \"%s\" is not APPLICATION/USER, e.g. tnvideo/alice", text);
    }
    return true;
}

bool http_options_check(const void *config, struct error *error)
{
    const struct httpd_config *c = config;
    if (c->listen.count == 0 && c->listen_tls.count == 0)
        return error_set(error, ERROR_MALFORMED,
                         "httpd.listen: at least one address is needed, e.g. *:8080, or one in listen_tls");
    if (c->trackers.count == 0)
        return error_set(error, ERROR_MALFORMED, "httpd.trackers: at least one address is needed");
    if (c->application[0] != '\0' && !proto_name_valid(c->application, PROTO_APPLICATION_SIZE))
        return error_set(error, ERROR_MALFORMED,
                         "httpd.application: \"%s\" is not 1 to %d letters and digits", c->application,
                         PROTO_APPLICATION_SIZE - 1);
    if (strlen(c->user) >= PROTO_USER_SIZE)
        return error_set(error, ERROR_MALFORMED, "httpd.user: longer than %d bytes", PROTO_USER_SIZE - 1);
    if (c->target_size_max > c->head_size_max)
        return error_set(error, ERROR_MALFORMED, "httpd.target_size_max: larger than head_size_max");
    if (c->access == HTTP_ACCESS_SIGNED && c->daemon.auth_keys[0] == '\0')
        return error_set(
            error, ERROR_MALFORMED,
            "httpd.access: signed links need auth.keys, a keys file with a key of the role issuer "
            "(reel auth new-key issuer ID -o FILE)");
    if (c->write == HTTP_WRITE_ON && c->daemon.auth_keys[0] == '\0')
        return error_set(error, ERROR_MALFORMED,
                         "httpd.write: tokens need auth.keys, a keys file with a key of the role issuer "
                         "(reel auth new-key issuer ID -o FILE)");
    if (c->live.web && c->write != HTTP_WRITE_OPEN && c->daemon.auth_keys[0] == '\0')
        return error_set(error, ERROR_MALFORMED,
                         "httpd.web: tokens need auth.keys, a keys file with a key of the role issuer "
                         "(reel auth new-key issuer ID -o FILE)");
    if (!check_operators(&c->web_operators, error) || !check_proxies(c, error))
        return false;
    if (!local_volumes_check(&c->local_groups, error))
        return false;
    if (!options_is_field_text(c->cache_control))
        return error_set(
            error, ERROR_MALFORMED,
            "httpd.cache_control: only printable ASCII, at most 256 bytes, can stand in a header");
    if (!options_is_field_text(c->server_header))
        return error_set(
            error, ERROR_MALFORMED,
            "httpd.server_header: only printable ASCII, at most 256 bytes, can stand in a header");
    if (!options_is_field_text(c->strict_transport_security))
        return error_set(
            error, ERROR_MALFORMED,
            "httpd.strict_transport_security: only printable ASCII, at most 256 bytes, can stand in a "
            "header");
    if (c->https_port > 0 && c->listen.count == 0)
        return error_set(error, ERROR_MALFORMED,
                         "httpd.redirect_https: nothing comes without TLS: listen is empty");
    if (!check_policy(c->resource_policy, error) || !extra_headers_check(c->extra_headers, error) ||
        !check_inline_types(&c->inline_types, error))
        return false;
    for (size_t i = 0; i < c->cors_origins.count; i++) {
        if (!options_is_field_text(c->cors_origins.items[i]) || strchr(c->cors_origins.items[i], ' '))
            return error_set(error, ERROR_MALFORMED,
                             "httpd.cors_origins: \"%s\" is not an origin, e.g. https://tv.example",
                             c->cors_origins.items[i]);
    }
    return true;
}
