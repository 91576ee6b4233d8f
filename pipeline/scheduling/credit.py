"""What a holder can still be given: its offer less everything that is, or may be, under way to it."""

from dataclasses import dataclass

from pipeline.identity import attempt_key
from pipeline.messages.needs import Needs
from pipeline.messages.status import WorkerStatus

#: A grant this much older than a status that doesn't list it never arrived (ms); before, it is on its way.
LISTED_MS = 30_000
#: The same for another scheduler's grant. A status may have listed it before this one knew of it, and a worker
#: repeats only the newest of those that ended.
OTHERS_LISTED_MS = 5000


@dataclass(slots=True)
class Credit:
    """Slots, MiB and GPUs that are free; below zero where a worker holds more than it offers."""

    slots: int
    memory_mib: int
    disk_mib: int
    gpus: int

    def covers(self, needs: Needs) -> bool:
        """Say whether one job with these needs fits."""
        return (
            self.slots >= 1
            and self.memory_mib >= needs.memory_mib
            and self.disk_mib >= needs.disk_mib
            and self.gpus >= needs.gpus
        )

    def take(self, needs: Needs) -> None:
        """Reserve what one job needs."""
        self.slots -= 1
        self.memory_mib -= needs.memory_mib
        self.disk_mib -= needs.disk_mib
        self.gpus -= needs.gpus

    def give(self, needs: Needs) -> None:
        """Free what one job needed."""
        self.slots += 1
        self.memory_mib += needs.memory_mib
        self.disk_mib += needs.disk_mib
        self.gpus += needs.gpus


class Account:
    """One holder's credit = offer - held - claims unanswered - granted and not yet listed (design §5).

    The offer is what the status says, with the slots that it expects to be free at once.

    Attempts go by their key (`job_id/attempt`). What the latest status lists, as held or as ended, counts
    by that status alone, whatever else is known of it.
    """

    __slots__ = ("_claimed", "_granted", "_listed", "free", "status")

    def __init__(self, status: WorkerStatus, time: int) -> None:
        self._claimed: dict[str, Needs] = {}
        self._granted: dict[str, tuple[Needs, int]] = {}
        self.update(status, time)

    def update(self, status: WorkerStatus, time: int) -> None:
        """Count by a newer status, stamped `time`."""
        self.status = status
        self._listed: frozenset[str] | None = None
        self.free = _left(status)
        for key in [key for key in self._claimed if self.lists(key)]:
            del self._claimed[key]
        over = [key for key, (_, until) in self._granted.items() if time >= until or self.lists(key)]
        for key in over:
            del self._granted[key]
        for needs in self._claimed.values():
            self.free.take(needs)
        for needs, _ in self._granted.values():
            self.free.take(needs)

    @property
    def idle(self) -> int:
        """Slots that are free now, without those that are only expected to be."""
        return max(0, self.free.slots - self.status.ahead)

    def lists(self, key: str) -> bool:
        """Say whether the latest status lists the attempt, as held or as ended."""
        if self._listed is None:
            held = (attempt_key(one.job_id, one.attempt) for one in self.status.attempts)
            ended = (attempt_key(one.job_id, one.attempt) for one in self.status.ended)
            self._listed = frozenset((*held, *ended))
        return key in self._listed

    def claim(self, key: str, needs: Needs) -> None:
        """Reserve for a claim that is sent to the ledger."""
        self._claimed[key] = needs
        self.free.take(needs)

    def refuse(self, key: str) -> None:
        """Free what a claim reserved, at once."""
        needs = self._claimed.pop(key, None)
        if needs is not None:
            self.free.give(needs)

    def grant(self, key: str, needs: Needs, at: int, stamped: int, *, claimed: bool) -> None:
        """Keep the reservation of a claim that the ledger granted at `at`, until a status lists it.

        `claimed` says that the claim was made on this account: once a status listed it, nothing is left to
        reserve. Another scheduler's claim is judged by the latest status, stamped `stamped`.
        """
        reserved = self._claimed.pop(key, None)
        if reserved is not None:
            self._granted[key] = (reserved, at + LISTED_MS)
        elif not claimed and key not in self._granted and stamped < at + OTHERS_LISTED_MS and not self.lists(key):
            self._granted[key] = (needs, at + OTHERS_LISTED_MS)
            self.free.take(needs)

    def over(self, key: str) -> None:
        """Free what a grant reserved: its attempt is known to be over."""
        granted = self._granted.pop(key, None)
        if granted is not None:
            self.free.give(granted[0])

    def drop_claims(self) -> None:
        """Free what all unanswered claims reserved."""
        for key in list(self._claimed):
            self.refuse(key)

    def awaited(self) -> list[str]:
        """Return the attempts that were granted and not listed yet."""
        return list(self._granted)


def _left(status: WorkerStatus) -> Credit:
    held = status.attempts
    return Credit(
        status.slots + status.ahead - len(held),
        status.memory_mib - sum(one.memory_mib for one in held),
        status.disk_mib - sum(one.disk_mib for one in held),
        status.gpus - sum(one.gpus for one in held),
    )
