/*
 * Fuzzes what uploaders and storage servers say of a file, on its way into the head of an answer: whatever name, type and
 * ID a row has, the head has no line but those that are written here. And the places that rows name.
 */
#include "common/media/media_signature.h"
#include "common/media/media_type.h"
#include "common/proto/proto_fields.h"
#include "httpd/syntax/disposition.h"
#include "httpd/syntax/http_range.h"
#include "common/proto/path.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

/* The next text: a length, then bytes up to the first NUL. */
static void pull(struct input *input, char *text, size_t room)
{
    size_t size = input->left > 0 ? *input->at : 0;
    if (input->left > 0) {
        input->at++;
        input->left--;
    }
    size = min_size(size, input->left);
    memset(text, 0, room);
    memcpy(text, input->at, min_size(size, room - 1));
    memset(text + strlen(text), 0, room - strlen(text));
    input->at += min_size(size, room - 1);
    input->left -= min_size(size, room - 1);
}

static void check_one_line(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
            abort();
    }
}

/* A place is one place: it is written as it was read, and the protocol takes what the store takes. */
static void check_place(const char *text)
{
    struct path place;
    struct error error;
    char again[PATH_TEXT_SIZE];
    bool valid = proto_field_check(&proto_field_place, text, strlen(text), &error);
    if (!path_parse(text, &place)) {
        if (valid && text[0] != '\0')
            abort();
    } else if (!valid || !path_format(&place, again) || strcmp(again, text) != 0) {
        abort();
    }
}

/* As the client takes a STAT: what passes there comes to the head. */
static void check_type(const char *type, const char *name, const char *link, const uint8_t *begin,
                       size_t begin_size)
{
    struct error error;
    if (!proto_field_check(&proto_field_content_type, type, strlen(type), &error) ||
        !proto_field_check(&proto_field_name, name, strlen(name), &error))
        return;
    const char *chosen = media_type_choose(type, name, link, media_signature_find(begin, begin_size));
    check_one_line(chosen);
    if (chosen[0] == '\0')
        abort();
    char head[HTTP_RANGE_PART_HEAD_SIZE];
    struct http_range range = {1, 2};
    size_t size = http_range_part_head(head, &range, INT64_MAX, chosen, "0123456789abcdef01234567"),
           lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += head[i] == '\n';
    if (lines != 5)
        abort();
}

static void check_disposition(const char *name)
{
    char value[DISPOSITION_SIZE];
    size_t quotes = 0;
    if (strlen(name) >= PROTO_NAME_SIZE)
        return;
    disposition_format(name, value);
    check_one_line(value);
    if (strlen(value) >= DISPOSITION_SIZE)
        abort();
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\\' && c[1] != '\0')
            c++;
        else
            quotes += *c == '"';
    }
    if (quotes % 2 != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    char type[PROTO_CONTENT_TYPE_SIZE], name[PROTO_NAME_SIZE], link[PROTO_NAME_SIZE], file[PROTO_FILE_SIZE],
        place[64];
    pull(&input, type, sizeof(type));
    pull(&input, name, sizeof(name));
    pull(&input, link, sizeof(link));
    pull(&input, file, sizeof(file));
    pull(&input, place, sizeof(place));
    check_place(place);
    check_type(type, name, link, input.at, min_size(input.left, 64));
    check_disposition(name);
    check_disposition(link);
    check_disposition(file);
    return 0;
}
