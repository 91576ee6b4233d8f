"""Short ways to tell a scheduler things, for the tests of `pipeline.scheduling`."""

from typing import Any

from pipeline.messages.inbox import Claim
from pipeline.messages.needs import Needs
from pipeline.messages.run import GRANTED, REFUSED, WITHDRAWN, Run
from pipeline.messages.status import Ended, Running, WorkerStatus
from pipeline.scheduling.match import Scheduler
from pipeline.scheduling.message import (
    BecameLeader,
    CaughtUp,
    Expired,
    Message,
    Now,
    Output,
    QueueSettings,
    RunGone,
    RunWaits,
    StatusSeen,
)
from pipeline.scheduling.rules import Rules

PARTITIONS = 4
START = 1_000_000
Q = "q"


def partition_of(job_id: str) -> int:
    """A job named `3-x` is in partition 3, one named otherwise in 0."""
    front = job_id.partition("-")[0]
    return int(front) % PARTITIONS if front.isdigit() else 0


def leading(*queues: str, rules: Rules | None = None) -> Scheduler:
    """A scheduler that was elected at START and has caught up with these queues (`q` where none is named)."""
    names = queues or (Q,)
    scheduler = Scheduler("me", rules or Rules(), partition_of)
    settings: list[Message] = [QueueSettings(name) for name in names]
    scheduler.apply(*settings, Now(START), BecameLeader(0), *(CaughtUp(name) for name in names))
    return scheduler


def run(
    job_id: str,
    attempt: int = 1,
    *,
    queue: str = Q,
    priority: int = 0,
    since: int = START,
    max_wait: int | None = None,
    time: int = START,
    **needs: Any,
) -> RunWaits:
    return RunWaits(Run(job_id, attempt, 1, queue, priority, since, "type", Needs(**needs), max_wait), time)


def gone(claim: Claim, result: str, time: int = START) -> RunGone:
    return RunGone(claim.queue, f"{claim.job_id}/{claim.attempt}", time, result, claim.holder, claim.claim_id)


def granted(claim: Claim, time: int = START) -> RunGone:
    return gone(claim, GRANTED, time)


def refused(claim: Claim, time: int = START) -> RunGone:
    return gone(claim, REFUSED, time)


def withdrawn(claim: Claim) -> RunGone:
    return RunGone(claim.queue, f"{claim.job_id}/{claim.attempt}", START, WITHDRAWN)


def status(
    worker_id: str = "w",
    slots: int = 1,
    *,
    held: tuple[str, ...] = (),
    ended: tuple[str, ...] = (),
    time: int = START,
    offset: int = 0,
    start: int = 1,
    memory: int = 1000,
    **offer: Any,
) -> StatusSeen:
    """A status; `held` and `ended` name attempts as `job/attempt`."""
    return StatusSeen(
        WorkerStatus(
            worker_id,
            f"{worker_id}:{start}:r",
            0,
            slots,
            memory,
            offer.pop("disk", 1000),
            offer.pop("gpus", 0),
            tuple(Running(*_split(key)) for key in held),
            tuple(Ended(*_split(key)) for key in ended),
            **offer,
        ),
        time,
        offset,
    )


def claims(outputs: list[Output]) -> list[Claim]:
    return [output for output in outputs if isinstance(output, Claim)]


def expired(outputs: list[Output]) -> list[Expired]:
    return [output for output in outputs if isinstance(output, Expired)]


def claimed(outputs: list[Output]) -> list[tuple[str, str]]:
    """Return the outputs as (job, worker)."""
    return [(claim.job_id, claim.holder.partition(":")[0]) for claim in claims(outputs)]


def _split(key: str) -> tuple[str, int]:
    job_id, _, attempt = key.rpartition("/")
    return job_id, int(attempt)
