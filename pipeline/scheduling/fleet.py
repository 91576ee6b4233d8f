"""The workers: who is there, what each can still be given, and which one gets a job."""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from pipeline.identity import is_newer
from pipeline.messages.needs import Needs
from pipeline.messages.status import WorkerStatus
from pipeline.scheduling.credit import Account
from pipeline.scheduling.needs import lack
from pipeline.scheduling.rests import Rests
from pipeline.scheduling.rules import Rules

#: Out-of-date entries that the order of workers may hold beside as many as there are workers.
_SLACK = 64


#: Slots that are idle, slots that may be granted (both below zero), worker id: the smallest comes first.
_Rank = tuple[int, int, str]


class Worker:
    """The newest holder of a worker id; `time` and `offset` are those of its latest status."""

    __slots__ = ("account", "holder", "offset", "silent", "time", "worker_id")

    def __init__(self, status: WorkerStatus, time: int, offset: int) -> None:
        self.worker_id = status.worker_id
        self.holder = status.holder
        self.account = Account(status, time)
        self.time = time
        self.offset = offset
        self.silent = False

    @property
    def offer(self) -> WorkerStatus:
        """The latest status."""
        return self.account.status


class Fleet:
    """All workers, by id.

    `version` grows whenever it may have become possible to run what no worker could run before, or the other
    way round; `changed` are the workers that may have more credit than at the last match.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._workers: dict[str, Worker] = {}
        self._heard: OrderedDict[str, None] = OrderedDict()
        self._silent: OrderedDict[str, None] = OrderedDict()
        self._draining: set[str] = set()
        self._rests = Rests(rules)
        self._order: list[_Rank] = []
        self._after: int | None = None
        self._now = 0
        self._newest = 0
        self._newest_at = 0
        self.version = 0
        self.changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._heard)

    def worker(self, worker_id: str) -> Worker | None:
        """Return a worker that was heard of, silent or not."""
        return self._workers.get(worker_id)

    def workers(self) -> Iterator[Worker]:
        """Yield every worker that was heard of."""
        yield from self._workers.values()

    def offers(self) -> Iterator[WorkerStatus]:
        """Yield what the workers offer that are there, busy or not, and take jobs."""
        return (worker.offer for worker in map(self._workers.__getitem__, self._heard) if self._takes_jobs(worker))

    def apart(self) -> Iterator[str]:
        """Yield why each worker takes no jobs that is there and takes none."""
        for worker in map(self._workers.__getitem__, self._heard):
            if not self._takes_jobs(worker):
                yield worker.offer.reason or "draining"

    def elect(self, after: int | None) -> None:
        """Give credit from statuses at the offset `after` or behind it only; None gives none to anybody."""
        self._after = after
        self._order.clear()
        for worker in self._workers.values():
            if after is None:
                worker.account.drop_claims()
            self.touch(worker)
        self.version += 1

    def hear(self, status: WorkerStatus, time: int, offset: int) -> None:
        """Take a status; one of an older holder than the newest of that worker id is ignored."""
        self._follow(time)
        known = self._workers.get(status.worker_id)
        if known is not None and known.holder != status.holder and not is_newer(status.holder, known.holder):
            return
        if known is None or known.holder != status.holder:
            worker = self._workers[status.worker_id] = Worker(status, time, offset)
            self.version += 1
        else:
            worker = known
            if worker.silent or not _same_offer(worker.offer, status):
                self.version += 1
            worker.account.update(status, time)
            worker.time, worker.offset, worker.silent = time, offset, False
        self._silent.pop(worker.worker_id, None)
        self._heard[worker.worker_id] = None
        self._heard.move_to_end(worker.worker_id)
        self.touch(worker)

    def drain(self, worker_id: str, draining: bool) -> None:
        """Give a worker no more jobs, or jobs again; it need not have been heard of."""
        if draining:
            self._draining.add(worker_id)
        else:
            self._draining.discard(worker_id)
        self.version += 1
        self._touch_known(worker_id)

    def lost(self, worker_id: str, at: int) -> None:
        """Let a worker rest that handed a job back at `at`, or lost its lease."""
        if worker_id in self._workers:
            self._rests.lost(worker_id, at)

    def pass_time(self, now: int) -> None:
        """Find out who fell silent, whose rest is over, and who was silent for so long that he is forgotten."""
        self._now = now
        for worker_id in self._rests.ended(now):
            self._touch_known(worker_id)
        self._forget()
        while self._heard:
            worker = self._workers[next(iter(self._heard))]
            if self._age(worker) <= self._rules.silence_ms:
                break
            worker.silent = True
            del self._heard[worker.worker_id]
            self._silent[worker.worker_id] = None
            self.version += 1

    def claim(self, worker: Worker, key: str, needs: Needs) -> None:
        """Reserve for a claim."""
        worker.account.claim(key, needs)
        self.touch(worker)

    def refuse(self, worker_id: str, holder: str, key: str) -> None:
        """Free at once what a claim reserved."""
        worker = self._holding(worker_id, holder)
        if worker is not None:
            worker.account.refuse(key)
            self.touch(worker)

    def grant(self, worker_id: str, holder: str, key: str, needs: Needs, at: int, *, claimed: bool) -> None:
        """Keep reserved what was granted at `at` until a status lists it; see `Account.grant`."""
        worker = self._holding(worker_id, holder)
        if worker is not None:
            worker.account.grant(key, needs, at, worker.time, claimed=claimed)
            self.touch(worker)

    def over(self, worker_id: str, key: str) -> None:
        """Free what a grant reserved whose attempt is over."""
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.account.over(key)
            self.touch(worker)

    def has_room(self) -> bool:
        """Say whether any worker has a free slot."""
        while self._order and not self._is_current(self._order[0]):
            heappop(self._order)
        return bool(self._order)

    def fits(self, worker_id: str, queue: str, needs: Needs) -> bool:
        """Say whether a job could be given to this worker now, one to avoid included."""
        worker = self._workers.get(worker_id)
        return (
            worker is not None
            and self._is_open(worker)
            and worker.account.free.covers(needs)
            and lack(queue, needs, worker.offer) is None
        )

    def pick(self, queue: str, needs: Needs) -> Worker | None:
        """Return the worker with the most idle slots that the job fits; of several, that with the most to be granted.

        So no slot stays idle while an attempt waits on a worker for a slot that is only expected to be free.

        A worker to avoid is taken only where no other that is there could ever run the job: else a job that
        the only worker handed back would never run.
        """
        avoided = frozenset(needs.avoid)
        if avoided and not any(
            offer.worker_id not in avoided and lack(queue, needs, offer) is None for offer in self.offers()
        ):
            avoided = frozenset()
        looked_at = []
        found = None
        while found is None and self.has_room():
            entry = heappop(self._order)
            looked_at.append(entry)
            worker_id = entry[-1]
            if worker_id not in avoided and self.fits(worker_id, queue, needs):
                found = self._workers[worker_id]
        for entry in looked_at:
            heappush(self._order, entry)
        return found

    def touch(self, worker: Worker) -> None:
        """Put a worker into its place after its credit changed."""
        if not self._is_open(worker):
            return
        heappush(self._order, _rank(worker))
        self.changed.add(worker.worker_id)
        if len(self._order) > 2 * len(self._workers) + _SLACK:
            self._order = list({entry for entry in self._order if self._is_current(entry)})
            heapify(self._order)

    def _touch_known(self, worker_id: str) -> None:
        worker = self._workers.get(worker_id)
        if worker is not None:
            self.touch(worker)

    def _is_current(self, entry: _Rank) -> bool:
        worker = self._workers.get(entry[-1])
        return worker is not None and entry == _rank(worker) and self._is_open(worker)

    def _is_open(self, worker: Worker) -> bool:
        return (
            self._after is not None
            and worker.offset >= self._after
            and worker.account.free.slots >= 1
            and not worker.silent
            and self._takes_jobs(worker)
            and worker.worker_id not in self._rests
        )

    def _takes_jobs(self, worker: Worker) -> bool:
        return worker.offer.accepting and worker.worker_id not in self._draining

    def _holding(self, worker_id: str, holder: str) -> Worker | None:
        worker = self._workers.get(worker_id)
        return worker if worker is not None and worker.holder == holder else None

    def _follow(self, time: int) -> None:
        if time < self._newest:
            # the broker's clock was set back: nobody may count as heard of in its future
            for worker in self._workers.values():
                worker.time = min(worker.time, time)
        self._newest, self._newest_at = time, max(time, self._now)

    def _age(self, worker: Worker) -> int:
        """Return how long ago a worker was heard of, by the log's time as far as it is known (ms)."""
        return self._newest + max(0, self._now - self._newest_at) - worker.time

    def _forget(self) -> None:
        while self._silent:
            worker = self._workers[next(iter(self._silent))]
            if self._age(worker) <= self._rules.forget_ms:
                return
            del self._silent[worker.worker_id]
            del self._workers[worker.worker_id]
            self._rests.forget(worker.worker_id)


def _rank(worker: Worker) -> _Rank:
    return (-worker.account.idle, -worker.account.free.slots, worker.worker_id)


def _same_offer(one: WorkerStatus, other: WorkerStatus) -> bool:
    return (
        (one.accepting, one.reason) == (other.accepting, other.reason)
        and (one.slots, one.memory_mib, one.disk_mib, one.gpus)
        == (other.slots, other.memory_mib, other.disk_mib, other.gpus)
        and (one.queues, one.engines, one.labels) == (other.queues, other.engines, other.labels)
    )
