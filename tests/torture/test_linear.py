"""The check of linearizability itself: what it must accept, and what it must refuse."""
import itertools
import random

import pytest
from linear import (ABSENT, DELETE, DELETED, DONE, GONE, PUT, READ, RESTORE, TAKEN, UNKNOWN, Operation, explains, shortest)


def op(kind, answer, begin, end=float("inf"), content=None, after=()):
    return Operation(kind, answer, begin, end, content, after)


STORED = op(PUT, DONE, 0, 1, "a")
DELETED_AT_2 = op(DELETE, DONE, 2, 3)

ACCEPTED = {
    "nothing": [],
    "stored and read": [STORED, op(READ, DONE, 2, 3, "a")],
    "read before the upload is answered": [op(PUT, DONE, 0, 9, "a"), op(READ, DONE, 1, 2, "a"), op(READ, DONE, 3, 4, "a")],
    "two rivals, one wins": [op(PUT, DONE, 0, 5, "b"), op(PUT, TAKEN, 0, 6, "a"), op(READ, DONE, 7, 8, "b")],
    "a repetition": [STORED, op(PUT, DONE, 2, 3, "a")],
    "deleted, restored": [STORED, DELETED_AT_2, op(READ, DELETED, 4, 5), op(RESTORE, DONE, 6, 7), op(READ, DONE, 8, 9, "a")],
    "purged in time": [STORED, DELETED_AT_2, op(READ, ABSENT, 11, 12.1), op(PUT, DONE, 13, 14, "b"), op(READ, DONE, 15, 16, "b")],
    "deletion overtakes": [STORED, op(DELETE, DONE, 2, 9), op(READ, DONE, 3, 4, "a"), op(READ, GONE, 5, 6)],
    "unknown deletion, done late": [STORED, op(DELETE, UNKNOWN, 2), op(READ, DONE, 4, 5, "a"), op(READ, GONE, 50, 51)],
    "unknown deletion, never done": [STORED, op(DELETE, UNKNOWN, 2), op(READ, DONE, 50, 51, "a")],
    "unknown upload, done": [op(PUT, UNKNOWN, 0, content="a"), op(READ, ABSENT, 1, 2), op(READ, DONE, 3, 4, "a")],
    "unknown answer that lets two deletions succeed":
        [STORED, op(DELETE, DONE, 2, 3), op(RESTORE, UNKNOWN, 2.5), op(DELETE, DONE, 4, 5), op(READ, DELETED, 6, 7)],
    "older read of another server": [STORED, DELETED_AT_2, op(READ, DONE, 2.5, 5, "a")],
}
REFUSED = {
    "an acknowledged upload is gone": [STORED, op(READ, ABSENT, 2, 3)],
    "other bytes than were stored": [STORED, op(READ, DONE, 2, 3, "b")],
    "read before anybody asked for it": [op(READ, DONE, 0, 1, "a"), op(PUT, DONE, 2, 3, "a")],
    "two contents acknowledged": [STORED, op(PUT, DONE, 2, 3, "b")],
    "two rivals, both win": [op(PUT, DONE, 0, 9, "a"), op(PUT, DONE, 0, 9, "b")],
    "a deleted file is served": [STORED, DELETED_AT_2, op(READ, DONE, 4, 5, "a")],
    "a deletion is undone after it was seen": [STORED, op(DELETE, DONE, 2, 9), op(READ, GONE, 3, 4), op(READ, DONE, 5, 6, "a")],
    "purged too early": [STORED, DELETED_AT_2, op(READ, ABSENT, 4, 11.9)],
    "its ID is free too early": [STORED, DELETED_AT_2, op(PUT, DONE, 4, 5, "b")],
    "purged though restored": [STORED, DELETED_AT_2, op(RESTORE, DONE, 4, 5), op(READ, ABSENT, 30, 31)],
    "a restoration is refused within its time": [STORED, op(RESTORE, GONE, 2, 3)],
    "a restored file from nothing": [op(RESTORE, DONE, 0, 1)],
    "comes back from the purge": [STORED, DELETED_AT_2, op(READ, ABSENT, 14, 15), op(READ, DONE, 16, 17, "a")],
    "two deletions without a restoration": [STORED, DELETED_AT_2, op(DELETE, DONE, 4, 5)],
    "said to be taken by what was never there": [op(PUT, TAKEN, 0, 1, "a"), op(PUT, UNKNOWN, 2, content="b")],
    "said to be taken by the same bytes": [STORED, op(PUT, TAKEN, 2, 3, "a")],
    "a deletion is refused while it is there": [STORED, op(DELETE, GONE, 2, 3)],
    "an unknown deletion that happened twice": [STORED, op(DELETE, UNKNOWN, 2), op(READ, DELETED, 3, 4), op(RESTORE, DONE, 5, 6),
                                                op(READ, DONE, 7, 8, "a"), op(READ, DELETED, 9, 10)],
    "undone by a late statement": [STORED, op(DELETE, DONE, 2, 3), op(RESTORE, DONE, 4, 5), op(READ, DELETED, 6, 7)],
    "an old read of the server that acknowledged the deletion":
        [STORED, DELETED_AT_2, op(READ, DONE, 2.5, 5, "a", after=(DELETED_AT_2,))],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_history_that_the_promise_allows(name):
    assert explains(ACCEPTED[name], 10) is True


@pytest.mark.parametrize("name", REFUSED)
def test_a_history_that_breaks_the_promise(name):
    assert explains(REFUSED[name], 10) is False
    assert shortest(REFUSED[name], 10)


def order_by_order(operations, keep):
    """The same question, answered by trying everything: every order, every unknown one left out or not, a purge anywhere."""
    certain = [one for one in operations if one.answer != UNKNOWN]
    maybe = [one for one in operations if one.answer == UNKNOWN and one.kind != READ]
    for count in range(len(maybe) + 1):
        for some in itertools.combinations(maybe, count):
            for order in itertools.permutations(certain + list(some)):
                if any(one.begin > other.end for i, one in enumerate(order) for other in order[i + 1:]):
                    continue
                states = {(ABSENT, None, 0)}
                for i, one in enumerate(order):
                    latest = min(other.end for other in order[i:])
                    states |= {(ABSENT, None, 0) for s in states if s[0] == DELETED and latest >= s[2] + keep}
                    states = {made for s in states if (made := naively(one, s))}
                if states or not order:
                    return True
    return not certain


def naively(one, state):
    """The model once more, as a table."""
    kind, content, since = state
    table = {(PUT, DONE): {ABSENT: ("present", one.content, 0), "present": state if content == one.content else None},
             (DELETE, DONE): {"present": (DELETED, content, one.begin)},
             (RESTORE, DONE): {"present": state, DELETED: ("present", content, 0)},
             (READ, DONE): {"present": state if content == one.content else None},
             (PUT, TAKEN): {"present": state if content != one.content else None}}
    looks = {ABSENT: {ABSENT: state}, DELETED: {DELETED: state}, GONE: {ABSENT: state, DELETED: state}}
    answer = DONE if one.answer == UNKNOWN else one.answer
    return (table.get((one.kind, answer)) or looks.get(answer, {})).get(kind)


def test_short_histories_by_chance_are_judged_as_by_trying_everything():
    dice, verdicts = random.Random(7), []
    answers = {PUT: (DONE, DONE, TAKEN, DELETED, UNKNOWN), DELETE: (DONE, DONE, GONE, UNKNOWN),
               RESTORE: (DONE, GONE, UNKNOWN), READ: (DONE, DONE, ABSENT, DELETED, GONE)}
    for _ in range(3000):
        history = []
        for _ in range(dice.randint(1, 5)):
            kind = dice.choice((PUT, PUT, DELETE, RESTORE, READ))
            answer, begin = dice.choice(answers[kind]), dice.randint(0, 10)
            end = float("inf") if answer == UNKNOWN else begin + dice.randint(1, 5)
            seen = kind == PUT or (kind == READ and answer == DONE)
            history.append(op(kind, answer, begin, end, dice.choice("ab") if seen else None))
        keep = dice.choice((0, 3))
        verdicts.append(explains(history, keep))
        assert verdicts[-1] == order_by_order(history, keep), "\n".join(map(str, history))
    assert 300 < sum(verdicts) < 2700


def test_many_unknown_answers_are_decided():
    history = [op(PUT, DONE, 0, 1, "a")]
    for i in range(60):
        history.append(op((DELETE, RESTORE)[i % 2], UNKNOWN, i))
        history.append(op(READ, (GONE, DONE)[i % 2], i, i + 1, (None, "a")[i % 2]))
    assert explains(history, 1000) is True
    assert explains(history + [op(READ, DONE, 100, 101, "b")], 1000) is False
