/*
 * proto_fields: reads, writes and checks the fields of bodies, one after the other. Private to proto*.c.
 */
#include "common/proto/proto_fields.h"

#include "common/base/utf8.h"
#include "common/proto/path.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct proto_field proto_field_version = {"version", PROTO_VERSION_SIZE, PROTO_RULE_TEXT};
const struct proto_field proto_field_group = {"group", PROTO_GROUP_SIZE, PROTO_RULE_NAME};
const struct proto_field proto_field_group_or_none = {"group", PROTO_GROUP_SIZE, PROTO_RULE_NAME_OR_EMPTY};
const struct proto_field proto_field_host = {"host", PROTO_HOST_SIZE, PROTO_RULE_TEXT};
const struct proto_field proto_field_application = {"application", PROTO_APPLICATION_SIZE, PROTO_RULE_NAME};
const struct proto_field proto_field_user = {"user", PROTO_USER_SIZE, PROTO_RULE_NOT_EMPTY};
const struct proto_field proto_field_file = {"file ID", PROTO_FILE_SIZE, PROTO_RULE_NOT_EMPTY};
const struct proto_field proto_field_file_or_none = {"file ID", PROTO_FILE_SIZE, PROTO_RULE_BYTES};
const struct proto_field proto_field_key = {"key", PROTO_KEY_SIZE, PROTO_RULE_NOT_EMPTY};
const struct proto_field proto_field_name = {"name", PROTO_NAME_SIZE, PROTO_RULE_FILE_NAME};
const struct proto_field proto_field_content_type = {"content type", PROTO_CONTENT_TYPE_SIZE,
                                                     PROTO_RULE_ASCII};
const struct proto_field proto_field_place = {"place", PROTO_PLACE_SIZE, PROTO_RULE_PLACE};

uint64_t proto_load_be(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

void proto_store_be(uint8_t *bytes, size_t size, uint64_t value)
{
    for (size_t i = size; i-- > 0; value >>= 8)
        bytes[i] = (uint8_t)value;
}

/* ---- rules ---- */

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7F;
}

/* The position of the first byte that breaks RULE, or LENGTH. */
static size_t find_offender(enum proto_rule rule, const uint8_t *text, size_t length)
{
    size_t i = 0;
    switch (rule) {
    case PROTO_RULE_NAME:
    case PROTO_RULE_NAME_OR_EMPTY:
        while (i < length && is_letter_or_digit(text[i]))
            i++;
        return i;
    case PROTO_RULE_TEXT:
        while (i < length && !is_control(text[i]))
            i++;
        return i;
    case PROTO_RULE_ASCII:
        while (i < length && text[i] >= 0x20 && text[i] <= 0x7E)
            i++;
        return i;
    case PROTO_RULE_FILE_NAME:
        while (i < length && !is_control(text[i]) && text[i] != '/') {
            size_t sequence = utf8_sequence(text + i, length - i, NULL);
            bool c1_control = sequence == 2 && text[i] == 0xC2 && text[i + 1] < 0xA0;
            if (sequence == 0 || c1_control)
                break;
            i += sequence;
        }
        return i;
    case PROTO_RULE_PLACE:
        return path_fits((const char *)text, length);
    case PROTO_RULE_BYTES:
    case PROTO_RULE_NOT_EMPTY:
        break;
    }
    return length;
}

/* What would be right: "1 to 15 letters or digits". */
static void describe_rule(const struct proto_field *field, char *text, size_t size)
{
    static const char *const kinds[] = {
        [PROTO_RULE_BYTES] = "bytes",
        [PROTO_RULE_NOT_EMPTY] = "bytes",
        [PROTO_RULE_NAME] = "letters or digits",
        [PROTO_RULE_NAME_OR_EMPTY] = "letters or digits",
        [PROTO_RULE_TEXT] = "bytes without control characters",
        [PROTO_RULE_FILE_NAME] = "bytes of UTF-8 without control characters or '/'",
        [PROTO_RULE_ASCII] = "printable ASCII characters",
    };
    if (field->rule == PROTO_RULE_PLACE) {
        (void)snprintf(text, size, "AAA/BBB/CCC/SSSSSSSS_DDD (upper-case hex, AAA to DDD up to 1FF)");
        return;
    }
    bool may_be_empty = field->rule != PROTO_RULE_NAME && field->rule != PROTO_RULE_NOT_EMPTY;
    (void)snprintf(text, size, "%d to %zu %s", may_be_empty ? 0 : 1, field->size - 1, kinds[field->rule]);
}

/* Only a fault is put into words: each field of each request passes here. OFFENDER: the first byte that the rule
 * refuses, or LENGTH. */
static bool refuse_field(const struct proto_field *field, const char *text, size_t length, size_t offender,
                         struct error *error)
{
    char right[96];
    describe_rule(field, right, sizeof(right));
    if (length >= field->size)
        return error_set(error, ERROR_MALFORMED, "%s: no NUL within its %zu bytes; %s and a NUL expected",
                         field->name, field->size, right);
    if (length == 0)
        return error_set(error, ERROR_MALFORMED, "%s: empty; %s expected", field->name, right);
    if (offender < length)
        return error_set(error, ERROR_MALFORMED, "%s: byte %zu is 0x%02x; %s expected", field->name, offender,
                         (unsigned)(uint8_t)text[offender], right);
    return error_set(error, ERROR_MALFORMED, "%s: %zu bytes; %s expected", field->name, length, right);
}

bool proto_field_check(const struct proto_field *field, const char *text, size_t length, struct error *error)
{
    bool needed = field->rule == PROTO_RULE_NAME || field->rule == PROTO_RULE_NOT_EMPTY ||
                  field->rule == PROTO_RULE_PLACE;
    size_t offender = length;
    bool fine = length < field->size && (length > 0 || !needed);
    if (fine)
        offender = find_offender(field->rule, (const uint8_t *)text, length);
    fine = fine && offender == length && (field->rule != PROTO_RULE_PLACE || length == PATH_TEXT_SIZE - 1);
    return fine || refuse_field(field, text, length, offender, error);
}

static bool check_number(const char *name, int64_t value, int64_t minimum, int64_t maximum,
                         struct error *error)
{
    if (value >= minimum && value <= maximum)
        return true;
    if (maximum == INT64_MAX || maximum == INT32_MAX)
        return error_set(error, ERROR_MALFORMED, "%s: %" PRId64 "; %" PRId64 " or more expected", name, value,
                         minimum);
    return error_set(error, ERROR_MALFORMED, "%s: %" PRId64 "; %" PRId64 " to %" PRId64 " expected", name,
                     value, minimum, maximum);
}

/* ---- reading ---- */

void proto_read_begin(struct proto_reader *reader, const char *what, const uint8_t *body, size_t size,
                      size_t expected, struct error *error)
{
    *reader = (struct proto_reader){.at = body, .left = size, .error = error, .ok = size == expected};
    if (!reader->ok)
        (void)error_set(error, ERROR_MALFORMED, "%s: body of %zu bytes; %zu expected", what, size, expected);
}

/* The next SIZE bytes, or NULL after a failure. The caller's list of fields adds up to the size that was
 * checked at the beginning; running short is a fault of that list and must not become a read past the end.
 */
static const uint8_t *proto_read_next(struct proto_reader *reader, size_t size)
{
    if (!reader->ok)
        return NULL;
    if (reader->left < size) {
        reader->ok = error_set(reader->error, ERROR_GENERAL, "body: fields exceed its size");
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    reader->at += size;
    reader->left -= size;
    return bytes;
}

void proto_read_string(struct proto_reader *reader, const struct proto_field *field, char *out)
{
    memset(out, 0, field->size);
    const uint8_t *bytes = proto_read_next(reader, field->size);
    if (!bytes)
        return;
    size_t length = strnlen((const char *)bytes, field->size);
    reader->ok = proto_field_check(field, (const char *)bytes, length, reader->error);
    if (reader->ok)
        memcpy(out, bytes, length);
}

void proto_read_bytes(struct proto_reader *reader, uint8_t *out, size_t size)
{
    const uint8_t *bytes = proto_read_next(reader, size);
    if (bytes)
        memcpy(out, bytes, size);
    else
        memset(out, 0, size);
}

void proto_skip(struct proto_reader *reader, size_t size)
{
    (void)proto_read_next(reader, size);
}

uint8_t proto_read_u8(struct proto_reader *reader, const char *name, uint8_t maximum)
{
    const uint8_t *bytes = proto_read_next(reader, 1);
    if (!bytes)
        return 0;
    reader->ok = check_number(name, bytes[0], 0, maximum, reader->error);
    return reader->ok ? bytes[0] : 0;
}

uint16_t proto_read_port(struct proto_reader *reader)
{
    const uint8_t *bytes = proto_read_next(reader, 2);
    if (!bytes)
        return 0;
    uint16_t port = (uint16_t)proto_load_be(bytes, 2);
    reader->ok = check_number("port", port, 1, UINT16_MAX, reader->error);
    return reader->ok ? port : 0;
}

int32_t proto_read_i32(struct proto_reader *reader, const char *name, int32_t minimum, int32_t maximum)
{
    const uint8_t *bytes = proto_read_next(reader, 4);
    if (!bytes)
        return 0;
    int32_t value = (int32_t)(uint32_t)proto_load_be(bytes, 4);
    reader->ok = check_number(name, value, minimum, maximum, reader->error);
    return reader->ok ? value : 0;
}

int64_t proto_read_i64(struct proto_reader *reader, const char *name, int64_t minimum, int64_t maximum)
{
    const uint8_t *bytes = proto_read_next(reader, 8);
    if (!bytes)
        return 0;
    int64_t value = (int64_t)proto_load_be(bytes, 8);
    reader->ok = check_number(name, value, minimum, maximum, reader->error);
    return reader->ok ? value : 0;
}

bool proto_read_end(const struct proto_reader *reader)
{
    if (reader->ok && reader->left > 0)
        return error_set(reader->error, ERROR_GENERAL, "body: fields fall short of its size");
    return reader->ok;
}

/* ---- writing ---- */

/* NOLINTNEXTLINE: the bytes are written through the writer */
void proto_write_begin(struct proto_writer *writer, uint8_t *buffer, size_t size, struct error *error)
{
    *writer = (struct proto_writer){.at = buffer, .left = size, .error = error, .ok = true};
}

/* Room for the next SIZE bytes, or NULL after a failure. */
static uint8_t *write_next(struct proto_writer *writer, size_t size)
{
    if (!writer->ok)
        return NULL;
    if (writer->left < size) {
        writer->ok = error_set(writer->error, ERROR_GENERAL, "body: fields exceed its size");
        return NULL;
    }
    uint8_t *bytes = writer->at;
    writer->at += size;
    writer->left -= size;
    return bytes;
}

void proto_write_string(struct proto_writer *writer, const struct proto_field *field, const char *text)
{
    uint8_t *bytes = write_next(writer, field->size);
    if (!bytes)
        return;
    size_t length = strnlen(text, field->size);
    writer->ok = proto_field_check(field, text, length, writer->error);
    if (!writer->ok)
        return;
    memcpy(bytes, text, length);
    memset(bytes + length, 0, field->size - length);
}

void proto_write_bytes(struct proto_writer *writer, const uint8_t *bytes, size_t size)
{
    uint8_t *to = write_next(writer, size);
    if (to)
        memcpy(to, bytes, size);
}

void proto_write_zeros(struct proto_writer *writer, size_t size)
{
    uint8_t *to = write_next(writer, size);
    if (to)
        memset(to, 0, size);
}

/* The numbers share this: SIZE bytes of VALUE, where it lies between MINIMUM and MAXIMUM. */
static void write_number(struct proto_writer *writer, const char *name, size_t size, int64_t value,
                         int64_t minimum, int64_t maximum)
{
    uint8_t *to = write_next(writer, size);
    if (!to)
        return;
    writer->ok = check_number(name, value, minimum, maximum, writer->error);
    if (writer->ok)
        proto_store_be(to, size, (uint64_t)value);
}

void proto_write_u8(struct proto_writer *writer, const char *name, uint8_t value, uint8_t maximum)
{
    write_number(writer, name, 1, value, 0, maximum);
}

void proto_write_port(struct proto_writer *writer, uint16_t port)
{
    write_number(writer, "port", 2, port, 1, UINT16_MAX);
}

void proto_write_i32(struct proto_writer *writer, const char *name, int32_t value, int32_t minimum,
                     int32_t maximum)
{
    write_number(writer, name, 4, value, minimum, maximum);
}

void proto_write_i64(struct proto_writer *writer, const char *name, int64_t value, int64_t minimum,
                     int64_t maximum)
{
    write_number(writer, name, 8, value, minimum, maximum);
}

bool proto_write_end(const struct proto_writer *writer)
{
    if (writer->ok && writer->left > 0)
        return error_set(writer->error, ERROR_GENERAL, "body: fields fall short of its size");
    return writer->ok;
}

/* ---- keys ---- */

void proto_read_key(struct proto_reader *reader, const struct proto_field *file, struct proto_file_key *key)
{
    proto_read_string(reader, &proto_field_application, key->application);
    proto_read_string(reader, &proto_field_user, key->user);
    proto_read_string(reader, file, key->file);
}

void proto_write_key(struct proto_writer *writer, const struct proto_field *file,
                     const struct proto_file_key *key)
{
    proto_write_string(writer, &proto_field_application, key->application);
    proto_write_string(writer, &proto_field_user, key->user);
    proto_write_string(writer, file, key->file);
}

/* ---- digests ---- */

void proto_read_digest(struct proto_reader *reader, bool *has_digest, uint8_t digest[PROTO_DIGEST_SIZE])
{
    *has_digest = proto_read_u8(reader, "has digest", 1) == 1;
    proto_read_bytes(reader, digest, PROTO_DIGEST_SIZE);
    if (!*has_digest)
        memset(digest, 0, PROTO_DIGEST_SIZE);
}

void proto_write_digest(struct proto_writer *writer, bool has_digest, const uint8_t digest[PROTO_DIGEST_SIZE])
{
    proto_write_u8(writer, "has digest", has_digest ? 1 : 0, 1);
    if (has_digest)
        proto_write_bytes(writer, digest, PROTO_DIGEST_SIZE);
    else
        proto_write_zeros(writer, PROTO_DIGEST_SIZE);
}
