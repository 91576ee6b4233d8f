"""The scheduler's decision: `Scheduler.apply(message)` returns the claims to send (design §5)."""

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any

from pipeline.identity import attempt_key, worker_of
from pipeline.messages.inbox import Claim
from pipeline.messages.needs import Needs
from pipeline.messages.run import GRANTED
from pipeline.scheduling.claims import OpenClaim, OpenClaims
from pipeline.scheduling.deadlines import Deadlines
from pipeline.scheduling.fleet import Fleet, Worker
from pipeline.scheduling.message import (
    BecameLeader,
    CaughtUp,
    Expired,
    LostLeadership,
    Message,
    Now,
    Output,
    QueueLost,
    QueueSettings,
    RunGone,
    RunWaits,
    StatusSeen,
    WorkerSettings,
)
from pipeline.scheduling.needs import explain
from pipeline.scheduling.rules import Rules
from pipeline.scheduling.running import Granted, Running
from pipeline.scheduling.waiting import Bucket, Head, Waiting

_NO_NEEDS = Needs()


class Scheduler:
    """Folds messages and claims waiting attempts for free slots; deterministic.

    `leader_id` must be new for every process, since claim ids are made of it and a counter. `partition_of`
    gives the inbox partition of a job id. One that does not lead folds all the same and claims nothing.
    """

    def __init__(self, leader_id: str, rules: Rules, partition_of: Callable[[str], int]) -> None:
        self.rules = rules
        self.leads = False
        self.now = 0
        self.queues: dict[str, QueueSettings] = {}
        self.waiting = Waiting(rules.priority_step_ms, partition_of)
        self.fleet = Fleet(rules)
        self.claims = OpenClaims()
        self.running = Running()
        self._leader_id = leader_id
        self._partition_of = partition_of
        self._caught_up: set[str] = set()
        self._elected_at = 0
        self._counter = 0
        self._deadlines = Deadlines()
        self._fold: dict[type[Message], Callable[[Any], None]] = {
            RunWaits: self._run_waits,
            RunGone: self._run_gone,
            StatusSeen: self._status_seen,
            QueueSettings: self._queue_settings,
            WorkerSettings: self._worker_settings,
            Now: self._pass_time,
            BecameLeader: self._became_leader,
            LostLeadership: self._lost_leadership,
            CaughtUp: self._queue_caught_up,
            QueueLost: self._queue_lost,
        }

    def apply(self, *messages: Message) -> list[Output]:
        """Fold the messages in their order, then match once; return what to send, in order."""
        for message in messages:
            self._fold[type(message)](message)
        if not self.leads:
            return []
        again = self.claims.due(self.now, self.rules.claim_retry_ms)
        return [*again, *self._match(), *self._expire()]

    def live(self) -> Iterator[str]:
        """Yield the keys of all attempts that are held, or granted and on their way."""
        for worker in self.fleet.workers():
            yield from (attempt_key(one.job_id, one.attempt) for one in worker.offer.attempts)
            yield from worker.account.awaited()

    def why_not(self, bucket: Bucket) -> str:
        """Say why no worker that is there can run a bucket's jobs; the empty text where one can."""
        if bucket.judged_in != self.fleet.version:
            bucket.judged_in = self.fleet.version
            bucket.why_not = explain(bucket.queue, bucket.needs, self.fleet.offers(), self.fleet.apart())
        return bucket.why_not

    def slow_partitions(self) -> frozenset[int]:
        """Return the inbox partitions that answer too slowly to be given more claims."""
        return self.claims.slow(self.now, self.rules.slow_partition_ms)

    def _run_waits(self, message: RunWaits) -> None:
        run = message.run
        if run.queue not in self.queues or run.key in self.claims:
            return
        if run.attempt > 1 and run.key not in self.waiting:
            self._ended_early(attempt_key(run.job_id, run.attempt - 1), run.needs, message.time)
        if run.max_wait is not None and run.key not in self.waiting:
            self._deadlines.add(run.key, run.since + run.max_wait)
        self.waiting.add(run)

    def _ended_early(self, previous: str, needs: Needs, at: int) -> None:
        """The job waits again: its last attempt holds nothing; its worker rests if it is the last one to avoid."""
        granted = self.running.pop(previous)
        if granted is None:
            return
        self.fleet.over(granted.worker_id, previous)
        if needs.avoid[-1:] == (granted.worker_id,):
            self.fleet.lost(granted.worker_id, at)

    def _run_gone(self, message: RunGone) -> None:
        bucket = self.waiting.remove(message.key)
        mine = self.claims.pop(message.key)
        granted_mine = mine is not None and message.result == GRANTED and message.holder == mine.claim.holder
        if mine is not None and not granted_mine:
            self.fleet.refuse(mine.worker_id, mine.claim.holder, message.key)
        if message.result == GRANTED and message.holder:
            needs = _NO_NEEDS if bucket is None else bucket.needs
            worker_id = worker_of(message.holder)
            self.fleet.grant(worker_id, message.holder, message.key, needs, message.time, claimed=granted_mine)
            self.running.add(message.key, Granted(message.queue, worker_id), self.live)

    def _status_seen(self, message: StatusSeen) -> None:
        self.fleet.hear(message.status, message.time, message.offset)

    def _queue_settings(self, message: QueueSettings) -> None:
        if message.declared:
            self.queues[message.queue] = message
        elif self.queues.pop(message.queue, None) is not None:
            self._queue_lost(QueueLost(message.queue))

    def _queue_lost(self, message: QueueLost) -> None:
        self._caught_up.discard(message.queue)
        self.waiting.forget(message.queue)
        for claim in self.claims.of_queue(message.queue):
            key = attempt_key(claim.claim.job_id, claim.claim.attempt)
            self.claims.pop(key)
            self.fleet.refuse(claim.worker_id, claim.claim.holder, key)

    def _worker_settings(self, message: WorkerSettings) -> None:
        self.fleet.drain(message.worker_id, message.draining)

    def _pass_time(self, message: Now) -> None:
        self.now = max(self.now, message.ms)
        self.fleet.pass_time(self.now)

    def _became_leader(self, message: BecameLeader) -> None:
        self._lost_leadership(LostLeadership())
        self.leads = True
        self._elected_at = self.now
        self.fleet.elect(message.after)

    def _lost_leadership(self, _: LostLeadership) -> None:
        self.leads = False
        self._caught_up.clear()
        self.fleet.elect(None)
        for key in self.claims.clear():
            self.waiting.give_back(key)

    def _queue_caught_up(self, message: CaughtUp) -> None:
        self._caught_up.add(message.queue)

    def _match(self) -> list[Claim]:
        """Claim, again and again, the smallest rank of all jobs that some worker's credit fits."""
        if len(self.waiting) == len(self.claims):
            return []
        self._unblock()
        if not self.fleet.has_room():
            return []
        slow = self.slow_partitions()
        heads = [head for bucket in self._claimable() if (head := self.waiting.head(bucket, slow)) is not None]
        heapify(heads)
        claims = []
        while heads and self.fleet.has_room():
            head = heads[0]
            worker = self.fleet.pick(head.bucket.queue, head.bucket.needs)
            if worker is None:
                head.bucket.blocked_in = self.fleet.version
                heappop(heads)
                continue
            claims.append(self._claim(head, worker))
            following = self.waiting.head(head.bucket, slow)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, following)
        return claims

    def _unblock(self) -> None:
        """Look again at buckets that no credit fitted, where some worker's credit may have grown since."""
        changed, self.fleet.changed = self.fleet.changed, set()
        if not changed:
            return
        for bucket in self.waiting.buckets():
            if bucket.blocked_in == self.fleet.version and any(
                self.fleet.fits(worker_id, bucket.queue, bucket.needs) for worker_id in changed
            ):
                bucket.blocked_in = -1

    def _claimable(self) -> Iterable[Bucket]:
        open_queues = {name for name, queue in self.queues.items() if not queue.paused and name in self._caught_up}
        return (
            bucket
            for bucket in self.waiting.buckets()
            if bucket.queue in open_queues and bucket.blocked_in != self.fleet.version
        )

    def _claim(self, head: Head, worker: Worker) -> Claim:
        self._counter += 1
        job_id, _, attempt = head.key.rpartition("/")
        claim_id = f"{self._leader_id}-{self._counter}"
        claim = Claim(job_id, int(attempt), head.bucket.queue, worker.holder, claim_id)
        partition = self._partition_of(job_id)
        self.claims.add(head.key, OpenClaim(claim, worker.worker_id, partition, head.since, self.now, self.now))
        self.waiting.take(head)
        self.fleet.claim(worker, head.key, head.bucket.needs)
        return claim

    def _expire(self) -> list[Expired]:
        """Give up jobs past their `max_wait` that no worker can meet, now and one `silence_ms` ago."""
        expired = []
        for key, unmet in self._deadlines.due(self.now):
            bucket = self.waiting.bucket_of(key)
            if bucket is None:
                continue
            why_not = self.why_not(bucket)
            if not why_not or not self._may_judge(bucket) or key in self.claims:
                self._deadlines.add(key, self.now + self.rules.claim_retry_ms)
                continue
            self._deadlines.add(key, self.now + self.rules.silence_ms, unmet=True)
            if unmet:
                job_id, _, attempt = key.rpartition("/")
                expired.append(Expired(job_id, int(attempt), why_not))
        return expired

    def _may_judge(self, bucket: Bucket) -> bool:
        """Say whether every worker had time to speak, and nobody keeps the queue from being worked off."""
        heard = self.now - self._elected_at >= self.rules.silence_ms and bucket.queue in self._caught_up
        return heard and not self.queues[bucket.queue].paused
