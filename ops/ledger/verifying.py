"""Whether the tables are what the inbox makes of them: a fold beside the changelogs, one partition at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from agents.orchestrator.row import body_of, offset_of, policy_in
from ops.ledger import changelogs
from ops.ledger.decided import decided_to
from ops.ledger.folding import TableFold, policy_of
from ops.ledger.past import Past
from ops.ledger.rows import ACTIVE, DOCUMENTS, FAMILIES, LedgerRows
from ops.reading.log import Log
from ops.replaying.reading import Tell, silent
from ops.replaying.store import DiskStore, disk_store
from pipeline.identity import family_of_job
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Heartbeat, Inbox, PolicySet, Tick
from pipeline.replay.difference import Change, differences
from pipeline.settings import Settings

#: How a row differs.
MISSING, EXTRA, DIFFERS, BEYOND = (
    "not in the tables",
    "only in the tables",
    "differs",
    "includes more than the inbox has",
)
#: Why a row isn't judged.
PAST = "its past is before the inbox begins"
#: Differences of a partition that are kept; all are counted.
KEPT = 1000
#: Names in differences of rows that are no family's.
POLICY, FORGOTTEN = "policy", "forgotten"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that isn't what the inbox makes it; `changes` go from the tables to the fold.

    The offsets are those that the rows include, None where there is none.
    """

    partition: int
    table: str
    key: str
    kind: str
    tables_offset: int | None
    fold_offset: int | None
    changes: tuple[Change, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "partition": self.partition,
            "table": self.table,
            "key": self.key,
            "kind": self.kind,
            "tables_offset": self.tables_offset,
            "fold_offset": self.fold_offset,
            "changes": [change.record() for change in self.changes],
        }


@dataclass(slots=True)
class TableVerdict:
    """What came of one partition; `equal` and `differing` count rows by table."""

    partition: int
    messages: int = 0
    equal: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "partition": self.partition,
            "messages": self.messages,
            "equal": dict(self.equal),
            "differing": dict(self.differing),
            "not_judged": dict(self.unjudged),
            "differences": [one.record() for one in self.differences],
            "notes": self.notes,
        }


def verify(
    settings: Settings, partitions: Sequence[int] | None = None, store: Path | None = None, tell: Tell = silent
) -> Iterator[TableVerdict]:
    """Yield the verdict on each partition (by default all): the tables against a fold of the inbox.

    The tables are what an orchestrator would recover: from the changelogs, or from the local store in the folder
    `store`, which nobody may have open, and the changelogs behind it. Raises BrokerError where Kafka or a topic isn't
    there, StoreError where the store can't be read.
    """
    for number in range(settings.topology.inbox_partitions) if partitions is None else partitions:
        with Log(settings, follows=False) as log, disk_store() as rows:
            yield _Verification(settings, number, log, rows, tell).run(store)


class _Verification:
    """One partition; what is under way while it is read is judged by each state that it may have been seen in."""

    def __init__(self, settings: Settings, number: int, log: Log, store: DiskStore, tell: Tell) -> None:
        self._settings = settings
        self._number = number
        self._log = log
        self._store = store
        self._tell = tell
        self._tables, self._made = LedgerRows(store, "tables"), LedgerRows(store, "fold")
        self._past = Past(store, number)
        self._verdict = TableVerdict(number)
        self._begins = self._ends = 0
        #: The policies that the tables may have, and the least that the row of what is forgotten may include.
        self._policies: set[bytes | None] = set()
        self._forgotten = -1

    def run(self, store: Path | None) -> TableVerdict:
        """Read and compare."""
        topology, log, number = self._settings.topology, self._log, self._number
        # what is decided by now is in the changelogs that are read after, and those have nothing beyond the inbox's end
        decided, _ = decided_to(self._settings, log, number)
        changelogs.merge(log, topology, number, self._tables, store, self._tell)
        self._begins, self._ends = log.bounds(topology.inbox, number)
        if self._begins > 0:
            self._note(f"the inbox begins at offset {self._begins}: families from before can't be judged")
            self._past.read(self._settings, log, number, self._begins, decided, self._tell)
            if not self._past.is_known:
                self._note("jobs.events begins later than the inbox: what differs may have a past, and isn't judged")
        if decided < self._ends:
            self._note(f"{self._ends - decided} messages were not decided when the reading began")
        self._fold(decided)
        self._compare_families()
        self._compare_documents()
        self._compare_active()
        self._compare_own()
        return self._verdict

    def _fold(self, decided: int) -> None:
        fold = TableFold(self._settings, self._number, self._made, self._first_policy())
        under_way = False
        for record in fold.records(self._log, self._begins, self._ends, self._tell):
            self._verdict.messages += 1
            if record.offset >= decided and not under_way:
                under_way = True
                self._note_own()
            family = _family_of(record.message) if under_way else None
            if family is not None:
                self._seen(family)
            fold.apply(record)
            if family is not None:
                self._seen(family)
            if under_way and record.message is not None and isinstance(record.message.body, PolicySet):
                self._policies.add(self._made.policy)
        if not under_way:
            self._note_own()

    def _first_policy(self) -> Policy:
        """Return the policy that the fold begins with: its message may have fallen to retention."""
        stored = self._tables.policy
        if self._begins == 0:
            return Policy()
        if stored is not None and offset_of(stored) < self._begins:
            return policy_in(stored)[1]
        return policy_of(self._settings)

    def _note_own(self) -> None:
        self._policies.add(self._made.policy)
        self._forgotten = self._made.forgotten

    def _seen(self, family: str) -> None:
        """Take down whether the tables have an open family as it is now; one such state is enough."""
        key = self._open_key(family)
        if self._store.get(key) != b"1":
            same = _same_family(self._tables.get(FAMILIES, family.encode()), self._made.get(FAMILIES, family.encode()))
            self._store.put(key, b"1" if same else b"0")

    def _open_key(self, family: str) -> bytes:
        return f"open/{family}".encode()

    def _is_open(self, family: str) -> bool:
        return self._store.get(self._open_key(family)) is not None

    def _compare_families(self) -> None:
        for key, value in self._tables.rows(FAMILIES):
            family, made = _text(key), self._made.get(FAMILIES, key)
            seen = self._store.get(self._open_key(family))
            if seen == b"1" or (seen is None and _same_family(value, made)):
                self._verdict.equal[FAMILIES] += 1
            else:
                self._judge(FAMILIES, key, family, value, made)
        for key, made in self._made.rows(FAMILIES):
            family = _text(key)
            if self._tables.get(FAMILIES, key) is None and self._store.get(self._open_key(family)) != b"1":
                self._judge(FAMILIES, key, family, None, made)

    def _compare_documents(self) -> None:
        for key, value in self._tables.rows(DOCUMENTS):
            family, made = family_of_job(_text(key)), self._made.get(DOCUMENTS, key)
            if made is not None and _same_document(value, made):
                self._verdict.equal[DOCUMENTS] += 1
            elif made is not None or not self._is_open(family) or offset_of(value) >= self._ends:
                self._judge(DOCUMENTS, key, family, value, made)
        for key, made in self._made.rows(DOCUMENTS):
            family = family_of_job(_text(key))
            if self._tables.get(DOCUMENTS, key) is None and not self._is_open(family):
                self._judge(DOCUMENTS, key, family, None, made)

    def _compare_active(self) -> None:
        """The index may hold more than it must: only what isn't there is a difference, and what can't be."""
        for key, value in self._tables.rows(ACTIVE):
            if offset_of(value) >= self._ends:
                self._judge(ACTIVE, key, _text(key), value, self._made.get(ACTIVE, key))
        for key, made in self._made.rows(ACTIVE):
            if self._tables.get(ACTIVE, key) is not None:
                self._verdict.equal[ACTIVE] += 1
            elif not self._is_open(_text(key)):
                self._judge(ACTIVE, key, _text(key), None, made)

    def _compare_own(self) -> None:
        policy, made = self._tables.policy, self._made.policy
        if policy not in self._policies and (policy is None or offset_of(policy) >= self._begins):
            changes = _changes(_policy_fields(policy), _policy_fields(made))
            self._differs(FAMILIES, POLICY, _kind(policy, made, self._ends), policy, made, changes)
        forgotten = self._tables.forgotten
        if forgotten >= self._ends or forgotten < self._forgotten:
            kind = BEYOND if forgotten >= self._ends else DIFFERS
            offsets = (forgotten, self._forgotten)
            self._keep(Difference(self._number, FAMILIES, FORGOTTEN, kind, *offsets))

    def _judge(self, table: str, key: bytes, family: str, value: bytes | None, made: bytes | None) -> None:
        """Keep a row that differs; count it alone where its family may have a past that the fold can't know."""
        kind = _kind(value, made, self._ends)
        if kind != BEYOND and self._begins > 0 and (family in self._past or 0 <= offset_of(value) < self._begins):
            self._verdict.unjudged[PAST] += 1
            return
        fields = (_fields(table, value), _fields(table, made))
        self._differs(table, _text(key), kind, value, made, _changes(*fields))

    def _differs(
        self, table: str, key: str, kind: str, value: bytes | None, made: bytes | None, changes: tuple[Change, ...]
    ) -> None:
        offsets = (None if value is None else offset_of(value), None if made is None else offset_of(made))
        self._keep(Difference(self._number, table, key, kind, *offsets, changes if kind == DIFFERS else ()))

    def _keep(self, difference: Difference) -> None:
        self._verdict.differing[difference.table] += 1
        if len(self._verdict.differences) < KEPT:
            self._verdict.differences.append(difference)

    def _note(self, text: str) -> None:
        self._verdict.notes.append(text)


def _family_of(message: Inbox | None) -> str | None:
    """Return the family that a message may change, None where it changes none."""
    if message is None or isinstance(message.body, Tick | Heartbeat | PolicySet):
        return None
    return message.family


def _kind(value: bytes | None, made: bytes | None, ends: int) -> str:
    if value is None:
        return MISSING
    if offset_of(value) >= ends:
        return BEYOND
    return EXTRA if made is None else DIFFERS


def _same_family(value: bytes | None, made: bytes | None) -> bool:
    if value is None or made is None or value == made:
        return value == made
    try:
        # a row of before has fewer fields, which have defaults
        return offset_of(value) == offset_of(made) and Family.load(body_of(value)) == Family.load(body_of(made))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _same_document(value: bytes, made: bytes) -> bool:
    if value == made:
        return True
    try:
        return offset_of(value) == offset_of(made) and Document.load(body_of(value)) == Document.load(body_of(made))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _fields(table: str, value: bytes | None) -> Any:
    """Return a row as JSON; as text where it is none."""
    if value is None or table == ACTIVE:
        return {}
    try:
        return orjson.loads(body_of(value))
    except orjson.JSONDecodeError:
        return _text(body_of(value))


def _policy_fields(value: bytes | None) -> Any:
    if value is None:
        return {}
    try:
        inbox_id, policy = orjson.loads(body_of(value))
        return {"inbox_id": inbox_id, "policy": orjson.loads(policy)}
    except (ValueError, TypeError):
        return _text(body_of(value))


def _changes(value: Any, made: Any) -> tuple[Change, ...]:
    return tuple(differences(value, made))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
