/*
 * forwarded: entries are collected from the left, since quoted strings cannot be read from the right, and used from the
 * right.
 */
#include "httpd/syntax/forwarded.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define ENTRIES_MAX 64 /* nobody has more proxies than that: the first ones are not looked at */

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" -> the numeric address. */
static bool read_address(struct http_text text, char address[FORWARDED_ADDRESS_SIZE])
{
    struct in6_addr binary;
    char host[FORWARDED_ADDRESS_SIZE];
    const char *end = NULL;
    if (text.size > 0 && text.bytes[0] == '[') {
        text.bytes++;
        text.size--;
        end = memchr(text.bytes, ']', text.size);
        if (!end)
            return false;
    } else if (text.size > 0) {
        const char *colon = memchr(text.bytes, ':', text.size);
        bool single = colon && !memchr(colon + 1, ':', text.size - (size_t)(colon + 1 - text.bytes));
        end = single ? colon : NULL;
    }
    size_t size = end ? (size_t)(end - text.bytes) : text.size;
    if (size == 0 || size >= sizeof(host))
        return false;
    memcpy(host, text.bytes, size);
    host[size] = '\0';
    int family = strchr(host, ':') ? AF_INET6 : AF_INET;
    return inet_pton(family, host, &binary) == 1 &&
           inet_ntop(family, &binary, address, FORWARDED_ADDRESS_SIZE);
}

/* The value of "for" in an element of Forwarded, without quotes. */
static struct http_text for_value(struct http_text element)
{
    while (element.size > 0) {
        const char *semicolon = memchr(element.bytes, ';', element.size);
        size_t size = semicolon ? (size_t)(semicolon - element.bytes) : element.size;
        struct http_text pair = http_text_trim((struct http_text){element.bytes, size});
        if (pair.size > 4 && strncasecmp(pair.bytes, "for=", 4) == 0) {
            struct http_text value = {pair.bytes + 4, pair.size - 4};
            if (value.size >= 2 && value.bytes[0] == '"' && value.bytes[value.size - 1] == '"')
                value = (struct http_text){value.bytes + 1, value.size - 2};
            return value;
        }
        size_t used = min_size(size + 1, element.size);
        element = (struct http_text){element.bytes + used, element.size - used};
    }
    return (struct http_text){NULL, 0};
}

void forwarded_client(const struct http_text *lines, size_t count, enum forwarded_form form,
                      const struct networks *trusted, char client[FORWARDED_ADDRESS_SIZE])
{
    struct http_text entries[ENTRIES_MAX], item;
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        struct http_text rest = lines[i];
        while (http_text_next_item(&rest, &item))
            entries[seen++ % ENTRIES_MAX] = item;
    }
    for (size_t left = min_size(seen, ENTRIES_MAX); left > 0 && networks_contain(trusted, client); left--) {
        item = entries[--seen % ENTRIES_MAX];
        if (form == FORWARDED_RFC7239)
            item = for_value(item);
        if (!read_address(item, client))
            return;
    }
}
