"""Whether an agent serves: what each kind shows to the brokers once it does."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents.bus import consumer
from agents.registry import codec
from ops.cluster.groups import members
from pipeline.codec import DecodeError
from pipeline.messages.status import WorkerStatus
from pipeline.settings import Settings

#: Seconds that a question may take.
_ASK = 5.0
_GATE = ("jobstream-gate-reports", "jobstream-gate-submit")


class Readiness:
    """Asks the brokers. An agent with consumer groups is ready once each is stable with a member of the agent's.

    Which member that is, neither client id nor host tells: a static member keeps those of the process before it. So it
    is one that wasn't there before the start; of an agent that runs already, any.

    A worker is ready once a status of a holder that started after `since` has come: then it gets jobs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codec = codec(settings)
        self._statuses: Consumer | None = None
        self._seen: dict[str, int] = {}

    def of(self, kind: str, worker_id: str, since: int, *, runs: bool) -> Callable[[], bool]:
        """Return the question whether an agent is ready that `runs` already, or is about to start at `since` (ms)."""
        if kind == "worker":
            return lambda: self._has_told(worker_id, since)
        names = [self._settings.topology.name(group) for group in self._groups(kind)]
        before = {name: set() if runs else members(self._settings, name, _ASK)[0] for name in names}
        return lambda: all(self._has_joined(name, before[name]) for name in names)

    def close(self) -> None:
        """Let go of the brokers."""
        if self._statuses is not None:
            self._statuses.close()

    def _groups(self, kind: str) -> tuple[str, ...]:
        match kind:
            case "orchestrator":
                return (self._settings.topology.ledger_id,)
            case "gate":
                return _GATE
            case "sink":
                return (self._settings.sink.group,)
            case _:
                return (f"jobstream-{kind}",)

    def _has_joined(self, group: str, before: set[str]) -> bool:
        inside, stable = members(self._settings, group, _ASK)
        return stable and bool(inside - before)

    def _has_told(self, worker_id: str, since: int) -> bool:
        self._read_statuses()
        return self._seen.get(worker_id, -1) >= since

    def _read_statuses(self) -> None:
        topic = self._settings.topology.status
        try:
            if self._statuses is None:
                self._statuses = consumer(self._settings, "jobstream-up-statuses")
                minute_ago = int(time.time() * 1000) - 60_000
                (start,) = self._statuses.offsets_for_times([TopicPartition(topic.name, 0, minute_ago)], timeout=_ASK)
                self._statuses.assign([start])
            messages = self._statuses.consume(500, timeout=0.2)
        except KafkaException:
            return
        for message in messages:
            if message.error() is not None:
                continue
            try:
                status = WorkerStatus.of(self._codec.decode("status", message.value()))
            except (DecodeError, KeyError, TypeError, ValueError):
                continue
            self._seen[status.worker_id] = started_at(status.holder)


def started_at(holder: str) -> int:
    """Return when a holder's process started (ms), -1 where it doesn't say."""
    start = holder.split(":")[1] if holder.count(":") >= 2 else ""
    return int(start) if start.isdigit() else -1
