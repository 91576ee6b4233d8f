"""What the client needs of an installation: `KafkaBus` is a real one, `MemoryBus` one for tests."""

from collections.abc import Callable
from typing import Any, Protocol, Self

from agents.bus import Outcome
from agents.index_reader import JobQuery
from ops.reading.facts import Facts
from ops.submitting import Submission
from pipeline.messages.control import ControlRequest
from pipeline.messages.inbox import Source
from pipeline.messages.log import LogChunk

#: Called with how the delivery of a submission ended; in any thread, and soon: it must not block.
Stored = Callable[[Outcome], None]


class Chunks(Protocol):
    """A job's output, old first."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def end(self) -> int:
        """Return where it ends now."""

    def reached(self, end: int) -> bool:
        """Say whether all before that was read."""

    def next(self, timeout: float) -> LogChunk | None:
        """Return the next chunk, None where none came within `timeout` seconds."""


class Sending(Protocol):
    """Many submissions, sent and confirmed in one thread."""

    def send(self, submission: Submission, stored: Stored) -> None:
        """Queue a submission; blocks while too many are under way, and calls `stored` of others then."""

    def serve(self, timeout: float) -> None:
        """Call `stored` of those that were confirmed; for `timeout` seconds at most while none is."""

    def close(self) -> None:
        """Let go of where they went to."""


class Bus(Facts, Protocol):
    """One installation. Safe to use from any thread; each call is bounded, and raises a ClientError."""

    @property
    def principal(self) -> str | None:
        """As whom submissions are sent, None where nobody vouches for that."""

    def send(self, submission: Submission, stored: Stored) -> None:
        """Queue a submission; blocks while too many are under way. Raises InvalidSubmissionError."""

    def sending(self) -> Sending:
        """Return what sends many submissions."""

    def ask(self, request: ControlRequest) -> Source:
        """Store a request and return where it is stored."""

    def find(self, query: JobQuery, limit: int) -> list[dict[str, Any]]:
        """Return the documents of the jobs that fit, the last changed first."""

    def chunks(self, job_id: str, since_ms: int) -> Chunks:
        """Return the job's output that came at `since_ms` (by the broker's clock) or later."""

    def close(self) -> None:
        """Deliver what is queued, and let go of everything."""
