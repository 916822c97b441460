/*
 * Writing over HTTP as a whole: reel-httpd in front of a real tracker, ID server and storage server, each a process of its own:
 * PUT, POST, forms, chunks, DELETE and tus, who may, and how requests that are wrong are refused.
 */
#include "tests/unit/library/http_suite.h"
#include "tests/unit/library/scripted_peer.h"

#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define LARGE      1300000
#define BASE       "/files/tnvideo/alice"
#define TUS        "Tus-Resumable: 1.0.0\r\n"
#define OCTETS     "Content-Type: application/offset+octet-stream\r\n"
#define CHUNKED    "Transfer-Encoding: chunked\r\n"
#define DIGITS_256 "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:" /* of 0123456789 */
#define X_256      "sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:" /* of x */
#define FORM       "Content-Type: multipart/form-data; boundary=XyZ\r\n"
#define PART(head) "--XyZ\r\nContent-Disposition: form-data; " head "\r\n\r\n"
#define FORM_END   "\r\n--XyZ--\r\n"

static char *large;

/* ---- the servers ---- */

static int start_suite(void **state)
{
    (void)state;
    large = malloc(LARGE + 1);
    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)('a' + (i * 2654435761u >> 11) % 26);
    large[LARGE] = '\0';
    http_suite_start("write = open\nrequest_body_max = 1000\nupload_size_max = 2000000\nreceive_timeout = "
                     "1s\ncors_origins = *");
    return 0;
}

static int stop_suite(void **state)
{
    (void)state;
    http_suite_stop();
    free(large);
    return 0;
}

/* CONTENT is what GET of TARGET gives; the loop may remember for a moment that it was not there. */
static void expect_content(const char *target, const char *content)
{
    for (int i = 0;; i++) {
        struct http_answer answer = http_suite_ask("GET", target, "", NULL);
        if (answer.status == 200) {
            assert_int_equal(answer.size, strlen(content));
            assert_memory_equal(answer.body, content, answer.size);
            free(answer.body);
            return;
        }
        free(answer.body);
        assert_true(i < 200);
        usleep(100000);
    }
}

/* ---- files ---- */

static void a_file_is_put_once_and_deleted_once(void **state)
{
    (void)state;
    HTTP_SUITE_EXPECT({"DELETE", BASE "/a", "", NULL, 404},
                      {"PUT", BASE "/a", "Content-Type: text/x-a\r\n", "0123456789", 201},
                      {"PUT", BASE "/a", "", "0123456789", 200}, {"PUT", BASE "/a", "", "0123456780", 409},
                      {"PUT", BASE "/a", "", "0123", 409},
                      {"PUT", BASE "/a", "If-None-Match: *\r\n", "0", 412});
    expect_content(BASE "/a", "0123456789");
    HTTP_SUITE_EXPECT({"PUT", BASE "/empty", "", "", 201},
                      {"DELETE", BASE "/a", "If-Match: \"no\"\r\n", NULL, 412},
                      {"DELETE", BASE "/a", "", NULL, 204}, {"DELETE", BASE "/a", "", NULL, 410},
                      {"PUT", BASE "/a", "", "0123456789", 410});
    int fd = real_daemon_connect(&http_suite_httpd);
    struct http_answer answer = http_suite_ask_on(fd, "PUT", BASE "/film", "", large, LARGE);
    assert_int_equal(answer.status, 201);
    assert_true(http_answer_has(&answer, "Location: " BASE "/film"));
    free(answer.body);
    answer = http_suite_ask_on(fd, "PUT", BASE "/film", "", large, LARGE); /* the connection goes on */
    assert_int_equal(answer.status, 200);
    free(answer.body);
    close(fd);
    expect_content(BASE "/film", large);
}

static void what_a_file_is_called_comes_from_the_request(void **state)
{
    static const struct {
        const char *target, *fields, *has;
    } rows[] = {
        {BASE "/n1/film.mkv", "", "filename=\"film.mkv\""},
        {BASE "/n2/x?name=song.ogg", "", "filename=\"song.ogg\""},
        {BASE "/n3", "Content-Disposition: attachment; filename=\"b.txt\"\r\n", "filename=\"b.txt\""},
        {BASE "/n4", "Content-Disposition: attachment; filename*=UTF-8''f%C3%BCr.txt\r\n", "f%C3%BCr.txt"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char target[128];
        struct http_answer answer = http_suite_ask("PUT", rows[i].target, rows[i].fields, "x");
        assert_int_equal(answer.status, 201);
        free(answer.body);
        snprintf(target, sizeof(target), BASE "/n%zu?download", i + 1);
        answer = http_suite_ask("HEAD", target, "", NULL);
        if (!strstr(answer.head, rows[i].has))
            fail_msg("%s is not in %s", rows[i].has, answer.head);
        free(answer.body);
    }
    struct http_answer answer = http_suite_ask("POST", BASE "?name=a%20b.txt", "", "text");
    char location[256];
    assert_int_equal(answer.status, 201);
    http_suite_field(&answer, "Location", location, sizeof(location));
    free(answer.body);
    expect_content(location, "text");
}

static void contents_have_the_digest_that_was_stated(void **state)
{
    (void)state;
    HTTP_SUITE_EXPECT(
        {"PUT", BASE "/d1", "Repr-Digest: " DIGITS_256 "\r\n", "0123456789", 201},
        {"PUT", BASE "/d2", "Content-Digest: md5=:AAAA:, " DIGITS_256 "\r\n", "0123456789", 201},
        {"PUT", BASE "/d3", "Repr-Digest: " X_256 "\r\n", "0123456789", 422},
        {"PUT", BASE "/d3", "X-Reel-Digest: xxh3-128=00000000000000000000000000000000\r\n", "0123456789",
         422},
        {"PUT", BASE "/d3", "Repr-Digest: sha-256=x\r\n", "x", 400},
        {"PUT", BASE "/d3", "Repr-Digest: sha-256=:AAAA:\r\n", "x", 400},
        {"PUT", BASE "/d3", "X-Reel-Digest: xxh3-128=12\r\n", "x", 400},
        {"PUT", BASE "/d3", "Repr-Digest: " DIGITS_256 "\r\nContent-Digest: " X_256 "\r\n", "x", 400},
        {"GET", BASE "/d3", "", NULL, 404});
}

static void what_cannot_be_stored_is_refused(void **state)
{
    (void)state;
    HTTP_SUITE_EXPECT(
        {"PUT", BASE "/r", "Content-Encoding: gzip\r\n", "x", 415}, {"PUT", BASE "/r", "", NULL, 411},
        {"PUT", BASE "/r", "Content-Range: bytes 0-0/2\r\n", "x", 400},
        {"PUT", BASE "/r", "If-Match: *\r\n", "x", 412},
        {"PUT", BASE "/r", "Content-Length: 2000001\r\n", NULL, 413}, {"PUT", BASE, "", "x", 405},
        {"POST", BASE "/r", "", "x", 405}, {"PUT", "/hls/tnvideo/alice/r/master.m3u8", "", "x", 405},
        {"PUT", "/elsewhere", "", "x", 404},
        {"PUT", BASE "/r", "Content-Disposition: attachment; filename=\"a\001b\"\r\n", "x", 400},
        {"PUT", BASE "/r", CHUNKED "Content-Encoding: br\r\n", "1\r\nx\r\n0\r\n\r\n", 415},
        {"PUT", "/files/elsewhere/alice/r", "", "x", 404});
    HTTP_SUITE_EXPECT(
        {"OPTIONS", BASE "/r", "Origin: https://a\r\nAccess-Control-Request-Method: PUT\r\n", NULL, 204},
        {"OPTIONS", BASE, "", NULL, 204});
}

static void a_refusal_comes_before_content_that_was_not_sent(void **state)
{
    struct http_answer answer;
    (void)state;
    int fd = real_daemon_connect(&http_suite_httpd);
    http_send(fd,
              "PUT " BASE "/e HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n");
    http_answer_read(fd, true, &answer);
    assert_int_equal(answer.status, 100);
    free(answer.body);
    peer_put(fd, large, 200000);
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 201);
    free(answer.body);
    http_send(fd,
              "PUT " BASE "/e HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\nExpect: 100-continue\r\n\r\n");
    http_answer_read(fd, false, &answer);
    assert_int_equal(answer.status, 409);
    free(answer.body);
    close(fd);
}

static void who_sends_nothing_more_gets_an_answer_that_says_so(void **state)
{
    static const char *const heads[] = {
        "PUT " BASE "/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n0123",
        "PUT " BASE "/slow HTTP/1.1\r\nHost: x\r\n" CHUNKED "\r\n4\r\n0123\r\n"};
    struct http_answer answer;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        int fd = real_daemon_connect(&http_suite_httpd);
        http_send(fd, heads[i]);
        http_answer_read(fd, false, &answer);
        assert_int_equal(answer.status, 408);
        free(answer.body);
        close(fd);
        fd = real_daemon_connect(&http_suite_httpd); /* and who goes away leaves nothing */
        http_send(fd, heads[i]);
        close(fd);
    }
    HTTP_SUITE_EXPECT({"GET", BASE "/slow", "", NULL, 404});
}

static void forms_are_taken_as_pages_send_them(void **state)
{
    char location[256];
    (void)state;
    struct http_answer answer = http_suite_ask(
        "POST", BASE, FORM,
        PART("name=\"other\"") "x\r\n" PART("name=\"f\"; filename=\"a.txt\"") "line\r\n--Xy\r\n" FORM_END);
    assert_int_equal(answer.status, 201);
    http_suite_field(&answer, "Location", location, sizeof(location));
    free(answer.body);
    expect_content(location, "line\r\n--Xy\r\n");
    HTTP_SUITE_EXPECT({"POST", BASE, FORM,
                       PART("name=\"id\"") "form-1\r\n" PART("name=\"f\"; filename=\"b\"") FORM_END, 201},
                      {"GET", BASE "/form-1", "", NULL, 200},
                      {"POST", BASE, FORM, PART("name=\"id\"") "x" FORM_END, 400},
                      {"POST", BASE, FORM,
                       PART("name=\"id\"") "a\001\r\n" PART("name=\"f\"; filename=\"b\"") FORM_END, 400},
                      {"POST", BASE, FORM,
                       PART("name=\"f\"; filename=\"b\"") "x\r\n" PART("name=\"more\"") "y" FORM_END, 400},
                      {"POST", BASE, FORM, PART("name=\"f\"; filename=\"b\"") "x", 400},
                      {"POST", BASE, "Content-Type: multipart/form-data\r\n", "x", 400});
}

/* ---- chunks ---- */

static char *chunks_of(const char *content, size_t size, size_t piece)
{
    char *text = malloc(2 * size + 4096), *at = text;
    assert_non_null(text);
    for (size_t done = 0; done < size; done += piece) {
        size_t now = size - done < piece ? size - done : piece;
        at += sprintf(at, "%zx\r\n", now);
        memcpy(at, content + done, now);
        memcpy(at + now, "\r\n", 2);
        at += now + 2;
    }
    strcpy(at, "0\r\nX-Trailer: ignored\r\n\r\n");
    return text;
}

static void chunks_become_the_content(void **state)
{
    static const size_t sizes[] = {0, 1, 16384, 16385, LARGE};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char target[64], *text = chunks_of(large, sizes[i], 7 + sizes[i] / 9), saved = large[sizes[i]];
        snprintf(target, sizeof(target), BASE "/chunks%zu", i);
        int fd = real_daemon_connect(&http_suite_httpd);
        for (int turn = 0; turn < 2; turn++) {
            struct http_answer answer = http_suite_ask_on(fd, "PUT", target, CHUNKED, text, strlen(text));
            if (answer.status != 201 && (turn == 0 || answer.status != 200))
                fail_msg("%zu bytes: %d: %s", sizes[i], answer.status, (const char *)answer.body);
            free(answer.body);
        }
        close(fd);
        large[sizes[i]] = '\0';
        expect_content(target, large);
        large[sizes[i]] = saved;
        free(text);
    }
    HTTP_SUITE_EXPECT({"PUT", BASE "/chunks1", CHUNKED, "2\r\nab\r\n0\r\n\r\n", 409},
                      {"PUT", BASE "/c1", CHUNKED "Repr-Digest: " X_256 "\r\n", "2\r\nab\r\n0\r\n\r\n", 422},
                      {"PUT", BASE "/c1", CHUNKED "Repr-Digest: " X_256 "\r\n", "1\r\nx\r\n0\r\n\r\n", 201},
                      {"PUT", BASE "/c2", CHUNKED, "zz\r\n", 400},
                      {"POST", BASE, CHUNKED, "1\r\nx\r\n0\r\n\r\n", 201});
    char *text = chunks_of(large, LARGE, 60000);
    int fd = real_daemon_connect(&http_suite_httpd);
    struct http_answer answer =
        http_suite_ask_on(fd, "PUT", BASE "/c3", CHUNKED "Repr-Digest: " X_256 "\r\n", text, strlen(text));
    assert_int_equal(answer.status, 422);
    free(answer.body);
    free(text);
    close(fd);
}

/* ---- tus ---- */

/* What POST with FIELDS says where the new upload is. */
static void create(const char *fields, char location[256])
{
    char all[1024];
    snprintf(all, sizeof(all), TUS "%s", fields);
    struct http_answer answer = http_suite_ask("POST", "/tus/tnvideo/alice", all, "");
    if (answer.status != 201)
        fail_msg("%s: %d: %s", fields, answer.status, (const char *)answer.body);
    http_suite_field(&answer, "Location", location, 256);
    free(answer.body);
}

static void expect_tus(const char *method, const char *target, const char *fields, const char *body,
                       int status)
{
    char all[1024];
    snprintf(all, sizeof(all), TUS "%s", fields);
    http_suite_expect(&(struct http_suite_row){method, target, all, body, status});
}

static void expect_offset(const char *target, const char *offset)
{
    char value[32];
    struct http_answer answer = http_suite_ask("HEAD", target, TUS, NULL);
    assert_int_equal(answer.status, 200);
    http_suite_field(&answer, "Upload-Offset", value, sizeof(value));
    assert_string_equal(value, offset);
    free(answer.body);
}

/* FORM_TEXT in chunks of PIECE bytes. */
static int ask_form(const char *form_text, size_t piece)
{
    char *body = chunks_of(form_text, strlen(form_text), piece);
    struct http_answer answer = http_suite_ask("POST", BASE, FORM CHUNKED, body);
    free(body);
    free(answer.body);
    return answer.status;
}

static void forms_may_come_in_chunks(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 200; piece += 66)
        assert_in_range(ask_form(PART("name=\"id\"") "form-2\r\n" PART(
                                     "name=\"f\"; filename=\"b\"") "line\r\n--Xy\r\n" FORM_END,
                                 piece),
                        200, 201);
    expect_content(BASE "/form-2", "line\r\n--Xy\r\n");
    assert_int_equal(ask_form("", 1), 400);
    assert_int_equal(ask_form(PART("name=\"f\"; filename=\"b\"") "x", 7), 400);
    assert_int_equal(
        ask_form(PART("name=\"f\"; filename=\"b\"") "x\r\n" PART("name=\"more\"") "y" FORM_END, 7), 400);
    assert_int_equal(ask_form(PART("name=\"id\"") "x" FORM_END, 7), 400);
    HTTP_SUITE_EXPECT({"POST", BASE, FORM CHUNKED, "zz\r\n", 400});
}

/* What follows a form's end means nothing, and is read up to a bound alone. */
static void little_may_follow_a_form_in_chunks(void **state)
{
    static const char form[] =
        PART("name=\"id\"") "form-3\r\n" PART("name=\"f\"; filename=\"b\"") "x" FORM_END;
    static const struct {
        size_t epilogue;
        int status;
    } rows[] = {{65535, 400}, {65534, 201}}; /* and a line end */
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *text = malloc(sizeof(form) + rows[i].epilogue);
        assert_non_null(text);
        memcpy(text, form, sizeof(form) - 1);
        memset(text + sizeof(form) - 1, 'e', rows[i].epilogue);
        text[sizeof(form) - 1 + rows[i].epilogue] = '\0';
        assert_int_equal(ask_form(text, 9000), rows[i].status);
        free(text);
    }
    expect_content(BASE "/form-3", "x");
}

static void an_upload_goes_on_where_it_was(void **state)
{
    char at[256], file[300];
    (void)state;
    create("Upload-Length: 10\r\nUpload-Metadata: filename YS50eHQ=,filetype dGV4dC94LWE=,id dHVzLTE=\r\n",
           at);
    expect_offset(at, "0");
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 0\r\n", "01234", 204);
    expect_offset(at, "5");
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 4\r\n", "x", 409);
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 5\r\n", "567890", 413);
    expect_tus("PATCH", at, "Content-Type: text/plain\r\nUpload-Offset: 5\r\n", "x", 415);
    expect_tus("PATCH", at, OCTETS, "x", 400);
    expect_tus("PATCH", at, OCTETS "Upload-Offset: -1\r\n", "x", 400);
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 5\r\nUpload-Length: 11\r\n", "x", 409);
    expect_tus("PATCH", at,
               OCTETS "Upload-Offset: 5\r\nUpload-Checksum: sha1 EfatjsUqKYSrqv18O1FlA3hcIHI=\r\n", "y", 460);
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 5\r\nUpload-Checksum: md5 AAAA\r\n", "y", 400);
    http_suite_expect(&(struct http_suite_row){
        "PATCH", at, "Tus-Resumable: 0.2.2\r\n" OCTETS "Upload-Offset: 5\r\n", "x", 412});
    http_suite_expect(&(struct http_suite_row){"HEAD", at, "", NULL, 412});
    expect_tus("GET", at, "", NULL, 303);
    expect_tus("PATCH", at, OCTETS CHUNKED "Upload-Offset: 5\r\n", "2\r\n56\r\n0\r\n\r\n", 204);
    expect_tus("POST", at, OCTETS "X-HTTP-Method-Override: PATCH\r\nUpload-Offset: 7\r\n", "789", 204);
    expect_offset(at, "10");
    snprintf(file, sizeof(file), "/files/%s", at + strlen("/tus/"));
    *strrchr(file, '/') = '\0';
    expect_content(file, "0123456789");
    expect_tus("DELETE", at, "", NULL, 204); /* of what it has become */
    expect_tus("DELETE", at, "", NULL, 410);
}

static void uploads_are_ended_joined_and_deferred(void **state)
{
    char one[256], two[256], whole[256], fields[1024];
    (void)state;
    create("Upload-Defer-Length: 1\r\n", one);
    expect_tus("PATCH", one, OCTETS "Upload-Offset: 0\r\n", "abc", 204);
    expect_tus("PATCH", one, OCTETS "Upload-Offset: 3\r\nUpload-Length: 2\r\n", "d", 409);
    expect_tus("PATCH", one, OCTETS "Upload-Offset: 3\r\nUpload-Length: 4\r\n", "d", 204);
    create("Upload-Length: 3\r\n", one);
    expect_tus("DELETE", one, "", NULL, 204);
    expect_tus("HEAD", one, "", NULL, 404);
    create("Upload-Length: 3\r\nUpload-Concat: partial\r\n", one);
    create("Upload-Length: 2\r\nUpload-Concat: partial\r\n", two);
    snprintf(fields, sizeof(fields), "Upload-Concat: final;%s http://x.example:80%s\r\n", one, two);
    expect_tus("PATCH", one, OCTETS "Upload-Offset: 0\r\n", "abc", 204);
    expect_tus("POST", "/tus/tnvideo/alice", fields, "", 409);
    expect_tus("PATCH", two, OCTETS "Upload-Offset: 0\r\n", "de", 204);
    create(fields, whole);
    expect_offset(whole, "5");
    expect_tus("PATCH", whole, OCTETS "Upload-Offset: 5\r\n", "", 403);
    expect_tus("POST", "/tus/tnvideo/alice", "Upload-Concat: final;\r\n", "", 400);
    expect_tus("POST", "/tus/tnvideo/alice", "Upload-Concat: both\r\n", "", 400);
    int fd = real_daemon_connect(&http_suite_httpd);
    struct http_answer answer = http_suite_ask_on(fd, "POST", "/tus/tnvideo/alice",
                                                  TUS OCTETS "Upload-Length: 1300000\r\n", large, LARGE);
    assert_int_equal(answer.status, 201);
    http_suite_field(&answer, "Location", one, sizeof(one));
    free(answer.body);
    close(fd);
    expect_offset(one, "1300000");
}

static void a_wrong_creation_says_what_is_wrong(void **state)
{
    static const struct {
        const char *fields, *body;
        int status;
    } rows[] = {
        {"", "", 400},
        {"Upload-Length: x\r\n", "", 400},
        {"Upload-Length: 1\r\nUpload-Defer-Length: 1\r\n", "", 400},
        {"Upload-Defer-Length: 2\r\n", "", 400},
        {"Upload-Length: 1\r\nUpload-Metadata: a !\r\n", "", 400},
        {"Upload-Length: 2000001\r\n", "", 413},
        {"Upload-Length: 1\r\n", "x", 415},
        {OCTETS "Upload-Length: 3\r\n", "abcd", 413},
        {OCTETS "Upload-Length: 3\r\nUpload-Checksum: sha1 EfatjsUqKYSrqv18O1FlA3hcIHI=\r\n", "abc", 460},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        expect_tus("POST", "/tus/tnvideo/alice", rows[i].fields, rows[i].body, rows[i].status);
    expect_tus("HEAD", "/tus/tnvideo/alice/x/u00000000000000000000000000000000", "", NULL, 404);
    expect_tus("HEAD", "/tus/tnvideo/alice/x/nonsense", "", NULL, 404);
    HTTP_SUITE_EXPECT(
        {"OPTIONS", "/tus/", "Origin: https://a\r\nAccess-Control-Request-Method: POST\r\n", NULL, 204});
}

/* ---- who may ---- */

static void nobody_writes_without_a_token_that_covers_it(void **state)
{
    char more[256], fields[HTTP_SUITE_BEARER_SIZE], form[TOKEN_TEXT_SIZE + 512];
    (void)state;
    snprintf(more, sizeof(more), "write = on\n[auth]\nkeys = %s\n[httpd]", http_suite_keys);
    http_suite_restart(more);
    HTTP_SUITE_EXPECT({"PUT", BASE "/t", "", "x", 401}, {"DELETE", BASE "/t", "", NULL, 401},
                      {"POST", BASE, "", "x", 401},
                      {"PUT", BASE "/t", "Authorization: Basic eDp5\r\n", "x", 401},
                      {"PUT", BASE "/t", "Authorization: Bearer x\r\n", "x", 401},
                      {"POST", "/tus/tnvideo/alice", TUS "Upload-Length: 1\r\n", "", 401});
    http_suite_expect(
        &(struct http_suite_row){"PUT", BASE "/t", http_suite_bearer("r", "alice", fields), "x", 403});
    http_suite_expect(
        &(struct http_suite_row){"PUT", BASE "/t", http_suite_bearer("w", "bob", fields), "x", 403});
    http_suite_expect(
        &(struct http_suite_row){"PUT", BASE "/t", http_suite_bearer("w", "alice", fields), "x", 201});
    http_suite_expect(&(struct http_suite_row){"DELETE", BASE "/t", fields, NULL, 403});
    http_suite_expect(
        &(struct http_suite_row){"DELETE", BASE "/t", http_suite_bearer("d", "alice", fields), NULL, 204});
    http_suite_bearer("w", "alice", fields);
    *strchr(fields, '\r') = '\0';
    snprintf(form, sizeof(form),
             PART("name=\"token\"") "%s\r\n" PART("name=\"f\"; filename=\"b\"") "x" FORM_END,
             fields + strlen("Authorization: Bearer "));
    http_suite_expect(&(struct http_suite_row){"POST", BASE, FORM, form, 201});
    HTTP_SUITE_EXPECT({"POST", BASE, FORM, PART("name=\"f\"; filename=\"b\"") "x" FORM_END, 401},
                      {"POST", BASE, FORM,
                       PART("name=\"token\"") "no\r\n" PART("name=\"f\"; filename=\"b\"") "x" FORM_END, 401});
    http_suite_restart("");
    HTTP_SUITE_EXPECT({"PUT", BASE "/t", "", "x", 405}, {"DELETE", BASE "/t", "", NULL, 405},
                      {"POST", BASE, "", "x", 405});
}

/* ---- what changes meanwhile ---- */

/* A PUT of 600 bytes at TARGET whose first half was sent once the server wanted it. */
static int half_put(const char *target, const char *fields)
{
    char head[2048];
    struct http_answer answer;
    int fd = real_daemon_connect(&http_suite_httpd);
    snprintf(head, sizeof(head),
             "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\nExpect: 100-continue\r\n%s\r\n", target,
             fields);
    http_send(fd, head);
    http_answer_read(fd, true, &answer);
    assert_int_equal(answer.status, 100);
    free(answer.body);
    peer_put(fd, large, 300);
    return fd;
}

static int other_half(int fd)
{
    struct http_answer answer;
    peer_put(fd, large + 300, 300);
    http_answer_read(fd, false, &answer);
    free(answer.body);
    close(fd);
    return answer.status;
}

/* A token counts when a request begins: what began goes on, what begins later does not. */
static void a_token_that_expires_meanwhile_is_enough_for_what_began(void **state)
{
    char more[256], fields[HTTP_SUITE_BEARER_SIZE], old[HTTP_SUITE_BEARER_SIZE + 256], at[256];
    (void)state;
    snprintf(more, sizeof(more), "write = on\n[auth]\nkeys = %s\n[httpd]", http_suite_keys);
    http_suite_restart(more);
    http_suite_bearer("w", "alice", fields);
    snprintf(old, sizeof(old), "%sUpload-Length: 10\r\n", fields);
    create(old, at);
    http_suite_bearer_for("w", "alice", 10, fields);
    int fd = half_put(BASE "/meanwhile", fields);
    snprintf(old, sizeof(old), "%s" OCTETS "Upload-Offset: 0\r\n", fields);
    expect_tus("PATCH", at, old, "01234", 204);
    for (int tries = 0;; tries++) { /* the right is lacking (403) until the token is */
        struct http_answer answer = http_suite_ask("DELETE", BASE "/nothing", fields, NULL);
        free(answer.body);
        if (answer.status == 401)
            break;
        assert_int_equal(answer.status, 403);
        assert_true(tries < 300);
        usleep(100000);
    }
    snprintf(old, sizeof(old), "%s" OCTETS "Upload-Offset: 5\r\n", fields);
    expect_tus("PATCH", at, old, "56789", 401);
    http_suite_expect(&(struct http_suite_row){"PUT", BASE "/later", fields, "x", 401});
    assert_int_equal(other_half(fd), 201);
    /* Another token goes on with the upload where it was. */
    http_suite_bearer("w", "alice", fields);
    snprintf(old, sizeof(old), "%s" OCTETS "Upload-Offset: 5\r\n", fields);
    expect_tus("PATCH", at, old, "56789", 204);
}

/* Room that was there at the beginning, and is not at the end: nothing is stored; a tus upload goes on once there is room. */
static void a_quota_that_is_reached_meanwhile_stores_nothing(void **state)
{
    char at[256];
    (void)state;
    http_suite_restart("write = open");
    http_suite_quota("carol", 1000);
    char *text = strndup(large, 600);
    assert_non_null(text);
    int fd = half_put("/files/tnvideo/carol/one", "");
    http_suite_expect(&(struct http_suite_row){"PUT", "/files/tnvideo/carol/two", "", text, 201});
    assert_int_equal(other_half(fd), 507);
    HTTP_SUITE_EXPECT({"GET", "/files/tnvideo/carol/one", "", NULL, 404});

    http_suite_quota("dave", 1000);
    struct http_answer answer = http_suite_ask("POST", "/tus/tnvideo/dave", TUS "Upload-Length: 600\r\n", "");
    assert_int_equal(answer.status, 201);
    http_suite_field(&answer, "Location", at, sizeof(at));
    free(answer.body);
    http_suite_expect(&(struct http_suite_row){"PUT", "/files/tnvideo/dave/two", "", text, 201});
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 0\r\n", text, 507);
    expect_offset(at, "0");
    http_suite_quota("dave", 2000);
    expect_tus("PATCH", at, OCTETS "Upload-Offset: 0\r\n", text, 204);
    char file[300];
    snprintf(file, sizeof(file), "/files/%s", at + strlen("/tus/"));
    *strrchr(file, '/') = '\0';
    expect_content(file, text);
    free(text);
}

/* ---- nobody there ---- */

static void without_a_storage_server_a_later_try_is_advised(void **state)
{
    (void)state;
    http_suite_restart("write = open");
    real_daemon_stop(&http_suite_tracker);
    struct http_answer answer = http_suite_ask("PUT", "/files/tnvideo/bob/gone", "", "x");
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.head, "\r\nRetry-After: "));
    free(answer.body);
    real_daemon_start(&http_suite_tracker, "tracker", true, NULL); /* for the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_put_once_and_deleted_once),
        cmocka_unit_test(what_a_file_is_called_comes_from_the_request),
        cmocka_unit_test(contents_have_the_digest_that_was_stated),
        cmocka_unit_test(what_cannot_be_stored_is_refused),
        cmocka_unit_test(a_refusal_comes_before_content_that_was_not_sent),
        cmocka_unit_test(who_sends_nothing_more_gets_an_answer_that_says_so),
        cmocka_unit_test(forms_are_taken_as_pages_send_them),
        cmocka_unit_test(chunks_become_the_content),
        cmocka_unit_test(forms_may_come_in_chunks),
        cmocka_unit_test(little_may_follow_a_form_in_chunks),
        cmocka_unit_test(an_upload_goes_on_where_it_was),
        cmocka_unit_test(uploads_are_ended_joined_and_deferred),
        cmocka_unit_test(a_wrong_creation_says_what_is_wrong),
        cmocka_unit_test(nobody_writes_without_a_token_that_covers_it),
        cmocka_unit_test(a_token_that_expires_meanwhile_is_enough_for_what_began),
        cmocka_unit_test(a_quota_that_is_reached_meanwhile_stores_nothing),
        cmocka_unit_test(without_a_storage_server_a_later_try_is_advised),
    };
    return cmocka_run_group_tests(tests, start_suite, stop_suite);
}
