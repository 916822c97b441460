/* multipart: bodies of forms, in whatever pieces they come. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "httpd/syntax/multipart.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "multipart/form-data; boundary=XyZ"

/* What happened, as text: "[field|file name|type]content;" per part, "." at the end, "!" where it is broken. */
static char *read_form(const char *type, const char *body, size_t size, size_t step, char out[8192])
{
    struct multipart form;
    size_t used = 0;
    out[0] = '\0';
    if (!multipart_begin(&form, http_text_of(type)))
        return strcpy(out, "?");
    for (size_t at = 0; at < size; at += step) {
        char *piece = malloc(step); /* so that reading behind its end is found */
        struct http_text bytes = {piece, min_size(step, size - at)}, content;
        enum multipart_event event;
        memcpy(piece, body + at, bytes.size);
        do {
            event = multipart_next(&form, &bytes, &content);
            if (event == MULTIPART_PART)
                used += (size_t)sprintf(out + used, "[%s|%s%s|%s]", form.field, form.has_file_name ? "" : "-",
                                        form.file_name, form.content_type);
            else if (event == MULTIPART_CONTENT)
                used += (size_t)sprintf(out + used, "%.*s", (int)content.size, content.bytes);
            else if (event == MULTIPART_PART_END)
                used += (size_t)sprintf(out + used, ";");
            else if (event == MULTIPART_BROKEN || event == MULTIPART_END)
                used += (size_t)sprintf(out + used, event == MULTIPART_END ? "." : "!");
        } while (event != MULTIPART_BROKEN && event != MULTIPART_END &&
                 (event != MULTIPART_MORE || bytes.size > 0));
        free(piece);
        if (event == MULTIPART_BROKEN || event == MULTIPART_END)
            break;
    }
    return out;
}

static void check(const char *body, const char *expected)
{
    char out[8192];
    for (size_t step = 1; step <= strlen(body) + 1; step++)
        assert_string_equal(read_form(TYPE, body, strlen(body), step, out), expected);
}

#define HEAD                                                                                                 \
    "\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/x-a\r\n\r\n"

static void parts_come_as_they_were_sent(void **state)
{
    (void)state;
    check("--XyZ" HEAD "content\r\n--XyZ--\r\n", "[f|a.txt|text/x-a]content;.");
    check("--XyZ" HEAD "\r\n--XyZ--", "[f|a.txt|text/x-a];.");
    check("preamble\r\n--XyZ \t" HEAD "\r\r\n\r\n--Xy\r\n--XyZ--\r\nepilogue",
          "[f|a.txt|text/x-a]\r\r\n\r\n--Xy;.");
    check("--XyZ\r\ncontent-disposition:form-data;name=t\r\n\r\nv\r\n--XyZ" HEAD "c\r\n--XyZ--\r\n",
          "[t|-|]v;[f|a.txt|text/x-a]c;.");
}

static void what_is_no_form_is_broken(void **state)
{
    (void)state;
    check("--XyZ" HEAD "content\r\n--XyZabc", "[f|a.txt|text/x-a]content;!");
    check("--XyZ\r\n\r\ncontent\r\n\r\n--XyZ--", "!");
    check("--XyZ\r\nContent-Type: x\r\n\r\nv\r\n--XyZ--", "!");
    check("--XyZ\r\nContent-Disposition: attachment\r\n\r\nv\r\n--XyZ--", "!");
    check("--XyZ\r\nno colon\r\n\r\n", "!");
    check("--XyZ--\r\n", ".");
    check("nothing of the kind", "");
    char long_head[4000], out[8192];
    memset(long_head, 'a', sizeof(long_head));
    memcpy(long_head, "--XyZ\r\n", 7);
    assert_string_equal(read_form(TYPE, long_head, sizeof(long_head), 100, out), "!");
}

static void names_that_do_not_fit_are_left_out(void **state)
{
    (void)state;
    char body[1500], out[8192], name[400];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    int size = snprintf(
        body, sizeof(body),
        "--XyZ\r\nContent-Disposition: form-data; name=%.100s; filename=%s\r\n\r\nv\r\n--XyZ--", name, name);
    assert_string_equal(read_form(TYPE, body, (size_t)size, 7, out), "[||]v;.");
}

static void a_boundary_is_what_the_standard_allows(void **state)
{
    (void)state;
    struct multipart form;
    static const char *const good[] = {"multipart/form-data; boundary=\"a b\\c\"", "multipart/form-data"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(multipart_is_form(http_text_of(good[i])));
        assert_false(multipart_begin(&form, http_text_of(good[i])));
    }
    assert_true(multipart_begin(&form, http_text_of("Multipart/Form-Data; charset=x; boundary=\"a=b\"")));
    assert_int_equal(multipart_tail(&form), strlen("\r\n--a=b--\r\n"));
    static const char *const bad[] = {
        "multipart/form-dat", "multipart/form-datas; boundary=a", "text/plain; boundary=a",
        "multipart/form-data; boundary=",
        ("multipart/form-data; "
         "boundary=01234567890123456789012345678901234567890123456789012345678901234567890")};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(multipart_begin(&form, http_text_of(bad[i])));
    assert_false(multipart_is_form((struct http_text){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_as_they_were_sent),
        cmocka_unit_test(what_is_no_form_is_broken),
        cmocka_unit_test(names_that_do_not_fit_are_left_out),
        cmocka_unit_test(a_boundary_is_what_the_standard_allows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
