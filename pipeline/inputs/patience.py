"""How long the bringing of inputs may go on: until a deadline, or until nobody wants them any more."""

import threading
import time

from pipeline.inputs.errors import CancelledError, TimeLimitError


class Patience:
    """Shared by the threads that work for one attempt."""

    def __init__(self, seconds: float, what: str = "the inputs", cancelled: threading.Event | None = None) -> None:
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._what = what
        self._cancelled = cancelled or threading.Event()

    def within(self, seconds: float, what: str) -> "Patience":
        """Return the patience for a part: it ends `seconds` from now, with the whole's, or when that is cancelled."""
        left = self._until - time.monotonic()
        return Patience(seconds, what, self._cancelled) if seconds < left else self

    def cancel(self) -> None:
        """Make each `check` and `wait` raise, in all parts too."""
        self._cancelled.set()

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise CancelledError or TimeLimitError if it is over."""
        if self._cancelled.is_set():
            raise CancelledError(f"{self._what}: not wanted any more")
        if time.monotonic() > self._until:
            raise TimeLimitError(f"{self._what}: not done in {self._seconds:g} s")

    def wait(self, seconds: float) -> None:
        """Wait, no longer than the patience lasts; raises as `check` does."""
        self._cancelled.wait(min(seconds, self.left + 0.001))
        self.check()
