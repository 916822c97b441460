"""The check of linearizability, with the model of tests/simulation/history.c: what clients asked of one file and heard is
explained where there is one order of all of it, each operation between its request and its answer, in which every answer is
right and a deleted file goes by itself only after its time in the trash."""
import dataclasses
import math

PUT, DELETE, RESTORE, READ = "PUT", "DELETE", "RESTORE", "READ"
UNKNOWN = "unknown"  # no answer, or one that says that it may have happened: at any time, or never
DONE = "done"        # PUT stored or repeated, DELETE deleted, RESTORE normal now, READ gave `content`
ABSENT, DELETED = "absent", "deleted"
GONE = "gone"        # absent or deleted: the answer says no more
TAKEN = "taken"      # PUT: the file has other bytes
PRESENT = "present"  # a state
NOTHING = (ABSENT, None, 0)


@dataclasses.dataclass(eq=False)
class Operation:
    kind: str
    answer: str
    begin: float                                            # not before
    end: float = math.inf                                   # not after
    content: object = None                                  # PUT: what was sent; READ: what came
    after: tuple = dataclasses.field(default=(), repr=False)  # operations that certainly came before
    who: str = ""                                           # for people

    def __str__(self):
        end = f"{self.end:10.4f}" if self.end < math.inf else " " * 10
        content = f" content {self.content}" if self.content is not None else ""
        return f"{self.begin:10.4f} .. {end}  {self.who:<32} {self.kind:<7} {self.answer}{content}"


def applied(one, state):
    """What ONE makes of STATE, (kind, content, deleted not before); None: its answer does not fit."""
    kind, content, _ = state
    unknown = one.answer == UNKNOWN
    if one.answer == GONE:
        return state if kind != PRESENT else None
    if one.answer == ABSENT:
        return state if kind == ABSENT else None
    if one.answer == DELETED:
        return state if kind == DELETED else None
    if one.answer == TAKEN:
        return state if kind == PRESENT and content != one.content else None
    assert unknown or one.answer == DONE
    if one.kind == PUT:
        if kind == ABSENT:
            return PRESENT, one.content, 0
        return state if kind == PRESENT and content == one.content else None
    if one.kind == DELETE:
        return (DELETED, content, one.begin) if kind == PRESENT else None
    if one.kind == RESTORE:
        return (PRESENT, content, 0) if kind != ABSENT else None
    return state if kind == PRESENT and content == one.content else None


class Search:
    """Depth first over the orders; what was tried before is remembered (Wing and Gong, Lowe)."""

    def __init__(self, operations, keep):
        self.keep = keep
        self.all = sorted((one for one in operations if one.kind != READ or one.answer != UNKNOWN), key=lambda one: one.begin)
        index = {id(one): 1 << i for i, one in enumerate(self.all)}
        self.before = [sum(index[id(other)] for other in one.after if id(other) in index) for one in self.all]
        # What changes nothing whenever it fits can be put at the first place where it fits: no other place is better.
        self.looks = [one.kind == READ or one.answer in (GONE, ABSENT, DELETED, TAKEN) for one in self.all]
        self.unknown = sum(1 << i for i, one in enumerate(self.all) if one.answer == UNKNOWN)
        self.seen, self.count = {}, 0

    def open(self, done):
        """The numbers of what may come next, and the time by which something must have."""
        low = (~done & (done + 1)).bit_length() - 1
        first_end, found = math.inf, []
        for i in range(low, len(self.all)):
            one = self.all[i]
            if one.begin > first_end:
                break
            if done >> i & 1:
                continue
            if one.answer != UNKNOWN:
                first_end = min(first_end, one.end)
            if self.before[i] & ~done == 0:
                found.append(i)
        return [i for i in found if self.all[i].begin <= first_end], first_end

    def look(self, done, state):
        """All that only looks and fits."""
        while True:
            found, first_end = self.open(done)
            fitting = [i for i in found if self.looks[i] and applied(self.all[i], state) is not None]
            if not fitting:
                return done, found, first_end
            for i in fitting:
                done |= 1 << i

    def tried(self, done, state):
        """True where the same was tried with no more unknown operations used up: then nothing better comes now."""
        used = done & self.unknown
        before = self.seen.setdefault((done & ~self.unknown, state), [])
        if any(other & ~used == 0 for other in before):
            return True
        before.append(used)
        self.count += 1
        return False

    def next(self, done, state):
        """What may follow, the likeliest last."""
        done, found, first_end = self.look(done, state)
        if first_end == math.inf:
            return None
        if self.tried(done, state):
            return []
        maybe, certain, kinds = [], [], set()
        for i in found:
            one, made = self.all[i], None
            if one.answer != UNKNOWN:
                made = applied(one, state)
                if made is not None:
                    certain.append((done | 1 << i, made))
            elif (one.kind, one.content) not in kinds:  # two such are as good as each other
                kinds.add((one.kind, one.content))
                made = applied(one, state)
                if made is not None and made[:2] != state[:2]:
                    maybe.append((done | 1 << i, made))
        if state[0] == DELETED and first_end >= state[2] + self.keep:  # the purge, which nobody asks for
            maybe.append((done, NOTHING))
        return maybe + certain[::-1]

    def run(self, limit):
        stack = [(0, NOTHING)]
        while stack:
            following = self.next(*stack.pop())
            if following is None:
                return True
            if self.count > limit:
                return None
            stack += following
        return False


def explains(operations, keep, limit=100_000):
    """True, False, or None where there were more than LIMIT orders to try. KEEP: seconds in the trash."""
    return Search(operations, keep).run(limit)


def shortest(operations, keep):
    """Of a history that nothing explains: what had been heard when it first made no sense, as a text."""
    for moment in sorted(one.end for one in operations if one.end < math.inf):
        known = {id(one): dataclasses.replace(one) if one.end <= moment else
                 dataclasses.replace(one, answer=UNKNOWN, end=math.inf) for one in operations if one.begin <= moment}
        for one in known.values():
            one.after = tuple(known[id(other)] for other in one.after if id(other) in known)
        if explains(known.values(), keep) is False:
            answered = (one for one in known.values() if one.kind != READ or one.answer != UNKNOWN)
            return "\n".join(map(str, sorted(answered, key=lambda one: one.begin)))
    return "\n".join(map(str, operations))
