"""The ledger's and the workers' part, played by a test: run records and answers to claims, statuses."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import TopicPartition

from agents.admin import declare_queue
from agents.bus import Publisher, consumer
from pipeline.codec import Codec
from pipeline.messages.inbox import Claim, Control, Inbox
from pipeline.messages.needs import Needs
from pipeline.messages.run import CLAIM_HEADER, GRANTED, HOLDER_HEADER, REFUSED, RESULT_HEADER, Run
from pipeline.messages.status import Ended, Running, WorkerStatus
from pipeline.settings import Settings
from tests.waiting import until

START = (
    "import sys; from agents.scheduler.main import run; from pipeline.settings import Settings; "
    "sys.exit(run(Settings()))"
)


@dataclass
class Process:
    """A scheduler process."""

    popen: subprocess.Popen[bytes]
    log: Path

    def leads(self) -> bool:
        """Say whether the last word of its log on the lead is that it leads."""
        assert self.popen.poll() is None, self.log.read_text()
        words = [orjson.loads(line)["event"] for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        changes = [word for word in words if word in ("leads", "lost the lead")]
        return changes[-1:] == ["leads"]

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)


@dataclass
class Worker:
    """What a worker says of itself."""

    status: WorkerStatus
    held: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


class Cluster:
    """Grants each claim on a waiting attempt once and refuses the rest; a worker ends what it was granted at once.

    `answers` false: claims are read and not answered. `ends` false: attempts are held for good.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.answers, self.ends = True, True
        self.claims: list[Claim] = []
        self.controls: list[Control] = []
        self.views: dict[str, Any] = {}
        self._waiting: set[str] = set()
        self._workers: dict[str, Worker] = {}
        self._codec = Codec()
        self._lock = threading.Lock()
        self._publisher = Publisher(settings, "test-cluster", **{"linger.ms": 0})
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._listen, self._speak)]
        for thread in self._threads:
            thread.start()

    def declare(self, queue: str, *, paused: bool = False) -> None:
        declare_queue(self.settings, queue, publisher=self._publisher, paused=paused)

    def say(self, key: str, value: dict[str, Any] | None) -> None:
        """Write to jobs.settings."""
        encoded = None if value is None else orjson.dumps(value)
        self._publisher.send(self.settings.topology.settings, key, encoded, 0).result(30)

    def wait(self, job_id: str, queue: str = "q", *, priority: int = 0, since: int = 1, **needs: Any) -> Run:
        """Let a job wait."""
        max_wait = needs.pop("max_wait", None)
        run = Run(job_id, 1, 1, queue, priority, since, "type", Needs(**needs), max_wait)
        with self._lock:
            self._waiting.add(run.key)
        self._publisher.send(
            self.settings.topology.run(queue), run.key, self._codec.encode("run", run.record()), 0
        ).result(30)
        return run

    def many(self, numbers: range, queue: str = "q", *, gone: bool) -> None:
        """Let many jobs wait, and end their wait at once if `gone`; delivered when this returns."""
        topic = self.settings.topology.run(queue)
        sent = []
        for number in numbers:
            run = Run(f"f{number}-j", 1, 1, queue, 9, number, "type", Needs())
            sent.append(self._publisher.send(topic, run.key, self._codec.encode("run", run.record()), 0))
            if gone:
                sent.append(self._publisher.send(topic, run.key, None, 0, _headers(GRANTED, "gone:1:r", "old-1")))
            else:
                with self._lock:
                    self._waiting.add(run.key)
        for one in sent:
            one.result(60)

    def worker(self, worker_id: str = "w", slots: int = 2) -> None:
        """Add a worker, which speaks at once and every half second."""
        with self._lock:
            self._workers[worker_id] = Worker(WorkerStatus(worker_id, f"{worker_id}:1:r", 0, slots, 1000, 1000))
            self._say_status(self._workers[worker_id])

    def claimed(self, *job_ids: str, timeout: float = 30) -> None:
        """Wait until these jobs were claimed."""
        until(
            lambda: {claim.job_id for claim in list(self.claims)}.issuperset(job_ids),
            timeout,
            what=f"claims on {job_ids[:9]}; there are {len(self.claims)}: {self.claims[-3:]}",
        )

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(5)
        self._publisher.close()

    def _listen(self) -> None:
        topology = self.settings.topology
        client = consumer(self.settings, "test-cluster")
        inbox = [TopicPartition(topology.inbox.name, p, 0) for p in range(topology.inbox_partitions)]
        client.assign([*inbox, TopicPartition(topology.view.name, 0, 0)])
        while not self._closing.is_set():
            record = client.poll(0.1)
            if record is None or record.error():
                continue
            if record.topic() == topology.view.name:
                value = record.value()
                self.views[record.key().decode()] = None if value is None else orjson.loads(value)
                continue
            body = Inbox.of(self._codec.decode("inbox", record.value())).body
            if isinstance(body, Control):
                self.controls.append(body)
            elif isinstance(body, Claim):
                assert record.partition() == topology.job_partition(body.job_id)
                self._take(body)
        client.close()

    def _take(self, claim: Claim) -> None:
        self.claims.append(claim)
        if not self.answers:
            return
        key = f"{claim.job_id}/{claim.attempt}"
        with self._lock:
            result = GRANTED if key in self._waiting else REFUSED
            self._waiting.discard(key)
            topic = self.settings.topology.run(claim.queue)
            self._publisher.send(topic, key, None, 0, _headers(result, claim.holder, claim.claim_id))
            worker = self._workers.get(claim.holder.partition(":")[0])
            if worker is not None and result == GRANTED:
                (worker.ended if self.ends else worker.held).append(claim.job_id)
                self._say_status(worker)

    def _speak(self) -> None:
        while not self._closing.wait(0.5):
            with self._lock:
                for worker in self._workers.values():
                    self._say_status(worker)

    def _say_status(self, worker: Worker) -> None:
        status = replace(
            worker.status,
            attempts=tuple(Running(job_id, 1) for job_id in worker.held),
            ended=tuple(Ended(job_id, 1) for job_id in worker.ended),
        )
        # each is listed once at least; afterwards only the newest
        del worker.ended[: -4 * status.slots]
        value = self._codec.encode("status", status.record())
        self._publisher.send(self.settings.topology.status, status.worker_id, value, 0)


@contextmanager
def scheduler(settings: Settings, folder: Path, **own: Any) -> Iterator[Process]:
    """Start a scheduler process; what is left of it is killed in the end."""
    log = folder / f"scheduler-{len(list(folder.glob('scheduler-*.log')))}.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSTREAM_")}
    environment |= {
        "JOBSTREAM_HOME": str(folder / "home"),
        "JOBSTREAM_CONFIG": str(folder / "none.toml"),
        "JOBSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "JOBSTREAM_TOPICS__PREFIX": settings.topics.prefix,
        "JOBSTREAM_TOPICS__INBOX_PARTITIONS": str(settings.topics.inbox_partitions),
    }
    environment |= {f"JOBSTREAM_SCHEDULER__{name.upper()}": str(value) for name, value in own.items()}
    with log.open("wb") as out:
        popen = subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=out, stderr=out)
    try:
        yield Process(popen, log)
    finally:
        popen.kill()
        popen.wait()


def _headers(result: str, holder: str, claim_id: str) -> list[tuple[str, bytes]]:
    return [(RESULT_HEADER, result.encode()), (HOLDER_HEADER, holder.encode()), (CLAIM_HEADER, claim_id.encode())]
