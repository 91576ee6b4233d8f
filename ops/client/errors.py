"""What the client raises. Each text says what to do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.client.job import Job


class ClientError(Exception):
    """Whatever goes wrong with the client or a job."""


class ClosedError(ClientError):
    """The client was closed before, or meanwhile."""

    def __init__(self) -> None:
        super().__init__("the client is closed: make another, or do all of it inside `with Client() as client:`")


class UnreachableError(ClientError, OSError):
    """Kafka or Elasticsearch can't be reached, or lacks what is needed."""


class InvalidSubmissionError(ClientError, ValueError):
    """The submission was not sent: what is wrong with it is said."""


class NotStoredError(ClientError):
    """Kafka did not confirm the submission or request. It may be stored all the same: send it again under its id."""


class NotAllStoredError(ClientError):
    """Not all of many submissions were stored.

    `stored` counts those that were; `left` those that were sent or refused and are not known to be stored, of which
    `failures` has the first: id and why. Sent again under the same ids, those that are stored make no second job.
    """

    def __init__(self, stored: int, left: int, failures: Sequence[tuple[str, str]], *, stopped: bool) -> None:
        self.stored = stored
        self.left = left
        self.failures = list(failures)
        first = f", the first {failures[0][0]}: {failures[0][1]}" if failures else ""
        ended = " Nothing more was sent after that." if stopped else ""
        super().__init__(
            f"{stored} submissions are stored, {left} are not{first}.{ended} Send all of them again under the same "
            "ids: those that are stored make no second job"
        )


class NotYetError(ClientError, TimeoutError):
    """What was waited for did not come within the time-out; nothing is lost by that."""


class UnknownJobError(ClientError, LookupError):
    """Neither the log nor the index knows the job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"{job_id}: there is no such job: `client.list()` shows which there are")
        self.job_id = job_id


class RefusedError(ClientError):
    """The ledger refused the request; the text is its reason."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"{job_id}: {reason or 'refused'}")
        self.job_id = job_id
        self.reason = reason


class JobFailedError(ClientError):
    """The job ended, and not as completed; `job` is how."""

    def __init__(self, job: "Job") -> None:
        why = self._why(job)
        super().__init__(
            f"{job.job_id}: {job.status}: {why} (what it printed: `client.logs({job.job_id!r})`; "
            f"once more: `client.retry({job.job_id!r})`)"
        )
        self.job = job

    def _why(self, job: "Job") -> str:
        return job.short_error or job.error or job.reason or "no reason is known"


class JobRevokedError(JobFailedError):
    """Somebody revoked the job."""

    def _why(self, job: "Job") -> str:
        # its short error says no more than its status
        return job.error or job.reason or "no reason is known"
