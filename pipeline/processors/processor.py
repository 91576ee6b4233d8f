"""The seam: what can be called before or after a command."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class ProcessorError(Exception):
    """A processor failed; the message says how, not which."""


class NotAllowedError(Exception):
    """A job names a processor that this worker's settings don't allow."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a processor said: whether the command may run, and the context as it left it."""

    go_on: bool
    context: Mapping[str, Any]


class Processor(Protocol):
    """Called in the worker's event loop with a work directory, the job's document (spec §3.2) and its context.

    What it raises is its failure; a cancelled call must end soon.
    """

    name: str

    async def __call__(self, directory: Path, job: Mapping[str, Any], context: Mapping[str, Any]) -> Said:
        """Do it."""
