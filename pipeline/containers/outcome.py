"""How a run ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

TimedOut = Literal["soft", "hard"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run used, as far as the engine could tell cheaply: seconds and bytes (to and from disks)."""

    user_cpu_s: float
    system_cpu_s: float
    max_memory: int
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What an engine knows of a run's end: an exit code (128 + n for signal n) and what came with it."""

    exit_code: int
    signal: int | None = None
    oom: bool = False
    usage: Usage | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The whole story of a run.

    `exit_code` is the command's own, 128 + n where signal n ended it, 125–127 where it never `ran`. `pid` is 0 where
    there was none, or where a container ended before it could be asked for.
    `oom` says that the memory limit killed one of its processes, even if the command went on; `timed_out` and
    `stopped` say that it was told to end, however it then did. `error` says what the exit code can't;
    `engine_failed` that it is the engine's fault, not the command's.
    """

    exit_code: int
    started: datetime
    ended: datetime
    duration_s: float
    ran: bool = True
    engine_failed: bool = False
    pid: int = 0
    signal: int | None = None
    oom: bool = False
    timed_out: TimedOut | None = None
    stopped: bool = False
    usage: Usage | None = None
    image_id: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the command ran, ended by itself, with exit code 0."""
        return self.exit_code == 0 and not self.timed_out and not self.stopped and self.error is None
