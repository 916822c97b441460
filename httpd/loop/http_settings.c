/*
 * http_settings: header lines made once, so that answers copy them.
 */
#include "httpd/loop/http_settings.h"
#include "httpd/syntax/extra_headers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *field_line(const char *name, const char *value)
{
    char *line;
    if (value[0] == '\0')
        return strdup("");
    return asprintf(&line, "%s: %s\r\n", name, value) < 0 ? NULL : line;
}

/* CACHE_CONTROL, its directives "public" and "s-maxage" left out, as one of a private answer. */
static char *private_line(const char *cache_control)
{
    char text[HTTP_FIELD_TEXT_MAX + sizeof("private, ")] = "private";
    struct http_text rest = http_text_of(cache_control), item;
    size_t used = strlen(text);
    while (http_text_next_item(&rest, &item)) {
        static const char shared[] = "s-maxage";
        if (http_text_equal_nocase(item, "public") || http_text_equal_nocase(item, "private") ||
            (item.size >= sizeof(shared) - 1 && strncasecmp(item.bytes, shared, sizeof(shared) - 1) == 0))
            continue;
        int added = snprintf(text + used, sizeof(text) - used, ", %.*s", (int)item.size, item.bytes);
        used = min_size(used + (size_t)max_i64(added, 0), sizeof(text) - 1);
    }
    return field_line("Cache-Control", text);
}

static void settings_free(struct http_settings *settings)
{
    config_strings_clear(&settings->web_operators);
    config_strings_clear(&settings->cors_origins);
    config_strings_clear(&settings->inline_types);
    networks_clear(&settings->trusted_proxies);
    address_list_clear(&settings->proxy_protocol);
    free(settings->file_lines);
    free(settings->hsts_line);
    free(settings->server_line);
    free(settings->cache_control_line);
    free(settings->private_cache_line);
    free(settings);
}

/* Whatever a file holds, it runs no script and reaches nothing if a browser shows it as a page. */
#define FILE_POLICY                                                                                          \
    "Content-Security-Policy: sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src "     \
    "'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\n"

static char *file_lines(const struct httpd_config *config)
{
    struct http_text rest = http_text_of(config->extra_headers), field;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    (void)fputs(FILE_POLICY, out);
    if (config->resource_policy[0] != '\0')
        (void)fprintf(out, "Cross-Origin-Resource-Policy: %s\r\n", config->resource_policy);
    while (extra_headers_next(&rest, &field))
        (void)fprintf(out, "%.*s\r\n", (int)field.size, field.bytes);
    if (config->access == HTTP_ACCESS_SIGNED) /* the last one counts; a page must not pass its own link on */
        (void)fputs("Referrer-Policy: no-referrer\r\n", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static bool copy_origins(struct http_settings *settings, const struct config_strings *origins)
{
    struct error error;
    for (size_t i = 0; i < origins->count; i++) {
        if (strcmp(origins->items[i], "*") == 0)
            settings->cors_any = true;
    }
    return config_strings_copy(&settings->cors_origins, origins, &error);
}

struct http_settings *http_settings_create(const struct httpd_config *config)
{
    struct http_settings *settings = calloc(1, sizeof(*settings));
    if (!settings)
        return NULL;
    settings->references = 1;
    settings->live = config->live;
    snprintf(settings->application, sizeof(settings->application), "%s", config->application);
    snprintf(settings->user, sizeof(settings->user), "%s", config->user);
    settings->limits = (struct http_request_limits){.target_max = (size_t)config->target_size_max,
                                                    .head_max = (size_t)config->head_size_max,
                                                    .fields_max = (size_t)config->header_fields_max};
    settings->retry_after_s = max_i64(1, config->retry_after_ms / 1000);
    settings->forwarded_form = (enum forwarded_form)config->forwarded_header;
    settings->access_log_format = (enum access_log_format)config->access_log_format;
    settings->server_line = field_line("Server", config->server_header);
    settings->share_max_s = config->share_max_ms / 1000;
    settings->write = (enum http_write_mode)config->write;
    settings->access_signed = config->access == HTTP_ACCESS_SIGNED;
    settings->signed_cache_public = config->signed_cache == HTTP_SIGNED_CACHE_PUBLIC;
    settings->cache_control_line = field_line("Cache-Control", config->cache_control);
    settings->private_cache_line = private_line(config->cache_control);
    settings->file_lines = file_lines(config);
    settings->hsts_line = field_line("Strict-Transport-Security", config->strict_transport_security);
    settings->https_port = (int)config->https_port;
    settings->serves_https = config->listen_tls.count > 0;
    struct error error;
    if (!settings->server_line || !settings->cache_control_line || !settings->private_cache_line ||
        !settings->file_lines || !settings->hsts_line ||
        !config_strings_copy(&settings->inline_types, &config->inline_types, &error) ||
        !config_strings_copy(&settings->web_operators, &config->web_operators, &error) ||
        !networks_parse(&config->trusted_proxies, &settings->trusted_proxies, &error) ||
        !address_list_copy(&settings->proxy_protocol, &config->proxy_protocol) ||
        !copy_origins(settings, &config->cors_origins)) {
        settings_free(settings);
        return NULL;
    }
    return settings;
}

struct http_settings *http_settings_take(struct http_settings *settings)
{
    __atomic_add_fetch(&settings->references, 1, __ATOMIC_RELAXED);
    return settings;
}

void http_settings_release(struct http_settings *settings)
{
    if (settings && __atomic_sub_fetch(&settings->references, 1, __ATOMIC_ACQ_REL) == 0)
        settings_free(settings);
}
