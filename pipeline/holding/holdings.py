"""A worker's own side of the protocol: what it holds, what it must never start, what it says (design §4)."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from pipeline.holding.memory import Remembered
from pipeline.messages.command import Command
from pipeline.messages.report import Shown
from pipeline.messages.status import Ended, Running, WorkerStatus

#: Commands are kept for an hour, so an attempt is remembered for as long (ms).
REMEMBER_MS = 3_600_000
#: How long a status lists an attempt that ended (ms).
ENDED_MS = 30_000
#: Ended attempts that a status lists again: at least these, and four a slot.
_LEAST_ENDED = 32

NO_SLOT, STALE, LEAVING, DRAINING = "no free slot", "the grant is older than its lease", "stopping", "draining"
UNSEALED = "the grant was not sealed, so that others could read it"

Key = tuple[str, int]


class Phase(Enum):
    """Where an attempt that is held stands."""

    #: Granted, its command not yet begun.
    WAITING = auto()
    #: Begun; stays so until its result is delivered.
    RUNNING = auto()
    #: Told to stop: it still takes room, but its lease is gone.
    STOPPED = auto()


class Verdict(Enum):
    """What a grant comes to."""

    #: Run it.
    START = auto()
    #: Known already, or told to stop: do nothing.
    IGNORE = auto()
    #: Hand it back at once.
    RELEASE = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a grant, and why it is handed back."""

    verdict: Verdict
    reason: str = ""


@dataclass(slots=True)
class _Held:
    token: str
    lease_ms: int
    stale_at: int
    reserves: Running | None = None
    phase: Phase = Phase.WAITING
    ending: bool = False


class Holdings:
    """The attempts that one holder was granted.

    `offer` is the status without attempts: who the worker is and all that it has. `revision` grows with each change
    that a status would show. With `sealed` no grant is taken that others could read.
    """

    def __init__(self, offer: WorkerStatus, remember_ms: int = REMEMBER_MS, *, sealed: bool = False) -> None:
        self._sealed = sealed
        self.offer = offer
        self.revision = 0
        self._held: dict[Key, _Held] = {}
        self._known = Remembered(remember_ms)
        self._ended: deque[tuple[Ended, int]] = deque()
        self._draining = False
        self._why_draining = ""
        self._why_apart = ""
        self._leaving = False

    def __len__(self) -> int:
        return len(self._held)

    @property
    def accepting(self) -> bool:
        """Whether new grants are taken."""
        return not (self._draining or self._leaving or self._why_apart)

    @property
    def draining(self) -> bool:
        """Whether no new grants are taken until that is lifted."""
        return self._draining

    @property
    def reason(self) -> str:
        """Why no new grants are taken; empty where they are."""
        if self._leaving:
            return LEAVING
        if self._why_apart:
            return self._why_apart
        if not self._draining:
            return ""
        return f"{DRAINING}: {self._why_draining}" if self._why_draining else DRAINING

    def drain(self, draining: bool, reason: str = "") -> None:
        """Take no more grants, or take them again; what is held goes on."""
        if (draining, reason) != (self._draining, self._why_draining):
            self._draining, self._why_draining = draining, reason
            self.revision += 1

    def meet(self, why_apart: str) -> None:
        """Take no more grants because the orchestrator isn't understood, or "": it is."""
        if why_apart != self._why_apart:
            self._why_apart = why_apart
            self.revision += 1

    def leave(self) -> None:
        """Take no more grants for good: the process is about to end."""
        self._leaving = True
        self.revision += 1

    def found_orphan(self, job_id: str, attempt: int, now: int) -> None:
        """Remember an attempt of an earlier process that was found and ended; the next status lists it as ended."""
        self._forget((job_id, attempt), now)

    def grant(self, command: Command, age: int | None, now: int) -> Decision:
        """Decide on a grant whose record is `age` ms old; with verdict START it is held from now on.

        An attempt that was seen before, in whatever way it ended, is never started again. One of unknown age counts
        as too old.
        """
        key = (command.job_id, command.attempt)
        if key in self._held or self._known.holds(*key, now):
            return Decision(Verdict.IGNORE)
        reason = self._objection(command, age)
        if reason:
            self._forget(key, now)
            return Decision(Verdict.RELEASE, reason)
        self._known.add(*key, now)
        self._held[key] = _Held(command.token, command.lease_ms, now - (age or 0) + command.lease_ms)
        self.revision += 1
        return Decision(Verdict.START)

    def reserve(self, job_id: str, attempt: int, needs: Mapping[str, Any]) -> None:
        """Note what a held attempt reserves; until then it reserves all that is left."""
        held = self._held.get((job_id, attempt))
        if held is not None:
            amounts = {name: _amount(needs.get(name)) for name in ("memory_mib", "disk_mib", "gpus")}
            held.reserves = Running(job_id, attempt, **amounts)
            self.revision += 1

    def begin(self, job_id: str, attempt: int, now: int) -> Decision:
        """Decide whether a held attempt may begin now: not if it was stopped, has grown too old, or we are leaving."""
        held = self._held.get((job_id, attempt))
        if held is None or held.phase is not Phase.WAITING:
            return Decision(Verdict.IGNORE)
        if self._leaving:
            return Decision(Verdict.RELEASE, LEAVING)
        if now > held.stale_at:
            return Decision(Verdict.RELEASE, STALE)
        held.phase = Phase.RUNNING
        return Decision(Verdict.START)

    def expect_end(self, job_id: str, attempt: int, ending: bool) -> None:
        """Note that a running attempt will probably end at once, so that its slot may be granted again; or that not."""
        held = self._held.get((job_id, attempt))
        if held is not None and held.ending != ending:
            held.ending = ending
            self.revision += 1

    @property
    def ahead(self) -> int:
        """Slots in use that are expected to be free at once."""
        return sum(held.ending and held.phase is Phase.RUNNING for held in self._held.values())

    @property
    def surplus(self) -> int:
        """Attempts that are held and have no slot, nor one that is expected to be free at once."""
        return max(0, len(self._held) - self.offer.slots - self.ahead)

    def stop(self, job_id: str, attempt: int, now: int) -> bool:
        """Heed a stop: the attempt never starts again; True if it is held, and so has to be ended."""
        held = self._held.get((job_id, attempt))
        self._known.add(job_id, attempt, now)
        if held is None:
            return False
        held.phase = Phase.STOPPED
        return True

    def end(self, job_id: str, attempt: int, now: int) -> None:
        """Let go of an attempt: its result is delivered, or it was handed back, or its stop is done."""
        if self._held.pop((job_id, attempt), None) is not None:
            self._forget((job_id, attempt), now)

    def phase(self, job_id: str, attempt: int) -> Phase | None:
        """Return where an attempt stands; None if it is not held."""
        held = self._held.get((job_id, attempt))
        return None if held is None else held.phase

    def is_ours(self, job_id: str, attempt: int) -> bool:
        """Say whether reports on the attempt still make sense: it is held and was not told to stop."""
        return self.phase(job_id, attempt) in (Phase.WAITING, Phase.RUNNING)

    def heartbeats(self, partition_of: Callable[[str], int]) -> dict[int, tuple[Shown, ...]]:
        """Return by inbox partition the attempts to keep alive: all from their grant on, but for stopped ones."""
        found: dict[int, list[Shown]] = {}
        for (job_id, attempt), held in self._held.items():
            if held.phase is not Phase.STOPPED:
                found.setdefault(partition_of(job_id), []).append(Shown(job_id, attempt, held.token))
        return {partition: tuple(shown) for partition, shown in found.items()}

    def shortest_lease(self) -> int | None:
        """Return the shortest lease (ms) among what is held; None where nothing is."""
        return min((held.lease_ms for held in self._held.values()), default=None)

    def status(self, now: int) -> WorkerStatus:
        """Return the absolute status: all that is held, and what ended in the last 30 s.

        Of the ended ones each is listed once at least; afterwards only the newest, four a slot, are listed again.
        """
        while self._ended and now - self._ended[0][1] > ENDED_MS:
            self._ended.popleft()
        status = replace(
            self.offer,
            attempts=tuple(self._running()),
            ended=tuple(ended for ended, _ in self._ended),
            accepting=self.accepting,
            reason=self.reason,
            ahead=self.ahead,
        )
        while len(self._ended) > max(4 * self.offer.slots, _LEAST_ENDED):
            self._ended.popleft()
        return status

    def _objection(self, command: Command, age: int | None) -> str:
        if not self.accepting:
            return self.reason
        if self._sealed and command.sealed is None:
            return UNSEALED
        if age is None or age > command.lease_ms:
            return STALE
        return NO_SLOT if len(self._held) >= self.offer.slots + self.ahead else ""

    def _forget(self, key: Key, now: int) -> None:
        self._known.add(*key, now)
        self._ended.append((Ended(*key), now))
        self.revision += 1

    def _running(self) -> Iterable[Running]:
        known = [held.reserves for held in self._held.values() if held.reserves is not None]
        rest = {
            name: max(0, getattr(self.offer, name) - sum(getattr(running, name) for running in known))
            for name in ("memory_mib", "disk_mib", "gpus")
        }
        for (job_id, attempt), held in self._held.items():
            yield held.reserves or Running(job_id, attempt, **rest)


def _amount(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
