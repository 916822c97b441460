/*
 * reel_auth: parses lists of tokens and the word of a mode. Copies of tokens are overwritten.
 */
#include "client/library/reel_auth.h"

#include "common/auth/keys_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 8

/* The option, else the environment's VARIABLE; NULL where neither says anything. */
static const char *given(const char *option, const char *variable)
{
    const char *value = option ? option : secure_getenv(variable);

    return value && value[0] != '\0' ? value : NULL;
}

static bool take_mode(const struct reel_options *options, bool has_keys, enum auth_mode *mode,
                      struct error *error)
{
    static const char *const words[] = {"off", "prefer", "required"}; /* of enum auth_mode */
    const char *word = options->auth == REEL_AUTH_DEFAULT ? given(NULL, "REEL_AUTH") : NULL;

    *mode = has_keys ? AUTH_REQUIRED : AUTH_PREFER;
    if (options->auth < REEL_AUTH_DEFAULT || options->auth > REEL_AUTH_REQUIRED)
        return error_set(error, ERROR_MALFORMED, "auth: %lld is not a value of enum reel_auth",
                         (long long)options->auth);
    if (options->auth != REEL_AUTH_DEFAULT)
        *mode = (enum auth_mode)(options->auth - REEL_AUTH_OFF);
    for (size_t i = 0; word && i < ARRAY_SIZE(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *mode = (enum auth_mode)i;
            return true;
        }
    return !word ||
           error_set(error, ERROR_MALFORMED, "REEL_AUTH=%s: off, prefer or required is expected", word);
}

struct auth *reel_auth_open(const struct reel_options *options, struct error *error)
{
    const char *keys = given(options->keys, "REEL_KEYS"), *token = given(options->token, "REEL_TOKEN");
    const char *tokens[TOKENS_MAX + 1];
    char id[KEY_ID_SIZE] = "", *copy = token ? strdup(token) : NULL, *rest = NULL;
    struct auth_options auth = {.identity = id, .role = KEY_ROLE_NONE, .session_ms = 1000, .tokens = tokens};
    struct auth *made = NULL;

    if (token && !copy) {
        (void)error_set_errno(error, ENOMEM, "token");
        return NULL;
    }
    for (char *word = copy ? strtok_r(copy, ", \t\r\n", &rest) : NULL; word && auth.token_count <= TOKENS_MAX;
         word = strtok_r(NULL, ", \t\r\n", &rest))
        tokens[auth.token_count++] = word;
    if (keys)
        auth.keys_file = keys_setting_split(keys, id);
    if (take_mode(options, keys != NULL, &auth.mode, error))
        made = auth_create(&auth, error);
    if (copy)
        explicit_bzero(copy, strlen(token));
    free(copy);
    return made;
}
