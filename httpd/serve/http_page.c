/*
 * http_page: / and /admin are one page, whose scripts look at the address. Its policy lets nothing in but this server's own files, and
 * no text become a script (Trusted Types); what people stored is only ever shown as pictures, films and sound.
 */
#include "httpd/serve/http_page.h"
#include "httpd/serve/http_answer.h"
#include "httpd/web/web_site.h"
#include <string.h>

#define PAGE_POLICY                                                                                          \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "     \
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "                      \
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"                   \
    "Cross-Origin-Opener-Policy: same-origin\r\nX-Frame-Options: DENY\r\n"                                   \
    "Permissions-Policy: camera=(), microphone=(), geolocation=(), payment=()\r\n"

static const struct web_page *page_of(const struct http_connection *connection,
                                      const struct http_target *target)
{
    struct http_text name = http_text_of("index.html");
    const struct web_site *site = connection->loop->site;
    if (target->part_count > 1 || !site)
        return NULL;
    if (target->part_count == 1 && !http_text_equal(target->parts[0], "admin"))
        name = target->parts[0];
    return web_site_find(site, name);
}

/* 200 with MEMORY, or 304. */
static void answer_page(struct http_connection *connection, const struct web_page *page, const char *etag,
                        struct source_memory *memory, bool unchanged)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_output *out = &connection->out;
    struct source_options options = {.loop = connection->loop, .connection_id = connection->id};
    if (!unchanged && exchange->request.method != HTTP_METHOD_HEAD &&
        !(exchange->source = source_head_open(&options, memory, 0, memory->size))) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin(connection, unchanged ? 304 : 200);
    if (!unchanged) {
        http_response_field(out, "Content-Type", page->type);
        http_response_content_length(out, (int64_t)memory->size);
        if (memory == page->gzip)
            HTTP_OUTPUT_LITERAL(out, "Content-Encoding: gzip\r\n");
        HTTP_OUTPUT_LITERAL(out, "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                                 "Cross-Origin-Resource-Policy: same-origin\r\n");
        if (strncmp(page->type, "text/html", strlen("text/html")) == 0)
            HTTP_OUTPUT_LITERAL(out, PAGE_POLICY);
    }
    http_response_field(out, "ETag", etag);
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-cache\r\nVary: Accept-Encoding\r\n");
    http_answer_end(connection);
}

void http_page_answer(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct web_page *page = page_of(connection, target);
    struct http_conditions conditions;
    if (!page) {
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
        return;
    }
    bool gzip =
        page->gzip && http_accept_gzip(http_answer_request_field(connection, HTTP_FIELD_ACCEPT_ENCODING));
    const char *etag = gzip ? page->gzip_etag : page->etag;
    struct http_validators validators = {etag, 0};
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_clock_read(&connection->loop->clock);
    if (!http_request_conditions(&exchange->request, http_answer_request_head(connection), &conditions)) {
        http_answer_refuse(connection, 431, "too many lines of one header field");
        return;
    }
    switch (http_conditions_evaluate(&conditions, &validators, connection->loop->clock.second)) {
    case HTTP_CONDITION_FAILED:
        http_answer_refuse(connection, 412, "the page is not the one that the condition names");
        return;
    case HTTP_CONDITION_NOT_MODIFIED:
        answer_page(connection, page, etag, gzip ? page->gzip : page->plain, true);
        return;
    case HTTP_CONDITION_PROCEED:
        answer_page(connection, page, etag, gzip ? page->gzip : page->plain, false);
        return;
    }
}
