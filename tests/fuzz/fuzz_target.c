/*
 * Fuzzes request-targets: whatever names a file has a key that the packet protocol takes, and no "..".
 */
#include "httpd/syntax/http_target.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_terminated(const char *field, size_t size)
{
    return memchr(field, '\0', size) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_target target;
    uint8_t packed[PROTO_FILE_KEY_SIZE];
    struct error error;
    memset(&target, 0x55, sizeof(target));
    struct http_text text = {(const char *)data, size};
    if (http_target_parse(text, "tnvideo", "alice", &target) != HTTP_TARGET_FILE)
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
