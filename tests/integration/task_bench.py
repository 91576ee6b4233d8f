"""Task workers as processes, on topics of a test's own, and what they tell."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from confluent_kafka import KafkaError, KafkaException

from agents.admin import apply
from agents.bus import Publisher, consumer, read_to_end
from agents.tasks.outputs import Outputs
from pipeline.codec import Codec
from pipeline.messages.task import Task, TaskFact
from pipeline.settings import Settings
from tests.conftest import TASK_SOURCE
from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[2]
HERE = "tests.task_functions"
QUEUE = "q"
START = (
    "import sys; from agents.tasks.main import run; from pipeline.settings import Settings; sys.exit(run(Settings()))"
)
NAMES = ("where", "mark", "fail", "fail_until", "spawn", "large")


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        environment = settings.environment() | {"PYTHONPATH": str(PROJECT)}
        with log.open("ab") as output:
            self.popen = subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=output, stderr=output)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def exit_code(self, timeout: float = 60) -> int:
        return self.popen.wait(timeout)

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()


class TaskBench:
    """Topics, workers and a folder for what functions leave."""

    def __init__(self, kafka: str, home: Path, **tasks: Any) -> None:
        self.home = home
        own = {
            "queues": (QUEUE,),
            "source": TASK_SOURCE,
            "functions": ("echo", "sleep", *(f"{HERE}.{name}" for name in NAMES)),
            "session_ms": 6000,
            "slots": 1,
            "retry_backoff_ms": 400,
            "lock_ms": 30_000,
            "time_limit": 20,
            "kill_grace": 0.5,
        }
        self.settings = Settings(
            home=home,
            kafka={"bootstrap": kafka},
            topics={
                "prefix": f"{uuid4().hex[:8]}.",
                "inbox_partitions": 1,
                "task_queues": (QUEUE,),
                "task_partitions": 1 if TASK_SOURCE == "share" else 4,
            },
            tasks=own | tasks,
        )
        self.topology = self.settings.topology
        self.codec = Codec()
        apply(self.settings)
        self.outputs = Outputs(self.settings, self.codec)
        self.publisher = Publisher(self.settings, "test")
        self.workers: list[Worker] = []

    def worker(self, name: str = "w1", **tasks: Any) -> Worker:
        """Start a worker."""
        section = self.settings.tasks.model_copy(update={"id": name} | tasks)
        settings = self.settings.model_copy(update={"tasks": section})
        made = Worker(settings, self.home / f"{name}.log")
        self.workers.append(made)
        return made

    def submit(self, function: str, *args: Any, **fields: Any) -> str:
        """Put a task into the queue; names of tests' own functions come without their module."""
        task_id = fields.pop("task_id", f"t-{uuid4().hex[:8]}")
        name = f"{HERE}.{function}" if function in NAMES else function
        text = orjson.dumps(args, default=str).decode()
        self.outputs.enqueue(Task(function=name, task_id=task_id, args=text, **fields), QUEUE)
        return task_id

    def send_raw(self, value: bytes | None, key: bytes = b"key") -> None:
        self.publisher.send(self.topology.tasks(QUEUE), key, value, 0).result(30)

    def facts(self, task_id: str | None = None) -> list[TaskFact]:
        """All facts, or those of one task, in the order of the log."""
        found = self._read(self.topology.task_events.name)
        facts = [TaskFact.of(self.codec.decode("task_fact", message.value())) for message in found]
        return [fact for fact in facts if task_id in (None, fact.task_id)]

    def until_fact(self, task_id: str, status: str, timeout: float = 60) -> TaskFact:
        """Wait for a task's first fact of a status."""
        return until(
            lambda: [fact for fact in self.facts(task_id) if fact.status == status],
            timeout,
            0.2,
            lambda: [(fact.task_id, fact.status, fact.error) for fact in self.facts()],
        )[0]

    def statuses(self, task_id: str) -> list[tuple[str, int]]:
        return [(fact.status.removeprefix("task-"), fact.attempt) for fact in self.facts(task_id)]

    def dead(self) -> list[tuple[bytes | None, str]]:
        """Value and reason of each dead letter."""
        found = self._read(self.topology.dead.name)
        return [(one.value(), dict(one.headers())["reason"].decode()) for one in found]

    def notes(self) -> list[tuple[float, str]]:
        """What functions noted, with the time."""
        path = self.home / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]

    def until_noted(self, text: str, timeout: float = 60) -> float:
        """Wait until a function has noted this; return when."""
        return until(lambda: [when for when, said in self.notes() if said == text], timeout, 0.05, text)[0]

    def left_over(self) -> list[str]:
        """Directories of tasks, without those that are kept."""
        root = self.settings.work_root / "tasks"
        return [one.name for one in root.glob("*/*") if one.name not in {"runs", "kept"}]

    def close(self) -> None:
        for worker in self.workers:
            if worker.popen.poll() is None:
                worker.kill()
        self.outputs.close()
        self.publisher.close(1)

    def _read(self, topic: str) -> list[Any]:
        reader = consumer(self.settings, "test-reader")

        def found() -> tuple[list[Any]] | None:
            try:
                return (list(read_to_end(reader, topic, [0])),)
            except KafkaException as error:
                # a topic that was just made has no leader for a moment
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                return None

        try:
            return until(found, 30, what=f"{topic} has a leader")[0]
        finally:
            reader.close()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
