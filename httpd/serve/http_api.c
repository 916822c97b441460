/*
 * http_api: each resource is one or several questions to trackers and storage servers, and a text made of their answers. Only a
 * token in Authorization decides who may ask: cookies are ignored, so that somebody else's page can ask for nothing.
 */
#include "httpd/serve/http_api.h"
#include "common/base/clock.h"
#include "httpd/api/api_list.h"
#include "httpd/api/api_text.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_delete.h"
#include "httpd/serve/http_outcome.h"
#include "httpd/web/web_site.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTS_MAX       8 /* of a loop, at once: each asks for all that a user has */
#define STATUS_MAX      (8 * 1024 * 1024)
#define MEDIA_SECONDS   (INT64_C(12) * 3600) /* that the page's own links hold at most */
#define MEDIA_TEXT_SIZE (sizeof("/t/") + LINK_TEXT_SIZE)
#define SHARE_TEXT_SIZE 64 /* what a query has beside expiry, key and signature */

struct http_api {
    struct api_request request;
    struct http_shown shown;
    struct client_operation *operation;
    struct api_list *list;
};

void http_api_end(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    if (!api)
        return;
    if (api->operation)
        client_cancel(api->operation);
    if (api->list) {
        api_list_end(api->list);
        connection->loop->api_lists--;
    }
    free(api);
    connection->exchange.api = NULL;
}

/* Waits for what was started. */
static void api_wait(struct http_connection *connection, struct client_operation *operation)
{
    const struct request_id name = http_answer_name(connection);
    connection->exchange.api->operation = operation;
    client_name_request(operation, &name);
    if (operation)
        http_connection_set_state(connection, CONNECTION_LOOKUP);
    else
        http_answer_refuse(connection, 503, "no memory");
}

/* 204. */
static void api_done(struct http_connection *connection)
{
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin(connection, 204);
    HTTP_OUTPUT_LITERAL(&connection->out, "Cache-Control: no-store\r\n");
    http_answer_end(connection);
}

/* ---- lists ---- */

static void on_api_list(void *argument, const struct api_list_result *result, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_api *api = connection->exchange.api;
    if (error)
        http_outcome_refuse(connection, error);
    else
        http_answer_json(connection, api_text_list(&api->request.key, &api->request.page, result));
    api_list_end(api->list);
    api->list = NULL;
    connection->loop->api_lists--;
    http_connection_run(connection);
}

static void answer_list(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    if (api->shown.has_token && api->shown.token.has_prefix) {
        http_answer_refuse(connection, 403, "the token is for certain file IDs only, and lists nothing");
        return;
    }
    if (connection->loop->api_lists >= LISTS_MAX) {
        http_answer_refuse(connection, 503, "too many lists are being made");
        return;
    }
    api->list = api_list_start(connection->loop->client, &api->request.key, &api->request.page, on_api_list,
                               connection);
    if (!api->list) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    connection->loop->api_lists++;
    http_connection_set_state(connection, CONNECTION_LOOKUP);
}

/* ---- quotas ---- */

static void on_api_quota(void *argument, const struct proto_quota *quota, const struct error *error)
{
    static const struct proto_quota none = {
        PROTO_QUOTA_NONE, PROTO_QUOTA_NONE, PROTO_QUOTA_NONE, PROTO_QUOTA_NONE, false, false};
    struct http_connection *connection = argument;
    connection->exchange.api->operation = NULL;
    /* Of a user who never stored anything, and where storage servers know of no quotas, nothing is counted. */
    if (error && (error->code == ERROR_NOT_FOUND || error->code == ERROR_UNKNOWN_COMMAND))
        quota = &none;
    if (quota)
        http_answer_json(connection, api_text_quota(quota));
    else
        http_outcome_refuse(connection, error);
    http_connection_run(connection);
}

static void answer_quota(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    struct proto_set_quota keep = {
        .key = api->request.key, .bytes = PROTO_QUOTA_KEEP, .files = PROTO_QUOTA_KEEP};
    if (api->shown.has_token && api->shown.token.has_prefix)
        http_answer_refuse(connection, 403, "the token is for certain file IDs only");
    else
        api_wait(connection, client_quota(connection->loop->client, &keep, on_api_quota, connection));
}

/* ---- one file ---- */

static void on_api_stat(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_api *api = connection->exchange.api;
    api->operation = NULL;
    if (error)
        http_answer_error(connection, error->code, error->text);
    else
        http_answer_json(connection, api_text_file(&api->request.key, stat));
    http_connection_run(connection);
}

static void api_audit(const struct http_connection *connection, const char *event, int code)
{
    const struct http_api *api = connection->exchange.api;
    const struct http_outcome outcome = {.event = event,
                                         .issuer = api->shown.has_token ? api->shown.token.issuer : "",
                                         .key = &api->request.key,
                                         .code = code,
                                         .bytes = -1};
    http_outcome_audit(connection, &outcome);
}

static void on_api_restored(void *argument, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_api *api = connection->exchange.api;
    api->operation = NULL;
    http_lookup_changed(connection->loop->lookup, &api->request.key);
    api_audit(connection, "restore", error ? error->code : ERROR_NONE);
    if (error)
        http_outcome_refuse(connection, error);
    else
        api_done(connection);
    http_connection_run(connection);
}

/* ---- links ---- */

/* Signs what TOKEN says for FILE with the key that issued the request's own token. False: that key cannot. */
static bool http_api_sign_link(const struct http_connection *connection, const struct proto_file_key *file,
                               struct link_token *token)
{
    const struct http_shown *shown = &connection->exchange.api->shown;
    struct keys *keys = shown->has_token ? auth_keys(connection->loop->auth) : NULL;
    const struct key *key = keys ? keys_find(keys, shown->token.issuer) : NULL;
    bool good = key && key_valid_at(key, clock_wall_seconds()) && key_has_role(key, KEY_ROLE_ISSUER) &&
                (key->rights & KEY_RIGHT_READ) != 0 && key_may_application(key, file->application) &&
                link_token_sign(token, key, file, NULL, "");
    keys_release(keys);
    return good;
}

/* What stands before the addresses of files for whoever has the request's token, so that pictures and films can be shown: "" where
 * everybody may read. False: nothing can be read. */
static bool media_prefix(const struct http_connection *connection, char text[MEDIA_TEXT_SIZE])
{
    const struct http_shown *shown = &connection->exchange.api->shown;
    char link[LINK_TEXT_SIZE];
    struct proto_file_key file = {0};
    text[0] = '\0';
    if (!connection->loop->settings->access_signed)
        return true;
    if (!shown->has_token || (shown->token.rights & KEY_RIGHT_READ) == 0)
        return false;
    memcpy(file.application, shown->token.application, sizeof(file.application));
    memcpy(file.user, shown->token.user, sizeof(file.user));
    struct link_token token = {.expires = min_i64(shown->token.expires, clock_wall_seconds() + MEDIA_SECONDS),
                               .scope = LINK_SCOPE_USER};
    if (shown->token.has_prefix && shown->token.prefix[0] != '\0') {
        memcpy(file.file, shown->token.prefix, sizeof(file.file));
        token.scope = LINK_SCOPE_PREFIX;
        token.prefix = strlen(file.file);
    }
    if (!http_api_sign_link(connection, &file, &token))
        return false;
    snprintf(text, MEDIA_TEXT_SIZE, "/t/%s", link_token_format(&token, link));
    return true;
}

/* "/files/APPLICATION/USER/FILEID", and the link behind it where one is needed. Malloc'd; NULL without memory. */
static char *share_path(const struct proto_file_key *key, const struct link_token *token)
{
    char expires[LINK_EXPIRES_SIZE], signature[LINK_SIGNATURE_LENGTH + 1];
    char query[SHARE_TEXT_SIZE + LINK_TEXT_SIZE] = "", *path = NULL;
    char *place = api_text_path(key);
    if (token)
        snprintf(query, sizeof(query), "?e=%s&k=%s&s=%s", link_expires_format(token, expires), token->key,
                 link_signature_format(token, signature));
    if (place && asprintf(&path, "/files%s%s", place, query) < 0)
        path = NULL;
    free(place);
    return path;
}

/* The link that was asked for, of a file that is there. */
static void make_link(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    const struct http_settings *settings = connection->loop->settings;
    bool is_signed = settings->access_signed;
    int64_t seconds = api->request.expires > 0 ? api->request.expires : settings->share_max_s;
    struct link_token token = {.scope = LINK_SCOPE_FILE, .expires = clock_wall_seconds() + seconds};
    if (is_signed && !http_api_sign_link(connection, &api->request.key, &token)) {
        http_answer_refuse(connection, 403, "the key that issued the token signs no links");
        return;
    }
    if (is_signed)
        api_audit(connection, "link", ERROR_NONE);
    char *path = share_path(&api->request.key, is_signed ? &token : NULL);
    http_answer_json(connection, path ? api_text_link(path, is_signed ? token.expires : 0) : NULL);
    free(path);
}

static void on_api_shared(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct http_connection *connection = argument;
    connection->exchange.api->operation = NULL;
    if (error)
        http_answer_error(connection, error->code, error->text);
    else if (stat->status == PROTO_FILE_DELETED)
        http_answer_refuse(connection, 410, "the file is deleted");
    else
        make_link(connection);
    http_connection_run(connection);
}

static void answer_link(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    const struct http_settings *settings = connection->loop->settings;
    if (settings->access_signed && settings->share_max_s == 0)
        http_answer_refuse(connection, 403, "this server shares no links");
    else if (settings->access_signed && api->request.expires > settings->share_max_s)
        http_answer_refuse(connection, 400, "expires: links may not be valid for that long here (share_max)");
    else if (settings->access_signed && !http_outcome_auditable(connection->loop))
        http_answer_refuse(connection, 503, "the audit log cannot be written");
    else
        api_wait(connection,
                 client_stat(connection->loop->client, &api->request.key, on_api_shared, connection));
}

/* ---- the session ---- */

/* Whether TOKEN lets its holder see the state of everything. */
static bool is_operator(const struct http_settings *settings, const struct http_shown *shown)
{
    char name[PROTO_APPLICATION_SIZE + 1 + PROTO_USER_SIZE];
    if (!shown->has_token || shown->token.has_prefix)
        return false;
    snprintf(name, sizeof(name), "%s/%s", shown->token.application, shown->token.user);
    for (size_t i = 0; i < settings->web_operators.count; i++) {
        if (strcmp(settings->web_operators.items[i], name) == 0)
            return true;
    }
    return false;
}

static void answer_session(struct http_connection *connection)
{
    const struct http_shown *shown = &connection->exchange.api->shown;
    const struct http_settings *settings = connection->loop->settings;
    char media[MEDIA_TEXT_SIZE];
    bool reads = media_prefix(connection, media);
    struct api_session_facts facts = {
        .token = shown->has_token ? &shown->token : NULL,
        .application = shown->has_token ? shown->token.application : settings->application,
        .user = shown->has_token ? shown->token.user : settings->user,
        .media = reads ? media : NULL,
        .writes = settings->write != HTTP_WRITE_OFF,
        .shares = reads && (!settings->access_signed || settings->share_max_s > 0),
        .operates = is_operator(settings, shown),
        .hls = web_site_find(connection->loop->site, http_text_of(WEB_SITE_HLS)) != NULL,
        .upload_size_max = settings->live.upload_size_max,
        .share_max = settings->access_signed ? settings->share_max_s : 0};
    http_answer_json(connection, api_text_session(&facts));
}

/* ---- the state of everything ---- */

static json_t *http_api_count_json(const struct metric *metric)
{
    return json_integer((json_int_t)metric_value(metric));
}

/* What this server has counted since its start. */
static char *own_counts(const struct http_metrics *metrics)
{
    struct metric *const *requests = metrics->requests;
    json_t *classes = json_pack("{s:o, s:o, s:o, s:o}", "2xx", http_api_count_json(requests[2]), "3xx",
                                http_api_count_json(requests[3]), "4xx", http_api_count_json(requests[4]),
                                "5xx", http_api_count_json(requests[5]));
    return api_text_of(json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time",
        (json_int_t)clock_wall_seconds(), "requests", classes, "connections",
        http_api_count_json(metrics->connections), "refused", http_api_count_json(metrics->refused),
        "uploads", http_api_count_json(metrics->uploads), "stored", http_api_count_json(metrics->stored),
        "stored_bytes", http_api_count_json(metrics->stored_bytes), "received_bytes",
        http_api_count_json(metrics->received), "sent_bytes", http_api_count_json(metrics->bytes), "deleted",
        http_api_count_json(metrics->deleted), "relays", http_api_count_json(metrics->relays), "failovers",
        http_api_count_json(metrics->failovers), "cut", http_api_count_json(metrics->cut)));
}

/* TEXT is JSON that a tracker made; it is passed on as it is. */
static void on_api_status(void *argument, const char *text, size_t size, const struct error *error)
{
    struct http_connection *connection = argument;
    char *all = NULL;
    connection->exchange.api->operation = NULL;
    if (error) {
        http_answer_error(connection, error->code, error->text);
    } else if (size > STATUS_MAX || text[0] != '{') {
        http_answer_error(connection, ERROR_GENERAL,
                          "the tracker's STATUS is not a JSON object, or too long");
    } else {
        char *own = own_counts(connection->loop->metrics);
        if (own && asprintf(&all, "{\"server\":%s,\"cluster\":%s}", own, text) < 0)
            all = NULL;
        free(own);
        http_answer_json(connection, all);
    }
    http_connection_run(connection);
}

static void answer_status(struct http_connection *connection)
{
    if (is_operator(connection->loop->settings, &connection->exchange.api->shown))
        api_wait(connection, client_status(connection->loop->client, on_api_status, connection));
    else
        http_answer_refuse(connection, 403, "the token's user is not one of web_operators");
}

/* ---- the beginning ---- */

static unsigned right_of(enum api_resource resource)
{
    switch (resource) {
    case API_FILES:
    case API_QUOTA:
        return KEY_RIGHT_LIST;
    case API_FILE:
    case API_LINK:
        return KEY_RIGHT_READ;
    case API_RESTORE:
        return KEY_RIGHT_DELETE;
    default:
        return 0;
    }
}

static void restore(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    if (connection->loop->settings->write == HTTP_WRITE_OFF)
        http_answer_refuse(connection, 403, "this server does not change files");
    else if (!http_outcome_auditable(connection->loop))
        http_answer_refuse(connection, 503, "the audit log cannot be written");
    else
        api_wait(connection,
                 client_restore(connection->loop->client, &api->request.key, on_api_restored, connection));
}

static void api_answer(struct http_connection *connection)
{
    struct http_api *api = connection->exchange.api;
    switch (api->request.resource) {
    case API_SESSION:
        answer_session(connection);
        break;
    case API_STATUS:
        answer_status(connection);
        break;
    case API_FILES:
        answer_list(connection);
        break;
    case API_QUOTA:
        answer_quota(connection);
        break;
    case API_FILE:
        api_wait(connection,
                 client_stat(connection->loop->client, &api->request.key, on_api_stat, connection));
        break;
    case API_RESTORE:
        restore(connection);
        break;
    case API_LINK:
        answer_link(connection);
        break;
    case API_RESOURCES:
        break;
    }
}

/* A form on somebody else's page can send any body but this one. */
static bool is_said_to_be_json(const struct http_connection *connection)
{
    static const char json[] = "application/json";
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    const char *semicolon = type.size > 0 ? memchr(type.bytes, ';', type.size) : NULL;
    if (semicolon)
        type.size = (size_t)(semicolon - type.bytes);
    return type.bytes && http_text_equal_nocase(http_text_trim(type), json);
}

static void api_delete(struct http_connection *connection, const struct proto_file_key *key)
{
    struct http_target file = {.key = *key};
    if (connection->loop->settings->write == HTTP_WRITE_OFF)
        http_answer_refuse(connection, 403, "this server does not change files");
    else
        http_delete_begin(connection, &file, HTTP_TARGET_FILE);
}

void http_api_begin(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    enum http_request_method method = exchange->request.method;
    struct http_api *api = calloc(1, sizeof(*api));
    const char *message = NULL;
    exchange->is_api = true;
    exchange->api = api;
    if (!api) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    int status = api_request_parse(target, &api->request, &message);
    if (status != 404)
        exchange->allow = api_request_methods(api->request.resource);
    if (status == 0 && method == HTTP_METHOD_OPTIONS) {
        http_answer_options(connection);
        return;
    }
    if (status != 404 && !api_request_takes(api->request.resource, method)) {
        status = 405;
        message = "this address is not asked in this way";
    }
    if (status == 0 && method == HTTP_METHOD_POST && !is_said_to_be_json(connection)) {
        status = 415;
        message = "Content-Type: application/json is expected";
    }
    if (status == 0 && method == HTTP_METHOD_DELETE) {
        api_delete(connection, &api->request.key);
        return;
    }
    bool keyed = api->request.key.application[0] != '\0';
    if (status == 0)
        status = http_access_shown(connection, keyed ? &api->request.key : NULL,
                                   right_of(api->request.resource), &api->shown, &message);
    if (status != 0)
        http_answer_refuse(connection, status, message);
    else
        api_answer(connection);
}
