"""Showing how far many submissions are: a bar in a terminal, else a line now and then, on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: s between two lines where nobody looks at a terminal
_EVERY = 5.0

#: Told how many are stored, and how many there are in all, None where that isn't known.
Tell = Callable[[int, int | None], None]


@contextmanager
def shown(progress: bool | Tell) -> Iterator[Tell]:
    """Yield what is told how far it is: the caller's own function, or what shows it, or nothing."""
    if callable(progress):
        yield progress
    elif not progress:
        yield _nothing
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        lines = _Lines()
        yield lines.tell
        lines.last()


def _nothing(_stored: int, _total: int | None) -> None:
    pass


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("submissions stored"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, rate="")

        def tell(stored: int, total: int | None) -> None:
            progress.update(task, completed=stored, total=total, rate=_rate(stored, begun))

        yield tell


class _Lines:
    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._next = self._begun + _EVERY
        self._told = self._stored = 0

    def tell(self, stored: int, total: int | None) -> None:
        self._stored, self._total = stored, total
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self.last()

    def last(self) -> None:
        """Say how far it is, unless that was said."""
        if self._stored != self._told:
            self._told = self._stored
            whole = "" if self._total is None else f" of {self._total:,}"
            print(f"submissions stored: {self._stored:,}{whole}, {_rate(self._stored, self._begun)}", file=sys.stderr)


def _rate(stored: int, begun: float) -> str:
    return f"{stored / max(0.001, time.monotonic() - begun):,.0f}/s"
