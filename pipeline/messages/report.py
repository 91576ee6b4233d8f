"""What workers (and the ticking orchestrator) put on jobs.reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.messages.plain import plain

#: The first report of an attempt: its command is about to run.
STARTED = "started"
COMPLETED = "completed"
FAILED = "failed"
#: The attempt is handed back, unstarted or not.
RELEASE = "release"
#: Asks permission to make products visible.
PUBLISH = "publish"
HEARTBEAT = "heartbeat"
TICK = "tick"
#: Kinds that speak of one attempt.
OF_ATTEMPTS = frozenset({STARTED, COMPLETED, FAILED, RELEASE, PUBLISH})
#: Kinds that end their attempt for good.
FINAL = frozenset({COMPLETED, FAILED})


@dataclass(frozen=True, slots=True)
class Shown:
    """An attempt and the token that shows that its sender was granted it."""

    job_id: str
    attempt: int
    token: str


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A report (job_id, attempt, token, result), a heartbeat (attempts) or a tick (previous, resumed)."""

    kind: str
    holder: str
    job_id: str | None = None
    attempt: int = 0
    token: str = ""
    result: str = "{}"
    attempts: tuple[Shown, ...] = ()
    previous: int = -1
    resumed: bool = False

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {**plain(self), "attempts": [plain(shown) for shown in self.attempts]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**{**record, "attempts": tuple(Shown(**shown) for shown in record["attempts"])})
