/*
 * Fuzzes request-targets: whatever names a file has a key that the packet protocol takes, and no ".."; what asks the API for a list has
 * a page within bounds, whose cursor comes back as it was.
 */
#include "httpd/api/api_request.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_terminated(const char *field, size_t size)
{
    return memchr(field, '\0', size) != NULL;
}

static void try_api(const struct http_target *target)
{
    struct api_request request;
    const char *message = NULL;
    char cursor[API_CURSOR_TEXT_SIZE];
    int status = api_request_parse(target, &request, &message);
    if (status != 0 ? !message : request.resource >= API_RESOURCES)
        abort();
    if (status != 0 || request.resource != API_FILES)
        return;
    const struct api_page *page = &request.page;
    if (page->limit < 1 || page->limit > API_LIMIT_MAX || !is_terminated(page->query, sizeof(page->query)) ||
        !is_terminated(request.key.user, sizeof(request.key.user)))
        abort();
    if (page->has_after && (page->after.file[0] == '\0' ||
                            strlen(api_cursor_format(page, &page->after, cursor)) >= sizeof(cursor)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_target target;
    uint8_t packed[PROTO_FILE_KEY_SIZE];
    struct error error;
    memset(&target, 0x55, sizeof(target));
    struct http_text text = {(const char *)data, size};
    enum http_target_kind kind = http_target_parse(text, "tnvideo", "alice", &target);
    if (kind == HTTP_TARGET_API)
        try_api(&target);
    if (kind != HTTP_TARGET_FILE)
        return 0;
    if (!proto_file_key_pack(packed, &target.key, &error))
        abort();
    if (!is_terminated(target.name, sizeof(target.name)) ||
        !is_terminated(target.download_name, sizeof(target.download_name)))
        abort();
    if (strcmp(target.key.file, "..") == 0 || strcmp(target.key.user, "..") == 0 ||
        strcmp(target.name, "..") == 0)
        abort();
    return 0;
}
