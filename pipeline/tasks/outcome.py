"""How a call ended."""

from dataclasses import dataclass
from enum import Enum, auto


class End(Enum):
    """What ended it."""

    #: The function returned.
    RETURNED = auto()
    #: It raised, its process ended otherwise, or its time was over.
    FAILED = auto()
    #: The worker was told to stop: nothing is known of the task.
    STOPPED = auto()
    #: The record is somebody else's by now.
    LOST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended; `result` is JSON, None where it was longer than the bound, `result_size` its bytes.

    `output` is the end of what the function printed.
    """

    end: End
    result: str | None = None
    result_size: int = 0
    error: str = ""
    traceback: str = ""
    output: str = ""
