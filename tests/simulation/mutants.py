"""Bugs that the simulation must catch: each breaks a promise of the design, or opens a hole that a decision closed."""

import asyncio
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from agents.changelog_reader import Change
from agents.orchestrator import merging_table, outputs
from agents.orchestrator.batch import Batch
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import Partition
from agents.orchestrator.tables import LedgerTables
from pipeline.holding.memory import Remembered
from pipeline.ledger import control, leases, reports, timers
from pipeline.ledger.case import Case
from pipeline.ledger.clock import Clock
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages.command import GRANT, Command
from pipeline.messages.inbox import Inbox, Tick
from pipeline.scheduling.credit import Account
from pipeline.statuses import BLOCKING, Status

deciding = importlib.import_module("pipeline.ledger.decide")

Patch = AbstractContextManager[Any]


@dataclass(frozen=True)
class Mutant:
    """A bug; `seed` is the world to begin with, the one that caught it when it was last looked for."""

    name: str
    breaks: str
    patches: Callable[[], Sequence[Patch]]
    seed: int = 0

    def planted(self) -> ExitStack:
        """Return a context in which the real code has the bug."""
        stack = ExitStack()
        for one in self.patches():
            stack.enter_context(one)
        return stack


def _unfenced(case: Case, report: Any) -> None:
    job = case.family.jobs.get(report.job_id)
    if job is not None and job.phase is Phase.LEASED:
        report = replace(report, attempt=job.attempt, holder=job.holder)
    reports.reported(case, report)


def _ending_again(case: Case, report: Any) -> None:
    stub = case.family.done.get(report.job_id)
    if stub is None or report.kind not in ("completed", "failed"):
        reports.reported(case, report)
        return
    job = Job(stub.submission_id, "q", 0, 0, 0, attempt=stub.attempt, seq=stub.seq, holder=report.holder)
    case.finish(report.job_id, job, Status.COMPLETED)


_record, _refuse, _adopt, _partition_apply, _tick = (
    Case.record, Case.refuse, Partition._adopt, Partition._apply, Clock.tick,
)  # fmt: skip


def _skipping(self: Case, job_id: str, job: Job, status: Status, *args: Any, **more: Any) -> Job:
    again = status is Status.QUEUED and job.attempt > 1
    return _record(self, job_id, replace(job, seq=job.seq + 1) if again else job, status, *args, **more)


def _refusing_without_a_number(self: Case, job_id: str, status: str, reason: str) -> None:
    family = self.family
    _refuse(self, job_id, status, reason)
    self.decision.family = family


def _ticking_by_the_time_of_day(self: Clock, tick: Tick, at: Any) -> Any:
    if tick.previous not in (-1, self.last_tick):
        return []
    passed = at.timestamp - self._last_time if self._last_time else 0
    self._ticks += max(0, passed // self.policy.tick_ms - 1)
    resumed, late = self._resumed, replace(tick, resumed=False)
    found = _tick(self, late, at)
    self._resumed = resumed
    return [one for one in found if one.kind != timers.LEASE] + self._expired(at.offset)


def _never_resuming(self: Clock, tick: Tick, at: Any) -> Any:
    resumed = self._resumed
    found = _tick(self, tick, at)
    self._resumed = resumed
    if self.last_tick != at.offset:
        return found
    return [one for one in found if one.kind != timers.LEASE] + self._expired(at.offset)


def _granting_silently(case: Case, claim: Any, job: Job) -> None:
    document = case.document(claim.job_id).run_document(job)
    case.command(Command(GRANT, claim.holder, claim.job_id, job.attempt, claim.claim_id,
                         lease_ms=case.policy.lease_ms, document=document))  # fmt: skip


def _renewing_for_anybody(self: Clock, heartbeat: Any) -> list[Command]:
    self._met(heartbeat.holder)
    for held in heartbeat.attempts:
        timer = self._timers.get(held.job_id)
        if timer:
            timer.renewed = self._ticks
    return []


async def _state_first(self: Partition, records: Any) -> None:
    batch = Batch()
    for record in records:
        self._take(batch, record)
    for row in batch.before:
        row.write()
    await self._outputs.back(batch.before)
    families = [batch.families[family] for family in sorted(batch.touched)]
    rows = [self._tables.family_row(self.number, family) for family in families if not family.is_empty]
    for row in rows:
        row.write()
    await self._outputs.back(rows)
    await self._outputs.publish(batch.outputs, self.number)
    await self._forget(batch, [family for family in families if family.is_empty])
    self.applied.set()


async def _backing_without_waiting(self: Outputs, rows: Any) -> None:
    for row in rows:
        self._publisher.produce(row.changelog, row.key, row.value, row.partition, lambda _: None, row.headers)
    await asyncio.sleep(0)


async def _publishing_without_waiting(self: Outputs, outputs: Any, partition: int) -> None:
    for one in outputs:
        self._publisher.produce(one.topic, one.key, one.value, one.partition, lambda _: None, one.headers)
    await asyncio.sleep(0)


def _deciding_at_the_tick(self: Partition, batch: Batch, message: Inbox, at: Any) -> None:
    if not isinstance(message.body, Tick):
        _partition_apply(self, batch, message, at)
        return
    batch.ticked = True
    for due in self.clock.tick(message.body, at):
        self._decide(batch, Inbox(due.job_id.partition("-")[0], due), at)


def _keeping_the_last_outputs(self: Partition, batch: Batch, before: Any, decision: Any, at: Any) -> None:
    batch.outputs = [one for one in batch.outputs if one.family != decision.family.id]
    _adopt(self, batch, before, decision, at)


def _entering_the_index_once(self: Partition, batch: Batch, before: Family, decision: Any, at: Any) -> None:
    # as if the family had been active before: no row for a new beginning
    _adopt(self, batch, before if before.jobs else replace(before, jobs={"as": Job("", "q", 0, 0, 0)}), decision, at)


def _giving_up_nothing(case: Case, job_id: str, job: Job, reason: str) -> None:
    leases.give_up(case, job_id, replace(job, attempt=job.attempt - 1), reason)


def _forgetting_all(case: Case, due: Any) -> None:
    case.decision.family, dropped = case.family.without_stubs_before(1 << 60)
    case.forget_documents(dropped)


def _deleting_again_what_is_here(self: Partition, offset: int) -> list[str]:
    return [job_id for job_id in _left_by(self, offset) if self._tables.document_offset(self.number, job_id) >= -1]


async def _deleting_from_the_changelog_first(
    self: Partition, batch: Batch, deleted: Mapping[int, Sequence[str]], empty: list[Family]
) -> None:
    await _forget(self, batch, {}, empty)
    documents = self._tombstones(deleted)
    await self._outputs.back(documents)
    for row in documents:
        row.write()


def _granting_what_waits(case: Case, claim: Any) -> None:
    job = case.family.jobs.get(claim.job_id)
    named = claim if job is None or job.phase is not Phase.WAITING else replace(claim, attempt=job.attempt)
    leases.claimed(case, named)


def _going_past_what_is_set_back(self: MergingTable, changelog: Any, changes: Sequence[Change]) -> None:
    _take_over(self, changelog, changes)
    self.data.set_persisted_offset(changelog, max(change.offset for change in changes))


_revoke, _take_over = control._revoke, MergingTable.take_over
_left_by, _forget = Partition._left_by, Partition._forget


MUTANTS = (
    Mutant("fence not compared", "a report counts for whoever holds the job now (design §4)",
           lambda: [patch.object(deciding, "reported", _unfenced)], seed=125),
    Mutant("dedup ignores a retry that is pending", "of a job in back-off a duplicate runs",
           lambda: [patch.object(Job, "blocks", property(lambda self: self.status in BLOCKING))], seed=8),
    Mutant("terminal is not absorbing", "a final report that is repeated ends its job again",
           lambda: [patch.object(deciding, "reported", _ending_again)], seed=0),
    Mutant("seq skipped", "each retry leaves a gap in the numbers",
           lambda: [patch.object(Case, "record", _skipping)], seed=0),
    Mutant("refusals take no number", "two facts of a job have one seq (decision 004)",
           lambda: [patch.object(Case, "refuse", _refusing_without_a_number)], seed=0),
    Mutant("leases end by the time of day", "an outage of ours expires everybody",
           lambda: [patch.object(Clock, "tick", _ticking_by_the_time_of_day)], seed=11),
    Mutant("resumed ticks ignored", "who reconnects late after an outage of ours is expired",
           lambda: [patch.object(Clock, "tick", _never_resuming)], seed=83),
    Mutant("source offsets not remembered", "what the gate forwards twice is applied twice",
           lambda: [patch.object(Family, "has_applied", lambda self, source: False)], seed=2),
    Mutant("merge believes the later record", "an old owner sets families back",
           lambda: [patch.object(merging_table, "takes_over", lambda stored, value, headers: True)], seed=1),
    Mutant("grant without tombstone", "the run topic keeps what no longer waits",
           lambda: [patch.object(leases, "_grant", _granting_silently)], seed=0),
    Mutant("heartbeats of anybody renew", "who lost a lease keeps it alive, and is never stopped",
           lambda: [patch.object(Clock, "heartbeat", _renewing_for_anybody)], seed=0),
    Mutant("redelivery counted as new", "the same submission again makes its job again",
           lambda: [patch.object(Family, "knows", lambda self, job_id: False)], seed=2),
    Mutant("state before outputs", "after a crash outputs are never published",
           lambda: [patch.object(Partition, "apply", _state_first)], seed=17),
    Mutant("acknowledged before the changelog", "a crash loses state that nobody reads again",
           lambda: [patch.object(Outputs, "back", _backing_without_waiting)], seed=1),
    Mutant("acknowledged before the outputs", "a crash loses facts",
           lambda: [patch.object(Outputs, "publish", _publishing_without_waiting)], seed=1),
    Mutant("timers decide at the tick", "a decision rests on what isn't in the log (decision 002)",
           lambda: [patch.object(Partition, "_apply", _deciding_at_the_tick)], seed=0),
    Mutant("of a batch the last outputs alone", "facts between are lost (decision 003)",
           lambda: [patch.object(Partition, "_adopt", _keeping_the_last_outputs)], seed=1),
    Mutant("forgetting takes along what is not over", "what completed runs again within the window (decision 007)",
           lambda: [patch.object(timers, "forget", _forgetting_all)], seed=24),
    Mutant("families enter the index once", "the next owner knows no timers of a job",
           lambda: [patch.object(Partition, "_adopt", _entering_the_index_once)], seed=59),
    Mutant("lost records are read over", "what a fetch lost is committed (Faust's streams)",
           lambda: [patch.object(Partition, "_follow", lambda self, offset: None)], seed=5),
    Mutant("an attempt waits twice", "a lease that was given up comes back as the same attempt",
           lambda: [patch.object(module, "give_up", _giving_up_nothing) for module in (timers, reports)], seed=0),
    Mutant("revoked while publishing", "products of a revoked job are shown",
           lambda: [patch.dict(control._ON_JOBS, {"revoke": lambda case, message, job, arguments: _revoke(
               case, message, replace(job, permitted=False), arguments)})], seed=8),
    Mutant("grants what waits", "a late claim takes another attempt than it names",
           lambda: [patch.object(deciding, "claimed", _granting_what_waits)], seed=4),
    Mutant("forgets what it ran", "a grant that comes twice is run twice",
           lambda: [patch.object(Remembered, "holds", lambda self, job_id, attempt, now: False)], seed=30),
    Mutant("set back rows are not written again", "compaction keeps what an old owner wrote late",
           lambda: [patch.object(MergingTable, "set_back", lambda self, partition: {})], seed=14),
    Mutant("recovery goes past rows that were set back", "who crashes before they are written again forgets them",
           lambda: [patch.object(MergingTable, "take_over", _going_past_what_is_set_back)], seed=14),
    Mutant("deletions are not said before they are made", "after a crash documents stay that the log deletes",
           lambda: [patch.object(LedgerTables, "deletions", lambda self, partition: {})], seed=14),
    Mutant("what a disk lacks is not deleted again", "the changelog keeps what one disk deleted",
           lambda: [patch.object(Partition, "_left_by", _deleting_again_what_is_here)], seed=222),
    Mutant("documents go from the changelog first", "a disk comes back after another finished",
           lambda: [patch.object(Partition, "_left_by", _deleting_again_what_is_here),
                    patch.object(Partition, "_forget", _deleting_from_the_changelog_first)], seed=222),
    Mutant("refused claims keep their credit", "slots are lost, and jobs wait for ever",
           lambda: [patch.object(Account, "refuse", lambda self, key: None)], seed=4),
    Mutant("grants in clear", "other workers read a job and its token (decision 029)",
           lambda: [patch.object(outputs, "seal", lambda grant: grant)], seed=3),
)  # fmt: skip
