"""Time as one partition's log counts it: ticks, leases, timers (design §4 "Time is counted in ticks in the log").

Soft state, a fold over the log that starts anew with each owner: what it decides is said in `Due` messages,
which the ledger then applies like any other (decision 002). So a lost clock costs time, never correctness.
"""

import heapq
import zlib
from dataclasses import dataclass, field

from pipeline.identity import is_newer, worker_of
from pipeline.ledger import timers
from pipeline.ledger.decision import At
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages.command import STOP, Command
from pipeline.messages.inbox import Due, Heartbeat, Tick
from pipeline.statuses import Status

#: A tick that comes after this many intervals tells of an outage: it counts as resumed.
LATE_INTERVALS = 3
#: The part of an interval that lies between two ticks that count: one owner's are a whole one apart at least.
LEAST_PART = 0.75
#: Run records written again per tick at most, so that a million waiting jobs make no burst.
MAX_REPUBLISHED = 50


@dataclass(slots=True)
class Timer:
    """What the clock knows of one unfinished job; `renewed` is the number of the tick that last renewed its lease."""

    attempt: int
    phase: Phase
    holder: str
    renewed: int
    #: ms at which something falls due, and what; leases fall due by ticks alone
    due: int = 0
    #: the same as the job's state gives it: what is written again moves on from there
    base: int = 0
    kind: str = ""


@dataclass(slots=True)
class Clock:
    """The clock of one inbox partition."""

    policy: Policy = field(default_factory=Policy)
    #: inbox offset of the last tick that was heeded, counted or not, -1 before the first of this owner
    last_tick: int = -1
    _last_time: int = 0
    _ticks: int = 0
    _resumed: int = 0
    _timers: dict[str, Timer] = field(default_factory=dict)
    _families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _heap: list[tuple[int, str, int]] = field(default_factory=list)
    #: what is to be written again: bounded a tick, so it must not stand before anything else
    _slow: list[tuple[int, str, int]] = field(default_factory=list)
    _newest: dict[str, str] = field(default_factory=dict)

    @property
    def has_timers(self) -> bool:
        """Whether ticks are needed: some job is unfinished."""
        return bool(self._timers)

    @property
    def unfinished(self) -> int:
        """How many jobs are unfinished."""
        return len(self._timers)

    def follow(self, policy: Policy) -> None:
        """Go by another policy, for what waits and runs already too."""
        before, self.policy = self.policy, policy
        for job_id, timer in self._timers.items():
            if timer.kind == timers.REPUBLISH:
                due = timer.base - _republished_after(job_id, before) + _republished_after(job_id, policy)
            elif timer.kind == timers.LIMIT:
                due = timer.base - before.hard_limit_grace_ms + policy.hard_limit_grace_ms
            else:
                continue
            if due != timer.base:
                timer.base = timer.due = due
                self._push(job_id, timer)

    def sync(self, family: Family) -> None:
        """Take over a family's state after a decision, or at recovery."""
        known = self._families.pop(family.id, ())
        for job_id in known:
            if job_id not in family.jobs:
                self._timers.pop(job_id, None)
        if family.jobs:
            self._families[family.id] = tuple(family.jobs)
            for job_id, job in family.jobs.items():
                self._set(job_id, job)

    def heartbeat(self, heartbeat: Heartbeat) -> list[Command]:
        """Renew the leases that are listed and held; return a stop for each attempt that its sender doesn't hold."""
        self._met(heartbeat.holder)
        stops = []
        for held in heartbeat.attempts:
            timer = self._timers.get(held.job_id)
            if timer and (timer.phase, timer.attempt, timer.holder) == (Phase.LEASED, held.attempt, heartbeat.holder):
                timer.renewed = self._ticks
            else:
                stops.append(
                    Command(STOP, heartbeat.holder, held.job_id, held.attempt, reason="not the current attempt")
                )
        return stops

    def tick(self, tick: Tick, at: At) -> list[Due]:
        """Count a tick; return what falls due by it.

        It counts only where it is an owner's first (`previous` -1) or names the last one, and comes most of an interval
        after the last one that counted: of two owners each names the other's. So neither bursts nor two tickers make
        time run faster. A resumed or late one restarts every lease count.
        """
        if tick.previous not in (-1, self.last_tick):
            return []
        passed = at.timestamp - self._last_time
        self.last_tick = at.offset
        # a broker's clock that was put back must not stop time
        if tick.previous != -1 and not tick.resumed and 0 <= passed < self.policy.tick_ms * LEAST_PART:
            return []
        late = passed > LATE_INTERVALS * self.policy.tick_ms
        self._last_time = at.timestamp
        self._ticks += 1
        if tick.resumed or tick.previous == -1 or late:
            self._resumed = self._ticks
        return [*self._expired(at.offset), *self._due(at)]

    def _set(self, job_id: str, job: Job) -> None:
        known = self._timers.get(job_id)
        if known is not None and (known.attempt, known.phase, known.holder) == (job.attempt, job.phase, job.holder):
            timer = known
        else:
            timer = Timer(job.attempt, job.phase, job.holder, self._ticks)
            self._timers[job_id] = timer
            if job.holder:
                self._met(job.holder)
        due, kind = self._next(job_id, job)
        if (due, kind) != (timer.base, timer.kind):
            timer.base = timer.due = due
            timer.kind = kind
            if kind:
                self._push(job_id, timer)

    def _push(self, job_id: str, timer: Timer) -> None:
        heap = self._slow if timer.kind == timers.REPUBLISH else self._heap
        heapq.heappush(heap, (timer.due, job_id, timer.attempt))

    def _next(self, job_id: str, job: Job) -> tuple[int, str]:
        if job.phase is Phase.BACKOFF:
            return job.due, timers.RETRY
        if job.phase is Phase.WAITING:
            return job.since + _republished_after(job_id, self.policy), timers.REPUBLISH
        if job.status is Status.STARTED and job.time_limit is not None:
            return job.started_at + job.time_limit * 1000 + self.policy.hard_limit_grace_ms, timers.LIMIT
        return 0, ""

    def _expired(self, tick: int) -> list[Due]:
        limit = self._ticks - self.policy.lease_ticks
        return [
            Due(timers.LEASE, job_id, timer.attempt, tick)
            for job_id, timer in self._timers.items()
            if timer.phase is Phase.LEASED
            and (max(timer.renewed, self._resumed) <= limit or self._is_superseded(timer.holder))
        ]

    def _due(self, at: At) -> list[Due]:
        found: list[Due] = []
        again: list[tuple[int, str, int]] = []
        while self._heap and self._heap[0][0] <= at.timestamp:
            due, job_id, attempt = heapq.heappop(self._heap)
            timer = self._timers.get(job_id)
            if timer is None or (timer.attempt, timer.due) != (attempt, due):
                continue
            if timer.kind == timers.LIMIT and self._ticks - self._resumed < self.policy.lease_ticks:
                # after an outage of ours, what ended meanwhile gets the time of a lease to say so
                again.append((due, job_id, attempt))
                continue
            found.append(Due(timer.kind, job_id, attempt, at.offset))
        for entry in again:
            heapq.heappush(self._heap, entry)
        found += self._to_republish(at)
        self._drop_dead()
        return found

    def _to_republish(self, at: At) -> list[Due]:
        found: list[Due] = []
        while len(found) < MAX_REPUBLISHED and self._slow and self._slow[0][0] <= at.timestamp:
            due, job_id, attempt = heapq.heappop(self._slow)
            timer = self._timers.get(job_id)
            if timer is None or (timer.attempt, timer.due, timer.kind) != (attempt, due, timers.REPUBLISH):
                continue
            timer.due = at.timestamp + self.policy.republish_ms
            heapq.heappush(self._slow, (timer.due, job_id, attempt))
            found.append(Due(timers.REPUBLISH, job_id, attempt, at.offset))
        return found

    def _drop_dead(self) -> None:
        """Forget entries of jobs that ended long before their time, where they are the most of a heap."""
        for heap in (self._heap, self._slow):
            if len(heap) > 1000 + 3 * len(self._timers):
                heap[:] = [entry for entry in heap if self._is_live(entry)]
                heapq.heapify(heap)

    def _is_live(self, entry: tuple[int, str, int]) -> bool:
        due, job_id, attempt = entry
        timer = self._timers.get(job_id)
        return timer is not None and (timer.attempt, timer.due) == (attempt, due)

    def _met(self, holder: str) -> None:
        worker = worker_of(holder)
        known = self._newest.get(worker)
        if known is None or is_newer(holder, known):
            self._newest[worker] = holder

    def _is_superseded(self, holder: str) -> bool:
        """Of one worker id only the newest holder counts: an older process is gone (design §2)."""
        return is_newer(self._newest.get(worker_of(holder), holder), holder)


def _republished_after(job_id: str, policy: Policy) -> int:
    """Return the ms that a job waits until its run record is written again, the first time."""
    # spread by hash, so that what was submitted together isn't written again together
    return policy.republish_ms + zlib.crc32(job_id.encode()) % policy.republish_ms
