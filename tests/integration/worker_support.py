"""The ledger's part, played by a test: grants and stops to a worker process, and what the worker says to that."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from confluent_kafka import TopicPartition

from agents.admin import apply
from agents.bus import Publisher, consumer
from pipeline.codec import Codec
from pipeline.identity import attempt_key, token, token_is_valid, worker_of
from pipeline.messages.command import GRANT, PERMIT, STOP, Command, Reference
from pipeline.messages.inbox import Inbox
from pipeline.messages.report import HEARTBEAT, WorkerReport
from pipeline.messages.status import WorkerStatus
from pipeline.protocol import OWN, SETTING, Protocol
from pipeline.settings import KafkaSettings, Settings, TopicSettings
from tests.waiting import until

KEY = "a key for tests"
LEASE = 60_000
WORKER = "w1"
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})
START = (
    "import sys; from agents.worker.main import run; from pipeline.settings import Settings; sys.exit(run(Settings()))"
)


@dataclass
class Process:
    """A worker process."""

    popen: subprocess.Popen[bytes]
    log: Path

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def exit_code(self, timeout: float = 60) -> int:
        return self.popen.wait(timeout)


class Ledger:
    """Grants, permits and stops; keeps all reports and statuses that came, in order."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.reports: list[WorkerReport] = []
        self.heartbeats: list[tuple[int, WorkerReport]] = []
        self.statuses: list[WorkerStatus] = []
        self._codec = Codec()
        self._publisher = Publisher(settings, "test-ledger", **{"linger.ms": 0})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    # what the worker says

    def of(self, job: str, *kinds: str) -> list[WorkerReport]:
        """Return the reports on a job, of some kinds or all."""
        return [report for report in self.reports if report.job_id == job and (not kinds or report.kind in kinds)]

    def report(self, job: str, kind: str, timeout: float = 30) -> WorkerReport:
        """Wait for the first report of a kind on a job."""
        return until(lambda: self.of(job, kind), timeout, 0.02, f"{kind} of {job}; there are {self.reports}")[0]

    def result(self, job: str, kind: str) -> Any:
        return orjson.loads(self.report(job, kind).result)

    def status(self, wanted: Callable[[WorkerStatus], bool] = lambda status: True) -> WorkerStatus:
        """Wait for the newest status to be as wanted."""
        until(lambda: self.statuses and wanted(self.statuses[-1]), what=f"status; last {self.statuses[-1:]}")
        return self.statuses[-1]

    def seen(self, wanted: Callable[[WorkerStatus], bool]) -> WorkerStatus:
        """Wait for any status to be as wanted."""
        return until(lambda: [status for status in self.statuses if wanted(status)], what="a status")[0]

    def listed(self, job: str) -> bool:
        """Say whether a heartbeat listed the job."""
        return any(shown.job_id == job for _, beat in list(self.heartbeats) for shown in beat.attempts)

    # what the worker is told

    def grant(
        self, holder: str, job: str, document: Mapping[str, Any] | None = NOTHING_MORE, attempt: int = 1, **more: Any
    ) -> Command:
        """Grant a job; `document` adds to the run document (None: there is none), the rest replaces fields."""
        whole = {"job_id": job, "type": "job-test", "params": {}, "needs": {"memory_mib": 10}, "payload_hash": "h"}
        text = None if document is None else orjson.dumps(whole | dict(document)).decode()
        fields: dict[str, Any] = {"lease_ms": LEASE, "document": text} | more
        shown = token(KEY.encode(), job, attempt, holder)
        command = Command(GRANT, holder, job, attempt, "claim", shown, **fields)
        self.tell(command)
        return command

    def stop(self, holder: str, job: str, attempt: int = 1) -> None:
        self.tell(Command(STOP, holder, job, attempt, reason="revoked"))

    def permit(self, holder: str, job: str, attempt: int = 1) -> None:
        self.tell(Command(PERMIT, holder, job, attempt))

    def speak(self, orchestrator: Protocol) -> None:
        """Say what the orchestrator speaks, as it does when it starts."""
        value = orjson.dumps(orchestrator.setting)
        self._publisher.send(self.settings.topology.settings, SETTING, value, 0).result(30)

    def tell(self, command: Command, speaks: Protocol = OWN) -> None:
        topology = self.settings.topology
        value = self._codec.encode("command", command.record())
        partition = topology.commands_partition(worker_of(command.holder))
        self._publisher.send(topology.commands, command.holder, value, partition, [speaks.header]).result(30)

    def put_in_inbox(self, message: Inbox) -> Reference:
        topology = self.settings.topology
        partition = topology.inbox_partition(message.family)
        value = self._codec.encode("inbox", message.record())
        return Reference(partition, self._publisher.send(topology.inbox, "f", value, partition).result(30).offset)

    def set_draining(self, draining: bool) -> None:
        value = orjson.dumps({"draining": draining})
        self._publisher.send(self.settings.topology.settings, f"worker/{WORKER}", value, 0).result(30)

    # processes

    def worker(self, **settings: Any) -> AbstractContextManager[Process]:
        """Start a worker process; whatever is left of it is killed in the end."""
        return worker(self.settings, self.folder, **settings)

    def holder(self, process: Process) -> str:
        """Wait for the process's first status and return its holder."""
        known = {status.holder for status in self.statuses}
        until(lambda: (self.statuses and self.statuses[-1].holder not in known) or process.popen.poll() is not None)
        assert process.popen.poll() is None, process.log.read_text()
        return self.statuses[-1].holder

    def close(self) -> None:
        self._closing.set()
        self._thread.join(5)
        self._publisher.close()

    def _listen(self) -> None:
        topology = self.settings.topology
        client = consumer(self.settings, "test-ledger")
        partitions = [TopicPartition(topology.reports.name, p, 0) for p in range(topology.inbox_partitions)]
        client.assign([*partitions, TopicPartition(topology.status.name, 0, 0)])
        while not self._closing.is_set():
            message = client.poll(0.2)
            if message is None or message.error():
                continue
            if message.topic() == topology.status.name:
                self.statuses.append(WorkerStatus.of(self._codec.decode("status", message.value())))
            else:
                self._note(message.partition(), WorkerReport.of(self._codec.decode("report", message.value())))
        client.close()

    def _note(self, partition: int, report: WorkerReport) -> None:
        if report.kind == HEARTBEAT:
            self.heartbeats.append((partition, report))
            return
        assert report.job_id is not None
        assert partition == self.settings.topology.job_partition(report.job_id), attempt_key(report.job_id, 0)
        assert token_is_valid(KEY.encode(), report.job_id, report.attempt, report.holder, report.token)
        self.reports.append(report)


@contextmanager
def worker(settings: Settings, folder: Path, **of_worker: Any) -> Iterator[Process]:
    """Start a worker process on these brokers and topics, with the given settings of its own."""
    log = folder / f"worker-{len(list(folder.glob('worker-*.log')))}.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSTREAM_")}
    environment |= {
        "JOBSTREAM_HOME": str(folder / "home"),
        "JOBSTREAM_CONFIG": str(folder / "none.toml"),
        "JOBSTREAM_TOKEN_KEY": KEY,
        "JOBSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "JOBSTREAM_TOPICS__PREFIX": settings.topics.prefix,
        "JOBSTREAM_TOPICS__INBOX_PARTITIONS": str(settings.topics.inbox_partitions),
        "JOBSTREAM_TOPICS__COMMANDS_PARTITIONS": str(settings.topics.commands_partitions),
        "JOBSTREAM_WORKER__ID": WORKER,
    }
    defaults = {
        "engine": "noop",
        "slots": 2,
        "status_ms": 500,
        "heartbeat_ms": 300,
        "grace": 5,
        "kill_grace": 1,
        "metadata": "off",
    }
    for name, value in (defaults | of_worker).items():
        environment[f"JOBSTREAM_WORKER__{name.upper()}"] = str(value)
    with log.open("wb") as out:
        popen = subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=out, stderr=out)
    try:
        yield Process(popen, log)
    finally:
        popen.kill()
        popen.wait()


@contextmanager
def ledger(bootstrap: str, folder: Path, prefix: str) -> Iterator[Ledger]:
    """Make the topics under a prefix of their own, and play the ledger on them."""
    settings = Settings(
        home=folder / "home",
        kafka=KafkaSettings(bootstrap=bootstrap),
        topics=TopicSettings(prefix=prefix, inbox_partitions=3, commands_partitions=2),
    )
    apply(settings)
    playing = Ledger(settings, folder)
    try:
        yield playing
    finally:
        playing.close()
