"""Attempts that must not start again, remembered for a time in little space."""

from array import array
from bisect import bisect_left
from dataclasses import dataclass

_GENERATIONS = 6
_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class _Generation:
    closed: int
    digests: "array[int]"

    def holds(self, digest: int) -> bool:
        place = bisect_left(self.digests, digest)
        return place < len(self.digests) and self.digests[place] == digest


class Remembered:
    """A set of attempts, each kept for `keep_ms` at least and a sixth longer at most: 8 bytes an attempt.

    Membership is told by 64-bit digests: an attempt is never forgotten too early, and of 10⁶ remembered ones a new
    one is taken for known once in 10¹³ times (its lease then runs out).
    """

    def __init__(self, keep_ms: int) -> None:
        self._keep = keep_ms
        self._span = max(1, keep_ms // _GENERATIONS)
        self._young: set[int] = set()
        self._opened: int | None = None
        self._old: list[_Generation] = []

    def add(self, job_id: str, attempt: int, now: int) -> None:
        """Remember an attempt from `now` (ms) on."""
        self._age(now)
        self._young.add(_digest(job_id, attempt))

    def holds(self, job_id: str, attempt: int, now: int) -> bool:
        """Say whether the attempt is remembered."""
        self._age(now)
        digest = _digest(job_id, attempt)
        return digest in self._young or any(generation.holds(digest) for generation in self._old)

    def __len__(self) -> int:
        return len(self._young) + sum(len(generation.digests) for generation in self._old)

    def _age(self, now: int) -> None:
        if self._opened is None:
            self._opened = now
        if now - self._opened < self._span:
            return
        if self._young:
            self._old.append(_Generation(now, array("Q", sorted(self._young))))
            self._young = set()
        self._opened = now
        self._old = [generation for generation in self._old if now - generation.closed < self._keep]


def _digest(job_id: str, attempt: int) -> int:
    return hash((job_id, attempt)) & _MASK
