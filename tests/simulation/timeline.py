"""Virtual time, and actors that live, pause and die in it."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

Action = Callable[[], None]


class Timeline:
    """Events in the order of their time (ms), and of their making where that is equal."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.steps = 0
        self._count = 0
        self._heap: list[tuple[int, int, Action]] = []

    def after(self, ms: int, action: Action) -> None:
        """Have something happen `ms` from now."""
        self._count += 1
        heappush(self._heap, (self.now + ms, self._count, action))

    def run_until(self, time: int) -> None:
        """Let everything happen up to this time."""
        heap = self._heap
        while heap and heap[0][0] <= time:
            self.now, _, action = heappop(heap)
            self.steps += 1
            action()
        self.now = max(self.now, time)


class Actor:
    """A process: what it planned in one life doesn't happen in the next, and waits while it is paused."""

    def __init__(self, name: str, timeline: Timeline, random: Random) -> None:
        self.name = name
        self.timeline = timeline
        self.random = random
        self.life = 0
        self.alive = False
        self.paused = False
        self._backlog: deque[tuple[int, Action]] = deque()

    @property
    def now(self) -> int:
        return self.timeline.now

    def after(self, ms: int, action: Action) -> None:
        """Have this life do something `ms` from now."""
        life = self.life
        self.timeline.after(ms, lambda: self.do(life, action))

    def do(self, life: int, action: Action) -> None:
        """Do it now, once the pause is over, or never where that life has ended."""
        if life != self.life or not self.alive:
            return
        if self.paused:
            self._backlog.append((life, action))
        else:
            action()

    def begin_life(self) -> None:
        self.life += 1
        self.alive, self.paused = True, False
        self._backlog.clear()

    def end_life(self) -> None:
        self.alive, self.paused = False, False
        self._backlog.clear()

    def pause(self) -> None:
        if self.alive:
            self.paused = True

    def resume(self) -> None:
        """Go on, with all that came due meanwhile."""
        self.paused = False
        while self._backlog and not self.paused:
            self.do(*self._backlog.popleft())
