"""Facts that today's code makes against the facts that were recorded: equal, different, or not to be judged."""

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

import orjson

from pipeline.messages.fact import Fact
from pipeline.replay.difference import Change, differences

#: What a divergence is: two facts of one number that differ, one that only the log has, one that only the code makes,
#: and two recorded ones of one number.
DIFFERS, UNEXPECTED, MISSING, CONTRADICTS = "differs", "not made any more", "not recorded", "recorded twice, unlike"
#: Why a fact is not judged.
BEFORE, AFTER, PAST, LOST = (
    "decided before the inbox begins",
    "not decided yet when the reading began",
    "the family's past is before the inbox begins",
    "jobs.events begins later",
)
#: Facts that are remembered, to know an old owner's repeats by.
_REMEMBERED = 100_000

Key = tuple[str, int]


class Names(Protocol):
    """A set of names, which a long log's may have to keep on disk."""

    def add(self, name: str, /) -> object:
        """Put a name in."""

    def __contains__(self, name: object, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first fact of a job that isn't as recorded; `changes` go from what is recorded to what the code makes."""

    job_id: str
    seq: int
    kind: str
    offset: int
    changes: tuple[Change, ...]

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "job_id": self.job_id,
            "seq": self.seq,
            "kind": self.kind,
            "inbox_offset": self.offset,
            "changes": [change.record() for change in self.changes],
        }


class Comparison:
    """Pairs the facts of one partition by job and `seq`, while both streams are read; holds what has no partner yet.

    Compared is all of a fact but the version of the code that made it. `begins` is the inbox's first offset, `first`
    the first whose facts are asked for. Of a family that has facts from before `begins` the state isn't known: it is
    never judged. `lost_before` is the offset up to which jobs.events may have lost facts.
    """

    def __init__(self, begins: int = 0, first: int = 0, lost_before: int = 0, past: Names | None = None) -> None:
        self.equal = 0
        self.repeated = 0
        self.unjudged: Counter[str] = Counter()
        self.divergences: dict[str, Divergence] = {}
        self._begins, self._first, self._lost_before = begins, first, lost_before
        self._past: Names = set() if past is None else past
        self._made: dict[Key, Fact] = {}
        self._recorded: dict[Key, Fact] = {}
        self._seen: OrderedDict[Key, tuple[int, bytes]] = OrderedDict()

    def recorded(self, fact: Fact) -> None:
        """Take the next fact that the log has."""
        if fact.inbox_offset < self._begins:
            self._past.add(fact.family)
            self.unjudged[BEFORE] += 1
        elif self._is_judged(fact):
            key = (fact.job_id, fact.seq)
            made = self._made.pop(key, None)
            if made is not None:
                self._compare(fact, made)
            elif not self._is_repeat(key, fact):
                self._recorded[key] = fact

    def made(self, fact: Fact) -> None:
        """Take the next fact that the code makes."""
        if fact.inbox_offset < self._lost_before:
            self.unjudged[LOST] += fact.inbox_offset >= self._first
        elif self._is_judged(fact):
            recorded = self._recorded.pop((fact.job_id, fact.seq), None)
            if recorded is not None:
                self._compare(recorded, fact)
            else:
                self._made[fact.job_id, fact.seq] = fact

    def settle(self, before: int) -> None:
        """Say that of all inbox offsets below `before` both streams were read: what has no partner has none."""
        self._alone(self._recorded, before, UNEXPECTED)
        self._alone(self._made, before, MISSING)

    def end(self, decided: int) -> None:
        """Say that both streams ended; what comes of offsets from `decided` on may still be under way."""
        self.settle(decided)
        self.unjudged[AFTER] += len(self._made) + len(self._recorded)
        self._made.clear()
        self._recorded.clear()

    def _is_judged(self, fact: Fact) -> bool:
        if fact.inbox_offset < self._first or fact.job_id in self.divergences:
            return False
        if fact.family in self._past:
            self.unjudged[PAST] += 1
            return False
        return True

    def _is_repeat(self, key: Key, fact: Fact) -> bool:
        """Say whether the log has a fact of this number already, and find out whether it is the same."""
        waits = self._recorded.get(key)
        before = (waits.inbox_offset, digest(waits)) if waits is not None else self._seen.get(key)
        if before is None:
            return False
        if before == (fact.inbox_offset, digest(fact)):
            self.repeated += 1
        elif before[0] == fact.inbox_offset:
            changes = differences(plain_fact(waits), plain_fact(fact)) if waits is not None else ()
            self._diverges(fact, CONTRADICTS, changes)
        else:
            # a number that was given anew: the job was forgotten, and submitted again
            return False
        return True

    def _compare(self, recorded: Fact, made: Fact) -> None:
        if _unversioned(recorded) == _unversioned(made):
            self.equal += 1
            self._seen[made.job_id, made.seq] = (made.inbox_offset, digest(made))
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return
        self._diverges(recorded, DIFFERS, differences(plain_fact(recorded), plain_fact(made)))

    def _diverges(self, fact: Fact, kind: str, changes: Iterable[Change]) -> None:
        self.divergences[fact.job_id] = Divergence(fact.job_id, fact.seq, kind, fact.inbox_offset, tuple(changes))

    def _alone(self, waiting: dict[Key, Fact], before: int, kind: str) -> None:
        alone = [fact for fact in waiting.values() if fact.inbox_offset < before]
        for fact in alone:
            del waiting[fact.job_id, fact.seq]
            known = self.divergences.get(fact.job_id)
            if known is None or fact.seq < known.seq:
                told = plain_fact(fact)
                self._diverges(fact, kind, differences(*((told, {}) if kind == UNEXPECTED else ({}, told))))


def plain_fact(fact: Fact) -> dict[str, Any]:
    """Return a fact's fields, its document as JSON where it is some, without the version of the code."""
    # what was recorded has a text where what was made has an enumeration's member
    record = fact.record() | {"status": str(fact.status)}
    del record["code_version"]
    with contextlib.suppress(orjson.JSONDecodeError):
        record["document"] = orjson.loads(fact.document)
    return record


def digest(fact: Fact) -> bytes:
    """Return what tells facts with unlike content apart."""
    record = _unversioned(fact).record()
    return blake2b(orjson.dumps(record, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _unversioned(fact: Fact) -> Fact:
    return replace(fact, code_version="")
