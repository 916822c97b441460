/*
 * proto: what all commands share: the header, failure replies, keys of files, single values. The bodies of
 * each daemon's own commands are in proto_tracker.c, proto_idserver.c and proto_storage.c. Every daemon and
 * the client call it, on any thread; it touches nothing but its arguments.
 */
#include "common/proto/proto_fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void proto_header_pack(uint8_t buffer[PROTO_HEADER_SIZE], int64_t length, uint8_t command, uint8_t status)
{
    proto_store_be(buffer, 8, (uint64_t)length);
    buffer[8] = command;
    buffer[9] = status;
}

bool proto_header_unpack(const uint8_t buffer[PROTO_HEADER_SIZE], struct proto_header *header,
                         struct error *error)
{
    header->length = (int64_t)proto_load_be(buffer, 8);
    header->command = buffer[8];
    header->status = buffer[9];
    /* An answer from a port where something else listens. */
    if (memcmp(buffer, "HTTP/", 5) == 0 || memcmp(buffer, "SSH-", 4) == 0)
        return error_set(error, ERROR_MALFORMED,
                         "the peer speaks %s, not the packet protocol: is this the right port?",
                         buffer[0] == 'H' ? "HTTP" : "SSH");
    if (header->length < 0)
        return error_set(error, ERROR_MALFORMED, "body length: %" PRId64 "; 0 or more expected",
                         header->length);
    return true;
}

/* The length of TEXT cut to at most LIMIT bytes, not within a UTF-8 sequence. */
static size_t cut_length(const char *text, size_t length, size_t limit)
{
    if (length <= limit)
        return length;
    size_t cut = limit;
    /* A sequence has up to three bytes after its first one; more of them in a row are not UTF-8 anyway.
     */
    while (cut > 0 && limit - cut < 4 && ((uint8_t)text[cut] & 0xC0) == 0x80)
        cut--;
    return limit - cut < 4 ? cut : limit;
}

/* Size of "[HOST] TEXT" with its NUL in OUT, cut to fit. */
static size_t error_text_pack(char out[PROTO_ERROR_TEXT_SIZE], const char *host, const char *text)
{
    int whole = snprintf(out, PROTO_ERROR_TEXT_SIZE, "[%s] %s", host, text);
    if (whole < 0)
        return 0;
    if ((size_t)whole < PROTO_ERROR_TEXT_SIZE)
        return (size_t)whole + 1;

    /* Cut: look at the byte that would have come next to see whether a character was split. */
    size_t prefix = strlen(host) + 3;
    size_t limit = PROTO_ERROR_TEXT_SIZE - 1;
    size_t length = prefix < limit ? prefix + cut_length(text, strlen(text), limit - prefix) : limit;
    out[length] = '\0';
    return length + 1;
}

size_t proto_error_pack(uint8_t buffer[PROTO_ERROR_BODY_MAX], int code, const char *host, const char *text,
                        const char *group)
{
    /* A number that the field cannot hold, or a 0 that reads like success, would mislead. */
    if (code == ERROR_NONE || code < INT16_MIN || code > INT16_MAX)
        code = ERROR_GENERAL;
    proto_store_be(buffer, 2, (uint64_t)(int64_t)code);

    size_t size = 2 + error_text_pack((char *)buffer + 2, host, text);
    size_t named = strnlen(group, PROTO_GROUP_SIZE);
    if (size == 2 || named == 0 || named == PROTO_GROUP_SIZE)
        return size;
    memcpy(buffer + size, group, named + 1);
    return size + named + 1;
}

/* What follows the text's NUL, where it is a group's name and nothing else. */
static void error_group_unpack(const char *at, size_t size, struct error *error)
{
    _Static_assert(ERROR_GROUP_SIZE == PROTO_GROUP_SIZE, "a group's name fits");
    if (size > 1 && size <= PROTO_GROUP_SIZE && strnlen(at, size) == size - 1 &&
        proto_name_valid(at, PROTO_GROUP_SIZE))
        memcpy(error->group, at, size);
}

void proto_error_unpack(const uint8_t *body, size_t size, struct error *error)
{
    memset(error, 0, sizeof(*error));
    error->code = ERROR_GENERAL;
    if (size < 2)
        return;
    int code = (int16_t)(uint16_t)proto_load_be(body, 2);
    if (code != ERROR_NONE)
        error->code = code;

    const char *text = (const char *)body + 2;
    size_t length = strnlen(text, size - 2);
    size_t kept = cut_length(text, length, sizeof(error->text) - 1);
    for (size_t i = 0; i < kept; i++) {
        uint8_t c = (uint8_t)text[i];
        error->text[i] = c < 0x20 || c == 0x7F ? '?' : (char)c;
    }
    if (length < size - 2)
        error_group_unpack(text + length + 1, size - 2 - length - 1, error);
}

bool proto_name_valid(const char *text, size_t size)
{
    const struct proto_field field = {"name", size, PROTO_RULE_NAME};
    return proto_field_check(&field, text, strnlen(text, size), NULL);
}

/* ---- keys of files ---- */

static bool key_pack(uint8_t *buffer, const struct proto_field *file, const struct proto_file_key *key,
                     struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_FILE_KEY_SIZE, error);
    proto_write_key(&writer, file, key);
    return proto_write_end(&writer);
}

static bool key_unpack(const uint8_t *body, size_t size, const struct proto_field *file,
                       struct proto_file_key *key, struct error *error)
{
    struct proto_reader reader;
    memset(key, 0, sizeof(*key));
    proto_read_begin(&reader, "key of a file", body, size, PROTO_FILE_KEY_SIZE, error);
    proto_read_key(&reader, file, key);
    return proto_read_end(&reader);
}

bool proto_file_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                         struct error *error)
{
    return key_pack(buffer, &proto_field_file, key, error);
}

bool proto_file_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key, struct error *error)
{
    return key_unpack(body, size, &proto_field_file, key, error);
}

bool proto_user_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                         struct error *error)
{
    return key_pack(buffer, &proto_field_file_or_none, key, error);
}

bool proto_user_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key, struct error *error)
{
    return key_unpack(body, size, &proto_field_file_or_none, key, error);
}

/* ---- single values ---- */

void proto_value_pack(uint8_t buffer[PROTO_VALUE_SIZE], int64_t value)
{
    proto_store_be(buffer, PROTO_VALUE_SIZE, (uint64_t)value);
}

bool proto_value_unpack(const uint8_t *body, size_t size, int64_t *value, struct error *error)
{
    struct proto_reader reader;
    proto_read_begin(&reader, "value", body, size, PROTO_VALUE_SIZE, error);
    *value = proto_read_i64(&reader, "value", 0, INT64_MAX);
    return proto_read_end(&reader);
}
