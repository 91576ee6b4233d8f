"""The seam between what brings a file and where it is brought from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.inputs.patience import Patience
from pipeline.inputs.version import Version


@dataclass(frozen=True, slots=True)
class Part:
    """The first `size` bytes of one version, which are here already."""

    version: Version
    size: int


class Stream(Protocol):
    """The bytes of `version` from `start` on. Whatever goes wrong is an InputError."""

    version: Version
    start: int

    def chunks(self, patience: Patience) -> Iterator[bytes]:
        """Yield what follows; raises as Patience does too."""

    def confirm(self) -> None:
        """Raise RetriableError if what was read can't be said to be one version."""

    def close(self) -> None:
        """Let go of the connection."""


class Source(Protocol):
    """One remote file. Used by one thread at a time."""

    #: As logs and facts show it.
    shown: str

    def open(self, known: Version | None, part: Part | None, patience: Patience) -> Stream | None:
        """Ask for the file: None if it is still what is `known`; else a stream, from the part's end if it is of the
        same version, or from 0.

        Raises MissingError, RefusedError, RetriableError, or as Patience does.
        """

    def close(self) -> None:
        """Let go of what `open` kept for the next one."""
