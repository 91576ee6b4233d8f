"""Every topic: its key, partitions, retention, size limit, schema; and every partition number (design §3).

Partitions are always computed here and passed explicitly on produce: the default partitioners of the
clients disagree with each other.
"""

import re
from dataclasses import dataclass

from pipeline.identity import family_of_job
from pipeline.partitioning import partition_of
from pipeline.topic import CHANGELOG, DAY_MS, HOUR_MS, KIB, LOGS, RECORD_LIMIT, RUN_TOPIC, Topic

#: Queue names (design §3); a queue's name is part of its topic's name.
QUEUE_NAME = re.compile(r"[a-z0-9._-]{1,80}")
#: Names of principals that have a topic of their own for submissions; part of its name.
PRINCIPAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")
#: Topics beside those of the task queues, which are called alike.
RESERVED_TASK_QUEUES = frozenset({"retry", "events"})

#: Largest submission taken (bytes); larger inputs travel by reference.
SUBMISSION_LIMIT = 256 * KIB
#: Largest report (bytes); what is cut is said in the report.
REPORT_LIMIT = 256 * KIB
#: Documents above this travel by reference in commands (bytes).
COMMAND_DOCUMENT_LIMIT = 8 * KIB
#: Largest batch of records of jobs.logs (bytes), and so the largest record: a chunk, and what is around it.
LOG_LIMIT = 256 * KIB


ORCHESTRATOR_ID = "jobstream-orchestrator"
#: The group that consumers without a group name, and never join.
UNUSED_GROUP = "jobstream-unused"
TABLES = ("families", "documents", "active")
#: What names of topics and groups begin with, after the prefix.
_STEMS = ("jobs.", "workers.", "scheduler.", "datasets.", "tasks.", "jobstream-")


@dataclass(frozen=True, slots=True)
class Topology:
    """All topics of one installation; `prefix` lets several share a broker, `replication` is for all topics."""

    prefix: str = ""
    inbox_partitions: int = 8
    inbox_generation: int = 1
    fact_partitions: int | None = None
    submit_partitions: int = 8
    commands_partitions: int = 4
    task_queues: tuple[str, ...] = ("default",)
    task_partitions: int = 1
    replication: int = 1
    principals: tuple[str, ...] = ()

    def name(self, base: str) -> str:
        """Return the full name of a topic, group or client id."""
        return f"{self.prefix}{base}"

    def owns(self, name: str) -> bool:
        """Say whether a topic or group is called as one of this installation's, and not as one of another prefix.

        In doubt it isn't: a prefix may itself begin as our names do, and then a second beginning comes after it.

        >>> Topology("a-").owns("a-jobs.inbox"), Topology("a-").owns("a-b-jobs.inbox"), Topology().owns("a-jobs.inbox")
        (True, False, False)
        >>> Topology().owns("jobs.x-jobs.inbox"), Topology("jobs.x-").owns("jobs.x-jobs.inbox")
        (False, True)
        """
        base = name.removeprefix(self.prefix)
        return name.startswith(self.prefix) and base.startswith(_STEMS) and not any(one in base[1:] for one in _STEMS)

    @property
    def ledger_id(self) -> str:
        """What the ledger's app and group are called, without the prefix: each generation of the inbox has its own."""
        return ORCHESTRATOR_ID + self._generation

    @property
    def facts(self) -> int:
        """The number of partitions of what others read; it stays when the inbox gets more."""
        return self.fact_partitions or self.inbox_partitions

    @property
    def submit(self) -> Topic:
        """The public API: submissions, in Avro or JSON."""
        # above the limit for submissions, so that what is too large is refused with its reason, not by the broker
        return self._topic("jobs.submit", self.submit_partitions, "any", "anyone", "submission", 7 * DAY_MS)

    def submit_of(self, principal: str | None) -> Topic:
        """Submissions that only this principal can write, so that they tell who sent them; None: `submit`."""
        if principal is None:
            return self.submit
        return self._topic(
            f"jobs.submit.{principal}", self.submit_partitions, "any", principal, "submission", 7 * DAY_MS
        )

    def submits(self) -> list[Topic]:
        """Return all topics that submissions come by."""
        return [self.submit, *(self.submit_of(principal) for principal in self.principals)]

    def principal_of(self, topic: str) -> str | None:
        """Return the principal whose submissions a topic takes, None for any other topic."""
        start = self.name("jobs.submit.")
        named = topic[len(start) :] if topic.startswith(start) else None
        return named if named in self.principals else None

    @property
    def reports(self) -> Topic:
        """What workers say, and ticks; partition p is forwarded to inbox partition p."""
        return self._topic("jobs.reports", self.inbox_partitions, "family", "workers", "report", DAY_MS)

    @property
    def control(self) -> Topic:
        """What operators ask; partition p is forwarded to inbox partition p."""
        return self._topic("jobs.control", self.inbox_partitions, "family", "operators", "control", 7 * DAY_MS)

    @property
    def settings(self) -> Topic:
        """Queues declared and paused (`queue/NAME`), workers draining (`worker/ID`), job types (`jobtype/ID`): JSON."""
        return self._topic(
            "jobs.settings", 1, "queue/… worker/… jobtype/…", "gate, operators", None, None, compacted=True
        )

    @property
    def inbox(self) -> Topic:
        """The one topic that the ledger reads, in one total order per family."""
        return self._topic(
            f"jobs.inbox{self._generation}",
            self.inbox_partitions,
            "family",
            "gate, scheduler, orchestrator",
            "inbox",
            30 * DAY_MS,
        )

    def run(self, queue: str) -> Topic:
        """What waits in a queue: the topic is the queue."""
        return self._topic(
            f"jobs.run.{queue}", 1, "job_id/attempt", "ledger", "run", None, compacted=True, extra=RUN_TOPIC
        )

    @property
    def status(self) -> Topic:
        """Workers' offers; its one partition elects the leading scheduler."""
        return self._topic("workers.status", 1, "worker id", "workers", "status", HOUR_MS)

    @property
    def commands(self) -> Topic:
        """Grants and stops; a worker assigns the partition of its id."""
        return self._topic("workers.commands", self.commands_partitions, "holder", "ledger", "command", HOUR_MS)

    @property
    def view(self) -> Topic:
        """Depth, oldest job and unmet needs of each queue, as JSON."""
        return self._topic("scheduler.view", 1, "queue", "scheduler", None, None, compacted=True)

    @property
    def events(self) -> Topic:
        """Facts: what sinks, rules and users read."""
        return self._topic("jobs.events", self.facts, "family", "ledger", "fact", 90 * DAY_MS)

    @property
    def datasets(self) -> Topic:
        """Each dataset that was published, in the order of its id."""
        return self._topic("datasets.published", self.facts, "dataset id", "workers, ingest", "dataset", 90 * DAY_MS)

    @property
    def dead(self) -> Topic:
        """What could not be handled: the original bytes, and why in the headers."""
        return self._topic("jobs.dead", 1, "original", "gate, sink", None, 90 * DAY_MS, max_bytes=2 * RECORD_LIMIT)

    @property
    def dead_notes(self) -> Topic:
        """What was done about dead letters, by the letter's id: JSON. A note outlives its letter."""
        both = {"cleanup.policy": "compact,delete"}
        return self._topic("jobs.dead.notes", 1, "letter", "operators", None, 180 * DAY_MS, compacted=True, extra=both)

    @property
    def logs(self) -> Topic:
        """What running jobs print, in chunks; partitioned by family, so that an attempt's chunks stay in order."""
        return self._topic(
            "jobs.logs",
            self.facts,
            "job_id/attempt",
            "workers",
            "log",
            DAY_MS,
            max_bytes=LOG_LIMIT,
            extra=LOGS,
        )

    def tasks(self, queue: str) -> Topic:
        """Tasks that wait in a queue. One partition for share groups, where a busy member keeps others from its own."""
        return self._topic(f"tasks.{queue}", self.task_partitions, "task id", "anyone", "task", 7 * DAY_MS)

    @property
    def task_retries(self) -> Topic:
        """Attempts that may not be taken before their time; a tombstone once one is in its queue."""
        return self._topic(
            "tasks.retry", 1, "task id/attempt", "task workers", "task", None, compacted=True, extra=RUN_TOPIC
        )

    @property
    def task_events(self) -> Topic:
        """What happened to tasks."""
        return self._topic("tasks.events", self.facts, "task id", "task workers", "task_fact", 90 * DAY_MS)

    def changelogs(self) -> list[Topic]:
        """Return the changelog topics of the ledger's tables."""
        return [
            self._topic(
                f"{self.ledger_id}-{table}-changelog",
                self.inbox_partitions,
                "table key",
                "ledger",
                None,
                None,
                compacted=True,
                extra=CHANGELOG,
            )
            for table in TABLES
        ]

    def fixed(self) -> list[Topic]:
        """Return every topic but the run topics, which come with their queues."""
        return [
            *self.submits(),
            self.reports,
            self.control,
            self.settings,
            self.inbox,
            self.status,
            self.commands,
            self.view,
            self.events,
            self.datasets,
            self.dead,
            self.dead_notes,
            self.logs,
            *(self.tasks(queue) for queue in self.task_queues),
            self.task_retries,
            self.task_events,
            *self.changelogs(),
        ]

    def subjects(self) -> list[tuple[str, str]]:
        """Return (subject in a schema registry, schema) of every topic that has one; all run topics share theirs."""
        named = [(f"{one.name}-value", one.schema) for one in self.fixed() if one.schema is not None]
        return [*named, (f"{self.name('jobs.run')}-value", "run")]

    def inbox_partition(self, family: str) -> int:
        """Return the partition of a family in the inbox, reports and control."""
        return partition_of(family, self.inbox_partitions)

    def fact_partition(self, inbox_partition: int) -> int:
        """Return the partition of jobs.events and jobs.logs for what belongs to a partition of the inbox.

        All facts of a family are in one, whichever generation of the inbox they came from: the inbox's number of
        partitions is a multiple of theirs.
        """
        return inbox_partition % self.facts

    def job_partition(self, job_id: str) -> int:
        """Return the inbox partition that a job id names."""
        return self.inbox_partition(family_of_job(job_id))

    def commands_partition(self, worker_id: str) -> int:
        """Return the partition of workers.commands that a worker listens on."""
        return partition_of(worker_id, self.commands_partitions)

    def queue_of(self, topic: str) -> str | None:
        """Return the queue whose run topic this is, None for any other topic."""
        start = self.name("jobs.run.")
        return topic[len(start) :] if topic.startswith(start) else None

    @property
    def _generation(self) -> str:
        return f".{self.inbox_generation}" if self.inbox_generation > 1 else ""

    def _topic(
        self,
        base: str,
        partitions: int,
        key: str,
        written_by: str,
        schema: str | None,
        retention_ms: int | None,
        *,
        compacted: bool = False,
        max_bytes: int = RECORD_LIMIT,
        extra: dict[str, str] | None = None,
    ) -> Topic:
        return Topic(
            self.name(base), partitions, key, written_by, schema, retention_ms, compacted, max_bytes, extra or {}
        )
