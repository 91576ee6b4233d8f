"""How far the bringing of one attempt's inputs has come; counted by many threads."""

import threading
import time
from typing import Any

from pipeline.inputs.errors import RefusedError


class Gauge:
    """Counts files and bytes, and holds them to the total that is allowed."""

    def __init__(self, total: int, what: str = "the inputs have") -> None:
        """`total` is the most bytes; `what` begins the sentence that says that there are more."""
        self._total = total
        self._what = what
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._claimed = 0
        self.expected = 0
        self.done = 0
        self.cached = 0
        self.bytes = 0
        self.transferred = 0
        self.retries = 0

    def expect(self, files: int) -> None:
        """Add to the files that are to come; negative for one that turned out to be several, or none."""
        with self._lock:
            self.expected += files

    def claim(self, size: int, shown: str) -> None:
        """Note bytes that will be needed; raises RefusedError if that is more than all inputs may have together."""
        with self._lock:
            if self._claimed + size > self._total:
                raise RefusedError(f"{shown}: {self._what} more than {self._total} bytes, the limit")
            self._claimed += size

    def add(self, size: int) -> None:
        """Count bytes that came."""
        with self._lock:
            self.transferred += size

    def retried(self) -> None:
        """Count a try that failed."""
        with self._lock:
            self.retries += 1

    def finish(self, size: int, cached: bool) -> None:
        """Count a file that is in place."""
        with self._lock:
            self.done += 1
            self.bytes += size
            self.cached += cached

    def said(self) -> dict[str, Any]:
        """Return it as a job's `job_info.inputs` shows it: sizes in bytes, duration in s."""
        with self._lock:
            return {
                "files": self.expected,
                "done": self.done,
                "cached": self.cached,
                "bytes": self.bytes,
                "transferred": self.transferred,
                "retries": self.retries,
                "duration": round(time.monotonic() - self._start, 3),
            }

    def __str__(self) -> str:
        said = self.said()
        return (
            f"{said['done']} of {said['files']} files, {said['transferred'] / (1 << 20):.1f} MiB brought, "
            f"{said['cached']} from the cache, {said['retries']} retries, {said['duration']:.1f} s"
        )
