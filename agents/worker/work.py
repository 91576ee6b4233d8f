"""The seam between the worker and what runs an attempt."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.containers.stop import Stop

#: To be called once, when the command is about to begin, with the job_info fields known then.
Started = Callable[[Mapping[str, Any]], None]
#: Asks the ledger whether products may be made visible; returns False once the attempt was told to stop.
MayPublish = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt to run: the grant's document (a whole `job`, spec §3.2), and for whom."""

    document: Mapping[str, Any]
    job_id: str
    attempt: int
    worker: str
    holder: str


@dataclass(frozen=True, slots=True)
class WorkResult:
    """How an attempt ended; `result` is what its last report carries (`job_info`, `error`, `products`, …).

    `handed_back` says why nothing of it was begun, so that another worker may try; nobody was told that it started.
    """

    completed: bool
    result: Mapping[str, Any] = field(default_factory=dict)
    handed_back: str = ""


class Work(Protocol):
    """Runs attempts; any number at a time, on one event loop."""

    async def reap(self) -> list[tuple[str, int]]:
        """End what earlier processes of this worker left running, and return those attempts; may raise."""

    async def run(self, assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
        """Run an attempt to its end; a failure is a result. An exception is a defect, reported as a failed attempt."""

    async def close(self) -> None:
        """Let go of connections."""
