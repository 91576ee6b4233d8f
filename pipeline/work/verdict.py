"""What the end of a command means for its attempt."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.containers.outcome import Outcome
from pipeline.containers.spec import RunSpec
from pipeline.containers.tail import tail_text
from pipeline.work.errors import ERROR_LIMIT, Category, Failure

#: Bytes of its standard error that are quoted where a command failed.
_QUOTED = 4096


def failure(outcome: Outcome, spec: RunSpec, reason: str = "") -> Failure | None:
    """Return why the command's end is a failure, None if it isn't.

    What was done to the command comes before what it did about it: a stop, then a limit, then a failed engine, then
    memory, then the exit code. `reason` is that of a stop.
    """
    if outcome.succeeded:
        return None
    category, error = _judge(outcome, spec, reason)
    return Failure(error[:ERROR_LIMIT], category, _quote(error, spec.stderr, outcome.notes), outcome.signal)


def _judge(outcome: Outcome, spec: RunSpec, reason: str) -> tuple[Category, str]:
    ended = f"exit code {outcome.exit_code}"
    if outcome.stopped:
        return Category.STOPPED, f"stopped: {reason or 'on request'} ({ended})"
    if outcome.timed_out == "hard":
        return Category.HARD_LIMIT, f"hard time limit of {spec.time_limit:g} s exceeded ({ended})"
    if outcome.timed_out == "soft":
        return Category.SOFT_LIMIT, f"soft time limit of {spec.soft_time_limit:g} s exceeded ({ended})"
    if outcome.error is not None:
        return Category.WORKER if outcome.engine_failed else Category.INVALID, outcome.error
    if outcome.oom:
        return Category.OOM, f"memory limit of {spec.memory_mib} MiB exceeded ({ended})"
    if outcome.signal is not None:
        return Category.COMMAND, f"the command was ended by signal {outcome.signal} ({ended})"
    return Category.COMMAND, f"the command failed with {ended}"


def _quote(error: str, stderr: Path, notes: Iterable[str]) -> str:
    """Return the error with what the command said last, and what was noticed: a full disk takes no last words."""
    return "\n".join(text for text in (error, tail_text(stderr, _QUOTED).strip(), *notes) if text)
