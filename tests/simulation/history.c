/*
 * history: a depth-first search over orders, with what was tried before remembered (Wing and Gong, Lowe).
 */
#include "tests/simulation/history.h"

#include <stdlib.h>
#include <string.h>

#define TRIED_BITS     9 /* to begin with */
#define TRIED_BITS_MAX 16

enum state_kind { STATE_ABSENT, STATE_PRESENT, STATE_DELETED };

struct state {
    uint64_t done;      /* operations that are in the order already, a bit each */
    int64_t since;      /* STATE_DELETED: not before */
    int64_t expires_us; /* 0: never */
    /* STATE_PRESENT, by an upload that was never answered with success: from then on it may be withdrawn. 0: it lasts. */
    int64_t fleeting_us;
    int kind, content, name;
    bool may_last; /* a restoration may have taken the time of expiry away, or not */
};

struct search {
    const struct history *history;
    struct state *tried; /* a table of hashes */
    size_t tried_count;
    int tried_bits;
    bool undecided;
};

static void make_table(struct search *search, int bits)
{
    search->tried_bits = bits;
    search->tried = malloc((sizeof(struct state)) << bits);
    memset(search->tried, 0xff, (sizeof(struct state)) << bits);
}

/* Where STATE is, or belongs. */
static struct state *find_state(const struct search *search, const struct state *state)
{
    uint64_t hash = (state->done ^ (uint64_t)state->since * 31 ^ (uint64_t)state->expires_us * 127 ^
                     (uint64_t)state->fleeting_us * 8191 ^
                     (uint64_t)(state->kind * 64 + state->content * 16 + state->name * 2 + state->may_last)) *
                    0x9e3779b97f4a7c15;
    size_t mask = (UINT64_C(1) << search->tried_bits) - 1;
    for (size_t at = hash >> (64 - search->tried_bits);; at = (at + 1) & mask) {
        struct state *one = &search->tried[at];
        if (one->done == ~UINT64_C(0) ||
            (one->done == state->done && one->since == state->since && one->kind == state->kind &&
             one->content == state->content && one->name == state->name &&
             one->expires_us == state->expires_us && one->fleeting_us == state->fleeting_us &&
             one->may_last == state->may_last))
            return one;
    }
}

static void enlarge_table(struct search *search)
{
    struct state *old = search->tried;
    size_t size = UINT64_C(1) << search->tried_bits;
    make_table(search, search->tried_bits + 1);
    for (size_t i = 0; i < size; i++) {
        if (old[i].done != ~UINT64_C(0))
            *find_state(search, &old[i]) = old[i];
    }
    free(old);
}

static bool seen_before(struct search *search, const struct state *state)
{
    struct state *place = find_state(search, state);
    if (place->done != ~UINT64_C(0))
        return true;
    if (search->tried_count > UINT64_C(1) << (TRIED_BITS_MAX - 1)) {
        search->undecided = true;
        return true;
    }
    *place = *state;
    if (++search->tried_count > UINT64_C(1) << (search->tried_bits - 1) &&
        search->tried_bits < TRIED_BITS_MAX)
        enlarge_table(search);
    return false;
}

/* Is what a read says of the file beside its content what STATE says? */
static bool matches(const struct operation *read, const struct state *state)
{
    bool lasts = state->expires_us == read->expires_us || (state->may_last && read->expires_us == 0);
    return (read->name < 0 || read->name == state->name) && (read->expires_us < 0 || lasts);
}

/* What OPERATION makes of STATE; false: its answer does not fit. */
static bool apply(const struct history *history, const struct operation *operation, struct state *state)
{
    bool unknown = operation->answer == ANSWER_UNKNOWN;
    bool gone = state->kind != STATE_PRESENT;
    switch (operation->kind) {
    case OPERATION_PUT:
        if (operation->answer == ANSWER_TAKEN)
            return state->kind == STATE_PRESENT && state->content != operation->content;
        if (operation->answer == ANSWER_DELETED)
            return state->kind == STATE_DELETED;
        if (operation->answer != ANSWER_DONE && !unknown)
            return false;
        if (state->kind == STATE_ABSENT) {
            state->kind = STATE_PRESENT;
            state->content = operation->content;
            state->name = operation->name;
            state->fleeting_us = unknown ? operation->from_us + history->late_us : 0;
            return true;
        }
        if (!unknown)
            state->fleeting_us = 0;
        return state->kind == STATE_PRESENT && state->content == operation->content;
    case OPERATION_DELETE:
        if (operation->answer == ANSWER_GONE)
            return gone;
        if (state->kind != STATE_PRESENT)
            return false;
        state->kind = STATE_DELETED;
        state->since = operation->from_us;
        state->fleeting_us = 0;
        return true;
    case OPERATION_RESTORE:
        if (operation->answer == ANSWER_GONE)
            return gone; /* a file that is being purged cannot be restored any more */
        if (operation->answer != ANSWER_DONE && !unknown)
            return false;
        if (state->kind == STATE_ABSENT)
            return false;
        if (state->kind == STATE_DELETED)
            state->may_last = state->expires_us != 0;
        state->kind = STATE_PRESENT;
        state->since = 0;
        state->fleeting_us = 0;
        return true;
    case OPERATION_RENAME:
    case OPERATION_EXPIRE:
        if (operation->answer == ANSWER_GONE)
            return gone; /* one that is being purged is not found */
        if (operation->answer == ANSWER_DELETED)
            return state->kind == STATE_DELETED;
        if ((operation->answer != ANSWER_DONE && !unknown) || gone)
            return false;
        if (operation->kind == OPERATION_RENAME) {
            state->name = operation->name;
        } else {
            state->expires_us = operation->expires_us;
            state->may_last = false;
        }
        state->fleeting_us = 0;
        return true;
    case OPERATION_READ:
        if (operation->answer == ANSWER_DONE)
            return state->kind == STATE_PRESENT && state->content == operation->content &&
                   matches(operation, state);
        if (operation->answer == ANSWER_ABSENT)
            return state->kind == STATE_ABSENT;
        if (operation->answer == ANSWER_DELETED)
            return state->kind == STATE_DELETED;
        return gone;
    }
    return false;
}

/* Number AT is a read that must not come yet: a change that its server had acknowledged before it was asked is not in the order. */
static bool comes_too_early(const struct history *history, const struct state *state, size_t at)
{
    const struct operation *read = &history->operations[at];
    for (size_t i = 0; read->asked_us > 0 && i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        if (!(state->done >> i & 1) && one->kind != OPERATION_READ && one->answer == ANSWER_DONE &&
            one->to_us <= read->asked_us && strcmp(one->who, read->who) == 0)
            return true;
    }
    return false;
}

static bool explains(struct search *search, struct state state)
{
    const struct history *history = search->history;
    int64_t first_end = FOREVER;
    bool left = false;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *operation = &history->operations[i];
        if (state.done >> i & 1 || operation->answer == ANSWER_UNKNOWN)
            continue;
        left = true;
        first_end = min_i64(first_end, operation->to_us);
    }
    if (!left)
        return true;
    if (seen_before(search, &state))
        return search->undecided;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *operation = &history->operations[i];
        if (state.done >> i & 1 || operation->from_us > first_end || comes_too_early(history, &state, i))
            continue;
        struct state next = state;
        next.done |= UINT64_C(1) << i;
        if (apply(history, operation, &next) && explains(search, next))
            return true;
    }
    /* What nobody asks for: an upload that was never answered is withdrawn; the file expires; it is purged. */
    struct state next = {.done = state.done, .kind = STATE_ABSENT};
    if (state.kind == STATE_PRESENT && state.fleeting_us > 0 && first_end >= state.fleeting_us &&
        explains(search, next))
        return true;
    next = state;
    if (state.kind == STATE_PRESENT && state.expires_us > 0 && first_end >= state.expires_us) {
        next.kind = STATE_DELETED;
        next.since = state.expires_us;
        next.fleeting_us = 0;
        return explains(search, next);
    }
    if (state.kind == STATE_DELETED && first_end >= state.since + history->keep_us) {
        next = (struct state){.done = state.done, .kind = STATE_ABSENT};
        return explains(search, next);
    }
    return false;
}

bool history_explains(const struct history *history, bool *undecided)
{
    struct search search = {.history = history};
    make_table(&search, TRIED_BITS);
    bool fine = explains(&search, (struct state){.kind = STATE_ABSENT});
    *undecided = search.undecided;
    free(search.tried);
    return fine || search.undecided;
}

void history_print(const struct history *history, FILE *out)
{
    static const char *const kinds[] = {"PUT", "DELETE", "RESTORE", "RENAME", "EXPIRE", "READ"};
    static const char *const answers[] = {"unknown", "done", "absent", "deleted", "gone", "taken"};
    fprintf(out, "file %d, %lld s in the trash:\n", history->file, (long long)(history->keep_us / SECOND_US));
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        fprintf(out, "  %12.6f .. ", (double)one->from_us / 1e6);
        if (one->to_us == FOREVER)
            fprintf(out, "%12s", "");
        else
            fprintf(out, "%12.6f", (double)one->to_us / 1e6);
        fprintf(out, "  %-8s %-7s %-8s", one->who, kinds[one->kind], answers[one->answer]);
        if (one->kind == OPERATION_PUT || (one->kind == OPERATION_READ && one->answer == ANSWER_DONE))
            fprintf(out, " content %d", one->content);
        if (one->kind == OPERATION_PUT || one->kind == OPERATION_RENAME ||
            (one->kind == OPERATION_READ && one->answer == ANSWER_DONE && one->name >= 0))
            fprintf(out, " name %d", one->name);
        if (one->kind == OPERATION_EXPIRE || (one->kind == OPERATION_READ && one->expires_us > 0))
            fprintf(out, " expires %.6f", (double)one->expires_us / 1e6);
        fputc('\n', out);
    }
}
