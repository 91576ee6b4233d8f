"""A world: one seed, one run; operations change it, time passes in it, and at its end everything must be well."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import orjson

from agents.orchestrator import outputs, partition, sweep, ticker
from pipeline.codec import Codec
from pipeline.identity import worker_of
from pipeline.ledger.policy import Policy
from pipeline.topology import Topology
from tests.simulation.bus import Bus, Entry
from tests.simulation.ending import Ending
from tests.simulation.gate import Gate, Seat, jobs_of
from tests.simulation.group import Group
from tests.simulation.loop import SimLoop
from tests.simulation.operating import QUEUES, Operations
from tests.simulation.oracle import Oracle
from tests.simulation.owner import Owner
from tests.simulation.packing import PackingCodec
from tests.simulation.plan import THEMES, Operation, operations
from tests.simulation.scheduler import Scheduler
from tests.simulation.timeline import Timeline
from tests.simulation.watch import Watch
from tests.simulation.worker import Deeds, Worker

START = 1_764_000_000_000
KEY = b"a key of the simulation's own"
_SILENT = SimpleNamespace(**{name: lambda *_, **__: None for name in ("info", "warning", "error", "exception")})


class World(Operations, Ending):
    """All actors, and the operations on them; `avro` has records encoded as in earnest."""

    def __init__(self, seed: int, avro: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        random = self.random
        self.timeline = Timeline(START)
        self.topology = Topology(inbox_partitions=2, submit_partitions=2, commands_partitions=2)
        self.codec = Codec() if avro else PackingCodec()
        self.bus = Bus(self.timeline)
        for topic in (*self.topology.fixed(), *map(self.topology.run, QUEUES)):
            self.bus.create(topic.name, topic.partitions)
        self.oracle = Oracle(self._well)
        self.watch = Watch(self.bus, self.topology, self.codec, self.oracle)
        for queue in QUEUES:
            self.watch.watch_queue(self.bus, queue)
        self.watch.claim_again = self._claim_again
        self.bus.observers[self.topology.submit.name] = [self._accepted]
        self.accepted: dict[str, dict[str, Any]] = {}
        self.accepted_at: dict[str, int] = {}
        self.jobs: list[str] = []
        self.policy = Policy(
            hard_limit_grace_ms=60_000,
            republish_ms=600_000,
            window_ms=random.choice([400_000, 8 * 86_400_000]),
            document_ms=random.choice([30_000, 2 * 86_400_000]),
            retry_backoff_ms=random.choice([1000, 60_000]),
            free_releases=random.choice([1, 5]),
            max_unfinished=random.choice([6, 500]),
            # by the seed itself, so that worlds of before stay as they were
            sealing=seed % 4 == 3,
        )
        self.watch.sealing = self.policy.sealing
        self.late = random.choice([[0], [0, 50], [0, 50, 5000], [0, 20_000]])
        self.deeds = Deeds()
        self.down_until: dict[str, int] = {}
        self._actors()
        self.leader = ""
        self._supervise()

    @property
    def folds(self) -> int:
        """Messages that the real cores took: ledgers, gates' checks, schedulers and workers' holdings."""
        return (
            self.watch.folded
            + sum(one.applied for one in self.owners)
            + sum(one.forwarded for one in self.gates)
            + sum(one.folded for one in self.schedulers)
            + sum(one.heeded for one in self.workers)
        )

    def _actors(self) -> None:
        random, topology = self.random, self.topology
        parts = (self.timeline, random, self.bus)
        self.owners = [Owner(f"o{n}", *parts, self.watch, self.codec, topology, self.policy, KEY) for n in range(3)]
        group = Group(self.timeline, topology.inbox_partitions, self.owners, self._delay)
        committed = [0] * topology.inbox_partitions
        for owner in self.owners:
            owner.group, owner.committed = group, committed
            owner.in_memory = random.random() < 0.3
        self.owner_group = group
        self.gates = [Gate(f"g{n}", *parts, self.codec, topology, KEY) for n in range(2)]
        shared: dict[tuple[str, int], int] = {}
        groups = {
            topic.name: Group(self.timeline, topic.partitions, [Seat(one, topic) for one in self.gates], self._delay)
            for topic in (topology.submit, topology.reports, topology.control)
        }
        for gate in self.gates:
            gate.groups, gate.committed = groups, shared
        seals = self.policy.sealing
        self.workers = [
            Worker(f"w{n}", *parts, self.codec, topology, self.deeds, random.choice([1, 2, 4, 8]), sealing=seals)
            for n in range(3)
        ]
        for worker in self.workers:
            worker.slow_to_reconnect = random.choice([100, 3000, 55_000, 55_000])
        self.schedulers = [Scheduler(f"s{n}", *parts, self.codec, topology, QUEUES) for n in range(2)]
        self.actors: list[Any] = [*self.owners, *self.gates, *self.workers, *self.schedulers]
        for actor in self.actors:
            actor.start()
        for owner in self.owners:
            owner.stalls = lambda owner=owner: self._pause(owner, owner.stall_ms)

    def _delay(self) -> int:
        return self.random.choice(self.late)

    def _supervise(self) -> None:
        """Start again what died, and elect another where the leader is gone."""
        for actor in self.actors:
            if not actor.alive and self.timeline.now >= self.down_until.get(actor.name, 0):
                self.down_until[actor.name] = self.timeline.now + self.random.choice([0, 1000, 5000])
                actor.start()
        leading = [one for one in self.schedulers if one.name == self.leader and one.alive and not one.paused]
        if not leading:
            self._elect(10_000)
        elif not leading[0].leads:
            leading[0].lead(True)
        self.timeline.after(1000, self._supervise)

    def _elect(self, late: int) -> None:
        able = [one for one in self.schedulers if one.alive and not one.paused]
        if not able:
            return
        chosen = self.random.choice(able)
        for one in self.schedulers:
            if one is not chosen and one.alive:
                one.after(late, lambda one=one: one.lead(False) if one.name != self.leader else None)
        self.leader = chosen.name
        chosen.lead(True)

    def _well(self, job_id: str, attempt: int, holder: str, time: int) -> bool:
        return any(
            one.was_well((job_id, attempt), holder, time) for one in self.workers if one.name == worker_of(holder)
        )

    def _accepted(self, partition: int, entry: Entry) -> None:
        asked = orjson.loads(entry.value or b"")
        for job_id in jobs_of(asked):
            if job_id not in self.accepted:
                self.accepted[job_id] = asked
                self.accepted_at[job_id] = self.timeline.now
                self.jobs.append(job_id)


def _skew() -> int:
    """Return by how much (ms) the clock of the orchestrator is off that looks at it."""
    loop = asyncio._get_running_loop()
    return loop.actor.skew if isinstance(loop, SimLoop) and isinstance(loop.actor, Owner) else 0


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Have the real code ask this world for the time, and say nothing."""
    clock = SimpleNamespace(time_ns=lambda: (world.timeline.now + _skew()) * 1_000_000)
    chance = SimpleNamespace(token_hex=lambda n: f"{world.random.getrandbits(8 * n):0{2 * n}x}")
    with (
        patch.object(ticker, "time", clock),
        patch.object(sweep, "secrets", chance),
        patch.object(sweep, "log", _SILENT),
        patch.object(partition, "log", _SILENT),
        patch.object(outputs, "log", _SILENT),
    ):
        yield


def plan_of(seed: int, length: int) -> list[Operation]:
    """Return the operations of a seed."""
    return operations(Random(f"plan {seed}"), length, seed % len(THEMES))


def run(seed: int, plan: Sequence[Operation], avro: bool = False) -> World:
    """Run a world to its end; raises ViolationError."""
    world = World(seed, avro)
    with simulated(world):
        for operation in plan:
            world.do(operation)
        world.settle()
    return world
