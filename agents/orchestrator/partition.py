"""One inbox partition while this process owns it: its clock, its policy, and the batches it applies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from agents.orchestrator.batch import Batch
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.sweep import Sweep
from agents.orchestrator.tables import LedgerTables, Row
from pipeline.codec import Codec, DecodeError
from pipeline.crash_points import here
from pipeline.ledger.clock import Clock
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At, Decision
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Due, Heartbeat, Inbox, PolicySet, Tick

log = structlog.stdlib.get_logger(__name__)

#: Families that are read in one go at recovery: some ms of them.
_RECOVERED_AT_ONCE = 200
#: Families that stay in the index although all their jobs have ended, until they leave it together.
_IDLE_KEPT = 200


@dataclass(frozen=True, slots=True)
class Record:
    """An inbox record as it was read; `timestamp` is its LogAppendTime in ms."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class LostRecordsError(Exception):
    """A record came before those that lie between it and the last one; who reads on would commit over them."""


class Partition:
    """Applies the records of one partition in order; whatever escapes must end the process."""

    def __init__(
        self,
        number: int,
        tables: LedgerTables,
        outputs: Outputs,
        codec: Codec,
        check: Callable[[], None],
        begins: int | None = None,
    ) -> None:
        self.number = number
        self.clock = Clock()
        #: Set whenever a batch is done: the ticker waits for its tick to come back.
        self.applied = asyncio.Event()
        self._tables = tables
        self._outputs = outputs
        self._codec = codec
        self._check = check
        self._active: set[str] = set()
        #: The offset after the last record's, None before the first.
        self._next: int | None = None
        #: The offset that the first may have at most, where that is known: what lies before is applied.
        self._begins = begins
        self._sweep = Sweep(number, tables)
        #: The highest inbox offset that the tables include, as far as recovery looked.
        self.highest = -1
        #: By inbox offset, the documents that messages delete which are read again.
        self._deletions: dict[int, list[str]] = {}
        #: In the index, but without unfinished jobs.
        self._idle: set[str] = set()

    def needs_ticks(self, now: int) -> bool:
        """Say whether time must pass (`now` in ms): a job is unfinished, or there may be something to forget."""
        return self.clock.has_timers or self._sweep.is_due(now)

    async def recover(self) -> None:
        """Rebuild the clock from the index of unfinished families, and repair what an old owner set back."""
        stored = self._tables.policy(self.number)
        self.clock = Clock(stored[1] if stored else Policy())
        self._active, self._idle = set(), set()
        self._deletions = self._tables.deletions(self.number)
        self.highest = max(self._tables.policy_offset(self.number), self._tables.forgotten(self.number))
        for count, name in enumerate(self._tables.active(self.number)):
            if count % _RECOVERED_AT_ONCE == 0:
                # many unfinished families must not make the loop stand still: the stall guard would end the process
                await asyncio.sleep(0)
            family = self._tables.family(self.number, name)
            self._active.add(name)
            self.highest = max(self.highest, family.offset)
            self.clock.sync(family)
            if not family.jobs:
                self._idle.add(name)
        rows = self._tables.set_back_rows(self.number)
        if rows:
            log.warning("writing again what an old owner set back", partition=self.number, rows=len(rows))
            await self._outputs.back(rows)
        self._tables.written_again(self.number)

    @property
    def reached(self) -> int | None:
        """The offset after the last record that was applied, None before the first."""
        return self._next

    async def apply(self, records: Sequence[Record]) -> None:
        """Apply the records: decide, publish, write the tables, await the changelog. Then they may be acknowledged.

        Raises LostRecordsError, before anything is applied, where one of them doesn't follow on what came before: the
        inbox is neither compacted nor written in transactions, so the reader has lost something.
        """
        batch = Batch()
        for record in records:
            self._follow(record.offset)
        for record in records:
            self._take(batch, record)
        here("ledger.decided")
        self._check()
        deleted = batch.deleted
        if deleted:
            batch.before.append(self._tables.deletions_row(self.number, deleted, records[-1].offset))
        for row in batch.before:
            row.write()
        here("ledger.documents-stored")
        publishing = self._outputs.publish(batch.outputs, self.number)
        await asyncio.gather(publishing, self._outputs.back(batch.before))
        here("ledger.outputs-delivered")
        self._check()
        families = [batch.families[family] for family in sorted(batch.touched)]
        rows = [self._tables.family_row(self.number, family) for family in families if not family.is_empty]
        for row in rows:
            row.write()
        here("ledger.families-stored")
        await self._outputs.back(rows)
        here("ledger.families-delivered")
        await self._forget(batch, deleted, [family for family in families if family.is_empty])
        self.applied.set()

    def _follow(self, offset: int) -> None:
        wanted = self._begins if self._next is None else self._next
        if wanted is not None and offset > wanted:
            raise LostRecordsError(f"inbox {self.number}: {offset} came where {wanted} was to come")
        # what is read again after a seek comes once more, from further back
        self._next = offset + 1

    def _take(self, batch: Batch, record: Record) -> None:
        try:
            message = Inbox.of(self._codec.decode("inbox", record.value))
        except (DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self._bury(batch, record, f"{type(error).__name__}: {error}")
            return
        try:
            self._apply(batch, message, At(self.number, record.offset, record.timestamp))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.exception("a message could not be applied", partition=self.number, offset=record.offset)
            self._bury(batch, record, f"not applied: {type(error).__name__}: {error}")

    def _apply(self, batch: Batch, message: Inbox, at: At) -> None:
        match message.body:
            case Tick() as tick:
                batch.ticked = True
                found = self.clock.tick(tick, at)
                if self.clock.last_tick == at.offset:
                    found += self._sweep.tick(at, self.clock.policy)
                batch.outputs += [self._outputs.due(one, self.number) for one in found]
            case Heartbeat() as heartbeat:
                batch.outputs += [self._outputs.command(stop, "") for stop in self.clock.heartbeat(heartbeat)]
            case PolicySet() as policy:
                self._set_policy(batch, policy, at)
            case Due() as due:
                following = self._sweep.came_back(due, at.timestamp, self.clock.policy)
                batch.outputs += [self._outputs.due(one, self.number) for one in following]
                self._decide(batch, message, at)
            case _:
                self._decide(batch, message, at)

    def _decide(self, batch: Batch, message: Inbox, at: At) -> None:
        family = batch.families.get(message.family) or self._tables.family(self.number, message.family)
        if at.offset <= family.offset:
            # written before a crash, but perhaps not to the changelog: it is written there again
            batch.families[family.id] = family
            batch.touched.add(family.id)
            batch.drop(self._left_by(at.offset), at.offset)
            self.clock.sync(family)
            return

        def document(job_id: str) -> Document | None:
            if job_id in batch.documents:
                return batch.documents[job_id]
            return self._tables.document(self.number, job_id)

        self._adopt(batch, family, decide(family, message, at, self.clock.policy, document), at)

    def _adopt(self, batch: Batch, before: Family, decision: Decision, at: At) -> None:
        family = decision.family
        # what can't be encoded is an error before anything is taken over
        outputs = list(self._outputs.of(decision, self.number))
        rows = [
            self._tables.document_row(self.number, job_id, document, at.offset)
            for job_id, document in decision.documents.items()
            if document is not None
        ]
        if family.jobs and (family.id not in self._active or not before.jobs):
            # again with each new beginning: an old owner's late tombstone then includes less, and a replay after a
            # crash writes what may have reached the local store alone
            rows.append(self._tables.active_row(self.number, family.id, at.offset, active=True))
            self._active.add(family.id)
        batch.outputs += outputs
        batch.before += rows
        batch.documents.update(decision.documents)
        batch.drop((job_id for job_id, document in decision.documents.items() if document is None), at.offset)
        batch.families[family.id] = family
        batch.touched.add(family.id)
        self.clock.sync(family)

    def _left_by(self, offset: int) -> list[str]:
        """Return the documents that a message that is read again deletes, also those that are gone from here.

        Whether the changelog has their tombstones can't be seen here. One more is taken over by all who lack one, and
        takes nothing that was made anew since: that includes more than the message.
        """
        return [
            job_id
            for job_id in self._deletions.get(offset, ())
            if self._tables.document_offset(self.number, job_id) <= offset
        ]

    async def _forget(self, batch: Batch, deleted: Mapping[int, Sequence[str]], empty: list[Family]) -> None:
        """Delete what the batch forgets, now that the families are in the changelog, and what comes after those.

        What is read again after a crash in between must find the documents that it was decided with, so they go last.
        """
        gone = [*batch.after, *self._forgotten(empty)]
        for row in gone:
            row.write()
        await self._outputs.back(gone)
        documents = self._tombstones(deleted)
        for row in documents:
            row.write()
        await self._outputs.back([*documents, *self._finished(batch)])

    def _tombstones(self, deleted: Mapping[int, Sequence[str]]) -> list[Row]:
        """Return the rows that delete documents, by the inbox offset of their deletion."""
        return [
            self._tables.document_row(self.number, job_id, None, offset)
            for offset, job_ids in deleted.items()
            for job_id in job_ids
        ]

    def _forgotten(self, empty: list[Family]) -> list[Row]:
        """Return the rows that delete families, in the order in which they are to be written.

        A family that is empty and never had a row needs none; one that is read again as gone gets its tombstone again.
        """
        known = self._tables.forgotten(self.number)
        gone = [one for one in empty if one.offset <= known or self._tables.has_family(self.number, one.id)]
        return self._tables.forgotten_rows(self.number, gone)

    def _finished(self, batch: Batch) -> list[Row]:
        """Take families without unfinished jobs out of the index, after their state is safe; many at a time.

        The index may hold too much: that costs the next owner a look at each, nothing else.
        """
        for name in batch.touched & self._active:
            (self._idle.discard if batch.families[name].jobs else self._idle.add)(name)
        if len(self._idle) < _IDLE_KEPT and not (batch.ticked and self._idle):
            return []
        rows = []
        for name in sorted(self._idle):
            offset = self._tables.family(self.number, name).offset
            if self._tables.active_offset(self.number, name) > offset:
                # an owner that died entered it ahead of a state that is yet to be decided again
                continue
            rows.append(self._tables.active_row(self.number, name, offset, active=False))
            rows[-1].write()
            self._active.discard(name)
            self._idle.discard(name)
        return rows

    def _set_policy(self, batch: Batch, message: PolicySet, at: At) -> None:
        try:
            self.clock.follow(Policy.of(message.policy))
        except (ValueError, TypeError, AttributeError) as error:
            log.error("a policy can't be read", partition=at.partition, offset=at.offset, error=str(error))
            return
        # after the families: what came before the policy in this batch must not be decided again by it
        batch.after.append(self._tables.policy_row(self.number, message.inbox_id, self.clock.policy, at.offset))

    def _bury(self, batch: Batch, record: Record, reason: str) -> None:
        topic = self._outputs.inbox_name
        batch.outputs.append(self._outputs.dead(topic, self.number, record.offset, record.key, record.value, reason))
