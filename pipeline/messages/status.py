"""A worker's status: its whole offer, and what it holds (design §3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline.messages.plain import plain

#: In `queues`: the worker takes jobs of every queue.
ANY_QUEUE = "*"


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that is held, and what it reserves."""

    job_id: str
    attempt: int
    memory_mib: int = 0
    disk_mib: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that ended in the last 30 s."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Absolute, so that any one record is enough; totals, not what is left.

    `reason` says why it accepts nothing. `ahead` are slots in use that the worker expects to be free at once: as many
    attempts more may be granted to it.
    """

    worker_id: str
    holder: str
    commands_partition: int
    slots: int
    memory_mib: int
    disk_mib: int
    gpus: int = 0
    attempts: tuple[Running, ...] = ()
    ended: tuple[Ended, ...] = ()
    queues: tuple[str, ...] = (ANY_QUEUE,)
    labels: Mapping[str, str] = field(default_factory=dict)
    engines: tuple[str, ...] = ()
    accepting: bool = True
    host: str = ""
    version: str = ""
    ahead: int = 0
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {
            **plain(self),
            "attempts": [plain(running) for running in self.attempts],
            "ended": [plain(ended) for ended in self.ended],
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(
            **{
                **record,
                "attempts": tuple(Running(**running) for running in record["attempts"]),
                "ended": tuple(Ended(**ended) for ended in record["ended"]),
                "queues": tuple(record["queues"]),
                "engines": tuple(record["engines"]),
            }
        )
