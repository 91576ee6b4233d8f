"""Lanes: a thread for each victim, which has it die as planned and starts it again, as a supervisor would."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.crash_points import ACTIONS
from tests.chaos.load import Load
from tests.chaos.plan import NUDGED, Death
from tests.chaos.process import Process
from tests.chaos.site import STOP_TIMEOUT, Tell
from tests.waiting import PATIENCE

#: s that a process may take to come by its point, once it was started
REACHED = 300.0
#: Lanes of which only one member does what its points are about.
LEADING = frozenset({"scheduler"})
#: How often, of 1, the next victim is the one that has died before.
AGAIN = 0.7
#: Tries at a point at which a process did not die because it ended for a reason of its own.
TRIES = 3
#: s after its start before which an end is none of a process at work
EARLY = 3.0
#: s after its start after which a worker that has jobs is told to stop, so that it hands some back
AT_WORK = 8.0
#: s between two random deaths of one victim, and s until it is started again
PAUSE, DOWN = (5.0, 20.0), (0.0, 6.0)


@dataclass
class Died:
    """What came of a death: `point` is empty for one at a random time."""

    victim: str
    point: str
    action: str
    number: int = 0
    #: s from the start of the process to its end
    lived: float = 0.0
    code: int | None = None
    wrong: str = ""

    @property
    def counts(self) -> bool:
        """Whether it hit a process at work: at its point, or not right after its start."""
        return bool(self.point) or self.lived >= EARLY


@dataclass
class Record:
    """All that happened to processes, told by many lanes."""

    tell: Tell
    died: list[Died] = field(default_factory=list)
    #: Ends that nobody planned: a supervisor's business, but to be explained.
    by_themselves: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, died: Died) -> None:
        with self._lock:
            self.died.append(died)
            count = self.kills
        where = f"at {died.point}, pass {died.number}" if died.point else "at random"
        wrong = f": WRONG: {died.wrong}" if died.wrong else ""
        self.tell(f"{count}: {died.victim} {died.action} {where} after {died.lived:.1f} s, exit {died.code}{wrong}")

    def ended_itself(self, process: Process) -> None:
        told = f"{process.name} ended by itself, exit {process.code}"
        with self._lock:
            self.by_themselves.append(f"{told}\n{process.tail(30)}")
        self.tell(told)

    @property
    def kills(self) -> int:
        """How many processes at work were ended on purpose so far, by either signal."""
        return sum(one.counts for one in list(self.died))

    @property
    def wrong(self) -> list[Died]:
        return [one for one in self.died if one.wrong]


class Lane:
    """One victim, whose planned deaths come first; then, until `enough`, random ones."""

    def __init__(
        self,
        victim: str,
        members: Sequence[Process],
        load: Load,
        record: Record,
        seed: int,
        enough: Callable[[], bool],
        all_planned: Callable[[], bool],
    ) -> None:
        self._all_planned = all_planned
        self.victim = victim
        self._members = members
        self._load = load
        self._record = record
        self._random = random.Random(f"{seed}/{victim}")
        self._enough = enough
        self.failure: BaseException | None = None
        self.planned = threading.Event()

    def run(self, deaths: Sequence[Death]) -> None:
        """Have the victim die by plan and then at random; it runs when this returns."""
        try:
            for death in deaths:
                self._die(death)
            self._up()
            self.planned.set()
            # who still has points to come by needs an installation that works
            while not self._all_planned() and not self._enough():
                self._mind()
            while not self._enough():
                self._at_random()
        except BaseException as error:
            self.failure = error
        finally:
            self.planned.set()
            self._up()

    def _up(self) -> None:
        for member in self._members:
            if not member.runs:
                member.start()

    # -- by plan

    def _die(self, death: Death) -> None:
        for attempt in range(TRIES):
            victim = self._next_victim()
            self._stop(victim)
            others = [one for one in self._members if one is not victim]
            for other in others:
                # of two schedulers one leads: the victim does where the other one is away
                if self.victim in LEADING:
                    self._stop(other)
                elif not other.runs:
                    other.start()
            victim.start(death.armed)
            with self._wanted(death.needs), self._following(victim, others):
                ended = self._await_death(victim, death)
            if ended:
                return
            if attempt == TRIES - 1:
                self._record.add(
                    Died(self.victim, death.point, death.action, death.number, wrong="did not die at its point")
                )

    def _next_victim(self) -> Process:
        """The one that has died before, as a rule: the other one works on meanwhile."""
        dead = [one for one in self._members if not one.runs]
        return self._random.choice(dead if dead and self._random.random() < AGAIN else self._members)

    def _await_death(self, victim: Process, death: Death) -> bool:
        """Wait until the victim has died at its point; say whether it has. It does not run when this returns."""
        deadline = time.monotonic() + REACHED * PATIENCE
        marker = f"crash point {death.point}, pass {death.number}: {death.action}"
        nudged = death.point not in NUDGED
        while victim.runs and time.monotonic() < deadline:
            if not nudged and time.monotonic() - victim.begun > AT_WORK and self._load.runs_on(victim.name) > 1:
                victim.signal(signal.SIGTERM)
                nudged = True
            if death.action == "term" and victim.said(marker):
                victim.wait(STOP_TIMEOUT * PATIENCE)
                break
            victim.wait(0.2)
        reached = victim.said(marker)
        wrong = ""
        if victim.runs:
            wrong = "does not end on SIGTERM" if reached else "never came by its point"
            self._record.tell(f"{victim.name} {death.armed}: {wrong}\n{victim.tail(15)}")
            victim.signal(signal.SIGKILL)
            victim.wait(10.0)
        if not reached:
            if not wrong:
                self._record.ended_itself(victim)
            return False
        if not wrong and victim.stood_still:
            self._record.ended_itself(victim)
        elif not wrong and victim.code != _expected(death.action):
            wrong = f"exit code {victim.code}\n{victim.tail(30)}"
        lived = time.monotonic() - victim.begun
        self._record.add(
            Died(victim.name, death.point, death.action, death.number, lived, code=victim.code, wrong=wrong)
        )
        return True

    @contextmanager
    def _following(self, victim: Process, others: Sequence[Process]) -> Iterator[None]:
        """Start the others again once the victim leads or has died: somebody takes over at once."""
        done = threading.Event()

        def follow() -> None:
            while self.victim in LEADING and victim.runs and not victim.said('"event":"leads"') and not done.wait(0.2):
                pass
            for other in others:
                if not other.runs:
                    other.start()

        if not others:
            yield
            return
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextmanager
    def _wanted(self, kind: str) -> Iterator[None]:
        if not kind:
            yield
            return
        self._load.want(kind, True)
        try:
            yield
        finally:
            self._load.want(kind, False)

    # -- at random

    def _at_random(self) -> None:
        victim = self._random.choice(self._members)
        action = self._random.choice(sorted(ACTIONS))
        pause, down = self._random.uniform(*PAUSE), self._random.uniform(*DOWN)
        until = time.monotonic() + pause
        while time.monotonic() < until:
            if self._enough():
                return
            self._mind()
        self._end(victim, action)
        time.sleep(down)
        victim.start()

    def _mind(self) -> None:
        """Start again what ended although nobody ended it, as a supervisor would; takes a moment."""
        for member in self._members:
            if not member.runs:
                self._record.ended_itself(member)
                member.start()
        time.sleep(0.1)

    def _end(self, victim: Process, action: str) -> None:
        lived = time.monotonic() - victim.begun
        if not victim.signal(ACTIONS[action]):
            self._record.ended_itself(victim)
            return
        code, wrong = victim.wait(STOP_TIMEOUT * PATIENCE), ""
        if code is None:
            wrong = f"does not end on SIGTERM\n{victim.tail(30)}"
            victim.signal(signal.SIGKILL)
            victim.wait(10.0)
        elif code == -signal.SIGTERM and not victim.output():
            # it has not got so far as to heed one; on a busy machine that takes its time
            lived = 0.0
        elif victim.stood_still:
            self._record.ended_itself(victim)
        elif code != _expected(action):
            wrong = f"exit code {code}\n{victim.tail(30)}"
        self._record.add(Died(victim.name, "", action, lived=lived, code=victim.code, wrong=wrong))

    def _stop(self, process: Process) -> None:
        """End a process that is to be started armed, by a signal of chance: that counts too."""
        if process.runs:
            self._end(process, self._random.choice(sorted(ACTIONS)))


def _expected(action: str) -> int:
    return -signal.SIGKILL if action == "kill" else 0
