"""The attempts under way: what commands, slots and the worker's end do to them meets here."""

import asyncio
import logging
from dataclasses import dataclass, field

from agents.worker.actor import now_ms
from agents.worker.reporting import Reporter
from agents.worker.status import StatusSender
from pipeline import protocol
from pipeline.containers.stop import Level, Stop
from pipeline.crash_points import here
from pipeline.holding.clock import BrokerClock
from pipeline.holding.durations import Durations
from pipeline.holding.holdings import LEAVING, NO_SLOT, Holdings, Key, Verdict
from pipeline.holding.results import as_json
from pipeline.messages.command import GRANT, PERMIT, STOP, Command
from pipeline.messages.report import RELEASE, WorkerReport
from pipeline.protocol import Protocol, why_not

log = logging.getLogger(__name__)

#: Runs that take longer (ms) gain nothing from the next one's being here when they end.
_WORTH_MS = 5000
#: How much longer than expected (ms) a run may take before those that wait for its slot are handed back.
_LATE_MS = 1000


@dataclass(slots=True)
class UnderWay:
    """One attempt from its grant to its last report."""

    command: Command
    stop: Stop = field(default_factory=Stop)
    permitted: asyncio.Event = field(default_factory=asyncio.Event)
    job_type: str = ""
    #: When its run began (ms since the epoch); 0 before.
    began: int = 0
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

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

    def __init__(
        self,
        holdings: Holdings,
        clock: BrokerClock,
        reporter: Reporter,
        status: StatusSender,
        ahead_ms: int = 0,
        speaks: Protocol = protocol.OWN,
    ) -> None:
        """`ahead_ms` is how long before its expected end an attempt's slot is offered again; 0: never."""
        self._speaks = speaks
        self._ahead_ms = ahead_ms
        self._durations = Durations(_WORTH_MS)
        self.holdings = holdings
        self.leaving = False
        self._clock = clock
        self._reporter = reporter
        self._status = status
        self._under_way: dict[Key, UnderWay] = {}
        self._granted: asyncio.Queue[UnderWay] = asyncio.Queue()
        #: Those that no slot has taken, the newest last.
        self._waiting: dict[Key, UnderWay] = {}
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
        while True:
            under_way = await self._granted.get()
            if self._waiting.pop(under_way.key, None) is not None:
                return under_way

    def begun(self, under_way: UnderWay, job_type: str) -> None:
        """Say that an attempt runs: what earlier runs of its type took says when its slot is offered again."""
        under_way.job_type, under_way.began = job_type, now_ms()
        expected = self._durations.expected(job_type)
        if self._ahead_ms <= 0 or expected is None:
            return
        loop = asyncio.get_running_loop()
        under_way.timers = [
            loop.call_later((expected + _LATE_MS) / 1000, self._expect_end, under_way, False),
        ]
        if expected <= self._ahead_ms:
            self._expect_end(under_way, True)
        else:
            soon = (expected - self._ahead_ms) / 1000
            under_way.timers.append(loop.call_later(soon, self._expect_end, under_way, True))

    def is_ours(self, under_way: UnderWay) -> bool:
        """Say whether reports on it still make sense."""
        return self.holdings.is_ours(*under_way.key)

    def ended(self, under_way: UnderWay) -> None:
        """Let go of an attempt."""
        for timer in under_way.timers:
            timer.cancel()
        if under_way.began:
            self._durations.ran(under_way.job_type, now_ms() - under_way.began)
        self.holdings.end(*under_way.key, now_ms())
        self._under_way.pop(under_way.key, None)
        here("worker.let-go")
        if not self._under_way:
            self._empty.set()
        self._status.changed()

    def drain(self, draining: bool, reason: str = "") -> None:
        """Take no grants for a while, or take them again; what no slot has taken is handed back."""
        self.holdings.drain(draining, reason)
        self._status.changed()
        while draining and self._waiting:
            self._hand_back(self._waiting.popitem()[1], self.holdings.reason)

    def meet(self, orchestrator: Protocol) -> None:
        """Take no grants while the orchestrator isn't understood; what no slot has taken is handed back."""
        before, reason = self.holdings.reason, why_not(self._speaks, orchestrator)
        self.holdings.meet(reason)
        if reason:
            log.error("takes no jobs: %s", reason)
        elif orchestrator != self._speaks or before:
            log.info("the orchestrator speaks protocol %s: it is understood", orchestrator)
        self._status.changed()
        while reason and self._waiting:
            self._hand_back(self._waiting.popitem()[1], reason)

    def leave(self) -> None:
        """Take no grants for good; what has not begun is handed back."""
        self.leaving = True
        self.holdings.leave()
        self._status.changed()
        while self._waiting:
            self._hand_back(self._waiting.popitem()[1], LEAVING)

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
        here("worker.commanded")
        decision = self.holdings.grant(command, self._clock.age(stamp, now), now)
        if decision.verdict is Verdict.IGNORE:
            return
        under_way = UnderWay(command)
        if decision.verdict is Verdict.START:
            self._under_way[under_way.key] = under_way
            self._empty.clear()
            self._waiting[under_way.key] = under_way
            self._granted.put_nowait(under_way)
            here("worker.granted")
        else:
            self._release(under_way, decision.reason)
        self._status.changed()

    def _expect_end(self, under_way: UnderWay, ending: bool) -> None:
        self.holdings.expect_end(*under_way.key, ending)
        self._status.changed()
        while self._waiting and self.holdings.surplus:
            self._hand_back(self._waiting.popitem()[1], NO_SLOT)

    def _hand_back(self, under_way: UnderWay, reason: str) -> None:
        """Let go of an attempt that no slot has taken."""
        if self.is_ours(under_way):
            self._release(under_way, reason)
        self.ended(under_way)

    def _release(self, under_way: UnderWay, reason: str) -> None:
        log.info("job %s, attempt %d handed back: %s", *under_way.key, reason)
        here("worker.handing-back")
        task = asyncio.create_task(self._reporter.deliver(release(under_way, reason)))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    def _stop(self, key: Key, reason: str) -> None:
        if self.holdings.stop(*key, now_ms()):
            log.info("job %s, attempt %d told to stop: %s", *key, reason)
            self._under_way[key].stop.request(Level.TERM, reason or "stopped")


def release(under_way: UnderWay, reason: str) -> WorkerReport:
    """Return the report that hands an attempt back."""
    return under_way.report(RELEASE, as_json({"reason": reason}))
