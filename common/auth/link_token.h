/*
 * link_token: signed links: what one says, as text, made with a key and verified (docs/http.md, "Signed links"). A link says: until
 * then, whoever has it may read this file, the files of this user whose ID begins so, or all files of this user; on request only
 * from one network. Pure; any thread; never blocks.
 *
 *   /files/APP/USER/ID?e=EXPIRES&k=KEY&s=SIGNATURE           a link to one file
 *   /t/KEY.EXPIRES.SCOPE.SIGNATURE/files/APP/USER/ID         the same before a path, so that relative links inherit it
 *
 * EXPIRES: seconds since 1970 in lower-case hexadecimal digits without a leading zero; behind them an "x" where the link holds only
 * with the name and the `download` that it was made with (in a query alone), and an "n" where it holds for one network only. SCOPE: "f" this file, "pN" files whose ID begins with the first N bytes of this one's, "u" every file
 * of the user. SIGNATURE: the first 16 bytes, in base64url, of HMAC-SHA-256 under the key's derived "link" over
 *
 *   "L1" || len16 APP || len16 USER || len16 ("f" ID | "p" N bytes of ID | "u") || EXPIRES as 8 bytes || flags as 1 byte
 *   [|| len16 NAME || len16 ("" | "d" | "d" DOWNLOAD-NAME)]  with flag 1
 *   [|| len16 NETWORK]                                        with flag 2; all numbers big-endian
 *
 * over the decoded names. NETWORK is the first 3 bytes of an IPv4 address or the first 8 of an IPv6 address.
 */
#ifndef REEL_COMMON_AUTH_LINK_TOKEN_H
#define REEL_COMMON_AUTH_LINK_TOKEN_H

#include "common/auth/keys.h"
#include "common/proto/proto.h"

#define LINK_SIGNATURE_LENGTH 22
#define LINK_SIGNATURE_WORDS  3
#define LINK_EXPIRES_SIZE     19 /* 16 digits, "x", "n" and a NUL */
#define LINK_TEXT_SIZE        (KEY_ID_SIZE + LINK_EXPIRES_SIZE + 8 + LINK_SIGNATURE_LENGTH)
#define LINK_SKEW             30 /* seconds that a link holds longer, since clocks differ */
#define LINK_NETWORK_SIZE     8
#define LINK_MESSAGE_SIZE                                                                                    \
    (2 + 2 + PROTO_APPLICATION_SIZE + 2 + PROTO_USER_SIZE + 3 + PROTO_FILE_SIZE + 9 + 5 +                    \
     2 * PROTO_NAME_SIZE + 2 + LINK_NETWORK_SIZE)

enum link_scope { LINK_SCOPE_FILE, LINK_SCOPE_PREFIX, LINK_SCOPE_USER };

/* What an address says beside the file: the name behind it, and whether and under which name it is to be saved. Borrowed; NULL is "". */
struct link_view {
    const char *name; /* less than PROTO_NAME_SIZE bytes, as the next */
    const char *download_name;
    bool download;
};

struct link_token {
    char key[KEY_ID_SIZE];
    int64_t expires; /* seconds since the epoch, more than 0 */
    enum link_scope scope;
    size_t prefix; /* LINK_SCOPE_PREFIX: bytes of the file ID, more than 0 */
    bool exact;    /* only with one view */
    bool network;  /* only from one */
    uint64_t signature
        [LINK_SIGNATURE_WORDS]; /* what its characters stand for, 6 bits each: of 10, of 10, of the last 2 */
};

/* Out of "KEY.EXPIRES.SCOPE.SIGNATURE", and out of the three values of a query. False: TEXT is written in another way than
 * the one that is right. */
MUST_CHECK bool link_token_parse(const char *text, size_t size, struct link_token *token);
struct link_part {
    const char *bytes;
    size_t size;
};
MUST_CHECK bool link_token_parse_query(struct link_part expires, struct link_part key,
                                       struct link_part signature, struct link_token *token);

/* "f", "p12", "u". False: none of these. */
MUST_CHECK bool link_scope_parse(const char *text, size_t size, struct link_token *token);

/* The reverse of link_token_parse(); returns TEXT. */
char *link_token_format(const struct link_token *token, char text[LINK_TEXT_SIZE]);
/* "67a1b2c3", "67a1b2c3x", "67a1b2c3n" or "67a1b2c3xn"; returns TEXT. */
char *link_expires_format(const struct link_token *token, char text[LINK_EXPIRES_SIZE]);

/* What is signed, for the file FILE, shown as VIEW (NULL: as it is; read only where the token is exact) to a client at HOST (read only
 * where it is bound to a network). Its size; 0 where the token cannot be about this: the ID is shorter than the prefix, a name is
 * too long, or HOST is no address. */
size_t link_message(const struct link_token *token, const struct proto_file_key *file,
                    const struct link_view *view, const char *host, uint8_t message[LINK_MESSAGE_SIZE]);

/* The signature's characters and a NUL; returns TEXT. */
char *link_signature_format(const struct link_token *token, char text[LINK_SIGNATURE_LENGTH + 1]);

/* Fills token->key and token->signature. False: as link_message(). */
MUST_CHECK bool link_token_sign(struct link_token *token, const struct key *key,
                                const struct proto_file_key *file, const struct link_view *view,
                                const char *host);

enum link_verdict { LINK_GOOD, LINK_WRONG, LINK_EXPIRED };

/* Whether TOKEN lets a client at HOST read FILE at the time NOW, by KEYS: its key is valid, an issuer's, may read and covers
 * the application. MESSAGE: what link_message() gave for them. KNOWN: this signature was found right for this MESSAGE under KEYS, and is not
 * computed again. */
enum link_verdict link_token_verify(const struct link_token *token, const struct keys *keys,
                                    const struct proto_file_key *file, const uint8_t *message, size_t size,
                                    bool known, int64_t now);

#endif
