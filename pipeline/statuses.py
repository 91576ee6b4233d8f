"""Statuses of a job, and what each means for its family (design §4, spec §1.4 and §9)."""

from enum import StrEnum


class Status(StrEnum):
    """What a fact says happened to a job; the names are those HySDS users know."""

    #: Waits for a worker, or for its next attempt after a back-off.
    QUEUED = "job-queued"
    #: A worker runs it.
    STARTED = "job-started"
    #: Ended with exit code 0 and its products published. Terminal.
    COMPLETED = "job-completed"
    #: Ended otherwise, or could not be accepted. Terminal.
    FAILED = "job-failed"
    #: Another job of its family made it unnecessary. Terminal.
    DEDUPED = "job-deduped"
    #: An operator stopped it. Terminal.
    REVOKED = "job-revoked"
    #: Its worker was lost; a retry follows where the policy allows, else terminal.
    OFFLINE = "job-offline"


def status_named(text: str) -> Status:
    """Return the status of that name; `failed` is `job-failed`. Raises ValueError for one that there isn't."""
    full = text if text.startswith("job-") else f"job-{text}"
    try:
        return Status(full)
    except ValueError:
        raise ValueError(f"{text!r}: one of {', '.join(Status)} is needed") from None


#: Nothing follows these but an explicit retry.
TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.DEDUPED, Status.REVOKED, Status.OFFLINE})

#: A job in one of these makes a new submission of its family a duplicate (spec §1.4).
BLOCKING = frozenset({Status.QUEUED, Status.STARTED, Status.COMPLETED})

#: What a fact carries in `status` where a report or an operator's request was refused. The job's own status did not
#: change, and the fact carries no whole document: that of a finished job is no longer held (decision 004).
REFUSED = "report-refused"
CONTROL_REFUSED = "control-refused"
#: What a fact carries in `status` where an attempt failed and the job goes on to its next one: its document is whole,
#: and says `job-queued`, as that of any job that waits for a retry (decision 022).
ATTEMPT_FAILED = "attempt-failed"
REFUSALS = frozenset({REFUSED, CONTROL_REFUSED})
