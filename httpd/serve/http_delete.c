/*
 * http_delete: DELETE at a storage server; with conditions the file is looked up first, and a STAT after one that found nothing
 * distinguishes 410 from 404.
 */
#include "httpd/serve/http_delete.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_outcome.h"
#include <stdlib.h>

struct http_delete {
    struct proto_file_key key;
    struct http_grant grant;
    struct client_operation *operation; /* DELETE or STAT */
};

void http_delete_end(struct http_delete *erase)
{
    if (!erase)
        return;
    if (erase->operation)
        client_cancel(erase->operation);
    free(erase);
}

static void delete_answered(struct http_connection *connection, int status)
{
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin(connection, status);
    http_answer_end(connection);
}

static void on_delete_stat(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct http_connection *connection = argument;
    connection->exchange.erase->operation = NULL;
    bool deleted = !error && stat->status == PROTO_FILE_DELETED;
    if (error && error->code != ERROR_NOT_FOUND) {
        http_outcome_refuse(connection, error);
    } else {
        http_answer_refuse(connection, deleted ? 410 : 404,
                           deleted ? "the file is deleted already" : HTTP_ANSWER_NO_FILE);
    }
    http_connection_run(connection);
}

static void on_delete(void *argument, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_delete *erase = connection->exchange.erase;
    erase->operation = NULL;
    const struct http_outcome outcome = {.event = "delete",
                                         .issuer = erase->grant.issuer,
                                         .key = &erase->key,
                                         .code = error ? error->code : ERROR_NONE,
                                         .bytes = -1};
    http_outcome_audit(connection, &outcome);
    if (!error) {
        http_lookup_changed(connection->loop->lookup, &erase->key);
        metric_add(connection->loop->metrics->deleted, 1);
        delete_answered(connection, 204);
    } else if (error->code == ERROR_NOT_FOUND) {
        /* Also one that is deleted already: its row says which of the two it is. */
        http_lookup_forget(connection->loop->lookup, &erase->key);
        const struct request_id name = http_answer_name(connection);
        erase->operation = client_stat(connection->loop->client, &erase->key, on_delete_stat, connection);
        client_name_request(erase->operation, &name);
        if (erase->operation)
            return;
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
    } else {
        http_outcome_refuse(connection, error);
    }
    http_connection_run(connection);
}

static void start_delete(struct http_connection *connection)
{
    struct http_delete *erase = connection->exchange.erase;
    const struct request_id name = http_answer_name(connection);
    erase->operation = client_delete(connection->loop->client, &erase->key, on_delete, connection);
    client_name_request(erase->operation, &name);
    if (erase->operation)
        http_connection_set_state(connection, CONNECTION_LOOKUP);
    else
        http_answer_refuse(connection, 503, "no memory");
}

/* The conditions of RFC 9110 section 13 hold of the file as it is now. */
static void delete_if(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_conditions conditions;
    http_clock_read(&connection->loop->clock);
    struct http_validators validators = {exchange->file->etag, http_answer_modified(connection)};
    if (!http_request_conditions(&exchange->request, http_answer_request_head(connection), &conditions))
        http_answer_refuse(connection, 431, "too many lines of one header field");
    else if (http_conditions_evaluate(&conditions, &validators, connection->loop->clock.second) !=
             HTTP_CONDITION_PROCEED)
        http_answer_refuse(connection, 412, "the file is not the one that the condition names");
    else
        start_delete(connection);
}

static void on_delete_lookup(void *argument, struct http_lookup_file *file, const struct error *error)
{
    struct http_connection *connection = argument;
    connection->exchange.wait = NULL;
    connection->exchange.file = file;
    if (!error)
        delete_if(connection);
    else if (error->code == ERROR_NOT_FOUND || error->code == ERROR_DELETED)
        start_delete(connection); /* says whether it is deleted or unknown */
    else
        http_answer_error(connection, error->code, error->text);
    http_connection_run(connection);
}

static bool has_conditions(const struct http_request *request)
{
    static const enum http_field fields[] = {HTTP_FIELD_IF_MATCH, HTTP_FIELD_IF_NONE_MATCH,
                                             HTTP_FIELD_IF_UNMODIFIED_SINCE};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (http_request_field_count(request, fields[i]) > 0)
            return true;
    }
    return false;
}

static void look_before_delete(struct http_connection *connection)
{
    const struct proto_file_key *key = &connection->exchange.erase->key;
    http_lookup_forget(connection->loop->lookup, key); /* what is remembered may be old */
    enum http_lookup_result result = http_answer_look_up(connection, key, on_delete_lookup);
    if (result == HTTP_LOOKUP_FOUND)
        delete_if(connection);
    else if (result == HTTP_LOOKUP_ABSENT)
        start_delete(connection);
}

void http_delete_begin(struct http_connection *connection, const struct http_target *target,
                       enum http_target_kind kind)
{
    struct http_exchange *exchange = &connection->exchange;
    const char *message;
    if (kind != HTTP_TARGET_FILE) {
        bool absent = kind == HTTP_TARGET_UNKNOWN;
        http_answer_refuse(connection, absent ? 404 : 405,
                           absent ? HTTP_ANSWER_NO_FILE : "only files can be deleted");
        return;
    }
    struct http_delete *erase = calloc(1, sizeof(*erase));
    exchange->erase = erase;
    if (!erase) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    erase->key = target->key;
    int status =
        http_access_writer(connection, &target->key, KEY_RIGHT_DELETE, NULL, &erase->grant, &message);
    if (status == 0 && !http_outcome_auditable(connection->loop)) {
        status = 503;
        message = "the audit log cannot be written";
    }
    if (status != 0)
        http_answer_refuse(connection, status, message);
    else if (has_conditions(&exchange->request))
        look_before_delete(connection);
    else
        start_delete(connection);
}
