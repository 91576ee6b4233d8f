"""How much a process's memory grows while something goes on."""

import os
import threading

import psutil

_MIB = 1024 * 1024


class Growth:
    """The most that a process's memory grew meanwhile: from `start` (bytes), or from what it is at first.

    Without `pid` it is this process. It is looked at all the time.
    """

    def __init__(self, pid: int | None = None, start: int | None = None) -> None:
        self._process = psutil.Process(os.getpid() if pid is None else pid)
        self.start = self.most = self._process.memory_info().rss if start is None else start

    def __enter__(self) -> "Growth":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        return (self.most - self.start) / _MIB

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)
