"""A scheduler's process: the real `Scheduler`, fed and heard as its shell does it."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson

from pipeline.codec import Codec
from pipeline.identity import family_of_job
from pipeline.ledger.control import EXPIRE
from pipeline.messages.inbox import Claim, Control, Inbox
from pipeline.messages.run import CLAIM_HEADER, HOLDER_HEADER, RESULT_HEADER, Run
from pipeline.messages.status import WorkerStatus
from pipeline.scheduling.match import Scheduler as Core
from pipeline.scheduling.message import (
    BecameLeader,
    CaughtUp,
    LostLeadership,
    Message,
    Now,
    QueueSettings,
    RunGone,
    RunWaits,
    StatusSeen,
)
from pipeline.scheduling.rules import Rules
from pipeline.topology import Topology
from tests.simulation.bus import Bus, Entry, Producer
from tests.simulation.timeline import Actor, Timeline


class Scheduler(Actor):
    """Reads statuses and run topics from their starts, and leads once it is told to."""

    def __init__(
        self, name: str, timeline: Timeline, random: Random, bus: Bus, codec: Codec, topology: Topology,
        queues: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__(name, timeline, random)
        self.bus, self.codec, self.topology, self.queues = bus, codec, topology, queues
        self.topics = {topology.status.name: "", **{topology.run(queue).name: queue for queue in queues}}
        self.leads = False
        self.at_next_claim: Callable[[], None] | None = None
        self.claimed = self.folded = 0
        for topic in self.topics:
            bus.readers.setdefault(topic, []).append(lambda *_: self._soon())

    def start(self) -> None:
        self.begin_life()
        self.at_next_claim = None
        self.core = Core(f"{self.name}-{self.life}", Rules(), self.topology.job_partition)
        self.core.apply(*(QueueSettings(queue) for queue in self.queues))
        self.producer = Producer(self.bus, self.random, twice=0.02)
        self.next = dict.fromkeys(self.topics, 0)
        self.goals: dict[str, int] = {}
        self.announced: set[str] = set()
        self.under_way: set[str] = set()
        self.planned = False
        self.leads = False
        self._idle()

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
            self.producer.release()
            super().resume()

    def lead(self, leads: bool) -> None:
        """Hear of an election, once the process is let."""
        self.do(self.life, lambda: self._lead(leads))

    def _lead(self, leads: bool) -> None:
        if leads == self.leads:
            return
        if leads and not self.bus.up:
            self.after(500, lambda: self._lead(leads))
            return
        self.leads = leads
        if not leads:
            self._apply([LostLeadership()])
            return
        self.announced.clear()
        self.goals = {topic: self.bus.log(topic, 0).end for topic in self.topics}
        self._apply([BecameLeader(self.goals[self.topology.status.name])])

    def _idle(self) -> None:
        self._turn()
        self.after(1000, self._idle)

    def _soon(self) -> None:
        if self.alive and not self.planned:
            self.planned = True
            self.after(self.random.choice([1, 5, 20]), self._turn)

    def _turn(self) -> None:
        self.planned = False
        if not self.bus.up:
            return
        read: list[Message] = []
        for topic, queue in self.topics.items():
            log = self.bus.log(topic, 0)
            for entry in log.read(self.next[topic]):
                read.append(self._message(queue, entry))
            self.next[topic] = log.end
        if self.goals and all(self.next[topic] >= goal for topic, goal in self.goals.items()):
            self.goals = {}
            read += [CaughtUp(queue) for queue in self.queues]
        self._apply(read)

    def _message(self, queue: str, entry: Entry) -> Message:
        if not queue:
            return StatusSeen(WorkerStatus.of(self.codec.decode("status", entry.value)), entry.time, entry.offset)
        if entry.value is None:
            said = {name: value.decode() for name, value in entry.headers}
            return RunGone(queue, entry.key.decode(), entry.time, said[RESULT_HEADER], said[HOLDER_HEADER],
                           said[CLAIM_HEADER])  # fmt: skip
        return RunWaits(Run.of(self.codec.decode("run", entry.value)), entry.time)

    def _apply(self, messages: list[Message]) -> None:
        self.folded += len(messages)
        for output in self.core.apply(Now(self.now + self.bus.skew), *messages):
            if isinstance(output, Claim):
                self._claim(output)
            else:
                arguments = orjson.dumps({"attempt": output.attempt}).decode()
                self._send(output.job_id, Control(EXPIRE, output.job_id, "scheduler", output.reason, arguments))

    def _claim(self, claim: Claim) -> None:
        if claim.claim_id in self.under_way:
            return
        self.claimed += 1
        self.under_way.add(claim.claim_id)
        self._send(claim.job_id, claim, claim.claim_id)
        if self.at_next_claim is not None:
            # it stands still with the claim in hand
            stand_still, self.at_next_claim = self.at_next_claim, None
            stand_still()

    def _send(self, job_id: str, body: Claim | Control, claim_id: str = "") -> None:
        family = family_of_job(job_id)
        value = self.codec.encode("inbox", Inbox(family, body).record())

        def delivered(outcome: Any) -> None:
            self.under_way.discard(claim_id)
            if isinstance(outcome, Exception):
                self.crash()

        partition = self.topology.inbox_partition(family)
        self.producer.produce(self.topology.inbox, family, value, partition, delivered)
