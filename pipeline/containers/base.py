"""What every engine shares: one run from start to clean-up."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.containers.errors import ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND, EngineError, UnavailableError
from pipeline.containers.outcome import Exit, Outcome
from pipeline.containers.spec import RunSpec
from pipeline.containers.stop import Level, Stop
from pipeline.containers.supervise import GIVE_UP, Deadlines, supervise


@dataclass(frozen=True, slots=True)
class Orphan:
    """A run that an earlier holder of this worker left behind; it no longer runs."""

    job: str
    attempt: int
    holder: str
    working_dir: Path | None = None


class Running(ABC):
    """A command that was started; its methods are called from one event loop."""

    #: Of the command (or its container's first process) on the host; 0 if there is none.
    pid: int = 0
    image_id: str | None = None

    @abstractmethod
    async def wait(self) -> Exit:
        """Return how it ended, once it has; called once."""

    @abstractmethod
    async def terminate(self) -> None:
        """Send SIGTERM to the whole of it; without effect once it ended."""

    @abstractmethod
    async def kill(self) -> None:
        """Send SIGKILL to the whole of it; without effect once it ended."""

    @abstractmethod
    async def finish(self) -> list[str]:
        """Leave nothing behind: processes, container, records. Return notes on what went amiss (empty: nothing)."""


class Engine(ABC):
    """Runs commands; one object serves any number of runs at a time, on one event loop."""

    #: How settings and needs call it.
    name: str
    #: Whether it runs a command at all, and whether in a container image.
    needs_command = True
    needs_image = False

    def __init__(self) -> None:
        self._runs: set[asyncio.Task[Outcome]] = set()

    async def run(
        self, spec: RunSpec, stop: Stop | None = None, on_start: Callable[[int], None] | None = None
    ) -> Outcome:
        """Run a command to its end and clean up after it; `on_start` is told its pid once it runs.

        Never raises for what happens to the command: a refused mount, a missing image or a bad command are outcomes
        with exit code 125 to 127 and an `error`. If the caller is cancelled, the command is killed and cleaned up
        after before the cancellation goes on.
        """
        stop = stop or Stop()
        run = asyncio.create_task(self._run(spec, stop, on_start))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            stop.request(Level.KILL, "cancelled")
            await asyncio.wait({run}, timeout=2 * GIVE_UP)
            raise

    @abstractmethod
    async def reap_orphans(self, worker: str, holder: str) -> list[Orphan]:
        """End and clean up all runs of this worker's other (earlier) holders, and say which those were.

        Raises EngineError if the engine can't be asked.
        """

    @abstractmethod
    def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
        """Return the command that a person would type to run the same by hand; raises EngineError if refused.

        The values of the variables `withheld` are not in it: they are those of who types it.
        """

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        """Return the whole environment that who types the command line needs for it; empty where it holds it itself."""
        return {}

    async def image_id(self, image: str | None) -> str | None:
        """Return the id of the image that this name stands for now, None for an engine without images.

        Raises EngineError if it isn't on this machine.
        """
        return None

    @property
    def store(self) -> str:
        """Where its images are: engines with the same text know the same ones."""
        return self.name

    async def load(self, archive: Path, image: str) -> None:
        """Make the image of a tarball (as of `docker save`), or of another file of this engine's, known under a name.

        Raises EngineError.
        """
        raise EngineError(f"the {self.name} engine has no images to load: {archive}")

    async def pull(self, reference: str, image: str) -> None:
        """Bring an image that a registry calls `reference`, and make it known as `image`; raises EngineError."""
        raise EngineError(f"the {self.name} engine pulls no images")

    async def unload(self, image: str, image_id: str) -> bool:
        """Take back what `load` did, unless the name stands for another image by now; False if that one is in use.

        Raises EngineError.
        """
        return True

    async def size(self, image: str) -> int:
        """Return the bytes that an image takes, 0 where the engine doesn't say; raises EngineError."""
        return 0

    def describe(self, spec: RunSpec) -> dict[str, object]:
        """Return the container's parameters for `_docker_params.json` (spec §3.4); empty without a container."""
        return {}

    async def close(self) -> None:
        """Let go of connections, once no run is under way any more."""
        if self._runs:
            await asyncio.wait(self._runs)

    @abstractmethod
    async def _start(self, spec: RunSpec) -> Running:
        """Start the command; raises EngineError, leaving nothing behind, if that can't be done."""

    async def _run(self, spec: RunSpec, stop: Stop, on_start: Callable[[int], None] | None) -> Outcome:
        started, clock = datetime.now(UTC), time.monotonic()
        try:
            running = await self._start(spec)
        except Exception as error:
            return _never_ran(error, started, clock)
        deadlines = Deadlines.of(time.monotonic(), spec.soft_time_limit, spec.time_limit, spec.grace)
        try:
            if on_start is not None:
                on_start(running.pid)
            exit_ = await supervise(running, deadlines, stop)
        except Exception as error:
            exit_ = Exit(exit_code=ENGINE_FAILED, error=f"lost sight of the command: {_text(error)}")
        ended, duration = datetime.now(UTC), time.monotonic() - clock
        notes = await _finish(running)
        exit_ = exit_ or Exit(
            exit_code=137, signal=9, error=f"did not end within {GIVE_UP:.0f} s of SIGKILL: may still run"
        )
        return Outcome(
            exit_code=exit_.exit_code,
            started=started,
            ended=ended,
            duration_s=duration,
            engine_failed=exit_.error is not None and exit_.exit_code not in (NOT_EXECUTABLE, NOT_FOUND),
            pid=running.pid,
            signal=exit_.signal,
            oom=exit_.oom,
            timed_out=deadlines.timed_out,
            stopped=deadlines.stopped,
            usage=exit_.usage,
            image_id=running.image_id,
            error=exit_.error,
            notes=tuple(notes),
        )


async def _finish(running: Running) -> list[str]:
    try:
        return await running.finish()
    except Exception as error:
        return [f"clean-up failed: {_text(error)}"]


def _never_ran(error: Exception, started: datetime, clock: float) -> Outcome:
    known = isinstance(error, EngineError)
    return Outcome(
        exit_code=error.exit_code if isinstance(error, EngineError) else ENGINE_FAILED,
        started=started,
        ended=datetime.now(UTC),
        duration_s=time.monotonic() - clock,
        ran=False,
        engine_failed=isinstance(error, UnavailableError) or not known,
        error=str(error) if known else _text(error),
    )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
