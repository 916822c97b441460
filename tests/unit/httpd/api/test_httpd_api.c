/*
 * Unit tests of the JSON API's rooms: addresses and queries, cursors, pages out of LIST in every order with bounded memory (LIST is
 * played by the test), texts of names that are no UTF-8; and the files of the web page.
 */
#include "httpd/api/api_list.h"
#include "httpd/api/api_text.h"
#include "httpd/web/web_files.h"
#include "httpd/web/web_site.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

/* ---- addresses ---- */

static int parse(const char *text, struct api_request *request, const char **message)
{
    struct http_target target;
    assert_int_equal(http_target_parse(http_text_of(text), "tnvideo", "alice", &target), HTTP_TARGET_API);
    return api_request_parse(&target, request, message);
}

static void addresses_name_resources(void **state)
{
    static const struct {
        const char *text;
        int resource;
        const char *file;
    } rows[] = {
        {"/api/v1/session", API_SESSION, ""},
        {"/api/v1/status", API_STATUS, ""},
        {"/api/v1/quota/tnvideo/bob", API_QUOTA, ""},
        {"/api/v1/files/tnvideo/bob", API_FILES, ""},
        {"/api/v1/files/tnvideo/bob/a%2Fb%20c", API_FILE, "a/b c"},
        {"/api/v1/files/tnvideo/bob/restore", API_FILE, "restore"},
        {"/api/v1/files/tnvideo/bob/f/restore", API_RESTORE, "f"},
        {"/api/v1/files/tnvideo/bob/f/link?expires=60", API_LINK, "f"},
    };
    struct api_request request;
    const char *message;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(parse(rows[i].text, &request, &message), 0);
        assert_int_equal(request.resource, rows[i].resource);
        assert_string_equal(request.key.file, rows[i].file);
        bool keyed = request.resource != API_SESSION && request.resource != API_STATUS;
        assert_string_equal(request.key.user, keyed ? "bob" : "");
    }
    assert_int_equal(request.expires, 60);
}

static void what_has_no_address_is_404(void **state)
{
    static const char *const texts[] = {
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/session",
        "/api/v1/session/x",
        "/api/v1/files",
        "/api/v1/files/tnvideo",
        "/api/v1/files/tnvideo/",
        "/api/v1/files/tn_video/bob",
        "/api/v1/files/tnvideo/bob/f/purge",
        "/api/v1/quota/tnvideo/bob/f",
        "/api/v1/files//bob/f",
        "/api/v1/files/tnvideo/bob/",
    };
    struct http_target target;
    struct api_request request;
    const char *message;
    char long_id[300] = "/api/v1/files/tnvideo/bob/";
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(parse(texts[i], &request, &message), 404);
    memset(long_id + strlen(long_id), 'x', 128);
    assert_int_equal(parse(long_id, &request, &message), 404);
    /* More segments than any of them has. */
    assert_int_equal(http_target_parse(http_text_of("/api/v1/files/a/b/c/d/e"), "a", "b", &target),
                     HTTP_TARGET_UNKNOWN);
}

static void a_query_is_checked_word_by_word(void **state)
{
    static const char *const wrong[] = {
        "state=gone",
        "order=up",
        "sort=colour",
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "after=",
        "after=abc",
        "after=zz",
        "q=%zz",
        "after=00",
        "after=0000",
        "sort=size&after=61620061",
        "sort=name&after=0061",
        "after=61620061",
    };
    struct api_request request;
    const char *message;
    char text[700];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), "/api/v1/files/tnvideo/bob?%s", wrong[i]);
        if (parse(text, &request, &message) != 400)
            fail_msg("%s is taken", wrong[i]);
        assert_non_null(message);
    }
    snprintf(text, sizeof(text), "/api/v1/files/tnvideo/bob?q=%0300d", 0);
    assert_int_equal(parse(text, &request, &message), 400);
    for (size_t i = 0; i < 3; i++) {
        static const char *const spans[] = {"0", "-1", "99999999999999"};
        snprintf(text, sizeof(text), "/api/v1/files/tnvideo/bob/f/link?expires=%s", spans[i]);
        assert_int_equal(parse(text, &request, &message), 400);
    }
    assert_int_equal(
        parse("/api/v1/files/tnvideo/bob?state=deleted&q=a%20b+c&sort=size&order=desc&limit=7&x=y&", &request,
              &message),
        0);
    assert_int_equal(request.page.status, PROTO_FILE_DELETED);
    assert_int_equal(request.page.sort, API_SORT_SIZE);
    assert_true(request.page.descending);
    assert_int_equal(request.page.limit, 7);
    assert_string_equal(request.page.query, "a b c");
    assert_int_equal(parse("/api/v1/files/tnvideo/bob", &request, &message), 0);
    assert_int_equal(request.page.limit, API_LIMIT_DEFAULT);
    assert_false(request.page.has_after);
}

static void each_resource_has_its_methods(void **state)
{
    (void)state;
    assert_true(api_request_takes(API_FILES, HTTP_METHOD_HEAD));
    assert_false(api_request_takes(API_FILES, HTTP_METHOD_DELETE));
    assert_false(api_request_takes(API_FILES, HTTP_METHOD_POST));
    assert_true(api_request_takes(API_FILE, HTTP_METHOD_DELETE));
    assert_true(api_request_takes(API_RESTORE, HTTP_METHOD_POST));
    assert_false(api_request_takes(API_RESTORE, HTTP_METHOD_GET));
    assert_false(api_request_takes(API_LINK, HTTP_METHOD_PUT));
    assert_string_equal(api_request_methods(API_FILE), "GET, HEAD, DELETE, OPTIONS");
    assert_string_equal(api_request_methods(API_LINK), "POST, OPTIONS");
    assert_string_equal(api_request_methods(API_SESSION), "GET, HEAD, OPTIONS");
}

/* ---- pages out of LIST ---- */

#define FILES 1000

static struct proto_list_entry files[FILES]; /* in the order of their IDs, as LIST gives them */
static int64_t asked;                        /* LISTs */
static int fails_at;                         /* this LIST is answered with an error; 0: none */
static int error_code;
static bool no_memory;
static struct {
    client_list_callback callback;
    void *argument;
    struct proto_list list;
    int cancelled;
} pending;

struct client_operation *__wrap_client_list(struct client *client, const struct proto_list *list,
                                            client_list_callback callback, void *argument);
void __wrap_client_cancel(struct client_operation *operation);

struct client_operation *__wrap_client_list(struct client *client, const struct proto_list *list,
                                            client_list_callback callback, void *argument)
{
    (void)client;
    asked++;
    pending.callback = callback;
    pending.argument = argument;
    pending.list = *list;
    return no_memory ? NULL : (struct client_operation *)&pending;
}

void __wrap_client_cancel(struct client_operation *operation)
{
    assert_ptr_equal(operation, &pending);
    pending.cancelled++;
}

/* What a storage server answers. */
static void answer_one(void)
{
    size_t first = 0;
    client_list_callback callback = pending.callback;
    struct error error = {.code = error_code, .text = "played"};
    pending.callback = NULL;
    if (fails_at > 0 && asked == fails_at) {
        callback(pending.argument, NULL, 0, &error);
        return;
    }
    while (first < FILES && strcmp(files[first].file, pending.list.key.file) <= 0)
        first++;
    callback(pending.argument, files + first, min_size(FILES - first, (size_t)pending.list.limit), NULL);
}

struct outcome {
    int calls, code;
    struct api_list_result result;
    struct proto_list_entry entries[API_LIMIT_MAX];
};

static void on_page(void *argument, const struct api_list_result *result, const struct error *error)
{
    struct outcome *outcome = argument;
    outcome->calls++;
    outcome->code = error ? error->code : ERROR_NONE;
    if (!result)
        return;
    outcome->result = *result;
    for (size_t i = 0; i < result->count; i++)
        outcome->entries[i] = *result->entries[i];
}

static const struct proto_file_key owner = {.application = "tnvideo", .user = "bob"};

static void get_page(const struct api_page *page, struct outcome *outcome)
{
    memset(outcome, 0, sizeof(*outcome));
    asked = 0;
    struct api_list *list = api_list_start(NULL, &owner, page, on_page, outcome);
    assert_non_null(list);
    while (pending.callback)
        answer_one();
    assert_int_equal(outcome->calls, 1);
    api_list_end(list);
    assert_int_equal(pending.cancelled, 0);
}

/* Names, sizes and times in other orders than that of the IDs, some of them alike. */
static int make_files(void **state)
{
    (void)state;
    memset(files, 0, sizeof(files));
    for (unsigned i = 0; i < FILES; i++) {
        struct proto_list_entry *file = &files[i];
        unsigned mixed = i * 2654435761u >> 7;
        snprintf(file->file, sizeof(file->file), "f%04u", i);
        if (i % 10 != 0)
            snprintf(file->stat.name, sizeof(file->stat.name), "%s %u.mp4", i % 3 == 0 ? "Film" : "film",
                     mixed % 400);
        file->stat.size = mixed % 300;
        file->stat.created = 1000 + mixed % 77;
    }
    fails_at = 0;
    no_memory = false;
    pending.callback = NULL;
    pending.cancelled = 0;
    return 0;
}

static const struct api_page *sorting;

static int by_page(const void *first, const void *second)
{
    const struct proto_list_entry *a = first, *b = second;
    const char *a_name = a->stat.name[0] != '\0' ? a->stat.name : a->file;
    const char *b_name = b->stat.name[0] != '\0' ? b->stat.name : b->file;
    int order = 0;
    if (sorting->sort == API_SORT_NAME)
        order = strcasecmp(a_name, b_name) != 0 ? strcasecmp(a_name, b_name) : strcmp(a_name, b_name);
    else if (sorting->sort == API_SORT_SIZE)
        order = (int)(a->stat.size - b->stat.size);
    else if (sorting->sort == API_SORT_TIME)
        order = (int)(a->stat.created - b->stat.created);
    order = order != 0 ? order : strcmp(a->file, b->file);
    return sorting->descending ? -order : order;
}

/* "" is in everything, "FILM 1" in names of either case, "f0" in no name but in IDs that stand for one. */
static bool is_wanted(const char *query, const struct proto_list_entry *file)
{
    const char *name = file->stat.name;
    if (query[0] == 'F')
        return strncasecmp(name, query, strlen(query)) == 0;
    return query[0] == '\0' || name[0] == '\0';
}

/* All pages together are what sorting everything gives, whatever the order, the query and the size of a page. */
static void pages_together_are_the_whole_list_in_order(void **state)
{
    static const char *const queries[] = {"", "FILM 1", "f0"};
    static struct proto_list_entry wanted[FILES];
    static struct outcome outcome;
    (void)state;
    for (int sort = API_SORT_ID; sort <= API_SORT_TIME; sort++) {
        for (size_t variant = 0; variant < 2 * ARRAY_SIZE(queries); variant++) {
            struct api_page page = {.sort = (enum api_sort)sort, .descending = variant % 2 == 1, .limit = 97};
            size_t count = 0, seen = 0;
            int64_t bytes = 0;
            snprintf(page.query, sizeof(page.query), "%s", queries[variant / 2]);
            for (size_t i = 0; i < FILES; i++) {
                if (is_wanted(page.query, &files[i])) {
                    bytes += files[i].stat.size;
                    wanted[count++] = files[i];
                }
            }
            sorting = &page;
            qsort(wanted, count, sizeof(wanted[0]), by_page);
            assert_in_range(count, 10, FILES);
            do {
                char cursor[API_CURSOR_TEXT_SIZE], text[sizeof(cursor) + 200];
                struct api_request request;
                const char *message;
                static const char *const sorts[] = {"id", "name", "size", "time"};
                get_page(&page, &outcome);
                assert_int_equal(outcome.code, ERROR_NONE);
                assert_in_range(outcome.result.count, 1, page.limit);
                for (size_t i = 0; i < outcome.result.count; i++)
                    assert_string_equal(outcome.entries[i].file, wanted[seen + i].file);
                seen += outcome.result.count;
                assert_int_equal(outcome.result.more, seen < count);
                if (outcome.result.all) {
                    assert_int_equal(outcome.result.matched, count);
                    assert_int_equal(outcome.result.bytes, bytes);
                }
                /* The cursor survives its way through an address. */
                api_cursor_format(&page, &outcome.entries[outcome.result.count - 1], cursor);
                snprintf(text, sizeof(text), "/api/v1/files/tnvideo/bob?sort=%s&after=%s", sorts[sort],
                         cursor);
                assert_int_equal(parse(text, &request, &message), 0);
                page.has_after = true;
                page.after = request.page.after;
            } while (outcome.result.more);
            assert_int_equal(seen, count);
        }
    }
}

static void the_order_of_ids_asks_for_no_more_than_a_page(void **state)
{
    static struct outcome outcome;
    struct api_page page = {.sort = API_SORT_ID, .limit = 50};
    (void)state;
    get_page(&page, &outcome);
    assert_int_equal(asked, 1);
    assert_false(outcome.result.all);
    page.has_after = true;
    snprintf(page.after.file, sizeof(page.after.file), "f0969");
    get_page(&page, &outcome);
    assert_int_equal(asked, 1);
    assert_int_equal(outcome.result.count, 30);
    assert_false(outcome.result.more);
    assert_false(outcome.result.all); /* what is before the cursor was not counted */
}

static void failures_reach_the_caller_and_an_unknown_user_has_nothing(void **state)
{
    static struct outcome outcome;
    struct api_page page = {.sort = API_SORT_NAME, .limit = 10};
    (void)state;
    fails_at = 4;
    error_code = ERROR_TIMEOUT;
    get_page(&page, &outcome);
    assert_int_equal(outcome.code, ERROR_TIMEOUT);
    fails_at = 1;
    error_code = ERROR_NOT_FOUND;
    get_page(&page, &outcome);
    assert_int_equal(outcome.code, ERROR_NONE);
    assert_int_equal(outcome.result.count, 0);
    no_memory = true;
    assert_null(api_list_start(NULL, &owner, &page, on_page, &outcome));
    no_memory = false;
    pending.callback = NULL;
    struct api_list *list = api_list_start(NULL, &owner, &page, on_page, &outcome);
    answer_one();
    api_list_end(list); /* in the middle */
    assert_int_equal(pending.cancelled, 1);
    pending.cancelled = 0;
    list = api_list_start(NULL, &owner, &page, on_page, &outcome);
    memset(&outcome, 0, sizeof(outcome));
    no_memory = true;
    answer_one();
    assert_int_equal(outcome.code, ERROR_EXHAUSTED);
    api_list_end(list);
    api_list_end(NULL);
}

/* ---- texts ---- */

static json_t *read_text(char *text)
{
    json_error_t error;
    assert_non_null(text);
    json_t *object = json_loads(text, 0, &error);
    if (!object)
        fail_msg("%s: %s", text, error.text);
    free(text);
    return object;
}

static const char *string_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void bytes_that_are_no_utf8_are_replaced_and_addressed(void **state)
{
    struct proto_file_key key = {.application = "tnvideo", .user = "b\xff", .file = "a/\xc3\xa9\xc3"};
    struct proto_stat stat = {.size = 5, .created = 7, .name = "<script>\"\\", .has_digest = true};
    (void)state;
    stat.digest[0] = 0xab;
    json_t *file = read_text(api_text_file(&key, &stat));
    assert_string_equal(string_of(file, "id"), "a/\xc3\xa9\xef\xbf\xbd");
    assert_string_equal(string_of(file, "path"), "/tnvideo/b%FF/a%2F%C3%A9%C3");
    assert_string_equal(string_of(file, "name"), "<script>\"\\");
    assert_string_equal(string_of(file, "state"), "stored");
    assert_string_equal(string_of(file, "digest"), "ab000000000000000000000000000000");
    assert_true(json_is_null(json_object_get(file, "deleted")));
    json_decref(file);
    stat.status = PROTO_FILE_DELETED;
    stat.has_digest = false;
    file = read_text(api_text_file(&key, &stat));
    assert_string_equal(string_of(file, "state"), "deleted");
    assert_true(json_is_null(json_object_get(file, "digest")));
    json_decref(file);
}

static void a_list_says_what_follows(void **state)
{
    const struct proto_list_entry *entries[] = {&files[0], &files[1]};
    struct api_list_result result = {.entries = entries, .count = 2, .more = true, .matched = 9};
    struct api_page page = {.sort = API_SORT_ID, .limit = 2};
    (void)state;
    json_t *list = read_text(api_text_list(&owner, &page, &result));
    assert_int_equal(json_array_size(json_object_get(list, "files")), 2);
    assert_string_equal(string_of(list, "next"), "006630303031");
    assert_true(json_is_null(json_object_get(list, "matched")));
    json_decref(list);
    result.more = false;
    result.all = true;
    list = read_text(api_text_list(&owner, &page, &result));
    assert_true(json_is_null(json_object_get(list, "next")));
    assert_int_equal(json_integer_value(json_object_get(list, "matched")), 9);
    json_decref(list);
    json_t *quota = read_text(api_text_quota(
        &(struct proto_quota){.bytes_used = 9, .files_used = 0, .bytes = 10, .files = PROTO_QUOTA_NONE}));
    assert_int_equal(json_integer_value(json_object_get(quota, "bytes_used")), 9);
    assert_true(json_is_integer(json_object_get(quota, "files_used")));
    assert_int_equal(json_integer_value(json_object_get(quota, "bytes")), 10);
    assert_true(json_is_null(json_object_get(quota, "files")));
    json_decref(quota);
}

static void a_session_says_whose_it_is(void **state)
{
    struct proto_token token = {
        .rights = KEY_RIGHT_READ | KEY_RIGHT_LIST, .expires = 99, .has_prefix = true, .prefix = "p-"};
    struct api_session_facts facts = {
        .token = &token, .application = "tnvideo", .user = "bob", .media = "", .shares = true, .hls = true};
    (void)state;
    json_t *session = read_text(api_text_session(&facts));
    assert_string_equal(string_of(session, "rights"), "rl");
    assert_string_equal(string_of(session, "prefix"), "p-");
    assert_string_equal(string_of(session, "path"), "/tnvideo/bob");
    assert_string_equal(string_of(session, "media"), "");
    assert_true(json_is_true(json_object_get(session, "hls")));
    assert_int_equal(json_integer_value(json_object_get(session, "expires")), 99);
    json_decref(session);
    facts = (struct api_session_facts){.application = "tnvideo", .user = ""};
    session = read_text(api_text_session(&facts));
    assert_true(json_is_null(json_object_get(session, "path")));
    assert_true(json_is_null(json_object_get(session, "media")));
    assert_true(json_is_false(json_object_get(session, "hls")));
    assert_string_equal(string_of(session, "rights"), "rwdl");
    json_decref(session);
    json_t *link = read_text(api_text_link("/files/a/b/c", 0));
    assert_true(json_is_null(json_object_get(link, "expires")));
    json_decref(link);
    assert_null(api_text_of(NULL));
}

/* ---- the page ---- */

/* What a browser loads before it shows anything. */
static void the_first_view_is_small(void **state)
{
    struct web_site *site = web_site_create("");
    size_t sum = 0;
    (void)state;
    assert_non_null(site);
    for (size_t i = 0; i < web_file_count; i++) {
        const struct web_page *page = web_site_find(site, http_text_of(web_files[i].name));
        unsigned char plain[64 * 1024];
        z_stream stream = {0};
        assert_non_null(page);
        assert_int_equal(page->plain->size, web_files[i].end - web_files[i].bytes);
        assert_memory_equal(page->plain->bytes, web_files[i].bytes, page->plain->size);
        sum += page->gzip ? page->gzip->size : page->plain->size;
        if (!page->gzip)
            continue;
        assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
        stream.next_in = page->gzip->bytes;
        stream.avail_in = (unsigned)page->gzip->size;
        stream.next_out = plain;
        stream.avail_out = sizeof(plain);
        assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
        assert_int_equal(stream.total_out, page->plain->size);
        assert_memory_equal(plain, page->plain->bytes, page->plain->size);
        inflateEnd(&stream);
        assert_string_not_equal(page->etag, page->gzip_etag);
    }
    assert_in_range(sum, 1, 100 * 1024);
    assert_null(web_site_find(site, http_text_of("web_site.c")));
    assert_null(web_site_find(site, http_text_of("")));
    web_site_destroy(site);
    web_site_destroy(NULL);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void *hls_of(const char *folder, struct web_site **site)
{
    *site = web_site_create(folder);
    assert_non_null(*site);
    assert_non_null(web_site_find(*site, http_text_of("index.html")));
    return (void *)(uintptr_t)web_site_find(*site, http_text_of(WEB_SITE_HLS));
}

static void what_was_fetched_is_served_and_what_is_no_such_file_is_not(void **state)
{
    char folder[] = "web-XXXXXX", path[256];
    struct web_site *site;
    const struct web_page *page;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/%s", folder, WEB_SITE_HLS);
    assert_null(hls_of(folder, &site));
    web_site_destroy(site);
    write_text(folder, WEB_SITE_HLS, "export default 1;");
    page = hls_of(folder, &site);
    assert_non_null(page);
    assert_null(page->gzip);
    assert_string_equal(page->type, "text/javascript; charset=utf-8");
    assert_int_equal(page->plain->size, strlen("export default 1;"));
    web_site_destroy(site);
    write_text(folder, WEB_SITE_HLS ".gz", "packed");
    page = hls_of(folder, &site);
    assert_non_null(page);
    assert_memory_equal(page->gzip->bytes, "packed", 6);
    assert_string_not_equal(page->etag, page->gzip_etag);
    web_site_destroy(site);
    write_text(folder, WEB_SITE_HLS, ""); /* empty, too long, a folder */
    assert_null(hls_of(folder, &site));
    web_site_destroy(site);
    assert_int_equal(truncate(path, 4 * 1024 * 1024 + 1), 0);
    assert_null(hls_of(folder, &site));
    web_site_destroy(site);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(hls_of(folder, &site));
    web_site_destroy(site);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof(path), "%s/%s.gz", folder, WEB_SITE_HLS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_null(hls_of(folder, &site)); /* no folder at all */
    web_site_destroy(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_name_resources),
        cmocka_unit_test(what_has_no_address_is_404),
        cmocka_unit_test(a_query_is_checked_word_by_word),
        cmocka_unit_test(each_resource_has_its_methods),
        cmocka_unit_test_setup(pages_together_are_the_whole_list_in_order, make_files),
        cmocka_unit_test_setup(the_order_of_ids_asks_for_no_more_than_a_page, make_files),
        cmocka_unit_test_setup(failures_reach_the_caller_and_an_unknown_user_has_nothing, make_files),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced_and_addressed),
        cmocka_unit_test_setup(a_list_says_what_follows, make_files),
        cmocka_unit_test(a_session_says_whose_it_is),
        cmocka_unit_test(the_first_view_is_small),
        cmocka_unit_test(what_was_fetched_is_served_and_what_is_no_such_file_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
