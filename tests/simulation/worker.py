"""A worker's process: the real `Holdings` and `BrokerClock`, slots that run nothing, reports that must arrive."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from agents.bus import DeliveryError
from pipeline.codec import Codec
from pipeline.holding.clock import BrokerClock
from pipeline.holding.holdings import Holdings, Key, Verdict
from pipeline.identity import family_of_job, is_newer, worker_of
from pipeline.messages.command import GRANT, PERMIT, STOP, Command
from pipeline.messages.report import COMPLETED, FAILED, HEARTBEAT, PUBLISH, RELEASE, STARTED, Shown, WorkerReport
from pipeline.messages.status import WorkerStatus
from pipeline.sealing import HolderKey
from pipeline.topology import Topology
from tests.simulation.bus import Bus, Entry, Producer, ignore
from tests.simulation.oracle import ViolationError
from tests.simulation.timeline import Actor, Timeline

BEAT, STATUS, ASK_AGAIN = 15_000, 4000, 3000
#: What an attempt comes to, and how often.
ENDS = ("completed", "completed", "completed", "completed", "failed", "published", "published", "hangs", "lost")


@dataclass(slots=True)
class Attempt:
    command: Command
    end: str
    ms: int
    #: since when it has been here without any trouble of the worker's own
    since: int
    permitted: bool = False
    over: bool = False


@dataclass
class Deeds:
    """What all workers did, kept by the world."""

    begun: dict[Key, str] = field(default_factory=dict)
    permits: int = 0


class Worker(Actor):
    """`cut_off` is true while it alone can't reach the broker."""

    def __init__(
        self, name: str, timeline: Timeline, random: Random, bus: Bus, codec: Codec, topology: Topology, deeds: Deeds,
        slots: int, *, sealing: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(name, timeline, random)
        self.bus, self.codec, self.topology, self.deeds, self.slots = bus, codec, topology, deeds, slots
        self.sealing = sealing
        self.key: HolderKey | None = None
        self.partition = topology.commands_partition(name)
        self.cut_off = False
        self.holder = ""
        self.last_start = 0
        #: its own clock: where it began, and how fast it runs
        self.offset = random.randint(-5_000_000, 5_000_000)
        self.rate = 1 + random.choice([0, 0, 1e-4, -1e-4])
        self.attempts: dict[Key, Attempt] = {}
        self.slow_to_reconnect = 3000
        self.heeded = 0
        bus.readers.setdefault(topology.commands.name, []).append(self._arrived)

    @property
    def local(self) -> int:
        """Its monotonic clock (ms)."""
        return self.offset + round(self.now * self.rate)

    def start(self) -> None:
        self.begin_life()
        self.cut_off = False
        self.last_start = max(self.last_start + 1, self.now + self.offset)
        last = f"{self.random.randrange(1 << 32):08x}"
        if self.sealing:
            # which key it is changes nothing that a world's seed decides
            self.key = HolderKey()
            last = self.key.text
        self.holder = f"{self.name}:{self.last_start + 6_000_000}:{last}"
        self.producer = Producer(self.bus, self.random, twice=0.03)
        self.producer.slow = self.slow_to_reconnect
        offer = WorkerStatus(self.name, self.holder, self.partition, self.slots, 1000, 1000)
        self.holdings = Holdings(offer, sealed=self.sealing)
        self.clock = BrokerClock()
        self.attempts = {}
        self.beating: set[int] = set()
        self.overdue: set[int] = set()
        self.told = -1
        self.reading = False
        if not self.bus.up:
            self.after(1000, self.start)
            return
        self.read_to = self.bus.log(self.topology.commands.name, self.partition).end
        self._status(self._begin)

    def crash(self) -> None:
        if self.alive:
            self.producer.crash()
            self.end_life()

    def pause(self) -> None:
        if self.alive:
            super().pause()
            self.producer.hold()

    def resume(self) -> None:
        if self.alive and self.paused:
            self._troubled()
            if not self.cut_off:
                self.producer.release()
            super().resume()

    def lose_connection(self) -> None:
        if self.alive:
            self.cut_off = True
            self.producer.hold()

    def find_connection(self) -> None:
        if self.alive and self.cut_off:
            self.cut_off = False
            self._troubled()
            if not self.paused:
                self.producer.release()
                self._read_soon()

    def drain(self, draining: bool) -> None:
        if self.alive:
            self.holdings.drain(draining)
            self._changed()

    def was_well(self, key: Key, holder: str, time: int) -> bool:
        """Say whether this process has held the attempt, alive and connected, for longer than a lease."""
        attempt = self.attempts.get(key)
        if not self.alive or self.paused or self.cut_off or self.holder != holder or attempt is None or attempt.over:
            return False
        return self.holdings.is_ours(*key) and self.now - attempt.since > attempt.command.lease_ms

    def _troubled(self) -> None:
        for attempt in self.attempts.values():
            attempt.since = self.now

    def _begin(self) -> None:
        for partition in range(self.topology.inbox_partitions):
            self._send(partition, self.name, WorkerReport(HEARTBEAT, self.holder), ignore)
        self.reading = True
        self._read_soon()
        self.after(self.random.randint(0, BEAT), self._beat)
        self.after(STATUS, self._status_again)

    def _beat(self) -> None:
        for partition, shown in self._shown().items():
            if partition in self.beating:
                self.overdue.add(partition)
            else:
                self._beat_for(partition, shown)
        self.after(BEAT, self._beat)

    def _beat_for(self, partition: int, shown: tuple[Shown, ...]) -> None:
        self.beating.add(partition)
        report = WorkerReport(HEARTBEAT, self.holder, attempts=shown)
        self._send(partition, self.name, report, lambda _: self._beaten(partition))

    def _beaten(self, partition: int) -> None:
        self.beating.discard(partition)
        if partition in self.overdue:
            self.overdue.remove(partition)
            if shown := self._shown().get(partition):
                self._beat_for(partition, shown)

    def _shown(self) -> dict[int, tuple[Shown, ...]]:
        return self.holdings.heartbeats(self.topology.job_partition)

    def _status_again(self) -> None:
        self._status()
        self.after(STATUS, self._status_again)

    def _changed(self) -> None:
        if self.holdings.revision != self.told:
            self.told = self.holdings.revision
            self.after(10, self._status)

    def _status(self, then: Any = None) -> None:
        sent = self.local

        def delivered(outcome: Any) -> None:
            if not isinstance(outcome, DeliveryError):
                self.clock.observe(sent, outcome.timestamp)
            if then is not None:
                then()

        value = self.codec.encode("status", self.holdings.status(sent).record())
        self.producer.produce(self.topology.status, self.name, value, 0, self._mine(delivered))

    def _arrived(self, partition: int, entry: Entry) -> None:
        if partition == self.partition and self.alive and self.reading and worker_of(entry.key.decode()) == self.name:
            self._read_soon()

    def _read_soon(self) -> None:
        self.after(self.random.choice([1, 3, 3, 40]), self._read)

    def _read(self) -> None:
        if self.cut_off or not self.bus.up:
            self.after(500, self._read)
            return
        log = self.bus.log(self.topology.commands.name, self.partition)
        while self.read_to < log.end:
            entry = log.entries[self.read_to]
            self.read_to += 1
            if entry is not None:
                self._heed(entry)
            if not self.alive:
                return

    def _heed(self, entry: Entry) -> None:
        holder = entry.key.decode()
        if worker_of(holder) != self.name:
            return
        if holder != self.holder:
            if is_newer(holder, self.holder):
                self.crash()
            return
        self.heeded += 1
        command = Command.of(self.codec.decode("command", entry.value))
        key = (command.job_id, command.attempt)
        if command.kind == GRANT:
            if self.key is not None:
                command = self.key.open(command)
            self._granted(key, command, entry.time)
        elif command.kind == STOP and self.holdings.stop(*key, self.local):
            self.after(self.random.choice([5, 3000]), lambda: self._let_go(key))
        elif command.kind == PERMIT and key in self.attempts:
            self._permitted(key)

    def _granted(self, key: Key, command: Command, stamp: int) -> None:
        now = self.local
        decision = self.holdings.grant(command, self.clock.age(stamp, now), now)
        if decision.verdict is Verdict.RELEASE:
            self._deliver(key, self._report(command, RELEASE), lambda: None, kept=True)
        elif decision.verdict is Verdict.START:
            end = self.random.choice(ENDS)
            ms = self.random.choice([1, 300, 2000, 20_000, 60_000, 100_000])
            self.attempts[key] = Attempt(command, end, ms, self.now)
            self.after(self.random.choice([1, 5, 2000]), lambda: self._run(key))
        self._changed()

    def _run(self, key: Key) -> None:
        self.holdings.reserve(*key, {})
        verdict = self.holdings.begin(*key, self.local).verdict
        attempt = self.attempts.get(key)
        if attempt is None:
            return
        if verdict is Verdict.RELEASE:
            self._deliver(key, self._report(attempt.command, RELEASE), lambda: self._let_go(key))
        elif verdict is Verdict.START:
            if key in self.deeds.begun:
                raise ViolationError(f"{key} was begun twice: by {self.deeds.begun[key]} and by {self.holder}")
            self.deeds.begun[key] = self.holder
            self._deliver(key, self._report(attempt.command, STARTED), lambda: self._started(key))
            if attempt.end == "hangs":
                attempt.ms = 240_000

    def _started(self, key: Key) -> None:
        attempt = self.attempts.get(key)
        # of a lost one its slot never says the end: what the ledger's own limit is for
        if attempt is not None and attempt.end != "lost":
            self.after(attempt.ms, lambda: self._ends(key))

    def _ends(self, key: Key) -> None:
        attempt = self.attempts.get(key)
        if attempt is None or not self.holdings.is_ours(*key):
            return
        if attempt.end == "published" and not attempt.permitted:
            self._ask(key)
            return
        kind = FAILED if attempt.end in ("failed", "hangs") else COMPLETED
        self._deliver(key, self._report(attempt.command, kind), lambda: self._let_go(key))

    def _ask(self, key: Key) -> None:
        attempt = self.attempts.get(key)
        if attempt is not None and not attempt.permitted and self.holdings.is_ours(*key):
            self._deliver(key, self._report(attempt.command, PUBLISH), lambda: None)
            self.after(ASK_AGAIN, lambda: self._ask(key))

    def _permitted(self, key: Key) -> None:
        attempt = self.attempts[key]
        if not attempt.permitted and self.holdings.is_ours(*key):
            attempt.permitted = True
            self.deeds.permits += 1
            self.after(self.random.choice([1, 2000, 15_000]), lambda: self._ends(key))

    def _let_go(self, key: Key) -> None:
        attempt = self.attempts.pop(key, None)
        if attempt is not None:
            attempt.over = True
        self.holdings.end(*key, self.local)
        self._changed()

    @staticmethod
    def _report(command: Command, kind: str) -> WorkerReport:
        result = orjson.dumps({"reason": "r"} if kind == RELEASE else {"job_info": {"pid": 1}}).decode()
        return WorkerReport(kind, command.holder, command.job_id, command.attempt, command.token, result)

    def _deliver(self, key: Key, report: WorkerReport, then: Any, kept: bool = False) -> None:
        """Send a report until it arrives, or until the attempt isn't ours any longer."""

        def delivered(outcome: Any) -> None:
            if not isinstance(outcome, DeliveryError):
                then()
            elif kept or self.holdings.is_ours(*key):
                self.after(1000, lambda: self._deliver(key, report, then, kept))

        self._send(self.topology.job_partition(key[0]), family_of_job(key[0]), report, delivered)

    def _send(self, partition: int, key: str, report: WorkerReport, delivered: Any) -> None:
        value = self.codec.encode("report", report.record())
        self.producer.produce(self.topology.reports, key, value, partition, self._mine(delivered))

    def _mine(self, delivered: Any) -> Any:
        life = self.life
        return lambda outcome: self.do(life, lambda: delivered(outcome))
