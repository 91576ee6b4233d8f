"""What goes first when the disk is short: pure, but for what the sources do when they are asked."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """The work directory of an attempt that ended; without a known exit code it counts as failed."""

    path: Path
    succeeded: bool


def in_order(found: Callable[[], Iterable[Finished]]) -> Iterator[Path]:
    """Yield the directories of succeeded attempts, then the others, each in the order of `found`, the oldest first.

    `found` is asked twice rather than kept: there may be millions, and seldom all have to go.
    """
    for succeeded in (True, False):
        yield from (one.path for one in found() if one.succeeded is succeeded)


def clean(candidates: Iterable[Path], missing: Callable[[], int], remove: Callable[[Path], None]) -> int:
    """Remove one candidate after the other, as long as something is missing after it; return what still is."""
    lacking = missing()
    if lacking > 0:
        for path in candidates:
            remove(path)
            lacking = missing()
            if lacking <= 0:
                break
    return lacking
