/*
 * request_id: its texts, and its place behind a file ID.
 */
#include "common/proto/request_id.h"

#include "common/base/hex.h"
#include "common/proto/proto.h"

#include <stdlib.h>
#include <string.h>

/* The end of the key: "RID", 0 or 1 (traced), the bytes. */
#define PLACE      (PROTO_FILE_KEY_SIZE - 4 - REQUEST_ID_BYTES)
#define FILE_PLACE (PROTO_FILE_KEY_SIZE - PROTO_FILE_SIZE)

static const uint8_t mark[3] = {'R', 'I', 'D'};

void request_id_make(struct request_id *id)
{
    id->traced = false;
    arc4random_buf(id->bytes, sizeof(id->bytes));
}

bool request_id_is_set(const struct request_id *id)
{
    static const uint8_t none[REQUEST_ID_BYTES];
    return memcmp(id->bytes, none, sizeof(none)) != 0;
}

char *request_id_text(const struct request_id *id, char text[REQUEST_ID_TEXT_SIZE])
{
    return hex_format(id->bytes, REQUEST_ID_BYTES, text);
}

bool request_id_parse(const char *text, size_t size, struct request_id *id)
{
    *id = (struct request_id){0};
    if (size != REQUEST_ID_TEXT_SIZE - 1 || !hex_parse(text, id->bytes, REQUEST_ID_BYTES))
        return false;
    return request_id_is_set(id);
}

/* 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01; later versions may have more behind it. */
bool request_id_of_traceparent(const char *text, size_t size, struct request_id *id)
{
    static const size_t dashes[] = {2, 35, 52};
    const size_t whole = 55;
    if (size < whole || (size > whole && (memcmp(text, "00", 2) == 0 || text[whole] != '-')) ||
        memcmp(text, "ff", 2) == 0)
        return false;
    for (size_t i = 0, dash = 0; i < whole; i++) {
        bool is_dash = dash < ARRAY_SIZE(dashes) && dashes[dash] == i;
        dash += is_dash ? 1 : 0;
        if (is_dash ? text[i] != '-' : hex_digit_value(text[i]) < 0)
            return false;
    }
    if (!request_id_parse(text + 3, REQUEST_ID_TEXT_SIZE - 1, id))
        return false;
    id->traced = (hex_digit_value(text[whole - 1]) & 1) != 0;
    return true;
}

void request_id_put(uint8_t *body, size_t size, const struct request_id *id)
{
    if (size < PROTO_FILE_KEY_SIZE || !request_id_is_set(id) ||
        strnlen((const char *)body + FILE_PLACE, PROTO_FILE_SIZE) >= PLACE - FILE_PLACE)
        return;
    memcpy(body + PLACE, mark, sizeof(mark));
    body[PLACE + sizeof(mark)] = id->traced ? 1 : 0;
    memcpy(body + PLACE + sizeof(mark) + 1, id->bytes, sizeof(id->bytes));
}

bool request_id_get(const uint8_t *head, size_t size, struct request_id *id)
{
    if (size < PROTO_FILE_KEY_SIZE || head[PLACE] != mark[0] ||
        memcmp(head + PLACE, mark, sizeof(mark)) != 0 || head[PLACE + sizeof(mark)] > 1 ||
        strnlen((const char *)head + FILE_PLACE, PROTO_FILE_SIZE) >= PLACE - FILE_PLACE)
        return false;
    id->traced = head[PLACE + sizeof(mark)] == 1;
    memcpy(id->bytes, head + PLACE + sizeof(mark) + 1, sizeof(id->bytes));
    return request_id_is_set(id);
}
