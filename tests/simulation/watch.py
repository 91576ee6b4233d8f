"""What must hold of each record that an owner publishes, and of each offset that it commits."""

from collections.abc import Callable
from typing import Any

from agents.orchestrator.row import body_of, offset_of
from pipeline.codec import Codec
from pipeline.ledger.decision import Decision
from pipeline.ledger.document import Document
from pipeline.ledger.state import Family
from pipeline.messages.command import GRANT, PERMIT, STOP
from pipeline.messages.inbox import Claim, Heartbeat
from pipeline.topology import ORCHESTRATOR_ID, TABLES, Topology
from tests.simulation.bus import Bus, Entry
from tests.simulation.oracle import Oracle, ViolationError
from tests.simulation.reference import Reference

Key = tuple[Any, ...]


class Merged:
    """A changelog partition as whoever reads all of it must see it: of each key what includes most."""

    def __init__(self) -> None:
        self.offsets: dict[bytes, int] = {}
        self.values: dict[bytes, bytes | None] = {}
        #: of the rows whose last record includes less than one before it: where that last one lies
        self.set_back: dict[bytes, int] = {}
        #: rows that are gone for whoever reads to the end: the last record of each deletes it, and includes most
        self.gone: set[bytes] = set()

    def take(self, entry: Entry) -> int:
        offset = offset_of(entry.value) if entry.value is not None else int(dict(entry.headers)["offset"])
        if offset >= self.offsets.get(entry.key, -3):
            self.offsets[entry.key], self.values[entry.key] = offset, entry.value
            self.set_back.pop(entry.key, None)
            (self.gone.add if entry.value is None else self.gone.discard)(entry.key)
        elif self.values[entry.key] is not None:
            # a row that was deleted and comes back is swept again: the ledger's own times see to that
            self.set_back[entry.key] = entry.offset
        else:
            self.gone.discard(entry.key)
        return offset


class Watch:
    """Sees all that reaches the broker."""

    def __init__(self, bus: Bus, topology: Topology, codec: Codec, oracle: Oracle) -> None:
        self.codec = codec
        self.oracle = oracle
        self.topology = topology
        self.references = [Reference(number, codec, oracle) for number in range(topology.inbox_partitions)]
        self.merged = {(table, number): Merged() for table in TABLES for number in range(topology.inbox_partitions)}
        self.committed = [0] * topology.inbox_partitions
        self.folded = 0
        self.facts: set[Key] = set()
        self.runs: set[Key] = set()
        #: how much of the inbox there was when each was last published
        self.commands: dict[Key, int] = {}
        #: no grant may be written in clear
        self.sealing = False
        #: by attempt: its first claim
        self.claims: dict[tuple[str, int], Entry] = {}
        #: ms after which each of the next claims that have become late comes again
        self.late_claims: list[int] = []
        self.claim_again: Callable[[int, Entry, int], None] = lambda partition, entry, later: None
        self.accepted: dict[str, int] = {}
        observers = bus.observers
        observers.setdefault(topology.inbox.name, []).append(self._inbox)
        observers.setdefault(topology.events.name, []).append(self._event)
        observers.setdefault(topology.commands.name, []).append(self._command)
        observers.setdefault(topology.dead.name, []).append(self._dead)
        for table in TABLES:
            name = f"{ORCHESTRATOR_ID}-{table}-changelog"
            observers.setdefault(name, []).append(lambda p, e, table=table: self._changed(table, p, e))

    def watch_queue(self, bus: Bus, queue: str) -> None:
        bus.observers.setdefault(self.topology.run(queue).name, []).append(lambda _, e: self._run(queue, e))

    def reference_of(self, job_id: str) -> Reference:
        return self.references[self.topology.job_partition(job_id)]

    def commit(self, partition: int, upto: int) -> None:
        """All before `upto` must be published, and be in the changelog."""
        reference = self.references[partition]
        for offset in range(self.committed[partition], upto):
            self._is_published(reference, partition, offset)
        self.committed[partition] = max(self.committed[partition], upto)

    def _is_published(self, reference: Reference, partition: int, offset: int) -> None:
        folded = reference.log[offset]
        where = f"inbox {partition}/{offset} was acknowledged"
        if isinstance(folded.message.body, Heartbeat):
            return
        if folded.decision is None or folded.after is None:
            return
        for fact in folded.decision.facts:
            if (fact.job_id, fact.seq) not in self.facts:
                raise ViolationError(f"{where} before its fact was published: {fact.job_id} {fact.status}")
        for one in folded.decision.dispatches:
            if self._dispatch(one.queue, one.key, one.run, one.headers) not in self.runs:
                raise ViolationError(f"{where} before its run record was published: {one}")
        for command in folded.decision.commands:
            if (command.kind, command.holder, command.job_id, command.attempt) not in self.commands:
                raise ViolationError(f"{where} before its command was published: {command}")
        for job_id, document in folded.decision.documents.items():
            have = self.merged["documents", partition].offsets.get(job_id.encode(), -3)
            if document is None and have < offset:
                raise ViolationError(f"{where} before the document of {job_id} was deleted (it includes {have})")
        self._is_stored(folded.after, partition, offset, where)

    def _is_stored(self, family: Family, partition: int, offset: int, where: str) -> None:
        key = family.id.encode()
        merged = self.merged["families", partition]
        if family.is_empty:
            return
        have = merged.offsets.get(key, -3)
        if have < offset:
            raise ViolationError(f"{where} before its family's row was written (it includes {have})")
        state = self.references[partition].as_of(family.id, have)
        if state is not None and state.jobs and self.merged["active", partition].values.get(key) is None:
            raise ViolationError(f"{where}, and its family with unfinished jobs is not in the index")
        for job_id in family.jobs:
            if self.merged["documents", partition].offsets.get(job_id.encode()) is None:
                raise ViolationError(f"{where} before the document of {job_id} was written")

    def begins(self, partition: int, read: dict[str, int]) -> None:
        """Before an owner begins, what it has read of an older one's late records must be put right."""
        for table, upto in read.items():
            for key, offset in self.merged[table, partition].set_back.items():
                if offset < upto:
                    raise ViolationError(f"an owner began, and row {key!r} of {table} {partition} is set back")

    def stops(self) -> None:
        """All who listed what they don't hold must have been told to stop, once that was acknowledged."""
        left = []
        for partition, offset, folded, holder, job_id, attempt in self.oracle.stops:
            if offset >= self.committed[partition]:
                left.append((partition, offset, folded, holder, job_id, attempt))
            elif self.commands.get((STOP, holder, job_id, attempt), -1) < folded:
                raise ViolationError(f"{holder} lists {job_id}/{attempt}, holds it not, and was not told to stop")
        self.oracle.stops = left

    def _inbox(self, partition: int, entry: Entry) -> None:
        self.folded += 1
        self.oracle.folded = self.folded
        folded = self.references[partition].fold(entry)
        if isinstance(folded.message.body, Claim):
            self.claims.setdefault((folded.message.body.job_id, folded.message.body.attempt), entry)
        if self.late_claims and folded.decision is not None:
            self._have_late_claims(partition, folded.decision)

    def _have_late_claims(self, partition: int, decision: Decision) -> None:
        for one in decision.dispatches:
            late = self.claims.get((one.run.job_id, one.run.attempt - 1)) if one.run is not None else None
            if late is not None and self.late_claims:
                self.claim_again(partition, late, self.late_claims.pop(0))

    def _event(self, partition: int, entry: Entry) -> None:
        record = self.codec.decode("fact", entry.value)
        log = self.references[partition].log
        offset = record["inbox_offset"]
        decision = log[offset].decision if 0 <= offset < len(log) else None
        facts = decision.facts if decision is not None else []
        index = record["index"]
        if index >= len(facts) or facts[index].record() != record:
            raise ViolationError(f"a fact that the log does not give: {record['job_id']} seq {record['seq']} "
                            f"{record['status']} from {partition}/{offset}")  # fmt: skip
        self.facts.add((record["job_id"], record["seq"]))

    def _command(self, _: int, entry: Entry) -> None:
        record = self.codec.decode("command", entry.value)
        key = (record["kind"], record["holder"], record["job_id"], record["attempt"])
        self.commands[key] = self.folded
        job_id, attempt = record["job_id"], record["attempt"]
        in_clear = record["sealed"] is None or record["token"] or record["document"]
        if record["kind"] == GRANT and self.sealing and in_clear:
            raise ViolationError(f"a grant that was not sealed: {key}")
        if record["kind"] == STOP:
            self.oracle.stopped_rightly(self.reference_of(job_id), record["holder"], job_id, attempt)
        elif record["kind"] in (GRANT, PERMIT) and self.oracle.holders.get((job_id, attempt)) != record["holder"]:
            raise ViolationError(f"a {record['kind']} that the log does not give: {key}")

    def _run(self, queue: str, entry: Entry) -> None:
        run = None if entry.value is None else self.codec.decode("run", entry.value)
        headers = [(name, value.decode()) for name, value in entry.headers]
        key = entry.key.decode()
        if run is None:
            self.runs.add((queue, key, *headers))
        else:
            self.runs.add((queue, key, run["seq"], run["priority"], run["since"]))

    @staticmethod
    def _dispatch(queue: str, key: str, run: Any, headers: Any) -> Key:
        return (queue, key, *headers) if run is None else (queue, key, run.seq, run.priority, run.since)

    def _changed(self, table: str, partition: int, entry: Entry) -> None:
        offset = self.merged[table, partition].take(entry)
        if entry.key.startswith(b"!"):
            return
        name = entry.key.decode()
        reference = self.references[partition]
        if table == "families":
            if entry.value is None:
                state = reference.as_of(name, offset)
                if state is not None and not state.is_empty:
                    raise ViolationError(f"a family was deleted that is not empty: {name} at {partition}/{offset}")
                return
            state = reference.at(name, offset)
            if state is None or body_of(entry.value) != state.dump():
                raise ViolationError(f"a row that the log does not give: {name} at {partition}/{offset}: "
                                f"{body_of(entry.value)!r} is not {state and state.dump()!r}")  # fmt: skip
        elif table == "documents" and entry.value is not None:
            known = reference.every_document.get(name)
            if known is None or Document.load(body_of(entry.value)) != known:
                raise ViolationError(f"a document that the log does not give: {name}")
        elif table == "documents" and reference.keeps(name, offset):
            raise ViolationError(f"a document was deleted that the log keeps: {name} at {partition}/{offset}")

    def _dead(self, _: int, entry: Entry) -> None:
        raise ViolationError(f"a record was buried: {dict(entry.headers)}")
