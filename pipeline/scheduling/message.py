"""What the scheduler is told, and what it says besides claims.

`time` is a record's LogAppendTime in ms. All that is said in ms is on one clock, the broker's as far as the
shell can tell it.
"""

from dataclasses import dataclass

from pipeline.messages.inbox import Claim
from pipeline.messages.run import Run
from pipeline.messages.status import WorkerStatus


@dataclass(frozen=True, slots=True)
class RunWaits:
    """A run record: the attempt waits in `run.queue`. The same key again changes its priority."""

    run: Run
    time: int


@dataclass(frozen=True, slots=True)
class RunGone:
    """A run record's tombstone: the attempt waits no more. `result` is granted, refused or withdrawn."""

    queue: str
    key: str
    time: int
    result: str = ""
    holder: str = ""
    claim_id: str = ""


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """A worker's status; `offset` is its place in the log, compared with that of an election."""

    status: WorkerStatus
    time: int
    offset: int


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A queue is declared, paused or resumed; one that is no longer declared is forgotten with its jobs."""

    queue: str
    declared: bool = True
    paused: bool = False


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A worker drains (gets no more jobs) or does so no longer."""

    worker_id: str
    draining: bool


@dataclass(frozen=True, slots=True)
class Now:
    """Time passing; a smaller value than before is ignored."""

    ms: int


@dataclass(frozen=True, slots=True)
class BecameLeader:
    """This scheduler leads; only statuses at `after` or behind it (offsets) were sent after its election."""

    after: int


@dataclass(frozen=True, slots=True)
class LostLeadership:
    """Another scheduler leads, or nobody: no claims until the next election."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The queue, the statuses and the settings were read to where they ended at the election, or later."""

    queue: str


@dataclass(frozen=True, slots=True)
class QueueLost:
    """The queue's run topic was replaced by another of that name: what was read of it counts no more."""

    queue: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Output: the attempt waited longer than its `max_wait`, and no worker can meet its needs."""

    job_id: str
    attempt: int
    reason: str


Message = (
    RunWaits
    | RunGone
    | StatusSeen
    | QueueSettings
    | WorkerSettings
    | Now
    | BecameLeader
    | LostLeadership
    | CaughtUp
    | QueueLost
)
Output = Claim | Expired
