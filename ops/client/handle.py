"""What `submit` gives: the way to a submission's jobs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ops.client.errors import JobFailedError, JobRevokedError, NotYetError
from ops.client.job import Job
from ops.client.listener import Listener
from ops.client.tracker import Tracker
from pipeline.statuses import Status

if TYPE_CHECKING:
    from ops.client.client import Client


class Handle:
    """A submission that is stored, or a job by its id.

    Every wait raises NotYetError where it takes longer than `timeout` seconds (None: without end), which ends nothing:
    wait again; ClosedError once the client is closed; UnreachableError where the log must be asked and can't be.
    """

    def __init__(self, client: "Client", tracker: Tracker, listener: Listener) -> None:
        self._client = client
        self._listener = listener
        #: what is known of it; for the client in an event loop
        self.tracker = tracker

    def __repr__(self) -> str:
        return f"Handle({self.tracker.job_id or self.tracker.submission_id!r})"

    @property
    def submission_id(self) -> str | None:
        """The submission's id; None where it is a job's handle."""
        return self.tracker.submission_id

    def job_ids(self, timeout: float | None = 60.0) -> Sequence[str]:
        """Wait until the ledger has taken the submission; return the ids of its jobs, of which there is mostly one."""
        return self.tracker.drive(self.tracker.taken(), timeout)

    def job(self, timeout: float | None = 60.0) -> Job:
        """Return the job as it was last heard of, which is a moment ago; of several the first."""
        first = self.job_ids(timeout)[0]
        return Job.of_fact(self.tracker.latest[first])

    def results(self, timeout: float | None = None) -> Sequence[Job]:
        """Wait until all jobs have ended, and return how; in place of a duplicate its original."""
        ended = self.tracker.drive(self.tracker.ended(self.follow), timeout)
        return [Job.of_fact(fact) for fact in ended]

    def result(self, timeout: float | None = None) -> Job:
        """Wait until the job has ended, and return how.

        Raises JobFailedError or JobRevokedError, which have the job, where it did not complete; of several jobs the
        first that didn't counts, else the first. Of a duplicate the original's result is waited for.
        """
        return checked(self.results(timeout))

    def watch(self, timeout: float | None = None) -> Iterator[Job]:
        """Yield the jobs' facts from the first one on, until all have ended; a duplicate ends as such."""
        tracker, seen = self.tracker, 0
        tracker.drive(tracker.taken(), timeout)
        while True:
            if not tracker.wait(lambda: tracker.done() or len(tracker.history) > seen, timeout):  # noqa: B023
                raise NotYetError(f"nothing new of {self!r} within {timeout:g} s")
            more = tracker.history[seen:]
            seen += len(more)
            yield from map(Job.of_fact, more)
            if tracker.done() and len(tracker.history) == seen:
                return

    def revoke(self, reason: str = "", timeout: float = 30.0) -> Sequence[Job]:
        """Have all jobs stopped; see `Client.revoke`."""
        return [self._client.revoke(job_id, reason, timeout) for job_id in self.job_ids(timeout)]

    def follow(self, job_id: str) -> None:
        """Hear of one more job of the same family."""
        self._listener.follow(job_id, self.tracker)


def checked(jobs: Sequence[Job]) -> Job:
    """Return the first job where all completed; raises JobFailedError or JobRevokedError for the first that didn't."""
    for job in jobs:
        if job.status == Status.REVOKED:
            raise JobRevokedError(job)
        if not job.completed:
            raise JobFailedError(job)
    return jobs[0]
