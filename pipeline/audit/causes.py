"""What the inbox says: kept of each message is what the facts that came of it can be judged by."""

from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.audit.store import Store, Table
from pipeline.identity import asked_of, attempt_key
from pipeline.messages import report as reports
from pipeline.messages.inbox import Claim, Control, Due, Inbox, OutputRefused, PolicySet, Rejected, Report, Submitted

_RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Cause:
    """A message that may have made facts; `time` is its inbox record's (ms)."""

    kind: str
    jobs: tuple[str, ...]
    time: int
    attempt: int = 0
    holder: str = ""
    submission_id: str = ""
    dedup: bool = False
    forced: bool = False

    @property
    def is_retry(self) -> bool:
        """Whether an operator asked for the job to run again."""
        return self.kind == f"control/{_RETRY}"

    def record(self) -> dict[str, Any]:
        """Return it as a row."""
        return {name: getattr(self, name) for name in self.__slots__}


class Causes:
    """The messages of one inbox partition, fed in order; `begins` is the first offset that is read.

    `window` (ms) is how long a finished job is remembered for dedup, as far as no policy says otherwise.
    """

    def __init__(self, partition: int, store: Store, begins: int, window: int) -> None:
        self.begins = begins
        self.ends = begins
        #: the shortest window that any policy set: what is older than that may have been forgotten
        self.window = window
        self._causes = Table(store, f"cause/{partition}")
        self._submitted = Table(store, f"submitted/{partition}")
        self._alike = Table(store, f"alike/{partition}")
        self._released = Table(store, f"released/{partition}")
        self._sources = Table(store, "source")

    def add(self, offset: int, time: int, message: Inbox | None) -> None:
        """Take the next message; None is a record that is none, of which no fact may come."""
        self.ends = offset + 1
        if message is None:
            return
        if isinstance(message.body, PolicySet):
            self._window(message.body)
            return
        cause = _cause_of(message, time)
        if cause is None:
            return
        self._causes.put(_place(offset), cause.record())
        if cause.kind in {"submitted", "rejected"}:
            for job_id in cause.jobs:
                if self._submitted.get(job_id) is None:
                    self._submitted.put(job_id, {"offset": offset, "time": time})
                    self._alike.put(asked_of(job_id), {"jobs": [*self._before(asked_of(job_id)), job_id]})
            if message.source is not None:
                place = (message.source.partition, message.source.offset)
                self._sources.put(source_key(*place, message.principal), {})
        if cause.kind == f"report/{reports.RELEASE}":
            self._released.put(f"{attempt_key(cause.jobs[0], cause.attempt)}/{cause.holder}", {})

    def of(self, offset: int) -> Cause | None:
        """Return the message at an offset, None where no fact can come of what is there."""
        row = self._causes.get(_place(offset))
        return None if row is None else Cause(**{**row, "jobs": tuple(row["jobs"])})

    def released(self, job_id: str, attempt: int, holder: str) -> bool:
        """Say whether the holder handed the attempt back."""
        return self._released.get(f"{attempt_key(job_id, attempt)}/{holder}") is not None

    def submitted(self) -> Table:
        """Return the jobs that submissions made, with the offset of the first."""
        return self._submitted

    def before(self, job_id: str) -> list[str]:
        """Return the ids that earlier records of the same submission gave this job, the first one first."""
        alike = self._before(asked_of(job_id))
        return alike[: alike.index(job_id)] if job_id in alike else alike

    def _before(self, asked: str) -> list[str]:
        row = self._alike.get(asked)
        return [] if row is None else list(row["jobs"])

    def _window(self, policy: PolicySet) -> None:
        try:
            window = int(orjson.loads(policy.policy)["window_ms"])
        except (ValueError, TypeError, KeyError):
            return
        self.window = min(self.window, window)


def source_key(partition: int, offset: int, principal: str | None) -> str:
    """Name a record of jobs.submit, or of a principal's own topic."""
    return f"{partition}/{offset}/{principal or ''}"


def _place(offset: int) -> str:
    return f"{offset:020d}"


def _cause_of(message: Inbox, time: int) -> Cause | None:
    match message.body:
        case Submitted() as body:
            jobs = tuple(new.job_id for new in body.jobs)
            return Cause("submitted", jobs, time, submission_id=body.submission_id, dedup=body.dedup)
        case Rejected() as body:
            return Cause("rejected", (body.job_id,), time, submission_id=body.submission_id)
        case Report() as body:
            return Cause(f"report/{body.kind}", (body.job_id,), time, body.attempt, body.holder)
        case Claim() as body:
            return Cause("claim", (body.job_id,), time, body.attempt, body.holder)
        case Control() as body:
            return Cause(f"control/{body.action}", (body.job_id,), time, forced=_is_forced(body))
        case Due() as body:
            return Cause(f"due/{body.kind}", (body.job_id,), time, body.attempt)
        case OutputRefused() as body:
            return Cause("output-refused", (body.job_id,), time)
        case _:
            return None


def _is_forced(control: Control) -> bool:
    try:
        arguments = orjson.loads(control.arguments)
    except orjson.JSONDecodeError:
        return False
    return isinstance(arguments, dict) and arguments.get("force") is True
