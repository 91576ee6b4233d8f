"""Plays gate, scheduler and worker against a real orchestrator: what the ledger's integration tests stand on."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
from confluent_kafka import TopicPartition

from agents.admin import apply, declare_queue
from agents.bus import Publisher, consumer
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, family_of_job, job_id, payload_hash
from pipeline.messages.command import GRANT, Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Body, Claim, Control, Heartbeat, Inbox, NewJob, Report, Source, Submitted, Tick
from pipeline.messages.needs import Needs
from pipeline.messages.report import TICK, WorkerReport
from pipeline.messages.run import Run
from pipeline.settings import Settings
from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[2]
QUEUE = "bench"
HOLDER = "w1:1:aa"
RUN = "import sys; from agents.orchestrator.main import run; from pipeline.settings import Settings; "
RUN += "sys.exit(run(Settings(), gate=False))"
#: lets an owner believe that somebody else has committed all there is while it recovered
OVERTAKEN = """
from agents.faust_recovery import SteadyConsumer
async def committed_of(self, partitions):
    return {tp: None for tp in partitions}
SteadyConsumer.committed_of = committed_of
"""
#: lets a start take as long as on a busy machine: the seek to what is committed, and each partition's first records
SLOW_START = """
import asyncio
from aiokafka import AIOKafkaConsumer
from agents.orchestrator.partition import Partition
seek, apply = AIOKafkaConsumer.seek_to_committed, Partition.apply
async def slow_seek(self, *partitions):
    committed = await seek(self, *partitions)
    await asyncio.sleep(2)
    return committed
async def slow_apply(self, records):
    await asyncio.sleep(3 if self._next is None else 0)
    await apply(self, records)
AIOKafkaConsumer.seek_to_committed, Partition.apply = slow_seek, slow_apply
"""


class Orchestrator:
    """A real orchestrator process without a gate, in a home of its own."""

    def __init__(self, environment: dict[str, str], home: Path) -> None:
        self._environment = {**os.environ, **environment, "JOBSTREAM_HOME": str(home)}
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "orchestrator.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, before: str = "") -> "Orchestrator":
        """Start the process, and `wait` until it owns partitions; it runs the code `before` its own."""
        owned = self.count("owns partitions")
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", before + RUN]
            self.process = subprocess.Popen(command, env=self._environment, cwd=PROJECT, stdout=log, stderr=log)
        if wait:
            until(lambda: self.count("owns partitions") > owned, 60, what=f"orchestrator up, see {self.log}")
        return self

    def count(self, text: str) -> int:
        return self.log.read_text().count(text) if self.log.exists() else 0

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)


class Bench:
    """One installation with a topic prefix of its own, and the parts that a test plays by hand."""

    def __init__(
        self, bootstrap: str, home: Path, prefix: str, topics: dict[str, int] | None = None, **ledger: object
    ) -> None:
        topics = topics or {"inbox_partitions": 4}
        self.environment = {
            "JOBSTREAM_KAFKA__BOOTSTRAP": bootstrap,
            "JOBSTREAM_TOPICS__PREFIX": prefix,
            **{f"JOBSTREAM_TOPICS__{name.upper()}": str(value) for name, value in topics.items()},
            "JOBSTREAM_TOKEN_KEY": "bench",
            **{f"JOBSTREAM_LEDGER__{name.upper()}": str(value) for name, value in ledger.items()},
        }
        self.settings = Settings(
            home=home,
            token_key="bench",
            kafka={"bootstrap": bootstrap},
            topics={"prefix": prefix, **topics},
            ledger=ledger,
        )
        self.topology = self.settings.topology
        apply(self.settings)
        declare_queue(self.settings, QUEUE)
        self.codec = Codec()
        self.publisher = Publisher(self.settings, "bench")
        self.facts: dict[str, dict[int, Fact]] = defaultdict(dict)
        self.repeats: list[tuple[Fact, Fact]] = []
        self.commands: list[Command] = []
        self.waiting: dict[str, Run] = {}
        self.answers: dict[str, dict[str, str]] = {}
        #: partitions of the ticks that were forwarded
        self.ticks: list[int] = []
        #: what the played scheduler and worker do of themselves
        self.claims, self.starts, self.completes, self.forwards_ticks = True, True, True, False
        self._source = time.time_ns() // 1000
        self._reader = consumer(self.settings, "bench-reader")
        topics = [self.topology.events, self.topology.run(QUEUE), self.topology.commands, self.topology.reports]
        self._reader.assign([TopicPartition(one.name, n, 0) for one in topics for n in range(one.partitions)])

    def orchestrator(self, name: str = "a") -> Orchestrator:
        return Orchestrator(self.environment, self.settings.home / name)

    def close(self) -> None:
        self.publisher.close()
        self._reader.close()

    def send(self, family: str, body: Body, topic: str | None = None) -> None:
        self._source += 1
        partition = self.topology.inbox_partition(family)
        source = Source(topic, partition, self._source) if topic else None
        self.send_raw(Inbox(family, body, source, int(time.time() * 1000) if topic else 0), partition)

    def send_raw(self, message: Inbox, partition: int) -> None:
        value = self.codec.encode("inbox", message.record())
        self.publisher.send(self.topology.inbox, message.family, value, partition).result(30)

    def submit(
        self, name: str, submission: str | None = None, dedup: bool = True, time_limit: int | None = None
    ) -> str:
        return self.submit_payload({"name": name}, submission or f"s-{name}", dedup, time_limit)

    def submit_payload(self, payload: dict, submission: str, dedup: bool = True, time_limit: int | None = None) -> str:
        name = str(payload.get("name"))
        hash_ = payload_hash(payload)
        family = family_of_hash(hash_)
        job = job_id(family, submission, hash_, "test", QUEUE)
        body = {"type": "bench", "name": name, "job_id": job, "params": payload, "job_info": {"id": job}}
        new = NewJob(job, QUEUE, "test", 0, Needs(), orjson.dumps(body).decode(), time_limit)
        self.send(family, Submitted(submission, hash_, dedup, (new,)), "submit")
        return job

    def report(self, kind: str, job: str, attempt: int, holder: str = HOLDER, result: str = "{}") -> None:
        self.send(family_of_job(job), Report(kind, job, attempt, holder, result), "reports")

    def claim(self, job: str, attempt: int, holder: str = HOLDER, claim_id: str | None = None) -> None:
        self.send(family_of_job(job), Claim(job, attempt, QUEUE, holder, claim_id or f"c-{job}-{attempt}-{holder}"))

    def control(self, action: str, job: str, arguments: str = "{}") -> None:
        self.send(family_of_job(job), Control(action, job, "test", "because", arguments), "control")

    def heartbeat(self, partition: int, heartbeat: Heartbeat) -> None:
        self._source += 1
        self.send_raw(Inbox("", heartbeat, Source("reports", partition, self._source), 1), partition)

    def turn(self, seconds: float = 0.1) -> None:
        """Read what came, and do what the scheduler, the worker and the gate would."""
        for message in self._reader.consume(500, seconds):
            if message.error() is None:
                self._take(message.topic(), message.key(), message.value(), message.headers(), message.partition())

    def until(self, condition, timeout: float = 60.0, what=""):  # type: ignore[no-untyped-def]
        def check():  # type: ignore[no-untyped-def]
            self.turn()
            return condition()

        return until(check, timeout, 0.0, what)

    def until_all(self, jobs: list[str], statuses: list[str], timeout: float = 60.0) -> None:
        """Play on until each of the jobs went through exactly these statuses."""
        others = lambda: {job: now for job in jobs if (now := self.statuses(job)) != statuses}  # noqa: E731
        self.until(lambda: not others(), timeout, what=others)

    def statuses(self, job: str) -> list[str]:
        return [self.facts[job][seq].status for seq in sorted(self.facts[job])]

    def _take(self, topic: str, key: bytes, value: bytes | None, headers: list | None, partition: int) -> None:
        if topic == self.topology.events.name:
            fact = Fact.of(self.codec.decode("fact", value))
            known = self.facts[fact.job_id].get(fact.seq)
            if known is not None and (known.status, known.document) != (fact.status, fact.document):
                self.repeats.append((known, fact))
            self.facts[fact.job_id][fact.seq] = fact
        elif topic == self.topology.commands.name:
            self._obey(Command.of(self.codec.decode("command", value)))
        elif topic == self.topology.reports.name:
            self._forward(WorkerReport.of(self.codec.decode("report", value)), partition)
        elif value is None:
            self.waiting.pop(key.decode(), None)
            self.answers[key.decode()] = {name: text.decode() for name, text in headers or ()}
        else:
            run = Run.of(self.codec.decode("run", value))
            self.waiting[run.key] = run
            if self.claims:
                self.claim(run.job_id, run.attempt)

    def _obey(self, command: Command) -> None:
        known = [(c.job_id, c.attempt) for c in self.commands if c.kind == GRANT]
        self.commands.append(command)
        if command.kind == GRANT and (command.job_id, command.attempt) not in known:
            if self.starts:
                self.report("started", command.job_id, command.attempt, command.holder, '{"job_info": {"pid": 7}}')
            if self.completes:
                self.report("completed", command.job_id, command.attempt, command.holder)

    def _forward(self, report: WorkerReport, partition: int) -> None:
        if self.forwards_ticks and report.kind == TICK:
            self._source += 1
            tick = Tick(report.previous, report.resumed, report.holder)
            self.ticks.append(partition)
            self.send_raw(Inbox("", tick, Source("reports", partition, self._source), 1), partition)
