"""Showing the steps of a start or a stop: a line for each that ended, in a terminal with those under way below."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops.cluster.steps import Step, StepState, Tell

_SIGNS = {StepState.DONE: "✓", StepState.KEPT: "=", StepState.FAILED: "✗"}


@contextmanager
def progress() -> Iterator[Tell]:
    """Yield what steps are told to; shown on standard error."""
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status("") as spinner:
            shown = _Shown(lambda text: console.print(text, markup=False), spinner.update)
            yield shown.tell
    else:
        yield _Shown(lambda text: print(text, file=sys.stderr, flush=True), None).tell


class _Shown:
    def __init__(self, write: Callable[[str], object], under_way: Callable[[str], object] | None) -> None:
        self._write = write
        self._under_way = under_way
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def tell(self, step: Step) -> None:
        """Show a step that changed."""
        with self._lock:
            if step.state is StepState.BEGUN:
                self._begun(step)
            else:
                self._open.pop(step.name, None)
                kept = "  (runs already)" if step.state is StepState.KEPT else ""
                took = f"  {step.seconds:.1f} s" if step.state is not StepState.KEPT else ""
                self._write(f"{_SIGNS[step.state]} {step.name:<14} {step.detail}{kept}{took}".rstrip())
            if self._under_way is not None:
                self._under_way("  ".join(f"{name} {detail}".strip() for name, detail in self._open.items()))

    def _begun(self, step: Step) -> None:
        self._open[step.name] = step.detail
        if self._under_way is None and step.detail:
            # without a terminal nothing shows what takes long: say it
            self._write(f"  {step.name:<14} {step.detail}")
