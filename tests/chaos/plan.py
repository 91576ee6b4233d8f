"""Who dies where: each crash point by each signal, and then anybody at any time. A seed makes the plan."""

import random
from dataclasses import dataclass

from pipeline.crash_points import ACTIONS, POINTS

#: Points by the lanes that their deaths are shared out to.
LANES = {
    "gate": ("gate",),
    # one at a time: a ledger of which both halves die as soon as they work gets nothing done
    "ledger": ("orchestrator",),
    "scheduler": ("scheduler",),
    "worker": ("worker-1", "worker-2"),
    "sink": ("sink",),
}
#: Points by which a process comes once a start: there is no later pass to die at.
ONCE = frozenset(
    {
        *("ledger.recovering", "ledger.recovered", "ledger.owning", "ledger.swept"),
        *("scheduler.elected", "sink.installed"),
        *("worker.reaped", "worker.listening", "worker.introduced"),
        *("gate.queue-missing", "gate.queue-made", "gate.queue-declared", "gate.dead-letter"),
        *("sink.letter-sent", "worker.handing-back"),
    }
)
#: Points that some kind of job is needed for, more often than it comes by itself.
NEEDS = {
    "gate.queue-missing": "new-queue",
    "gate.queue-made": "new-queue",
    "gate.queue-declared": "new-queue",
    "gate.dead-letter": "garbage",
    # something that lasts longer than the worker's grace
    "worker.handing-back": "revoked",
    "sink.letter-sent": "bad-fact",
    "worker.announced": "product",
    "worker.permitted": "product",
    "worker.permission-due": "product",
    "worker.permission-asked": "product",
}
#: Points that a worker comes by only when it is told to stop while it has jobs.
NUDGED = frozenset({"worker.handing-back"})


@dataclass(frozen=True)
class Death:
    """One process is to die at a point, at this pass, by this action."""

    point: str
    number: int
    action: str

    @property
    def armed(self) -> str:
        return f"{self.point}:{self.number}:{self.action}"

    @property
    def needs(self) -> str:
        """The kind of job that the point needs, empty where any will do."""
        kind, _, _ = self.point.rpartition(".")
        return NEEDS.get(self.point) or {"worker.publish": "product", "gate.principal": "known"}.get(kind, "")


def deaths(seed: int, actions: tuple[str, ...] = tuple(ACTIONS), passes: int = 6) -> dict[str, list[Death]]:
    """Return each victim's deaths, which together are every point by every action.

    The order is the seed's, but for what has to have been forgotten first; so is the pass, up to `passes`.
    """
    chance = random.Random(f"{seed}/deaths")
    plan: dict[str, list[Death]] = {}
    for lane, victims in LANES.items():
        mine = [
            Death(point, 1 if point in ONCE else chance.randint(1, passes), action)
            for point in POINTS
            if point.split(".")[0] == lane
            for action in actions
        ]
        chance.shuffle(mine)
        mine.sort(key=lambda death: death.point == "ledger.swept")
        for number, victim in enumerate(victims):
            plan[victim] = mine[number :: len(victims)]
    return plan
