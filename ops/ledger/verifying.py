"""Whether the tables are what the inbox makes of them: a fold beside the changelogs, one partition at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.orchestrator.policy import policy_of
from agents.orchestrator.row import offset_of, policy_in
from ops.ledger import changelogs
from ops.ledger.decided import decided_to
from ops.ledger.differences import (
    BEYOND,
    DIFFERS,
    FORGOTTEN,
    KEPT,
    PAST,
    POLICY,
    Difference,
    TableVerdict,
    changes_of,
    fields_of,
    kind_of,
    policy_fields,
    same_document,
    same_family,
    text_of,
)
from ops.ledger.folding import TableFold
from ops.ledger.past import Past
from ops.ledger.rows import ACTIVE, DOCUMENTS, FAMILIES, LedgerRows
from ops.reading.log import Log
from ops.replaying.reading import Tell, silent
from ops.replaying.store import DiskStore, disk_store
from pipeline.identity import family_of_job
from pipeline.ledger.policy import Policy
from pipeline.messages.inbox import Heartbeat, Inbox, PolicySet, Tick
from pipeline.replay.difference import Change
from pipeline.settings import Settings


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
            same = same_family(self._tables.get(FAMILIES, family.encode()), self._made.get(FAMILIES, family.encode()))
            self._store.put(key, b"1" if same else b"0")

    def _open_key(self, family: str) -> bytes:
        return f"open/{family}".encode()

    def _is_open(self, family: str) -> bool:
        return self._store.get(self._open_key(family)) is not None

    def _compare_families(self) -> None:
        for key, value in self._tables.rows(FAMILIES):
            family, made = text_of(key), self._made.get(FAMILIES, key)
            seen = self._store.get(self._open_key(family))
            if seen == b"1" or (seen is None and same_family(value, made)):
                self._verdict.equal[FAMILIES] += 1
            else:
                self._judge(FAMILIES, key, family, value, made)
        for key, made in self._made.rows(FAMILIES):
            family = text_of(key)
            if self._tables.get(FAMILIES, key) is None and self._store.get(self._open_key(family)) != b"1":
                self._judge(FAMILIES, key, family, None, made)

    def _compare_documents(self) -> None:
        for key, value in self._tables.rows(DOCUMENTS):
            family, made = family_of_job(text_of(key)), self._made.get(DOCUMENTS, key)
            if made is not None and same_document(value, made):
                self._verdict.equal[DOCUMENTS] += 1
            elif made is not None or not self._is_open(family) or offset_of(value) >= self._ends:
                self._judge(DOCUMENTS, key, family, value, made)
        for key, made in self._made.rows(DOCUMENTS):
            family = family_of_job(text_of(key))
            if self._tables.get(DOCUMENTS, key) is None and not self._is_open(family):
                self._judge(DOCUMENTS, key, family, None, made)

    def _compare_active(self) -> None:
        """The index may hold more than it must: only what isn't there is a difference, and what can't be."""
        for key, value in self._tables.rows(ACTIVE):
            if offset_of(value) >= self._ends:
                self._judge(ACTIVE, key, text_of(key), value, self._made.get(ACTIVE, key))
        for key, made in self._made.rows(ACTIVE):
            if self._tables.get(ACTIVE, key) is not None:
                self._verdict.equal[ACTIVE] += 1
            elif not self._is_open(text_of(key)):
                self._judge(ACTIVE, key, text_of(key), None, made)

    def _compare_own(self) -> None:
        policy, made = self._tables.policy, self._made.policy
        if policy not in self._policies and (policy is None or offset_of(policy) >= self._begins):
            changes = changes_of(policy_fields(policy), policy_fields(made))
            self._differs(FAMILIES, POLICY, kind_of(policy, made, self._ends), policy, made, changes)
        forgotten = self._tables.forgotten
        if forgotten >= self._ends or forgotten < self._forgotten:
            kind = BEYOND if forgotten >= self._ends else DIFFERS
            offsets = (forgotten, self._forgotten)
            self._keep(Difference(self._number, FAMILIES, FORGOTTEN, kind, *offsets))

    def _judge(self, table: str, key: bytes, family: str, value: bytes | None, made: bytes | None) -> None:
        """Keep a row that differs; count it alone where its family may have a past that the fold can't know."""
        kind = kind_of(value, made, self._ends)
        if kind != BEYOND and self._begins > 0 and (family in self._past or 0 <= offset_of(value) < self._begins):
            self._verdict.unjudged[PAST] += 1
            return
        fields = (fields_of(table, value), fields_of(table, made))
        self._differs(table, text_of(key), kind, value, made, changes_of(*fields))

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
