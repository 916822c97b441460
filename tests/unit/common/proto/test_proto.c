/*
 * test_proto: properties of every body of the packet protocol, over the tables and the generator of
 * proto_bodies.h.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/proto_bodies.h"
#include "common/proto/proto_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3000

/* A body and its value on the heap, each of just its size, so that a step outside is caught. */
struct specimen {
    const struct body *body;
    char *value;
    char *result;
    uint8_t *bytes;
    uint8_t *packed;
    struct error error;
};

static void specimen_open(struct specimen *specimen, const struct body *body)
{
    memset(specimen, 0, sizeof(*specimen));
    specimen->body = body;
    specimen->value = malloc(body->struct_size);
    specimen->result = malloc(body->struct_size);
    specimen->bytes = malloc(body->size);
    specimen->packed = malloc(body->size);
    assert_non_null(specimen->value);
    assert_non_null(specimen->result);
    assert_non_null(specimen->bytes);
    assert_non_null(specimen->packed);
    proto_bodies_seed = 20240229;
    generate(body, specimen->value, specimen->bytes);
}

static void specimen_close(struct specimen *specimen)
{
    free(specimen->value);
    free(specimen->result);
    free(specimen->bytes);
    free(specimen->packed);
}

static void refuse_unpack(struct specimen *specimen, const char *field)
{
    memset(&specimen->error, 0, sizeof(specimen->error));
    memset(specimen->result, 0x5A, specimen->body->struct_size);
    if (specimen->body->unpack(specimen->bytes, specimen->body->size, specimen->result, &specimen->error))
        fail_msg("%s: unpacked with a bad %s", specimen->body->name, field);
    assert_int_equal(specimen->error.code, ERROR_MALFORMED);
    if (strncmp(specimen->error.text, field, strlen(field)) != 0 ||
        strstr(specimen->error.text, "expected") == NULL)
        fail_msg("%s: a bad %s is reported as \"%s\"", specimen->body->name, field, specimen->error.text);
    assert_false(specimen->body->unpack(specimen->bytes, specimen->body->size, specimen->result, NULL));
}

static void refuse_pack(struct specimen *specimen, const char *field)
{
    memset(&specimen->error, 0, sizeof(specimen->error));
    if (specimen->body->pack(specimen->packed, specimen->value, &specimen->error))
        fail_msg("%s: packed with a bad %s", specimen->body->name, field);
    assert_int_equal(specimen->error.code, ERROR_MALFORMED);
    if (strncmp(specimen->error.text, field, strlen(field)) != 0)
        fail_msg("%s: a bad %s is reported as \"%s\"", specimen->body->name, field, specimen->error.text);
}

/* Runs DO_FIELD for every field of every body with a fresh specimen. */
static void for_every_field(void (*do_field)(struct specimen *specimen, const struct field *field))
{
    for (size_t i = 0; i < proto_bodies_count; i++) {
        for (size_t j = 0; j < proto_bodies[i].field_count; j++) {
            struct specimen specimen;
            specimen_open(&specimen, &proto_bodies[i]);
            do_field(&specimen, &proto_bodies[i].fields[j]);
            specimen_close(&specimen);
        }
    }
}

/* ---- properties ---- */

static void the_tables_of_this_test_cover_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < proto_bodies_count; i++) {
        size_t end = 0;
        for (size_t j = 0; j < proto_bodies[i].field_count; j++) {
            assert_int_equal(proto_bodies[i].fields[j].offset, end);
            end += proto_bodies[i].fields[j].size;
        }
        assert_int_equal(end, proto_bodies[i].size);
    }
}

static void packing_then_unpacking_is_identity_and_gives_the_documented_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < proto_bodies_count; i++) {
        const struct body *body = &proto_bodies[i];
        struct specimen specimen;
        specimen_open(&specimen, body);
        for (int round = 0; round < ROUNDS; round++) {
            generate(body, specimen.value, specimen.bytes);
            memset(specimen.packed, 0xA5, body->size);
            memset(specimen.result, 0x5A, body->struct_size);
            if (!body->pack(specimen.packed, specimen.value, &specimen.error))
                fail_msg("%s, round %d: %s", body->name, round, specimen.error.text);
            assert_memory_equal(specimen.packed, specimen.bytes, body->size);
            if (!body->unpack(specimen.packed, body->size, specimen.result, &specimen.error))
                fail_msg("%s, round %d: %s", body->name, round, specimen.error.text);
            assert_memory_equal(specimen.result, specimen.value, body->struct_size);
        }
        specimen_close(&specimen);
    }
}

static void rubbish_after_a_nul_is_ignored_and_comes_out_as_zeros(void **state)
{
    (void)state;
    for (size_t i = 0; i < proto_bodies_count; i++) {
        const struct body *body = &proto_bodies[i];
        struct specimen specimen;
        specimen_open(&specimen, body);
        for (int round = 0; round < ROUNDS; round++) {
            generate(body, specimen.value, specimen.bytes);
            for (size_t j = 0; j < body->field_count; j++) {
                const struct field *field = &body->fields[j];
                uint8_t *at = specimen.bytes + field->offset;
                size_t from = is_string(field) ? strlen((char *)at) + 1 : 0;
                bool absent_digest = field->kind == DIGEST && at[-1] == 0;
                if (!is_string(field) && field->kind != ZEROS && !absent_digest)
                    continue;
                for (size_t k = from; k < field->size; k++)
                    at[k] = (uint8_t)random_u64();
            }
            memset(specimen.result, 0x5A, body->struct_size);
            if (!body->unpack(specimen.bytes, body->size, specimen.result, &specimen.error))
                fail_msg("%s, round %d: %s", body->name, round, specimen.error.text);
            assert_memory_equal(specimen.result, specimen.value, body->struct_size);
        }
        specimen_close(&specimen);
    }
}

static void what_follows_a_nul_in_memory_is_never_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < proto_bodies_count; i++) {
        const struct body *body = &proto_bodies[i];
        struct specimen specimen;
        specimen_open(&specimen, body);
        for (size_t j = 0; j < body->field_count; j++) {
            const struct field *field = &body->fields[j];
            if (!is_string(field))
                continue;
            char *text = specimen.value + field->place;
            size_t used = strlen(text) + 1;
            memset(text + used, 's', field->size - used);
        }
        assert_true(body->pack(specimen.packed, specimen.value, &specimen.error));
        assert_memory_equal(specimen.packed, specimen.bytes, body->size);
        specimen_close(&specimen);
    }
}

static void every_truncated_or_overlong_body_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < proto_bodies_count; i++) {
        const struct body *body = &proto_bodies[i];
        struct specimen specimen;
        specimen_open(&specimen, body);
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "%zu expected", body->size);
        for (size_t size = 0; size <= body->size + 300; size++) {
            if (size == body->size)
                continue;
            uint8_t *bytes = malloc(size > 0 ? size : 1);
            assert_non_null(bytes);
            memset(bytes, 0, size);
            memcpy(bytes, specimen.bytes, min_size(size, body->size));
            memset(&specimen.error, 0, sizeof(specimen.error));
            assert_false(body->unpack(bytes, size, specimen.result, &specimen.error));
            assert_int_equal(specimen.error.code, ERROR_MALFORMED);
            assert_non_null(strstr(specimen.error.text, expected));
            free(bytes);
        }
        specimen_close(&specimen);
    }
}

static void unterminated(struct specimen *specimen, const struct field *field)
{
    if (!is_string(field))
        return;
    memset(specimen->bytes + field->offset, 'a', field->size);
    refuse_unpack(specimen, field->name);
    assert_non_null(strstr(specimen->error.text, "no NUL"));
    memset(specimen->value + field->place, 'a', field->size);
    refuse_pack(specimen, field->name);
}

static void a_string_without_a_nul_is_refused(void **state)
{
    (void)state;
    for_every_field(unterminated);
}

static void emptied(struct specimen *specimen, const struct field *field)
{
    if (!is_string(field))
        return;
    specimen->bytes[field->offset] = '\0';
    specimen->value[field->place] = '\0';
    if (field->may_be_empty) {
        assert_true(specimen->body->unpack(specimen->bytes, specimen->body->size, specimen->result, NULL));
        assert_int_equal(specimen->result[field->place], '\0');
        assert_true(specimen->body->pack(specimen->packed, specimen->value, NULL));
        return;
    }
    refuse_unpack(specimen, field->name);
    assert_non_null(strstr(specimen->error.text, "empty"));
    refuse_pack(specimen, field->name);
}

static void an_empty_string_is_refused_where_one_is_needed(void **state)
{
    (void)state;
    for_every_field(emptied);
}

static bool byte_is_allowed(enum kind kind, unsigned byte)
{
    switch (kind) {
    case NAME:
        return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
    case TEXT:
        return byte >= 0x20 && byte != 0x7F;
    case FILE_NAME: /* alone; sequences have a test of their own */
        return byte >= 0x20 && byte < 0x7F && byte != '/';
    case ASCII:
        return byte >= 0x20 && byte < 0x7F;
    default:
        return true;
    }
}

static void every_byte(struct specimen *specimen, const struct field *field)
{
    if (!is_string(field) || field->kind == PLACE) /* a place is not made of bytes of one kind */
        return;
    for (unsigned byte = 1; byte <= 0xFF; byte++) {
        uint8_t *at = specimen->bytes + field->offset;
        memset(at, 0, field->size);
        at[0] = 'a';
        at[1] = (uint8_t)byte;
        at[2] = 'b';
        memcpy(specimen->value + field->place, at, field->size);
        if (!byte_is_allowed(field->kind, byte)) {
            refuse_unpack(specimen, field->name);
            assert_non_null(strstr(specimen->error.text, "byte 1 is 0x"));
            refuse_pack(specimen, field->name);
            continue;
        }
        assert_true(specimen->body->unpack(specimen->bytes, specimen->body->size, specimen->result, NULL));
        assert_memory_equal(specimen->result, specimen->value, specimen->body->struct_size);
    }
}

static void every_byte_that_a_string_may_not_hold_is_refused(void **state)
{
    (void)state;
    for_every_field(every_byte);
}

static void try_number(struct specimen *specimen, const struct field *field, int64_t number)
{
    store_be(specimen->bytes + field->offset, field->size, number);
    refuse_unpack(specimen, field->name);
    if (field->kind == FLAG || specimen->body->packs_unchecked)
        return; /* a bool has no other value; the sender of a range vouches for it */
    store_native(specimen->value + field->place, field->size, number);
    refuse_pack(specimen, field->name);
}

static void out_of_bounds(struct specimen *specimen, const struct field *field)
{
    if (field->kind != NUMBER && field->kind != FLAG)
        return;
    /* What a field of this size can hold at all. */
    int64_t least = field->size == 8 ? INT64_MIN : field->size == 4 ? INT32_MIN : 0;
    int64_t most = field->size == 8   ? INT64_MAX
                   : field->size == 4 ? INT32_MAX
                   : field->size == 2 ? UINT16_MAX
                                      : UINT8_MAX;
    if (field->minimum > least) {
        try_number(specimen, field, field->minimum - 1);
        try_number(specimen, field, least);
    }
    if (field->maximum < most) {
        try_number(specimen, field, field->maximum + 1);
        try_number(specimen, field, most);
    }
}

static void a_number_out_of_bounds_is_refused(void **state)
{
    (void)state;
    for_every_field(out_of_bounds);
}

static void a_name_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xC2",
        "\xC0\x80",
        "\xC1\xBF",
        "\xC2\x85", /* NEL, a control */
        "\xE0\x9F\xBF",
        "\xE4\xB8",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF",
        "\xF0\x9F\x98",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "a/b",
        "\xE4\xB8\x2D",
        "\xC2\x41",
        "\xF0\x9F\x41\x80",
    };
    struct proto_put put = {.key = {"tnvideo", "user", "file"}};
    uint8_t buffer[PROTO_PUT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        (void)snprintf(put.name, sizeof(put.name), "ok %s", bad[i]);
        struct error error = {0};
        if (proto_put_pack(buffer, &put, &error))
            fail_msg("bad name %zu was taken", i);
        assert_memory_equal(error.text, "name: byte ", 11);
    }
    /* Cut in the middle by the field's end. */
    memset(put.name, 'a', 254);
    memcpy(put.name + 254, "\xC3", 2);
    assert_false(proto_put_pack(buffer, &put, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_of_this_test_cover_every_byte),
        cmocka_unit_test(packing_then_unpacking_is_identity_and_gives_the_documented_bytes),
        cmocka_unit_test(rubbish_after_a_nul_is_ignored_and_comes_out_as_zeros),
        cmocka_unit_test(what_follows_a_nul_in_memory_is_never_sent),
        cmocka_unit_test(every_truncated_or_overlong_body_is_refused),
        cmocka_unit_test(a_string_without_a_nul_is_refused),
        cmocka_unit_test(an_empty_string_is_refused_where_one_is_needed),
        cmocka_unit_test(every_byte_that_a_string_may_not_hold_is_refused),
        cmocka_unit_test(a_number_out_of_bounds_is_refused),
        cmocka_unit_test(a_name_that_is_not_utf8_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
