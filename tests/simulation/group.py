"""Who owns which partition: a consumer group, told late, with commits that only the owner may make."""

from collections.abc import Callable, Sequence
from typing import Protocol

from tests.simulation.timeline import Timeline

#: ms until a member that died is missed.
SESSION = 10_000


class Member(Protocol):
    name: str
    alive: bool
    paused: bool

    def assigned(self, partitions: tuple[int, ...], generation: int) -> None:
        """Take over these partitions, and no others."""


class Group:
    """Members share partitions; `delay` says how long (ms) each is told late of a change."""

    def __init__(
        self, timeline: Timeline, partitions: int, members: Sequence[Member], delay: Callable[[], int]
    ) -> None:
        self.timeline = timeline
        self.partitions = partitions
        self.members = list(members)
        self.delay = delay
        self.generation = 0
        self.owner: dict[int, str] = {}
        self.joined: dict[str, int] = {}
        self.turn = 0

    def join(self, member: Member) -> None:
        self.joined[member.name] = self.generation
        self.rebalance()

    def missed(self, member: Member) -> None:
        """A member is gone, or silent: after its session its partitions are another's."""

        def look() -> None:
            if member.name in self.joined and (not member.alive or member.paused):
                del self.joined[member.name]
                self.rebalance()

        self.timeline.after(SESSION, look)

    def rebalance(self) -> None:
        """Deal the partitions anew among who has joined."""
        self.generation += 1
        self.turn += 1
        names = sorted(self.joined)
        if not names:
            self.owner = {}
            return
        self.owner = {number: names[(number + self.turn) % len(names)] for number in range(self.partitions)}
        generation = self.generation
        for member in self.members:
            mine = tuple(number for number, name in self.owner.items() if name == member.name)
            self.timeline.after(self.delay(), lambda member=member, mine=mine: self._tell(member, mine, generation))

    def may_commit(self, member: Member, partition: int, generation: int) -> bool:
        return self.owner.get(partition) == member.name and generation == self.generation

    def _tell(self, member: Member, mine: tuple[int, ...], generation: int) -> None:
        if generation == self.generation and member.name in self.joined:
            member.assigned(mine, generation)
