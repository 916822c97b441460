/*
 * http_outcome: numbers of failures to statuses and texts, and the line of the audit log.
 */
#include "httpd/serve/http_outcome.h"
#include "common/auth/audit.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"

int http_outcome_status(int code)
{
    switch (code) {
    case ERROR_EXISTS:
        return 409;
    case ERROR_DELETED:
        return 410;
    case ERROR_NOT_FOUND:
    case ERROR_REFUSED: /* an application that nobody knows */
        return 404;
    case ERROR_DIGEST:
        return 422;
    case ERROR_RANGE: /* longer than upload_size_max */
        return 413;
    case ERROR_MALFORMED:
        return 400;
    case ERROR_NO_SPACE:
    case ERROR_QUOTA:
        return 507;
    case ERROR_THROTTLED:
        return 429;
    case ERROR_UNAVAILABLE:
    case ERROR_NO_SERVER:
    case ERROR_EXHAUSTED:
    case ERROR_TIMEOUT:
    case ERROR_CONNECTION: /* a server broke off: what it had of the content is lost */
        return 503;
    default: /* also where this server's own key does not give the right: for its operator to correct */
        return 502;
    }
}

const char *http_outcome_message(int status)
{
    switch (status) {
    case 400:
        return "the content is not what its framing says";
    case 404:
        return "no such application";
    case 409:
        return "the file ID is taken by other bytes";
    case 410:
        return "the file was deleted; its ID is free once it is purged";
    case 412:
        return "the file exists";
    case 413:
        return "the file is larger than this server takes";
    case 422:
        return "the content does not match the stated digest";
    case 429:
        return "too many requests";
    case 503:
        return "no storage server can take it at present; try again";
    case 507:
        return "there is no room: the user's quota is used up, or the storage servers are full";
    default:
        return "the storage servers could not do it";
    }
}

void http_outcome_audit(const struct http_connection *connection, const struct http_outcome *outcome)
{
    char client[INET6_ADDRSTRLEN], name[HTTP_REQUEST_ID_SIZE];
    if (!connection->loop->audit)
        return;
    const struct audit_event line = {.event = outcome->event,
                                     .connection = connection->id,
                                     .peer = http_access_client(connection, client),
                                     .key = outcome->issuer,
                                     .role = outcome->issuer[0] != '\0' ? key_role_name(KEY_ROLE_CLIENT) : "",
                                     .application = outcome->key->application,
                                     .user = outcome->key->user,
                                     .file = outcome->key->file,
                                     .request = http_answer_request_id(connection, name),
                                     .outcome = outcome->code,
                                     .bytes = outcome->bytes};
    (void)audit_write(connection->loop->audit, &line);
}

bool http_outcome_auditable(const struct http_loop *loop)
{
    return !loop->audit_required || !loop->audit || audit_works(loop->audit);
}

void http_outcome_refuse(struct http_connection *connection, const struct error *error)
{
    int status = http_outcome_status(error->code);
    http_answer_log(connection, status, error->code, error->text);
    http_answer_refuse(connection, status, http_outcome_message(status));
}
