"""Showing how far a long read is: a bar in a terminal, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: s before anything is said, and between two lines where nobody looks at a terminal
_PATIENCE, _EVERY = 2.0, 15.0


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what is told what is read, how much of it is behind, and how much there is; shown on standard error."""
    if not sys.stderr.isatty():
        yield _Lines().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)


class _Lines:
    def __init__(self) -> None:
        self._next = time.monotonic() + _PATIENCE

    def tell(self, what: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next and 0 < done < total:
            self._next = time.monotonic() + _EVERY
            print(f"{what}: {done:,} of {total:,} records", file=sys.stderr, flush=True)
