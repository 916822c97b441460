/* The form that requests get of the configuration of reel-httpd. */
#include "httpd/loop/http_settings.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void fields_of_files_are_made_once(void **state)
{
    const char *const overrides[] = {"httpd.extra_headers= Timing-Allow-Origin: * |X-Robots-Tag: noindex",
                                     "httpd.resource_policy=same-origin",
                                     "httpd.cache_control=", "httpd.cors_origins=https://tv.example, *",
                                     "httpd.retry_after=1500ms"};
    struct httpd_config config = {0};
    struct error error = {0};
    (void)state;
    const struct config_table tables[] = {{http_options, http_option_count}, {NULL, 0}};
    assert_true(config_load(tables, NULL, overrides, ARRAY_SIZE(overrides), &config, &error));
    assert_true(http_options_check(&config, &error));
    struct http_settings *settings = http_settings_create(&config);
    assert_non_null(settings);
    config_clear(tables, &config); /* the settings have copies */
    assert_non_null(strstr(settings->file_lines, "Cross-Origin-Resource-Policy: same-origin\r\n"
                                                 "Timing-Allow-Origin: *\r\nX-Robots-Tag: noindex\r\n"));
    assert_string_equal(settings->server_line, "Server: reelstore\r\n");
    assert_string_equal(settings->cache_control_line, "");
    assert_true(settings->cors_any);
    assert_int_equal(settings->retry_after_s, 1);
    http_settings_release(http_settings_take(settings));
    assert_string_equal(settings->application, "tnvideo");
    http_settings_release(settings);
    http_settings_release(NULL);
}

static void a_private_answer_is_for_no_shared_cache(void **state)
{
    const char *const overrides[] = {"httpd.cache_control=public, max-age=60, s-maxage=600, immutable"};
    const struct config_table tables[] = {{http_options, http_option_count}, {NULL, 0}};
    struct httpd_config config = {0};
    struct error error = {0};
    (void)state;
    assert_true(config_load(tables, NULL, overrides, ARRAY_SIZE(overrides), &config, &error));
    struct http_settings *settings = http_settings_create(&config);
    assert_non_null(settings);
    config_clear(tables, &config);
    assert_string_equal(settings->cache_control_line,
                        "Cache-Control: public, max-age=60, s-maxage=600, immutable\r\n");
    assert_string_equal(settings->private_cache_line, "Cache-Control: private, max-age=60, immutable\r\n");
    http_settings_release(settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_files_are_made_once),
        cmocka_unit_test(a_private_answer_is_for_no_shared_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
