/* What must fit each other in the configuration of reel-httpd. */
#include "httpd/http_options.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct config_table *tables(void)
{
    static struct config_table tables[2];
    tables[0] = (struct config_table){http_options, http_option_count};
    return tables;
}

static void assert_refused(const char *override, const char *said)
{
    struct httpd_config config = {0};
    struct error error = {0};
    if (!config_load(tables(), NULL, &override, 1, &config, &error))
        fail_msg("%s: %s", override, error.text);
    if (http_options_check(&config, &error))
        fail_msg("\"%s\" was accepted", override);
    if (!strstr(error.text, said))
        fail_msg("\"%s\" does not say \"%s\"", error.text, said);
    config_clear(tables(), &config);
}

static void assert_accepted(const char *override)
{
    struct httpd_config config = {0};
    struct error error = {0};
    assert_true(config_load(tables(), NULL, &override, 1, &config, &error));
    if (!http_options_check(&config, &error))
        fail_msg("%s: %s", override, error.text);
    config_clear(tables(), &config);
}

static void what_does_not_fit_is_reported_by_name(void **state)
{
    static char long_text[2048];
    (void)state;
    assert_refused("httpd.listen=", "httpd.listen");
    assert_refused("httpd.trackers=", "httpd.trackers");
    assert_refused("httpd.application=tn-video", "tn-video");
    assert_refused("httpd.target_size_max=20K", "target_size_max");
    assert_refused("httpd.trusted_proxies=10.0.0.0/33", "trusted_proxies");
    assert_refused("httpd.proxy_protocol=*:8080", "trusted_proxies must say");
    assert_refused("httpd.local_groups=/srv/media", "names no group");
    assert_refused("httpd.cache_control=p\xc3\xbc", "cache_control");
    assert_refused("httpd.server_header=a\xc3\xbc", "server_header");
    assert_refused("httpd.resource_policy=anywhere", "anywhere");
    assert_refused("httpd.extra_headers=no field", "not a header field");
    assert_refused("httpd.extra_headers=A: 1 | etag: \"x\"", "etag is set by the server itself");
    assert_refused("httpd.inline_types=video", "\"video\" is not a media type");
    assert_refused("httpd.inline_types=a/b/c", "a/b/c");
    assert_refused("httpd.cors_origins=https://a b", "https://a b");
    snprintf(long_text, sizeof(long_text), "httpd.user=%0300d", 0);
    assert_refused(long_text, "httpd.user: longer than 255 bytes");
    snprintf(long_text, sizeof(long_text), "httpd.extra_headers=A: %01100d", 0);
    assert_refused(long_text, "longer than 1024 bytes");
}

static void the_proxy_protocol_is_spoken_only_where_it_is_listened(void **state)
{
    const char *overrides[] = {"httpd.listen=127.0.0.1:8080", "httpd.trusted_proxies=10.0.0.0/8",
                               "httpd.proxy_protocol=127.0.0.1:8081"};
    struct httpd_config config = {0};
    struct error error = {0};
    (void)state;
    assert_true(config_load(tables(), NULL, overrides, 3, &config, &error));
    assert_false(http_options_check(&config, &error));
    assert_non_null(strstr(error.text, "127.0.0.1:8081 is neither in httpd.listen nor in httpd.listen_tls"));
    config_clear(tables(), &config);
    overrides[2] = "httpd.proxy_protocol=127.0.0.1:8080";
    assert_true(config_load(tables(), NULL, overrides, 3, &config, &error));
    assert_true(http_options_check(&config, &error));
    config_clear(tables(), &config);
    overrides[0] = "httpd.listen_tls=127.0.0.1:8080";
    assert_true(config_load(tables(), NULL, overrides, 3, &config, &error));
    assert_true(http_options_check(&config, &error));
    config_clear(tables(), &config);
}

static void sound_values_are_accepted(void **state)
{
    (void)state;
    assert_accepted("httpd.application=");
    assert_accepted("httpd.resource_policy=");
    assert_accepted("httpd.resource_policy=same-site");
    assert_accepted("httpd.extra_headers=");
    assert_accepted("httpd.extra_headers=Timing-Allow-Origin: * | X-Robots-Tag: noindex, nofollow");
    assert_accepted("httpd.inline_types=video/*, text/vtt");
    assert_accepted("httpd.cors_origins=*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_reported_by_name),
        cmocka_unit_test(the_proxy_protocol_is_spoken_only_where_it_is_listened),
        cmocka_unit_test(sound_values_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
