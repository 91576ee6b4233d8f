"""A task worker's threads: slots for each queue, and one that moves retries."""

import logging
import threading
from collections.abc import Callable

from agents.admin import TopicError, client, describe
from agents.registry import codec
from agents.tasks.group_source import GroupSource
from agents.tasks.handling import Handling, Policy
from agents.tasks.outputs import Outputs
from agents.tasks.retries import Retries
from agents.tasks.share_group import ShareGroup, configure
from agents.tasks.share_source import ShareSource, group_of
from agents.tasks.slot import LOCK_MARGIN, Slot, Stopping
from agents.tasks.source import TaskSource
from pipeline.containers.processes import kill_all, records
from pipeline.settings import Settings, TaskSettings
from pipeline.tasks.check import Rules
from pipeline.tasks.child import Child, environment
from pipeline.tasks.folders import TaskFolders
from pipeline.tasks.verdict import Backoff

log = logging.getLogger(__name__)

#: Attempts that a task may ask for.
_MOST_ATTEMPTS = 20
#: s between two looks at kept directories, and between two tries to reach the brokers
_SWEEP, _RETRY = 60.0, 2.0


class MisconfiguredError(ValueError):
    """Settings that no task worker can run with; the text says what to change."""


def longest(tasks: TaskSettings) -> float:
    """Return the longest time limit that the lock leaves (s): the record must still be ours when its end is told."""
    return tasks.lock_ms / 1000 - tasks.kill_grace - LOCK_MARGIN


def check(settings: Settings) -> None:
    """Raise MisconfiguredError for settings that don't fit together."""
    tasks, topology = settings.tasks, settings.topology
    if tasks.time_limit > longest(tasks):
        needed = (tasks.time_limit + tasks.kill_grace + LOCK_MARGIN) * 1000
        raise MisconfiguredError(
            f"a time limit of {tasks.time_limit:g} s needs JOBSTREAM_TASKS__LOCK_MS of at least {needed:.0f}, not "
            f"{tasks.lock_ms}: a function that runs when its lock ends would run twice"
        )
    if unknown := sorted(set(tasks.queues) - set(topology.task_queues)):
        raise MisconfiguredError(f"no task queue {', '.join(unknown)} in JOBSTREAM_TOPICS__TASK_QUEUES")
    if tasks.source == "share" and topology.task_partitions != 1:
        raise MisconfiguredError(
            "with share groups a task queue has one partition (JOBSTREAM_TOPICS__TASK_PARTITIONS): of several, a busy "
            "worker keeps its own from the others"
        )


class TaskWorker:
    """The worker of one process; `ready` is called once it takes tasks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks = settings.tasks
        self._stopping = Stopping()
        self._failed = threading.Event()
        self._folders = TaskFolders(settings.work_root, self._tasks.id, self._tasks.keep)
        self._codec = codec(settings)

    def stop(self) -> None:
        """Take nothing more and give running functions their grace; the second time, none."""
        self._stopping.ask(0 if self._stopping.asked.is_set() else self._tasks.grace)

    def live(self) -> bool:
        """Work until stopped; return whether that was all in order. Raises TopicError, ShareGroupError."""
        self._clear()
        groups = self._prepared()
        if groups is None:
            return True
        outputs = Outputs(self._settings, self._codec)
        retries = Retries(self._settings, outputs)
        threads = [self._thread("retries", retries.run)]
        for queue, group in groups.items():
            handling = self._handling(queue, group, outputs)
            for number in range(self._tasks.slots):
                slot = Slot(self._opener(queue, group), handling, self._stopping)
                threads.append(self._thread(f"{queue}-{number}", slot.run))
        for thread in threads:
            thread.start()
        log.info("takes tasks of %s, %d at once of each", ", ".join(groups), self._tasks.slots)
        try:
            while not self._stopping.asked.wait(_SWEEP):
                self._folders.sweep()
        finally:
            self._stopping.ask(self._tasks.grace)
            for thread in threads[1:]:
                thread.join()
            retries.stop()
            threads[0].join()
            outputs.close()
        return not self._failed.is_set()

    def _clear(self) -> None:
        """End and remove what was left by a process of this worker that was killed."""
        for record in records(self._folders.records):
            if not kill_all(record):
                log.warning("processes of task %s did not end", record.job)
            record.remove(self._folders.records)
        self._folders.clear()
        self._folders.sweep()

    def _prepared(self) -> dict[str, ShareGroup | None] | None:
        """Return what holds for each queue once the brokers answer; None where it is to stop before."""
        while not self._stopping.asked.is_set():
            try:
                self._check_topics()
                return {queue: self._configured(queue) for queue in self._tasks.queues}
            except OSError as error:
                log.warning("waiting for the brokers at %s: %s", self._settings.kafka.bootstrap, error)
                self._stopping.asked.wait(_RETRY)
        return None

    def _check_topics(self) -> None:
        topology = self._settings.topology
        wanted = {topology.task_retries.name, topology.task_events.name, topology.dead.name}
        wanted |= {topology.tasks(queue).name for queue in self._tasks.queues}
        states = [one for one in describe(self._settings) if one.topic.name in wanted]
        wrong = [one.topic.name for one in states if one.partitions is None or one.misfit]
        if wrong:
            raise TopicError(f"{', '.join(wrong)}: missing, or other partitions; run `jobstream topics apply`")

    def _configured(self, queue: str) -> ShareGroup | None:
        if self._tasks.source != "share":
            return None
        return configure(client(self._settings), group_of(self._settings, queue), self._tasks.lock_ms)

    def _opener(self, queue: str, group: ShareGroup | None) -> Callable[[], TaskSource]:
        if group is None:
            return lambda: GroupSource(self._settings, queue)
        return lambda: ShareSource(self._settings, queue, self._tasks.lock_ms)

    def _handling(self, queue: str, group: ShareGroup | None, outputs: Outputs) -> Handling:
        tasks = self._tasks
        policy = Policy(
            rules=Rules(
                functions=tasks.functions,
                time_limit=tasks.time_limit,
                longest=longest(tasks),
                max_attempts=tasks.max_attempts,
                most_attempts=_MOST_ATTEMPTS,
            ),
            backoff=Backoff(tasks.retry_backoff_ms, tasks.retry_backoff_max_ms),
            max_deliveries=tasks.max_deliveries if group is None else group.deliveries(tasks.max_deliveries),
            whole_batches=group is not None,
            keep_failed=tasks.keep_failed,
        )
        child = Child(
            tasks.id,
            self._folders.records,
            grace=tasks.kill_grace,
            result_limit=tasks.result_kib * 1024,
            environment=environment(tasks.environment),
        )
        return Handling(tasks.id, queue, policy, codec=self._codec, outputs=outputs, child=child, folders=self._folders)

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                run()
            except Exception:
                # a worker that goes on with fewer threads than it should would be noticed by nobody
                log.exception("%s failed", name)
                self._failed.set()
                self._stopping.ask(self._tasks.grace)

        return threading.Thread(target=guarded, name=name)
