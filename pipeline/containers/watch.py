"""A thread that watches the counters of one run's control groups: engines remove those as soon as a run ends."""

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from pipeline.containers.cgroups import Counters, Reading, disk_io

#: Milliseconds between two looks.
_INTERVAL = 100
#: Seconds that the last look may take.
_PATIENCE = 5.0


class Watch:
    """Looks every now and then, and at once when the process ends that it was given.

    An engine removes the groups only after it has noticed that end itself, so the last look nearly always comes
    in time; where it doesn't, the one before it counts.
    """

    def __init__(self, pid: int, counters: Counters, afterwards: Callable[[], None] | None = None) -> None:
        """Take over the counters, and begin; `afterwards` is called, in another thread, after the last look."""
        self.pid = pid
        self._afterwards = afterwards
        self._counters = counters
        self._ended = threading.Event()
        self._last: Reading | None = None
        self._disk: tuple[int, ...] = (0, 0)
        self._look()
        self._process: int | None = None
        with suppress(OSError):
            self._process = os.pidfd_open(pid)
        self._thread = threading.Thread(target=self._watch, name="counters", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, pid: int, afterwards: Callable[[], None] | None = None) -> "Watch | None":
        """Watch the groups that a process is in; None if it is gone, or has none of its own."""
        counters = Counters.of(pid) if pid > 0 else None
        return cls(pid, counters, afterwards) if counters is not None else None

    def end(self) -> Reading | None:
        """Stop, and return the last counters that could be read; may be called again."""
        self._ended.set()
        self._thread.join(_PATIENCE)
        return self._last

    def _watch(self) -> None:
        ending = select.poll()
        if self._process is not None:
            ending.register(self._process, select.POLLIN)
        try:
            while not self._ended.is_set():
                over = bool(ending.poll(_INTERVAL))
                if not self._look() or over:
                    break
        finally:
            self._counters.close()
            if self._process is not None:
                os.close(self._process)
            if self._afterwards is not None:
                self._afterwards()

    def _look(self) -> bool:
        try:
            reading = self._counters.read()
            self._disk = tuple(map(max, self._disk, disk_io({self.pid, *self._counters.pids()})))
        except OSError:
            return False
        self._last = reading.or_disk(*self._disk)
        return True
