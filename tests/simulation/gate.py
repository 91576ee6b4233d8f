"""A gate's process: forwards in order, commits late, and so forwards twice; reports and control by the real checks."""

from random import Random
from typing import Any

import orjson

from agents.gate.record import Incoming
from agents.gate.reports import Reports
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, job_id
from pipeline.messages.inbox import Inbox, NewJob, Rejected, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.topic import Topic
from pipeline.topology import Topology
from tests.simulation.bus import Bus, Entry, Producer
from tests.simulation.group import Group
from tests.simulation.timeline import Actor, Timeline


def jobs_of(asked: dict[str, Any]) -> list[str]:
    """Return the ids of the jobs that a submission makes."""
    family = family_of_hash(asked["hash"])
    return [job_id(family, asked["id"], asked["hash"], "c", queue) for queue in asked["queues"]]


def message_of(asked: dict[str, Any], source: Source, time: int) -> Inbox:
    """Make what the gate makes of a submission, with fewer fields."""
    family = family_of_hash(asked["hash"])
    if asked.get("bad"):
        return Inbox(family, Rejected(jobs_of(asked)[0], asked["id"], asked["hash"], "bad", "{}"), source, time)
    jobs = tuple(
        NewJob(
            identity, queue, "c", asked.get("priority", 0), Needs(),
            orjson.dumps({"type": "t", "job_info": {"id": identity}}).decode(), asked.get("limit"),
            max_wait=asked.get("max_wait"),
        )
        for identity, queue in zip(jobs_of(asked), asked["queues"], strict=True)
    )  # fmt: skip
    return Inbox(family, Submitted(asked["id"], asked["hash"], asked.get("dedup", True), jobs), source, time)


class Gate(Actor):
    """Takes some partitions of submissions, reports and control."""

    def __init__(
        self, name: str, timeline: Timeline, random: Random, bus: Bus, codec: Codec, topology: Topology, key: bytes
    ) -> None:
        super().__init__(name, timeline, random)
        self.bus = bus
        self.codec = codec
        self.topology = topology
        self.reports = Reports(topology, codec, key)
        self.groups: dict[str, Group] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.forwarded = 0
        for topic in (topology.submit, topology.reports, topology.control):
            bus.readers.setdefault(topic.name, []).append(
                lambda partition, entry, topic=topic: self._arrived(topic, partition)
            )

    def start(self) -> None:
        self.begin_life()
        self.producer = Producer(self.bus, self.random)
        self.positions: dict[tuple[str, int], int] = {}
        self.generations: dict[str, int] = {}
        self.busy: set[tuple[str, int]] = set()
        for group in self.groups.values():
            group.join(self)

    def crash(self) -> None:
        if self.alive:
            self.producer.crash()
            self.end_life()
            for group in self.groups.values():
                group.missed(self)

    def pause(self) -> None:
        if self.alive and not self.paused:
            super().pause()
            self.producer.hold()
            for group in self.groups.values():
                group.missed(self)

    def resume(self) -> None:
        if self.alive and self.paused:
            self.producer.release()
            super().resume()
            for group in self.groups.values():
                if self.alive and self.name not in group.joined:
                    group.join(self)

    def assigned_in(self, topic: Topic, partitions: tuple[int, ...], generation: int) -> None:
        self.do(self.life, lambda: self._assigned(topic, partitions, generation))

    def _assigned(self, topic: Topic, partitions: tuple[int, ...], generation: int) -> None:
        if generation < self.generations.get(topic.name, 0):
            return
        self.generations[topic.name] = generation
        for place in [place for place in self.positions if place[0] == topic.name]:
            del self.positions[place]
            self.busy.discard(place)
        for number in partitions:
            self.positions[topic.name, number] = self.committed.get((topic.name, number), 0)
            self._plan(topic, number)

    def _arrived(self, topic: Topic, partition: int) -> None:
        if self.alive and (topic.name, partition) in self.positions:
            self._plan(topic, partition)

    def _plan(self, topic: Topic, partition: int) -> None:
        if (topic.name, partition) not in self.busy:
            self.busy.add((topic.name, partition))
            self.after(self.random.randint(1, 5), lambda: self._turn(topic, partition))

    def _turn(self, topic: Topic, partition: int) -> None:
        place = (topic.name, partition)
        if place not in self.positions:
            return
        if not self.bus.up:
            self.bus.when_up(lambda: self.after(20, lambda: self._turn(topic, partition)))
            return
        entries = self.bus.log(*place).read(self.positions[place], self.random.choice([1, 5, 50]))
        if not entries:
            self.busy.discard(place)
            return
        left = len(entries)
        generation = self.generations[topic.name]

        def delivered(outcome: Any) -> None:
            nonlocal left
            left -= 1
            if isinstance(outcome, Exception):
                self.crash()
            elif left == 0 and self.generations[topic.name] == generation:
                self._done(topic, partition, entries[-1].offset + 1, generation)

        for entry in entries:
            self._forward(topic, partition, entry, delivered)

    def _forward(self, topic: Topic, partition: int, entry: Entry, delivered: Any) -> None:
        self.forwarded += 1
        ident = self.bus.ids[topic.name]
        if topic.name == self.topology.submit.name:
            asked = orjson.loads(entry.value or b"")
            message = message_of(asked, Source("submit", partition, entry.offset, ident), entry.time)
            value = self.codec.encode("inbox", message.record())
            target = self.topology.inbox_partition(message.family)
            self.producer.produce(self.topology.inbox, message.family, value, target, delivered)
            return
        out = self.reports.decide(
            Incoming(topic.name, partition, entry.offset, entry.time, entry.key, entry.value, (), ident)
        )
        self.producer.produce(out.topic, out.key, out.value, out.partition, delivered, out.headers)

    def _done(self, topic: Topic, partition: int, position: int, generation: int) -> None:
        place = (topic.name, partition)
        if place not in self.positions:
            return
        self.positions[place] = position

        def commit() -> None:
            if self.groups[topic.name].may_commit(self, partition, generation) and self.bus.up:
                self.committed[place] = max(self.committed.get(place, 0), position)

        self.after(self.random.choice([0, 200, 1000]), commit)
        self.after(0, lambda: self._turn(topic, partition))


class Seat:
    """A gate as a member of one topic's group."""

    def __init__(self, gate: Gate, topic: Topic) -> None:
        self.gate = gate
        self.topic = topic
        self.name = gate.name

    @property
    def alive(self) -> bool:
        return self.gate.alive

    @property
    def paused(self) -> bool:
        return self.gate.paused

    def assigned(self, partitions: tuple[int, ...], generation: int) -> None:
        self.gate.assigned_in(self.topic, partitions, generation)
