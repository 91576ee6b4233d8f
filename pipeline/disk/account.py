"""How much a disk lacks: pure numbers, all in bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A disk as it is, and what of its free bytes is `promised`: reserved by running jobs and not written yet."""

    capacity: int
    free: int
    promised: int = 0

    def missing(self, need: int, keep_percent: int) -> int:
        """Return what has to be freed so that a job of this need can run and so much of the disk is left; 0: nothing.

        >>> Account(capacity=1000, free=300, promised=100).missing(150, 10)
        50
        """
        return max(0, need + self.capacity * keep_percent // 100 + self.promised - self.free)


def promised(reserved: int, written: int) -> int:
    """Return what a job will still write of what it reserved; one that wrote more than that takes nobody's promise."""
    return max(0, reserved - written)
