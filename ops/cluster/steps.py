"""Telling how far a start or a stop is, one step a process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic


class StepState(StrEnum):
    """Where a step stands."""

    BEGUN = "begun"
    #: Done by this call.
    DONE = "done"
    #: Nothing to do: it was so already.
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that changed: its name, where it stands, details for the reader, seconds since it began."""

    name: str
    state: StepState
    detail: str = ""
    seconds: float = 0.0


#: Hears of steps, from several threads at once.
Tell = Callable[[Step], None]


def silence(_step: Step) -> None:
    """Hear nothing: for callers that show nothing."""


@dataclass(slots=True)
class Outcome:
    """What a step's body says of its end."""

    state: StepState = StepState.DONE
    detail: str = ""

    def kept(self, detail: str = "") -> None:
        """Say that there was nothing to do."""
        self.state, self.detail = StepState.KEPT, detail


@contextmanager
def step(tell: Tell, name: str, detail: str = "") -> Iterator[Outcome]:
    """Tell the begin and the end of a step; an exception tells that it failed, and goes on its way."""
    begun = monotonic()
    outcome = Outcome()
    tell(Step(name, StepState.BEGUN, detail))
    try:
        yield outcome
    except BaseException:
        tell(Step(name, StepState.FAILED, "", monotonic() - begun))
        raise
    tell(Step(name, outcome.state, outcome.detail, monotonic() - begun))


class Downloads:
    """Tells downloads as details of a step: an `ops.embedded.progress.Reporter`."""

    #: MiB between two tellings
    EVERY = 8

    def __init__(self, tell: Tell, name: str) -> None:
        self._tell = tell
        self._name = name
        self._size = self._received = self._told = 0

    def started(self, what: str, files: int, size: int) -> None:
        """Tell how much is coming."""
        self._size, self._received, self._told = size, 0, 0
        self._tell(Step(self._name, StepState.BEGUN, f"downloading {files} files, {size >> 20} MiB"))

    def received(self, count: int) -> None:
        """Tell now and then how much has come."""
        self._received += count
        if (self._received >> 20) >= self._told + self.EVERY:
            self._told = self._received >> 20
            self._tell(Step(self._name, StepState.BEGUN, f"downloaded {self._told} of {self._size >> 20} MiB"))

    def finished(self, name: str) -> None:
        """Tell nothing: single files are many and small."""
