"""The attempts under way: what commands, slots and the worker's end do to them meets here."""

import asyncio
import logging
from dataclasses import dataclass, field

from agents.worker.actor import now_ms
from agents.worker.reporting import Reporter
from agents.worker.status import StatusSender
from pipeline.containers.stop import Level, Stop
from pipeline.holding.clock import BrokerClock
from pipeline.holding.holdings import Holdings, Key, Verdict
from pipeline.holding.results import as_json
from pipeline.messages.command import GRANT, PERMIT, STOP, Command
from pipeline.messages.report import RELEASE, WorkerReport

log = logging.getLogger(__name__)


@dataclass(slots=True)
class UnderWay:
    """One attempt from its grant to its last report."""

    command: Command
    stop: Stop = field(default_factory=Stop)
    permitted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> Key:
        """The job id and the attempt's number."""
        return (self.command.job_id, self.command.attempt)

    def report(self, kind: str, result: str = "{}") -> WorkerReport:
        """Return a report on this attempt, with its token."""
        command = self.command
        return WorkerReport(kind, command.holder, command.job_id, command.attempt, command.token, result)


class Rack:
    """Turns commands into work for the slots, and lets go of what ended."""

    def __init__(self, holdings: Holdings, clock: BrokerClock, reporter: Reporter, status: StatusSender) -> None:
        self.holdings = holdings
        self.leaving = False
        self._clock = clock
        self._reporter = reporter
        self._status = status
        self._under_way: dict[Key, UnderWay] = {}
        self._granted: asyncio.Queue[UnderWay] = asyncio.Queue()
        self._releases: set[asyncio.Task[bool]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def heed(self, command: Command, stamp: int) -> None:
        """Do what a command says; `stamp` is the broker's time of its record."""
        if command.kind == GRANT:
            self._grant(command, stamp)
        elif command.kind == STOP:
            self._stop((command.job_id, command.attempt), command.reason)
        elif command.kind == PERMIT:
            under_way = self._under_way.get((command.job_id, command.attempt))
            if under_way is not None:
                under_way.permitted.set()

    async def next(self) -> UnderWay:
        """Wait for an attempt to run."""
        return await self._granted.get()

    def is_ours(self, under_way: UnderWay) -> bool:
        """Say whether reports on it still make sense."""
        return self.holdings.is_ours(*under_way.key)

    def ended(self, under_way: UnderWay) -> None:
        """Let go of an attempt."""
        self.holdings.end(*under_way.key, now_ms())
        self._under_way.pop(under_way.key, None)
        if not self._under_way:
            self._empty.set()
        self._status.changed()

    def drain(self, draining: bool) -> None:
        """Take no grants for a while, or take them again."""
        self.holdings.drain(draining)
        self._status.changed()

    def leave(self) -> None:
        """Take no grants for good; what has not begun is handed back."""
        self.leaving = True
        self.holdings.leave()
        self._status.changed()

    def stop_all(self, level: Level) -> None:
        """End what runs, so that it can be handed back."""
        for under_way in self._under_way.values():
            under_way.stop.request(level, "the worker is stopping")

    async def emptied(self) -> None:
        """Wait until nothing is under way, and what was handed back is delivered."""
        await self._empty.wait()
        while self._releases:
            await asyncio.wait(self._releases)

    def _grant(self, command: Command, stamp: int) -> None:
        now = now_ms()
        decision = self.holdings.grant(command, self._clock.age(stamp, now), now)
        if decision.verdict is Verdict.IGNORE:
            return
        under_way = UnderWay(command)
        if decision.verdict is Verdict.START:
            self._under_way[under_way.key] = under_way
            self._empty.clear()
            self._granted.put_nowait(under_way)
        else:
            log.info("job %s, attempt %d handed back: %s", *under_way.key, decision.reason)
            task = asyncio.create_task(self._reporter.deliver(release(under_way, decision.reason)))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)
        self._status.changed()

    def _stop(self, key: Key, reason: str) -> None:
        if self.holdings.stop(*key, now_ms()):
            log.info("job %s, attempt %d told to stop: %s", *key, reason)
            self._under_way[key].stop.request(Level.TERM, reason or "stopped")


def release(under_way: UnderWay, reason: str) -> WorkerReport:
    """Return the report that hands an attempt back."""
    return under_way.report(RELEASE, as_json({"reason": reason}))
