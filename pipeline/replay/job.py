"""A job's life, message by message: what each did to it, as a debugger shows it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from pipeline.ledger.decision import Dispatch
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages.command import Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Due, Heartbeat, Submitted, Tick
from pipeline.messages.plain import plain
from pipeline.replay.difference import Change, differences
from pipeline.replay.fold import Fold, Step
from pipeline.replay.history import History
from pipeline.replay.recorded import Recorded

#: Names of the two shapes of a job's state.
UNFINISHED, FINISHED = "unfinished", "finished"


@dataclass(frozen=True, slots=True)
class JobStep:
    """What one message did to the job: `changes` of its state, and what went out about it.

    `others` are changes of the family's other jobs, and `recorded` the facts that the log has of this message.
    `effect` says in words what a tick, a heartbeat or a policy did, `why` why nothing was done or a refusal was given.
    """

    record: Recorded
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changes: tuple[Change, ...]
    others: tuple[Change, ...]
    facts: tuple[Fact, ...]
    dispatches: tuple[Dispatch, ...]
    commands: tuple[Command, ...]
    recorded: tuple[Fact, ...]
    effect: str
    why: str

    @property
    def concerns_job(self) -> bool:
        """Whether the message is about this job, or did something to it."""
        return bool(self.changes or self.facts or self.dispatches or self.commands or self.effect or self.why)


def steps(history: History, until: Callable[[Recorded], bool] | None = None) -> Iterator[JobStep]:
    """Yield what each message of a history did to its job, up to the first for which `until` is false."""
    fold = Fold(history.partition)
    due: dict[int, list[tuple[int, Due]]] = {}
    heard: dict[tuple[int, str], int] = {}
    for record in history.records:
        body = record.message.body if record.message is not None else None
        if isinstance(body, Due) and body.job_id == history.job_id:
            due.setdefault(body.tick, []).append((record.offset, body))
        if isinstance(body, Heartbeat):
            of_job = [held.attempt for held in body.attempts if held.job_id == history.job_id]
            heard |= {(attempt, body.holder): record.offset for attempt in of_job}
    last = set(heard.values())
    recorded: dict[int, dict[int, Fact]] = {}
    for fact in history.facts:
        recorded.setdefault(fact.inbox_offset, {})[fact.index] = fact
    for record in history.records:
        if until is not None and not until(record):
            return
        policy = fold.policy
        step = fold.apply(record)
        family = fold.rows.family(history.job_id.partition("-")[0])
        effect = _effect(step, history.job_id, family, policy, due.get(record.offset, []))
        if record.offset in last:
            effect += ", the last that lists it"
        yield _of_job(step, history.job_id, effect, tuple(recorded.get(record.offset, {}).values()))


def _of_job(step: Step, job_id: str, effect: str, recorded: tuple[Fact, ...]) -> JobStep:
    before, after = state_of(step.before, job_id), state_of(step.after, job_id)
    return JobStep(
        step.record,
        before,
        after,
        tuple(differences(before or {}, after or {})),
        tuple(differences(_rest(step.before, job_id), _rest(step.after, job_id))),
        tuple(fact for fact in step.facts if fact.job_id == job_id),
        tuple(one for one in step.dispatches if one.key.rpartition("/")[0] == job_id),
        tuple(one for one in step.commands if one.job_id == job_id),
        recorded,
        effect,
        step.refused or (step.why if _is_about(step, job_id) else ""),
    )


def _is_about(step: Step, job_id: str) -> bool:
    """Say whether the message names the job."""
    body = step.record.message.body if step.record.message is not None else None
    if isinstance(body, Submitted):
        return any(new.job_id == job_id for new in body.jobs)
    return getattr(body, "job_id", None) == job_id


def state_of(family: Family | None, job_id: str) -> dict[str, Any] | None:
    """Return what the ledger knows of the job, None where it knows nothing of it."""
    if family is None:
        return None
    job, stub = family.jobs.get(job_id), family.done.get(job_id)
    if job is None and stub is None:
        return None
    return {"is": FINISHED if job is None else UNFINISHED, **orjson.loads(orjson.dumps(job or stub))}


def _rest(family: Family | None, job_id: str) -> dict[str, Any]:
    if family is None:
        return {}
    jobs = {name: str(job.status) for name, job in family.jobs.items()}
    return {name: status for name, status in (*jobs.items(), *_done(family)) if name != job_id}


def _done(family: Family) -> list[tuple[str, str]]:
    return [(name, str(stub.status)) for name, stub in family.done.items()]


def _effect(step: Step, job_id: str, family: Family | None, policy: Policy, due: list[tuple[int, Due]]) -> str:
    body = step.record.message.body if step.record.message is not None else None
    if step.policy is not None:
        changes = differences(asdict(policy), asdict(step.policy))
        return "policy: " + (", ".join(f"{one.path} {one.before} → {one.after}" for one in changes) or "as before")
    if isinstance(body, Tick):
        return ", ".join(f"{one.kind} of attempt {one.attempt} falls due (decided at {offset})" for offset, one in due)
    if isinstance(body, Heartbeat):
        job = None if family is None else family.jobs.get(job_id)
        attempts = [held.attempt for held in body.attempts if held.job_id == job_id]
        return ", ".join(_heard(job, attempt, body.holder) for attempt in attempts)
    return ""


def _heard(job: Job | None, attempt: int, holder: str) -> str:
    if job is not None and (job.phase, job.attempt, job.holder) == (Phase.LEASED, attempt, holder):
        return f"renews the lease of attempt {attempt}"
    now = "the job has ended or is unknown" if job is None else f"attempt {job.attempt} is {job.phase}"
    return f"is answered with a stop for attempt {attempt}: {now}"


def record_of(step: JobStep) -> dict[str, Any]:
    """Return the step as a JSON object."""
    record = step.record
    told: dict[str, Any] = {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "message": None if record.message is None else record.message.record(),
        "before": step.before,
        "after": step.after,
        "changes": [change.record() for change in step.changes],
        "other_jobs": [change.record() for change in step.others],
        "facts": [fact.record() for fact in step.facts],
        "run_records": [
            {
                "queue": one.queue,
                "key": one.key,
                "run": None if one.run is None else one.run.record(),
                "headers": dict(one.headers),
            }
            for one in step.dispatches
        ],
        "commands": [plain(one) | {"reference": one.reference and plain(one.reference)} for one in step.commands],
        "effect": step.effect,
        "why": step.why,
    }
    return told
