"""The engine that runs nothing: what everything around a job costs can be measured with it."""

import asyncio
import math
from collections.abc import Collection

from pipeline.containers.base import Engine, Orphan, Running
from pipeline.containers.errors import EngineError
from pipeline.containers.outcome import Exit
from pipeline.containers.spec import RunSpec

#: The parameter, else the environment variable, that says how many seconds a run lasts.
DURATION = "duration"


class NoopEngine(Engine):
    """Succeeds at once, or after `duration` seconds (of the parameters, else of the environment), with empty output.

    Limits and stops apply as elsewhere: the run then ends as by that signal.
    """

    name = "noop"
    needs_command = False

    async def reap_orphans(self, worker: str, holder: str) -> list[Orphan]:
        """Return none: nothing outlives the worker."""
        return []

    def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
        """Return a command that does as much."""
        return ["sleep", f"{_duration(spec):g}"]

    async def _start(self, spec: RunSpec) -> Running:
        duration = _duration(spec)
        spec.stdout.touch()
        spec.stderr.touch()
        return RunningNothing(duration)


class RunningNothing(Running):
    """A sleep."""

    def __init__(self, duration: float) -> None:
        self._duration = duration
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Exit:
        """See Running."""
        if self._duration <= 0:
            return Exit(exit_code=0)
        try:
            number = await asyncio.wait_for(asyncio.shield(self._ended), self._duration)
        except TimeoutError:
            return Exit(exit_code=0)
        return Exit(exit_code=128 + number, signal=number)

    async def terminate(self) -> None:
        """See Running."""
        self._end(15)

    async def kill(self) -> None:
        """See Running."""
        self._end(9)

    async def finish(self) -> list[str]:
        """See Running."""
        return []

    def _end(self, number: int) -> None:
        if not self._ended.done():
            self._ended.set_result(number)


def _duration(spec: RunSpec) -> float:
    given = spec.params.get(DURATION, spec.env.get(DURATION, 0))
    try:
        duration = float(given)
    except (TypeError, ValueError) as error:
        raise EngineError(f"{DURATION} {given!r} isn't a number of seconds") from error
    if not math.isfinite(duration) or duration < 0:
        raise EngineError(f"{DURATION} {given!r} isn't a number of seconds")
    return duration
